"""Signs and magnitudes."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.tensor import Tensor
from taper.ops.conditional import where
from taper.ops.declare import operator
from taper.ops.division import zero_gradient
from taper.ops.signature import Number


@operator(
    method=True, inplace=True, out=True, ufunc=np.absolute, aliases=("absolute",),
    dunders=("__abs__",), kinds="ifc", kernel="abs_cpu",
)
def abs(input: Tensor) -> Tensor:
    r"""Takes absolute values, of complex numbers their lengths: :math:`y_i = |x_i|`.

    The derivative at 0 is 0.    Dtype: kept; complex gives the matching float.
    Example:
        >>> import taper as torch
        >>> torch.abs(torch.tensor([-1, 2]))
        tensor([1, 2])
    """
    return np.absolute(input)


@abs.derivative("input")
def _(grad, input):
    return grad * sgn.function(input)


def abs_(self: Tensor) -> Tensor:
    """Takes absolute values in place; complex tensors can't hold their lengths."""
    if self._array.dtype.kind == "c":
        raise RuntimeError("In-place abs is not supported for complex tensors.")
    return abs.inplace(self)


Tensor.abs_ = Tensor.absolute_ = abs_


def _check_sign(bound: dict[str, Any]) -> None:
    if bound["input"]._array.dtype.kind == "c":
        raise NotImplementedError(
            "Unlike NumPy, torch.sign is not intended to support complex numbers. Please use "
            "torch.sgn instead."
        )


@operator(method=True, inplace=True, out=True, check=_check_sign, kinds="bif")
def sign(input: Tensor) -> Tensor:
    r"""-1, 0 or 1, as elements are negative, zero or positive; 0 for NaN.

    Example:
        >>> import taper as torch
        >>> torch.sign(torch.tensor([-2., 0., 5.]))
        tensor([-1.,  0.,  1.])
    """
    return _sign(input)


def _sign(input: Any) -> Any:
    kind = input.dtype.kind
    if kind == "b":
        return np.logical_or(input, False)
    if kind in "iu":
        return np.sign(input)
    return np.subtract(np.greater(input, 0), np.less(input, 0), dtype=input.dtype)


@sign.derivative("input")
def _(grad):
    return zero_gradient.function(grad)


@operator(method=True, inplace=True, out=True)
def sgn(input: Tensor) -> Tensor:
    r"""`sign`, and for complex numbers the direction :math:`x_i / |x_i|` (0 for 0).

    Example:
        >>> import taper as torch
        >>> torch.sgn(torch.tensor([3 + 4j, 0]))
        tensor([0.6000+0.8000j, 0.0000+0.0000j])
    """
    if input.dtype.kind != "c":
        return _sign(input)
    length = np.absolute(input)
    return np.where(np.equal(length, 0), np.zeros_like(input), np.true_divide(input, length))


@sgn.derivative("input")
def _(grad, input, result):
    if not input.is_complex():
        return zero_gradient.function(grad)
    turned = (grad.conj() * result).real
    slope = (grad - result * turned) / input.abs()
    return where.forward(input == 0, 0, slope)


def _check_signbit(bound: dict[str, Any]) -> None:
    if bound["input"]._array.dtype.kind == "c":
        raise NotImplementedError("signbit is not implemented for complex tensors.")


@operator(method=True, out=True, differentiable=False, check=_check_signbit, kinds="bif")
def signbit(input: Tensor) -> Tensor:
    """Tests whether the sign bit is set: negative numbers and -0.

    Example:
        >>> import taper as torch
        >>> torch.signbit(torch.tensor([-1., -0., 0.]))
        tensor([ True,  True, False])
    """
    if input.dtype.kind in "fV":
        return np.signbit(input)
    return np.less(input, 0)


@operator(
    method=True, inplace=True, out=True, promote="float", ufunc=np.copysign, kinds="if",
    kernel="copysign_cpu", variant=("isinstance(other, (int, float))", "CopysignBackward1"),
)
def copysign(input: Tensor, other: Tensor | Number) -> Tensor:
    """Gives magnitudes the signs of `other`, a zero's sign included.

    Dtype: promoted together; integers become the default float.
    Example:
        >>> import taper as torch
        >>> torch.copysign(torch.tensor([1., -2.]), torch.tensor([-0., 3.]))
        tensor([-1.,  2.])
    """
    return np.copysign(input, other)


@copysign.derivative("input")
def _(grad, input, result):
    return where.forward(input == 0, 0, grad * (result / input))


@copysign.derivative("other")
def _(grad):
    return zero_gradient.function(grad)


