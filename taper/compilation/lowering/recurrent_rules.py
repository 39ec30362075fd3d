"""Layers of recurrent networks and their gradients, as the kernels that eager calls have.

Where weights don't stay in the cache, the products that all steps share are products of their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.arrays.node_arguments import at_hint
from taper.compilation.lowering.nodes import Lowering, name_of
from taper.compilation.lowering.recipes import all_made_by, prepared
from taper.compilation.lowering.rules import rule
from taper.compilation.lowering.values import View
from taper.compiler.graph import GraphNode
from taper.kernels.recurrent_recipes import (
    Layer,
    backward_recipe,
    forward_recipe,
    sums_weights,
    takes_inputs,
)

__all__: list[str] = []

_KINDS = {"float32": "f32", "float64": "f64"}


def _views(lowering: Lowering, items: Any) -> list[View | None] | None:
    """The views of arrays that kernels take, and aren't empty; None for others."""
    views = [None if item is None else lowering.view(item) for item in items]
    dtypes = {v.dtype.name for v in views if v is not None}
    if len(dtypes) != 1 or not dtypes <= set(_KINDS) or not all(v is None or v.size for v in views):
        return None
    return views


def _kind_of(node: GraphNode, sizes_at: int) -> tuple[str, tuple[int, ...], bool]:
    """The kind of cells, the sizes of steps, and whether the last ones come first."""
    sizes, reverse, *others = node.args[sizes_at:]
    name = name_of(node).removesuffix("_gradient")
    if name == "rnn":
        name = "relu" if others[0] else "tanh"
    return name, tuple(sizes), reverse


def _layer(kind: str, sizes: tuple[int, ...], data: View, w_hh: View) -> Layer:
    return kind, _KINDS[data.dtype.name], sizes, data.shape[1], w_hh.shape[1]


@rule("lstm", "gru", "rnn")
def _(lowering: Lowering, node: GraphNode) -> Any:
    end = 7 if name_of(node) == "lstm" else 6
    views = None if node.kwargs else _views(lowering, node.args[:end])
    if views is None:
        return None
    data, *states, w_ih, w_hh, b_ih, b_hh = views
    kind, sizes, reverse = _kind_of(node, end)
    assert data is not None and w_ih is not None and w_hh is not None
    layer = _layer(kind, sizes, data, w_hh)
    if takes_inputs(at_hint(layer)):
        operands = [data, *states, w_ih, w_hh, b_ih, b_hh]
    else:
        given = lowering.batched_product(data, w_ih.permuted((1, 0)))
        if b_ih is not None:
            given = lowering.must_map("add", np.add, given, b_ih)
        operands = [given, *states, w_hh, b_hh]
    recipe = prepared(forward_recipe, layer, reverse, (b_ih is not None, b_hh is not None))
    if recipe is None:
        return None
    return all_made_by(lowering, node.label, recipe, [v for v in operands if v is not None])


@rule("lstm_gradient", "gru_gradient", "rnn_gradient")
def _(lowering: Lowering, node: GraphNode) -> Any:
    grads, *others = node.args
    name = name_of(node)
    end = {"lstm_gradient": 7, "gru_gradient": 6, "rnn_gradient": 5}[name]
    views: Any = None if node.kwargs else _views(lowering, [*grads, *others[:end]])
    if views is None:
        return None
    grads, (data, w_ih, w_hh, *kept) = views[: len(grads)], views[len(grads) :]
    kind, sizes, reverse = _kind_of(node, 1 + end)
    layer = _layer(kind, sizes, data, w_hh)
    is_whole = sums_weights(at_hint(layer))
    weights = [data, w_ih, w_hh] if is_whole else [w_hh]
    recipe = prepared(backward_recipe, layer, reverse)
    if recipe is None:
        return None
    found = all_made_by(
        lowering, node.label, recipe, [*grads, *weights, *kept])
    if is_whole:
        return found
    wanted, *states = found
    for_recurrent = states.pop() if kind == "gru" else wanted
    both = [wanted] if for_recurrent is wanted else [wanted, for_recurrent]
    return (
        lowering.batched_product(wanted, w_ih), *states,
        lowering.batched_product(wanted.permuted((1, 0)), data),
        lowering.batched_product(for_recurrent.permuted((1, 0)), kept[1]),
        *[lowering.reduce("reduce_sum", grad, (0,)) for grad in both])
