"""Losses between predictions and targets of the same shape.

Classification losses, whose targets are class indices, live in `classification_loss.py`, those
about margins between predictions in `margin_loss.py`.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

import taper
from taper.arrays.symbolic_shape import broadcast_shapes
from taper.core.errors import broadcast_error
from taper.core.promotion import scalar_type_name
from taper.core.state import is_differentiated
from taper.core.tensor import Tensor
from taper.kernels.summation import as_divisor
from taper.ops.argument_checks import check_constant, values_known
from taper.ops.declare import composite, operator
from taper.ops.signature import Truth

REDUCTIONS = ("none", "mean", "sum")


def legacy_reduction(size_average: Any, reduce: Any, reduction: str) -> str:
    """The reduction that the deprecated `size_average=` and `reduce=` stand for."""
    if size_average is None and reduce is None:
        return reduction
    size_average = True if size_average is None else size_average
    reduce = True if reduce is None else reduce
    found = ("mean" if size_average else "sum") if reduce else "none"
    warnings.warn(
        "size_average and reduce args will be deprecated, please use "
        f"reduction='{found}' instead.",
        UserWarning, stacklevel=4,
    )
    return found


def check_reduction(reduction: str) -> None:
    """Raises ValueError unless `reduction` is "none", "mean" or "sum"."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"{reduction} is not a valid value for reduction")


def reduce_array(losses: Any, reduction: str) -> Any:
    """The mean, the sum, or all of an array of losses."""
    if reduction == "none":
        return losses
    total = np.add.reduce(losses, None)
    if reduction == "sum":
        return total
    size = losses.size
    return total / as_divisor(size, losses.dtype) if size else total * np.float32("nan")


def reduce_tensor(losses: Tensor, reduction: str) -> Tensor:
    """`reduce_array` for Tensors, recorded."""
    if reduction == "none":
        return losses
    if reduction == "mean":
        return losses.mean()
    if reduction == "sum":
        return losses.sum()
    raise ValueError(f"{reduction} is not a valid value for reduction")


def per_element(grad: Tensor, reduction: str, count: int, factor: float = 1.0) -> Tensor:
    """The gradient that reaches each element of a reduced loss, times `factor`."""
    if reduction == "mean" and count:
        return grad * (factor / count)
    return grad if factor == 1.0 else grad * factor


def _broadcast(input: Tensor, target: Tensor) -> Any:
    """Both at their common shape, before their dtypes are joined, as 0-d ones would not count."""
    _warn_of_sizes(input, target)
    return taper.broadcast_tensors(input, target)


def _warn_of_sizes(input: Tensor, target: Tensor) -> None:
    warnings.warn(
        f"Using a target size ({target.shape}) that is different to the input size "
        f"({input.shape}). This will likely lead to incorrect results due to broadcasting. Please "
        "ensure they have the same size.",
        UserWarning, stacklevel=5,
    )
    error = broadcast_error([input._array.shape, target._array.shape])
    if error is not None:
        raise error


def _count(first: Tensor, second: Tensor) -> int:
    """The number of elements after broadcasting."""
    a, b = first._array.shape, second._array.shape
    if a == b:
        return first._array.size
    count = 1
    for n in broadcast_shapes(a, b):
        count *= n
    return count


