"""Which sizes of the arguments are left open: those in which two calls differ.

The sizes of all arguments that differ have to follow from one number, the batch size: as it is, or
times and plus whole numbers, as that of a flattened tensor or of strides does.
"""

from __future__ import annotations

from typing import Any

from taper.arrays.shape import ShapeArray
from taper.arrays.symbolic_shape import SymbolicShape
from taper.compilation.snapshot import Snapshot
from taper.core.symbolic import SMALLEST, ShapeEnvironment

__all__ = ["SizePattern", "is_argument", "pattern_of"]

Line = tuple[int, int]  # a number: so many, and so many for each of the batch size
_NEXT_HINT = 8  # divided by two and four like the one before
_SHAPE, _DTYPE, _STRIDES, _GRAD = 2, 3, 4, 6  # in an entry of a key (state_walk.py)


def is_argument(token: Any) -> bool:
    """Whether an entry of a key describes a tensor that is passed (state_walk.py)."""
    return type(token) is tuple and token[:1] == ("argument",)


class SizePattern:
    """How the arguments of a call follow from its batch size.

    Attributes:
        key: what has to be equal, None in the place of arguments that depend on the size.
        lines: by their places in the key, the shapes and strides of those.
    """

    def __init__(
        self, key: tuple[Any, ...], lines: dict[int, tuple[list[Line], list[Line]]]
    ) -> None:
        self.key = tuple([None if i in lines else token for i, token in enumerate(key)])
        self.lines = lines
        self.tokens = {i: _without_sizes(key[i]) for i in lines}
        arguments = [i for i, token in enumerate(key) if is_argument(token)]
        self.places = {arguments.index(i): i for i in lines}  # by position among the arguments

    def size_of(self, key: tuple[Any, ...]) -> int | None:
        """The batch size of a call with this key, if it is one of this kind."""
        if len(key) != len(self.key):
            return None
        found = None
        for place, (shape, strides) in self.lines.items():
            token = key[place]
            if not is_argument(token) or _without_sizes(token) != self.tokens[place]:
                return None
            numbers = (*token[_SHAPE], *token[_STRIDES])
            for (start, step), n in zip((*shape, *strides), numbers, strict=True):
                if found is None and step:
                    found, rest = divmod(n - start, step)
                    if rest:
                        return None
                if n != start + (step * found if step and found is not None else 0):
                    return None
        others = [None if i in self.lines else token for i, token in enumerate(key)]
        return found if found is not None and tuple(others) == self.key else None

    def hint_for(self, size: int, snapshot: Snapshot) -> int:
        """A size to record with, near one that there is: no other dimension of what the call can
        reach is so large, since what is equal by chance would be taken to be so always."""
        others = {n for found in snapshot.tensors for n in found.tensor._array.shape}
        others |= {n for i, found in enumerate(snapshot.arguments) if i not in self.places
                   for n in found.tensor._array.shape}
        for shape, _ in self.lines.values():
            others |= {start for start, step in shape if not step}
        while size in others:
            size += _NEXT_HINT
        return size

    def shape_of(self, place: int, environment: ShapeEnvironment) -> Any:
        """The shape of the argument number `place`; None if it doesn't depend on the size."""
        if place not in self.places:
            return None
        at = self.places[place]
        shape, strides = self.lines[at]
        dtype = self.tokens[at][2]
        return SymbolicShape(environment, tuple([
            ShapeArray(tuple([a + b * n for a, b in shape]), dtype,
                       tuple([a + b * n for a, b in strides]))
            for n in environment.points]))


def _without_sizes(token: Any) -> Any:
    return (token[0], token[1], token[_DTYPE], len(token[_SHAPE]), *token[5:])


def pattern_of(first: tuple[Any, ...], second: tuple[Any, ...]) -> SizePattern | None:
    """What two keys have in common, if one batch size explains in what they differ."""
    if len(first) != len(second) or first == second:
        return None
    differing = [i for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]
    for i in differing:
        a, b = first[i], second[i]
        if not (is_argument(a) and is_argument(b)) or _without_sizes(a) != _without_sizes(b) or (
                a[_GRAD] is not None):
            return None
    pairs = [(m, n) for i in differing
             for m, n in zip(first[i][_SHAPE], second[i][_SHAPE], strict=True) if m != n]
    if not pairs:
        return None
    batch = min(pairs, key=lambda pair: abs(pair[1] - pair[0]))
    if min(batch) < SMALLEST:
        return None
    lines = {}
    for i in differing:
        found = [_line(m, n, batch) for part in (_SHAPE, _STRIDES)
                 for m, n in zip(first[i][part], second[i][part], strict=True)]
        if None in found:
            return None
        ndim = len(first[i][_SHAPE])
        lines[i] = found[:ndim], found[ndim:]
    return SizePattern(second, lines)  # type: ignore[arg-type]


def _line(m: int, n: int, batch: tuple[int, int]) -> Line | None:
    """The line through a number at two batch sizes."""
    step, rest = divmod(n - m, batch[1] - batch[0])
    return None if rest else (m - step * batch[0], step)
