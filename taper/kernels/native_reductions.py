"""Native kernels of reductions: sums, extremes and their places, variances, log-sum-exp, norms.

Each function has the arguments of the definition that it stands for, and returns None where NumPy
shall compute: other dtypes, memory that is not in C order, kernels that are not ready.

Note [blocks]. One long row is cut into blocks of a fixed length, so that several threads share it;
what the blocks give is put together in float64. The length depends on nothing else, so results
don't depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from taper.kernels.native_rows import (
    FULL,
    LARGE,
    RowProgram,
    largest,
    mean_of,
    smallest,
    total,
)
from taper.kernels.summation import as_divisor
from taper.runtime.planned_calls import replayed, scratch

__all__ = [
    "PRECISE_TOTAL", "amax", "amin", "argmax", "argmin", "as_rows", "logsumexp", "max_along",
    "max_of_all", "min_along", "min_of_all", "square_many", "squared_error", "std", "sum_many",
    "var",
]

ndarray = np.ndarray
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
_FLOATS = (F32, F64)
_BLOCK = 16384  # elements along memory
_TALL_BLOCK = 512  # rows across memory
_WIDE_BLOCK = 128  # the same of wide rows, from _WIDE elements on
_WIDE, _VERY_WIDE = 256, 2048


def as_rows(
    x: Any, axis: Any
) -> tuple[int, int, int, tuple[int, ...], tuple[int, ...]] | None:
    """(outer, n, inner) of a reduction over neighbouring axes, and the shape of its result without
    and with them; None for arrays that aren't plain, large floats in C order."""
    if type(x) is not ndarray or x.dtype not in _FLOATS or x.size <= LARGE or not (
        x.flags.c_contiguous
    ):
        return None
    shape = x.shape
    if axis is None:
        return 1, x.size, 1, (), (1,) * x.ndim
    axes = (axis,) if type(axis) is int else tuple(sorted(axis))
    axes = tuple([a + x.ndim if a < 0 else a for a in axes])
    first, last = axes[0], axes[-1]
    if last - first + 1 != len(axes) or first < 0 or last >= x.ndim:
        return None
    kept = tuple([1 if d in axes else s for d, s in enumerate(shape)])
    without = (*shape[:first], *shape[last + 1 :])
    n = prod(shape[first : last + 1])
    return prod(shape[:first]), n, prod(shape[last + 1 :]), without, kept


def _shaped(values: Any, rows: Any, keepdim: bool) -> Any:
    return values.reshape(rows[4] if keepdim else rows[3])