@operator(
    hidden=True, promote="result_type", upcast=True, node="MseLossBackward0", kinds="f",
    kernel="mse_cpu", native="native_reductions.squared_error",
)
def squared_error(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The squared difference, reduced."""
    difference = input - target
    if reduction == "none":
        return difference * difference
    flat = difference.reshape(-1)
    total = flat.dot(flat) if flat.size < _DOT_LIMIT else np.add.reduce(flat * flat)
    if reduction == "sum":
        return total
    return total / as_divisor(flat.size, input.dtype)


# Up to here one dot product is quicker than multiply and add.reduce, and as accurate.
_DOT_LIMIT = 4096


@squared_error.derivative("input")
def _(grad, input, target, reduction):
    if target.dtype is not grad.dtype:
        target = target.to(grad.dtype)
    return (input - target) * per_element(grad, reduction, _count(input, target), 2.0)


@squared_error.derivative("target")
def _(grad, input, target, reduction):
    return (target - input) * per_element(grad, reduction, _count(input, target), 2.0)


@composite("nn.functional.mse_loss")
def mse_loss(
    input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean", weight: Tensor | None = None,
) -> Tensor:
    r"""Measures the squared difference: :math:`\operatorname{mean}((x - t)^2)`.

    Args:     reduction (str): "mean", "sum" or "none";  weight: factors for the elements
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.mse_loss(torch.tensor([1., 3.]), torch.tensor([1., 1.]))
        tensor(2.)
    """
    if input._array.shape != target._array.shape:
        input, target = _broadcast(input, target)
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce, reduction)
    if weight is not None:
        return _weighted(squared_error_function(input, target, "none"), weight, reduction)
    if reduction != "mean":
        check_reduction(reduction)
    return squared_error_function(input, target, reduction)


squared_error_function = squared_error.function


def _weighted(losses: Tensor, weight: Tensor, reduction: str) -> Tensor:
    if weight.shape != losses.shape:
        raise ValueError("Weights and input must have the same size.")
    weighted = losses * weight
    if reduction == "mean":
        return weighted.sum() / weight.sum()
    return reduce_tensor(weighted, reduction)


@composite("nn.functional.l1_loss")
def l1_loss(
    input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean", weight: Tensor | None = None,
) -> Tensor:
    r"""Measures the absolute difference: :math:`\operatorname{mean}|x - t|`.

    Shape:    input (*), target the same → () or (*) with reduction "none"
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.l1_loss(torch.tensor([1., 3.]), torch.tensor([1., 1.]))
        tensor(1.)
    """
    if input._array.shape != target._array.shape:
        input, target = _broadcast(input, target)
    reduction = legacy_reduction(size_average, reduce, reduction)
    losses = (input - target).abs()
    if weight is not None:
        return _weighted(losses, weight, reduction)
    return reduce_tensor(losses, reduction)


@operator(
    hidden=True, promote="result_type", upcast=True, node="SmoothL1LossBackward0", kinds="f",
    kernel="smooth_l1_cpu",
)
def smooth_absolute_error(
    input: Tensor, target: Tensor, reduction: str, beta: float
) -> Tensor:
    """Quadratic within `beta` of the target, linear beyond."""
    distance = np.abs(input - target)
    if beta == 0:
        return reduce_array(distance, reduction)
    b = input.dtype.type(beta)
    half = input.dtype.type(0.5)
    losses = np.where(distance < b, half * distance * distance / b, distance - half * b)
    return reduce_array(losses, reduction)


@smooth_absolute_error.derivative("input")
def _(grad, input, target, reduction, beta):
    slope = _smooth_slope(input - target, beta)
    return slope * per_element(grad, reduction, _count(input, target))


@smooth_absolute_error.derivative("target")
def _(grad, input, target, reduction, beta):
    slope = _smooth_slope(target - input, beta)
    return slope * per_element(grad, reduction, _count(input, target))


def _smooth_slope(difference: Tensor, beta: float) -> Tensor:
    if beta == 0:
        return difference.sign()
    return (difference / beta).clamp(-1.0, 1.0)


@composite("nn.functional.smooth_l1_loss")
def smooth_l1_loss(
    input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean", beta: float = 1.0,
) -> Tensor:
    r"""Measures :math:`d^2 / 2\beta` for differences d below beta, :math:`|d| - \beta/2` above.

    Source: Girshick, Fast R-CNN (2015).
    Shape:    input (*), target the same → () or (*) with reduction "none"
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.smooth_l1_loss(torch.tensor([3.]), torch.tensor([1.]))
        tensor(1.5000)
    """
    if input._array.shape != target._array.shape:
        input, target = _broadcast(input, target)
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_reduction(reduction)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    return smooth_absolute_error(input, target, reduction, beta)


@operator(
    hidden=True, promote="result_type", upcast=True, node="HuberLossBackward0", kinds="f",
    kernel="huber_cpu",
)
def huber(input: Tensor, target: Tensor, reduction: str, delta: float) -> Tensor:
    """Quadratic within `delta` of the target, linear with slope `delta` beyond."""
    distance = np.abs(input - target)
    d = input.dtype.type(delta)
    half = input.dtype.type(0.5)
    losses = np.where(distance <= d, half * distance * distance, d * (distance - half * d))
    return reduce_array(losses, reduction)


@huber.derivative("input")
def _(grad, input, target, reduction, delta):
    slope = (input - target).clamp(-delta, delta)
    return slope * per_element(grad, reduction, _count(input, target))


@huber.derivative("target")
def _(grad, input, target, reduction, delta):
    slope = (target - input).clamp(-delta, delta)
    return slope * per_element(grad, reduction, _count(input, target))


@composite("nn.functional.huber_loss")
def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    r"""Measures :math:`d^2/2` for differences d up to delta, :math:`\delta(|d|-\delta/2)` above.

    Source: Huber, Robust estimation of a location parameter (1964).
    Shape:    input (*), target the same → () or (*) with reduction "none"
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.huber_loss(torch.tensor([3.]), torch.tensor([1.]))
        tensor(1.5000)
    """
    if input._array.shape != target._array.shape:
        _warn_of_sizes(input, target)
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    check_reduction(reduction)
    if weight is not None:
        return _weighted(huber(input, target, "none", delta), weight, reduction)
    return huber(input, target, reduction, delta)


@operator(
    hidden=True, promote="result_type", upcast=True, node="BinaryCrossEntropyBackward0", kinds="f",
    kernel="binary_cross_entropy",
)
def binary_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str
) -> Tensor:
    """Cross entropy of probabilities; logarithms are bounded below by -100."""
    for name, array in (("input", input), ("target", target)):
        if type(array) is np.ndarray and not ((array >= 0) & (array <= 1)).all():
            raise RuntimeError(f"all elements of {name} should be between 0 and 1")
    bound = input.dtype.type(-100)
    losses = (target - 1) * np.maximum(np.log1p(-input), bound) - target * np.maximum(
        np.log(input), bound
    )
    return reduce_array(losses if weight is None else losses * weight, reduction)


@binary_entropy.derivative("input")
def _(grad, input, target, weight, reduction):
    slope = (input - target) / ((1 - input) * input).clamp(min=1e-12)
    if weight is not None:
        slope = slope * weight
    return slope * per_element(grad, reduction, input.numel())


@binary_entropy.derivative("target")
def _(grad, input, weight, reduction):
    slope = (-input).log1p().clamp(min=-100) - input.log().clamp(min=-100)
    if weight is not None:
        slope = slope * weight
    return slope * per_element(grad, reduction, input.numel())


@composite("nn.functional.binary_cross_entropy")
def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None,
    reduce: Any = None, reduction: str = "mean",
) -> Tensor:
    r"""Measures :math:`-w\,(t \log x + (1 - t) \log(1 - x))` for probabilities x.

    Raises:   RuntimeError: if an element of `input` is not in [0, 1];  ValueError: if sizes differ
    Shape:    input (*), target the same → () or (*) with reduction "none"
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.binary_cross_entropy(torch.tensor([0.5]), torch.tensor([1.]))
        tensor(0.6931)
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_reduction(reduction)
    if target.shape != input.shape:
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size "
            f"({input.shape}) is deprecated. Please ensure they have the same size."
        )
    if target.dtype is not input.dtype:
        raise RuntimeError(
            f"Found dtype {scalar_type_name(target.dtype)} but expected "
            f"{scalar_type_name(input.dtype)}"
        )
    if weight is not None:
        weight = weight.expand(target.shape)
    check_constant("binary_cross_entropy", "weight", weight)
    return binary_entropy(input, target, weight, reduction)


