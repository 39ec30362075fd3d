"""Normalization: batch_norm, layer_norm, group_norm, instance_norm, rms_norm and their relatives.

Derivatives have two forms: arithmetic on arrays (kernels/normalization.py) where nobody will
differentiate them again, a formula on Tensors where the tape is on.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.autograd.modes import no_grad
from taper.core.promotion import scalar_type_name
from taper.core.state import is_recording
from taper.core.tensor import Tensor, wrap
from taper.kernels import normalization as kernel
from taper.ops.arithmetic import conj
from taper.ops.declare import composite, operator

Ints = tuple[int, ...]


def _check_dtypes(bound: dict[str, Any]) -> None:
    """Raises unless parameters have the input's dtype; float32 ones also go with half inputs."""
    input = bound["input"]
    wanted = input.dtype
    given = [bound.get(name) for name in ("weight", "bias", "running_mean", "running_var")]
    parameters = [p for p in given if p is not None]
    if wanted.itemsize == 2:
        kinds = {p.dtype for p in parameters}
        if len(kinds) > 1 or any(k is not wanted and k.name != "float32" for k in kinds):
            wrong = next(k for k in kinds if k is not wanted)
            raise RuntimeError(
                f"expected scalar type {scalar_type_name(wanted)} but found "
                f"{scalar_type_name(wrong)}"
            )
        return
    if any(p.dtype is not wanted for p in parameters):
        if wanted.is_floating_point and parameters[0].dtype is wanted:
            raise RuntimeError("mixed dtype (CPU): all inputs must share same datatype.")
        if wanted.is_floating_point and wanted.name == "float64":
            raise RuntimeError("mixed dtype (CPU): all inputs must share same datatype.")
        if wanted.is_floating_point:
            raise RuntimeError("mixed dtype (CPU): expect parameter to have scalar type of Float")


def _shaped(parameter: Tensor | None, shape: Any) -> Any:
    return None if parameter is None else parameter.view(shape)


def _centered_gradient(
    grad: Tensor, input: Tensor, dims: Any, eps: float, centered: bool = True
) -> tuple[Tensor, Tensor]:
    """The normalized input and the gradient of the input, by operations that are recorded."""
    if input.dtype.itemsize == 2:
        input = input.float()
    offset = input - input.mean(dims, True) if centered else input
    inverse = ((offset * offset).mean(dims, True) + eps).rsqrt()
    normalized = offset * inverse
    if grad is None:
        return normalized, None
    result = grad - normalized * (grad * normalized).mean(dims, True)
    if centered:
        result = result - grad.mean(dims, True)
    return normalized, result * inverse


# -- batches ---------------------------------------------------------------------------------------


