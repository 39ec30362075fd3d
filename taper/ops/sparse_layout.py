"""Sparse layouts: conversions between them and to strided, and what sparse tensors consist of.

The arrays are in arrays/sparse.py; tensors are made of their parts in sparse_creation.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.arrays import sparse_rules
from taper.arrays.sparse import (
    CompressedArray,
    CoordinateArray,
    SparseArray,
    coordinates_of,
)
from taper.core import device as devices
from taper.core.device import layout_title
from taper.core.tensor import Tensor, wrap
from taper.core.user_warning import warn_once
from taper.ops.declare import composite, method, operator

_COMPRESSED = (
    devices.sparse_csr, devices.sparse_csc, devices.sparse_bsr, devices.sparse_bsc,
)
_BLOCKED = (devices.sparse_bsr, devices.sparse_bsc)


# -- to sparse -------------------------------------------------------------------------------------


@operator("_to_sparse", hidden=True, node="ToSparseBackward1")
def to_coordinates(input: Tensor) -> Tensor:
    return sparse_rules.to_layout(input, devices.sparse_coo)


@operator("_to_sparse_dim", hidden=True, node="ToSparseBackward0")
def to_coordinates_of_slices(input: Tensor, sparse_dim: int) -> Tensor:
    return sparse_rules.dense_to_coordinates(input, sparse_dim)


@operator("_to_sparse_layout", hidden=True, node="ToSparseBackward1")
def to_compressed(input: Tensor, layout: Any, blocksize: Any, dense_dim: int) -> Tensor:
    return sparse_rules.to_layout(input, layout, blocksize, dense_dim)


@operator("_to_sparse_csr", hidden=True, node="ToSparseCsrBackward0")
def to_csr(input: Tensor, dense_dim: int) -> Tensor:
    return sparse_rules.to_layout(input, devices.sparse_csr, None, dense_dim)


@operator("_to_sparse_csc", hidden=True, node="ToSparseCscBackward0")
def to_csc(input: Tensor, dense_dim: int) -> Tensor:
    return sparse_rules.to_layout(input, devices.sparse_csc, None, dense_dim)


@operator("_to_sparse_bsr", hidden=True, node="ToSparseBsrBackward0")
def to_bsr(input: Tensor, blocksize: Any, dense_dim: int) -> Tensor:
    return sparse_rules.to_layout(input, devices.sparse_bsr, blocksize, dense_dim)


@operator("_to_sparse_bsc", hidden=True, node="ToSparseBscBackward0")
def to_bsc(input: Tensor, blocksize: Any, dense_dim: int) -> Tensor:
    return sparse_rules.to_layout(input, devices.sparse_bsc, blocksize, dense_dim)


def _gradient_of_conversion(grad, input):
    return grad.to_dense() if input.layout is devices.strided else in_layout_of(grad, input)


for _op in (
    to_coordinates, to_coordinates_of_slices, to_compressed, to_csr, to_csc, to_bsr, to_bsc
):
    _op.derivative("input")(_gradient_of_conversion)


def in_layout_of(grad: Tensor, input: Tensor) -> Tensor:
    """A gradient in the layout of the sparse tensor that it belongs to."""
    if grad.layout is input.layout:
        return grad
    if grad.layout is devices.strided:
        return grad.sparse_mask(input)
    return to_sparse.function(grad, layout=input.layout)


@composite(method=True, hidden=True)
def to_sparse(
    input: Tensor, sparse_dim: int | None = None, *, layout: Any = None, blocksize: Any = None,
    dense_dim: int | None = None, sparseDims: int | None = None,
) -> Tensor:
    """Returns the tensor in a sparse layout, COO by default: only what is not zero is stored.

    Args:     sparse_dim: how many of the first dimensions are sparse; default: all
        layout: another sparse layout;  blocksize: the blocks' size, for BSR and BSC
        dense_dim: how many of the last dimensions are dense, for the compressed layouts
    Example:
        >>> import taper as torch
        >>> torch.tensor([0., 2.]).to_sparse()
        tensor(indices=tensor([[1]]),
               values=tensor([2.]),
               size=(2,), nnz=1, layout=torch.sparse_coo)
    """
    if sparse_dim is None:
        sparse_dim = sparseDims  # as PyTorch's documentation has it
    if sparse_dim is not None:
        return _to_sparse_dim(input, sparse_dim)
    wanted = layout or devices.sparse_coo
    if wanted is devices.strided:
        raise RuntimeError("to_sparse: unexpected layout Strided")
    source = layout_title(input.layout)
    where = "dense_to_sparse" if source == "Strided" else (
        f"sparse_{input.layout.name[7:]}_to_sparse"
    )
    if blocksize is not None and wanted not in _BLOCKED:
        raise RuntimeError(
            f"{where}: conversion from {source} to {layout_title(wanted)} with blocksize argument "
            "given is not supported"
        )
    if wanted is input.layout:
        return input
    if wanted is devices.sparse_coo:
        return to_coordinates(input)
    warn_about_beta(wanted)
    _check_compressible(input, wanted, blocksize, dense_dim)
    return to_compressed(input, wanted, _pair(blocksize), dense_dim or 0)


def _to_sparse_dim(input: Tensor, sparse_dim: int) -> Tensor:
    if not 0 <= sparse_dim <= input.ndim or (sparse_dim == 0 and input.ndim):
        raise RuntimeError(
            f"dense_to_sparse: sparse_dim argument must be in [0,{input.ndim}] range, but "
            f"{sparse_dim} is given"
        )
    if input.layout is not devices.strided:
        if sparse_dim == input._array.sparse_dim:
            return input
        raise RuntimeError(
            f"sparse_to_sparse: conversion from {layout_title(input.layout)} to Sparse with "
            "sparse_dim argument !=self.sparse_dim() is not supported"
        )
    return to_coordinates_of_slices(input, sparse_dim)


@composite(method=True, hidden=True)
def to_sparse_coo(input: Tensor) -> Tensor:
    """Returns the tensor in the COO layout; see `to_sparse`."""
    return to_sparse(input)


@composite(method=True, hidden=True)
def to_sparse_csr(input: Tensor, dense_dim: int | None = None) -> Tensor:
    """Returns a matrix, or a batch of them, with compressed sparse rows.

    Example:
        >>> import taper as torch
        >>> torch.eye(2).to_sparse_csr().col_indices()
        tensor([0, 1])
    """
    if input.layout is devices.sparse_csr:
        return input
    warn_about_beta(devices.sparse_csr)
    _check_compressible(input, devices.sparse_csr, None, dense_dim)
    return to_csr(input, dense_dim or 0)


@composite(method=True, hidden=True)
def to_sparse_csc(input: Tensor, dense_dim: int | None = None) -> Tensor:
    """Returns a matrix, or a batch of them, with compressed sparse columns."""
    if input.layout is devices.sparse_csc:
        return input
    warn_about_beta(devices.sparse_csc)
    _check_compressible(input, devices.sparse_csc, None, dense_dim)
    return to_csc(input, dense_dim or 0)


@composite(method=True, hidden=True)
def to_sparse_bsr(input: Tensor, blocksize: Any, dense_dim: int | None = None) -> Tensor:
    """Returns a matrix, or a batch of them, with compressed rows of blocks."""
    if input.layout is devices.sparse_bsr:
        return input
    warn_about_beta(devices.sparse_bsr)
    _check_compressible(input, devices.sparse_bsr, blocksize, dense_dim)
    return to_bsr(input, _pair(blocksize), dense_dim or 0)


@composite(method=True, hidden=True)
def to_sparse_bsc(input: Tensor, blocksize: Any, dense_dim: int | None = None) -> Tensor:
    """Returns a matrix, or a batch of them, with compressed columns of blocks."""
    if input.layout is devices.sparse_bsc:
        return input
    warn_about_beta(devices.sparse_bsc)
    _check_compressible(input, devices.sparse_bsc, blocksize, dense_dim)
    return to_bsc(input, _pair(blocksize), dense_dim or 0)


def _pair(blocksize: Any) -> Any:
    return (blocksize, blocksize) if isinstance(blocksize, int) else blocksize


def _check_compressible(
    input: Tensor, layout: Any, blocksize: Any, dense_dim: int | None
) -> None:
    """Raises what is wrong with a conversion to a compressed layout."""
    source, short = layout_title(input.layout), layout.name[7:]
    strided = input.layout is devices.strided
    where = f"dense_to_sparse_{short}" if strided else (
        "coo_to_sparse_" if source == "Sparse" else "sparse_compressed_to_sparse_"
    ) + short
    if input.ndim < 2:
        raise IndexError(f"{where}: a tensor of at least 2 dimensions is needed, got {input.ndim}")
    if dense_dim is not None and not 0 <= dense_dim <= input.ndim - 2:
        raise RuntimeError(
            f"{where}: dense_dim argument must be in [0,{input.ndim - 2}] range, but {dense_dim} "
            "is given"
        )
    blocked = input.layout in _BLOCKED
    if blocked and layout not in _BLOCKED:
        raise RuntimeError(
            f"sparse_compressed_to_sparse_{short}: expected SparseCsr or SparseCsc layout but got "
            f"{source}"
        )
    if layout not in _BLOCKED:
        return
    if blocksize is None:
        raise RuntimeError(
            f"to_sparse: {source} to {layout_title(layout)} conversion requires blocksize "
            "specified but got none"
        )
    height, width = _pair(blocksize)
    at = input.ndim - (dense_dim or 0) - 2
    rows, columns = input.shape[at : at + 2]
    if height <= 0 or width <= 0 or rows % height or columns % width:
        raise RuntimeError(
            f"{where}: tensor sparse size ({rows},{columns}) must be divisible by given blocksize "
            f"({height},{width})"
        )


def warn_about_beta(layout: Any) -> None:
    """Says once per process that the compressed layouts are young, as PyTorch does."""
    warn_once(
        "compressed layouts",
        f"Sparse {layout.name[7:].upper()} tensor support is in beta state. If you miss a "
        "functionality in the sparse tensor support, please submit a feature request to "
        "https://github.com/pytorch/pytorch/issues.",
    )


# -- to strided ------------------------------------------------------------------------------------


@operator("_to_dense", hidden=True, node="ToDenseBackward0")
def sparse_to_dense(input: Tensor, masked_grad: bool) -> Tensor:
    return input.to_dense()


@sparse_to_dense.derivative("input")
def _(grad, input, masked_grad):
    if not masked_grad:
        return grad
    return sparse_mask(grad, input)


@composite(method=True, hidden=True)
def to_dense(
    input: Tensor, dtype: Any = None, *, masked_grad: bool | None = None
) -> Tensor:
    """Returns the tensor with all its elements in memory; itself if it is strided.

    Args: masked_grad: whether the gradient is kept only at the places that are stored; default yes
    Example:
        >>> import taper as torch
        >>> torch.eye(2).to_sparse().to_dense()
        tensor([[1., 0.],
                [0., 1.]])
    """
    if not isinstance(input._array, SparseArray):
        return input if dtype is None else input.to(dtype)
    if dtype is not None and dtype is not input.dtype:
        raise RuntimeError("dtype argument is not supported by sparse_to_dense")
    return sparse_to_dense(input, masked_grad is None or masked_grad)


# -- only where another tensor has elements --------------------------------------------------------


@operator("_sparse_mask", hidden=True, node="SparseMaskBackward0", unpromoted=("mask",))
def sparse_mask(input: Tensor, mask: Tensor) -> Tensor:
    if isinstance(mask, CompressedArray):
        if isinstance(input, SparseArray) and not isinstance(input, CompressedArray):
            input = sparse_rules.compress(input, devices.sparse_csr)
        if mask.batch_ndim or mask.has_blocks:
            return _mask_blocks(input, mask)
        places = coordinates_of(mask)
        picked = _elements_at(input, places)
        return sparse_rules.compress(places.with_values(picked), mask.layout)
    mask = mask.coalesce()
    return mask.with_values(_elements_at(input, mask))


@operator("_values_at", hidden=True, unpromoted=("places",))
def values_at(input: Tensor, places: Tensor) -> Tensor:
    """The elements at all places that a COO tensor lists, one for each time it lists one."""
    return _elements_at(input, places)


@values_at.derivative("input")
def _(grad, input, places):
    spread = with_values(places, grad)
    return spread.to_dense() if input.layout is devices.strided else spread


def _elements_at(input: Any, places: CoordinateArray) -> Any:
    """The elements (or dense slices) of any array at the places of a COO array."""
    if type(input) is np.ndarray:
        return input[tuple(places.indices)]
    found = coordinates_of(input).coalesce()
    listed, wanted = found.places(), places.places()
    if not listed.size:
        return np.zeros((wanted.size, *found.values.shape[1:]), found.dtype)
    position = np.searchsorted(listed, wanted).clip(0, listed.size - 1)
    hit = (listed[position] == wanted).reshape(-1, *[1] * (found.values.ndim - 1))
    return np.where(hit, found.values[position], np.zeros((), found.dtype))


def _mask_blocks(input: Any, mask: CompressedArray) -> Any:
    dense = input if type(input) is np.ndarray else input.to_dense()
    values = np.zeros_like(mask.values)
    for at in np.ndindex(*mask.shape[: mask.batch_ndim]):
        part, source = mask.element(at), dense[at]
        counts = np.diff(part.compressed)
        lines = np.repeat(np.arange(counts.size), counts)
        rows, columns = (lines, part.plain) if part.by_rows else (part.plain, lines)
        if not mask.has_blocks:
            values[at] = source[rows, columns]
            continue
        height, width = part.values.shape[1:3]
        rows = rows[:, None, None] * height + np.arange(height)[:, None]
        columns = columns[:, None, None] * width + np.arange(width)
        values[at] = source[rows, columns]
    return mask.with_values(values)


@sparse_mask.derivative("input")
def _(grad, input):
    return grad.to_dense() if input.layout is devices.strided else in_layout_of(grad, input)


@method("sparse_mask")
def _sparse_mask_method(self: Tensor, mask: Tensor) -> Tensor:
    """Returns the elements at the places that `mask` stores, in the layout of `mask`."""
    if not isinstance(mask._array, SparseArray):
        raise NotImplementedError(
            "Could not run 'aten::sparse_mask' with arguments from the 'CPU' backend: the mask "
            "must be a sparse tensor."
        )
    if isinstance(self._array, CompressedArray) and not isinstance(mask._array, CompressedArray):
        raise RuntimeError(
            "sparse_mask_sparse_compressed expects mask to have sparse compressed layout, got "
            f"{layout_title(mask.layout)}"
        )
    if tuple(self.shape) != tuple(mask.shape):
        raise RuntimeError(
            "sparse_mask(): operands have incompatible sizes; self has size "
            f"{list(self.shape)} but mask has size {list(mask.shape)}"
        )
    return sparse_mask(self, mask)


# -- parts -----------------------------------------------------------------------------------------


@operator("_sparse_values", hidden=True, node="ValuesBackward0")
def stored_values(input: Tensor) -> Tensor:
    return input.values


@stored_values.derivative("input")
def _(grad, input):
    return with_values(input.detach(), grad)


@operator("_with_values", hidden=True, unpromoted=("input",))
def with_values(input: Tensor, values: Tensor) -> Tensor:
    """The places of a sparse tensor with other values."""
    return input.with_values(values)


@with_values.derivative("values")
def _(grad, input):
    return stored_values(sparse_mask(grad, input))


@operator("_coalesced", hidden=True, node="CoalesceBackward0")
def coalesced(input: Tensor) -> Tensor:
    return input.coalesce()


@coalesced.derivative("input")
def _(grad):
    return grad


def _expect_coordinates(self: Tensor, name: str) -> CoordinateArray:
    if not isinstance(self._array, CoordinateArray):
        raise RuntimeError(
            f"{name} expected sparse coordinate tensor layout but got {layout_title(self.layout)}"
        )
    return self._array


def _expect_compressed(self: Tensor, name: str, kind: str) -> CompressedArray:
    array = self._array
    if not isinstance(array, CompressedArray) or array.by_rows != (kind == "row"):
        raise RuntimeError(
            f"{name} expected sparse {kind} compressed tensor layout but got "
            f"{layout_title(self.layout)}"
        )
    return array


def _no_such_part(self: Tensor, name: str) -> NotImplementedError:
    return NotImplementedError(
        f"Could not run 'aten::{name}' with arguments from the 'CPU' backend: the tensor has the "
        f"layout {layout_title(self.layout)}."
    )


@method()
def coalesce(self: Tensor) -> Tensor:
    """Returns the same COO tensor with sorted places, each listed once."""
    return self if _expect_coordinates(self, "coalesce").is_coalesced else coalesced(self)


@method()
def is_coalesced(self: Tensor) -> bool:
    """Returns whether the places of a COO tensor are known to be sorted and listed once."""
    return _expect_coordinates(self, "is_coalesced").is_coalesced


@method("_coalesced_")
def mark_coalesced(self: Tensor, coalesced: bool) -> Tensor:
    """Declares a COO tensor coalesced, or not, without looking."""
    _expect_coordinates(self, "_coalesced_").is_coalesced = coalesced
    return self


@method()
def indices(self: Tensor) -> Tensor:
    """Returns the places of a coalesced COO tensor: one column for each stored element."""
    array = _expect_coordinates(self, "indices")
    if not array.is_coalesced:
        raise RuntimeError(
            "Cannot get indices on an uncoalesced tensor, please call .coalesce() first"
        )
    return wrap(array.indices)


@method()
def values(self: Tensor) -> Tensor:
    """Returns the stored elements of a sparse tensor; they share its memory."""
    array = self._array
    if not isinstance(array, SparseArray):
        raise RuntimeError(
            f"values expected sparse tensor layout but got {layout_title(self.layout)}"
        )
    if isinstance(array, CoordinateArray) and not array.is_coalesced:
        raise RuntimeError(
            "Cannot get values on an uncoalesced tensor, please call .coalesce() first"
        )
    return stored_values(self)


@method("_indices")
def listed_indices(self: Tensor) -> Tensor:
    """Returns the places of a COO tensor as they are, coalesced or not."""
    if not isinstance(self._array, CoordinateArray):
        raise _no_such_part(self, "_indices")
    return wrap(self._array.indices)


@method("_values")
def listed_values(self: Tensor) -> Tensor:
    """Returns the stored elements as they are, coalesced or not, without history."""
    if not isinstance(self._array, CoordinateArray):
        raise _no_such_part(self, "_values")
    return wrap(self._array.values)


@method("_nnz")
def stored_count(self: Tensor) -> int:
    """Returns how many elements a sparse tensor stores."""
    if not isinstance(self._array, SparseArray):
        raise _no_such_part(self, "_nnz")
    return self._array.nnz


@method()
def crow_indices(self: Tensor) -> Tensor:
    """Returns where each row of a CSR or BSR tensor begins."""
    return wrap(_expect_compressed(self, "crow_indices", "row").compressed)


@method()
def col_indices(self: Tensor) -> Tensor:
    """Returns the columns of the stored elements of a CSR or BSR tensor."""
    return wrap(_expect_compressed(self, "col_indices", "row").plain)


@method()
def ccol_indices(self: Tensor) -> Tensor:
    """Returns where each column of a CSC or BSC tensor begins."""
    return wrap(_expect_compressed(self, "ccol_indices", "column").compressed)


@method()
def row_indices(self: Tensor) -> Tensor:
    """Returns the rows of the stored elements of a CSC or BSC tensor."""
    return wrap(_expect_compressed(self, "row_indices", "column").plain)


@method()
def sparse_dim(self: Tensor) -> int:
    """Returns the number of sparse dimensions; 0 for a strided tensor."""
    array = self._array
    if isinstance(array, CoordinateArray):
        return array.sparse_dim
    return 2 if isinstance(array, CompressedArray) else 0


@method()
def dense_dim(self: Tensor) -> int:
    """Returns the number of dense dimensions; all of a strided tensor's."""
    array = self._array
    if isinstance(array, CoordinateArray):
        return array.ndim - array.sparse_dim
    return array.dense_ndim if isinstance(array, CompressedArray) else array.ndim


