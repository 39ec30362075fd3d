"""`primitive`: functions of ours that every class of arrays may answer for, as for NumPy's own.

    @primitive
    def convolve(x, weight, stride, padding, dilation, groups):
        ...numbers in, numbers out...

    @convolve.shapes
    def _(x, weight, stride, padding, dilation, groups):
        return (x.shape[0], weight.shape[0], *out), x.dtype

On ndarrays the function runs. If one of its arguments is of another class, that class is asked
through `__array_function__` (NEP 18) with the primitive as the function, in NumPy's order. So a
class treats convolve as it treats np.concatenate: `ShapeArray` asks the rule for shapes that stands
below the function, `TracedArray` records one node, and a class with a table of rules looks there.

Arrays are positional arguments, not inside lists or tuples. A rule for shapes returns the shape and
dtype of the result, or a list of such pairs if there are several.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np

from taper.arrays.levels import running

__all__ = ["Primitive", "answers", "primitive"]

ndarray = np.ndarray

P = ParamSpec("P")
R = TypeVar("R")
Class = TypeVar("Class", bound=type)
ShapeRule = Callable[..., Any]

_answering: set[type] = set()


def answers(cls: Class) -> Class:
    """Decorates a class of arrays whose `__array_function__` wants to be asked by primitives."""
    _answering.add(cls)
    return cls


class Primitive(Generic[P, R]):
    """A function that looks at the classes of its arguments before it runs."""

    def __init__(self, function: Callable[P, R]) -> None:
        self.function = function
        self.shape_rule: ShapeRule | None = None
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        # Arrays of several classes meet only while a vmap or a recorder runs.
        if not running.vmaps and type(args[0]) is ndarray:
            return self.function(*args, **kwargs)
        if _answering.isdisjoint(map(type, args)):
            return self.function(*args, **kwargs)
        found: R = self._ask(args, kwargs)
        return found

    def _ask(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The first answer, subclasses asked before their bases, otherwise from left to right."""
        asked: list[Any] = []
        for value in args:
            cls = type(value)
            if cls in _answering and all(cls is not type(other) for other in asked):
                place = [i for i, other in enumerate(asked) if issubclass(cls, type(other))]
                asked.insert(place[0] if place else len(asked), value)
        types = tuple(map(type, asked))
        for value in asked:
            result = value.__array_function__(self, types, args, kwargs)
            if result is not NotImplemented:
                return result
        raise TypeError(f"{self.__name__}: no implementation for {[t.__name__ for t in types]}")

    def shapes(self, rule: ShapeRule) -> ShapeRule:
        """Declares the rule for the shapes and dtypes of the results."""
        rule.__name__ = rule.__qualname__ = f"{self.__name__}.shapes"
        self.shape_rule = rule
        return rule

    def __repr__(self) -> str:
        return f"<primitive {self.__name__}>"


def primitive(function: Callable[P, R]) -> Primitive[P, R]:
    """Makes a function a primitive, see above."""
    return Primitive(function)
