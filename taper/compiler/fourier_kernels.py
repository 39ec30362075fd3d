"""Kernels of Fourier transforms: in each lane of the vectors one transform, of one length.

Lanes share all factors, which are spread from a table, and nothing is shuffled but where a lane's
elements are neighbours in memory: squares are turned in registers then. Between the stages numbers
lie in two buffers: on the thread's own stack where they are small, as memory that other threads
have just written is slow to come. (Stockham's sorting by stages: Van Loan, Computational
Frameworks for the Fast Fourier Transform, 1992, section 1.7.)

A long transform of n1 x n2 elements is two of these: columns, multiplied by their factors (`is
_twisted`), then rows, whose results are columns again.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from taper.compiler.llvm_text import FunctionText
from taper.compiler.tile_code import SIZE, TileCode, plus

__all__ = ["TRANSFORM_WORDS", "Transform", "buffer_bytes", "radices_of", "transform"]

Complex = tuple[str, str]  # two vectors: real and imaginary parts


class Transform(NamedTuple):
    """What a kernel is made for.

    Attributes:
        source: how a lane's elements lie: "along" memory, "across" it (lanes are neighbours), or
            "real" for real ones along memory.
        result: "along" or "across".
        stored: how many elements of the result are written.
        swaps_source, swaps_result: whether real and imaginary parts are exchanged. The inverse
            transform is the transform of numbers with exchanged parts, exchanged.
        is_half: `length` pairs of real numbers give `length + 1` elements of their spectrum.
    """

    kind: str
    length: int
    source: str
    result: str
    stored: int
    swaps_source: bool = False
    swaps_result: bool = False
    is_twisted: bool = False
    is_half: bool = False


TRANSFORM_WORDS = (
    "source", "result", "factors", "twist", "buffers", "scale", "lanes", "groups", "tasks_per_slot",
    "source_element", "source_lane", "source_outer", "result_element", "result_lane",
    "result_outer",
)


_MOST_ON_STACK = 1 << 18  # bytes of both buffers; Windows wants large frames to be announced

# Products of two are computed in registers, and in what they spill to the first cache.
_SIMPLE = (8, 5, 4, 3, 2)
_PRODUCTS = {25: (5, 5), 20: (4, 5), 16: (4, 4), 15: (3, 5), 12: (3, 4), 10: (2, 5), 9: (3, 3),
             6: (2, 3)}


@cache
def radices_of(length: int) -> tuple[int, ...] | None:
    """The fewest stages of a transform; None where its length has large prime factors."""
    if length == 1:
        return ()
    best: tuple[int, ...] | None = None
    for radix in (*_PRODUCTS, *_SIMPLE):
        rest = None if length % radix else radices_of(length // radix)
        if rest is not None:
            found = tuple(sorted((radix, *rest), reverse=True))
            if best is None or (len(found), found) < (len(best), best):
                best = found
    return best


def _pair_bytes(vector_bytes: int, form: Transform) -> int:
    """The size of two buffers."""
    return 4 * vector_bytes * (max(form.length, form.stored) + 1)


def buffer_bytes(vector_bytes: int, form: Transform) -> int:
    """How much memory tasks that run at the same time need each: none if it's on the stack."""
    size = _pair_bytes(vector_bytes, form)
    return 0 if size <= _MOST_ON_STACK and sys.platform != "win32" else size


def transform(name: str, vector_bytes: int, form: Transform) -> str:
    """The kernel. The argument block is TRANSFORM_WORDS, strides in bytes; `twist` are planes
    (length, lanes) of real and imaginary parts. A task is as many lanes as a vector has, of one
    of the outer arrays; `tasks_per_slot` tasks share a pair of `buffers`, if there are any."""
    return _Writer(name, vector_bytes, form).text()


def _ordered(value: Complex, swaps: bool) -> Complex:
    return (value[1], value[0]) if swaps else value