@operator(
    hidden=True, promote="result_type", upcast=True, node="BinaryCrossEntropyWithLogitsBackward0",
    kinds="f", kernel="log_sigmoid_cpu", native="native_reductions.binary_entropy_of_logits",
)
def binary_entropy_of_logits(
    input: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, reduction: str
) -> Tensor:
    """Stable for large logits: uses log sigmoid(x) = min(x, 0) - log1p(exp(-|x|))."""
    zero = input.dtype.type(0)
    softplus = np.log1p(np.exp(-np.abs(input))) + np.maximum(-input, zero)
    if pos_weight is None:
        losses = (1 - target) * input + softplus
    else:
        losses = (1 - target) * input + (1 + (pos_weight - 1) * target) * softplus
    return reduce_array(losses if weight is None else losses * weight, reduction)


@binary_entropy_of_logits.derivative("input")
def _(grad, input, target, weight, pos_weight, reduction):
    if pos_weight is None and weight is None and not is_differentiated():
        return slope_of_logits(
            input, target, per_element(grad, reduction, input.numel()))
    if pos_weight is None:
        slope = input.sigmoid() - target
    else:
        t = pos_weight * target
        slope = (t + 1 - target) * input.sigmoid() - t
    if weight is not None:
        slope = slope * weight
    return slope * per_element(grad, reduction, input.numel())


@operator(
    hidden=True, promote="result_type", upcast=True, elementwise=True, kinds="f",
    differentiable=False,
)
def slope_of_logits(input: Tensor, target: Tensor, grad: Tensor) -> Tensor:
    """The gradient of `binary_entropy_of_logits` in its input, in one pass over memory."""
    one = input.dtype.type(1)
    sigmoid = np.true_divide(one, np.add(one, np.exp(np.negative(input))))
    return np.multiply(np.subtract(sigmoid, target), grad)


@binary_entropy_of_logits.derivative("target")
def _(grad, input, weight, pos_weight, reduction):
    if pos_weight is None:
        slope = -input
    else:
        logsigmoid = taper.nn.functional.logsigmoid
        slope = logsigmoid(-input) - pos_weight * logsigmoid(input)
    if weight is not None:
        slope = slope * weight
    return slope * per_element(grad, reduction, input.numel())


