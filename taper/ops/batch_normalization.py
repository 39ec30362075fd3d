"""Normalization of channels: over the batch (batch_norm), or each by itself (instance_norm).

Derivatives have two forms, as in normalization.py.
"""

from __future__ import annotations

import math
from typing import Any

from taper.arrays.levels import batched_like
from taper.autograd.modes import no_grad
from taper.core.state import is_differentiated
from taper.core.tensor import Tensor, wrap
from taper.kernels import normalization as kernel
from taper.kernels.memory_order import in_rows_or_channels_last
from taper.ops.argument_checks import check_constant
from taper.ops.declare import composite, operator
from taper.ops.normalization import centered_gradient, check_dtypes

# -- batches ---------------------------------------------------------------------------------------


@operator(
    hidden=True, upcast=True, kinds="f", kernel="batch_norm", check=check_dtypes,
    aux=("mean", "inverse"), node="NativeBatchNormBackward0",
)
def normalize_batch(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Any, running_var: Any,
    training: bool, momentum: float, eps: float,
) -> Tensor:
    shape = input.shape
    flat = input.reshape(*shape[:2], math.prod(shape[2:]))
    if not training:
        mean = kernel.widened(running_mean._array)
        inverse = 1 / (kernel.widened(running_var._array) + mean.dtype.type(eps)) ** 0.5
        result = kernel.scale_channels(flat, mean, inverse, weight, bias)
        return in_rows_or_channels_last(result.reshape(shape)), mean.copy(), inverse
    result, mean, variance, inverse = kernel.normalize_channels(flat, weight, bias, eps)
    if running_mean is not None and flat.size:
        count = flat.shape[0] * flat.shape[2]
        _follow(running_mean, mean, momentum)
        _follow(running_var, variance * (count / max(count - 1, 1)), momentum)
    return in_rows_or_channels_last(result.reshape(shape)), mean, inverse


def _follow(running: Tensor, value: Any, momentum: float) -> None:
    """Moves a running statistic towards that of a batch."""
    array = running._array
    if not array.flags.writeable:
        raise RuntimeError("the running statistics are read-only; clone() them first")
    array *= array.dtype.type(1 - momentum)
    array += (value * value.dtype.type(momentum)).astype(array.dtype, copy=False)
    running._bump_version()


@normalize_batch.derivative("input", "weight", "bias")
def _(grad, input, weight, mean, inverse, needs, training, eps):
    shape = input._array.shape
    if not is_differentiated():
        flat = (*shape[:2], math.prod(shape[2:]))
        scale = None if weight is None else weight._array
        for_input, for_weight, for_bias = kernel.channel_gradient(
            grad._array.reshape(flat), input._array.reshape(flat), mean._array, inverse._array,
            scale, training,
        )
        kind = for_weight.dtype if scale is None else scale.dtype
        return (
            wrap(for_input.reshape(shape)), wrap(for_weight.astype(kind, copy=False)),
            wrap(for_bias.astype(kind, copy=False)),
        )
    dims = (0, *range(2, len(shape)))
    channels = (-1, *(1,) * (len(shape) - 2))
    scaled = grad if weight is None else grad * weight.view(channels)
    if training:
        normalized, for_input = centered_gradient(scaled, input, dims, eps)
    else:
        normalized = (input - mean.view(channels)) * inverse.view(channels)
        for_input = scaled * inverse.view(channels)
    kind = grad.dtype if weight is None else weight.dtype
    for_weight = (grad * normalized).sum(dims).to(kind) if needs[1] else None
    for_bias = grad.sum(dims).to(kind) if needs[2] else None
    return for_input.to(input.dtype), for_weight, for_bias


def _check_channels(channels: int, given: dict[str, Any]) -> None:
    for name, tensor in given.items():
        if tensor is not None and tensor._array.size != channels:
            raise RuntimeError(
                f"{name} should contain {channels} elements not {tensor._array.size}"
            )


def _batch_norm(
    input: Tensor, running_mean: Any, running_var: Any, weight: Any, bias: Any, training: bool,
    momentum: float, eps: float,
) -> Tensor:
    shape = input._array.shape
    if len(shape) < 2:
        if shape == (0,):
            return _batch_norm(
                input.unsqueeze(1), None, None, None, None, True, momentum, eps
            ).squeeze(1)
        raise IndexError(
            "Dimension out of range (expected to be in range of "
            f"[{-len(shape) or -1}, {max(len(shape) - 1, 0)}], but got 1)"
        )
    if running_mean is None and not training:
        raise RuntimeError("running_mean must be defined in evaluation mode")
    if (running_mean is None) != (running_var is None):
        raise ValueError(
            "running_mean and running_var must either both be None or neither be None"
        )
    channels = shape[1]
    for tensor in (running_mean, running_var, weight, bias):
        if tensor is not None and tensor._array.size != channels:
            _check_channels(channels, {
                "running_mean": running_mean, "running_var": running_var, "weight": weight,
                "bias": bias,
            })
    if training and running_mean is not None and (
        batched_like(running_mean._array, input._array) is not running_mean._array
    ):
        raise RuntimeError(
            "Batch norm got a batched tensor as input while the running_mean or running_var, which "
            "will be updated in place, were not batched.\nIf you are using a module and do not "
            "need eval mode, please set `track_running_stats` to be False: "
            "torch.func.replace_all_batch_norm_modules_() does that."
        )
    if running_mean is not None and running_mean._edge is not None:
        check_constant("native_batch_norm", "running_mean", running_mean)
    if running_mean is not None and running_mean._array.dtype != input._array.dtype:
        check_dtypes({"input": input, "running_mean": running_mean, "weight": weight})
    return normalize_batch(
        input, weight, bias, running_mean, running_var, bool(training), momentum, eps
    )


