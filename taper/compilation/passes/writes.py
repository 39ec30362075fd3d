"""Writes into arrays, as values.

Needs: constants and views in canonical form (constants.py, views.py). Gives: a write of a whole
array is the value itself, seen from the other side of the view; a write through one slice is
`setitem`; writes that fill an axis slice by slice are one `concatenate`; writes into an array that
is full of one number are one call of `scatter`, and additions into one are `scatter_add`. What
stays copies the array first: whoever runs the graph may write in place where nobody reads the old
value later. The same bits.
"""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np

from taper.arrays.node_functions import Changed, Step, method_caller
from taper.arrays.shape import ShapeArray
from taper.arrays.symbolic_shape import shape_through
from taper.compilation.array_functions import scatter, scatter_add
from taper.compilation.passes.constants import number_of
from taper.compilation.passes.positions import are_all
from taper.compilation.passes.rewriting import (
    Rewriting,
    Value,
    dtype_of,
    kind_of,
    name_of,
    rewritten,
    shape_of,
    strides_of,
)
from taper.compilation.passes.views import (
    cuts_of,
    full_index,
    indexed,
    reshaped,
    stretched,
    transposed,
    whole_index,
)
from taper.compiler.graph import Graph, GraphNode, Reference

__all__ = ["RULES", "direct_writes"]

_SETITEM = Changed(operator.setitem)
_ASTYPE = method_caller("astype")
_MOVES = frozenset(["transpose", "swapaxes", "moveaxis"])
_RESHAPES = frozenset(["reshape", "squeeze", "expand_dims", "ravel"])
_LONGEST_CHAIN = 64  # writes looked at to find those that fill an axis


def direct_writes(graph: Graph) -> Graph:
    """The graph with its writes in the shortest form."""
    return rewritten(graph, RULES)


def _as_stored(walk: Rewriting, value: Any, shape: tuple[int, ...], dtype: Any) -> Value:
    """A value as it is when it was written to an array of this shape and dtype."""
    if isinstance(value, Reference):
        if dtype_of(value) != dtype:
            value = walk.call("astype", _ASTYPE, (value, dtype), shape_of(value), dtype)
    else:
        value = np.asarray(value).astype(dtype)
    lead = len(shape_of(value)) - len(shape)
    if lead > 0:  # NumPy takes values with further axes of one element
        value = reshaped(walk, value, shape_of(value)[lead:])
    return stretched(walk, value, shape)


# -- writes through views --------------------------------------------------------------------------


def _through_views(node: GraphNode, walk: Rewriting) -> Value | None:
    """write(array, steps, value): the steps that rearrange all elements are undone, slices are an
    index."""
    array, steps, value = node.args
    stages: list[Any] = [ShapeArray(shape_of(array), dtype_of(array), strides_of(array))]
    for step in steps:
        if name_of(step.function) not in (*_MOVES, *_RESHAPES, "__getitem__") or (
            "order" in step.kwargs
        ):
            return None
        last = stages[-1]
        stages.append(shape_through(
            lambda x, args, kwargs, step=step: step.function(x, *args, **kwargs),
            last.shape, last.dtype, last.strides, step.args, step.kwargs))
    return _written(walk, array, list(steps), [s.shape for s in stages], value)


def _written(
    walk: Rewriting, array: Value, steps: list[Step], shapes: list[tuple[int, ...]], value: Value
) -> Value:
    if not steps:
        return _as_stored(walk, value, shapes[0], dtype_of(array))
    step, rest, shape = steps[0], steps[1:], shapes[0]
    name = name_of(step.function)
    if name in _MOVES:
        axes = _axes_of(step, len(shape))
        inside = _written(walk, transposed(walk, array, axes), rest, shapes[1:], value)
        return transposed(walk, inside, tuple(np.argsort(axes).tolist()))
    index = None
    if name == "__getitem__":
        index = full_index(step.args[0], shape)
        if all(map(are_all, index, shape)):
            index = None
    if index is None:  # another shape for all elements
        inside = _written(walk, reshaped(walk, array, shapes[1]), rest, shapes[1:], value)
        return reshaped(walk, inside, shape)
    place = indexed(walk, array, index)
    part = _written(walk, reshaped(walk, place, shapes[1]), rest, shapes[1:], value)
    part = reshaped(walk, part, shape_of(place))
    return walk.call("setitem", _SETITEM, (array, index, part), shape, dtype_of(array),
                     strides_of(array))


