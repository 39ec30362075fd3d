"""Kernels of pooling by windows of 2 x 2 side by side, the usual ones.

A window's four elements are in two vectors of each of two rows. Nothing is read or written twice,
and gradients are written, not added.
"""

from __future__ import annotations

from taper.compiler.llvm_text import FunctionText
from taper.compiler.pooling_kernels import POOLING_WORDS
from taper.compiler.tile_code import TileCode, plus

__all__ = ["halving"]


def halving(
    name: str, vector_bytes: int, kind: str, task: str, lanes: int, has_floor: bool
) -> str:
    """The kernel for a task of pooling_kernels.Pooling; its argument block is POOLING_WORDS.

    With `has_floor` the gradient of a maximum is zero where that isn't above zero. A task is a
    plane.
    """
    return _Halving(name, vector_bytes, kind, task, lanes, has_floor).text()


class _Halving:
    def __init__(
        self, name: str, vector_bytes: int, kind: str, task: str, lanes: int, has_floor: bool
    ) -> None:
        self.task, self.has_floor = task, has_floor
        self.ir = FunctionText(name, vector_bytes)
        self.code = TileCode(self.ir, kind, lanes)
        self.bits = self.code.type("b1")
        self.word = self.ir.words(POOLING_WORDS)

    def text(self) -> str:
        ir, word, size = self.ir, self.word, self.code.size
        of_whole = ir.integer("mul", word["height"], word["width"])
        of_pooled = ir.integer("mul", word["rows"], word["columns"])
        is_gradient = self.task.endswith("gradient")
        has_rest = ir.value(f"icmp ne i64 {of_whole}, {ir.integer('mul', of_pooled, 4)}")
        whole, pooled = ("result", "grad") if is_gradient else ("source", "result")
        own = {label: ir.pointer(word[label]) for label in ("source", "result", "grad", "divisors")}

        def plane(number: str, _: list[str]) -> list[str]:
            large, small = (
                ir.offset(own[label], ir.integer("mul", number, count), size)
                for label, count in ((whole, of_whole), (pooled, of_pooled)))
            source = ir.offset(own["source"], ir.integer("mul", number, of_whole), size)
            if is_gradient:
                ir.when(has_rest, lambda _, __: self._clear(large, of_whole))

            def chunk(x: str, _: list[str]) -> list[str]:
                count = ir.integer("sub", word["columns"], x)
                masks = self._masks(count)

                def row(y: str, _: list[str]) -> list[str]:
                    place = ir.integer("add", ir.integer("mul", y, word["columns"]), x)
                    at = ir.integer("add", ir.integer("mul", y, word["width"]), x)
                    at = ir.integer("mul", at, 2)
                    self._windows(
                        ir.offset(source, at, size), ir.offset(large, at, size),
                        ir.offset(small, place, size), ir.offset(own["divisors"], place, size),
                        masks)
                    return []

                ir.loop(0, word["rows"], 1, [], row)
                return []

            ir.loop(0, word["columns"], self.code.lanes, [], chunk)
            return []

        ir.loop("%begin", "%end", 1, [], plane)
        return ir.text()

    def _masks(self, count: str) -> list[str]:
        """Of so many windows, and of the two vectors that hold their rows."""
        ir, code = self.ir, self.code
        twice = ir.integer("mul", count, 2)
        return [code.first(count), code.first(twice),
                code.first(ir.integer("sub", twice, code.lanes))]

    def _clear(self, place: str, count: str) -> list[str]:
        ir, code = self.ir, self.code

        def some(i: str, _: list[str]) -> list[str]:
            code.store("zeroinitializer", ir.offset(place, i, code.size), code.kind,
                       code.first(ir.integer("sub", count, i)))
            return []

        ir.loop(0, count, code.lanes, [], some)
        return []

    def _windows(
        self, source: str, large: str, small: str, divisors: str, masks: list[str]
    ) -> None:
        """Neighbouring windows in a row, so many as there are lanes."""
        ir, code, task = self.ir, self.code, self.task
        here = masks[0]
        if task == "max":
            above, below = self._rows(source, masks)
            even, odd = self._halves(
                [self._larger(p, q) for p, q in zip(above, below, strict=True)])
            code.store(self._larger(even, odd), small, code.kind, here)
        elif task == "mean":
            (a, b), (c, d) = (self._halves(row) for row in self._rows(source, masks))
            total = a
            for value in (b, c, d):
                total = ir.value(f"fadd {code.vector} {total}, {value}")
            by = code.load(divisors, code.kind, here)
            code.store(ir.value(f"fdiv {code.vector} {total}, {by}"), small, code.kind, here)
        elif task == "mean gradient":
            by = code.load(divisors, code.kind, here)
            value = code.load(small, code.kind, here)
            value = ir.value(f"fdiv {code.vector} {value}, {by}")
            self._write([[value, value], [value, value]], large, masks)
        else:
            (a, b), (c, d) = (self._halves(row) for row in self._rows(source, masks))
            chosen = self._of_largest([a, b, c, d], code.load(small, code.kind, here))
            self._write([chosen[:2], chosen[2:]], large, masks)

    def _rows(self, source: str, masks: list[str]) -> list[list[str]]:
        """The two vectors of each of the two rows."""
        ir, code = self.ir, self.code
        below = plus(ir, source, (self.word["width"], str(code.size)))
        return [
            [code.load(row, code.kind, masks[1]),
             code.load(ir.offset(row, str(code.lanes), code.size), code.kind, masks[2])]
            for row in (source, below)
        ]

    def _halves(self, row: list[str]) -> list[str]:
        """The even and the odd elements of two vectors."""
        lanes = self.code.lanes
        low, high = row
        return [self.code.picked(low, high, [2 * i + odd for i in range(lanes)])
                for odd in (0, 1)]

    def _write(self, values: list[list[str]], place: str, masks: list[str]) -> None:
        """Stores even and odd elements of two rows."""
        ir, code = self.ir, self.code
        lanes = code.lanes
        order = [i // 2 + i % 2 * lanes for i in range(2 * lanes)]
        below = plus(ir, place, (self.word["width"], str(code.size)))
        for row, (even, odd) in zip((place, below), values, strict=True):
            for half, mask in enumerate(masks[1:]):
                value = code.picked(even, odd, order[half * lanes : (half + 1) * lanes])
                code.store(value, ir.offset(row, str(half * lanes), code.size), code.kind, mask)

    def _larger(self, a: str, b: str) -> str:
        return self.code.chosen(self.code.exceeds(a, b), a, b)

    def _of_largest(self, values: list[str], grad: str) -> list[str]:
        """The gradient where the first of the largest elements is, and zeros."""
        ir, code = self.ir, self.code
        zero = code.constant(0.0, code.kind)
        best, is_better = values[0], []
        for value in values[1:]:
            is_better.append(self.code.exceeds(value, best))
            best = self.code.chosen(is_better[-1], value, best)
        if self.has_floor:
            is_low = ir.value(f"fcmp ole {code.vector} {best}, {zero}")
            grad = self.code.chosen(is_low, zero, grad)
        found = []
        for is_chosen in reversed(is_better):  # nothing behind is better
            found.append(self.code.chosen(is_chosen, grad, zero))
            grad = self.code.chosen(is_chosen, zero, grad)
        return [grad, *reversed(found)]
