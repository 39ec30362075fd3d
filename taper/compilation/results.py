"""What compiled calls make of the program's outputs: views, and histories that are over."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.autograd.node import Node, freed_error, next_sequence
from taper.core.tensor import Tensor, alias

__all__ = ["freed_node", "laid_out", "view_of"]

_new = object.__new__


def view_of(base: Tensor, steps: Any) -> Tensor:
    """A view that shares storage and version with `base`."""
    result = alias(base)
    for step in steps:
        result._array = step(result._array)
    if steps:
        result._base = base if base._base is None else base._base
    return result


def laid_out(array: np.ndarray, strides: tuple[int, ...]) -> np.ndarray:
    """The array, if it lies in memory with these strides; else a copy that does.

    Axes of one element may have any stride.
    """
    if all([a == b or n == 1
            for a, b, n in zip(array.strides, strides, array.shape, strict=True)]):
        return array
    order = sorted(range(array.ndim), key=lambda axis: (-strides[axis], axis))
    result = np.empty([array.shape[axis] for axis in order], array.dtype)
    result = result.transpose(np.argsort(order).tolist())
    result[...] = array
    return result


def freed_node(edge: tuple[type, Any]) -> Node:
    """The node of a result that was differentiated within the program."""
    cls, where = edge
    node: Node = _new(_freed_class(cls))
    node.edges = ()
    node.adjust = node.saved = node.extras = None
    node.sequence = next_sequence()
    node.where = where
    return node


_freed: dict[type, type] = {}


def _freed_class(cls: type) -> type:
    """A class of nodes of the same name, whose saved values are gone."""
    found = _freed.get(cls)
    if found is None:
        found = _freed[cls] = type(
            cls.__name__, (Freed, cls), {"__slots__": (), "__module__": cls.__module__}
        )
    return found


class Freed(Node):
    """A node whose saved values are gone."""

    __slots__ = ()
    saves = True
    outputs = 1

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """None: what it came from is gone as well."""
        return ()

    def backward(self, grad: Any) -> tuple[Any, ...]:
        raise freed_error(self)
