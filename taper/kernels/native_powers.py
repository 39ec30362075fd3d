"""Powers of large arrays: those with simple exponents are kernels of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.kernels.native import Elementwise
from taper.kernels.powers import SIMPLE_POWERS

__all__ = ["power", "power_of"]

ndarray = np.ndarray
_FLOATS = np.dtype(np.float32), np.dtype(np.float64)
_power = Elementwise(np.power, (0, 1))
_simple = {exponent: Elementwise(f, (0,)) for exponent, f in SIMPLE_POWERS.items()}


def power(input: Any, exponent: Any) -> Any:
    """input ** exponent of floats, or None."""
    if type(input) is not ndarray or type(exponent) is not ndarray or (
        input.dtype not in _FLOATS or exponent.dtype is not input.dtype
    ):
        return None
    if not exponent.ndim:
        simple = _simple.get(exponent.item())
        if simple is not None:
            return simple.compute((input,), {})
    return _power.compute((input, exponent), {})


def power_of(input: Any, other: Any) -> Any:
    """other ** input of floats, or None."""
    if type(input) is not ndarray or type(other) is not ndarray or (
        input.dtype not in _FLOATS or other.dtype is not input.dtype
    ):
        return None
    return _power.compute((other, input), {})
