"""Picking and placing elements along one axis by an array of indices, one lane at a time.

A lane is what varies along the axis while every other index stays. Instead of one index array per
axis, which NumPy's fancy indexing walks slowly, positions in the flattened array are computed:
``index * stride + offset of the lane``; the offsets are kept for the next call. Arrays that are not
`np.ndarray` take NumPy's own functions, which their classes can see.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["add_at", "check_index", "flat_positions", "pick", "pick_one", "place", "reduce_at",
           "slice_positions"]

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


@lru_cache(maxsize=256)
def _lanes(
    shape: tuple[int, ...], dim: int, index_shape: tuple[int, ...]
) -> tuple[int, Any]:
    """The step from one element of a lane to the next in the flattened array, and where each lane
    starts there; None if there is one lane, at 0."""
    total: Any = None
    stride = step = 1
    for d in range(len(shape) - 1, -1, -1):
        if d == dim:
            step = stride
        if d != dim and index_shape[d] != 1:
            steps = np.arange(0, index_shape[d] * stride, stride).reshape(
                (-1,) + (1,) * (len(shape) - 1 - d)
            )
            total = steps if total is None else total + steps
        stride *= shape[d]
    if total is not None:
        total.flags.writeable = False
    return step, total


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
        return np.take_along_axis(x[narrowed], index, dim)
    return x.ravel().take(flat_positions(x.shape, dim, index))


def pick_one(x: Any, dim: int, index: Any) -> Any:
    """One element of each lane: `index` lacks the dimension `dim`, and so does the result."""
    if type(x) is not ndarray or type(index) is not ndarray:
        return np.take_along_axis(x, np.expand_dims(index, dim), dim).reshape(index.shape)
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


def add_at(x: Any, dim: int, index: Any, values: Any) -> Any:
    """A copy of `x` with `values` added at `index`, as often as indices repeat."""
    return reduce_at(np.add, x, dim, index, values)


def reduce_at(ufunc: Any, x: Any, dim: int, index: Any, values: Any) -> Any:
    """A copy of `x` in which `ufunc` joined each of `values` to the element at `index`."""
    result = x.copy(order="C")
    flat = result.reshape(-1)
    if values.shape != index.shape:
        values = values[tuple(slice(0, n) for n in index.shape)]
    ufunc.at(flat, flat_positions(x.shape, dim, index).ravel(), values.ravel())
    return result
