"""Reads and writes of parts of arrays: one element of each row, rows, positions of axes.

One element of each row is found by comparing all numbers of columns with the row's own, where an
index would have to be looked up element by element.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from taper.arrays.element import ElementArray
from taper.compilation.lowering.nodes import Lowering, reshaped
from taper.compilation.lowering.operations import Check, Map, RowPick, RowSum, is_known
from taper.compilation.lowering.rules import filled, rule
from taper.compilation.lowering.values import View
from taper.compilation.passes.views import Cut, cuts_of
from taper.compilation.recorded import OutOfRange
from taper.compiler.graph import GraphNode, Reference

__all__: list[str] = []

_MOST_CLASSES = 4096  # picks from longer rows aren't worth comparing all
_LONGEST_AXIS = 1 << 16  # of which one position is written
_MOST_COPIED = 8  # times as much as is written, of an array that could be written to in place


# -- reads -----------------------------------------------------------------------------------------


def _is_count(item: Any, count: int) -> bool:
    if isinstance(item, Reference):  # of a symbolic size
        return item.node.function is np.arange and item.node.args == (count,)
    return (isinstance(item, np.ndarray) and item.shape == (count,)
            and bool((item == np.arange(count)).all()))


def _picked_column(lowering: Lowering, shape: tuple[int, ...], index: Any) -> View | None:
    """The index i of `x[arange(n), i]`, for such an index."""
    if not (type(index) is tuple and len(index) == 2):
        return None
    if len(shape) != 2 or not _is_count(index[0], shape[0]) or shape[1] > _MOST_CLASSES:
        return None
    if not isinstance(index[1], Reference):
        return None
    found = lowering.view(index[1])
    return found if found.shape == (shape[0],) and found.dtype.kind == "i" else None


def _is_chosen(lowering: Lowering, index: View, count: int) -> View:
    """Where the columns are the rows' own: (n, count), after a check of the index."""
    n = prod(index.shape)
    column = View(index.value, index.offset, (n, 1), (index.strides[0], 0))
    _check(lowering, column, count, 1)
    places = lowering.constant(("columns", count), lambda: np.arange(count, dtype=np.int32))
    row = View(places.value, 0, (1, count), (0, 1))

    def chosen(i: ElementArray, place: ElementArray) -> ElementArray:
        e = i.e
        short = e.convert(i.node, "i32")
        below = e.compare("lt", short, e.constant(0, "i32"))
        short = e.select(below, e.add(short, e.constant(count, "i32")), short)
        return i.like(e.compare("eq", place.node, short), np.dtype(bool))

    return lowering.must_map("is column", chosen, column, row)


def _check(lowering: Lowering, index: View, count: int, axis: int) -> None:
    """Adds a check that an index is within bounds, once for an index."""
    key = "checked", index.value, index.offset, index.shape, index.strides, count
    if key in lowering.arguments:
        return
    lowering.arguments[key] = True

    def is_outside(i: ElementArray) -> ElementArray:
        e, kind = i.e, i.node.type
        one, zero = e.constant(1, "i32"), e.constant(0, "i32")
        low = e.compare("lt", i.node, e.constant(-count, kind))
        high = e.compare("ge", i.node, e.constant(count, kind))
        return i.like(e.select(e.make("or", (low, high), "b1"), one, zero), np.dtype(np.int32))

    outside = lowering.must_map("is outside", is_outside, index)
    found = lowering.reduce("reduce_max", outside, range(len(index.shape)))

    def complain(numbers: Any) -> None:
        wrong = numbers[(numbers < -count) | (numbers >= count)]
        raise OutOfRange(
            f"index {wrong.flat[0]} is out of bounds for axis {axis} with size {count}")

    lowering.add(Check(found, index, complain))


@rule("__getitem__")
def _(lowering: Lowering, node: GraphNode) -> Any:
    source, index = node.args
    if not isinstance(source, Reference):
        return None
    from taper.arrays.traced import _is_plain_index

    if _is_plain_index(index):
        assert node.function is not None
        return lowering.view(source).through(node.function, index)
    x = lowering.view(source)
    column = _picked_column(lowering, x.shape, index)
    return None if column is None else _pick(lowering, x, column)


@rule("take")
def _(lowering: Lowering, node: GraphNode) -> Any:
    """Rows of a table."""
    axis = node.kwargs.get("axis", node.args[2] if len(node.args) > 2 else None)
    if axis != 0 or set(node.kwargs) - {"axis"} or not all(map(lowering.is_array, node.args[:2])):
        return None
    table, index = map(lowering.view, node.args[:2])
    shape, dtype = node.results[0]
    if index.dtype != np.int64 or not table.shape:
        return None
    numbers = None if index.value.is_size else index.value.constant
    if numbers is not None and index.is_whole and index.size <= table.shape[0] and (
            numbers.reshape(-1) == np.arange(index.size)).all() and len(index.shape) == 1:
        return View(table.value, table.offset, shape, table.strides)
    places = _row_numbers(lowering, index, table.shape[0])
    if not table.is_whole:
        table = lowering.copied(table)
    out = lowering.new_value(shape, dtype)
    lowering.add(RowPick("take", [table, places], [out]))
    return View.of(out)


