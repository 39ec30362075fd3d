"""Kernels of attention: scores never leave the cache. The gradient is in attention_gradients.py.

A task takes `rows` queries and walks over panels of the keys. A panel's scores are a register tile;
weights go through a scratch on the stack into the sums of what they mix, with a running maximum and
sum (Milakov and Gimelshein, Online normalizer calculation for softmax, 2018; Dao et al.,
FlashAttention, 2022). Where there are matrices enough for all threads, a task takes a whole matrix
instead, and packs the panels itself.

Arrays are batches of heads, which are matrices (length, size), neighbours in size adjacent.
"""

from __future__ import annotations

from collections.abc import Callable

from taper.compiler.llvm_text import FunctionText
from taper.compiler.matrix_products import Packer
from taper.compiler.tile_code import Tile, TileCode, plus
from taper.compiler.vector_code import VectorCode, llvm_type

__all__ = [
    "FORWARD_ARRAYS", "FORWARD_WORDS", "LONGEST_ROW", "PACK_WORDS", "Task", "forward", "limits_of",
    "mask_along", "number_of_bits", "pack", "with_strides",
]

LONGEST_ROW = 256  # elements of a query or value; a scratch of 12 rows is then 12 KB of float32


def with_strides(arrays: tuple[str, ...]) -> tuple[str, ...]:
    """The words of how arrays lie: bytes from item to item, from head to head, from row to row."""
    return tuple([f"{label}_{level}" for label in arrays for level in ("item", "head", "row")])


