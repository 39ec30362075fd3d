"""The engine: walks the tape from the newest node to the oldest and passes gradients along.

Every node is younger than the nodes it points to, so a heap of sequence numbers gives an order in
which each node runs after all of its consumers, and no recursion is needed. Gradients of leaves
are summed aside and stored when the walk is over, as PyTorch's AccumulateGrad does when its last
contribution has come in.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from heapq import heappop, heappush
from typing import Any

import numpy as np

from taper.autograd.hook_calls import (
    call_hooks_after,
    call_hooks_before,
    call_leaf_hooks,
    has_hooks,
)
from taper.autograd.node import Node, NodeOutput, function_of, line_of
from taper.core.device import contiguous_format
from taper.core.errors import set_by_ops
from taper.core.state import grad_mode
from taper.core.storage import is_dense
from taper.core.tensor import LEAF, Parameter, Tensor, wrap

__all__ = ["run_backward"]

add: Callable[[Tensor, Tensor], Tensor] = set_by_ops  # ops/arithmetic
cast_and_reduce: Callable[..., Tensor] = set_by_ops  # ops/reduction
over_first_dim: Callable[..., Any] = set_by_ops  # ops/batch_dims
ndarray = np.ndarray


class Anomaly:
    """Whether backward passes check each node; switched by autograd/anomaly_mode.py."""

    __slots__ = ("check_nan", "enabled")

    def __init__(self) -> None:
        self.enabled = False
        self.check_nan = True


anomaly = Anomaly()


class Observed:
    """What somebody has asked for that backward passes don't do otherwise, for its cost.

    Attributes:
        leaves: leaves have hooks, which are called in PyTorch's order.
        passes: hooks want to know which pass they run in, see `current_walk`.
        around: ``around(node, run)`` stands in for each node's backward and returns ``run()``.
    """

    __slots__ = ("around", "leaves", "passes")

    def __init__(self) -> None:
        self.around: Callable[[Node, Callable[[], Any]], Any] | None = None
        self.leaves = False
        self.passes = False


observed = Observed()


def watched_backward(node: Node, grad: Any) -> Any:
    """A node's backward while anomalies are looked for, or somebody stands around it."""
    run = checked_backward if anomaly.enabled else backward_of
    if observed.around is None:
        return run(node, grad)
    return observed.around(node, lambda: run(node, grad))


def backward_of(node: Node, grad: Any) -> Any:
    return node.backward(grad)


def checked_backward(node: Node, grad: Any) -> Any:
    """A node's backward in anomaly mode: tells where the forward was, and refuses NaN."""
    try:
        grads = node.backward(grad)
    except Exception as error:
        error.add_note(_forward_line(node))
        raise
    if anomaly.check_nan:
        for index, g in enumerate(grads):
            array = None if g is None else g._array
            if type(array) is ndarray and array.dtype.kind in "fc" and np.isnan(array).any():
                raise RuntimeError(
                    f"Function '{node.name()}' returned nan values in its {index}th output. "
                    f"{_forward_line(node)}"
                )
    return grads


def _forward_line(node: Node) -> str:
    where = "" if node.where is None else f" at {line_of(node.where)}"
    return f"The forward call that recorded {node.name()} was{where}."


def run_backward(
    roots: Sequence[tuple[Any, Tensor]],
    *,
    retain_graph: bool,
    create_graph: bool,
    inputs: Sequence[Any] | None = None,
    accumulate: bool = True,
) -> list[Tensor | None] | None:
    """Runs the tape backward from `roots`, pairs of an edge and the gradient that arrives there.

    Without `inputs`, gradients of all leaves reached are added to their `.grad`. With `inputs`
    (edges, see Note [edges]) only what leads to them is run; their gradients are returned, or,
    with `accumulate`, added to `.grad` of those leaves.
    """
    token = grad_mode.set(create_graph)
    walk = Walk(retain_graph, create_graph, roots)
    within = current_walk.set(walk) if observed.passes else None
    try:
        if inputs is not None:
            walk.restrict_to(inputs, roots)
        for edge, grad in roots:
            walk.deliver(edge, grad)
        if observed.leaves:
            walk.await_leaves(accumulate)
        walk.run()
        if inputs is not None and not accumulate:
            return walk.captured(inputs)
        walk.store_leaf_gradients()
        return None
    finally:
        if within is not None:
            current_walk.reset(within)
        grad_mode.reset(token)