def _row_numbers(lowering: Lowering, index: View, count: int) -> View:
    """The index as numbers from 0 on, in C order, after a check."""
    _check(lowering, index, count, 0)

    def counted(i: ElementArray) -> ElementArray:
        e = i.e
        below = e.compare("lt", i.node, e.constant(0, "i64"))
        return i.like(e.select(below, e.add(i.node, e.constant(count, "i64")), i.node), i.dtype)

    return lowering.must_map("row numbers", counted, index)


@rule("add_rows")
def _(lowering: Lowering, node: GraphNode) -> Any:
    count, index, rows = node.args
    if isinstance(count, Reference) or not (lowering.is_array(index) and lowering.is_array(rows)):
        return None
    places, given = lowering.view(index), lowering.view(rows)
    shape, dtype = node.results[0]
    if (places.dtype != np.int64 or len(places.shape) != 1 or given.dtype != dtype
            or dtype.name not in ("float32", "float64")):
        return None
    numbers = places.value.constant
    if numbers is not None and places.is_whole and numbers.shape == (count,) and (
            numbers == np.arange(count)).all():
        return given
    if not given.is_whole:
        given = lowering.copied(given)
    out = lowering.new_value(shape, dtype)
    lowering.add(RowSum("add_rows", [given, _row_numbers(lowering, places, count)], [out]))
    return View.of(out)


@rule("take_along_axis")
def _(lowering: Lowering, node: GraphNode) -> Any:
    if len(node.args) != 3 or not all(map(lowering.is_array, node.args[:2])):
        return None
    x, index = map(lowering.view, node.args[:2])
    axis = node.args[2]
    if (len(x.shape) != 2 or axis not in (1, -1) or index.shape != (x.shape[0], 1)
            or x.shape[1] > _MOST_CLASSES or index.dtype.kind != "i"):
        return None
    column = View(index.value, index.offset, index.shape[:1], index.strides[:1])
    found = _pick(lowering, x, column)
    return None if found is None else View(found.value, 0, index.shape, (1, 0))


def _pick(lowering: Lowering, x: View, column: View) -> View | None:
    """One element of each row. All others become the least there is, and the largest is taken."""
    if x.dtype.name not in ("float32", "float64"):
        return None
    is_chosen = _is_chosen(lowering, column, x.shape[1])
    least = x.dtype.type(-np.inf)
    others = lowering.must_map("choose", lambda c, a: np.where(c, a, least), is_chosen, x)
    return lowering.reduce("reduce_max", others, (1,))


# -- writes to positions of axes -------------------------------------------------------------------


@rule("setitem")
def _(lowering: Lowering, node: GraphNode) -> Any:
    """x[1:, 3] = value, or x[arange(n), i] = value"""
    array, index, value = node.args
    if not lowering.is_array(array):
        return None
    x = lowering.view(array)
    cuts = cuts_of(index, x.shape)
    if cuts is None:
        return _with_columns(lowering, x, index, value)
    if not _are_known(cuts, x) or prod(
            [x.shape[c.axis] / max(c.stop - c.start, 1) for c in cuts]) > _MOST_COPIED:
        return None
    return _with_part(lowering, x, cuts, value)


@rule("scatter")
def _(lowering: Lowering, node: GraphNode) -> Any:
    shape, number, index, value = node.args
    x = filled(lowering, number, shape, node.results[0][1])
    cuts = cuts_of(index, shape)
    if cuts is None:
        return _with_columns(lowering, x, index, value)
    return _with_part(lowering, x, cuts, value) if _are_known(cuts, x) else None


def _are_known(cuts: Sequence[Cut], x: View) -> bool:
    """Whether none depends on the batch size."""
    return all([type(n) is int for c in cuts for n in (x.shape[c.axis], c.start, c.stop)])


def _with_part(lowering: Lowering, x: View, cuts: Sequence[Cut], value: Any) -> View | None:
    """x with a value in a part of it."""
    shape, lines = list(x.shape), [c.axis for c in cuts if c.is_line]
    for cut in cuts:
        shape[cut.axis] = cut.stop - cut.start
    taken = tuple([n for axis, n in enumerate(shape) if axis not in lines])
    if lowering.is_array(value):
        given = lowering.view(value)
    elif np.ndim(value) == 0:
        given = filled(lowering, value, taken, x.dtype)
    else:
        return None
    if given.dtype != x.dtype or not is_known(x.dtype) or len(given.shape) > len(taken):
        return None
    strides = list(given.broadcast(taken).strides)
    for axis in lines:
        strides.insert(axis, 0)
    given = View(given.value, given.offset, tuple(shape), tuple(strides))
    if len(cuts) == 1 and shape[cuts[0].axis] == 1 and x.shape[cuts[0].axis] <= _LONGEST_AXIS:
        return _with_line(lowering, x, cuts[0], given)
    return _with_window(lowering, x, cuts, given)


