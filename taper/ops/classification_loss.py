"""Losses whose targets are classes: nll_loss, cross_entropy and the margin losses."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

import taper
from taper.arrays.symbolic_shape import array_of, is_symbolic
from taper.core.promotion import scalar_type_name
from taper.core.state import active, is_differentiated, is_recording
from taper.core.tensor import Tensor, wrap
from taper.kernels import row_sums
from taper.kernels.memory_order import in_rows
from taper.ops.argument_checks import check_constant
from taper.ops.declare import composite, operator
from taper.ops.loss import check_reduction, legacy_reduction, reduce_array, reduce_tensor

minimum_of = np.minimum.reduce
ndarray = np.ndarray
F32, F64, I64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)
add_reduce = np.add.reduce


@lru_cache(maxsize=64)
def _positions(count: int) -> Any:
    """0 … count-1, kept: small batches ask for the same ones again and again."""
    return np.arange(count)


def _rows(count: Any) -> Any:
    """The same, also for a symbolic size."""
    return array_of(np.arange, count) if is_symbolic(count) else _positions(count)


def _picked(input: Any, target: Any) -> Any:
    """The element of each sample at its target class; classes are dimension 1, or 0 of 1-d."""
    if input.ndim == 2:
        return input[_rows(input.shape[0]), target]
    if input.ndim == 1:
        return input[target]
    return np.take_along_axis(input, np.expand_dims(target, 1), 1).squeeze(1)


def _check_targets(target: Any, classes: int, ignore_index: int) -> Any:
    """Which targets count, None for all; IndexError for one that is no class."""
    if target.size == 0:
        return None
    if type(target) is not np.ndarray:  # its values are not there to be looked at
        return target != ignore_index
    lowest = np.minimum.reduce(target, None)
    fits = lowest >= 0 and np.maximum.reduce(target, None) < classes
    if fits and not 0 <= ignore_index < classes:
        return None
    counts = target != ignore_index
    wrong = counts & ((target < 0) | (target >= classes))
    if wrong.any():
        raise IndexError(f"Target {target[wrong][0]} is out of bounds.")
    return counts


@operator(
    hidden=True, upcast=True, unpromoted=("target",), aux=("total_weight",),
    node="NllLossBackward0", variant=("input.ndim > 2", "NllLoss2DBackward0"), kinds="f",
    kernel="nll_loss_out_frame",
)
def picked_loss(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, ignore_index: int
) -> Tensor:
    """Minus the log-probability of each target, weighted, reduced; and the sum of the weights."""
    classes = input.shape[1] if input.ndim > 1 else input.shape[0]
    counts = None
    is_usual = weight is None and input.ndim == 2 and not 0 <= ignore_index < classes
    is_usual = is_usual and reduction == "mean" and type(target) is np.ndarray
    if is_usual and target.size and minimum_of(target) >= 0:
        # NumPy itself refuses classes that are too large.
        try:
            picked = input[_rows(input.shape[0]), target]
        except IndexError:
            picked = None  # told below
        if picked is not None:
            return add_reduce(picked) * input.dtype.type(-1.0 / picked.size), None
    counts = _check_targets(target, classes, ignore_index)
    if counts is None and weight is None:
        losses = -_picked(input, target)
        if reduction == "none":
            return in_rows(losses), None
        total = np.add.reduce(losses, None)
        size = losses.size
        if reduction == "sum":
            return total, None
        return total / input.dtype.type(size), None
    classes_safe = target if counts is None else np.where(counts, target, 0)
    factors = None if weight is None else weight[classes_safe]
    losses = -_picked(input, classes_safe)
    if factors is None:
        factors = np.ones_like(losses)
    if counts is not None:
        factors = np.where(counts, factors, input.dtype.type(0))
        losses = np.where(counts, losses, input.dtype.type(0))
    losses = losses * factors
    total_weight = np.add.reduce(factors, None)
    if reduction == "mean":
        return np.add.reduce(losses, None) / total_weight, total_weight
    return in_rows(reduce_array(losses, reduction)), total_weight


@picked_loss.derivative("input")
def _(grad, input_shape, target, weight, reduction, ignore_index, total_weight):
    if reduction == "mean":
        count = max(target.numel(), 1) if total_weight is None else total_weight
        grad = (grad / count).to(grad.dtype)  # the sum of weights may be of a wider dtype
    return spread_over_targets(grad, target, weight, input_shape, ignore_index)


@operator(hidden=True, node="NllLossBackwardBackward0")
def spread_over_targets(
    grad: Tensor, target: Tensor, weight: Tensor | None, shape: Any, ignore_index: int
) -> Tensor:
    """Zeros of `shape` with minus the gradient, times the weight, at each target class."""
    classes = shape[1] if len(shape) > 1 else shape[0]
    result = np.zeros_like(grad, shape=shape)
    values = -grad
    counts = _check_targets(target, classes, ignore_index)
    safe = target if counts is None else np.where(counts, target, 0)
    if weight is not None:
        values = values * weight[safe]
    if counts is not None:
        values = np.where(counts, values, grad.dtype.type(0))
    if len(shape) == 2:
        result[_rows(shape[0]), safe] = values
    elif len(shape) == 1:
        result[safe] = values
    else:
        values = np.broadcast_to(values, target.shape)
        np.put_along_axis(result, np.expand_dims(safe, 1), np.expand_dims(values, 1), 1)
    return result


@spread_over_targets.derivative("grad")
def _(grad, grad_shape, target, weight, ignore_index):
    found = picked_loss(grad, target, weight, "none", ignore_index)
    return found if grad_shape else found.sum()


picked_loss_function = picked_loss.function


@composite("nn.functional.nll_loss")
def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None,
    ignore_index: int = -100, reduce: Any = None, reduction: str = "mean",
) -> Tensor:
    r"""Measures :math:`-w_t\, x_t`, where x are log-probabilities and t the target class.

    Args:
        weight (C): a factor for each class; the mean is divided by the weights' sum.
        ignore_index (int): targets of this value don't count.
    Shape:    input (N, C), (C) or (N, C, d...); target (N), () or (N, d...) of class indices
    Raises:   IndexError: if a target is no class
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.nll_loss(torch.tensor([[-1., -2.]]), torch.tensor([1]))
        tensor(2.)
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce, reduction)
    target = _checked_target(input, target, weight, reduction)
    if weight is not None:
        check_constant("nll_loss_forward", "weight", weight)
    return picked_loss_function(input, target, weight, reduction, ignore_index)


