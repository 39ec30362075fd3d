"""Into how many parts long sums are cut, so that all threads have work."""

from __future__ import annotations

from collections.abc import Callable

from taper.arrays.node_arguments import at_hint

__all__ = ["parts_of_depth", "parts_of_sum"]

_LARGE = 1 << 16  # elements from which on a sum is taken in parts, by several threads
_PARTS = 32
_FEW_RESULTS = 1 << 12  # of a product that is cut along its terms, if there are many
_PART_OF_DEPTH = 256


def parts_of_sum(outer: int, count: int, inner: int) -> int:
    """Into how many parts a long reduction is cut, so that all threads have work."""
    divides = _divides(count)
    outer, count, inner = at_hint((outer, count, inner))
    if outer * count * inner < _LARGE or outer >= 8 or (inner >= 512 and outer * inner >= 1024):
        return 1
    goal = min(_PARTS, outer * count * inner // 8192, count // 16)
    return next(filter(divides, range(goal, 1, -1)), 1)


def parts_of_depth(m: int, k: int, n: int) -> int:
    """Into how many parts the terms of a product are cut that has few results for its depth."""
    divides = _divides(k)
    m, k, n = at_hint((m, k, n))
    if m * n > _FEW_RESULTS or k < 4 * _PART_OF_DEPTH:
        return 1
    goal = min(_PARTS, k // _PART_OF_DEPTH)
    return next(filter(divides, range(goal, goal // 2, -1)), 1)


def _divides(number: int) -> Callable[[int], bool]:
    """Whether a part divides a number; a symbolic one, whatever the batch size is."""
    def divides(part: int) -> bool:
        rest = number % part
        return type(rest) is int and rest == 0

    return divides
