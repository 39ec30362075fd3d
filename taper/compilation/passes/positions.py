"""Positions along an axis: `range(n)`, also for a symbolic n."""

from __future__ import annotations

from typing import Any

from taper.core.symbolic import SizePinned, SymInt

__all__ = ["Positions", "are_all", "positions_of"]


class Positions:
    """Neighbouring positions, from `start` to `stop`, of which one or both are symbolic."""

    __slots__ = ("start", "stop")
    step = 1

    def __init__(self, start: Any, stop: Any) -> None:
        self.start = start
        self.stop = stop

    @property
    def count(self) -> Any:
        """How many there are."""
        return self.stop - self.start

    def __getitem__(self, index: Any) -> Any:
        if type(index) is not slice:
            return self.start + (index if index >= 0 else index + self.count)
        if index.step not in (None, 1):
            raise SizePinned("a slice with a step of an axis that depends on the batch size")
        first = 0 if index.start is None else self._inside(index.start)
        last = self.count if index.stop is None else self._inside(index.stop)
        return Positions(self.start + first, self.start + max(first, last))

    def _inside(self, end: Any) -> Any:
        if end < 0:
            end = end + self.count
        return max(0, min(end, self.count))


def positions_of(n: Any) -> Any:
    """``range(n)``, or what stands for it if n is symbolic."""
    return Positions(0, n) if type(n) is SymInt else range(n)


def are_all(index: Any, n: Any) -> bool:
    """Whether an index of an axis of n positions is a slice that leaves it as it is."""
    if type(index) is not slice:
        return False
    found = positions_of(n)[index]
    if type(found) is Positions:
        return bool(found.start == 0 and found.stop == n)
    return bool(found == range(n))
