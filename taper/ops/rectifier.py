"""Activation functions made of straight lines: relu and its kin, hard and shrinking ones."""

from __future__ import annotations

from typing import Any

import numpy as np

import taper
from taper.core.tensor import Tensor, wrap
from taper.kernels.selection import zero_where
from taper.kernels.small_calls import stand_in
from taper.ops.conditional import where
from taper.ops.constants import F32, constant
from taper.ops.declare import composite, operator
from taper.ops.signature import Truth

ZERO32 = constant(0, F32)
maximum = np.maximum
stand_in(maximum, globals(), "maximum")


# -- rectifiers ------------------------------------------------------------------------------------


def _check_relu(bound: dict[str, Any]) -> None:
    kind = bound["input"]._array.dtype.kind
    if kind == "b":
        raise RuntimeError("Boolean inputs not supported for relu")
    if kind == "c":
        raise NotImplementedError("clamp is not supported for complex types")


@operator(
    method=True, inplace=True, inplace_flag=True, aliases=("nn.functional.relu",), kinds="if",
    check=_check_relu, elementwise=True,
)
def relu(input: Tensor) -> Tensor:
    r"""Replaces negative elements by 0: :math:`y_i = \max(0, x_i)`. The derivative at 0 is 0.

    Example:
        >>> import taper as torch
        >>> torch.relu(torch.tensor([-1., 2.]))
        tensor([0., 2.])
    """
    return maximum(ZERO32 if input.dtype is F32 else constant(0, input.dtype), input)


@relu.derivative("input")
def _(grad, result):
    return threshold_backward.function(grad, result, 0)


@operator(hidden=True, elementwise=True)
def threshold_backward(grad_output: Tensor, input: Tensor, threshold: float) -> Tensor:
    """The gradient where `input` exceeds a threshold, 0 elsewhere."""
    is_dropped = np.less_equal(input, constant(threshold, input.dtype))
    if grad_output.size > 1024:
        return zero_where(is_dropped, grad_output)
    return np.where(is_dropped, constant(0, grad_output.dtype), grad_output)


@threshold_backward.derivative("grad_output")
def _(grad, input, threshold):
    return threshold_backward.function(grad, input, threshold)


# Zero, and as in PyTorch connected to the input all the same; so below.
@threshold_backward.derivative("input")
def _(grad):
    return taper.zeros_like(grad)


@operator(
    "threshold", inplace=True, inplace_flag=True, aliases=("nn.functional.threshold",), kinds="if",
    kernel="threshold_cpu", elementwise=True,
)
def threshold(input: Tensor, threshold: float, value: float) -> Tensor:
    """Replaces elements that don't exceed `threshold` by `value`.

    Example:
        >>> import taper as torch
        >>> torch.threshold(torch.tensor([0.5, 2.]), 1, 20)
        tensor([20.,  2.])
    """
    below = np.less_equal(input, constant(threshold, input.dtype))
    return np.where(below, constant(value, input.dtype), input)


@threshold.derivative("input")
def _(grad, input, threshold):
    return threshold_backward.function(grad, input, threshold)


def _check_hardtanh(bound: dict[str, Any]) -> None:
    array = bound["input"]._array
    low, high = bound.get("min_val", 0), bound.get("max_val", 6)
    if low > high:
        raise ValueError("min_val cannot be greater than max_val")
    if array.dtype.kind == "b":
        raise RuntimeError("Bool inputs not supported for hardtanh")
    if array.dtype.kind == "u" and (low < 0 or high < 0):
        raise RuntimeError("cannot do hardtanh on an unsigned type with negative limits")
    if array.dtype.kind == "c":
        raise NotImplementedError("clamp is not supported for complex types")


@operator(
    "nn.functional.hardtanh", inplace=True, inplace_flag=True, kinds="if", check=_check_hardtanh,
    elementwise=True,
)
def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """Limits elements to a range; the derivative is 1 inside and 0 at and beyond its ends.

    Example:
        >>> import taper as torch
        >>> torch.nn.functional.hardtanh(torch.tensor([-2., 0.5]))
        tensor([-1.0000,  0.5000])
    """
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    dtype = input.dtype
    if dtype.kind == "u" and min_val < 0:
        raise RuntimeError("cannot do hardtanh on an unsigned type with negative limits")
    return np.minimum(np.maximum(input, constant(min_val, dtype)), constant(max_val, dtype))


