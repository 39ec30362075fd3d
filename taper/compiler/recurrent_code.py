"""What the kernels of recurrent layers have in common: tiles, places, rows and steps.

Elements are ordered as in kernels/recurrent.py: `starts` and `sizes` say where each step's begin
and how many sequences, the longest first, have one. Steps are tables in the order they are taken.
Words that are offsets count elements from `scratch`, the memory of one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from taper.compiler.expression import Expression
from taper.compiler.llvm_text import FunctionText
from taper.compiler.math_library import lowered
from taper.compiler.recurrent_cells import Cell
from taper.compiler.tile_code import SIZE, Tile, TileCode, word_at
from taper.compiler.vector_code import VectorCode

__all__ = ["LayerCode", "recurrent_tile", "weight_tile"]

# Rows and vectors of tiles, by the registers there are.
_TILES = {32: ((2, 8), (4, 4), (6, 4), (8, 2)), 16: ((2, 4), (4, 2), (6, 2))}


def _registers(vector_bytes: int) -> int:
    return 16 if vector_bytes == 32 else 32


def recurrent_tile(kind: str, vector_bytes: int, sequences: int) -> Tile:
    """The tile of which blocks of so many sequences leave the least empty, on two threads."""

    def cost(shape: tuple[int, int]) -> tuple[float, int]:
        rows, blocks = shape[0], -(-sequences // shape[0])
        # A vector of weights is fetched in the time of three multiplications.
        return (blocks + blocks % 2) * max(rows, 3.2), -rows

    rows, vectors = min(_TILES[_registers(vector_bytes)], key=cost)
    return Tile(kind, vector_bytes // SIZE[kind], rows, vectors)


def weight_tile(kind: str, vector_bytes: int) -> Tile:
    """The tile of the weights' gradients: gates times columns."""
    rows = 12 if _registers(vector_bytes) == 32 else 6
    return Tile(kind, vector_bytes // SIZE[kind], rows, 2)


class LayerCode:
    """The writer of one kernel: rows, formulas, places."""

    def __init__(
        self, name: str, vector_bytes: int, tile: Tile, cell: Cell, labels: Sequence[str]
    ) -> None:
        self.text = FunctionText(name, vector_bytes)
        self.word = self.text.words(labels)
        self.tile = tile
        self.cell = cell
        self.code = TileCode(self.text, tile.kind, tile.lanes)
        self.units = self.word["units"]
        self.gates = self.text.integer("mul", self.units, cell.gates)

    def pointer(self, label: str) -> str:
        return self.text.pointer(self.word[label])

    def scratch(self, offset: str) -> str:
        return self.text.offset(self.pointer("scratch"), offset, self.code.size)

    def row(self, base: str, row: str, width: str, column: str = "0") -> str:
        """Where an element of an array (rows, width) is."""
        text = self.text
        place = text.integer("add", text.integer("mul", row, width), column)
        return text.offset(base, place, self.code.size)

    def rows_of_tile(self, count: str) -> list[str]:
        """The rows of a tile; those behind the last one are the last one again, as masked accesses
        to memory that isn't there take hundreds of cycles each."""
        last = self.text.integer("sub", count, 1)
        return [self.text.least(str(m), last) for m in range(self.tile.rows)]

    def masks(self, column: str, width: str, count: str) -> list[str]:
        """The masks of a tile's vectors that begin at a column, row by row."""
        text, tile = self.text, self.tile
        left = text.integer("sub", width, column)
        across = [self.code.first(text.integer("sub", left, v * tile.lanes))
                  for v in range(tile.vectors)]
        found = []
        whole = f"<{tile.lanes} x i1>"
        for m in range(tile.rows):
            inside = text.value(f"icmp slt i64 {m}, {count}")
            found += [text.value(f"select i1 {inside}, {whole} {mask}, {whole} zeroinitializer")
                      for mask in across]
        return found

    def vectors_at(self, rows: Sequence[str]) -> list[str]:
        """The pointers to a tile's vectors, given those to its rows."""
        return [self.text.offset(row, str(v * self.tile.lanes), self.code.size)
                for row in rows for v in range(self.tile.vectors)]

    def product(
        self, left: Sequence[str], panel: str, depth: str, start: Sequence[str]
    ) -> list[str]:
        """`start` plus the products of rows (pointers) with a panel."""
        text, code, tile = self.text, self.code, self.tile

        def step(k: str, sums: list[str]) -> list[str]:
            at = text.offset(panel, text.integer("mul", k, tile.lanes * tile.vectors), code.size)
            columns = [code.load(text.offset(at, str(v * tile.lanes), code.size), code.kind)
                       for v in range(tile.vectors)]
            new = []
            for m, row in enumerate(left):
                factor = code.all_spread(text.offset(row, k, code.size))
                new += [code.fused(column, factor, sums[m * tile.vectors + v])
                        for v, column in enumerate(columns)]
            return new

        return text.loop(0, depth, 1, [(code.vector, s) for s in start], step)

    def for_panels(self, width: str, body: Callable[[str], None]) -> None:
        """Does `body(column)` for the first column of each panel."""

        def one(column: str, _: list[str]) -> list[str]:
            body(column)
            return []

        self.text.loop(0, width, self.tile.lanes * self.tile.vectors, [], one)

    def for_units(self, count: str, body: Callable[[str, str, str], None]) -> None:
        """Does `body(row, first unit, mask)` for all units of some rows, a vector at a time."""
        text = self.text

        def of_row(m: str, _: list[str]) -> list[str]:
            def one(unit: str, _: list[str]) -> list[str]:
                body(m, unit, self.code.first(text.integer("sub", self.units, unit)))
                return []

            text.loop(0, self.units, self.tile.lanes, [], one)
            return []

        text.loop(0, count, 1, [], of_row)

    def copy_rows(self, pairs: Sequence[tuple[str, str]], count: str) -> None:
        """Copies `count` rows of units from one pointer to another."""

        def one(m: str, unit: str, mask: str) -> None:
            for source, target in pairs:
                value = self.code.load(self.row(source, m, self.units, unit), self.code.kind, mask)
                self.code.store(value, self.row(target, m, self.units, unit), self.code.kind, mask)

        self.for_units(count, one)

    def places(
        self, labels: Sequence[str], pointers: dict[str, str], m: str, unit: str
    ) -> list[str]:
        """Where a row's vector of units is, in each of these arrays: one place, or one a gate."""
        text, found = self.text, []
        for label in labels:
            if label not in ("gates", "shares", "wanted", "for_recurrent"):
                found.append(self.row(pointers[label], m, self.units, unit))
                continue
            first = self.row(pointers[label], m, self.gates, unit)
            for gate in range(self.cell.gates):
                found.append(text.offset(
                    first, text.integer("mul", self.units, gate), self.code.size))
        return found

    def apply(
        self, define: Callable[..., Any], operands: Sequence[str], results: Sequence[str],
        mask: str,
    ) -> None:
        """Loads operands, computes a formula of them, stores its results."""
        code = self.code
        e = Expression()
        nodes = [e.input(i, self.tile.kind) for i in range(len(operands))]
        e.results.extend(define(e, *nodes))
        found = lowered(e, self.text.vector_bytes)
        inputs = {i: code.load(place, code.kind, mask) for i, place in enumerate(operands)}
        own = VectorCode(
            self.text, self.tile.lanes,
            lambda node: inputs[node.value] if node.op == "input" else None)
        values = [own.of(node) for node in found.results]
        for value, place in zip(values, results, strict=True):
            code.store(value, place, code.kind, mask)

    def for_blocks(self, first: str, end: str, body: Callable[[str], None]) -> None:
        """Does `body(number)` for some blocks of sequences."""

        def one(block: str, _: list[str]) -> list[str]:
            body(block)
            return []

        self.text.loop(first, end, 1, [], one)

    def for_steps(
        self, begin: str | int, end: str, block: str, body: Callable[[str, str, str], None]
    ) -> None:
        """Does `body(step, first element, count)` for the steps that sequences of a block have."""
        text, tile = self.text, self.tile
        first = text.integer("mul", block, tile.rows)

        def step(t: str, _: list[str]) -> list[str]:
            size = word_at(text, self.pointer("sizes"), t)
            start = word_at(text, self.pointer("starts"), t)
            count = text.least(text.integer("sub", size, first), str(tile.rows))

            def some(_: str, __: list[str]) -> list[str]:
                body(t, text.integer("add", start, first), count)
                return []

            text.when(text.value(f"icmp sgt i64 {count}, 0"), some)
            return []

        text.loop(begin, end, 1, [], step)

    def own_rows(self, labels: Sequence[str], first: str, width: str) -> dict[str, str]:
        """Pointers to arrays' rows from `first` on."""
        return {label: self.row(self.pointer(label), first, width) for label in labels}

    def block_of(self, block: str) -> tuple[str, str]:
        """A block's first sequence and how many it has."""
        first = self.text.integer("mul", block, self.tile.rows)
        left = self.text.integer("sub", self.word["sequences"], first)
        return first, self.text.least(left, str(self.tile.rows))
