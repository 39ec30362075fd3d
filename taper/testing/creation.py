"""`make_tensor`: random tensors for tests, within the bounds of their dtype."""

from __future__ import annotations

import math
from typing import Any

import taper
from taper import Tensor

__all__ = ["make_tensor"]


def make_tensor(
    *shape: Any, dtype: Any, device: Any = "cpu", low: float | None = None,
    high: float | None = None, requires_grad: bool = False, noncontiguous: bool = False,
    exclude_zero: bool = False, memory_format: Any = None,
) -> Tensor:
    """Makes a tensor of uniformly distributed values from `low` up to `high`.

    Args:     exclude_zero: replace zeros by the smallest positive number, or 1
        noncontiguous: leave gaps in memory between the elements
    Dtype:    default bounds: [0, 2) for bool, [0, 10) for uint8, [-9, 10) for integers, [-9, 9)
        for floating point and complex
    Example:
        >>> import taper as torch
        >>> torch.testing.make_tensor(2, 3, dtype=torch.float32, low=0, high=1).shape
        torch.Size([2, 3])
    """
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = tuple(shape[0])
    if dtype is taper.bool:
        bounds: tuple[float, float] = (0, 2)
    elif dtype.is_floating_point or dtype.is_complex:
        bounds = (-9, 9)
    else:
        bounds = (0, 10) if not dtype.is_signed else (-9, 10)
    low = bounds[0] if low is None else low
    high = bounds[1] if high is None else high
    if low > high:
        raise ValueError(f"`low` must be less than or equal to `high`, but got {low} > {high}")
    size = (*shape[:-1], 2 * shape[-1]) if noncontiguous and shape else tuple(shape)
    if dtype.is_complex:
        real = taper.empty(size, dtype=dtype.to_real()).uniform_(low, high)
        result = taper.complex(real, taper.empty_like(real).uniform_(low, high))
    elif dtype.is_floating_point:
        kind = dtype if dtype.itemsize > 1 else taper.float32
        result = taper.empty(size, dtype=kind).uniform_(low, high).to(dtype)
    else:
        top = max(math.ceil(high), math.ceil(low) + 1)
        result = taper.randint(math.ceil(low), top, size, dtype=dtype)
    if noncontiguous and shape:
        result = result[..., ::2]
    if exclude_zero:
        smallest = taper.finfo(dtype).tiny if dtype.is_floating_point or dtype.is_complex else 1
        result[result == 0] = smallest
    if memory_format is not None:
        result = result.clone(memory_format=memory_format)
    return result.requires_grad_(requires_grad)
