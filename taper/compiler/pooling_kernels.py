"""Kernels of pooling over windows of planes: maxima, means, and their gradients.

Lanes are neighbours in a row of the result. What a position in the window reads is masked where it
is padding, by masks that all rows share; rows of the window that are padding are skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from taper.compiler.llvm_text import FunctionText
from taper.compiler.tile_code import SIZE, TileCode, plus
from taper.compiler.vector_code import llvm_type

__all__ = ["POOLING_WORDS", "Pooling", "pooling"]


class Pooling(NamedTuple):
    """What a kernel is made for; sizes, strides and dilations are those along rows."""

    kind: str
    task: str  # "max", "mean", "max gradient" or "mean gradient"
    width: int  # of the window
    stride: int
    dilation: int


POOLING_WORDS = (
    "source", "result", "grad", "divisors", "height", "width", "rows", "columns", "window_rows",
    "row_stride", "row_dilation", "padding", "column_padding",
)


def pooling(name: str, vector_bytes: int, form: Pooling) -> str:
    """The kernel, on contiguous planes. The argument block is POOLING_WORDS: `source` are planes of
    (height, width), `result` and `divisors` of (rows, columns). Gradients have their `result` in
    planes of (height, width) and read `grad`. A task is a plane."""
    return _Writer(name, vector_bytes, form).text()


class _Writer:
    def __init__(self, name: str, vector_bytes: int, form: Pooling) -> None:
        self.form = form
        self.ir = FunctionText(name, vector_bytes)
        self.code = TileCode(self.ir, form.kind, vector_bytes // SIZE[form.kind])
        self.lanes = self.code.lanes
        self.numbers = f"<{self.lanes} x i32>"
        self.bits = f"<{self.lanes} x i1>"
        self.word = self.ir.words(POOLING_WORDS)

    def text(self) -> str:
        ir, word, size = self.ir, self.word, self.code.size
        whole = ir.integer("mul", word["height"], word["width"])
        pooled = ir.integer("mul", word["rows"], word["columns"])
        is_gradient = self.form.task.endswith("gradient")
        pointer = {k: ir.pointer(word[k]) for k in ("source", "result", "grad", "divisors")}

        def task(plane: str, _: list[str]) -> list[str]:
            of_whole = ir.integer("mul", plane, whole)
            of_pooled = ir.integer("mul", plane, pooled)
            source = ir.offset(pointer["source"], of_whole, size)
            result = ir.offset(pointer["result"], of_whole if is_gradient else of_pooled, size)
            grad = ir.offset(pointer["grad"], of_pooled, size)
            if is_gradient:
                self._clear(result, whole)

            def chunk(column: str, _: list[str]) -> list[str]:
                count = ir.integer("sub", word["columns"], column)
                start = ir.integer("sub", ir.integer("mul", column, self.form.stride),
                                   word["column_padding"])
                reads = [
                    _Read(self, ir.integer("add", start, x * self.form.dilation), count)
                    for x in range(self.form.width)
                ]

                def row(y: str, _: list[str]) -> list[str]:
                    at = ir.integer("add", ir.integer("mul", y, word["columns"]), column)
                    self._row(y, at, count, reads, (source, result, grad, pointer["divisors"]))
                    return []

                ir.loop(0, word["rows"], 1, [], row)
                return []

            ir.loop(0, word["columns"], self.lanes, [], chunk)
            return []

        ir.loop("%begin", "%end", 1, [], task)
        return ir.text()

    def _clear(self, place: str, count: str) -> None:
        ir, code = self.ir, self.code
        zero = code.constant(0.0, code.kind)

        def some(i: str, _: list[str]) -> list[str]:
            mask = code.first(ir.integer("sub", count, i))
            code.store(zero, ir.offset(place, i, code.size), code.kind, mask)
            return []

        ir.loop(0, count, self.lanes, [], some)

    # -- one row of the result, so many columns of it as there are lanes -----------------------

    def _row(
        self, y: str, at: str, count: str, reads: list[_Read], places: tuple[str, str, str, str]
    ) -> None:
        code, ir, task = self.code, self.ir, self.form.task
        source, result, grad, divisors = places
        here = code.first(count)
        top = ir.integer("sub", ir.integer("mul", y, self.word["row_stride"]), self.word["padding"])
        if task == "max":
            found = self._over_window(top, source, reads, [(code.vector, self.lowest())],
                                      self._larger)
            code.store(found[0], ir.offset(result, at, code.size), code.kind, here)
            return
        if task == "mean":
            found = self._over_window(
                top, source, reads, [(code.vector, code.constant(0.0, code.kind))], self._added)
            by = code.load(ir.offset(divisors, at, code.size), code.kind, here)
            mean = ir.value(f"fdiv {code.vector} {found[0]}, {by}")
            code.store(mean, ir.offset(result, at, code.size), code.kind, here)
            return
        value = code.load(ir.offset(grad, at, code.size), code.kind, here)
        if task == "mean gradient":
            by = code.load(ir.offset(divisors, at, code.size), code.kind, here)
            value = ir.value(f"fdiv {code.vector} {value}, {by}")

            def share(read: _Read, line: str, _: str, __: list[str]) -> list[str]:
                read.add(line, value, read.mask)
                return []

            self._over_window(top, result, reads, [], share)
            return
        none = f"splat (i32 {-1})"
        _, choice = self._over_window(
            top, source, reads, [(code.vector, self.lowest()), (self.numbers, none)],
            self._first_largest)

        def spread(read: _Read, line: str, number: str, _: list[str]) -> list[str]:
            chosen = ir.value(f"icmp eq {self.numbers} {choice}, {self._all(number)}")
            read.add(line, value, ir.value(f"and {self.bits} {chosen}, {read.mask}"))
            return []

        self._over_window(top, result, reads, [], spread)

    def _over_window(
        self, top: str, plane: str, reads: list[_Read], carried: list[tuple[str, str]],
        body: Callable[[_Read, str, str, list[str]], list[str]],
    ) -> list[str]:
        """Calls `body(read, row's beginning, number in the window, carried)` for all positions of
        the window that are in the plane."""
        ir, word = self.ir, self.word
        above = ir.integer("sub", 0, top)
        is_above = ir.value(f"icmp sgt i64 {above}, 0")
        begin = self._steps(ir.value(f"select i1 {is_above}, i64 {above}, i64 0"))
        below = ir.integer("sub", word["height"], top)
        is_inside = ir.value(f"icmp sgt i64 {below}, 0")
        end = ir.least(self._steps(ir.value(f"select i1 {is_inside}, i64 {below}, i64 0")),
                       word["window_rows"])

        def line(k: str, values: list[str]) -> list[str]:
            y = ir.integer("add", top, ir.integer("mul", k, word["row_dilation"]))
            start = plus(ir, plane, (ir.integer("mul", y, word["width"]), str(self.code.size)))
            first = ir.integer("mul", k, self.form.width)
            for x, read in enumerate(reads):
                values = body(read, start, ir.integer("add", first, x), values)
            return values

        return ir.loop(begin, end, 1, carried, line)

    def _steps(self, distance: str) -> str:
        """How many rows of the window begin within a distance."""
        more = self.ir.integer("sub", self.word["row_dilation"], 1)
        return self.ir.integer(
            "udiv", self.ir.integer("add", distance, more), self.word["row_dilation"])

    def _added(self, read: _Read, line: str, _: str, values: list[str]) -> list[str]:
        value = read.value(line, "0.0")
        return [self.ir.value(f"fadd {self.code.vector} {values[0]}, {value}")]

    def _larger(self, read: _Read, line: str, _: str, values: list[str]) -> list[str]:
        value = read.value(line, None)
        return [self.code.chosen(self.code.exceeds(value, values[0]), value, values[0])]

    def _first_largest(
        self, read: _Read, line: str, number: str, values: list[str]
    ) -> list[str]:
        value = read.value(line, None)
        is_first = self.ir.value(f"icmp slt {self.numbers} {values[1]}, zeroinitializer")
        better = self.ir.value(
            f"or {self.bits} {is_first}, {self.code.exceeds(value, values[0])}")
        better = self.ir.value(f"and {self.bits} {better}, {read.mask}")
        choice = self.ir.value(
            f"select {self.bits} {better}, {self.numbers} {self._all(number)}, "
            f"{self.numbers} {values[1]}")
        return [self.code.chosen(better, value, values[0]), choice]

    def lowest(self) -> str:
        return self.code.constant(float("-inf"), self.code.kind)

    def _all(self, number: str) -> str:
        """An i64 in all lanes of i32."""
        return self.code.splat(self.ir.value(f"trunc i64 {number} to i32"), "i32")


class _Read:
    """One position in the window: where lanes find theirs in a row, and which are in it."""

    def __init__(self, writer: _Writer, first: str, count: str) -> None:
        self.writer = writer
        self.first = first
        self.stride = writer.form.stride
        lanes = writer.lanes
        self.mask = self._mask(0, self.stride, count)
        if self.stride == 2:  # of two vectors of neighbours
            twice = writer.ir.integer("mul", count, 2)
            self.masks = [self._mask(0, 1, twice),
                          self._mask(lanes, 1, writer.ir.integer("sub", twice, lanes))]

    def _mask(self, begin: int, step: int, count: str) -> str:
        """Which of the elements first + begin, + step … are in the row, and among the first."""
        ir, bits = self.writer.ir, self.writer.bits
        numbers = f"<{self.writer.lanes} x i64>"
        steps = ", ".join(f"i64 {begin + step * i}" for i in range(self.writer.lanes))
        index = ir.value(f"add {numbers} {self.writer.code.splat(self.first, 'i64')}, <{steps}>")
        width = self.writer.code.splat(self.writer.word["width"], "i64")
        inside = ir.value(f"icmp ult {numbers} {index}, {width}")
        return ir.value(f"and {bits} {inside}, {self.writer.code.first(count)}")

    def _place(self, line: str) -> str:
        return self.writer.ir.offset(line, self.first, self.writer.code.size)

    def value(self, line: str, otherwise: str | None) -> str:
        """The elements of one row; -inf, unless zero is wanted, where there are none."""
        code, place = self.writer.code, self._place(line)
        if self.stride == 1:
            found = code.load(place, code.kind, self.mask)
        elif self.stride == 2:
            behind = self.writer.ir.offset(place, str(code.lanes), code.size)
            found = code.picked(
                code.load(place, code.kind, self.masks[0]),
                code.load(behind, code.kind, self.masks[1]), list(range(0, 2 * code.lanes, 2)))
        else:
            found = code.gather(place, str(self.stride * code.size), code.kind, self.mask)
        if otherwise is not None:
            return found
        return self.writer.code.chosen(self.mask, found, self.writer.lowest())

    def add(self, line: str, value: str, mask: str) -> None:
        """Adds to the elements of one row."""
        writer, ir, code = self.writer, self.writer.ir, self.writer.code
        place = self._place(line)
        is_dense = self.stride == 1
        before = code.load(place, code.kind, mask) if is_dense else code.gather(
            place, str(self.stride * code.size), code.kind, mask)
        found = ir.value(f"fadd {code.vector} {before}, {value}")
        if is_dense:
            code.store(found, place, code.kind, mask)
            return
        steps = ", ".join(f"i64 {self.stride * i}" for i in range(code.lanes))
        places = ir.value(f"getelementptr {llvm_type(code.kind)}, ptr {place}, "
                          f"<{code.lanes} x i64> <{steps}>")
        ir.intrinsic("void", f"llvm.masked.scatter.{code.suffix}.v{code.lanes}p0", [
            (code.vector, found), (f"<{code.lanes} x ptr>", places), ("i32", str(code.size)),
            (writer.bits, mask)])
