"""The kernel of factors A = Q R by Householder's reflections, one matrix a task.

Columns are contiguous while they are reflected. What takes time is to fetch them, so some columns
are taken through some reflections at once. (Golub and Van Loan, Matrix Computations, 2013,
sections 5.1 and 5.2.)
"""

from __future__ import annotations

from collections.abc import Callable

from taper.compiler.llvm_text import FunctionText
from taper.compiler.tile_code import SIZE, TileCode, plus
from taper.compiler.vector_code import literal, llvm_type

__all__ = ["BLOCK", "REFLECTION_WORDS", "reflection"]

BLOCK = 4  # columns, and reflections, at once; so much room lies behind the last of both
# Sums of squares beyond these bounds may have lost digits, or all.
_BOUNDS = {"f32": (1e-30, 1e35), "f64": (1e-280, 1e300)}

REFLECTION_WORDS = (
    "source", "sides", "basis", "triangle", "work", "vectors", "factors", "status", "rows",
    "columns", "side_columns", "count", "basis_columns", "triangle_rows", "pitch", "source_each",
    "sides_each", "basis_each", "triangle_each", "work_each", "vectors_each", "factors_each",
)


def reflection(name: str, vector_bytes: int, kind: str) -> str:
    """The kernel of A = Q R.

    The argument block is REFLECTION_WORDS, sizes of one matrix in bytes. Operands and results lie
    in rows: `source` is A (rows, columns), `sides` (rows, side_columns) are multiplied by Q^T,
    `basis` the first `basis_columns` of Q, `triangle` R and then the sides (triangle_rows, columns
    + side_columns). `work` has room for columns of `pitch` bytes; `vectors` and `factors`, for
    `count` reflections and BLOCK more, end with zeros. `status` is 1 where sums of squares are out
    of bounds. A task is a matrix.
    """
    return _Reflector(name, vector_bytes, kind).text()