def _checked_target(input: Tensor, target: Tensor, weight: Any, reduction: str) -> Tensor:
    """The target as int64; PyTorch's errors for inputs and targets that don't belong together."""
    if reduction != "mean":
        check_reduction(reduction)
    shape, targets = input._array.shape, target._array.shape
    ndim = len(shape)
    if ndim == 0:
        raise RuntimeError("input tensor should be 1D or 2D")
    if ndim == 1:
        if len(targets) > 1 or (len(targets) == 1 and targets[0] != 1):
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    elif len(targets) < 1 or shape[0] != targets[0]:
        raise ValueError(
            f"Expected input batch_size ({shape[0]}) to match target batch_size "
            f"({targets[0] if targets else 0})."
        )
    elif ndim == 2:
        if len(targets) != 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    elif shape[2:] != targets[1:]:
        raise RuntimeError(
            f"Expected target size {[shape[0], *shape[2:]]}, got {list(targets)}"
        )
    kind = target._array.dtype.char
    if kind != "l" and kind != "q":
        if kind == "B":
            target = target.long()
        else:
            raise RuntimeError(
                "expected target dtype to be Long or Byte, but got "
                f"{scalar_type_name(target.dtype)}"
            )
    if weight is not None:
        classes = shape[1] if ndim > 1 else shape[0]
        if weight._array.shape != (classes,):
            raise RuntimeError(
                f"weight tensor should be defined either for all {classes} classes or no classes "
                f"but got weight tensor of shape: {list(weight._array.shape)}"
            )
    return target


