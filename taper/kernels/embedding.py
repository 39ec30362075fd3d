"""Rows picked from a table, and gradients brought back to it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from taper.arrays.primitive import primitive
from taper.kernels.native_twin import with_native

__all__ = ["add_rows", "bag_maxima", "bag_numbers", "bag_sums", "limit_row_norms"]

Array = np.ndarray[Any, Any]

_FEW = 2048  # elements; below, np.add.at is quicker than a sparse product,
_FEW_FOR_IMPORT = 1 << 20  # and below this many than to import SciPy's; the sums are the same

_MANY = 2048  # elements from which on a native kernel adds them


@primitive
@with_native("taper.kernels.native_scatter", lambda count, index, rows: rows.size > _MANY)
def add_rows(count: int, index: Array, rows: Array) -> Array:
    """A table of `count` rows in which row index[i] holds the sum of all rows[i]."""
    few = _FEW if "scipy.sparse" in sys.modules else _FEW_FOR_IMPORT
    if rows.size <= few or rows.dtype.kind not in "fc" or rows.dtype.itemsize < 4:
        result = np.zeros((count, *rows.shape[1:]), rows.dtype)
        np.add.at(result, index, rows)
        return result
    from scipy.sparse import csc_array

    ones = np.ones(len(index), rows.dtype)
    picks = csc_array((ones, index, np.arange(len(index) + 1)), (count, len(index)))
    return picks @ rows


@add_rows.shapes
def _(count: int, index: Array, rows: Array) -> Any:
    return (count, *rows.shape[1:]), rows.dtype


@primitive
def limit_row_norms(table: Array, index: Array, max_norm: float, norm_type: float) -> None:
    """Scales the named rows, in place, so that none has a larger norm than `max_norm`."""
    used = np.unique(index)
    rows = table[used]
    wide = rows if rows.dtype.itemsize >= 4 else rows.astype(np.float32)
    norms = np.linalg.norm(wide, norm_type, 1)
    over = norms > max_norm
    if over.any():
        factors = (max_norm / (norms[over] + 1e-7)).astype(wide.dtype)
        table[used[over]] = (wide[over] * factors[:, None]).astype(table.dtype)


def bag_numbers(offsets: Array, count: int) -> Array:
    """For each of `count` elements, the number of the bag that holds it."""
    steps = np.zeros(count + 1, np.int64)
    np.add.at(steps, offsets[1:], 1)
    return np.add.accumulate(steps)[:count]


def bag_sums(rows: Array, bags: Array, count: int) -> Array:
    """The sum of the rows of each bag."""
    return add_rows(count, bags, rows)


def bag_maxima(rows: Array, bags: Array, names: Array, count: int) -> tuple[Array, Array]:
    """The elementwise maxima of the rows of each bag, and the name of the row that each is of.

    Empty bags give zeros and the name 0. `bags` must not decrease.
    """
    width = rows.shape[1]
    best = np.zeros((count, width), rows.dtype)
    chosen = np.zeros((count, width), np.int64)
    if not len(bags):
        return best, chosen
    starts = np.flatnonzero(np.concatenate(([True], bags[1:] != bags[:-1])))
    maxima = np.maximum.reduceat(rows, starts, 0)
    best[bags[starts]] = maxima
    is_best = rows == np.repeat(maxima, np.diff(np.append(starts, len(bags))), 0)
    # Later writes win, so the first of equal rows is written last.
    row, column = np.nonzero(is_best[::-1])
    row = len(bags) - 1 - row
    chosen[bags[row], column] = names[row]
    return best, chosen
