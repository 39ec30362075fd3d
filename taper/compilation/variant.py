"""One way that calls of a function go: what has to hold for it, and the program that runs then."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.autograd.node import Node, NodeOutput, freed_error, next_sequence
from taper.compilation.differentiable import Backward, new_node
from taper.compilation.programs import Program, choose_program
from taper.compilation.recording import (
    UNCHANGED,
    Alias,
    Constant,
    Fresh,
    Given,
    Known,
    Recorded,
    known_tensors,
    numbers_in,
)
from taper.compilation.snapshot import Snapshot
from taper.compilation.watches import Watch
from taper.core.storage import new_storage
from taper.core.tensor import LEAF, Tensor, alias, wrap

__all__ = ["EagerVariant", "Variant"]

_new = object.__new__
getrefcount = sys.getrefcount


class StateGuard:
    """Whether Python's state and the tensors in it are those of a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.watches: list[Watch] = []
        self.tensors: list[tuple[Any, ...]] = []
        self.bind(snapshot)

    def bind(self, snapshot: Snapshot) -> None:
        """Takes an equal snapshot in the place of the one before."""
        self.snapshot = snapshot
        self.watches = [w for w in snapshot.watches if not w.in_arguments]
        self.tensors = [_conditions(found.tensor) for found in snapshot.tensors]

    def holds(self) -> bool:
        """Whether everything is as it was."""
        for watch in self.watches:
            if not watch.holds() and not watch.holds_but_for_numbers():
                return False
        for t, array, edge, has_no_grad in self.tensors:
            if t._array is not array or (t._grad is None) is not has_no_grad:
                return False
            if t._edge is not edge and (edge is None or edge is LEAF or t._edge is LEAF):
                return False
        return True


def _conditions(t: Tensor) -> tuple[Any, ...]:
    return t, t._array, t._edge, t._grad is None


class ArgumentGuard:
    """Whether arguments are like those of the recorded call."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.count = len(args)
        self.names = tuple(kwargs)
        self.parts = [_like(value) for value in (*args, *kwargs.values())]
        self.is_plain = all(part is not None for part in self.parts)

    def holds(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether these arguments, tensors and numbers, are alike."""
        if len(args) != self.count or tuple(kwargs) != self.names:
            return False
        values = (*args, *kwargs.values()) if kwargs else args
        for value, part in zip(values, self.parts, strict=True):
            if not part(value):
                return False
        return True


def _like(value: Any) -> Callable[[Any], bool] | None:
    kind = type(value)
    if isinstance(value, Tensor):
        array = value._array
        shape, dtype, strides = array.shape, array.dtype, array.strides
        edge, created = value._edge, value._created_as
        has_no_grad = value._grad is None
        if value.__dict__ or value._inference:
            return None

        def is_like(other: Any) -> bool:
            if type(other) is not kind:
                return False
            array = other._array
            return (
                type(array) is np.ndarray and array.shape == shape and array.dtype is dtype
                and array.strides == strides and (other._grad is None) is has_no_grad
                and (other._edge is edge or (edge is not None and edge is not LEAF
                                             and other._edge not in (None, LEAF)))
                and other._created_as is created and not other.__dict__
            )

        return is_like
    if kind is float:
        text = value.hex()
        return lambda other: type(other) is float and other.hex() == text
    if kind in (int, str, bool, bytes, type(None)):
        return lambda other: type(other) is kind and other == value
    return None


class EagerVariant:
    """Calls that run as they are, and why."""

    def __init__(self, key: Any, snapshot: Snapshot, arguments: ArgumentGuard) -> None:
        self.key = key
        self.state = StateGuard(snapshot)
        self.arguments = arguments

    def rebind(self, snapshot: Snapshot) -> bool:
        self.state.bind(snapshot)
        return True


