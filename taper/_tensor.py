"""`torch._tensor`, where PyTorch keeps the class that is public as `torch.Tensor`."""

from __future__ import annotations

from typing import Any

from taper.core.tensor import Tensor

__all__ = ["Tensor"]


def __getattr__(name: str) -> Any:
    """The functions that files name to make tensors again."""
    from taper.serialization.rebuild import NAMES

    found = NAMES["torch._tensor"].get(name)
    if found is None:
        raise AttributeError(f"module 'torch._tensor' has no attribute {name!r}")
    return found
