"""Sums and their relatives over some or all dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.autograd import engine
from taper.core.dtype import INTEGER, as_dtype, int64
from taper.core.errors import normalize_dims
from taper.core.tensor import Tensor
from taper.ops.declare import operator


def _sum_dtype(bound: dict[str, Any]) -> Any:
    """`dtype=` if given; integers and bools are summed in int64."""
    d = bound["input"].dtype
    return as_dtype(bound.get("dtype")) or (int64 if d.category <= INTEGER else d)


@operator(method=True, out=True, promote=_sum_dtype, upcast=True)
def sum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    r"""Adds up the elements, all of them or along `dim`.

    Args:     dim (int or tuple of ints): default all dimensions (also for an empty tuple)
    Dtype:    integers are summed in int64; float16 and bfloat16 in float32
    Example:
        >>> import taper as torch
        >>> torch.sum(torch.ones(2, 3), dim=1)
        tensor([3., 3.])
    """
    if dim is None or dim == ():
        axis = None
    else:
        axis = normalize_dims(dim if isinstance(dim, (tuple, list)) else (dim,), input.ndim)
    if input.ndim == 0:
        return input + 0
    return np.add.reduce(input, axis, None, None, keepdim)


@sum.derivative("input")
def _(grad, input_shape, dim, keepdim):
    return expand_reduced(grad, input_shape, dim, keepdim)


def expand_reduced(grad: Tensor, shape: Any, dim: Any, keepdim: bool) -> Tensor:
    """Brings the gradient of a reduction back to the shape of its input."""
    if dim is None or dim == () or not shape:
        return grad.expand(shape)
    if not keepdim:
        for d in sorted(normalize_dims(dim if isinstance(dim, (tuple, list)) else (dim,), len(shape))):
            grad = grad.unsqueeze(d)
    return grad.expand(shape)


def _cast_and_reduce(grad: Tensor, how: Any) -> Tensor:
    """Brings a gradient to the shape and dtype of the input it belongs to."""
    shape, dtype = how
    if shape is not None and grad._array.shape != shape:
        grad = sum_to(grad, shape)
    if dtype is not None and grad.dtype is not dtype:
        if grad.is_complex() and not dtype.is_complex:
            grad = grad.real
        grad = grad.to(dtype)
    return grad


def sum_to(grad: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sums over the dimensions that broadcasting to `shape` would expand."""
    lead = grad._array.ndim - len(shape)
    dims = [*range(lead), *(lead + i for i, n in enumerate(shape)
                            if n == 1 and grad._array.shape[lead + i] != 1)]
    if dims:
        grad = sum(grad, dims, True)
    return grad.reshape(shape) if lead else grad


engine.cast_and_reduce = _cast_and_reduce
