"""Native kernels for definitions on arrays: traced once, compiled aside, run on all cores.

`elementwise(forward, …)` gives a function of the same arguments. It traces `forward` on
ElementArrays for each combination of dtypes and layouts, asks for a kernel, and answers with NumPy
until there is one, or for good where there can't be one. Kernels depend on dtypes, layouts and
the values of plain arguments, not on sizes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from ctypes import addressof, c_int64
from functools import cache
from math import prod
from typing import Any

import numpy as np

from taper.arrays.element import ElementArray, NotElementwise, kind_of
from taper.compiler import machine
from taper.compiler.background import request
from taper.compiler.expression import ELEMENT, MATH, ROW, Expression
from taper.compiler.math_library import lowered
from taper.compiler.passes import Operand
from taper.compiler.row_kernels import flat_kernel, row_kernel
from taper.compiler.tile_kernels import strip_rows, tile_kernel
from taper.core.storage import address_of
from taper.kernels.strided_walks import Walk, result_like, walk_of
from taper.runtime.large_arrays import new_array
from taper.runtime.planned_calls import Launch, constant, recording, replayed
from taper.runtime.pool import launch

__all__ = ["FLOAT_KINDS", "GRAIN", "Elementwise", "Kernel", "kernels_by_name"]

ndarray = np.ndarray

FLOAT_KINDS: dict[Any, str] = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}
"""The dtypes that kernels written by hand compute with, as the compiler calls them."""
GRAIN = 16384  # elements that are worth a thread of their own
_MOST_TILE_NODES = 24  # of expressions that are written out for each row of a tile
_MOST_SIGNATURES = 64  # of one definition; more come from values that change all the time
_I32, _F32 = np.dtype(np.int32), np.dtype(np.float32)


class Kernel:
    """One kernel: how its text is made, and the argument blocks of its launches."""

    __slots__ = ("_blocks", "_pack", "build", "dtypes", "exact", "extra")

    def __init__(self, build: Callable[[], tuple[str, str]], words: int, dtypes: Any = ()) -> None:
        self.build = build
        self.dtypes = dtypes  # of the results
        self.exact = False  # whether it gives NumPy's very bits
        self.extra: Any = None  # what `build` found out about units of work
        self._pack = struct.Struct(f"{words}q").pack_into
        self._blocks: list[Any] = []

    @classmethod
    def of(
        cls, write: Callable[..., str], words: int, *details: Any, name: str = "",
        exact: bool = False,
    ) -> Kernel:
        """The kernel of which `write(name, vector bytes, *details)` is the text. It has the
        function's name, unless another is given."""
        name = name or write.__name__
        kernel = cls(lambda: (write(name, machine.vector_bytes(), *details), name), words)
        kernel.exact = exact
        return kernel

    def address(self, in_programs: bool = False) -> int | None:
        """The machine code, once it is there. `in_programs`: whether they use it as it is."""
        return request(self, self.build, self.exact, in_programs=in_programs)

    def run(self, address: int, words: Sequence[int], count: int, grain: int) -> None:
        """Runs the kernel on an argument block of these words."""
        try:
            block = self._blocks.pop()
        except IndexError:  # all are in use by other threads
            memory = (c_int64 * max(1, len(words)))()
            block = memory, addressof(memory)
        self._pack(block[0], 0, *words)
        launch(address, block[1], count, grain)
        self._blocks.append(block)

    def launch(
        self, address: int, arrays: Sequence[Any], words: Sequence[int], count: int, grain: int
    ) -> None:
        """Runs the kernel on the addresses of arrays and some more words. Unlike `run`, this can be
        part of a plan: see runtime/planned_calls.py."""
        self.run(address, [*map(address_of, arrays), *words], count, grain)
        written = recording()
        if written is not None:
            written.launches.append(Launch(address, arrays, words, count, grain))


def kernels_by_name(
    table: dict[str, tuple[Callable[..., str], Sequence[str]]], prefix: str = "",
) -> Callable[..., Kernel]:
    """A function of a name in the table, and of details, that gives this one kernel.

    Args:
        table: for each name what writes the kernel (see `Kernel.of`), and its words' labels.
        prefix: of the names of kernels.
    """

    @cache
    def find(name: str, *details: Any) -> Kernel:
        write, words = table[name]
        return Kernel.of(write, len(words), *details, name=prefix + name)

    return find


