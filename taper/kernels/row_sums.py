"""Exponentials of short rows, summed: what softmax, log_softmax and cross entropy start from.

For small matrices NumPy's per-call costs dominate, and a maximum per row is the dearest call (1 µs for
8 x 10). One maximum for the whole matrix serves as well while all rows reach close to it; where
a row does not, the caller takes the general way.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["SMALL", "exponentials_of_rows", "ones"]

SMALL = 2048  # elements; beyond, a maximum per row no longer matters

# Rows whose sum falls below this lie so far under the common maximum that subtracting it, instead
# of their own, costs precision.
_LEAST_SUM = 1e-3

ndarray = np.ndarray
exp = np.exp


@lru_cache(maxsize=256)
def ones(count: int, dtype: Any) -> Any:
    """A vector of ones, kept: a product with it is NumPy's quickest sum of a short row."""
    return np.ones(count, dtype)


def exponentials_of_rows(matrix: Any) -> tuple[Any, Any, Any] | None:
    """(x - m, exp(x - m), sums of its rows) with m the largest element of a small 2-d array.

    None if the array is not such a one, or if a row lies far below m.
    """
    if type(matrix) is not ndarray or not 0 < matrix.size <= SMALL:
        return None
    flat = matrix.ravel()
    shifted = matrix - flat[flat.argmax(), ...]  # the Ellipsis keeps it an array, which is quicker
    powers = exp(shifted)
    sums = powers.dot(ones(matrix.shape[1], matrix.dtype))
    return (shifted, powers, sums) if min(sums.tolist()) > _LEAST_SUM else None
