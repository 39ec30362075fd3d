"""Attention over few scores, as products and one pass over the scores in between.

While all scores fit the cache, this is quicker than tiles that hold a few of them at a time
(kernels/attention.py has the definition). The backward pass computes the scores again.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from taper.compilation.lowering.nodes import Lowering
from taper.compilation.lowering.operations import Map
from taper.compilation.lowering.rules import rule
from taper.compilation.lowering.values import View
from taper.compiler.graph import GraphNode

__all__: list[str] = []

_MOST_SCORES = 1 << 18

Ints = tuple[int, ...]


def _source(view: View) -> View:
    """What a copy in C order was made of, if the view shows all of such a copy."""
    maker = view.value.maker
    if view.is_whole and isinstance(maker, Map) and maker.label == "copy":
        source: View = maker.views[0]
        if source.value.maker is None or source.value.input is None:
            return source
    return view


def _in_batch(lowering: Lowering, view: View, batch: Ints) -> View:
    """(batch, n, m) as (*batch, n, m)."""
    shape = (*batch, *view.shape[-2:])
    for candidate in (_source(view), view):
        if candidate.shape == shape:
            return candidate
    found = view.through(lambda a: np.reshape(a, shape, copy=False))
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


class _Scores:
    """The scores of a node, and what they are made of."""

    def __init__(
        self, lowering: Lowering, query: View, key: View, mask: View | None, causal: bool,
        scale: float,
    ) -> None:
        seen = _source(query)
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
