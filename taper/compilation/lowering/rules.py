"""How functions that aren't elementwise are taken apart, by name.

A rule gets the Lowering and a node, and returns the view of its result (a tuple of them for several
results), or None where it doesn't apply.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from taper.arrays.element import ElementArray
from taper.compilation.lowering.nodes import Lowering, reshaped
from taper.compilation.lowering.operations import Check, Map, RowPick, RowSum, is_known
from taper.compilation.lowering.values import View, contiguous, inverse, order_in_memory
from taper.compilation.passes.views import cut_of
from taper.compilation.recorded import OutOfRange
from taper.compiler.graph import GraphNode, Reference

__all__ = ["RULES", "filled", "rule"]

_LONGEST_AXIS = 1 << 16  # of which one position is written, while the others are filled
_MOST_LINES = 8  # of an array that is there, and could be written to in place
_MOST_CLASSES = 4096  # picks from longer rows aren't worth comparing all

Rule = Callable[[Lowering, GraphNode], Any]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    def add(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return add


@rule("matmul", "dot")
def _(lowering: Lowering, node: GraphNode) -> Any:
    return lowering.product(node)


@rule("where")
def _(lowering: Lowering, node: GraphNode) -> Any:
    if len(node.args) != 3 or node.kwargs:
        return None
    return lowering.map_call(node, np.where, node.args, {})


@rule("astype")
def _(lowering: Lowering, node: GraphNode) -> Any:
    source, dtype = node.args[0], node.results[0][1]
    if not lowering.is_array(source):
        return None
    view = lowering.view(source)
    if view.dtype == dtype:
        return view
    return lowering.map(f"astype {dtype}", lambda x: x.astype(dtype), view)


@rule("copy")
def _(lowering: Lowering, node: GraphNode) -> Any:
    return lowering.view(node.args[0]) if lowering.is_array(node.args[0]) else None


@rule("laid_out")
def _(lowering: Lowering, node: GraphNode) -> Any:
    """The array with given strides: the order of its axes in memory."""
    source, strides = node.args
    if not lowering.is_array(source):
        return None
    view = lowering.view(source)
    if not is_known(view.dtype):
        return None
    order = order_in_memory(view.shape, strides)
    turned = view.permuted(order)
    if not turned.is_whole or view.value.input is not None or view.value.constant is not None:
        turned = lowering.copied(turned)
    return turned.permuted(inverse(order))


@rule("window")
def _(lowering: Lowering, node: GraphNode) -> Any:
    """Windows of an array in C's order, with strides and an offset in bytes."""
    source, shape, strides, *offset = node.args
    if not isinstance(source, Reference) or node.kwargs:
        return None
    view = lowering.view(source)
    item = view.dtype.itemsize
    start = offset[0] if offset else 0
    if not is_known(view.dtype) or start % item or any(s % item for s in strides):
        return None
    if not view.is_whole:
        view = lowering.copied(view)
    return View(view.value, start // item, tuple(shape), tuple([s // item for s in strides]))


# -- constants ---------------------------------------------------------------------------------


@rule("ones_like", "zeros_like", "full_like", "full", "ones", "zeros")
def _(lowering: Lowering, node: GraphNode) -> Any:
    name = node.function.__name__  # type: ignore[union-attr]
    shape, dtype = node.results[0]
    if name.startswith("full"):
        number = node.args[1]
        if isinstance(number, Reference):
            return _filled_with(lowering, number, shape, dtype)
        if np.ndim(number):
            return None
    else:
        number = 1 if name.startswith("ones") else 0
    return filled(lowering, number, shape, dtype)


def _filled_with(lowering: Lowering, number: Reference, shape: Any, dtype: Any) -> View | None:
    view = lowering.view(number)
    if view.size != 1:
        return None
    if view.dtype != dtype:
        found = lowering.map(f"astype {dtype}", lambda x: x.astype(dtype), view)
        if found is None:
            return None
        view = found
    return View(view.value, view.offset, (1,) * len(shape), (0,) * len(shape)).broadcast(shape)


def filled(lowering: Lowering, number: Any, shape: Any, dtype: Any) -> View:
    """An array of one number: a constant of one element, seen everywhere."""
    key = "number", np.dtype(dtype).str, np.asarray(number).astype(dtype).tobytes()
    view = lowering.constant(key, lambda: np.full(1, number, dtype))
    return View(view.value, 0, (1,) * len(shape), (0,) * len(shape)).broadcast(shape)


@rule("array", "constant")
def _(lowering: Lowering, node: GraphNode) -> Any:
    source = node.args[0]
    if not isinstance(source, np.ndarray) or node.kwargs or len(node.args) > 1:
        return None
    return lowering.view(source)


# -- rows --------------------------------------------------------------------------------------


@rule("whole logsumexp")
def _(lowering: Lowering, node: GraphNode) -> Any:
    x, *rest = node.args
    if not lowering.is_array(x) or len(rest) != 2 or node.kwargs or type(rest[0]) is not int:
        return None
    view = lowering.view(x)
    if view.dtype.name not in ("float32", "float64"):
        return None
    axis = rest[0] % len(view.shape)
    largest = lowering.reduce("reduce_max", view, (axis,), True)
    finite = lowering.must_map("finite", _zero_where_infinite, largest)
    powers = lowering.must_map("exp", lambda a, m: np.exp(np.subtract(a, m)), view, finite)
    total = lowering.reduce("reduce_sum", powers, (axis,), True)
    found = lowering.must_map("log", lambda t, m: np.add(np.log(t), m), total, finite)
    shape = node.results[0][0]
    return (View(found.value, 0, shape, contiguous(shape)),)


def _zero_where_infinite(x: ElementArray) -> Any:
    e, kind = x.e, x.node.type
    is_infinite = e.compare("eq", e.unary("abs", x.node), e.constant(math.inf, kind))
    return x.like(e.select(is_infinite, e.constant(0, kind), x.node), x.dtype)


@rule("normalize_rows")
def _(lowering: Lowering, node: GraphNode) -> Any:
    source, eps = node.args
    if not lowering.is_array(source) or isinstance(eps, Reference):
        return None
    x = lowering.view(source)
    if x.dtype.name not in ("float32", "float64"):
        return None
    count = x.dtype.type(x.shape[1])
    small = x.dtype.type(eps)
    total = lowering.reduce("reduce_sum", x, (1,), True)
    mean = lowering.must_map("mean", lambda t: np.divide(t, count), total)
    centered = lowering.must_map("center", np.subtract, x, mean)
    squares = lowering.must_map("square", np.square, centered)
    spread = lowering.reduce("reduce_sum", squares, (1,), True)
    inverse = lowering.must_map(
        "rsqrt", lambda s: np.reciprocal(np.sqrt(np.add(np.divide(s, count), small))), spread)
    return lowering.must_map("scale", np.multiply, centered, inverse), mean, inverse


@rule("row_gradient")
def _(lowering: Lowering, node: GraphNode) -> Any:
    if not all(map(lowering.is_array, node.args)):
        return None
    grad, normalized, inverse = map(lowering.view, node.args)
    if grad.dtype.name not in ("float32", "float64") or normalized.dtype != grad.dtype:
        return None
    count = grad.dtype.type(grad.shape[1])
    first = lowering.reduce("reduce_sum", grad, (1,), True)
    products = lowering.must_map("multiply", np.multiply, grad, normalized)
    second = lowering.reduce("reduce_sum", products, (1,), True)

    def gradient(g: Any, n: Any, a: Any, b: Any, i: Any) -> Any:
        return (g - n * (b / count) - a / count) * i

    return lowering.must_map("row_gradient", gradient, grad, normalized, first, second, inverse)


@rule("normalize_channels")
def _(lowering: Lowering, node: GraphNode) -> Any:
    source, weight, bias, eps = node.args
    if not lowering.is_array(source) or isinstance(eps, Reference):
        return None
    x = lowering.view(source)
    if x.dtype.name not in ("float32", "float64"):
        return None
    count = lowering.size(x.shape[0] * x.shape[2], x.dtype)
    small = x.dtype.type(eps)
    total = lowering.reduce("reduce_sum", x, (0, 2), True)
    mean = lowering.must_map("mean", np.divide, total, count)
    centered = lowering.must_map("center", np.subtract, x, mean)
    squares = lowering.must_map("square", np.square, centered)
    spread = lowering.reduce("reduce_sum", squares, (0, 2), True)
    variance = lowering.must_map("variance", np.divide, spread, count)
    inverse = lowering.must_map(
        "rsqrt", lambda v: np.reciprocal(np.sqrt(np.add(v, small))), variance)
    scale = inverse if weight is None else lowering.must_map(
        "scale", np.multiply, inverse, _per_channel(lowering, weight))
    result = lowering.must_map("multiply", np.multiply, centered, scale)
    if bias is not None:
        result = lowering.must_map("shift", np.add, result, _per_channel(lowering, bias))
    flat = [View(v.value, 0, (x.shape[1],), (1,)) for v in (mean, variance, inverse)]
    return result, *flat


def _per_channel(lowering: Lowering, item: Any) -> View:
    """A number for each channel, over (batch, channels, rest)."""
    view = lowering.view(item)
    return View(view.value, view.offset, (1, view.shape[0], 1), (0, view.strides[0], 0))


@rule("channel_gradient")
def _(lowering: Lowering, node: GraphNode) -> Any:
    source, given, mean, inverse, weight, batch_statistics = node.args
    if not all(map(lowering.is_array, (source, given, mean, inverse))) or not batch_statistics:
        return None
    grad, x = lowering.view(source), lowering.view(given)
    if grad.dtype.name not in ("float32", "float64") or x.dtype != grad.dtype:
        return None
    count = lowering.size(x.shape[0] * x.shape[2], grad.dtype)
    inverses = _per_channel(lowering, inverse)
    centered = lowering.must_map("center", np.subtract, x, _per_channel(lowering, mean))
    total = lowering.reduce("reduce_sum", grad, (0, 2), True)
    products = lowering.must_map("multiply", np.multiply, grad, centered)
    product = lowering.reduce("reduce_sum", products, (0, 2), True)
    for_weight = lowering.must_map("for weight", np.multiply, product, inverses)
    scale = inverses if weight is None else lowering.must_map(
        "scale", np.multiply, inverses, _per_channel(lowering, weight))
    slope = lowering.must_map(
        "slope", lambda p, i, n: np.divide(np.multiply(np.negative(np.square(i)), p), n),
        product, inverses, count)
    first = lowering.must_map("mean", np.divide, total, count)

    def gradient(c: Any, g: Any, s: Any, a: Any, f: Any) -> Any:
        return (c * s + g - a) * f

    result = lowering.must_map("channel_gradient", gradient, centered, grad, slope, first, scale)
    flat = [View(v.value, 0, (x.shape[1],), (1,)) for v in (for_weight, total)]
    return result, *flat


# -- joining -----------------------------------------------------------------------------------


@rule("concatenate")
def _(lowering: Lowering, node: GraphNode) -> Any:
    parts = node.args[0]
    axis = node.kwargs.get("axis", node.args[1] if len(node.args) > 1 else 0)
    shape, dtype = node.results[0]
    if type(axis) is not int or not all(map(lowering.is_array, parts)) or set(node.kwargs) - {
            "axis"}:
        return None
    views = [lowering.view(p) for p in parts]
    if not is_known(dtype) or any(
            v.dtype != dtype or len(v.shape) != len(shape) for v in views):
        return None
    return lowering.joined(views, axis % len(shape), shape, dtype)


@rule("write")
def _(lowering: Lowering, node: GraphNode) -> Any:
    """A write into a view that is the whole array, in another order: the value, so ordered."""
    _, steps, value = node.args
    shape, dtype = node.results[0]
    if not lowering.is_array(value):
        return None
    whole = View.of(lowering.new_value(shape, dtype))
    seen = whole
    for step in steps:
        if step.__name__.startswith(".reshape"):
            found = seen.through(reshaped, *step.args)
        else:
            found = seen.through(step.function, *step.args, **step.kwargs)
        if found is None:
            return None
        seen = found
    source = lowering.view(value)
    if source.dtype != dtype or seen.offset or seen.size != whole.size:
        return None
    order = sorted(range(len(seen.shape)), key=lambda d: -seen.strides[d])
    order = [d for d in order if seen.shape[d] != 1]
    if contiguous([seen.shape[d] for d in order]) != tuple([seen.strides[d] for d in order]):
        return None
    given = source.broadcast(seen.shape).permuted(order)
    return given.through(reshaped, shape) or lowering.copied(given).through(reshaped, shape)


# -- one element of each row -------------------------------------------------------------------


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


@rule("setitem")
def _(lowering: Lowering, node: GraphNode) -> Any:
    """x[arange(n), i] = value, or x[..., 3] = value"""
    array, index, value = node.args
    if not lowering.is_array(array):
        return None
    x = lowering.view(array)
    return (_with_line(lowering, x, index, value, _MOST_LINES)
            or _with_columns(lowering, x, index, value))


@rule("scatter")
def _(lowering: Lowering, node: GraphNode) -> Any:
    shape, number, index, value = node.args
    x = filled(lowering, number, shape, node.results[0][1])
    return (_with_line(lowering, x, index, value, _LONGEST_AXIS)
            or _with_columns(lowering, x, index, value))


def _with_line(lowering: Lowering, x: View, index: Any, value: Any, longest: int) -> View | None:
    """x with values at one position of an axis. Every position reads them, and takes them or not:
    so sums of several such arrays, the gradients of `x[:, 0]`, `x[:, 1]`, …, are one kernel."""
    found = cut_of(index, x.shape)
    if found is None or not found.is_line or type(x.shape[found.axis]) is not int:
        return None
    axis, count = found.axis, x.shape[found.axis]
    rest = (*x.shape[:axis], *x.shape[axis + 1:])
    if lowering.is_array(value):
        given = lowering.view(value)
    elif np.ndim(value) == 0:
        given = filled(lowering, value, rest, x.dtype)
    else:
        return None
    if count > longest or given.dtype != x.dtype or len(given.shape) > len(rest):
        return None
    given = given.broadcast(rest)
    every = View(given.value, given.offset, x.shape,
                 (*given.strides[:axis], 0, *given.strides[axis:]))
    places = lowering.constant(("columns", count), lambda: np.arange(count, dtype=np.int32))
    after = len(x.shape) - axis - 1
    along = View(places.value, 0, (1,) * axis + (count,) + (1,) * after,
                 (0,) * axis + (1,) + (0,) * after)

    def write(place: ElementArray, v: ElementArray, old: ElementArray) -> ElementArray:
        e = place.e
        is_line = e.compare("eq", place.node, e.constant(found.start, "i32"))
        return v.like(e.select(is_line, v.node, old.node), x.dtype)

    return lowering.map(f"scatter {found.start}", write, along, every, x)


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
