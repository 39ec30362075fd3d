"""Exponentials of short rows, and their sums: softmax, log_softmax and cross entropy start here.

For small matrices NumPy's per-call costs dominate, and the dearest calls are those along or across
rows: a maximum per row takes 1 µs for 8 x 10, dividing by a column 0.6. One maximum for the
whole matrix serves as well while all rows reach close to it (where a row does not, the caller takes
the general way), and a product with a matrix of ones gives the sums already spread over the rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["exponentials_of_rows"]

_MOST_ELEMENTS = 2048  # beyond, a maximum per row no longer matters
_MOST_COLUMNS = 64  # beyond, the product with ones would

# Rows whose sum falls below this lie so far under the common maximum that subtracting it, instead
# of their own, costs precision.
_LEAST_SUM = 1e-3

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
ndarray = np.ndarray
exp = np.exp
_ones: dict[tuple[int, Any], Any] = {}


def exponentials_of_rows(matrix: Any) -> tuple[Any, Any, Any] | None:
    """(x - m, exp(x - m), sums of its rows, repeated over each row) with m the largest element.

    None unless `matrix` is a small 2-d float array whose rows all come close to m.
    """
    if type(matrix) is not ndarray or not 0 < matrix.size <= _MOST_ELEMENTS:
        return None
    key = matrix.shape[1], matrix.dtype
    ones = _ones.get(key)
    if ones is None:
        if key[0] > _MOST_COLUMNS or (key[1] is not F32 and key[1] is not F64):
            return None
        ones = _ones[key] = np.ones((key[0], key[0]), key[1])
    flat = matrix.ravel()
    shifted = matrix - flat[flat.argmax(), ...]  # the Ellipsis keeps it an array: that is quicker
    powers = exp(shifted)
    sums = powers.dot(ones)
    return (shifted, powers, sums) if sums.item(sums.argmin()) > _LEAST_SUM else None
