"""Attention (kernels/attention.py has the definition), in one of two ways.

Many matrices without a mask have kernels of their own sizes (compiler/attention_squares.py), which
read operands where they lie, such as three parts of one product, and write gradients just so. Few
scores otherwise are products and one pass over them in between: while all of them fit the cache,
this is quicker than tiles that hold some at a time. The backward pass computes scores again.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from taper.arrays.node_arguments import at_hint, at_size
from taper.arrays.symbolic_shape import environment_in
from taper.compilation.lowering.nodes import Lowering, reshaped, source_of
from taper.compilation.lowering.operations import Prepared
from taper.compilation.lowering.recipes import SizedRecipe, prepared
from taper.compilation.lowering.rules import rule
from taper.compilation.lowering.values import Value, View, inverse, order_in_memory
from taper.compiler.attention_squares import Attention, Place
from taper.compiler.graph import GraphNode
from taper.kernels.attention_recipes import backward_recipe, forward_recipe, has_squares
from taper.kernels.launch_recipes import Recipe

__all__: list[str] = []

_MOST_SCORES = 1 << 18
_KINDS = {"float32": "f32", "float64": "f64"}

Ints = tuple[int, ...]


def _in_batch(lowering: Lowering, view: View, batch: Ints) -> View:
    """(batch, n, m) as (*batch, n, m)."""
    shape = (*batch, *view.shape[-2:])
    for candidate in (source_of(view), view):
        if candidate.shape == shape:
            return candidate
    found = view.through(reshaped, shape)
    return found or View(lowering.copied(view).value, 0, *_dense(shape))


def _dense(shape: Ints) -> tuple[Ints, Ints]:
    strides = tuple([prod(shape[d + 1 :]) for d in range(len(shape))])
    return shape, strides


def _merged(view: View, shape: Ints) -> View:
    """A value in C order, with other dimensions."""
    return View(view.value, 0, *_dense(shape))


def _turned(view: View) -> View:
    order = (*range(len(view.shape) - 2), len(view.shape) - 1, len(view.shape) - 2)
    return view.permuted(order)


# -- many matrices ---------------------------------------------------------------------------------


class _Squares:
    """Operands of kernels of their own sizes, as (items, heads, length, size)."""

    def __init__(self, lowering: Lowering, arrays: Any, causal: bool, scale: float) -> None:
        self.lowering = lowering
        self.views = []
        lead = _lead(lowering.view(arrays[0]))
        for array in arrays:
            view = _in_batch(lowering, lowering.view(array), lead)
            if view.strides[-1] != 1 and view.shape[-1] != 1:
                view = lowering.copied(view)
            self.views.append(view)
        query, key, value = self.views[-3:]
        self.heads = lead[1] if len(lead) > 1 else 1
        self.matrices = prod(lead)
        self.sizes = (*query.shape[-2:], key.shape[-2], value.shape[-1])
        self.causal, self.scale = causal, scale

    def what(self, views: Sequence[View], starts: Sequence[int]) -> Attention:
        """What the kernels are made for, that find arrays where these views have them."""
        queries, size, keys, value_size = self.sizes
        places = tuple([
            self._place(view, start) for view, start in zip(views, starts, strict=True)])
        return Attention(_KINDS[views[0].dtype.name], self.heads, queries, keys, size, value_size,
                         self.causal, self.scale, places)

    def _place(self, view: View, start: int) -> Place:
        item, *heads, row, _ = [s * view.dtype.itemsize for s in view.strides]
        return Place(start * view.dtype.itemsize, item, heads[0] if heads else 0, row)

    def like(self, view: View, width: int) -> View:
        """A new value whose rows are `width` wide and lie as those of a view."""
        order = (*order_in_memory(view.shape[:-1], view.strides[:-1]), len(view.shape) - 1)
        shape = (*view.shape[:-1], width)
        value = self.lowering.new_value(tuple([shape[a] for a in order]), view.dtype)
        return View.of(value).permuted(inverse(order))

    def add(
        self, label: str, recipe: Recipe | SizedRecipe, operands: Sequence[View],
        outs: Sequence[Value],
    ) -> None:
        self.lowering.add(Prepared(label, recipe, operands, outs))

    def flat(self, view: View, shape: Ints) -> View:
        """A result as (matrices, length, size), for those who want it so."""
        found = view.through(reshaped, shape)
        return found or _merged(self.lowering.copied(view), shape)


def _lead(query: View) -> Ints:
    """The sizes of items and heads: (batch, heads) rarely lie in memory as one."""
    seen = source_of(query)
    return seen.shape[:-2] if prod(seen.shape[:-2]) == prod(query.shape[:-2]) else query.shape[:-2]


def _has_squares(lowering: Lowering, *arrays: Any) -> bool:
    """Whether there are kernels for a query, a key and a value, and arrays that belong to them."""
    if not all(map(lowering.is_array, arrays)):
        return False
    query, key, value, *others = map(lowering.view, arrays)
    lead = _lead(query)
    return (
        query.dtype.name in _KINDS and {v.dtype for v in (key, value, *others)} == {query.dtype}
        and len(lead) in (1, 2)
        and has_squares(*at_hint((prod(lead), query.shape[-2], key.shape[-2], query.shape[-1],
                                  value.shape[-1]))))


def _by_squares(lowering: Lowering, node: GraphNode) -> Any:
    *arrays, _, causal, scale = node.args
    one = _Squares(lowering, arrays, causal, float(scale))
    query = one.views[0]
    result = one.like(query, one.sizes[-1])
    logsum = lowering.new_value((one.matrices, query.shape[-2]), query.dtype)
    what = one.what([*one.views, result], [0] * 4)
    recipe = prepared(forward_recipe, what, one.matrices, result.value.shape)
    assert recipe is not None
    one.add(node.label, recipe, one.views, [result.value, logsum])
    shapes = [shape for shape, _ in node.results]
    return one.flat(result, shapes[0]), _merged(View.of(logsum), shapes[1])


def _gradient_by_squares(lowering: Lowering, node: GraphNode) -> Any:
    grad, *arrays, _, mixed, logsum, causal, scale = node.args
    one = _Squares(lowering, [mixed, grad, *arrays], causal, float(scale))
    mixed, grad, *views = one.views
    logs = lowering.view(logsum)
    logs = logs if logs.is_whole else lowering.copied(logs)
    if _are_all_of_one(views):
        together = lowering.new_value(views[0].value.shape, views[0].dtype)
        founds = [View(together, v.offset, v.shape, v.strides) for v in views]
    else:
        founds = [one.like(v, v.shape[-1]) for v in views]
    outs = list(dict.fromkeys([found.value for found in founds]))
    what = one.what([grad, *views, mixed, *founds], [0] * 5 + [found.offset for found in founds])
    recipe = prepared(
        backward_recipe, what, one.matrices, tuple([value.shape for value in outs]))
    assert recipe is not None
    one.add(node.label, recipe, [grad, *views, mixed, logs], outs)
    return tuple([one.flat(found, shape)
                  for found, (shape, _) in zip(founds, node.results, strict=True)])


def _are_all_of_one(views: Sequence[View]) -> bool:
    """Whether views of a value share it out among them."""
    value = views[0].value
    if any(v.value is not value for v in views) or sum(v.size for v in views) != value.size:
        return False
    places = tuple([(v.offset, v.shape, v.strides) for v in views])
    environment = environment_in((value.size, places))
    if environment is None:
        return _cover(value.size, places)
    return all([_cover(*at_size((value.size, places), size)) for size in environment.points])


def _cover(count: int, places: Any) -> bool:
    """Whether views, as (offset, shape, strides), show all of so many elements."""
    taken = np.zeros(count, np.bool_)
    for offset, shape, strides in places:
        as_strided(taken[offset:], shape, strides)[...] = True
    return bool(taken.all())


# -- few scores ------------------------------------------------------------------------------------


class _Scores:
    """The scores of a node, and what they are made of."""

    def __init__(
        self, lowering: Lowering, query: View, key: View, mask: View | None, causal: bool,
        scale: float,
    ) -> None:
        seen = source_of(query)
        # (batch, heads) stay two dimensions: they rarely lie in memory as one.
        self.batch = seen.shape[:-2] if prod(seen.shape[:-2]) == query.shape[0] else query.shape[:1]
        self.lowering = lowering
        self.query = _in_batch(lowering, query, self.batch)
        self.key = _in_batch(lowering, key, self.batch)
        raw = lowering.batched_product(self.query, _turned(self.key))
        factor = query.dtype.type(scale)
        found = lowering.must_map("scale", lambda s: np.multiply(s, factor), raw)
        if mask is not None:
            shape = (*self.batch, *mask.shape[1:]) if mask.shape[0] > 1 else (
                *[1] * len(self.batch), *mask.shape[1:])
            wide = _in_batch(lowering, mask, shape[:-2])
            found = lowering.must_map("mask", np.add, found, wide)
        if causal:
            least = query.dtype.type(-np.inf)
            later = lowering.constant(
                ("later", *raw.shape[-2:]),
                lambda: np.tri(raw.shape[-2], raw.shape[-1]) == 0)
            found = lowering.must_map(
                "causal", lambda a, s: np.where(a, least, s), later, found)
        self.view = found

    def reduce(self, op: str, view: View) -> View:
        return self.lowering.reduce(op, view, (len(view.shape) - 1,), True)


def _is_small(lowering: Lowering, query: Any, key: Any, mask: Any) -> bool:
    arrays = [query, key] + ([] if mask is None else [mask])
    if not all(map(lowering.is_array, arrays)):
        return False
    q, k, *others = map(lowering.view, arrays)
    return (q.dtype.name in ("float32", "float64") and all(v.dtype == q.dtype for v in (k, *others))
            and q.shape[0] * q.shape[1] * k.shape[1] <= _MOST_SCORES)


@rule("attention")
def _(lowering: Lowering, node: GraphNode) -> Any:
    query, key, value, mask, causal, scale = node.args
    if mask is None and _has_squares(lowering, query, key, value):
        return _by_squares(lowering, node)
    if not _is_small(lowering, query, key, mask) or not lowering.is_array(value):
        return None
    scores = _Scores(lowering, lowering.view(query), lowering.view(key),
                     None if mask is None else lowering.view(mask), causal, scale)
    most = scores.reduce("reduce_max", scores.view)
    least, zero, one = (most.dtype.type(x) for x in (-np.inf, 0, 1))
    if mask is not None:
        most = lowering.must_map(
            "finite", lambda m: np.where(np.equal(m, least), zero, m), most)
    powers = lowering.must_map(
        "exp", lambda s, m: np.exp(np.subtract(s, m)), scores.view, most)
    total = scores.reduce("reduce_sum", powers)
    if mask is not None:
        total = lowering.must_map(
            "some", lambda t: np.where(np.equal(t, zero), one, t), total)
    weights = lowering.must_map("divide", np.divide, powers, total)
    found = lowering.batched_product(
        weights, _in_batch(lowering, lowering.view(value), scores.batch))
    logsum = lowering.must_map("log", lambda t, m: np.add(np.log(t), m), total, most)
    return tuple([_merged(v, shape) for v, (shape, _) in zip(
        (found, logsum), node.results, strict=True)])


@rule("attention_gradient")
def _(lowering: Lowering, node: GraphNode) -> Any:
    grad, query, key, value, mask, result, logsum, causal, scale = node.args
    if mask is None and _has_squares(lowering, query, key, value, grad, result, logsum):
        return _gradient_by_squares(lowering, node)
    if not _is_small(lowering, query, key, mask) or not all(
            map(lowering.is_array, (grad, value, result, logsum))):
        return None
    scores = _Scores(lowering, lowering.view(query), lowering.view(key),
                     None if mask is None else lowering.view(mask), causal, scale)
    wanted, values, mixed, logs = (
        _in_batch(lowering, lowering.view(a), scores.batch) for a in (grad, value, result, logsum))
    weights = lowering.must_map(
        "weights", lambda s, m: np.exp(np.subtract(s, m)), scores.view, logs)
    for_value = lowering.batched_product(_turned(weights), wanted)
    products = lowering.must_map("multiply", np.multiply, wanted, mixed)
    along = scores.reduce("reduce_sum", products)
    for_weights = lowering.batched_product(wanted, _turned(values))
    factor = weights.dtype.type(scale)
    for_scores = lowering.must_map(
        "for scores", lambda g, a, w: (g - a) * w * factor, for_weights, along, weights)
    for_query = lowering.batched_product(for_scores, scores.key)
    for_key = lowering.batched_product(_turned(for_scores), scores.query)
    return tuple([_merged(v, shape) for v, (shape, _) in zip(
        (for_query, for_key, for_value), node.results, strict=True)])
