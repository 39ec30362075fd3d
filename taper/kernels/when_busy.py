"""Hands out machine code for small calls, once a program is seen to spend its time in taper.

    add = np.add
    when_busy(globals(), "add", make_add)     # make_add() -> a quicker one with the same results

To import LLVM takes 20 to 100 ms, too much for a program that runs for a second or that only prints
a tensor. So a thread looks a few times what the others are doing. When it met them in taper often
enough, the next call of such a function loads LLVM (not the thread: see compiler/background.py),
and the compiling thread calls the makers and puts what they made into the namespaces. It must
give the very bits that NumPy gives, since the moment differs from run to run.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from taper.core.settings import settings

__all__ = ["make_all", "when_busy"]

_BUSY_LOOKS = 3  # how often a program has to be met inside of taper, within five times as many
_INTERVALS = 0.03, 2.0  # seconds between looks: at first, and at most, while nothing happens
_SLOWER = 1.02  # how much longer after each look that found nothing: 2 s after some two minutes

_waiting: list[tuple[dict[str, Any], str, Any, Callable[[], Any]]] = []


def when_busy(scope: dict[str, Any], name: str, make: Callable[[], Any]) -> None:
    """Replaces a name of a namespace by what `make` returns, if the program proves to be busy."""
    _waiting.append((scope, name, scope[name], make))
    if len(_waiting) == 1 and settings.native != "off":
        threading.Thread(target=_watch, name="taper-watcher", daemon=True).start()


def make_all() -> None:
    """Replaces all names, here and now, where machine code can be had."""
    if _load():
        _make_all()


def _load() -> bool:
    """Imports all that makers need."""
    if settings.native == "off":
        return False
    from taper.compiler.background import load
    from taper.runtime import blas, direct_call

    blas.find_blas()
    return load() and direct_call.is_possible()


def _make_all() -> None:
    while _waiting:
        scope, name, replaced, make = _waiting.pop()
        made = make()
        if scope[name] is replaced or isinstance(scope[name], _Starter):
            scope[name] = made


class _Starter:
    """Stands in a namespace for a function until its next call, which has all of them replaced."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, *args: Any, **named: Any) -> Any:
        for scope, name, replaced, _ in list(_waiting):
            if isinstance(scope[name], _Starter):
                scope[name] = replaced
        if _load():
            from taper.compiler.background import run_aside

            run_aside(_make_all)
        return self.function(*args, **named)


def _watch() -> None:
    """Looks what the program is doing, ever more seldom, until it was met in taper often enough."""
    interval, longest = _INTERVALS
    met = missed = 0
    while met < _BUSY_LOOKS:
        time.sleep(interval)
        if settings.native == "off":
            return
        own = threading.get_ident()
        frames = [f for thread, f in sys._current_frames().items() if thread != own]
        if any(_is_tapers(f.f_code.co_filename) for f in frames):
            met += 1
        else:
            missed, interval = missed + 1, min(_SLOWER * interval, longest)
        if met + missed == 5 * _BUSY_LOOKS:
            met = missed = 0
    for scope, name, replaced, _ in list(_waiting):
        if scope[name] is replaced:
            scope[name] = _Starter(replaced)


_ROOM = __file__[: -len("kernels/when_busy.py")]


def _is_tapers(file: str) -> bool:
    """Whether code is taper's, generated or written, and not what waits in its own threads."""
    return file.startswith("<taper operator") or (
        file.startswith(_ROOM) and not file.endswith(("background.py", "pool.py"))
    )
