"""Kernels of the gradient in windows of 3 x 3 by Winograd's algorithm, see winograd_kernels.py.

    G' [sum over tiles of (A r A') * (B' d B)] G

`sums` adds up the products in the middle, for a few parts of the tiles; `collect` adds the parts
and goes back to windows. Both have filters as lanes: results are turned first.
"""

from __future__ import annotations

from taper.compiler.llvm_text import FunctionText
from taper.compiler.outer_products import outer_tile
from taper.compiler.tile_code import SIZE, TileCode, plus
from taper.compiler.vector_code import llvm_type
from taper.compiler.winograd_kernels import (
    Planes,
    WinogradTile,
    apart,
    block_at,
    lanes_for,
    segment_at,
)

__all__ = ["COLLECT_WORDS", "SUMS_WORDS", "collect", "sums", "tile_for_sums"]


def tile_for_sums(
    kind: str, vector_bytes: int, filters: int, channels: int, tiles_of_line: int,
) -> WinogradTile:
    """The tile: `rows` are channels, `vectors` those of filters."""
    own = outer_tile(kind, vector_bytes, filters)
    most = (24 if vector_bytes in (16, 64) else 12) // own.vectors
    rows = -(-channels // -(-channels // most))
    return WinogradTile(kind, own.lanes, rows, own.vectors, lanes_for(own.lanes, tiles_of_line))


SUMS_WORDS = (
    "source", "grad", "sums", "blocks", "segments",
    "channels", "height", "width", "plane", "line", "filters", "grad_plane", "grad_line",
    "block_count", "parts",
)


def sums(name: str, vector_bytes: int, tile: WinogradTile, block: int) -> str:
    """The kernel of the sums, (part, place, channel, filter), of blocks of so many tiles.

    Channels are filled up to tiles of them, filters to panels of vectors. The argument block is
    SUMS_WORDS; a task is one part.
    """
    return _Sums(name, vector_bytes, tile, block).text()


class _Sums:
    def __init__(self, name: str, vector_bytes: int, tile: WinogradTile, block: int) -> None:
        self.tile, self.block = tile, block
        self.ir = ir = FunctionText(name, vector_bytes)
        self.code = TileCode(ir, tile.kind, tile.lanes)
        self.size = SIZE[tile.kind]
        self.width = tile.lanes * tile.vectors
        self.word = ir.words(SUMS_WORDS)
        self.pointer = {label: ir.pointer(self.word[label])
                        for label in ("grad", "sums", "blocks", "segments")}
        kind = llvm_type(tile.kind)
        self.heights = self._count("channels", tile.rows)
        self.panels = self._count("filters", self.width)
        self.filters = ir.integer("mul", self.panels, self.width)
        self.input_place = apart(ir, ir.integer("mul", self.heights, tile.rows * block), tile)
        self.grad_place = apart(ir, ir.integer("mul", self.filters, block), tile)
        self.inputs = self._memory(kind, self.input_place)
        self.grads = self._memory(kind, self.grad_place)
        self.turned = ir.value(
            f"alloca [{2 * 2 * tile.across * tile.lanes} x {kind}], align 64")
        self.planes = Planes(ir, TileCode(ir, tile.kind, tile.across), self.word)

    def _count(self, word: str, each: int) -> str:
        return self.ir.integer("udiv", self.ir.integer("add", self.word[word], each - 1), each)

    def _memory(self, kind: str, of_place: str) -> str:
        size = self.ir.integer("add", self.ir.integer("mul", of_place, 16), self.tile.across)
        return self.ir.value(f"alloca {kind}, i64 {size}, align 64")

    def text(self) -> str:
        ir, tile = self.ir, self.tile
        of_place = ir.integer("mul", ir.integer("mul", self.heights, tile.rows), self.filters)
        of_part = ir.integer("mul", of_place, 16)

        def task(part: str, _: list[str]) -> list[str]:
            own = ir.offset(self.pointer["sums"], ir.integer("mul", part, of_part), self.size)

            def clear(i: str, _: list[str]) -> list[str]:
                self.code.store("zeroinitializer", ir.offset(own, i, self.size), tile.kind)
                return []

            ir.loop(0, of_part, tile.lanes, [], clear)
            first, end = (
                ir.integer("udiv", ir.integer("mul", p, self.word["block_count"]),
                           self.word["parts"])
                for p in (part, ir.integer("add", part, 1)))

            def one_block(number: str, _: list[str]) -> list[str]:
                first, end, count = block_at(ir, self.pointer["blocks"], number)
                self.planes.transform(
                    self.pointer["segments"], first, end, self.inputs,
                    ir.integer("mul", self.input_place, self.size), self.block)
                ir.loop(first, end, 1, [], self._prepare)
                self._multiply(own, of_place, count)
                return []

            ir.loop(first, end, 1, [], one_block)
            return []

        ir.loop("%begin", "%end", 1, [], task)
        return ir.text()

    # -- the gradient --------------------------------------------------------------------------

    def _prepare(self, number: str, _: list[str]) -> list[str]:
        """A r A' at the tiles of a segment: (place, tile of the block, filter)."""
        ir, tile = self.ir, self.tile
        segment = segment_at(ir, self.pointer["segments"], number)
        grad = ir.offset(self.pointer["grad"], segment["result"])
        has_second = ir.value(f"icmp sgt i64 {segment['lines']}, 1")
        columns = [segment["columns"],
                   ir.value(f"select i1 {has_second}, i64 {segment['columns']}, i64 0")]
        first = ir.offset(
            self.grads, ir.integer("mul", segment["place"], self.filters), self.size)

        def some_filters(k: str, _: list[str]) -> list[str]:
            for a in range(2):
                line = ir.offset(grad, self.word["grad_line"]) if a else grad
                self._turn(a, line, k, columns[a])
            target = ir.offset(first, k, self.size)

            def one(t: str, _: list[str]) -> list[str]:
                self._expand(t, ir.offset(target, ir.integer("mul", t, self.filters), self.size))
                return []

            ir.loop(0, segment["count"], 1, [], one)
            return []

        ir.loop(0, self.filters, tile.lanes, [], some_filters)
        return []

    def _turn(self, line: int, grad: str, first: str, columns: str) -> None:
        """Turns a line of so many columns: filters, from the first on, become neighbours."""
        ir, code, tile = self.ir, self.code, self.tile
        last = ir.integer("sub", self.word["filters"], 1)
        places = [
            plus(ir, grad, (ir.least(ir.integer("add", first, m), last), self.word["grad_plane"]))
            for m in range(tile.lanes)
        ]
        for start in range(0, 2 * tile.across, tile.lanes):
            mask = code.first(ir.integer("sub", columns, start))
            rows = [code.load(ir.offset(place, str(start), self.size), tile.kind, mask)
                    for place in places]
            for i, column in enumerate(code.turned(rows)[: 2 * tile.across - start]):
                at = ((line * 2 * tile.across) + start + i) * tile.lanes
                code.store(column, ir.offset(self.turned, str(at), self.size), tile.kind)

    def _expand(self, t: str, target: str) -> None:
        """Writes A r A' for one tile of the segment, some filters."""
        ir, code, tile = self.ir, self.code, self.tile
        bytes_of_place = ir.integer("mul", self.grad_place, self.size)
        at = ir.offset(self.turned, ir.integer("mul", t, 2 * tile.lanes), self.size)
        values = [
            [code.load(ir.offset(at, str((a * 2 * tile.across + b) * tile.lanes), self.size),
                       tile.kind) for b in range(2)]
            for a in range(2)
        ]
        columns = [self._spread(values[0][b], values[1][b]) for b in range(2)]
        for i in range(4):
            for value in self._spread(columns[0][i], columns[1][i]):
                code.store(value, target, tile.kind)
                target = ir.offset(target, bytes_of_place)

    def _spread(self, a: str, b: str) -> list[str]:
        """A r, but for the sign of its last element."""
        ir, kind = self.ir, self.code.vector
        return [a, ir.value(f"fadd {kind} {a}, {b}"), ir.value(f"fsub {kind} {a}, {b}"), b]

    # -- their products ------------------------------------------------------------------------

    def _multiply(self, sums: str, of_place: str, count: str) -> None:
        """Adds the products at so many tiles to the sums."""
        ir, code, tile, size = self.ir, self.code, self.tile, self.size

        def place(xi: str, _: list[str]) -> list[str]:
            inputs = ir.offset(self.inputs, ir.integer("mul", xi, self.input_place), size)
            grads = ir.offset(self.grads, ir.integer("mul", xi, self.grad_place), size)
            totals = ir.offset(sums, ir.integer("mul", xi, of_place), size)

            def panel(p: str, _: list[str]) -> list[str]:
                beside = ir.offset(grads, ir.integer("mul", p, self.width), size)

                def some_channels(h: str, _: list[str]) -> list[str]:
                    first = ir.integer("mul", h, tile.rows)
                    factors = ir.offset(inputs, ir.integer("mul", first, self.block), size)
                    own = ir.offset(totals, ir.integer("mul", first, self.filters), size)
                    own = ir.offset(own, ir.integer("mul", p, self.width), size)
                    rows = [ir.offset(own, ir.integer("mul", m, self.filters), size)
                            for m in range(tile.rows)]
                    kept = [ir.offset(row, str(v * tile.lanes), size)
                            for row in rows for v in range(tile.vectors)]

                    def one_tile(t: str, totals: list[str]) -> list[str]:
                        at = ir.offset(beside, ir.integer("mul", t, self.filters), size)
                        columns = [code.load(ir.offset(at, str(v * tile.lanes), size), tile.kind)
                                   for v in range(tile.vectors)]
                        from_here = ir.offset(factors, t, size)
                        new = []
                        for m in range(tile.rows):
                            factor = code.all_spread(
                                ir.offset(from_here, str(m * self.block), size))
                            new += [code.fused(column, factor, totals[m * tile.vectors + v])
                                    for v, column in enumerate(columns)]
                        return new

                    begin = [(code.vector, code.load(k, tile.kind)) for k in kept]
                    for total, k in zip(ir.loop(0, count, 1, begin, one_tile), kept, strict=True):
                        code.store(total, k, tile.kind)
                    return []

                ir.loop(0, self.heights, 1, [], some_channels)
                return []

            ir.loop(0, self.panels, 1, [], panel)
            return []

        ir.loop(0, 16, 1, [], place)


COLLECT_WORDS = (
    "source", "grad", "sums", "result",
    "channels", "filters", "images", "height", "width", "rows", "columns", "top", "left",
    "image", "plane", "line", "grad_image", "grad_plane", "grad_line", "result_filter",
    "filled_channels", "filled_filters", "parts",
)


def collect(name: str, vector_bytes: int, kind: str) -> str:
    """The kernel that adds the parts of sums and goes back to windows.

    The argument block is COLLECT_WORDS: `rows` and `columns` are those of the gradient, `top` and
    `left` the padding. A task is one channel.
    """
    return _Collect(name, vector_bytes, kind).text()


class _Collect:
    def __init__(self, name: str, vector_bytes: int, kind: str) -> None:
        self.ir = ir = FunctionText(name, vector_bytes)
        self.kind, self.size = kind, SIZE[kind]
        self.code = TileCode(ir, kind, vector_bytes // SIZE[kind])
        self.word = ir.words(COLLECT_WORDS)
        self.pointer = {label: ir.pointer(self.word[label])
                        for label in ("source", "grad", "sums", "result")}

    def text(self) -> str:
        ir, code, word, size = self.ir, self.code, self.word, self.size
        of_place = ir.integer("mul", ir.integer("mul", word["filled_channels"],
                                                word["filled_filters"]), size)
        of_part = ir.integer("mul", of_place, 16)

        def task(c: str, _: list[str]) -> list[str]:
            own = ir.offset(self.pointer["sums"],
                            ir.integer("mul", c, word["filled_filters"]), size)
            window = ir.offset(self.pointer["result"], ir.integer("mul", c, 9), size)

            def some_filters(k: str, _: list[str]) -> list[str]:
                at = ir.offset(own, k, size)

                def part(p: str, sums: list[str]) -> list[str]:
                    start = plus(ir, at, (p, of_part))
                    return [
                        ir.value(f"fadd {code.vector} {value}, " + code.load(
                            plus(ir, start, (str(xi), of_place)), self.kind))
                        for xi, value in enumerate(sums)
                    ]

                zero = [(code.vector, "zeroinitializer")] * 16
                totals = ir.loop(0, word["parts"], 1, zero, part)
                columns = [self._closed(totals[j::4]) for j in range(4)]
                taps = [v for i in range(3) for v in self._closed([col[i] for col in columns])]
                count = ir.least(ir.integer("sub", word["filters"], k), str(code.lanes))
                mask = code.first(count)
                target = plus(ir, window, (k, word["result_filter"]))
                flaw = "zeroinitializer"
                for i, tap in enumerate(taps):
                    code.scatter(tap, ir.offset(target, str(i), size), word["result_filter"],
                                 self.kind, mask)
                    flaw = code.fused(tap, code.constant(0.0, self.kind), flaw)
                is_flawed = ir.value(f"fcmp uno {code.vector} {flaw}, {flaw}")
                is_flawed = ir.value(f"and <{code.lanes} x i1> {is_flawed}, {mask}")
                bits = ir.value(f"bitcast <{code.lanes} x i1> {is_flawed} to i{code.lanes}")
                ir.when(ir.value(f"icmp ne i{code.lanes} {bits}, 0"),
                        lambda _, __: self._compute_directly(c, k, count, target))
                return []

            ir.loop(0, word["filters"], code.lanes, [], some_filters)
            return []

        ir.loop("%begin", "%end", 1, [], task)
        return ir.text()

    def _closed(self, u: list[str]) -> list[str]:
        """G' u, with the last element of u negative."""
        ir, kind = self.ir, self.code.vector
        half = self.code.constant(0.5, self.kind)
        both = ir.value(f"fmul {kind} {half}, " + ir.value(f"fadd {kind} {u[1]}, {u[2]}"))
        middle = ir.value(f"fmul {kind} {half}, " + ir.value(f"fsub {kind} {u[1]}, {u[2]}"))
        return [ir.value(f"fadd {kind} {u[0]}, {both}"), middle,
                ir.value(f"fsub {kind} {both}, {u[3]}")]

    def _compute_directly(self, channel: str, first: str, count: str, target: str) -> list[str]:
        """The same as sums of products; see Note [infinities] in winograd_kernels.py."""
        ir, code, word, size = self.ir, self.code, self.word, self.size
        source = plus(ir, self.pointer["source"], (channel, word["plane"]))

        def one_filter(m: str, _: list[str]) -> list[str]:
            grad = plus(ir, self.pointer["grad"],
                        (ir.integer("add", first, m), word["grad_plane"]))

            def one_place(k: str, _: list[str]) -> list[str]:
                down = ir.integer("sub", ir.integer("udiv", k, 3), word["top"])
                right = ir.integer("sub", ir.integer("urem", k, 3), word["left"])

                def one_line(number: str, totals: list[str]) -> list[str]:
                    n = ir.integer("udiv", number, word["rows"])
                    y = ir.integer("urem", number, word["rows"])
                    row = ir.integer("add", y, down)
                    is_inside = ir.value(f"icmp ult i64 {row}, {word['height']}")
                    length = ir.value(f"select i1 {is_inside}, i64 {word['columns']}, i64 0")
                    seen = plus(ir, source, (n, word["image"]), (row, word["line"]))
                    seen = ir.offset(seen, right, size)
                    wanted = plus(ir, grad, (n, word["grad_image"]), (y, word["grad_line"]))

                    def some(x: str, totals: list[str]) -> list[str]:
                        whole = f"<{code.lanes} x i64>"
                        iota = ", ".join(f"i64 {i}" for i in range(code.lanes))
                        begin = code.splat(ir.integer("add", x, right), "i64")
                        index = ir.value(f"add {whole} {begin}, <{iota}>")
                        mask = ir.value(
                            f"icmp ult {whole} {index}, {code.splat(word['width'], 'i64')}")
                        mask = ir.value(f"and <{code.lanes} x i1> {mask}, "
                                        + code.first(ir.integer("sub", length, x)))
                        a = code.load(ir.offset(seen, x, size), self.kind, mask)
                        b = code.load(ir.offset(wanted, x, size), self.kind, mask)
                        return [code.fused(a, b, totals[0])]

                    return ir.loop(0, length, code.lanes, [(code.vector, totals[0])], some)

                lines = ir.integer("mul", word["images"], word["rows"])
                total, = ir.loop(0, lines, 1, [(code.vector, "zeroinitializer")], one_line)
                place = ir.offset(plus(ir, target, (m, word["result_filter"])), k, size)
                ir.add(f"store {llvm_type(self.kind)} {code.sum(total)}, ptr {place}")
                return []

            ir.loop(0, 9, 1, [], one_place)
            return []

        ir.loop(0, count, 1, [], one_filter)
        return []
