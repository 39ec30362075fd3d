"""Kernels over rows: loops along contiguous memory, with reductions over the row.

A row is what the innermost loop runs over. The unit of work is one row, and each row is computed
by one thread in a fixed order, so results don't depend on how many threads there are. Pointwise
kernels are rows without reductions; where everything is one contiguous row, `flat_kernel` has
elements as its units.

The argument block: for each operand (inputs, then results) its address; then, for `row_kernel`, the
row's length, the outer sizes, and for each operand its outer strides and its inner one, in bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from taper.compiler.expression import CONSTANT, ELEMENT, SIZE_OF, Expression, Node
from taper.compiler.llvm_text import FunctionText
from taper.compiler.passes import (
    Operand,
    Pass,
    combine,
    identity,
    passes_of,
    row_values_in,
)
from taper.compiler.vector_code import VectorCode, largest_size, llvm_type

__all__ = [
    "Reducer", "Rows", "address_at", "coordinates", "each", "flat_kernel", "left_of_line",
    "reducer_of",
    "row_kernel", "shared_out",
]

_BLOCK = 16384  # elements that are reduced before their result is added to that of others
_FEW_NODES = 14  # expressions up to this length are unrolled further


class Rows:
    """The state of writing one kernel."""

    def __init__(
        self, name: str, vector_bytes: int, expression: Expression, operands: Sequence[Operand]
    ) -> None:
        self.text = FunctionText(name, vector_bytes)
        self.expression = expression
        self.operands = operands
        self.inputs = len(operands) - len(expression.results)
        self.narrow = max(1, vector_bytes // largest_size(expression))
        short = sum(n.level != CONSTANT for n in expression.nodes) <= _FEW_NODES
        self.wide = self.narrow * (4 if short else 2)
        self.pointers: list[str] = []  # of the current row
        self.strides: list[str] = []
        self.length = ""
        self.row_values: dict[int, str] = {}
        self.kept: dict[int, int] = {}  # node -> result in whose memory it waits

    # -- leaves --------------------------------------------------------------------------------

    def row_leaf(self, node: Node) -> str | None:
        """Values of the row, as scalars."""
        found = self.row_values.get(node.number)
        if found is not None:
            return found
        if node.op == "input":
            code = VectorCode(self.text, 1, self.row_leaf)
            found = code.load(self.pointers[node.value], node.type)
        elif node.op == "row_length":
            kind = llvm_type(node.type)
            found = self.text.value(f"sitofp i64 {self.length} to {kind}")
        else:
            return None
        self.row_values[node.number] = found
        return found

    def row_value(self, node: Node) -> str:
        """A value of the row, written now if it isn't yet."""
        code = VectorCode(self.text, 1, self.row_leaf)
        found = self.row_values[node.number] = code.of(node)
        return found

    def element_code(
        self, lanes: int, index: str, mask: str | None, splats: dict[int, str]
    ) -> VectorCode:
        """Writes elements index … index + lanes of the row."""
        def leaf(node: Node) -> str | None:
            if node.number in splats:
                return splats[node.number]
            if node.number in self.kept:
                operand = self.inputs + self.kept[node.number]
            elif node.op == "input":
                operand = node.value
            else:
                return None
            pointer = self.pointers[operand]
            if self.operands[operand].layout == "every second":
                double = self.text.integer("mul", index, 2)
                place = self.text.offset(pointer, double, SIZE_OF[node.type])
                return code.every_second(place, node.type, mask)
            if self.operands[operand].layout == "strided":
                place, stride = self._strided(operand, index)
                return code.gather(place, stride, node.type, mask)
            pointer = self.text.offset(pointer, index, SIZE_OF[node.type])
            return code.load(pointer, node.type, mask)

        code = VectorCode(self.text, lanes, leaf)
        return code

    def _strided(self, operand: int, index: str) -> tuple[str, str]:
        """The place of element `index` of an operand whose neighbours lie apart, and how far."""
        stride = self.strides[operand]
        step = self.text.integer("mul", index, stride)
        return self.text.offset(self.pointers[operand], step), stride

    def first(self, node: Node) -> str:
        """A value at the first element of the row."""
        return self.element_code(1, "0", None, dict(self.row_values)).of(node)

    def in_lanes(self, code: VectorCode, value: str, kind: str) -> str:
        """A value of the row in all lanes."""
        return code.splat(value, kind)

    def positions(self, code: VectorCode, index: str) -> str:
        """The place in the row of each lane, as i32."""
        start = code.splat(self.text.value(f"trunc i64 {index} to i32"), "i32")
        iota = f"<{', '.join(f'i32 {i}' for i in range(code.lanes))}>" if code.lanes > 1 else "0"
        return self.text.value(f"add {code.type('i32')} {start}, {iota}")

    def mask(self, lanes: int, index: str, stop: str) -> str:
        """Which lanes lie before `stop`."""
        left = self.text.integer("sub", stop, index)
        narrow = self.text.value(f"trunc i64 {left} to i32")
        code = VectorCode(self.text, lanes, lambda node: None)
        limit = code.splat(narrow, "i32")
        iota = f"<{', '.join(f'i32 {i}' for i in range(lanes))}>" if lanes > 1 else "0"
        return self.text.value(f"icmp slt {code.type('i32')} {iota}, {limit}")

    # -- passes --------------------------------------------------------------------------------

    def write_stores(self, step: Pass, code: VectorCode, index: str, mask: str | None) -> None:
        # All is read before anything is written: results may lie where operands do.
        written = [*step.kept, *step.stores]
        values = [code.of(node) for _, node in written]
        for (result, _), value in zip(written, values, strict=True):
            operand = self.inputs + result
            kind = self.operands[operand].type
            if self.operands[operand].layout == "strided":
                place, stride = self._strided(operand, index)
                code.scatter(value, place, stride, kind, mask)
            else:
                place = self.text.offset(self.pointers[operand], index, SIZE_OF[kind])
                code.store(value, place, kind, mask)

    def write_pass(self, step: Pass, start: str, stop: str) -> None:
        """One walk over the row's elements start … stop."""
        known = set(self.kept)
        scalars = {n.number: (n, self.row_value(n)) for n in row_values_in(step, known)}

        def splats(lanes: int) -> dict[int, str]:
            code = VectorCode(self.text, lanes, lambda node: None)
            return {k: code.splat(value, n.type) for k, (n, value) in scalars.items()}

        wide, narrow = splats(self.wide), splats(self.narrow)
        if step.reductions:
            self._reduce(step, start, stop, wide, narrow)
        else:
            self._walk(step, start, stop, wide, narrow)
        for result, node in step.kept:
            self.kept[node.number] = result

    def _walk(
        self, step: Pass, start: str, stop: str, wide: dict[int, str], narrow: dict[int, str]
    ) -> None:
        def whole(index: str, _: list[str]) -> list[str]:
            self.write_stores(step, self.element_code(self.wide, index, None, wide), index, None)
            return []

        def rest(index: str, _: list[str]) -> list[str]:
            mask = self.mask(self.narrow, index, stop) if self.narrow > 1 else None
            code = self.element_code(self.narrow, index, mask, narrow)
            self.write_stores(step, code, index, mask)
            return []

        middle = self._end_of_whole(start, stop)
        self.text.loop(start, middle, self.wide, [], whole)
        self.text.loop(middle, stop, self.narrow, [], rest)

    def _end_of_whole(self, start: str, stop: str) -> str:
        count = self.text.integer("sub", stop, start)
        left = self.text.integer("urem", count, self.wide)
        return self.text.integer("sub", stop, left)

    def _reduce(
        self, step: Pass, start: str, stop: str, wide: dict[int, str], narrow: dict[int, str]
    ) -> None:
        """Blocks of elements are reduced by themselves, and their results after that."""
        reducers = [reducer_of(self, node) for node in step.reductions]
        totals = [carried for r in reducers for carried in r.start(1)]

        def block(first: str, totals: list[str]) -> list[str]:
            last = self.text.least(self.text.integer("add", first, _BLOCK), stop)
            found = self._reduce_block(step, reducers, first, last, wide, narrow)
            code = VectorCode(self.text, 1, lambda node: None)
            return each(reducers, lambda r, a, b: r.merge(code, a, b), totals, found)

        found = self.text.loop(start, stop, _BLOCK, totals, block)
        for r, values in zip(reducers, shared_out(reducers, found), strict=True):
            self.row_values[r.node.number] = r.finish(
                VectorCode(self.text, 1, lambda node: None), values)

    def _reduce_block(
        self, step: Pass, reducers: list[Reducer], first: str, last: str,
        wide: dict[int, str], narrow: dict[int, str],
    ) -> list[str]:
        def whole(index: str, totals: list[str]) -> list[str]:
            code = self.element_code(self.wide, index, None, wide)
            new = each(reducers, lambda r, t: r.add(code, t, code.of(r.node.args[0]), index, None),
                        totals)
            self.write_stores(step, code, index, None)
            return new

        def rest(index: str, totals: list[str]) -> list[str]:
            mask = self.mask(self.narrow, index, last) if self.narrow > 1 else None
            code = self.element_code(self.narrow, index, mask, narrow)
            new = each(reducers, lambda r, t: r.add(code, t, code.of(r.node.args[0]), index, mask),
                        totals)
            self.write_stores(step, code, index, mask)
            return new

        middle = self._end_of_whole(first, last)
        totals = [c for r in reducers for c in r.start(self.wide)]
        values = self.text.loop(first, middle, self.wide, totals, whole)
        values = self._halved(reducers, values, self.wide, self.narrow)
        kinds = [kind for r in reducers for kind, _ in r.start(self.narrow)]
        values = self.text.loop(middle, last, self.narrow, list(zip(kinds, values, strict=True)),
                                rest)
        return self._halved(reducers, values, self.narrow, 1)

    def _halved(
        self, reducers: list[Reducer], values: list[str], lanes: int, goal: int
    ) -> list[str]:
        """Reduces vectors of `lanes` to `goal` lanes, the upper half onto the lower."""
        while lanes > goal:
            half = lanes // 2
            lower: list[str] = []
            upper: list[str] = []
            kinds = [k for r in reducers for k in r.scalar_types]
            for kind, value in zip(kinds, values, strict=True):
                lower.append(self._part(kind, value, lanes, 0, half))
                upper.append(self._part(kind, value, lanes, half, half))
            code = VectorCode(self.text, half, lambda node: None)
            values = each(reducers, lambda r, a, b, code=code: r.merge(code, a, b), lower, upper)
            lanes = half
        return values

    def _part(self, kind: str, value: str, lanes: int, first: int, count: int) -> str:
        whole = f"<{lanes} x {kind}>"
        if count == 1:
            return self.text.value(f"extractelement {whole} {value}, i64 {first}")
        picked = ", ".join(f"i32 {i}" for i in range(first, first + count))
        return self.text.value(
            f"shufflevector {whole} {value}, {whole} poison, <{count} x i32> <{picked}>"
        )

    def write_row(self, start: str, stop: str) -> None:
        """All passes over the current row, and the results that it has one of."""
        self.row_values = {}
        self.kept = {}
        for step in passes_of(self.expression):
            self.write_pass(step, start, stop)
        code = VectorCode(self.text, 1, self.row_leaf)
        values = {result: self.row_value(node)
                  for result, node in enumerate(self.expression.results) if node.level != ELEMENT}
        for result, value in values.items():
            operand = self.inputs + result
            code.store(value, self.pointers[operand], self.operands[operand].type)