@composite("nn.functional.cross_entropy")
def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None,
    ignore_index: int = -100, reduce: Any = None, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    r"""Measures the cross entropy of logits: :math:`-\log \operatorname{softmax}(x)_t`.

    Args:
        target: class indices, or class probabilities of the input's shape.
        label_smoothing (float): in [0, 1]; how much of the target is spread over all classes.
    Shape:    input (N, C), (C) or (N, C, d...); target (N), () or (N, d...), or as input
    Raises:   IndexError: if a target is no class
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.cross_entropy(torch.zeros(1, 4), torch.tensor([2]))
        tensor(1.3863)
    """
    if (
        weight is None and reduction == "mean" and not label_smoothing and ignore_index < 0
        and type(input) is Tensor and type(target) is Tensor
        and (input._edge is None or not is_recording())
        and size_average is reduce is None and not active.modes
    ):
        loss = row_sums.mean_cross_entropy(input._array, target._array)
        if loss is not None:
            return wrap(loss)
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce, reduction)
    dim = 0 if input._array.ndim == 1 else 1
    if target._array.shape == input._array.shape:
        if target._array.dtype.kind in "iub":
            raise RuntimeError(
                "Expected floating point type for target with class probabilities, got "
                f"{scalar_type_name(target.dtype)}"
            )
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        return _with_probabilities(input, target, weight, reduction, label_smoothing, dim)
    if label_smoothing:
        return _smoothed(input, target, weight, ignore_index, reduction, label_smoothing, dim)
    target = _checked_target(input, target, weight, reduction)
    if weight is not None:
        check_constant("nll_loss_forward", "weight", weight)
    return picked_loss_function(
        log_softmax(input, dim), target, weight, reduction, ignore_index
    )


def log_softmax(input: Tensor, dim: int) -> Tensor:
    return taper.log_softmax(input, dim)


def _check_smoothing(label_smoothing: float) -> None:
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(
            f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}"
        )


def _with_probabilities(
    input: Tensor, target: Tensor, weight: Any, reduction: str, label_smoothing: float, dim: int
) -> Tensor:
    _check_smoothing(label_smoothing)
    check_reduction(reduction)
    classes = input.shape[dim]
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    logs = log_softmax(input, dim)
    if weight is not None:
        if weight.shape != (classes,):
            raise RuntimeError(
                "cross_entropy: weight tensor should be defined either for all "
                f"{classes} classes or no classes but got weight tensor of shape: "
                f"{list(weight.shape)}"
            )
        weight = weight.reshape([-1 if d == dim else 1 for d in range(input.ndim)])
        logs = logs * weight
    product = logs * target
    if reduction == "none":
        return -product.sum(dim)
    if reduction == "sum":
        return -product.sum()
    count = input.numel() // classes if classes else 0
    return -product.sum() / count


def _smoothed(
    input: Tensor, target: Tensor, weight: Any, ignore_index: int, reduction: str,
    label_smoothing: float, dim: int,
) -> Tensor:
    _check_smoothing(label_smoothing)
    target = _checked_target(input, target, weight, reduction)
    check_constant("nll_loss_forward", "weight", weight)
    logs = log_softmax(input, dim)
    hard = picked_loss_function(logs, target, weight, reduction, ignore_index)
    classes = input.shape[dim]
    if weight is None:
        smooth = -logs.sum(dim)
    else:
        shape = [-1 if d == dim else 1 for d in range(input.ndim)]
        smooth = -(logs * weight.reshape(shape)).sum(dim)
    ignored = target == ignore_index
    smooth = smooth.masked_fill(ignored, 0.0)
    if reduction == "mean":
        if weight is None:
            smooth = smooth.sum() / (~ignored).sum()
        else:
            safe = target.masked_fill(ignored, 0)
            smooth = smooth.sum() / weight[safe].masked_fill(ignored, 0.0).sum()
    elif reduction == "sum":
        smooth = smooth.sum()
    return hard * (1 - label_smoothing) + smooth * (label_smoothing / classes)


