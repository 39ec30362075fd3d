"""Sums that are quick on few elements and accurate on many.

NumPy adds pairwise only along the fastest axis of an array, and in plain order along the others:
its error grows with the length, where PyTorch's cascade stays near one rounding. Here BLAS adds
blocks of at most 1024 elements (a product with ones), and the sums of the blocks are added the
same way, so the error grows with the logarithm. Blocks stay below the size at which OpenBLAS
would start threads for a matrix-vector product. The same products halve the time of small sums.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from taper.arrays.symbolic_shape import is_symbolic
from taper.kernels import small_sums
from taper.kernels.native_twin import with_native

__all__ = [
    "as_divisor", "multiply_rows", "small_total", "sum_many", "sum_of_squares", "sum_over",
]

ndarray = np.ndarray
F32, F64 = np.dtype("float32"), np.dtype("float64")
_add = np.add.reduce

_BLOCK = 1024  # the longest run that is added without splitting
_PANEL = 8192  # elements of one matrix-vector product; OpenBLAS threads from about 9200
_COLUMN_BLOCK = 128  # the same for sums over rows, which no vector register splits further
_MANY = 32768  # elements from which on a native kernel adds them
_WIDE = 256  # rows of this many columns are added faster row by row

_ones32: dict[int, Any] = {}
_ones64: dict[int, Any] = {}


def _ones(n: int, dtype: Any) -> Any:
    kept = _ones32 if dtype is F32 else _ones64
    found = kept.get(n)
    if found is None:
        found = kept[n] = np.ones(n, dtype)
    return found


_divisors: dict[tuple[float, Any], Any] = {}


def as_divisor(n: float, dtype: Any) -> Any:
    """A Python number as a 0-d array, kept: dividing an array by one is three times as quick."""
    if is_symbolic(n):
        return n
    found = _divisors.get((n, dtype))
    if found is None:
        if len(_divisors) > 1024:
            _divisors.clear()
        found = _divisors[n, dtype] = np.asarray(n).astype(dtype)
    return found


def small_total(x: Any) -> Any:
    """The sum of all of a few floating point elements; None if they are many, or others.

    Kept ones tell both: there are some for a size only once `sum_over` found it small.
    """
    dtype = x.dtype
    ones = (
        _ones32.get(x.size) if dtype is F32 else _ones64.get(x.size) if dtype is F64 else None
    )
    if ones is None or type(x) is not ndarray:
        return None
    return small_sums.times_ones(x, ones)


def sum_over(x: Any, axis: Any = None, keepdim: bool = False) -> Any:
    """The sum over `axis`: None for all axes, an int, or a tuple of ints, none negative."""
    if type(x) is not ndarray:
        return _add(x, axis, None, None, keepdim)
    dtype = x.dtype
    if dtype is not F32 and dtype is not F64:
        return _add(x, axis, None, None, keepdim)
    n = x.size
    if n <= _PANEL:
        if axis is None:
            if n <= _BLOCK and not keepdim:
                ones = (_ones32 if dtype is F32 else _ones64).get(n)
                return small_sums.times_ones(x, _ones(n, dtype) if ones is None else ones)
            if x.flags.c_contiguous:
                return _add(x, None, None, None, keepdim)
        elif x.ndim == 2 and type(axis) is int:
            if axis == 1:
                if x.shape[1] <= _BLOCK:
                    result = x.dot(_ones(x.shape[1], dtype))
                    return result[:, None] if keepdim else result
            elif x.shape[0] <= _COLUMN_BLOCK:
                result = _ones(x.shape[0], dtype).dot(x)
                return result[None] if keepdim else result
        if n <= _BLOCK:
            return _add(x, axis, None, None, keepdim)
    return sum_many(x, axis, keepdim)


def sum_of_squares(x: Any, axis: Any = None, keepdim: bool = False) -> Any:
    """The sum of the squares of real numbers over `axis`, as in `sum_over`, without their array."""
    if x.size > _MANY:
        return square_many(x, axis, keepdim)
    return _square(x, axis, keepdim)


def _square(x: Any, axis: Any, keepdim: bool) -> Any:
    if type(x) is ndarray and (x.dtype is F32 or x.dtype is F64):
        if axis is None and not keepdim:
            flat = x.ravel()
            n = flat.size
            if n <= _BLOCK:
                return flat.dot(flat)
            whole = n - n % _BLOCK
            blocks = flat[:whole].reshape(-1, _BLOCK)
            rest = flat[whole:]
            return sum_over(np.vecdot(blocks, blocks)) + rest.dot(rest)
        if type(axis) is int and axis == x.ndim - 1 and x.shape[axis] <= _PANEL:
            result = np.vecdot(x, x)
            return result[..., None] if keepdim else result
    return sum_over(x * x, axis, keepdim)


@with_native("taper.kernels.native_reductions", is_large=lambda x, axis, keepdim: True)
def square_many(x: Any, axis: Any, keepdim: bool) -> Any:
    """`sum_of_squares` of many elements."""
    return _square(x, axis, keepdim)


def multiply_rows(x: Any) -> Any:
    """The product along the last axis. Halves of long rows are multiplied with each other, which
    NumPy does several elements at a time, unlike its reduction."""
    n = x.shape[-1]
    while n > 32 and x.size > _BLOCK and type(x) is ndarray:
        half = n // 2
        halves = x[..., :half] * x[..., half : 2 * half]
        if n % 2:
            halves[..., 0] *= x[..., -1]
        x, n = halves, half
    return np.multiply.reduce(x, -1)


@with_native("taper.kernels.native_reductions", is_large=lambda x, axis, keepdim: x.size > _MANY)
def sum_many(x: Any, axis: Any, keepdim: bool) -> Any:
    """The sum of many float32 or float64 elements, in blocks."""
    if axis is None:
        if x.flags.c_contiguous:
            total = _row_sums(x.reshape(1, -1))
            return total.reshape((1,) * x.ndim if keepdim else ())
        axes: tuple[int, ...] = tuple(range(x.ndim))
    else:
        axes = (axis,) if type(axis) is int else tuple(axis)
    shape = x.shape
    if not x.flags.c_contiguous:
        order = sorted(range(x.ndim), key=lambda d: -x.strides[d])
        y = x.transpose(order)
        if order != list(range(x.ndim)) and y.flags.c_contiguous:
            back = np.argsort(order)
            moved = tuple(int(back[d]) for d in axes)
            result = sum_many(y, moved, True).transpose([int(b) for b in back])
            return result if keepdim else result.reshape(_without(shape, axes))
        x = x.copy()
    kept = tuple(1 if d in axes else s for d, s in enumerate(shape))
    for outer, n, inner in _merged(shape, axes):
        x = _column_sums(x.reshape(outer, n, inner)) if inner > 1 else (
            _row_sums(x.reshape(outer, n)))
    return x.reshape(kept if keepdim else _without(shape, axes))


def _without(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(s for d, s in enumerate(shape) if d not in axes)


def _merged(shape: tuple[int, ...], axes: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """(outer, reduced, inner) sizes for each run of neighbouring reduced axes, last run first."""
    steps = []
    inner = 1
    d = len(shape) - 1
    while d >= 0:
        if d in axes:
            n = 1
            while d >= 0 and d in axes:
                n *= shape[d]
                d -= 1
            steps.append((prod(shape[: d + 1]), n, inner))
        else:
            inner *= shape[d]
            d -= 1
    return steps


def _row_sums(x: Any) -> Any:
    """The sum of each row of a contiguous matrix."""
    rows, n = x.shape
    if n == 1:
        return x.reshape(rows)
    if n > _BLOCK:
        blocks = n // _BLOCK
        sums = np.empty((rows, blocks + (n % _BLOCK > 0)), x.dtype)
        ones = _ones(_BLOCK, x.dtype)
        whole = x[:, : blocks * _BLOCK].reshape(rows, blocks, _BLOCK)
        group = _PANEL // _BLOCK
        even = blocks - blocks % group
        if even:
            panels = whole[:, :even].reshape(rows, -1, group, _BLOCK)
            sums[:, :even] = np.matmul(panels, ones).reshape(rows, even)
        if even < blocks:
            sums[:, even:blocks] = np.matmul(whole[:, even:], ones)
        if n % _BLOCK:
            sums[:, -1] = np.matmul(x[:, blocks * _BLOCK:], _ones(n % _BLOCK, x.dtype))
        return _row_sums(sums)
    ones = _ones(n, x.dtype)
    group = _PANEL // n if n else rows
    if rows <= group:
        return x.dot(ones)
    even = rows - rows % group
    result = np.empty(rows, x.dtype)
    np.matmul(x[:even].reshape(-1, group, n), ones, result[:even].reshape(-1, group))
    if even < rows:
        np.dot(x[even:], ones, result[even:])
    return result


def _column_sums(x: Any) -> Any:
    """The sum over the middle axis of a contiguous array of three."""
    outer, n, inner = x.shape
    if n == 1:
        return x.reshape(outer, inner)
    block = _COLUMN_BLOCK if inner >= _WIDE else min(_COLUMN_BLOCK, _PANEL // inner)
    if n <= block:
        return _add(x, 1) if inner >= _WIDE else np.matmul(_ones(n, x.dtype), x)
    blocks = n // block
    whole = x[:, : blocks * block].reshape(outer, blocks, block, inner)
    sums = np.empty((outer, blocks + (n % block > 0), inner), x.dtype)
    if inner >= _WIDE:
        _add(whole, 2, None, sums[:, :blocks])
    else:
        np.matmul(_ones(block, x.dtype), whole, sums[:, :blocks])
    if n % block:
        _add(x[:, blocks * block:], 1, None, sums[:, -1])
    return _column_sums(sums)
