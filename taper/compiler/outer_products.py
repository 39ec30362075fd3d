"""The kernel of a convolution's weight gradient where there are many filters.

    result[m, k] = sum over images and p of grad[m, p] * source[p + offset[k]]

`dots` in shifted_products.py loads vectors along p of both, two loads for few products. Here the
gradient is packed with filters as neighbours (matrix_products.turn): a tile holds vectors of
filters for some k, each p adds one outer product to it, and lines may have any length.
"""

from __future__ import annotations

from taper.compiler.llvm_text import FunctionText
from taper.compiler.tile_code import SIZE, Tile, TileCode, plus, word_at
from taper.compiler.vector_code import llvm_type

__all__ = ["BLOCKS_AT_ONCE", "LONGEST_UNIT", "OUTER_WORDS", "outer", "outer_tile"]

BLOCKS_AT_ONCE = 8  # of a tile's k, whose sums are kept in memory between units
LONGEST_UNIT = 128  # elements; 64 filters of the gradient are then 32 KB of float32


def outer_tile(kind: str, vector_bytes: int, filters: int) -> Tile:
    """The tile for so many filters: `rows` are k, `vectors` those of filters."""
    lanes = vector_bytes // SIZE[kind]
    most, sums = (4, 24) if vector_bytes in (16, 64) else (2, 12)
    panels = -(-filters // (most * lanes))
    vectors = -(-filters // (panels * lanes))
    return Tile(kind, lanes, min(8, sums // vectors), vectors)


OUTER_WORDS = (
    "panels", "source", "result", "offsets", "units", "depth", "filters", "panel_count", "blocks",
    "unit_count", "images", "groups", "panel_size", "source_image", "source_group",
    "source_pitch", "length_of_line", "result_group", "result_row",
)


def outer(name: str, vector_bytes: int, tile: Tile) -> str:
    """The kernel. The argument block is OUTER_WORDS, strides in bytes.

    A unit is (source, panel, lines, length), both places in bytes; a panel's line is
    `length_of_line` bytes long. A task is one (group, panel, BLOCKS_AT_ONCE blocks of k), so sums
    have one order for any number of threads.
    """
    text = FunctionText(name, vector_bytes)
    code = TileCode(text, tile.kind, tile.lanes)
    word = text.words(OUTER_WORDS)
    pointer = {label: text.pointer(word[label])
               for label in ("panels", "source", "result", "offsets", "units")}
    width = tile.lanes * tile.vectors
    scratch = text.value(
        f"alloca [{BLOCKS_AT_ONCE * tile.rows * width} x {llvm_type(tile.kind)}], align 64")

    def task(number: str, _: list[str]) -> list[str]:
        some = text.integer("urem", number, word["blocks"])
        rest = text.integer("udiv", number, word["blocks"])
        panel = text.integer("urem", rest, word["panel_count"])
        group = text.integer("udiv", rest, word["panel_count"])
        last_k = text.integer("sub", word["depth"], 1)
        first_k = text.integer("mul", some, tile.rows * BLOCKS_AT_ONCE)
        end_k = text.least(
            text.integer("add", first_k, tile.rows * BLOCKS_AT_ONCE), word["depth"])
        source = plus(text, pointer["source"], (group, word["source_group"]))

        def places(k: str) -> list[str]:
            """Where the sums of a block are kept between units."""
            at = text.integer("mul", text.integer("sub", k, first_k), width)
            start = text.offset(scratch, at, code.size)
            return [text.offset(start, str(i * tile.lanes), code.size)
                    for i in range(tile.rows * tile.vectors)]

        def clear(k: str, _: list[str]) -> list[str]:
            for place in places(k):
                code.store("zeroinitializer", place, code.kind)
            return []

        text.loop(first_k, end_k, tile.rows, [], clear)

        def image(n: str, _: list[str]) -> list[str]:
            seen = plus(text, source, (n, word["source_image"]))
            matrix = text.integer("add", text.integer("mul", n, word["groups"]), group)
            own = text.integer("add", text.integer("mul", matrix, word["panel_count"]), panel)
            grads = plus(text, pointer["panels"], (own, word["panel_size"]))

            def unit(u: str, _: list[str]) -> list[str]:
                entry = text.offset(pointer["units"], text.integer("mul", u, 4), 8)
                first = text.offset(seen, word_at(text, entry, "0"))
                beside = text.offset(grads, word_at(text, entry, "1"))
                lines, length = word_at(text, entry, "2"), word_at(text, entry, "3")

                def block(k: str, _: list[str]) -> list[str]:
                    sources = [
                        text.offset(first, word_at(
                            text, pointer["offsets"],
                            text.least(text.integer("add", k, j), last_k)))
                        for j in range(tile.rows)
                    ]
                    kept = places(k)
                    sums = _outer_lines(
                        text, code, tile, sources, beside, lines, length, word,
                        [code.load(place, code.kind) for place in kept])
                    for value, place in zip(sums, kept, strict=True):
                        code.store(value, place, code.kind)
                    return []

                text.loop(first_k, end_k, tile.rows, [], block)
                return []

            text.loop(0, word["unit_count"], 1, [], unit)
            return []

        text.loop(0, word["images"], 1, [], image)
        first_filter = text.integer("mul", panel, width)
        held = text.least(text.integer("sub", word["filters"], first_filter), str(width))
        result = plus(text, pointer["result"], (group, word["result_group"]),
                      (first_filter, word["result_row"]))

        def finish(k: str, _: list[str]) -> list[str]:
            at = text.integer("mul", text.integer("sub", k, first_k), width)
            own = text.offset(scratch, at, code.size)
            target = text.offset(result, k, code.size)
            scalar = llvm_type(code.kind)

            def one(m: str, _: list[str]) -> list[str]:
                value = text.value(f"load {scalar}, ptr {text.offset(own, m, code.size)}")
                place = plus(text, target, (m, word["result_row"]))
                text.add(f"store {scalar} {value}, ptr {place}")
                return []

            text.loop(0, held, 1, [], one)
            return []

        text.loop(first_k, end_k, 1, [], finish)
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()


def _outer_lines(
    text: FunctionText, code: TileCode, tile: Tile, sources: list[str], grads: str, lines: str,
    length: str, word: dict[str, str], sums: list[str],
) -> list[str]:
    """Adds the outer products at all elements of some lines."""
    width = tile.lanes * tile.vectors

    def line(i: str, sums: list[str]) -> list[str]:
        below = text.integer("mul", i, word["source_pitch"])
        ats = [text.offset(s, below) for s in sources]
        beside = plus(text, grads, (i, word["length_of_line"]))

        def element(p: str, sums: list[str]) -> list[str]:
            at = text.offset(beside, text.integer("mul", p, width), code.size)
            columns = [code.load(text.offset(at, str(v * tile.lanes), code.size), code.kind)
                       for v in range(tile.vectors)]
            new = []
            for j, place in enumerate(ats):
                factor = code.all_spread(text.offset(place, p, code.size))
                new += [code.fused(column, factor, sums[j * tile.vectors + v])
                        for v, column in enumerate(columns)]
            return new

        return text.loop(0, length, 1, [(code.vector, s) for s in sums], element)

    return text.loop(0, lines, 1, [(code.vector, s) for s in sums], line)
