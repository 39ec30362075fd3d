"""Records one call of a function: the graph of all it computes, and what its results are made of.

All tensors that the snapshot found become inputs of the graph, their arrays replaced by recording
ones; the function runs once, with its `backward()` and its optimizers; then everything is put back.
Nothing has been computed by then: the caller runs the graph's program for the call itself.

What a program can't do in the function's place raises `NotCaptured`; the call then runs eagerly.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, reduce
from itertools import compress
from typing import Any

import numpy as np

from taper.arrays.recorded_number import RecordedNumber
from taper.arrays.stand_in import refusal
from taper.arrays.symbolic_shape import SymbolicShape, with_symbolic_sizes
from taper.arrays.traced import Recording, TracedArray, recording_into
from taper.compilation.exclusion import alone
from taper.compilation.noted_warnings import noting_warnings
from taper.compilation.reading import Reading
from taper.compilation.recorded import (
    BROKEN,
    INVALID,
    Busy,
    Constant,
    Known,
    NotCaptured,
    Number,
    NumberPinned,
    Recorded,
)
from taper.compilation.size_pattern import SizePattern
from taper.compilation.snapshot import Snapshot
from taper.compilation.watches import GroupWatch
from taper.compiler.directives import compiling
from taper.compiler.graph import Graph, Reference
from taper.core.generator import default_generator
from taper.core.state import active, around_forwards, grad_mode
from taper.core.symbolic import ShapeEnvironment, SizePinned
from taper.core.tensor import LEAF, Tensor

__all__ = ["known_tensors", "numbers_in", "record_call", "take_state", "user_line"]



def record_call(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
    snapshot: Snapshot, pattern: SizePattern | None = None, size: int = 0, lock: Any = None,
) -> Recorded:
    """Records `function(*args, **kwargs)`, whose state and arguments `snapshot` has.

    Everything is left as it was, whatever happens.

    Args:
        pattern: which sizes of the arguments are left open; comparisons are answered for `size`.
        lock: that of the compiled function, if this thread holds it.
    Raises:
        SizePinned: if the call depends on the value of such a size.
        Busy: if other threads run compiled functions.
    """
    with alone(lock) as is_alone:
        if not is_alone:
            raise Busy("other threads are within compiled functions", again=True)
        if pattern is None:
            return _record(function, args, kwargs, snapshot, {})
        if snapshot.names.compares_types:
            raise SizePinned("the code compares types: that of a symbolic size isn't int")
        environment = ShapeEnvironment(size)
        shapes = {i: pattern.shape_of(i, environment) for i in pattern.places}
        with with_symbolic_sizes(environment):
            recorded = _record(function, args, kwargs, snapshot, shapes)
        if environment.was_pinned:
            raise SizePinned("the code went another way where it couldn't have a plain number")
        recorded.environment = environment
        return recorded


def _record(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
    snapshot: Snapshot, shapes: dict[int, SymbolicShape],
) -> Recorded:
    known = known_tensors(snapshot)
    numbers = numbers_in(snapshot)
    graph = Graph()
    generators = [default_generator, *snapshot.generators]
    states = [(g, _position(g), g.state_bytes()) for g in generators]
    modes = grad_mode.get()
    try:
        with _as_inputs(graph, known, shapes), recording_into(graph) as recording:
            preexisting = _tensors_alive()
            recording.claims = []
            recording.arrays = {item.owner.reference.node.number: item.array for item in known}
            with (compiling(), _watching(preexisting), noting_warnings() as warned,
                  _numbers_as_inputs(recording, numbers)):
                given = _with_numbers(args, kwargs, snapshot.numbers)
                result = function(*given[0], **given[1])
            if recording.refusal is not None:  # and somebody caught it
                raise recording.refusal
            reading = Reading(graph, known, numbers, snapshot)
            reading.recorded.warnings = warned
            reading.read(result)
            facts, claims = len(recording.facts), recording.claims
            if facts:
                graph.outputs[BROKEN] = recording.facts.broken().reference
            if claims:
                maximum: Any = np.maximum
                invalid: Any = reduce(maximum, claims)
                graph.outputs[INVALID] = invalid.reference
            recording.claims = None
            with _watching(preexisting), noting_warnings() as of_backward:
                reading.read_backward()
            if of_backward:
                raise NotCaptured("the backward of its results warns")
            _check_aftermath(snapshot, recording, preexisting, states, modes)
            if len(recording.facts) != facts:
                raise NotCaptured("the backward of its results compares a number")
            recorded = reading.finish()
            if numbers and _has_nan(recorded):
                raise NumberPinned
            return recorded
    except (NotCaptured, NumberPinned, SizePinned):
        raise
    except Exception as error:
        raise NotCaptured(_reason(error), user_line(error)) from error
    finally:
        snapshot.restore()
        grad_mode.set(modes)
        for generator, position, state in states:
            if _position(generator) != position:
                generator.set_state(state)


def _reason(error: Exception) -> str:
    text = str(error).partition("\n")[0]
    return text if isinstance(error, NotImplementedError) else f"{type(error).__name__}: {text}"


def user_line(error: BaseException) -> str | None:
    """``file.py:12`` of the innermost line that isn't taper's."""
    own = traceback.extract_stack(limit=1)[0].filename
    root = own.rpartition("compilation")[0]
    found = None
    for frame in traceback.extract_tb(error.__traceback__):
        if not frame.filename.startswith((root, "<")):
            found = f"{frame.filename}:{frame.lineno}: {frame.line or ''}".rstrip(": ")
    return found


def _position(generator: Any) -> Any:
    return (generator.restarts, generator._position, generator._end, id(generator._buffer),
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
def _as_inputs(
    graph: Graph, known: list[Known], shapes: dict[int, SymbolicShape]
) -> Iterator[None]:
    """Within: known tensors hold inputs of the graph; afterwards they are as they were.

    Args:
        shapes: of arguments with symbolic sizes, by their positions.
    """
    try:
        for number, item in enumerate(known):
            t = item.tensor
            symbolic = shapes.get(item.place) if item.role == "argument" else None
            item.owner = TracedArray.as_input(graph, str(number), t._array, symbolic)
            item.owner.actual = t._array
            item.owner.has_history = t._edge is not None and t._edge is not LEAF
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
    found = []
    for watch in snapshot.watches:
        if isinstance(watch, GroupWatch):
            for name in watch.free:
                entry = watch.holder[name]
                places = [None] if type(entry) is float else [
                    i for i, part in enumerate(entry) if type(part) is float]
                found += [Number(watch.holder, name, i) for i in places]
    passed = snapshot.numbers
    return found + [Number(passed, name, None, is_passed=True) for name in passed]


def take_state(recorded: Recorded, snapshot: Snapshot) -> bool:
    """Gives a recorded call the tensors and numbers of another state that is equal by value; tells
    whether it fits them."""
    known, before = known_tensors(snapshot), recorded.known
    if [(k.role, k.place) for k in known] != [(k.role, k.place) for k in before]:
        return False
    if any([id(box) not in snapshot.boxes for box in recorded.returned]):
        return False
    for new, old in zip(known, before, strict=True):
        new.take_over(old)
    recorded.known = known
    if recorded.overlap() is not None:
        recorded.known = before
        return False
    numbers = numbers_in(snapshot)
    for number, other in zip(numbers, recorded.numbers, strict=True):
        number.place = other.place
    recorded.numbers = numbers
    return True


@contextmanager
def _numbers_as_inputs(recording: Recording, numbers: list[Number]) -> Iterator[None]:
    """Within: parameter groups hold inputs of the graph in the place of their floats."""
    before = {(id(n.group), n.name): (n.group, n.group[n.name]) for n in numbers}
    now = {}
    try:
        for i, number in enumerate(numbers):
            value = np.array(number.value(), np.float64)
            array: Any = TracedArray.as_input(recording.graph, f"number {i}", value)
            recording.arrays[array.reference.node.number] = value
            if number.is_passed:  # results that are differentiated later need what it was
                array = np.positive(array)
            number.recorded = RecordedNumber(
                array, float(value), partial(_pin, number.name), facts=recording.facts,
                is_strict=number.is_passed)
            entry: Any = number.recorded
            if number.index is not None:
                entry = list(number.group[number.name])
                entry[number.index] = number.recorded
                entry = tuple(entry)
            number.group[number.name] = now[id(number.group), number.name] = entry
        yield
    finally:
        for (place, name), (group, value) in before.items():
            if group.get(name) is now.get((place, name)):
                group[name] = value
        for number in numbers:
            number.recorded = None


def _with_numbers(
    args: tuple[Any, ...], kwargs: dict[str, Any], numbers: dict[str, float]
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments, with what there is now for those that are numbers."""
    return ([numbers.get(f"argument {i}", value) for i, value in enumerate(args)],
            {name: numbers.get(f"argument `{name}`", value) for name, value in kwargs.items()})


