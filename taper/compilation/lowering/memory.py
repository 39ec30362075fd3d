"""Where stored values lie: one arena, in which values that aren't needed at the same time share
memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from itertools import accumulate
from typing import Any, TypeVar

__all__ = ["plan"]

_LINE = 64
Key = TypeVar("Key", bound=Hashable)
Life = tuple[int, int, int]  # bytes, first use, last use

_ROUNDS = 12

# Which values are placed first, to begin with. No order is best for all programs.
_ORDERS: tuple[Callable[[Life], Any], ...] = (
    lambda life: (-life[0], life[1]),
    lambda life: (life[1] - life[2], -life[0]),
    lambda life: (-life[0] * (life[2] - life[1] + 1), life[1]),
)


def plan(lives: Mapping[Key, Life], rounds: int = _ROUNDS) -> tuple[dict[Key, int], int]:
    """Offsets for values given as (bytes, first use, last use), and the bytes of it all.

    Values are placed one after the other, each in the smallest gap among those that live at the
    same time. Whoever ends up at the top is placed first in the next round, until no more is needed
    than what lives at the same time.
    """
    rounded = {key: (-(-max(size, 1) // _LINE) * _LINE, first, last)
               for key, (size, first, last) in lives.items()}
    least = _most_at_once(rounded)
    best: tuple[dict[Key, int], int] = {}, sum(size for size, _, _ in rounded.values()) + 1
    for start in _ORDERS:
        order = sorted(rounded, key=lambda key: start(rounded[key]))
        for _ in range(rounds):
            offsets, total = _placed(rounded, order)
            if total < best[1]:
                best = offsets, total
            if best[1] <= least:
                return best
            order.sort(key=lambda key: offsets[key] + rounded[key][0] < total)
    return best


def _most_at_once(lives: Mapping[Key, Life]) -> int:
    """The bytes that live when most of them do."""
    changes = [0] * (2 + max((last for _, _, last in lives.values()), default=0))
    for size, first, last in lives.values():
        changes[first] += size
        changes[last + 1] -= size
    return max(accumulate(changes))


def _placed(lives: Mapping[Key, Life], order: list[Key]) -> tuple[dict[Key, int], int]:
    placed: list[tuple[int, int, int, int]] = []  # begin, end, first, last
    offsets: dict[Key, int] = {}
    total = 0
    for key in order:
        size, first, last = lives[key]
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
