"""Kernels of attention's gradient: products of tiles as in attention_kernels.py.

Scores are computed again, twice, once for the queries' gradient and once for the keys' and values',
so that every result has one owner and doesn't depend on the threads. Where there are matrices
enough for all threads, a task takes a whole matrix instead, packs the panels itself, and computes
scores once.
"""

from __future__ import annotations

from taper.compiler.attention_kernels import (
    LONGEST_ROW,
    Task,
    limits_of,
    mask_along,
    number_of_bits,
    with_strides,
)
from taper.compiler.llvm_text import FunctionText
from taper.compiler.tile_code import Tile, plus

__all__ = ["BACKWARD_ARRAYS", "BACKWARD_WORDS", "backward_keys", "backward_queries", "row_products"]

BACKWARD_ARRAYS = (
    "rows", "others", "grads", "grad_others", "panels", "grad_panels", "outcome", "logsum", "along",
    "result", "second_result", "third_result", "mask",
)
BACKWARD_WORDS = (
    *BACKWARD_ARRAYS, "count", "other_count", "size", "grad_size", "scale", "causal", "blocks",
    "heads", *with_strides((
        "rows", "others", "grads", "grad_others", "outcome", "result", "second_result",
        "third_result", "mask")), "mask_column",
)
"""The argument block of the backward kernels; strides in bytes.

For the queries' gradient, rows and grads are the queries and their results' gradients, others the
keys, and the panels are those of keys and of values. For the keys' and values', rows and grads are
the keys and the values, others and grad_others the queries and gradients, and so are the panels;
results are in this order: keys, values, and queries if these are computed together.
"""


class _Backward(Task):
    """A block of rows with what both backward kernels know of it."""

    def __init__(self, text: FunctionText, tile: Tile) -> None:
        super().__init__(text, tile, BACKWARD_WORDS)
        self.weights, self.slopes = self.scratch(self.width), self.scratch(self.width)
        self.sums, self.second_sums = self.scratch(LONGEST_ROW), self.scratch(LONGEST_ROW)
        scale = number_of_bits(text, self.word["scale"], tile.kind)
        self.scale = self.code.splat(scale, tile.kind)

    def begin(self, block: str) -> None:
        text, word = self.text, self.word
        last = text.integer("sub", word["count"], 1)
        self.first = text.integer("mul", block, self.tile.rows)
        self.numbers = [text.integer("add", self.first, m) for m in range(self.tile.rows)]
        self.valid = [text.least(n, last) for n in self.numbers]
        self.rows = self.rows_of(self.of_matrix("rows"), self.valid, word["rows_row"])
        self.grads = self.rows_of(self.of_matrix("grads"), self.valid, word["grads_row"])
        self.panels = self.panels_of("panels", word["other_count"], word["size"])
        self.grad_panels = self.panels_of("grad_panels", word["other_count"], word["grad_size"])
        self.others = self.of_matrix("others")

    def multiply_rows(self) -> None:
        """Writes the products of each result with its gradient."""
        text, code, word = self.text, self.code, self.word
        grad, outcome = self.of_matrix("grad_others"), self.of_matrix("outcome")
        target = self.in_order("along", word["other_count"])

        def row(q: str, _: list[str]) -> list[str]:
            sides = (plus(text, grad, (q, word["grad_others_row"])),
                     plus(text, outcome, (q, word["outcome_row"])))

            def some(e: str, sums: list[str]) -> list[str]:
                mask = code.first(text.integer("sub", word["grad_size"], e))
                a, b = (code.load(text.offset(at, e, code.size), code.kind, mask) for at in sides)
                return [code.fused(a, b, sums[0])]

            (total,) = text.loop(0, word["grad_size"], self.tile.lanes,
                                 [(code.vector, "zeroinitializer")], some)
            text.add(f"store {self.scalar} {code.sum(total)}, ptr "
                     f"{text.offset(target, q, code.size)}")
            return []

        text.loop(0, word["other_count"], 1, [], row)

    def clear_third(self) -> None:
        """Sets the gradient of the matrix's others to zero."""
        text, code, word = self.text, self.code, self.word
        base = self.of_matrix("third_result")

        def row(q: str, _: list[str]) -> list[str]:
            target = plus(text, base, (q, word["third_result_row"]))

            def some(e: str, _: list[str]) -> list[str]:
                mask = code.first(text.integer("sub", word["size"], e))
                code.store("zeroinitializer", text.offset(target, e, code.size), code.kind, mask)
                return []

            text.loop(0, word["size"], self.tile.lanes, [], some)
            return []

        text.loop(0, word["other_count"], 1, [], row)

    def add_to_others(self, first: str, held: str) -> None:
        """Adds the rows, weighted by the slopes, to the gradients of `held` others."""
        text, code, word = self.text, self.code, self.word
        base = plus(text, self.of_matrix("third_result"), (first, word["third_result_row"]))
        exists = [text.value(f"icmp slt i64 {n}, {word['count']}") for n in self.numbers]

        def some(e: str, _: list[str]) -> list[str]:
            mask = code.first(text.integer("sub", word["size"], e))
            rows = []
            for row, there in zip(self.rows, exists, strict=True):
                value = code.load(text.offset(row, e, code.size), code.kind, mask)
                rows.append(text.value(f"select i1 {there}, {code.vector} {value}, "
                                       f"{code.vector} zeroinitializer"))

            def other(t: str, _: list[str]) -> list[str]:
                place = text.offset(plus(text, base, (t, word["third_result_row"])), e, code.size)
                value = code.load(place, code.kind, mask)
                for m, row in enumerate(rows):
                    at = text.offset(
                        self.slopes, text.integer("add", t, m * self.width), code.size)
                    value = code.fused(row, code.all_spread(at), value)
                code.store(value, place, code.kind, mask)
                return []

            text.loop(0, held, 1, [], other)
            return []

        text.loop(0, word["size"], self.tile.lanes, [], some)

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
        weight = code.function_of(
            "exp", text.value(f"fsub {code.vector} {score}, {logsum}"))
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
        text, word = self.text, self.word
        base = self.of_matrix(label)

        def row(m: int, number: str) -> None:
            self.copy_out(sums, m, plus(text, base, (number, word[f"{label}_row"])), word[size],
                          None)

        self.each_valid(self.numbers, word["count"], row)


