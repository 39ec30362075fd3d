"""Changing whole slices by index: index_add, index_copy, index_fill, index_reduce."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from taper.core.dtype import from_numpy_dtype
from taper.core.errors import normalize_dim
from taper.core.promotion import scalar_type_name
from taper.core.settings import settings
from taper.core.tensor import Tensor
from taper.kernels.lanes import check_index, plain_slice_positions, slice_positions
from taper.kernels.memory_order import copied
from taper.ops.declare import composite, operator
from taper.ops.native_forward import LARGE
from taper.ops.scatter import as_element, reduce_gradient, reduced_into

_LONG_ROWS = 128  # elements from which adding row by row is quicker than element by element


def _type(array: Any) -> str:
    return scalar_type_name(from_numpy_dtype(array.dtype))


def _require_slices(name: str, input: Any, dim: int, index: Any, source: Any, error: Any) -> None:
    """Raises unless `source` has one slice for each index, shaped as those of `input`."""
    rows = source.shape[dim] if source.ndim else 1
    if index.size != rows:
        number = f"({rows})" if name == "index_copy_" else f"({rows}), for dim: {dim}"
        colon = "" if name == "index_copy_" else ":"
        raise error(
            f"{name}(): Number of indices ({index.size}) should be equal to "
            f"source.size(dim){colon} {number}"
        )


def _require_vector(name: str, index: Any) -> None:
    if index.ndim > 1:
        raise IndexError(
            f"{name}(): Index is supposed to be a vector, but got dim: {index.ndim} with type: "
            f"{_type(index)} and size: {list(index.shape)}"
        )


def _vectors(*arrays: Any) -> list[Any]:
    return [a.reshape(1) if a.ndim == 0 else a for a in arrays]


def _added(table: Any, index: Any, rows: Any) -> bool:
    """Whether a kernel has added the rows to those of a table, whose indices are in range."""
    if settings.native == "off":
        return False
    from taper.kernels import native_scatter

    return native_scatter.rows_added(table, index, rows)


@operator(method=True, inplace=True, out=True, upcast=True, unpromoted=("index",))
def index_add(
    input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1
) -> Tensor:
    """Adds the slices of `source`, times `alpha`, to those slices along `dim` that `index` names.

    Raises:   IndexError: if `index` is no vector.  RuntimeError: if `source` does not fit.
    Example:
        >>> import taper as torch
        >>> torch.zeros(3, 2).index_add(0, torch.tensor([0, 0]), torch.ones(2, 2))
        tensor([[2., 2.],
                [0., 0.],
                [0., 0.]])
    """
    if input.dtype is source.dtype:
        rows = dim == 0 and source.size >= _LONG_ROWS * index.size
        positions = plain_slice_positions(input, dim, index, source.shape, not rows)
        if positions is not None:
            if alpha != 1:
                source = source * as_element(alpha, source.dtype)
            result = input.copy()
            if rows and source.size > LARGE and _added(result, index, source):
                return result
            if rows:
                for row, values in zip(index.tolist(), source, strict=True):
                    into = result[row]
                    np.add(into, values, into)
            else:
                np.add.at(result.reshape(-1), positions.ravel(), source.ravel())
            return result
    dim = normalize_dim(dim, input.ndim)
    _require_vector("index_add_", index)
    if index.dtype.kind != "i" or index.dtype.itemsize < 4:
        raise RuntimeError(
            f"index_add_(): Expected dtype int32/int64 for index but got: {_type(index)}"
        )
    if input.dtype != source.dtype:
        raise RuntimeError(
            f"index_add_(): self ({_type(input)}) and source ({_type(source)}) must have the same "
            "scalar type"
        )
    shape = input.shape
    input, index, source = _vectors(input, index, source)
    rest, given = list(input.shape), list(source.shape)
    if len(rest) == len(given):
        rest[dim] = given[dim] = 0
    if rest != given:
        raise RuntimeError(
            "source tensor shape must match self tensor shape, excluding the specified dimension. "
            f"Got self.shape = {list(input.shape)} source.shape = {list(source.shape)}"
        )
    _require_slices("index_add_", input, dim, index, source, RuntimeError)
    try:
        check_index(index, input.shape[dim], dim)
    except IndexError as error:
        raise RuntimeError(str(error)) from None
    if not input.size:
        return input.reshape(shape).copy()
    if alpha != 1:
        source = source * as_element(alpha, source.dtype)
    result = input.copy(order="C")
    positions = slice_positions(input.shape, dim, index, source.shape).ravel()
    np.add.at(result.reshape(-1), positions, source.ravel())
    return result.reshape(shape)


@index_add.derivative("input")
def _(grad):
    return grad


@index_add.derivative("source")
def _(grad, dim, index, source_shape, alpha):
    picked = grad.index_select(dim, index)
    return (picked if alpha == 1 else picked * alpha).reshape(source_shape)


@operator(method=True, inplace=True, out=True, also={"tensor": "source"})
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Copies the slices of `source` to those places along `dim` that `index` names.

    Example:
        >>> import taper as torch
        >>> torch.zeros(3).index_copy(0, torch.tensor([2, 0]), torch.tensor([1., 2.]))
        tensor([2., 0., 1.])
    """
    dim = normalize_dim(dim, input.ndim)
    if index.dtype != np.int64:
        raise RuntimeError("index_copy_(): Expected a long tensor for index, but got "
                           f"{_type(index)}")
    if input.dtype != source.dtype:
        raise RuntimeError(
            "index_copy_(): self and source expected to have the same dtype, but got (self) "
            f"{_type(input)} and (source) {_type(source)}"
        )
    if index.ndim > 1:
        raise IndexError(f"index_copy_(): Index should have dimension 1 or 0 (got {index.ndim})")
    if source.ndim != input.ndim and source.ndim and input.ndim:
        raise IndexError(
            "index_copy_(): When source and destination are not scalars, their dimensionality must "
            f"match. Source dimensionality ({source.ndim}), destination dimensionality "
            f"({input.ndim})"
        )
    shape = input.shape
    input, index, source = _vectors(input, index, source)
    rest, given = input.shape[:dim] + input.shape[dim + 1:], source.shape[:dim] + (
        source.shape[dim + 1:])
    if rest != given and source.ndim == input.ndim:
        raise RuntimeError(
            "index_copy_(): Source/destination tensor must have same slice shapes. Destination "
            f"slice shape: {' '.join(map(str, rest))} at dimension {dim} and source slice shape: "
            f"{' '.join(map(str, given))} at dimension {dim}."
        )
    _require_slices("index_copy_", input, dim, index, source, IndexError)
    try:
        check_index(index, input.shape[dim], dim)
    except IndexError as error:
        raise IndexError(f"index_copy_(): {error}") from None
    result = input.copy()
    result[(slice(None),) * dim + (index,)] = source
    return result.reshape(shape)


