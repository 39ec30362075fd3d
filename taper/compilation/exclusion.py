"""Who may use tensors while a call is recorded: they hold no numbers then, but recording arrays.

One thread records at a time, while nobody runs a program or, within a compiled function, code as it
is. Calls that come upon a recording wait for its end before they start. What other code does to
tensors meanwhile goes by what they held before (`TracedArray.actual`).

A thread that runs code as it is never waits for the recorder, which would wait for it in its turn;
and a recorder that waits in vain gives up, for the others may wait for each other.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["alone", "enter", "exclusive", "leave", "new_lock"]

_PATIENCE = 0.2  # seconds
_PAUSE = 0.0005

exclusive = threading.RLock()
"""Held by the thread that records, or is about to."""

_locks: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
_inside: dict[int, int] = {}  # by thread, how many calls of compiled functions run as they are


def new_lock() -> Any:
    """A lock that a compiled function holds while it looks for its program, and runs it."""
    lock = threading.Lock()
    _locks[id(lock)] = lock
    return lock


def enter() -> None:
    """Begins a call that runs as it is, when nobody records; `leave` ends it."""
    thread = threading.get_ident()
    depth = _inside.get(thread)
    if depth:
        _inside[thread] = depth + 1
        return
    with exclusive:
        _inside[thread] = 1


def leave() -> None:
    """Ends what `enter` began."""
    thread = threading.get_ident()
    depth = _inside[thread] - 1
    if depth:
        _inside[thread] = depth
    else:
        del _inside[thread]


@contextmanager
def alone(own: Any = None) -> Iterator[bool]:
    """Within: no other thread runs a compiled function; False if some still do.

    Args:
        own: a lock that this thread holds.
    """
    held: list[Any] = []
    thread = threading.get_ident()
    with exclusive:
        end = time.monotonic() + _PATIENCE
        try:
            is_alone = all([
                lock is own or lock is None or _is_taken(lock, end, held)
                for lock in [reference() for reference in _locks.valuerefs()]])
            while is_alone and any([other != thread for other in tuple(_inside)]):
                time.sleep(_PAUSE)
                is_alone = time.monotonic() < end
            yield is_alone
        finally:
            for lock in held:
                lock.release()


def _is_taken(lock: Any, end: float, held: list[Any]) -> bool:
    taken: bool = lock.acquire(timeout=max(end - time.monotonic(), 0))
    if taken:
        held.append(lock)
    return taken
