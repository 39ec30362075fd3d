"""Graphs for any size of a batch, from graphs recorded at three.

Recording gives plain numbers for shapes. Where a number differs between two recordings whose batch
sizes differ, it is taken to be `coefficient * size + constant`, and the third recording must agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.arrays.traced import Step
from taper.compiler.graph import Graph, GraphNode, Reference

__all__ = ["Counting", "Size", "at_size", "for_any_size"]


class Size:
    """A number that depends on the dynamic size: coefficient * size + constant."""

    __slots__ = ("coefficient", "constant", "name")

    def __init__(self, name: str, coefficient: int, constant: int) -> None:
        self.name = name
        self.coefficient = coefficient
        self.constant = constant

    def at(self, size: int) -> int:
        """The number for a size."""
        return self.coefficient * size + self.constant

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Size) and (self.name, self.coefficient, self.constant) == (
            other.name, other.coefficient, other.constant)

    def __hash__(self) -> int:
        return hash((self.name, self.coefficient, self.constant))

    def __repr__(self) -> str:
        text = self.name if self.coefficient == 1 else f"{self.coefficient}*{self.name}"
        return text if self.constant == 0 else f"{text}{self.constant:+d}"


class Counting:
    """A constant array that depends on the dynamic size: start + step * position. Its shape does,
    or, of a single number, the start."""

    __slots__ = ("dtype", "shape", "start", "step")

    def __init__(self, shape: tuple[Any, ...], dtype: Any, start: Any, step: Any) -> None:
        self.shape = shape
        self.dtype = dtype
        self.start = start
        self.step = step

    def at(self, size: int) -> np.ndarray:
        """The array for a size."""
        shape = [n.at(size) if isinstance(n, Size) else n for n in self.shape]
        start = self.start.at(size) if isinstance(self.start, Size) else self.start
        places = np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape)
        return (places * self.step + start).astype(self.dtype)

    def __repr__(self) -> str:
        return f"counting {self.dtype}{list(self.shape)}"


class _Differs(Exception):
    """Why three recordings aren't one graph with sizes in it."""


def for_any_size(graphs: tuple[Graph, Graph, Graph], sizes: tuple[int, int, int],
                 name: str) -> Graph:
    """One graph with `Size` in place of the numbers that depend on the size.

    Raises:
        NotImplementedError: if the recordings differ in another way, naming the operation.
    """
    first = graphs[0]
    if len({len(g.nodes) for g in graphs}) != 1:
        counts = [f"{len(g.nodes)} for {n}" for g, n in zip(graphs, sizes, strict=True)]
        raise NotImplementedError(
            f"the size {name!r} can't be dynamic: the number of operations depends on it "
            f"({', '.join(counts)})"
        )
    join = _Join(sizes, name)
    result = Graph()
    for nodes in zip(*[g.inputs for g in graphs], strict=True):
        (shape, dtype), = join.value([n.results for n in nodes])
        join.made[nodes[0].number] = result.add_input(nodes[0].label, shape, dtype)
    for nodes in zip(*[g.nodes for g in graphs], strict=True):
        node = nodes[0]
        try:
            if len({n.label for n in nodes}) != 1:
                raise _Differs("another operation runs for another size")
            parts = [join.value([getattr(n, part) for n in nodes])
                     for part in ("args", "kwargs", "results")]
        except _Differs as error:
            raise NotImplementedError(
                f"the size {name!r} can't be dynamic: in {node}, {error}"
            ) from None
        assert node.function is not None
        join.made[node.number] = result.add(node.label, node.function, *parts, effect=node.effect)
    result.outputs = {name: join.value([r] * 3) for name, r in first.outputs.items()}
    return result


