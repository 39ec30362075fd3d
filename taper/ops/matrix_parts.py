"""Parts of matrices: triangles, diagonals put into matrices, and the indices of both."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.arrays.symbolic_shape import array_of
from taper.core.dtype import int64
from taper.core.errors import normalize_dim
from taper.core.tensor import Tensor
from taper.kernels.memory_order import in_rows
from taper.ops.declare import composite, operator
from taper.ops.diagonal import diagonal, diagonal_backward
from taper.ops.options import finish, read_options, uninitialized


def _triangle_mask(shape: tuple[int, ...], diagonal: int) -> Any:
    """True on and below a diagonal of the last two dimensions."""
    rows, columns = shape[-2:]
    return array_of(_on_and_below, rows, columns, diagonal)


def _on_and_below(rows: int, columns: int, diagonal: int) -> Any:
    return np.arange(rows)[:, None] + diagonal >= np.arange(columns)


def _check_matrix(name: str, input: Any) -> None:
    if input.ndim < 2:
        raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")


@operator(method=True, inplace=True, out=True, native="native_selection.tril")
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """Keeps the elements on and below a diagonal, and sets the others to 0.

    Shape:    (*, m, n) → the same
    Example:
        >>> import taper as torch
        >>> torch.tril(torch.ones(2, 2))
        tensor([[1., 0.],
                [1., 1.]])
    """
    _check_matrix("tril", input)
    return in_rows(
        np.where(_triangle_mask(input.shape, diagonal), input, input.dtype.type(0))
    )


@tril.derivative("input")
def _(grad, diagonal):
    return grad.tril(diagonal)


@operator(method=True, inplace=True, out=True, native="native_selection.triu")
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """Keeps the elements on and above a diagonal, and sets the others to 0.

    Shape:    (*, m, n) → the same
    Example:
        >>> import taper as torch
        >>> torch.triu(torch.ones(2, 2))
        tensor([[1., 1.],
                [0., 1.]])
    """
    _check_matrix("triu", input)
    return in_rows(
        np.where(_triangle_mask(input.shape, diagonal - 1), input.dtype.type(0), input)
    )


@triu.derivative("input")
def _(grad, diagonal):
    return grad.triu(diagonal)


def _triangle_indices(
    name: str, row: int, col: int, offset: int, upper: bool, dtype: Any, device: Any, layout: Any
) -> Tensor:
    if row < 0 or col < 0:
        which, value = ("row", row) if row < 0 else ("col", col)
        raise RuntimeError(f"{which} must be non-negative, got{value}")
    if dtype is None:
        dtype = int64
    wanted, where = read_options(name, dtype, device, layout)
    if wanted.name not in ("int32", "int64"):
        from taper.core.promotion import scalar_type_name

        raise RuntimeError(f'"{name}" not implemented for \'{scalar_type_name(wanted)}\'')
    if row and col:
        mask = _on_and_below(row, col, offset - 1 if upper else offset)
        found = np.stack((~mask if upper else mask).nonzero()).astype(wanted.numpy_dtype)
    else:
        found = np.empty((2, 0), wanted.numpy_dtype)
    if where.type != "cpu":
        found = uninitialized(found.shape, wanted, where)
    return finish(found)


@composite()
def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None,
    layout: Any = None, pin_memory: bool = False,
) -> Tensor:
    """Returns the row and column indices on and below a diagonal, as two rows.

    Example:
        >>> import taper as torch
        >>> torch.tril_indices(2, 2)
        tensor([[0, 1, 1],
                [0, 0, 1]])
    """
    return _triangle_indices("tril_indices", row, col, offset, False, dtype, device, layout)


@composite()
def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None,
    layout: Any = None, pin_memory: bool = False,
) -> Tensor:
    """Returns the row and column indices on and above a diagonal, as two rows.

    Example:
        >>> import taper as torch
        >>> torch.triu_indices(2, 2)
        tensor([[0, 0, 1],
                [0, 1, 1]])
    """
    return _triangle_indices("triu_indices", row, col, offset, True, dtype, device, layout)


@operator(method=True)
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Makes matrices of zeros that have the last dimension on a diagonal.

    Shape:    (*, n) → (*, n + |offset|, n + |offset|)
    Example:
        >>> import taper as torch
        >>> torch.diag_embed(torch.tensor([1, 2]))
        tensor([[1, 0],
                [0, 2]])
    """
    ndim = input.ndim + 1
    first, second = normalize_dim(dim1, ndim), normalize_dim(dim2, ndim)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    if not input.ndim:
        raise IndexError("Dimension specified as -1 but tensor has no dimensions")
    count = input.shape[-1]
    size = count + abs(offset)
    result = np.zeros_like(input, shape=(*input.shape[:-1], size, size))
    rows = np.arange(count)
    result[..., rows + max(-offset, 0), rows + max(offset, 0)] = input
    return in_rows(np.moveaxis(result, (-2, -1), (first, second)))


@diag_embed.derivative("input")
def _(grad, offset, dim1, dim2):
    return grad.diagonal(offset, dim1, dim2)


@operator("_diagonal_copy", node="DiagonalBackward0_copy", hidden=True)
def diagonal_copied(input: Tensor, offset: int, dim1: int, dim2: int) -> Tensor:
    return diagonal.forward(input, offset, dim1, dim2).copy()


@diagonal_copied.derivative("input")
def _(grad, input_shape, offset, dim1, dim2):
    return diagonal_backward(grad, input_shape, offset, dim1, dim2)


@composite(out=True)
def diagonal_copy(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Takes a copy of a diagonal of two dimensions; see `diagonal`.

    Example:
        >>> import taper as torch
        >>> torch.diagonal_copy(torch.tensor([[1, 2], [3, 4]]))
        tensor([1, 4])
    """
    return diagonal_copied(input, offset, dim1, dim2)


@composite(method=True, out=True)
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """Makes a diagonal matrix of a vector, or takes the diagonal of a matrix, as a copy.

    Shape:    (n) → (n + |diagonal|, n + |diagonal|), or (m, n) → (k)
    Example:
        >>> import taper as torch
        >>> torch.diag(torch.tensor([1, 2]))
        tensor([[1, 0],
                [0, 2]])
    """
    ndim = input._array.ndim
    if ndim not in (1, 2):
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {ndim}D")
    return diag_embed(input, diagonal) if ndim == 1 else diagonal_copied(input, diagonal, 0, 1)


@composite(method=True)
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """Makes a diagonal matrix of all elements, in order.

    Example:
        >>> import taper as torch
        >>> torch.diagflat(torch.tensor([[1], [2]]))
        tensor([[1, 0],
                [0, 2]])
    """
    return diag_embed(input.contiguous().view(-1), offset)
