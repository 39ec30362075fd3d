"""Kernels of attention over many matrices of few scores, whose sizes are known: squares of scores.

A task takes one matrix, and from it as many queries at a time as a vector has lanes. Scores lie
turned, a query in each lane, so maxima, sums and weights need no exchange of lanes; queries are
turned for that once. What is mixed, values and gradients, has its elements in the lanes. Sizes and
strides are constants of the code: so every operand is one register and a number. Weights of one
block of queries are all that is kept (`LONGEST` keys at most, on the stack); causal tasks never
look at squares behind the diagonal.

See attention_kernels.py for long sequences, masks, and few matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from taper.compiler.llvm_text import FunctionText
from taper.compiler.tile_code import SIZE, TileCode

__all__ = [
    "BACKWARD_ARRAYS", "FORWARD_ARRAYS", "LONGEST", "WIDEST", "Attention", "Place",
    "attention_backward", "attention_forward",
]

LONGEST = 1024  # keys
WIDEST = 256  # elements of a query or value

FORWARD_ARRAYS = ("query", "key", "value", "result", "logsum")
BACKWARD_ARRAYS = (
    "grad", "query", "key", "value", "result", "logsum", "for_query", "for_key", "for_value")


class Place(NamedTuple):
    """Where the matrices of an array lie behind its address, in bytes."""

    start: int
    item: int
    head: int
    row: int


class Attention(NamedTuple):
    """What a kernel is made for."""

    kind: str
    heads: int
    queries: int
    keys: int
    size: int
    value_size: int
    causal: bool
    scale: float
    places: tuple[Place, ...]  # of the arrays, but those of "logsum", which are dense


class _Matrix:
    """Writes the work on one matrix."""

    def __init__(
        self, name: str, vector_bytes: int, what: Attention, arrays: tuple[str, ...]
    ) -> None:
        self.text = FunctionText(name, vector_bytes)
        self.what = what
        self.lanes = vector_bytes // SIZE[what.kind]
        self.code = TileCode(self.text, what.kind, self.lanes)
        self.addresses = {label: self.text.pointer(self.text.argument(i))
                          for i, label in enumerate(arrays)}
        self.places = dict(zip([a for a in arrays if a != "logsum"], what.places, strict=True))
        self.key_blocks = -(-what.keys // self.lanes)
        self.scale = self.code.constant(what.scale, what.kind)
        self.zero = "zeroinitializer"
        self.bases: dict[str, str] = {}  # where the matrix at hand begins in each array

    def run(self, block: Callable[[str], None], prepare: Callable[[], None]) -> str:
        """The text of a kernel that does `block` for all blocks of queries of a task's matrix."""
        text, what = self.text, self.what

        def one_block(j: str, _: list[str]) -> list[str]:
            self.first = text.integer("mul", j, self.lanes)
            self.held = text.least(str(self.lanes), text.integer("sub", what.queries, self.first))
            self.full_end, self.end = str(what.keys // self.lanes), str(self.key_blocks)
            if what.causal:
                self.full_end = text.least(j, self.full_end)
                self.end = text.least(text.integer("add", j, 1), self.end)
            self.seen = text.least(text.integer("mul", self.end, self.lanes), str(what.keys))
            block(j)
            return []

        def matrix(number: str, _: list[str]) -> list[str]:
            item = text.integer("udiv", number, what.heads)
            head = text.integer("urem", number, what.heads)
            self.bases = {}
            for label, place in self.places.items():
                at = text.offset(self.addresses[label], str(place.start))
                at = text.offset(at, text.integer("mul", item, place.item))
                self.bases[label] = text.offset(at, text.integer("mul", head, place.head))
            at = text.offset(self.addresses["logsum"], text.integer("mul", number, what.queries),
                             self.code.size)
            self.bases["logsum"] = at
            prepare()
            text.loop(0, -(-what.queries // self.lanes), 1, [], one_block)
            return []

        text.loop("%begin", "%end", 1, [], matrix)
        return text.text()

    def scratch(self, lines: int) -> str:
        """Memory of the task for vectors."""
        return self.text.value(f"alloca [{lines} x {self.code.vector}], align 64")

    def line(self, scratch: str, number: str, further: int = 0) -> str:
        """The place of a vector in a scratch."""
        at = self.text.offset(scratch, self.text.integer("mul", number, self.lanes),
                              self.code.size)
        return self.text.offset(at, str(further * self.lanes), self.code.size)

    def row(self, label: str, number: str, element: int = 0) -> str:
        """The place of an element of a row."""
        bytes_before = self.text.integer("mul", number, self.places[label].row)
        at = self.text.offset(self.bases[label], bytes_before)
        return self.text.offset(at, str(element), self.code.size)

    def rows(self, label: str, first: str, count: int) -> list[str]:
        """`lanes` rows from the first on; in the place of those behind the end, the last one."""
        text = self.text
        if count % self.lanes == 0:
            start, step = self.row(label, first), self.places[label].row
            return [text.offset(start, str(m * step)) for m in range(self.lanes)]
        return [self.row(label, text.least(text.integer("add", first, m), str(count - 1)))
                for m in range(self.lanes)]

    def mask_at(self, element: int, size: int) -> str | None:
        """Which lanes from an element on lie within a row."""
        return None if element + self.lanes <= size else self.code.first(str(size - element))

    def turned(self, label: str, size: int, into: str, other: str | None = None) -> str:
        """Puts the block's rows into a scratch, a vector for each element. Returns the products of
        the rows with those of another array, a row in each lane."""
        text, code = self.text, self.code
        total = self.zero
        for e in range(0, size, self.lanes):
            mask = self.mask_at(e, size)
            both = []
            for array in (label, other):
                if array is not None:
                    loaded = [code.load(text.offset(at, str(e), code.size), code.kind, mask)
                              for at in self.rows(array, self.first, self.what.queries)]
                    both.append(code.turned(loaded))
            for i in range(min(self.lanes, size - e)):
                code.store(both[0][i], text.offset(into, str((e + i) * self.lanes), code.size),
                           code.kind)
                if other is not None:
                    total = code.fused(both[0][i], both[1][i], total)
        return total

    def products(self, columns: str, rows: list[str], size: int) -> list[str]:
        """The products of rows with the block's turned rows: a vector for each row."""
        text, code = self.text, self.code
        at_once = next(n for n in (4, 2, 1) if size % n == 0)

        def step(e: str, sums: list[str]) -> list[str]:
            for u in range(at_once):
                column = code.load(self.line(columns, e, u), code.kind)
                sums = [code.fused(column, code.all_spread(
                    text.offset(text.offset(row, e, code.size), str(u), code.size)), value)
                    for row, value in zip(rows, sums, strict=True)]
            return sums

        return text.loop(0, size, at_once, [(code.vector, self.zero)] * len(rows), step)

    def hidden(self, key: str, m: int, value: str, instead: str) -> str:
        """A vector for a key, but for queries that don't see it, or if there is no such key."""
        text, code, what = self.text, self.code, self.what
        number = text.integer("add", key, m)
        if what.causal:
            least = code.splat(text.integer("sub", number, self.first), "i64")
            iota = f"<{', '.join(f'i64 {i}' for i in range(self.lanes))}>"
            seen = text.value(f"icmp sge <{self.lanes} x i64> {iota}, {least}")
            value = code.chosen(seen, value, instead)
        if what.keys % self.lanes:
            is_key = text.value(f"icmp slt i64 {number}, {what.keys}")
            value = text.value(
                f"select i1 {is_key}, {code.vector} {value}, {code.vector} {instead}")
        return value

    def scores(self, queries: str, key: str, at_edge: bool) -> list[str]:
        """The scaled scores of `lanes` keys."""
        text, code = self.text, self.code
        rows = self.rows("key", key, self.what.keys if at_edge else 0)
        found = [text.value(f"fmul {code.vector} {score}, {self.scale}")
                 for score in self.products(queries, rows, self.what.size)]
        if at_edge:
            low = code.constant(float("-inf"), code.kind)
            found = [self.hidden(key, m, score, low) for m, score in enumerate(found)]
        return found

    def for_keys(
        self, state: list[tuple[str, str]],
        body: Callable[[str, bool, list[str]], list[str]],
    ) -> list[str]:
        """`body(first key, whether some may be hidden, state)` for all blocks of keys."""
        text = self.text
        for begin, end, at_edge in (("0", self.full_end, False), (self.full_end, self.end, True)):
            if at_edge and not self.what.causal and self.what.keys % self.lanes == 0:
                continue

            def square(
                at: str, values: list[str], at_edge: bool = at_edge
            ) -> list[str]:
                return body(text.integer("mul", at, self.lanes), at_edge, values)

            found = text.loop(begin, end, 1, state, square)
            state = [(kind, value) for (kind, _), value in zip(state, found, strict=True)]
        return [value for _, value in state]

    def mixed(self, weights: str, label: str, size: int, into: str, factors: str | None) -> None:
        """For each query of the block, the sum of all rows it sees, weighted; written to an array,
        times the query's factor."""
        text, code = self.text, self.code
        for e in range(0, size, self.lanes):
            mask = self.mask_at(e, size)

            def step(
                k: str, sums: list[str], e: int = e, mask: str | None = mask
            ) -> list[str]:
                row = code.load(self.row(label, k, e), code.kind, mask)
                own = self.line(weights, k)
                return [code.fused(row, code.all_spread(
                    text.offset(own, str(m), code.size)), value) for m, value in enumerate(sums)]

            sums = text.loop(0, self.seen, 1, [(code.vector, self.zero)] * self.lanes, step)
            for m, value in enumerate(sums):
                if factors is not None:
                    factor = code.all_spread(text.offset(factors, str(m), code.size))
                    value = text.value(f"fmul {code.vector} {value}, {factor}")
                self._write_row(into, m, e, value, mask)

    def _write_row(self, label: str, m: int, e: int, value: str, mask: str | None) -> None:
        target = self.row(label, self.text.integer("add", self.first, m), e)
        if self.what.queries % self.lanes == 0:
            self.code.store(value, target, self.code.kind, mask)
            return

        def write(_: str, __: list[str]) -> list[str]:
            self.code.store(value, target, self.code.kind, mask)
            return []

        self.text.when(self.text.value(f"icmp slt i64 {m}, {self.held}"), write)

    def add_mixed(self, weights: str, label: str, size: int, into: str) -> None:
        """Adds to each key's row of an array the rows of the block's queries, weighted."""
        text = self.text
        rest = self.what.keys % self.lanes
        whole = text.least(self.end, str(self.what.keys // self.lanes))

        def square(at: str, _: list[str], rows: int = self.lanes) -> list[str]:
            key = text.integer("mul", at, self.lanes)
            for e in range(0, size, self.lanes):
                self._add_square(weights, label, into, key, rows, e, self.mask_at(e, size))
            return []

        text.loop(0, whole, 1, [], square)
        if rest:
            text.loop(whole, self.end, 1, [], lambda at, _: square(at, [], rest))

    def _add_square(
        self, weights: str, label: str, into: str, key: str, rows: int, e: int, mask: str | None
    ) -> None:
        text, code = self.text, self.code
        start = self.row(into, key, e)
        targets = [text.offset(start, str(i * self.places[into].row)) for i in range(rows)]
        own = self.line(weights, key)

        def step(m: str, sums: list[str]) -> list[str]:
            row = code.load(self.row(label, text.integer("add", self.first, m), e), code.kind, mask)
            at = text.offset(own, m, code.size)
            return [code.fused(row, code.all_spread(
                text.offset(at, str(i * self.lanes), code.size)), value)
                for i, value in enumerate(sums)]

        before = [(code.vector, code.load(at, code.kind, mask)) for at in targets]
        found = text.loop(0, self.held, 1, before, step)
        for value, at in zip(found, targets, strict=True):
            code.store(value, at, code.kind, mask)

    def clear(self, label: str, size: int) -> None:
        """Sets the rows of all keys to zero."""

        def row(k: str, _: list[str]) -> list[str]:
            for e in range(0, size, self.lanes):
                self.code.store(self.zero, self.row(label, k, e), self.code.kind,
                                self.mask_at(e, size))
            return []

        self.text.loop(0, self.what.keys, 1, [], row)


def attention_forward(name: str, vector_bytes: int, what: Attention) -> str:
    """The kernel of softmax(query keyᵀ scale) value, and of the logsumexp of each query's scores.

    The argument block is FORWARD_ARRAYS. A task is a matrix.
    """
    one = _Matrix(name, vector_bytes, what, FORWARD_ARRAYS)
    text, code, lanes = one.text, one.code, one.lanes
    queries, weights = one.scratch(what.size), one.scratch(one.key_blocks * lanes)
    factors = one.scratch(1)

    def block(_: str) -> None:
        one.turned("query", what.size, queries)

        def scored(key: str, at_edge: bool, state: list[str]) -> list[str]:
            found = one.scores(queries, key, at_edge)
            for m, score in enumerate(found):
                code.store(score, one.line(weights, key, m), code.kind)
            return [_largest(code, [*found, *state])]

        low = code.constant(float("-inf"), code.kind)
        (top,) = one.for_keys([(code.vector, low)], scored)
        at_once = 4

        def weighted(k: str, sums: list[str]) -> list[str]:
            new = []
            for u, total in enumerate(sums):
                at = one.line(weights, k, u)
                below = text.value(f"fsub {code.vector} {code.load(at, code.kind)}, {top}")
                weight = code.function_of("exp", below)
                code.store(weight, at, code.kind)
                new.append(text.value(f"fadd {code.vector} {total}, {weight}"))
            return new

        sums = text.loop(0, text.integer("mul", one.end, lanes), at_once,
                         [(code.vector, one.zero)] * at_once, weighted)
        pairs = [text.value(f"fadd {code.vector} {sums[u]}, {sums[u + 1]}") for u in (0, 2)]
        total = text.value(f"fadd {code.vector} {pairs[0]}, {pairs[1]}")
        unit = code.constant(1.0, code.kind)
        code.store(text.value(f"fdiv {code.vector} {unit}, {total}"), factors, code.kind)
        logsum = text.value(
            f"fadd {code.vector} {code.function_of('log', total)}, {top}")
        code.store(logsum, text.offset(one.bases["logsum"], one.first, code.size), code.kind,
                   code.first(one.held))
        one.mixed(weights, "value", what.value_size, "result", factors)

    return one.run(block, lambda: None)


def _largest(code: TileCode, vectors: list[str]) -> str:
    """The largest of some vectors, lane by lane; what NaN gives, the weights' sum will show."""
    while len(vectors) > 1:
        pairs = zip(vectors[::2], vectors[1::2], strict=False)
        rest = vectors[-1:] if len(vectors) % 2 else []
        vectors = [code.chosen(code.text.value(f"fcmp ogt {code.vector} {a}, {b}"), a, b)
                   for a, b in pairs] + rest
    return vectors[0]


def attention_backward(name: str, vector_bytes: int, what: Attention) -> str:
    """The kernel of the gradients of query, key and value. The argument block is BACKWARD_ARRAYS.
    A task is a matrix."""
    one = _Matrix(name, vector_bytes, what, BACKWARD_ARRAYS)
    text, code, lanes = one.text, one.code, one.lanes
    queries, grads = one.scratch(what.size), one.scratch(what.value_size)
    weights, slopes = (one.scratch(one.key_blocks * lanes) for _ in range(2))

    def prepare() -> None:
        one.clear("for_key", what.size)
        one.clear("for_value", what.value_size)

    def block(_: str) -> None:
        one.turned("query", what.size, queries)
        along = one.turned("grad", what.value_size, grads, "result")
        logsum = code.load(text.offset(one.bases["logsum"], one.first, code.size), code.kind,
                           code.first(one.held))

        def sloped(key: str, at_edge: bool, _: list[str]) -> list[str]:
            for m, score in enumerate(one.scores(queries, key, at_edge)):
                below = text.value(f"fsub {code.vector} {score}, {logsum}")
                code.store(code.function_of("exp", below), one.line(weights, key, m), code.kind)
            rows = one.rows("value", key, what.keys if at_edge else 0)
            for m, product in enumerate(one.products(grads, rows, what.value_size)):
                weight = code.load(one.line(weights, key, m), code.kind)
                slope = text.value(f"fsub {code.vector} {product}, {along}")
                slope = text.value(f"fmul {code.vector} {slope}, {weight}")
                slope = text.value(f"fmul {code.vector} {slope}, {one.scale}")
                code.store(slope, one.line(slopes, key, m), code.kind)
            return []

        one.for_keys([], sloped)
        one.mixed(slopes, "key", what.size, "for_query", None)
        one.add_mixed(weights, "grad", what.value_size, "for_value")
        one.add_mixed(slopes, "query", what.size, "for_key")

    return one.run(block, prepare)
