"""Reads what stands between the brackets of ``x[…]`` as PyTorch does.

An index is brought to a normal form of two steps. `basic` is a tuple of ints, slices and Nones
that makes a view; `advanced` then says, for each dimension of that view, None (all of it) or an
array of positions or a mask (which spans as many dimensions as it has).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.core.errors import set_by_ops
from taper.core.symbolic import SymInt
from taper.core.tensor import Tensor

__all__ = ["Advanced", "from_tensors", "normalize"]

array_of: Callable[[Any], Any] = set_by_ops  # the array of nested lists; ops/tensor_data

ndarray = np.ndarray
_BOOL = np.dtype(bool)
_UINT8 = np.dtype(np.uint8)
_INTEGERS = frozenset((np.dtype(np.int64), np.dtype(np.int32)))
_TRUE, _FALSE = np.zeros(1, np.int64), np.zeros(0, np.int64)


class Advanced:
    """The advanced part of an index: arrays aligned with a view's dimensions.

    Attributes:
        arrays: one entry per dimension: None, or an array of positions; a mask spans several.
        index: the same as a NumPy index.
        versions: the tensors it came from and how often they had been changed in place.
    """

    __slots__ = ("arrays", "index", "versions")

    def __init__(self, arrays: list[Any], tensors: list[Tensor]) -> None:
        self.arrays = arrays
        self.index = tuple([slice(None) if a is None else a for a in arrays])
        self.versions = [
            (t, 0 if t._storage is None else t._storage.version)
            for t in tensors if not t._inference  # those have no version
        ]

    def at_zero(self) -> Advanced:
        """The same index with positions of 0, which give the same shape."""
        arrays = [a if a is None or a.dtype == _BOOL else a * 0 for a in self.arrays]
        return Advanced(arrays, [])

    def check_unchanged(self) -> None:
        """Raises if a tensor of the index was changed in place since."""
        for tensor, version in self.versions:
            storage = tensor._storage
            if storage is not None and storage.version != version:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an "
                    f"inplace operation: an index of shape {list(tensor._array.shape)} is at "
                    f"version {storage.version}; expected version {version} instead. clone() it "
                    "before the change."
                )


def normalize(index: Any, shape: tuple[int, ...]) -> tuple[list[Any], Advanced | None]:
    """The two steps of an index into a tensor of that shape; raises PyTorch's errors."""
    items = _items(index)
    count = 0
    for item in items:
        count += _dimensions_of(item)
    ndim = len(shape)
    if count > ndim:
        for item in items:
            if isinstance(item, slice):
                checked_slice(item)
            elif isinstance(item, int):
                _checked_range(item)
        raise _too_many(index, items, ndim)
    basic: list[Any] = []
    arrays: list[Any] = []
    tensors: list[Tensor] = []
    dim = 0  # of the tensor
    for item in items:
        kind = type(item)
        if item is Ellipsis:
            skipped = ndim - count
            count = ndim
            basic += [slice(None)] * skipped
            arrays += [None] * skipped
            dim += skipped
        elif item is None:
            basic.append(None)
            arrays.append(None)
        elif kind is slice:
            basic.append(checked_slice(item))
            arrays.append(None)
            dim += 1
        elif kind is bool or kind is np.bool_:
            basic.append(None)
            arrays.append(_TRUE if item else _FALSE)
        elif kind is int or kind is SymInt or isinstance(item, np.integer):
            basic.append(checked_int(item if kind is SymInt else int(item), dim, shape))
            dim += 1
        else:
            array = _as_index_array(item)
            if isinstance(item, Tensor):
                tensors.append(item)
            if array.ndim == 0 and array.dtype.kind in "iub":
                if array.dtype == _BOOL or array.dtype == _UINT8:
                    basic.append(None)
                    arrays.append(_TRUE if array else _FALSE)
                else:
                    basic.append(checked_int(int(array), dim, shape))
                    dim += 1
                continue
            array = _checked_array(array)
            size = array.ndim if array.dtype == _BOOL else 1
            if array.dtype == _BOOL:
                _check_mask(array.shape, shape, dim)
            basic += [slice(None)] * size
            arrays.append(array)
            dim += size
    if all(a is None for a in arrays):
        return basic, None
    return basic, Advanced(arrays, tensors)


def _too_many(index: Any, items: tuple[Any, ...], ndim: int) -> IndexError:
    """The error of an index into more dimensions than there are."""
    if ndim == 0 and isinstance(index, (int, np.integer)):
        if index:
            return IndexError(f"index {int(index)} is out of bounds for dimension 0 with size 0")
        return IndexError(
            "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or "
            "`tensor.item<T>()` in C++ to convert a 0-dim tensor to a number"
        )
    if ndim == 0 and isinstance(items[0], slice):
        return IndexError("slice() cannot be applied to a 0-dim tensor.")
    return IndexError(f"too many indices for tensor of dimension {ndim}")