def _in_blocks(program: RowProgram, arrays: Any, n: int, inner: int) -> Any:
    """What a program gives for each block of one row; see Note [blocks]. Each result has shape
    (blocks, inner)."""
    block = _block_of(inner)
    return program(-(-n // block), block, inner, *arrays, line=n)


def _block_of(inner: int) -> int:
    if inner == 1:
        return _BLOCK
    return _TALL_BLOCK if inner < _WIDE else _WIDE_BLOCK


def _reduced(program: RowProgram, together: RowProgram, arrays: Any, rows: Any) -> Any:
    """The one result of a program for each row; `together` makes one of those of blocks."""
    outer, n, inner = rows[:3]
    if not _is_shared(rows) and not _is_tall(rows):
        found = program(outer, n, inner, *arrays)
        return None if found is None else found[0]
    found = _in_blocks(program, arrays, n, inner)
    if found is None:
        return None
    parts = scratch(found[0])
    found = together(1, len(parts), inner, parts)
    return None if found is None else found[0]


def _is_shared(rows: Any) -> bool:
    """Whether there are too few rows for the threads, so that they are cut into blocks."""
    outer, n, inner = rows[:3]
    if outer > 1:
        return False
    return n > 2 * _BLOCK if inner == 1 else inner < _WIDE and n > 2 * _TALL_BLOCK


def _is_tall(rows: Any) -> bool:
    """Whether threads had better share the rows than the columns: part of each row means to go to
    another page of memory each time, and to ever the same places of a cache."""
    outer, n, inner = rows[:3]
    return outer == 1 and _WIDE <= inner < _VERY_WIDE and n > 6 * _WIDE_BLOCK


# -- sums ------------------------------------------------------------------------------------------


def _squares(x: Any) -> Any:
    return total(x * x)


def _precise_total(x: Any) -> Any:
    return total(x.astype(F64)).astype(x.dtype)


_TOTAL, _SQUARES = RowProgram(total, FULL), RowProgram(_squares, FULL)
PRECISE_TOTAL = RowProgram(_precise_total, FULL)


def _added(program: RowProgram, x: Any, axis: Any, keepdim: bool) -> Any:
    rows = as_rows(x, axis)
    values = None if rows is None else _reduced(program, PRECISE_TOTAL, [x], rows)
    return None if values is None else _shaped(values, rows, keepdim)


_axes: dict[Any, Any] = {}  # equal tuples of axes as one object, by which plans are found


def sum_many(x: Any, axis: Any, keepdim: bool) -> Any:
    return _sum_many(x, _axes.setdefault(axis, axis) if type(axis) is tuple else axis, keepdim)


@replayed
def _sum_many(x: Any, axis: Any, keepdim: bool) -> Any:
    """The sum over `axis`. Of runs of neighbouring axes, the last one goes first."""
    if type(axis) is tuple:
        axes = sorted(axis)
        start = len(axes) - 1
        while start and axes[start] - axes[start - 1] == 1:
            start -= 1
        if start and axes[0] >= 0:
            part = _added(_TOTAL, x, tuple(axes[start:]), True)
            if part is None:
                return None
            rest = np.add.reduce(part, tuple(axes[:start]), None, None, True)
            return rest if keepdim else rest.reshape(
                tuple([s for d, s in enumerate(x.shape) if d not in axes]))
    return _added(_TOTAL, x, axis, keepdim)


@replayed
def square_many(x: Any, axis: Any, keepdim: bool) -> Any:
    """The sum of the squares over `axis`."""
    return _added(_SQUARES, x, axis, keepdim)


# -- extremes --------------------------------------------------------------------------------------


def _largest_and_place(x: Any) -> Any:
    return largest(x), x.reduced("reduce_argmax")


def _smallest_and_place(x: Any) -> Any:
    return smallest(x), x.reduced("reduce_argmin")


_EXTREME = {True: RowProgram(largest, FULL), False: RowProgram(smallest, FULL)}
_WITH_PLACE = {True: RowProgram(_largest_and_place, FULL),
               False: RowProgram(_smallest_and_place, FULL)}


@replayed
def _extreme(is_max: bool, x: Any, axis: Any, keepdim: bool) -> Any:
    rows = as_rows(x, axis)
    program = _EXTREME[is_max]
    values = None if rows is None else _reduced(program, program, [x], rows)
    return None if values is None else _shaped(values, rows, keepdim)


@replayed
def _with_place(is_max: bool, x: Any, axis: Any, keepdim: bool) -> Any:
    """Values and int64 places of the largest or smallest elements."""
    rows = as_rows(x, axis)
    if rows is None or rows[1] >= 1 << 31:
        return None
    outer, n, inner = rows[:3]
    program = _WITH_PLACE[is_max]
    if _is_shared(rows):
        found = _in_blocks(program, [x], n, inner)
        if found is None:
            return None
        values, places = found
        block = values.argmax(0) if is_max else values.argmin(0)
        columns = np.arange(inner)
        starts = block * _block_of(inner)
        values, places = values[block, columns], places[block, columns] + starts
    else:
        results = program(outer, n, inner, x)
        if results is None:
            return None
        values, places = results
    return _shaped(values, rows, keepdim), _shaped(places, rows, keepdim)


def _axis_of(dim: Any, x: Any) -> Any:
    """One axis from the front, or None for all; the definition says what is wrong with others."""
    if dim is None:
        return None
    if type(dim) is int and -x.ndim <= dim < x.ndim:
        return dim % x.ndim
    return False


def max_along(input: Any, dim: Any, keepdim: bool = False) -> Any:
    axis = _axis_of(dim, input)
    return None if axis is False else _with_place(True, input, axis, keepdim)


def min_along(input: Any, dim: Any, keepdim: bool = False) -> Any:
    axis = _axis_of(dim, input)
    return None if axis is False else _with_place(False, input, axis, keepdim)


def argmax(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    axis = _axis_of(dim, input)
    found = None if axis is False else _with_place(True, input, axis, keepdim)
    return None if found is None else found[1]


def argmin(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    axis = _axis_of(dim, input)
    found = None if axis is False else _with_place(False, input, axis, keepdim)
    return None if found is None else found[1]


def _axes_of(dim: Any, x: Any) -> Any:
    """Axes from the front, None for all, False for what the definition shall look at."""
    if isinstance(dim, (tuple, list)):
        if not dim:
            return None
        axes = [_axis_of(d, x) for d in dim]
        if any(a is False or a is None for a in axes) or len(set(axes)) < len(axes):
            return False
        return tuple(axes) if len(axes) < x.ndim else None
    return _axis_of(dim, x)


def amax(input: Any, dim: Any = (), keepdim: bool = False) -> Any:
    axis = _axes_of(dim, input)
    return None if axis is False else _extreme(True, input, axis, keepdim)


def amin(input: Any, dim: Any = (), keepdim: bool = False) -> Any:
    axis = _axes_of(dim, input)
    return None if axis is False else _extreme(False, input, axis, keepdim)


def max_of_all(input: Any) -> Any:
    return _extreme(True, input, None, False)


def min_of_all(input: Any) -> Any:
    return _extreme(False, input, None, False)


# -- variances and the rest ------------------------------------------------------------------------


def _mean_and_squares(x: Any) -> Any:
    mean = mean_of(x)
    off = x - mean
    return mean, total(off * off)


_MEAN_AND_SQUARES = RowProgram(_mean_and_squares, FULL)


def mean_and_squares(x: Any, rows: Any) -> Any:
    """The mean of each row and the sum of squared differences from it, of shape (outer, inner).

    Source of the rule for blocks: Chan, Golub and LeVeque, Updating Formulae and a Pairwise
    Algorithm for Computing Sample Variances.
    """
    outer, n, inner = rows[:3]
    if not _is_shared(rows):
        return _MEAN_AND_SQUARES(outer, n, inner, x)
    found = _in_blocks(_MEAN_AND_SQUARES, [x], n, inner)
    if found is None:
        return None
    means, squares = found
    block = _block_of(inner)
    lengths = np.full((len(means), 1), block, np.float64)
    lengths[-1] = n - (len(means) - 1) * block
    mean = np.add.reduce(means * lengths, 0) / n
    between = np.add.reduce((means - mean) ** 2 * lengths, 0)
    squares = np.add.reduce(squares, 0, np.float64) + between
    return mean[None].astype(x.dtype), squares[None].astype(x.dtype)


def _variances(x: Any, *, correction: float) -> Any:
    mean = mean_of(x)
    off = x - mean
    return total(off * off) / (x.row_length() - x.dtype.type(correction))


def _deviations(x: Any, *, correction: float) -> Any:
    return np.sqrt(_variances(x, correction=correction))


_VARIANCES, _DEVIATIONS = RowProgram(_variances, FULL), RowProgram(_deviations, FULL)


@replayed
def _variance(
    program: RowProgram, input: Any, dim: Any, unbiased: Any, keepdim: bool, correction: Any
) -> Any:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None:
        correction = 1 if unbiased else 0
    correction = 1 if correction is None else correction
    axis = _axes_of(dim, input)
    rows = None if axis is False else as_rows(input, axis)
    if rows is None or rows[1] <= correction:
        return None
    if not _is_shared(rows):
        found = program(*rows[:3], input, correction=correction)
        return None if found is None else _shaped(found[0], rows, keepdim)
    found = mean_and_squares(input, rows)
    if found is None:
        return None
    left = input.dtype.type(rows[1] - correction)
    variance = np.true_divide(found[1], left)
    return _shaped(np.sqrt(variance) if program is _DEVIATIONS else variance, rows, keepdim)


def var(
    input: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *,
    correction: Any = None,
) -> Any:
    return _variance(_VARIANCES, input, dim, unbiased, keepdim, correction)


def std(
    input: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *,
    correction: Any = None,
) -> Any:
    return _variance(_DEVIATIONS, input, dim, unbiased, keepdim, correction)


def _log_sum_exp(x: Any) -> Any:
    info = np.finfo(x.dtype)
    most = np.minimum(np.maximum(largest(x), x.dtype.type(info.min)), x.dtype.type(info.max))
    return np.log(total(np.exp(x - most))) + most


_LOG_SUM_EXP = RowProgram(_log_sum_exp, FULL)


@replayed
def _log_sum_exp_along(input: Any, dim: Any, keepdim: bool) -> Any:
    axis = _axes_of(dim, input)
    rows = None if axis is False else as_rows(input, axis)
    if rows is None or _is_shared(rows):
        return None
    found = _LOG_SUM_EXP(*rows[:3], input)
    return None if found is None else _shaped(found[0], rows, keepdim)


def logsumexp(input: Any, dim: Any, keepdim: bool = False) -> Any:
    return _log_sum_exp_along(input, dim, keepdim)


# -- losses ----------------------------------------------------------------------------------------


def _squared_error(x: Any, y: Any) -> Any:
    off = x - y
    return total(off * off)


_SQUARED_ERROR = RowProgram(_squared_error, FULL, FULL)


@replayed
def _total_squared_error(x: Any, y: Any) -> Any:
    return _reduced(_SQUARED_ERROR, PRECISE_TOTAL, [x, y], as_rows(x, None))


def _entropy_of_logits(x: Any, y: Any) -> Any:
    softplus = np.log1p(np.exp(-np.abs(x))) + np.maximum(-x, x.dtype.type(0))
    return total((1 - y) * x + softplus)


_ENTROPY_OF_LOGITS = RowProgram(_entropy_of_logits, FULL, FULL)


@replayed
def _total_entropy_of_logits(x: Any, y: Any) -> Any:
    return _reduced(_ENTROPY_OF_LOGITS, PRECISE_TOTAL, [x, y], as_rows(x, None))


def _reduced_loss(
    total_of: Callable[[Any, Any], Any], input: Any, target: Any, reduction: str
) -> Any:
    rows = as_rows(input, None)
    if rows is None or reduction == "none" or type(target) is not ndarray or not (
        target.shape == input.shape and target.dtype is input.dtype and target.flags.c_contiguous
    ):
        return None
    found = total_of(input, target)
    if found is None:
        return None
    value = found.reshape(())
    return value / as_divisor(input.size, input.dtype) if reduction == "mean" else value


def squared_error(input: Any, target: Any, reduction: str = "mean") -> Any:
    return _reduced_loss(_total_squared_error, input, target, reduction)


def binary_entropy_of_logits(
    input: Any, target: Any, weight: Any, pos_weight: Any, reduction: str
) -> Any:
    if weight is not None or pos_weight is not None:
        return None
    return _reduced_loss(_total_entropy_of_logits, input, target, reduction)
