"""Calls that no output needs are removed, but for those that have an effect.

Needs: nothing. Gives: every node is read by another or is an output, or has an effect.
"""

from __future__ import annotations

from taper.compiler.graph import Graph

__all__ = ["remove_dead_code"]


def remove_dead_code(graph: Graph) -> Graph:
    """The graph without dead code."""
    return graph.without_dead_code()
