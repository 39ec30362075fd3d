"""Activation functions of neural networks: exponential and smooth ones, and `glu`.

Those made of straight lines are in rectifier.py, `sigmoid` is in exponential.py, `tanh` in
trigonometric.py, `softmax` and its relatives in softmax.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.core.errors import normalize_dim
from taper.core.tensor import Tensor
from taper.kernels.memory_order import in_rows
from taper.ops.arithmetic import conj
from taper.ops.conditional import where
from taper.ops.constants import F32, constant
from taper.ops.declare import composite, operator
from taper.ops.exponential import one_like, sigmoid
from taper.ops.join import cat
from taper.ops.scipy_functions import LARGE_FOR_ERF, scipy_special

# -- exponential linear units ----------------------------------------------------------------------


def _elu(input: Any, alpha: float, scale: float, input_scale: float) -> Any:
    """scale * (max(x, 0) + alpha * expm1(input_scale * min(x, 0))): one of the two terms is 0."""
    dtype = input.dtype
    zero = constant(0, dtype)
    above, below = np.maximum(input, zero), np.minimum(input, zero)
    if input_scale != 1:
        below = np.multiply(below, constant(input_scale, dtype))
    bent = np.expm1(below)
    if alpha * scale != 1:
        bent = np.multiply(bent, constant(alpha * scale, dtype))
    return np.add(above if scale == 1 else np.multiply(above, constant(scale, dtype)), bent)


@operator(hidden=True, elementwise=True)
def elu_backward(
    grad_output: Tensor, input: Tensor, alpha: float, scale: float, input_scale: float
) -> Tensor:
    """The gradient of `elu`, `selu` and `celu`."""
    dtype = input.dtype
    slope = np.exp(input if input_scale == 1 else np.multiply(input, constant(input_scale, dtype)))
    if alpha * scale * input_scale != 1:
        slope = np.multiply(slope, constant(alpha * scale * input_scale, dtype))
    bent = np.less_equal(input, constant(0, dtype))
    return np.multiply(grad_output, np.where(bent, slope, constant(scale, dtype)))


@elu_backward.derivative("grad_output")
def _(grad, input, alpha, scale, input_scale):
    return elu_backward.function(grad, input, alpha, scale, input_scale)


@elu_backward.derivative("input")
def _(grad, grad_output, input, alpha, scale, input_scale):
    bend = (input * input_scale).exp() * (alpha * scale * input_scale * input_scale)
    return where.forward(input <= 0, grad * grad_output * bend, 0)


@operator(
    "nn.functional.elu", inplace=True, inplace_flag=True, kinds="f", upcast=True, kernel="elu_cpu",
    elementwise=True,
)
def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    r"""Bends negative elements: :math:`y_i = x_i` if positive, else :math:`\alpha(e^{x_i} - 1)`.

    Source:   Clevert, Unterthiner and Hochreiter, Exponential Linear Units, 2016.
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.elu(torch.tensor([-1., 2.]))
        tensor([-0.6321,  2.0000])
    """
    return _elu(input, alpha, 1, 1)


@elu.derivative("input")
def _(grad, input, alpha):
    return elu_backward.function(grad, input, alpha, 1, 1)


# Fixed points of mean 0 and variance 1. Source: Klambauer et al., Self-Normalizing Neural Networks.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


@operator(
    inplace=True, inplace_flag=True, kinds="f", upcast=True, aliases=("nn.functional.selu",),
    kernel="elu_cpu", node="EluBackward0", elementwise=True,
)
def selu(input: Tensor) -> Tensor:
    """`elu`, scaled so that activations keep mean 0 and variance 1 from layer to layer.

    Source:   Klambauer et al., Self-Normalizing Neural Networks, 2017.
    Example:
        >>> import taper as torch
        >>> torch.selu(torch.tensor([-1., 1.]))
        tensor([-1.1113,  1.0507])
    """
    return _elu(input, SELU_ALPHA, SELU_SCALE, 1)


@selu.derivative("input")
def _(grad, input):
    return elu_backward.function(grad, input, SELU_ALPHA, SELU_SCALE, 1)


@operator(
    inplace=True, inplace_flag=True, kinds="f", upcast=True, aliases=("nn.functional.celu",),
    kernel="elu_cpu", elementwise=True,
)
def celu(input: Tensor, alpha: float = 1.0) -> Tensor:
    r"""`elu` with slope 1 at 0 for every :math:`\alpha`: :math:`\alpha(e^{x_i/\alpha} - 1)` below.

    Raises: RuntimeError: if `alpha` is 0.
    Source:   Barron, Continuously Differentiable Exponential Linear Units, 2017.
    Example:
        >>> import taper as torch
        >>> torch.celu(torch.tensor([-1., 2.]), 2)
        tensor([-0.7869,  2.0000])
    """
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _elu(input, alpha, 1, 1 / alpha)


@celu.derivative("input")
def _(grad, input, alpha):
    return elu_backward.function(grad, input, alpha, 1, 1 / alpha)


# -- smooth ones -----------------------------------------------------------------------------------

SQRT_HALF = math.sqrt(0.5)
SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
INVERSE_SQRT_2_PI = 1 / math.sqrt(2 * math.pi)
GELU_CUBIC = 0.044715  # Source: Hendrycks and Gimpel, Gaussian Error Linear Units


def _check_gelu(bound: dict[str, Any]) -> None:
    if bound["approximate"] not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")


@operator(
    "nn.functional.gelu", kinds="f", upcast=True, kernel="GeluKernelImpl", check=_check_gelu,
    out=True, elementwise=True, large=LARGE_FOR_ERF,
)
def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    r"""Weighs elements by the normal distribution: :math:`y_i = x_i \Phi(x_i)`.

    Args:     approximate: "tanh" for :math:`\Phi(x) \approx (1 + \tanh(\sqrt{2/\pi}
              (x + 0.044715 x^3))) / 2`
    Source:   Hendrycks and Gimpel, Gaussian Error Linear Units, 2016.
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.gelu(torch.tensor([-1., 1.]))
        tensor([-0.1587,  0.8413])
    """
    if approximate == "none":
        bell = scipy_special("erf")(np.multiply(input, constant(SQRT_HALF, input.dtype)))
    elif approximate == "tanh":
        bell = np.tanh(_gelu_angle(input))
    else:
        raise RuntimeError("approximate argument must be either none or tanh.")
    half = np.multiply(input, constant(0.5, input.dtype))
    return np.add(half, np.multiply(half, bell))


def _gelu_angle(input: Any) -> Any:
    dtype = input.dtype
    bent = np.add(np.multiply(np.multiply(input, input), constant(GELU_CUBIC, dtype)),
                  constant(1, dtype))
    return np.multiply(np.multiply(input, bent), constant(SQRT_2_OVER_PI, dtype))


@gelu.derivative("input")
def _(grad, input, approximate):
    return gelu_backward.function(grad, input, approximate)


@operator(
    hidden=True, promote="result_type", upcast=True, elementwise=True, large=LARGE_FOR_ERF,
)
def gelu_backward(grad_output: Tensor, input: Tensor, approximate: str) -> Tensor:
    """The gradient of `gelu`."""
    def number(value: float) -> Any:
        return constant(value, input.dtype)

    if approximate == "none":
        bell = scipy_special("erf")(np.multiply(input, number(SQRT_HALF)))
        phi = np.multiply(np.add(bell, number(1)), number(0.5))
        density = np.exp(np.multiply(np.multiply(input, input), number(-0.5)))
        slope = np.add(phi, np.multiply(input, np.multiply(density, number(INVERSE_SQRT_2_PI))))
        return np.multiply(grad_output, slope)
    bell = np.tanh(_gelu_angle(input))
    phi = np.multiply(np.add(bell, number(1)), number(0.5))
    steep = np.add(np.multiply(np.multiply(input, input), number(3 * GELU_CUBIC)), number(1))
    steep = np.multiply(steep, number(0.5 * SQRT_2_OVER_PI))
    rise = np.multiply(np.subtract(number(1), np.multiply(bell, bell)), steep)
    return np.multiply(grad_output, np.add(phi, np.multiply(input, rise)))


@gelu_backward.derivative("grad_output")
def _(grad, input, approximate):
    return gelu_backward.function(grad, input, approximate)


@gelu_backward.derivative("input")
def _(grad, grad_output, input, approximate):
    square = input * input
    if approximate == "none":
        density = (square * -0.5).exp() * INVERSE_SQRT_2_PI
        return grad * grad_output * density * (2 - square)
    bell = (input * (1 + square * GELU_CUBIC) * SQRT_2_OVER_PI).tanh()
    steep = (1 + square * (3 * GELU_CUBIC)) * SQRT_2_OVER_PI
    rise = 1 - bell * bell
    bend = rise * (steep + input * (3 * GELU_CUBIC * SQRT_2_OVER_PI) * input
                   - input * bell * steep * steep)
    return grad * grad_output * bend


@operator(
    "nn.functional.silu", inplace=True, inplace_flag=True, kinds="fc", upcast=True,
    kernel="silu_cpu", elementwise=True,
)
def silu(input: Tensor) -> Tensor:
    r"""Weighs elements by the logistic function: :math:`y_i = x_i / (1 + e^{-x_i})`; "swish".

    Example:
        >>> import taper as torch
        >>> torch.nn.functional.silu(torch.tensor([-1., 1.]))
        tensor([-0.2689,  0.7311])
    """
    return np.true_divide(input, np.add(np.exp(np.negative(input)), one_like(input)))


@silu.derivative("input")
def _(grad, input):
    return silu_backward.function(grad, input)


@operator(hidden=True, promote="result_type", upcast=True, elementwise=True)
def silu_backward(grad_output: Tensor, input: Tensor) -> Tensor:
    """The gradient of `silu`."""
    one = one_like(input)
    weight = np.reciprocal(np.add(np.exp(np.negative(input)), one))
    slope = np.multiply(weight, np.add(np.multiply(input, np.subtract(one, weight)), one))
    return np.multiply(grad_output, np.conjugate(slope) if slope.dtype.kind == "c" else slope)


@silu_backward.derivative("grad_output")
def _(grad, input):
    return silu_backward.function(grad, conj(input))


@silu_backward.derivative("input")
def _(grad, grad_output, input):
    weight = sigmoid.function(input)
    bend = weight * (1 - weight) * (2 + input * (1 - 2 * weight))
    return conj(grad) * grad_output * conj(bend)


@operator(
    "nn.functional.mish", inplace=True, inplace_flag=True, kinds="f", upcast=True,
    kernel="mish_cpu", elementwise=True,
)
def mish(input: Tensor) -> Tensor:
    r""":math:`y_i = x_i \tanh(\ln(1 + e^{x_i}))`.

    Source:   Misra, Mish: A Self Regularized Non-Monotonic Activation Function, 2020.
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.mish(torch.tensor([-1., 1.]))
        tensor([-0.3034,  0.8651])
    """
    return np.multiply(input, np.tanh(np.logaddexp(input, constant(0, input.dtype))))


@mish.derivative("input")
def _(grad, input):
    weight = sigmoid.function(input)
    bell = softplus.function(input).tanh()
    return grad * (bell + input * weight * (1 - bell * bell))


@operator(
    "nn.functional.softplus", kinds="f", upcast=True, kernel="softplus_cpu", out=True,
    elementwise=True,
)
def softplus(input: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    r"""A smooth `relu`: :math:`y_i = \ln(1 + e^{\beta x_i}) / \beta`.

    Where :math:`\beta x_i` exceeds the threshold it is :math:`x_i` itself.

    Example:
        >>> import taper as torch
        >>> torch.nn.functional.softplus(torch.tensor([-1., 1.]))
        tensor([0.3133, 1.3133])
    """
    dtype = input.dtype
    scaled = input if beta == 1 else np.multiply(input, constant(beta, dtype))
    soft = np.logaddexp(scaled, constant(0, dtype))
    if beta != 1:
        soft = np.true_divide(soft, constant(beta, dtype))
    elif threshold >= 20 and dtype is F32:
        return soft  # beyond 17 it is the input, rounded to float32
    return np.where(np.greater(scaled, constant(threshold, dtype)), input, soft)


@softplus.derivative("input")
def _(grad, input, beta, threshold):
    scaled = input * beta
    return where.forward(scaled > threshold, grad, grad * sigmoid.function(scaled))


@operator(
    "nn.functional.logsigmoid", kinds="f", upcast=True, kernel="log_sigmoid_cpu",
    node="LogSigmoidBackward0", out=True, elementwise=True,
)
def logsigmoid(input: Tensor) -> Tensor:
    r"""Logarithms of the logistic function: :math:`y_i = -\ln(1 + e^{-x_i})`.

    Example:
        >>> import taper as torch
        >>> torch.nn.functional.logsigmoid(torch.tensor([0.]))
        tensor([-0.6931])
    """
    return in_rows(np.negative(np.logaddexp(np.negative(input), constant(0, input.dtype))))


@logsigmoid.derivative("input")
def _(grad, input):
    return grad * sigmoid.function(-input)


@composite("nn.functional.softsign")
def softsign(input: Tensor) -> Tensor:
    r""":math:`y_i = x_i / (1 + |x_i|)`.

    Example:
        >>> import taper as torch
        >>> torch.nn.functional.softsign(torch.tensor([-1., 3.]))
        tensor([-0.5000,  0.7500])
    """
    return input / (input.abs() + 1)


@composite("nn.functional.tanhshrink")
def tanhshrink(input: Tensor) -> Tensor:
    r""":math:`y_i = x_i - \tanh x_i`.

    Example:
        >>> import taper as torch
        >>> torch.nn.functional.tanhshrink(torch.tensor([1.]))
        tensor([0.2384])
    """
    return input - input.tanh()


# -- gates -----------------------------------------------------------------------------------------


@operator("nn.functional.glu", kinds="f", upcast=True, kernel="glu_cpu")
def glu(input: Tensor, dim: int = -1) -> Tensor:
    r"""Halves the input along `dim` and lets one half gate the other: :math:`a\,\sigma(b)`.

    Raises: RuntimeError: if the size of `dim` is odd.
    Source:   Dauphin et al., Language Modeling with Gated Convolutional Networks, 2017.
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.glu(torch.tensor([2., 0.]))
        tensor([1.])
    """
    first, second = _halves(input, dim)
    return np.true_divide(first, np.add(np.exp(np.negative(second)), one_like(input)))


def _halves(array: Any, dim: int) -> tuple[Any, Any]:
    if array.ndim == 0:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    dim = normalize_dim(dim, array.ndim)
    size = array.shape[dim]
    if size % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size {size}")
    before = (slice(None),) * dim
    return array[(*before, slice(0, size // 2))], array[(*before, slice(size // 2, size))]


@glu.derivative("input")
def _(grad, input, dim):
    first, second = input.chunk(2, dim)
    weight = sigmoid.function(second)
    lower = grad * weight
    return cat.function([lower, lower * first * (1 - weight)], dim)
