"""Records one call of a function: the graph of all it computes, and what its results are made of.

All tensors that the snapshot found become inputs of the graph, their arrays replaced by recording
ones; the function runs once, with its `backward()` and its optimizers; then everything is put back.
Nothing has been computed by then: the caller runs the graph's program for the call itself.

What a program can't do in the function's place raises `NotCaptured`; the call then runs eagerly.
"""

from __future__ import annotations

import gc
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from taper.arrays.recorded_number import RecordedNumber
from taper.arrays.traced import Recording, Step, TracedArray, recording_into
from taper.autograd.engine import nodes_from
from taper.autograd.node import Node
from taper.compilation.differentiable import Backward, record_backward, split
from taper.compilation.snapshot import Snapshot
from taper.compilation.watches import GroupWatch, path_text
from taper.compiler.directives import compiling
from taper.compiler.graph import Graph
from taper.core.generator import default_generator
from taper.core.state import active, around_forwards, grad_mode
from taper.core.storage import address_of, span_in_bytes
from taper.core.tensor import LEAF, Buffer, Parameter, Tensor

__all__ = ["Alias", "Constant", "Fresh", "Given", "Known", "NotCaptured", "NumberPinned",
           "Recorded", "exclusive", "known_tensors", "numbers_in", "record_call"]


class NotCaptured(Exception):
    """Why a call wasn't captured; `line` is the user's, `state` says that it is worth trying again
    once optimizers have their state."""

    def __init__(
        self, reason: str, line: str | None = None, *, again: bool = False, lasting: bool = False
    ) -> None:
        super().__init__(reason)
        self.line = line
        self.again = again
        self.is_lasting = lasting  # it will be so in every call


class Known:
    """A tensor that was there before the call.

    Attributes:
        role: "state", "argument" (`place` is its position among them) or "gradient" (of the
            known tensor number `place`).
        bumps: by how much the call raises its version, if it writes to it.
        grad: what its `.grad` is after the call: None, or how to make it; UNCHANGED.
    """

    __slots__ = ("array", "attributes", "bumps", "changed_at", "grad", "input", "owner", "path",
                 "place", "role", "saved", "tensor", "written")

    def __init__(self, tensor: Tensor, role: str, place: int, path: Any) -> None:
        self.tensor = tensor
        self.role = role
        self.place = place
        self.path = path
        self.array = tensor._array
        self.saved = (tensor._array, tensor._storage, tensor._grad, tensor._edge, tensor._base)
        self.attributes = tensor.__dict__.copy()
        self.input = -1  # its position among the inputs of the program, if it is read
        self.bumps = 0
        self.changed_at: Any = None
        self.written = False
        self.grad: Any = UNCHANGED
        self.owner: Any = None


    def release(self) -> None:
        """Lets go of a tensor that is another one at each call."""
        if self.role != "state":
            self.tensor = self.array = self.saved = self.attributes = self.owner = None  # type: ignore[assignment]

    def take_over(self, other: Known) -> None:
        """Takes what the recorded call does to the tensor that `other` stands for."""
        for name in ("bumps", "changed_at", "grad", "input", "written"):
            setattr(self, name, getattr(other, name))


UNCHANGED = object()


# -- what results are made of ----------------------------------------------------------------------


class Given:
    """A result that is a known tensor itself."""

    def __init__(self, known: int) -> None:
        self.known = known


class Fresh:
    """A new tensor around an output of the program, or a view of one."""

    def __init__(self, output: int, steps: tuple[Step, ...], edge: Any) -> None:
        self.output = output
        self.steps = steps
        self.edge = edge  # None, LEAF, or the node that it had


class Alias:
    """A new tensor that shares the memory of a known one."""

    def __init__(self, known: int, steps: tuple[Step, ...], edge: Any) -> None:
        self.known = known
        self.steps = steps
        self.edge = edge


class Constant:
    """A new tensor of the same numbers each time."""

    def __init__(self, array: np.ndarray, edge: Any) -> None:
        self.array = array
        self.edge = edge


class Number:
    """A float in a parameter group that the program reads at each call.

    Attributes:
        group: the dict that holds it under `name`; `place` is its position among the inputs.
    """

    __slots__ = ("group", "name", "place", "recorded")

    def __init__(self, group: dict[str, Any], name: str) -> None:
        self.group = group
        self.name = name
        self.place = -1
        self.recorded: RecordedNumber | None = None


class NumberPinned(Exception):
    """Raised if a call depends on the value of a number that was to be an input."""