def _pin(name: str) -> None:
    raise refusal(NumberPinned(name))


def _has_nan(recorded: Recorded) -> bool:
    """Whether a constant of the graph is NaN: what becomes of a number behind its back."""
    waiting: list[Any] = [(node.args, node.kwargs) for node in recorded.graph.nodes]
    waiting += [made.array for made in recorded.tensors if type(made) is Constant]
    while waiting:
        value = waiting.pop()
        if type(value) in _NEVER_NAN:
            continue
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, (tuple, list)):
            waiting += value
        elif isinstance(value, (float, complex)):
            if value.__class__ is RecordedNumber or value != value:
                return True
        elif isinstance(value, np.ndarray) and value.dtype.kind in "fc" and np.isnan(value).any():
            return True
    return False


_NEVER_NAN = frozenset([Reference, int, bool, str, type(None), slice])


def _tensors_alive() -> dict[int, Tensor]:
    """All tensors that there are, by their ids, which so aren't given to others."""
    kinds: set[type] = set()
    waiting: list[type] = [Tensor]
    while waiting:
        kind = waiting.pop()
        if kind not in kinds:
            kinds.add(kind)
            waiting += kind.__subclasses__()
    objects = gc.get_objects()  # hundreds of thousands
    return {id(o): o for o in compress(objects, map(kinds.__contains__, map(type, objects)))}


