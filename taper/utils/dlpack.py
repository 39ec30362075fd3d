"""Exchanging tensors with other libraries without copying: DLPack."""

from __future__ import annotations

import enum
from typing import Any

import taper
from taper import Tensor

__all__ = ["DLDeviceType", "from_dlpack", "to_dlpack"]


class DLDeviceType(enum.IntEnum):
    """The kinds of devices that the DLPack standard numbers."""

    kDLCPU = 1
    kDLCUDA = 2
    kDLCUDAHost = 3
    kDLOpenCL = 4
    kDLVulkan = 7
    kDLMetal = 8
    kDLVPI = 9
    kDLROCM = 10
    kDLROCMHost = 11
    kDLExtDev = 12
    kDLCUDAManaged = 13
    kDLOneAPI = 14
    kDLWebGPU = 15
    kDLHexagon = 16
    kDLMAIA = 17


def to_dlpack(tensor: Tensor) -> Any:
    """Returns a DLPack capsule over the tensor's memory, to be consumed once."""
    # From version 1 on a capsule says whether its memory may be written to.
    return tensor.__dlpack__(max_version=(1, 0))


def from_dlpack(ext_tensor: Any, **options: Any) -> Tensor:
    """Returns a tensor over the memory of another library's array, or of a capsule.

    Args:
        ext_tensor: an object with `__dlpack__`, or a DLPack capsule.
        options: for ``ext_tensor.__dlpack__``.
    """
    if hasattr(ext_tensor, "__dlpack__"):
        return taper.from_dlpack(ext_tensor, **options)
    return taper.from_dlpack(_Capsule(ext_tensor))


class _Capsule:
    """A capsule as an object with DLPack's two methods."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **options: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return DLDeviceType.kDLCPU, 0
