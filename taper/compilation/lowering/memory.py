"""Where stored values lie: one arena, in which values that aren't needed at the same time share
memory."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

__all__ = ["plan"]

_LINE = 64
Key = TypeVar("Key", bound=Hashable)


def plan(lives: Mapping[Key, tuple[int, int, int]]) -> tuple[dict[Key, int], int]:
    """Offsets for values given as (bytes, first use, last use), and the bytes of it all.

    Large ones are placed first, each in the smallest gap among those that live at the same time.
    """
    order = sorted(lives, key=lambda k: (-lives[k][0], lives[k][1]))
    placed: list[tuple[int, int, int, int]] = []  # begin, end, first, last
    offsets: dict[Key, int] = {}
    total = 0
    for key in order:
        size, first, last = lives[key]
        size = -(-max(size, 1) // _LINE) * _LINE
        taken = sorted((b, e) for b, e, f, z in placed if f <= last and first <= z)
        best, best_gap = None, None
        end = 0
        for begin, stop in taken:
            gap = begin - end
            if gap >= size and (best_gap is None or gap < best_gap):
                best, best_gap = end, gap
            end = max(end, stop)
        start = end if best is None else best
        offsets[key] = start
        placed.append((start, start + size, first, last))
        total = max(total, start + size)
    return offsets, total
