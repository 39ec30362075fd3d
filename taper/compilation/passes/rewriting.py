"""One walk through a graph that makes another: what the passes that look at one call share.

A rule is asked about calls of one kind, operands first, so it sees what they have become. It
returns what the call's value is instead, or None:

    def rule(node: GraphNode, walk: Rewriting) -> Value | None

A value is a `Reference` to a node that was emitted, or an array that is known by now. Whatever
the rule needs on the way it calls through `walk`, whose rules are asked about it in turn.
"""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from taper.arrays.node_functions import Changed, MethodCaller, write
from taper.compiler.graph import Graph, GraphNode, Reference, Result, replaced
from taper.core.symbolic import SymInt

__all__ = ["Rewriting", "Rule", "Rules", "Value", "dtype_of", "kind_of", "name_of",
           "recorded_strides", "rewritten", "shape_of", "strides_of"]

Value = Any  # Reference | np.ndarray
Rule = Callable[[GraphNode, "Rewriting"], "Value | None"]
Rules = Mapping[str, Sequence[Rule]]


def kind_of(node: GraphNode) -> str:
    """What NumPy calls the node's function ("multiply", "add.reduce", "reshape", "setitem");
    "" for kernels and other functions of ours."""
    function = node.function
    if type(function) is Changed:
        inner = function.function
        return "setitem" if inner is operator.setitem else name_of(inner)
    return name_of(function)


@functools.lru_cache(maxsize=4096)
def name_of(function: Any) -> str:
    """NumPy's name of a function, or ""."""
    if type(function) is MethodCaller:
        return function.__name__
    if function is write:
        return "write"
    name = getattr(function, "__name__", "")
    ufunc = getattr(function, "__self__", None)
    if isinstance(ufunc, np.ufunc):
        return f"{ufunc.__name__}.{name}"
    return name if name and getattr(np, name, None) is function else ""


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of an operand."""
    if isinstance(value, Reference):
        shape: tuple[int, ...] = value.node.results[value.output or 0][0]
        return shape
    return np.shape(value)


def dtype_of(value: Any) -> Any:
    """The dtype of an operand; None for a Python number, which takes that of others."""
    if isinstance(value, Reference):
        return value.node.results[value.output or 0][1]
    return getattr(value, "dtype", None)


def strides_of(value: Any) -> tuple[int, ...] | None:
    """The strides of an operand in the recorded program, if known."""
    if isinstance(value, Reference):
        known = value.node.strides
        return None if known is None else known[value.output or 0]
    return getattr(value, "strides", None)


def recorded_strides(node: GraphNode) -> tuple[int, ...] | None:
    """The strides of a node's only result in the recorded program, if known."""
    return None if node.strides is None else node.strides[0]