@hardtanh.derivative("input")
def _(grad, input, min_val, max_val):
    return between_backward.function(grad, input, min_val, max_val)


@operator(hidden=True, elementwise=True)
def between_backward(grad_output: Tensor, input: Tensor, low: float, high: float) -> Tensor:
    """The gradient where `input` lies within limits, 0 at them and beyond."""
    dtype = input.dtype
    inside = np.bitwise_and(
        np.greater(input, constant(low, dtype)), np.less(input, constant(high, dtype))
    )
    return np.where(inside, grad_output, constant(0, grad_output.dtype))


@between_backward.derivative("grad_output")
def _(grad, input, low, high):
    return between_backward.function(grad, input, low, high)


@between_backward.derivative("input")
def _(grad):
    return taper.zeros_like(grad)


@operator(
    "nn.functional.relu6", inplace=True, inplace_flag=True, kinds="if", check=_check_hardtanh,
    node="HardtanhBackward0", elementwise=True,
)
def relu6(input: Tensor) -> Tensor:
    r"""Limits elements to the range from 0 to 6: :math:`y_i = \min(\max(0, x_i), 6)`.

    Example:
        >>> import taper as torch
        >>> torch.nn.functional.relu6(torch.tensor([-1., 3., 8.]))
        tensor([0., 3., 6.])
    """
    dtype = input.dtype
    return np.minimum(np.maximum(input, constant(0, dtype)), constant(6, dtype))


@relu6.derivative("input")
def _(grad, input):
    return between_backward.function(grad, input, 0, 6)


@operator(
    "nn.functional.leaky_relu", inplace=True, inplace_flag=True, kinds="f", upcast=True,
    kernel="leaky_relu_cpu", elementwise=True,
)
def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    r"""Scales negative elements down: :math:`y_i = x_i` if positive, else :math:`a\,x_i`.

    Example:
        >>> import taper as torch
        >>> torch.nn.functional.leaky_relu(torch.tensor([-1., 2.]), 0.1)
        tensor([-0.1000,  2.0000])
    """
    sloped = np.multiply(input, constant(negative_slope, input.dtype))
    if 0 < negative_slope <= 1:
        return np.maximum(input, sloped)
    return np.where(np.greater(input, 0), input, sloped)


@leaky_relu.derivative("input")
def _(grad, input, negative_slope):
    return leaky_relu_backward.function(grad, input, negative_slope)


@operator(hidden=True, upcast=True, elementwise=True)
def leaky_relu_backward(grad_output: Tensor, input: Tensor, negative_slope: float) -> Tensor:
    """The gradient, scaled where `input` is not positive."""
    positive = np.greater(input, constant(0, input.dtype))
    sloped = np.multiply(grad_output, constant(negative_slope, grad_output.dtype))
    return np.where(positive, grad_output, sloped)


@leaky_relu_backward.derivative("grad_output")
def _(grad, input, negative_slope):
    return leaky_relu_backward.function(grad, input, negative_slope)


@leaky_relu_backward.derivative("input")
def _(grad):
    return taper.zeros_like(grad)


@operator(
    hidden=True, promote="result_type", upcast=True, kinds="f", node="PreluKernelBackward0",
    elementwise=True,
)
def prelu_kernel(input: Tensor, weight: Tensor) -> Tensor:
    """`prelu` with a weight that broadcasts."""
    return np.where(np.greater(input, 0), input, np.multiply(input, weight))


@prelu_kernel.derivative("input")
def _(grad, input, weight):
    return where.forward(input > 0, grad, grad * weight)


@prelu_kernel.derivative("weight")
def _(grad, input):
    return where.forward(input > 0, 0, grad * input)


