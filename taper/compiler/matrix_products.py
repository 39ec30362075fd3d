"""Kernels of matrix products: packed panels, and a tile of the result in registers.

    panels      copies both factors into panels: (panel, k, row of the panel), zeros beyond the end
    multiply    result = start + first factor times the second, of which it may make panels
    turn        packs the transposes of a batch of matrices
    products    lets the machine's BLAS multiply a batch of small matrices, by pointer

Packed, everything the inner loop reads lies in the order in which it is read, whatever the
strides of the factors, and no read crosses a cache line. (Goto and van de Geijn, Anatomy of
high-performance matrix multiplication, 2008.) Panels that one core has written take another
longer to fetch than to make: so each task packs what it multiplies by, and what fits the second
cache where it lies isn't packed.
"""

from __future__ import annotations

from typing import Any

from taper.compiler.llvm_text import FunctionText
from taper.compiler.tile_code import SIZE, Tile, TileCode, plus, word_at

__all__ = [
    "BATCH_PANELS_WORDS", "MULTIPLY_WORDS", "PACKING_WORDS", "PANELS_WORDS", "PRODUCTS_WORDS",
    "TURN_WORDS",
    "Packer", "batch_panels", "matrix_tile", "matrix_tile_for", "multiply", "panels", "products",
    "turn",
]


