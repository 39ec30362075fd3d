"""Diagonals of two dimensions, as views."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.errors import normalize_dim
from taper.core.tensor import Tensor
from taper.ops import slow
from taper.ops.connect_views import view_of
from taper.ops.declare import operator

__all__ = ["diagonal", "diagonal_backward", "writeable_diagonal"]

ndarray = np.ndarray


@operator(method=True, view=True)
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Takes a diagonal of two dimensions, which move to the end as one. The result is a view.

    Args: offset (int): positive above the main diagonal, negative below.
    Example:
        >>> import taper as torch
        >>> torch.diagonal(torch.tensor([[1, 2], [3, 4]]))
        tensor([1, 4])
    """
    ndim = input.ndim
    first, second = normalize_dim(dim1, ndim), normalize_dim(dim2, ndim)
    if ndim < 2 or first == second:
        if ndim < 2:
            normalize_dim(2, ndim)
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return input.diagonal(offset, first, second)


@diagonal.derivative("input")
def _(grad, input_shape, offset, dim1, dim2):
    return diagonal_backward(grad, input_shape, offset, dim1, dim2)


@operator("_diagonal_backward", hidden=True)
def diagonal_backward(input: Tensor, shape: Any, offset: int, dim1: int, dim2: int) -> Tensor:
    result = np.zeros_like(input, shape=shape)
    writeable_diagonal(result, offset, dim1, dim2)[...] = input
    return result


@diagonal_backward.derivative("input")
def _(grad, offset, dim1, dim2):
    return grad.diagonal(offset, dim1, dim2)


def writeable_diagonal(array: Any, offset: int, dim1: int, dim2: int) -> Any:
    found = array.diagonal(offset, dim1, dim2)
    if type(array) is ndarray:
        found.flags.writeable = True
    return found


@diagonal.short_path
def _(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    if input.__class__ is Tensor and type(input._array) is ndarray and input._array.ndim >= 2:
        a = input._array
        try:
            r = writeable_diagonal(a, offset, dim1, dim2)
        except ValueError:
            pass
        else:
            return view_of(input, r, diagonal, (a.shape, offset, dim1, dim2))
    return slow.call(diagonal, (input, offset, dim1, dim2))
