"""Softmax and its logarithm over short rows, in the fewest NumPy calls.

For small matrices NumPy's per-call costs dominate, and the dearest calls are those along or across
rows: a maximum per row takes 1 µs for 8 x 10, dividing by a column 0.6. One maximum for the whole
matrix serves as well while all rows reach close to it (where a row does not, the caller takes
the general way), and a product with a matrix of ones gives sums that are spread over the rows.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["log_softmax_of_rows", "row_starts", "softmax_of_rows"]

_MOST_ELEMENTS = 2048  # beyond, the arithmetic is what takes time
_MOST_COLUMNS = 64  # beyond, the product with ones would

# Rows whose sum falls below this lie so far under the common maximum that subtracting it, instead
# of their own, costs precision: a quotient bears more of that than a logarithm, which should be
# exact near 0.
_LEAST_SUM, _LEAST_SUM_FOR_LOG = 1e-3, 0.25

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
ndarray = np.ndarray
exp, log = np.exp, np.log
_ones: dict[tuple[int, Any], Any] = {}


def _ones_for(matrix: Any) -> Any:
    """A square of ones as wide as a small 2-d array of floats; None for other arrays."""
    if type(matrix) is not ndarray or not 0 < matrix.size <= _MOST_ELEMENTS:
        return None
    key = matrix.shape[1], matrix.dtype
    ones = _ones.get(key)
    if ones is None and key[0] <= _MOST_COLUMNS and (key[1] is F32 or key[1] is F64):
        ones = _ones[key] = np.ones((key[0], key[0]), key[1])
    return ones


@lru_cache(maxsize=64)
def row_starts(shape: tuple[int, int]) -> Any:
    """Where each row of a flat matrix begins; kept."""
    rows, columns = shape
    return np.arange(0, rows * columns, columns)


def _exponentials(matrix: Any, ones: Any) -> tuple[Any, Any, Any, float]:
    """x - m, exp(x - m), its sums over rows, and the least of those, with m the largest element."""
    flat = matrix.ravel()
    shifted = matrix - flat[flat.argmax(), ...]  # the Ellipsis keeps an array, which is quicker
    powers = exp(shifted)
    sums = powers.dot(ones)
    return shifted, powers, sums, sums.item(sums.argmin())


def softmax_of_rows(matrix: Any) -> Any:
    """The softmax of each row of a small 2-d array of floats; None for other arrays, and where a
    row lies far below the largest element."""
    ones = _ones_for(matrix)
    if ones is None:
        return None
    _, powers, sums, least = _exponentials(matrix, ones)
    return powers / sums if least > _LEAST_SUM else None


def log_softmax_of_rows(matrix: Any) -> Any:
    """The logarithm of the softmax of each row of a small 2-d array of floats; or None."""
    ones = _ones_for(matrix)
    if ones is None:
        return None
    shifted, _, sums, least = _exponentials(matrix, ones)
    return shifted - log(sums) if least > _LEAST_SUM_FOR_LOG else None