@method()
def sparse_resize_(self: Tensor, size: Any, sparse_dim: int, dense_dim: int) -> Tensor:
    """Gives a COO tensor another shape; what it stores keeps its places."""
    array = _expect_coordinates(self, "sparse_resize_")
    if sparse_dim + dense_dim != len(size):
        raise RuntimeError(
            f"'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(size)}, "
            f"sparse_dim = {sparse_dim}, dense_dim = {dense_dim}"
        )
    if array.nnz and (sparse_dim, dense_dim) != (array.sparse_dim, array.ndim - array.sparse_dim):
        raise RuntimeError(
            "changing the number of sparse or dense dimensions on a non-empty sparse tensor is not "
            "supported."
        )
    _resize(self, tuple(size), sparse_dim, array.indices, array.values)
    return self


@composite(method=True, also={"other": "the_template"})
def resize_as_sparse_(input: Tensor, the_template: Tensor) -> Tensor:
    """Gives a COO tensor the shape of another, with as many sparse dimensions.

    Example:
        >>> import taper as torch
        >>> x = torch.sparse_coo_tensor((2, 2))
        >>> torch.resize_as_sparse_(x, torch.sparse_coo_tensor((3, 4))).shape
        torch.Size([3, 4])
    """
    template = _expect_coordinates(the_template, "resize_as_sparse_")
    dense = template.ndim - template.sparse_dim
    return sparse_resize_(input, template.shape, template.sparse_dim, dense)


@method()
def sparse_resize_and_clear_(
    self: Tensor, size: Any, sparse_dim: int, dense_dim: int
) -> Tensor:
    """Gives a COO tensor another shape and no stored elements."""
    array = _expect_coordinates(self, "sparse_resize_and_clear_")
    _resize(self, tuple(size), sparse_dim, array.indices[:, :0], array.values[:0])
    return self


def _resize(self: Tensor, size: tuple[int, ...], k: int, indices: Any, values: Any) -> None:
    if indices.shape[0] != k:
        indices = np.zeros((k, 0), np.int64)
    if values.shape[1:] != size[k:]:
        values = np.zeros((values.shape[0], *size[k:]), values.dtype)
    self._array = CoordinateArray(indices, values, size, self._array.is_coalesced)
    self._bump_version()
