"""Places in one arena for values that live for a part of a program."""

from __future__ import annotations

__all__ = ["ALIGNMENT", "MemoryPlan"]

ALIGNMENT = 64


class MemoryPlan:
    """Gives out places, in the order in which a program takes them and gives them back.

    A value gets the smallest hole that it fits in, so that what is used soon again is in the cache.
    """

    def __init__(self) -> None:
        self.nbytes = 0
        self._holes: list[tuple[int, int]] = []  # start and stop, in order of memory

    def take(self, nbytes: int) -> int:
        """The start of a place of so many bytes."""
        nbytes = _rounded(nbytes)
        fitting = [(stop - start, start) for start, stop in self._holes if stop - start >= nbytes]
        if fitting:
            size, start = min(fitting)
            at = self._holes.index((start, start + size))
            self._holes[at:at + 1] = [(start + nbytes, start + size)] if size > nbytes else []
            return start
        start = self.nbytes
        if self._holes and self._holes[-1][1] == self.nbytes:  # the last hole grows
            start = self._holes.pop()[0]
        self.nbytes = start + nbytes
        return start

    def give_back(self, start: int, nbytes: int) -> None:
        """Makes a hole of a place that was taken."""
        holes = sorted([*self._holes, (start, start + _rounded(nbytes))])
        self._holes = holes[:1]
        for hole in holes[1:]:
            if self._holes[-1][1] == hole[0]:
                self._holes[-1] = (self._holes[-1][0], hole[1])
            else:
                self._holes.append(hole)


def _rounded(nbytes: int) -> int:
    return -(-max(nbytes, 1) // ALIGNMENT) * ALIGNMENT
