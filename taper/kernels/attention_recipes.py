"""What attention over many matrices of known sizes launches; see compiler/attention_squares.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache

from taper.compiler.attention_squares import (
    BACKWARD_ARRAYS,
    FORWARD_ARRAYS,
    LONGEST,
    WIDEST,
    Attention,
    attention_backward,
    attention_forward,
)
from taper.kernels.launch_recipes import Recipe, Stage
from taper.kernels.native import Kernel

__all__ = ["backward_recipe", "forward_recipe", "has_squares"]

Ints = tuple[int, ...]

_GRAIN = 1 << 18  # multiplications that are worth a thread of their own
_FEWEST_MATRICES = 8  # for all threads to have some


def has_squares(matrices: int, queries: int, keys: int, size: int, value_size: int) -> bool:
    """Whether a task takes a whole matrix of such sizes."""
    return (matrices >= _FEWEST_MATRICES and queries > 0 and 0 < keys <= LONGEST
            and min(size, value_size) > 0 and max(size, value_size) <= WIDEST)


@cache
def _kernel(write: Callable[..., str], words: int, what: Attention) -> Kernel:
    return Kernel.of(write, words, what)


def _stage(
    write: Callable[..., str], what: Attention, arrays: tuple[str, ...], matrices: int,
    products: int,
) -> Stage:
    work = what.queries * what.keys * (what.size + what.value_size) * products // 2
    return Stage(_kernel(write, len(arrays), what), arrays, (), matrices, max(1, _GRAIN // work),
                 f"{matrices} matrices of {what.queries} x {what.keys}")


@lru_cache(maxsize=256)
def forward_recipe(what: Attention, matrices: int, shape: Ints) -> Recipe:
    """The mixed values, in memory of a shape, and the logsumexp of scores, of query, key, value."""
    return Recipe(
        (_stage(attention_forward, what, FORWARD_ARRAYS, matrices, 2),), (), shape,
        ("query", "key", "value"), (("logsum", (matrices, what.queries)),))


@lru_cache(maxsize=256)
def backward_recipe(what: Attention, matrices: int, shapes: tuple[Ints, ...]) -> Recipe:
    """The gradients of query, key and value, in memory of three shapes, or all in one."""
    names = ("result", "for_key", "for_value") if len(shapes) > 1 else ("result",) * 3
    given = BACKWARD_ARRAYS[: -len(names)]
    # The result of the forward pass is an operand here: it has another name.
    given = tuple(["mixed" if name == "result" else name for name in given])
    return Recipe(
        (_stage(attention_backward, what, (*given, *names), matrices, 5),), (), shapes[0],
        given, tuple(zip(names[1:], shapes[1:], strict=False)))

