"""Native kernels for elementwise definitions that look at values or shapes before they compute."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.kernels.native import Elementwise
from taper.runtime.planned_calls import constant, replayed

__all__ = ["floor_divide", "masked_fill", "remainder"]

ndarray = np.ndarray
_where = Elementwise(np.where, (0, 1, 2), stores_half=True)
_floor_divide = Elementwise(np.floor_divide, (0, 1))
_remainder = Elementwise(np.remainder, (0, 1))


@replayed
def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """`masked_fill` with a number or an array without dimensions."""
    if type(input) is not ndarray or mask.dtype.kind != "b" or mask.shape != input.shape:
        return None
    if type(value) is not ndarray:
        try:
            value = constant(np.array(value, input.dtype))
        except (OverflowError, TypeError, ValueError):  # the definition says what is wrong
            return None
    elif value.dtype is not input.dtype:
        value = value.astype(input.dtype)
    return None if value.ndim else _where.compute((mask, value, input), {})


def _without_zeros(other: Any) -> bool:
    """Whether no integer divisor is zero, which the definition refuses."""
    return type(other) is ndarray and not (other.dtype.kind in "iu" and (other == 0).any())


def floor_divide(input: Any, other: Any) -> Any:
    return _floor_divide.compute((input, other), {}) if _without_zeros(other) else None


def remainder(input: Any, other: Any) -> Any:
    return _remainder.compute((input, other), {}) if _without_zeros(other) else None
