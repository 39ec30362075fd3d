"""Shapes that depend on a symbolic size (core/symbolic.py), for calls that are being recorded.

Rules for shapes stay as they are, for plain numbers: they are asked at three sizes, and what they
say is a polynomial of second degree. Where it isn't (a slice that a smaller array has no room for),
another size shows it: `shapes_hold` asks all rules again, at that size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from taper.arrays.shape import ShapeArray
from taper.core.symbolic import ShapeEnvironment, SizePinned, SymFloat, SymInt, fitted

__all__ = [
    "SymbolicShape", "array_of", "broadcast_shapes", "environment_in", "fitted_shape", "in_rows",
    "is_symbolic", "joined_numbers", "running_environment", "shape_through", "shapes_at_points",
    "with_symbolic_sizes",
]

_environment: ContextVar[ShapeEnvironment | None] = ContextVar("shape_environment", default=None)
running_environment = _environment.get


@contextmanager
def with_symbolic_sizes(environment: ShapeEnvironment) -> Iterator[None]:
    """Within: results of recorded calls may have shapes that depend on the environment's size."""
    environment.recorded_as = lambda number, dtype: array_of(_number, number, dtype)
    token = _environment.set(environment)
    try:
        yield
    finally:
        _environment.reset(token)


def is_symbolic(number: Any) -> bool:
    """Whether a number depends on a size that is open."""
    return type(number) is SymInt or type(number) is SymFloat


class SymbolicShape:
    """A `ShapeArray` whose shape or strides depend on a symbolic size.

    Attributes:
        points: what it is at the environment's points.
    """

    __slots__ = ("dtype", "environment", "points", "shape", "storage_offset", "strides")

    def __init__(self, environment: ShapeEnvironment, points: tuple[ShapeArray, ...]) -> None:
        def joined(numbers: Any) -> Any:
            return fitted(environment, numbers)

        self.environment = environment
        self.points = points
        first = points[0]
        self.dtype = first.dtype
        if any([p.dtype != first.dtype or p.ndim != first.ndim for p in points]):
            raise SizePinned("the dimensions of a result depend on the batch size")
        self.shape = tuple(map(joined, zip(*[p.shape for p in points], strict=True)))
        self.strides = tuple(map(joined, zip(*[p.strides for p in points], strict=True)))
        self.storage_offset = joined([p.storage_offset for p in points])

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> Any:
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize  # type: ignore[no-any-return]

    @property
    def nbytes(self) -> Any:
        return self.size * self.itemsize

    @property
    def laid(self) -> ShapeArray:
        """What tells how the array lies in memory: as it does at the first of the points."""
        return self.points[0]

    @property
    def flags(self) -> Any:
        """Those at all points; a dimension of one element could make them others."""
        if any([bool(n == 1) or bool(n == 0) for n in self.shape]):
            raise SizePinned("an array may have no dimensions at some batch size")
        flags = [p.flags for p in self.points]
        if len({(f.c_contiguous, f.f_contiguous) for f in flags}) != 1:
            raise SizePinned("how memory lies depends on the batch size")
        return flags[0]

    def _stand_in(self) -> np.ndarray[Any, Any]:
        return self.points[0]._stand_in()

    def __repr__(self) -> str:
        return f"SymbolicShape({self.shape!r}, {self.dtype})"


def fitted_shape(points: tuple[ShapeArray, ...], environment: ShapeEnvironment) -> Any:
    """The shape that is these at the environment's points."""
    first = points[0]
    if all([(p.shape, p.strides, p.storage_offset, p.dtype)
            == (first.shape, first.strides, first.storage_offset, first.dtype)
            for p in points[1:]]):
        return first
    return SymbolicShape(environment, points)


def in_rows(shape: Any) -> Any:
    """The shape of an array in C order."""
    if type(shape) is SymbolicShape:
        points = [ShapeArray(p.shape, p.dtype) for p in shape.points]
        return SymbolicShape(shape.environment, tuple(points))
    return ShapeArray(shape.shape, shape.dtype)


def shape_through(
    function: Callable[..., Any], shape: Any, dtype: Any, strides: Any, *args: Any
) -> Any:
    """The shape of ``function(array, *args)`` for an array of this shape, as a `ShapeArray` or
    `SymbolicShape`."""
    from taper.arrays.node_arguments import at_size, depends_on_size

    if not depends_on_size((shape, strides, args)):
        return function(ShapeArray(shape, dtype, strides), *args)
    environment = environment_in((shape, strides, args))
    sizes = environment.points
    return shapes_at_points(environment, lambda i: function(
        ShapeArray(*at_size((shape, dtype, strides), sizes[i])), *at_size(args, sizes[i])))


def environment_in(value: Any) -> Any:
    """The environment of the first symbolic number inside nested tuples, lists and slices."""
    if is_symbolic(value):
        return value.environment
    if type(value) is slice:
        value = (value.start, value.stop, value.step)
    if type(value) in (tuple, list):
        return next(filter(None, map(environment_in, value)), None)
    return None


def joined_numbers(environment: ShapeEnvironment, points: Any) -> Any:
    """What numbers, in tuples that are alike, are at the environment's points, as one of each."""
    if type(points[0]) is tuple:
        if len({len(p) for p in points}) != 1:
            raise SizePinned("how many dimensions there are depends on the batch size")
        return tuple([joined_numbers(environment, each) for each in zip(*points, strict=True)])
    return fitted(environment, points)


def shapes_at_points(
    environment: ShapeEnvironment, shapes_of: Callable[[int], Any]
) -> Any:
    """What `shapes_of(number of the point)` says at all points, as one shape or a tuple."""
    try:
        found = [shapes_of(i) for i in range(len(environment.points))]
    except Exception:  # who goes another way then does so for some sizes only
        environment.was_pinned = True
        raise
    if type(found[0]) is not tuple:
        return fitted_shape(tuple(map(_as_shape, found)), environment)
    if len({len(f) for f in found}) != 1:
        raise SizePinned("how many results there are depends on the batch size")
    return tuple([fitted_shape(tuple(map(_as_shape, each)), environment)
                  for each in zip(*found, strict=True)])


def array_of(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)``, an array that is made of numbers; where a symbolic size is among them,
    it is made when the recorded call runs."""
    if running_environment() is None:
        return function(*args)
    from taper.arrays.node_arguments import depends_on_size
    from taper.arrays.traced import record_constant

    return record_constant(function, args) if depends_on_size(args) else function(*args)


def _number(value: Any, dtype: Any) -> Any:
    return np.asarray(value).astype(dtype)


def _as_shape(value: Any) -> ShapeArray:
    if isinstance(value, ShapeArray):
        return value
    array = np.asarray(value)
    return ShapeArray(array.shape, array.dtype)


def broadcast_shapes(*shapes: Any) -> tuple[Any, ...]:
    """`numpy.broadcast_shapes`, also of shapes with symbolic sizes."""
    if not any([is_symbolic(n) for shape in shapes for n in shape]):
        return np.broadcast_shapes(*shapes)
    ndim = max(map(len, shapes))
    found: list[Any] = [1] * ndim
    for shape in shapes:
        for d, n in enumerate(shape, ndim - len(shape)):
            if n == 1 or found[d] is n:
                continue
            if found[d] != 1 and found[d] != n:
                raise ValueError("shape mismatch: objects cannot be broadcast to a single shape")
            found[d] = n
    return tuple(found)
