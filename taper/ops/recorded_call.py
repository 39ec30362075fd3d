"""Records a call that went the full way: a node in the layout that generated `backward`s read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy import ndarray

from taper.autograd.node import NodeOutput, edge_of, next_sequence, save_result, version_of
from taper.autograd.saved_tensors import hooks, pack_saved
from taper.core.tensor import Tensor
from taper.ops.declare import Operator
from taper.ops.recording import node_class_for, saved_items, saved_layout
from taper.ops.signature import LIST, Signature

__all__ = ["new_node", "record"]

_new = object.__new__


def record(
    op: Operator, signature: Signature, bound: dict[str, Any], outputs: list[Tensor],
    aux: tuple[Any, ...], where: Any,
) -> None:
    """Puts a node behind the outputs of a call."""
    if all(t._array.dtype.kind in "biu" for t in outputs):
        return
    node = new_node(op, signature, bound, outputs, aux, where, edge_of)
    if op.outputs is None:
        outputs[0]._edge = node
    else:
        node.outputs = len(outputs)
        for index, t in enumerate(outputs):
            if t._array.dtype.kind not in "biu":
                t._edge = NodeOutput(node, index)
    pair = hooks()
    if pair is not None:
        pack_saved(node, saved_layout(saved_items(op, signature)), pair, outputs)


def new_node(
    op: Operator, signature: Signature, bound: dict[str, Any], outputs: list[Tensor],
    aux: tuple[Any, ...], where: Any, edge_for: Callable[[Tensor], Any],
) -> Any:
    """A node for a call, whose inputs have the edges that `edge_for` tells."""
    node = _new(node_class_for(op, bound))
    edges: list[Any] = []
    adjust: list[Any] = []
    needs: dict[str, bool] = {}
    for p in signature.tensors:
        value = bound[p.name]
        first = len(edges)
        for item in value if p.role is LIST else (value,):
            edge = edge_for(item) if isinstance(item, Tensor) else None
            edges.append(edge)
            if edge is None or op.promote is None:
                adjust.append(None)
            else:
                adjust.append((None if p.role is LIST else item._array.shape, item.dtype))
        needs[p.name] = any([edge is not None for edge in edges[first:]])
    node.edges = tuple(edges)
    node.adjust = tuple(adjust) if any(a is not None for a in adjust) else None
    saved: list[Any] = []
    for item in saved_items(op, signature):
        saved.extend(_saved(item, bound, outputs, aux, op, needs))
    node.saved = tuple(saved)
    node.sequence = next_sequence()
    node.where = where
    node.extras = None
    return node


def _saved(
    item: Any, bound: dict[str, Any], outputs: list[Tensor], aux: tuple[Any, ...], op: Operator,
    needs: dict[str, bool],
) -> Sequence[Any]:
    if item.kind == "tensor":
        value = bound[item.name]
        if not isinstance(value, Tensor):
            return (value, -1)
        if any(needs[user] for user in item.users):
            return (value, version_of(value))
        return (None, -1)
    if item.kind == "list":
        value = tuple(bound[item.name])
        return (value, [version_of(t) for t in value])
    if item.kind == "result":
        if not item.for_all and not any(needs[user] for user in item.users):
            return (None,)
        return (save_result(outputs[item.what or 0]),)
    if item.kind == "aux":
        return (aux[op.aux.index(item.name)],)
    if item.kind in ("shape", "dtype"):
        value = bound[item.parameter.name]
        if item.parameter.role is LIST:
            return ([tuple(t.shape) if item.kind == "shape" else t.dtype for t in value],)
        if not isinstance(value, Tensor):
            return (() if item.kind == "shape" and value is not None else None,)
        return (value._array.shape if item.kind == "shape" else value.dtype,)
    if item.kind == "strides":
        array = bound[item.parameter.name]._array
        return (array.strides if type(array) is ndarray or hasattr(array, "meta") else None,)
    return (bound[item.name],)
