"""Windows of images as columns: nn.functional.unfold, and its adjoint fold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.core.errors import dim_error
from taper.core.tensor import Tensor
from taper.kernels.convolution import output_size, positions, reached, sliding, zero_padded
from taper.ops.convolution import spread
from taper.ops.declare import composite, operator

Ints = tuple[int, ...]


def _read(kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> list[Ints]:
    """The numbers of a call as pairs, checked: kernel_size, stride, padding, dilation."""
    found = []
    for name, value, word, short in (
        ("kernel_size", kernel_size, "kernel size", "kernel"),
        ("stride", stride, "stride", "stride"), ("padding", padding, "padding", "pad"),
        ("dilation", dilation, "dilation", "dilation"),
    ):
        pair = spread("unfold", name, value, 2)
        if len(pair) != 2:
            raise RuntimeError(f"It is expected {name} equals to 2, but got size {len(pair)}")
        found.append(pair)
        if name == "padding" and min(pair) < 0:
            raise RuntimeError(
                f"padding should be non-negative, but got pad_height: {pair[0]} pad_width: "
                f"{pair[1]}"
            )
        if name != "padding" and min(pair) <= 0:
            raise RuntimeError(
                f"{word} should be greater than zero, but got {short}_height: {pair[0]} "
                f"{short}_width: {pair[1]}"
            )
    return found


@operator("_im2col", hidden=True, node="Im2ColBackward0", kinds="bfc", kernel="im2col_out_cpu")
def columns_of(
    input: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any
) -> Tensor:
    x = input if input.ndim == 4 else input[None]
    batch, channels = x.shape[:2]
    out = output_size(x.shape[2:], kernel_size, stride, padding, dilation)
    shape = (batch, channels * math.prod(kernel_size), math.prod(out))
    if not batch:
        return np.zeros_like(x, shape=shape)
    view = sliding(zero_padded(x, padding), kernel_size, stride, dilation, out, 1)
    result = view.reshape(shape)
    if np.may_share_memory(result, input):
        result = result.copy()
    return result if input.ndim == 4 else result[0]


@columns_of.shapes
def _(input, kernel_size, stride, padding, dilation):
    out = output_size(input.shape[-2:], kernel_size, stride, padding, dilation)
    channels = input.shape[-3] * math.prod(kernel_size)
    return (*input.shape[:-3], channels, math.prod(out)), input.dtype


@columns_of.derivative("input")
def _(grad, input_shape, kernel_size, stride, padding, dilation):
    return image_of(grad, tuple(input_shape[-2:]), kernel_size, stride, padding, dilation)


@operator("_col2im", hidden=True, node="Col2ImBackward0", kinds="bfc", kernel="col2im_out_cpu",
          upcast=True)
def image_of(
    input: Tensor, size: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any
) -> Tensor:
    x = input if input.ndim == 3 else input[None]
    batch = x.shape[0]
    channels = x.shape[1] // math.prod(kernel_size)
    out = output_size(size, kernel_size, stride, padding, dilation)
    padded = np.zeros_like(
        x, shape=(batch, channels, *[n + 2 * p for n, p in zip(size, padding, strict=True)]),
        order="C",
    )
    columns = x.reshape(batch, channels, *kernel_size, *out)
    for position in positions(kernel_size):
        view = padded[reached(position, stride, dilation, out)]
        view += columns[:, :, position[0], position[1]]
    result = padded[
        :, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]
    ]
    if not result.flags.c_contiguous:
        result = result.copy()
    return result if input.ndim == 3 else result[0]


@image_of.derivative("input")
def _(grad, kernel_size, stride, padding, dilation):
    return columns_of(grad, kernel_size, stride, padding, dilation)


@composite("nn.functional.unfold", aliases=("nn.functional.im2col",))
def unfold(
    input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Lays the windows of images out as columns.

    Shape:    (N, C, H, W) or (C, H, W) → (N, C * kernel elements, number of windows)
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.unfold(torch.arange(4.).view(1, 2, 2), (1, 2))
        tensor([[0., 2.],
                [1., 3.]])
    """
    shape = input._array.shape
    if len(shape) < 3:
        raise dim_error(2, len(shape))
    sizes = _read(kernel_size, dilation, padding, stride)
    if len(shape) > 4 or 0 in shape[-3:]:
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero "
            f"dimensions for input, but got: {list(shape)}"
        )
    out = output_size(shape[-2:], *sizes)
    if min(out) < 1:
        k, _, p, d = sizes
        raise RuntimeError(
            f"Given input with spatial size {shape[-2:]}, kernel_size={k}, dilation={d}, "
            f"padding={p}, calculated shape of the array of sliding blocks as {out}, but its "
            "components must be at least one."
        )
    return columns_of(input, *sizes)


@composite("nn.functional.fold", aliases=("nn.functional.col2im",))
def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
    stride: Any = 1,
) -> Tensor:
    """Adds columns up to images: the adjoint of `unfold`.

    Shape:    (N, C * kernel elements, L) or without N → (N, C, *output_size)
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.fold(torch.ones(2, 2), (1, 3), (1, 2))
        tensor([[[1., 2., 1.]]])
    """
    size = spread("fold", "output_size", output_size, 2)
    if len(size) != 2:
        raise RuntimeError(f"It is expected output_size equals to 2, but got size {len(size)}")
    sizes = _read(kernel_size, dilation, padding, stride)
    _check_fold(input._array.shape, size, *sizes)
    return image_of(input, size, *sizes)


def _check_fold(
    shape: Ints, size: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> None:
    if len(shape) not in (2, 3) or 0 in shape[-2:]:
        raise RuntimeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and "
            f"non-zero dimensions for input, but got: {list(shape)}"
        )
    if shape[-2] % math.prod(kernel):
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, "
            f"but got input.size(1)={shape[-2]} and kernel_size={kernel}."
        )
    out = output_size(size, kernel, stride, padding, dilation)
    if math.prod(out) != shape[-1] or min(out) < 1:
        blocks = out[0] * out[1]
        raise RuntimeError(
            f"Given output_size={size}, kernel_size={kernel}, dilation={dilation}, "
            f"padding={padding}, stride={stride}, expected size of input's dimension 2 to match "
            f"the calculated number of sliding blocks {out[0]} * {out[1]} = {blocks}, but got "
            f"input.size(2)={shape[-1]}."
        )
