"""Copies in which a region is written: diagonal_scatter, select_scatter, slice_scatter.

`as_strided_scatter` is beside as_strided in strided.py.
"""

from __future__ import annotations

from typing import Any

from taper.core.errors import normalize_dim
from taper.core.tensor import Tensor
from taper.kernels.memory_order import copied
from taper.ops.declare import operator
from taper.ops.diagonal import writeable_diagonal
from taper.ops.index import select

_ALL = slice(None)


def _written(input: Any, src: Any, region_of: Any) -> Any:
    """A copy of the array with `src` written into the region that `region_of` views."""
    result = copied(input)
    region = region_of(result)
    if src.shape != region.shape:
        raise RuntimeError(
            "expected src to have a size equal to the slice of self. src size = "
            f"{list(src.shape)}, slice size = {list(region.shape)}"
        )
    region[...] = src
    return result


@operator(method=True, node="DiagonalScatterBackward0")
def diagonal_scatter(
    input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Tensor:
    """Returns a copy of `input` with `src` written on a diagonal.

    Example:
        >>> import taper as torch
        >>> torch.diagonal_scatter(torch.zeros(2, 2), torch.tensor([1., 2.]))
        tensor([[1., 0.],
                [0., 2.]])
    """
    return _written(input, src, lambda a: writeable_diagonal(a, offset, dim1, dim2))


@diagonal_scatter.derivative("input")
def _(grad, src_shape, offset, dim1, dim2):
    return diagonal_scatter(grad, grad.new_zeros(src_shape), offset, dim1, dim2)


@diagonal_scatter.derivative("src")
def _(grad, offset, dim1, dim2):
    return grad.diagonal(offset, dim1, dim2)


@operator(method=True)
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """Returns a copy of `input` with `src` written at position `index` of a dimension.

    Example:
        >>> import taper as torch
        >>> torch.select_scatter(torch.zeros(2, 2), torch.tensor([1., 2.]), 0, 1)
        tensor([[0., 0.],
                [1., 2.]])
    """
    return _written(input, src, lambda a: select.forward(a, dim, index))


@select_scatter.derivative("input")
def _(grad, src_shape, dim, index):
    return select_scatter(grad, grad.new_zeros(src_shape), dim, index)


@select_scatter.derivative("src")
def _(grad, dim, index):
    return grad.select(dim, index)


@operator(method=True, out=True)
def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Tensor:
    """Returns a copy of `input` with `src` written at the positions ``start:end:step``.

    Example:
        >>> import taper as torch
        >>> torch.slice_scatter(torch.zeros(4), torch.ones(2), 0, 0, 4, 2)
        tensor([1., 0., 1., 0.])
    """
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    lead = (_ALL,) * normalize_dim(dim, input.ndim)
    return _written(input, src, lambda a: a[(*lead, slice(start, end, step))])


@slice_scatter.derivative("input")
def _(grad, src_shape, dim, start, end, step):
    return slice_scatter(grad, grad.new_zeros(src_shape), dim, start, end, step)


@slice_scatter.derivative("src")
def _(grad, dim, start, end, step):
    return grad[(*(_ALL,) * (dim % grad._array.ndim), slice(start, end, step))]
