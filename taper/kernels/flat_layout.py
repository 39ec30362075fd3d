"""Planes as the kernels of shifted products want them: flat, padded, sorted by phase.

Note [phases]. With a stride of s, a window's position meets every s-th element. So an element is
stored by its remainder modulo s, its phase, first: within a phase neighbours in the result meet
neighbours in memory again, and each position of a window is a constant shift. All tables count
three dimensions of space; missing ones have size 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from taper.compiler.shifted_products import LONGEST_UNIT

__all__ = ["Layout", "filled", "layout_of", "table", "units_of"]

Ints = tuple[int, ...]


def filled(values: Sequence[int], with_: int) -> Ints:
    """Three values, one for each dimension of space."""
    return (*(with_,) * (3 - len(values)), *values)


def table(rows: Sequence[Any]) -> Any:
    """An array of int64 for kernels to read."""
    return np.array(rows, np.int64)


class Layout(NamedTuple):
    """Where elements of a plane lie. Sizes are those of one phase."""

    size: Ints
    phases: Ints

    @property
    def plane(self) -> int:
        """Elements of a plane, all phases."""
        a, b, c = self.size
        d, e, f = self.phases
        return a * b * c * d * e * f

    def shift_of(self, position: Ints) -> int:
        """The element at a position of the padded plane."""
        shift = phase = 0
        for x, n, s in zip(position, self.size, self.phases, strict=True):
            shift = shift * n + x // s
            phase = phase * s + x % s
        a, b, c = self.size
        return phase * a * b * c + shift


def layout_of(extent: Ints, stride: Ints) -> Layout:
    """The layout of planes that are padded to these sizes."""
    return Layout(tuple([-(-n // s) for n, s in zip(extent, stride, strict=True)]), stride)


@lru_cache(maxsize=64)
def lines_of(
    layout: Layout, size: Ints, low: Ints, strides: Ints, itemsize: int
) -> tuple[Any, int]:
    """The table that `spread` copies a plane by, and the length of its lines.

    `size` and `strides` (in bytes) are those of the plane, which begins `low` elements inside.
    """
    rows: list[tuple[int, int, int, int]] = []
    _, _, width = layout.size
    for number, (pz, py, px) in enumerate(product(*map(range, layout.phases))):
        begin, end, first = _meeting(width, layout.phases[2], px - low[2], size[2])
        base = number * layout.size[0] * layout.size[1]
        for z, y in product(range(layout.size[0]), range(layout.size[1])):
            target = (base + z * layout.size[1] + y) * width * itemsize
            old_z = z * layout.phases[0] + pz - low[0]
            old_y = y * layout.phases[1] + py - low[1]
            if begin < end and 0 <= old_z < size[0] and 0 <= old_y < size[1]:
                source = old_z * strides[0] + old_y * strides[1] + first * strides[2]
                rows.append((source, target, begin, end - begin))
            else:
                rows.append((0, target, 0, 0))
    return table(rows), width


def _meeting(width: int, step: int, start: int, size: int) -> tuple[int, int, int]:
    """Which of `width` places start, start + step … lie in 0 … size: begin, end, the first one."""
    begin = max(0, -(start // step))
    end = min(width, (size - 1 - start) // step + 1)
    return begin, end, start + begin * step


def units_of(
    out: Ints, layout: Layout, first: int, target: Ints, target_first: int, itemsize: int,
    longest: int = LONGEST_UNIT,
) -> Any:
    """The table of units of a product: pieces of the result's planes.

    `out` are the sizes of what is computed; element (z, y, x) of it lies at `first` plus its place
    in the layout, and goes to `target_first` plus its place by the strides `target`, in bytes.
    A unit has at most `longest` elements, those between its lines included.
    """
    _, lines, pitch = layout.size
    rows = []
    for z, y, height, x, length in _pieces(out, pitch, longest):
        source = (first + (z * lines + y) * pitch + x) * itemsize
        result = target_first + z * target[0] + y * target[1] + x * target[2]
        rows.append((source, result, height, length))
    return table(rows)


def _pieces(out: Ints, pitch: int, longest: int) -> Iterator[tuple[int, int, int, int, int]]:
    for z in range(out[0]):
        if out[2] > longest:
            for y, x in product(range(out[1]), range(0, out[2], longest)):
                yield z, y, 1, x, min(longest, out[2] - x)
            continue
        most = max(1, min(out[1], (longest - out[2]) // pitch + 1))
        count = -(-out[1] // most)
        height = -(-out[1] // count)
        for y in range(0, out[1], height):
            yield z, y, min(height, out[1] - y), 0, out[2]
