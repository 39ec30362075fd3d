"""Exponentials and logarithms."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.tensor import Tensor
from taper.ops.arithmetic import conj
from taper.ops.conditional import where
from taper.ops.constants import F32, constant
from taper.ops.declare import operator

_ONE32 = constant(1, F32)
LN2 = 0.6931471805599453
LN10 = 2.302585092994046


@operator(method=True, inplace=True, out=True, promote="float", ufunc=np.exp)
def exp(input: Tensor) -> Tensor:
    r"""Raises e to each element: :math:`y_i = e^{x_i}`.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.exp(torch.tensor([0., 1.]))
        tensor([1.0000, 2.7183])
    """
    return np.exp(input)


@exp.derivative("input")
def _(grad, result):
    return grad * conj(result)


@operator(
    method=True, inplace=True, out=True, promote="float", ufunc=np.exp2,
    aliases=("special.exp2",),
)
def exp2(input: Tensor) -> Tensor:
    r"""Raises 2 to each element: :math:`y_i = 2^{x_i}`.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.exp2(torch.tensor([0., 3.]))
        tensor([1., 8.])
    """
    return np.exp2(input)


@exp2.derivative("input")
def _(grad, result):
    return grad * conj(result * LN2)


@operator(
    method=True, inplace=True, out=True, promote="float", ufunc=np.expm1,
    aliases=("special.expm1",),
)
def expm1(input: Tensor) -> Tensor:
    r""":math:`y_i = e^{x_i} - 1`, precise for small elements.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.expm1(torch.tensor([0., 1.]))
        tensor([0.0000, 1.7183])
    """
    return np.expm1(input)


@expm1.derivative("input")
def _(grad, result):
    return grad * conj(result + 1)


@operator(method=True, inplace=True, out=True, promote="float", ufunc=np.log)
def log(input: Tensor) -> Tensor:
    r"""Natural logarithms: :math:`y_i = \ln x_i`; -inf for 0, NaN for negative numbers.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.log(torch.tensor([1., 2.7182817]))
        tensor([0., 1.])
    """
    return np.log(input)


@log.derivative("input")
def _(grad, input):
    return grad / conj(input)


@operator(method=True, inplace=True, out=True, promote="float", ufunc=np.log2)
def log2(input: Tensor) -> Tensor:
    r"""Logarithms to base 2: :math:`y_i = \log_2 x_i`.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.log2(torch.tensor([1., 8.]))
        tensor([0., 3.])
    """
    return np.log2(input)


@log2.derivative("input")
def _(grad, input):
    return grad / conj(input * LN2)


@operator(method=True, inplace=True, out=True, promote="float", elementwise=True)
def log10(input: Tensor) -> Tensor:
    r"""Logarithms to base 10: :math:`y_i = \log_{10} x_i`.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.log10(torch.tensor([1., 100.]))
        tensor([0., 2.])
    """
    if input.dtype == F32 and not hasattr(input, "e"):
        # NumPy's vectorised float32 log10(100) is not 2; that of kernels is.
        return np.log10(input, dtype=np.float64).astype(F32)
    return np.log10(input)


@log10.derivative("input")
def _(grad, input):
    return grad / conj(input * LN10)


@operator(
    method=True, inplace=True, out=True, promote="float", ufunc=np.log1p, node="Log1PBackward0",
    aliases=("special.log1p",),
)
def log1p(input: Tensor) -> Tensor:
    r""":math:`y_i = \ln(1 + x_i)`, precise for small elements.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.log1p(torch.tensor([0., 1.]))
        tensor([0.0000, 0.6931])
    """
    return np.log1p(input)


@log1p.derivative("input")
def _(grad, input):
    return grad / conj(input + 1)


@operator(
    method=True, out=True, promote="result_type", upcast=True, kinds="fc", kernel="logaddexp_cpu",
    elementwise=True,
)
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    r"""Adds what is given by logarithms: :math:`y_i = \ln(e^{x_i} + e^{z_i})`, without overflow.

    Example:
        >>> import taper as torch
        >>> torch.logaddexp(torch.tensor([0., 1000.]), torch.tensor([0., 1000.]))
        tensor([6.9315e-01, 1.0007e+03])
    """
    if input.dtype.kind == "c":
        return _complex_logaddexp(input, other)
    return np.logaddexp(input, other)


def _complex_logaddexp(input: Any, other: Any) -> Any:
    first = np.greater_equal(input.real, other.real)
    large, small = np.where(first, input, other), np.where(first, other, input)
    same = np.logical_and(np.equal(input.real, other.real), np.isinf(input.real))
    result = np.add(large, np.log1p(np.exp(np.subtract(small, large))))
    total = np.log(np.add(np.exp(input), np.exp(other)))
    unbounded = np.where(np.less(input.real, 0), input, total)
    return np.where(same, unbounded, result).astype(input.dtype)


@logaddexp.derivative("input")
def _(grad, input, other):
    return grad / conj(1 + (other - input).exp())


@logaddexp.derivative("other")
def _(grad, input, other):
    return grad / conj(1 + (input - other).exp())


@operator(
    method=True, out=True, promote="result_type", upcast=True, kinds="f", ufunc=np.logaddexp2,
    kernel="logaddexp2_cpu",
)
def logaddexp2(input: Tensor, other: Tensor) -> Tensor:
    r"""`logaddexp` to base 2: :math:`y_i = \log_2(2^{x_i} + 2^{z_i})`, without overflow.

    Example:
        >>> import taper as torch
        >>> torch.logaddexp2(torch.tensor([3.]), torch.tensor([3.]))
        tensor([4.])
    """
    return np.logaddexp2(input, other)


@logaddexp2.derivative("input")
def _(grad, input, other):
    return grad / (1 + 2 ** (other - input))


@logaddexp2.derivative("other")
def _(grad, input, other):
    return grad / (1 + 2 ** (input - other))


# -- the logistic function -------------------------------------------------------------------------


@operator(
    method=True, inplace=True, out=True, promote="float",
    aliases=("special.expit", "nn.functional.sigmoid"), elementwise=True,
)
def sigmoid(input: Tensor) -> Tensor:
    r"""The logistic function: :math:`y_i = 1 / (1 + e^{-x_i})`.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.sigmoid(torch.tensor([-1., 0., 1.]))
        tensor([0.2689, 0.5000, 0.7311])
    """
    return np.reciprocal(np.add(np.exp(np.negative(input)), one_like(input)))




def one_like(like: Any) -> Any:
    """1 as an array of the same dtype: ufuncs take it quicker than a Python number."""
    return _ONE32 if like.dtype is F32 else like.dtype.type(1)


@sigmoid.derivative("input")
def _(grad, result):
    return sigmoid_backward.function(grad, result)


@operator(hidden=True, promote="result_type", elementwise=True)
def sigmoid_backward(grad_output: Tensor, output: Tensor) -> Tensor:
    """The gradient of `sigmoid`, from its result."""
    slope = np.multiply(output, np.subtract(one_like(output), output))
    return np.multiply(grad_output, np.conjugate(slope) if slope.dtype.kind == "c" else slope)


@sigmoid_backward.derivative("grad_output")
def _(grad, output):
    return grad * (output * (1 - output))


@sigmoid_backward.derivative("output")
def _(grad, grad_output, output):
    return conj(grad) * grad_output * conj(1 - 2 * output)


@operator(
    method=True, inplace=True, out=True, promote="float", kinds="f", kernel="logit_cpu",
    aliases=("special.logit",), elementwise=True,
)
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    r"""The inverse of `sigmoid`: :math:`y_i = \ln(x_i / (1 - x_i))`.

    Args:     eps: if given, elements are first clamped to [eps, 1 - eps]
    Example:
        >>> import taper as torch
        >>> torch.logit(torch.tensor([0.5, 0.75]))
        tensor([0.0000, 1.0986])
    """
    if eps is not None:
        low, high = input.dtype.type(eps), input.dtype.type(1 - eps)
        input = np.where(np.less(input, low), low, np.where(np.greater(input, high), high, input))
    return np.log(np.true_divide(input, np.subtract(one_like(input), input)))


@logit.derivative("input")
def _(grad, input, eps):
    slope = grad / (input * (1 - input))
    if eps is None:
        return where.forward((input >= 0) & (input <= 1), slope, float("nan"))
    return where.forward((input >= eps) & (input <= 1 - eps), slope, 0)
