"""`TracedArray`: records every NumPy call as a node of a graph, and computes nothing.

Shapes and dtypes come from `ShapeArray`, so a function or a primitive that has a rule there can be
recorded.

Note [writes in a graph]: values in a graph never change, arrays do. An array that owns its memory
stands for the last value written to it. A view remembers its owner and the steps that lead to it
(`.transpose(1, 0)[2:]`): a write into it makes a new value of the whole owner, and all other views
take their steps anew, from that value, when somebody next reads them. NumPy's arrays, which are
constants of the graph, may be written to unnoticed: nodes get what was in them when they were read
(`Recording.settle`).
"""

from __future__ import annotations

import math
import operator
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from taper.arrays.levels import recording_draws
from taper.arrays.node_arguments import (
    BOXES,
    Placeholder,
    as_references,
    as_shape,
    as_shapes,
    at_size,
    depends_on_size,
    example_of,
    mapped,
)
from taper.arrays.node_functions import Changed, Step, has_mask, method_caller, window, write
from taper.arrays.primitive import answers
from taper.arrays.recorded_number import Facts, RecordedNumber
from taper.arrays.shape import ShapeArray
from taper.arrays.stand_in import (
    is_apart,
    of_the_step,
    recording_here,
    refusal,
    running_recording,
)
from taper.arrays.symbolic_shape import (
    SymbolicShape,
    is_symbolic,
    running_environment,
    shapes_at_points,
)
from taper.arrays.valueless import Valueless
from taper.compiler.graph import Graph, GraphNode, Reference, replaced
from taper.core import device as devices

__all__ = [
    "MemoryNeeded", "Recording", "TracedArray", "record_constant", "recording_into",
    "running_recording", "untold_error",
]

_VIEWS = frozenset("transpose swapaxes squeeze diagonal view".split())
_VIEW_FUNCTIONS = frozenset([
    np.broadcast_to, np.diagonal, np.expand_dims, np.moveaxis, np.squeeze, np.swapaxes,
    np.transpose,
])
_WRITERS = frozenset([np.copyto, np.place, np.put, np.put_along_axis, np.putmask])


class _NotKnown(Exception):
    """Raised for a value that depends on more than single numbers."""


class MemoryNeeded(NotImplementedError):
    """A step looks at memory that is no part of the values that are recorded."""