class Task:
    """What the kernels have in common: matrices, rows, score tiles and mixtures."""

    def __init__(self, text: FunctionText, tile: Tile, words: tuple[str, ...]) -> None:
        self.text = text
        self.tile = tile
        self.code = TileCode(text, tile.kind, tile.lanes)
        self.scalar = llvm_type(tile.kind)
        self.width = tile.lanes * tile.vectors
        self.word = text.words(words)

    def enter(self, matrix: str) -> None:
        """Says which matrix the task works on."""
        self.matrix = matrix
        self.item = self.text.integer("udiv", matrix, self.word["heads"])
        self.head = self.text.integer("urem", matrix, self.word["heads"])

    def of_matrix(self, label: str) -> str:
        """Where the matrix of an array is."""
        word = self.word
        return plus(self.text, self.text.pointer(word[label]), (self.item, word[f"{label}_item"]),
                    (self.head, word[f"{label}_head"]))

    def in_order(self, label: str, count: str) -> str:
        """The same of an array that has `count` numbers for each matrix, one after the other."""
        base = self.text.pointer(self.word[label])
        return self.text.offset(base, self.text.integer("mul", self.matrix, count), self.code.size)

    def panels_of(self, label: str, count: str, size: str) -> str:
        """Where the panels of `count` rows of the matrix are, or shall be."""
        text = self.text
        whole = text.integer("mul", self.panel_count(count), self.width)
        return self.in_order(label, text.integer("mul", whole, size))

    def panel_count(self, count: str) -> str:
        more = self.text.integer("add", count, self.width - 1)
        return self.text.integer("udiv", more, self.width)

    def pack(self, label: str, into: str, count: str, size: str) -> None:
        """Packs the matrix of an array, turned, into panels."""
        text = self.text
        packer = Packer(text, self.tile, self.width, self.of_matrix(label),
                        self.panels_of(into, count, size), count, self.word[f"{label}_row"], size)
        text.loop(0, self.panel_count(count), 1, [], lambda p, _: packer.panel(p))

    def each_block(
        self, number: str, together: bool, prepare: Callable[[], None], block: Callable[[str], None]
    ) -> None:
        """Works on a block of the matrix that a task's number says, or on all of them."""
        text, blocks = self.text, self.word["blocks"]
        if not together:
            self.enter(text.integer("udiv", number, blocks))
            block(text.integer("urem", number, blocks))
            return
        self.enter(number)
        prepare()

        def one(at: str, _: list[str]) -> list[str]:
            block(at)
            return []

        text.loop(0, blocks, 1, [], one)

    def scratch(self, columns: int) -> str:
        """Memory for `columns` elements of each row."""
        return self.text.value(f"alloca [{self.tile.rows * columns} x {self.scalar}], align 64")

    def rows_of(self, base: str, rows: list[str], stride: str) -> list[str]:
        return [plus(self.text, base, (row, stride)) for row in rows]

    def scores(self, rows: list[str], panel: str, depth: str) -> list[str]:
        """The products of some rows with the columns of a panel: vectors, row by row."""
        text, code, tile = self.text, self.code, self.tile

        def step(e: str, sums: list[str]) -> list[str]:
            at = text.offset(panel, text.integer("mul", e, self.width), code.size)
            columns = [code.load(text.offset(at, str(v * tile.lanes), code.size), code.kind)
                       for v in range(tile.vectors)]
            new = []
            for m, row in enumerate(rows):
                factor = code.all_spread(text.offset(row, e, code.size))
                new += [code.fused(column, factor, sums[m * tile.vectors + v])
                        for v, column in enumerate(columns)]
            return new

        zeros = [(code.vector, "zeroinitializer")] * (tile.rows * tile.vectors)
        return text.loop(0, depth, 1, zeros, step)

    def keep(self, values: list[str], scratch: str) -> None:
        """Stores a tile of vectors, row by row."""
        for i, value in enumerate(values):
            place = self.text.offset(scratch, str(i * self.tile.lanes), self.code.size)
            self.code.store(value, place, self.code.kind)

    def mix(
        self, weights: str, base: str, stride: str, count: str, sums: str, size: str,
        factors: list[str] | None = None,
    ) -> None:
        """Adds to each row of `sums` the first `count` rows at `base`, weighted; before that, it
        multiplies the sums by `factors`, one number for each row."""
        text, tile = self.text, self.tile
        whole = text.integer("sub", size, text.integer("urem", size, self.width))

        def chunk(e: str, _: list[str], vectors: int = tile.vectors) -> list[str]:
            self._mix_some(weights, base, stride, count, sums, size, factors, e, vectors)
            return []

        text.loop(0, whole, self.width, [], chunk)
        rest = text.integer("sub", size, whole)
        left = text.integer("udiv", text.integer("add", rest, tile.lanes - 1), tile.lanes)
        for vectors in range(1, tile.vectors + 1):

            def last(_: str, __: list[str], vectors: int = vectors) -> list[str]:
                return chunk(whole, [], vectors)

            text.when(text.value(f"icmp eq i64 {left}, {vectors}"), last)

    def _mix_some(
        self, weights: str, base: str, stride: str, count: str, sums: str, size: str,
        factors: list[str] | None, e: str, vectors: int,
    ) -> None:
        """`mix` for some vectors of each row, from element e on."""
        text, code, tile = self.text, self.code, self.tile
        masks = [code.first(text.integer("sub", text.integer("sub", size, e), v * tile.lanes))
                 for v in range(vectors)]
        places = [
            text.offset(text.offset(sums, e, code.size), str(m * LONGEST_ROW + v * tile.lanes),
                        code.size)
            for m in range(tile.rows) for v in range(vectors)
        ]
        values = [code.load(place, code.kind) for place in places]
        if factors is not None:
            values = [text.value(f"fmul {code.vector} {value}, {factors[i // vectors]}")
                      for i, value in enumerate(values)]

        def step(t: str, values: list[str]) -> list[str]:
            row = text.offset(plus(text, base, (t, stride)), e, code.size)
            columns = [
                code.load(text.offset(row, str(v * tile.lanes), code.size), code.kind, masks[v])
                for v in range(vectors)
            ]
            new = []
            for m in range(tile.rows):
                at = text.offset(weights, text.integer("add", t, m * self.width), code.size)
                weight = code.all_spread(at)
                new += [code.fused(column, weight, values[m * vectors + v])
                        for v, column in enumerate(columns)]
            return new

        found = text.loop(0, count, 1, [(code.vector, value) for value in values], step)
        for place, value in zip(places, found, strict=True):
            code.store(value, place, code.kind)

    def clear(self, sums: str, size: str) -> None:
        """Sets the first `size` sums of each row to zero."""

        def some(e: str, _: list[str]) -> list[str]:
            for m in range(self.tile.rows):
                place = self.text.offset(sums, self.text.integer("add", e, m * LONGEST_ROW),
                                         self.code.size)
                self.code.store("zeroinitializer", place, self.code.kind)
            return []

        self.text.loop(0, size, self.tile.lanes, [], some)

    def each_valid(
        self, rows: list[str], count: str, body: Callable[[int, str], None]
    ) -> None:
        """Does something for each row that isn't behind the end."""
        for m, row in enumerate(rows):

            def once(_: str, __: list[str], m: int = m, row: str = row) -> list[str]:
                body(m, row)
                return []

            self.text.when(self.text.value(f"icmp slt i64 {row}, {count}"), once)

    def logarithms(self, numbers: list[str]) -> list[str]:
        """The logarithms of some numbers, as many at once as there are lanes."""
        text, code, found = self.text, self.code, []
        for start in range(0, len(numbers), code.lanes):
            group = numbers[start : start + code.lanes]
            mixed = code.splat(group[0], code.kind)
            for i, number in enumerate(group[1:], 1):
                mixed = text.value(
                    f"insertelement {code.vector} {mixed}, {self.scalar} {number}, i64 {i}")
            mixed = code.function_of("log", mixed)
            found += [text.value(f"extractelement {code.vector} {mixed}, i64 {i}")
                      for i in range(len(group))]
        return found

    def copy_out(self, sums: str, m: int, target: str, size: str, factor: str | None) -> None:
        """Writes one row of the sums, multiplied by a vector of equal factors, to an array."""
        text, code = self.text, self.code

        def some(e: str, _: list[str]) -> list[str]:
            mask = code.first(text.integer("sub", size, e))
            place = text.offset(sums, text.integer("add", e, m * LONGEST_ROW), code.size)
            value = code.load(place, code.kind)
            if factor is not None:
                value = text.value(f"fmul {code.vector} {value}, {factor}")
            code.store(value, text.offset(target, e, code.size), code.kind, mask)
            return []

        text.loop(0, size, self.tile.lanes, [], some)

    def later(self, panel: str, v: int) -> str:
        """The numbers of a panel's columns in vector v."""
        text, tile = self.text, self.tile
        whole = f"<{tile.lanes} x i64>"
        iota = ", ".join(f"i64 {i + v * tile.lanes}" for i in range(tile.lanes))
        first = text.integer("mul", panel, self.width)
        return text.value(f"add {whole} {self.code.splat(first, 'i64')}, <{iota}>")


