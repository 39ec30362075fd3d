"""Kernels of Gaussian elimination for matrices of medium size, one a task.

A matrix lies in rows, in memory of its own, with rows and columns up to a multiple of BLOCK that
say 1 = 1. Blocks of columns are factored in a panel, where columns are contiguous and vectors run
down; what is right of them is then reduced by register tiles. Right sides are further columns, so
they are eliminated in passing. (Golub and Van Loan, Matrix Computations, 2013, section 3.2.)
"""

from __future__ import annotations

from collections.abc import Callable

from taper.compiler.llvm_text import FunctionText
from taper.compiler.matrix_products import matrix_tile
from taper.compiler.tile_code import SIZE, TileCode, plus, word_at
from taper.compiler.vector_code import literal, llvm_type

__all__ = [
    "BLOCK", "ELIMINATION_WORDS", "STATUS_EACH", "TOGETHER", "Eliminator", "elimination",
]

BLOCK = 16  # columns of a panel; a multiple of the lanes of any vector
TOGETHER = 4  # columns of a panel that are reduced at once; so many zeros lie behind the last
STATUS_EACH = 64  # bytes from one matrix's status to the next: a line of the cache
_TINY = {"f32": 1.2e-38, "f64": 2.3e-308}  # below, a reciprocal may be infinite

ELIMINATION_WORDS = (
    "work", "panel", "pivots", "status", "sides", "rows", "inverts", "solves", "pitch",
    "panel_pitch", "work_each", "panel_each", "pivots_each", "source", "result", "size",
    "source_pitch", "parts",
)


def elimination(name: str, vector_bytes: int, kind: str) -> str:
    """The kernel of A = P L U with partial pivoting, and of X in A X = B.

    The argument block is ELIMINATION_WORDS: `work` is (rows, columns), A and then B, sizes being
    multiples of BLOCK (of lanes) and pitches in bytes. U stays in the place of A, and where it
    `solves`, X in that of B. `sides` tells of each matrix how many columns there are, B's included,
    and the first of I's that B has, see below. `pivots` are the rows that were exchanged, counted
    from 0. `status` is 0, or the first pivot that is zero, counted from 1, or -1 where one is too
    small to divide by; both are in lines of their own. A task is a matrix.

    A kernel that `inverts` writes A and B itself, from a contiguous `source` of (size, size), and X
    to the `result`, for what one core has written takes another long to fetch. Each of so many
    `parts` of an inverse is a task: some columns, a multiple of BLOCK, that begin at such a one.
    B = I grows to a lower triangle if rows are exchanged only where it has grown to; X is then
    the inverse with columns still to be exchanged. Behind `pivots` is room for as many numbers.
    """
    return Eliminator(name, vector_bytes, kind, ELIMINATION_WORDS).elimination()