class Walk:
    """One backward pass: gradients on their way, and what is wanted at the end."""

    __slots__ = (
        "accumulate", "awaited", "captures", "create_graph", "gradients", "heap", "leaves",
        "needed", "nodes", "notes", "retain_graph", "roots",
    )

    def __init__(
        self, retain_graph: bool, create_graph: bool, roots: Sequence[tuple[Any, Tensor]]
    ) -> None:
        self.roots = roots
        self.notes: dict[Any, Any] | None = None  # what hooks remember during this pass
        self.retain_graph = retain_graph
        self.create_graph = create_graph
        self.heap: list[int] = []  # negated sequence numbers of the nodes that wait
        self.nodes: dict[int, Node] = {}
        self.gradients: dict[int, Any] = {}
        self.leaves: dict[Tensor, Tensor] = {}
        self.needed: set[Any] | None = None  # nodes and leaves worth visiting; None means all
        self.captures: dict[tuple[int, int], Tensor | None] = {}
        self.awaited: dict[Tensor, int] | None = None  # leaves: how many edges lead to them yet
        self.accumulate = True

    def deliver(self, edge: Any, grad: Tensor) -> None:
        """Adds a gradient to what has arrived at an edge so far."""
        if isinstance(edge, Tensor):
            if self.needed is not None and edge not in self.needed:
                return
            if type(grad) is not Tensor and not isinstance(grad, Tensor):
                raise TypeError(f"expected Tensor as a gradient, but got {type(grad).__name__}")
            held = self.leaves.get(edge)
            self.leaves[edge] = grad if held is None else add(held, grad)
            return
        index = 0
        node = edge
        if type(edge) is NodeOutput:
            node, index = edge.node, edge.index
        if self.needed is not None and node not in self.needed:
            return
        sequence = -node.sequence
        gradients = self.gradients
        if node.outputs == 1:
            held = gradients.get(sequence)
            if held is None:
                gradients[sequence] = grad
                self.nodes[sequence] = node
                heappush(self.heap, sequence)
            else:
                gradients[sequence] = add(held, grad)
            return
        arrived = gradients.get(sequence)
        if arrived is None:
            arrived = gradients[sequence] = [None] * node.outputs
            self.nodes[sequence] = node
            heappush(self.heap, sequence)
        arrived[index] = grad if arrived[index] is None else add(arrived[index], grad)

    def run(self) -> None:
        """Runs nodes, newest first, until no gradient waits. Written for speed: the common ends
        of an edge, leaves and nodes with one output, are served here, others by `deliver`."""
        heap, nodes, gradients, leaves = self.heap, self.nodes, self.gradients, self.leaves
        retain_graph, captures, needed = self.retain_graph, self.captures, self.needed
        watched = anomaly.enabled or observed.around is not None
        awaited = self.awaited
        while heap:
            sequence = heappop(heap)
            node = nodes.pop(sequence)
            grad = gradients.pop(sequence)
            extras = node.extras
            if captures and not self.capture(node, grad):
                continue
            if extras is not None:
                grad = call_hooks_before(node, grad)
            grads = node.backward(grad) if not watched else watched_backward(node, grad)
            if extras is not None and extras.hooks:
                grads = call_hooks_after(node, grads, grad)
            if node.adjust is not None:
                grads = [
                    g if g is None or how is None else cast_and_reduce(g, how)
                    for g, how in zip(grads, node.adjust, strict=True)
                ]
            if not retain_graph and node.saves:
                node.saved = None
            for edge, given in zip(node.edges, grads):  # noqa: B905 - checked by the rules
                if edge is None or given is None:
                    continue
                kind = type(edge)
                if kind is NodeOutput or type(given) is not Tensor:
                    self.deliver(edge, given)
                elif needed is not None and edge not in needed:
                    continue
                elif kind is Tensor or kind is Parameter:
                    held = leaves.get(edge)
                    leaves[edge] = given if held is None else add(held, given)
                else:
                    try:
                        has_one_output = edge.outputs == 1
                    except AttributeError:  # no node, but a leaf of another class
                        has_one_output = False
                    if not has_one_output:
                        self.deliver(edge, given)
                        continue
                    below = -edge.sequence
                    held = gradients.get(below)
                    if held is None:
                        gradients[below] = given
                        nodes[below] = edge
                        heappush(heap, below)
                    else:
                        gradients[below] = add(held, given)
            if awaited:
                self.settle(node)

    # -- leaves with hooks -----------------------------------------------------------------------

    def await_leaves(self, accumulate: bool) -> None:
        """Counts the edges to each leaf that has hooks, to serve it when the last was passed."""
        self.accumulate = accumulate
        awaited: dict[Tensor, int] = {}
        needed = self.needed
        for node in nodes_from([edge for edge, _ in self.roots]).values():
            if needed is None or node in needed:
                for edge in node.edges:
                    if isinstance(edge, Tensor) and has_hooks(edge):
                        awaited[edge] = awaited.get(edge, 0) + 1
        self.awaited = awaited

    def settle(self, node: Node) -> None:
        """Serves the leaves to which `node`, which just ran, had the last edge."""
        awaited = self.awaited
        assert awaited is not None
        for edge in node.edges:
            if isinstance(edge, Tensor) and edge in awaited:
                awaited[edge] -= 1
                if not awaited[edge]:
                    del awaited[edge]
                    if edge in self.leaves:
                        self.serve(edge)

    def serve(self, leaf: Tensor) -> None:
        """Calls a leaf's hooks and adds to its `.grad`, or keeps the gradient to return it."""
        if self.accumulate:
            self.store_leaf_gradients({leaf: self.leaves.pop(leaf)})
        else:
            grad = call_leaf_hooks(leaf, self.leaves[leaf])
            self.captures[id(leaf), -1] = self.leaves[leaf] = grad

    # -- restricting a walk to the way to some inputs -------------------------------------------

    def restrict_to(self, inputs: Sequence[Any], roots: Sequence[tuple[Any, Tensor]]) -> None:
        """Finds the nodes that lie between `roots` and `inputs`; only those will run."""
        targets = set()
        for edge in inputs:
            if isinstance(edge, Tensor):
                targets.add(edge)
            else:
                node, index = function_of(edge)
                targets.add(node)
                self.captures[(id(node), index)] = None
        # Nodes point to older ones only, so from the oldest on one pass over those reachable tells
        # which of them lead to a target.
        reachable = nodes_from([edge for edge, _ in roots])
        needed: set[Any] = targets  # grows from the targets up
        for sequence in sorted(reachable):
            node = reachable[sequence]
            for edge in node.edges:
                if edge in needed or (type(edge) is NodeOutput and edge.node in needed):
                    needed.add(node)
                    break
        self.needed = needed

    def capture(self, node: Node, grad: Any) -> bool:
        """Keeps the gradient if it was asked for; says whether the node still has to run.

        As in PyTorch, it is kept as it is before the node's hooks where the node runs, else after.
        """
        needed = self.needed
        assert needed is not None
        runs = any(
            e is not None and (e.node if type(e) is NodeOutput else e) in needed
            for e in node.edges
        )
        if not runs and node.extras is not None:
            grad = call_hooks_before(node, grad, False)
        for index in range(node.outputs):
            key = (id(node), index)
            if key in self.captures:
                self.captures[key] = grad if node.outputs == 1 else grad[index]
        return runs

    def captured(self, inputs: Sequence[Any]) -> list[Tensor | None]:
        """The gradients of `inputs`, in their order; None for those not reached."""
        found = []
        for edge in inputs:
            if isinstance(edge, Tensor):
                grad = self.leaves.get(edge)
                if grad is not None and (id(edge), -1) not in self.captures:  # not served yet
                    grad = call_leaf_hooks(edge, grad)
            else:
                node, index = function_of(edge)
                grad = self.captures[(id(node), index)]
            found.append(grad)
        return found

    # -- the end ---------------------------------------------------------------------------------

    def store_leaf_gradients(self, leaves: dict[Tensor, Tensor] | None = None) -> None:
        """Adds what arrived at each of these leaves, or at all, to its `.grad`; calls its hooks."""
        if leaves is None:
            leaves = self.leaves
        create_graph = self.create_graph
        while leaves:
            leaf = next(iter(leaves))
            grad = leaves.pop(leaf)
            held = leaf._accumulator
            accumulator = held() if held is not None else None
            if leaf._backward_hooks:
                grad = call_leaf_hooks(leaf, grad)
            if accumulator is not None and accumulator.extras is not None:
                grad = call_hooks_before(accumulator, grad)
            if leaf._created_as is not None:
                continue  # a view made without recording: it only looks like a leaf
            present = leaf._grad
            if leaf._edge is not LEAF:
                leaf._grad = grad if present is None else add(present, grad)
            elif present is None:
                if create_graph:
                    leaf._grad = recorded_copy(grad, leaf)
                elif (
                    getrefcount(grad) == UNSHARED_TENSOR
                    and getrefcount(grad._array) == UNSHARED_ARRAY
                    and type(grad._array) is ndarray
                    and (grad._array.base is None or is_sole_view(grad))
                    and has_layout_of(grad._array, leaf._array)
                    and type(grad) is Tensor
                ):
                    if grad._base is not None:
                        grad = wrap(grad._array)
                    elif grad._edge is not None:
                        grad._edge = None
                    leaf._grad = grad
                else:
                    leaf._grad = owned_copy(grad, leaf)
            elif create_graph or not (
                type(present._array) is ndarray or hasattr(present._array, "graph")  # recorded
            ):
                leaf._grad = add(present, grad)
            else:
                present.add_(grad)
            if leaf._post_accumulate_grad_hooks:
                for hook in list(leaf._post_accumulate_grad_hooks.values()):
                    returned = hook(leaf)
                    if returned is not None:
                        raise TypeError("expected Variable, but hook returned "
                                        f"'{type(returned).__name__}'")
            if accumulator is not None and accumulator.extras is not None:
                call_hooks_after(accumulator, (), grad)


    # -- what hooks ask --------------------------------------------------------------------------

    def notes_of(self, owner: Any) -> dict[Any, Any]:
        """What `owner`, a hook, remembers until the end of this pass."""
        if self.notes is None:
            self.notes = {}
        return self.notes.setdefault(owner, {})  # type: ignore[no-any-return]

    def will_reach(self, edge: Any) -> bool:
        """Whether this pass runs the node, or fills the leaf, that `edge` leads to."""
        target = edge.node if type(edge) is NodeOutput else edge
        if self.needed is not None:
            return target in self.needed
        notes = self.notes_of(self)
        if "reached" not in notes:
            edges = [edge for edge, _ in self.roots]
            nodes = nodes_from(edges).values()
            notes["reached"] = {*nodes, *edges, *(e for node in nodes for e in node.edges)}
        return target in notes["reached"]


