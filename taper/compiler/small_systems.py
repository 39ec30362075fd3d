"""The kernel of many small systems of linear equations, one in each lane of the vectors.

Gaussian elimination with partial pivoting, written out for n unknowns and m right sides: LAPACK
takes longer to be called than a system of four unknowns takes to be solved.
"""

from __future__ import annotations

from taper.compiler.llvm_text import FunctionText
from taper.compiler.tile_code import SIZE, TileCode
from taper.compiler.vector_code import llvm_type

__all__ = ["MOST_SIDES", "MOST_UNKNOWNS", "SYSTEMS_WORDS", "systems"]

MOST_UNKNOWNS, MOST_SIDES = 8, 8  # all of a system should nearly fit into registers

SYSTEMS_WORDS = ("matrices", "sides", "result", "singular", "count")


def systems(name: str, vector_bytes: int, kind: str, n: int, m: int) -> str:
    """The kernel of X in A X = B, for contiguous A (count, n, n) and B (count, n, m).

    The argument block is SYSTEMS_WORDS. A task is as many systems as there are lanes; its word of
    `singular` says, by a bit for each, which have no single solution.
    """
    text = FunctionText(name, vector_bytes)
    one = _Systems(text, TileCode(text, kind, vector_bytes // SIZE[kind]), n, m)
    word = text.words(SYSTEMS_WORDS)

    def task(number: str, _: list[str]) -> list[str]:
        first = text.integer("mul", number, one.code.lanes)
        mask = one.code.first(text.integer("sub", word["count"], first))
        a = one.load(text.pointer(word["matrices"]), first, n, mask)
        b = one.load(text.pointer(word["sides"]), first, m, mask)
        singular = one.eliminate(a, b)
        one.substitute(a, b)
        one.store(b, text.pointer(word["result"]), first, mask)
        singular = text.value(f"and <{one.code.lanes} x i1> {singular}, {mask}")
        bits = text.value(f"bitcast <{one.code.lanes} x i1> {singular} to i{one.code.lanes}")
        bits = text.value(f"zext i{one.code.lanes} {bits} to i64")
        place = text.offset(text.pointer(word["singular"]), number, 8)
        text.add(f"store i64 {bits}, ptr {place}")
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()


class _Systems:
    """Matrices whose elements are vectors: one element of as many systems as there are lanes."""

    def __init__(self, text: FunctionText, code: TileCode, n: int, m: int) -> None:
        self.text = text
        self.code = code
        self.n = n
        self.m = m

    def op(self, name: str, a: str, b: str) -> str:
        return self.text.value(f"{name} {self.code.vector} {a}, {b}")

    def load(self, base: str, first: str, columns: int, mask: str) -> list[list[str]]:
        """The elements of (systems, n, columns), from system `first` on."""
        text, size = self.text, self.code.size
        each = self.n * columns
        start = text.offset(base, text.integer("mul", first, each), size)
        return [[
            self.code.gather(text.offset(start, str(i * columns + j), size), str(each * size),
                             self.code.kind, mask)
            for j in range(columns)] for i in range(self.n)]

    def store(self, values: list[list[str]], base: str, first: str, mask: str) -> None:
        text, code = self.text, self.code
        each = self.n * self.m
        start = text.offset(base, text.integer("mul", first, each), code.size)
        steps = ", ".join(f"i64 {i * each}" for i in range(code.lanes))
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                place = text.offset(start, str(i * self.m + j), code.size)
                places = text.value(
                    f"getelementptr {llvm_type(code.kind)}, ptr {place}, <{code.lanes} x i64> "
                    f"<{steps}>")
                text.intrinsic(
                    "void", f"llvm.masked.scatter.{code.suffix}.v{code.lanes}p0",
                    [(code.vector, value), (f"<{code.lanes} x ptr>", places),
                     ("i32", str(code.size)), (f"<{code.lanes} x i1>", mask)])

    def _swapped(self, chosen: str, x: str, y: str) -> tuple[str, str]:
        kind, mask = self.code.vector, f"<{self.code.lanes} x i1>"
        return (self.text.value(f"select {mask} {chosen}, {kind} {y}, {kind} {x}"),
                self.text.value(f"select {mask} {chosen}, {kind} {x}, {kind} {y}"))

    def _size(self, x: str) -> str:
        name = f"llvm.fabs.{self.code.suffix}"
        return self.text.intrinsic(self.code.vector, name, [(self.code.vector, x)])

    def eliminate(self, a: list[list[str]], b: list[list[str]]) -> str:
        """Makes A upper triangular, changing B alike; returns which lanes met a zero pivot."""
        text, code = self.text, self.code
        singular = "zeroinitializer"
        for k in range(self.n):
            for i in range(k + 1, self.n):  # the largest of the column moves up
                larger = text.value(
                    f"fcmp ogt {code.vector} {self._size(a[i][k])}, {self._size(a[k][k])}")
                for j in range(k, self.n):
                    a[k][j], a[i][j] = self._swapped(larger, a[k][j], a[i][j])
                for j in range(self.m):
                    b[k][j], b[i][j] = self._swapped(larger, b[k][j], b[i][j])
            is_zero = text.value(f"fcmp oeq {code.vector} {a[k][k]}, zeroinitializer")
            singular = text.value(f"or <{code.lanes} x i1> {singular}, {is_zero}")
            for i in range(k + 1, self.n):
                factor = self.op("fdiv", a[i][k], a[k][k])
                factor = text.value(f"fneg {code.vector} {factor}")
                for j in range(k + 1, self.n):
                    a[i][j] = code.fused(factor, a[k][j], a[i][j])
                for j in range(self.m):
                    b[i][j] = code.fused(factor, b[k][j], b[i][j])
        return singular

    def substitute(self, a: list[list[str]], b: list[list[str]]) -> None:
        """Solves for the unknowns, the last one first, in the place of B."""
        for k in reversed(range(self.n)):
            for i in range(k + 1, self.n):
                factor = self.text.value(f"fneg {self.code.vector} {a[k][i]}")
                for j in range(self.m):
                    b[k][j] = self.code.fused(factor, b[i][j], b[k][j])
            for j in range(self.m):
                b[k][j] = self.op("fdiv", b[k][j], a[k][k])