def number_of_bits(text: FunctionText, word: str, kind: str) -> str:
    """The number whose bits a word of the argument block holds."""
    if kind == "f64":
        return text.value(f"bitcast i64 {word} to double")
    narrow = text.value(f"trunc i64 {word} to i32")
    return text.value(f"bitcast i32 {narrow} to float")


PACK_WORDS = ("source", "panels", "count", "size", "heads", *with_strides(("source",)))


def pack(name: str, vector_bytes: int, tile: Tile) -> str:
    """The kernel that packs matrices, turned, into panels as wide as the tile.

    The argument block is PACK_WORDS, strides in bytes. A task is one matrix.
    """
    text = FunctionText(name, vector_bytes)
    one = Task(text, tile, PACK_WORDS)

    def task(number: str, _: list[str]) -> list[str]:
        one.enter(number)
        one.pack("source", "panels", one.word["count"], one.word["size"])
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()


FORWARD_ARRAYS = ("query", "key", "value", "panels", "result", "logsum", "mask")
FORWARD_WORDS = (
    *FORWARD_ARRAYS, "queries", "keys", "size", "value_size", "scale", "causal", "blocks", "heads",
    *with_strides(("query", "key", "value", "result", "mask")), "mask_column",
)


def forward(name: str, vector_bytes: int, tile: Tile, has_mask: bool, together: bool) -> str:
    """The kernel of `softmax(query keyᵀ scale + mask) value`.

    The argument block is FORWARD_WORDS; strides in bytes, `scale` as bits, `mask_column` 0 or the
    size of an element. Each query's logsumexp is written one after the other. A task is a block of
    queries of one matrix, whose keys are in panels; or, `together`, one matrix.
    """
    text = FunctionText(name, vector_bytes)
    one = Task(text, tile, FORWARD_WORDS)
    code, word = one.code, one.word
    weights, sums = one.scratch(one.width), one.scratch(LONGEST_ROW)
    scale = code.splat(number_of_bits(text, word["scale"], tile.kind), tile.kind)
    low = code.splat(_scalar(code, float("-inf")), tile.kind)

    def queries_of(block: str) -> None:
        last = text.integer("sub", word["queries"], 1)
        numbers = [text.integer("add", text.integer("mul", block, tile.rows), m)
                   for m in range(tile.rows)]
        rows = [text.least(n, last) for n in numbers]
        queries = one.rows_of(one.of_matrix("query"), rows, word["query_row"])
        panels = one.panels_of("panels", word["keys"], word["size"])
        values = one.of_matrix("value")
        masks = one.rows_of(one.of_matrix("mask"), rows, word["mask_row"]) if has_mask else []
        limits = limits_of(text, rows, word)
        one.clear(sums, word["value_size"])
        end = limits[-1]
        start = [(code.vector, low)] * tile.rows + [(code.vector, "zeroinitializer")] * tile.rows

        def panel(p: str, state: list[str]) -> list[str]:
            at = text.offset(panels, text.integer("mul", text.integer(
                "mul", p, one.width), word["size"]), code.size)
            found = one.scores(queries, at, word["size"])
            running = _State(one, state[: tile.rows], state[tile.rows :])
            factors, found_weights = running.take([
                _finished_scores(one, found[m * tile.vectors : (m + 1) * tile.vectors], p, scale,
                                 limits[m], masks[m] if has_mask else None, word, low)
                for m in range(tile.rows)
            ])
            one.keep([w for own in found_weights for w in own], weights)
            first = text.integer("mul", p, one.width)
            held = text.least(text.integer("sub", end, first), str(one.width))
            base = plus(text, values, (first, word["value_row"]))
            one.mix(weights, base, word["value_row"], held, sums, word["value_size"], factors)
            return [*running.tops, *running.totals]

        state = text.loop(0, one.panel_count(end), 1, start, panel)
        totals = [_total(one, total) for total in state[tile.rows :]]
        logs = one.logarithms(totals)

        def finish(m: int, row: str) -> None:
            _write_query(one, sums, m, row, state[m], totals[m], logs[m])

        one.each_valid(numbers, word["queries"], finish)

    def task(number: str, _: list[str]) -> list[str]:
        one.each_block(number, together, lambda: one.pack(
            "key", "panels", word["keys"], word["size"]), queries_of)
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()


