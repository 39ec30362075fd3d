"""`torch.Size`: the shape of a tensor, a tuple of ints."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any

from taper.core.symbolic import SymInt

__all__ = ["Size"]


class Size(tuple):  # type: ignore[type-arg]
    """The shape of a tensor: a tuple of ints that prints as ``torch.Size([2, 3])``."""

    __slots__ = ()
    __module__ = "torch"

    def __new__(cls, sizes: Iterable[Any] = ()) -> Size:
        if type(sizes) is not tuple:
            sizes = tuple(sizes)
        for position, size in enumerate(sizes):
            if type(size) is not int and type(size) is not SymInt:
                try:
                    operator.index(size)
                except TypeError:
                    raise TypeError(
                        f"torch.Size() takes an iterable of 'int' (item {position} is "
                        f"'{type(size).__name__}')"
                    ) from None
                return tuple.__new__(cls, [
                    s if type(s) is SymInt else operator.index(s) for s in sizes])
        return tuple.__new__(cls, sizes)

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"

    __str__ = __repr__

    def numel(self) -> int:
        """Returns the number of elements of a tensor with this shape."""
        return math.prod(self)

    def __getitem__(self, index: Any) -> Any:
        found = tuple.__getitem__(self, index)
        return tuple.__new__(Size, found) if type(index) is slice else found

    def __add__(self, other: Any) -> Size:
        if not isinstance(other, tuple):
            return NotImplemented
        return tuple.__new__(Size, tuple.__add__(self, other))

    def __radd__(self, other: Any) -> Size:
        if not isinstance(other, tuple):
            return NotImplemented
        return tuple.__new__(Size, tuple.__add__(other, self))

    def __mul__(self, count: Any) -> Size:
        return tuple.__new__(Size, tuple.__mul__(self, count))

    __rmul__ = __mul__

    def __reduce__(self) -> tuple[Any, ...]:
        return (_size_of, (tuple(self),))


def _size_of(sizes: tuple[int, ...]) -> Size:
    """Makes a Size again for pickle, which would look for the class itself in torch."""
    return Size(sizes)
