"""Exponents whose powers are simpler operations, as they are in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["SIMPLE_POWERS"]

SIMPLE_POWERS: dict[Any, Callable[[Any], Any]] = {
    1: np.positive,
    2: np.square,
    3: lambda x: np.multiply(np.square(x), x),
    0.5: np.sqrt,
    -0.5: lambda x: np.reciprocal(np.sqrt(x)),
    -1: np.reciprocal,
    -2: lambda x: np.reciprocal(np.square(x)),
}
"""For each such exponent the power of an array."""