@operator(
    hidden=True, upcast=True, kinds="f", kernel="batch_norm", check=_check_dtypes,
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
        return result.reshape(shape), mean.copy(), inverse
    result, mean, variance, inverse = kernel.normalize_channels(flat, weight, bias, eps)
    if running_mean is not None and flat.size:
        count = flat.shape[0] * flat.shape[2]
        _follow(running_mean, mean, momentum)
        _follow(running_var, variance * mean.dtype.type(count / max(count - 1, 1)), momentum)
    return result.reshape(shape), mean, inverse


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
    if not is_recording():
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
        normalized, for_input = _centered_gradient(scaled, input, dims, eps)
    else:
        normalized = (input - mean.view(channels)) * inverse.view(channels)
        for_input = scaled * inverse.view(channels)
    for_weight = (grad * normalized).sum(dims) if needs[1] else None
    for_bias = grad.sum(dims) if needs[2] else None
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
    if running_mean is not None and running_mean._array.dtype != input._array.dtype:
        _check_dtypes({"input": input, "running_mean": running_mean, "weight": weight})
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
    """`nn.functional.batch_norm` with its arguments in another order."""
    return _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


@composite("native_batch_norm", out=True)
def native_batch_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, training: bool, momentum: float, eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """`batch_norm`, with the batch's means and 1 / sqrt(variance + eps) (empty if not training)."""
    result = _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    if not training:
        empty = wrap(kernel.widened(input._array[:0].reshape(-1)[:0]).copy())
        return result, empty, empty.clone()
    shape = input._array.shape
    flat = kernel.widened(input._array.reshape(*shape[:2], math.prod(shape[2:])))
    _, mean, _, inverse = kernel.normalize_channels(flat, None, None, eps)
    return result, wrap(mean), wrap(inverse)


# -- rows ------------------------------------------------------------------------------------------


@operator(
    hidden=True, upcast=True, kinds="f", kernel="LayerNormKernelImpl", check=_check_dtypes,
    aux=("mean", "inverse"), node="NativeLayerNormBackward0",
)
def normalize_layer(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, elements: int, eps: float
) -> Tensor:
    rows = input.reshape(-1, elements) if elements else input.reshape(math.prod(input.shape), 0)
    result, mean, inverse = kernel.normalize_rows(rows, eps)
    if weight is not None:
        result *= weight.reshape(-1)
    if bias is not None:
        result += bias.reshape(-1)
    return result.reshape(input.shape), mean, inverse


@normalize_layer.derivative("input", "weight", "bias")
def _(grad, input, weight, weight_shape, bias_shape, mean, inverse, needs, elements, eps):
    shape = input._array.shape
    if not elements:
        return tuple([None if n is None else grad.new_zeros(n) for n in (
            shape, weight_shape, bias_shape)])
    if not is_recording():
        rows = kernel.widened(grad._array.reshape(-1, elements))
        normalized = kernel.widened(input._array.reshape(-1, elements)) - mean._array
        normalized *= inverse._array
        for_weight, for_bias = None, None
        if needs[1] or needs[2]:
            for_weight, for_bias = kernel.affine_gradients(rows, normalized)
            kind = grad._array.dtype if weight is None else weight._array.dtype
            for_weight = wrap(for_weight.reshape(weight_shape or bias_shape).astype(kind))
            for_bias = wrap(for_bias.reshape(weight_shape or bias_shape).astype(kind))
        scaled = rows if weight is None else rows * weight._array.reshape(-1)
        for_input = kernel.row_gradient(scaled, normalized, inverse._array)
        return (
            wrap(for_input.reshape(shape).astype(grad._array.dtype, copy=False)),
            for_weight, for_bias,
        )
    rows = grad.reshape(-1, elements)
    scaled = rows if weight is None else rows * weight.reshape(-1)
    normalized, for_input = _centered_gradient(scaled, input.reshape(-1, elements), (1,), eps)
    for_weight = (rows * normalized).sum(0).reshape(weight_shape) if needs[1] else None
    for_bias = rows.sum(0).reshape(bias_shape) if needs[2] else None
    return for_input.reshape(shape).to(input.dtype), for_weight, for_bias


def _read_normalized_shape(
    function: str, input: Tensor, normalized_shape: Any, weight: Any, bias: Any
) -> Ints:
    """The sizes of the dimensions to normalize, checked."""
    if not isinstance(normalized_shape, (tuple, list)):
        raise TypeError(
            f"{function}(): argument 'normalized_shape' (position 2) must be tuple of ints, not "
            f"{type(normalized_shape).__name__}"
        )
    wanted = tuple(normalized_shape)
    shape = input._array.shape
    if not wanted:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one "
            "element, but got normalized_shape = []"
        )
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None and parameter._array.shape != wanted:
            raise RuntimeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape "
                f"{list(parameter._array.shape)} and normalized_shape = {list(wanted)}"
            )
    if shape[len(shape) - len(wanted) :] != wanted or len(shape) < len(wanted):
        comma = ", " if function == "layer_norm" else ""
        raise RuntimeError(
            f"Given normalized_shape={list(wanted)}, expected input with shape [*{comma}"
            f"{', '.join(map(str, wanted))}], but got input of size{list(shape)}"
        )
    return wanted


@composite("nn.functional.layer_norm")
def layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    r"""Normalizes the last dimensions: :math:`y = (x-\mu) / \sqrt{\sigma^2+\epsilon} \cdot w+b`.

    Args:     normalized_shape: the sizes of those dimensions, also the shape of weight and bias
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.layer_norm(torch.tensor([[1., 2., 3.]]), (3,))
        tensor([[-1.2247,  0.0000,  1.2247]])
    """
    shape = _read_normalized_shape("layer_norm", input, normalized_shape, weight, bias)
    return normalize_layer(input, weight, bias, math.prod(shape), eps)


@composite("layer_norm")
def torch_layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5, cudnn_enable: bool = True,
) -> Tensor:
    """`nn.functional.layer_norm`."""
    return layer_norm(input, normalized_shape, weight, bias, eps)


