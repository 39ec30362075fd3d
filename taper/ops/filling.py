"""Overwriting every element with one value."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from taper.core.state import active, is_recording
from taper.core.storage import new_storage
from taper.core.tensor import Parameter, Tensor
from taper.ops.declare import INPLACE, operator
from taper.ops.division import zero_gradient

Number = Any


def _dtype_of_input(bound: dict[str, Any]) -> Any:
    return bound["input"].dtype


def _check_fill(bound: dict[str, Any]) -> None:
    value = bound["value"]
    if isinstance(value, Tensor):
        if value._array.ndim:
            raise RuntimeError(
                "fill_ only supports 0-dimension value tensor but got tensor with "
                f"{value._array.ndim} dimensions."
            )
    elif isinstance(value, complex) and not bound["input"].is_complex():
        raise RuntimeError("value cannot be converted to type float without overflow")


@operator(
    method="fill", promote=_dtype_of_input, check=_check_fill, inplace=True,
    variant=("hasattr(value, '_array')", "FillBackward1"),
)
def fill(input: Tensor, value: Tensor | Number) -> Tensor:
    """A tensor like `input` in which every element is `value`, a number or a 0-d tensor.

    Example:
        >>> import taper as torch
        >>> torch.zeros(2).fill_(3)
        tensor([3., 3.])
    """
    return np.full_like(input, value)


@fill.derivative("input")
def _(grad):
    return zero_gradient.function(grad)


@fill.derivative("value")
def _(grad):
    return grad.sum()


@operator(hidden=True, node="ZeroBackward0")
def zero(input: Tensor) -> Tensor:
    """A tensor like `input` of zeros."""
    return np.zeros_like(input)


@zero.derivative("input")
def _(grad):
    return zero_gradient.function(grad)


def zero_(self: Tensor) -> Tensor:
    """Sets every element to 0, in place."""
    array = self._array
    if (
        not active.modes and (type(self) is Tensor or type(self) is Parameter)
        and type(array) is np.ndarray and array.flags.writeable
        and (self._edge is None or not is_recording()) and 0 not in array.strides
    ):
        array.fill(0)
        storage = self._storage
        if storage is None:
            storage = self._storage = new_storage(array)
        storage.version += 1
        frame = sys._getframe(1)
        storage.changed_at = ("zero_", frame.f_code, frame.f_lasti)
        return self
    return zero.inplace(self)  # type: ignore[no-any-return]


Tensor.zero_ = zero_  # type: ignore[attr-defined]
INPLACE["zero_"] = zero