@composite(method=True, aliases=("nn.functional.prelu",))
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """`leaky_relu` with learned slopes: one for all elements, or one per channel (dimension 1).

    Shape:    input (N, C, *), weight (C) or (1) → the same as input
    Example:
        >>> import taper as torch
        >>> torch.prelu(torch.tensor([-1., 2.]), torch.tensor([0.25]))
        tensor([-0.2500,  2.0000])
    """
    if input.dtype is not weight.dtype:
        raise RuntimeError(
            "prelu: Type promoting not supported. Got "
            f"{input.dtype.name} and {weight.dtype.name}"
        )
    count = weight._array.size
    ndim = input._array.ndim
    if weight._array.ndim > 1 and count == 1:
        weight = weight.reshape(())
    if count == 1:
        return prelu_kernel.function(input, weight.reshape(()) if weight._array.ndim else weight)
    if ndim == 0:
        raise RuntimeError("Not allow zero-dim input tensor.")
    channels = input._array.shape[1] if ndim > 1 else 1
    if channels != count:
        raise RuntimeError(
            "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
            f"{count} and channel size = {channels}."
        )
    if weight._array.ndim > 1:
        raise RuntimeError(
            "prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = "
            f"{weight._array.ndim}"
        )
    shape = [1] * ndim
    shape[1] = count
    return prelu_kernel.function(input, weight.reshape(shape))


@operator(hidden=True, upcast=True, kinds="f", node="RreluWithNoiseBackward0", elementwise=True)
def scale_by_noise(input: Tensor, noise: Tensor) -> Tensor:
    """Elements times the noise drawn for them."""
    return np.multiply(input, noise)


@scale_by_noise.derivative("input")
def _(grad, noise):
    return grad * noise


@composite(inplace=True)
def rrelu(
    input: Tensor, lower: float = 0.125, upper: float = 1 / 3, training: bool = False,
    generator: Any = None,
) -> Tensor:
    """`leaky_relu` with slopes drawn from [lower, upper] when training, their mean otherwise.

    Example:
        >>> import taper as torch
        >>> torch.rrelu(torch.tensor([-2., 1.]), 0.5, 0.5, training=True)
        tensor([-1.,  1.])
    """
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    if not training:
        return mean_rrelu.function(input, (lower + upper) / 2)
    if input.is_meta:
        return mean_rrelu.function(input, lower)
    from taper.core.generator import default_generator

    array = input._array
    below = array <= 0
    bits = (generator or default_generator).draw64(int(below.sum()))
    slopes = (bits & np.uint64(2**53 - 1)) * 2.0**-53 * (upper - lower) + lower
    noise = np.ones_like(array)
    noise[below] = slopes.astype(array.dtype)
    return scale_by_noise.function(input, wrap(noise))


mean_rrelu = operator(
    hidden=True, kinds="f", upcast=True, kernel="leaky_relu_cpu", node="RreluWithNoiseBackward0",
)(leaky_relu.forward)


@mean_rrelu.derivative("input")
def _(grad, input, negative_slope):
    return leaky_relu_backward.function(grad, input, negative_slope)


@composite("nn.functional.rrelu", inplace=True)
def functional_rrelu(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False,
    inplace: Truth = False,
) -> Tensor:
    """`leaky_relu` with slopes drawn from [lower, upper] when training, their mean otherwise.

    Source:   Xu et al., Empirical Evaluation of Rectified Activations, 2015.
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.rrelu(torch.tensor([-2., 1.]), 0.5, 0.5)
        tensor([-1.,  1.])
    """
    if inplace:
        return rrelu.inplace(input, lower, upper, training)
    return rrelu.forward(input, lower, upper, training)


# -- piecewise linear ones -------------------------------------------------------------------------

SIXTH = float(np.float32(1 / 6))  # PyTorch multiplies by a float32 constant, in float64 as well


