"""Sparse arrays: only the elements that count are stored, with where they stand.

`CoordinateArray` keeps a list of coordinates (COO); `CompressedArray` keeps, for each row (CSR,
BSR) or column (CSC, BSC), where its elements begin. Both have the methods and properties of
ndarray that forwards ask for, and answer NumPy's protocols by the rules in `sparse_rules.py`;
a function without a rule raises NotImplementedError.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.arrays.shaped import ShapedArray
from taper.core import device as devices
from taper.core.device import layout_title

__all__ = ["CompressedArray", "CoordinateArray", "SparseArray", "coordinates_of"]

ndarray = np.ndarray

UFUNC_RULES: dict[Any, Callable[..., Any]] = {}
"""What a ufunc does: ``(ufunc, inputs) -> result``; or a pair (ufunc, method)."""
FUNCTION_RULES: dict[Any, Callable[..., Any]] = {}
"""What other NumPy functions do: same arguments as the function."""

class SparseArray(ShapedArray):
    """What the sparse layouts share: a shape, `values` and, made of them, ndarray's methods."""

    __slots__ = ("layout", "shape", "values")
    device = devices.CPU
    base = None
    storage_offset = 0

    layout: Any
    shape: tuple[int, ...]
    values: Any

    @property
    def dtype(self) -> Any:
        return self.values.dtype

    @property
    def strides(self) -> tuple[int, ...]:
        raise RuntimeError(f"Sparse {self.layout.name[7:].upper()} tensors do not have strides")

    @property
    def flags(self) -> Any:
        raise NotImplementedError("Cannot access storage of SparseTensorImpl" if (
            self.layout is devices.sparse_coo) else "Cannot access storage of SparseCsrTensorImpl")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shape}, {self.dtype}, nnz={self.nnz})"

    def __bool__(self) -> bool:
        return bool(self.to_dense())

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise NotImplementedError(
            f"an operation without a rule for the layout {layout_title(self.layout)} asked for "
            "all elements: use to_dense() first"
        )

    def with_values(self, values: Any) -> Any:
        """The same places with other values."""
        raise NotImplementedError

    def to_dense(self) -> Any:
        """All elements, as an ndarray."""
        raise NotImplementedError

    @property
    def nnz(self) -> int:
        """How many elements (or blocks) are stored, of each batch."""
        raise NotImplementedError

    # -- ndarray's methods -------------------------------------------------------------------------

    def item(self, *index: Any) -> Any:
        if self.size == 1:
            return self.to_dense().item()
        raise RuntimeError(f"a Tensor with {self.size} elements cannot be converted to Scalar")

    def tolist(self) -> Any:
        raise RuntimeError("Cannot access data pointer of Tensor that doesn't have storage")

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        return self.with_values(self.values.astype(dtype))

    def copy(self, order: str = "C") -> Any:
        return self.with_values(self.values.copy())

    def conj(self) -> Any:
        return self.with_values(self.values.conj())

    conjugate = conj

    @property
    def real(self) -> Any:
        return self.with_values(self.values.real)

    @property
    def imag(self) -> Any:
        return self.with_values(self.values.imag)

    @property
    def T(self) -> Any:
        return self.transpose()

    def transpose(self, *axes: Any) -> Any:
        raise NotImplementedError

    def swapaxes(self, first: int, second: int) -> Any:
        axes = list(range(self.ndim))
        axes[first], axes[second] = axes[second], axes[first]
        return self.transpose(axes)

    def dot(self, other: Any) -> Any:
        return np.matmul(self, other)

    def reshape(self, *shape: Any, **ignored: Any) -> Any:
        raise RuntimeError("reshape is not implemented for sparse tensors")

    def ravel(self, order: str = "C") -> Any:
        raise RuntimeError("reshape is not implemented for sparse tensors")

    def as_strided(self, *ignored: Any, **keywords: Any) -> Any:
        raise _unsupported("as_strided", self)

    def take(self, indices: Any, axis: Any = None, mode: str = "raise") -> Any:
        raise _unsupported("index_select", self)

    def _order(self, axes: tuple[Any, ...]) -> list[int]:
        if len(axes) == 1 and isinstance(axes[0], (list, tuple)):
            axes = tuple(axes[0])
        if not axes or axes == (None,):
            return list(range(self.ndim))[::-1]
        return [a % self.ndim for a in axes]

    # -- NumPy's protocols -------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        rule = UFUNC_RULES.get(ufunc if method == "__call__" else (ufunc, method))
        if rule is None:
            raise _unsupported(ufunc.__name__, self)
        result = rule(ufunc, inputs, **kwargs)
        if out is None:
            return result
        (target,) = out
        target[...] = result
        return target

    def __array_function__(
        self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        rule = FUNCTION_RULES.get(function)
        if rule is None:
            raise _unsupported(function.__name__, self)
        return rule(*args, **kwargs)


def _unsupported(name: str, array: SparseArray) -> NotImplementedError:
    title = layout_title(array.layout)
    backend = "SparseCPU" if title == "Sparse" else "SparseCsrCPU"
    return NotImplementedError(
        f"Could not run 'aten::{name}' with arguments from the '{backend}' backend: {name} is not "
        f"implemented for the layout {title}. Use to_dense() first."
    )


class CoordinateArray(SparseArray):
    """COO: element `values[k]` stands at `indices[:, k]`; places listed twice add up.

    The first dimensions are sparse, as many as `indices` has rows; the others are dense, and
    every value has their shape. Coalesced means: sorted, and every place listed once.
    """

    __slots__ = ("indices", "is_coalesced")
    layout = devices.sparse_coo

    def __init__(
        self, indices: Any, values: Any, shape: tuple[int, ...], is_coalesced: bool = False
    ) -> None:
        self.indices = indices
        self.values = values
        self.shape = shape
        self.is_coalesced = is_coalesced

    @property
    def strides(self) -> tuple[int, ...]:
        return (0,) * self.ndim

    @property
    def nnz(self) -> int:
        return self.indices.shape[1]  # type: ignore[no-any-return]

    @property
    def sparse_dim(self) -> int:
        return self.indices.shape[0]  # type: ignore[no-any-return]

    def with_values(self, values: Any) -> CoordinateArray:
        return CoordinateArray(self.indices, values, self.shape, self.is_coalesced)

    def to_dense(self) -> Any:
        dense = np.zeros(self.shape, self.dtype)
        if not self.sparse_dim:
            return self.values.sum(0, dtype=self.dtype) if self.nnz != 1 else self.values[0].copy()
        if self.is_coalesced:
            dense[tuple(self.indices)] = self.values
        else:
            np.add.at(dense, tuple(self.indices), self.values)
        return dense

    def places(self) -> Any:
        """The position of each listed place among all places of the sparse dimensions."""
        shape = self.shape[: self.sparse_dim]
        if not shape:
            return np.zeros(self.nnz, np.int64)
        return np.ravel_multi_index(tuple(self.indices), shape).astype(np.int64)

    def coalesce(self) -> CoordinateArray:
        """The same elements sorted by place, each place once."""
        if self.is_coalesced:
            return self
        places = self.places()
        order = np.argsort(places, kind="stable")
        places = places[order]
        values = self.values[order]
        first = np.ones(places.shape, bool)
        np.not_equal(places[1:], places[:-1], out=first[1:])
        if not first.all():
            starts = np.flatnonzero(first)
            combine = np.logical_or if self.dtype.kind == "b" else np.add
            values = combine.reduceat(values, starts, 0).astype(self.dtype)
            order = order[starts]
        return CoordinateArray(self.indices[:, order], values, self.shape, True)

    def transpose(self, *axes: Any) -> CoordinateArray:
        order = self._order(axes)
        k = self.sparse_dim
        if sorted(order[:k]) != list(range(k)):
            raise RuntimeError(
                f"transpose(): can't exchange sparse and dense dimensions: the first {k} are sparse"
            )
        values = self.values.transpose([0, *(d - k + 1 for d in order[k:])])
        shape = tuple([self.shape[d] for d in order])
        kept = self.is_coalesced and order[:k] == list(range(k))
        return CoordinateArray(self.indices[order[:k]], values, shape, kept)

    def reshape(self, *shape: Any, **ignored: Any) -> CoordinateArray:
        """Another shape of the sparse dimensions; the dense ones, if there are any, stay."""
        shape = tuple(shape[0] if isinstance(shape[0], (tuple, list)) else shape)
        dense = self.shape[self.sparse_dim :]
        lead = shape[: len(shape) - len(dense)]
        if shape[len(lead) :] != dense or math.prod(shape) != self.size:
            return super().reshape(*shape)  # type: ignore[no-any-return]
        if lead:
            indices = np.stack(np.unravel_index(self.places(), lead)).astype(np.int64)
        else:
            indices = np.zeros((0, self.nnz), np.int64)
        return CoordinateArray(indices, self.values, shape, self.is_coalesced)

    def ravel(self, order: str = "C") -> CoordinateArray:
        whole = self if self.sparse_dim == self.ndim else all_sparse(self)
        return CoordinateArray(whole.places()[None], whole.values, (self.size,), self.is_coalesced)

    def __getitem__(self, index: Any) -> Any:
        """Integers, whole slices and ranges without steps, in the sparse or dense dimensions."""
        parts = list(index) if isinstance(index, tuple) else [index]
        plain = [p for p in parts if not isinstance(p, (ndarray, SparseArray))]
        if Ellipsis in plain:
            at = parts.index(Ellipsis)
            given = len(parts) - 1 - plain.count(None)
            parts[at : at + 1] = [slice(None)] * (self.ndim - given)
        if None in plain:
            return self._with_new_dims(parts)
        keep = np.ones(self.nnz, bool)
        k = self.sparse_dim
        rows, shape = [], []
        for d, n in enumerate(self.shape[:k]):
            part = parts[d] if d < len(parts) else slice(None)
            row = self.indices[d]
            if isinstance(part, slice) and part.step in (None, 1):
                start, stop, _ = part.indices(n)
                keep &= (row >= start) & (row < stop)
                rows.append(row - start)
                shape.append(max(stop - start, 0))
            elif isinstance(part, (int, np.integer)):
                if not -n <= part < n:
                    raise IndexError(
                        f"index {part} is out of bounds for dimension {d} with size {n}"
                    )
                keep &= row == part % n
            else:
                raise NotImplementedError(
                    "sparse tensors are indexed by integers and slices without steps; use "
                    "index_select() or to_dense()"
                )
        values = self.values[keep]
        dense = tuple(parts[k:])
        values = values[(slice(None), *dense)] if dense else values
        if not rows:
            return np.asarray(values.sum(0, dtype=self.dtype))
        indices = np.stack([row[keep] for row in rows])
        return CoordinateArray(indices, values, (*shape, *values.shape[1:]), self.is_coalesced)

    def _with_new_dims(self, parts: list[Any]) -> Any:
        """Indexing that also inserts dimensions of size 1, by None."""
        found = self[tuple([p for p in parts if p is not None])]
        shape, sizes = [], iter(found.shape)
        for p in parts:
            if p is None:
                shape.append(1)
            elif not isinstance(p, (int, np.integer)):
                shape.append(next(sizes))
        return found.reshape((*shape, *sizes))

    def take(self, indices: Any, axis: Any = None, mode: str = "raise") -> CoordinateArray:
        """The slices at `indices` along a dimension, in their order."""
        if axis is None or axis >= self.sparse_dim:
            if axis is None:
                raise _unsupported("take", self)
            values = self.values.take(indices, axis - self.sparse_dim + 1)
            shape = (*self.shape[:axis], indices.size, *self.shape[axis + 1 :])
            return CoordinateArray(self.indices, values, shape, self.is_coalesced)
        wanted = np.asarray(indices).reshape(-1)
        order = np.argsort(self.indices[axis], kind="stable")
        row = self.indices[axis][order]
        starts, stops = np.searchsorted(row, wanted), np.searchsorted(row, wanted, "right")
        counts = stops - starts
        ahead = np.repeat(np.cumsum(counts) - counts - starts, counts)
        picked = order[np.arange(counts.sum()) - ahead]
        moved = self.indices[:, picked].copy()
        moved[axis] = np.repeat(np.arange(wanted.size), counts)
        shape = (*self.shape[:axis], wanted.size, *self.shape[axis + 1 :])
        return CoordinateArray(moved, self.values[picked], shape).coalesce()

    def __setitem__(self, index: Any, value: Any) -> None:
        """Replaces everything; for `copy_` and in-place operations."""
        if index is not Ellipsis:
            raise TypeError("Cannot assign to a sparse tensor")
        if not isinstance(value, CoordinateArray):
            raise RuntimeError("a sparse tensor can only take over the values of a sparse one")
        self.indices, self.is_coalesced = value.indices, value.is_coalesced
        self.values = value.values.astype(self.dtype)

    def __iter__(self) -> Any:
        return (self[i] for i in range(self.shape[0]))


class CompressedArray(SparseArray):
    """CSR, CSC, BSR and BSC: row (or column) i owns the elements ``compressed[i] : [i + 1]``.

    `plain` has their columns (or rows), `values` the elements, or blocks of them. All three may
    begin with batch dimensions; values may end with dense ones.
    """

    __slots__ = ("compressed", "plain")

    def __init__(
        self, layout: Any, compressed: Any, plain: Any, values: Any, shape: tuple[int, ...]
    ) -> None:
        self.layout = layout
        self.compressed = compressed
        self.plain = plain
        self.values = values
        self.shape = shape

    @property
    def nnz(self) -> int:
        return self.plain.shape[-1]  # type: ignore[no-any-return]

    @property
    def by_rows(self) -> bool:
        """Whether rows are compressed, as in CSR and BSR."""
        return self.layout is devices.sparse_csr or self.layout is devices.sparse_bsr

    @property
    def has_blocks(self) -> bool:
        return self.layout is devices.sparse_bsr or self.layout is devices.sparse_bsc

    @property
    def batch_ndim(self) -> int:
        return self.plain.ndim - 1  # type: ignore[no-any-return]

    @property
    def dense_ndim(self) -> int:
        return self.values.ndim - self.plain.ndim - (2 if self.has_blocks else 0)  # type: ignore[no-any-return]

    def with_values(self, values: Any) -> CompressedArray:
        return CompressedArray(self.layout, self.compressed, self.plain, values, self.shape)

    def to_dense(self) -> Any:
        batch = self.batch_ndim
        if not batch:
            return coordinates_of(self).to_dense()
        dense = np.zeros(self.shape, self.dtype)
        for at in np.ndindex(*self.shape[:batch]):
            dense[at] = self.element(at).to_dense()
        return dense

    def element(self, at: tuple[int, ...]) -> CompressedArray:
        """One matrix of a batch."""
        return CompressedArray(
            self.layout, self.compressed[at], self.plain[at], self.values[at],
            self.shape[self.batch_ndim :],
        )

    def transpose(self, *axes: Any) -> CompressedArray:
        """Exchanges rows and columns, which only exchanges their roles: the layout changes."""
        order = self._order(axes)
        b = self.batch_ndim
        wanted = list(range(self.ndim))
        if order == wanted:
            return self
        wanted[b], wanted[b + 1] = b + 1, b
        if order != wanted:
            raise RuntimeError(
                "transpose(): can only exchange the rows and columns of a tensor with the layout "
                f"{layout_title(self.layout)}"
            )
        shape = tuple([self.shape[d] for d in order])
        values = self.values.swapaxes(b + 1, b + 2) if self.has_blocks else self.values
        return CompressedArray(
            _TRANSPOSED[self.layout], self.compressed, self.plain, values, shape
        )

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, tuple) and all(isinstance(i, int) for i in index) and (
            len(index) <= self.batch_ndim
        ):
            return self.element(index)
        return coordinates_of(self)[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        if index is not Ellipsis or not isinstance(value, CompressedArray):
            raise TypeError("Cannot assign to a sparse tensor")
        self.compressed, self.plain = value.compressed, value.plain
        self.values = value.values.astype(self.dtype)


_TRANSPOSED = {
    devices.sparse_csr: devices.sparse_csc, devices.sparse_csc: devices.sparse_csr,
    devices.sparse_bsr: devices.sparse_bsc, devices.sparse_bsc: devices.sparse_bsr,
}


def coordinates_of(array: Any) -> CoordinateArray:
    """A compressed array (without batches) in COO, coalesced."""
    if isinstance(array, CoordinateArray):
        return array
    if array.batch_ndim:
        raise NotImplementedError("batches of compressed sparse matrices can't become COO")
    counts = np.diff(array.compressed)
    lines = np.repeat(np.arange(counts.size), counts)
    values = array.values
    plain = array.plain
    if array.has_blocks:
        height, width = values.shape[1:3]
        rows, columns = (lines, plain) if array.by_rows else (plain, lines)
        rows = rows[:, None, None] * height + np.arange(height)[:, None]
        columns = columns[:, None, None] * width + np.arange(width)
        rows, columns = np.broadcast_arrays(rows, columns)
        rows, columns = rows.reshape(-1), columns.reshape(-1)
        values = values.reshape(-1, *values.shape[3:])
    else:
        rows, columns = (lines, plain) if array.by_rows else (plain, lines)
    indices = np.stack([rows, columns]).astype(np.int64)
    return CoordinateArray(indices, values, array.shape).coalesce()


def all_sparse(array: CoordinateArray) -> CoordinateArray:
    """A COO array with its dense dimensions made sparse, too."""
    dense = np.indices(array.shape[array.sparse_dim :]).reshape(array.ndim - array.sparse_dim, -1)
    count = dense.shape[1]
    indices = np.concatenate([np.repeat(array.indices, count, 1), np.tile(dense, array.nnz)])
    return CoordinateArray(indices, array.values.reshape(-1), array.shape, array.is_coalesced)
