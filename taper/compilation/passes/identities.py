"""Work that changes nothing: x * 1, x - 0, casts to the own dtype, copies of values that nobody
can change.

Needs: numbers seen as numbers (constants.py). Gives: calls whose value is that of an operand are
gone. The same bits: x + 0 stays, since -0 + 0 is +0. A copy stays if it lies in memory otherwise
than what it copies; outputs that come to share memory are separated again (outputs.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.compilation.passes.constants import number_of
from taper.compilation.passes.rewriting import (
    Rewriting,
    Value,
    dtype_of,
    kind_of,
    recorded_strides,
    rewritten,
    shape_of,
    strides_of,
)
from taper.compiler.graph import Graph, GraphNode, Reference

__all__ = ["RULES", "remove_identities"]


def remove_identities(graph: Graph) -> Graph:
    """The graph without calls that compute one of their operands."""
    return rewritten(graph, RULES)


def _is_number(value: Any, wanted: float, negative: bool | None = None) -> bool:
    """Whether an operand is this number everywhere, with this sign (of zero)."""
    number = number_of(value)
    if number is None or number.dtype.kind not in "biuf" or number != wanted:
        return False
    return negative is None or number.dtype.kind != "f" or bool(np.signbit(number)) is negative


def _same(node: GraphNode, value: Any) -> bool:
    """Whether an operand has the shape and dtype of the result, and no option is set. Complex
    numbers are left alone: (a + bi) * 1 may be NaN where a is infinite."""
    shape, dtype = node.results[0]
    return (not node.kwargs and dtype.kind != "c" and dtype_of(value) == dtype
            and shape_of(value) == shape)


def _products_with_one(node: GraphNode, walk: Rewriting) -> Value | None:
    a, b = node.args
    if _same(node, a) and _is_number(b, 1):
        return a
    if kind_of(node) == "multiply" and _same(node, b) and _is_number(a, 1):
        return b
    return None


def _sums_with_zero(node: GraphNode, walk: Rewriting) -> Value | None:
    a, b = node.args
    adds = kind_of(node) == "add"
    if dtype_of(a) == np.bool_ or dtype_of(b) == np.bool_:
        return None
    if _same(node, a) and _is_number(b, 0, negative=adds):
        return a
    if adds and _same(node, b) and _is_number(a, 0, negative=True):
        return b
    return None


def _undone_twice(node: GraphNode, walk: Rewriting) -> Value | None:
    """-(-x), and not(not(x)) of booleans."""
    (x,) = node.args
    if isinstance(x, Reference) and x.node.function is node.function and not x.node.kwargs:
        inner = x.node.args[0]
        if _same(node, inner):
            return inner
    return None


def _real_conjugates(node: GraphNode, walk: Rewriting) -> Value | None:
    x = node.args[0]
    return x if _same(node, x) and dtype_of(x).kind != "c" else None


def _equal_choices(node: GraphNode, walk: Rewriting) -> Value | None:
    if len(node.args) != 3:
        return None
    _, a, b = node.args
    if isinstance(a, Reference) and isinstance(b, Reference) and _same(node, a) and (
        a.node is b.node and a.output == b.output
    ):
        return a
    return None


def _casts_to_the_own_dtype(node: GraphNode, walk: Rewriting) -> Value | None:
    x = node.args[0]
    if dtype_of(x) != node.results[0][1]:
        return None
    if node.kwargs.get("copy") is False and node.kwargs.keys() <= {"copy"}:
        return x
    return _copies(node, walk)


def _copies(node: GraphNode, walk: Rewriting) -> Value | None:
    """Copies that lie in memory as what they copy."""
    x = node.args[0]
    if shape_of(x) != node.results[0][0]:
        return None
    here, there = recorded_strides(node), strides_of(x)
    if here is None or there is None:
        return None
    same = all([a == b for a, b, n in zip(here, there, shape_of(x), strict=True) if n != 1])
    return x if same else None


def _joins_of_one(node: GraphNode, walk: Rewriting) -> Value | None:
    """concatenate([x], axis)"""
    parts = node.args[0]
    if isinstance(parts, (tuple, list)) and len(parts) == 1 and (
        (shape_of(parts[0]), dtype_of(parts[0])) == node.results[0]
    ):
        return parts[0]
    return None


RULES = {
    "concatenate": (_joins_of_one,),
    "multiply": (_products_with_one,),
    "divide": (_products_with_one,),
    "power": (_products_with_one,),
    "add": (_sums_with_zero,),
    "subtract": (_sums_with_zero,),
    "negative": (_undone_twice,),
    "logical_not": (_undone_twice,),
    "conj": (_real_conjugates,),
    "conjugate": (_real_conjugates,),
    "where": (_equal_choices,),
    "astype": (_casts_to_the_own_dtype,),
    "copy": (_copies,),
}
