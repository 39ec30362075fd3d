"""Trigonometric and hyperbolic functions, and units of angles."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.tensor import Tensor
from taper.ops.arithmetic import conj
from taper.ops.conditional import where
from taper.ops.declare import operator
from taper.ops.exponential import one_like
from taper.ops.power import rsqrt, sqrt


@operator(method=True, inplace=True, out=True, promote="float", ufunc=np.sin)
def sin(input: Tensor) -> Tensor:
    r"""Sines of angles in radians: :math:`y_i = \sin x_i`.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.sin(torch.tensor([0., 1.]))
        tensor([0.0000, 0.8415])
    """
    return np.sin(input)


@sin.derivative("input")
def _(grad, input):
    return grad * conj(cos.function(input))


@operator(method=True, inplace=True, out=True, promote="float", ufunc=np.cos)
def cos(input: Tensor) -> Tensor:
    r"""Cosines of angles in radians: :math:`y_i = \cos x_i`.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.cos(torch.tensor([0., 1.]))
        tensor([1.0000, 0.5403])
    """
    return np.cos(input)


@cos.derivative("input")
def _(grad, input):
    return grad * -conj(sin.function(input))


@operator(method=True, inplace=True, out=True, promote="float", ufunc=np.tan)
def tan(input: Tensor) -> Tensor:
    r"""Tangents of angles in radians: :math:`y_i = \tan x_i`.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.tan(torch.tensor([0., 1.]))
        tensor([0.0000, 1.5574])
    """
    return np.tan(input)


@tan.derivative("input")
def _(grad, result):
    return grad * conj(result * result + 1)


@operator(
    method=True, inplace=True, out=True, promote="float", ufunc=np.arcsin, aliases=("arcsin",),
)
def asin(input: Tensor) -> Tensor:
    r"""Arc sines, in radians: :math:`y_i = \arcsin x_i`.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.asin(torch.tensor([0., 1.]))
        tensor([0.0000, 1.5708])
    """
    return np.arcsin(input)


@asin.derivative("input")
def _(grad, input):
    return grad * conj(rsqrt.function(1 - input * input))


@operator(
    method=True, inplace=True, out=True, promote="float", ufunc=np.arccos, aliases=("arccos",),
)
def acos(input: Tensor) -> Tensor:
    r"""Arc cosines, in radians: :math:`y_i = \arccos x_i`.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.acos(torch.tensor([0., 1.]))
        tensor([1.5708, 0.0000])
    """
    return np.arccos(input)


@acos.derivative("input")
def _(grad, input):
    return grad * -conj(rsqrt.function(1 - input * input))


@operator(
    method=True, inplace=True, out=True, promote="float", ufunc=np.arctan, aliases=("arctan",),
)
def atan(input: Tensor) -> Tensor:
    r"""Arc tangents, in radians: :math:`y_i = \arctan x_i`.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.atan(torch.tensor([0., 1.]))
        tensor([0.0000, 0.7854])
    """
    return np.arctan(input)


@atan.derivative("input")
def _(grad, input):
    return grad / conj(input * input + 1)


@operator(method=True, inplace=True, out=True, promote="float", ufunc=np.sinh)
def sinh(input: Tensor) -> Tensor:
    r"""Hyperbolic sines: :math:`y_i = \sinh x_i`.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.sinh(torch.tensor([0., 1.]))
        tensor([0.0000, 1.1752])
    """
    return np.sinh(input)


@sinh.derivative("input")
def _(grad, input):
    return grad * conj(cosh.function(input))


@operator(method=True, inplace=True, out=True, promote="float", ufunc=np.cosh)
def cosh(input: Tensor) -> Tensor:
    r"""Hyperbolic cosines: :math:`y_i = \cosh x_i`.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.cosh(torch.tensor([0., 1.]))
        tensor([1.0000, 1.5431])
    """
    return np.cosh(input)


@cosh.derivative("input")
def _(grad, input):
    return grad * conj(sinh.function(input))


@operator(
    method=True, inplace=True, out=True, promote="float", ufunc=np.tanh,
    aliases=("nn.functional.tanh",),
)
def tanh(input: Tensor) -> Tensor:
    r"""Hyperbolic tangents: :math:`y_i = \tanh x_i`.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.tanh(torch.tensor([0., 1.]))
        tensor([0.0000, 0.7616])
    """
    return np.tanh(input)


@tanh.derivative("input")
def _(grad, result):
    return tanh_backward.function(grad, result)


@operator(
    method=True, inplace=True, out=True, promote="float", ufunc=np.arcsinh, aliases=("arcsinh",),
)
def asinh(input: Tensor) -> Tensor:
    r"""Inverse hyperbolic sines: :math:`y_i = \operatorname{arsinh} x_i`.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.asinh(torch.tensor([0., 1.]))
        tensor([0.0000, 0.8814])
    """
    return np.arcsinh(input)


@asinh.derivative("input")
def _(grad, input):
    return grad / conj(sqrt.function(input * input + 1))


@operator(
    method=True, inplace=True, out=True, promote="float", ufunc=np.arccosh, aliases=("arccosh",),
)
def acosh(input: Tensor) -> Tensor:
    r"""Inverse hyperbolic cosines: :math:`y_i = \operatorname{arcosh} x_i`.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.acosh(torch.tensor([1., 2.]))
        tensor([0.0000, 1.3170])
    """
    return np.arccosh(input)


@acosh.derivative("input")
def _(grad, input):
    return grad * conj(rsqrt.function(input - 1) * rsqrt.function(input + 1))


@operator(
    method=True, inplace=True, out=True, promote="float", ufunc=np.arctanh, aliases=("arctanh",),
)
def atanh(input: Tensor) -> Tensor:
    r"""Inverse hyperbolic tangents: :math:`y_i = \operatorname{artanh} x_i`.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.atanh(torch.tensor([0., 0.5]))
        tensor([0.0000, 0.5493])
    """
    return np.arctanh(input)


@atanh.derivative("input")
def _(grad, input):
    return grad / conj(1 - input * input)


@operator(hidden=True, promote="result_type", elementwise=True)
def tanh_backward(grad_output: Tensor, output: Tensor) -> Tensor:
    """The gradient of `tanh`, from its result."""
    slope = np.subtract(one_like(output), np.multiply(output, output))
    return np.multiply(grad_output, np.conjugate(slope) if slope.dtype.kind == "c" else slope)


@tanh_backward.derivative("grad_output")
def _(grad, output):
    return grad * (1 - output * output)


@tanh_backward.derivative("output")
def _(grad, grad_output, output):
    return conj(grad) * grad_output * conj(-2 * output)


@operator(
    method=True, inplace=True, out=True, promote="float", kinds="f", kernel="atan2_cpu",
    ufunc=np.arctan2, aliases=("arctan2",),
)
def atan2(input: Tensor, other: Tensor) -> Tensor:
    r"""The angle of the points :math:`(z_i, x_i)`: :math:`\arctan(x_i / z_i)` in its quadrant.

    Dtype: promoted together; integers become the default float.
    Example:
        >>> import taper as torch
        >>> torch.atan2(torch.tensor([1., 1.]), torch.tensor([1., -1.]))
        tensor([0.7854, 2.3562])
    """
    return np.arctan2(input, other)


def _over_square(grad: Any, input: Any, other: Any) -> Any:
    square = input * input + other * other
    return where.forward(square == 0, 0, grad / square)


@atan2.derivative("input")
def _(grad, input, other):
    return _over_square(grad, input, other) * other


@atan2.derivative("other")
def _(grad, input, other):
    return _over_square(grad, input, other) * -input


@operator(
    method=True, inplace=True, out=True, promote="float", elementwise=True,
    aliases=("special.sinc",),
)
def sinc(input: Tensor) -> Tensor:
    r"""The normalised cardinal sine: :math:`y_i = \sin(\pi x_i) / (\pi x_i)`, 1 at 0.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.sinc(torch.tensor([0., 0.5]))
        tensor([1.0000, 0.6366])
    """
    angle = np.multiply(input, input.dtype.type(np.pi))
    is_zero = np.equal(input, 0)
    return np.where(is_zero, one_like(input), np.true_divide(np.sin(angle), angle))


@sinc.derivative("input")
def _(grad, input):
    angle = input * np.pi
    divisor = angle * input  # which is 0 for small numbers, too
    slope = grad * conj((angle * cos.function(angle) - sin.function(angle)) / divisor)
    return where.forward(divisor == 0, 0, slope)


def _refuse_complex(name: str) -> Any:
    def check(bound: dict[str, Any]) -> None:
        if bound["input"].is_complex():
            raise RuntimeError(f"{name} is not supported for complex tensors.")

    return check


@operator(
    method=True, inplace=True, out=True, promote="float", ufunc=np.deg2rad, kinds="f",
    node="Deg2RadBackward0", check=_refuse_complex("deg2rad"),
)
def deg2rad(input: Tensor) -> Tensor:
    r"""Degrees to radians: :math:`y_i = x_i \pi / 180`.

    Example:
        >>> import taper as torch
        >>> torch.deg2rad(torch.tensor([0., 180.]))
        tensor([0.0000, 3.1416])
    """
    return np.deg2rad(input)


@deg2rad.derivative("input")
def _(grad):
    return grad * (np.pi / 180)


@operator(
    method=True, inplace=True, out=True, promote="float", ufunc=np.rad2deg, kinds="f",
    node="Rad2DegBackward0", check=_refuse_complex("rad2deg"),
)
def rad2deg(input: Tensor) -> Tensor:
    r"""Radians to degrees: :math:`y_i = 180 x_i / \pi`.

    Example:
        >>> import taper as torch
        >>> torch.rad2deg(torch.tensor([0., 3.1415927]))
        tensor([  0., 180.])
    """
    return np.rad2deg(input)


@rad2deg.derivative("input")
def _(grad):
    return grad * (180 / np.pi)
