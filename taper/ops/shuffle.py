"""Channels and pixels in another order: pixel_shuffle, pixel_unshuffle, channel_shuffle."""

from __future__ import annotations

from typing import Any

from taper.core.tensor import Tensor
from taper.ops.declare import composite, operator


def _check(function: str, input: Any, argument: str, factor: int) -> None:
    if input.ndim < 3:
        raise RuntimeError(
            f"{function} expects input to have at least 3 dimensions, but got input with "
            f"{input.ndim} dimension(s)"
        )
    if factor <= 0:
        raise RuntimeError(f"{function} expects a positive {argument}, but got {factor}")


@operator("pixel_shuffle", aliases=("nn.functional.pixel_shuffle",))
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Moves channels into squares of pixels, which makes images larger.

    Shape:    (*, C r², H, W) → (*, C, H r, W r)
    Source:   Shi et al., Real-Time Single Image and Video Super-Resolution, 2016
    Example:
        >>> import taper as torch
        >>> torch.pixel_shuffle(torch.arange(4).view(4, 1, 1), 2)
        tensor([[[0, 1],
                 [2, 3]]])
    """
    _check("pixel_shuffle", input, "upscale_factor", upscale_factor)
    r = upscale_factor
    *lead, channels, height, width = input.shape
    if channels % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square "
            f"of upscale_factor, but input.size(-3)={channels} is not divisible by {r * r}"
        )
    shape = (*lead, channels // (r * r), height * r, width * r)
    split = input.reshape(*lead, channels // (r * r), r, r, height, width)
    n = len(lead)
    return split.transpose(*range(n + 1), n + 3, n + 1, n + 4, n + 2).copy("C").reshape(shape)


@pixel_shuffle.derivative("input")
def _(grad, upscale_factor):
    return pixel_unshuffle(grad, upscale_factor)


@operator("pixel_unshuffle", aliases=("nn.functional.pixel_unshuffle",))
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """Moves squares of pixels into channels: the inverse of `pixel_shuffle`.

    Shape:    (*, C, H r, W r) → (*, C r², H, W)
    Example:
        >>> import taper as torch
        >>> torch.pixel_unshuffle(torch.arange(4).view(1, 2, 2), 2).flatten()
        tensor([0, 1, 2, 3])
    """
    _check("pixel_unshuffle", input, "downscale_factor", downscale_factor)
    r = downscale_factor
    *lead, channels, height, width = input.shape
    for name, place, size in (("height", -2, height), ("width", -1, width)):
        if size % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but "
                f"input.size({place})={size} is not divisible by {r}"
            )
    split = input.reshape(*lead, channels, height // r, r, width // r, r)
    n = len(lead)
    moved = split.transpose(*range(n + 1), n + 2, n + 4, n + 1, n + 3).copy("C")
    return moved.reshape(*lead, channels * r * r, height // r, width // r)


@pixel_unshuffle.derivative("input")
def _(grad, downscale_factor):
    return pixel_shuffle(grad, downscale_factor)


@operator("channel_shuffle", aliases=("nn.functional.channel_shuffle",), hidden=False)
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Deals the channels of each group out to all groups.

    Shape:    (N, C, *) → the same
    Source:   Zhang et al., ShuffleNet, 2018.
    Example:
        >>> import taper as torch
        >>> torch.channel_shuffle(torch.arange(4).view(1, 4, 1), 2).flatten()
        tensor([0, 2, 1, 3])
    """
    if input.ndim <= 2:
        raise RuntimeError(
            f"channel_shuffle expects input with > 2 dims, but got input with sizes "
            f"{list(input.shape)}"
        )
    if groups <= 0:
        raise RuntimeError(
            f"Number of groups to divide channels in must be positive. Value of groups:{groups}"
        )
    batch, channels, *rest = input.shape
    if channels % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {channels} channels and {groups} "
            "groups."
        )
    if not input.size:
        return input.copy()
    split = input.reshape(batch, groups, channels // groups, *rest)
    return split.swapaxes(1, 2).copy("C").reshape(input.shape)


@channel_shuffle.derivative("input")
def _(grad, groups, input_shape):
    return channel_shuffle(grad, input_shape[1] // groups) if input_shape[1] else grad


@composite("native_channel_shuffle", aliases=("nn.functional.native_channel_shuffle",))
def native_channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """`channel_shuffle`.

    Example:
        >>> import taper as torch
        >>> torch.native_channel_shuffle(torch.arange(4.).view(1, 4, 1), 2).flatten()
        tensor([0., 2., 1., 3.])
    """
    return channel_shuffle(input, groups)
