"""Picking and placing elements along one axis by an array of indices, one lane at a time.

A lane is what varies along the axis while every other index stays. Instead of one index array per
axis, which NumPy's fancy indexing walks slowly, positions in the flattened array are computed:
``index * stride + offset of the lane``; the offsets are kept for the next call. Arrays that are not
`np.ndarray` take NumPy's own functions, which their classes can see.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from taper.arrays.symbolic_shape import array_of, is_symbolic, running_environment
from taper.kernels.memory_order import in_rows

__all__ = [
    "check_index", "flat_positions", "pick", "pick_one", "place", "plain_positions",
    "plain_slice_positions", "reduce_at", "slice_positions",
]

ndarray = np.ndarray
_U64 = np.dtype("uint64")
_I64 = np.dtype("int64")


def check_index(index: Any, size: int, dim: int, *, words: str = "") -> None:
    """Raises IndexError unless all indices are in [0, size); `words` replaces the message."""
    if type(index) is not ndarray or index.size == 0:
        return
    if index.dtype is _I64:
        unsigned = index.ravel().view(_U64)  # negative ones become huge
        if unsigned[unsigned.argmax()] < size:
            return
    bad = index[(index < 0) | (index >= size)]
    if bad.size:
        raise IndexError(words or (
            f"index {bad[0]} is out of bounds for dimension {dim} with size {size}"
        ))


def _lanes(shape: tuple[int, ...], dim: int, index_shape: tuple[int, ...]) -> tuple[int, Any]:
    """The step from one element of a lane to the next in the flattened array, and where each lane
    starts there; None if there is one lane, at 0."""
    if running_environment() is None or not any(map(is_symbolic, (*shape, *index_shape))):
        return _kept_lanes(shape, dim, index_shape)
    has_several = any([n != 1 for d, n in enumerate(index_shape) if d != dim])
    return prod(shape[dim + 1:]), (
        array_of(_starts, shape, dim, index_shape) if has_several else None)


@lru_cache(maxsize=256)
def _kept_lanes(
    shape: tuple[int, ...], dim: int, index_shape: tuple[int, ...]
) -> tuple[int, Any]:
    starts = _starts(shape, dim, index_shape)
    if starts is not None:
        starts.flags.writeable = False
    return prod(shape[dim + 1:]), starts


def _starts(shape: tuple[int, ...], dim: int, index_shape: tuple[int, ...]) -> Any:
    total: Any = None
    stride = 1
    for d in range(len(shape) - 1, -1, -1):
        if d != dim and index_shape[d] != 1:
            steps = np.arange(0, index_shape[d] * stride, stride).reshape(
                (-1,) + (1,) * (len(shape) - 1 - d)
            )
            total = steps if total is None else total + steps
        stride *= shape[d]
    return total


_FILLED = 4096  # up to this many, offsets are kept for each element: adding them is quicker


@lru_cache(maxsize=256)
def _plan(shape: tuple[int, ...], dim: int, index_shape: tuple[int, ...]) -> Any:
    """(size, step, offsets) if an index of this shape is a plain one for gather and scatter."""
    ndim = len(shape)
    if not ndim or len(index_shape) != ndim or 0 in index_shape or not -ndim <= dim < ndim:
        return None
    dim %= ndim
    if any(d != dim and n > shape[d] for d, n in enumerate(index_shape)):
        return None
    step, offsets = _lanes(shape, dim, index_shape)
    if offsets is not None and prod(index_shape) <= _FILLED:
        offsets = np.ascontiguousarray(np.broadcast_to(offsets, index_shape))
        offsets.flags.writeable = False
    return shape[dim], step, offsets


def plain_positions(x: Any, dim: Any, index: Any) -> Any:
    """`flat_positions`, if all is as usual: int64 indices that fit and are in range; else None."""
    if index.dtype is not _I64 or type(dim) is not int or type(x) is not ndarray:
        return None
    plan = _plan(x.shape, dim, index.shape)
    if plan is None:
        return None
    size, step, offsets = plan
    unsigned = index.ravel().view(_U64)
    if unsigned[unsigned.argmax()] >= size:
        return None
    if step != 1:
        index = index * step
    return index if offsets is None else index + offsets


@lru_cache(maxsize=256)
def _slice_plan(
    shape: tuple[int, ...], dim: int, count: int, like: tuple[int, ...]
) -> Any:
    """(size, step, offsets, shape of the index) if slices of this shape fit, `count` of them."""
    ndim = len(shape)
    if not ndim or not -ndim <= dim < ndim or len(like) != ndim or like[dim] != count:
        return None
    dim %= ndim
    if any(d != dim and n != shape[d] for d, n in enumerate(like)) or 0 in like:
        return None
    step, offsets = _lanes(shape, dim, like)
    return shape[dim], step, offsets, (count, *(1,) * (ndim - 1 - dim))


def plain_slice_positions(
    x: Any, dim: Any, index: Any, like: tuple[int, ...], wanted: bool = True
) -> Any:
    """`slice_positions`, or `index` unless they are `wanted`, if all is as usual; else None."""
    if index.dtype is not _I64 or index.ndim != 1 or type(dim) is not int or (
        type(index) is not ndarray
    ):
        return None
    plan = _slice_plan(x.shape, dim, index.size, like)
    if plan is None:
        return None
    size, step, offsets, lined = plan
    unsigned = index.view(_U64) if index.flags.c_contiguous else index.astype(_U64)
    if unsigned[unsigned.argmax()] >= size:
        return None
    if not wanted:
        return index
    if step != 1:
        index = index * step
    return index.reshape(like) if offsets is None else index.reshape(lined) + offsets


def flat_positions(shape: tuple[int, ...], dim: int, index: Any) -> Any:
    """Positions, in a contiguous array of this shape, of the elements that `index` names."""
    if index.dtype is not _I64:
        index = index.astype(_I64)
    step, offsets = _lanes(shape, dim, index.shape)
    if step != 1:
        index = index * step
    return index if offsets is None else index + offsets


def slice_positions(shape: tuple[int, ...], dim: int, index: Any, like: tuple[int, ...]) -> Any:
    """As `flat_positions`, of all elements of the slices along `dim` that a vector names; they
    have the shape `like`."""
    if index.dtype is not _I64:
        index = index.astype(_I64)
    step, offsets = _lanes(shape, dim, like)
    if step != 1:
        index = index * step
    if offsets is None:
        return index.reshape(like)
    return index.reshape(-1, *(1,) * (len(like) - 1 - dim)) + offsets


def pick(x: Any, dim: int, index: Any) -> Any:
    """``x[..., index[...], ...]`` along `dim`; `index` is as long as x or shorter elsewhere."""
    if type(x) is not ndarray or type(index) is not ndarray:
        narrowed = tuple(
            slice(None) if d == dim else slice(0, n) for d, n in enumerate(index.shape)
        )
        return in_rows(np.take_along_axis(x[narrowed], index, dim))
    return x.ravel().take(flat_positions(x.shape, dim, index))


def pick_one(x: Any, dim: int, index: Any) -> Any:
    """One element of each lane: `index` lacks the dimension `dim`, and so does the result."""
    if type(x) is not ndarray or type(index) is not ndarray:
        return in_rows(np.take_along_axis(x, np.expand_dims(index, dim), dim)).reshape(index.shape)
    shape = x.shape
    step, offsets = _one_of_each(shape, dim)
    if step != 1:
        index = index * step
    return x.ravel().take(index if offsets is None else index + offsets)


@lru_cache(maxsize=256)
def _one_of_each(shape: tuple[int, ...], dim: int) -> tuple[int, Any]:
    """As `_lanes`, for one index per lane, without the dimension `dim`."""
    rest = shape[:dim] + shape[dim + 1:]
    step, offsets = _lanes(shape, dim, (*shape[:dim], 1, *shape[dim + 1:]))
    if offsets is not None:
        offsets = np.broadcast_to(offsets, (*shape[:dim], 1, *shape[dim + 1:])).reshape(rest)
    return step, offsets


def place(x: Any, dim: int, index: Any, values: Any) -> Any:
    """A copy of `x` with `values` at `index`; the last one stays where indices repeat."""
    result = x.copy()
    if type(x) is not ndarray:
        narrowed = tuple(
            slice(None) if d == dim else slice(0, n) for d, n in enumerate(index.shape)
        )
        np.put_along_axis(result[narrowed], index, values, dim)
        return result
    if not result.flags.c_contiguous:
        result = result.copy(order="C")
    result.reshape(-1)[flat_positions(x.shape, dim, index)] = values
    return result


def reduce_at(ufunc: Any, x: Any, dim: int, index: Any, values: Any) -> Any:
    """A copy of `x` in which `ufunc` joined each of `values` to the element at `index`."""
    result = x.copy(order="C")
    flat = result.reshape(-1)
    if values.shape != index.shape:
        values = values[tuple(slice(0, n) for n in index.shape)]
    ufunc.at(flat, flat_positions(x.shape, dim, index).ravel(), values.ravel())
    return result