def _with_line(lowering: Lowering, x: View, cut: Cut, given: View) -> View | None:
    """x with values at one position of an axis. Every position reads them, and takes them or not:
    so sums of several such arrays, the gradients of `x[:, 0]`, `x[:, 1]`, …, are one kernel."""
    axis, count = cut.axis, x.shape[cut.axis]
    strides = (*given.strides[:axis], 0, *given.strides[axis + 1:])
    every = View(given.value, given.offset, x.shape, strides)
    places = lowering.constant(("columns", count), lambda: np.arange(count, dtype=np.int32))
    after = len(x.shape) - axis - 1
    along = View(places.value, 0, (1,) * axis + (count,) + (1,) * after,
                 (0,) * axis + (1,) + (0,) * after)

    start, dtype = cut.start, x.dtype

    def write(place: ElementArray, v: ElementArray, old: ElementArray) -> ElementArray:
        e = place.e
        is_line = e.compare("eq", place.node, e.constant(start, "i32"))
        return v.like(e.select(is_line, v.node, old.node), dtype)

    return lowering.map(f"write {start}", write, along, every, x)


def _with_window(lowering: Lowering, x: View, cuts: Sequence[Cut], given: View) -> View:
    """x with values in a window: along each axis, what is before it, they, and what is after it."""
    if not cuts:
        return given
    cut, *rest = cuts
    axis = cut.axis

    def part(start: int, stop: int) -> View:
        shape = (*x.shape[:axis], stop - start, *x.shape[axis + 1:])
        return View(x.value, x.offset + start * x.strides[axis], shape, x.strides)

    inner = _with_window(lowering, part(cut.start, cut.stop), rest, given)
    parts = [part(0, cut.start), inner, part(cut.stop, x.shape[axis])]
    return lowering.joined(parts, axis, x.shape, x.dtype)


# -- writes to one element of each row -------------------------------------------------------------


def _with_columns(lowering: Lowering, x: View, index: Any, value: Any) -> View | None:
    """x with values at one column of each row."""
    column = _picked_column(lowering, x.shape, index)
    if column is None or (isinstance(value, np.ndarray) and value.size == 0):
        return None
    given = _as_column(lowering, value, x.shape[0], x.dtype)
    if given is None:
        return None
    is_chosen = _is_chosen(lowering, column, x.shape[1])
    return lowering.map("scatter", np.where, is_chosen, given, x)


def _as_column(lowering: Lowering, value: Any, rows: int, dtype: Any) -> View | None:
    """A value for each of the rows, as a column; None where it is something else."""
    if not lowering.is_array(value):
        return filled(lowering, value, (rows, 1), dtype) if np.ndim(value) == 0 else None
    view = lowering.view(value)
    if view.dtype != dtype or len(view.shape) > 1:
        return None
    view = view.broadcast((rows,))
    return View(view.value, view.offset, (rows, 1), (view.strides[0], 0))


@rule("at", "scatter_add")
def _(lowering: Lowering, node: GraphNode) -> Any:
    """add.at(x, i + arange(n) * width, value), of an x that holds `n` rows."""
    if node.function.__name__ == "scatter_add":  # type: ignore[union-attr]
        shape, number, index, value = node.args
        x = filled(lowering, number, shape, node.results[0][1])
    else:
        function = getattr(node.function, "function", None)
        if getattr(function, "__self__", None) is not np.add or len(node.args) != 3:
            return None
        array, index, value = node.args
        if not lowering.is_array(array):
            return None
        x = lowering.view(array)
    if not lowering.is_array(index) or len(x.shape) != 1:
        return None
    found = _column_and_width(lowering.view(index), x.shape[0])
    if found is None:
        return None
    column, width = found
    rows = column.shape[0]
    given = _as_column(lowering, value, rows, x.dtype)
    table = x.through(reshaped, (rows, width))
    if given is None or table is None:
        return None
    is_chosen = _is_chosen(lowering, column, width)
    result = lowering.map(
        "add.at", lambda c, a, v: np.where(c, np.add(a, v), a), is_chosen, table, given)
    return None if result is None else View(result.value, 0, x.shape, (1,))


def _column_and_width(index: View, size: int) -> tuple[View, int] | None:
    """What was added to the beginnings of rows, and how long these are."""
    maker = index.value.maker
    if not isinstance(maker, Map) or not maker.label.startswith("add") or len(maker.views) != 2:
        return None
    n = index.size
    if not index.is_whole or size % n:
        return None
    width = size // n
    for base, other in (maker.views, maker.views[::-1]):
        starts = other.value.constant
        if (starts is not None and base.is_whole and other.is_whole and width <= _MOST_CLASSES
                and (starts.reshape(-1) == np.arange(n) * width).all()):
            return View(base.value, 0, (n,), (1,)), width
    return None
