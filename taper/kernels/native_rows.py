"""Native kernels for definitions on rows: reductions, and what is computed from them.

A `RowProgram` is a definition such as ``exp(x - max) / sum``, written on ElementArrays with
``total`` and its like below, and run on arrays of three dimensions (outer, n, inner) whose rows
are the n elements between `outer` and `inner`. Where `inner` is 1 rows lie along memory, else
across it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from math import prod
from typing import Any

import numpy as np

from taper.arrays.element import ElementArray, NotElementwise, kind_of
from taper.compiler import machine
from taper.compiler.column_kernels import column_kernel, column_tile
from taper.compiler.expression import ELEMENT, ROW, Expression
from taper.compiler.math_library import lowered
from taper.compiler.passes import Operand
from taper.compiler.row_kernels import row_kernel
from taper.kernels.native import GRAIN, Kernel
from taper.runtime.large_arrays import new_array

__all__ = [
    "FULL", "LARGE", "PER_ROW", "WEIGHT", "RowProgram", "largest", "mean_of", "smallest", "total",
]

ndarray = np.ndarray
LARGE = 16383  # elements from which on a kernel is worth its launch

FULL = "full"  # one value for each element
PER_ROW = "row"  # one for each row
WEIGHT = "weight"  # one for each place in a row, for all rows
CHANNEL = "channel"  # one for each row; the same for all of the outermost dimension

_F32 = np.dtype(np.float32)


def total(x: Any) -> Any:
    """The sum over the row."""
    return x.like(x.e.reduce("reduce_sum", x.node), x.dtype)


def largest(x: Any) -> Any:
    """The largest element of the row; NaN if there is one."""
    return x.like(x.e.reduce("reduce_max", x.node), x.dtype)


def smallest(x: Any) -> Any:
    """The smallest element of the row; NaN if there is one."""
    return x.like(x.e.reduce("reduce_min", x.node), x.dtype)


def mean_of(x: Any) -> Any:
    """The mean of the row."""
    return total(x) / x.row_length()


class RowProgram:
    """A definition on rows.

    Args:
        definition: from ElementArrays, and plain values by name, to an ElementArray or a tuple.
        roles: for each operand FULL, PER_ROW, WEIGHT or CHANNEL.
    """

    def __init__(self, definition: Callable[..., Any], *roles: str) -> None:
        self.definition = definition
        self.roles = roles
        self.kernels: dict[Hashable, tuple[Kernel, list[str]] | None] = {}

    def __call__(
        self, outer: Any, n: int, inner: int, *arrays: Any, line: int | None = None, **values: Any
    ) -> tuple[Any, ...] | None:
        """The results as arrays of shape (outer, n, inner), or (outer, inner) where there is one
        for a row; None if NumPy shall compute. `outer` is a number, or two for CHANNEL operands.

        Operands are contiguous arrays; None for one that is missing. If they are one `line` of so
        many elements, rows are its pieces, of which the last one may be shorter, and a WEIGHT has
        one value for each place in the line.
        """
        sizes = outer if type(outer) is tuple else (outer,)
        key = (len(sizes), inner > 1, line is not None,
               tuple([None if a is None else a.dtype for a in arrays]), tuple(values.items()))
        try:
            found = self.kernels[key]
        except KeyError:
            found = self._new(key, arrays, values)
        if found is None:
            return None
        kernel, levels = found
        address = kernel.address()
        if address is None:
            return None
        count = prod(sizes)
        results = []
        for dtype, level in zip(kernel.dtypes, levels, strict=True):
            shape = (count, n, inner) if level == FULL else (count, inner)
            results.append(new_array(shape, dtype, prod(shape), None))
        present = [(a, role) for a, role in zip(arrays, self.roles, strict=True) if a is not None]
        operands = [*present, *zip(results, levels, strict=True)]
        words = [n]
        if inner > 1:
            words.append(inner)
        if line is not None:
            words.append(line)
        words.extend(sizes)
        for a, role in operands:
            item = a.dtype.itemsize
            words.extend([n * item, item] if role == WEIGHT and line is not None else
                         _strides(role, sizes, n, inner, item))
        if inner == 1:
            units, grain = count, max(1, GRAIN // max(n, 1))
        else:
            tile = kernel.extra
            units, grain = count * -(-inner // tile), max(1, GRAIN // (n * tile))
        kernel.launch(address, [a for a, _ in operands], words, units, grain)
        return tuple(results)

    def _new(self, key: Any, arrays: Sequence[Any], values: dict[str, Any]) -> Any:
        try:
            found = self._make(key[0], key[1], key[2], arrays, values)
        except NotElementwise:
            found = None
        self.kernels[key] = found
        return found

    def _make(
        self, outer: int, is_across: bool, is_cut: bool, arrays: Sequence[Any],
        values: dict[str, Any],
    ) -> tuple[Kernel, list[str]]:
        e = Expression()
        traced: list[Any] = []
        operands: list[tuple[str, str]] = []
        for a, role in zip(arrays, self.roles, strict=True):
            if a is None:
                traced.append(None)
                continue
            kind = kind_of(a.dtype)
            node = e.input(len(operands), kind, ROW if role in (PER_ROW, CHANNEL) else ELEMENT)
            operands.append((kind, role))
            traced.append(ElementArray(e, node, a.dtype))
        found = self.definition(*traced, **values)
        results = found if type(found) is tuple else (found,)
        e.results.extend([r.node for r in results])
        levels = [FULL if r.node.level == ELEMENT else PER_ROW for r in results]
        operands += [(r.node.type, level) for r, level in zip(results, levels, strict=True)]
        e = e.without_dead_code()
        words = len(operands) * (outer + 2) + 2 + outer + is_cut - (not is_across)
        kernel = Kernel(lambda: _text(kernel, e, operands, outer, is_across, is_cut), words,
                        tuple([r.dtype for r in results]))
        return kernel, levels


def _strides(
    role: str, sizes: tuple[int, ...], n: int, inner: int, item: int
) -> list[int]:
    """Strides in bytes: of each outer dimension, then from element to element of the row."""
    if role == WEIGHT:
        return [0] * len(sizes) + [item]
    if role == CHANNEL:
        return [*[0] * (len(sizes) - 1), inner * item, 0]
    step = inner * item * (n if role == FULL else 1)
    strides = [inner * item if role == FULL else 0]
    for size in reversed(sizes):
        strides.insert(0, step)
        step *= size
    return strides


def _layouts(operands: Sequence[tuple[str, str]], is_across: bool) -> list[Operand]:
    def layout(role: str) -> str:
        if is_across:
            return "same" if role == WEIGHT else "contiguous"
        return "contiguous" if role in (FULL, WEIGHT) else "same"

    return [Operand(kind, layout(role)) for kind, role in operands]


def _text(
    kernel: Kernel, e: Expression, operands: Sequence[tuple[str, str]], outer: int,
    is_across: bool, is_cut: bool,
) -> tuple[str, str]:
    width = machine.host().vector_bytes
    layouts = _layouts(operands, is_across)
    e = lowered(e, width)
    if is_across:
        kernel.extra = column_tile(width, e, layouts)
        return column_kernel("columns", width, e, layouts, outer, is_cut), "columns"
    return row_kernel("rows", width, e, layouts, outer, is_cut), "rows"


class Rowwise:
    """An operator's definition whose rows along one dimension don't depend on each other.

    Args:
        forward: the definition on arrays.     positions: which of its arguments are arrays, all of
            one shape.     dim: which argument names the dimension.
        upcast: float16 and bfloat16 are computed in float32 and rounded once, at the end.
    """

    def __init__(
        self, forward: Callable[..., Any], positions: Sequence[int], dim: int, upcast: bool
    ) -> None:
        self.forward = forward
        self.positions = tuple(positions)
        self.dim = dim
        self.upcast = upcast
        self._programs: dict[Any, RowProgram] = {}

    def __call__(self, *args: Any) -> Any:
        result = self.compute(args, {})
        return self.forward(*args) if result is None else result

    def compute(self, args: Sequence[Any], named: dict[str, Any]) -> Any:
        """The result by a native kernel, or None."""
        arrays = [args[p] for p in self.positions]
        first, dim = arrays[0], args[self.dim]
        shape = first.shape
        if type(dim) is not int or not -len(shape) <= dim < len(shape) or first.size == 0:
            return None
        for a in arrays:
            if type(a) is not ndarray or a.shape != shape:
                return None
        arrays = [a if a.flags.c_contiguous else a.copy() for a in arrays]
        values = tuple([v for i, v in enumerate(args) if i not in self.positions and i != self.dim])
        try:
            program = self._programs.get(values)
        except TypeError:
            return None
        if program is None:
            program = self._programs[values] = RowProgram(
                self._definition(args), *[FULL] * len(arrays))
        dim %= len(shape)
        n, inner = shape[dim], prod(shape[dim + 1 :])
        found = program(first.size // (n * inner), n, inner, *arrays)
        return None if found is None else found[0].reshape(shape)

    def _definition(self, args: Sequence[Any]) -> Callable[..., Any]:
        def definition(*elements: ElementArray) -> ElementArray:
            traced = list(args)
            traced[self.dim] = 0
            back = None
            for position, x in zip(self.positions, elements, strict=True):
                if x.dtype.itemsize == 2:
                    if not self.upcast:
                        raise NotElementwise(f"reductions in {x.dtype}")
                    back, x = x.dtype, x.astype(_F32)
                x.axis = 0  # rows have one dimension
                traced[position] = x
            try:
                result = self.forward(*traced)
            except (TypeError, AttributeError, ValueError) as error:
                raise NotElementwise(str(error)) from error
            return result if back is None else result.astype(back)

        return definition
