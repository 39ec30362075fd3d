"""Kernels of convolutions with windows of 3 x 3 that cost 16 products for 4 results, not 36.

Winograd's algorithm F(2 x 2, 3 x 3): with d a tile of 4 x 4 elements of the input and g a window,

    results (2 x 2) = A' [(G g G') * (B' d B)] A      * is elementwise
    B' d = d0 - d2, d1 + d2, d2 - d1, d1 - d3
    G g  = g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2
    A' m = m0 + m1 + m2, m1 - m2 - m3                 on rows, then on columns

(A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2015.) Summed over
channels, the products in the middle are 16 products of matrices, one for each place in a tile. As
B' and A' only add, errors are about those of the sum of 9 products. The gradient in the window is
the adjoint: G' [sum of (A r A') * (B' d B)] G, with r the gradient of the results.

Tiles are numbered through all images, line by line, and a block of them goes through all steps
while it is in the cache. Where blocks lie is told by two tables:

    blocks     (first segment, end of segments, number of tiles)
    segments   SEGMENT_WORDS: tiles that are neighbours in one line, so many as there are lanes

Note [infinities]. A tile's results mix what its windows keep apart, so where some element of the
input is infinite or no number, or sums overflow, finite results might be none. Results that aren't
finite are therefore computed once more, as sums of products, for all filters of a tile at once.
"""

from __future__ import annotations

from typing import NamedTuple

from taper.compiler.llvm_text import FunctionText
from taper.compiler.shifted_products import product_tile
from taper.compiler.tile_code import SIZE, TileCode, plus, word_at
from taper.compiler.vector_code import llvm_type

__all__ = [
    "CONVOLUTION_WORDS", "SEGMENT_WORDS", "WEIGHT_WORDS", "WinogradTile", "convolution", "tile_for",
    "weights",
]

SEGMENT_WORDS = (
    "source",  # where the first tile begins: bytes from the first image, may be before a line
    "top", "left",  # and its row and column; negative in the padding
    "place", "count",  # its number in the block; how many tiles
    "result",  # where its results go: bytes from the first image
    "lines", "columns",  # of results that are inside
)
_CHANNELS_AT_ONCE = 4


class WinogradTile(NamedTuple):
    """What a kernel is made for."""

    kind: str  # "f32" or "f64"
    lanes: int
    rows: int  # of a register tile: filters
    vectors: int  # of tiles in it
    across: int  # lanes of a segment

    @property
    def block(self) -> int:
        """How many tiles a block has."""
        return self.lanes * self.vectors


def tile_for(kind: str, vector_bytes: int, rows: int, tiles_of_line: int) -> WinogradTile:
    """The tile for so many filters, and lines of results of so many tiles."""
    own = product_tile(kind, vector_bytes, rows)
    return WinogradTile(kind, own.lanes, own.rows, own.vectors, lanes_for(own.lanes, tiles_of_line))


def lanes_for(lanes: int, tiles_of_line: int) -> int:
    """The lanes of a segment: shorter vectors are fuller."""
    while lanes > 4 and tiles_of_line <= lanes // 2:
        lanes //= 2
    return lanes


