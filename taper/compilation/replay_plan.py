"""Where each value of a replayed graph lives: in the arena, in an input, or by itself."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from taper.arrays.node_functions import Changed, write
from taper.compilation.array_functions import scatter, scatter_add
from taper.compilation.memory_plan import MemoryPlan
from taper.compilation.passes import kind_of
from taper.compiler.graph import Graph, GraphNode, Reference

__all__ = ["Key", "Layout", "Observed", "Place", "Plan", "key_of", "takes_target", "writes"]

Key = tuple[int, int | None]  # number of a node, and which of its results

_CONSTANT = -1  # the root of values that are the same in every run


class Layout(NamedTuple):
    """How a value lies in memory, and whose memory that is."""

    shape: tuple[int, ...]
    dtype: Any
    strides: tuple[int, ...]
    root: Key

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * int(self.dtype.itemsize)

    @property
    def is_in_rows(self) -> bool:
        """Whether it lies in the order of rows, without gaps."""
        expected = self.dtype.itemsize
        for n, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if n != 1 and stride != expected:
                return False
            expected *= n
        return True

    def lies_as(self, other: Layout) -> bool:
        """Whether the other has the same shape, dtype and strides."""
        return self[:3] == other[:3]


class Observed:
    """What the first run saw of each value."""

    def __init__(self) -> None:
        self.layouts: dict[Key, Layout] = {}
        self.alone: set[int] = set()  # numbers of the inputs that share no memory with others

    def add_input(self, node: GraphNode, array: np.ndarray, arrays: Any) -> None:
        key = (node.number, None)
        self.layouts[key] = Layout(array.shape, array.dtype, array.strides, key)
        if sum([np.may_share_memory(other, array) for other in arrays]) <= 1:  # with itself
            self.alone.add(node.number)

    def add(self, key: Key, array: np.ndarray, operands: list[tuple[Key, np.ndarray]]) -> None:
        root = key
        for other, operand in operands:
            if np.may_share_memory(array, operand):
                root = self.layouts[other].root
        self.layouts[key] = Layout(array.shape, array.dtype, array.strides, root)


class Place(NamedTuple):
    """Where the memory of a value comes from.

    how: "arena" at `at`; "input" number `at` of the graph; "result" number `at` that is returned;
        "new" in every run; "constant".
    """

    how: str
    at: int = 0


class Plan:
    """The places of all values, and when they are free again."""

    def __init__(self, graph: Graph, updates: dict[str, int], observed: Observed) -> None:
        self.graph = graph
        self.updates = updates
        self.layouts = observed.layouts
        self.alone = observed.alone
        self.memory = MemoryPlan()
        self.places: dict[Key, Place] = {}  # by root
        self.constant: set[Key] = set()
        self.written: set[str] = set()  # updates that are written when they are computed
        self.returned = [name for name in graph.outputs if name not in updates]
        self.reads: dict[Key, int] = {}  # by root, the position of the node that reads it last
        for i, node in enumerate(graph.nodes):
            for r in node.read:
                self.reads[self.root(r)] = i
            if not node.effect and all([self.is_constant(r) for r in node.read]):
                self.constant.update(self.keys_of(node))
        # Values that an update may be computed into its input, and the roots of all other outputs,
        # which are read after the last node.
        self.candidates = {key_of(graph.outputs[name]): name for name in updates
                           if self._target(name) is not None}
        self.held = {self.root(r) for name, r in graph.outputs.items()
                     if self.candidates.get(key_of(r)) != name}
        self._place_all()

    def root(self, reference: Reference) -> Key:
        """Whose memory a value lies in."""
        return self.layouts[key_of(reference)].root

    def keys_of(self, node: GraphNode) -> list[Key]:
        """The results of a node."""
        if (node.number, None) in self.layouts:
            return [(node.number, None)]
        return [key for i in range(len(node.results)) if (key := (node.number, i)) in self.layouts]

    def is_constant(self, reference: Reference) -> bool:
        """Whether a value is the same in every run."""
        return key_of(reference) in self.constant

    def last_read(self, root: Key) -> int:
        """The position of the node that reads this memory last; for outputs, after all."""
        return len(self.graph.nodes) if root in self.held else self.reads.get(root, -1)

    def _target(self, update: str) -> Key | None:
        """The input that an update may be computed into: one that lies as the value does."""
        key = key_of(self.graph.outputs[update])
        target = (self.graph.inputs[self.updates[update]].number, None)
        value = self.layouts[key]
        fits = target[0] in self.alone and value.root == key and value.lies_as(self.layouts[target])
        return target if fits else None

    def _place_all(self) -> None:
        results: dict[Key, int] = {}
        for i, name in enumerate(self.returned):
            results.setdefault(self.root(self.graph.outputs[name]), i)
        for node in self.graph.inputs:
            self.places[node.number, None] = Place("input", node.number)
        dying: dict[int, list[Key]] = {}
        for root in self.reads:
            dying.setdefault(self.last_read(root), []).append(root)
        for i, node in enumerate(self.graph.nodes):
            mine = [key for key in self.keys_of(node) if self.layouts[key].root == key]
            for key in mine:
                self.places[key] = self._place(i, node, key, results)
            taken = [self.places[key] for key in mine]
            for root in dying.get(i, ()):
                place = self.places[root]
                if place.how == "arena" and place not in taken and self.last_read(root) == i:
                    self.memory.give_back(place.at, self.layouts[root].nbytes)

    def _place(self, i: int, node: GraphNode, key: Key, results: dict[Key, int]) -> Place:
        update = self.candidates.get(key)
        if key in self.constant:
            place = Place("constant")
        elif not takes_target(node) or not _is_dense(self.layouts[key]):
            place = Place("new")
        elif update is not None and self._may_overwrite(i, node, self._target(update)):
            self.written.add(update)
            return Place("input", self.graph.inputs[self.updates[update]].number)
        elif key in results:
            whole = key_of(self.graph.outputs[self.returned[results[key]]]) == key
            place = Place("result", results[key]) if (
                whole and self.layouts[key].is_in_rows) else Place("new")
        elif key not in self.reads and update is None:
            place = Place("new")  # nobody wants it, but the call is kept for its effect
        else:
            operand = self._dying_operand(i, node, self.layouts[key])
            place = Place("arena", self.memory.take(self.layouts[key].nbytes)) if (
                operand is None) else self.places[operand]
        if update is not None:
            self.held.add(key)
        return place

    def _may_overwrite(self, i: int, node: GraphNode, target: Key | None) -> bool:
        """Whether a node may write into an input: its old value isn't read later, and the node
        itself reads it element by element, or as what it changes a part of."""
        assert target is not None
        last = self.last_read(target)
        if last == i and writes(node):
            return [key_of(r) for r in node.read if self.root(r) == target] == [target] and (
                key_of(node.read[0]) == target)
        return last < i or (last == i and is_elementwise(node))

    def _dying_operand(self, i: int, node: GraphNode, layout: Layout) -> Key | None:
        """An operand in the arena whose memory the node may write its result over."""
        if is_elementwise(node):
            operands = node.read
        elif writes(node):
            operands = node.read[:1]
        else:
            return None
        for r in operands:
            key = key_of(r)
            others = [other for other in node.read if self.root(other) == key and other is not r]
            if (self.last_read(key) == i and self.places.get(key, Place("")).how == "arena"
                    and self.layouts[key].lies_as(layout)
                    and all([key_of(other) == key and is_elementwise(node) for other in others])):
                return key
        return None


def key_of(reference: Reference) -> Key:
    """The value that a reference stands for."""
    return (reference.node.number, reference.output)


def is_elementwise(node: GraphNode) -> bool:
    """Whether a result's element depends on those of the operands at its place."""
    function = node.function
    return isinstance(function, np.ufunc) and function.signature is None and function.nout == 1


def writes(node: GraphNode) -> bool:
    """Whether a node is a write into a copy of its first operand."""
    return (type(node.function) is Changed or node.function is write) and isinstance(
        node.args[0], Reference)


def takes_target(node: GraphNode) -> bool:
    """Whether a call can be written so that its result goes where one wants."""
    function, kind = node.function, kind_of(node)
    if isinstance(function, np.ufunc):
        return function.nout == 1 and not node.kwargs
    if kind.endswith(".reduce"):
        return node.kwargs.keys() <= {"axis", "dtype", "keepdims"} and len(node.args) <= 2
    if kind in ("copy", "astype", "reshape"):
        return True
    if kind == "concatenate":
        return not node.kwargs and len(node.args) <= 2
    return writes(node) or function in (scatter, scatter_add) or (
        kind == "dot" and len(node.args) == 2)


def _is_dense(layout: Layout) -> bool:
    """Whether elements fill their memory without gaps."""
    expected = layout.dtype.itemsize
    sizes = sorted([(s, n) for s, n in zip(layout.strides, layout.shape, strict=True) if n != 1])
    for stride, n in sizes:
        if stride != expected:
            return False
        expected *= n
    return True