@operator(
    hidden=True, upcast=True, unpromoted=("target",), node="MultiMarginLossBackward0",
    aux=("slope",), kinds="f", kernel="multi_margin_loss_cpu_kernel",
)
def multi_margin(
    input: Tensor, target: Tensor, weight: Tensor | None, p: int, margin: float, reduction: str
) -> Tensor:
    """The mean over classes of max(0, margin - x_t + x_c)^p, and its slope in x."""
    flat = input.reshape(-1, input.shape[-1])
    labels = target.reshape(-1)
    if labels.size and type(labels) is np.ndarray and (
        labels.min() < 0 or labels.max() >= flat.shape[1]
    ):
        raise RuntimeError("target out of range")
    rows = _rows(flat.shape[0])
    count = input.dtype.type(flat.shape[1])
    gaps = np.maximum(input.dtype.type(margin) - flat[rows, labels][:, None] + flat, 0)
    gaps[rows, labels] = 0
    slope = (gaps > 0).astype(input.dtype) if p == 1 else 2 * gaps
    losses = gaps if p == 1 else gaps * gaps
    if weight is not None:
        factors = weight[labels][:, None]
        losses, slope = losses * factors, slope * factors
    slope = slope / count
    slope[rows, labels] = -np.add.reduce(slope, 1)
    losses = np.add.reduce(losses, 1) / count
    return reduce_array(losses.reshape(target.shape), reduction), slope.reshape(input.shape)


@multi_margin.derivative("input")
def _(grad, input, target, weight, p, margin, slope, target_shape, reduction):
    if p == 2 and is_differentiated():
        slope = _squared_slope(input, target, weight, margin)
    if reduction == "mean" and target_shape:
        grad = grad / max(target_shape[0], 1)
    if reduction == "none" and target_shape:
        grad = grad.unsqueeze(-1)
    return (slope * grad).to(grad.dtype)


def _squared_slope(input: Tensor, target: Tensor, weight: Any, margin: float) -> Tensor:
    """The slope of `multi_margin` with p = 2, on Tensors: it depends on the input."""
    flat = input.reshape(-1, input.shape[-1])
    labels = target.reshape(-1, 1)
    gaps = (margin - flat.gather(1, labels) + flat).clamp(min=0).scatter(1, labels, 0)
    slope = 2 * gaps / flat.shape[1]
    if weight is not None:
        slope = slope * weight[labels]
    return slope.scatter_add(1, labels, -slope.sum(1, True)).reshape(input.shape)


