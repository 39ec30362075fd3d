"""What kernels with register tiles write again and again: fused products, masks, turned squares."""

from __future__ import annotations

from typing import NamedTuple

from taper.compiler.expression import Expression
from taper.compiler.llvm_text import FunctionText
from taper.compiler.math_library import lowered
from taper.compiler.vector_code import VectorCode, llvm_type

__all__ = ["SIZE", "Tile", "TileCode", "plus", "word_at"]

SIZE = {"f32": 4, "f64": 8}


class Tile(NamedTuple):
    """What a kernel holds in registers."""

    kind: str  # "f32" or "f64"
    lanes: int
    rows: int
    vectors: int  # of p in a product; elements of k in dots


class TileCode(VectorCode):
    """Vector code without an expression."""

    def __init__(self, text: FunctionText, kind: str, lanes: int) -> None:
        super().__init__(text, lanes, lambda node: None)
        self.kind = kind
        self.size = SIZE[kind]
        self.vector = self.type(kind)
        self.suffix = kind if lanes == 1 else f"v{lanes}{kind}"

    def fused(self, a: str, b: str, c: str) -> str:
        """a * b + c"""
        kinds = [(self.vector, v) for v in (a, b, c)]
        return self.text.intrinsic(self.vector, f"llvm.fma.{self.suffix}", kinds)

    def floored(self, value: str) -> str:
        """Zero where the value is below; NaN stays."""
        zero = self.constant(0.0, self.kind)
        is_below = self.text.value(f"fcmp ole {self.vector} {value}, {zero}")
        bits = self.type("b1")
        return self.text.value(
            f"select {bits} {is_below}, {self.vector} {zero}, {self.vector} {value}")

    def exceeds(self, a: str, b: str) -> str:
        """The mask of where a is larger, or no number."""
        larger = self.text.value(f"fcmp ogt {self.vector} {a}, {b}")
        is_nan = self.text.value(f"fcmp uno {self.vector} {a}, {a}")
        return self.text.value(f"or {self.type('b1')} {larger}, {is_nan}")

    def chosen(self, mask: str, a: str, b: str) -> str:
        """a where the mask is set, b elsewhere."""
        return self.text.value(
            f"select {self.type('b1')} {mask}, {self.vector} {a}, {self.vector} {b}")

    def first(self, count: str) -> str:
        """The mask of the first `count` lanes."""
        whole = f"<{self.lanes} x i64>"
        iota = f"<{', '.join(f'i64 {i}' for i in range(self.lanes))}>"
        return self.text.value(f"icmp slt {whole} {iota}, {self.splat(count, 'i64')}")

    def all_spread(self, pointer: str) -> str:
        """The number at an address, in all lanes."""
        scalar = llvm_type(self.kind)
        return self.splat(
            self.text.value(f"load {scalar}, ptr {pointer}, align {self.size}"), self.kind)

    def function_of(self, name: str, x: str) -> str:
        """"exp" or "log" of a vector, or of a number."""
        e = Expression()
        e.results.append(e.unary(name, e.input(0, self.kind)))
        found = lowered(e)
        code = VectorCode(self.text, self.lanes, lambda n: x if n.op == "input" else None)
        return code.of(found.results[0])

    def turned(self, rows: list[str]) -> list[str]:
        """The columns of a square of `lanes` rows, by exchanging ever smaller blocks."""
        span = self.lanes // 2
        rows = list(rows)
        while span:
            low = [i if not i & span else self.lanes + i - span for i in range(self.lanes)]
            high = [i + span if not i & span else self.lanes + i for i in range(self.lanes)]
            for i in range(self.lanes):
                if not i & span:
                    a, b = rows[i], rows[i + span]
                    rows[i], rows[i + span] = self.picked(a, b, low), self.picked(a, b, high)
            span //= 2
        return rows

    def picked(self, a: str, b: str, lanes: list[int]) -> str:
        """Lanes of two vectors, those of the second counted on from the first's."""
        mask = ", ".join(f"i32 {i}" for i in lanes)
        return self.text.value(
            f"shufflevector {self.vector} {a}, {self.vector} {b}, <{len(lanes)} x i32> <{mask}>")

    def sum(self, value: str) -> str:
        """The sum of all lanes, halves first."""
        scalar = llvm_type(self.kind)
        zero = "-0.0"
        return self.text.value(
            f"call reassoc {scalar} @{self._declare_sum(scalar)}({scalar} {zero}, "
            f"{self.vector} {value})")

    def _declare_sum(self, scalar: str) -> str:
        name = f"llvm.vector.reduce.fadd.{self.suffix}"
        self.text.declarations[name] = f"declare {scalar} @{name}({scalar}, {self.vector})"
        return name


def word_at(text: FunctionText, table: str, index: str, offset: int = 0) -> str:
    place = text.offset(table, index, 8)
    if offset:
        place = text.offset(place, str(offset), 8)
    return text.value(f"load i64, ptr {place}")


def plus(text: FunctionText, pointer: str, *terms: tuple[str, str]) -> str:
    """A pointer some products of integers further, in bytes."""
    for a, b in terms:
        pointer = text.offset(pointer, text.integer("mul", a, b))
    return pointer
