"""Graphs of array operations: what a recorded computation is, and how it prints.

A graph is a flat list of nodes in the order they were computed. It knows nothing of Tensors or
operators: a node calls a NumPy function, a ufunc method or an array method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from taper.core.symbolic import SymFloat, SymInt

__all__ = ["Graph", "GraphNode", "Reference", "references", "replaced"]

Result = tuple[tuple[int, ...], Any]  # shape and dtype


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
    """One call: its function, arguments, and the shape and dtype of what it gives.

    Nodes are never changed once others refer to them, so graphs share them: a pass makes new nodes
    for calls that change and keeps the others.

    Attributes:
        number: its name in the graph, given once.
        results: shape and dtype of each result.
        strides: of each result, in bytes, as far as they are known: what NumPy would choose if
            this node computed alone.
        key: equal for calls that compute the same, once somebody has asked (passes/rewriting.py).
        effect: whether it does more than compute a value (a draw of random numbers): such a node
            is never removed, merged with others, or moved across another.
    """

    __slots__ = (
        "args", "effect", "function", "key", "kwargs", "label", "number", "read", "results",
        "strides",
    )

    def __init__(
        self, number: int, label: str, function: Callable[..., Any] | None, args: tuple[Any, ...],
        kwargs: dict[str, Any], results: list[Result], *, effect: bool = False,
        strides: list[tuple[int, ...]] | None = None,
    ) -> None:
        self.number = number
        self.label = label
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.results = results
        self.effect = effect
        self.strides = strides
        self.key: Any = None
        found: list[Reference] = []
        _collect((args, *kwargs.values()) if kwargs else args, found)
        self.read = tuple(found)

    def inputs(self) -> tuple[Reference, ...]:
        """The references among the arguments, nested ones included."""
        return self.read

    def __str__(self) -> str:
        arguments = [text_of(a) for a in self.args]
        arguments += [f"{k}={text_of(v)}" for k, v in self.kwargs.items()]
        types = ", ".join(f"{d}[{', '.join(map(text_of, s))}]" for s, d in self.results)
        return f"%{self.number} = {self.label}({', '.join(arguments)})  : {types}"


def references(value: Any) -> Iterator[Reference]:
    """All references inside nested tuples, lists and dicts."""
    found: list[Reference] = []
    _collect((value,), found)
    return iter(found)


def _collect(items: Iterable[Any], found: list[Reference]) -> None:
    for item in items:
        cls = type(item)
        if cls is Reference:
            found.append(item)
        elif cls in _PLAIN:
            continue
        elif isinstance(item, (tuple, list)):
            _collect(item, found)
        elif isinstance(item, dict):
            _collect(item.values(), found)


_PLAIN = frozenset([int, float, bool, str, type(None), slice, np.ndarray])


def replaced(value: Any, replacement: Callable[[Reference], Any]) -> Any:
    """The same nested tuples, lists and dicts with every reference replaced."""
    cls = type(value)
    if cls is Reference:
        return replacement(value)
    if cls is tuple:  # a named tuple is a setting, not a list of arrays
        return tuple([replaced(v, replacement) for v in value])
    if cls is list:
        return [replaced(v, replacement) for v in value]
    if cls is dict:
        return {k: replaced(v, replacement) for k, v in value.items()} if value else {}
    return value


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of an argument: a reference's, an array's, or that of a number."""
    if isinstance(value, Reference):
        shape: tuple[int, ...] = value.node.results[value.output or 0][0]
        return shape
    return np.shape(value)


def text_of(value: Any) -> str:
    """An argument as the printer shows it; arrays by shape, small ones by value."""
    if isinstance(value, (tuple, list)):
        inner = ", ".join(text_of(v) for v in value)
        return f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
    if isinstance(value, (np.ndarray, np.generic)):
        if value.size == 1:
            return f"{value.dtype}({value.reshape(-1)[0]})"
        return f"constant {value.dtype}{list(value.shape)}"
    if isinstance(value, slice):
        parts = ["" if v is None else text_of(v) for v in (value.start, value.stop, value.step)]
        return ":".join(parts[:2] if value.step is None else parts)
    if isinstance(value, (SymInt, SymFloat)):
        return value.text()
    return getattr(value, "__name__", None) or repr(value)


