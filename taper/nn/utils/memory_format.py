"""Converting the weights of convolutions to another memory format."""

from __future__ import annotations

from typing import Any, TypeVar

from taper.nn.modules.conv import Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d
from taper.nn.modules.module import Module

__all__ = ["convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format"]

M = TypeVar("M", bound=Module)


def _convert(module: M, kinds: tuple[type[Module], ...], memory_format: Any) -> M:
    for layer in module.modules():
        if isinstance(layer, kinds):
            layer.weight.data = layer.weight.detach().clone().contiguous(
                memory_format=memory_format
            )
    return module


def convert_conv2d_weight_memory_format(module: M, memory_format: Any) -> M:
    """Stores the weights of all Conv2d and ConvTranspose2d below in this memory format."""
    return _convert(module, (Conv2d, ConvTranspose2d), memory_format)


def convert_conv3d_weight_memory_format(module: M, memory_format: Any) -> M:
    """Stores the weights of all Conv3d and ConvTranspose3d below in this memory format."""
    return _convert(module, (Conv3d, ConvTranspose3d), memory_format)
