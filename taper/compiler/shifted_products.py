"""Kernels of convolutions and matrix products: sums of shifted rows, in register tiles.

Every convolution, whatever its dimensions, stride and dilation, is

    result[m, p] = bias[m] + sum over k of weight[m, k] * source[p + offset[k]]

once `source` lies flat in memory with its padding (and, for a stride, sorted by phase): k names a
channel and a position in the window, and the window's shift is a constant number of elements. A
matrix product is the case offset[k] = k * (length of a row). Since neighbouring p are neighbours
in memory nothing has to be gathered or packed but the weight. Three kernels serve:

    product    the sum above, for a tile of `rows` m and `vectors` vectors of p held in registers
    dots       its adjoint in the weight: sum over p of grad[m, p] * source[p + offset[k]]
    spread     copies planes to their padded, phase-sorted layout; also packs weights

Where things lie is told by tables, so kernels depend only on the dtype and the tile.

Note [units]. A product works on units: (source, result, lines, length) in bytes and counts. It
computes all p from the first to the last of a unit, those between lines too, into a scratch on
the stack, and copies the lines to the result. So p beyond a unit's end are never written, and
memory before its begin is never read; up to a tile beyond its end may be.
"""

from __future__ import annotations

from taper.compiler.llvm_text import FunctionText
from taper.compiler.tile_code import SIZE, Tile, TileCode, plus, word_at
from taper.compiler.vector_code import llvm_type

__all__ = [
    "BLOCKS_AT_ONCE", "LONGEST_UNIT", "dots", "dots_tile", "pack", "product",
    "product_tile", "spread",
]

LONGEST_UNIT = 512  # elements; a scratch of 8 rows is then 16 KB of float32
_AHEAD = 8  # elements of k from which the source is fetched into the first cache
BLOCKS_AT_ONCE = 8  # of a tile's elements of k, whose sums are kept in memory


