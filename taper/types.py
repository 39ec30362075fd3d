"""`torch.types`: names for annotations."""

from __future__ import annotations

from typing import Any, Union

from taper.core.device import device
from taper.core.dtype import dtype
from taper.core.size import Size
from taper.core.tensor import Tensor

Device = device | str | int | None
Number = Union[int, float, bool]  # noqa: UP007 - PyTorch's spelling
_dtype = dtype
_device = device
_size = Union[Size, list[int], tuple[int, ...]]  # noqa: UP007
_bool, _int, _float, _complex = bool, int, float, complex
FileLike = Any

__all__ = ["Device", "FileLike", "Number", "Tensor"]
