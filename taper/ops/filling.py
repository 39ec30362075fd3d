"""Overwriting every element with one value."""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np

from taper.core.promotion import fitting_number
from taper.core.state import active, is_recording
from taper.core.storage import new_storage
from taper.core.tensor import Parameter, Tensor
from taper.ops.declare import INPLACE, Operator, operator
from taper.ops.division import zero_gradient
from taper.ops.inplace import make_inplace
from taper.ops.signature import Number


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
    else:
        fitting_number(value, bound["input"].dtype)


@operator(
    method="fill", promote=_dtype_of_input, check=_check_fill, inplace=True,
    node="FillBackward1", variant=("isinstance(value, (int, float, complex))", "FillBackward0"),
)
def fill(input: Tensor, value: Tensor | Number) -> Tensor:
    """A tensor like `input` in which every element is `value`, a number or a 0-d tensor.

    Example:
        >>> import taper as torch
        >>> torch.zeros(2).fill_(3)
        tensor([3., 3.])
    """
    if value.ndim:
        raise RuntimeError("fill_ only supports 0-dimension value tensor")
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


def _overwrite(self: Tensor, number: Any, change: str) -> bool:
    """Fills a plain tensor that has no history to record; says whether it did."""
    array = self._array
    kind = array.dtype.kind
    if (type(number) is float and kind in "iu") or (
        not -65504 <= number <= 65504 and kind != "i"  # float16's, the least of the limits
    ):
        return False
    if (
        active.modes or (type(self) is not Tensor and type(self) is not Parameter)
        or type(array) is not np.ndarray or (self._edge is not None and is_recording())
    ):
        return False
    storage = self._storage
    if storage is None:
        storage = self._storage = new_storage(array)
    try:
        version = storage.version + 1
        array.fill(number)
    except Exception:  # the general way tells what is wrong, or wraps integers around
        return False
    storage.version = version
    frame = sys._getframe(2)
    storage.changed_at = (change, frame.f_code, frame.f_lasti)
    return True


def zero_(self: Tensor) -> Tensor:
    """Sets every element to 0, in place."""
    return self if _overwrite(self, 0, "zero_") else _general(zero)(self)


def fill_(self: Tensor, value: Tensor | Number) -> Tensor:
    """Sets every element to a number or to the element of a 0-d tensor, in place."""
    if (type(value) is float or type(value) is int or type(value) is bool) and _overwrite(
        self, value, "fill_"
    ):
        return self
    return _general(fill)(self, value)


@functools.cache
def _general(op: Operator) -> Any:
    """The generated in-place form, which records."""
    return make_inplace(op)


def fill_diagonal_(self: Tensor, fill_value: Number, wrap: bool = False) -> Tensor:
    """Sets the main diagonal to a number, in place; `wrap` starts again below it in tall matrices.

    Example:
        >>> import taper as torch
        >>> torch.zeros(2, 2).fill_diagonal_(5)
        tensor([[5., 0.],
                [0., 5.]])
    """
    shape = self._array.shape
    if len(shape) < 2:
        raise RuntimeError("dimensions must larger than 1")
    if len(shape) > 2 and len(set(shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    step = sum(self.stride())
    size = min(shape)
    self.as_strided((size,), (step,)).fill_(fill_value)
    rows, columns = shape[0], shape[1]
    below = range(columns + 1, rows, columns + 1) if wrap and len(shape) == 2 and columns else ()
    for start in below:
        self[start:].fill_diagonal_(fill_value)
    return self


fill.__dict__["inplace"], zero.__dict__["inplace"] = fill_, zero_
Tensor.zero_ = zero_
Tensor.fill_diagonal_ = fill_diagonal_
INPLACE["zero_"] = zero