@operator(
    "nn.functional.hardsigmoid", inplace=True, inplace_flag=True, kinds="f", upcast=True,
    kernel="hardsigmoid_cpu", elementwise=True,
)
def hardsigmoid(input: Tensor) -> Tensor:
    r"""A straight-line sigmoid: :math:`y_i = \min(\max(0, x_i + 3), 6) / 6`.

    Example:
        >>> import taper as torch
        >>> torch.nn.functional.hardsigmoid(torch.tensor([-4., 0., 4.]))
        tensor([0.0000, 0.5000, 1.0000])
    """
    dtype = input.dtype
    return np.true_divide(relu6.forward(np.add(input, constant(3, dtype))), constant(6, dtype))


@hardsigmoid.derivative("input")
def _(grad, input):
    return between_backward.function(grad, input, -3, 3) * SIXTH


@operator(
    "nn.functional.hardswish", inplace=True, inplace_flag=True, kinds="f", upcast=True,
    kernel="hardswish_cpu", elementwise=True,
)
def hardswish(input: Tensor) -> Tensor:
    r"""Weighs elements by `hardsigmoid`: :math:`y_i = x_i \min(\max(0, x_i + 3), 6) / 6`.

    Source:   Howard et al., Searching for MobileNetV3, 2019.
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.hardswish(torch.tensor([-4., 1., 4.]))
        tensor([-0.0000,  0.6667,  4.0000])
    """
    weight = relu6.forward(np.add(input, constant(3, input.dtype)))
    return np.true_divide(np.multiply(input, weight), constant(6, input.dtype))


@hardswish.derivative("input")
def _(grad, input):
    inner = where.forward(input < 3, grad * (input / 3 + 0.5), grad)
    return where.forward(input <= -3, 0, inner)


@operator(
    method=True, aliases=("nn.functional.hardshrink",), kinds="f", upcast=True, out=True,
    kernel="hardshrink_cpu", elementwise=True,
)
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    r"""Replaces elements within :math:`[-\lambda, \lambda]` by 0.

    Example:
        >>> import taper as torch
        >>> torch.hardshrink(torch.tensor([-0.3, 0.7]))
        tensor([0.0000, 0.7000])
    """
    dtype = input.dtype
    within = np.bitwise_and(np.greater_equal(input, constant(-lambd, dtype)),
                            np.less_equal(input, constant(lambd, dtype)))
    return np.where(within, constant(0, dtype), input)


@hardshrink.derivative("input")
def _(grad, input, lambd):
    return shrink_backward.function(grad, input, lambd)


@operator(hidden=True, elementwise=True)
def shrink_backward(grad_output: Tensor, input: Tensor, lambd: float) -> Tensor:
    """The gradient outside of [-lambd, lambd], 0 within."""
    bound = constant(lambd, input.dtype)
    within = (input >= -bound) & (input <= bound)
    return np.where(within, constant(0, grad_output.dtype), grad_output)


@shrink_backward.derivative("grad_output")
def _(grad, input, lambd):
    return shrink_backward.function(grad, input, lambd)


@shrink_backward.derivative("input")
def _(grad):
    return taper.zeros_like(grad)


def _check_softshrink(bound: dict[str, Any]) -> None:
    lambd = bound["lambd"]
    if lambd < 0:
        raise RuntimeError(
            "lambda must be in range [0, 3.40282e+38] for input dtype Float, but found "
            f"{lambd:g}"
        )


@operator("nn.functional.softshrink", kinds="f", upcast=True, kernel="softshrink_check",
          check=_check_softshrink, out=True, elementwise=True)
def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    r"""Moves elements towards 0 by :math:`\lambda`, but not beyond.

    Raises: RuntimeError: if `lambd` is negative.
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.softshrink(torch.tensor([-2., 0.2, 2.]))
        tensor([-1.5000,  0.0000,  1.5000])
    """
    if lambd < 0:
        raise RuntimeError("lambda must be in range [0, 3.40282e+38]")
    number = input.dtype.type
    moved = np.where(np.greater(input, 0), np.subtract(input, number(lambd)),
                     np.add(input, number(lambd)))
    within = np.less_equal(np.absolute(input), lambd)
    return np.where(within, np.multiply(input, number(0)), moved)


@softshrink.derivative("input")
def _(grad, input, lambd):
    return shrink_backward.function(grad, input, lambd)
