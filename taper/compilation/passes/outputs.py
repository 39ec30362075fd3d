"""Outputs get memory of their own again where removing copies made them share it.

Needs: the graph before and after the other passes. Gives: two outputs, or an output and an input,
share memory only if they did in the graph before.
"""

from __future__ import annotations

import numpy as np

from taper.arrays.node_functions import method_caller
from taper.arrays.primitive import Primitive
from taper.compilation.passes.rewriting import kind_of
from taper.compiler.graph import Graph, GraphNode, Reference

__all__ = ["memory_of", "separate_outputs"]

_COPY = method_caller("copy")

# NumPy's functions whose results never share memory with an operand; ufuncs and kernels are others.
_FRESH = frozenset(
    "copy flatten where concatenate stack take take_along_axis dot repeat full full_like zeros "
    "zeros_like ones ones_like empty empty_like argmax argmin argsort sort cumsum cumprod tile "
    "setitem write scatter scatter_add add.at".split()
)


def memory_of(graph: Graph) -> dict[str, frozenset[int]]:
    """For each output, the numbers of the nodes whose memory it may look at."""
    found: dict[int, frozenset[int]] = {n.number: frozenset([n.number]) for n in graph.inputs}
    for node in graph.nodes:
        found[node.number] = frozenset([node.number])
        if not _is_fresh(node):
            found[node.number] = found[node.number].union(
                *[found[r.node.number] for r in node.read])
    return {name: found[r.node.number] for name, r in graph.outputs.items()}


def _is_fresh(node: GraphNode) -> bool:
    function = node.function
    kind = kind_of(node)
    return isinstance(function, (np.ufunc, Primitive)) or "." in kind or kind in _FRESH or (
        kind == "astype" and node.kwargs.get("copy", True)
    ) or node.label in _FRESH


def separate_outputs(before: Graph, after: Graph) -> Graph:
    """`after`, with a copy of each output that shares memory it didn't share in `before`."""
    old, new = memory_of(before), memory_of(after)
    inputs = {n.number for n in after.inputs}
    result = after.like(after.nodes, after.outputs)
    done: dict[int, list[str]] = {}  # by memory, the outputs so far that look at it
    for name, reference in after.outputs.items():
        shares = bool(new[name] & inputs) and not old[name] & inputs
        shares = shares or any([
            old[name].isdisjoint(old[other])
            for number in new[name] for other in done.get(number, ())
        ])
        if shares:
            shape, dtype = reference.node.results[reference.output or 0]
            strides = reference.node.strides
            copy = result.add("copy", _COPY, (reference, "K"), {}, [(shape, dtype)],
                              strides=strides and [strides[reference.output or 0]])
            result.outputs[name] = Reference(copy)
        else:
            for number in new[name]:
                done.setdefault(number, []).append(name)
    return result
