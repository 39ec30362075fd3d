"""What simplified graphs call beside NumPy's functions and our kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["scatter", "scatter_add"]


def scatter(shape: tuple[int, ...], number: Any, index: Any, value: Any) -> np.ndarray:
    """An array full of `number`, of its dtype, with `value` written to `index`."""
    result = np.full(shape, number)
    result[index] = value
    return result


def scatter_add(shape: tuple[int, ...], number: Any, index: Any, value: Any) -> np.ndarray:
    """An array full of `number` with `value` added at `index`, as often as a place is named."""
    result = np.full(shape, number)
    np.add.at(result, index, value)
    return result