def _items(index: Any) -> tuple[Any, ...]:
    kind = type(index)
    if kind is tuple:
        return index  # type: ignore[no-any-return]
    if isinstance(index, Tensor) or index is None or index is Ellipsis or kind in (
        int, slice, bool
    ):
        return (index,)
    if isinstance(index, tuple):
        return tuple(index)
    if isinstance(index, list) and len(index) < 32 and any(
        isinstance(i, (Tensor, list, tuple, slice, ndarray)) or i is None or i is Ellipsis
        for i in index
    ):
        warnings.warn(
            "Using a non-tuple sequence for multidimensional indexing is deprecated and will be "
            "changed in pytorch 2.9; use x[tuple(seq)] instead of x[seq]. In pytorch 2.9 this will "
            "be interpreted as tensor index, x[torch.tensor(seq)], which will result either in an "
            "error or a different result",
            UserWarning, stacklevel=5,
        )
        return tuple(index)
    return (index,)


def _dimensions_of(item: Any) -> int:
    """How many dimensions of the tensor an item is about."""
    if item is None or item is Ellipsis or isinstance(item, (bool, np.bool_)):
        return 0
    array = item._array if isinstance(item, Tensor) else item if isinstance(item, ndarray) else None
    if array is not None and (array.dtype == _BOOL or array.dtype == _UINT8):
        return array.ndim
    return 1


def _checked_range(position: int) -> None:
    if not -(2**63) <= position < 2**63:
        raise ValueError("Overflow when unpacking long long")


def checked_int(position: int, dim: int, shape: tuple[int, ...]) -> int:
    size = shape[dim]
    if not -size <= position < size:
        _checked_range(position)
        raise IndexError(
            f"index {position} is out of bounds for dimension {dim} with size {size}"
        )
    return position


def checked_slice(item: slice) -> slice:
    """The slice with plain ints; raises PyTorch's error for steps that go backwards."""
    start, stop, step = [None if v is None else _slice_bound(v)
                         for v in (item.start, item.stop, item.step)]
    if step is not None and step <= 0:
        raise ValueError("slice step cannot be zero" if step == 0 else
                         "step must be greater than zero")
    return slice(start, stop, step)


def _slice_bound(value: Any) -> int:
    if type(value) is SymInt:
        return value  # type: ignore[return-value]
    if hasattr(value, "__index__"):
        return int(value.__index__())
    raise TypeError("slice indices must be integers or None or have an __index__ method")


def _as_index_array(item: Any) -> Any:
    """The array of one item that is no int, slice, None, bool or Ellipsis."""
    if isinstance(item, Tensor):
        return item._array
    if isinstance(item, ndarray):
        return item
    if isinstance(item, str):
        raise TypeError("new(): invalid data type 'str'")
    if isinstance(item, (list, tuple, range)):
        array = array_of(item)
        # Lists of floats are read as positions, as PyTorch does.
        return array.astype(np.int64) if array.dtype.kind == "f" else array
    if hasattr(item, "__index__"):
        return np.asarray(item.__index__())
    raise IndexError(
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid "
        f"indices (got {type(item).__name__})"
    )


def _checked_array(array: Any) -> Any:
    dtype = array.dtype
    if dtype == _BOOL or dtype in _INTEGERS:
        return array
    if dtype == _UINT8:
        warnings.warn(
            "indexing with dtype torch.uint8 is now deprecated, please use a dtype torch.bool "
            "instead.",
            UserWarning, stacklevel=6,
        )
        return array != 0
    raise IndexError("tensors used as indices must be long, int, byte or bool tensors")


def _check_mask(mask: tuple[int, ...], shape: tuple[int, ...], dim: int) -> None:
    for d, size in enumerate(mask):
        if dim + d >= len(shape):
            raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
        if shape[dim + d] != size:
            raise IndexError(
                f"The shape of the mask {list(mask)} at index {d} does not match the shape of the "
                f"indexed tensor {list(shape)} at index {dim + d}"
            )


def from_tensors(indices: Any, ndim: int) -> Advanced:
    """The advanced index that `index_put` and the like are given: a sequence of tensors."""
    arrays: list[Any] = []
    tensors: list[Tensor] = []
    for i, item in enumerate(indices):
        if item is None:
            arrays.append(None)
            continue
        if not isinstance(item, Tensor):
            raise TypeError(
                f"expected Tensor as element {i} in argument 0, but got {type(item).__name__}"
            )
        array = _checked_array(item._array)
        if array.ndim == 0 and array.dtype == _BOOL:
            array = np.nonzero(array.reshape(1))[0]
        arrays.append(array)
        tensors.append(item)
    count = sum([1 if a is None else a.ndim if a.dtype == _BOOL else 1 for a in arrays])
    if count > ndim:
        raise IndexError(f"too many indices for tensor of dimension {ndim} (got {count})")
    return Advanced(arrays, tensors)