class _Writer:
    def __init__(self, name: str, vector_bytes: int, form: Transform) -> None:
        self.form = form
        self.ir = FunctionText(name, vector_bytes)
        self.code = TileCode(self.ir, form.kind, vector_bytes // SIZE[form.kind])
        self.word = self.ir.words(TRANSFORM_WORDS)
        self.each = 2 * vector_bytes  # bytes of an element in a buffer

    def text(self) -> str:
        ir, word, form = self.ir, self.word, self.form
        size = _pair_bytes(ir.vector_bytes, form)
        if buffer_bytes(ir.vector_bytes, form):
            slot = ir.integer("udiv", "%begin", word["tasks_per_slot"])
            first = plus(ir, ir.pointer(word["buffers"]), (slot, str(size)))
        else:
            first = ir.value(f"alloca [{size} x i8], align 64")
        second = ir.offset(first, str(size // 2))
        radices = radices_of(form.length)
        assert radices is not None

        def task(number: str, _: list[str]) -> list[str]:
            outer = ir.integer("udiv", number, word["groups"])
            lane = ir.integer("mul", ir.integer("urem", number, word["groups"]), self.code.lanes)
            count = ir.integer("sub", word["lanes"], lane)
            places = [
                plus(ir, ir.pointer(word[label]), (outer, word[f"{label}_outer"]),
                     (lane, word[f"{label}_lane"]))
                for label in ("source", "result")
            ]
            self._write(radices, places, (first, second), count, lane)
            return []

        ir.loop("%begin", "%end", 1, [], task)
        return ir.text()

    def _write(
        self, radices: tuple[int, ...], places: list[str], buffers: tuple[str, str], count: str,
        lane: str,
    ) -> None:
        """Elements that lie across are read by the first stage and written by the last."""
        form = self.form
        here: _Elements = _Buffer(self, buffers[0])
        there = _Buffer(self, buffers[1])
        if form.source == "across":
            here = _Across(self, places[0], self.word["source_element"], count)
        else:
            self._load_along(places[0], here, count)
        at_last: _Elements | None = None
        if form.result == "across":
            at_last = _Results(self, places[1], count, lane)
        done, at = 1, 0
        for number, radix in enumerate(radices):
            is_last = number == len(radices) - 1
            rest = form.length // (done * radix)
            self._stage(here, at_last if is_last and at_last else there, radix, rest, done, at)
            at += 2 * (radix - 1) * rest
            done *= radix
            here, there = there, _Buffer(self, buffers[number % 2])
        if form.is_half:
            self._split(here, there, at)
            here = there
        if at_last is None:
            self._store_along(here, places[1], count)

    # -- numbers ---------------------------------------------------------------------------------

    def op(self, name: str, a: str, b: str) -> str:
        return self.ir.value(f"{name} {self.code.vector} {a}, {b}")

    def add(self, a: Complex, b: Complex) -> Complex:
        return self.op("fadd", a[0], b[0]), self.op("fadd", a[1], b[1])

    def sub(self, a: Complex, b: Complex) -> Complex:
        return self.op("fsub", a[0], b[0]), self.op("fsub", a[1], b[1])

    def add_turned(self, a: Complex, b: Complex) -> Complex:
        """a + i b"""
        return self.op("fsub", a[0], b[1]), self.op("fadd", a[1], b[0])

    def sub_turned(self, a: Complex, b: Complex) -> Complex:
        """a - i b"""
        return self.op("fadd", a[0], b[1]), self.op("fsub", a[1], b[0])

    def times(self, a: Complex, b: Complex) -> Complex:
        minus = self.ir.value(f"fneg {self.code.vector} {self.op('fmul', a[1], b[1])}")
        return (self.code.fused(a[0], b[0], minus),
                self.code.fused(a[0], b[1], self.op("fmul", a[1], b[0])))

    def scaled(self, a: Complex, factor: float) -> Complex:
        by = self.code.constant(factor, self.form.kind)
        return self.op("fmul", a[0], by), self.op("fmul", a[1], by)

    def plus_scaled(self, a: Complex, b: Complex, factor: float) -> Complex:
        """a + factor * b"""
        by = self.code.constant(factor, self.form.kind)
        return self.code.fused(b[0], by, a[0]), self.code.fused(b[1], by, a[1])

    def spread(self, table: str, index: str) -> Complex:
        """The complex number at an index, counted in reals, of a table."""
        place = self.ir.offset(table, index, self.code.size)
        return (self.code.all_spread(place),
                self.code.all_spread(self.ir.offset(place, "1", self.code.size)))

    # -- stages ----------------------------------------------------------------------------------

    def _stage(
        self, here: _Elements, there: _Elements, radix: int, rest: int, done: int, at: int
    ) -> None:
        """Transforms of `radix` elements that lie `rest * done` apart, times their factors."""
        ir = self.ir
        table = self.ir.offset(ir.pointer(self.word["factors"]), str(at), self.code.size)

        def lines(p: str, _: list[str]) -> list[str]:
            first = ir.integer("mul", p, 2 * (radix - 1))
            source, target = ir.integer("mul", p, done), ir.integer("mul", p, done * radix)

            def one(q: str, _: list[str]) -> list[str]:
                a = here.place(ir.integer("add", source, q))
                b = there.place(ir.integer("add", target, q))

                def put(j: int, value: Complex) -> None:
                    if j and rest > 1:
                        factor = self.spread(table, ir.integer("add", first, 2 * (j - 1)))
                        value = self.times(value, factor)
                    there.put(value, b, j * done)

                self._butterfly(range(radix), lambda k: here.get(a, k * rest * done), put)
                return []

            if done == 1:
                one("0", [])
            else:
                ir.loop(0, done, 1, [], one)
            return []

        ir.loop(0, rest, 1, [], lines)

    def _butterfly(
        self, places: Sequence[int], get: Callable[[int], Complex],
        put: Callable[[int, Complex], None],
    ) -> None:
        """The transform of so few elements that they nearly stay in registers. Each is read when
        it is needed, and put away when it is done."""
        count = len(places)
        if count not in _PRODUCTS:
            for j, value in enumerate(self._of_few([get(place) for place in places])):
                put(j, value)
            return
        rows, columns = _PRODUCTS[count]
        lines = []
        for n in range(columns):
            line = self._of_few([get(place) for place in places[n::columns]])
            lines.append([self._turned(value, n * k, count) for k, value in enumerate(line)])
        for k in range(rows):
            for j, value in enumerate(self._of_few([line[k] for line in lines])):
                put(k + rows * j, value)

    def _of_few(self, a: list[Complex]) -> list[Complex]:
        return {2: self._of_two, 3: self._of_three, 4: self._of_four, 5: self._of_five,
                8: self._of_eight}[len(a)](a)

    def _turned(self, a: Complex, turns: int, of: int) -> Complex:
        """a * exp(-2 pi i turns / of)"""
        if turns == 0:
            return a
        if 4 * turns == of:
            return a[1], self.ir.value(f"fneg {self.code.vector} {a[0]}")
        angle = 2 * math.pi * turns / of
        constant = self.code.constant
        return self.times(a, (constant(math.cos(angle), self.form.kind),
                              constant(-math.sin(angle), self.form.kind)))

    def _of_two(self, a: list[Complex]) -> list[Complex]:
        return [self.add(a[0], a[1]), self.sub(a[0], a[1])]

    def _of_three(self, a: list[Complex]) -> list[Complex]:
        both = self.add(a[1], a[2])
        turned = self.scaled(self.sub(a[1], a[2]), math.sqrt(0.75))
        middle = self.plus_scaled(a[0], both, -0.5)
        return [self.add(a[0], both), self.sub_turned(middle, turned),
                self.add_turned(middle, turned)]

    def _of_four(self, a: list[Complex]) -> list[Complex]:
        even, other_even = self.add(a[0], a[2]), self.sub(a[0], a[2])
        odd, other_odd = self.add(a[1], a[3]), self.sub(a[1], a[3])
        return [self.add(even, odd), self.sub_turned(other_even, other_odd),
                self.sub(even, odd), self.add_turned(other_even, other_odd)]

    def _of_five(self, a: list[Complex]) -> list[Complex]:
        near, far = self.add(a[1], a[4]), self.add(a[2], a[3])
        near_apart, far_apart = self.sub(a[1], a[4]), self.sub(a[2], a[3])
        c1, c2 = math.cos(0.4 * math.pi), math.cos(0.8 * math.pi)
        s1, s2 = math.sin(0.4 * math.pi), math.sin(0.8 * math.pi)
        first = self.plus_scaled(self.plus_scaled(a[0], near, c1), far, c2)
        second = self.plus_scaled(self.plus_scaled(a[0], near, c2), far, c1)
        first_turned = self.plus_scaled(self.scaled(near_apart, s1), far_apart, s2)
        second_turned = self.plus_scaled(self.scaled(near_apart, s2), far_apart, -s1)
        return [
            self.add(self.add(a[0], near), far), self.sub_turned(first, first_turned),
            self.sub_turned(second, second_turned), self.add_turned(second, second_turned),
            self.add_turned(first, first_turned),
        ]

    def _of_eight(self, a: list[Complex]) -> list[Complex]:
        even, odd = self._of_four(a[0::2]), self._of_four(a[1::2])
        root = math.sqrt(0.5)
        # Times (1 - i) / sqrt(2), -i, and (-1 - i) / sqrt(2).
        first = self.scaled((self.op("fadd", *odd[1]), self.op("fsub", odd[1][1], odd[1][0])), root)
        third = self.scaled((self.op("fsub", *odd[3]), self.op("fadd", *odd[3])), root)
        return [
            self.add(even[0], odd[0]), self.add(even[1], first),
            self.sub_turned(even[2], odd[2]), self.sub(even[3], third),
            self.sub(even[0], odd[0]), self.sub(even[1], first),
            self.add_turned(even[2], odd[2]), self.add(even[3], third),
        ]

    def _split(self, here: _Elements, there: _Elements, at: int) -> None:
        """From the transform of pairs of real numbers to their spectrum:
        X[k] = E + w^k O, where E and i O are the even and odd parts of Z."""
        ir, length = self.ir, self.form.length
        table = ir.offset(ir.pointer(self.word["factors"]), str(at), self.code.size)

        def one(k: str, _: list[str]) -> list[str]:
            is_last = ir.value(f"icmp eq i64 {k}, {length}")
            own = ir.value(f"select i1 {is_last}, i64 0, i64 {k}")
            is_first = ir.value(f"icmp eq i64 {k}, 0")
            mirrored = ir.value(
                f"select i1 {is_first}, i64 0, i64 {ir.integer('sub', length, k)}")
            a, b = here.get(here.place(own)), here.get(here.place(mirrored))
            even = self.op("fadd", a[0], b[0]), self.op("fsub", a[1], b[1])
            odd = self.op("fadd", a[1], b[1]), self.op("fsub", b[0], a[0])
            factor = self.spread(table, ir.integer("mul", k, 2))
            there.put(self.scaled(self.add(even, self.times(odd, factor)), 0.5), there.place(k))
            return []

        ir.loop(0, self.form.stored, 1, [], one)

    # -- memory ----------------------------------------------------------------------------------

    def _chunks(self, total: int, size: int, body: Callable[[str, int], None]) -> None:
        """Calls `body(first element, how many)` for pieces, of which the last may be short."""
        whole = total - total % size

        def one(i: str, _: list[str]) -> list[str]:
            body(i, size)
            return []

        self.ir.loop(0, whole, size, [], one)
        if total > whole:
            body(str(whole), total - whole)

    def _load_along(self, source: str, buffer: _Elements, count: str) -> None:
        """Squares whose rows are lanes: a row's neighbours are elements, or their parts."""
        code, ir = self.code, self.ir
        is_real = self.form.source == "real"
        reals = 1 if is_real else 2
        last = ir.integer("sub", count, 1)
        zero = code.constant(0.0, code.kind)

        def chunk(first: str, many: int) -> None:
            mask = None if many * reals == code.lanes else code.first(str(many * reals))
            at = ir.offset(source, first, reals * code.size) if reals * code.size <= 8 else (
                plus(ir, source, (first, str(reals * code.size))))
            columns = code.turned([
                code.load(plus(ir, at, (ir.least(str(lane), last), self.word["source_lane"])),
                          code.kind, mask)
                for lane in range(code.lanes)
            ])
            for e in range(many):
                value = (columns[e], zero) if is_real else (columns[2 * e], columns[2 * e + 1])
                buffer.put(_ordered(value, self.form.swaps_source), buffer.place(first), e)

        self._chunks(self.form.length, code.lanes // reals, chunk)

    def to_store(self, value: Complex) -> Complex:
        scale = self.code.all_spread(self.ir.pointer(self.word["scale"]))
        return _ordered((self.op("fmul", value[0], scale), self.op("fmul", value[1], scale)),
                        self.form.swaps_result)

    def _store_along(self, buffer: _Elements, result: str, count: str) -> None:
        code, ir = self.code, self.ir
        last = ir.integer("sub", count, 1)
        zero = code.constant(0.0, code.kind)

        def chunk(first: str, many: int) -> None:
            columns: list[str] = []
            for e in range(many):
                columns += self.to_store(buffer.get(buffer.place(first), e))
            columns += [zero] * (code.lanes - len(columns))
            at = plus(ir, result, (first, str(2 * code.size)))
            for lane, row in enumerate(code.turned(columns)):
                to = plus(ir, at, (ir.least(str(lane), last), self.word["result_lane"]))
                inside = ir.value(f"icmp sle i64 {lane}, {last}")
                held = ir.value(f"select i1 {inside}, i64 {2 * many}, i64 0")
                code.store(row, to, code.kind, code.first(held))

        self._chunks(self.form.stored, code.lanes // 2, chunk)


class _Elements:
    """Where a stage finds its elements, or leaves them."""

    def __init__(self, writer: _Writer) -> None:
        self.writer = writer
        self.ir = writer.ir
        self.code = writer.code

    def place(self, index: str) -> str:
        """Where an element lies, for `get` and `put`, which take one so many elements later."""
        raise NotImplementedError

    def get(self, place: str, later: int = 0) -> Complex:
        raise NotImplementedError

    def put(self, value: Complex, place: str, later: int = 0) -> None:
        raise NotImplementedError


class _Buffer(_Elements):
    """Real and imaginary parts of all lanes, one vector after the other."""

    def __init__(self, writer: _Writer, start: str) -> None:
        super().__init__(writer)
        self.start = start

    def place(self, index: str) -> str:
        return plus(self.ir, self.start, (index, str(self.writer.each)))

    def get(self, place: str, later: int = 0) -> Complex:
        each = self.writer.each
        return tuple(  # type: ignore[return-value]
            self.code.load(self.ir.offset(place, str(later * each + half)), self.code.kind)
            for half in (0, each // 2))

    def put(self, value: Complex, place: str, later: int = 0) -> None:
        each = self.writer.each
        for part, half in zip(value, (0, each // 2), strict=True):
            self.code.store(part, self.ir.offset(place, str(later * each + half)), self.code.kind)


class _Across(_Elements):
    """Memory in which lanes are neighbours, and pairs of real and imaginary parts."""

    def __init__(self, writer: _Writer, start: str, stride: str, count: str) -> None:
        super().__init__(writer)
        self.start = start
        self.stride = stride
        reals = self.ir.integer("mul", count, 2)
        self.masks = (self.code.first(reals), self.code.first(
            self.ir.integer("sub", reals, self.code.lanes)))

    def place(self, index: str) -> str:
        return plus(self.ir, self.start, (index, self.stride))

    def halves(self, place: str, later: int) -> tuple[str, str]:
        at = plus(self.ir, place, (str(later), self.stride)) if later else place
        return at, self.ir.offset(at, str(self.writer.each // 2))

    def get(self, place: str, later: int = 0) -> Complex:
        code = self.code
        low, high = (code.load(at, code.kind, mask)
                     for at, mask in zip(self.halves(place, later), self.masks, strict=True))
        real, imaginary = (
            code.picked(low, high, list(range(p, 2 * code.lanes, 2))) for p in (0, 1))
        return _ordered((real, imaginary), self.writer.form.swaps_source)


class _Results(_Across):
    """The same, where results are written: scaled, and multiplied by the factors of their lanes."""

    def __init__(self, writer: _Writer, start: str, count: str, lane: str) -> None:
        super().__init__(writer, start, writer.word["result_element"], count)
        ir, word, code = writer.ir, writer.word, writer.code
        self.own = code.first(count)
        self.twist = ir.offset(ir.pointer(word["twist"]), lane, code.size)
        self.line = ir.integer("mul", word["lanes"], code.size)
        self.index = "0"

    def place(self, index: str) -> str:
        self.index = index
        return super().place(index)

    def put(self, value: Complex, place: str, later: int = 0) -> None:
        ir, code, form = self.ir, self.code, self.writer.form
        value = self.writer.to_store(value)
        if form.is_twisted:
            at = plus(ir, self.twist, (ir.integer("add", self.index, later), self.line))
            behind = plus(ir, at, (self.line, str(form.length)))
            value = self.writer.times(value, (code.load(at, code.kind, self.own),
                                              code.load(behind, code.kind, self.own)))
        low = [i // 2 + (i % 2) * code.lanes for i in range(code.lanes)]
        for at, mask, lanes in zip(self.halves(place, later), self.masks,
                                   (low, [i + code.lanes // 2 for i in low]), strict=True):
            code.store(code.picked(*value, lanes), at, code.kind, mask)