def apart(text: FunctionText, elements: str, tile: WinogradTile) -> str:
    """How far the 16 places lie apart that have so many elements each: never a multiple of what
    one way of the first cache holds, which would leave no room for all of them."""
    return text.integer("add", elements, 64 // SIZE[tile.kind])


# -- windows ---------------------------------------------------------------------------------------

WEIGHT_WORDS = (
    "source", "result", "channels", "filters", "source_filter", "source_channel", "first", "step",
)


def weights(name: str, vector_bytes: int, tile: WinogradTile) -> str:
    """The kernel of G g G' for all filters and channels, packed (tile, place, channel, row).

    The argument block is WEIGHT_WORDS: strides in bytes; position k of a window lies at
    `first` + k * `step`. A task is one tile of filters.
    """
    text = FunctionText(name, vector_bytes)
    code = TileCode(text, tile.kind, 1 << (tile.rows - 1).bit_length())
    word = text.words(WEIGHT_WORDS)
    half = code.constant(0.5, tile.kind)
    whole = code.first(str(tile.rows))
    of_place = text.integer("mul", word["channels"], tile.rows * code.size)

    def expanded(a: str, b: str, c: str) -> list[str]:
        ends = _scaled(text, code, _sum(text, code, a, c), half)
        middle = _scaled(text, code, b, half)
        return [a, _sum(text, code, ends, middle), _difference(text, code, ends, middle), c]

    def task(number: str, _: list[str]) -> list[str]:
        begin = text.integer("mul", number, tile.rows)
        mask = code.first(text.least(text.integer("sub", word["filters"], begin), str(tile.rows)))
        source = plus(text, text.pointer(word["source"]), (begin, word["source_filter"]))
        source = text.offset(source, word["first"])
        result = plus(text, text.pointer(word["result"]),
                      (number, text.integer("mul", of_place, 16)))

        def channel(c: str, _: list[str]) -> list[str]:
            own = plus(text, source, (c, word["source_channel"]))
            taps = [code.gather(plus(text, own, (str(k), word["step"])), word["source_filter"],
                                tile.kind, mask) for k in range(9)]
            columns = [expanded(taps[j], taps[3 + j], taps[6 + j]) for j in range(3)]
            target = text.offset(result, text.integer("mul", c, tile.rows), code.size)
            for i in range(4):
                for j, value in enumerate(expanded(*[column[i] for column in columns])):
                    code.store(value, plus(text, target, (str(4 * i + j), of_place)), tile.kind,
                               whole)
            return []

        text.loop(0, word["channels"], 1, [], channel)
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()


# -- arithmetic ------------------------------------------------------------------------------------


def _sum(text: FunctionText, code: TileCode, a: str, b: str) -> str:
    return text.value(f"fadd {code.vector} {a}, {b}")


def _difference(text: FunctionText, code: TileCode, a: str, b: str) -> str:
    return text.value(f"fsub {code.vector} {a}, {b}")


def _scaled(text: FunctionText, code: TileCode, a: str, b: str) -> str:
    return text.value(f"fmul {code.vector} {a}, {b}")


def _differences(text: FunctionText, code: TileCode, d: list[str]) -> list[str]:
    """B' d"""
    return [
        _difference(text, code, d[0], d[2]), _sum(text, code, d[1], d[2]),
        _difference(text, code, d[2], d[1]), _difference(text, code, d[1], d[3]),
    ]


def _collected(text: FunctionText, code: TileCode, m: list[str]) -> list[str]:
    """A' m"""
    return [
        _sum(text, code, _sum(text, code, m[0], m[1]), m[2]),
        _difference(text, code, _difference(text, code, m[1], m[2]), m[3]),
    ]


# -- the input -------------------------------------------------------------------------------------


class Planes:
    """The input of a convolution, as kernels read it: zeros around each plane."""

    def __init__(self, text: FunctionText, code: TileCode, word: dict[str, str]) -> None:
        self.text, self.code, self.word = text, code, word
        self.source = text.pointer(word["source"])
        length = 2 * code.lanes + 2
        kind = llvm_type(code.kind)
        self.zeros = text.value(f"alloca [{length} x {kind}], align 64")
        text.add(f"store [{length} x {kind}] zeroinitializer, ptr {self.zeros}")

    def row(self, segment: dict[str, str], below: str) -> tuple[str, str]:
        """Where a segment's row lies, so many rows below its first, and how far on it lies in the
        next channel. Outside of the plane it is zeros, in all channels."""
        text, word = self.text, self.word
        own = text.integer("add", segment["top"], below)
        is_inside = text.value(f"icmp ult i64 {own}, {word['height']}")
        place = plus(text, text.offset(self.source, segment["source"]), (below, word["line"]))
        return (text.value(f"select i1 {is_inside}, ptr {place}, ptr {self.zeros}"),
                text.value(f"select i1 {is_inside}, i64 {word['plane']}, i64 0"))

    def mask(self, segment: dict[str, str], beside: int) -> str:
        """Which of the elements from so many columns behind a segment's first on are inside."""
        text, lanes = self.text, self.code.lanes
        whole = f"<{lanes} x i64>"
        steps = ", ".join(f"i64 {beside + i}" for i in range(lanes))
        index = text.value(
            f"add {whole} {self.code.splat(segment['left'], 'i64')}, <{steps}>")
        return text.value(
            f"icmp ult {whole} {index}, {self.code.splat(self.word['width'], 'i64')}")

    def transform(
        self, table: str, first: str, end: str, target: str, of_place: str, block: int
    ) -> None:
        """Writes B' d B for the tiles of some segments: (place, channel, tile of the block).

        Few channels at a time: what is written next to each other shall be so at once, while
        its lines are in the first cache.
        """
        text = self.text

        def some_channels(c: str, _: list[str]) -> list[str]:
            stop = text.least(text.integer("add", c, _CHANNELS_AT_ONCE), self.word["channels"])

            def one_segment(s: str, _: list[str]) -> list[str]:
                self._transform(segment_at(text, table, s), c, stop, target, of_place, block)
                return []

            text.loop(first, end, 1, [], one_segment)
            return []

        text.loop(0, self.word["channels"], _CHANNELS_AT_ONCE, [], some_channels)

    def _transform(
        self, segment: dict[str, str], begin: str, stop: str, target: str, of_place: str, block: int
    ) -> None:
        text, code, lanes = self.text, self.code, self.code.lanes
        rows = [self.row(segment, str(i)) for i in range(4)]
        starts = (0, lanes, 2, lanes + 2)
        masks = [self.mask(segment, start) for start in starts]
        kept = code.first(segment["count"])
        first = text.integer("add", text.integer("mul", begin, block), segment["place"])
        halves = [[2 * i + odd for i in range(lanes)] for odd in (0, 1)]

        def channel(c: str, places: list[str]) -> list[str]:
            raw = [
                [code.load(text.offset(place, str(start), code.size), code.kind, mask)
                 for place in places[:4]]
                for start, mask in zip(starts, masks, strict=True)
            ]
            lines = [_differences(text, code, column) for column in raw]
            out = places[4]
            for i in range(4):
                a, b, c2, d2 = (line[i] for line in lines)
                columns = [code.picked(a, b, half) for half in halves]
                columns += [code.picked(c2, d2, half) for half in halves]
                for value in _differences(text, code, columns):
                    code.store(value, out, code.kind, kept)
                    out = text.offset(out, of_place)
            following = [text.offset(place, step)
                         for place, (_, step) in zip(places, rows, strict=False)]
            return [*following, text.offset(places[4], str(block), code.size)]

        carried = [("ptr", plus(text, place, (begin, step))) for place, step in rows]
        carried.append(("ptr", text.offset(target, first, code.size)))
        text.loop(begin, stop, 1, carried, channel)


def segment_at(text: FunctionText, table: str, number: str) -> dict[str, str]:
    """The words of a segment."""
    entry = text.offset(table, text.integer("mul", number, len(SEGMENT_WORDS)), 8)
    return {label: word_at(text, entry, str(i)) for i, label in enumerate(SEGMENT_WORDS)}


def block_at(text: FunctionText, table: str, number: str) -> tuple[str, str, str]:
    """The first segment of a block, the end of its segments, and how many tiles it has."""
    entry = text.offset(table, text.integer("mul", number, 3), 8)
    first, end, count = (word_at(text, entry, str(i)) for i in range(3))
    return first, end, count


# -- the convolution -------------------------------------------------------------------------------

CONVOLUTION_WORDS = (
    "source", "weight", "bias", "result", "window", "blocks", "segments",
    "channels", "height", "width", "plane", "line", "filters", "result_plane", "result_line",
    "window_filter", "window_channel", "window_first", "window_step",
)


def convolution(name: str, vector_bytes: int, tile: WinogradTile, has_bias: bool,
                has_floor: bool) -> str:
    """The kernel of a convolution, with weights from `weights`; `window` are those before.

    With `has_floor` results below zero are zero. The argument block is CONVOLUTION_WORDS; a task
    is one block.
    """
    return _Convolution(name, vector_bytes, tile, has_bias, has_floor).text()


class _Convolution:
    def __init__(self, name: str, vector_bytes: int, tile: WinogradTile, has_bias: bool,
                 has_floor: bool) -> None:
        self.tile, self.has_bias, self.has_floor = tile, has_bias, has_floor
        self.ir = FunctionText(name, vector_bytes)
        self.code = TileCode(self.ir, tile.kind, tile.lanes)
        self.across = TileCode(self.ir, tile.kind, tile.across)
        ir = self.ir
        self.word = ir.words(CONVOLUTION_WORDS)
        self.pointer = {label: ir.pointer(self.word[label])
                        for label in ("weight", "bias", "result", "window", "blocks", "segments")}
        kind = llvm_type(tile.kind)
        channels = self.word["channels"]
        elements = apart(ir, ir.integer("mul", channels, tile.block), tile)
        self.of_place = ir.integer("mul", elements, self.code.size)
        self.inputs = ir.value(
            f"alloca {kind}, i64 {ir.integer('mul', elements, 16)}, align 64")
        self.products = ir.value(
            f"alloca [{16 * tile.rows * tile.block + tile.across} x {kind}], align 64")
        self.planes = Planes(ir, self.across, self.word)

    def text(self) -> str:
        ir, tile = self.ir, self.tile
        rounded = ir.integer("add", self.word["filters"], tile.rows - 1)
        heights = ir.integer("udiv", rounded, tile.rows)

        def task(number: str, _: list[str]) -> list[str]:
            first, end, count = block_at(ir, self.pointer["blocks"], number)

            self.planes.transform(
                self.pointer["segments"], first, end, self.inputs, self.of_place, tile.block)
            filled = ir.integer("udiv", ir.integer("add", count, tile.lanes - 1), tile.lanes)

            def some_filters(which: str, _: list[str]) -> list[str]:
                for vectors in range(1, tile.vectors + 1):

                    def so_many(_: str, __: list[str], vectors: int = vectors) -> list[str]:
                        return self._multiply(which, vectors)

                    ir.when(ir.value(f"icmp eq i64 {filled}, {vectors}"), so_many)
                self._finish(which, first, end)
                return []

            ir.loop(0, heights, 1, [], some_filters)
            return []

        ir.loop("%begin", "%end", 1, [], task)
        return ir.text()

    def _multiply(self, which: str, vectors: int) -> list[str]:
        """The products for one tile of filters: (place, filter, tile of the block)."""
        ir, code, tile = self.ir, self.code, self.tile
        channels = self.word["channels"]
        per_place = ir.integer("mul", channels, tile.rows)
        own = ir.integer("mul", which, ir.integer("mul", per_place, 16))
        weight = ir.offset(self.pointer["weight"], own, code.size)

        def place(xi: str, _: list[str]) -> list[str]:
            factors = ir.offset(weight, ir.integer("mul", xi, per_place), code.size)
            inputs = plus(ir, self.inputs, (xi, self.of_place))

            def channel(c: str, sums: list[str]) -> list[str]:
                at = ir.offset(inputs, ir.integer("mul", c, tile.block), code.size)
                columns = [code.load(ir.offset(at, str(v * tile.lanes), code.size), tile.kind)
                           for v in range(vectors)]
                row = ir.offset(factors, ir.integer("mul", c, tile.rows), code.size)
                new = []
                for m in range(tile.rows):
                    factor = code.all_spread(ir.offset(row, str(m), code.size))
                    new += [code.fused(column, factor, sums[m * vectors + v])
                            for v, column in enumerate(columns)]
                return new

            zero = [(code.vector, "zeroinitializer")] * (tile.rows * vectors)
            sums = ir.loop(0, channels, 1, zero, channel)
            target = ir.offset(self.products, ir.integer("mul", xi, tile.rows * tile.block),
                               code.size)
            for m in range(tile.rows):
                for v in range(vectors):
                    code.store(sums[m * vectors + v],
                               ir.offset(target, str(m * tile.block + v * tile.lanes), code.size),
                               tile.kind)
            return []

        ir.loop(0, 16, 1, [], place)
        return []

    # -- results -------------------------------------------------------------------------------

    def _finish(self, which: str, first: str, end: str) -> None:
        """The results of one tile of filters."""
        ir, code, tile = self.ir, self.across, self.tile
        first_filter = ir.integer("mul", which, tile.rows)
        height = ir.least(
            ir.integer("sub", self.word["filters"], first_filter), str(tile.rows))
        result = plus(ir, self.pointer["result"], (first_filter, self.word["result_plane"]))
        bias = ir.offset(self.pointer["bias"], first_filter, code.size)

        def one_segment(s: str, flaws: list[str]) -> list[str]:
            segment = segment_at(ir, self.pointer["segments"], s)
            masks = self._masks(segment)
            start = ir.offset(self.products, segment["place"], code.size)
            target = ir.offset(result, segment["result"])

            def one_filter(m: str, flaws: list[str]) -> list[str]:
                at = ir.offset(start, ir.integer("mul", m, tile.block), code.size)
                lines = self._lines(at)
                if self.has_bias:
                    more = code.all_spread(ir.offset(bias, m, code.size))
                    lines = [[_sum(ir, code, value, more) for value in line] for line in lines]
                out = plus(ir, target, (m, self.word["result_plane"]))
                return [self._stored(lines, masks, out, flaws[0])]

            return ir.loop(0, height, 1, [(code.vector, flaws[0])], one_filter)

        flaw, = ir.loop(first, end, 1, [(code.vector, "zeroinitializer")], one_segment)
        is_flawed = ir.value(f"fcmp uno {code.vector} {flaw}, {flaw}")
        bits = ir.value(f"bitcast <{code.lanes} x i1> {is_flawed} to i{code.lanes}")

        def again(_: str, __: list[str]) -> list[str]:
            self._compute_directly(first, end, first_filter, height)
            return []

        ir.when(ir.value(f"icmp ne i{code.lanes} {bits}, 0"), again)

    def _masks(self, segment: dict[str, str]) -> list[list[str]]:
        """For each line of results the masks of its two vectors."""
        ir, code = self.ir, self.across
        has_second = ir.value(f"icmp sgt i64 {segment['lines']}, 1")
        columns = [segment["columns"],
                   ir.value(f"select i1 {has_second}, i64 {segment['columns']}, i64 0")]
        return [[code.first(count), code.first(ir.integer("sub", count, code.lanes))]
                for count in columns]

    def _lines(self, at: str) -> list[list[str]]:
        """A' m A of the products at an address: two vectors for each of two lines."""
        ir, code, tile = self.ir, self.across, self.tile
        products = [
            code.load(ir.offset(at, str(xi * tile.rows * tile.block), code.size), tile.kind)
            for xi in range(16)
        ]
        columns = [_collected(ir, code, products[j::4]) for j in range(4)]
        found = []
        for a in range(2):
            even, odd = _collected(ir, code, [column[a] for column in columns])
            order = [i // 2 + (i % 2) * code.lanes for i in range(2 * code.lanes)]
            found.append([code.picked(even, odd, order[: code.lanes]),
                          code.picked(even, odd, order[code.lanes :])])
        return found

    def _stored(
        self, lines: list[list[str]], masks: list[list[str]], out: str, flaw: str
    ) -> str:
        """Stores results; returns a vector that holds NaN where one wasn't finite."""
        ir, code = self.ir, self.across
        zero = code.constant(0.0, code.kind)
        bits = f"<{code.lanes} x i1>"
        for a, (values, own) in enumerate(zip(lines, masks, strict=True)):
            line = ir.offset(out, self.word["result_line"]) if a else out
            for half, (value, mask) in enumerate(zip(values, own, strict=True)):
                new = code.fused(value, zero, flaw)
                flaw = ir.value(f"select {bits} {mask}, {code.vector} {new}, {code.vector} {flaw}")
                code.store(self._floored(value),
                           ir.offset(line, str(half * code.lanes), code.size), code.kind, mask)
        return flaw

    def _floored(self, value: str) -> str:
        return self.across.floored(value) if self.has_floor else value

    def _compute_directly(self, first: str, end: str, first_filter: str, height: str) -> None:
        """The same results as sums of products, see Note [infinities]."""
        ir, code, word = self.ir, self.across, self.word
        result = plus(ir, self.pointer["result"], (first_filter, word["result_plane"]))
        window = plus(ir, self.pointer["window"], (first_filter, word["window_filter"]))
        window = ir.offset(window, word["window_first"])
        bias = ir.offset(self.pointer["bias"], first_filter, code.size)
        last = ir.integer("sub", height, 1)
        # Behind the last filter there is only that one again.
        filters = [ir.least(str(k), last) for k in range(self.tile.rows)]
        steps = [ir.integer("mul", word["window_step"], k) for k in range(9)]

        def one_segment(s: str, _: list[str]) -> list[str]:
            segment = segment_at(ir, self.pointer["segments"], s)
            masks = {h: [self.planes.mask(segment, h * code.lanes + j) for j in range(3)]
                     for h in range(2)}

            def one_line(a: str, _: list[str]) -> list[str]:
                rows = [self.planes.row(segment, ir.integer("add", a, i)) for i in range(3)]
                own = [plus(ir, window, (f, word["window_filter"])) for f in filters]
                starts = [code.constant(0.0, code.kind)] * self.tile.rows
                if self.has_bias:
                    starts = [code.all_spread(ir.offset(bias, f, code.size)) for f in filters]

                def channel(c: str, values: list[str]) -> list[str]:
                    sums = list(values)
                    taps = [plus(ir, place, (c, word["window_channel"])) for place in own]
                    for i, (place, step) in enumerate(rows):
                        line = plus(ir, place, (c, step))
                        for j in range(3):
                            near = [code.load(
                                ir.offset(line, str(h * code.lanes + j), code.size),
                                code.kind, masks[h][j]) for h in range(2)]
                            for k, at in enumerate(taps):
                                tap = code.all_spread(ir.offset(at, steps[3 * i + j]))
                                for h in range(2):
                                    sums[2 * k + h] = code.fused(near[h], tap, sums[2 * k + h])
                    return sums

                carried = [(code.vector, start) for start in starts for _ in range(2)]
                sums = ir.loop(0, word["channels"], 1, carried, channel)
                for k, f in enumerate(filters):
                    out = plus(ir, ir.offset(result, segment["result"]),
                               (f, word["result_plane"]), (a, word["result_line"]))
                    for h in range(2):
                        left = ir.integer("sub", segment["columns"], h * code.lanes)
                        code.store(self._floored(sums[2 * k + h]),
                                   ir.offset(out, str(h * code.lanes), code.size), code.kind,
                                   code.first(left))
                return []

            ir.loop(0, segment["lines"], 1, [], one_line)
            return []

        ir.loop(first, end, 1, [], one_segment)