current_walk: ContextVar[Walk | None] = ContextVar("current_walk", default=None)
"""The backward pass that runs now, in this thread; set once `observed.passes` is."""


def nodes_from(edges: Sequence[Any]) -> dict[int, Node]:
    """All nodes that can be reached from `edges`, by their sequence numbers."""
    reachable: dict[int, Node] = {}
    stack = list(edges)
    while stack:
        edge = stack.pop()
        kind = type(edge)
        if edge is None or kind is Tensor or kind is Parameter or isinstance(edge, Tensor):
            continue
        node = edge.node if kind is NodeOutput else edge
        sequence = node.sequence
        if sequence not in reachable:
            reachable[sequence] = node
            stack.extend(node.edges)
    return reachable


def has_layout_of(array: Any, leaf: Any) -> bool:
    """Whether a gradient lies in memory as its leaf does, or contiguously if that has gaps."""
    if type(leaf) is not ndarray:
        return True
    if leaf.flags.c_contiguous or not is_dense(leaf):
        return array.flags.c_contiguous  # type: ignore[no-any-return]
    return array.strides == leaf.strides  # type: ignore[no-any-return]


def empty_gradient(leaf: Any, dtype: Any) -> Tensor:
    """Memory for the gradient of an array: as that lies, or contiguous if it has gaps."""
    lies_dense = leaf.flags.forc or is_dense(leaf)  # the flags are quicker to ask
    return wrap(np.empty_like(leaf, dtype, "K" if lies_dense else "C", subok=False))


