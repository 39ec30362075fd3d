"""What nodes of a graph are given: nested tuples, lists and dicts with arrays, numbers and symbolic
sizes in them; and what they are at one size, as shapes, and as values of the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from taper.arrays.node_functions import Step
from taper.arrays.shape import ShapeArray
from taper.arrays.symbolic_shape import SymbolicShape, environment_in, is_symbolic

if TYPE_CHECKING:
    from taper.compiler.graph import Reference

__all__ = [
    "BOXES", "Placeholder", "as_references", "as_shape", "as_shapes", "at_hint", "at_size",
    "depends_on_size", "example_of", "mapped",
]

BOXES = frozenset([tuple, list, dict])  # what has arguments inside


class Placeholder:
    """An array without values, which stands for one of the graph's."""

    __slots__ = ()
    if TYPE_CHECKING:
        meta: ShapeArray | Any  # or SymbolicShape

        @property
        def reference(self) -> Reference: ...
        @property
        def shape(self) -> tuple[int, ...]: ...
        @property
        def dtype(self) -> Any: ...


def mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """Applies `function` to everything inside nested tuples, lists and dicts."""
    cls = type(value)
    if cls is tuple:
        return tuple([mapped(function, v) if type(v) in BOXES else function(v) for v in value])
    if cls is list:
        return [mapped(function, v) for v in value]
    if cls is dict:
        return {k: mapped(function, v) for k, v in value.items()} if value else {}
    return function(value)


def depends_on_size(value: Any) -> bool:
    """Whether a symbolic size, or the shape of an array that depends on one, is in an argument."""
    cls = type(value)
    if isinstance(value, Placeholder):
        return type(value.meta) is SymbolicShape
    if isinstance(value, (tuple, list)):
        return any([depends_on_size(v) for v in value])
    if cls is dict:
        return any([depends_on_size(v) for v in value.values()])
    if cls is slice:
        return is_symbolic(value.start) or is_symbolic(value.stop) or is_symbolic(value.step)
    if cls is Step:
        return depends_on_size((value.args, value.kwargs))
    return is_symbolic(value)


def at_size(value: Any, size: int, point: int = 0) -> Any:
    """An argument for one size: symbolic numbers as plain ones, arrays as their shapes at a point.
    """
    if is_symbolic(value):
        return value.at(size)
    cls = type(value)
    if cls in BOXES:
        return mapped(lambda item: at_size(item, size, point), value)
    if isinstance(value, tuple):  # a torch.Size
        return tuple.__new__(cls, [at_size(item, size, point) for item in value])
    if isinstance(value, Placeholder):
        meta = value.meta
        return meta.points[point] if type(meta) is SymbolicShape else meta
    if cls is slice:
        return slice(*[end.at(size) if is_symbolic(end) else end
                       for end in (value.start, value.stop, value.step)])
    if cls is Step and depends_on_size(value):
        return Step(value.function, at_size(value.args, size, point),
                    at_size(value.kwargs, size, point))
    return value


def at_hint(value: Any) -> Any:
    """Numbers in tuples as they are in the call that was recorded, for choices that are right for
    any size."""
    environment = environment_in(value)
    return value if environment is None else at_size(value, environment.hint)


def as_shape(value: Any) -> Any:
    if isinstance(value, Placeholder):
        return value.meta
    if isinstance(value, np.ndarray) and value.ndim:
        return ShapeArray(value.shape, value.dtype, value.strides)
    return value


def as_shapes(value: Any) -> Any:
    """Nested arguments with the shapes of arrays in their places."""
    return mapped(as_shape, value)


def example_of(value: Any) -> Any:
    """Numbers in place of an array that will be computed: chances and rates may be one half."""
    if isinstance(value, (Placeholder, ShapeArray)):
        return np.full(value.shape, 0.5).astype(value.dtype)
    return value


def _reference_of(value: Any) -> Any:
    return value.reference if isinstance(value, Placeholder) else value


def as_references(value: Any) -> Any:
    """Nested arguments with the values of the graph in the places of arrays."""
    return mapped(_reference_of, value)