class Reducer:
    """How one reduction is carried through loops: a list of LLVM values."""

    def __init__(self, rows: Rows, node: Node) -> None:
        self.rows = rows
        self.node = node
        self.kind = node.args[0].type
        self.scalar_types = [llvm_type(self.kind)]

    def start(self, lanes: int) -> list[tuple[str, str]]:
        code = VectorCode(self.rows.text, lanes, lambda node: None)
        return [(code.type(self.kind), code.constant(identity(self.node), self.kind))]

    def add(
        self, code: VectorCode, total: list[str], new: str, index: str, mask: str | None
    ) -> list[str]:
        combined = combine(code, self.node, total[0], new)
        if mask is None:
            return [combined]
        whole = code.type(self.kind)
        return [code.text.value(f"select {code.type('b1')} {mask}, {whole} {combined}, "
                                f"{whole} {total[0]}")]

    def merge(self, code: VectorCode, a: list[str], b: list[str]) -> list[str]:
        return [combine(code, self.node, a[0], b[0])]

    def finish(self, code: VectorCode, values: list[str]) -> str:
        return values[0]


class _ArgReducer(Reducer):
    """Carries the best value and its position; the first of equals wins, NaN above all."""

    def __init__(self, rows: Rows, node: Node) -> None:
        super().__init__(rows, node)
        self.scalar_types = [llvm_type(self.kind), "i32"]
        self.op = "gt" if node.op == "reduce_argmax" else "lt"
        # Every lane starts with the first element, so that there is always a position.
        self.first = rows.first(node.args[0])

    def start(self, lanes: int) -> list[tuple[str, str]]:
        code = VectorCode(self.rows.text, lanes, lambda node: None)
        return [(code.type(self.kind), self.rows.in_lanes(code, self.first, self.kind)),
                (code.type("i32"), code.constant(0, "i32"))]

    def add(
        self, code: VectorCode, total: list[str], new: str, index: str, mask: str | None
    ) -> list[str]:
        text = code.text
        here = self.rows.positions(code, index)
        wins = self._wins(code, total[0], new)
        if mask is not None:
            wins = text.value(f"and {code.type('b1')} {wins}, {mask}")
        return self._choose(code, wins, total, [new, here])

    def _wins(self, code: VectorCode, old: str, new: str) -> str:
        better = code.compare(self.op, self.kind, new, old)
        if not self.kind.startswith("f"):
            return better
        mask = code.type("b1")
        new_is_nan = code.compare("ne", self.kind, new, new)
        old_is_number = code.compare("eq", self.kind, old, old)
        nan_wins = code.text.value(f"and {mask} {new_is_nan}, {old_is_number}")
        return code.text.value(f"or {mask} {better}, {nan_wins}")

    def _choose(
        self, code: VectorCode, wins: str, old: list[str], new: list[str]
    ) -> list[str]:
        return [
            code.text.value(f"select {code.type('b1')} {wins}, {kind} {b}, {kind} {a}")
            for kind, a, b in zip((code.type(self.kind), code.type("i32")), old, new, strict=True)
        ]

    def merge(self, code: VectorCode, a: list[str], b: list[str]) -> list[str]:
        """The better one; of equals, the one that comes first."""
        text, mask = code.text, code.type("b1")
        wins = self._wins(code, a[0], b[0])
        loses = self._wins(code, b[0], a[0])
        earlier = code.compare("lt", "i32", b[1], a[1])
        draw = text.value(f"xor {mask} {loses}, {code.constant(True, 'b1')}")
        by_place = text.value(f"and {mask} {draw}, {earlier}")
        return self._choose(code, text.value(f"or {mask} {wins}, {by_place}"), a, b)

    def finish(self, code: VectorCode, values: list[str]) -> str:
        return code.text.value(f"zext {code.type('i32')} {values[1]} to {code.type('i64')}")


