"""Kernels of matrix products: packed panels, and a tile of the result in registers.

    panels      copies both factors into panels: (panel, k, row of the panel), zeros beyond the end
    multiply    result = start + panels of the first factor times panels of the second
    turn        packs the transposes of a batch of matrices
    products    lets the machine's BLAS multiply a batch of small matrices, by pointer

Packed, everything the inner loop reads lies in the order in which it is read, whatever the
strides of the factors, and no read crosses a cache line. All threads share the panels. (Goto and
van de Geijn, Anatomy of high-performance matrix multiplication, 2008.)
"""

from __future__ import annotations

from typing import Any

from taper.compiler.llvm_text import FunctionText
from taper.compiler.tile_code import SIZE, Tile, TileCode, plus, word_at

__all__ = [
    "MULTIPLY_WORDS", "PANELS_WORDS", "PRODUCTS_WORDS", "TURN_WORDS", "Packer", "matrix_tile",
    "multiply", "panels", "products", "turn",
]


def matrix_tile(kind: str, vector_bytes: int) -> Tile:
    """The tile of a matrix product: 24 sums in 32 registers, 12 in 16."""
    rows, vectors = (6, 4) if vector_bytes in (16, 64) else (6, 2)
    return Tile(kind, vector_bytes // SIZE[kind], rows, vectors)


PANELS_WORDS = (
    "first", "first_panels", "first_count", "first_stride", "first_tasks", "second",
    "second_panels", "second_count", "second_stride", "depth", "lines",
)


def panels(
    name: str, vector_bytes: int, tile: Tile, first_lies_along_k: bool, second_lies_along_k: bool
) -> str:
    """The kernel that packs both factors: the first in panels of `tile.rows` rows, the second of
    `tile.vectors` vectors of columns.

    A factor's neighbours in memory are neighbours in k, or else rows (columns) of the result;
    `stride` is the distance, in bytes, in the other direction. A task is a panel of a factor that
    lies along k, and `lines` of k of one that doesn't; the first factor's tasks come first.
    """
    text = FunctionText(name, vector_bytes)
    word = {label: text.argument(i) for i, label in enumerate(PANELS_WORDS)}

    def task(number: str, _: list[str]) -> list[str]:
        is_first = text.value(f"icmp slt i64 {number}, {word['first_tasks']}")
        is_second = text.value(f"xor i1 {is_first}, true")
        later = text.integer("sub", number, word["first_tasks"])
        for which, chosen, own, along, width in (
            ("first", is_first, number, first_lies_along_k, tile.rows),
            ("second", is_second, later, second_lies_along_k, tile.vectors * tile.lanes),
        ):
            packer = Packer(
                text, tile, width, text.pointer(word[which]),
                text.pointer(word[f"{which}_panels"]), word[f"{which}_count"],
                word[f"{which}_stride"], word["depth"])

            def write(_: str, __: list[str], packer: Packer = packer, own: str = own,
                      along: bool = along) -> list[str]:
                return packer.panel(own) if along else packer.lines(own, word["lines"])

            text.when(chosen, write)
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()


class Packer:
    """Writes the tasks that pack one factor, of `count` rows or columns.

    With a pitch a panel's lines of k lie that many elements apart, not `width`.
    """

    def __init__(
        self, text: FunctionText, tile: Tile, width: int, source: str, result: str, count: str,
        stride: str, depth: str, pitch: int | None = None,
    ) -> None:
        self.text = text
        self.width = width
        self.pitch = width if pitch is None else pitch
        self.code = TileCode(text, tile.kind, min(1 << (width - 1).bit_length(), tile.lanes))
        self.source = source
        self.result = result
        self.count = count
        self.stride = stride
        self.depth = depth

    def lines(self, number: str, at_once: str) -> list[str]:
        """Copies some lines of k, which hold a piece of every panel."""
        text, code, width = self.text, self.code, self.width
        begin = text.integer("mul", number, at_once)
        end = text.least(text.integer("add", begin, at_once), self.depth)
        whole = text.integer("sub", self.count, text.integer("urem", self.count, width))
        rest = text.integer("sub", self.count, whole)
        starts = range(0, width, code.lanes)
        masks = [code.first(text.integer("sub", rest, v)) for v in starts]
        full = [code.first(str(width - v)) if width - v < code.lanes else None for v in starts]

        def line(k: str, _: list[str]) -> list[str]:
            source = plus(text, self.source, (k, self.stride))
            target = text.offset(self.result, text.integer("mul", k, width), code.size)

            def piece(first: str, _: list[str], masks: Any = full) -> list[str]:
                at = text.offset(source, first, code.size)
                to = text.offset(target, text.integer("mul", first, self.depth), code.size)
                for v, mask, whole in zip(starts, masks, full, strict=True):
                    value = code.load(text.offset(at, str(v), code.size), code.kind, mask)
                    code.store(value, text.offset(to, str(v), code.size), code.kind, whole)
                return []

            text.loop(0, whole, width, [], piece)
            has_rest = text.value(f"icmp ne i64 {rest}, 0")
            text.when(has_rest, lambda _, __: piece(whole, [], masks))
            return []

        text.loop(begin, end, 1, [], line)
        return []

    def panel(self, number: str) -> list[str]:
        """Copies one panel, turning squares of it."""
        text, code, width = self.text, self.code, self.width
        first = text.integer("mul", number, width)
        count = text.least(text.integer("sub", self.count, first), str(width))
        source = plus(text, self.source, (first, self.stride))
        of_panel = text.integer("mul", text.integer("mul", number, self.pitch), self.depth)
        result = text.offset(self.result, of_panel, code.size)
        last = text.integer("sub", count, 1)
        whole = text.integer("and", self.depth, -code.lanes)

        held = min(code.lanes, width)
        full = None if held == code.lanes else code.first(str(held))

        def square(k: str, _: list[str], left: str | None = None) -> list[str]:
            mask = None if left is None else code.first(left)

            def turn(start: str, _: list[str]) -> list[str]:
                rows = []
                for i in range(code.lanes):
                    number = text.integer("add", start, i)
                    row = plus(text, source, (text.least(number, last), self.stride))
                    value = code.load(text.offset(row, k, code.size), code.kind, mask)
                    there = text.value(f"icmp slt i64 {number}, {count}")
                    rows.append(text.value(f"select i1 {there}, {code.vector} {value}, "
                                           f"{code.vector} zeroinitializer"))
                for j, column in enumerate(code.turned(rows)):
                    at = text.integer("mul", text.integer("add", k, j), self.pitch)
                    to = text.offset(result, text.integer("add", at, start), code.size)
                    if left is not None:
                        inside = text.value(f"icmp slt i64 {j}, {left}")
                        count_here = text.value(f"select i1 {inside}, i64 {held}, i64 0")
                        code.store(column, to, code.kind, code.first(count_here))
                    else:
                        code.store(column, to, code.kind, full)
                return []

            text.loop(0, width, code.lanes, [], turn)
            return []

        text.loop(0, whole, code.lanes, [], square)
        left = text.integer("sub", self.depth, whole)
        has_left = text.value(f"icmp ne i64 {left}, 0")
        text.when(has_left, lambda _, __: square(whole, [], left))
        return []


TURN_WORDS = ("source", "result", "count", "stride", "depth", "panels", "matrix", "panel_matrix")


def turn(name: str, vector_bytes: int, tile: Tile) -> str:
    """The kernel that packs matrices, transposed, into panels as wide as the tile.

    The argument block is TURN_WORDS, strides in bytes. A task is one panel of one matrix.
    """
    text = FunctionText(name, vector_bytes)
    word = {label: text.argument(i) for i, label in enumerate(TURN_WORDS)}

    def task(number: str, _: list[str]) -> list[str]:
        panel = text.integer("urem", number, word["panels"])
        matrix = text.integer("udiv", number, word["panels"])
        source = plus(text, text.pointer(word["source"]), (matrix, word["matrix"]))
        result = plus(text, text.pointer(word["result"]), (matrix, word["panel_matrix"]))
        packer = Packer(text, tile, tile.lanes * tile.vectors, source, result, word["count"],
                        word["stride"], word["depth"])
        return packer.panel(panel)

    text.loop("%begin", "%end", 1, [], task)
    return text.text()


MULTIPLY_WORDS = (
    "first", "second", "result", "start", "depth", "rows", "columns", "row_tiles",
    "column_tiles", "at_once", "result_row", "start_row",
)


def multiply(name: str, vector_bytes: int, tile: Tile) -> str:
    """The kernel `result[m, n] = start[m, n] + sum of first[m, k] * second[k, n]` on panels.

    The argument block is MULTIPLY_WORDS; strides in bytes. `start_row` is 0 for a start that is
    the same for all rows. A task is one panel of the first factor and `at_once` of the second.
    """
    text = FunctionText(name, vector_bytes)
    code = TileCode(text, tile.kind, tile.lanes)
    word = {label: text.argument(i) for i, label in enumerate(MULTIPLY_WORDS)}
    pointer = {label: text.pointer(word[label]) for label in ("first", "second", "result", "start")}
    width = tile.lanes * tile.vectors

    def task(number: str, _: list[str]) -> list[str]:
        i = text.integer("urem", number, word["row_tiles"])
        some = text.integer("udiv", number, word["row_tiles"])
        row = text.integer("mul", i, tile.rows)
        first = text.offset(pointer["first"], text.integer("mul", row, word["depth"]), code.size)
        begin = text.integer("mul", some, word["at_once"])
        end = text.least(text.integer("add", begin, word["at_once"]), word["column_tiles"])

        def columns(j: str, _: list[str]) -> list[str]:
            column = text.integer("mul", j, width)
            second = text.offset(
                pointer["second"], text.integer("mul", column, word["depth"]), code.size)
            _multiply_tile(text, code, tile, first, second, row, column, word, pointer)
            return []

        text.loop(begin, end, 1, [], columns)
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()


def _multiply_tile(
    text: FunctionText, code: TileCode, tile: Tile, first: str, second: str, row: str, column: str,
    word: dict[str, str], pointer: dict[str, str],
) -> None:
    places = []
    sums = []
    width = tile.lanes * tile.vectors
    across = text.integer("sub", word["columns"], column)
    for m in range(tile.rows):
        own = text.integer("add", row, m)
        inside = text.value(f"icmp slt i64 {own}, {word['rows']}")
        count = text.value(f"select i1 {inside}, i64 {across}, i64 0")
        start = plus(text, pointer["start"], (own, word["start_row"]))
        result = plus(text, pointer["result"], (own, word["result_row"]))
        for v in range(tile.vectors):
            mask = code.first(text.integer("sub", count, v * tile.lanes))
            at = text.integer("add", column, v * tile.lanes)
            sums.append(code.load(text.offset(start, at, code.size), code.kind, mask))
            places.append((text.offset(result, at, code.size), mask))

    def step(k: str, values: list[str]) -> list[str]:
        left = text.offset(first, text.integer("mul", k, tile.rows), code.size)
        right = text.offset(second, text.integer("mul", k, width), code.size)
        columns = [
            code.load(text.offset(right, str(v * tile.lanes), code.size), code.kind)
            for v in range(tile.vectors)
        ]
        new = []
        for m in range(tile.rows):
            factor = code.all_spread(text.offset(left, str(m), code.size))
            new += [
                code.fused(column, factor, values[m * tile.vectors + v])
                for v, column in enumerate(columns)
            ]
        return new

    found = text.loop(0, word["depth"], 1, [(code.vector, s) for s in sums], step)
    for value, (place, mask) in zip(found, places, strict=True):
        code.store(value, place, code.kind, mask)


PRODUCTS_WORDS = (
    "function", "matrices", "first", "second", "result", "rows", "columns", "depth",
    "first_turn", "second_turn", "first_lead", "second_lead", "result_lead",
)


def products(name: str, vector_bytes: int, kind: str, integer: str) -> str:
    """The kernel of `result = first @ second` for a batch of matrices, by cblas_?gemm.

    The argument block is PRODUCTS_WORDS. `matrices` is a table with the offsets, in bytes, of each
    first, second and result. Turns are CBLAS's (111, or 112 for transposed), leads are strides
    in elements as BLAS wants them. `integer` is BLAS's type of sizes, "i32" or "i64". A task is
    one result.
    """
    text = FunctionText(name, vector_bytes)
    word = {label: text.argument(i) for i, label in enumerate(PRODUCTS_WORDS)}
    pointer = {
        label: text.pointer(word[label])
        for label in ("function", "matrices", "first", "second", "result")
    }
    scalar = "float" if kind == "f32" else "double"

    def as_type(kind: str, label: str) -> str:
        if kind == "i64":
            return f"i64 {word[label]}"
        return f"i32 {text.value(f'trunc i64 {word[label]} to i32')}"

    turns = [as_type("i32", label) for label in ("first_turn", "second_turn")]
    sizes = [as_type(integer, label) for label in ("rows", "columns", "depth")]
    leads = [as_type(integer, f"{label}_lead") for label in ("first", "second", "result")]

    def task(number: str, _: list[str]) -> list[str]:
        entry = text.offset(pointer["matrices"], text.integer("mul", number, 3), 8)
        a, b, c = (
            text.offset(pointer[label], word_at(text, entry, str(n)))
            for n, label in enumerate(("first", "second", "result"))
        )
        text.add(
            f"call void {pointer['function']}(i32 101, {', '.join([*turns, *sizes])}, "
            f"{scalar} 1.0, ptr {a}, {leads[0]}, ptr {b}, {leads[1]}, {scalar} 0.0, ptr {c}, "
            f"{leads[2]})")
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()
