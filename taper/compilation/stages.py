"""Results that come from one another, in the order in which they are differentiated.

A call gives `logits` and `loss`, which was computed from them: the history of the one goes through
the other, whose hooks, retained gradient and own derivative are asked for like those of any tensor.
So results are sorted into stages, each with a backward of its own: that of a later stage ends where
it meets a result of an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from taper.autograd.engine import nodes_from
from taper.autograd.node import Node, NodeOutput
from taper.core.tensor import LEAF, Tensor

__all__ = ["Stage", "stages_of"]


class Stage:
    """Results none of which comes from another.

    Attributes:
        below: results of earlier stages that these come from.
        reached: for each output, which of the leaves and of `below`, numbered in that order, it
            comes from.
        shared: for each output, the numbers of those (itself among them) with which it shares
            operations that saved something.
    """

    def __init__(
        self, outputs: list[Tensor], earlier: Sequence[Tensor], leaves: Sequence[Tensor]
    ) -> None:
        self.outputs = outputs
        nodes = {id(_node_of(t)) for t in earlier}
        found = [_History(t, nodes) for t in outputs]
        self.below = [t for t in earlier if any([id(_node_of(t)) in f.ends for f in found])]
        if any([type(t._edge) is NodeOutput for t in self.below]):
            raise NotImplementedError(
                "a result comes from another one that an operation gave together with others, as "
                "chunk() does: return a copy of it")
        places = {id(t): i for i, t in enumerate(leaves)}
        after = {id(_node_of(t)): i for i, t in enumerate(self.below, len(leaves))}
        self.reached = [
            frozenset([places[leaf] for leaf in f.leaves if leaf in places]).union(
                [after[end] for end in f.ends]) for f in found]
        self.shared = [
            frozenset([i for i, other in enumerate(found)
                       if other is f or not f.savers.isdisjoint(other.savers)]) for f in found]

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Within: histories end at the results of earlier stages."""
        nodes = [_node_of(t) for t in self.below]
        edges = [node.edges for node in nodes]
        for node in nodes:
            node.edges = ()
        try:
            yield
        finally:
            for node, before in zip(nodes, edges, strict=True):
                node.edges = before


class _History:
    """What a result comes from: leaves and nodes where its history ends, by their ids, and nodes
    that saved something."""

    def __init__(self, t: Tensor, ends: set[int]) -> None:
        self.leaves: set[int] = set()
        self.ends: set[int] = set()
        self.savers: set[int] = set()
        seen: set[int] = set()
        own = _node_of(t)
        waiting: list[Any] = [own]
        while waiting:
            edge = waiting.pop()
            if edge is None:
                continue
            if isinstance(edge, Tensor):
                self.leaves.add(id(edge))
                continue
            node = edge.node if type(edge) is NodeOutput else edge
            if id(node) in seen:
                continue
            seen.add(id(node))
            if id(node) in ends and node is not own:
                self.ends.add(id(node))
                continue
            if node.saves and node.saved:
                self.savers.add(id(node))
            waiting += node.edges


def _node_of(t: Tensor) -> Node:
    edge = t._edge
    assert edge is not None and edge is not LEAF
    node: Node = edge.node if type(edge) is NodeOutput else edge
    return node


def stages_of(outputs: list[Tensor], leaves: Sequence[Tensor]) -> list[Stage]:
    """The stages of some results, the earliest first.

    Raises: NotImplementedError: if one comes from another that is one of several of an operation.
    """
    nodes = [_node_of(t).sequence for t in outputs]
    behind = [nodes_from([t._edge]).keys() - {own} for t, own in zip(outputs, nodes, strict=True)]
    left, earlier, stages = list(range(len(outputs))), list[Tensor](), list[Stage]()
    while left:
        later = {nodes[i] for i in left}
        now = [i for i in left if later.isdisjoint(behind[i])]
        here = [outputs[i] for i in now]
        stages.append(Stage(here, earlier, leaves))
        earlier = [*earlier, *here]
        left = [i for i in left if i not in now]
    return stages
