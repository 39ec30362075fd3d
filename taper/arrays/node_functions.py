"""Functions of a graph's nodes that NumPy has no name for: steps from arrays to views of them,
writes through such steps, and methods by name.

They compute on ndarrays, and tell shapes of arrays without data.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from taper.arrays.shape import ShapeArray
from taper.compiler.graph import text_of
from taper.core.storage import span_in_bytes

__all__ = [
    "Changed", "MethodCaller", "Step", "has_mask", "method_caller", "shape_of_write", "window",
    "write",
]


class Step:
    """One step from an array to a view of it: a call that takes the array first."""

    __slots__ = ("__name__", "args", "function", "kwargs")

    def __init__(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        name = function.__name__
        if name == "__getitem__":
            self.__name__ = f"[{text_of(args[0])}]"
        else:
            parts = [text_of(a) for a in args] + [f"{k}={text_of(v)}" for k, v in kwargs.items()]
            self.__name__ = f".{name}({', '.join(parts)})"

    def __call__(self, array: Any) -> Any:
        return self.function(array, *self.args, **self.kwargs)


def write(array: Any, steps: tuple[Step, ...], value: Any) -> Any:
    """A copy of an array with `value` in that view of it."""
    if isinstance(array, ShapeArray):
        return ShapeArray(array.shape, array.dtype, array.strides)
    result = view = np.array(array)  # an array, if a reduction gave a NumPy scalar
    for step in steps:
        view = step(view)
    if not view.size or np.may_share_memory(view, result):
        view.flags.writeable = True  # np.diagonal makes views that are not
        view[...] = value
        return result
    # Memory lies otherwise than it did, and reshape() copied: find the places by their numbers.
    places = np.arange(array.size).reshape(array.shape)
    for step in steps:
        places = _window_of_numbers(step, array.itemsize)(places)
    result = np.array(array, order="C")
    result.reshape(-1)[places] = value
    return result


def _window_of_numbers(step: Step, itemsize: int) -> Step:
    """A step for an array of int64: windows count in bytes."""
    if step.function is not window:
        return step
    shape, strides, offset = step.args
    item = np.dtype(np.int64).itemsize
    return Step(window, (
        shape, tuple([s // itemsize * item for s in strides]), offset // itemsize * item), {})


def shape_of_write(array: ShapeArray, steps: tuple[Step, ...], value: Any) -> ShapeArray:
    """The shape of the result of `write`; raises where the value doesn't fit."""
    view = array
    for step in steps:
        view = step(view)
    view[...] = value
    return ShapeArray(array.shape, array.dtype, array.strides)


def window(array: Any, shape: Any, strides: Any, offset: int) -> Any:
    """A view of a contiguous array with these strides; they and the offset are in bytes."""
    if isinstance(array, ShapeArray):
        found = array.as_strided(shape, strides, offset)
        end = offset + span_in_bytes(found)
        if found.size and (offset < 0 or end > array.size * array.itemsize):
            raise RuntimeError("a window doesn't fit into the memory that there is")
        return found
    if not array.flags.c_contiguous:  # the values are the same, a program laid them otherwise
        array = array.copy()
    return np.ndarray(shape, array.dtype, array, offset, strides)


class Changed:
    """A function that writes into its first argument, as one that returns the changed copy."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.__name__ = getattr(function, "__name__", "write")

    def __call__(self, array: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(array, ShapeArray):
            return self.shapes_of(array, *args)
        array = np.array(array)
        self.function(array, *args, **kwargs)
        return array

    def shapes_of(self, array: Any, *args: Any) -> ShapeArray:
        """The shape of the result; raises where what is written doesn't fit."""
        if self.function is operator.setitem and not has_mask(args[0]):
            array[args[0]] = args[1]
        return ShapeArray(array.shape, array.dtype, array.strides)


def has_mask(index: Any) -> bool:
    """Whether values decide how many elements an index picks."""
    parts = index if type(index) is tuple else (index,)
    return any([getattr(part, "dtype", None) == np.bool_ for part in parts])


class MethodCaller:
    """Calls an array method by name: the function of a recorded method call."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, array: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(array, self.__name__)(*args, **kwargs)


_CALLERS: dict[str, MethodCaller] = {}


def method_caller(name: str) -> MethodCaller:
    if name not in _CALLERS:
        _CALLERS[name] = MethodCaller(name)
    return _CALLERS[name]
