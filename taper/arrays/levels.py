"""Levels: which vmaps are running, how deep, and what each of them wants of random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count

__all__ = ["Level", "Running", "running", "running_levels", "started"]

_next_number = count(1).__next__


class Level:
    """One call of a vmapped function: the name of the axis that its samples lie along.

    Attributes:
        number: larger for younger levels; a younger level's axis is outside of an older one's.
        size: how many samples there are.
        depth: how many vmaps run inside each other here, 1 for the outermost; for printing.
        randomness: "error", "different" or "same".
        start: the sequence number that the tape had reached when it began.
        seen: the sequence numbers of nodes of the tape that ops/batch_dims.py is done with.
    """

    __slots__ = ("depth", "number", "randomness", "seen", "size", "start")

    def __init__(self, size: int, randomness: str, start: int, depth: int) -> None:
        self.number = _next_number()
        self.size = size
        self.depth = depth
        self.randomness = randomness
        self.start = start
        self.seen: set[int] = set()

    def __repr__(self) -> str:
        return f"Level({self.number}, size={self.size})"


class Running:
    """How many vmaps run anywhere in the process: zero lets random functions ask no further."""

    __slots__ = ("vmaps",)

    def __init__(self) -> None:
        self.vmaps = 0


running = Running()
_levels: ContextVar[tuple[Level, ...]] = ContextVar("levels", default=())
running_levels = _levels.get


@contextmanager
def started(size: int, randomness: str, start: int) -> Iterator[Level]:
    """A new level, innermost of those that run in this context."""
    outer = running_levels()
    level = Level(size, randomness, start, len(outer) + 1)
    token = _levels.set((*outer, level))
    running.vmaps += 1
    try:
        yield level
    finally:
        running.vmaps -= 1
        _levels.reset(token)