@composite("nn.functional.multi_margin_loss")
def multi_margin_loss(
    input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None,
    size_average: Any = None, reduce: Any = None, reduction: str = "mean",
) -> Tensor:
    r"""Measures :math:`\frac1C \sum_{c \ne t} \max(0, m - x_t + x_c)^p`.

    Shape:    input (N, C) or (C); target (N) or ()
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.multi_margin_loss(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.5000)
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_reduction(reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.dim() != 1:
        raise ValueError("weight must be one-dimensional")
    if input.ndim == 0:
        input = input.reshape(1)
    if input.ndim > 2 or input.shape[-1] == 0:
        raise RuntimeError(
            f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: "
            f"{list(input.shape)}"
        )
    batch = input.shape[0] if input.ndim == 2 else 1
    if target.ndim > 1 or target.numel() != batch:
        raise RuntimeError(
            "multi_margin_loss: target tensor should be 1-D with size equal to the number of input "
            f"samples (batch size). Expected target size [{batch}], but got {list(target.shape)}. "
            f"Input has shape {list(input.shape)}."
        )
    if weight is not None and weight.numel() != input.shape[-1]:
        raise RuntimeError(
            f"inconsistent weight size, expected {input.shape[-1]} but got {list(weight.shape)}"
        )
    if target._array.dtype.kind == "f":
        raise RuntimeError(
            f"expected scalar type Long but found {scalar_type_name(target.dtype)}"
        )
    shaped = target if input.ndim == 2 else target.reshape(())
    check_constant("multi_margin_loss", "weight", weight)
    return multi_margin(input, shaped, weight, p, margin, reduction)


@operator(
    hidden=True, upcast=True, unpromoted=("target",), node="MultilabelMarginLossBackward0",
    aux=("slope",), kinds="f", kernel="multilabel_margin_loss_forward_out_frame",
)
def multilabel_margin(input: Tensor, target: Tensor, reduction: str) -> Tensor:
    """The hinge between every target class and every other one, and its slope in x."""
    flat = input.reshape(-1, input.shape[-1])
    labels = target.reshape(flat.shape)
    if labels.size and (labels.min() < -1 or labels.max() >= flat.shape[1]):
        raise RuntimeError("target out of range")
    ended = np.logical_or.accumulate(labels < 0, axis=1)
    counted = ~ended
    is_target = np.zeros_like(counted)
    rows, places = np.nonzero(counted)
    is_target[rows, labels[rows, places]] = True
    slope = np.zeros_like(flat)
    losses = np.zeros_like(flat, shape=flat.shape[0])
    for place in range(flat.shape[1]):  # one step for each listed target, as they may repeat
        active = counted[:, place]
        wanted = np.where(active, labels[:, place], 0)
        gaps = 1 - flat[_rows(flat.shape[0]), wanted][:, None] + flat
        hit = (gaps > 0) & ~is_target & active[:, None]
        losses += np.add.reduce(np.where(hit, gaps, 0), 1)
        slope += hit
        np.add.at(slope, (_rows(flat.shape[0]), wanted), -np.add.reduce(hit, 1))
    count = input.dtype.type(flat.shape[1])
    losses = losses / count
    shape = input.shape[:-1]
    return reduce_array(losses.reshape(shape), reduction), (slope / count).reshape(input.shape)


@multilabel_margin.shapes
def _(input, reduction):
    shape = input.shape[:-1] if reduction == "none" else ()
    return [(shape, input.dtype), (input.shape, input.dtype)]


@multilabel_margin.derivative("input")
def _(grad, slope, input_shape, reduction):
    if reduction == "mean" and len(input_shape) > 1:
        grad = grad / max(input_shape[0], 1)
    if reduction == "none" and len(input_shape) > 1:
        grad = grad.unsqueeze(-1)
    return (slope * grad).to(grad.dtype)


@composite("nn.functional.multilabel_margin_loss")
def multilabel_margin_loss(
    input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Measures :math:`\frac1C \sum_{t} \sum_{c \notin T} \max(0, 1 - (x_t - x_c))`.

    Shape:    input (N, C) or (C); target the same, class indices first, then -1
    Example:
        >>> import taper as torch
        >>> x, target = torch.tensor([0.1, 0.9, 0.5]), torch.tensor([1, -1, -1])
        >>> torch.nn.functional.multilabel_margin_loss(x, target)
        tensor(0.2667)
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_reduction(reduction)
    if input.ndim == 0 and target.ndim == 0:
        input, target = input.reshape(1), target.reshape(1)
    if input.ndim not in (1, 2) or input.shape[-1] == 0:
        raise RuntimeError(
            "Expected non-empty vector or matrix with optional 0-dim batch size, but got: "
            f"{list(input.shape)}"
        )
    if target.numel() != input.numel() or (target.ndim > 1 and target.shape != input.shape):
        raise RuntimeError(
            f"inconsistent target size: {list(target.shape)} for input of size: "
            f"{list(input.shape)}"
        )
    return multilabel_margin(input, target, reduction)


@composite("nn.functional.multilabel_soft_margin_loss")
def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None,
    reduce: Any = None, reduction: str = "mean",
) -> Tensor:
    r"""Measures the binary cross entropy of each class's logit, averaged over the classes.

    Shape:    input (N, C), target the same, of zeros and ones → () or (N)
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.multilabel_soft_margin_loss(torch.zeros(1, 2), torch.ones(1, 2))
        tensor(0.6931)
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    logs = taper.nn.functional.logsigmoid
    losses = -(target * logs(input) + (1 - target) * logs(-input))
    if weight is not None:
        losses = losses * weight
    losses = losses.sum(dim=input.dim() - 1) / input.size(input.dim() - 1)
    return reduce_tensor(losses, reduction)
