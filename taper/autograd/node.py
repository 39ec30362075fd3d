"""Nodes of the tape: one for each recorded operation, generated per operator.

A node knows where its inputs came from (`edges`), what its derivative needs (`saved`), its place
in time (`sequence`) and in the program (`where`). Its class has PyTorch's name, such as
`ExpBackward0`, and PyTorch's way of asking: `next_functions`, `name()`, `_saved_result`.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from itertools import count
from typing import Any, NamedTuple

from numpy import may_share_memory, ndarray

from taper.core.removable_handle import RemovableHandle, register
from taper.core.storage import new_storage
from taper.core.tensor import LEAF, Tensor, wrap

__all__ = [
    "AccumulateGrad", "GradientEdge", "Node", "NodeOutput", "accumulator_of", "edge_of",
    "next_sequence",
]

next_sequence = count().__next__
_new = object.__new__


# The nodes that PyTorch did not generate; it names them with their namespace.
WRITTEN_BY_HAND = frozenset({"AccumulateGrad", "CopyBackwards", "CopySlices", "NotImplemented"})


class Extras:
    """What few nodes have: hooks, retained gradients, metadata."""

    __slots__ = ("hooks", "metadata", "prehooks", "retained", "tensor_hooks")

    def __init__(self) -> None:
        self.hooks: OrderedDict[int, Any] = OrderedDict()
        self.prehooks: OrderedDict[int, Any] = OrderedDict()
        self.tensor_hooks: dict[int, OrderedDict[int, Any]] = {}
        self.retained: dict[int, weakref.ref[Tensor]] = {}
        self.metadata: dict[Any, Any] = {}


class Node:
    """One recorded operation.

    `edges` has one entry for each tensor input: None (no gradient needed), a leaf Tensor, a
    Node, or a NodeOutput. `saved` is a tuple laid out by the generated `backward`, or None once
    freed. `adjust` is None, or for each input None, the (shape, dtype) that its gradient must be
    brought to, or a function of the gradient (see ops/batch_dims.py).
    """

    __slots__ = ("__weakref__", "adjust", "edges", "extras", "saved", "sequence", "where")
    __module__ = "builtins"

    edges: tuple[Any, ...]
    saved: tuple[Any, ...] | None
    sequence: int
    where: Any
    extras: Extras | None
    adjust: Any

    outputs = 1  # nodes with several outputs override this, per class or per instance
    saves = True
    shown: tuple[int, ...] | None = None  # the edges that `next_functions` tells of; None for all
    operator: Any = None

    def backward(self, grad: Any) -> tuple[Any, ...]:
        """The gradient for each edge, from the gradient of the output(s)."""
        raise NotImplementedError

    def name(self) -> str:
        """Returns PyTorch's name of the operation, such as ``ExpBackward0``."""
        name = type(self).__name__
        return f"torch::autograd::{name}" if name in WRITTEN_BY_HAND else name

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The nodes that the inputs came from, each with the number of its output."""
        edges = self.edges if self.shown is None else [self.edges[i] for i in self.shown]
        return tuple([function_of(edge) for edge in edges])

    @property
    def metadata(self) -> dict[Any, Any]:
        return self._extras().metadata

    def _sequence_nr(self) -> int:
        return self.sequence

    def _extras(self) -> Extras:
        if self.extras is None:
            self.extras = Extras()
        return self.extras

    def register_hook(self, hook: Any) -> RemovableHandle:
        """Calls ``hook(grad_inputs, grad_outputs)`` after this node; returns a handle.

        A tuple that the hook returns replaces `grad_inputs`.
        """
        return register(self._extras().hooks, hook)

    def register_prehook(self, hook: Any) -> RemovableHandle:
        """Calls ``hook(grad_outputs)`` before this node; returns a handle.

        A tuple that the hook returns replaces `grad_outputs`.
        """
        return register(self._extras().prehooks, hook)

    def __call__(self, *grads: Any) -> Any:
        """Computes the gradients of the inputs from those of the outputs."""
        found = self.backward(grads if self.outputs != 1 else grads[0])
        return found[0] if len(found) == 1 else found

    def __reduce__(self) -> Any:
        raise TypeError(f"cannot pickle '{type(self).__name__}' object")


class NodeOutput:
    """One output of a node that has several: the `_edge` of that tensor."""

    __slots__ = ("index", "node")

    def __init__(self, node: Node, index: int) -> None:
        self.node = node
        self.index = index


class GradientEdge(NamedTuple):
    """A place in the graph where a gradient arrives: a node and the number of its output."""

    node: Any
    output_nr: int
    ownership_token: Any = None

    def edge(self) -> Any:
        """The same as the engine has it, see Note [edges] in core/tensor.py."""
        if isinstance(self.node, AccumulateGrad):
            return self.node.variable
        return self.node if self.node.outputs == 1 else NodeOutput(self.node, self.output_nr)


class AccumulateGrad(Node):
    """Where a leaf's gradient arrives: adds it to ``variable.grad``.

    Made only when somebody looks or hooks; a leaf holds it weakly, it holds the leaf.
    """

    __slots__ = ("variable",)
    __module__ = "builtins"
    saves = False
    variable: Tensor

    def backward(self, grad: Any) -> tuple[Any, ...]:
        accumulate = self.variable._grad
        self.variable._grad = grad if accumulate is None else accumulate + grad
        return ()


# PyTorch numbers derivatives of one name in the order it declares them, in-place forms last.
_NUMBERS_IN_PLACE = {
    "FillBackward0": "FillBackward2", "FillBackward1": "FillBackward3", "TBackward0": "TBackward1",
    "TransposeBackward0": "TransposeBackward1", "SqueezeBackward0": "SqueezeBackward3",
    "SqueezeBackward1": "SqueezeBackward4", "SqueezeBackward2": "SqueezeBackward5",
    "UnsqueezeBackward0": "UnsqueezeBackward1", "AsStridedBackward0": "AsStridedBackward1",
}
_classes_in_place: dict[type, type] = {}


def rename_in_place(node: Any) -> None:
    """Gives a node the name that PyTorch has for the in-place form of its operation."""
    cls = type(node)
    name = _NUMBERS_IN_PLACE.get(cls.__name__)
    if name is not None:
        found = _classes_in_place.get(cls)
        if found is None:
            members = {"__slots__": (), "__module__": "builtins", "__doc__": None}
            found = _classes_in_place[cls] = type(name, (cls,), members)
        node.__class__ = found


def accumulator_of(leaf: Tensor) -> AccumulateGrad:
    """The AccumulateGrad node of a leaf, the same one as long as somebody holds it."""
    held = leaf._accumulator
    node = held() if held is not None else None
    if node is None:
        node = _new(AccumulateGrad)
        node.edges = ()
        node.saved = ()
        node.sequence = next_sequence()
        node.where = node.extras = node.adjust = None
        node.variable = leaf
        leaf._accumulator = weakref.ref(node)
    return node


def function_of(edge: Any) -> tuple[Any, int]:
    """The (node, output number) that an edge stands for; (None, 0) for none."""
    if edge is None:
        return (None, 0)
    if type(edge) is NodeOutput:
        return (edge.node, edge.index)
    if isinstance(edge, Tensor):
        return (None, 0) if edge._created_as is not None else (accumulator_of(edge), 0)
    return (edge, 0)


def edge_of(tensor: Tensor) -> Any:
    """The edge to record for an input: None, the leaf itself, a Node or a NodeOutput."""
    edge = tensor._edge
    return tensor if edge is LEAF else edge


# -- what is saved -------------------------------------------------------------------------------


def version_of(tensor: Tensor) -> int:
    """How often the memory of `tensor` was changed in place so far."""
    storage = tensor._storage
    return 0 if storage is None else storage.version


def save_result(result: Tensor) -> tuple[Any, ...]:
    """What a node keeps of its own output: everything but the history, which is the node."""
    storage = result._storage
    if storage is None:
        storage = result._storage = new_storage(result._array)
    return (result._array, storage, storage.version)


class SavedAs:
    """In the place of a saved result's version: the result comes back in a way of its own.

    Either as a certain tensor, or, with `tangents`, as usual but with those.
    """

    __slots__ = ("tangents", "tensor", "version")

    def __init__(self, tensor: Tensor | None, tangents: Any = None, version: int = -1) -> None:
        self.tensor = tensor
        self.tangents = tangents
        self.version = version

    def restored(self, node: Node, array: Any, storage: Any, index: int | None) -> Tensor:
        """The result of `node` that was saved."""
        if self.tensor is not None:
            return self.tensor
        result = restore_result(node, (array, storage, self.version), index)
        result._tangents = {
            level: tangent for level, tangent in self.tangents.items() if level.is_open
        } or None
        return result


def restore_result(node: Node, saved: tuple[Any, ...], index: int | None = None) -> Tensor:
    """The node's own output again, with its history; checks that nobody changed it."""
    array, storage, version = saved
    if storage.version != version:
        if type(version) is SavedAs:
            return version.restored(node, array, storage, index)
        produced = None if array.dtype.kind in "biu" else (node, index or 0)
        raise version_error(node, array, storage, version, produced)
    result = wrap(array)
    result._storage = storage
    if array.dtype.kind not in "biu":
        result._edge = node if index is None else NodeOutput(node, index)
    return result