def _scalar(code: TileCode, value: float) -> str:
    return VectorCode(code.text, 1, code.leaf).constant(value, code.kind)


def limits_of(text: FunctionText, rows: list[str], word: dict[str, str]) -> list[str]:
    """How many keys each query sees."""
    is_causal = text.value(f"icmp ne i64 {word['causal']}, 0")
    found = []
    for row in rows:
        seen = text.least(text.integer("add", row, 1), word["keys"])
        found.append(text.value(f"select i1 {is_causal}, i64 {seen}, i64 {word['keys']}"))
    return found


def _finished_scores(
    one: Task, scores: list[str], panel: str, scale: str, limit: str, mask: str | None,
    word: dict[str, str], low: str,
) -> list[str]:
    """Scores of one row scaled, with the mask added, and -inf beyond the limit."""
    text, code, tile = one.text, one.code, one.tile
    whole = f"<{tile.lanes} x i64>"
    edge = code.splat(limit, "i64")
    found = []
    for v, score in enumerate(scores):
        inside = text.value(f"icmp slt {whole} {one.later(panel, v)}, {edge}")
        value = text.value(f"fmul {code.vector} {score}, {scale}")
        if mask is not None:
            key = text.integer("add", text.integer("mul", panel, one.width), v * tile.lanes)
            added = mask_along(one, mask, key, word, word["keys"])
            value = text.value(f"fadd {code.vector} {value}, {added}")
        found.append(text.value(
            f"select <{tile.lanes} x i1> {inside}, {code.vector} {value}, {code.vector} {low}"))
    return found


def mask_along(one: Task, row: str, key: str, word: dict[str, str], keys: str) -> str:
    """A query's mask for neighbouring keys from `key` on."""
    text, code = one.text, one.code
    at = plus(text, row, (key, word["mask_column"]))
    is_same = text.value(f"icmp eq i64 {word['mask_column']}, 0")
    held = text.value(f"select i1 {is_same}, i64 1, i64 {text.integer('sub', keys, key)}")
    added = code.load(at, code.kind, code.first(held))
    every = code.picked(added, added, [0] * code.lanes)
    return text.value(f"select i1 {is_same}, {code.vector} {every}, {code.vector} {added}")


