"""How functions that aren't elementwise are taken apart, by name.

A rule gets the Lowering and a node, and returns the view of its result (a tuple of them for several
results), or None where it doesn't apply.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.arrays.element import ElementArray
from taper.compilation.lowering.nodes import Lowering, reshaped
from taper.compilation.lowering.operations import is_known
from taper.compilation.lowering.values import View, contiguous, inverse, order_in_memory
from taper.compiler.graph import GraphNode, Reference

__all__ = ["RULES", "filled", "rule"]

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