def is_sole_view(grad: Tensor) -> bool:
    """Whether a gradient is all of its memory, and nobody else has that: worth asking for large
    ones, such as the transposed gradient of a layer's weight, or what lies in reused memory."""
    array = grad._array
    if array.nbytes < _WORTH_ASKING or grad._tangents is not None:
        return False
    memory, whole, storage = array.base, grad._base, grad._storage
    holders = _UNSHARED_OBJECT
    if whole is not None:  # then grad is a view of it, and its array's memory is that of grad
        if getrefcount(whole) > _UNSHARED_OBJECT:
            return False
        if whole._array is not memory and not _lies_in(whole, memory, storage):
            return False
        holders += 1
    if storage is not None:
        if getrefcount(storage) > _UNSHARED_OBJECT + (whole is not None):
            return False
        holders += storage.array is memory
    if getrefcount(memory) > holders:
        return False
    if type(memory) is ndarray:
        if memory.nbytes > array.nbytes + _LINE:
            return False
        return memory.base is None
    return False


def _lies_in(whole: Tensor, memory: Any, storage: Any) -> bool:
    """Whether the array of a tensor, which nobody else holds, is itself a view of this memory."""
    array = whole._array
    holders = _UNSHARED_OBJECT + (storage is not None and storage.array is array)
    return type(array) is ndarray and array.base is memory and getrefcount(array) <= holders


