"""Matrix products in one spelling.

Needs: views joined (views.py). Gives: `dot` of two matrices is `matmul`, so products are `matmul`
of stored values or of views of them: `matmul(x, transpose(w))` stays so, since BLAS reads
transposed matrices as they lie, and a lowering reads the flags off the views' strides. The same
bits: both call the same routine of BLAS.
"""

from __future__ import annotations

import numpy as np

from taper.compilation.passes.rewriting import (
    Rewriting,
    Value,
    recorded_strides,
    rewritten,
    shape_of,
)
from taper.compiler.graph import Graph, GraphNode

__all__ = ["RULES", "normalize_products"]


def normalize_products(graph: Graph) -> Graph:
    """The graph with its products of matrices as `matmul`."""
    return rewritten(graph, RULES)


def _dot(node: GraphNode, walk: Rewriting) -> Value | None:
    a, b = node.args
    shape, dtype = node.results[0]
    if node.kwargs or len(shape_of(a)) != 2 or len(shape_of(b)) != 2:
        return None
    return walk.call("matmul", np.matmul, (a, b), shape, dtype, recorded_strides(node))


RULES = {"dot": (_dot,)}