class Rewriting:
    """The graph that is being made, and what values of the old one have become in it."""

    def __init__(self, source: Graph, rules: Rules, merge: bool = False) -> None:
        self.source = source
        self.rules = rules
        self.nodes: list[GraphNode] = []
        self.applied: Counter[str] = Counter()
        self._current: GraphNode | None = None
        self._became: dict[int, Any] = {n.number: n for n in source.inputs}
        self._merge = merge
        self._emitted: dict[Hashable, GraphNode] = {}
        self._rules: dict[tuple[str, bool], list[Rule]] = {}

    def run(self) -> Graph:
        """Walks through all nodes."""
        for node in self.source.nodes:
            self._became[node.number] = self._settled(self._updated(node))
        outputs = {name: self._as_reference(self._value(r))
                   for name, r in self.source.outputs.items()}
        return self.source.like(self.nodes, outputs)

    # -- for rules ---------------------------------------------------------------------------------

    def call(
        self, label: str, function: Callable[..., Any], args: tuple[Any, ...],
        shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...] | None = None,
    ) -> Value:
        """The value of a new call, after the rules for its kind."""
        found = self._settled(self._new(label, function, args, shape, dtype, strides))
        return Reference(found) if isinstance(found, GraphNode) else found

    def emit(
        self, label: str, function: Callable[..., Any], args: tuple[Any, ...],
        shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...] | None = None,
    ) -> Reference:
        """The value of a new call as it is: no rule is asked. The call that rules are being asked
        about is kept if this is the same."""
        node = self._current
        if node is None or node.function is not function or node.kwargs or (
            _key(node.args) != _key(args)
        ):
            node = self._new(label, function, args, shape, dtype, strides)
        return Reference(self.keep(node))

    def keep(self, node: GraphNode) -> GraphNode:
        """Emits a node, or finds one that computes the same."""
        if self._merge and not node.effect:
            key = node.key
            if key is None:
                key = node.key = (_function_key(node), _key(node.args), _key(node.kwargs))
            found = self._emitted.get(key)
            if found is not None:
                if found is not node:
                    self.applied["merged with an equal call"] += 1
                return found
            self._emitted[key] = node
        self.nodes.append(node)
        return node

    # ----------------------------------------------------------------------------------------------

    def _new(self, label: str, function: Any, args: Any, shape: Any, dtype: Any,
             strides: Any) -> GraphNode:
        result: Result = (shape, dtype)
        return GraphNode(self.source.number(), label, function, args, {}, [result],
                         strides=None if strides is None else [strides])

    def _settled(self, node: GraphNode) -> Any:
        """What a node becomes: a node that is emitted, a reference, or an array."""
        before, self._current = self._current, node
        try:
            return self._by_rules(node)
        finally:
            self._current = before

    def _by_rules(self, node: GraphNode) -> Any:
        if node.effect:
            return self.keep(node)
        for rule in self._rules_for(node):
            found = rule(node, self)
            if found is None:
                continue
            if isinstance(found, Reference) and found.node is node:
                return node
            self.applied[rule.__name__.replace("_", " ").strip()] += 1
            return found
        return self.keep(node)

    def _rules_for(self, node: GraphNode) -> list[Rule]:
        kind, is_ufunc = kind_of(node), isinstance(node.function, np.ufunc)
        found = self._rules.get((kind, is_ufunc))
        if found is None:
            groups = (kind, "ufunc", "any") if is_ufunc else (kind, "any")
            found = self._rules[kind, is_ufunc] = [
                rule for group in groups for rule in self.rules.get(group, ())]
        return found

    def _updated(self, node: GraphNode) -> GraphNode:
        """The same call of what its operands have become."""
        became = self._became
        if all([became[r.node.number] is r.node for r in node.read]):
            return node
        return GraphNode(
            node.number, node.label, node.function, replaced(node.args, self._value),
            replaced(node.kwargs, self._value), node.results, effect=node.effect,
            strides=node.strides,
        )

    def _value(self, reference: Reference) -> Value:
        found = self._became[reference.node.number]
        if found is reference.node:
            return reference
        if isinstance(found, GraphNode):
            return Reference(found, reference.output)
        return found

    def _as_reference(self, value: Value) -> Reference:
        if isinstance(value, Reference):
            return value
        array = np.asarray(value)
        return self.emit("constant", np.copy, (array,), array.shape, array.dtype, array.strides)


def rewritten(graph: Graph, rules: Rules) -> Graph:
    """The graph after one walk with these rules."""
    return Rewriting(graph, rules).run().without_dead_code()


def _function_key(node: GraphNode) -> Hashable:
    function = node.function
    return ("changed", function.function) if type(function) is Changed else function


def _key(value: Any) -> Hashable:
    """Equal for arguments that are the same; numbers of different types, or of different signs of
    zero, are different."""
    cls = type(value)
    if cls is Reference:
        return (Reference, value.node.number, value.output)
    if cls is int:
        return (cls, value)
    if cls is tuple or cls is list:
        return (cls, *[_key(v) for v in value])
    if cls is dict:
        return (cls, *[(k, _key(v)) for k, v in value.items()])
    if cls is slice:
        return (cls, *[_key(end) for end in (value.start, value.stop, value.step)])
    if isinstance(value, (np.ndarray, np.generic)) and value.size <= 16:
        return (value.dtype, value.shape, value.tobytes())
    if cls is float:
        return (cls, value.hex())
    if cls is SymInt:
        return (cls, value.terms or id(value))
    if cls in (int, bool, str, type(None)) or isinstance(value, (np.dtype, type)):
        return (cls, value)
    if isinstance(value, tuple):  # a named tuple of settings
        return (cls, *[_key(v) for v in value])
    return (cls, id(value))  # alive as long as the graph
