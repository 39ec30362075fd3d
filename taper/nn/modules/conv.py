"""Convolutions and transposed convolutions in one, two and three dimensions, and lazy forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import taper
import taper.nn.functional as F
from taper import Tensor
from taper.nn import init
from taper.nn.modules.lazy import LazyModuleMixin
from taper.nn.modules.module import Module
from taper.nn.modules.utils import _ntuple, _reverse_repeat_tuple
from taper.nn.parameter import Parameter, UninitializedParameter

__all__ = [
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
    "LazyConv1d", "LazyConv2d", "LazyConv3d", "LazyConvTranspose1d", "LazyConvTranspose2d",
    "LazyConvTranspose3d",
]

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvNd(Module):
    """What all convolutions share. A subclass names the dimensions and the function."""

    __constants__ = [
        "stride", "padding", "dilation", "groups", "padding_mode", "output_padding", "in_channels",
        "out_channels", "kernel_size",
    ]
    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: str | tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int
    padding_mode: str
    weight: Tensor
    bias: Tensor | None

    _dimensions: int

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: tuple[int, ...],
        stride: tuple[int, ...], padding: str | tuple[int, ...], dilation: tuple[int, ...],
        transposed: bool, output_padding: tuple[int, ...], groups: int, bias: bool,
        padding_mode: str, device: Any = None, dtype: Any = None,
    ) -> None:
        super().__init__()
        _check(in_channels, out_channels, groups, padding, stride, padding_mode)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.transposed = transposed
        self.output_padding = output_padding
        self.groups = groups
        self.padding_mode = padding_mode
        #: The padding as F.pad wants it, for the modes that convolution itself doesn't know.
        self._reversed_padding_repeated_twice = (
            _padding_of_name(padding, kernel_size, dilation) if isinstance(padding, str)
            else _reverse_repeat_tuple(padding, 2)
        )
        outer, inner = (in_channels, out_channels) if transposed else (out_channels, in_channels)
        self.weight = Parameter(
            taper.empty((outer, inner // groups, *kernel_size), device=device, dtype=dtype)
        )
        if bias:
            self.bias = Parameter(taper.empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws weight and bias uniformly from ±1/√fan_in."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            if fan_in != 0:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        rank = len(self.kernel_size)
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        ]
        for name, default in (
            ("padding", (0,) * rank), ("dilation", (1,) * rank), ("output_padding", (0,) * rank),
            ("groups", 1),
        ):
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("padding_mode", "zeros")


def _check(
    in_channels: int, out_channels: int, groups: int, padding: Any, stride: tuple[int, ...],
    padding_mode: str,
) -> None:
    if groups <= 0:
        raise ValueError("groups must be a positive integer")
    if in_channels % groups != 0:
        raise ValueError("in_channels must be divisible by groups")
    if out_channels % groups != 0:
        raise ValueError("out_channels must be divisible by groups")
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(
                f"Invalid padding string {padding!r}, should be one of {{'valid', 'same'}}"
            )
        if padding == "same" and any(step != 1 for step in stride):
            raise ValueError("padding='same' is not supported for strided convolutions")
    if padding_mode not in _PADDING_MODES:
        known = ", ".join(repr(mode) for mode in _PADDING_MODES)
        raise ValueError(
            f"padding_mode must be one of {{{known}}}, but got padding_mode='{padding_mode}'"
        )


def _padding_of_name(
    padding: str, kernel_size: tuple[int, ...], dilation: tuple[int, ...]
) -> list[int]:
    """The padding called "same" or "valid", last dimension first, two numbers for each."""
    found = []
    for size, step in zip(reversed(kernel_size), reversed(dilation), strict=True):
        total = step * (size - 1) if padding == "same" else 0
        found += [total // 2, total - total // 2]
    return found


class _PlainConv(_ConvNd):
    """Constructor and forward of Conv1d, Conv2d and Conv3d."""

    _convolve: Callable[..., Tensor]

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1, padding: str | int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1, groups: int = 1, bias: bool = True,
        padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:
        rank = self._dimensions
        repeat = _ntuple(rank)
        super().__init__(
            in_channels, out_channels, repeat(kernel_size), repeat(stride),
            padding if isinstance(padding, str) else repeat(padding), repeat(dilation), False,
            (0,) * rank, groups, bias, padding_mode, device, dtype,
        )

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = (0,) * self._dimensions
        return type(self)._convolve(
            input, weight, bias, self.stride, padding, self.dilation, self.groups
        )

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias)


class Conv1d(_PlainConv):
    r"""Slides a kernel over (N, C, L): :math:`y_j = b_j + \sum_i w_{ji} \star x_i` per channel.

    (⋆ is cross-correlation.) Weight and bias start uniform in ±1/√(in_channels/groups · kernel).

    Args:
        in_channels (int): channels of the input.
        out_channels (int): channels of the output.
        kernel_size (int or tuple): size of the kernel.
        stride (int or tuple): step of the kernel. Default 1.
        padding (int, tuple or str): values added on both sides, or ``"same"`` or ``"valid"``.
        dilation (int or tuple): distance between the kernel's elements. Default 1.
        groups (int): how many independent parts the channels are divided into. Default 1.
        bias (bool): whether to add b. Default True.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.

    Shape: (N, in_channels, L) or (in_channels, L) → (N, out_channels, L'), with
        L' = ⌊(L + 2·padding - dilation·(kernel_size - 1) - 1) / stride + 1⌋.

    Example:
        >>> import taper as torch
        >>> torch.nn.Conv1d(16, 33, 3, stride=2)(torch.randn(20, 16, 50)).shape
        torch.Size([20, 33, 24])
    """

    _dimensions = 1

    @staticmethod
    def _convolve(*args: Any) -> Tensor:
        return F.conv1d(*args)


class Conv2d(_PlainConv):
    """Slides a kernel over (N, C, H, W) or (C, H, W); arguments as Conv1d.

    Example:
        >>> import taper as torch
        >>> torch.nn.Conv2d(3, 8, 3, padding=1)(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 8, 32, 32])
    """

    _dimensions = 2

    @staticmethod
    def _convolve(*args: Any) -> Tensor:
        return F.conv2d(*args)


class Conv3d(_PlainConv):
    """Slides a kernel over (N, C, D, H, W) or (C, D, H, W); arguments as Conv1d."""

    _dimensions = 3

    @staticmethod
    def _convolve(*args: Any) -> Tensor:
        return F.conv3d(*args)


class _ConvTransposeNd(_ConvNd):
    """Constructor and forward of the transposed convolutions."""

    _convolve: Callable[..., Tensor]

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1, padding: int | tuple[int, ...] = 0,
        output_padding: int | tuple[int, ...] = 0, groups: int = 1, bias: bool = True,
        dilation: int | tuple[int, ...] = 1, padding_mode: str = "zeros", device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(
                f'Only "zeros" padding mode is supported for {type(self).__name__}'
            )
        repeat = _ntuple(self._dimensions)
        super().__init__(
            in_channels, out_channels, repeat(kernel_size), repeat(stride), repeat(padding),
            repeat(dilation), True, repeat(output_padding), groups, bias, padding_mode, device,
            dtype,
        )

    def _output_padding(self, input: Tensor, output_size: Any) -> tuple[int, ...]:
        """The `output_padding` that gives `output_size`, which strides leave open."""
        if output_size is None:
            return self.output_padding
        rank = self._dimensions
        batch_dims = input.dim() - rank
        if len(output_size) == batch_dims + rank:
            output_size = output_size[batch_dims:]
        if len(output_size) != rank:
            raise ValueError(
                f"ConvTranspose{rank}D: for {input.dim()}D input, output_size must have {rank} or "
                f"{batch_dims + rank} elements (got {len(output_size)})"
            )
        smallest = [
            (input.size(d + batch_dims) - 1) * self.stride[d] - 2 * self.padding[d]
            + self.dilation[d] * (self.kernel_size[d] - 1) + 1
            for d in range(rank)
        ]
        largest = [size + step - 1 for size, step in zip(smallest, self.stride, strict=True)]
        for size, low, high in zip(output_size, smallest, largest, strict=True):
            if not low <= size <= high:
                raise ValueError(
                    f"requested an output size of {output_size}, but valid sizes range from "
                    f"{smallest} to {largest} (for an input of {input.size()[2:]})"
                )
        return tuple(size - low for size, low in zip(output_size, smallest, strict=True))

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        return type(self)._convolve(
            input, self.weight, self.bias, self.stride, self.padding,
            self._output_padding(input, output_size), self.groups, self.dilation,
        )


class ConvTranspose1d(_ConvTransposeNd):
    """The gradient of Conv1d as a layer: it turns (N, in_channels, L) into a longer signal.

    Args:
        output_padding (int or tuple): added to one side of the output's shape, as several lengths
            of input give the same output length of the convolution. Default 0.
        in_channels, out_channels, kernel_size, stride, padding, groups, bias, dilation: as Conv1d.

    Shape: (N, in_channels, L) → (N, out_channels, L'), with
        L' = (L - 1)·stride - 2·padding + dilation·(kernel_size - 1) + output_padding + 1.
    """

    _dimensions = 1

    @staticmethod
    def _convolve(*args: Any) -> Tensor:
        return F.conv_transpose1d(*args)


class ConvTranspose2d(_ConvTransposeNd):
    """The gradient of Conv2d as a layer, for (N, C, H, W); arguments as ConvTranspose1d."""

    _dimensions = 2

    @staticmethod
    def _convolve(*args: Any) -> Tensor:
        return F.conv_transpose2d(*args)


class ConvTranspose3d(_ConvTransposeNd):
    """The gradient of Conv3d as a layer, for (N, C, D, H, W); arguments as ConvTranspose1d."""

    _dimensions = 3

    @staticmethod
    def _convolve(*args: Any) -> Tensor:
        return F.conv_transpose3d(*args)


class _LazyConvXdMixin(LazyModuleMixin):
    """A convolution that takes `in_channels` from its first input."""

    in_channels: int
    out_channels: int
    groups: int
    kernel_size: tuple[int, ...]
    transposed: bool
    weight: UninitializedParameter
    bias: UninitializedParameter | None
    _dimensions: int

    def _wait_for_shape(
        self: Any, out_channels: int, bias: bool, device: Any, dtype: Any
    ) -> None:
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.out_channels = out_channels
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def reset_parameters(self: Any) -> None:
        if not self.has_uninitialized_params() and self.in_channels != 0:
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self: Any, input: Tensor, *args: Any, **kwargs: Any) -> None:
        if not self.has_uninitialized_params():
            return
        self.in_channels = self._get_in_channels(input)
        if self.in_channels % self.groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        outer, inner = self.out_channels, self.in_channels
        if self.transposed:
            outer, inner = inner, outer
        self.weight.materialize((outer, inner // self.groups, *self.kernel_size))
        if self.bias is not None:
            self.bias.materialize((self.out_channels,))
        self.reset_parameters()

    def _get_num_spatial_dims(self) -> int:
        return self._dimensions

    def _get_in_channels(self, input: Tensor) -> int:
        rank = self._dimensions
        if input.dim() not in (rank + 1, rank + 2):
            raise RuntimeError(
                f"Expected {rank + 1}D (unbatched) or {rank + 2}D (batched) input to "
                f"{type(self).__name__}, but got input of size: {input.shape}"
            )
        return input.shape[1] if input.dim() == rank + 2 else input.shape[0]


class _LazyPlainConv(_LazyConvXdMixin):
    def __init__(
        self, out_channels: int, kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1, padding: int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1, groups: int = 1, bias: bool = True,
        padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:
        super().__init__(
            0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode, device, dtype
        )
        self._wait_for_shape(out_channels, bias, device, dtype)


class _LazyConvTransposeNd(_LazyConvXdMixin):
    def __init__(
        self, out_channels: int, kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1, padding: int | tuple[int, ...] = 0,
        output_padding: int | tuple[int, ...] = 0, groups: int = 1, bias: bool = True,
        dilation: int | tuple[int, ...] = 1, padding_mode: str = "zeros", device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            0, 0, kernel_size, stride, padding, output_padding, groups, False, dilation,
            padding_mode, device, dtype,
        )
        self._wait_for_shape(out_channels, bias, device, dtype)


class LazyConv1d(_LazyPlainConv, Conv1d):
    """A Conv1d that takes `in_channels` from its first input."""

    cls_to_become = Conv1d


class LazyConv2d(_LazyPlainConv, Conv2d):
    """A Conv2d that takes `in_channels` from its first input."""

    cls_to_become = Conv2d


class LazyConv3d(_LazyPlainConv, Conv3d):
    """A Conv3d that takes `in_channels` from its first input."""

    cls_to_become = Conv3d


class LazyConvTranspose1d(_LazyConvTransposeNd, ConvTranspose1d):
    """A ConvTranspose1d that takes `in_channels` from its first input."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyConvTransposeNd, ConvTranspose2d):
    """A ConvTranspose2d that takes `in_channels` from its first input."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyConvTransposeNd, ConvTranspose3d):
    """A ConvTranspose3d that takes `in_channels` from its first input."""

    cls_to_become = ConvTranspose3d
