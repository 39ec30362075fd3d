"""Convolutions: conv1d, conv2d, conv3d and their transposes, all one operator, `convolution`.

The arithmetic is in kernels/convolution.py; windows as a tensor of their own are in fold.py.
"""

from __future__ import annotations

import operator as operators
import warnings
from functools import lru_cache
from typing import Any

from taper.core.dtype import from_numpy_dtype
from taper.core.promotion import cpp_type_name, scalar_type_name
from taper.core.tensor import Tensor
from taper.kernels import convolution as kernel
from taper.ops.arithmetic import conj
from taper.ops.declare import composite, operator
from taper.ops.pad import constant_pad_nd

Ints = tuple[int, ...]


def spread(function: str, name: str, value: Any, count: int) -> Ints:
    """An int, or a sequence of one or more, as a tuple with one int per dimension."""
    if type(value) is int:
        return (value,) * count
    if type(value) is tuple and len(value) == count and all([type(v) is int for v in value]):
        return value
    if not isinstance(value, (tuple, list)):
        try:
            return (operators.index(value),) * count
        except TypeError:
            raise TypeError(
                f"{function}(): argument '{name}' must be tuple of ints, not {type(value).__name__}"
            ) from None
    result = []
    for position, item in enumerate(value):
        try:
            result.append(operators.index(item))
        except TypeError:
            raise TypeError(
                f"{function}(): argument '{name}' failed to unpack the object at pos "
                f"{position + 1} with error \"type must be tuple of ints,but got "
                f"{type(item).__name__}\""
            ) from None
    return tuple(result * count if len(result) == 1 else result)


def _check_dtypes(bound: dict[str, Any]) -> None:
    input, weight, bias = bound["input"], bound["weight"], bound.get("bias")
    a, b = input._array.dtype, weight._array.dtype
    if a == b:
        if bias is not None and bias._array.dtype != a:
            raise RuntimeError(
                f"Input type ({cpp_type_name(input.dtype)}) and bias type "
                f"({cpp_type_name(bias.dtype)}) "
                "should be the same"
            )
        return
    if a.kind == "c" or b.kind == "c":
        raise RuntimeError(
            f"Input type ({cpp_type_name(input.dtype)}) and weight type "
            f"({cpp_type_name(weight.dtype)}) should be the same"
        )
    names = [scalar_type_name(from_numpy_dtype(d)) for d in (a, b)]
    raise RuntimeError(f"expected scalar type {names[0]} but found {names[1]}")


def _check_ints(spec: dict[str, Any], count: int) -> None:
    """Raises what is wrong with stride, padding, dilation, output_padding or groups."""
    for name, value in spec.items():
        if name == "groups":
            continue
        if len(value) != count:
            raise RuntimeError(
                f"expected {name} to be a single integer value or a list of {count} values to "
                f"match the convolution dimensions, but got {name}={list(value)}"
            )
    for name in ("padding", "output_padding"):
        if min(spec[name], default=0) < 0:
            raise RuntimeError(f"negative {name} is not supported")
    for name in ("stride", "dilation"):
        if name == "dilation" and min(spec[name], default=1) < 0:
            raise RuntimeError("dilation should be greater than zero")
        if min(spec[name], default=1) <= 0:
            raise RuntimeError(f"non-positive {name} is not supported")
    if spec["groups"] <= 0:
        raise RuntimeError("non-positive groups is not supported")