class _Join:
    """Values that stand at one place in three graphs, as one."""

    def __init__(self, sizes: tuple[int, int, int], name: str) -> None:
        self.sizes = sizes
        self.name = name
        self.made: dict[int, GraphNode] = {}

    def value(self, values: list[Any]) -> Any:
        a, *others = values
        cls = type(a)
        if any([type(b) is not cls for b in others]):
            raise _Differs(f"an argument is of several types: {values}")
        if cls is Reference:
            if any([(b.node.number, b.output) != (a.node.number, a.output) for b in others]):
                raise _Differs("other values are read for other sizes")
            return Reference(self.made[a.node.number], a.output)
        if isinstance(a, (tuple, list)):
            if len({len(v) for v in values}) != 1:
                raise _Differs(f"a list has several lengths: {values}")
            parts = [self.value(list(v)) for v in zip(*values, strict=True)]
            return parts if cls is list else tuple(parts) if cls is tuple else cls(*parts)
        if cls is dict:
            return {k: self.value([v[k] for v in values]) for k in a}
        if cls is slice:
            return slice(*[self.value([getattr(v, end) for v in values])
                           for end in ("start", "stop", "step")])
        if cls is int:
            return self._int(values)
        if cls is Step and all([b.function is a.function for b in others]):
            return Step(a.function, *[self.value([getattr(v, part) for v in values])
                                      for part in ("args", "kwargs")])
        if isinstance(a, (np.ndarray, np.generic)):
            return self._array([np.asarray(v) for v in values])
        if any([b is not a and b != a for b in others]):
            raise _Differs(f"an argument differs: {values}")
        return a

    def _int(self, values: list[int]) -> Any:
        a, b, c = values
        if a == b == c:
            return a
        n, m, _ = self.sizes
        coefficient, rest = divmod(b - a, m - n)
        size = Size(self.name, coefficient, a - coefficient * n)
        if rest or size.at(self.sizes[2]) != c:
            raise _Differs(f"a number isn't linear in the size: {values} for {self.sizes}")
        return size

    def _array(self, values: list[np.ndarray]) -> Any:
        a = values[0]
        if all([b.shape == a.shape and b.tobytes() == a.tobytes() for b in values]):
            return a
        if a.shape == () and all([np.isfinite(v) and v == int(v) for v in values]):
            return Counting((), a.dtype, self._int([int(v) for v in values]), 0)
        shape = tuple([self._int(list(n)) for n in zip(*[v.shape for v in values], strict=True)])
        largest = max(values, key=lambda v: v.size).reshape(-1)
        if largest.size:
            start = largest[0].item()
            step = largest[1].item() - start if largest.size > 1 else 0
            found = Counting(shape, a.dtype, start, step)
            if all([np.array_equal(found.at(n), v, equal_nan=a.dtype.kind == "f")
                    for n, v in zip(self.sizes, values, strict=True)]):
                return found
        raise _Differs("a constant depends on the size")


def at_size(graph: Graph, size: int) -> Graph:
    """The graph for one size, with plain numbers."""
    made: dict[int, GraphNode] = {}

    def bound(value: Any) -> Any:
        if isinstance(value, Reference):
            return Reference(made[value.node.number], value.output)
        if isinstance(value, (Size, Counting)):
            return value.at(size)
        cls = type(value)
        if cls is Step:
            return Step(value.function, bound(value.args), bound(value.kwargs))
        if cls is slice:
            return slice(bound(value.start), bound(value.stop), bound(value.step))
        if cls is dict:
            return {k: bound(v) for k, v in value.items()}
        if isinstance(value, (tuple, list)):
            parts = [bound(v) for v in value]
            return parts if cls is list else tuple(parts) if cls is tuple else cls(*parts)
        return value

    result = Graph()
    for node in graph.inputs:
        (shape, dtype), = bound(node.results)
        made[node.number] = result.add_input(node.label, shape, dtype)
    for node in graph.nodes:
        assert node.function is not None
        made[node.number] = result.add(node.label, node.function, bound(node.args),
                                       bound(node.kwargs), bound(node.results), effect=node.effect)
    result.outputs = {name: bound(r) for name, r in graph.outputs.items()}
    return result
