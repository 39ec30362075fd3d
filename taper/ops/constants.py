"""Python numbers as 0-d arrays: ufuncs take those twice as quickly as numbers or scalars."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.arrays.symbolic_shape import is_symbolic

__all__ = ["F32", "F64", "constant"]

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
_MOST_KEPT = 4096

_of_dtype: dict[Any, dict[Any, Any]] = {F32: {}, F64: {}}
_float32 = _of_dtype[F32]


def constant(number: Any, dtype: Any) -> Any:
    """A 0-d array of a number (never -0.0) in a dtype, kept for the next call."""
    kept = _float32 if dtype is F32 else _of_dtype.setdefault(dtype, {})
    found = kept.get(number)
    if found is None:
        if is_symbolic(number):
            return number.recorded_as(dtype)
        if len(kept) >= _MOST_KEPT:
            kept.clear()
        if number is None or isinstance(number, (str, bytes)):  # NumPy would make NaN of them
            raise TypeError(f"a Number is needed, not {type(number).__name__}")
        found = kept[number] = np.array(number).astype(dtype)
        found.flags.writeable = False
    return found
