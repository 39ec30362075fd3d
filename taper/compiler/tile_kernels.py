"""Kernels for operands that lie crosswise: one runs along memory where another runs across it.

Square tiles are loaded along memory, transposed in registers, and then everything goes along the
result's memory. The unit of work is a strip of a few tiles' rows, which is walked column by column:
so each page of memory that lies crosswise is visited for some cache lines at a time.

The argument block: the operands' addresses; how many rows and columns a plane has; the outer sizes;
for each operand its outer strides and the ones from row to row and from column to column, in bytes.
Layouts: "contiguous" (along columns), "crosswise" (contiguous along rows), "same" (one value for
all columns of a row).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taper.compiler.expression import ELEMENT, Expression, Node
from taper.compiler.llvm_text import FunctionText
from taper.compiler.passes import Operand
from taper.compiler.row_kernels import address_at, coordinates
from taper.compiler.vector_code import VectorCode, largest_size, memory_type

__all__ = ["strip_rows", "tile_kernel"]

_MOST_ROWS = 16
_TILES = 4  # in a strip, one below the other


def strip_rows(vector_bytes: int, expression: Expression) -> int:
    """The rows of a unit of work."""
    return _TILES * _side(vector_bytes, expression)


def _side(vector_bytes: int, expression: Expression) -> int:
    """The rows, and columns, of a tile."""
    return min(_MOST_ROWS, vector_bytes // largest_size(expression))


def _transposed(text: FunctionText, rows: list[str], kind: str) -> list[str]:
    """The columns of a square of vectors: halves are exchanged at distances 1, 2, 4 …"""
    count = len(rows)
    whole = f"<{count} x {kind}>"
    rows = list(rows)

    def shuffle(a: str, b: str, picked: list[int]) -> str:
        lanes = ", ".join(f"i32 {i}" for i in picked)
        return text.value(f"shufflevector {whole} {a}, {whole} {b}, <{count} x i32> <{lanes}>")

    distance = 1
    while distance < count:
        low = [j if not j & distance else count + j - distance for j in range(count)]
        high = [j + distance if not j & distance else count + j for j in range(count)]
        for k in range(count):
            if not k & distance:
                a, b = rows[k], rows[k + distance]
                rows[k], rows[k + distance] = shuffle(a, b, low), shuffle(a, b, high)
        distance *= 2
    return rows


class _Tiles:
    """The state of writing one kernel."""

    def __init__(
        self, name: str, vector_bytes: int, expression: Expression, operands: Sequence[Operand],
        outer: int,
    ) -> None:
        self.text = text = FunctionText(name, vector_bytes)
        self.expression = expression
        self.operands = operands
        self.side = _side(vector_bytes, expression)
        count = len(operands)
        self.addresses = text.arguments(count)
        self.rows, self.columns = text.argument(count), text.argument(count + 1)
        self.sizes = [text.argument(count + 2 + d) for d in range(outer)]
        self.strides = [
            [text.argument(count + 2 + outer + i * (outer + 2) + d) for d in range(outer + 2)]
            for i in range(count)
        ]
        self.planes: list[str] = []  # addresses of the current plane

    def mask(self, first: str, stop: str) -> str:
        """Which lanes, counted from `first`, lie before `stop`."""
        left = self.text.value(f"trunc i64 {self.text.integer('sub', stop, first)} to i32")
        code = VectorCode(self.text, self.side, lambda node: None)
        iota = f"<{', '.join(f'i32 {i}' for i in range(self.side))}>"
        return self.text.value(f"icmp slt {code.type('i32')} {iota}, {code.splat(left, 'i32')}")

    def write_strip(self, first: str, last: str) -> None:
        text, side = self.text, self.side

        def tiles(column: str, _: list[str]) -> list[str]:
            right = text.integer("add", column, side)
            is_wide = text.value(f"icmp sle i64 {right}, {self.columns}")

            def tile(row: str, _: list[str]) -> list[str]:
                below = text.integer("add", row, side)
                is_high = text.value(f"icmp sle i64 {below}, {self.rows}")
                text.either(text.value(f"and i1 {is_wide}, {is_high}"),
                            lambda: self.write_tile(row, column),
                            lambda: self.write_edge(row, column))
                return []

            text.loop(first, last, side, [], tile)
            return []

        text.loop("0", self.columns, side, [], tiles)

    def write_edge(self, row: str, column: str) -> None:
        """A tile of which only a part exists."""
        text = self.text
        is_column, is_row = (
            [text.value(f"icmp slt i64 {text.integer('add', start, k)}, {stop}")
             for k in range(self.side)]
            for start, stop in ((column, self.columns), (row, self.rows))
        )
        row_mask, column_mask = self.mask(row, self.rows), self.mask(column, self.columns)
        self.write_tile(row, column, [self._if(c, row_mask) for c in is_column],
                        [self._if(r, column_mask) for r in is_row])

    def write_tile(
        self, row: str, column: str, down: list[str] | None = None, along: list[str] | None = None
    ) -> None:
        """A tile. `down`: for each column, which rows exist; `along`: for each row, which columns
        do; None if all of them do."""
        down_masks: list[Any] = down or [None] * self.side
        along_masks: list[Any] = along or [None] * self.side
        turned = {
            i: self._turned(i, row, column, down_masks)
            for i, operand in enumerate(self.operands) if operand.layout == "crosswise"
        }
        places = {i: self._places(i, row, column, -2)
                  for i, operand in enumerate(self.operands) if i not in turned}
        result = len(self.operands) - 1
        for k, mask in enumerate(along_masks):
            code = self._row_code(turned, places, k, mask)
            value = code.of(self.expression.results[0])
            code.store(value, places[result][k], self.operands[result].type, mask)

    def _places(self, operand: int, row: str, column: str, which: int) -> list[str]:
        """Where the tile's rows (which = -2) or columns (-1) begin."""
        strides = self.strides[operand]
        start = address_at(self.text, self.planes[operand], [row, column], strides[-2:])
        places = [start]
        for _ in range(self.side - 1):
            places.append(self.text.integer("add", places[-1], strides[which]))
        return [self.text.pointer(p) for p in places]

    def _if(self, condition: str, mask: str) -> str:
        whole = f"<{self.side} x i1>"
        return self.text.value(f"select i1 {condition}, {whole} {mask}, {whole} zeroinitializer")

    def _turned(self, operand: int, row: str, column: str, masks: list[Any]) -> list[str]:
        """The rows of an operand's tile, which lies crosswise in memory."""
        kind = self.operands[operand].type
        code = VectorCode(self.text, self.side, lambda node: None)
        raw = "u8" if kind == "b1" else kind
        places = self._places(operand, row, column, -1)
        columns = [code.load(p, raw, mask) for p, mask in zip(places, masks, strict=True)]
        rows = _transposed(self.text, columns, memory_type(kind))
        return [code.from_memory(r, kind) for r in rows]

    def _row_code(
        self, turned: dict[int, list[str]], places: dict[int, list[str]], k: int, mask: str | None
    ) -> VectorCode:
        def leaf(node: Node) -> str | None:
            if node.op != "input":
                return None
            if node.value in turned:
                return turned[node.value][k]
            pointer = places[node.value][k]
            if node.level == ELEMENT:
                return code.load(pointer, node.type, mask)
            if mask is None:
                one = VectorCode(self.text, 1, lambda node: None)
                return code.splat(one.load(pointer, node.type), node.type)
            return self._single(code, node.type, pointer, mask)

        code = VectorCode(self.text, self.side, leaf)
        return code

    def _single(self, code: VectorCode, kind: str, pointer: str, mask: str) -> str:
        """One value for the row in all lanes: read only if the row exists."""
        lowest = ", ".join(f"i1 {'true' if i == 0 else 'false'}" for i in range(self.side))
        only = self.text.value(f"and <{self.side} x i1> {mask}, <{lowest}>")
        found = code.load(pointer, kind, only)
        whole = code.type(kind)
        zeros = f"<{self.side} x i32> zeroinitializer"
        return self.text.value(f"shufflevector {whole} {found}, {whole} poison, {zeros}")


def tile_kernel(
    name: str, vector_bytes: int, expression: Expression, operands: Sequence[Operand], outer: int
) -> str:
    """A pointwise kernel with one result, some of whose operands lie crosswise."""
    tiles = _Tiles(name, vector_bytes, expression, operands, outer)
    text = tiles.text
    height = strip_rows(vector_bytes, expression)
    strips = text.integer("udiv", text.integer("add", tiles.rows, height - 1), height)

    def unit(number: str, _: list[str]) -> list[str]:
        strip = text.integer("urem", number, strips)
        places = coordinates(text, text.integer("udiv", number, strips), tiles.sizes)
        tiles.planes = [
            address_at(text, address, places, own)
            for address, own in zip(tiles.addresses, tiles.strides, strict=True)
        ]
        first = text.integer("mul", strip, height)
        tiles.write_strip(first, text.least(text.integer("add", first, height), tiles.rows))
        return []

    text.loop("%begin", "%end", 1, [], unit)
    return text.text()