class Recorded:
    """A recorded call.

    Attributes:
        graph: its inputs are those known tensors that are read (`Known.input`).
        updates: output name → position of the input whose memory it is written to.
        outputs: names of the outputs that become tensors, in the order of `Fresh.output`.
        tensors: how to make each tensor of the result, and new gradients.
        result: ``result(tensors)`` is what the function returns.
    """

    def __init__(self, graph: Graph, known: list[Known]) -> None:
        self.graph = graph
        self.known = known
        self.numbers: list[Number] = []
        self.updates: dict[str, int] = {}
        self.tensors: list[Any] = []
        self.output_count = 0
        self.uses: dict[int, int] = {}  # how often each of `tensors` is used
        self.only: int | None = None  # the one that is the result, if it is one
        self.result: Any = None
        self.backward: Backward | None = None
        self.differentiable: list[int] = []  # places of tensors whose history is `backward`

    def overlap(self) -> str | None:
        """Which memory that is written to two known tensors share, if any."""
        spans = sorted(
            (address_of(k.array), address_of(k.array) + span_in_bytes(k.array), i)
            for i, k in enumerate(self.known) if k.array.size
        )
        end_of_all = end_of_written = 0
        of_all = of_written = 0
        for start, end, i in spans:
            written = self.known[i].written
            if start < end_of_written or (written and start < end_of_all):
                other = of_written if start < end_of_written else of_all
                return (
                    f"{path_text(self.known[other].path)} and {path_text(self.known[i].path)} "
                    "share memory that is written to"
                )
            if end > end_of_all:
                end_of_all, of_all = end, i
            if written and end > end_of_written:
                end_of_written, of_written = end, i
        return None


exclusive = threading.RLock()
"""Held while a call is recorded: tensors don't hold numbers then."""


def record_call(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
    snapshot: Snapshot,
) -> Recorded:
    """Records `function(*args, **kwargs)`, whose state and arguments `snapshot` has.

    Everything is left as it was, whatever happens.
    """
    with exclusive:
        return _record(function, args, kwargs, snapshot)


def _record(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
    snapshot: Snapshot,
) -> Recorded:
    known = known_tensors(snapshot)
    numbers = numbers_in(snapshot)
    graph = Graph()
    generators = [default_generator, *snapshot.generators]
    states = [(g, _position(g), g.state_bytes()) for g in generators]
    here = traceback.extract_stack(limit=1)[0].filename
    modes = grad_mode.get()
    try:
        with _as_inputs(graph, known), recording_into(graph) as recording:
            preexisting = _tensors_alive()
            with compiling(), _watching(preexisting), _numbers_as_inputs(graph, numbers):
                result = function(*args, **kwargs)
            reading = _Reading(graph, known, numbers)
            reading.read(result)
            with _watching(preexisting):
                reading.read_backward()
            _check_aftermath(snapshot, recording, preexisting, states, modes)
            recorded = reading.finish()
            if numbers and _has_nan(recorded):
                raise NumberPinned
            return recorded
    except (NotCaptured, NumberPinned):
        raise
    except Exception as error:
        raise NotCaptured(_reason(error), _user_line(error, here)) from error
    finally:
        snapshot.restore()
        grad_mode.set(modes)
        for generator, position, state in states:
            if _position(generator) != position:
                generator.set_state(state)


def _reason(error: Exception) -> str:
    text = str(error).partition("\n")[0]
    return text if isinstance(error, NotImplementedError) else f"{type(error).__name__}: {text}"


def _user_line(error: BaseException, own: str) -> str | None:
    """``file.py:12`` of the innermost line that isn't taper's."""
    root = own.rpartition("compilation")[0]
    found = None
    for frame in traceback.extract_tb(error.__traceback__):
        if not frame.filename.startswith((root, "<")):
            found = f"{frame.filename}:{frame.lineno}: {frame.line or ''}".rstrip(": ")
    return found


def _position(generator: Any) -> Any:
    return (generator._seed, generator._position, generator._end, id(generator._buffer),
            generator.next_normal)


# -- inputs ----------------------------------------------------------------------------------------


def known_tensors(snapshot: Snapshot) -> list[Known]:
    known: list[Known] = []
    seen: dict[int, int] = {}
    for i, found in enumerate(snapshot.arguments):
        seen[id(found.tensor)] = len(known)
        known.append(Known(found.tensor, "argument", i, found.path))
    for i, found in enumerate(snapshot.tensors):
        if id(found.tensor) not in seen:
            seen[id(found.tensor)] = len(known)
            known.append(Known(found.tensor, "state", i, found.path))
    for i in range(len(known)):
        grad = known[i].tensor._grad
        if grad is not None and id(grad) not in seen:
            seen[id(grad)] = len(known)
            known.append(Known(grad, "gradient", i, (known[i].path, ".grad")))
    return known