class Elementwise:
    """A definition whose results at each place need only the operands at that place.

    Args:
        forward: the definition, on arrays.      positions: which of its arguments are arrays.
        upcast: float16 and bfloat16 are computed in float32 and rounded once, at the end.
        stores_half: float16 and bfloat16 are only moved and converted.
    """

    def __init__(
        self, forward: Callable[..., Any], positions: Sequence[int], upcast: bool = False,
        stores_half: bool = False,
    ) -> None:
        self.forward = forward
        self.positions = tuple(positions)
        self.upcast = upcast
        self.stores_half = stores_half
        self._flat: dict[Any, Kernel | None] = {}
        self._rows: dict[Any, Kernel | None] = {}
        self._into = replayed(self._compute_into)

    def __call__(self, *args: Any, **named: Any) -> Any:
        result = self.compute(args, named)
        return self.forward(*args, **named) if result is None else result

    def into(self, out: Any, *args: Any, **named: Any) -> bool:
        """Computes into `out`, which may be one of the operands; False if that can't be done."""
        if not out.flags.writeable:
            return False
        for a in args:
            if a is not out and type(a) is ndarray and np.may_share_memory(a, out):
                return False
        if named:
            return self.compute(args, named, out) is not None
        return self._into(out, *args) is not None

    def _compute_into(self, out: Any, *args: Any) -> Any:
        return None if self.compute(args, {}, out) is None else True

    def compute(
        self, args: Sequence[Any], named: dict[str, Any], out: Any = None
    ) -> Any:
        """The result by a native kernel, or None. `out`: an array to write it into."""
        arrays = []
        key: list[Any] = []
        shape = None
        for p in self.positions:
            a = args[p]
            if type(a) is not ndarray:
                if a is None:
                    key.append(None)
                    continue
                return self._compute_with_numbers(args, named, out)
            arrays.append(a)
            if not a.ndim:
                key.append(a.dtype)
                key.append(0)
                continue
            if shape is None:
                shape = a.shape
            elif a.shape != shape:
                return self._compute_strided(args, named, out)
            if not a.flags.c_contiguous:
                return self._compute_strided(args, named, out)
            key.append(a.dtype)
            key.append(1)
        if shape is None or (out is not None and not (
                out.flags.c_contiguous and out.shape == shape)):
            return self._compute_strided(args, named, out)
        if len(args) > len(self.positions) or named:
            key.append(self._values(args, named))
        found = tuple(key)
        try:
            kernel = self._flat[found]
        except KeyError:
            kernel = self._new(self._flat, found, args, named, None)
        except TypeError:  # a value that can't be a key
            return None
        if kernel is None:
            return None
        address = kernel.address()
        if address is None:
            return None
        size = max([a.size for a in arrays])
        if out is None:
            out = new_array(shape, kernel.dtypes[0], size)
        elif out.dtype is not kernel.dtypes[0]:
            return None
        kernel.launch(address, [*arrays, out], (), size, GRAIN)
        return out

    def _compute_with_numbers(
        self, args: Sequence[Any], named: dict[str, Any], out: Any
    ) -> Any:
        """The same with Python ints as 0-d arrays, where other operands are integers."""
        given = [args[p] for p in self.positions]
        integers = {a.dtype for a in given if type(a) is ndarray and a.dtype.kind == "i"}
        others = {type(a) for a in given} - {ndarray, int}
        if len(integers) != 1 or others or int not in {type(a) for a in given}:
            return None
        (dtype,) = integers
        try:
            cast = {p: constant(np.array(args[p], dtype))
                    for p in self.positions if type(args[p]) is int}
        except OverflowError:  # NumPy will say so
            return None
        return self.compute([cast.get(i, a) for i, a in enumerate(args)], named, out)

    def _values(self, args: Sequence[Any], named: dict[str, Any]) -> Any:
        values = [v for i, v in enumerate(args) if i not in self.positions]
        return tuple([(type(v), v) for v in (*values, *named.values())])

    # -- new kernels ---------------------------------------------------------------------------

    def _new(
        self, known: dict[Any, Kernel | None], key: Any, args: Sequence[Any],
        named: dict[str, Any], layouts: Any,
    ) -> Kernel | None:
        if len(known) >= _MOST_SIGNATURES:
            return None
        try:
            kernel, expression = self._make(args, named, layouts)
            kernel.exact = not any(n.op in MATH for n in expression.nodes)
        except NotElementwise:
            kernel = None
        known[key] = kernel
        return kernel

    def _make(
        self, args: Sequence[Any], named: dict[str, Any], layouts: Any
    ) -> tuple[Kernel, Expression]:
        arrays = [args[p] for p in self.positions if args[p] is not None]
        if layouts is None:
            levels = [ELEMENT if a.ndim else ROW for a in arrays]
        else:
            levels = [ROW if name == "same" else ELEMENT for name in layouts[:-3]]
        expression, dtype = self.trace(args, named, levels)
        kinds = [*[kind_of(a.dtype) for a in arrays], kind_of(dtype)]
        count = len(kinds)
        if layouts is None:
            shown = ["contiguous" if level == ELEMENT else "same" for level in levels]
            return Kernel(lambda: _flat_text(expression, kinds, [*shown, "contiguous"]), count,
                          (dtype,)), expression
        *shown, is_crosswise, is_cut, outer = layouts
        if not is_crosswise:
            words = count + 1 + is_cut + outer + count * (outer + 1)
            return Kernel(
                lambda: _row_text(expression, kinds, [*shown, "contiguous"], outer, is_cut),
                words, (dtype,)), expression
        if "strided" in shown or "every second" in shown:
            raise NotElementwise("too many directions")
        kernel = Kernel(
            lambda: _tile_text(kernel, expression, kinds, [*shown, "contiguous"], outer - 1),
            count + 1 + outer + count * (outer + 1), (dtype,))
        return kernel, expression

    def trace(
        self, args: Sequence[Any], named: dict[str, Any], levels: Sequence[int]
    ) -> tuple[Expression, Any]:
        """The definition as an expression, and the dtype of its result."""
        e = Expression()
        traced = list(args)
        back = None
        remaining = iter(enumerate(levels))
        for p in self.positions:
            a = args[p]
            if a is None:
                continue
            index, level = next(remaining)
            kind = kind_of(a.dtype)
            node = e.input(index, kind, level)
            dtype = a.dtype
            if kind in ("f16", "bf16") and not self.stores_half:
                if not self.upcast:
                    raise NotElementwise(kind)
                back = dtype
                dtype = _F32
                node = e.convert(node, "f32")
            traced[p] = ElementArray(e, node, dtype, 1)
        try:
            result = self.forward(*traced, **named)
        except NotElementwise:
            raise
        except (TypeError, AttributeError, ValueError, NotImplementedError) as error:
            raise NotElementwise(str(error)) from error
        if not isinstance(result, ElementArray):
            raise NotElementwise("a result that is no array")
        dtype = result.dtype
        node = result.node
        if back is not None and dtype == _F32:
            dtype = back
            node = e.convert(node, kind_of(back))
        e.results.append(node)
        if node.level != ELEMENT:
            raise NotElementwise("a result that needs no elements")
        return e.without_dead_code(), dtype

    # -- any layout ----------------------------------------------------------------------------

    def _compute_strided(self, args: Sequence[Any], named: dict[str, Any], out: Any) -> Any:
        arrays = [args[p] for p in self.positions if args[p] is not None]
        if any(type(a) is not ndarray for a in arrays):
            return None
        like = result_like(arrays) if out is None else out
        if like is None or not like.size or (out is not None and (
            0 in out.strides or np.broadcast(*arrays).shape != out.shape
        )):
            return None
        walk = walk_of(arrays, like, 1 if out is None else out.itemsize)
        if walk is None:
            return None
        layouts = (*walk.layouts, walk.crosswise, walk.line is not None, len(walk.sizes) - 1)
        key = (*[a.dtype for a in arrays], layouts, self._values(args, named),
               *[args[p] is None for p in self.positions])
        try:
            kernel = self._rows[key]
        except KeyError:
            kernel = self._new(self._rows, key, args, named, layouts)
        except TypeError:
            return None
        address = None if kernel is None else kernel.address()
        if kernel is None or address is None:
            return None
        dtype = kernel.dtypes[0]
        if out is None:
            strides = [s * dtype.itemsize for s in like.strides]
            out = new_array(like.shape, dtype, like.size, strides)
            walk.strides[-1] = [s * dtype.itemsize for s in walk.strides[-1]]
        elif out.dtype is not dtype:
            return None
        self._launch(kernel, address, walk, [*arrays, out])
        return out

    def _launch(self, kernel: Kernel, address: int, walk: Walk, arrays: list[Any]) -> None:
        words = walk.words()
        if walk.crosswise:
            rows = kernel.extra
            units = prod(walk.sizes[:-2]) * -(-walk.sizes[-2] // rows)
        else:
            rows, units = 1, prod(walk.sizes[:-1])
        kernel.launch(address, arrays, words, units, max(1, GRAIN // (walk.sizes[-1] * rows)))


def _flat_text(expression: Expression, kinds: Any, layouts: Any) -> tuple[str, str]:
    operands = [Operand(k, name) for k, name in zip(kinds, layouts, strict=True)]
    width = machine.host().vector_bytes
    return flat_kernel("elementwise", width, lowered(expression, width), operands), "elementwise"


def _row_text(
    expression: Expression, kinds: Any, layouts: Any, outer: int, is_cut: bool
) -> tuple[str, str]:
    operands = [Operand(k, name) for k, name in zip(kinds, layouts, strict=True)]
    width = machine.host().vector_bytes
    return row_kernel("rows", width, lowered(expression, width), operands, outer, is_cut), "rows"


def _tile_text(
    kernel: Kernel, expression: Expression, kinds: Any, layouts: Any, outer: int
) -> tuple[str, str]:
    operands = [Operand(k, name) for k, name in zip(kinds, layouts, strict=True)]
    width = machine.host().vector_bytes
    expression = lowered(expression, width)
    if len(expression.nodes) > _MOST_TILE_NODES:
        raise machine.NoNativeCode("an expression too long for each row of a tile")
    kernel.extra = strip_rows(width, expression)
    return tile_kernel("tiles", width, expression, operands, outer), "tiles"
