"""Where the values of compiled programs lie."""

from __future__ import annotations

import numpy as np
import pytest

from taper.compilation.lowering.memory import plan


def check_plan(lives: dict[str, tuple[int, int, int]]) -> int:
    """Nobody lies in the memory of another one that lives at the same time; returns the bytes."""
    offsets, total = plan(lives)
    for a, (size, first, last) in lives.items():
        assert offsets[a] % 64 == 0
        assert offsets[a] + size <= total
        for b, (_, other_first, other_last) in lives.items():
            if a != b and first <= other_last and other_first <= last:
                assert offsets[b] >= offsets[a] + size or offsets[a] >= offsets[b] + 1
    return total


def test_memory_is_used_again() -> None:
    assert check_plan({"a": (100, 0, 1), "b": (100, 1, 2), "c": (100, 2, 3)}) == 256
    assert plan({}) == ({}, 0)


def test_what_is_at_the_top_is_placed_first_in_the_next_round() -> None:
    # The largest first leaves a hole beside "b" that "c" and "d" don't fit in together.
    lives = {"a": (256, 0, 1), "b": (256, 3, 4), "c": (192, 1, 3), "d": (192, 2, 3)}
    assert check_plan(lives) == 640


@pytest.mark.parametrize("seed", range(20))
def test_random_lives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 40, 60)
    lives = {str(i): (int(rng.integers(1, 5000)), int(f), int(f + rng.integers(0, 15)))
             for i, f in enumerate(first)}
    at_once = max(sum(s for s, f, z in lives.values() if f <= t <= z) for t in range(60))
    assert check_plan(lives) <= 1.25 * at_once + 64 * 60