class Variant(EagerVariant):
    """Calls that run as a program."""

    def __init__(
        self, key: Any, snapshot: Snapshot, arguments: ArgumentGuard, recorded: Recorded,
        program: Program,
    ) -> None:
        super().__init__(key, snapshot, arguments)
        self.recorded = recorded
        self.program = program
        self.sources = [_source(made) for made in recorded.tensors]
        self.bind(recorded.known)

    def rebind(self, snapshot: Snapshot) -> bool:
        """Takes another state that is equal by value; tells whether the program fits it."""
        known = known_tensors(snapshot)
        before = self.recorded.known
        if [(k.role, k.place) for k in known] != [(k.role, k.place) for k in before]:
            return False
        for new, old in zip(known, before, strict=True):
            new.take_over(old)
        self.recorded.known = known
        if self.recorded.overlap() is not None:
            self.recorded.known = before
            return False
        numbers = numbers_in(snapshot)
        for number, other in zip(numbers, self.recorded.numbers, strict=True):
            number.place = other.place
        self.recorded.numbers = numbers
        super().rebind(snapshot)
        self.bind(known)
        return True

    def bind(self, known: list[Known]) -> None:
        """Finds the arrays and tensors of the state."""
        count = len(self.recorded.graph.inputs)
        self.static: list[Any] = [None] * count
        self.arguments_read: list[tuple[int, int]] = []
        self.gradients_read: list[tuple[int, int]] = []
        self.written: list[tuple[int, int, Any]] = []
        self.gradients: list[tuple[int, Any]] = []
        self.holders: list[Any] = [k.tensor if k.role == "state" else None for k in known]
        self.argument_holders = [(i, k.place) for i, k in enumerate(known) if k.role == "argument"]
        self.gradient_holders = [(i, k.place) for i, k in enumerate(known) if k.role == "gradient"]
        for i, item in enumerate(known):
            if item.input >= 0:
                if item.role == "state":
                    self.static[item.input] = item.array
                elif item.role == "argument":
                    self.arguments_read.append((item.input, i))
                else:
                    self.gradients_read.append((item.input, i))
            if item.bumps:
                self.written.append((i, item.bumps, item.changed_at))
            if item.grad is not UNCHANGED:
                self.gradients.append((i, item.grad))
        self.numbers = []
        for number in self.recorded.numbers:
            if number.place >= 0:
                array = self.static[number.place] = np.array(number.group[number.name], np.float64)
                self.numbers.append((number.group, number.name, array))
        self.reused = self._reused(known)

    def _reused(self, known: list[Known]) -> list[tuple[int, int]]:
        """(output, known tensor) where a new gradient may take the memory of the one before."""
        read = {item.place for item in known if item.role == "gradient" and item.input >= 0}
        found = []
        for i, place in self.gradients:
            if place is None or i in read:
                continue
            made = self.recorded.tensors[place]
            if type(made) is Fresh and not made.steps:
                found.append((made.output, i))
        return found

    def run(self, args: list[Tensor]) -> Any:
        """Runs the program on these tensors, in the order in which arguments have them."""
        holders = self.holders.copy()
        for i, place in self.argument_holders:
            holders[i] = args[place]
        for i, place in self.gradient_holders:
            holders[i] = holders[place]._grad
        arrays = self.static.copy()
        for group, name, array in self.numbers:
            array[()] = group[name]
        for place, i in self.arguments_read:
            arrays[place] = holders[i]._array
        for place, i in self.gradients_read:
            arrays[place] = holders[i]._array
        into: list[Any] = [None] * self.recorded.output_count
        for output, i in self.reused:
            t = holders[i]
            grad = t._grad
            if grad is not None:
                array = grad._array
                old = t._grad
                t._grad = None
                del grad, old
                # Held by `array` and by the call that counts: by nobody else.
                if getrefcount(array) == 2 and array.base is None:
                    into[output] = array
                del array
        outputs = self.program(arrays, into)
        for i, bumps, changed_at in self.written:
            t = holders[i]
            storage = t._storage
            if storage is None:
                storage = t._storage = new_storage(t._array)
            storage.version += bumps
            storage.changed_at = changed_at
        fresh: dict[int, Tensor] = {}
        tensors = [make(holders, outputs, fresh) for make in self.sources]
        for i, place in self.gradients:
            holders[i]._grad = None if place is None else tensors[place]
        backward = self.recorded.backward
        if backward is not None:
            self.connect(backward, holders, outputs, tensors)
        return self.recorded.result(tensors)


    def connect(
        self, backward: Backward, holders: list[Any], outputs: Any, tensors: list[Any]
    ) -> None:
        """Puts a node behind the results that require grad."""
        if backward.program is None:
            backward.program = choose_program(backward.graph, {})
        values = outputs[self.recorded.output_count - len(backward.saved):]
        node = new_node(backward, holders, values, None)
        for i, place in enumerate(self.recorded.differentiable):
            t = tensors[place]
            t._base = None  # what it was a view of is gone
            t._edge = node if node.outputs == 1 else NodeOutput(node, i)


def _source(made: Any) -> Callable[[list[Any], list[Any], dict[int, Tensor]], Tensor]:
    """A function that makes one tensor of a result from known tensors and the program's outputs."""
    if type(made) is Given:
        known = made.known
        return lambda holders, outputs, fresh: holders[known]
    if type(made) is Constant:
        return lambda holders, outputs, fresh: _with_edge(wrap(made.array.copy("K")), made.edge)
    if type(made) is Alias:
        return lambda holders, outputs, fresh: _with_edge(
            _view(holders[made.known], made.steps), made.edge)

    def fresh_tensor(holders: Any, outputs: Any, fresh: dict[int, Tensor]) -> Tensor:
        base = fresh.get(made.output)
        if base is None:
            base = fresh[made.output] = wrap(outputs[made.output])
            if not made.steps:
                return _with_edge(base, made.edge)
        return _with_edge(_view(base, made.steps), made.edge)

    return fresh_tensor


def _view(base: Tensor, steps: Any) -> Tensor:
    """A view that shares storage and version with `base`."""
    result = alias(base)
    for step in steps:
        result._array = step(result._array)
    if steps:
        result._base = base if base._base is None else base._base
    return result


def _with_edge(t: Tensor, edge: Any) -> Tensor:
    if edge is None or edge is LEAF:
        t._edge = edge
        return t
    cls, where = edge
    node = _new(_freed_class(cls))
    node.edges = ()
    node.adjust = node.saved = node.extras = None
    node.sequence = next_sequence()
    node.where = where
    t._edge = node
    return t


_freed: dict[type, type] = {}


def _freed_class(cls: type) -> type:
    """The nodes of results that were differentiated within the program: of the same name, freed."""
    found = _freed.get(cls)
    if found is None:
        found = _freed[cls] = type(
            cls.__name__, (Freed, cls), {"__slots__": (), "__module__": cls.__module__}
        )
    return found


class Freed(Node):
    """A node whose saved values are gone."""

    __slots__ = ()
    saves = True
    outputs = 1

    def backward(self, grad: Any) -> tuple[Any, ...]:
        raise freed_error(self)

