"""Views in one spelling each, chains of them joined.

Needs: nothing. Gives: of the calls that only look at memory in another way, `transpose(x, axes)`,
`reshape(x, shape)`, `broadcast_to(x, shape)` and `__getitem__(x, index)` remain, with all axes
named, shapes without -1, and an index of one int or slice per axis. What changes nothing is gone:
transposes of transposes, reshapes of reshapes, slices of slices, axes of one element that move.
The same bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from taper.arrays.node_functions import method_caller
from taper.arrays.shape import ShapeArray
from taper.arrays.symbolic_shape import shape_through
from taper.compilation.passes.constants import filled, number_of
from taper.compilation.passes.positions import Positions, are_all, positions_of
from taper.compilation.passes.rewriting import (
    Rewriting,
    Value,
    dtype_of,
    kind_of,
    rewritten,
    shape_of,
    strides_of,
)
from taper.compiler.graph import Graph, GraphNode, Reference
from taper.core.symbolic import SymInt

__all__ = [
    "RULES", "VIEWS", "Cut", "cuts_of", "full_index", "indexed", "join_views", "reshaped",
    "stretched", "transposed", "whole_index",
]

_TRANSPOSE, _RESHAPE, _INDEX = map(method_caller, ("transpose", "reshape", "__getitem__"))

# The canonical ones. A reshape may be a copy: its strides say so where they are known.
VIEWS = frozenset(["transpose", "reshape", "broadcast_to", "__getitem__"])


def join_views(graph: Graph) -> Graph:
    """The graph with its views in canonical form."""
    return rewritten(graph, RULES)


def transposed(walk: Rewriting, x: Value, axes: tuple[int, ...]) -> Value:
    """x with its axes in this order."""
    if axes == tuple(range(len(axes))):
        return x
    if not isinstance(x, Reference):
        return x.transpose(axes)
    if _is(x, "transpose"):
        inner = x.node.args[1]
        return transposed(walk, x.node.args[0], tuple([inner[a] for a in axes]))
    shape = shape_of(x)
    moved = [a for a in axes if shape[a] != 1]
    if moved == sorted(moved):
        return reshaped(walk, x, tuple([shape[a] for a in axes]))
    return _view(walk, "transpose", x, axes)


def reshaped(walk: Rewriting, x: Value, shape: tuple[int, ...]) -> Value:
    """x in another shape."""
    if shape_of(x) == shape:
        return x
    if not isinstance(x, Reference):
        return x.reshape(shape)
    if _is(x, "reshape"):
        return reshaped(walk, x.node.args[0], shape)
    number = number_of(x)
    return _view(walk, "reshape", x, shape) if number is None else filled(walk, shape, number)


def stretched(walk: Rewriting, x: Value, shape: tuple[int, ...]) -> Value:
    """x broadcast to a shape."""
    if shape_of(x) == shape:
        return x
    number = number_of(x)
    if number is not None:
        return filled(walk, shape, number)
    if isinstance(x, Reference) and kind_of(x.node) == "broadcast_to":
        return stretched(walk, x.node.args[0], shape)
    lead = len(shape) - len(shape_of(x))
    if shape == (1,) * lead + shape_of(x):
        return reshaped(walk, x, shape)
    return _view(walk, "broadcast_to", x, shape)


def indexed(walk: Rewriting, x: Value, index: tuple[Any, ...]) -> Value:
    """x[index], for an index of one int or slice per axis."""
    shape = shape_of(x)
    if all(map(are_all, index, shape)):
        return x
    if not isinstance(x, Reference):
        return x[index]
    inner = canonical_index(x.node) if _is(x, "__getitem__") else None
    if inner is not None:
        outer = iter(index)
        sizes = shape_of(x.node.args[0])
        joined = [_part(positions_of(n)[i], next(outer)) if type(i) is slice else i
                  for i, n in zip(inner, sizes, strict=True)]
        return indexed(walk, x.node.args[0], tuple(joined))
    return _view(walk, "__getitem__", x, index)


def full_index(index: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """An index of ints, slices, None and Ellipsis as one int or slice per axis."""
    parts = [p for p in (index if type(index) is tuple else (index,)) if p is not None]
    at = next((i for i, p in enumerate(parts) if p is Ellipsis), len(parts))
    given = len(parts) - (at < len(parts))
    parts[at:at + 1] = [slice(None)] * (len(shape) - given)
    return tuple([_part(positions_of(n), p if type(p) in (slice, SymInt) else int(p))
                  for p, n in zip(parts, shape, strict=True)])


def whole_index(index: Any, shape: tuple[int, ...]) -> tuple[Any, ...] | None:
    """An index that gives a view as one int or slice per axis; None for others."""
    parts = index if type(index) is tuple else (index,)
    if all([p is Ellipsis or type(p) is slice
            or (isinstance(p, (int, np.integer, SymInt)) and not isinstance(p, bool))
            for p in parts]):
        return full_index(index, shape)
    return None


class Cut(NamedTuple):
    """Neighbouring positions of one axis."""

    axis: int
    start: Any
    stop: Any
    is_line: bool  # whether the axis goes, as an int is the index


def cuts_of(index: Any, shape: tuple[int, ...]) -> list[Cut] | None:
    """What an index takes of an array that gives a view: all, but for these; None for others."""
    whole = whole_index(index, shape)
    if whole is None:
        return None
    cuts = []
    for axis, (i, n) in enumerate(zip(whole, shape, strict=True)):
        if type(i) is not slice:
            cuts.append(Cut(axis, i, i + 1, True))
        elif not are_all(i, n):
            positions = positions_of(n)[i]
            if positions.step != 1:
                return None
            cuts.append(Cut(axis, positions.start, positions.stop, False))
    return cuts


def canonical_index(node: GraphNode) -> tuple[Any, ...] | None:
    """The index of a call of `__getitem__`, if it is one int or slice per axis."""
    index = node.args[1]
    shape = shape_of(node.args[0])
    if type(index) is tuple and len(index) == len(shape) and all([
        type(i) in (int, slice, SymInt) for i in index
    ]):
        return index
    return None


def _is(x: Reference, kind: str) -> bool:
    return kind_of(x.node) == kind and x.output is None and not x.node.kwargs


def _view(walk: Rewriting, kind: str, x: Reference, argument: Any) -> Value:
    strides = strides_of(x)
    if kind == "broadcast_to":
        function: Any = np.broadcast_to
    else:
        function = {"transpose": _TRANSPOSE, "reshape": _RESHAPE, "__getitem__": _INDEX}[kind]
    meta = shape_through(function, shape_of(x), dtype_of(x), strides, argument)
    return walk.emit(kind, function, (x, argument), meta.shape, meta.dtype,
                     None if strides is None else meta.strides)


def _part(positions: Any, i: Any) -> Any:
    """A slice or int of a slice's positions."""
    found = positions[i]
    if type(i) is not slice:
        return found
    if type(found) is Positions:
        return slice(found.start, found.stop, 1) if found.count else slice(0, 0, 1)
    stop = found.stop if found.stop >= 0 else None
    return slice(found.start, stop, found.step) if len(found) else slice(0, 0, 1)