def freed_error(node: Node) -> RuntimeError:
    """The error of using a node whose saved tensors are gone."""
    message = (
        "Trying to backward through the graph a second time (or directly access saved tensors "
        "after they have already been freed). Saved intermediate values of the graph are freed "
        "when you call .backward() or autograd.grad(). Specify retain_graph=True if you need to "
        "backward through the graph a second time or if you need to access saved tensors after "
        "calling backward."
    )
    error = RuntimeError(message)
    if node.where is not None:
        verb = node.operator.name if node.operator is not None else node.name()
        error.add_note(
            f"The freed values are those of {verb}() at {line_of(node.where)}. If that line is "
            "run once and used in every iteration, such as a hidden state that is carried on, run "
            "it again in each, or detach() what is carried on."
        )
    return error


def forward_name(node: Node) -> str:
    """The operation of a node, as errors name it: Exp for ExpBackward0, Prod1 for ProdBackward1."""
    name = node.name()
    operation, found, number = name.partition("Backward")
    if not found or not number.isdigit():
        return name
    return operation if number == "0" else operation + number


def line_of(where: Any) -> str:
    """``file.py:12`` for a (code object, instruction offset) pair."""
    return f"{where[0].co_filename}:{line_number(where)}"


def line_number(where: Any) -> int:
    """The line of a (code object, instruction offset) pair."""
    code, instruction = where
    for start, end, number in code.co_lines():
        if start <= instruction < end and number is not None:
            return int(number)
    return int(code.co_firstlineno)