def product_tile(kind: str, vector_bytes: int, rows: int) -> Tile:
    """The tile for products with this many rows: all but a few registers are sums."""
    registers = 32 if vector_bytes in (16, 64) else 16
    most = 8 if registers == 32 else 4
    tiles = -(-rows // most)
    height = -(-rows // tiles)
    vectors = min(6, (registers - 4) // (height + 1))
    return Tile(kind, vector_bytes // SIZE[kind], height, vectors)


def dots_tile(kind: str, vector_bytes: int, rows: int, depth: int, length: int) -> Tile:
    """The tile for dots of `rows` by `depth`, over lines of this length."""
    registers = 32 if vector_bytes in (16, 64) else 16
    lanes = vector_bytes // SIZE[kind]
    while lanes > 4 and length <= lanes // 2:  # shorter vectors are fuller
        lanes //= 2
    most = 4 if registers == 32 else 3
    tiles = -(-rows // most)
    height = -(-rows // tiles)
    width = (registers - 2 - height) // (height + 1)
    return Tile(kind, lanes, height, max(1, min(width, depth, 9)))


def _copy_line(
    text: FunctionText, code: TileCode, source: str, target: str, count: str, step: str | None
) -> None:
    """Copies `count` neighbours; with a step, to places that many bytes apart."""
    if step is not None:
        scalar = llvm_type(code.kind)

        def one(i: str, _: list[str]) -> list[str]:
            value = text.value(f"load {scalar}, ptr {text.offset(source, i, code.size)}")
            text.add(f"store {scalar} {value}, ptr {plus(text, target, (i, step))}")
            return []

        text.loop(0, count, 1, [], one)
        return
    whole = text.integer("and", count, -code.lanes)

    def some(i: str, _: list[str]) -> list[str]:
        value = code.load(text.offset(source, i, code.size), code.kind)
        code.store(value, text.offset(target, i, code.size), code.kind)
        return []

    text.loop(0, whole, code.lanes, [], some)
    mask = code.first(text.integer("sub", count, whole))
    value = code.load(text.offset(source, whole, code.size), code.kind, mask)
    code.store(value, text.offset(target, whole, code.size), code.kind, mask)


PRODUCT_WORDS = (
    "weight", "offsets", "source", "result", "bias", "units", "depth", "tiles", "rows",
    "unit_count", "groups", "source_image", "source_group", "result_image", "result_group",
    "result_row", "source_pitch", "result_pitch", "result_step",
)


def product(
    name: str, vector_bytes: int, tile: Tile, is_stepped: bool, has_bias: bool, has_floor: bool,
) -> str:
    """The kernel of `result[m, p] = bias[m] + sum of weight[m, k] * source[p + offset[k]]`.

    The argument block is PRODUCT_WORDS: addresses, counts and strides in bytes (`source_pitch` in
    elements). Weights are packed (group, tile, k, row of the tile). A task is one (image, group,
    unit, tile). With `is_stepped` a line's results lie `result_step` bytes apart, with `has_floor`
    those below zero are zero.
    """
    text = FunctionText(name, vector_bytes)
    code = TileCode(text, tile.kind, tile.lanes)
    word = text.words(PRODUCT_WORDS)
    pointer = {label: text.pointer(word[label]) for label in
               ("weight", "offsets", "source", "result", "bias", "units")}
    width = tile.lanes * tile.vectors
    pitch = LONGEST_UNIT + width
    scratch = text.value(f"alloca [{pitch * tile.rows} x {llvm_type(tile.kind)}], align 64")

    def task(number: str, _: list[str]) -> list[str]:
        which = text.integer("urem", number, word["tiles"])
        rest = text.integer("udiv", number, word["tiles"])
        unit = text.integer("urem", rest, word["unit_count"])
        rest = text.integer("udiv", rest, word["unit_count"])
        group = text.integer("urem", rest, word["groups"])
        image = text.integer("udiv", rest, word["groups"])
        of_all = text.integer("add", text.integer("mul", group, word["tiles"]), which)
        weights = text.integer("mul", text.integer("mul", of_all, word["depth"]), tile.rows)
        weight = text.offset(pointer["weight"], weights, code.size)
        entry = text.offset(pointer["units"], text.integer("mul", unit, 4), 8)
        source = plus(text, pointer["source"], (image, word["source_image"]),
                       (group, word["source_group"]))
        source = text.offset(source, word_at(text, entry, "0"))
        first_row = text.integer("mul", which, tile.rows)
        starts = [code.constant(0.0, tile.kind)] * tile.rows
        if has_bias:
            biases = plus(text, pointer["bias"],
                          (group, text.integer("mul", word["rows"], code.size)))
            last_row = text.integer("sub", word["rows"], 1)
            starts = [
                code.all_spread(text.offset(biases, text.least(
                    text.integer("add", first_row, m), last_row), code.size))
                for m in range(tile.rows)
            ]
        result = plus(text, pointer["result"], (image, word["result_image"]),
                       (group, word["result_group"]), (first_row, word["result_row"]))
        result = text.offset(result, word_at(text, entry, "1"))
        lines, length = word_at(text, entry, "2"), word_at(text, entry, "3")
        between = text.integer("mul", text.integer("sub", lines, 1), word["source_pitch"])
        span = text.integer("add", between, length)
        whole = text.integer("sub", span, text.integer("urem", span, width))

        def columns(start: str, _: list[str]) -> list[str]:
            _register_tile(text, code, tile, tile.vectors, source, start, weight, starts,
                           pointer["offsets"], word["depth"], scratch, pitch, has_floor)
            return []

        text.loop(0, whole, width, [], columns)
        rest = text.integer("sub", span, whole)
        left = text.integer("udiv", text.integer("add", rest, tile.lanes - 1), tile.lanes)
        for vectors in range(1, tile.vectors + 1):

            def last(_: str, __: list[str], vectors: int = vectors) -> list[str]:
                # Where there are enough elements, those before are computed once more.
                latest = text.integer("sub", span, vectors * tile.lanes)
                is_short = text.value(f"icmp slt i64 {latest}, 0")
                start = text.value(f"select i1 {is_short}, i64 0, i64 {latest}")
                _register_tile(text, code, tile, vectors, source, start, weight, starts,
                               pointer["offsets"], word["depth"], scratch, pitch, has_floor)
                return []

            text.when(text.value(f"icmp eq i64 {left}, {vectors}"), last)
        height = text.least(text.integer("sub", word["rows"], first_row), str(tile.rows))

        def row(m: str, _: list[str]) -> list[str]:
            kept = text.offset(scratch, text.integer("mul", m, pitch), code.size)
            target = plus(text, result, (m, word["result_row"]))

            def line(i: str, _: list[str]) -> list[str]:
                start = text.integer("mul", i, word["source_pitch"])
                _copy_line(
                    text, code, text.offset(kept, start, code.size),
                    plus(text, target, (i, word["result_pitch"])), length,
                    word["result_step"] if is_stepped else None)
                return []

            text.loop(0, lines, 1, [], line)
            return []

        text.loop(0, height, 1, [], row)
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()


def _register_tile(
    text: FunctionText, code: TileCode, tile: Tile, vectors: int, source: str, place: str,
    weight: str, starts: list[str], offsets: str, depth: str, scratch: str, pitch: int,
    has_floor: bool,
) -> None:
    """All rows of the tile at `vectors` vectors of p from `place` on, into the scratch."""
    start = text.offset(source, place, code.size)
    sums = [(code.vector, value) for value in starts for _ in range(vectors)]

    def step(k: str, values: list[str]) -> list[str]:
        shifted = text.offset(start, word_at(text, offsets, k))
        columns = [
            code.load(text.offset(shifted, str(v * tile.lanes), code.size), code.kind)
            for v in range(vectors)
        ]
        factors = text.offset(weight, text.integer("mul", k, tile.rows), code.size)
        new = []
        for m in range(tile.rows):
            factor = code.all_spread(text.offset(factors, str(m), code.size))
            new += [
                code.fused(column, factor, values[m * vectors + v])
                for v, column in enumerate(columns)
            ]
        return new

    latest = text.integer("sub", depth, 1)

    def fetch(k: str) -> None:
        """Shifts jump between lines, so that no processor guesses which are needed next."""
        soon = text.offset(start, word_at(text, offsets, text.least(k, latest)))
        for v in range(vectors + 1):
            line = text.offset(soon, str(v * tile.lanes), code.size)
            text.intrinsic("void", "llvm.prefetch.p0", [
                ("ptr", line), ("i32", "0"), ("i32", "3"), ("i32", "1")])

    def two(k: str, values: list[str]) -> list[str]:
        for ahead in (_AHEAD, _AHEAD + 1):
            fetch(text.integer("add", k, ahead))
        return step(text.integer("add", k, 1), step(k, values))

    even = text.integer("and", depth, -2)
    found = text.loop(0, even, 2, sums, two)
    found = text.loop(even, depth, 1, [(code.vector, value) for value in found], step)
    for m in range(tile.rows):
        for v in range(vectors):
            kept = text.offset(scratch, text.integer("add", place, m * pitch + v * tile.lanes),
                               code.size)
            value = found[m * vectors + v]
            code.store(code.floored(value) if has_floor else value, kept, code.kind)


DOTS_WORDS = (
    "grad", "source", "result", "offsets", "units", "depth", "rows", "tiles", "blocks",
    "unit_count", "images", "grad_image", "grad_group", "grad_row", "source_image",
    "source_group", "source_pitch", "grad_pitch", "result_group", "result_row",
)


def dots(name: str, vector_bytes: int, tile: Tile) -> str:
    """The kernel of `result[m, k] = sum over images and p of grad[m, p] * source[p + offset[k]]`.

    The argument block is DOTS_WORDS. A unit is (source, grad, lines, length), short enough that
    the gradient's rows stay in the cache for all k. A task is one (group, tile of rows,
    BLOCKS_AT_ONCE blocks of k), so the sum's order doesn't depend on the threads. Only elements on
    lines take part.
    """
    text = FunctionText(name, vector_bytes)
    code = TileCode(text, tile.kind, tile.lanes)
    word = text.words(DOTS_WORDS)
    pointer = {label: text.pointer(word[label]) for label in
               ("grad", "source", "result", "offsets", "units")}
    count = tile.rows * tile.vectors
    step = count * tile.lanes
    scratch = text.value(
        f"alloca [{step * BLOCKS_AT_ONCE} x {llvm_type(tile.kind)}], align 64")

    def task(number: str, _: list[str]) -> list[str]:
        some = text.integer("urem", number, word["blocks"])
        rest = text.integer("udiv", number, word["blocks"])
        which = text.integer("urem", rest, word["tiles"])
        group = text.integer("udiv", rest, word["tiles"])
        # Rows and columns beyond the end repeat the last one, and aren't stored.
        last_row, last_k = (text.integer("sub", word[n], 1) for n in ("rows", "depth"))
        rows = [text.integer("add", text.integer("mul", which, tile.rows), m)
                for m in range(tile.rows)]
        steps = [text.integer("mul", text.least(m, last_row), word["grad_row"]) for m in rows]
        grad = plus(text, pointer["grad"], (group, word["grad_group"]))
        source = plus(text, pointer["source"], (group, word["source_group"]))
        first_k = text.integer("mul", some, tile.vectors * BLOCKS_AT_ONCE)
        end_k = text.least(
            text.integer("add", first_k, tile.vectors * BLOCKS_AT_ONCE), word["depth"])

        def places(k: str) -> list[str]:
            """Where the sums of a block are kept between units."""
            at = text.integer("mul", text.integer("sub", k, first_k), tile.rows * tile.lanes)
            start = text.offset(scratch, at, code.size)
            return [text.offset(start, str(i * tile.lanes), code.size) for i in range(count)]

        def clear(k: str, _: list[str]) -> list[str]:
            for place in places(k):
                code.store("zeroinitializer", place, code.kind)
            return []

        text.loop(first_k, end_k, tile.vectors, [], clear)

        def image(n: str, _: list[str]) -> list[str]:
            wanted = plus(text, grad, (n, word["grad_image"]))
            seen = plus(text, source, (n, word["source_image"]))

            def unit(u: str, _: list[str]) -> list[str]:
                entry = text.offset(pointer["units"], text.integer("mul", u, 4), 8)
                first = text.offset(seen, word_at(text, entry, "0"))
                other = text.offset(wanted, word_at(text, entry, "1"))
                lines, length = word_at(text, entry, "2"), word_at(text, entry, "3")

                def block(k: str, _: list[str]) -> list[str]:
                    shifts = [
                        word_at(text, pointer["offsets"],
                                   text.least(text.integer("add", k, j), last_k))
                        for j in range(tile.vectors)
                    ]
                    kept = places(k)
                    sums = [code.load(place, code.kind) for place in kept]
                    sums = _dot_lines(
                        text, code, [text.offset(first, s) for s in shifts],
                        [text.offset(other, s) for s in steps], lines, length,
                        word["source_pitch"], word["grad_pitch"], sums)
                    for value, place in zip(sums, kept, strict=True):
                        code.store(value, place, code.kind)
                    return []

                text.loop(first_k, end_k, tile.vectors, [], block)
                return []

            text.loop(0, word["unit_count"], 1, [], unit)
            return []

        text.loop(0, word["images"], 1, [], image)
        result = plus(text, pointer["result"], (group, word["result_group"]))

        def finish(k: str, _: list[str]) -> list[str]:
            kept = places(k)
            for m, row in enumerate(rows):
                for j in range(tile.vectors):
                    _store_if_inside(text, code, kept[m * tile.vectors + j], result, row,
                                     text.integer("add", k, j), word)
            return []

        text.loop(first_k, end_k, tile.vectors, [], finish)
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()


def _dot_lines(
    text: FunctionText, code: TileCode, sources: list[str], grads: list[str], lines: str,
    length: str, source_pitch: str, grad_pitch: str, sums: list[str],
) -> list[str]:
    """Adds to the sums, one for each pair of grad and source, the products along some lines."""
    whole = text.integer("and", length, -code.lanes)
    mask = code.first(text.integer("sub", length, whole))

    def line(i: str, sums: list[str]) -> list[str]:
        below = text.integer("mul", i, source_pitch)
        beside = text.integer("mul", i, grad_pitch)
        ats = [text.offset(s, below) for s in sources]
        besides = [text.offset(g, beside) for g in grads]

        def some(p: str, sums: list[str], chosen: str | None = None) -> list[str]:
            columns = [code.load(text.offset(a, p, code.size), code.kind, chosen) for a in ats]
            lefts = [code.load(text.offset(b, p, code.size), code.kind, chosen) for b in besides]
            return [
                code.fused(left, column, sums[m * len(columns) + j])
                for m, left in enumerate(lefts) for j, column in enumerate(columns)
            ]

        sums = text.loop(0, whole, code.lanes, [(code.vector, s) for s in sums], some)
        return some(whole, sums, mask)

    return text.loop(0, lines, 1, [(code.vector, s) for s in sums], line)


def _store_if_inside(
    text: FunctionText, code: TileCode, kept: str, result: str, row: str, k: str,
    word: dict[str, str],
) -> None:
    inside = text.value(f"icmp slt i64 {row}, {word['rows']}")
    also = text.value(f"icmp slt i64 {k}, {word['depth']}")

    def store(_: str, __: list[str]) -> list[str]:
        total = code.sum(code.load(kept, code.kind))
        place = text.offset(plus(text, result, (row, word["result_row"])), k, code.size)
        text.add(f"store {llvm_type(code.kind)} {total}, ptr {place}")
        return []

    text.when(text.value(f"and i1 {inside}, {also}"), store)


SPREAD_WORDS = (
    "source", "result", "lines", "line_count", "width", "per_image", "source_image",
    "source_plane", "source_step", "result_plane",
)


def spread(name: str, vector_bytes: int, kind: str, step: int) -> str:
    """The kernel that copies planes line by line, with zeros around what is copied.

    The argument block is SPREAD_WORDS. A line of the result is (source, result, begin, count):
    `width` zeros at `result`, and from `begin` on `count` elements from `source`, which lie
    `step` elements apart; or `source_step` bytes, if `step` is 0. A task is one plane.
    """
    text = FunctionText(name, vector_bytes)
    code = TileCode(text, kind, vector_bytes // SIZE[kind])
    word = text.words(SPREAD_WORDS)
    pointer = {label: text.pointer(word[label]) for label in ("source", "result", "lines")}

    def task(number: str, _: list[str]) -> list[str]:
        plane = text.integer("urem", number, word["per_image"])
        image = text.integer("udiv", number, word["per_image"])
        source = plus(text, pointer["source"], (image, word["source_image"]),
                       (plane, word["source_plane"]))
        result = plus(text, pointer["result"], (number, word["result_plane"]))

        def line(i: str, _: list[str]) -> list[str]:
            entry = text.offset(pointer["lines"], text.integer("mul", i, 4), 8)
            first, target = (word_at(text, entry, str(j)) for j in (0, 1))
            begin, count = word_at(text, entry, "2"), word_at(text, entry, "3")
            target = text.offset(result, target)
            _zeros(text, code, target, word["width"])
            target = text.offset(target, begin, code.size)
            first = text.offset(source, first)
            if step == 1:
                _copy_line(text, code, first, target, count, None)
            else:
                _gather_line(text, code, first, target, count, step, word["source_step"])
            return []

        text.loop(0, word["line_count"], 1, [], line)
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()


def _zeros(text: FunctionText, code: TileCode, target: str, count: str) -> None:
    whole = text.integer("and", count, -code.lanes)

    def some(i: str, _: list[str]) -> list[str]:
        code.store("zeroinitializer", text.offset(target, i, code.size), code.kind)
        return []

    text.loop(0, whole, code.lanes, [], some)
    mask = code.first(text.integer("sub", count, whole))
    code.store("zeroinitializer", text.offset(target, whole, code.size), code.kind, mask)


def _gather_line(
    text: FunctionText, code: TileCode, source: str, target: str, count: str, step: int, stride: str
) -> None:
    """Copies `count` elements that lie `step` elements (0: `stride` bytes) apart."""
    if step:
        # Loads everything between them, too, and picks: faster than gathering.
        wide = TileCode(text, code.kind, code.lanes * step)
        picked = ", ".join(f"i32 {i * step}" for i in range(code.lanes))

    def some(i: str, _: list[str]) -> list[str]:
        left = text.integer("sub", count, i)
        mask = code.first(left)
        if step:
            reach = text.integer("sub", text.integer("mul", left, step), step - 1)
            place = plus(text, source, (i, str(step * code.size)))
            every = wide.load(place, code.kind, wide.first(reach))
            value = text.value(
                f"shufflevector {wide.vector} {every}, {wide.vector} poison, "
                f"<{code.lanes} x i32> <{picked}>")
        else:
            value = code.gather(plus(text, source, (i, stride)), stride, code.kind, mask)
        code.store(value, text.offset(target, i, code.size), code.kind, mask)
        return []

    text.loop(0, count, code.lanes, [], some)


PACK_WORDS = (
    "source", "result", "offsets", "depth", "rows", "tiles", "source_group", "source_row",
)


def pack(name: str, vector_bytes: int, tile: Tile) -> str:
    """The kernel that packs weights for `product`: (group, tile, k, row), zeros beyond the end.

    The argument block is PACK_WORDS; offsets, in bytes, say where each k lies. A task is one
    (group, tile).
    """
    text = FunctionText(name, vector_bytes)
    kind, size = llvm_type(tile.kind), SIZE[tile.kind]
    word = text.words(PACK_WORDS)
    pointer = {label: text.pointer(word[label]) for label in ("source", "result", "offsets")}

    def task(number: str, _: list[str]) -> list[str]:
        which = text.integer("urem", number, word["tiles"])
        group = text.integer("udiv", number, word["tiles"])
        first = text.integer("mul", which, tile.rows)
        last = text.integer("sub", word["rows"], 1)
        source = plus(text, pointer["source"], (group, word["source_group"]))
        rows = [text.integer("add", first, m) for m in range(tile.rows)]
        sources = [plus(text, source, (text.least(m, last), word["source_row"])) for m in rows]
        inside = [text.value(f"icmp sle i64 {m}, {last}") for m in rows]
        target = text.integer("mul", text.integer("mul", number, word["depth"]), tile.rows)
        result = text.offset(pointer["result"], target, size)

        def step(k: str, _: list[str]) -> list[str]:
            shift = word_at(text, pointer["offsets"], k)
            place = text.offset(result, text.integer("mul", k, tile.rows), size)
            for m in range(tile.rows):
                value = text.value(f"load {kind}, ptr {text.offset(sources[m], shift)}")
                value = text.value(f"select i1 {inside[m]}, {kind} {value}, {kind} 0.0")
                text.add(f"store {kind} {value}, ptr {text.offset(place, str(m), size)}")
            return []

        text.loop(0, word["depth"], 1, [], step)
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()