class Eliminator:
    """Writes what elimination and Cholesky's factor have in common, and the former."""

    def __init__(self, name: str, vector_bytes: int, kind: str, words: tuple[str, ...]) -> None:
        self.ir = FunctionText(name, vector_bytes)
        self.tile = matrix_tile(kind, vector_bytes)
        self.code = TileCode(self.ir, kind, self.tile.lanes)
        self.lanes = self.tile.lanes
        self.size = SIZE[kind]
        self.scalar = llvm_type(kind)
        self.indices = f"<{self.lanes} x i64>"
        self.iota = f"<{', '.join(f'i64 {i}' for i in range(self.lanes))}>"
        self.word = self.ir.words(words)

    # -- scalars and vectors ---------------------------------------------------------------------

    def number(self, place: str) -> str:
        return self.ir.value(f"load {self.scalar}, ptr {place}, align {self.size}")

    def set_number(self, value: str, place: str) -> None:
        self.ir.add(f"store {self.scalar} {value}, ptr {place}, align {self.size}")

    def load(self, place: str) -> str:
        return self.code.load(place, self.code.kind)

    def store(self, value: str, place: str) -> None:
        self.code.store(value, place, self.code.kind)

    def select(self, mask: str, kind: str, a: str, b: str) -> str:
        return self.ir.value(f"select <{self.lanes} x i1> {mask}, {kind} {a}, {kind} {b}")

    def negative(self, a: str) -> str:
        return self.ir.value(f"fneg {self.code.vector} {a}")

    def at(self, row: str, column: str) -> str:
        """An element of the matrix."""
        start = plus(self.ir, self.work, (row, self.word["pitch"]))
        return self.ir.offset(start, column, self.size)

    def in_panel(self, column: str, row: str) -> str:
        start = plus(self.ir, self.panel, (column, self.word["panel_pitch"]))
        return self.ir.offset(start, row, self.size)

    # -- elimination -----------------------------------------------------------------------------

    def elimination(self) -> str:
        ir, word = self.ir, self.word

        def task(number: str, _: list[str]) -> list[str]:
            self.work = plus(ir, ir.pointer(word["work"]), (number, word["work_each"]))
            self.panel = plus(ir, ir.pointer(word["panel"]), (number, word["panel_each"]))
            self.pivots = plus(ir, ir.pointer(word["pivots"]), (number, word["pivots_each"]))
            self.status = plus(ir, ir.pointer(word["status"]), (number, str(STATUS_EACH)))
            ir.add(f"store i64 0, ptr {self.status}")
            sides = ir.offset(ir.pointer(word["sides"]), ir.integer("mul", number, 2), 8)
            self.columns, self.skipped = word_at(ir, sides, "0"), word_at(ir, sides, "1")
            inverts = ir.value(f"icmp ne i64 {word['inverts']}, 0")
            matrix = ir.integer("udiv", number, word["parts"])
            ir.when(inverts, lambda _, __: self._take(matrix))
            ir.loop(0, word["rows"], BLOCK, [], self._eliminate)
            solves = ir.value(f"icmp ne i64 {word['solves']}, 0")
            ir.when(solves, lambda _, __: ir.loop(0, word["rows"], BLOCK, [], self._substitute))
            ir.when(inverts, lambda _, __: self._give(matrix))
            return []

        ir.loop("%begin", "%end", 1, [], task)
        return ir.text()

    def _of_matrix(self, label: str, matrix: str) -> str:
        each = self.ir.integer("mul", self.word["size"], self.word["source_pitch"])
        return plus(self.ir, self.ir.pointer(self.word[label]), (matrix, each))

    def _take(self, matrix: str) -> list[str]:
        """Copies a matrix, and writes what the task has of I."""
        ir, code, word = self.ir, self.code, self.word
        source, size = self._of_matrix("source", matrix), word["size"]
        zero = code.constant(0.0, code.kind)

        def line(row: str, _: list[str]) -> list[str]:
            is_beyond = ir.value(f"icmp sge i64 {row}, {size}")
            count = ir.value(f"select i1 {is_beyond}, i64 0, i64 {size}")
            begin = plus(ir, source, (ir.least(row, ir.integer("sub", size, 1)),
                                      word["source_pitch"]))

            def some(column: str, _: list[str]) -> list[str]:
                mask = code.first(ir.integer("sub", count, column))
                place = ir.offset(begin, column, self.size)
                self.store(code.load(place, code.kind, mask), self.at(row, column))
                return []

            def clear(column: str, _: list[str]) -> list[str]:
                self.store(zero, self.at(row, column))
                return []

            def one(column: str) -> list[str]:
                self.set_number("1.0", self.at(row, column))
                return []

            ir.loop(0, word["rows"], self.lanes, [], some)
            ir.loop(word["rows"], self.columns, self.lanes, [], clear)
            ir.when(is_beyond, lambda _, __: one(row))
            own = ir.integer("add", word["rows"], ir.integer("sub", row, self.skipped))
            is_behind = ir.value(f"icmp sge i64 {own}, {word['rows']}")
            is_before = ir.value(f"icmp slt i64 {own}, {self.columns}")
            ir.when(ir.value(f"and i1 {is_behind}, {is_before}"), lambda _, __: one(own))
            return []

        return ir.loop(0, word["rows"], 1, [], line)

    def _give(self, matrix: str) -> list[str]:
        """Copies what the task has of the inverse to the result, each column to its place."""
        ir, code, word = self.ir, self.code, self.word
        result, size = self._of_matrix("result", matrix), word["size"]
        width = ir.least(ir.integer("sub", self.columns, word["rows"]),
                         ir.integer("sub", size, self.skipped))
        order = ir.offset(self.pivots, word["rows"], 8)

        def place_of(row: str) -> str:
            return plus(ir, result, (row, word["source_pitch"]))

        def begin(i: str, _: list[str]) -> list[str]:
            ir.add(f"store i64 {i}, ptr {ir.offset(order, i, 8)}")
            return []

        def exchange(i: str, exchanged: list[str]) -> list[str]:
            j = word_at(ir, self.pivots, i)
            a, b = word_at(ir, order, i), word_at(ir, order, j)
            ir.add(f"store i64 {b}, ptr {ir.offset(order, i, 8)}")
            ir.add(f"store i64 {a}, ptr {ir.offset(order, j, 8)}")
            return [ir.integer("or", exchanged[0], ir.integer("xor", i, j))]

        def straight(row: str, _: list[str]) -> list[str]:
            target = ir.offset(place_of(row), self.skipped, self.size)

            def some(column: str, _: list[str]) -> list[str]:
                value = self.load(self.at(row, ir.integer("add", word["rows"], column)))
                code.store(value, ir.offset(target, column, self.size), code.kind,
                           code.first(ir.integer("sub", width, column)))
                return []

            return ir.loop(0, width, self.lanes, [], some)

        def exchanged(row: str, _: list[str]) -> list[str]:
            def one(column: str, _: list[str]) -> list[str]:
                place = word_at(ir, order, ir.integer("add", self.skipped, column))
                self.set_number(self.number(self.at(row, ir.integer("add", word["rows"], column))),
                                ir.offset(place_of(row), place, self.size))
                return []

            return ir.loop(0, width, 1, [], one)

        ir.loop(0, size, 1, [], begin)
        (found,) = ir.loop(0, size, 1, [("i64", "0")], exchange)
        def lines(of_row: Callable[[str, list[str]], list[str]]) -> Callable[[], None]:
            def write() -> None:
                ir.loop(0, size, 1, [], of_row)

            return write

        ir.either(ir.value(f"icmp eq i64 {found}, 0"), lines(straight), lines(exchanged))
        return []

    def _eliminate(self, first: str, _: list[str]) -> list[str]:
        """One block of columns, and what is right of it."""
        ir, word = self.ir, self.word
        height = ir.integer("sub", word["rows"], first)
        self._to_panel(first, height)

        def column(j: str, _: list[str]) -> list[str]:
            pivot = self._pivot(j, height)
            self._exchange_in_panel(j, pivot)
            place = ir.offset(self.pivots, ir.integer("add", first, j), 8)
            ir.add(f"store i64 {ir.integer('add', first, pivot)}, ptr {place}")
            self._reduce_panel(j, height, self._reciprocal(j, first), False)
            return []

        ir.loop(0, BLOCK, 1, [], column)
        self._from_panel(first, str(BLOCK))
        behind = ir.integer("add", first, BLOCK)
        grows = ir.value(f"icmp ne i64 {word['inverts']}, 0")
        end, exchanged = (
            ir.value(f"select i1 {grows}, i64 {self._grown(size)}, i64 {self.columns}")
            for size in (behind, first))
        self._exchange(first, behind, exchanged)
        ir.loop(behind, end, self.lanes, [], lambda c, _: self._solve_lower(first, c))
        lower = ir.integer("sub", word["rows"], behind)
        factors = self.in_panel("0", str(BLOCK)), (str(self.size), word["panel_pitch"])
        self._over_columns(behind, end, lambda c, vectors: self._update_in_place(
            behind, lower, *factors, self.at(first, c), c, vectors))
        return []

    def _grown(self, size: str) -> str:
        """The end of the right sides' columns if I has grown to that size."""
        ir, rows = self.ir, self.word["rows"]
        own = ir.integer("sub", size, self.skipped)
        own = ir.intrinsic("i64", "llvm.smax.i64", [("i64", own), ("i64", "0")])
        return ir.least(ir.integer("add", rows, own), self.columns)

    def _over_columns(self, begin: str, end: str, body: Callable[[str, int], None]) -> None:
        """Calls `body(column, vectors)` for tiles, and for the vectors that remain."""
        ir, width = self.ir, self.lanes * self.tile.vectors
        count = ir.integer("sub", end, begin)
        whole = ir.integer("sub", end, ir.integer("urem", count, width))

        def one(vectors: int) -> Callable[[str, list[str]], list[str]]:
            def write(column: str, _: list[str]) -> list[str]:
                body(column, vectors)
                return []

            return write

        ir.loop(begin, whole, width, [], one(self.tile.vectors))
        ir.loop(whole, end, self.lanes, [], one(1))

    # -- panels ----------------------------------------------------------------------------------

    def _squares(self, height: str, body: Callable[[str, int], None], begin: str = "0") -> None:
        """Calls `body(row, column)` for the squares of a panel."""

        def rows(row: str, _: list[str]) -> list[str]:
            for column in range(0, BLOCK, self.lanes):
                body(row, column)
            return []

        self.ir.loop(begin, height, self.lanes, [], rows)

    def _to_panel(self, first: str, height: str) -> None:
        ir = self.ir

        def square(row: str, column: int) -> None:
            begin = ir.integer("add", first, column)
            own = ir.integer("add", first, row)
            turned = self.code.turned([
                self.load(self.at(ir.integer("add", own, i), begin)) for i in range(self.lanes)])
            for j, value in enumerate(turned):
                self.store(value, self.in_panel(str(column + j), row))

        self._squares(height, square)

    def _from_panel(self, first: str, height: str) -> None:
        ir = self.ir

        def square(row: str, column: int) -> None:
            begin = ir.integer("add", first, column)
            own = ir.integer("add", first, row)
            turned = self.code.turned([
                self.load(self.in_panel(str(column + j), row)) for j in range(self.lanes)])
            for i, value in enumerate(turned):
                self.store(value, self.at(ir.integer("add", own, i), begin))

        self._squares(height, square)

    def _chunks(
        self, j: str, height: str, carried: list[tuple[str, str]],
        body: Callable[[str, str, list[str]], list[str]],
    ) -> list[str]:
        """Calls `body(row, indices, carried)` for vectors of a panel's rows from row `j` on."""
        begin = self.ir.integer("and", j, -self.lanes)
        return self.ir.loop(begin, height, self.lanes, carried, lambda row, values: body(
            row, self.ir.value(
                f"add {self.indices} {self.code.splat(row, 'i64')}, {self.iota}"), values))

    def _pivot(self, j: str, height: str) -> str:
        """The row, from row `j` on, of the largest element of column `j`."""
        ir, code = self.ir, self.code
        lowest = code.constant(-1.0, code.kind)
        here = code.splat(j, "i64")
        start = self.in_panel(j, "0")

        def some(row: str, index: str, values: list[str]) -> list[str]:
            size = ir.intrinsic(code.vector, f"llvm.fabs.{code.suffix}", [
                (code.vector, self.load(ir.offset(start, row, self.size)))])
            larger = ir.value(f"fcmp ogt {code.vector} {size}, {values[0]}")
            own = ir.value(f"icmp sge {self.indices} {index}, {here}")
            better = ir.value(f"and <{self.lanes} x i1> {larger}, {own}")
            return [self.select(better, code.vector, size, values[0]),
                    self.select(better, self.indices, index, values[1])]

        best, index = self._chunks(
            j, height, [(code.vector, lowest), (self.indices, here)], some)
        most = ir.intrinsic(
            self.scalar, f"llvm.vector.reduce.fmax.{code.suffix}", [(code.vector, best)])
        equal = ir.value(f"fcmp oeq {code.vector} {best}, {code.splat(most, code.kind)}")
        index = self.select(equal, self.indices, index, f"splat (i64 {1 << 40})")
        return ir.intrinsic(
            "i64", f"llvm.vector.reduce.smin.v{self.lanes}i64", [(self.indices, index)])

    def _exchange_in_panel(self, j: str, pivot: str) -> None:
        def column(c: str, _: list[str]) -> list[str]:
            a, b = self.in_panel(c, j), self.in_panel(c, pivot)
            first, second = self.number(a), self.number(b)
            self.set_number(second, a)
            self.set_number(first, b)
            return []

        self.ir.loop(0, BLOCK, 1, [], column)

    def _reciprocal(self, j: str, first: str) -> str:
        """1 / pivot, or 1 if it is zero; remembers which are bad."""
        ir, code = self.ir, self.code
        pivot = self.number(self.in_panel(j, j))
        is_zero = ir.value(f"fcmp oeq {self.scalar} {pivot}, 0.0")
        size = ir.intrinsic(self.scalar, f"llvm.fabs.{code.kind}", [(self.scalar, pivot)])
        is_tiny = ir.value(
            f"fcmp olt {self.scalar} {size}, {literal(_TINY[code.kind], code.kind)}")
        number = ir.integer("add", ir.integer("add", first, j), 1)
        found = ir.value(f"select i1 {is_zero}, i64 {number}, i64 -1")
        self._tell(ir.value(f"select i1 {is_tiny}, i64 {found}, i64 0"))
        safe = ir.value(f"select i1 {is_zero}, {self.scalar} 1.0, {self.scalar} {pivot}")
        return ir.value(f"fdiv {self.scalar} 1.0, {safe}")

    def _tell(self, found: str) -> None:
        """Keeps the first status that isn't 0."""
        ir = self.ir
        before = ir.value(f"load i64, ptr {self.status}")
        is_first = ir.value(f"icmp eq i64 {before}, 0")
        ir.add(f"store i64 {ir.value(f'select i1 {is_first}, i64 {found}, i64 {before}')}, "
               f"ptr {self.status}")

    def _reduce_panel(self, j: str, height: str, factor: str, is_symmetric: bool) -> None:
        """Divides column `j` below row `j`, and takes multiples of it from those behind: as row `j`
        says or, where the matrix is symmetric, the column itself."""
        ir, code = self.ir, self.code
        by = code.splat(factor, code.kind)
        here = code.splat(j, "i64")
        start = self.in_panel(j, "0")
        zero = code.constant(0.0, code.kind)

        def below(index: str) -> str:
            return ir.value(f"icmp sgt {self.indices} {index}, {here}")

        def divide(row: str, index: str, _: list[str]) -> list[str]:
            place = ir.offset(start, row, self.size)
            value = self.load(place)
            scaled = ir.value(f"fmul {code.vector} {value}, {by}")
            self.store(self.select(below(index), code.vector, scaled, value), place)
            return []

        self._chunks(j, height, [], divide)

        def columns(c: str, _: list[str]) -> list[str]:
            own = [self.in_panel(ir.integer("add", c, i), "0") for i in range(TOGETHER)]
            multiples = [
                code.all_spread(ir.offset(start, ir.integer("add", c, i), self.size)
                                if is_symmetric else ir.offset(line, j, self.size))
                for i, line in enumerate(own)]

            def some(row: str, index: str, _: list[str]) -> list[str]:
                value = self.load(ir.offset(start, row, self.size))
                minus = self.negative(self.select(below(index), code.vector, value, zero))
                for line, multiple in zip(own, multiples, strict=True):
                    place = ir.offset(line, row, self.size)
                    self.store(code.fused(minus, multiple, self.load(place)), place)
                return []

            self._chunks(j, height, [], some)
            return []

        ir.loop(ir.integer("add", j, 1), BLOCK, TOGETHER, [], columns)

    # -- beside the panel ------------------------------------------------------------------------

    def _exchange(self, first: str, behind: str, end: str) -> None:
        """Exchanges rows right of the panel as the panel's were."""
        ir = self.ir

        def rows(j: str, _: list[str]) -> list[str]:
            row = ir.integer("add", first, j)
            other = ir.value(f"load i64, ptr {ir.offset(self.pivots, row, 8)}")

            def columns(column: str, _: list[str]) -> list[str]:
                a, b = self.at(row, column), self.at(other, column)
                upper, lower = self.load(a), self.load(b)
                self.store(lower, a)
                self.store(upper, b)
                return []

            differs = ir.value(f"icmp ne i64 {row}, {other}")
            ir.when(differs, lambda _, __: ir.loop(
                behind, end, self.lanes, [], columns))
            return []

        ir.loop(0, BLOCK, 1, [], rows)

    def _solve_lower(self, first: str, column: str) -> list[str]:
        """The block's rows of some columns, times the inverse of the panel's unit triangle."""
        ir, code = self.ir, self.code
        places = [self.at(ir.integer("add", first, i), column) for i in range(BLOCK)]
        rows = [self.load(place) for place in places]
        for j in range(BLOCK):
            minus = self.negative(rows[j])
            for i in range(j + 1, BLOCK):
                factor = code.all_spread(self.in_panel(str(j), str(i)))
                rows[i] = code.fused(factor, minus, rows[i])
        for row, place in zip(rows, places, strict=True):
            self.store(row, place)
        return []

    def _update_in_place(
        self, top: str, height: str, left: str, left_strides: tuple[str, str], right: str,
        column: str, vectors: int,
    ) -> None:
        """The same for rows of the matrix from `top` on, and a block's columns and rows."""

        def line(row: str) -> str:
            return self.at(self.ir.integer("add", top, row), column)

        self._update(height, left, left_strides, right, self.word["pitch"], str(BLOCK), line, line,
                     vectors, [None] * vectors)

    def _update(
        self, height: str, left: str, left_strides: tuple[str, str], right: str, right_pitch: str,
        depth: str, source: Callable[[str], str], target: Callable[[str], str], vectors: int,
        masks: list[str | None], row_of: Callable[[str], str] = str,
    ) -> None:
        """Takes from `height` rows, of some vectors, `depth` columns at `left` times rows at
        `right`. Rows of a tile beyond the last are the last. `row_of`: where row m lies at
        `left`."""
        ir, code = self.ir, self.code
        count = self.tile.rows * min(2, self.tile.vectors // vectors)
        last = ir.integer("sub", height, 1)

        def tile(row: str, _: list[str]) -> list[str]:
            own = [ir.least(ir.integer("add", row, m), last) for m in range(count)]
            factors = [plus(ir, left, (row_of(m), left_strides[0])) for m in own]
            begin, end = ([
                ir.offset(line(m), str(v * self.lanes), self.size)
                for m in own for v in range(vectors)] for line in (source, target))

            # One step at a time: LLVM would load for several at once, and spill the sums.
            def one(k: str, sums: list[str]) -> list[str]:
                line = plus(ir, right, (k, right_pitch))
                values = [self.negative(self.load(
                    ir.offset(line, str(v * self.lanes), self.size))) for v in range(vectors)]
                step = ir.integer("mul", k, left_strides[1])
                spread = [code.all_spread(ir.offset(factor, step)) for factor in factors]
                return [code.fused(spread[i // vectors], values[i % vectors], total)
                        for i, total in enumerate(sums)]

            sums = [(code.vector, code.load(place, code.kind, masks[i % vectors]))
                    for i, place in enumerate(begin)]
            for value, place in zip(ir.loop(0, depth, 1, sums, one), end, strict=True):
                self.store(value, place)
            return []

        ir.loop(0, height, count, [], tile)

    def _substitute(self, done: str, _: list[str]) -> list[str]:
        """One block of unknowns, the last first, and the rows above it."""
        ir, code, word = self.ir, self.code, self.word
        first = ir.integer("sub", ir.integer("sub", word["rows"], done), BLOCK)
        inverses = [
            ir.value(f"fdiv {self.scalar} 1.0, {self.number(self.at(row, row))}")
            for row in (ir.integer("add", first, i) for i in range(BLOCK))]

        def solve(column: str, _: list[str]) -> list[str]:
            rows = [ir.integer("add", first, i) for i in range(BLOCK)]
            places = [self.at(row, column) for row in rows]
            values = [self.load(place) for place in places]
            for j in reversed(range(BLOCK)):
                values[j] = ir.value(
                    f"fmul {code.vector} {values[j]}, {code.splat(inverses[j], code.kind)}")
                minus = self.negative(values[j])
                for i in range(j):
                    factor = code.all_spread(self.at(rows[i], rows[j]))
                    values[i] = code.fused(factor, minus, values[i])
            for value, place in zip(values, places, strict=True):
                self.store(value, place)
            return []

        ir.loop(word["rows"], self.columns, self.lanes, [], solve)
        factors = self.at("0", first), (word["pitch"], str(self.size))
        self._over_columns(word["rows"], self.columns, lambda c, vectors: self._update_in_place(
            "0", first, *factors, self.at(first, c), c, vectors))
        return []
