"""Native kernels that choose: by a mask, the largest few, and elementwise definitions that look at
values or shapes before they compute."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from taper.arrays.element import kind_of
from taper.compiler.topk_kernels import topk_kernel
from taper.kernels.native import GRAIN, Elementwise, Kernel
from taper.runtime.large_arrays import new_array
from taper.runtime.planned_calls import constant, replayed

__all__ = ["floor_divide", "masked_fill", "remainder", "topk", "tril", "triu"]

ndarray = np.ndarray
_where = Elementwise(np.where, (0, 1, 2), stores_half=True)
_floor_divide = Elementwise(np.floor_divide, (0, 1))
_remainder = Elementwise(np.remainder, (0, 1))


@replayed
def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """`masked_fill` with a number or an array without dimensions."""
    if type(input) is not ndarray or mask.dtype.kind != "b" or mask.shape != input.shape:
        return None
    if type(value) is not ndarray:
        try:
            value = constant(np.array(value, input.dtype))
        except (OverflowError, TypeError, ValueError):  # the definition says what is wrong
            return None
    elif value.dtype is not input.dtype:
        value = value.astype(input.dtype)
    return None if value.ndim else _where.compute((mask, value, input), {})


def _without_zeros(other: Any) -> bool:
    """Whether no integer divisor is zero, which the definition refuses."""
    return type(other) is ndarray and not (other.dtype.kind in "iu" and (other == 0).any())


def floor_divide(input: Any, other: Any) -> Any:
    return _floor_divide.compute((input, other), {}) if _without_zeros(other) else None


def remainder(input: Any, other: Any) -> Any:
    return _remainder.compute((input, other), {}) if _without_zeros(other) else None


_KEYED = [np.dtype(name) for name in ("f4", "f8", "i4", "i8")]
_MOST_KEPT = 256  # beyond, to keep them sorted takes longer than to partition the row


@cache
def _topk_kernel(dtype: Any, largest: bool) -> Kernel:
    return Kernel.of(topk_kernel, 5, kind_of(dtype), largest, name="topk")


@replayed
def topk(
    input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> Any:
    """The largest or smallest few of rows along memory, and their places."""
    if type(input) is not ndarray or type(k) is not int or type(dim) is not int or (
        dim not in (-1, input.ndim - 1) or input.dtype not in _KEYED
    ) or not input.flags.c_contiguous:
        return None
    *before, n = input.shape
    if not 0 < k <= _MOST_KEPT or 8 * k > n:
        return None
    kernel = _topk_kernel(input.dtype, bool(largest))
    address = kernel.address()
    if address is None:
        return None
    rows = input.size // n
    values = new_array((*before, k), input.dtype, rows * k)
    places = new_array((*before, k), np.dtype(np.int64), rows * k)
    kernel.launch(address, (input, values, places), (n, k), rows, max(1, GRAIN // n))
    return values, places


def _kept_below(x: Any, row: Any, column: Any) -> Any:
    return np.where(np.greater_equal(row, column), x, x.dtype.type(0))


def _kept_above(x: Any, row: Any, column: Any) -> Any:
    return np.where(np.greater_equal(row, column), x.dtype.type(0), x)


_TRIANGLES = {lower: Elementwise(kept, (0, 1, 2), stores_half=True)
              for lower, kept in ((True, _kept_below), (False, _kept_above))}
_I32 = np.dtype(np.int32)


@replayed
def _triangle(input: Any, diagonal: Any, lower: bool) -> Any:
    """The elements on and below a diagonal, or those above."""
    if type(input) is not ndarray or type(diagonal) is not int or input.ndim < 2 or (
        max(input.shape[-2:]) + abs(diagonal) > 1 << 30
    ) or not input.flags.c_contiguous:
        return None
    rows, columns = input.shape[-2:]
    row = constant(np.arange(diagonal, rows + diagonal, dtype=_I32)[:, None])
    column = constant(np.arange(columns, dtype=_I32))
    return _TRIANGLES[lower].compute((input, row, column), {})


def tril(input: Any, diagonal: int = 0) -> Any:
    return _triangle(input, diagonal, True)


def triu(input: Any, diagonal: int = 0) -> Any:
    return None if type(diagonal) is not int else _triangle(input, diagonal - 1, False)
