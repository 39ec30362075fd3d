"""Custom functions within a vmap: their own `vmap` staticmethod stands for the transform."""

from __future__ import annotations

from typing import Any, NamedTuple

from taper.arrays.levels import Level, running_levels
from taper.autograd import function as functions
from taper.core.tensor import Tensor
from taper.ops.batch_dims import enter, has_level, leave

__all__ = ["VmapInfo", "apply_to_samples", "innermost_level"]


class VmapInfo(NamedTuple):
    """What a `vmap` staticmethod is told: how many samples, and the randomness mode."""

    batch_size: int
    randomness: str


def innermost_level(args: Any) -> Level | None:
    """The innermost running vmap that any of these tensors is batched by."""
    for level in reversed(running_levels()):
        if any([isinstance(a, Tensor) and has_level(a._array, level) for a in args]):
            return level
    return None


def apply_to_samples(rule: Any, name: str, args: tuple[Any, ...], level: Level) -> Any:
    """Calls ``rule(info, in_dims, *args)`` with all samples; the result as one sample sees it."""
    in_dims = tuple([
        0 if isinstance(a, Tensor) and has_level(a._array, level) else None for a in args
    ])
    whole = [a if d is None else leave(a, 0, level) for a, d in zip(args, in_dims, strict=True)]
    found = rule(VmapInfo(level.size, level.randomness), in_dims, *whole)
    if not isinstance(found, tuple) or len(found) != 2:
        raise RuntimeError(
            f"Expected {name}'s vmap to return a tuple of two: (outputs, out_dims), got "
            f"{type(found)}"
        )
    outputs, out_dims = found
    if isinstance(outputs, Tensor):
        return outputs if out_dims is None else _entered(outputs, out_dims, level)
    if not isinstance(out_dims, (tuple, list)):
        out_dims = (out_dims,) * len(outputs)
    return type(outputs)([
        o if d is None or not isinstance(o, Tensor) else _entered(o, d, level)
        for o, d in zip(outputs, out_dims, strict=True)
    ])


def _entered(output: Tensor, dim: int, level: Level) -> Tensor:
    return enter(output, dim % output._array.ndim, level)


functions.innermost_level = innermost_level
functions.apply_to_samples = apply_to_samples