class Recording:
    """What a step that is being recorded does beside calling functions of arrays."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.adopted: list[tuple[weakref.ref[Any], Any]] = []
        self.arrays: dict[int, Any] = {}  # by number of an input, the array that it has now
        self.facts = Facts()
        self.refusal: BaseException | None = None  # the first, see stand_in.py
        self.claims: list[TracedArray] | None = None  # 0-d, 1 where something isn't as it must be
        self._numbers: dict[int, Any] = {}
        self._constants: dict[int, tuple[Any, Any]] = {}  # by id: an array, as it was last read
        self._reads: list[tuple[GraphNode, Any, Any]] = []  # a node, and such a pair

    def read_constants(self, node: GraphNode) -> None:
        """Notes what is in the arrays that a new node reads."""
        for array in _constants_in((*node.args, *node.kwargs.values())):
            known = self._constants.get(id(array))
            if known is None or not _is_unchanged(*known):
                known = self._constants[id(array)] = (array, array.copy("K"))
            self._reads.append((node, *known))

    def settle(self) -> None:
        """Gives nodes whose constants were written to afterwards what they have read."""
        for node, array, was in self._reads:
            if not _is_unchanged(array, was):
                def as_read(value: Any, array: Any = array, was: Any = was) -> Any:
                    return was if value is array else value

                node.args, node.kwargs = mapped(as_read, node.args), mapped(as_read, node.kwargs)

    def number_now(self, reference: Reference) -> float:
        """What a 0-d value is now, where it was computed from such values only; else NaN."""
        try:
            return float(self._array_now(reference.node))
        except _NotKnown:
            return math.nan

    def _array_now(self, node: GraphNode) -> Any:
        found = self._numbers.get(node.number)
        if found is not None:
            return found
        if len(node.results) != 1 or node.results[0][0] != () or node.effect or depends_on_size(
                (node.args, node.kwargs)):
            raise _NotKnown
        if node.function is None:
            array = self.arrays.get(node.number)
            if array is None:
                raise _NotKnown
            return array

        def value_of(reference: Reference) -> Any:
            return self._array_now(reference.node)

        found = self._numbers[node.number] = node.function(
            *replaced(node.args, value_of), **replaced(node.kwargs, value_of))
        return found

    def draw(self, kernel: Callable[..., Any], generator: Any, *args: Any, **options: Any) -> Any:
        """Records a kernel that draws from a generator; the generator stays where it is."""
        def shape_of(make: Callable[[Any], Any]) -> ShapeArray:
            example = kernel(generator.clone_state(), *mapped(make, args), **mapped(make, options))
            return ShapeArray(example.shape, example.dtype)

        environment = running_environment()
        if environment is None or not depends_on_size((args, options)):
            shape = shape_of(example_of)
        else:
            sizes = environment.points
            shape = shapes_at_points(environment, lambda i: shape_of(
                lambda value: example_of(at_size(value, sizes[i], i))))
        return record_node(self.graph, kernel.__name__, kernel, (generator, *args), options,
                           shape, effect=True)

    def adopt(self, tensor: Any, array: Any) -> TracedArray:
        """The array of a tensor that was made within the step, as a constant that can be written.

        `tensor` must be gone when the step is over: one that others hold was not made within.
        """
        self.adopted.append((weakref.ref(tensor), array))
        return record_node(self.graph, "constant", np.array, (array.copy(),), {},  # type: ignore[no-any-return]
                           ShapeArray(array.shape, array.dtype, array.strides))


@contextmanager
def recording_into(graph: Graph) -> Iterator[Recording]:
    """Within: draws of random numbers are recorded, and tensors can be adopted."""
    found = Recording(graph)
    token = recording_here.set(found)
    try:
        with recording_draws(found.draw):
            yield found
        found.settle()
    finally:
        recording_here.reset(token)


def record_node(
    graph: Graph, label: str, function: Any, args: Any, kwargs: Any, shapes: Any,
    effect: bool = False,
) -> Any:
    """The arrays, one or a tuple, that a new node of these shapes computes."""
    several = type(shapes) is tuple
    metas = [_as_meta(s) for s in (shapes if several else (shapes,))]
    node = graph.add(
        label, function, as_references(args), as_references(kwargs),
        [(m.shape, m.dtype) for m in metas], effect=effect, strides=[m.strides for m in metas],
    )
    recording = running_recording()
    if recording is not None:
        recording.read_constants(node)
    if not several:
        return TracedArray(graph, Reference(node), metas[0])
    return tuple(TracedArray(graph, Reference(node, i), m) for i, m in enumerate(metas))


def record_constant(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """A node for an array that depends on nothing but a symbolic size."""
    environment, recording = running_environment(), running_recording()
    assert environment is not None and recording is not None
    sizes = environment.points
    shapes = shapes_at_points(environment, lambda i: function(
        *at_size(args, sizes[i])))
    return record_node(recording.graph, function.__name__, function, args, {}, shapes)


@answers
class TracedArray(Valueless, np.lib.mixins.NDArrayOperatorsMixin, Placeholder):
    """An array that will be computed by `node` of `graph`."""

    __slots__ = (
        "_reference", "actual", "graph", "has_history", "meta", "owner", "seen", "steps", "writes")
    device = devices.CPU
    layout = devices.strided
    base = None
    if TYPE_CHECKING:  # bound below, with the other methods of arrays

        def astype(self, dtype: Any) -> TracedArray: ...

        def transpose(self, *axes: Any) -> TracedArray: ...

    def __init__(
        self, graph: Graph, reference: Reference, meta: Any,
        owner: TracedArray | None = None, steps: tuple[Step, ...] = (),
    ) -> None:
        self.graph = graph
        self.has_history = False
        self.actual: Any = None  # the array in whose place this stands, see stand_in.py
        self._reference = reference
        self.meta: ShapeArray | Any = meta  # or SymbolicShape
        self.owner = owner  # None if it owns its memory, see Note [writes in a graph]
        self.steps = steps
        self.writes = 0  # how often the owner was written to
        self.seen = 0 if owner is None else owner.writes  # by when a view took its steps

    @classmethod
    def as_input(
        cls, graph: Graph, name: str, array: Any, meta: ShapeArray | SymbolicShape | None = None
    ) -> TracedArray:
        """A new input of `graph`, like `array`, or of another shape."""
        found = ShapeArray(array.shape, array.dtype, array.strides) if meta is None else meta
        node = graph.add_input(name, found.shape, found.dtype, found.strides)
        return cls(graph, Reference(node), found)

    @property
    def reference(self) -> Reference:
        """The value that this array stands for now."""
        owner = self.owner
        if owner is not None and self.seen != owner.writes:
            array = owner
            for step in self.steps:
                array = array._record(step.function.__name__, step.function,
                                      (array, *step.args), step.kwargs)
            self._reference = array._reference
            self.seen = owner.writes
        return self._reference

    @property
    def shape(self) -> tuple[int, ...]:
        return self.meta.shape

    @property
    def dtype(self) -> Any:
        return self.meta.dtype

    @property
    def strides(self) -> tuple[int, ...]:
        return self.meta.strides

    @property
    def storage_offset(self) -> int:
        return self.meta.storage_offset

    @property
    def ndim(self) -> int:
        return self.meta.ndim

    @property
    def size(self) -> int:
        return self.meta.size

    @property
    def itemsize(self) -> int:
        return self.meta.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def laid(self) -> ShapeArray:
        """What tells how this array lies in memory."""
        return self.meta.laid

    @property
    def flags(self) -> Any:
        return self.meta.flags

    def __len__(self) -> int:
        return self.meta.shape[0]

    def __repr__(self) -> str:
        return f"TracedArray({self.reference!r}, {self.shape}, {self.dtype})"

    def as_number(self) -> RecordedNumber:
        """The number in this array of one, for arithmetic in Python that is recorded as well."""
        array = self.astype(np.dtype(np.float64)).reshape(())
        recording = running_recording()
        now, facts = math.nan, None
        if recording is not None:
            now, facts = recording.number_now(array.reference), recording.facts
        return RecordedNumber(array, math.nan,
                              lambda: self._needs_value("a comparison of a number"), now, facts)

    def claim(self) -> bool:
        """Goes on as if all elements were true, if what is recorded will be checked."""
        recording = running_recording()
        if recording is None or recording.claims is None:
            return bool(self)
        recording.claims.append(np.maximum.reduce(
            np.logical_not(self).astype(np.dtype(np.int32)), axis=None))
        return True

    # -- recording ---------------------------------------------------------------------------------

    def _record(
        self, label: str, function: Callable[..., Any], args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        environment = running_environment()
        if environment is not None and depends_on_size((args, kwargs)):
            def at_point(number: int) -> Any:
                def shape_of(value: Any) -> Any:
                    return as_shape(at_size(value, environment.points[number], number))

                return function(*mapped(shape_of, args), **mapped(shape_of, kwargs))

            shapes = shapes_at_points(environment, at_point)
        else:
            try:
                shapes = function(*as_shapes(args), **as_shapes(kwargs))
            except NotImplementedError as error:  # as numbers would be needed
                refusal(error)
                raise
        return self.result_of(label, function, args, kwargs, shapes)

    def result_of(
        self, label: str, function: Any, args: Any, kwargs: Any, shapes: Any, effect: bool = False
    ) -> Any:
        """The arrays, one or a tuple, that a new node of these shapes computes."""
        return record_node(self.graph, label, function, args, kwargs, shapes, effect)

    @of_the_step
    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        label = ufunc.__name__ + ("" if method == "__call__" else f".{method}")
        if any(type(x) is not TracedArray and hasattr(type(x), "__array_ufunc__")
               and not isinstance(x, (np.ndarray, np.generic)) for x in inputs):
            return NotImplemented
        if method == "at":
            return self._record_write(function, inputs[0], inputs[1:], kwargs)
        where = True if out is None or method != "__call__" else kwargs.pop("where", True)
        result = self._record(label, function, inputs, kwargs)
        if out is None:
            return result
        results = result if type(result) is tuple else (result,)
        targets = []
        for target, value in zip(out, results, strict=True):
            if target is not None and not isinstance(target, TracedArray):
                raise untold_error()
            if target is not None:
                kept: Any = np.where
                target.overwrite(value if where is True else kept(
                    where, value.astype(target.dtype), target))
            targets.append(value if target is None else target)
        return targets[0] if len(targets) == 1 else tuple(targets)

    def _record_write(
        self, function: Any, target: Any, rest: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if not isinstance(target, TracedArray):
            raise untold_error()
        target.overwrite(self._record(
            function.__name__, Changed(function), (target, *rest), kwargs
        ))

    @of_the_step
    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if not all(issubclass(cls, (TracedArray, np.ndarray)) for cls in types):
            return NotImplemented
        if function in _WRITERS:
            return self._record_write(function, args[0], args[1:], kwargs)
        if function is np.reshape:
            return args[0].reshape(*args[1:], **kwargs)
        if function in _VIEW_FUNCTIONS and isinstance(args[0], TracedArray):
            return args[0]._view(function.__name__, Step(function, tuple(args[1:]), kwargs))
        if function in (np.may_share_memory, np.shares_memory):
            first, second = (getattr(a, "owner", None) or a for a in args[:2])
            return first is second
        return self._record(function.__name__, function, args, kwargs)

    def overwrite(self, value: TracedArray) -> None:
        """From here on this array stands for `value`, cast to its own dtype and shape."""
        owner = self.owner
        if owner is not None:
            changed = owner._record("write", write, (owner, self.steps, value), {})
            owner._reference = changed._reference
            owner.writes += 1
            return
        if value.dtype != self.dtype:
            value = value.astype(self.dtype)
        if value.shape != self.shape:
            value = self._record("broadcast_to", np.broadcast_to, (value, self.shape), {})
        self._reference = value.reference
        self.writes += 1

    @of_the_step
    def __pow__(self, exponent: Any) -> Any:
        simple = _POWERS.get(exponent) if type(exponent) in (int, float) else None
        if simple is None or self.dtype.kind not in "fc":
            return np.power(self, exponent)
        return simple(self)

    @of_the_step
    def __setitem__(self, index: Any, value: Any) -> None:
        if not _is_plain_index(index):
            environment = running_environment()
            if environment is not None and has_mask(index) and np.ndim(value) and (
                    depends_on_size((self, index, value))):
                environment.was_pinned = True  # only values tell whether as many are written
            self._record_write(operator.setitem, self, (index, value), {})
            return
        target = self if index is Ellipsis or index == slice(None) else self[index]
        if not isinstance(value, TracedArray):
            value = self._record("full_like", np.full_like, (target, value), {})
        target.overwrite(value)

    @of_the_step
    def fill(self, value: Any) -> None:
        self[...] = value

    # -- methods -----------------------------------------------------------------------------------

    def _method(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name in _VIEWS:
            return self._view(name, Step(method_caller(name), args, kwargs))
        return self._record(name, method_caller(name), (self, *args), kwargs)

    def view_by(self, step: Step) -> Any:
        """The view of this array that `step` leads to."""
        if is_apart(self):
            return step(self.actual)
        return self._view(step.function.__name__, step)

    def _view(self, label: str, step: Step) -> TracedArray:
        result = self._record(label, step.function, (self, *step.args), step.kwargs)
        return self.connected(result, step)

    def connected(self, result: TracedArray, step: Step) -> TracedArray:
        """A recorded result as the view of this array that `step` leads to."""
        owner = self if self.owner is None else self.owner
        return TracedArray(
            self.graph, result._reference, result.meta, owner, (*self.steps, step)
        )

    @of_the_step
    def __getitem__(self, index: Any) -> Any:
        if _is_plain_index(index):
            return self._view("__getitem__", Step(method_caller("__getitem__"), (index,), {}))
        return self._record("__getitem__", method_caller("__getitem__"), (self, index), {})

    @of_the_step
    def reshape(self, *shape: Any, **kwargs: Any) -> Any:
        caller = method_caller("reshape")
        if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
            shape = tuple(shape[0])
        sizes = shape
        if running_environment() is not None:
            sizes = tuple([n.at(n.environment.hint) if is_symbolic(n) else n for n in shape])
        try:
            np.reshape(self.meta._stand_in(), sizes, copy=False)
        except ValueError:  # a copy, or an error that recording raises
            return self._record("reshape", caller, (self, shape), {})
        return self._view("reshape", Step(caller, (shape,), {}))

    def as_strided(self, shape: Any, strides: Any, offset: int = 0) -> Any:
        """A window with these strides; they and the offset from here are in bytes."""
        if is_apart(self):
            return window(self.actual, tuple(shape), tuple(strides), offset)
        if not self.flags.c_contiguous:
            laid = self.laid
            whole = self.transpose(sorted(range(laid.ndim), key=lambda d: -laid.strides[d]))
            if not whole.flags.c_contiguous:
                raise refusal(MemoryNeeded(
                    "as_strided() of a tensor that leaves gaps in memory can't be recorded: the "
                    "windows would show what is in the gaps; call contiguous() before"
                ))
            return whole.as_strided(shape, strides, offset)
        last = sum([(n - 1) * s for n, s in zip(shape, strides, strict=True)])
        if 0 not in shape and (offset < 0 or offset + last >= self.size * self.itemsize):
            raise refusal(MemoryNeeded(
                "as_strided() beyond the elements of a view can't be recorded: what is around "
                "them in memory isn't known; call it on the whole tensor"
            ))
        return self.view_by(Step(window, (tuple(shape), tuple(strides), offset), {}))

    def ravel(self, order: str = "C") -> Any:
        return self.reshape(-1)

    @of_the_step
    def sort(self, axis: int = -1, **kwargs: Any) -> None:
        self.overwrite(self._record("sort", np.sort, (self, axis), kwargs))

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    @property
    def T(self) -> Any:  # ndarray's name
        return self.transpose()

    @property
    def real(self) -> Any:
        return self._part("real") if self.dtype.kind == "c" else self

    @real.setter
    def real(self, value: Any) -> None:
        self._part("real")[...] = value

    @property
    def imag(self) -> Any:
        return self._part("imag")

    @imag.setter
    def imag(self, value: Any) -> None:
        self._part("imag")[...] = value

    def _part(self, name: str) -> Any:
        if is_apart(self):
            return _PARTS[name](self.actual)
        return self._view(name, Step(_PARTS[name], (), {}))


# What NumPy computes in the place of some powers of floats.
_POWERS: dict[float, Any] = {0.5: np.sqrt, 1: np.positive, 2: np.square, -1: np.reciprocal}


def _real(array: Any) -> Any:
    return array.real


def _imag(array: Any) -> Any:
    return array.imag


_PARTS = {"real": _real, "imag": _imag}


def _is_plain_index(index: Any) -> bool:
    """Whether indexing gives a view: integers, slices, None and Ellipsis."""
    parts = index if type(index) is tuple else (index,)
    return all(
        p is None or p is Ellipsis or type(p) is slice
        or (isinstance(p, (int, np.integer)) and not isinstance(p, bool)) or is_symbolic(p)
        for p in parts
    )


def untold_error() -> NotImplementedError:
    return refusal(NotImplementedError(
        "a recorded step writes into a tensor that it was not told of; pass the tensor, or the "
        "module or optimizer that holds it, as state"
    ))


def _add_methods() -> None:
    def make(name: str) -> Callable[..., Any]:
        def method(self: TracedArray, *args: Any, **kwargs: Any) -> Any:
            return self._method(name, args, kwargs)

        method.__name__ = name
        made: Callable[..., Any] = of_the_step(method)
        return made

    for name in (
        "transpose", "swapaxes", "squeeze", "diagonal", "view", "astype", "copy", "flatten",
        "conj", "conjugate", "dot", "take", "repeat", "argmax", "argmin", "argsort",
        "searchsorted", "sum", "prod", "max", "min", "any", "all",
    ):
        setattr(TracedArray, name, make(name))


_add_methods()


def _constants_in(items: Iterable[Any]) -> list[np.ndarray[Any, Any]]:
    found: list[np.ndarray[Any, Any]] = []
    for item in items:
        cls = type(item)
        if cls is np.ndarray:
            found.append(item)
        elif cls in BOXES:
            found += _constants_in(item.values() if cls is dict else item)
    return found


def _is_unchanged(array: np.ndarray[Any, Any], was: np.ndarray[Any, Any]) -> bool:
    return array.tobytes() == was.tobytes()


def _as_meta(value: Any) -> Any:
    if isinstance(value, (ShapeArray, SymbolicShape)):
        return value
    array = np.asarray(value)
    return ShapeArray(array.shape, array.dtype)
