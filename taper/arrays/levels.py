"""Levels: which vmaps are running, how deep, what each of them wants of random numbers, and what
none of them can do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any

__all__ = [
    "Level", "Running", "batched_like", "control_flow_error", "in_place_error", "is_batched",
    "item_error", "outside", "recording_draws", "running", "running_levels", "running_recorder",
    "shapes_error",
]

_next_number = count(1).__next__


class Level:
    """One call of a vmapped function: the name of the axis that its samples lie along.

    Attributes:
        number: larger for younger levels; a younger level's axis is outside of an older one's.
        size: how many samples there are.
        depth: how many vmaps run inside each other there, 1 for the outermost; for printing.
        randomness: "error", "different" or "same".
        start: the sequence number that the tape had reached when it began.
        seen: the sequence numbers of nodes of the tape that ops/batch_dims.py is done with.
    """

    __slots__ = ("_token", "depth", "number", "randomness", "seen", "size", "start")

    def __init__(self, size: int, randomness: str, start: int) -> None:
        self.number = _next_number()
        self.size = size
        self.depth = 0
        self.randomness = randomness
        self.start = start
        self.seen: set[int] = set()

    def __enter__(self) -> Level:
        """Begins: the level is the innermost of those that run in this context."""
        outer = running_levels()
        self.depth = len(outer) + 1
        self._token = _levels.set((*outer, self))
        running.vmaps += 1
        return self

    def __exit__(self, *exception: Any) -> None:
        running.vmaps -= 1
        _levels.reset(self._token)

    def __repr__(self) -> str:
        return f"Level({self.number}, size={self.size})"


def is_batched(array: Any) -> bool:
    """Whether an array is of the class that hides an axis (arrays/batched.py)."""
    return hasattr(array, "level")


def batched_like(array: Any, *others: Any) -> Any:
    """The array, batched on the youngest level that any of `others` is batched on."""
    own: Any = getattr(array, "level", None)
    level = own
    for other in others:
        found = getattr(other, "level", None)
        if found is not None and (level is None or found.number > level.number):
            level = found
    if level is own:
        return array
    from taper.arrays.batched_rules import BatchedArray, expanded  # most programs never need it

    return BatchedArray(expanded(array, level), level)


class Running:
    """How many vmaps and recorders run anywhere in the process: zero lets random functions ask no
    further."""

    __slots__ = ("vmaps",)

    def __init__(self) -> None:
        self.vmaps = 0


running = Running()
_levels: ContextVar[tuple[Level, ...]] = ContextVar("levels", default=())
running_levels = _levels.get
_recorder: ContextVar[Callable[..., Any] | None] = ContextVar("recorder", default=None)
running_recorder = _recorder.get


@contextmanager
def recording_draws(draw: Callable[..., Any]) -> Iterator[None]:
    """Within: `draw(kernel, generator, …)` is called in the place of kernels that draw."""
    token = _recorder.set(draw)
    running.vmaps += 1
    try:
        yield
    finally:
        running.vmaps -= 1
        _recorder.reset(token)


@contextmanager
def outside() -> Iterator[None]:
    """Within: as if no vmap ran."""
    token = _levels.set(())
    try:
        yield
    finally:
        _levels.reset(token)


# -- what can't be done for all samples at once ----------------------------------------------------


def item_error() -> RuntimeError:
    return RuntimeError(
        "vmap: It looks like you're calling .item() on a Tensor. We don't support vmap over "
        "calling .item() on a Tensor, please try to rewrite what you're doing with other "
        "operations: each sample may have another value."
    )


def control_flow_error() -> RuntimeError:
    return RuntimeError(
        "vmap: It looks like you're attempting to use a Tensor in some data-dependent control "
        "flow. We don't support that yet: each sample may go another way; torch.where() chooses "
        "between values."
    )


def shapes_error(name: str) -> RuntimeError:
    return RuntimeError(
        "vmap: We do not support batching operators that can output dynamic shape. Attempted to "
        f"vmap over aten::{name}: its result has another shape for each sample."
    )


def in_place_error() -> RuntimeError:
    return RuntimeError(
        "vmap: inplace arithmetic(self, *extra_args) is not possible because there exists a Tensor "
        "`other` in extra_args that has more elements than `self`. This happened due to `other` "
        "being vmapped over but `self` not being vmapped over in a vmap. Please try to use "
        "out-of-place operators instead of inplace arithmetic, or make `self` from a tensor that "
        "is vmapped over, as by torch.zeros_like(other) or other.new_zeros(shape)."
    )
