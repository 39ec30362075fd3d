"""Graphs with symbolic sizes, for one size."""

from __future__ import annotations

from typing import Any

from taper.arrays.node_arguments import at_size, depends_on_size
from taper.compiler.graph import Graph, GraphNode, Reference, replaced
from taper.core.symbolic import value_at

__all__ = ["graph_at", "numbers_at"]


def numbers_at(numbers: Any, size: int) -> tuple[int, ...]:
    return tuple([value_at(n, size) for n in numbers])


def graph_at(graph: Graph, size: int) -> Graph:
    """The graph for one size, with plain numbers. Arrays that only depend on it are constants."""
    made: dict[int, Any] = {}

    def translated(reference: Reference) -> Any:
        found = made[reference.node.number]
        return Reference(found, reference.output) if type(found) is GraphNode else found

    def node_at(node: GraphNode, args: Any, kwargs: Any) -> GraphNode:
        results = [(numbers_at(shape, size), dtype) for shape, dtype in node.results]
        strides = None if node.strides is None else [numbers_at(s, size) for s in node.strides]
        return GraphNode(node.number, node.label, node.function, args, kwargs, results,
                         effect=node.effect, strides=strides)

    results = {r.node.number for r in graph.outputs.values()}
    found = Graph()
    found.next_number = graph.next_number
    for node in graph.inputs:
        made[node.number] = copy = node_at(node, (), {})
        found.inputs.append(copy)
    for node in graph.nodes:
        args, kwargs = (at_size(replaced(part, translated), size)
                        for part in (node.args, node.kwargs))
        if not node.read and not node.effect and node.number not in results and (
                depends_on_size((node.args, node.kwargs))):
            assert node.function is not None
            made[node.number] = node.function(*args, **kwargs)
            continue
        made[node.number] = copy = node_at(node, args, kwargs)
        found.nodes.append(copy)
    found.outputs = {name: translated(r) for name, r in graph.outputs.items()}
    return found
