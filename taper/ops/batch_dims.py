"""How a tensor enters a vmap and leaves it: two operators, and what the tape must know of them.

Note [gradients of vmap]. Inside a vmap, nodes are recorded whose results are batched, and after it
the tape runs them on batched gradients; a gradient there is that of one sample. What flows into
the vmap as an argument is entered by `enter`, whose derivative leaves. A tensor that the function
merely uses, such as a parameter, is the same for all samples: its gradient is the sum over them,
like that of any operand which was broadcast, and `adjust` (see autograd/node.py) says so for the
edges that lead out of the vmap. Those edges are found when a gradient comes in by the node of a
result: they go from nodes younger than the vmap to older ones, or to leaves that are not batched.
Backward passes that are recorded make further such nodes, and further results that left.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from taper.arrays.levels import Level, is_batched
from taper.autograd import engine
from taper.autograd.node import Node, NodeOutput, edge_of, next_sequence
from taper.autograd.views import check_inplace, rebase_history
from taper.core.tensor import Tensor
from taper.ops.declare import operator
from taper.ops.reduction import cast_and_reduce

__all__ = ["enter", "hand_back", "has_level", "leave", "over_first_dim"]


def has_level(array: Any, level: Level) -> bool:
    """Whether an array has an axis for the samples of a level."""
    while (found := getattr(array, "level", None)) is not None:
        if found is level:
            return True
        array = array.inner
    return False


def with_level(array: Any, dim: int, level: Level) -> Any:
    """The array with its axis `dim` hidden, for a level."""
    from taper.kernels.over_samples import BatchedArray  # and rules; most programs need none

    if type(array) is BatchedArray and array.level.number > level.number:
        return BatchedArray(with_level(array.inner, dim + 1, level), array.level)
    return BatchedArray(array if dim == 0 else np.moveaxis(array, dim, 0), level)


def without_level(array: Any, dim: int, level: Level) -> Any:
    """The array with the hidden axis of a level shown as its axis `dim`."""
    from taper.arrays.batched import BatchedArray

    if type(array) is not BatchedArray or array.level.number < level.number:
        found = np.broadcast_to(array, (level.size, *array.shape))
    elif array.level is level:
        found = array.inner
    else:
        return BatchedArray(without_level(array.inner, dim + 1, level), array.level)
    return found if dim == 0 else np.moveaxis(found, 0, dim)


@operator("_add_batch_dim", hidden=True, node="AddBatchDimBackward0")
def add_batch_dim(input: Tensor, dim: int, level: Any) -> Tensor:
    return with_level(input, dim, level)


@add_batch_dim.derivative("input")
def _(grad, dim, level):
    return leave(grad, dim, level)


@operator("_remove_batch_dim", hidden=True, node="RemoveBatchDimBackward0")
def remove_batch_dim(input: Tensor, dim: int, level: Any) -> Tensor:
    return without_level(input, dim, level)


@remove_batch_dim.derivative("input")
def _(grad, dim, level):
    return enter(grad, dim, level)


def enter(input: Tensor, dim: int, level: Level) -> Tensor:
    """The tensor as one sample sees it; `dim`, not negative, runs along the samples."""
    _boundary()
    result: Tensor = add_batch_dim(input, dim, level)
    result._storage = input._shared_storage()  # changes in place are seen outside
    return result


def leave(input: Tensor, dim: int, level: Level) -> Tensor:
    """The tensor of all samples, which lie along `dim`."""
    result: Tensor = remove_batch_dim(input, dim, level)
    storage = input._storage
    if storage is not None:  # the memory may be that of an argument, or of another result
        while is_batched(storage.array):
            storage.array = storage.array.inner
        result._storage = storage
    return result


def hand_back(outside: Tensor, inside: Tensor, dim: int, level: Level) -> None:
    """The history of a tensor that was changed in place within a vmap, for the one outside."""
    edge = inside._edge
    node = edge.node if type(edge) is NodeOutput else edge
    if node is None or type(node) is _boundary():
        return  # not changed, or by what has no history
    check_inplace(outside)
    rebase_history(outside, edge_of(leave(inside, dim, level)))


@cache
def _boundary() -> type[Node]:
    """The class of the nodes at which gradients leave a vmap; made on first use.

    Those at which they come in look for the edges that lead out, before any gradient follows them.
    """
    coming_in: Any = remove_batch_dim.node_class
    rule = coming_in.backward

    def backward(node: Any, grad: Any) -> Any:
        _, level = node.saved
        _sum_where_edges_lead_out(node, level)
        return rule(node, grad)

    coming_in.backward = backward
    return add_batch_dim.node_class


def over_first_dim(function: Callable[[Any], Any], given: Any) -> list[Any]:
    """What ``function(given)`` returns where its tensors are mapped over their first dimension.

    `given` is a tensor or a sequence of tensors and Nones; the results are tensors and Nones.
    """
    tensors = [given] if isinstance(given, Tensor) else list(given or ())
    sizes = {t._array.shape[:1] for t in tensors if t is not None}
    if sizes == {()} or not sizes:
        raise ValueError(
            "vmap(vjp, in_dims=0, ...)(<inputs>): Got in_dim=0 for some input, but that input is a "
            "Tensor of dimensionality 0 so expected in_dim to satisfy 0 <= in_dim < 0."
        )
    if len(sizes) != 1:
        raise ValueError(
            "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
            f"{[t._array.shape[0] for t in tensors if t is not None]} for the mapped dimension"
        )
    ((size,),) = sizes
    with Level(size, "error", next_sequence()) as level:
        found = function([None if t is None else enter(t, 0, level) for t in tensors])
        return [None if t is None else leave(t, 0, level) for t in found]


engine.over_first_dim = over_first_dim


class SumOverLevel:
    """An entry of `adjust`: the gradient of what is the same for all samples of a level."""

    __slots__ = ("before", "level")

    def __init__(self, level: Level, before: Any) -> None:
        self.level = level
        self.before = before

    def __call__(self, grad: Tensor) -> Tensor:
        if self.before is not None:
            grad = cast_and_reduce(grad, self.before)
        if not has_level(grad._array, self.level):  # the same for each sample
            return grad * self.level.size
        return leave(grad, 0, self.level).sum(0)


def _sum_where_edges_lead_out(last: Node, level: Level) -> None:
    """Marks the edges that lead out of the vmap, from `last` down; each node is seen once."""
    boundary = _boundary()
    seen = level.seen
    waiting = [last]
    while waiting:
        node = waiting.pop()
        if node.sequence in seen or (type(node) is boundary and node.saved[1] is level):
            continue
        seen.add(node.sequence)
        outward = []
        for i, edge in enumerate(node.edges):
            if edge is None:
                continue
            if isinstance(edge, Tensor):
                if not has_level(edge._array, level):
                    outward.append(i)
                continue
            below = edge.node if type(edge) is NodeOutput else edge
            if below.sequence <= level.start:
                outward.append(i)
            else:
                waiting.append(below)
        if outward:
            adjust = list(node.adjust or [None] * len(node.edges))
            for i in outward:
                adjust[i] = SumOverLevel(level, adjust[i])
            node.adjust = tuple(adjust)
