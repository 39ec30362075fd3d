"""How a forward runs on arrays that aren't NumPy's: as it is, where their class has rules for all
that it calls; else in the way that its class has for whole forwards.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import NoneType
from typing import Any

import numpy as np

from taper.arrays.levels import recording_draws
from taper.arrays.shape import ShapeArray
from taper.arrays.symbolic_shape import SymbolicShape, fitted_shape, running_environment
from taper.core.storage import address_of
from taper.core.symbolic import SizePinned
from taper.core.tensor import Tensor
from taper.ops.declare import Operator
from taper.ops.over_samples import forward_over_samples
from taper.ops.without_data import UNSUITED, forward_without_data

__all__ = ["WholeForward", "prepare_draws", "prepare_write", "run_forward"]

Call = Callable[[Any], Any]


def run_forward(op: Operator, classes: set[type], call: Call, values: tuple[Any, ...]) -> Any:
    """What ``call(values)``, the forward, returns on arrays of these classes."""
    if any([hasattr(cls, "graph") for cls in classes]):  # being recorded
        return _recorded(op, call, values)
    if ShapeArray in classes:
        return forward_without_data(op, call, values)
    if any([hasattr(cls, "level") for cls in classes]):  # batched
        return forward_over_samples(op, call, values)
    return call(values)


# -- writing ---------------------------------------------------------------------------------------


def prepare_write(target: Tensor, values: Any) -> None:
    """Makes the array of a tensor one that these values can be written into.

    A tensor that was made within a recorded step holds an ndarray; to take what will be computed
    it becomes part of the graph (`Recording.adopt`). Others are left to NumPy, which refuses.
    """
    from taper.arrays.traced import TracedArray

    if type(values) is TracedArray:
        prepare_draws(target)


def prepare_draws(target: Tensor) -> None:
    """The same for values that are still to be drawn."""
    from taper.arrays.node_functions import Step, window
    from taper.arrays.traced import TracedArray, running_recording, untold_error

    recording = running_recording()
    if recording is None or type(target._array) is TracedArray:
        return
    base = target if target._base is None else target._base
    array, storage = base._array, base._storage
    own = 1 if target is base else 2  # who may hold the storage
    if type(array) is not np.ndarray or not array.flags.c_contiguous or (
        storage is not None and sys.getrefcount(storage) > 2 + own
    ):
        raise untold_error()
    owner = recording.adopt(base, array)
    if target is not base:
        view = target._array
        offset = address_of(view) - address_of(array)
        step = Step(window, (view.shape, view.strides, offset), {})
        target._array = owner.view_by(step)
    base._array = owner


# -- recording ------------------------------------------------------------------------------------


def _recorded(op: Operator, call: Call, values: tuple[Any, ...]) -> Any:
    from taper.arrays.traced import MemoryNeeded, running_recording

    recording = running_recording()
    before = None if recording is None else recording.refusal
    try:
        return call(values)
    except MemoryNeeded:
        raise
    except UNSUITED:
        result = _recorded_whole(op, call, values)
        if recording is not None:
            recording.refusal = before  # what was refused isn't needed
        return result


def _recorded_whole(op: Operator, call: Call, values: tuple[Any, ...]) -> Any:
    """Records the forward as one node of the graph."""
    from taper.arrays.node_functions import Step
    from taper.arrays.traced import TracedArray

    draws = False

    def draw(kernel: Callable[..., Any], generator: Any, *args: Any, **options: Any) -> Any:
        nonlocal draws
        draws = True
        return kernel(generator.clone_state(), *args, **options)

    with recording_draws(draw):
        shapes = _shapes_of(lambda given: forward_without_data(op, call, given), values)
    if any(not isinstance(leaf, (*_SHAPES, NoneType)) for leaf in _leaves(shapes)):
        raise NotImplementedError(
            f"{op.name}() can't be recorded: what it returns depends on values"
        )
    source = next(v for v in _leaves(values) if isinstance(v, TracedArray))
    found = [leaf for leaf in _leaves(shapes) if isinstance(leaf, _SHAPES)]
    if op.view and found == [shapes]:
        step = Step(WholeForward(op, call, None), values[1:], {})
        result = source.result_of(op.name, step.function, values, {}, shapes)
        return values[0].connected(result, step)
    flat = source.result_of(
        op.name, WholeForward(op, call, len(found)), values, {}, tuple(found), effect=draws)
    made = iter(flat)
    return _mapped(lambda leaf: next(made) if isinstance(leaf, _SHAPES) else leaf, shapes)


_SHAPES = (ShapeArray, SymbolicShape)


def _shapes_of(shapes_of: Callable[[Any], Any], values: tuple[Any, ...]) -> Any:
    """What a function says of arguments without data; where sizes are symbolic, at all points."""
    from taper.arrays.node_arguments import at_size, depends_on_size

    environment = running_environment()
    if environment is None or not depends_on_size(values):
        return shapes_of(_mapped(_without_values, values))
    sizes = environment.points
    at_points = [shapes_of(_mapped(lambda v, i=i, n=n: _without_values(at_size(v, n, i)), values))
                 for i, n in enumerate(sizes)]
    leaves = [list(_leaves(found)) for found in at_points]
    if len({tuple(map(type, each)) for each in leaves}) != 1:
        raise SizePinned("how many results there are depends on the batch size")
    joined = iter([fitted_shape(each, environment) if isinstance(each[0], ShapeArray) else each[0]
                   for each in zip(*leaves, strict=True)])
    return _mapped(lambda leaf: next(joined), at_points[0])


class WholeForward:
    """A forward as the function of a node: its arrays as a tuple of `count`, or the one it has."""

    def __init__(self, op: Operator, call: Call, count: int | None) -> None:
        self.__name__ = op.name
        self.op = op
        self.call = call
        self.count = count

    def shapes_of(self, *values: Any) -> Any:
        """The shapes of what it returns, of arguments without data."""
        found = forward_without_data(self.op, self.call, _mapped(_without_values, values))
        return found if self.count is None else tuple(
            [leaf for leaf in _leaves(found) if isinstance(leaf, ShapeArray)])

    def __call__(self, *values: Any) -> Any:
        result = self.call(values)
        if self.count is None:
            return result
        arrays = [
            np.asarray(x) for x in _leaves(result) if isinstance(x, (np.ndarray, np.generic))
        ]
        if len(arrays) != self.count:
            raise RuntimeError(
                f"{self.__name__} returned {len(arrays)} arrays where {self.count} were recorded"
            )
        return tuple(arrays)


def _without_values(value: Any) -> Any:
    if hasattr(value, "graph"):
        return value.meta
    if isinstance(value, np.ndarray) and value.ndim:
        return ShapeArray(value.shape, value.dtype, value.strides)
    return value


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """`function` applied to everything inside nested tuples and lists."""
    if type(value) in (list, tuple):
        return type(value)([_mapped(function, v) for v in value])
    return function(value)


def _leaves(value: Any) -> Iterator[Any]:
    if type(value) in (list, tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value