def _check_shapes(
    input: Ints, weight: Ints, bias: Any, spec: dict[str, Any], transposed: bool
) -> None:
    """Raises what is wrong with the shapes, in PyTorch's words and order."""
    count = len(weight) - 2
    if count < 1:
        raise RuntimeError("weight should have at least three dimensions")
    if len(input) != len(weight):
        raise RuntimeError(
            f"Expected {len(weight)}-dimensional input for {len(weight)}-dimensional weight "
            f"{list(weight)}, but got {len(input)}-dimensional input of size {list(input)} instead"
        )
    _check_ints(spec, count)
    groups = spec["groups"]
    if weight[0] < groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, but "
            f"got weight of size {list(weight)} instead"
        )
    if weight[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, "
            f"but got weight of size [{list(weight)}] instead"
        )
    given = "transposed=1" if transposed else f"groups={groups}"
    expected = weight[0] if transposed else weight[1] * groups
    if input[1] != expected:
        raise RuntimeError(
            f"Given {given}, weight of size {list(weight)}, expected input{list(input)} to have "
            f"{expected} channels, but got {input[1]} channels instead"
        )
    filters = weight[1] * groups if transposed else weight[0]
    if bias is not None and bias != (filters,):
        raise RuntimeError(
            ("Given transposed=1, weight" if transposed else "Given weight")
            + f" of size {list(weight)}, expected bias to be 1-dimensional with {filters} elements,"
            f" but got bias of size {list(bias)} instead"
        )
    if transposed:
        _check_output_padding(spec)
        return
    padded = [n + 2 * p for n, p in zip(input[2:], spec["padding"], strict=True)]
    reach = [d * (k - 1) + 1 for k, d in zip(weight[2:], spec["dilation"], strict=True)]
    if any(a < b for a, b in zip(padded, reach, strict=True)):
        raise RuntimeError(
            "Calculated padded input size per channel: "
            f"({' x '.join(map(str, padded))}). Kernel size: ({' x '.join(map(str, reach))}). "
            "Kernel size can't be greater than actual input size"
        )
    if min(weight[2:]) > 0 and 0 in input[2:]:
        raise RuntimeError(
            "Only zero batch or zero channel inputs are supported, but got input shape: "
            f"{list(input)}"
        )


def _check_output_padding(spec: dict[str, Any]) -> None:
    extra, stride, dilation = spec["output_padding"], spec["stride"], spec["dilation"]
    if all(e < s or e < d for e, s, d in zip(extra, stride, dilation, strict=True)):
        return
    axes = ("depth", "height", "width")[-len(extra) :]
    parts = [
        f"{name}_{axis}: {value}"
        for name, values in (("output_padding", extra), ("stride", stride), ("dilation", dilation))
        for axis, value in zip(axes, values, strict=False)
    ]
    raise RuntimeError(
        "output padding must be smaller than either stride or dilation, but got "
        + " ".join(parts)
    )


def _plan(
    input: Ints, weight: Ints, bias: Any, stride: Any, padding: Any, dilation: Any,
    transposed: bool, output_padding: Any, groups: int,
) -> tuple[Any, ...]:
    """stride, padding and dilation as tuples, and the result's sizes if transposed; all checked."""
    count = len(weight) - 2
    name = f"conv{'_transpose' if transposed else ''}{count}d"
    spec: dict[str, Any] = {
        "stride": spread(name, "stride", stride, count),
        "padding": spread(name, "padding", padding, count),
        "dilation": spread(name, "dilation", dilation, count),
        "output_padding": spread(name, "output_padding", output_padding, count),
        "groups": groups,
    }
    _check_shapes(input, weight, bias, spec, transposed)
    numbers = (spec["stride"], spec["padding"], spec["dilation"])
    if not transposed:
        return (*numbers, None)
    size = kernel.transposed_size(input[2:], weight[2:], *numbers, spec["output_padding"])
    if min(size) <= 0:
        raise RuntimeError(
            f"Given input size per channel: ({' x '.join(map(str, input[2:]))}). Calculated output "
            f"size per channel: ({' x '.join(map(str, size))}). Output size is too small"
        )
    return (*numbers, size)


_kept_plan = lru_cache(maxsize=512, typed=True)(_plan)


@operator(upcast=True, check=_check_dtypes, kinds="ifc", kernel="slow_conv2d_cpu")
def convolution(
    input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any,
    transposed: bool, output_padding: Any, groups: int,
) -> Tensor:
    """Convolves a batch in as many dimensions as `weight` has, or does the transpose of that.

    Args:     bias: (filters,) or None;  all other ints: one per dimension of space
    Shape:    input (N, C, *), weight (F, C / groups, *kernel) → (N, F, *); transposed: weight
        (C, F / groups, *kernel)
    Example:
        >>> import taper as torch
        >>> x, w = torch.tensor([[[1., 2., 3.]]]), torch.tensor([[[1., 1.]]])
        >>> torch.convolution(x, w, None, [1], [0], [1], False, [0], 1)
        tensor([[[3., 5.]]])
    """
    bias_shape = None if bias is None else bias.shape
    numbers = (stride, padding, dilation, transposed, output_padding, groups)
    try:
        *numbers, size = _kept_plan(input.shape, weight.shape, bias_shape, *numbers)
    except TypeError:  # lists are not hashable
        *numbers, size = _plan(input.shape, weight.shape, bias_shape, *numbers)
    if transposed:
        return kernel.input_gradient(input, weight, size, *numbers, groups, bias)
    return kernel.convolve(input, weight, *numbers, groups, bias)


