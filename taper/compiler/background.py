"""Kernels on request: a thread compiles them while NumPy serves.

    address = request("add float32", lambda: (text_of_the_module(), "add"))
    if address is None:
        …  # NumPy, this time

`settings.native` decides: "background" answers None until the kernel is there, "now" waits for it,
"off" always answers None. So does a machine where no code can be made.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import warnings
from collections.abc import Callable, Hashable

from taper.compiler import machine
from taper.core.settings import settings

__all__ = ["Builder", "request", "wait_until_idle"]

Builder = Callable[[], tuple[str, str]]  # -> (text of a module, name of its function)

_MISSING = -1
_TAKES_NO_MORE = None

_addresses: dict[Hashable, int | None] = {}  # None: asked for, or can't be had
_get_address = _addresses.get


class _Compiler:
    """The thread and what it has to do. It is started by the first request."""

    def __init__(self) -> None:
        self.start_afresh()

    def start_afresh(self) -> None:
        """In a forked child: the thread stayed with the parent, and locks may be held."""
        self.waiting: queue.SimpleQueue[tuple[Hashable, Builder] | None] = queue.SimpleQueue()
        self.count = 0  # requests that are not done
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None
        self.closed = False

    def add(self, key: Hashable, builder: Builder) -> None:
        with self.changed:
            if self.closed:
                return
            self.count += 1
            if self.thread is None:
                self.thread = threading.Thread(target=self.run, name="taper-compiler", daemon=True)
                self.thread.start()
        self.waiting.put((key, builder))

    def run(self) -> None:
        while True:
            entry = self.waiting.get()
            if entry is _TAKES_NO_MORE:
                return
            if not self.closed:
                compile_now(*entry)
            with self.changed:
                self.count -= 1
                self.changed.notify_all()

    def close(self) -> None:
        """LLVM must not be at work while the process is taken down."""
        with self.changed:
            self.closed = True
            thread = self.thread
        if thread is not None:
            self.waiting.put(_TAKES_NO_MORE)
            thread.join(5.0)


_compiler = _Compiler()


def compile_now(key: Hashable, builder: Builder) -> int | None:
    """Compiles, remembers and returns a kernel; None where it can't be had."""
    address = None
    try:
        if machine.is_available():
            address = machine.compile_ir(*builder())
    except machine.NoNativeCode:
        pass
    except Exception as error:
        if settings.native == "now":
            raise
        warnings.warn(
            f"taper couldn't compile the kernel {key!r}, NumPy computes instead: {error!r}",
            RuntimeWarning, stacklevel=2,
        )
    _addresses[key] = address
    return address


def request(key: Hashable, builder: Builder) -> int | None:
    """The address of the kernel that `builder` describes, or None if it isn't there (yet).

    `builder` is called in another thread, at most once for a key.
    """
    address = _get_address(key, _MISSING)
    if address is not _MISSING:
        return address if settings.native != "off" else None
    if settings.native == "off":
        return None
    if settings.native == "now":
        return compile_now(key, builder)
    _addresses[key] = None
    _compiler.add(key, builder)
    return None


def wait_until_idle(timeout: float | None = None) -> bool:
    """Waits for all kernels that were asked for; tells whether they are done."""
    with _compiler.changed:
        return _compiler.changed.wait_for(lambda: _compiler.count == 0, timeout)


def _start_afresh() -> None:
    """In a forked child: what was to be compiled is asked for again."""
    _compiler.start_afresh()
    for key in [key for key, address in _addresses.items() if address is None]:
        del _addresses[key]


atexit.register(_compiler.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
