"""Kernels of attention: scores never leave the cache, in either direction.

A task takes `rows` queries (or keys) and walks over panels of the keys (or queries). A panel's
scores are a register tile; weights go through a scratch on the stack into the sums of what they
mix. Forward keeps a running maximum and sum (Milakov and Gimelshein, Online normalizer calculation
for softmax, 2018; Dao et al., FlashAttention, 2022). Backward computes the scores again twice, once
for the queries' gradient and once for the keys' and values', so that every result has one owner and
doesn't depend on the threads.

Arrays are batches of matrices (length, size), neighbours in size adjacent.
"""

from __future__ import annotations

from collections.abc import Callable

from taper.compiler.expression import Expression
from taper.compiler.llvm_text import FunctionText
from taper.compiler.math_library import lowered
from taper.compiler.tile_code import Tile, TileCode, plus
from taper.compiler.vector_code import VectorCode, llvm_type

__all__ = [
    "BACKWARD_WORDS", "FORWARD_WORDS", "LONGEST_ROW", "backward_keys", "backward_queries",
    "forward",
]

LONGEST_ROW = 256  # elements of a query or value; a scratch of 12 rows is then 12 KB of float32

class _Task:
    """What the three kernels have in common: rows, score tiles and mixtures."""

    def __init__(self, text: FunctionText, tile: Tile) -> None:
        self.text = text
        self.tile = tile
        self.code = TileCode(text, tile.kind, tile.lanes)
        self.scalar = llvm_type(tile.kind)
        self.width = tile.lanes * tile.vectors

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

    def clear(self, sums: str) -> None:
        for i in range(self.tile.rows * LONGEST_ROW // self.tile.lanes):
            place = self.text.offset(sums, str(i * self.tile.lanes), self.code.size)
            self.code.store("zeroinitializer", place, self.code.kind)

    def exponential(self, x: str, lanes: int) -> str:
        """exp of a vector, or of a number."""
        e = Expression()
        node = e.unary("exp", e.input(0, self.tile.kind))
        e.results.append(node)
        found = lowered(e)
        code = VectorCode(self.text, lanes, lambda n: x if n.op == "input" else None)
        return code.of(found.results[0])

    def each_valid(
        self, rows: list[str], count: str, body: Callable[[int, str], None]
    ) -> None:
        """Does something for each row that isn't behind the end."""
        for m, row in enumerate(rows):

            def once(_: str, __: list[str], m: int = m, row: str = row) -> list[str]:
                body(m, row)
                return []

            self.text.when(self.text.value(f"icmp slt i64 {row}, {count}"), once)

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


def _bits(text: FunctionText, word: str, kind: str) -> str:
    """The number whose bits a word of the argument block holds."""
    if kind == "f64":
        return text.value(f"bitcast i64 {word} to double")
    narrow = text.value(f"trunc i64 {word} to i32")
    return text.value(f"bitcast i32 {narrow} to float")


FORWARD_WORDS = (
    "query", "panels", "value", "result", "most", "total", "mask", "queries", "keys", "size",
    "value_size", "scale", "causal", "blocks", "query_matrix", "query_row", "panel_matrix",
    "value_matrix", "value_row", "mask_matrix", "mask_row", "mask_column",
)


def forward(name: str, vector_bytes: int, tile: Tile, has_mask: bool) -> str:
    """The kernel of `softmax(query keyᵀ scale + mask) value`.

    The argument block is FORWARD_WORDS; strides in bytes, `scale` as bits, `mask_column` 0 or the
    size of an element. Results and each query's maximum and sum are contiguous. A task is a block
    of queries of one matrix.
    """
    text = FunctionText(name, vector_bytes)
    one = _Task(text, tile)
    code = one.code
    word = {label: text.argument(i) for i, label in enumerate(FORWARD_WORDS)}
    weights, sums = one.scratch(one.width), one.scratch(LONGEST_ROW)
    scale = code.splat(_bits(text, word["scale"], tile.kind), tile.kind)

    def task(number: str, _: list[str]) -> list[str]:
        block = text.integer("urem", number, word["blocks"])
        matrix = text.integer("udiv", number, word["blocks"])
        last = text.integer("sub", word["queries"], 1)
        numbers = [text.integer("add", text.integer("mul", block, tile.rows), m)
                   for m in range(tile.rows)]
        rows = [text.least(n, last) for n in numbers]
        query = plus(text, text.pointer(word["query"]), (matrix, word["query_matrix"]))
        queries = one.rows_of(query, rows, word["query_row"])
        panels = plus(text, text.pointer(word["panels"]), (matrix, word["panel_matrix"]))
        values = plus(text, text.pointer(word["value"]), (matrix, word["value_matrix"]))
        masks = one.rows_of(plus(text, text.pointer(word["mask"]), (matrix, word["mask_matrix"])),
                            rows, word["mask_row"]) if has_mask else []
        limits = _limits(text, rows, word)
        one.clear(sums)
        end = limits[-1]
        count = text.integer("udiv", text.integer("add", end, one.width - 1), one.width)
        low = code.splat(_scalar(code, float("-inf")), tile.kind)
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

        state = text.loop(0, count, 1, start, panel)

        def finish(m: int, row: str) -> None:
            _write_query(one, sums, m, row, matrix, state[m], state[tile.rows + m], word)

        one.each_valid(numbers, word["queries"], finish)
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()


def _scalar(code: TileCode, value: float) -> str:
    return VectorCode(code.text, 1, code.leaf).constant(value, code.kind)


def _limits(text: FunctionText, rows: list[str], word: dict[str, str]) -> list[str]:
    """How many keys each query sees."""
    is_causal = text.value(f"icmp ne i64 {word['causal']}, 0")
    found = []
    for row in rows:
        seen = text.least(text.integer("add", row, 1), word["keys"])
        found.append(text.value(f"select i1 {is_causal}, i64 {seen}, i64 {word['keys']}"))
    return found


def _finished_scores(
    one: _Task, scores: list[str], panel: str, scale: str, limit: str, mask: str | None,
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
            added = _mask_along(one, mask, key, word, word["keys"])
            value = text.value(f"fadd {code.vector} {value}, {added}")
        found.append(text.value(
            f"select <{tile.lanes} x i1> {inside}, {code.vector} {value}, {code.vector} {low}"))
    return found


def _mask_along(one: _Task, row: str, key: str, word: dict[str, str], keys: str) -> str:
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

    def __init__(self, one: _Task, tops: list[str], totals: list[str]) -> None:
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
            own = [one.exponential(text.value(f"fsub {code.vector} {s}, {shifts[m]}"), code.lanes)
                   for s in scores]
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
            mixed = self.one.exponential(mixed, code.lanes)
            found += [code.picked(mixed, mixed, [i] * code.lanes) for i in range(len(group))]
        return found


def _write_query(
    one: _Task, sums: str, m: int, row: str, matrix: str, top: str, total: str,
    word: dict[str, str],
) -> None:
    """One query's result, maximum and sum. Where no key is seen, they are 0, 0 and 1."""
    text, code, scalar = one.text, one.code, one.scalar
    place = text.integer("add", text.integer("mul", matrix, word["queries"]), row)
    whole = code.sum(total)
    zero, unit, low = (_scalar(code, x) for x in (0.0, 1.0, float("-inf")))
    is_none = text.value(f"fcmp oeq {scalar} {whole}, {zero}")
    whole = text.value(f"select i1 {is_none}, {scalar} {unit}, {scalar} {whole}")
    most = text.value(f"extractelement {code.vector} {top}, i64 0")
    is_low = text.value(f"fcmp oeq {scalar} {most}, {low}")
    most = text.value(f"select i1 {is_low}, {scalar} {zero}, {scalar} {most}")
    for label, value in (("most", most), ("total", whole)):
        at = text.offset(text.pointer(word[label]), place, code.size)
        text.add(f"store {scalar} {value}, ptr {at}")
    factor = code.splat(text.value(f"fdiv {scalar} {unit}, {whole}"), code.kind)
    target = text.offset(text.pointer(word["result"]),
                         text.integer("mul", place, word["value_size"]), code.size)
    one.copy_out(sums, m, target, word["value_size"], factor)


BACKWARD_WORDS = (
    "rows", "panels", "others", "grads", "grad_panels", "grad_others", "logsum", "along", "result",
    "second_result", "mask", "count", "other_count", "size", "grad_size", "scale", "causal",
    "blocks", "row_matrix", "row_stride", "panel_matrix", "other_matrix", "other_stride",
    "grad_matrix", "grad_stride", "grad_panel_matrix", "grad_other_matrix", "grad_other_stride",
    "mask_matrix", "mask_row", "mask_column",
)
"""The argument block of both backward kernels; strides in bytes, results contiguous.

For the queries' gradient, rows and grads are the queries and their results' gradients, others the
keys, and the panels are those of keys and of values. For the keys' and values', rows and grads are
the keys and the values, others and grad_others the queries and gradients, and so are the panels.
"""


class _Backward(_Task):
    """A block of rows with what both backward kernels know of it."""

    def __init__(self, text: FunctionText, tile: Tile) -> None:
        super().__init__(text, tile)
        self.word = {label: text.argument(i) for i, label in enumerate(BACKWARD_WORDS)}
        self.weights, self.slopes = self.scratch(self.width), self.scratch(self.width)
        self.sums, self.second_sums = self.scratch(LONGEST_ROW), self.scratch(LONGEST_ROW)
        scale = _bits(text, self.word["scale"], tile.kind)
        self.scale = self.code.splat(scale, tile.kind)

    def begin(self, number: str) -> None:
        text, word = self.text, self.word
        block = text.integer("urem", number, word["blocks"])
        self.matrix = text.integer("udiv", number, word["blocks"])
        last = text.integer("sub", word["count"], 1)
        self.first = text.integer("mul", block, self.tile.rows)
        self.numbers = [text.integer("add", self.first, m) for m in range(self.tile.rows)]
        self.valid = [text.least(n, last) for n in self.numbers]
        self.rows = self.rows_of(self.of_matrix("rows", "row_matrix"), self.valid,
                                 word["row_stride"])
        self.grads = self.rows_of(self.of_matrix("grads", "grad_matrix"), self.valid,
                                  word["grad_stride"])
        self.panels = self.of_matrix("panels", "panel_matrix")
        self.grad_panels = self.of_matrix("grad_panels", "grad_panel_matrix")
        self.others = self.of_matrix("others", "other_matrix")

    def of_matrix(self, label: str, stride: str) -> str:
        base = self.text.pointer(self.word[label])
        return plus(self.text, base, (self.matrix, self.word[stride]))

    def per_query(self, label: str, count: str) -> str:
        """Where the numbers for each query of this matrix are."""
        base = self.text.pointer(self.word[label])
        return self.text.offset(base, self.text.integer("mul", self.matrix, self.word[count]),
                                self.code.size)

    def keep_products(self, panel: str) -> None:
        """Puts the scores of a panel in `weights` and the gradients' products in `slopes`."""
        text, code = self.text, self.code
        first = text.integer("mul", panel, self.width)
        at = text.offset(self.panels, text.integer("mul", first, self.word["size"]), code.size)
        scores = self.scores(self.rows, at, self.word["size"])
        self.keep(scores, self.weights)  # registers are needed for the second product
        at = text.offset(self.grad_panels, text.integer("mul", first, self.word["grad_size"]),
                         code.size)
        slopes = self.scores(self.grads, at, self.word["grad_size"])
        self.keep(slopes, self.slopes)

    def kept(self, scratch: str, i: int) -> str:
        return self.text.offset(scratch, str(i * self.tile.lanes), self.code.size)

    def finish_element(self, i: int, inside: str, added: str | None, logsum: str,
                       along: str) -> None:
        """Turns a kept score into a weight and a kept product into the score's gradient."""
        text, code = self.text, self.code
        score = code.load(self.kept(self.weights, i), code.kind)
        score = text.value(f"fmul {code.vector} {score}, {self.scale}")
        if added is not None:
            score = text.value(f"fadd {code.vector} {score}, {added}")
        weight = self.exponential(text.value(f"fsub {code.vector} {score}, {logsum}"), code.lanes)
        slope = code.load(self.kept(self.slopes, i), code.kind)
        slope = text.value(f"fsub {code.vector} {slope}, {along}")
        slope = text.value(f"fmul {code.vector} {slope}, {weight}")
        slope = text.value(f"fmul {code.vector} {slope}, {self.scale}")
        for value, scratch in ((weight, self.weights), (slope, self.slopes)):
            chosen = text.value(f"select <{code.lanes} x i1> {inside}, {code.vector} {value}, "
                                f"{code.vector} zeroinitializer")
            code.store(chosen, self.kept(scratch, i), code.kind)

    def write(self, sums: str, label: str, size: str) -> None:
        """Stores the sums as rows of a result."""
        text, code, word = self.text, self.code, self.word
        base = text.pointer(word[label])

        def row(m: int, number: str) -> None:
            place = text.integer("add", text.integer("mul", self.matrix, word["count"]), number)
            target = text.offset(base, text.integer("mul", place, word[size]), code.size)
            self.copy_out(sums, m, target, word[size], None)

        self.each_valid(self.numbers, word["count"], row)


def backward_queries(name: str, vector_bytes: int, tile: Tile, has_mask: bool) -> str:
    """The kernel of the queries' gradient; see BACKWARD_WORDS. A task is a block of queries."""
    text = FunctionText(name, vector_bytes)
    one = _Backward(text, tile)
    code, word = one.code, one.word
    whole = f"<{tile.lanes} x i64>"
    counts = {"causal": word["causal"], "keys": word["other_count"]}

    def task(number: str, _: list[str]) -> list[str]:
        one.begin(number)
        limits = _limits(text, one.valid, counts)
        logsum, along = one.per_query("logsum", "count"), one.per_query("along", "count")
        shifts = [code.all_spread(text.offset(logsum, row, code.size)) for row in one.valid]
        alongs = [code.all_spread(text.offset(along, row, code.size)) for row in one.valid]
        masks = one.rows_of(one.of_matrix("mask", "mask_matrix"), one.valid,
                            word["mask_row"]) if has_mask else []
        one.clear(one.sums)
        end = limits[-1]
        count = text.integer("udiv", text.integer("add", end, one.width - 1), one.width)

        def panel(p: str, _: list[str]) -> list[str]:
            one.keep_products(p)
            first = text.integer("mul", p, one.width)
            for m in range(tile.rows):
                edge = code.splat(limits[m], "i64")
                for v in range(tile.vectors):
                    inside = text.value(f"icmp slt {whole} {one.later(p, v)}, {edge}")
                    added = None
                    if has_mask:
                        key = text.integer("add", first, v * tile.lanes)
                        added = _mask_along(one, masks[m], key, word, word["other_count"])
                    one.finish_element(m * tile.vectors + v, inside, added, shifts[m], alongs[m])
            held = text.least(text.integer("sub", end, first), str(one.width))
            base = plus(text, one.others, (first, word["other_stride"]))
            one.mix(one.slopes, base, word["other_stride"], held, one.sums, word["size"])
            return []

        text.loop(0, count, 1, [], panel)
        one.write(one.sums, "result", "size")
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()


def backward_keys(name: str, vector_bytes: int, tile: Tile, has_mask: bool) -> str:
    """The kernel of the keys' and values' gradients; see BACKWARD_WORDS. A task is a block of
    keys, which walks over panels of queries."""
    text = FunctionText(name, vector_bytes)
    one = _Backward(text, tile)
    code, word = one.code, one.word
    whole = f"<{tile.lanes} x i64>"

    def task(number: str, _: list[str]) -> list[str]:
        one.begin(number)
        logsum = one.per_query("logsum", "other_count")
        along = one.per_query("along", "other_count")
        mask = one.of_matrix("mask", "mask_matrix") if has_mask else ""
        grad_others = one.of_matrix("grad_others", "grad_other_matrix")
        one.clear(one.sums)
        one.clear(one.second_sums)
        count = text.integer(
            "udiv", text.integer("add", word["other_count"], one.width - 1), one.width)
        is_causal = text.value(f"icmp ne i64 {word['causal']}, 0")
        before = text.integer("udiv", one.first, one.width)
        start = text.value(f"select i1 {is_causal}, i64 {before}, i64 0")
        end = code.splat(word["other_count"], "i64")

        def panel(p: str, _: list[str]) -> list[str]:
            one.keep_products(p)
            first = text.integer("mul", p, one.width)
            for v in range(tile.vectors):
                query = text.integer("add", first, v * tile.lanes)
                held = code.first(text.integer("sub", word["other_count"], query))
                shift = code.load(text.offset(logsum, query, code.size), code.kind, held)
                product = code.load(text.offset(along, query, code.size), code.kind, held)
                queries = one.later(p, v)
                inside = text.value(f"icmp slt {whole} {queries}, {end}")
                for m in range(tile.rows):
                    earliest = text.value(f"select i1 {is_causal}, i64 {one.valid[m]}, i64 0")
                    seen = text.value(
                        f"icmp sge {whole} {queries}, {code.splat(earliest, 'i64')}")
                    seen = text.value(f"and <{tile.lanes} x i1> {inside}, {seen}")
                    added = None
                    if has_mask:
                        at = plus(text, mask, (query, word["mask_row"]),
                                  (one.valid[m], word["mask_column"]))
                        added = code.gather(at, word["mask_row"], code.kind, held)
                    one.finish_element(m * tile.vectors + v, seen, added, shift, product)
            left = text.least(text.integer("sub", word["other_count"], first), str(one.width))
            base = plus(text, grad_others, (first, word["grad_other_stride"]))
            one.mix(one.weights, base, word["grad_other_stride"], left, one.second_sums,
                    word["grad_size"])
            base = plus(text, one.others, (first, word["other_stride"]))
            one.mix(one.slopes, base, word["other_stride"], left, one.sums, word["size"])
            return []

        text.loop(start, count, 1, [], panel)
        one.write(one.sums, "result", "size")
        one.write(one.second_sums, "second_result", "grad_size")
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()