def matrix_tile(kind: str, vector_bytes: int) -> Tile:
    """The tile of a large matrix product: 24 sums in 32 registers, 12 in 16."""
    rows, vectors = (6, 4) if vector_bytes in (16, 64) else (6, 2)
    return Tile(kind, vector_bytes // SIZE[kind], rows, vectors)


def matrix_tile_for(kind: str, vector_bytes: int, rows: int, columns: int) -> Tile:
    """The tile of which a product of that size leaves the least empty."""
    best = matrix_tile(kind, vector_bytes)
    if vector_bytes == 32:
        return best
    tiles = [best, best._replace(rows=8, vectors=3), best._replace(rows=8, vectors=2),
             best._replace(rows=12, vectors=1)]
    return min(tiles, key=lambda tile: _cost(tile, rows, columns))


# How much longer than the widest a tile takes for the same work. More rows of two or three vectors
# need registers for their addresses, and LLVM loads their factors too early: such took twice.
_SLOWER = {4: 1.0, 3: 1.06, 2: 1.06, 1: 1.45}


def _cost(tile: Tile, rows: int, columns: int) -> float:
    """The sums that a product computes, and how much slower narrow tiles are."""
    width = tile.lanes * tile.vectors
    sums = -(-rows // tile.rows) * tile.rows * -(-columns // width) * width
    return sums * _SLOWER[tile.vectors]


PANELS_WORDS = (
    "first", "first_panels", "second", "second_panels", "first_count", "first_stride",
    "first_tasks", "second_count", "second_stride", "depth", "lines",
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
    word = text.words(PANELS_WORDS)

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
    word = text.words(TURN_WORDS)

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
    "first", "second", "result", "start", "matrices", "depth", "rows", "columns", "row_tiles",
    "column_tiles", "row_groups", "column_groups", "rows_at_once", "columns_at_once", "first_tile",
    "first_row", "first_k", "second_tile", "second_k", "second_is_packed", "result_row",
    "start_row",
)
PACKING_WORDS = ("panels", *MULTIPLY_WORDS, "source_stride", "panels_of_slot", "tasks_of_slot")
_UNROLLED = 4  # steps of k at once, where registers for it are left


def multiply(
    name: str, vector_bytes: int, tile: Tile, packs: bool = False, lies_along_k: bool = False
) -> str:
    """The kernel `result[m, n] = start[m, n] + sum of first[m, k] * second[k, n]`, for a batch.

    The argument block is MULTIPLY_WORDS; strides in bytes. A factor is packed in panels, or lies
    as it likes as long as columns of the second are neighbours: `*_tile` is from one tile's rows
    (columns) to the next tile's, `*_k` from one k to the next. `start_row` is 0 for a start that is
    the same for all rows. `matrices` is a table of the offsets of each first, second and result.
    A task is `rows_at_once` tiles times `columns_at_once` of one matrix.

    With `packs` the argument block is PACKING_WORDS, and a task begins by packing its columns of
    the second factor, which is one matrix and lies as `panels` says, into the `panels_of_slot`
    bytes of its slot. Tasks of one slot are done one after the other.

    Rows of a tile beyond the last one are the last one again: masked accesses to memory that isn't
    there take hundreds of cycles each.
    """
    text = FunctionText(name, vector_bytes)
    code = TileCode(text, tile.kind, tile.lanes)
    words = PACKING_WORDS if packs else MULTIPLY_WORDS
    word = text.words(words)
    base = {label: text.pointer(word[label])
            for label in ("first", "second", "result", "start", "matrices")}
    groups = text.integer("mul", word["row_groups"], word["column_groups"])

    def task(number: str, _: list[str]) -> list[str]:
        matrix, group = text.integer("udiv", number, groups), text.integer("urem", number, groups)
        entry = text.offset(base["matrices"], text.integer("mul", matrix, 3), 8)
        pointer = {"start": base["start"], **{
            label: text.offset(base[label], word_at(text, entry, str(n)))
            for n, label in enumerate(("first", "second", "result"))
        }}
        of_row = text.integer("udiv", group, word["column_groups"])
        of_column = text.integer("urem", group, word["column_groups"])
        first_tile = text.integer("mul", of_row, word["rows_at_once"])
        last_tile = text.least(
            text.integer("add", first_tile, word["rows_at_once"]), word["row_tiles"])
        begin = text.integer("mul", of_column, word["columns_at_once"])
        end = text.least(
            text.integer("add", begin, word["columns_at_once"]), word["column_tiles"])
        right = pointer["second"]
        if packs:
            slot = text.integer("udiv", number, word["tasks_of_slot"])
            right = plus(text, text.pointer(word["panels"]), (slot, word["panels_of_slot"]))
            _pack_columns(text, tile, lies_along_k, begin, end, word, pointer["second"], right)

        def rows(i: str, _: list[str]) -> list[str]:
            own = _RowsOfTile(text, tile, i, word, pointer["first"])

            def columns(j: str, _: list[str]) -> list[str]:
                within = text.integer("sub", j, begin) if packs else j
                place = plus(text, right, (within, word["second_tile"]))
                _multiply_tile(text, code, tile, own, j, place, packs, word, pointer)
                return []

            text.loop(begin, end, 1, [], columns)
            return []

        text.loop(first_tile, last_tile, 1, [], rows)
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()


def _pack_columns(
    text: FunctionText, tile: Tile, lies_along_k: bool, begin: str, end: str,
    word: dict[str, str], source: str, result: str,
) -> None:
    """Packs the second factor's columns of some tiles."""
    width = tile.lanes * tile.vectors
    first = text.integer("mul", begin, width)
    beyond = text.least(text.integer("mul", end, width), word["columns"])
    to_next = word["source_stride"] if lies_along_k else str(SIZE[tile.kind])
    packer = Packer(
        text, tile, width, plus(text, source, (first, to_next)), result,
        text.integer("sub", beyond, first), word["source_stride"], word["depth"])
    if not lies_along_k:
        packer.lines("0", word["depth"])
        return
    text.loop(0, text.integer("sub", end, begin), 1, [], lambda i, _: packer.panel(i))


class _RowsOfTile:
    """The rows of one tile: their numbers, and where they begin in the first factor."""

    def __init__(
        self, text: FunctionText, tile: Tile, number: str, word: dict[str, str], first: str
    ) -> None:
        row = text.integer("mul", number, tile.rows)
        last = text.integer("sub", text.integer("sub", word["rows"], 1), row)
        within = [text.least(str(m), last) for m in range(tile.rows)]
        here = plus(text, first, (number, word["first_tile"]))
        self.numbers = [text.integer("add", row, m) for m in within]
        self.starts = [plus(text, here, (m, word["first_row"])) for m in within]


def _multiply_tile(
    text: FunctionText, code: TileCode, tile: Tile, own: _RowsOfTile, j: str, right: str,
    is_packed: bool, word: dict[str, str], pointer: dict[str, str],
) -> None:
    """One tile of the result; `right` is where its columns of the second factor begin."""
    places = []
    sums = []
    column = text.integer("mul", j, tile.lanes * tile.vectors)
    across = text.integer("sub", word["columns"], column)
    masks = [code.first(text.integer("sub", across, v * tile.lanes)) for v in range(tile.vectors)]
    for row in own.numbers:
        start = plus(text, pointer["start"], (row, word["start_row"]))
        result = plus(text, pointer["result"], (row, word["result_row"]))
        for v, mask in enumerate(masks):
            at = text.integer("add", column, v * tile.lanes)
            sums.append(code.load(text.offset(start, at, code.size), code.kind, mask))
            places.append((text.offset(result, at, code.size), mask))

    def step(k: str, values: list[str], mask: Any = (None,) * tile.vectors) -> list[str]:
        line = plus(text, right, (k, word["second_k"]))
        columns = [
            code.load(text.offset(line, str(v * tile.lanes), code.size), code.kind, mask[v])
            for v in range(tile.vectors)
        ]
        new = []
        at = text.integer("mul", k, word["first_k"])
        for m, start in enumerate(own.starts):
            factor = code.all_spread(text.offset(start, at))
            new += [
                code.fused(column, factor, values[m * tile.vectors + v])
                for v, column in enumerate(columns)
            ]
        return new

    def steps(sums: list[str], is_whole: bool) -> list[str]:
        mask: Any = (None,) * tile.vectors if is_whole else masks
        unrolled = _UNROLLED if tile.vectors == 4 and is_whole else 1
        whole = text.integer("and", word["depth"], -unrolled)

        def some(k: str, values: list[str]) -> list[str]:
            for u in range(unrolled):
                values = step(text.integer("add", k, u) if u else k, values, mask)
            return values

        sums = text.loop(0, whole, unrolled, [(code.vector, s) for s in sums], some)
        if unrolled == 1:
            return sums
        return text.loop(whole, word["depth"], 1, [(code.vector, s) for s in sums],
                         lambda k, values: step(k, values, mask))

    def finish(is_whole: bool) -> None:
        for value, (place, mask) in zip(steps(sums, is_whole), places, strict=True):
            code.store(value, place, code.kind, mask)

    if is_packed:
        finish(True)
        return
    is_whole = text.value(f"icmp sge i64 {across}, {tile.lanes * tile.vectors}")
    has_zeros = text.value(f"icmp ne i64 {word['second_is_packed']}, 0")
    text.either(text.value(f"or i1 {is_whole}, {has_zeros}"),
                lambda: finish(True), lambda: finish(False))


BATCH_PANELS_WORDS = (
    "source", "result", "matrices", "count", "stride", "depth", "panels", "panel_matrix",
)


def batch_panels(name: str, vector_bytes: int, tile: Tile) -> str:
    """The kernel that packs matrices which lie along k into panels as wide as the tile.

    The argument block is BATCH_PANELS_WORDS; `matrices` is a table of offsets, in bytes. A task is
    one panel of one matrix.
    """
    text = FunctionText(name, vector_bytes)
    word = text.words(BATCH_PANELS_WORDS)
    table, first, panels = (text.pointer(word[k]) for k in ("matrices", "source", "result"))

    def task(number: str, _: list[str]) -> list[str]:
        panel = text.integer("urem", number, word["panels"])
        matrix = text.integer("udiv", number, word["panels"])
        source = text.offset(first, word_at(text, table, matrix))
        result = plus(text, panels, (matrix, word["panel_matrix"]))
        packer = Packer(text, tile, tile.lanes * tile.vectors, source, result, word["count"],
                        word["stride"], word["depth"])
        return packer.panel(panel)

    text.loop("%begin", "%end", 1, [], task)
    return text.text()


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
    word = text.words(PRODUCTS_WORDS)
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