# -- rules -----------------------------------------------------------------------------------------


def _transposed(node: GraphNode, walk: Rewriting) -> Value | None:
    x, *rest = node.args
    ndim = len(shape_of(x))
    kind = kind_of(node)
    if kind == "transpose":
        given = (*rest, *node.kwargs.values())
        if len(given) == 1 and not isinstance(given[0], int):
            given = tuple(given[0] or ())
        axes = list(given) or list(reversed(range(ndim)))
    else:
        a, b = (*rest, *node.kwargs.values())
        axes = list(range(ndim))
        axes[a], axes[b] = axes[b], axes[a]
    return transposed(walk, x, tuple([a % ndim for a in axes]))


def _moved(node: GraphNode, walk: Rewriting) -> Value | None:
    x, *rest = node.args
    shape = tuple(range(2, 2 + len(shape_of(x))))  # each axis has a size of its own
    assert node.function is not None
    moved = node.function(ShapeArray(shape, np.bool_), *rest, **node.kwargs)
    return transposed(walk, x, tuple([n - 2 for n in moved.shape]))


def _reshaped(node: GraphNode, walk: Rewriting) -> Value | None:
    """Calls that give x in another shape; their own says in which."""
    if "order" in node.kwargs or (kind_of(node) in ("ravel", "flatten") and len(node.args) > 1):
        return None
    return reshaped(walk, node.args[0], node.results[0][0])


def _stretched(node: GraphNode, walk: Rewriting) -> Value | None:
    return stretched(walk, node.args[0], node.results[0][0])


def _indexed(node: GraphNode, walk: Rewriting) -> Value | None:
    """x[ints, slices, None and Ellipsis]."""
    x, index = node.args
    parts = list(index) if type(index) is tuple else [index]
    if not all([p is None or p is Ellipsis or type(p) is slice
                or (isinstance(p, (int, np.integer, SymInt)) and not isinstance(p, bool))
                for p in parts]):
        return None
    found = indexed(walk, x, full_index(index, shape_of(x)))
    return reshaped(walk, found, node.results[0][0])


RULES = {
    "transpose": (_transposed,),
    "swapaxes": (_transposed,),
    "moveaxis": (_moved,),
    **dict.fromkeys("reshape squeeze expand_dims ravel flatten".split(), (_reshaped,)),
    "broadcast_to": (_stretched,),
    "__getitem__": (_indexed,),
}
