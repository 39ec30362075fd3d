"""Calls that compute the same are made once.

Needs: nothing; finds more after the other passes. Gives: no two calls of one function with the
same arguments, but for those that have an effect. The same bits. Outputs that come to share memory
are separated by outputs.py.
"""

from __future__ import annotations

from taper.compilation.passes.rewriting import Rewriting
from taper.compiler.graph import Graph

__all__ = ["merge_subexpressions"]


def merge_subexpressions(graph: Graph) -> Graph:
    """The graph with equal calls merged."""
    return Rewriting(graph, {}, merge=True).run().without_dead_code()
