"""Functions that are private in PyTorch, and that packages use all the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import taper
from taper.core.dtype import dtype as dtype_class
from taper.core.tensor import Tensor

__all__ = [
    "_element_size", "_flatten_dense_tensors", "_get_device_index", "_unflatten_dense_tensors",
]


def _flatten_dense_tensors(tensors: Sequence[Tensor]) -> Tensor:
    """All elements of some tensors in one vector: a view, if there is one tensor only."""
    if len(tensors) == 1:
        return tensors[0].contiguous().view(-1)
    return taper.cat([tensor.contiguous().view(-1) for tensor in tensors])


def _unflatten_dense_tensors(flat: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Views of a vector in the shapes of some tensors, one after another."""
    parts = flat.split([tensor.numel() for tensor in tensors])
    return tuple(
        part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)
    )


def _element_size(dtype: dtype_class) -> int:
    """The size of an element in bytes."""
    return dtype.itemsize


def _get_device_index(device: Any, optional: bool = False, allow_cpu: bool = False) -> int | None:
    """The index of a device; -1 for the CPU, if it is allowed."""
    if isinstance(device, str):
        device = taper.device(device)
    if isinstance(device, taper.device):
        if device.type == "cpu":
            if not allow_cpu:
                raise ValueError(f"Expected a non cpu device, but got: {device}")
            return -1
        device = device.index
    if device is None and not optional:
        raise ValueError(
            f"Expected a torch.device with a specified index or an integer, but got:{device}"
        )
    return device


def __getattr__(name: str) -> Any:
    """The functions that old files name to make tensors again."""
    from taper.serialization.rebuild import NAMES

    found = NAMES["torch._utils"].get(name)
    if found is None:
        raise AttributeError(f"module 'torch._utils' has no attribute {name!r}")
    return found