@composite("nn.functional.batch_norm")
def batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
    weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:
    r"""Normalizes each channel: :math:`y = (x - \mu) / \sqrt{\sigma^2 + \epsilon} \cdot w + b`.

    In training, mean and variance are the batch's, and the running ones are moved towards them by
    `momentum` (the running variance is the unbiased one); otherwise they are the running ones.
    Shape:    input (N, C, *), everything else (C) → (N, C, *)
    Raises:   ValueError: in training, if there is only one value per channel.
    Source:   Ioffe and Szegedy, Batch Normalization, 2015.
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.batch_norm(torch.tensor([[1.], [3.]]), None, None, training=True)
        tensor([[-1.0000],
                [ 1.0000]])
    """
    if training:
        shape = input._array.shape
        count = shape[0] if shape else 1
        for n in shape[2:]:
            count *= n
        if count == 1 and len(shape) > 1:
            raise ValueError(
                f"Expected more than 1 value per channel when training, got input size "
                f"{input.shape}"
            )
        if eps <= 0.0:
            raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    elif eps < 0.0:
        raise ValueError(f"batch_norm eps must be non-negative, but got {eps}")
    return _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


@composite("batch_norm", hidden=False)
def torch_batch_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, training: bool, momentum: float, eps: float, cudnn_enabled: bool,
) -> Tensor:
    """`nn.functional.batch_norm` with its arguments in another order.

    Shape:    (N, C, *) → the same
    Example:
        >>> import taper as torch
        >>> x = torch.tensor([[1.], [3.]])
        >>> torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, False).flatten()
        tensor([-1.0000,  1.0000])
    """
    return _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


@composite("native_batch_norm", out=True)
def native_batch_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, training: bool, momentum: float, eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """`batch_norm`, with the batch's means and 1 / sqrt(variance + eps) (empty if not training).

    Shape:    (N, C, *) → the same, (C), (C)
    Example:
        >>> import taper as torch
        >>> x = torch.tensor([[1.], [3.]])
        >>> torch.native_batch_norm(x, None, None, None, None, True, 0.1, 1e-5)[1]
        tensor([2.])
    """
    result = _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    kind = (input if weight is None else weight).dtype
    if not training:
        return result, input.new_empty(0, dtype=kind), input.new_empty(0, dtype=kind)
    shape = input._array.shape
    flat = kernel.widened(input._array.reshape(*shape[:2], math.prod(shape[2:])))
    _, mean, _, inverse = kernel.normalize_channels(flat, None, None, eps)
    return result, wrap(mean).to(kind), wrap(inverse).to(kind)


# -- single channels -----------------------------------------------------------------------------


@composite("instance_norm")
def torch_instance_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, use_input_stats: bool, momentum: float, eps: float,
    cudnn_enabled: bool,
) -> Tensor:
    """`nn.functional.instance_norm` with its arguments in another order.

    Shape:    (N, C, *) → the same
    Example:
        >>> import taper as torch
        >>> x = torch.tensor([[[1., 3.]]])
        >>> torch.instance_norm(x, None, None, None, None, True, 0.1, 1e-5, False)
        tensor([[[-1.0000,  1.0000]]])
    """
    return _instance_norm(
        input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
    )


def _instance_norm(
    input: Tensor, running_mean: Any, running_var: Any, weight: Any, bias: Any,
    use_input_stats: bool, momentum: float, eps: float,
) -> Tensor:
    if not use_input_stats and (running_mean is None or running_var is None):
        raise RuntimeError(
            "Expected running_mean and running_var to be defined when use_input_stats is false"
        )
    shape = input._array.shape
    batch, channels = shape[:2]
    repeated = [
        None if t is None else t.repeat(batch) for t in (running_mean, running_var, weight, bias)
    ]
    flat = input.contiguous().view(1, batch * channels, *shape[2:])
    result = _batch_norm(flat, *repeated, use_input_stats, momentum, eps)
    if use_input_stats:
        with no_grad():
            for running, moved in zip((running_mean, running_var), repeated, strict=False):
                if running is not None:
                    running.copy_(moved.view(batch, channels).mean(0))
    return result.view(shape)


@composite("nn.functional.instance_norm")
def instance_norm(
    input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None,
    weight: Tensor | None = None, bias: Tensor | None = None, use_input_stats: bool = True,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:
    """Normalizes each channel of each element of the batch on its own.

    Shape:    input (N, C, *), everything else (C) → (N, C, *)
    Source:   Ulyanov, Vedaldi and Lempitsky, Instance Normalization, 2016.
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.instance_norm(torch.tensor([[[1., 3.]]]))
        tensor([[[-1.0000,  1.0000]]])
    """
    shape = input._array.shape
    if use_input_stats and math.prod(shape[2:]) == 1:
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size {input.shape}"
        )
    return _instance_norm(
        input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
    )
