"""Kernels of Cholesky's factor for matrices of medium size, one a task.

Panels and register tiles are those of elimination_kernels.py.
"""

from __future__ import annotations

from taper.compiler.elimination_kernels import BLOCK, Eliminator
from taper.compiler.tile_code import plus

__all__ = ["FACTOR_WORDS", "cholesky"]

FACTOR_WORDS = (
    "source", "panel", "work", "turned", "result", "status", "size", "panel_pitch", "pitch",
    "result_pitch", "matrix_each", "panel_each", "work_each", "turned_each",
)


def cholesky(name: str, vector_bytes: int, kind: str) -> str:
    """The kernel of A = L L^T, of whose lower triangle it reads; L is written to `result`.

    Block by block, what the columns to the left take from a block of columns is summed in
    registers. The argument block is FACTOR_WORDS: `source` and `result` are contiguous matrices of
    (size, size), `work` and `turned` have room for BLOCK columns, the former lines of `pitch`
    bytes. `status` is 0, or the first pivot that isn't positive, counted from 1. A task is a
    matrix.
    """
    return _Factorizer(name, vector_bytes, kind, FACTOR_WORDS).cholesky()


class _Factorizer(Eliminator):
    def cholesky(self) -> str:
        ir, word = self.ir, self.word

        def of_task(label: str, number: str, each: str) -> str:
            return plus(ir, ir.pointer(word[label]), (number, word[f"{each}_each"]))

        def task(number: str, _: list[str]) -> list[str]:
            self.source = of_task("source", number, "matrix")
            self.result = of_task("result", number, "matrix")
            self.panel, self.work, self.turned = (
                of_task(label, number, label) for label in ("panel", "work", "turned"))
            self.status = ir.offset(ir.pointer(word["status"]), number, 8)
            ir.add(f"store i64 0, ptr {self.status}")
            ir.loop(0, word["size"], BLOCK, [], self._factor)
            return []

        ir.loop("%begin", "%end", 1, [], task)
        return ir.text()

    def _factor(self, first: str, _: list[str]) -> list[str]:
        """One block of columns, below the diagonal."""
        ir, word = self.ir, self.word
        height = ir.integer("sub", word["size"], first)
        self._turn_rows(first)
        own_row = plus(ir, self.result, (first, word["result_pitch"]))
        width = self.tile.vectors * self.lanes

        def source(row: str) -> str:
            line = plus(ir, self.source, (ir.integer("add", first, row), word["result_pitch"]))
            return ir.offset(line, ir.integer("add", first, column), self.size)

        def target(row: str) -> str:
            return ir.offset(plus(ir, self.work, (row, word["pitch"])), column, self.size)

        for begin in range(0, BLOCK, width):
            vectors = min(width, BLOCK - begin) // self.lanes
            column = str(begin)
            left = ir.integer("sub", height, begin)
            masks: list[str | None] = [
                self.code.first(ir.integer("sub", left, v * self.lanes)) for v in range(vectors)]
            self._update(
                height, own_row, (word["result_pitch"], str(self.size)),
                ir.offset(self.turned, column, self.size), str(BLOCK * self.size), first, source,
                target, vectors, masks)
        self._to_panel("0", height)

        def eliminate(j: str, _: list[str]) -> list[str]:
            self._reduce_panel(j, height, self._root(j, first), True)
            return []

        ir.loop(0, BLOCK, 1, [], eliminate)
        self._to_result(first, height)
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

    def _to_result(self, first: str, height: str) -> None:
        """Writes the panel, and zeros beside its triangle."""
        ir, code, size = self.ir, self.code, self.word["size"]
        zero = code.constant(0.0, code.kind)

        def line(row: str, column: str) -> tuple[str, str]:
            """Where vectors of a row go, and which of them."""
            own = ir.least(row, ir.integer("sub", size, 1))
            inside = ir.value(f"icmp slt i64 {row}, {size}")
            left = ir.value(
                f"select i1 {inside}, i64 {ir.integer('sub', size, column)}, i64 0")
            start = plus(ir, self.result, (own, self.word["result_pitch"]))
            return ir.offset(start, column, self.size), code.first(left)

        def square(row: str, column: int) -> None:
            begin = ir.integer("add", first, column)
            turned = code.turned([
                self.load(self.in_panel(str(column + j), row)) for j in range(self.lanes)])
            for i, value in enumerate(turned):
                own = ir.integer("add", ir.integer("add", first, row), i)
                place, mask = line(own, begin)
                below = code.first(ir.integer("add", ir.integer("sub", own, begin), 1))
                code.store(self.select(below, code.vector, value, zero), place, code.kind, mask)

        self._squares(height, square)

        def clear(i: str, _: list[str]) -> list[str]:
            row = ir.integer("add", first, i)

            def some(column: str, _: list[str]) -> list[str]:
                place, mask = line(row, column)
                code.store(zero, place, code.kind, mask)
                return []

            ir.loop(ir.integer("add", first, BLOCK), size, self.lanes, [], some)
            return []

        ir.loop(0, BLOCK, 1, [], clear)