class Graph:
    """A recorded computation: `inputs`, `nodes` and `outputs`, each output under its name."""

    def __init__(self) -> None:
        self.inputs: list[GraphNode] = []
        self.nodes: list[GraphNode] = []
        self.outputs: dict[str, Reference] = {}
        self.next_number = 0

    def number(self) -> int:
        """A number for a new node."""
        self.next_number += 1
        return self.next_number - 1

    def add_input(
        self, name: str, shape: tuple[int, ...], dtype: Any,
        strides: tuple[int, ...] | None = None,
    ) -> GraphNode:
        """Adds an input of this shape and dtype."""
        node = GraphNode(self.number(), name, None, (), {}, [(shape, dtype)],
                         strides=None if strides is None else [strides])
        self.inputs.append(node)
        return node

    def add(
        self, label: str, function: Callable[..., Any], args: tuple[Any, ...],
        kwargs: dict[str, Any], results: list[Result], *, effect: bool = False,
        strides: list[tuple[int, ...]] | None = None,
    ) -> GraphNode:
        """Adds a call after all others."""
        node = GraphNode(self.number(), label, function, args, kwargs, results, effect=effect,
                         strides=strides)
        self.nodes.append(node)
        return node

    def users(self) -> dict[int, list[GraphNode]]:
        """By number, the nodes that read it, each once, in order. Outputs aren't among them."""
        found: dict[int, list[GraphNode]] = {n.number: [] for n in self.inputs}
        for node in self.nodes:
            for number in dict.fromkeys([r.node.number for r in node.read]):
                found[number].append(node)
            found[node.number] = []
        return found

    def like(self, nodes: Iterable[GraphNode], outputs: Mapping[str, Reference]) -> Graph:
        """A graph with the inputs of this one, and these nodes and outputs."""
        result = Graph()
        result.inputs = self.inputs
        result.nodes = list(nodes)
        result.outputs = dict(outputs)
        result.next_number = self.next_number
        return result

    def without_dead_code(self) -> Graph:
        """The same graph without nodes that no output needs and that have no effect."""
        needed: set[int] = {r.node.number for r in self.outputs.values()}
        for node in reversed(self.nodes):
            if node.effect or node.number in needed:
                needed.add(node.number)
                needed.update([r.node.number for r in node.read])
        return self.like([n for n in self.nodes if n.number in needed], self.outputs)

    def renumbered(self) -> Graph:
        """The same graph with inputs and nodes numbered in order."""
        result = Graph()
        new: dict[int, GraphNode] = {}

        def renamed(reference: Reference) -> Reference:
            return Reference(new[reference.node.number], reference.output)

        for node in self.inputs:
            new[node.number] = copy = result.add_input(node.label, *node.results[0])
            copy.strides = node.strides
        for node in self.nodes:
            assert node.function is not None
            new[node.number] = result.add(
                node.label, node.function, replaced(node.args, renamed),
                replaced(node.kwargs, renamed), node.results, effect=node.effect,
                strides=node.strides,
            )
        result.outputs = {name: renamed(r) for name, r in self.outputs.items()}
        return result

    def check(self) -> None:
        """Raises ValueError if a node reads what isn't computed before it, if two have one number,
        or if the shapes of a call of a ufunc don't fit."""
        known: dict[int, GraphNode] = {}

        def read(reference: Reference, where: object) -> None:
            node = reference.node
            if known.get(node.number) is not node:
                raise ValueError(f"{where}: {reference!r} isn't computed before")
            if reference.output is not None and reference.output >= len(node.results):
                raise ValueError(f"{where}: %{node.number} has {len(node.results)} results")

        for node in (*self.inputs, *self.nodes):
            for reference in node.read:
                read(reference, node)
            if node.number in known or node.number >= self.next_number:
                raise ValueError(f"{node}: number {node.number} is given to another")
            known[node.number] = node
            for shape, strides in zip([s for s, _ in node.results], node.strides or (),
                                      strict=False):
                if len(shape) != len(strides):
                    raise ValueError(f"{node}: strides {strides} for the shape {shape}")
            if isinstance(node.function, np.ufunc) and node.function.signature is None:
                shapes = [shape_of(a) for a in node.args]
                if np.broadcast_shapes(*shapes) != node.results[0][0]:
                    raise ValueError(f"{node}: operands have the shapes {shapes}")
        for name, reference in self.outputs.items():
            read(reference, f"output {name}")

    def run(self, *arrays: Any) -> dict[str, Any]:
        """Computes the outputs from arrays for the inputs, node by node, by NumPy."""
        if len(arrays) != len(self.inputs):
            raise TypeError(f"this graph has {len(self.inputs)} inputs, not {len(arrays)}")
        values: dict[int, Any] = {
            node.number: array for node, array in zip(self.inputs, arrays, strict=True)
        }

        def value_of(reference: Reference) -> Any:
            value = values[reference.node.number]
            return value if reference.output is None else value[reference.output]

        for node in self.nodes:
            assert node.function is not None
            values[node.number] = node.function(
                *replaced(node.args, value_of), **replaced(node.kwargs, value_of)
            )
        return {name: value_of(reference) for name, reference in self.outputs.items()}

    def __str__(self) -> str:
        lines = [
            f"%{n.number} = input {n.label}  : {n.results[0][1]}"
            f"[{', '.join(map(text_of, n.results[0][0]))}]"
            for n in self.inputs
        ]
        lines += [str(n) for n in self.nodes]
        lines += [f"return {name} = {reference}" for name, reference in self.outputs.items()]
        return "\n".join(lines)

    __repr__ = __str__