@index_copy.derivative("input")
def _(grad, dim, index):
    return grad.index_fill(dim, index, 0)


@index_copy.derivative("source")
def _(grad, dim, index, source_shape):
    return grad.index_select(dim, index).expand(source_shape)


# -- index_fill ------------------------------------------------------------------


def _filled(input: Any, dim: int, index: Any, value: Any) -> Any:
    dim = normalize_dim(dim, input.ndim)
    if index.dtype != np.int64:
        raise IndexError("index_fill_(): Expected dtype int64 for index.")
    if index.ndim > 1:
        raise RuntimeError("Index has to be a vector/scalar")
    shape = input.shape
    input, index = _vectors(input, index)
    size = input.shape[dim]
    check_index(np.where(index < 0, index + size, index), size, dim)
    result = copied(input)
    result[(slice(None),) * dim + (index,)] = value
    return result.reshape(shape)


@operator("index_fill", hidden=True)
def index_fill_number(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """`index_fill` with a number."""
    if isinstance(value, complex) and input.dtype.kind != "c":
        raise RuntimeError(
            "index_fill_(): Converting complex Scalar to non-complex type is not supported"
        )
    return _filled(input, dim, index, as_element(value, input.dtype))


@index_fill_number.derivative("input")
def _(grad, dim, index):
    return grad.index_fill(dim, index, 0)


@operator("index_fill", hidden=True, node="IndexFillBackward1")
def index_fill_tensor(input: Tensor, dim: int, index: Tensor, value: Tensor) -> Tensor:
    """`index_fill` with a 0-d tensor."""
    if value.ndim:
        raise RuntimeError(
            "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
            f"{value.ndim} dimension(s)."
        )
    return _filled(input, dim, index, as_element(value.item(), input.dtype) if (
        value.dtype != input.dtype) else value)


@index_fill_tensor.derivative("input")
def _(grad, dim, index):
    return grad.index_fill(dim, index, 0)


@index_fill_tensor.derivative("value")
def _(grad, dim, index):
    return (grad - grad.index_fill(dim, index, 0)).sum()  # each place once, if indices repeat


@composite(method=True, inplace=True)
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """Fills those slices along `dim` that `index` names with a number or 0-d tensor.

    Example:
        >>> import taper as torch
        >>> torch.zeros(2, 2).index_fill(1, torch.tensor([0]), 7)
        tensor([[7., 0.],
                [7., 0.]])
    """
    if isinstance(value, Tensor):
        return index_fill_tensor.function(input, dim, index, value)
    return index_fill_number.function(input, dim, index, value)


# -- index_reduce ------------------------------------------------------------------


@operator(method=True, inplace=True, out=True, upcast=True, unpromoted=("index",))
def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *,
    include_self: bool = True,
) -> Tensor:
    """Reduces the slices of `source` into those slices along `dim` that `index` names.

    Args:   reduce (str): "prod", "mean", "amax" or "amin"
    Example:
        >>> import taper as torch
        >>> x, i = torch.tensor([1., 5.]), torch.tensor([0, 0])
        >>> x.index_reduce(0, i, torch.tensor([2., 3.]), "amax")
        tensor([3., 5.])
    """
    dim = normalize_dim(dim, input.ndim)
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(
            "index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got "
            f"{reduce}."
        )
    if input.dtype != source.dtype:
        raise RuntimeError(
            f"index_reduce_(): self ({_type(input)}) and source ({_type(source)}) must have the "
            "same scalar type"
        )
    warnings.warn("index_reduce() is in beta and the API may change at any time.", UserWarning,
                  stacklevel=3)
    _require_vector("index_reduce_", index)
    shape = input.shape
    input, index, source = _vectors(input, index, source)
    _require_slices("index_reduce_", input, dim, index, source, RuntimeError)
    check_index(index, input.shape[dim], dim, words="index out of range in self")
    positions = slice_positions(input.shape, dim, index, source.shape)
    return reduced_into(input, positions, source, reduce, include_self).reshape(shape)


@index_reduce.derivative("input", "source")
def _(grad, input, dim, index, source, reduce, include_self, result, needs):
    return reduce_gradient(
        grad, input, source, reduce, include_self, result,
        lambda x: x.index_select(dim, index).reshape(source.shape),
        lambda x, values: x.index_add(dim, index, values),
        lambda x: x.index_fill(dim, index, 0),
        lambda x, values: x.index_reduce(dim, index, values, reduce, include_self=include_self),
    )
