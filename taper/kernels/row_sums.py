"""Softmax, its logarithm, logsumexp and cross entropy over short rows, in the fewest NumPy calls.

For small matrices NumPy's per-call costs dominate, and the dearest calls are those along or across
rows: a maximum per row takes 1 µs for 8 x 10, dividing by a column 0.6. One maximum for the whole
matrix serves as well while all rows reach close to it (where a row does not, the caller takes
the general way), and a product with a matrix of ones gives sums that are spread over the rows.

Call the functions by their module: where it can be had, machine code takes their places with the
first call (kernels/small_rows.py). It differs from NumPy in the last digit, so that call waits for
it, as compiler/background.py says.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from taper.core.settings import settings

if TYPE_CHECKING:
    from taper.compiler.background import Successor

__all__ = ["log_softmax_of_rows", "logsumexp_of_rows", "mean_cross_entropy", "softmax_of_rows"]

_MOST_ELEMENTS = 2048  # beyond, the arithmetic is what takes time
_MOST_COLUMNS = 64  # beyond, the product with ones would

# Rows whose sum falls below this lie so far under the common maximum that subtracting it, instead
# of their own, costs precision: a quotient bears more of that than a logarithm, which should be
# exact near 0.
_LEAST_SUM, _LEAST_SUM_FOR_LOG = 1e-3, 0.25

F32, F64, I64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)
ndarray = np.ndarray
exp, log = np.exp, np.log
_ones: dict[tuple[int, Any], Any] = {}


_awaited = set(__all__)  # whose successors may come
_asked: dict[str, Successor] = {}


def _successor(name: str) -> Any:
    """The function that takes over, waited for a short while; None where NumPy goes on."""
    if settings.native == "off":
        return None
    from taper.compiler.background import Successor, asks_for_none, load, waits

    asked = _asked.get(name)
    if asked is None:
        if asks_for_none():
            return None
        if not load():
            _awaited.clear()
            return None
        from taper.kernels.small_rows import make

        by_numpy = globals()[name]
        asked = _asked[name] = Successor(
            name, lambda: make(name, by_numpy), is_waited_for=True)
    if not waits(asked.ready):
        return None
    _awaited.discard(name)
    if asked.made is not None:
        globals()[name] = asked.made
    return asked.made


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
    if "softmax_of_rows" in _awaited:
        successor = _successor("softmax_of_rows")
        if successor is not None:
            return successor(matrix)
    ones = _ones_for(matrix)
    if ones is None:
        return None
    _, powers, sums, least = _exponentials(matrix, ones)
    return powers / sums if least > _LEAST_SUM else None


def log_softmax_of_rows(matrix: Any) -> Any:
    """The logarithm of the softmax of each row of a small 2-d array of floats; or None."""
    if "log_softmax_of_rows" in _awaited:
        successor = _successor("log_softmax_of_rows")
        if successor is not None:
            return successor(matrix)
    ones = _ones_for(matrix)
    if ones is None:
        return None
    shifted, _, sums, least = _exponentials(matrix, ones)
    return shifted - log(sums) if least > _LEAST_SUM_FOR_LOG else None


def logsumexp_of_rows(matrix: Any) -> Any:
    """The logarithm of the sum of exponentials of each row, by machine code only; or None."""
    if "logsumexp_of_rows" in _awaited:
        successor = _successor("logsumexp_of_rows")
        if successor is not None:
            return successor(matrix)
    return None


def mean_cross_entropy(logits: Any, classes: Any) -> Any:
    """The mean cross entropy of a small batch, as a 0-d array; or None."""
    if "mean_cross_entropy" in _awaited:
        successor = _successor("mean_cross_entropy")
        if successor is not None:
            return successor(logits, classes)
    if classes.dtype is not I64 or classes.ndim != 1 or (
        logits.dtype is not F32 and logits.dtype is not F64
    ) or type(classes) is not ndarray:  # being recorded, or without data
        return None
    shape = logits.shape
    listed = classes.tolist()
    if len(shape) != 2 or len(listed) != shape[0] or not listed or (
        min(listed) < 0 or max(listed) >= shape[1]
    ):
        return None
    logs = log_softmax_of_rows(logits)
    if logs is None:
        return None
    total = -logs.take(classes + row_starts(shape)).dot(_vector_of_ones(shape[0], logits.dtype))
    return np.array(float(total) / shape[0], logits.dtype)


@lru_cache(maxsize=64)
def _vector_of_ones(rows: int, dtype: Any) -> Any:
    """A one for each row: the product with them is a sum; kept."""
    return np.ones(rows, dtype)
