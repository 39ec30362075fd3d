"""Graphs for sizes that stay open, from graphs recorded at several.

Recording gives plain numbers for shapes. A number that differs between recordings is taken to be a
sum of products of the open sizes, each at most once in a product (batch * length + 1); as many
recordings as there are such products say how many of each, and one more must agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from taper.arrays.node_functions import Step
from taper.compiler.graph import Graph, GraphNode, Reference

__all__ = ["Counting", "Repeated", "Size", "at_sizes", "for_any_sizes", "products_of"]

Product = tuple[str, ...]  # names of sizes; none for the constant term


def products_of(names: Sequence[str]) -> list[Product]:
    """All products of some of the sizes, the empty one first."""
    return [p for count in range(len(names) + 1) for p in combinations(names, count)]


class Size:
    """A number that depends on open sizes: how many of each product, by names."""

    __slots__ = ("terms",)

    def __init__(self, terms: Mapping[Product, int]) -> None:
        self.terms = {p: n for p, n in terms.items() if n}

    def at(self, sizes: Mapping[str, int]) -> int:
        """The number for these sizes."""
        return sum([n * int(np.prod([sizes[name] for name in p], dtype=np.int64))
                    for p, n in self.terms.items()])

    def minus(self, other: Size | int) -> Size | int:
        """The difference, an int if it doesn't depend on sizes."""
        terms = dict(self.terms)
        for p, n in (other.terms if isinstance(other, Size) else {(): other}).items():
            terms[p] = terms.get(p, 0) - n
        found = Size(terms)
        return found if found.terms.keys() - {()} else found.terms.get((), 0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Size) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.terms.items())))

    def __repr__(self) -> str:
        parts = []
        for p, n in sorted(self.terms.items(), reverse=True):
            factors = [*([str(n)] if n != 1 or not p else []), *p]
            parts.append("*".join(factors))
        return "+".join(parts).replace("+-", "-")


class Counting:
    """A constant array that depends on open sizes: start + step * position. Its shape does,
    or, of a single number, the start."""

    __slots__ = ("dtype", "shape", "start", "step")

    def __init__(self, shape: tuple[Any, ...], dtype: Any, start: Any, step: Any) -> None:
        self.shape = shape
        self.dtype = dtype
        self.start = start
        self.step = step

    def at(self, sizes: Mapping[str, int]) -> np.ndarray:
        """The array for these sizes."""
        shape = [n.at(sizes) if isinstance(n, Size) else n for n in self.shape]
        start = self.start.at(sizes) if isinstance(self.start, Size) else self.start
        places = np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape)
        return (places * self.step + start).astype(self.dtype)

    def __repr__(self) -> str:
        return f"counting {self.dtype}{list(self.shape)}"


class Repeated:
    """A tuple of one number, as often as an open size says."""

    __slots__ = ("count", "value")

    def __init__(self, value: Any, count: Any) -> None:
        self.value = value
        self.count = count

    def at(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The tuple for these sizes."""
        value, count = [n.at(sizes) if isinstance(n, Size) else n
                        for n in (self.value, self.count)]
        return (value,) * count

    def __repr__(self) -> str:
        return f"({self.value!r},)*({self.count!r})"


class _Differs(Exception):
    """Why three recordings aren't one graph with sizes in it."""


def for_any_sizes(
    graphs: Sequence[Graph], points: Sequence[Mapping[str, int]], names: Sequence[str]
) -> Graph:
    """One graph with `Size` in place of the numbers that depend on sizes.

    Args:
        graphs: recorded at these points, one more than `products_of(names)` has.
    Raises:
        NotImplementedError: if the recordings differ in another way, naming the operation.
    """
    open_sizes = " and ".join(map(repr, names))
    if len({len(g.nodes) for g in graphs}) != 1:
        counts = [f"{len(g.nodes)} for {point}" for g, point in zip(graphs, points, strict=True)]
        raise NotImplementedError(
            f"the size {open_sizes} can't be dynamic: the number of operations depends on it "
            f"({', '.join(counts)})"
        )
    join = _Join(points, names)
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
                f"the size {open_sizes} can't be dynamic: in {node}, {error}"
            ) from None
        assert node.function is not None
        join.made[node.number] = result.add(node.label, node.function, *parts, effect=node.effect)
    result.outputs = {name: join.value([r]) for name, r in graphs[0].outputs.items()}
    return result


class _Join:
    """Values that stand at one place in several graphs, as one."""

    def __init__(self, points: Sequence[Mapping[str, int]], names: Sequence[str]) -> None:
        self.points = points
        self.products = products_of(names)
        self.made: dict[int, GraphNode] = {}
        rows = [[Size({p: 1}).at(point) for p in self.products] for point in points]
        self.matrix = np.array(rows, np.float64)

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
            if cls is tuple and len({len(v) for v in values}) != 1 and all([
                len({*v}) == 1 and type(v[0]) is int for v in values
            ]):
                counts = self._int([len(v) for v in values])
                return Repeated(self._int([v[0] for v in values]), counts)
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
        if len(set(values)) == 1:
            return values[0]
        count = len(self.products)
        found = np.linalg.solve(self.matrix[:count], np.array(values[:count], np.float64))
        size = Size({p: round(float(n)) for p, n in zip(self.products, found, strict=True)})
        if [size.at(point) for point in self.points] != values:
            raise _Differs(f"a number isn't a sum of products of sizes: {values} for {self.points}")
        return size

    def _array(self, values: list[np.ndarray]) -> Any:
        a = values[0]
        if all([b.shape == a.shape and b.tobytes() == a.tobytes() for b in values]):
            return a
        shape = tuple([self._int(list(n)) for n in zip(*[v.shape for v in values], strict=True)])
        largest = max(values, key=lambda v: v.size).reshape(-1)
        firsts = [v.reshape(-1)[0].item() for v in values if v.size]
        if len(firsts) == len(values):
            start = firsts[0]
            if len(set(firsts)) > 1 and all([n == n // 1 for n in firsts]):
                start = self._int([int(n) for n in firsts])
            step = largest[1].item() - largest[0].item() if largest.size > 1 else 0
            found = Counting(shape, a.dtype, start, step)
            if all([np.array_equal(found.at(point), v, equal_nan=a.dtype.kind == "f")
                    for point, v in zip(self.points, values, strict=True)]):
                return found
        raise _Differs("a constant depends on the size")


def at_sizes(graph: Graph, sizes: Mapping[str, int]) -> Graph:
    """The graph for these sizes, with plain numbers."""
    made: dict[int, GraphNode] = {}

    def bound(value: Any) -> Any:
        if isinstance(value, Reference):
            return Reference(made[value.node.number], value.output)
        if isinstance(value, (Size, Counting, Repeated)):
            return value.at(sizes)
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