@composite("native_layer_norm", out=True)
def native_layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`layer_norm`, with the means and 1 / sqrt(variance + eps)."""
    shape = _read_normalized_shape("layer_norm", input, normalized_shape, weight, bias)
    elements = math.prod(shape)
    result = normalize_layer(input, weight, bias, elements, eps)
    lead = input._array.shape[: input._array.ndim - len(shape)]
    _, mean, inverse = kernel.normalize_rows(input._array.reshape(math.prod(lead), elements), eps)
    kind = input._array.dtype if weight is None else weight._array.dtype
    statistics = [
        wrap(s.reshape(*lead, *(1,) * len(shape)).astype(kind)) for s in (mean, inverse)
    ]
    return result, statistics[0], statistics[1]


# -- groups of channels --------------------------------------------------------------------------


@operator(
    hidden=True, upcast=True, kinds="f", kernel="GroupNormKernelImpl", check=_check_dtypes,
    aux=("mean", "inverse"), node="NativeGroupNormBackward0",
)
def normalize_groups(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, groups: int, eps: float
) -> Tensor:
    shape = input.shape
    rows = input.reshape(shape[0] * groups, math.prod(shape[1:]) // groups)
    result, mean, inverse = kernel.normalize_rows(rows, eps)
    if weight is not None or bias is not None:
        result = result.reshape(*shape[:2], math.prod(shape[2:]))
        if weight is not None:
            result *= weight.reshape(-1, 1)
        if bias is not None:
            result += bias.reshape(-1, 1)
    return result.reshape(shape), mean, inverse


@normalize_groups.derivative("input", "weight", "bias")
def _(grad, input, weight, mean, inverse, needs, groups, eps):
    shape = input._array.shape
    flat = (*shape[:2], math.prod(shape[2:]))
    rows = (shape[0] * groups, math.prod(shape[1:]) // groups)
    if not input._array.size:
        return (
            grad.clone(), grad.new_zeros(shape[1]) if needs[1] else None,
            grad.new_zeros(shape[1]) if needs[2] else None,
        )
    if not is_recording():
        wide = kernel.widened(grad._array).reshape(flat)
        normalized = kernel.widened(input._array.reshape(rows)) - mean._array
        normalized *= inverse._array
        scaled = wide if weight is None else wide * weight._array.reshape(-1, 1)
        kind = grad._array.dtype if weight is None else weight._array.dtype
        for_weight = for_bias = None
        if needs[1]:
            for_weight = wrap(
                kernel.per_channel_of_product(wide, normalized.reshape(flat)).astype(kind)
            )
        if needs[2]:
            for_bias = wrap(kernel.per_channel(wide).astype(kind))
        for_input = kernel.row_gradient(scaled.reshape(rows), normalized, inverse._array)
        return (
            wrap(for_input.reshape(shape).astype(grad._array.dtype, copy=False)),
            for_weight, for_bias,
        )
    wide = grad.reshape(flat)
    scaled = wide if weight is None else wide * weight.view(-1, 1)
    normalized, for_input = _centered_gradient(
        scaled.reshape(rows), input.reshape(rows), (1,), eps
    )
    for_weight = (wide * normalized.reshape(flat)).sum((0, 2)) if needs[1] else None
    for_bias = wide.sum((0, 2)) if needs[2] else None
    return for_input.reshape(shape).to(input.dtype), for_weight, for_bias


@composite("nn.functional.group_norm")
def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalizes groups of neighbouring channels, each element of the batch on its own.

    Shape:    input (N, C, *), weight and bias (C) → (N, C, *)
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.group_norm(torch.tensor([[1., 3., 7., 9.]]), 2)
        tensor([[-1.0000,  1.0000, -1.0000,  1.0000]])
    """
    shape = input._array.shape
    if len(shape) < 2:
        raise RuntimeError(
            f"Expected at least 2 dimensions for input tensor but received {len(shape)}"
        )
    count = shape[0] * shape[1] // num_groups
    for n in shape[2:]:
        count *= n
    if count == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {list(shape)}"
        )
    return _group_norm(input, num_groups, weight, bias, eps)


def _group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    shape = input._array.shape
    if num_groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {num_groups}")
    if shape[1] % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of "
            f"shape {list(shape)} and num_groups={num_groups}"
        )
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None and parameter._array.shape != (shape[1],):
            raise RuntimeError(
                f"Expected {name} to be a vector of size equal to the number of channels in input, "
                f"but got {name} of shape {list(parameter._array.shape)} and input of shape "
                f"{list(shape)}"
            )
    return normalize_groups(input, weight, bias, num_groups, eps)


@composite("group_norm")
def torch_group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5, cudnn_enabled: bool = True,
) -> Tensor:
    """`nn.functional.group_norm`."""
    return _group_norm(input, num_groups, weight, bias, eps)