def version_error(
    node: Node, array: Any, storage: Any, expected: int, produced: tuple[Node, int] | None
) -> RuntimeError:
    """The error of a saved tensor that was changed in place, naming both lines."""
    from taper.core.dtype import from_numpy_dtype, internal_type_name

    if type(array) is ndarray and not may_share_memory(array, storage.array):
        array = storage.array  # saved was a copy in another dtype
    kind = internal_type_name(from_numpy_dtype(array.dtype))
    of_what = ""
    if produced is not None:
        of_what = f", which is output {produced[1]} of {forward_name(produced[0])},"
    message = (
        "one of the variables needed for gradient computation has been modified by an inplace "
        f"operation: [{kind} {list(array.shape)}]{of_what} is at version {storage.version}; "
        f"expected version {expected} instead."
    )
    message += (
        " Hint: enable anomaly detection to find the operation that failed to compute its "
        "gradient, with torch.autograd.set_detect_anomaly(True, check_nan=False)."
    )
    verb = node.operator.name if node.operator is not None else node.name()
    if node.where is not None:
        message += f" It was saved by {verb}() at {line_of(node.where)}"
        if storage.changed_at is not None:
            change, *where = storage.changed_at
            message += f", changed by {change}() at {line_of(where)}"
        message += ": use an out-of-place operation there, or clone() before the change."
    return RuntimeError(message)


def check_version(node: Node, tensor: Tensor, version: int) -> None:
    """Raises if a saved input was changed in place since."""
    storage = tensor._storage
    if storage is not None and storage.version != version:
        edge = tensor._edge
        produced = None if edge is None or edge is LEAF else function_of(edge)
        raise version_error(node, tensor._array, storage, version, produced)