@composite("nn.functional.binary_cross_entropy_with_logits")
def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None,
    reduce: Any = None, reduction: str = "mean", pos_weight: Tensor | None = None,
) -> Tensor:
    r"""Measures `binary_cross_entropy` of sigmoid(x), without overflow for large logits x.

    Args:     pos_weight: factors of the positive class, broadcast over the last dimensions
    Shape:    input (*), target the same → () or (*) with reduction "none"
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.binary_cross_entropy_with_logits(
        ...     torch.tensor([1000., -1000.]), torch.tensor([1., 1.]))
        tensor(500.)
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_reduction(reduction)
    if target.shape != input.shape:
        raise ValueError(
            f"Target size ({target.shape}) must be the same as input size ({input.shape})"
        )
    if input.is_floating_point() and target._array.dtype.kind in "biu":
        raise RuntimeError(
            f"result type {scalar_type_name(input.dtype)} can't be cast to the desired output type "
            f"{scalar_type_name(target.dtype)}: make the target floating point, with .float()"
        )
    for name, tensor in (("weight", weight), ("pos_weight", pos_weight)):
        check_constant("binary_cross_entropy_with_logits", name, tensor)
    return binary_entropy_of_logits(input, target, weight, pos_weight, reduction)


@composite("nn.functional.kl_div")
def kl_div(
    input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean", log_target: bool = False,
) -> Tensor:
    r"""Measures the Kullback-Leibler divergence :math:`t (\log t - x)` of log-probabilities x.

    Args:     reduction (str): also "batchmean", the sum divided by the batch size
    Shape:    input (*), target the same → () or (*) with reduction "none"
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.kl_div(torch.zeros(2), torch.ones(2), reduction="sum")
        tensor(0.)
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math "
            "definition.'mean' will be changed to behave the same as 'batchmean' in the next major "
            "release.",
            UserWarning, stacklevel=3,
        )
    for tensor in (input, target):
        if tensor.is_complex():
            raise RuntimeError("kl_div: Complex inputs not supported.")
        if not tensor.is_floating_point():
            raise RuntimeError("kl_div: Integral inputs not supported.")
    if log_target:
        losses = target.exp() * (target - input)
    else:
        losses = taper.xlogy(target, target) - target * input
    if reduction == "batchmean":
        return losses.sum() / input.shape[0] if input.ndim else losses.sum()
    return reduce_tensor(losses, reduction)


@composite("nn.functional.poisson_nll_loss")
def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool = True, full: bool = False,
    size_average: Any = None, eps: float = 1e-8, reduce: Any = None, reduction: str = "mean",
) -> Tensor:
    r"""Measures the negative log likelihood of counts: :math:`e^x - t x` (or x - t log x).

    Args:     full: add Stirling's approximation of :math:`\log t!` where t > 1
    Shape:    input (*), target the same → () or (*) with reduction "none"
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.poisson_nll_loss(torch.zeros(1), torch.ones(1))
        tensor(1.)
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_reduction(reduction)
    if log_input:
        losses = input.exp() - target * input
    else:
        losses = input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + 0.5 * (2 * np.pi * target).log()
        losses = losses + stirling.masked_fill(target <= 1, 0)
    return reduce_tensor(losses, reduction)


@composite("nn.functional.gaussian_nll_loss")
def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Tensor | float, full: Truth = False, eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    r"""Measures :math:`\frac12(\log v + (x - t)^2 / v)`, with v = max(var, eps).

    Args:     full: add the constant :math:`\frac12 \log 2\pi`
    Raises:   ValueError: if `var` has a negative element or does not fit
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.gaussian_nll_loss(torch.ones(1), torch.zeros(1), torch.ones(1))
        tensor(0.5000)
    """
    if isinstance(var, float):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = var * taper.ones_like(input)
    elif values_known(var) and (var < 0).any():
        raise ValueError("var has negative entry/entries")
    if var.size() != input.size():
        if input.size()[:-1] == var.size():
            var = var.unsqueeze(-1)
        elif (input.size()[:-1] != var.size()[:-1] or var.size(-1) != 1) and (
            input.ndim != var.ndim
            or any(v not in (1, n) for v, n in zip(var.shape, input.shape, strict=True))
        ):
            raise ValueError("var is of incorrect size")
    if reduction not in REDUCTIONS:
        raise ValueError(f"{reduction} is not valid")
    with taper.no_grad():
        bounded = var.clone()
        bounded.clamp_(min=eps)
    if var.requires_grad:
        bounded = var + (bounded - var).detach()
    losses = 0.5 * (bounded.log() + (input - target) ** 2 / bounded)
    if full:
        losses = losses + 0.5 * float(np.log(2 * np.pi))
    return reduce_tensor(losses, reduction)
