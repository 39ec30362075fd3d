"""Passes: what a recorded graph is made simpler by, one subject a file.

Each file says what it needs and gives, and has one function from a graph to a graph. Rules that
look at one call and its operands (`RULES` of a file) run together in one walk, `simplified` repeats
it until nothing changes. All passes keep results to the last bit.
"""

from __future__ import annotations

from collections import Counter

from taper.compilation.passes import constants, identities, products, views, writes
from taper.compilation.passes.constants import fold_constants
from taper.compilation.passes.dead_code import remove_dead_code
from taper.compilation.passes.identities import remove_identities
from taper.compilation.passes.outputs import memory_of, separate_outputs
from taper.compilation.passes.products import normalize_products
from taper.compilation.passes.rewriting import Rewriting, Rule, dtype_of, kind_of, shape_of
from taper.compilation.passes.subexpressions import merge_subexpressions
from taper.compilation.passes.views import join_views
from taper.compilation.passes.writes import direct_writes
from taper.compiler.graph import Graph

__all__ = [
    "direct_writes", "dtype_of", "fold_constants", "join_views", "kind_of", "memory_of",
    "merge_subexpressions", "normalize_products", "remove_dead_code", "remove_identities",
    "separate_outputs", "shape_of", "simplified",
]

_MOST_WALKS = 3


def _all_rules() -> dict[str, tuple[Rule, ...]]:
    found: dict[str, tuple[Rule, ...]] = {}
    for room in (constants, views, identities, writes, products):
        for kind, rules in room.RULES.items():
            found[kind] = (*found.get(kind, ()), *rules)
    return found


_RULES = _all_rules()


def simplified(graph: Graph, applied: Counter[str] | None = None) -> Graph:
    """A graph that computes the same to the last bit, in fewer and plainer calls.

    Args:
        graph: as it was recorded.
        applied: is told how often each rule was used.
    Example:
        >>> import taper as torch
        >>> from taper.capture import record
        >>> from taper.compilation.passes import simplified
        >>> print(simplified(record(lambda x: (x.t().t() * 1.0).exp() * x.exp(), torch.ones(2, 3))))
        %0 = input x0  : float32[2, 3]
        %1 = exp(%0)  : float32[2, 3]
        %2 = multiply(%1, %1)  : float32[2, 3]
        return result = %2
    """
    result = remove_dead_code(graph)
    for _ in range(_MOST_WALKS):
        walk = Rewriting(result, _RULES, merge=True)
        result = remove_dead_code(walk.run())
        if applied is not None:
            applied.update(walk.applied)
        if not walk.applied:
            break
    return separate_outputs(graph, result).renumbered()
