"""Reads off tensors and results what a call did while it was recorded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.arrays.node_arguments import depends_on_size
from taper.arrays.traced import TracedArray
from taper.autograd.engine import nodes_from
from taper.autograd.node import Node
from taper.compilation.differentiable import record_backward, split
from taper.compilation.recorded import (
    BROKEN,
    INVALID,
    Alias,
    Constant,
    Fresh,
    Given,
    Known,
    NotCaptured,
    Number,
    Recorded,
)
from taper.compilation.snapshot import Snapshot
from taper.compilation.stages import stages_of
from taper.compilation.watches import path_text
from taper.compiler.graph import Graph, GraphNode
from taper.core.device import device
from taper.core.dtype import dtype
from taper.core.size import Size
from taper.core.symbolic import SizePinned
from taper.core.tensor import LEAF, Tensor

__all__ = ["Reading"]

_CONSTANTS = frozenset([bool, int, float, complex, str, bytes, Size, dtype, device, np.dtype])
_BOXES = frozenset([list, dict, OrderedDict])


class Reading:
    """Reads off the tensors what a recorded call did."""

    def __init__(
        self, graph: Graph, known: list[Known], numbers: list[Number], snapshot: Snapshot
    ) -> None:
        self.graph = graph
        self.boxes = snapshot.boxes
        self.returned: dict[int, Any] = {}  # lists and other containers in the result, by id
        self.known = known
        self.recorded = Recorded(graph, known)
        self.recorded.numbers = numbers
        self.owners = {id(item.owner): i for i, item in enumerate(known)}
        self.numbers = {id(item.tensor): i for i, item in enumerate(known)}
        self.places: dict[int, int] = {}  # by id of a tensor, its place in recorded.tensors
        self.outputs: dict[int, int] = {}  # by id of an array that owns memory
        self.names: list[str] = []
        self.made: list[Tensor] = []  # the tensors themselves, in the order of recorded.tensors
        self.last_values: list[Any] = []  # of the known tensors

    def read(self, result: Any) -> None:
        """Reads off what the call did, and what its result is made of."""
        for item in self.known:
            self.read_known(item)
        self.recorded.result = self.template(result, "the result")
        if isinstance(result, Tensor):
            self.recorded.only = self.places[id(result)]
        overlap = self.recorded.overlap()
        if overlap is not None:
            raise NotCaptured(overlap)

    def read_backward(self) -> None:
        """Records the backward of results that can still be differentiated."""
        outputs = [t for t in self.made if is_open(t)]
        if not outputs:
            return
        recorded = self.recorded
        shared = set()
        for t in outputs:
            made = recorded.tensors[self.places[id(t)]]
            if type(made) is not Fresh or made.output in shared:
                raise NotCaptured(
                    "a result that requires grad shares memory with an argument or another result"
                )
            shared.add(made.output)
        leaves = [(i, k.tensor) for i, k in enumerate(self.known) if k.tensor._edge is LEAF]
        cut = len(self.graph.nodes)
        stages = stages_of(outputs, [t for _, t in leaves])
        recorded.backwards = [
            record_backward(self.graph, cut, stage, leaves, self.places,
                            is_last=stage is stages[-1])
            for stage in stages]

    def read_known(self, item: Known) -> None:
        t, owner = item.tensor, item.owner
        where = path_text(item.path)
        array, _, grad, edge, _ = item.saved
        if t._array is not owner:
            raise NotCaptured(
                f"{where} was given other memory (by .data =, set_() or resize_()): change its "
                "values in place, as by copy_()"
            )
        if (t._edge is None) is not (edge is None) or (edge is not None and t._edge is not LEAF):
            raise NotCaptured(f"{where} has another history than before")
        if t.__dict__.keys() - {"_accumulator"} != item.attributes.keys() - {"_accumulator"}:
            raise NotCaptured(f"{where} got a hook or another attribute")
        item.written = owner.writes > 0
        if t._storage is not None:
            item.bumps, item.changed_at = t._storage.version, t._storage.changed_at
        self.last_values.append(owner.reference)
        if item.written and not array.flags.writeable:
            raise NotCaptured(f"{where} is read-only")
        if t._grad is not grad:
            if edge is not None and edge is not LEAF:
                raise NotCaptured(
                    f"backward() reaches {where}, whose history began before the call"
                )
            item.grad = None if t._grad is None else self.place_of(
                t._grad, f"{where}.grad", by_value=array.flags.c_contiguous
            )

    def place_of(self, t: Tensor, where: str, *, by_value: bool = False) -> int:
        """The place of a tensor among those to make.

        `by_value`: it may be contiguous, however the recorded one lies in memory.
        """
        place = self.places.get(id(t))
        if place is None:
            made = self.source_of(t, where, by_value)
            place = self.places[id(t)] = len(self.recorded.tensors)
            self.recorded.tensors.append(made)
            self.made.append(t)
        self.recorded.uses[place] = self.recorded.uses.get(place, 0) + 1
        return place

    def source_of(self, t: Tensor, where: str, by_value: bool) -> Any:
        number = self.numbers.get(id(t))
        if number is not None:
            return Given(number)
        if type(t) is not Tensor:
            raise NotCaptured(f"{where} is a {type(t).__name__}, a class of tensors of its own")
        edge = self.edge_of(t, where)
        if t.__dict__.keys() - {"_created_as", "_inference"} or (
            t._created_as and t._edge is not None
        ):
            raise NotCaptured(f"{where} has attributes or hooks")
        array = t._array
        if type(array) is np.ndarray:
            if t._base is not None or t._inference:
                raise NotCaptured(f"{where} is a view of a constant, or made in inference mode")
            return Constant(array.copy(), edge)
        if type(array) is not TracedArray:
            raise NotCaptured(f"{where} isn't a tensor in strided memory")
        owner = array if array.owner is None else array.owner
        known = self.owners.get(id(owner))
        if known is not None:
            return Alias(known, array.steps, edge)
        if by_value and t._base is None:
            return Fresh(self.output_of(array), (), edge)
        return Fresh(self.output_of(owner), array.steps, edge,
                     owner.strides if owner.ndim > 1 and 0 not in owner.strides else None,
                     is_inference=t._inference)

    def output_of(self, array: TracedArray) -> int:
        """The number of the output that has the values of an array."""
        output = self.outputs.get(id(array))
        if output is None:
            output = self.outputs[id(array)] = len(self.names)
            self.names.append(f"output.{output}")
            self.graph.outputs[self.names[-1]] = array.reference
        return output

    def edge_of(self, t: Tensor, where: str) -> Any:
        """None, LEAF, or the freed node of a result's history."""
        edge = t._edge
        if edge is None or edge is LEAF or is_open(t):
            return None if edge is not LEAF else edge
        node = edge if isinstance(edge, Node) else edge.node
        return type(node), _freed_nodes(edge)[-1].where

    def template(self, value: Any, where: str) -> Callable[[list[Any]], Any]:
        """A function that makes the result from the list of its tensors."""
        if issubclass(type(value), Tensor):
            place = self.place_of(value, where)
            return lambda tensors: tensors[place]
        kind = type(value)
        if kind in _BOXES or (
            hasattr(kind, "__dataclass_fields__") and not isinstance(value, tuple)
        ):
            if id(value) in self.boxes:
                if self.boxes[id(value)]:
                    raise NotCaptured(f"{where} is a {kind.__name__} that was passed")
                self.recorded.returned.append(value)
                return lambda tensors: value  # it is as it was, see recording.py
            if id(value) in self.returned:
                raise NotCaptured(f"{where} is in the result twice")
            self.returned[id(value)] = value
        if kind in (tuple, list) or (isinstance(value, tuple) and (
            hasattr(kind, "_fields") or kind.__module__.startswith(("torch", "taper"))
        )):
            parts = [self.template(v, f"{where}[{i}]") for i, v in enumerate(value)]
            if kind is list:
                return lambda tensors: [part(tensors) for part in parts]
            if kind is tuple:
                return lambda tensors: tuple([part(tensors) for part in parts])
            make = getattr(kind, "_make", kind)  # a named tuple, or one of the operators' own
            return lambda tensors: make([part(tensors) for part in parts])
        if kind in (dict, OrderedDict):
            items = {k: self.template(v, f"{where}[{k!r}]") for k, v in value.items()}
            if any(isinstance(k, Tensor) for k in items):
                raise NotCaptured(f"{where} is a dict with tensors as keys")
            if kind is dict:
                return lambda tensors: {k: part(tensors) for k, part in items.items()}
            return lambda tensors: kind([(k, part(tensors)) for k, part in items.items()])
        if depends_on_size(tuple(value) if kind is Size else value):
            raise SizePinned(f"{where} is a number that depends on the batch size")
        if value is None or kind in _CONSTANTS:
            return lambda tensors: value
        if hasattr(kind, "__dataclass_fields__") and not hasattr(kind, "__slots__"):
            fields = {k: self.template(v, f"{where}.{k}") for k, v in value.__dict__.items()}
            return lambda tensors: _remade(kind, fields, tensors)
        raise NotCaptured(f"{where} is a {kind.__name__}, which a program can't make")

    def finish(self) -> Recorded:
        """Leaves the graph with the inputs that are read, and names what is written."""
        recorded, graph = self.recorded, self.graph
        recorded.nodes = list(graph.nodes)
        nodes = iter(graph.inputs)
        for backward in recorded.backwards:
            split(backward, len(self.known),
                  {i for i, item in enumerate(self.known) if item.written})
        if recorded.backwards:
            graph = graph.like(graph.nodes[: recorded.backwards[0].cut], graph.outputs)
            for i, reference in enumerate(
                [r for backward in recorded.backwards for r in backward.saved]
            ):
                graph.outputs[f"saved.{i}"] = reference
        written = []
        for i, item in enumerate(self.known):
            if item.written:
                graph.outputs[f"state.{i}"] = self.last_values[i]
                written.append(i)
        graph = graph.without_dead_code()
        used = {r.node.number for node in graph.nodes for r in node.inputs()}
        used |= {r.node.number for r in graph.outputs.values()}
        inputs: list[GraphNode] = []
        for i, item in enumerate(self.known):
            node = next(nodes)
            if node.number in used or item.written:
                item.input = len(inputs)
                node.label = path_text(item.path) or f"input {i}"
                inputs.append(node)
        for number, node in zip(recorded.numbers, nodes, strict=False):
            if node.number in used:
                number.place = len(inputs)
                node.label = number.label
                inputs.append(node)
        graph.inputs = inputs
        recorded.graph = graph
        recorded.output_count = len(graph.outputs) - len(written) - len(
            graph.outputs.keys() & {BROKEN, INVALID})
        recorded.updates = {f"state.{i}": self.known[i].input for i in written}
        return recorded


def _freed_nodes(edge: Any) -> list[Any]:
    """The nodes behind an edge whose saved values are gone."""
    return [n for n in nodes_from([edge]).values() if n.saves and n.saved is None]


def is_open(t: Tensor) -> bool:
    """Whether a tensor has a history that can still be differentiated."""
    edge = t._edge
    return edge is not None and edge is not LEAF and not _freed_nodes(edge)


def _remade(kind: type, fields: dict[str, Any], tensors: list[Any]) -> Any:
    made: Any = object.__new__(kind)
    made.__dict__.update({name: part(tensors) for name, part in fields.items()})
    return made