@convolution.derivative("input", "weight", "bias")
def _(grad, input, weight, input_shape, weight_shape, needs, stride, padding, dilation, transposed,
      groups):
    count = len(weight_shape) - 2
    stride, padding, dilation = (
        spread("convolution", "", v, count) for v in (stride, padding, dilation)
    )
    for_input = for_weight = for_bias = None
    if needs[0]:
        if transposed:
            for_input = convolution(
                grad, conj(weight), None, stride, padding, dilation, False, (0,) * count, groups
            )
            for_input = _cropped(for_input, input_shape)
        else:
            for_input = input_gradient(
                grad, conj(weight), input_shape, stride, padding, dilation, groups
            )
    if needs[1]:
        kernel_size = tuple(weight_shape[2:])
        first, second = (conj(input), grad) if transposed else (grad, conj(input))
        for_weight = weight_gradient(
            first, second, kernel_size, stride, padding, dilation, groups
        )
    if needs[2]:
        for_bias = grad.sum((0, *range(2, count + 2)))
    return for_input, for_weight, for_bias


def input_gradient(
    grad: Tensor, weight: Tensor, shape: Ints, stride: Ints, padding: Ints, dilation: Ints,
    groups: int,
) -> Tensor:
    """The gradient of a convolution's input: the transposed convolution of that size."""
    least = kernel.transposed_size(
        grad._array.shape[2:], weight._array.shape[2:], stride, padding, dilation,
        (0,) * len(stride),
    )
    extra = tuple([n - m for n, m in zip(shape[2:], least, strict=True)])
    return convolution(
        grad, weight, None, stride, padding, dilation, True, extra, groups
    )


@operator(hidden=True, upcast=True, node="ConvolutionBackwardBackward0")
def weight_gradient(
    output_grad: Tensor, input: Tensor, kernel_size: Any, stride: Any, padding: Any,
    dilation: Any, groups: int,
) -> Tensor:
    return kernel.weight_gradient(
        output_grad, input, kernel_size, stride, padding, dilation, groups
    )


@weight_gradient.derivative("output_grad")
def _(grad, input, output_grad_shape, stride, padding, dilation, groups):
    result = convolution(
        conj(input), grad, None, stride, padding, dilation, False, (0,) * len(stride), groups
    )
    return _cropped(result, output_grad_shape)


@weight_gradient.derivative("input")
def _(grad, output_grad, input_shape, stride, padding, dilation, groups):
    return input_gradient(
        conj(output_grad), grad, input_shape, stride, padding, dilation, groups
    )


def _cropped(result: Tensor, shape: Ints) -> Tensor:
    """Leaves away windows that begin where only output_padding reaches."""
    for dim, size in enumerate(shape[2:], 2):
        if result._array.shape[dim] != size:
            result = result.narrow(dim, 0, size)
    return result


# -- by the number of dimensions -------------------------------------------------------------------


def _convolve(
    function: str, count: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any,
    padding: Any, dilation: Any, groups: int,
) -> Tensor:
    if not isinstance(input, Tensor) or not isinstance(weight, Tensor):
        # The operator names what is missing.
        return convolution(input, weight, bias, 1, 0, 1, False, 0, 1)
    ndim = input._array.ndim
    if ndim != count + 2:
        if ndim != count + 1:
            raise _input_error(function, count, input)
        return _convolve(
            function, count, input.unsqueeze(0), weight, bias, stride, padding, dilation, groups
        ).squeeze(0)
    stride = spread(function, "stride", stride, count)
    dilation = spread(function, "dilation", dilation, count)
    if type(padding) is str:
        input, padding = _padded_by_name(input, weight, stride, padding, dilation)
    else:
        padding = spread(function, "padding", padding, count)
    return convolution(
        input, weight, bias, stride, padding, dilation, False, (0,) * count, groups
    )


