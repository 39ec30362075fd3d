"""Divides a batch among devices, and puts the parts together: here there is one device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import taper

__all__ = ["gather", "scatter", "scatter_kwargs"]


def scatter(inputs: Any, target_gpus: Sequence[Any], dim: int = 0) -> list[Any]:
    """Raises: there are no GPUs to scatter to; with no target, or one, the inputs as one part."""
    if len(target_gpus) > 1:
        raise AssertionError("Torch not compiled with CUDA enabled")
    return [inputs]


def scatter_kwargs(
    inputs: tuple[Any, ...], kwargs: dict[str, Any] | None, target_gpus: Sequence[Any],
    dim: int = 0,
) -> tuple[tuple[Any, ...], tuple[dict[str, Any], ...]]:
    """`scatter` for arguments by position and by name."""
    return tuple(scatter(inputs, target_gpus, dim)), (kwargs or {},)


def gather(outputs: Sequence[Any], target_device: Any, dim: int = 0) -> Any:
    """Puts parts together: tensors are concatenated along `dim`, containers part by part."""
    first = outputs[0]
    if isinstance(first, taper.Tensor):
        return first if len(outputs) == 1 else taper.cat(list(outputs), dim)
    if first is None:
        return None
    if isinstance(first, dict):
        return type(first)((key, gather([o[key] for o in outputs], target_device, dim))
                           for key in first)
    return type(first)([gather(parts, target_device, dim) for parts in zip(*outputs, strict=True)])
