"""Normalization within an item of the batch: layer_norm, group_norm, rms_norm, local_response_norm.

Derivatives have two forms: arithmetic on arrays (kernels/normalization.py) where nobody will
differentiate them again, a formula on Tensors where the tape is on. Channels by themselves are in
batch_normalization.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.core.promotion import scalar_type_name
from taper.core.state import is_differentiated
from taper.core.tensor import Tensor, wrap
from taper.kernels import normalization as kernel
from taper.kernels.memory_order import in_rows
from taper.ops.arithmetic import conj
from taper.ops.declare import composite, operator
from taper.ops.pad import constant_pad_nd
from taper.ops.pooling import avg_pool2d

Ints = tuple[int, ...]


def check_dtypes(bound: dict[str, Any]) -> None:
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


def _flat(parameter: Any) -> Any:
    return None if parameter is None else parameter.reshape(-1)


def centered_gradient(
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


# -- rows ------------------------------------------------------------------------------------------


@operator(
    hidden=True, upcast=True, kinds="f", kernel="LayerNormKernelImpl", check=check_dtypes,
    aux=("mean", "inverse"), node="NativeLayerNormBackward0",
)
def normalize_layer(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, elements: int, eps: float
) -> Tensor:
    rows = input.reshape(-1, elements) if elements else input.reshape(math.prod(input.shape), 0)
    result, mean, inverse = kernel.normalize_layer(rows, _flat(weight), _flat(bias), eps)
    return in_rows(result.reshape(input.shape)), mean, inverse


@normalize_layer.derivative("input", "weight", "bias")
def _(grad, input, weight, weight_shape, bias_shape, mean, inverse, needs, elements, eps):
    shape = input._array.shape
    if not elements:
        return tuple([None if n is None else grad.new_zeros(n) for n in (
            shape, weight_shape, bias_shape)])
    if not is_differentiated():
        for_input, for_weight, for_bias = kernel.layer_gradient(
            grad._array.reshape(-1, elements), input._array.reshape(-1, elements), mean._array,
            inverse._array, None if weight is None else _flat(weight._array),
            needs[1] or needs[2],
        )
        if for_weight is not None:
            kind = grad._array.dtype if weight is None else weight._array.dtype
            for_weight = wrap(for_weight.reshape(weight_shape or bias_shape).astype(kind))
            for_bias = wrap(for_bias.reshape(weight_shape or bias_shape).astype(kind))
        return wrap(for_input.reshape(shape)), for_weight, for_bias
    rows = grad.reshape(-1, elements)
    scaled = rows if weight is None else rows * weight.reshape(-1)
    normalized, for_input = centered_gradient(scaled, input.reshape(-1, elements), (1,), eps)
    kind = grad.dtype if weight is None else weight.dtype
    for_weight = (rows * normalized).sum(0).reshape(weight_shape).to(kind) if needs[1] else None
    for_bias = rows.sum(0).reshape(bias_shape).to(kind) if needs[2] else None
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
    Shape:    (*, *normalized_shape) → the same
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
    """`nn.functional.layer_norm`.

    Shape:    (*, *normalized_shape) → the same
    Example:
        >>> import taper as torch
        >>> torch.layer_norm(torch.tensor([[1., 3.]]), (2,))
        tensor([[-1.0000,  1.0000]])
    """
    return layer_norm(input, normalized_shape, weight, bias, eps)


@composite("native_layer_norm", out=True)
def native_layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`layer_norm`, with the means and 1 / sqrt(variance + eps).

    Example:
        >>> import taper as torch
        >>> torch.native_layer_norm(torch.tensor([[1., 3.]]), (2,), None, None, 1e-5)[1]
        tensor([[2.]])
    """
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
    hidden=True, upcast=True, kinds="f", kernel="GroupNormKernelImpl", check=check_dtypes,
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
    if not is_differentiated():
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
    normalized, for_input = centered_gradient(
        scaled.reshape(rows), input.reshape(rows), (1,), eps
    )
    kind = grad.dtype if weight is None else weight.dtype
    for_weight = (wide * normalized.reshape(flat)).sum((0, 2)).to(kind) if needs[1] else None
    for_bias = wide.sum((0, 2)).to(kind) if needs[2] else None
    return for_input.reshape(shape).to(input.dtype), for_weight, for_bias


@composite("nn.functional.group_norm")
def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalizes groups of neighbouring channels, each element of the batch on its own.

    Shape:    input (N, C, *), weight and bias (C) → (N, C, *)
    Source:   Wu and He, Group Normalization, 2018.
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
    """`nn.functional.group_norm`.

    Shape:    (N, C, *) → the same
    Example:
        >>> import taper as torch
        >>> torch.group_norm(torch.tensor([[[1.], [3.]]]), 1)
        tensor([[[-1.0000],
                 [ 1.0000]]])
    """
    return _group_norm(input, num_groups, weight, bias, eps)


@composite("native_group_norm")
def native_group_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, N: int, C: int, HxW: int,
    group: int, eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """`group_norm`, with the means and 1 / sqrt(variance + eps).

    Example:
        >>> import taper as torch
        >>> x = torch.tensor([[[1.], [3.]]])
        >>> torch.native_group_norm(x, None, None, 1, 2, 1, 1, 1e-5)[1]
        tensor([[2.]])
    """
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


# -- without a mean ------------------------------------------------------------------------------


@operator(
    hidden=True, upcast=True, kinds="fc", kernel="rms_norm", promote="result_type",
    aux=("inverse",), node="FusedRmsNormBackward0",
)
def normalize_by_rms(
    input: Tensor, weight: Tensor | None, elements: int, eps: float
) -> Tensor:
    rows = input.reshape(math.prod(input.shape) // max(elements, 1), elements)
    result, inverse = kernel.normalize_layer_by_rms(rows, _flat(weight), eps)
    return in_rows(result.reshape(input.shape)), inverse


@normalize_by_rms.derivative("input", "weight")
def _(grad, input, weight, weight_shape, inverse, needs, elements, eps):
    shape = input._array.shape
    if not is_differentiated() and input._array.dtype.kind != "c":
        for_input, for_weight = kernel.rms_layer_gradient(
            grad._array.reshape(-1, elements), input._array.reshape(-1, elements), inverse._array,
            None if weight is None else _flat(weight._array), needs[1],
        )
        if for_weight is not None:
            for_weight = for_weight.reshape(weight_shape).astype(weight._array.dtype, copy=False)
            for_weight = wrap(for_weight)
        return wrap(for_input.reshape(shape)), for_weight
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
    Shape:    (*, *normalized_shape) → the same
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
    Source:   Krizhevsky, Sutskever and Hinton, ImageNet Classification, 2012.
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.local_response_norm(torch.ones(1, 2, 1), 2, alpha=1.)
        tensor([[[0.7378],
                 [0.5946]]])
    """
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
