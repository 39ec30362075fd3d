"""Values of a program, and views of them: how one array looks at the memory of another.

A value lies in C order. A view is an offset and strides, in elements; NumPy itself works them out,
on a stand-in whose memory is never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from taper.arrays.node_arguments import at_size
from taper.arrays.symbolic_shape import environment_in, joined_numbers
from taper.core.storage import address_of
from taper.core.symbolic import value_at_hint

__all__ = [
    "SizedConstant", "Value", "View", "contiguous", "inverse", "order_in_memory", "refined",
    "split_at",
]

Ints = tuple[int, ...]


def contiguous(shape: Sequence[int]) -> Ints:
    """The strides of C order, in elements."""
    strides = []
    step = 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def order_in_memory(shape: Ints, strides: Ints) -> Ints:
    """The axes, those with the largest strides first."""
    return tuple(sorted(range(len(shape)), key=lambda a: (-strides[a], a)))


def inverse(order: Ints) -> Ints:
    """The axes that lead back."""
    return tuple(sorted(range(len(order)), key=order.__getitem__))


class Value:
    """An array that the program computes, or is given."""

    __slots__ = ("constant", "dtype", "input", "is_size", "maker", "name", "shape", "size")

    def __init__(self, name: str, shape: Ints, dtype: Any) -> None:
        self.name = name
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self.size = prod(self.shape)
        self.maker: Any = None  # the operation
        self.input: int | None = None  # which input of the graph it is
        self.constant: Any = None  # its array, if that is known
        self.is_size = False  # a constant that is no part of kernels' code (`Lowering.size`)

    @property
    def bytes(self) -> int:
        """For choices that are about speed and memory only: where the size is symbolic, as it is
        at hand."""
        found: int = value_at_hint(self.size) * self.dtype.itemsize
        return found

    def __repr__(self) -> str:
        return self.name


class SizedConstant:
    """A constant array that is made of numbers of which some depend on a symbolic size."""

    __slots__ = ("args", "dtype", "function", "shape")

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], shape: Ints, dtype: Any
    ) -> None:
        self.function = function
        self.args = args
        self.shape = shape
        self.dtype = dtype

    @property
    def size(self) -> int:
        return prod(self.shape)

    def at(self, size: int) -> Any:
        """The array for one size."""
        return np.ascontiguousarray(self.function(*at_size(self.args, size)))


class View:
    """One way to look at a value."""

    __slots__ = ("_is_whole", "offset", "shape", "strides", "value")

    def __init__(self, value: Value, offset: int, shape: Ints, strides: Ints) -> None:
        self.value = value
        self.offset = offset
        self.shape = shape
        self.strides = strides
        self._is_whole: bool | None = None

    @classmethod
    def of(cls, value: Value) -> View:
        """All of a value, as it is."""
        return cls(value, 0, value.shape, contiguous(value.shape))

    @property
    def dtype(self) -> Any:
        return self.value.dtype

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def is_whole(self) -> bool:
        """Whether it is the value itself, up to the value's shape."""
        if self._is_whole is None:
            self._is_whole = self._shows_all()
        return self._is_whole

    def _shows_all(self) -> bool:
        if self.offset or self.size != self.value.size:
            return False
        if self.strides == contiguous(self.shape) or not self.size:
            return True
        sizes = tuple([n for n in self.shape if n != 1])
        return self.strides_over(sizes) == contiguous(sizes)

    @property
    def order(self) -> Ints | None:
        """The axes in the order in which they lie, if this is all of the value, without gaps."""
        order = order_in_memory(self.shape, self.strides)
        return order if self.permuted(order).is_whole else None

    def through(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> View | None:
        """The view of this that a NumPy function makes; None if it would copy."""
        environment = environment_in((self.shape, self.strides, args))
        if environment is None:
            found = _through(function, self.dtype, self.shape, self.strides, args, kwargs)
            return None if found is None else View(self.value, self.offset + found[0], *found[1:])
        several = []
        for size in environment.points:
            shape, strides, others = at_size((self.shape, self.strides, args), size)
            found = _through(function, self.dtype, shape, strides, others, kwargs)
            if found is None:
                return None
            several.append(found)
        offset, shape, strides = joined_numbers(environment, several)
        return View(self.value, self.offset + offset, shape, strides)

    def permuted(self, axes: Sequence[int]) -> View:
        return View(self.value, self.offset, tuple([self.shape[a] for a in axes]),
                    tuple([self.strides[a] for a in axes]))

    def broadcast(self, shape: Ints) -> View:
        """The same, repeated along missing dimensions and those of one element."""
        missing = len(shape) - len(self.shape)
        strides = [0] * missing + [
            0 if have == 1 else s
            for have, s in zip(self.shape, self.strides, strict=True)
        ]
        return View(self.value, self.offset, tuple(shape), tuple(strides))

    def strides_over(self, dims: Ints) -> Ints:
        """The strides where the shape's dimensions are split further, into `dims`."""
        found: list[int] = []
        rest = list(dims)
        for n, s in zip(reversed(self.shape), reversed(self.strides), strict=True):
            left, step = n, s
            while left > 1:
                d = rest.pop()
                found.append(step)
                step *= d
                left //= d
        return tuple(reversed(found))

    def __repr__(self) -> str:
        if self.is_whole:
            return self.value.name
        return f"{self.value.name}[{self.offset}:{list(self.shape)}/{list(self.strides)}]"


def _through(
    function: Callable[..., Any], dtype: Any, shape: Ints, strides: Ints, args: Any, kwargs: Any
) -> tuple[int, Ints, Ints] | None:
    """Offset, shape and strides, in elements, of the view that a function makes; None if it would
    copy."""
    item = dtype.itemsize
    stand_in = as_strided(np.zeros(1, dtype), shape, [s * item for s in strides])
    try:
        found = function(stand_in, *args, **kwargs)
    except ValueError:
        return None
    if not isinstance(found, np.ndarray) or found.dtype != dtype:
        return None
    offset = (address_of(found) - address_of(stand_in)) // item
    return offset, found.shape, tuple([s // item for s in found.strides])


def refined(first: Ints, second: Ints) -> Ints | None:
    """The dimensions that both shapes' are products of; None if there are none. No ones."""
    if first == second:
        return first
    chain: list[int] = []
    for shape in (first, second):
        step = 1
        for n in reversed(shape):
            step *= n
            chain.append(step)
    if not chain:
        return ()
    steps = sorted(set(chain))
    dims = []
    before = 1
    for step in steps:
        rest = step % before
        if type(rest) is not int or rest:  # or not for all sizes, if one is symbolic
            return None
        if step != before:
            dims.append(step // before)
        before = step
    return tuple(reversed(dims))


def split_at(dims: Ints, size: int) -> tuple[Ints, Ints] | None:
    """The dimensions in two parts, of which the last has `size` elements."""
    step, place = 1, len(dims)
    while step < size:
        if not place:
            return None
        place -= 1
        step *= dims[place]
    return (dims[:place], dims[place:]) if step == size else None