@contextmanager
def _as_inputs(graph: Graph, known: list[Known]) -> Iterator[None]:
    """Within: known tensors hold inputs of the graph; afterwards they are as they were."""
    try:
        for number, item in enumerate(known):
            t = item.tensor
            item.owner = TracedArray.as_input(graph, str(number), t._array)
            t._array, t._storage, t._base = item.owner, None, None
            if t._edge is not None:
                t._edge = LEAF
        yield
    finally:
        for item in known:
            t = item.tensor
            t._array, t._storage, t._grad, t._edge, t._base = item.saved
            if t.__dict__ != item.attributes:
                t.__dict__.clear()
                t.__dict__.update(item.attributes)


def numbers_in(snapshot: Snapshot) -> list[Number]:
    """The floats of parameter groups that programs read at each call."""
    return [
        Number(watch.holder, name)
        for watch in snapshot.watches if isinstance(watch, GroupWatch) for name in watch.free
    ]


@contextmanager
def _numbers_as_inputs(graph: Graph, numbers: list[Number]) -> Iterator[None]:
    """Within: parameter groups hold inputs of the graph in the place of their floats."""

    def pin() -> None:
        raise NumberPinned

    before = [number.group[number.name] for number in numbers]
    try:
        for i, (number, value) in enumerate(zip(numbers, before, strict=True)):
            array = TracedArray.as_input(graph, f"number {i}", np.array(value, np.float64))
            number.recorded = number.group[number.name] = RecordedNumber(array, value, pin)
        yield
    finally:
        for number, value in zip(numbers, before, strict=True):
            if number.group.get(number.name) is number.recorded:
                number.group[number.name] = value
            number.recorded = None


def _has_nan(recorded: Recorded) -> bool:
    """Whether a constant of the graph is NaN: what becomes of a number behind its back."""
    waiting: list[Any] = [(node.args, node.kwargs) for node in recorded.graph.nodes]
    waiting += [made.array for made in recorded.tensors if type(made) is Constant]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, (tuple, list)):
            waiting += value
        elif isinstance(value, float):
            if value.__class__ is RecordedNumber or value != value:
                return True
        elif isinstance(value, np.ndarray) and value.dtype.kind in "fc" and np.isnan(value).any():
            return True
    return False


_TENSORS = (Tensor, Parameter, Buffer)


def _tensors_alive() -> set[int]:
    """The ids of all tensors that there are."""
    return {id(o) for o in gc.get_objects() if issubclass(type(o), Tensor)}


@contextmanager
def _watching(preexisting: set[int]) -> Iterator[None]:
    """Within: operators refuse tensors that were there before and aren't inputs."""

    def around(op: Any, bound: dict[str, Any], run: Callable[[], Any]) -> Any:
        for value in bound.values():
            for item in value if type(value) in (list, tuple) else (value,):
                if isinstance(item, Tensor) and type(item._array) is np.ndarray and (
                    id(item) in preexisting
                ):
                    raise NotCaptured(
                        f"{op.name}() uses a tensor that can't be reached through the function's "
                        "variables, arguments or objects, so nobody would notice if another took "
                        "its place: pass it as an argument"
                    )
        return run()

    if around_forwards.get() is not None:
        raise NotCaptured("somebody stands around the forwards of operators")
    token = around_forwards.set(around)
    active.modes += 1
    try:
        yield
    finally:
        active.modes -= 1
        around_forwards.reset(token)


def _check_aftermath(
    snapshot: Snapshot, recording: Recording, preexisting: set[int], states: list[Any], modes: bool
) -> None:
    """Raises NotCaptured if the call did more than a program can do."""
    for watch in snapshot.watches:
        if not watch.holds():
            if watch.is_optimizer_state:
                raise NotCaptured("an optimizer made its state", again=True)
            raise NotCaptured(
                f"{watch.change()}: a program would leave that out",
                lasting=True,
            )
    for reference, array in recording.adopted:
        tensor = reference()
        if tensor is not None and id(tensor) in preexisting:
            tensor._array = array
            raise NotCaptured(
                "it writes to a tensor that can't be reached through its variables or arguments"
            )
    if any(_position(generator) != position for generator, position, _ in states):
        raise NotCaptured("it seeds a generator, or draws from it in a way that isn't recorded")
    if grad_mode.get() is not modes:
        raise NotCaptured("it leaves gradients switched on or off")


# -- results ---------------------------------------------------------------------------------------


