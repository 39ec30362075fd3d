"""Kernels of Cholesky's factor for matrices of medium size, one a task or some rows of one.

Panels and register tiles are those of elimination_kernels.py.
"""

from __future__ import annotations

from collections.abc import Callable

from taper.compiler.elimination_kernels import BLOCK, STATUS_EACH, TOGETHER, Eliminator
from taper.compiler.tile_code import plus

__all__ = ["FACTOR_WORDS", "cholesky"]

FACTOR_WORDS = (
    "source", "panel", "work", "turned", "result", "status", "size", "panel_pitch", "pitch",
    "result_pitch", "matrix_each", "panel_each", "work_each", "turned_each", "from", "to", "parts",
)


def cholesky(name: str, vector_bytes: int, kind: str) -> str:
    """The kernel of A = L L^T, of whose lower triangle it reads; L is written to `result`.

    Block by block, what the columns to the left take from a block of columns is summed in
    registers. The argument block is FACTOR_WORDS: `source` and `result` are contiguous matrices of
    (size, size), `work` and `turned` have room for BLOCK columns, the former lines of `pitch`
    bytes. `status` is 0, or the first pivot that isn't positive, counted from 1; each is in a line
    of its own. The columns `from` ... `to`, multiples of BLOCK, are computed; those to the left
    were before.

    A task is one of so many `parts` of a matrix. Each computes a share of the rows below the
    diagonal block, and that block for itself, as it is needed first; so more than one part goes
    with one block of columns.
    """
    return _Factorizer(name, vector_bytes, kind, FACTOR_WORDS).cholesky()