def row_products(name: str, vector_bytes: int, tile: Tile) -> str:
    """The kernel of the products of results with their gradients, on the block of
    `backward_keys`. A task is one matrix."""
    text = FunctionText(name, vector_bytes)
    one = _Backward(text, tile)

    def task(number: str, _: list[str]) -> list[str]:
        one.enter(number)
        one.multiply_rows()
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()


def backward_queries(name: str, vector_bytes: int, tile: Tile, has_mask: bool) -> str:
    """The kernel of the queries' gradient; see BACKWARD_WORDS. A task is a block of queries."""
    text = FunctionText(name, vector_bytes)
    one = _Backward(text, tile)
    code, word = one.code, one.word
    whole = f"<{tile.lanes} x i64>"
    counts = {"causal": word["causal"], "keys": word["other_count"]}

    def block(at: str) -> None:
        one.begin(at)
        limits = limits_of(text, one.valid, counts)
        logsum, along = (one.in_order(label, word["count"]) for label in ("logsum", "along"))
        shifts = [code.all_spread(text.offset(logsum, row, code.size)) for row in one.valid]
        alongs = [code.all_spread(text.offset(along, row, code.size)) for row in one.valid]
        masks = one.rows_of(one.of_matrix("mask"), one.valid,
                            word["mask_row"]) if has_mask else []
        one.clear(one.sums, word["size"])
        end = limits[-1]

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
                        added = mask_along(one, masks[m], key, word, word["other_count"])
                    one.finish_element(m * tile.vectors + v, inside, added, shifts[m], alongs[m])
            held = text.least(text.integer("sub", end, first), str(one.width))
            base = plus(text, one.others, (first, word["others_row"]))
            one.mix(one.slopes, base, word["others_row"], held, one.sums, word["size"])
            return []

        text.loop(0, one.panel_count(end), 1, [], panel)
        one.write(one.sums, "result", "size")

    def task(number: str, _: list[str]) -> list[str]:
        one.each_block(number, False, lambda: None, block)
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()


def backward_keys(
    name: str, vector_bytes: int, tile: Tile, has_mask: bool, together: bool
) -> str:
    """The kernel of the keys' and values' gradients; see BACKWARD_WORDS. A task is a block of
    keys, which walks over panels of queries; or, `together`, one matrix, with the gradients of its
    queries."""
    text = FunctionText(name, vector_bytes)
    one = _Backward(text, tile)
    code, word = one.code, one.word
    whole = f"<{tile.lanes} x i64>"

    def prepare() -> None:
        one.multiply_rows()
        one.pack("others", "panels", word["other_count"], word["size"])
        one.pack("grad_others", "grad_panels", word["other_count"], word["grad_size"])
        one.clear_third()

    def block(at: str) -> None:
        one.begin(at)
        logsum, along = (one.in_order(label, word["other_count"]) for label in ("logsum", "along"))
        mask = one.of_matrix("mask") if has_mask else ""
        grad_others = one.of_matrix("grad_others")
        one.clear(one.sums, word["size"])
        one.clear(one.second_sums, word["grad_size"])
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
            base = plus(text, grad_others, (first, word["grad_others_row"]))
            one.mix(one.weights, base, word["grad_others_row"], left, one.second_sums,
                    word["grad_size"])
            base = plus(text, one.others, (first, word["others_row"]))
            one.mix(one.slopes, base, word["others_row"], left, one.sums, word["size"])
            if together:
                one.add_to_others(first, left)
            return []

        text.loop(start, one.panel_count(word["other_count"]), 1, [], panel)
        one.write(one.sums, "result", "size")
        one.write(one.second_sums, "second_result", "grad_size")

    def task(number: str, _: list[str]) -> list[str]:
        one.each_block(number, together, prepare, block)
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()
