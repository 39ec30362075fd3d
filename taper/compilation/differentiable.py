"""Results that require grad: a call's forward and backward as two programs, one node of the tape.

While a call is recorded its results have the usual tape behind them, so their backward can be
recorded in the same graph at once, from gradients that are inputs. The graph is then cut where the
backward began. What the second half reads of the first is saved: handed over by the first program,
or, where it is an input or a view of one, taken from the tensor itself, as operators save theirs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.arrays.primitive import primitive
from taper.arrays.symbolic_shape import in_rows
from taper.arrays.traced import TracedArray
from taper.autograd.backward import grad as gradients_of
from taper.autograd.node import (
    Node,
    check_version,
    edge_of,
    freed_error,
    next_sequence,
    save_result,
    version_error,
    version_of,
)
from taper.compilation.stages import Stage
from taper.compiler.graph import Graph, GraphNode, Reference, replaced
from taper.core.state import is_differentiated
from taper.core.tensor import Tensor, wrap

__all__ = ["Backward", "CompiledFunctionBackward", "new_node", "record_backward", "split"]

_VIEWS = frozenset([
    "transpose", "swapaxes", "reshape", "squeeze", "expand_dims", "broadcast_to", "moveaxis",
])


class Backward:
    """The recorded backward of a call.

    Attributes:
        graph: its inputs are `inputs`, then the saved values, then the gradients of the results.
        inputs: known tensors that it reads; leaves: those whose gradients it computes, None for
            a gradient that nobody computes; below: places of the results whose gradients it
            computes besides, which have a backward of their own.
        places: of the results that it is for.
        reached: for each of them, which of those gradients it has a part in.
        shared: for each of them, with which of them it shares what is freed.
        saved: what the forward hands over: a reference for each.
        overlaps: which results have memory of saved values; None before the first call.
        program: made when a gradient first comes in.
    """

    def __init__(
        self, graph: Graph, cut: int, leaves: list[int], stage: Stage, below: list[int],
        places: list[int],
    ) -> None:
        self.recorded = graph
        self.cut = cut
        self.leaves = leaves
        self.below = below
        self.places = places
        self.reached = stage.reached
        self.shared = stage.shared
        self.metadata = [(t._array.shape, t._array.dtype) for t in stage.outputs]
        self.graph = Graph()
        self.seeds: list[GraphNode] = []
        self.grads: list[Any] = []
        self.inputs: list[int] = []
        self.saved: list[Reference] = []
        self.computed: list[bool] = []
        self.overlaps: list[int] | None = None
        self.program: Any = None

    def at(self, metadata: list[Any]) -> Backward:
        """The same for results of these shapes and dtypes."""
        found: Backward = object.__new__(Backward)
        found.__dict__.update(self.__dict__, metadata=metadata, program=None, overlaps=None)
        return found


def record_backward(
    graph: Graph, cut: int, stage: Stage, leaves: list[tuple[int, Tensor]],
    places: dict[int, int], *, is_last: bool,
) -> Backward:
    """Records the backward of some results, in the graph that they were recorded in.

    Args:
        cut: how many nodes are of the forward.
        places: by ids of results, where they are among the tensors to make.
        is_last: whether nobody else needs the tape.
    """
    below, outputs = [[places[id(t)] for t in found] for found in (stage.below, stage.outputs)]
    backward = Backward(graph, cut, [i for i, _ in leaves], stage, below, outputs)
    seeds = []
    for i, t in enumerate(stage.outputs):
        seeds.append(TracedArray.as_input(graph, f"gradient {i}", None, in_rows(t._array.meta)))
        backward.seeds.append(seeds[-1].reference.node)
        backward.seeds[-1].strides = [(0,) * t._array.ndim]  # it may lie in any way
    hooks = [t.__dict__.pop("_backward_hooks", None) for _, t in leaves]
    try:  # hooks of leaves are called when the tape gets there
        with stage.apart():
            backward.grads = list(gradients_of(
                stage.outputs, [*[t for _, t in leaves], *stage.below], [wrap(s) for s in seeds],
                retain_graph=not is_last, allow_unused=True))
    finally:
        for (_, t), own in zip(leaves, hooks, strict=True):
            if own is not None:
                t._backward_hooks = own
    return backward


def split(backward: Backward, tensors: int, written: set[int]) -> None:
    """Makes the second graph; `written` are the numbers of inputs that the forward writes to, and
    the first `tensors` inputs are tensors, which the second can read anew."""
    whole = backward.recorded
    known = {node.number: i for i, node in enumerate(whole.inputs[:tensors])}
    seeds = backward.seeds
    is_seed = {node.number for node in seeds}
    first = {node.number for node in whole.nodes[: backward.cut]}
    references = {}
    for i, grad in enumerate(backward.grads):
        array = None if grad is None else grad._array
        if type(array) is TracedArray:
            references[f"gradient.{i}"] = array.reference
        elif array is not None:
            node = whole.add("constant", np.copy, (array,), {}, [(array.shape, array.dtype)])
            references[f"gradient.{i}"] = Reference(node)
        backward.computed.append(array is not None)
    needed = whole.like(whole.nodes, references).without_dead_code()
    graph = backward.graph
    made: dict[int, GraphNode] = {}
    inputs: dict[int, Reference] = {}
    saved: dict[tuple[int, int | None], Reference] = {}
    def translated(reference: Reference) -> Any:
        node = reference.node
        number = node.number
        if number in made:
            return Reference(made[number], reference.output)
        if number in is_seed:
            return inputs[number]
        if number in known and known[number] not in written:
            if number not in inputs:
                inputs[number] = Reference(GraphNode(
                    number, node.label, None, (), {}, node.results, strides=node.strides
                ))
            return inputs[number]
        if number in first and node.label in _VIEWS and reference.output is None and (
            _rests_on_input(node, known, written)
        ):
            copy(node)
            return Reference(made[number])
        key = number, reference.output
        if key not in saved:
            place = reference.output or 0
            strides = None if node.strides is None else [node.strides[place]]
            saved[key] = Reference(GraphNode(
                whole.number(), f"saved {len(saved)}", None, (), {}, [node.results[place]],
                strides=strides,
            ))
            backward.saved.append(reference)
        return saved[key]

    def copy(node: GraphNode) -> None:
        made[node.number] = GraphNode(
            node.number, node.label, node.function, replaced(node.args, translated),
            replaced(node.kwargs, translated), node.results, effect=node.effect,
            strides=node.strides,
        )
        graph.nodes.append(made[node.number])

    for node in seeds:
        inputs[node.number] = Reference(node)
    for node in needed.nodes:
        if node.number not in first:
            copy(node)
    graph.outputs = {name: translated(r) for name, r in references.items()}
    of_tensors = [n for n in inputs if n not in is_seed]
    backward.inputs = [known[n] for n in of_tensors]
    graph.inputs = [
        *[inputs[n].node for n in of_tensors], *[r.node for r in saved.values()], *seeds,
    ]
    graph.next_number = whole.number()


def _rests_on_input(node: GraphNode, known: dict[int, int], written: set[int]) -> bool:
    """Whether a node is a view of an input that stays as it is, which costs nothing to make."""
    while node.label in _VIEWS and len(node.read) == 1:
        node = node.read[0].node
    return node.number in known and known[node.number] not in written


class CompiledFunctionBackward(Node):
    """The node behind the results of a compiled call."""

    __module__ = "builtins"
    saves = True
    record: Backward
    kept: Any = None  # what was saved, while some of several results may still be differentiated
    pending: frozenset[int] = frozenset()  # results that the last pass was for
    used: frozenset[int] = frozenset()  # those whose histories are gone

    def backward(self, grad: Any) -> tuple[Any, ...]:
        """Runs the backward program."""
        record = self.record
        given = (grad,) if self.outputs == 1 else grad
        saved = self.saved if self.outputs == 1 else self.saved_for(given)
        if saved is None:
            raise freed_error(self)
        if is_differentiated():
            raise RuntimeError(
                "torch.compile with aot_autograd does not currently support double backward: a "
                "gradient of the results of a compiled function is computed by a program, which "
                "has no derivative. Call the function without compiling it."
            )
        tensors, versions, values, results = saved
        for t, version in zip(tensors, versions, strict=True):
            check_version(self, t, version)
        for array, storage, version in results:
            if storage.version != version:
                raise version_error(self, array, storage, version, (self, 0))
        seeds = [
            np.zeros(*metadata) if g is None else g._array
            for g, metadata in zip(given, record.metadata, strict=True)
        ]
        found = _gradients(*seeds, (record, [t._array for t in tensors], values))
        if any([g is None for g in given]):
            found = self.of_some(given, found)
        return found

    def saved_for(self, given: tuple[Any, ...]) -> Any:
        """What was saved, if it is still there for these of several results."""
        shared = self.record.shared
        now = frozenset([i for i, g in enumerate(given) if g is not None])
        if self.saved is None:
            self.used |= self.pending
            if any([not shared[i].isdisjoint(self.used) for i in now]):
                return None
        else:  # for the first time, or the graph was retained
            self.kept = self.saved
        self.pending = now
        saved = self.kept
        if len(self.used | now) == self.outputs:
            self.kept = self.saved  # the engine frees what isn't retained
        return saved

    def of_some(self, given: tuple[Any, ...], found: tuple[Any, ...]) -> tuple[Any, ...]:
        """The gradients, where some results have none: those that only these reach are None."""
        reached = frozenset[int]().union(*[
            of for g, of in zip(given, self.record.reached, strict=True) if g is not None])
        found = tuple([g if i in reached else None for i, g in enumerate(found)])
        if not all([g is None or bool(np.isfinite(g._array).all()) for g in found]):
            raise RuntimeError(
                "The gradient of some of the results of a compiled function isn't finite: the "
                "program goes through all of them, with zeros for the others, which gives NaN "
                "where a derivative is infinite. Return only what is differentiated, or call the "
                "function without compiling it."
            )
        return found


def _gradients(*seeds_and_rest: Any) -> tuple[Any, ...]:
    *seeds, rest = seeds_and_rest
    found = run_backward(*seeds, rest)
    found = iter(found if type(found) in (list, tuple) else [found])
    return tuple([wrap(next(found)) if is_there else None for is_there in rest[0].computed])


@primitive
def run_backward(*arguments: Any) -> Any:
    """The gradients that exist, from those of the results, and the record of a call's backward."""
    *seeds, (record, inputs, values) = arguments
    plain = [_plain(seed, metadata) for seed, metadata in zip(seeds, record.metadata, strict=True)]
    found = record.program([*inputs, *values, *plain], [None] * sum(record.computed))
    return found if len(found) != 1 else found[0]


def _plain(array: Any, metadata: Any) -> np.ndarray:
    """A gradient as the program was made for: contiguous, in the dtype of the result."""
    shape, dtype = metadata
    if array.flags.c_contiguous and array.dtype == dtype:
        return array
    return np.ascontiguousarray(array, dtype).reshape(shape)


def new_node(
    record: Backward, edges: tuple[Tensor, ...], tensors: list[Tensor], values: list[np.ndarray],
    results: tuple[Tensor, ...],
) -> CompiledFunctionBackward:
    """The node of one call, which read these tensors, saved these values and gave these results."""
    overlaps = record.overlaps
    if overlaps is None:
        overlaps = record.overlaps = [
            i for i, t in enumerate(results)
            if any([np.may_share_memory(t._array, value) for value in values])]
    node = object.__new__(CompiledFunctionBackward)
    node.edges = tuple([edge_of(t) for t in edges])
    node.adjust = node.extras = node.where = None
    saved = [save_result(results[i]) for i in overlaps] if overlaps else []
    node.saved = (tensors, [version_of(t) for t in tensors], values, saved)
    node.sequence = next_sequence()
    node.record = record
    node.outputs = len(record.metadata)
    return node
