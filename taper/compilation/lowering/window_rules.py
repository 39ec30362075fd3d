"""Convolutions and pooling, as the kernels that eager calls have.

What follows a convolution elementwise at once is part of it: its bias, and a floor at zero (ReLU).
So is the floor of a maximum's gradient, which is zero where the maximum isn't above zero.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from taper.compilation.lowering.nodes import Lowering, name_of
from taper.compilation.lowering.operations import Prepared
from taper.compilation.lowering.recipes import made_by, prepared
from taper.compilation.lowering.rules import RULES, rule
from taper.compilation.lowering.values import View, contiguous
from taper.compiler.graph import GraphNode, Reference
from taper.compiler.machine import vector_bytes
from taper.kernels.convolution_recipes import (
    Convolution,
    forward_recipe,
    input_recipe,
    weight_recipe,
)
from taper.kernels.native_pooling import pooling_recipe
from taper.kernels.pooling import even_windows

__all__: list[str] = []

Ints = tuple[int, ...]

_KINDS = {"float32": "f32", "float64": "f64"}


# -- convolutions ----------------------------------------------------------------------------------


def _operands(lowering: Lowering, *items: Any) -> list[View] | None:
    """The views of arrays that kernels take, and aren't empty; None for others."""
    if not all(map(lowering.is_array, items)):
        return None
    views = [lowering.view(item) for item in items]
    dtype = views[0].dtype
    if dtype.name not in _KINDS or any(v.dtype != dtype or not v.size for v in views):
        return None
    return views


def _strides(view: View) -> Ints:
    """The strides in bytes that an operand of a recipe has."""
    return tuple([s * view.dtype.itemsize for s in contiguous(view.shape)])


def _convolution(view: View, kernel: Ints, numbers: Any) -> Convolution:
    stride, padding, dilation, groups = numbers
    return Convolution(
        tuple(kernel), tuple(stride), tuple(padding), tuple(dilation), groups,
        _KINDS[view.dtype.name], vector_bytes())


@rule("convolve")
def _(lowering: Lowering, node: GraphNode) -> Any:
    x, weight, *numbers = node.args[:6]
    bias = list(node.args[6:7]) if len(node.args) > 6 and node.args[6] is not None else []
    views = _operands(lowering, x, weight, *bias)
    if views is None or len(views[1].shape) > 5 or node.kwargs:
        return None
    recipe = prepared(
        forward_recipe, views[0].shape, _strides(views[0]), views[1].shape,
        _convolution(views[0], views[1].shape[2:], numbers), bool(bias),
        _floor_of(lowering, node) is not None)
    return None if recipe is None else made_by(lowering, "convolve", recipe, views)


def _floor_of(lowering: Lowering, node: GraphNode) -> GraphNode | None:
    """The node that takes the maximum of zero and a node's result, if nobody else reads that."""
    readers = lowering.consumers.get(node.number, [])
    is_output = any(r.node is node for r in lowering.graph.outputs.values())
    if is_output or len(readers) != 1 or readers[0].function is not np.maximum:
        return None
    args = readers[0].args
    is_floor = len(args) == 2 and not readers[0].kwargs and any(
        not isinstance(a, Reference) and np.ndim(a) == 0 and a == 0 for a in args)
    return readers[0] if is_floor else None


@rule("maximum")
def _(lowering: Lowering, node: GraphNode) -> Any:
    """Nothing, where a convolution has done it."""
    for item in node.args:
        if isinstance(item, Reference):
            view = lowering.view(item)
            if (name_of(item.node) == "convolve" and isinstance(view.value.maker, Prepared)
                    and _floor_of(lowering, item.node) is node):
                return view
    return None


@rule("input_gradient")
def _(lowering: Lowering, node: GraphNode) -> Any:
    grad, weight, size, *numbers = node.args[:7]
    bias = list(node.args[7:8]) if len(node.args) > 7 and node.args[7] is not None else []
    views = _operands(lowering, grad, weight, *bias)
    if views is None or len(views[1].shape) > 5 or node.kwargs:
        return None
    recipe = prepared(
        input_recipe, views[0].shape, _strides(views[0]), views[1].shape, tuple(size),
        _convolution(views[0], views[1].shape[2:], numbers), bool(bias))
    return None if recipe is None else made_by(lowering, "input_gradient", recipe, views)


@rule("weight_gradient")
def _(lowering: Lowering, node: GraphNode) -> Any:
    grad, x, kernel, *numbers = node.args
    views = _operands(lowering, grad, x)
    if views is None or len(kernel) > 3 or node.kwargs:
        return None
    recipe = prepared(
        weight_recipe, views[0].shape, views[1].shape, _strides(views[1]),
        _convolution(views[0], kernel, numbers))
    return None if recipe is None else made_by(lowering, "weight_gradient", recipe, views)


