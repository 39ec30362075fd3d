"""Tensors without values. Here that is a device, ``meta``; nothing is ever a `FakeTensor`."""

from __future__ import annotations

from typing import Any

from taper.core.tensor import Tensor

__all__ = ["FakeTensor", "FakeTensorMode", "is_fake"]

_REFUSAL = (
    "{} is not here: make the tensors with device='meta', which computes shapes and dtypes alone"
)


class FakeTensor(Tensor):
    """For `isinstance` alone.

    Raises: NotImplementedError: where one is to be made.
    """

    __module__ = "torch._subclasses.fake_tensor"

    def __new__(cls, *args: Any, **options: Any) -> FakeTensor:
        raise NotImplementedError(_REFUSAL.format("FakeTensor"))


class FakeTensorMode:
    """For `isinstance` alone.

    Raises: NotImplementedError: where one is to be made.
    """

    __module__ = "torch._subclasses.fake_tensor"

    def __init__(self, *args: Any, **options: Any) -> None:
        raise NotImplementedError(_REFUSAL.format("FakeTensorMode"))


def is_fake(x: object) -> bool:
    """Returns False."""
    return False
