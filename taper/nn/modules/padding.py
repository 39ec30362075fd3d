"""Padding layers: constant, zero, reflection, replication and circular."""

from __future__ import annotations

from collections.abc import Sequence

import taper.nn.functional as F
from taper import Tensor
from taper.nn.modules.module import Module
from taper.nn.modules.utils import _ntuple

__all__ = [
    "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d",
    "ConstantPad3d", "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d",
    "ReplicationPad2d", "ReplicationPad3d", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
]


class _PadNd(Module):
    """What all paddings share: two numbers per dimension, the last dimension first."""

    __constants__ = ["padding"]
    _dimensions: int
    _mode: str
    padding: Sequence[int]

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        self.padding = _ntuple(2 * self._dimensions)(padding)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPadNd(Module):
    __constants__ = ["padding", "value"]
    _dimensions: int
    value: float
    padding: Sequence[int]

    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__()
        self.padding = _ntuple(2 * self._dimensions)(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPadNd):
    """Adds `value` on both sides of the last dimension.

    Args:
        padding (int or tuple): one number for all sides, or (left, right).
        value (float): what to add.

    Example:
        >>> import taper as torch
        >>> torch.nn.ConstantPad1d((1, 2), 9.0)(torch.ones(1, 2))
        tensor([[9., 1., 1., 9., 9.]])
    """

    _dimensions = 1


class ConstantPad2d(_ConstantPadNd):
    """Adds `value` around the last two dimensions: (left, right, top, bottom)."""

    _dimensions = 2


class ConstantPad3d(_ConstantPadNd):
    """Adds `value` around the last three dimensions: (left, right, top, bottom, front, back)."""

    _dimensions = 3


class ZeroPad1d(ConstantPad1d):
    """Adds zeros on both sides of the last dimension."""

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad2d(ConstantPad2d):
    """Adds zeros around the last two dimensions."""

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad3d(ConstantPad3d):
    """Adds zeros around the last three dimensions."""

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ReflectionPadNd(_PadNd):
    _mode = "reflect"


class ReflectionPad1d(_ReflectionPadNd):
    """Pads the last dimension with its mirror image, the border itself not repeated."""

    _dimensions = 1


class ReflectionPad2d(_ReflectionPadNd):
    """Pads the last two dimensions with their mirror image."""

    _dimensions = 2


class ReflectionPad3d(_ReflectionPadNd):
    """Pads the last three dimensions with their mirror image."""

    _dimensions = 3


class _ReplicationPadNd(_PadNd):
    _mode = "replicate"


class ReplicationPad1d(_ReplicationPadNd):
    """Pads the last dimension with its border values."""

    _dimensions = 1


class ReplicationPad2d(_ReplicationPadNd):
    """Pads the last two dimensions with their border values."""

    _dimensions = 2


class ReplicationPad3d(_ReplicationPadNd):
    """Pads the last three dimensions with their border values."""

    _dimensions = 3


class _CircularPadNd(_PadNd):
    _mode = "circular"

    def _check_input_dim(self, input: Tensor) -> None:
        low = self._dimensions + 1
        if input.dim() not in (low, low + 1):
            raise ValueError(f"expected {low}D or {low + 1}D input (got {input.dim()}D input)")

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        return super().forward(input)


class CircularPad1d(_CircularPadNd):
    """Pads the last dimension as if it went around in a circle."""

    _dimensions = 1


class CircularPad2d(_CircularPadNd):
    """Pads the last two dimensions as if they went around in circles."""

    _dimensions = 2


class CircularPad3d(_CircularPadNd):
    """Pads the last three dimensions as if they went around in circles."""

    _dimensions = 3