class _Factorizer(Eliminator):
    def cholesky(self) -> str:
        ir, word = self.ir, self.word

        def of_task(label: str, number: str, each: str) -> str:
            return plus(ir, ir.pointer(word[label]), (number, word[f"{each}_each"]))

        def task(number: str, _: list[str]) -> list[str]:
            matrix = ir.integer("udiv", number, word["parts"])
            self.part = ir.integer("urem", number, word["parts"])
            self.source = of_task("source", matrix, "matrix")
            self.result = of_task("result", matrix, "matrix")
            self.panel, self.work, self.turned = (
                of_task(label, number, label) for label in ("panel", "work", "turned"))
            self.status = plus(ir, ir.pointer(word["status"]), (number, str(STATUS_EACH)))
            ir.when(ir.value(f"icmp eq i64 {word['from']}, 0"), begin)
            ir.loop(word["from"], word["to"], BLOCK, [], self._factor)
            return []

        def begin(_: str, __: list[str]) -> list[str]:
            """No error yet, and zeros behind the panel's last column."""
            ir.add(f"store i64 0, ptr {self.status}")
            for column in range(BLOCK, BLOCK + TOGETHER):
                def clear(row: str, _: list[str], column: int = column) -> list[str]:
                    self.store("zeroinitializer", self.in_panel(str(column), row))
                    return []

                ir.loop(0, word["size"], self.lanes, [], clear)
            return []

        ir.loop("%begin", "%end", 1, [], task)
        return ir.text()

    def _factor(self, first: str, _: list[str]) -> list[str]:
        """One block of columns: the diagonal block, and the part's rows below."""
        ir, word = self.ir, self.word
        left = ir.integer("sub", word["size"], first)
        block = ir.least(left, str(BLOCK))
        below = ir.integer("sub", left, block)
        begin, end = (
            ir.integer("udiv", ir.integer("mul", below, part), word["parts"])
            for part in (self.part, ir.integer("add", self.part, 1)))
        height = ir.integer("add", block, ir.integer("sub", end, begin))

        def row_of(row: str) -> str:
            """Of the matrix. The first ones are the block's."""
            is_below = ir.value(f"icmp sge i64 {row}, {BLOCK}")
            skipped = ir.value(f"select i1 {is_below}, i64 {begin}, i64 0")
            return ir.integer("add", ir.integer("add", first, skipped), row)

        self._turn_rows(first)
        width = self.tile.vectors * self.lanes

        def source(row: str) -> str:
            line = plus(ir, self.source, (row_of(row), word["result_pitch"]))
            return ir.offset(line, ir.integer("add", first, column), self.size)

        def target(row: str) -> str:
            return ir.offset(plus(ir, self.work, (row, word["pitch"])), column, self.size)

        for offset in range(0, BLOCK, width):
            vectors = min(width, BLOCK - offset) // self.lanes
            column = str(offset)
            masks: list[str | None] = [
                self.code.first(ir.integer("sub", left, offset + v * self.lanes))
                for v in range(vectors)]
            self._update(
                height, self.result, (word["result_pitch"], str(self.size)),
                ir.offset(self.turned, column, self.size), str(BLOCK * self.size), first, source,
                target, vectors, masks, row_of)
        self._to_panel("0", height)

        def eliminate(j: str, _: list[str]) -> list[str]:
            self._reduce_panel(j, height, self._root(j, first), True)
            return []

        ir.loop(0, BLOCK, 1, [], eliminate)
        self._to_result(first, height, row_of)
        return []

    def _turn_rows(self, first: str) -> None:
        """What is left of the block in its rows, with columns as lines."""
        ir = self.ir
        last = ir.integer("sub", self.word["size"], 1)

        def columns(column: str, _: list[str]) -> list[str]:
            for row in range(0, BLOCK, self.lanes):
                found = self.code.turned([
                    self.load(ir.offset(plus(ir, self.result, (
                        ir.least(ir.integer("add", first, row + i), last),
                        self.word["result_pitch"])), column, self.size))
                    for i in range(self.lanes)])
                for j, value in enumerate(found):
                    line = ir.integer("mul", ir.integer("add", column, j), BLOCK)
                    self.store(value, ir.offset(
                        self.turned, ir.integer("add", line, row), self.size))
            return []

        ir.loop(0, first, self.lanes, [], columns)

    def _root(self, j: str, first: str) -> str:
        """Puts a root in the place of a pivot; returns 1 / root."""
        ir = self.ir
        place = self.in_panel(j, j)
        pivot = self.number(place)
        is_positive = ir.value(f"fcmp ogt {self.scalar} {pivot}, 0.0")
        number = ir.integer("add", ir.integer("add", first, j), 1)
        is_beyond = ir.value(f"icmp sgt i64 {number}, {self.word['size']}")
        is_fine = ir.value(f"or i1 {is_positive}, {is_beyond}")
        self._tell(ir.value(f"select i1 {is_fine}, i64 0, i64 {number}"))
        root = ir.intrinsic(
            self.scalar, f"llvm.sqrt.{self.code.kind}", [(self.scalar, pivot)])
        self.set_number(root, place)
        return ir.value(f"fdiv {self.scalar} 1.0, {root}")

    def _to_result(self, first: str, height: str, row_of: Callable[[str], str]) -> None:
        """Writes the panel, and zeros beside its triangle. The first part has the triangle, the
        last one the zeros."""
        ir, code, size = self.ir, self.code, self.word["size"]
        zero = code.constant(0.0, code.kind)
        is_first = ir.value(f"icmp eq i64 {self.part}, 0")
        is_last = ir.value(
            f"icmp eq i64 {self.part}, {ir.integer('sub', self.word['parts'], 1)}")

        def line(row: str, column: str) -> str:
            start = plus(ir, self.result, (row, self.word["result_pitch"]))
            return ir.offset(start, column, self.size)

        def square(row: str, column: int) -> None:
            begin = ir.integer("add", first, column)
            left = ir.integer("sub", size, begin)
            turned = code.turned([
                self.load(self.in_panel(str(column + j), row)) for j in range(self.lanes)])
            for i, value in enumerate(turned):
                own = ir.integer("add", row, i)
                inside = ir.value(f"icmp slt i64 {own}, {height}")
                own = row_of(ir.least(own, ir.integer("sub", height, 1)))
                mask = code.first(ir.value(f"select i1 {inside}, i64 {left}, i64 0"))
                below = code.first(ir.integer("add", ir.integer("sub", own, begin), 1))
                code.store(self.select(below, code.vector, value, zero), line(own, begin),
                           code.kind, mask)

        self._squares(height, square, ir.value(f"select i1 {is_first}, i64 0, i64 {BLOCK}"))

        def clear(row: str, _: list[str]) -> list[str]:
            def some(column: str, _: list[str]) -> list[str]:
                mask = code.first(ir.integer("sub", size, column))
                code.store(zero, line(row, column), code.kind, mask)
                return []

            return ir.loop(ir.integer("add", first, BLOCK), size, self.lanes, [], some)

        behind = ir.least(ir.integer("add", first, BLOCK), size)
        end = ir.value(f"select i1 {is_last}, i64 {behind}, i64 {first}")
        ir.loop(first, end, 1, [], clear)