class _Reflector:
    def __init__(self, name: str, vector_bytes: int, kind: str) -> None:
        self.ir = FunctionText(name, vector_bytes)
        self.code = TileCode(self.ir, kind, vector_bytes // SIZE[kind])
        self.lanes = self.code.lanes
        self.size = SIZE[kind]
        self.scalar = llvm_type(kind)
        self.bits = f"<{self.lanes} x i1>"
        self.indices = f"<{self.lanes} x i64>"
        self.iota = f"<{', '.join(f'i64 {i}' for i in range(self.lanes))}>"
        self.zero = self.code.constant(0.0, kind)
        self.word = self.ir.words(REFLECTION_WORDS)

    def text(self) -> str:
        ir, word = self.ir, self.word
        self.height = ir.integer(
            "and", ir.integer("add", word["rows"], self.lanes - 1), -self.lanes)
        self.all_columns = ir.integer("add", word["columns"], word["side_columns"])

        def task(number: str, _: list[str]) -> list[str]:
            self.place = place = {
                label: plus(ir, ir.pointer(word[label]), (number, word[f"{label}_each"]))
                for label in (
                    "source", "sides", "basis", "triangle", "work", "vectors", "factors")
            }
            self.status = ir.offset(ir.pointer(word["status"]), number, 8)
            ir.add(f"store i64 0, ptr {self.status}")
            self._turn_in(place["source"], word["columns"], "0")
            self._turn_in(place["sides"], word["side_columns"], word["columns"])
            self._clear(self.all_columns, BLOCK)
            ir.loop(0, word["count"], BLOCK, [], self._reflect_block)
            self._turn_out(place["triangle"], word["triangle_rows"], self.all_columns, True)
            wants_basis = ir.value(f"icmp ne i64 {word['basis_columns']}, 0")
            ir.when(wants_basis, self._form_basis)
            return []

        ir.loop("%begin", "%end", 1, [], task)
        return ir.text()

    # -- places ----------------------------------------------------------------------------------

    def column(self, number: str, label: str = "work") -> str:
        return plus(self.ir, self.place[label], (number, self.word["pitch"]))

    def at(self, column: str, row: str) -> str:
        return self.ir.offset(column, row, self.size)

    def load(self, place: str) -> str:
        return self.code.load(place, self.code.kind)

    def store(self, value: str, place: str) -> None:
        self.code.store(value, place, self.code.kind)

    def factor(self, j: str) -> str:
        """Where the factor of a reflection is."""
        return self.ir.offset(self.place["factors"], j, self.size)

    def get(self, place: str) -> str:
        return self.ir.value(f"load {self.scalar}, ptr {place}, align {self.size}")

    def set(self, value: str, place: str) -> None:
        self.ir.add(f"store {self.scalar} {value}, ptr {place}, align {self.size}")

    def op(self, name: str, a: str, b: str) -> str:
        return self.ir.value(f"{name} {self.scalar} {a}, {b}")

    def choose(self, condition: str, a: str, b: str) -> str:
        return self.ir.value(f"select i1 {condition}, {self.scalar} {a}, {self.scalar} {b}")

    def _chunks(
        self, row: str, carried: list[str], body: Callable[[str, list[str]], list[str]]
    ) -> list[str]:
        """Calls `body(row, carried vectors)` for the vectors of a column from that of a row on."""
        begin = self.ir.integer("and", row, -self.lanes)
        return self.ir.loop(begin, self.height, self.lanes,
                            [(self.code.vector, value) for value in carried], body)

    def _compared(self, row: str, how: str, with_row: str) -> str:
        """How the rows of a vector compare with one."""
        index = self.ir.value(
            f"add {self.indices} {self.code.splat(row, 'i64')}, {self.iota}")
        return self.ir.value(
            f"icmp {how} {self.indices} {index}, {self.code.splat(with_row, 'i64')}")

    def _chosen(self, mask: str, a: str, b: str) -> str:
        kind = self.code.vector
        return self.ir.value(f"select {self.bits} {mask}, {kind} {a}, {kind} {b}")

    # -- between rows and columns ------------------------------------------------------------------

    def _squares(self, columns: str, rows: str, body: Callable[[str, str], None]) -> None:
        def outer(row: str, _: list[str]) -> list[str]:
            def inner(column: str, _: list[str]) -> list[str]:
                body(row, column)
                return []

            self.ir.loop(0, columns, self.lanes, [], inner)
            return []

        self.ir.loop(0, rows, self.lanes, [], outer)

    def _in_rows(self, start: str, row: str, rows: str, column: str, columns: str) -> tuple[
        str, str
    ]:
        """Where a vector of a row begins, and which of it is there."""
        ir = self.ir
        own = ir.least(row, ir.integer("sub", rows, 1))
        inside = ir.value(f"icmp slt i64 {row}, {rows}")
        left = ir.value(
            f"select i1 {inside}, i64 {ir.integer('sub', columns, column)}, i64 0")
        place = ir.offset(start, ir.integer("mul", own, columns), self.size)
        return ir.offset(place, column, self.size), self.code.first(left)

    def _turn_in(self, source: str, columns: str, to: str) -> None:
        """Copies rows to columns; those behind the last become zeros."""
        ir, code = self.ir, self.code

        def square(row: str, column: str) -> None:
            found = []
            for i in range(self.lanes):
                place, mask = self._in_rows(
                    source, ir.integer("add", row, i), self.word["rows"], column, columns)
                found.append(code.load(place, code.kind, mask))
            first = ir.integer("add", to, column)
            for j, value in enumerate(code.turned(found)):
                self.store(value, self.at(self.column(ir.integer("add", first, j)), row))

        self._squares(columns, self.height, square)

    def _turn_out(self, result: str, rows: str, columns: str, is_triangle: bool) -> None:
        """Copies columns to rows; of a triangle, sides are whole."""
        ir, code = self.ir, self.code

        def square(row: str, column: str) -> None:
            found = code.turned([
                self.load(self.at(self.column(ir.integer("add", column, j)), row))
                for j in range(self.lanes)])
            for i, value in enumerate(found):
                own = ir.integer("add", row, i)
                place, mask = self._in_rows(result, own, rows, column, columns)
                if is_triangle:
                    first = ir.least(own, self.word["columns"])
                    value = self._chosen(self._compared(column, "sge", first), value, self.zero)
                code.store(value, place, code.kind, mask)

        self._squares(columns, rows, square)

    def _clear(self, first: str, count: int) -> None:
        """Makes columns zero."""

        def one(column: str, _: list[str]) -> list[str]:
            start = self.column(column)

            def some(row: str, _: list[str]) -> list[str]:
                self.store(self.zero, self.at(start, row))
                return []

            self._chunks("0", [], some)
            return []

        self.ir.loop(first, self.ir.integer("add", first, count), 1, [], one)

    # -- reflections -----------------------------------------------------------------------------

    def _reflect_block(self, begin: str, _: list[str]) -> list[str]:
        """Some reflections, one after the other; then all columns behind, by all of them."""
        ir = self.ir
        behind = ir.integer("add", begin, BLOCK)

        def one(j: str, _: list[str]) -> list[str]:
            self._make(j, begin)
            ir.loop(ir.integer("add", j, 1), ir.least(behind, self.all_columns), 1, [],
                    lambda c, _: self._apply_one(j, c))
            return []

        ir.loop(begin, ir.least(behind, self.word["count"]), 1, [], one)
        self._apply(begin, behind, self.all_columns, False)
        return []

    def _make(self, j: str, begin: str) -> None:
        """The reflection that leaves of column `j` only what is above and on the diagonal."""
        ir, code = self.ir, self.code
        own, vector = self.column(j), self.column(j, "vectors")

        def square(row: str, sums: list[str]) -> list[str]:
            value = self._chosen(
                self._compared(row, "sgt", j), self.load(self.at(own, row)), self.zero)
            size = ir.intrinsic(
                code.vector, f"llvm.fabs.{code.suffix}", [(code.vector, value)])
            return [code.fused(value, value, sums[0]),
                    ir.value(f"fadd {code.vector} {sums[1]}, {size}")]

        below, sizes = map(code.sum, self._chunks(j, [self.zero] * 2, square))
        place = self.at(own, j)
        alpha = self.get(place)
        total = self.op("fadd", self.op("fmul", alpha, alpha), below)
        is_nothing = ir.value(f"fcmp oeq {self.scalar} {sizes}, 0.0")
        self._check(total, is_nothing)
        length = ir.intrinsic(self.scalar, f"llvm.sqrt.{code.kind}", [(self.scalar, total)])
        is_positive = ir.value(f"fcmp oge {self.scalar} {alpha}, 0.0")
        minus = ir.value(f"fneg {self.scalar} {length}")
        beta = self.choose(is_nothing, alpha, self.choose(is_positive, minus, length))
        one = literal(1.0, code.kind)
        apart = self.choose(is_nothing, one, self.op("fsub", alpha, beta))
        scale = self.op("fdiv", one, apart)
        divisor = self.choose(is_nothing, one, beta)
        self.set(beta, place)
        self.set(self.op("fdiv", self.op("fsub", beta, alpha), divisor), self.factor(j))
        by = code.splat(scale, code.kind)

        def write(row: str, _: list[str]) -> list[str]:
            value = ir.value(f"fmul {code.vector} {self.load(self.at(own, row))}, {by}")
            value = self._chosen(self._compared(row, "sgt", j), value, self.zero)
            value = self._chosen(
                self._compared(row, "eq", j), code.constant(1.0, code.kind), value)
            self.store(value, self.at(vector, row))
            return []

        self._chunks(begin, [], write)

    def _check(self, total: str, is_nothing: str) -> None:
        ir = self.ir
        lowest, highest = (literal(v, self.code.kind) for v in _BOUNDS[self.code.kind])
        is_large = ir.value(f"fcmp oge {self.scalar} {total}, {lowest}")
        is_small = ir.value(f"fcmp ole {self.scalar} {total}, {highest}")
        inside = ir.value(f"and i1 {is_large}, {is_small}")
        inside = ir.value(f"or i1 {inside}, {is_nothing}")
        before = ir.value(f"load i64, ptr {self.status}")
        ir.add(f"store i64 {ir.value(f'select i1 {inside}, i64 {before}, i64 1')}, "
               f"ptr {self.status}")

    def _dot(self, begin: str, first: str, second: str) -> str:
        """The product of two columns from a row on."""

        def some(row: str, sums: list[str]) -> list[str]:
            return [self.code.fused(
                self.load(self.at(first, row)), self.load(self.at(second, row)), sums[0])]

        return self.code.sum(self._chunks(begin, [self.zero], some)[0])

    def _apply_one(self, j: str, c: str) -> list[str]:
        """Reflects one column by one reflection."""
        vector, column = self.column(j, "vectors"), self.column(c)
        found = self.op("fmul", self.get(self.factor(j)), self._dot(j, vector, column))
        minus = self.code.splat(self.ir.value(f"fneg {self.scalar} {found}"), self.code.kind)

        def take(row: str, _: list[str]) -> list[str]:
            place = self.at(column, row)
            self.store(self.code.fused(
                minus, self.load(self.at(vector, row)), self.load(place)), place)
            return []

        self._chunks(j, [], take)
        return []

    def _apply(self, begin: str, first: str, end: str, is_reverse: bool) -> None:
        """Reflects columns by a block of reflections, in their order or the other way round."""
        ir, code = self.ir, self.code
        numbers = [ir.integer("add", begin, i) for i in range(BLOCK)]
        vectors = [self.column(j, "vectors") for j in numbers]
        factors = [self.get(self.factor(j)) for j in numbers]
        order = list(range(BLOCK))[::-1] if is_reverse else list(range(BLOCK))
        shared = {
            (a, b): self._dot(begin, vectors[a], vectors[b])
            for n, b in enumerate(order) for a in order[:n]}

        def some_columns(c: str, _: list[str]) -> list[str]:
            columns = [self.column(ir.integer("add", c, i)) for i in range(BLOCK)]

            def dots(row: str, sums: list[str]) -> list[str]:
                parts = [self.load(self.at(vector, row)) for vector in vectors]
                new = []
                for i, column in enumerate(columns):
                    value = self.load(self.at(column, row))
                    new += [code.fused(part, value, sums[BLOCK * i + n])
                            for n, part in enumerate(parts)]
                return new

            found = self._chunks(begin, [self.zero] * BLOCK**2, dots)
            minus = []
            for i in range(BLOCK):
                shares: dict[int, str] = {}
                for b in order:
                    left = code.sum(found[BLOCK * i + b])
                    for a, share in shares.items():
                        left = self.op("fsub", left, self.op("fmul", shared[a, b], share))
                    shares[b] = self.op("fmul", left, factors[b])
                minus.append([
                    code.splat(ir.value(f"fneg {self.scalar} {shares[b]}"), code.kind)
                    for b in range(BLOCK)])

            def take(row: str, _: list[str]) -> list[str]:
                parts = [self.load(self.at(vector, row)) for vector in vectors]
                for column, multiples in zip(columns, minus, strict=True):
                    place = self.at(column, row)
                    value = self.load(place)
                    for part, multiple in zip(parts, multiples, strict=True):
                        value = code.fused(multiple, part, value)
                    self.store(value, place)
                return []

            self._chunks(begin, [], take)
            return []

        ir.loop(first, end, BLOCK, [], some_columns)

    def _form_basis(self, _: str, __: list[str]) -> list[str]:
        """The first columns of the identity, by all reflections, the last ones first."""
        ir, word = self.ir, self.word
        columns = word["basis_columns"]

        def unit(c: str, _: list[str]) -> list[str]:
            self._clear(c, 1)
            self.set(literal(1.0, self.code.kind), self.at(self.column(c), c))
            return []

        ir.loop(0, columns, 1, [], unit)
        self._clear(columns, BLOCK)
        blocks = ir.integer("udiv", ir.integer("add", word["count"], BLOCK - 1), BLOCK)

        def one(done: str, _: list[str]) -> list[str]:
            last = ir.integer("sub", ir.integer("sub", blocks, 1), done)
            begin = ir.integer("mul", last, BLOCK)
            self._apply(begin, begin, columns, True)
            return []

        ir.loop(0, blocks, 1, [], one)
        self._turn_out(self.place["basis"], word["rows"], columns, False)
        return []
