"""Recorded graphs as boxes of a picture."""

from __future__ import annotations

from collections.abc import Mapping

from taper.compiler.graph import Graph
from taper.viewer.history import Item

__all__ = ["items_of"]


def items_of(graph: Graph, kernels: Mapping[int, list[int]] | None = None) -> list[Item]:
    """A box for each input, call and output, what is read before who reads it.

    Args:
        kernels: the numbers of the kernels that compute each node of the graph.
    """
    items: list[Item] = []
    place: dict[int, int] = {}
    for node in graph.inputs:
        place[node.number] = len(items)
        shape, dtype = node.results[0]
        items.append(Item(len(items), "leaf", node.label, tuple(shape), str(dtype),
                          source=f"%{node.number} = input {node.label}"))
    for node in graph.nodes:
        place[node.number] = len(items)
        shape, dtype = node.results[0]
        item = Item(len(items), "operation", node.label, tuple(shape), str(dtype),
                    source=str(node), inputs=[place[r.node.number] for r in node.read])
        found = (kernels or {}).get(node.number, [])
        if found:
            item.notes.append("kernel " + ", ".join(map(str, found)))
        items.append(item)
    for name, reference in graph.outputs.items():
        shape, dtype = reference.node.results[reference.output or 0]
        items.append(Item(len(items), "result", name, tuple(shape), str(dtype),
                          source=f"return {name} = {reference}",
                          inputs=[place[reference.node.number]]))
    return items