class _Reading:
    """Reads off the tensors what a recorded call did."""

    def __init__(self, graph: Graph, known: list[Known], numbers: list[Number]) -> None:
        self.graph = graph
        self.known = known
        self.recorded = Recorded(graph, known)
        self.recorded.numbers = numbers
        self.owners = {id(item.owner): i for i, item in enumerate(known)}
        self.numbers = {id(item.tensor): i for i, item in enumerate(known)}
        self.places: dict[int, int] = {}  # by id of a tensor, its place in recorded.tensors
        self.outputs: dict[int, int] = {}  # by id of an array that owns memory
        self.names: list[str] = []
        self.made: list[Tensor] = []  # the tensors themselves, in the order of recorded.tensors
        self.backward_grads: list[Any] = []
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
        recorded.differentiable = [self.places[id(t)] for t in outputs]
        shared = set()
        for place in recorded.differentiable:
            made = recorded.tensors[place]
            if type(made) is not Fresh or made.output in shared:
                raise NotCaptured(
                    "a result that requires grad shares memory with an argument or another result"
                )
            shared.add(made.output)
        leaves = [(i, k.tensor) for i, k in enumerate(self.known) if k.tensor._edge is LEAF]
        backward, seeds, grads = record_backward(self.graph, outputs, leaves)
        recorded.backward = backward
        self.backward_grads = grads

    def read_known(self, item: Known) -> None:
        t, owner = item.tensor, item.owner
        where = path_text(item.path)
        array, storage, grad, edge, base = item.saved
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
        if type(t) not in _TENSORS:
            raise NotCaptured(f"{where} is a {type(t).__name__}, a class of tensors of its own")
        edge = self.edge_of(t, where)
        if t.__dict__.keys() - {"_created_as"} or (t._created_as and t._edge is not None):
            raise NotCaptured(f"{where} has attributes or hooks")
        array = t._array
        if type(array) is np.ndarray:
            if t._base is not None:
                raise NotCaptured(f"{where} is a view of a constant")
            return Constant(array.copy(), edge)
        if type(array) is not TracedArray:
            raise NotCaptured(f"{where} isn't a tensor in strided memory")
        owner = array if array.owner is None else array.owner
        known = self.owners.get(id(owner))
        if known is not None:
            return Alias(known, array.steps, edge)
        if by_value and t._base is None:
            return Fresh(self.output_of(array), (), edge)
        return Fresh(self.output_of(owner), array.steps, edge)

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
        if isinstance(value, Tensor):
            place = self.place_of(value, where)
            return lambda tensors: tensors[place]
        kind = type(value)
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
        if kind is dict:
            items = {k: self.template(v, f"{where}[{k!r}]") for k, v in value.items()}
            if any(isinstance(k, Tensor) for k in items):
                raise NotCaptured(f"{where} is a dict with tensors as keys")
            return lambda tensors: {k: part(tensors) for k, part in items.items()}
        if value is None or kind in _CONSTANTS:
            return lambda tensors: value
        if hasattr(kind, "__dataclass_fields__") and not hasattr(kind, "__slots__"):
            fields = {k: self.template(v, f"{where}.{k}") for k, v in value.__dict__.items()}
            return lambda tensors: _remade(kind, fields, tensors)
        raise NotCaptured(f"{where} is a {kind.__name__}, which a program can't make")

    def finish(self) -> Recorded:
        """Leaves the graph with the inputs that are read, and names what is written."""
        recorded, graph = self.recorded, self.graph
        nodes = iter(graph.inputs)
        backward = recorded.backward
        if backward is not None:
            split(backward, self.backward_grads,
                  {i for i, item in enumerate(self.known) if item.written})
            graph = graph.like(graph.nodes[: backward.cut], graph.outputs)
            for i, reference in enumerate(backward.saved):
                graph.outputs[f"saved.{i}"] = reference
        written = []
        for i, item in enumerate(self.known):
            if item.written:
                graph.outputs[f"state.{i}"] = self.last_values[i]
                written.append(i)
        graph = graph.without_dead_code()
        used = {r.node.number for node in graph.nodes for r in node.inputs()}
        used |= {r.node.number for r in graph.outputs.values()}
        inputs = []
        for i, item in enumerate(self.known):
            node = next(nodes)
            if node.number in used or item.written:
                item.input = len(inputs)
                node.label = path_text(item.path) or f"input {i}"
                inputs.append(node)
        for number, node in zip(recorded.numbers, nodes, strict=False):
            if node.number in used:
                number.place = len(inputs)
                node.label = number.name
                inputs.append(node)
        graph.inputs = inputs
        recorded.graph = graph
        recorded.output_count = len(graph.outputs) - len(written)
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
    made = object.__new__(kind)
    made.__dict__.update({name: part(tensors) for name, part in fields.items()})
    return made


def _constants() -> frozenset[type]:
    from taper.core.device import device
    from taper.core.dtype import dtype
    from taper.core.size import Size

    return frozenset([bool, int, float, complex, str, bytes, Size, dtype, device, np.dtype])


_CONSTANTS = _constants()