@composite("native_group_norm")
def native_group_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, N: int, C: int, HxW: int,
    group: int, eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """`group_norm`, with the means and 1 / sqrt(variance + eps)."""
    if input._array.size != N * C * HxW:
        raise RuntimeError(
            f"Expected input to have {N * C * HxW} elements, but got {input._array.size}"
        )
    shaped = input.reshape(N, C, HxW)
    result = _group_norm(shaped, group, weight, bias, eps).reshape(input._array.shape)
    rows = shaped.reshape(N, group, C // group * HxW)
    mean = rows.mean(2)
    offset = rows - mean.unsqueeze(2)
    return result, mean, ((offset * offset).mean(2) + eps).rsqrt()


# -- single channels -----------------------------------------------------------------------------


@composite("instance_norm")
def torch_instance_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, use_input_stats: bool, momentum: float, eps: float,
    cudnn_enabled: bool,
) -> Tensor:
    """`nn.functional.instance_norm` with its arguments in another order."""
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


# -- without a mean ------------------------------------------------------------------------------


@operator(
    hidden=True, upcast=True, kinds="fc", kernel="rms_norm", promote="result_type",
    aux=("inverse",), node="FusedRmsNormBackward0",
)
def normalize_by_rms(
    input: Tensor, weight: Tensor | None, elements: int, eps: float
) -> Tensor:
    result, inverse = kernel.normalize_rows_by_rms(
        input.reshape(math.prod(input.shape) // max(elements, 1), elements), eps
    )
    if weight is not None:
        result *= weight.reshape(-1)
    return result.reshape(input.shape), inverse


@normalize_by_rms.derivative("input", "weight")
def _(grad, input, weight, weight_shape, inverse, needs, elements, eps):
    shape = input._array.shape
    if not is_recording() and input._array.dtype.kind != "c":
        rows = kernel.widened(grad._array).reshape(-1, elements)
        normalized = kernel.widened(input._array).reshape(-1, elements) * inverse._array
        for_weight = None
        if needs[1]:
            for_weight = kernel.affine_gradients(rows, normalized)[0].reshape(weight_shape)
            for_weight = wrap(for_weight.astype(weight._array.dtype, copy=False))
        scaled = rows if weight is None else rows * weight._array.reshape(-1)
        for_input = kernel.rms_gradient(scaled, normalized, inverse._array).reshape(shape)
        return wrap(for_input.astype(input._array.dtype, copy=False)), for_weight
    rows = grad.reshape(-1, elements)
    scaled = rows if weight is None else rows * conj(weight).reshape(-1)
    wide = input.reshape(-1, elements)
    wide = wide.float() if wide.dtype.itemsize == 2 else wide
    inverse = ((wide * wide).mean(1, True) + eps).rsqrt()
    normalized = conj(wide * inverse)
    along = (scaled * normalized).mean(1, True)
    for_input = (scaled - normalized * along) * conj(inverse)
    for_weight = None
    if needs[1]:
        for_weight = (rows * normalized).sum(0).reshape(weight_shape)
    return for_input.reshape(shape).to(input.dtype), for_weight


@composite("nn.functional.rms_norm", aliases=("rms_norm",))
def rms_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    r"""Divides the last dimensions by their root mean square: :math:`x / \sqrt{\overline{x^2}} w`.

    Args:     normalized_shape: the sizes of those dimensions, also the shape of weight;  eps: is
        added to the mean square, default: the dtype's machine epsilon
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.rms_norm(torch.tensor([3., 4.]), (2,))
        tensor([0.8485, 1.1314])
    """
    shape = _read_normalized_shape("rms_norm", input, normalized_shape, weight, None)
    if input._array.dtype.kind in "biu":
        raise NotImplementedError(
            f"\"rms_norm\" not implemented for '{scalar_type_name(input.dtype)}'"
        )
    if eps is None:
        eps = float(np.finfo(kernel.widened(input._array[:0]).dtype).eps)
    return normalize_by_rms(input, weight, math.prod(shape), eps)


@composite("nn.functional.local_response_norm")
def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    r"""Divides by the mean square of `size` neighbouring channels: :math:`x / (k+\alpha m)^\beta`.

    Shape:    (N, C, *) → the same
    """
    from taper.ops.pad import constant_pad_nd
    from taper.ops.pooling import avg_pool2d

    shape = input._array.shape
    if len(shape) < 3:
        raise ValueError(
            "Expected 3D or higher dimensionality                          input (got "
            f"{len(shape)} dimensions)"
        )
    if not input._array.size:
        return input
    squares = (input * input).reshape(shape[0], 1, shape[1], -1)
    padded = constant_pad_nd(squares, (0, 0, size // 2, (size - 1) // 2))
    mean = avg_pool2d(padded, (size, 1), 1).reshape(shape)
    return input / (mean * alpha + k).pow(beta)
