"""In which order the dimensions of a result lie in memory: what NumPy decides from its operands.

An order names dimensions, those next to each other in memory first. NumPy has three ways to choose
one where it isn't asked for C's or Fortran's: `kept_order`, `iterated_order` and `joined_order`.
What goes more ways than these asks NumPy about a `likeness`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["dense", "iterated_order", "joined_order", "kept_order", "likeness", "ordered_like"]

Shape = tuple[int, ...]
Laid = tuple[Shape, Sequence[int]]  # a shape, and strides


def kept_order(shape: Shape, strides: Sequence[int]) -> Shape | None:
    """The strides, in elements, of a dense array whose dimensions lie in memory as these do, as
    copies and `empty_like` have them; None for C's order."""
    order = sorted(range(len(shape)), key=lambda d: -abs(strides[d]))
    if order == list(range(len(shape))):
        return None
    return dense(shape, order[::-1])


def dense(shape: Shape, order: Sequence[int]) -> Shape:
    """The strides, in elements, of an array without gaps whose dimensions lie in this order."""
    found = [0] * len(shape)
    step = 1
    for d in order:
        found[d] = step
        step *= max(shape[d], 1)
    return tuple(found)


def iterated_order(operands: Sequence[Laid], shape: Shape) -> list[int]:
    """How ufuncs, reductions and `where` lay what they make of operands that broadcast to `shape`.

    Dimensions change places where strides tell that memory lies so; a stride of 0, which
    broadcasting makes, tells nothing, and operands that disagree leave C's order.
    """
    ndim = len(shape)
    told = [[0] * (ndim - len(sizes)) + [0 if n == 1 else abs(s)
                                         for n, s in zip(sizes, strides, strict=True)]
            for sizes, strides in operands]
    return _sorted(list(range(ndim - 1, -1, -1)), told)


def joined_order(operands: Sequence[Laid], ndim: int) -> list[int]:
    """How `concatenate` lays what it joins: as above, but a stride of 0 counts like any other, and
    dimensions are compared from the first to the last."""
    told = [[0 if n == 1 else -1 - abs(s) for n, s in zip(sizes, strides, strict=True)]
            for sizes, strides in operands]
    return _sorted(list(range(ndim)), told)[::-1]


def _sorted(order: list[int], told: list[list[int]]) -> list[int]:
    """Dimensions sorted by what is told of them; 0 is nothing, and pairs stay in order where
    nothing is told of both, or one of the operands has them so."""
    for i in range(1, len(order)):
        moved = order[i]
        place = i
        for j in range(i - 1, -1, -1):
            pairs = [(strides[order[j]], strides[moved]) for strides in told
                     if strides[order[j]] and strides[moved]]
            if not pairs:
                continue
            if any([first <= second for first, second in pairs]):
                break
            place = j
        order.insert(place, order.pop(i))
    return order


def likeness(array: Any) -> np.ndarray[Any, Any]:
    """A small array of zeros that lies in memory as this one: of at most two elements a dimension,
    with strides that compare alike, and gaps unless this one is in C's or Fortran's order."""
    shape = [min(n, 2) for n in array.shape]
    ranks = sorted({abs(s) for s in array.strides} - {0})
    gap = 1 if array.flags.forc else 2
    strides = [gap << ranks.index(abs(s)) if s else 0 for s in array.strides]
    memory = np.zeros(1 + sum(strides), array.dtype)
    return np.lib.stride_tricks.as_strided(
        memory, shape, [s * memory.itemsize for s in strides])


def ordered_like(shape: Shape, small: np.ndarray[Any, Any], itemsize: int) -> Shape | None:
    """Strides in bytes for an array of this shape that lies as NumPy laid a small one; None for
    C's order."""
    kept = kept_order(shape, small.strides) if math.prod(shape) else None
    return None if kept is None else tuple([s * itemsize for s in kept])
