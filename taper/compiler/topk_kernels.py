"""Kernels of the largest few elements of each row, in order.

The few are kept sorted, as keys and places; vectors of keys are compared with the least of them,
and only what beats it is looked at: in random rows that happens k·log(n/k) times.

A key is an integer that compares as the number does, NaN above all and 0.0 like -0.0; for the
smallest few all bits are turned over. Equal elements come in the order of their places.

The argument block: x (rows of n elements), values and int64 places (rows of k), n, k. Units are
rows. While a row is worked on, its values hold keys.
"""

from __future__ import annotations

from collections.abc import Callable

from taper.compiler.expression import SIZE_OF, is_float
from taper.compiler.llvm_text import FunctionText
from taper.compiler.vector_code import VectorCode

__all__ = ["topk_kernel"]


def topk_kernel(name: str, vector_bytes: int, kind: str, largest: bool) -> str:
    """The kernel for elements of a kind: f32, f64, i32, i64."""
    text = FunctionText(name, vector_bytes)
    x, values, places, n, k = text.arguments(5)
    size = SIZE_OF[kind]
    lanes = vector_bytes // size
    last = text.integer("sub", k, 1)
    whole = text.integer("sub", n, text.integer("urem", n, lanes))

    def row(number: str, _: list[str]) -> list[str]:
        source = _at(text, x, number, n, size)
        kept = _at(text, values, number, k, size)
        where = _at(text, places, number, k, 8)
        _Row(text, kind, size, lanes, largest, source, kept, where, last, k).write(n, whole)
        return []

    text.loop("%begin", "%end", 1, [], row)
    return text.text()


def _at(text: FunctionText, address: str, number: str, count: str, size: int) -> str:
    start = text.integer("mul", text.integer("mul", number, count), size)
    return text.pointer(text.integer("add", address, start))


class _Row:
    """The state of writing the code for one row."""

    def __init__(
        self, text: FunctionText, kind: str, size: int, lanes: int, largest: bool,
        source: str, kept: str, where: str, last: str, k: str,
    ) -> None:
        self.text, self.kind, self.size, self.lanes, self.largest = text, kind, size, lanes, largest
        self.source, self.kept, self.where, self.last, self.k = source, kept, where, last, k
        self.key = f"i{8 * size}"

    def write(self, n: str, whole: str) -> None:
        text = self.text

        # The first k are sorted by insertion.
        def begin(index: str, _: list[str]) -> list[str]:
            self.insert(self.keys(1, index), index, index)
            return []

        text.loop("0", self.k, 1, [], begin)

        # One by one up to a vector's beginning, then vectors, then what is left.
        ahead = text.integer("sub", 0, self.k)
        left = text.integer("urem", ahead, self.lanes)
        start = text.least(text.integer("add", self.k, left), n)

        def one(index: str, _: list[str]) -> list[str]:
            key = self.keys(1, index)
            self.if_better(key, lambda: self.insert(key, index, self.last))
            return []

        def some(index: str, _: list[str]) -> list[str]:
            keys = self.keys(self.lanes, index)
            least = self.least()
            code = VectorCode(text, self.lanes, lambda node: None)
            better = code.compare("gt", self.key, keys, code.splat(least, self.key))
            bits = text.value(f"bitcast <{self.lanes} x i1> {better} to i{self.lanes}")
            if self.lanes < 64:
                bits = text.value(f"zext i{self.lanes} {bits} to i64")
            count = text.intrinsic("i64", "llvm.ctpop.i64", [("i64", bits)])

            def look(_: str, left: list[str]) -> list[str]:
                lane = text.intrinsic("i64", "llvm.cttz.i64", [("i64", left[0]), ("i1", "true")])
                one(text.integer("add", index, lane), [])
                return [text.integer("and", left[0], text.integer("sub", left[0], 1))]

            text.loop("0", count, 1, [("i64", bits)], look)
            return []

        text.loop(self.k, start, 1, [], one)
        last = text.value(f"select i1 {text.value(f'icmp slt i64 {start}, {whole}')}, "
                          f"i64 {whole}, i64 {start}")
        text.loop(start, last, self.lanes, [], some)
        text.loop(last, n, 1, [], one)

        # The numbers themselves, by their places.
        def finish(index: str, _: list[str]) -> list[str]:
            place = text.value(f"load i64, ptr {text.offset(self.where, index, 8)}")
            number = text.value(f"load {self.key}, ptr {self.element(self.source, place)}")
            text.add(f"store {self.key} {number}, ptr {self.element(self.kept, index)}")
            return []

        text.loop("0", self.k, 1, [], finish)

    def element(self, pointer: str, index: str) -> str:
        return self.text.offset(pointer, index, self.size)

    def least(self) -> str:
        return self.text.value(f"load {self.key}, ptr {self.element(self.kept, self.last)}")

    def if_better(self, key: str, then: Callable[[], None]) -> None:
        better = self.text.value(f"icmp sgt {self.key} {key}, {self.least()}")
        self.text.either(better, then, lambda: None)

    def keys(self, lanes: int, index: str) -> str:
        """The keys of neighbouring elements."""
        text, size = self.text, self.size
        code = VectorCode(text, lanes, lambda node: None)
        found = code.load(self.element(self.source, index), self.kind)
        whole = code.type(self.key)
        if is_float(self.kind):
            bits = 8 * size
            largest = code.constant((1 << (bits - 1)) - 1, self.key)
            zero = code.constant(0, self.kind)
            is_nan = code.compare("ne", self.kind, found, found)
            plain = text.value(f"fadd {code.type(self.kind)} {found}, {zero}")  # -0.0 to 0.0
            raw = text.value(f"bitcast {code.type(self.kind)} {plain} to {whole}")
            sign = text.value(f"ashr {whole} {raw}, {code.constant(bits - 1, self.key)}")
            turned = text.value(f"and {whole} {sign}, {largest}")
            ordered = text.value(f"xor {whole} {raw}, {turned}")
            found = text.value(f"select {code.type('b1')} {is_nan}, {whole} {largest}, "
                               f"{whole} {ordered}")
        if not self.largest:
            found = text.value(f"xor {whole} {found}, {code.constant(-1, self.key)}")
        return found

    def insert(self, key: str, place: str, free: str) -> None:
        """Puts an element among the kept ones before entry `free`, which is overwritten."""
        text = self.text
        head, test, move, done = (
            text.new_label(f"insert.{part}") for part in ("head", "test", "move", "done"))
        before = text.block
        text.add(f"br label %{head}")
        text.label(head)
        at = text.fresh()
        position = len(text.lines)
        text.add(f"br i1 {text.value(f'icmp sgt i64 {at}, 0')}, label %{test}, label %{done}")
        text.label(test)
        below = text.integer("sub", at, 1)
        other = text.value(f"load {self.key}, ptr {self.element(self.kept, below)}")
        text.add(f"br i1 {text.value(f'icmp slt {self.key} {other}, {key}')}, label %{move}, "
                 f"label %{done}")
        text.label(move)
        text.add(f"store {self.key} {other}, ptr {self.element(self.kept, at)}")
        its_place = text.value(f"load i64, ptr {text.offset(self.where, below, 8)}")
        text.add(f"store i64 {its_place}, ptr {text.offset(self.where, at, 8)}")
        text.add(f"br label %{head}")
        text.lines.insert(
            position, f"  {at} = phi i64 [ {free}, %{before} ], [ {below}, %{move} ]")
        text.label(done)
        text.add(f"store {self.key} {key}, ptr {self.element(self.kept, at)}")
        text.add(f"store i64 {place}, ptr {text.offset(self.where, at, 8)}")