def _axes_of(step: Step, ndim: int) -> tuple[int, ...]:
    """The order of axes that a step leads to: each axis gets a size of its own to find it by."""
    moved = step(ShapeArray(tuple(range(2, 2 + ndim)), np.bool_))
    return tuple([n - 2 for n in moved.shape])


# -- writes to an index ----------------------------------------------------------------------------


def _to_an_index(node: GraphNode, walk: Rewriting) -> Value | None:
    """setitem(array, index, value)."""
    array, index, value = node.args
    shape, dtype = node.results[0]
    whole = whole_index(index, shape)
    if whole is not None:
        if all(map(are_all, whole, shape)):
            return _as_stored(walk, value, shape, dtype)
        joined = _joined(walk, node)
        if joined is not None:
            return joined
    number = number_of(array)
    if number is None:
        return None
    return walk.emit("scatter", scatter, (shape, number, index, value), shape, dtype)


def _added_at_an_index(node: GraphNode, walk: Rewriting) -> Value | None:
    """add.at(array, index, value)."""
    number = number_of(node.args[0])
    if number is None or len(node.args) != 3:
        return None
    shape, dtype = node.results[0]
    return walk.emit("scatter_add", scatter_add, (shape, number, *node.args[1:]), shape, dtype)


class _Part(NamedTuple):
    """One write of a chain: positions start to stop of an axis."""

    axis: int
    start: int
    stop: int
    value: Any
    base: Any  # what was written into; None for an array full of a number


def _joined(walk: Rewriting, node: GraphNode) -> Value | None:
    """Writes of neighbouring slices that fill an axis: their values, side by side."""
    shape, dtype = node.results[0]
    found: list[_Part] = []
    missing = 1
    current: GraphNode | None = node
    while missing:
        part = None if current is None else _part_of(walk, current, shape)
        if part is None or len(found) == _LONGEST_CHAIN or any([
            p.axis != part.axis or (part.start < p.stop and p.start < part.stop) for p in found
        ]):
            return None
        found.append(part)
        missing = shape[part.axis] - sum([p.stop - p.start for p in found])
        current = part.base.node if isinstance(part.base, Reference) else None
    found.sort(key=lambda p: p.start)
    axis = found[0].axis
    values = [
        _as_stored(walk, p.value, (*shape[:axis], p.stop - p.start, *shape[axis + 1:]), dtype)
        for p in found
    ]
    return walk.emit("concatenate", np.concatenate, (values, axis), shape, dtype)


def _part_of(walk: Rewriting, node: GraphNode, shape: tuple[int, ...]) -> _Part | None:
    """A write to some positions of one axis."""
    if node.function is scatter:
        base, index, value = None, *node.args[2:]
    elif kind_of(node) == "setitem":
        base, index, value = node.args
    else:
        return None
    cuts = cuts_of(index, shape)
    if cuts is None or len(cuts) != 1:
        return None
    (cut,) = cuts
    axis = cut.axis
    if cut.is_line:
        lines = _as_stored(walk, value, (*shape[:axis], *shape[axis + 1:]), node.results[0][1])
        value = reshaped(walk, lines, (*shape[:axis], 1, *shape[axis + 1:]))
    return _Part(axis, cut.start, cut.stop, value, base)


RULES = {
    "write": (_through_views,),
    "setitem": (_to_an_index,),
    "add.at": (_added_at_an_index,),
}
