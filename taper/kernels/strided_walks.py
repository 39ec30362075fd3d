"""How kernels walk operands of any layout: in which order of dimensions, and in what pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["Walk", "merged_dims", "result_like", "walk_of"]

_SHORTEST_ROW = 16  # NumPy is better at shorter ones
_ROW = 4096  # how long pieces of one long line are


class Walk:
    """The fewest dimensions that walk all operands and the result in the result's order of memory.

    Attributes:
        sizes, strides: of the dimensions, the innermost one last; strides in bytes, a list for each
            operand and one for the result, whose elements count as one byte until its dtype is
            known.
        layouts: how each operand lies along the innermost dimension, as compiler/passes.py and
            compiler/tile_kernels.py say.
        crosswise: whether the dimension before the innermost one is that of operands that lie
            crosswise.
        line: the length of one line that was cut into pieces for the threads, of which the last
            one may be shorter; else None.
    """

    __slots__ = ("crosswise", "layouts", "line", "sizes", "strides")

    def __init__(
        self, sizes: list[int], strides: list[list[int]], items: Sequence[int]
    ) -> None:
        self.sizes, self.strides = sizes, strides
        self.line: int | None = None
        d = _crosswise(sizes, strides, items)
        self.crosswise = d is not None
        if d is not None:
            self.sizes = _moved(sizes, d)
            self.strides = [_moved(s, d) for s in strides]
        elif len(sizes) == 1:
            self.line = sizes[0]
            self.strides = [[s[0] * _ROW, s[0]] for s in strides]
            self.sizes = [-(-sizes[0] // _ROW), _ROW]
        self.layouts = tuple([
            _layout(s, item, self.crosswise)
            for s, item in zip(self.strides, items, strict=False)
        ])

    def words(self) -> list[int]:
        """What comes after the addresses in the argument block of a row kernel or, where operands
        lie crosswise, a tile kernel."""
        inner = 2 if self.crosswise else 1
        line = [] if self.line is None else [self.line]
        words = [*self.sizes[-inner:], *line, *self.sizes[:-inner]]
        for own in self.strides:
            words.extend(own)
        return words


def walk_of(arrays: Sequence[Any], result: Any, item: int) -> Walk | None:
    """The walk over operands that broadcast to `result`, an array whose elements count as `item`
    bytes; None where NumPy is better."""
    shape = result.shape
    order = sorted(range(len(shape)), key=lambda d: -result.strides[d])
    strides = [_broadcast_strides(a, len(shape), shape) for a in arrays]
    strides.append(list(result.strides))
    sizes, merged = merged_dims([shape[d] for d in order], [[s[d] for d in order] for s in strides])
    if not sizes or merged[-1][-1] != item:
        return None
    walk = Walk(sizes, merged, [a.itemsize for a in arrays])
    return None if (walk.line or walk.sizes[-1]) < _SHORTEST_ROW else walk


def merged_dims(
    shape: Sequence[int], strides: Sequence[Sequence[int]]
) -> tuple[list[int], list[list[int]]]:
    """Sizes and strides with neighbouring dimensions made one where all operands allow it."""
    sizes: list[int] = []
    kept: list[list[int]] = [[] for _ in strides]
    for d, size in enumerate(shape):
        if size == 1:
            continue
        if sizes and all(k[-1] == s[d] * size for k, s in zip(kept, strides, strict=True)):
            sizes[-1] *= size
            for k, s in zip(kept, strides, strict=True):
                k[-1] = s[d]
        else:
            sizes.append(size)
            for k, s in zip(kept, strides, strict=True):
                k.append(s[d])
    return sizes, kept


def result_like(arrays: Sequence[Any]) -> Any:
    """An array of bytes with the shape and the order of strides that a ufunc's result would have;
    None if shapes don't fit, which NumPy will say better."""
    try:
        walk = np.nditer(
            [*arrays, None], ["zerosize_ok", "multi_index"],
            [*[["readonly"]] * len(arrays), ["writeonly", "allocate"]],
            [*[a.dtype for a in arrays], np.dtype(np.int8)], order="K", casting="unsafe",
        )
    except ValueError:
        return None
    return walk.operands[-1]


def _broadcast_strides(array: Any, ndim: int, shape: Sequence[int]) -> list[int]:
    lead = ndim - array.ndim
    return [0] * lead + [
        0 if n == 1 and full != 1 else s
        for n, s, full in zip(array.shape, array.strides, shape[lead:], strict=True)
    ]


def _crosswise(
    sizes: Sequence[int], strides: Sequence[Sequence[int]], items: Sequence[int]
) -> int | None:
    """The dimension along which some operand is contiguous that lies crosswise to the result."""
    for own, item in zip(strides, items, strict=False):
        if own[-1] not in (0, item):
            for d in range(len(sizes) - 2, -1, -1):
                if own[d] == item and sizes[d] >= _SHORTEST_ROW:
                    return d
    return None


def _moved(values: Sequence[int], d: int) -> list[int]:
    """The values of dimensions with dimension `d` last but one."""
    return [*values[:d], *values[d + 1 : -1], values[d], values[-1]]


def _layout(strides: Sequence[int], item: int, is_crosswise: bool) -> str:
    """How a kernel meets an operand along its innermost loop."""
    if strides[-1] == 0:
        return "same"
    if strides[-1] == item:
        return "contiguous"
    if is_crosswise and strides[-2] == item:
        return "crosswise"
    return "every second" if strides[-1] == 2 * item else "strided"