# -- pooling ---------------------------------------------------------------------------------------


def _pooled(
    lowering: Lowering, task: str, views: list[View] | None, lead: Ints, size: Ints, windows: Any,
    out: Ints, has_floor: bool = False,
) -> View | None:
    if views is None:
        return None
    recipe = prepared(
        pooling_recipe, task, views[0].dtype, tuple(lead), tuple(size), windows, tuple(out),
        has_floor)
    return None if recipe is None else made_by(lowering, task, recipe, views)


@rule("max_pool")
def _(lowering: Lowering, node: GraphNode) -> Any:
    x, windows, out = node.args
    shape, first = node.results[0][0], len(node.results[0][0]) - len(out)
    views = _operands(lowering, x)
    return views and _pooled(
        lowering, "max", views, shape[:first], views[0].shape[first:], windows, out)


@rule("max_pool_gradient")
def _(lowering: Lowering, node: GraphNode) -> Any:
    return _maximum_gradient(lowering, node, False)


def _maximum_gradient(lowering: Lowering, node: GraphNode, has_floor: bool) -> Any:
    grad, x, windows, out = node.args
    shape, first = node.results[0][0], len(node.results[0][0]) - len(out)
    return _pooled(lowering, "max gradient", _operands(lowering, grad, x), shape[:first],
                   shape[first:], windows, out, has_floor)


_where = RULES["where"]


@rule("where")
def _(lowering: Lowering, node: GraphNode) -> Any:
    found = _floored_gradient(lowering, node)
    return _where(lowering, node) if found is None else found


def _floored_gradient(lowering: Lowering, node: GraphNode) -> Any:
    """where(x <= 0, 0, gradient of the maxima of windows of x), in one walk over x."""
    if len(node.args) != 3 or node.kwargs:
        return None
    is_low, zero, grad = node.args
    if not (isinstance(is_low, Reference) and isinstance(grad, Reference)) or (
            isinstance(zero, Reference) or np.ndim(zero) or zero != 0):
        return None
    test, source = is_low.node, grad.node
    if name_of(source) != "max_pool_gradient" or test.function is not np.less_equal or (
            len(test.args) != 2 or not isinstance(test.args[0], Reference)
            or isinstance(test.args[1], Reference) or np.ndim(test.args[1]) or test.args[1] != 0):
        return None
    x = source.args[1]
    if not isinstance(x, Reference) or (
            lowering.view(x).value is not lowering.view(test.args[0]).value):
        return None
    return _maximum_gradient(lowering, source, True)


def _divisors(lowering: Lowering, divisor: Any, out: Ints, dtype: Any) -> View:
    return lowering.view(np.full(out, divisor, dtype))


def _mean(
    lowering: Lowering, item: Any, windows: Any, out: Ints, divisor: Any
) -> View | None:
    views = _operands(lowering, item)
    if views is None or isinstance(divisor, Reference):
        return None
    shape, first = views[0].shape, len(views[0].shape) - len(out)
    views.append(_divisors(lowering, divisor, out, views[0].dtype))
    return _pooled(lowering, "mean", views, shape[:first], shape[first:], windows, out)


def _mean_gradient(
    lowering: Lowering, item: Any, size: Ints, windows: Any, out: Ints, divisor: Any
) -> View | None:
    views = _operands(lowering, item)
    if views is None or isinstance(divisor, Reference):
        return None
    lead = views[0].shape[: len(views[0].shape) - len(out)]
    views.append(_divisors(lowering, divisor, out, views[0].dtype))
    return _pooled(lowering, "mean gradient", views, lead, size, windows, out)


@rule("mean_pool")
def _(lowering: Lowering, node: GraphNode) -> Any:
    x, windows, out, divisor = node.args
    return _mean(lowering, x, windows, tuple(out), divisor)


@rule("mean_pool_gradient")
def _(lowering: Lowering, node: GraphNode) -> Any:
    grad, size, windows, out, divisor = node.args
    return _mean_gradient(lowering, grad, tuple(size), windows, tuple(out), divisor)


@rule("adaptive_mean")
def _(lowering: Lowering, node: GraphNode) -> Any:
    x, out = node.args
    size = lowering.view(x).shape[-len(out):]
    windows = even_windows(size, tuple(out))
    if windows is None:
        return None
    return _mean(lowering, x, windows, tuple(out), prod(windows.kernel))


@rule("adaptive_mean_gradient")
def _(lowering: Lowering, node: GraphNode) -> Any:
    grad, size = node.args
    out = lowering.view(grad).shape[-len(size):]
    windows = even_windows(tuple(size), out)
    if windows is None:
        return None
    return _mean_gradient(lowering, grad, tuple(size), windows, out, prod(windows.kernel))
