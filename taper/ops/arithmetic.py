"""Addition, subtraction, multiplication, division, powers of pairs of tensors or numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.autograd import engine
from taper.core.tensor import Tensor
from taper.ops.declare import operator

Number = Any


@operator(
    method=True, inplace=True, out=True, promote="result_type", ufunc=np.add,
    dunders=("__add__", "__radd__", "__iadd__"),
)
def add(input: Tensor, other: Tensor | Number, *, alpha: Number = 1) -> Tensor:
    r"""Adds `other`, scaled by `alpha`, to `input`: :math:`y_i = x_i + \alpha z_i`.

    Shape: broadcast together.    Dtype: promoted together.
    Example:
        >>> import taper as torch
        >>> torch.add(torch.tensor([1, 2]), torch.tensor([10, 20]), alpha=2)
        tensor([21, 42])
    """
    if alpha == 1:
        return np.add(input, other)
    return np.add(input, other * np.asarray(alpha).astype(input.dtype))


@add.derivative("input")
def _(grad):
    return grad


@add.derivative("other")
def _(grad, alpha):
    return grad if alpha == 1 else grad * alpha


@operator(
    method=True, inplace=True, out=True, promote="result_type", ufunc=np.multiply,
    aliases=("multiply",), dunders=("__mul__", "__rmul__", "__imul__"),
)
def mul(input: Tensor, other: Tensor | Number) -> Tensor:
    r"""Multiplies elementwise: :math:`y_i = x_i z_i`.

    Shape: broadcast together.    Dtype: promoted together.
    Example:
        >>> import taper as torch
        >>> torch.mul(torch.tensor([1., 2.]), 3)
        tensor([3., 6.])
    """
    return np.multiply(input, other)


@mul.derivative("input")
def _(grad, other):
    return grad * conj(other)


@mul.derivative("other")
def _(grad, input):
    return grad * conj(input)


def conj(value: Any) -> Any:
    """The conjugate of a tensor or number; real ones as they are."""
    if isinstance(value, Tensor):
        return value.conj() if value._array.dtype.kind == "c" else value  # type: ignore[attr-defined]
    return value.conjugate() if isinstance(value, complex) else value


engine.add = add.function
