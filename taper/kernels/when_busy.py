"""Hands out machine code for small calls, once a program is seen to spend its time in taper.

    add = np.add
    when_busy(globals(), "add", make_add)     # make_add() -> a quicker one with the same results

To import LLVM takes 20 to 100 ms, too much for a program that runs for a second or that only prints
a tensor. So a thread looks a few times what the others are doing. When it met them in taper often
enough, the next call of each such function has its successor made: 2 ms from the cache. Where it
has to be compiled, as on a first run, a thread does that, and takes its time: LLVM, called from
one, waits for the GIL a hundred times. Successors must give the very bits that NumPy gives, since
the moment differs from run to run.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from taper.core.settings import settings

__all__ = ["make_all", "when_busy"]

_BUSY_LOOKS = 3  # how often a program has to be met inside of taper, within five times as many
_INTERVALS = 0.03, 2.0  # seconds between looks: at first, and at most, while nothing happens
_SLOWER = 1.02  # how much longer after each look that found nothing: 2 s after some two minutes

_NEEDED = "taper.kernels.native", "taper.runtime.blas"  # with what they import

_Entry = tuple[dict[str, Any], str, Any, Callable[[], Any]]
_waiting: list[_Entry] = []


class _Watch:
    """Whether somebody looks what the program is doing, and what was found."""

    begun = found_busy = False


def when_busy(scope: dict[str, Any], name: str, make: Callable[[], Any]) -> None:
    """Replaces a name of a namespace by what `make` returns, if the program proves to be busy."""
    entry = (scope, name, scope[name], make)
    _waiting.append(entry)
    if settings.native == "off":
        return
    if _Watch.found_busy:
        scope[name] = _Starter(entry)
    elif not _Watch.begun:
        _Watch.begun = True
        threading.Thread(target=_watch, name="taper-watcher", daemon=True).start()


def make_all() -> None:
    """Replaces all names, here and now, where machine code can be had."""
    while _waiting:
        _replace(_waiting[-1])


def _replace(entry: _Entry) -> None:
    """Has one successor made and put into its place."""
    scope, name, replaced, make = entry
    if entry in _waiting:
        _waiting.remove(entry)
    if scope[name] is not replaced and not isinstance(scope[name], _Starter):
        return
    scope[name] = replaced
    if _can_make():
        from taper.compiler.background import Successor

        def put(made: Any) -> None:
            if scope[name] is replaced:
                scope[name] = made

        Successor(name, make, put)


def _can_make() -> bool:
    if settings.native == "off":
        return False
    from taper.compiler.background import load
    from taper.runtime.direct_call import is_possible

    if not load() or not is_possible():
        return False
    for name in _NEEDED:  # as the thread that compiles must not import
        import_module(name)
    return True


class _Starter:
    """Stands in a namespace for a function until its next call, which has it replaced."""

    def __init__(self, entry: _Entry) -> None:
        self.entry = entry

    def __call__(self, *args: Any) -> Any:
        from taper.compiler.background import asks_for_none

        scope, name, replaced, _ = self.entry
        if asks_for_none():
            return replaced(*args)
        _replace(self.entry)
        return scope[name](*args)


def _watch() -> None:
    """Looks what the program is doing, ever more seldom, until it was met in taper often enough."""
    interval, longest = _INTERVALS
    met = missed = 0
    while met < _BUSY_LOOKS:
        time.sleep(interval)
        if settings.native == "off":
            return
        if any(map(_is_tapers, _running_files())):
            met += 1
        else:
            missed, interval = missed + 1, min(_SLOWER * interval, longest)
        if met + missed == 5 * _BUSY_LOOKS:
            met = missed = 0
    _Watch.found_busy = True
    for entry in list(_waiting):
        scope, name, replaced, _ = entry
        if scope[name] is replaced:
            scope[name] = _Starter(entry)


def _running_files() -> list[str]:
    """What the other threads are in. A frame that is kept keeps all that its function holds."""
    own = threading.get_ident()
    return [f.f_code.co_filename for i, f in sys._current_frames().items() if i != own]


_ROOM = __file__[: -len("kernels/when_busy.py")]


def _is_tapers(file: str) -> bool:
    """Whether code is taper's, generated or written, and not what waits in its own threads."""
    return file.startswith("<taper operator") or (
        file.startswith(_ROOM) and not file.endswith(("background.py", "pool.py"))
    )