def _input_error(function: str, count: int, input: Tensor) -> RuntimeError:
    return RuntimeError(
        f"Expected {count + 1}D (unbatched) or {count + 2}D (batched) input to {function}, but got "
        f"input of size: {list(input._array.shape)}"
    )


def _padded_by_name(
    input: Tensor, weight: Tensor, stride: Ints, padding: str, dilation: Ints
) -> tuple[Tensor, Ints]:
    """The padding that "valid" or "same" stands for, and the input, padded by one where an odd
    number of zeros can't be shared out evenly."""
    count = len(stride)
    if padding == "valid":
        return input, (0,) * count
    if padding != "same":
        raise RuntimeError(f"Invalid padding string: '{padding}'")
    if max(stride) > 1:
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    if weight._array.ndim != count + 2:
        return input, (0,) * count  # the operator says what is wrong
    total = [d * (k - 1) for d, k in zip(dilation, weight._array.shape[2:], strict=True)]
    if any(t % 2 for t in total):
        warnings.warn(
            "Using padding='same' with even kernel lengths and odd dilation may require a "
            "zero-padded copy of the input be created",
            UserWarning, stacklevel=5,
        )
        input = constant_pad_nd(input, [n for t in reversed(total) for n in (0, t % 2)])
    return input, tuple([t // 2 for t in total])


@composite("nn.functional.conv1d", aliases=("conv1d",))
def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Tensor:
    """Slides filters over sequences: each output is a weighted sum of a window of the input.

    Args:     padding: zeros at both ends, or "valid" (none), or "same" (as many as keep the
        length);  dilation: the distance of a window's elements;  groups: the channels are split
        into so many groups that know nothing of each other
    Shape:    input (N, C, L) or (C, L), weight (F, C / groups, K), bias (F) → (N, F, L') with
        :math:`L' = \\lfloor (L + 2 p - d (K - 1) - 1) / s \\rfloor + 1`
    Raises:   RuntimeError: if shapes or dtypes don't fit.
    Example:
        >>> import taper as torch
        >>> torch.conv1d(torch.tensor([[1., 2., 4.]]), torch.tensor([[[1., 1.]]]))
        tensor([[3., 6.]])
    """
    return _convolve("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


@composite("nn.functional.conv2d", aliases=("conv2d",))
def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Tensor:
    """Slides filters over images; `conv1d` explains the arguments, here ints or pairs of them.

    Shape:    input (N, C, H, W) or (C, H, W), weight (F, C / groups, KH, KW), bias (F) →
        (N, F, H', W')
    Example:
        >>> import taper as torch
        >>> torch.conv2d(torch.ones(1, 3, 3), torch.ones(1, 1, 2, 2), stride=2)
        tensor([[[4.]]])
    """
    return _convolve("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


@composite("nn.functional.conv3d", aliases=("conv3d",))
def conv3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Tensor:
    """Slides filters over volumes; `conv1d` explains the arguments, here ints or triples of them.

    Shape:    input (N, C, D, H, W) or (C, D, H, W), weight (F, C / groups, KD, KH, KW)
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.conv3d(torch.ones(1, 2, 2, 2), torch.ones(1, 1, 2, 2, 2)).item()
        8.0
    """
    return _convolve("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def _transpose(
    function: str, count: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any,
    padding: Any, output_padding: Any, groups: int, dilation: Any,
) -> Tensor:
    if not isinstance(input, Tensor) or not isinstance(weight, Tensor):
        return convolution(input, weight, bias, 1, 0, 1, True, 0, 1)
    ndim = input._array.ndim
    if ndim != count + 2:
        if ndim != count + 1:
            raise _input_error(function, count, input)
        return _transpose(
            function, count, input.unsqueeze(0), weight, bias, stride, padding, output_padding,
            groups, dilation,
        ).squeeze(0)
    return convolution(
        input, weight, bias, stride, padding, dilation, True, output_padding, groups
    )


@composite("nn.functional.conv_transpose1d", aliases=("conv_transpose1d",))
def conv_transpose1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:
    """The transpose of `conv1d`: each input element adds its multiple of the filter to a window.

    It is what `conv1d` does to gradients, and used to make sequences longer.
    Args:     padding: cuts this much off both ends;  output_padding: adds to one end
    Shape:    input (N, C, L) or (C, L), weight (C, F / groups, K) → (N, F, L') with
        :math:`L' = (L - 1) s - 2 p + d (K - 1) + e + 1`
    Example:
        >>> import taper as torch
        >>> torch.conv_transpose1d(torch.tensor([[1., 2.]]), torch.tensor([[[1., 1.]]]))
        tensor([[1., 3., 2.]])
    """
    return _transpose(
        "conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups,
        dilation,
    )


@composite("nn.functional.conv_transpose2d", aliases=("conv_transpose2d",))
def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:
    """The transpose of `conv2d`; `conv_transpose1d` explains the arguments.

    Shape:    input (N, C, H, W) or (C, H, W), weight (C, F / groups, KH, KW)
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.conv_transpose2d(torch.tensor([[[2.]]]), torch.ones(1, 1, 2, 2))
        tensor([[[2., 2.],
                 [2., 2.]]])
    """
    return _transpose(
        "conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups,
        dilation,
    )


@composite("nn.functional.conv_transpose3d", aliases=("conv_transpose3d",))
def conv_transpose3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:
    """The transpose of `conv3d`; `conv_transpose1d` explains the arguments.

    Shape:    input (N, C, D, H, W) or (C, D, H, W), weight (C, F / groups, KD, KH, KW)
    Example:
        >>> import taper as torch
        >>> x, weight = torch.ones(1, 1, 1, 1), torch.ones(1, 1, 2, 2, 2)
        >>> torch.nn.functional.conv_transpose3d(x, weight).shape
        torch.Size([1, 2, 2, 2])
    """
    return _transpose(
        "conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups,
        dilation,
    )


@operator("conv_tbc", aliases=("nn.functional.conv_tbc",), upcast=True)
def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """Slides filters over sequences laid out (time, batch, channels).

    Shape:    input (T, N, C), weight (K, C, F), bias (F) → (T + 2 pad - K + 1, N, F)
    Example:
        >>> import taper as torch
        >>> x = torch.tensor([1., 2., 3.]).view(3, 1, 1)
        >>> torch.conv_tbc(x, torch.ones(2, 1, 1), torch.zeros(1)).flatten()
        tensor([3., 5.])
    """
    if input.ndim != 3:
        raise RuntimeError("Input must have 3 dims: time, batch, in_channel")
    if weight.ndim != 3:
        raise RuntimeError(
            "Weight tensor must have 3 dims: kernel_width, in_channels, out_channels."
        )
    if bias.ndim != 1:
        raise RuntimeError("Bias must be 1-D")
    if input.shape[2] != weight.shape[1]:
        raise RuntimeError("Input dim 2 (input channels) is not == dim 1 in the weight tensor")
    if weight.shape[2] != bias.shape[0]:
        raise RuntimeError("Bias size must equal dim 2 in the weight tensor (output channels).")
    if input.shape[0] + 2 * pad < weight.shape[0]:
        raise RuntimeError("Negative dilation not supported")
    result = kernel.convolve(
        input.transpose(1, 2, 0), weight.transpose(2, 1, 0), (1,), (pad,), (1,), 1
    )
    result += bias.reshape(-1, 1)
    return result.transpose(2, 0, 1).copy()


@conv_tbc.derivative("input", "weight", "bias")
def _(grad, input, weight, input_shape, weight_shape, needs, pad):
    numbers = ((1,), (pad,), (1,), 1)
    grad_ncl = grad.permute(1, 2, 0)
    for_input = for_weight = for_bias = None
    if needs[0]:
        time, batch, channels = input_shape
        for_input = input_gradient(
            grad_ncl, conj(weight.permute(2, 1, 0)), (batch, channels, time), *numbers
        ).permute(2, 0, 1)
    if needs[1]:
        for_weight = weight_gradient(
            grad_ncl, conj(input.permute(1, 2, 0)), (weight_shape[0],), *numbers
        ).permute(2, 1, 0)
    if needs[2]:
        for_bias = grad.sum((0, 1))
    return for_input, for_weight, for_bias