class _State:
    """The running maxima and sums of a block's queries. Maxima fill whole vectors; sums stay spread
    over the lanes until the end."""

    def __init__(self, one: Task, tops: list[str], totals: list[str]) -> None:
        self.one = one
        self.tops = tops
        self.totals = totals

    def take(self, rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
        """Takes in one more panel's scores; returns the factors for what was summed before, and
        the panel's weights."""
        one = self.one
        text, code = one.text, one.code
        low = code.splat(_scalar(code, float("-inf")), code.kind)
        shifts, steps = [], []
        for m, scores in enumerate(rows):
            most = scores[0]
            for other in scores[1:]:
                most = self._larger(most, other)
            span = code.lanes // 2
            while span:  # the largest of all lanes, in all lanes
                moved = code.picked(most, most, [i ^ span for i in range(code.lanes)])
                most = self._larger(most, moved)
                span //= 2
            most = self._larger(self.tops[m], most)
            is_low = text.value(f"fcmp oeq {code.vector} {most}, {low}")
            shift = text.value(f"select <{code.lanes} x i1> {is_low}, {code.vector} "
                               f"zeroinitializer, {code.vector} {most}")
            steps.append(text.value(f"fsub {code.vector} {self.tops[m]}, {shift}"))
            shifts.append(shift)
            self.tops[m] = most
        factors = self._factors(steps)
        weights = []
        for m, scores in enumerate(rows):
            below = [text.value(f"fsub {code.vector} {s}, {shifts[m]}") for s in scores]
            own = [code.function_of("exp", b) for b in below]
            added = own[0]
            for other in own[1:]:
                added = text.value(f"fadd {code.vector} {added}, {other}")
            self.totals[m] = code.fused(self.totals[m], factors[m], added)
            weights.append(own)
        return factors, weights

    def _larger(self, a: str, b: str) -> str:
        """The larger one; b if one is NaN, which the weights' sum will show."""
        code = self.one.code
        is_larger = code.text.value(f"fcmp ogt {code.vector} {a}, {b}")
        return code.text.value(f"select <{code.lanes} x i1> {is_larger}, {code.vector} {a}, "
                               f"{code.vector} {b}")

    def _factors(self, steps: list[str]) -> list[str]:
        """exp of some vectors of equal numbers, as many at once as there are lanes."""
        code = self.one.code
        found = []
        for start in range(0, len(steps), code.lanes):
            group = steps[start : start + code.lanes]
            mixed = group[0]
            for i, step in enumerate(group[1:], 1):
                mixed = code.picked(mixed, step, [
                    code.lanes + i if lane == i else lane for lane in range(code.lanes)])
            mixed = code.function_of("exp", mixed)
            found += [code.picked(mixed, mixed, [i] * code.lanes) for i in range(len(group))]
        return found


def _total(one: Task, spread: str) -> str:
    """The sum of a query's weights; 1 where it sees no key."""
    text, scalar = one.text, one.scalar
    whole = one.code.sum(spread)
    zero, unit = (_scalar(one.code, x) for x in (0.0, 1.0))
    is_none = text.value(f"fcmp oeq {scalar} {whole}, {zero}")
    return text.value(f"select i1 {is_none}, {scalar} {unit}, {scalar} {whole}")


def _write_query(
    one: Task, sums: str, m: int, row: str, top: str, total: str, log: str
) -> None:
    """One query's result and logsumexp, which are 0 where no key is seen."""
    text, code, scalar, word = one.text, one.code, one.scalar, one.word
    zero, unit, low = (_scalar(code, x) for x in (0.0, 1.0, float("-inf")))
    most = text.value(f"extractelement {code.vector} {top}, i64 0")
    is_low = text.value(f"fcmp oeq {scalar} {most}, {low}")
    most = text.value(f"select i1 {is_low}, {scalar} {zero}, {scalar} {most}")
    at = text.offset(one.in_order("logsum", word["queries"]), row, code.size)
    text.add(f"store {scalar} {text.value(f'fadd {scalar} {most}, {log}')}, ptr {at}")
    factor = code.splat(text.value(f"fdiv {scalar} {unit}, {total}"), code.kind)
    target = plus(text, one.of_matrix("result"), (row, word["result_row"]))
    one.copy_out(sums, m, target, word["value_size"], factor)