def reducer_of(rows: Rows, node: Node) -> Reducer:
    return (_ArgReducer if node.op.startswith("reduce_arg") else Reducer)(rows, node)


def shared_out(reducers: list[Reducer], values: Sequence[str]) -> list[list[str]]:
    """A flat list of carried values as one list for each reduction."""
    found, position = [], 0
    for r in reducers:
        count = len(r.scalar_types)
        found.append(list(values[position : position + count]))
        position += count
    return found


def each(
    reducers: list[Reducer], function: Callable[..., list[str]], *lists: Sequence[str]
) -> list[str]:
    """Applies a function to each reduction's part of flat lists of carried values."""
    parts = [shared_out(reducers, values) for values in lists]
    return [v for r, *own in zip(reducers, *parts, strict=True) for v in function(r, *own)]


def flat_kernel(
    name: str, vector_bytes: int, expression: Expression, operands: Sequence[Operand]
) -> str:
    """A pointwise kernel on contiguous operands and single values; units are elements."""
    rows = Rows(name, vector_bytes, expression, operands)
    text = rows.text
    rows.pointers = [text.pointer(text.argument(i)) for i in range(len(operands))]
    rows.write_row("%begin", "%end")
    return text.text()


def row_kernel(
    name: str, vector_bytes: int, expression: Expression, operands: Sequence[Operand], outer: int,
    is_cut: bool = False,
) -> str:
    """A kernel whose units are rows, in `outer` dimensions.

    `is_cut`: rows are pieces of one line, whose last one may be shorter; the length of the line
    follows that of the pieces in the argument block.
    """
    rows = Rows(name, vector_bytes, expression, operands)
    text = rows.text
    count = len(operands)
    addresses = text.arguments(count)
    length = rows.length = text.argument(count)
    line = text.argument(count + 1) if is_cut else None
    first = count + 1 + is_cut
    sizes = [text.argument(first + d) for d in range(outer)]
    strides = [[text.argument(first + outer + i * (outer + 1) + d) for d in range(outer + 1)]
               for i in range(count)]
    rows.strides = [s[-1] for s in strides]

    def row(number: str, _: list[str]) -> list[str]:
        places = coordinates(text, number, sizes)
        if line is not None:
            rows.length = left_of_line(text, line, number, length)
        rows.pointers = [
            text.pointer(address_at(text, address, places, own))
            for address, own in zip(addresses, strides, strict=True)
        ]
        rows.write_row("0", rows.length)
        return []

    text.loop("%begin", "%end", 1, [], row)
    return text.text()


def left_of_line(text: FunctionText, line: str, number: str, length: str) -> str:
    """How long piece `number` of a line is that was cut into pieces of a length."""
    begin = text.integer("mul", number, length)
    return text.least(text.integer("sub", line, begin), length)


def coordinates(text: FunctionText, number: str, sizes: Sequence[str]) -> list[str]:
    """The place of unit `number` in each dimension, the last one running fastest."""
    places: list[str] = []
    for size in reversed(sizes[1:]):
        places.append(text.integer("urem", number, size))
        number = text.integer("udiv", number, size)
    return [*([number] if sizes else []), *reversed(places)]


def address_at(
    text: FunctionText, address: str, places: Sequence[str], strides: Sequence[str]
) -> str:
    for place, stride in zip(places, strides, strict=False):
        address = text.integer("add", address, text.integer("mul", place, stride))
    return address