@contextmanager
def _watching(preexisting: dict[int, Tensor]) -> Iterator[None]:
    """Within: operators refuse tensors that were there before and aren't inputs."""

    def around(op: Any, bound: dict[str, Any], run: Callable[[], Any]) -> Any:
        for value in bound.values():
            for item in value if type(value) in (list, tuple) else (value,):
                if issubclass(type(item), Tensor) and type(item._array) is np.ndarray and (
                    id(item) in preexisting
                ):
                    raise refusal(NotCaptured(
                        f"{op.name}() uses a tensor that can't be reached through the function's "
                        "variables, arguments or objects, so nobody would notice if another took "
                        "its place: pass it as an argument"
                    ))
        try:
            return run()
        except (NotImplementedError, AttributeError, TypeError) as error:  # of recording arrays?
            refusal(error)
            raise

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
    snapshot: Snapshot, recording: Recording, preexisting: dict[int, Tensor], states: list[Any],
    modes: bool,
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
    draws = any(node.effect for node in recording.graph.nodes)
    if any(
        _position(generator) != position
        and (draws or not np.array_equal(generator.state_bytes(), state))
        for generator, position, state in states
    ):
        raise NotCaptured("it seeds a generator, or draws from it in a way that isn't recorded")
    if grad_mode.get() is not modes:
        raise NotCaptured("it leaves gradients switched on or off")
