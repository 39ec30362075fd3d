"""Graphs of array operations: what a recorded computation is, and how it prints.

A graph is a flat list of nodes in the order they were computed. It knows nothing of Tensors or
operators: a node calls a NumPy function, a ufunc method or an array method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Graph", "GraphNode", "Reference"]


class Reference:
    """Stands, in a node's arguments, for the result of another node."""

    __slots__ = ("node", "output")

    def __init__(self, node: GraphNode, output: int | None = None) -> None:
        self.node = node
        self.output = output  # which one, of a node with several results

    def __repr__(self) -> str:
        suffix = "" if self.output is None else f".{self.output}"
        return f"%{self.node.number}{suffix}"


class GraphNode:
    """One call: its function, arguments, and the shape and dtype of what it gives."""

    __slots__ = ("args", "function", "kwargs", "label", "number", "results")

    def __init__(
        self, number: int, label: str, function: Callable[..., Any] | None, args: tuple[Any, ...],
        kwargs: dict[str, Any], results: list[tuple[tuple[int, ...], Any]],
    ) -> None:
        self.number = number
        self.label = label
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.results = results

    def inputs(self) -> Iterator[Reference]:
        """The references among the arguments, nested ones included."""
        yield from references((self.args, tuple(self.kwargs.values())))

    def __str__(self) -> str:
        arguments = [text_of(a) for a in self.args]
        arguments += [f"{k}={text_of(v)}" for k, v in self.kwargs.items()]
        types = ", ".join(f"{d}[{', '.join(map(str, s))}]" for s, d in self.results)
        return f"%{self.number} = {self.label}({', '.join(arguments)})  : {types}"


def references(value: Any) -> Iterator[Reference]:
    """All references inside nested tuples, lists and dicts."""
    if isinstance(value, Reference):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from references(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from references(item)


def text_of(value: Any) -> str:
    """An argument as the printer shows it; arrays by shape, small ones by value."""
    if isinstance(value, (tuple, list)):
        inner = ", ".join(text_of(v) for v in value)
        return f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        if value.size == 1:
            return f"{value.dtype}({value.reshape(-1)[0]})"
        return f"constant {value.dtype}{list(value.shape)}"
    if isinstance(value, slice):
        parts = ["" if v is None else str(v) for v in (value.start, value.stop, value.step)]
        return ":".join(parts[:2] if value.step is None else parts)
    return getattr(value, "__name__", None) or repr(value)


class Graph:
    """A recorded computation: `inputs`, `nodes` and `outputs`, each output under its name."""

    def __init__(self) -> None:
        self.inputs: list[GraphNode] = []
        self.nodes: list[GraphNode] = []
        self.outputs: dict[str, Reference] = {}

    def add_input(self, name: str, shape: tuple[int, ...], dtype: Any) -> GraphNode:
        """Adds an input of this shape and dtype."""
        node = GraphNode(len(self.inputs), name, None, (), {}, [(shape, dtype)])
        node.number = self._next_number()
        self.inputs.append(node)
        return node

    def add(
        self, label: str, function: Callable[..., Any], args: tuple[Any, ...],
        kwargs: dict[str, Any], results: list[tuple[tuple[int, ...], Any]],
    ) -> GraphNode:
        """Adds a call after all others."""
        node = GraphNode(self._next_number(), label, function, args, kwargs, results)
        self.nodes.append(node)
        return node

    def _next_number(self) -> int:
        return len(self.inputs) + len(self.nodes)

    def without_dead_code(self) -> Graph:
        """The same graph without nodes that no output needs."""
        needed: set[int] = {r.node.number for r in self.outputs.values()}
        for node in reversed(self.nodes):
            if node.number in needed:
                needed.update(r.node.number for r in node.inputs())
        result = Graph()
        result.inputs = self.inputs
        result.nodes = [n for n in self.nodes if n.number in needed]
        result.outputs = self.outputs
        return result

    def run(self, *arrays: Any) -> dict[str, Any]:
        """Computes the outputs from arrays for the inputs, node by node, by NumPy."""
        if len(arrays) != len(self.inputs):
            raise TypeError(f"this graph has {len(self.inputs)} inputs, not {len(arrays)}")
        values: dict[int, Any] = {
            node.number: array for node, array in zip(self.inputs, arrays, strict=True)
        }

        def value_of(item: Any) -> Any:
            if isinstance(item, Reference):
                value = values[item.node.number]
                return value if item.output is None else value[item.output]
            if type(item) is tuple:  # a named tuple is a setting, not a list of arrays
                return tuple([value_of(i) for i in item])
            if type(item) is list:
                return [value_of(i) for i in item]
            return item

        for node in self.nodes:
            assert node.function is not None
            values[node.number] = node.function(
                *value_of(node.args), **{k: value_of(v) for k, v in node.kwargs.items()}
            )
        return {name: value_of(reference) for name, reference in self.outputs.items()}

    def __str__(self) -> str:
        lines = [
            f"%{n.number} = input {n.label}  : {n.results[0][1]}"
            f"[{', '.join(map(str, n.results[0][0]))}]"
            for n in self.inputs
        ]
        lines += [str(n) for n in self.nodes]
        lines += [f"return {name} = {reference}" for name, reference in self.outputs.items()]
        return "\n".join(lines)

    __repr__ = __str__
