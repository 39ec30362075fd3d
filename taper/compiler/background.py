"""Kernels on request: a thread compiles them; who asks waits for a short while.

    address = request("add float32", lambda: (text_of_the_module(), "add"))
    if address is None:
        …  # NumPy, this time

`settings.native` decides: "background" waits for a kernel a short while only, "now" until it is
there; "off" always answers None. So does a machine where no code can be made.

Note [the same numbers every time]. Kernels and NumPy may differ in the last digit. If NumPy served
until a kernel is ready, the same call would give two results, and two runs of a program could
differ. So whoever asks waits: a millisecond where the kernel is in the cache, 5 to 20 to make it.
Only where that takes longer, as on the first run on a machine, does NumPy serve meanwhile, since no
call shall wait for more than 50. Kernels that give NumPy's very bits are `exact`: nobody waits.
`torch.use_deterministic_algorithms(True)` waits however long it takes.

Note [the thread imports nothing]. Two threads that import at the same time can wait for each other
forever (CPython 3.11 does, on chains that share modules). So LLVM and all of this package are
imported by whoever asks first, in `load`; what the thread does afterwards finds its modules loaded.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import time
import warnings
from collections.abc import Callable, Hashable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from taper.compiler import machine
from taper.core.settings import settings
from taper.core.threads import are_deterministic_algorithms_enabled

__all__ = ["Builder", "load", "request", "run_aside", "wait_until_idle"]

Builder = Callable[[], tuple[str, str]]  # -> (text of a module, name of its function)

_LONGEST_WAIT = 0.045  # seconds, for one call
_MISSING = -1
_TAKES_NO_MORE = None

_addresses: dict[Hashable, int | _Pending | None] = {}  # None: can't be had
_get_address = _addresses.get


class _Pending:
    """A kernel that was asked for and isn't in use yet."""

    __slots__ = ("address", "ready")

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.address: int | None = None


class _Compiler:
    """The thread and what it has to do. It is started by the first request."""

    def __init__(self) -> None:
        self.start_afresh()

    def start_afresh(self) -> None:
        """In a forked child: the thread stayed with the parent, and locks may be held."""
        self.waiting: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.count = 0  # requests that are not done
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None
        self.closed = False

    def add(self, job: Callable[[], None]) -> None:
        with self.changed:
            if self.closed:
                return
            self.count += 1
            if self.thread is None:
                self.thread = threading.Thread(target=self.run, name="taper-compiler", daemon=True)
                self.thread.start()
        self.waiting.put(job)

    def run(self) -> None:
        while True:
            job = self.waiting.get()
            if job is _TAKES_NO_MORE:
                return
            if not self.closed:
                job()
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


def compile_aside(key: Hashable, builder: Builder) -> None:
    """What the thread does for one kernel."""
    pending = _addresses.get(key)
    if isinstance(pending, _Pending):
        try:
            pending.address = compile_now(key, builder)
        finally:
            pending.ready.set()


def compile_now(key: Hashable, builder: Builder) -> int | None:
    """Compiles and returns a kernel; None where it can't be had."""
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
    return address


def request(key: Hashable, builder: Builder, exact: bool = False) -> int | None:
    """The address of the kernel that `builder` describes, or None if it isn't there (yet).

    `builder` is called in another thread, at most once for a key. An `exact` kernel gives the very
    numbers that are computed without it, so it is used as soon as it is ready.
    """
    if settings.native == "off":
        return None
    found = _get_address(key, _MISSING)
    if isinstance(found, _Pending):
        return _waited_for(key, found, exact)
    if found is not _MISSING:
        return found
    if not load():
        _addresses[key] = None
        return None
    if settings.native == "now":
        address = _addresses[key] = compile_now(key, builder)
        return address
    pending = _addresses[key] = _Pending()
    _compiler.add(lambda: compile_aside(key, builder))
    return _waited_for(key, pending, exact)


def _waited_for(key: Hashable, pending: _Pending, exact: bool) -> int | None:
    """The kernel, if it is ready or soon will be; see the Note."""
    if settings.native == "now" or (not exact and are_deterministic_algorithms_enabled()):
        pending.ready.wait()  # no moment decides which of two roundings a call has
    elif not (pending.ready.is_set() or (not exact and _waits(pending.ready))):
        return None
    _addresses[key] = pending.address
    return pending.address


class _Patience(threading.local):
    """How long this thread may still wait: kernels that are asked for in quick succession are for
    one call."""

    left, end = _LONGEST_WAIT, 0.0


_patience = _Patience()
_SAME_CALL = 0.002  # seconds between waits, at most


def _waits(ready: threading.Event) -> bool:
    """Waits for a kernel, as long as a call may; tells whether it came."""
    begin = time.perf_counter()
    if begin - _patience.end > _SAME_CALL:
        _patience.left = _LONGEST_WAIT
    came = ready.wait(max(0.0, _patience.left))
    _patience.end = time.perf_counter()
    _patience.left -= _patience.end - begin
    return came


@cache
def load() -> bool:
    """Imports what compiling takes, 20 to 50 ms; tells whether code can be made. See the Note."""
    for module in iter_modules([os.path.dirname(__file__)]):
        import_module(f"taper.compiler.{module.name}")
    _Loaded.is_done = True
    return machine.is_available()


class _Loaded:
    is_done = False


def is_loaded() -> bool:
    """Whether `load` has done its work already."""
    return _Loaded.is_done


def run_aside(job: Callable[[], None]) -> None:
    """Calls `job` in the thread that compiles: work with LLVM that must not hold anybody up.

    It must not import; `load` was called before, and said that there is something to work with.
    """
    _compiler.add(job)


def wait_until_idle(timeout: float | None = None) -> bool:
    """Waits for all kernels that were asked for; tells whether they are done."""
    with _compiler.changed:
        return _compiler.changed.wait_for(lambda: _compiler.count == 0, timeout)


def _start_afresh() -> None:
    """In a forked child: what was to be compiled is asked for again."""
    _compiler.start_afresh()
    for key in [key for key, found in _addresses.items() if isinstance(found, _Pending)]:
        del _addresses[key]


atexit.register(_compiler.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