_WORTH_ASKING = 1 << 16  # bytes; less is copied in no time
_LINE = 64  # bytes by which memory may be larger, so that it is aligned
_UNSHARED_OBJECT = 3  # what getrefcount says of what a local variable and one attribute hold


def owned_copy(grad: Tensor, leaf: Tensor) -> Tensor:
    """A copy of a gradient that nobody else holds, laid out as the leaf is."""
    array = grad._array
    if type(array) is ndarray and type(grad) is Tensor and grad._tangents is None:
        if type(leaf._array) is ndarray and leaf._array.shape == array.shape:
            copied = empty_gradient(leaf._array, array.dtype)
            copied._array[...] = array
            return copied
        return wrap(array.copy())
    with_tangents = grad._tangents is not None and grad._edge is None
    return _cloned(grad if with_tangents else grad.detach(), leaf)


def recorded_copy(grad: Tensor, leaf: Tensor) -> Tensor:
    """A copy of a gradient, laid out as the leaf is, through which derivatives pass."""
    if type(grad) is not Tensor or type(grad._array) is not ndarray or (
        type(leaf._array) is not ndarray
    ):
        return _cloned(grad, leaf)
    empty = empty_gradient(leaf._array, grad._array.dtype)
    return empty.copy_(grad)  # type: ignore[no-any-return]


def _cloned(grad: Tensor, leaf: Tensor) -> Tensor:
    """A copy of a gradient whose array is none of NumPy's; a recorded one lies as its leaf."""
    if not hasattr(grad._array, "graph") or grad.shape != leaf.shape:
        return grad.clone()  # type: ignore[no-any-return]
    if leaf.is_contiguous() or not is_dense(leaf._array):
        return grad.clone(memory_format=contiguous_format)  # type: ignore[no-any-return]
    return leaf.detach().clone().copy_(grad)  # type: ignore[no-any-return]


getrefcount = sys.getrefcount


def _reference_counts_of_unshared() -> tuple[int, int]:
    """What `getrefcount` says in `store_leaf_gradients` of a gradient that only it holds.

    Found by trying, as interpreters differ in how many references a local variable counts for.
    """
    leaves = {0: wrap(np.empty(1))}
    grad = leaves.pop(0)
    return getrefcount(grad), getrefcount(grad._array)


UNSHARED_TENSOR, UNSHARED_ARRAY = _reference_counts_of_unshared()


def root_edge(tensor: Tensor) -> Any:
    """The edge at which a backward pass from `tensor` starts."""
    return tensor if tensor._edge is LEAF else tensor._edge


