"""Kernels whose rows run across memory: lanes are neighbouring columns, the loop goes down.

The same expressions as in row_kernels.py, for a reduction over a dimension that is not the
innermost one. The unit of work is a tile of columns, all of whose rows one thread walks; sums are
taken in blocks of rows, so they are as accurate as along memory.

The argument block: the operands' addresses; the number of rows to walk and of columns; the outer
sizes; for each operand its outer strides and the one from row to row, in bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from taper.compiler.expression import ELEMENT, SIZE_OF, Expression, Node
from taper.compiler.passes import Operand, Pass, passes_of, row_values_in
from taper.compiler.row_kernels import (
    Rows,
    address_at,
    coordinates,
    each,
    left_of_line,
    reducer_of,
    shared_out,
)
from taper.compiler.vector_code import VectorCode, llvm_type

__all__ = ["Columns", "column_kernel", "column_tile"]

_BLOCK = 256  # rows that are reduced before their result is added to that of others


def column_tile(vector_bytes: int, expression: Expression, operands: Sequence[Operand]) -> int:
    """How many columns a unit of `column_kernel` has."""
    return Rows("", vector_bytes, expression, operands).wide


class Columns(Rows):
    """The state of writing one kernel: `row_values` are vectors here, one lane for a column."""

    mask_of_tile = ""

    def code(self) -> VectorCode:
        return VectorCode(self.text, self.wide, self.row_leaf)

    def row_leaf(self, node: Node) -> str | None:
        found = self.row_values.get(node.number)
        if found is not None:
            return found
        if node.op == "input":
            found = self._load(self.pointers[node.value], node.value, node.type)
        elif node.op == "row_length":
            length = self.text.value(f"sitofp i64 {self.length} to {llvm_type(node.type)}")
            found = self.code().splat(length, node.type)
        else:
            return None
        self.row_values[node.number] = found
        return found

    def _load(self, pointer: str, operand: int, kind: str) -> str:
        if self.operands[operand].layout == "same":
            one = VectorCode(self.text, 1, lambda node: None).load(pointer, kind)
            return self.code().splat(one, kind)
        return self.code().load(pointer, kind, self.mask_of_tile)

    def row_value(self, node: Node) -> str:
        found = self.row_values[node.number] = self.code().of(node)
        return found

    def _place(self, operand: int, index: str) -> str:
        step = self.text.integer("mul", index, self.strides[operand])
        return self.text.offset(self.pointers[operand], step)

    def row_code(self, index: str) -> VectorCode:
        """Writes row `index` of the tile."""
        def leaf(node: Node) -> str | None:
            if node.number in self.kept:
                operand = self.inputs + self.kept[node.number]
                return self._load(self._place(operand, index), operand, node.type)
            found = self.row_values.get(node.number)
            if found is not None or node.op != "input":
                return found
            return self._load(self._place(node.value, index), node.value, node.type)

        code = VectorCode(self.text, self.wide, leaf)
        return code

    def first(self, node: Node) -> str:
        return self.row_code("0").of(node)

    def in_lanes(self, code: VectorCode, value: str, kind: str) -> str:
        return value

    def positions(self, code: VectorCode, index: str) -> str:
        return code.splat(self.text.value(f"trunc i64 {index} to i32"), "i32")

    def write_row_stores(self, step: Pass, code: VectorCode, index: str) -> None:
        written = [*step.kept, *step.stores]
        values = [code.of(node) for _, node in written]
        for (result, _), value in zip(written, values, strict=True):
            self._store(code, value, self.inputs + result, self._place(self.inputs + result, index))

    def _store(self, code: VectorCode, value: str, operand: int, place: str) -> None:
        code.store(value, place, self.operands[operand].type, self.mask_of_tile)

    def write_pass(self, step: Pass, start: str, stop: str) -> None:
        for node in row_values_in(step, set(self.kept)):
            self.row_value(node)
        reducers = [reducer_of(self, node) for node in step.reductions]

        def row(index: str, totals: list[str]) -> list[str]:
            code = self.row_code(index)
            new = each(reducers, lambda r, t: r.add(code, t, code.of(r.node.args[0]), index, None),
                       totals)
            self.write_row_stores(step, code, index)
            return new

        def block(first: str, totals: list[str]) -> list[str]:
            last = self.text.least(self.text.integer("add", first, _BLOCK), stop)
            begin = [c for r in reducers for c in r.start(self.wide)]
            found = self.text.loop(first, last, 1, begin, row)
            return each(reducers, lambda r, a, b: r.merge(self.code(), a, b), totals, found)

        totals = [c for r in reducers for c in r.start(self.wide)]
        values = self.text.loop(start, stop, _BLOCK, totals, block)
        for r, own in zip(reducers, shared_out(reducers, values), strict=True):
            self.row_values[r.node.number] = r.finish(self.code(), own)
        for result, node in step.kept:
            self.kept[node.number] = result

    def write_tile(self) -> None:
        """All passes over the current tile, and its results that each column has one of."""
        self.row_values = {}
        self.kept = {}
        for step in passes_of(self.expression):
            self.write_pass(step, "0", self.length)
        values = {result: self.row_value(node)
                  for result, node in enumerate(self.expression.results) if node.level != ELEMENT}
        for result, value in values.items():
            operand = self.inputs + result
            self._store(self.code(), value, operand, self.pointers[operand])


def column_kernel(
    name: str, vector_bytes: int, expression: Expression, operands: Sequence[Operand], outer: int,
    is_cut: bool = False,
) -> str:
    """A kernel whose units are tiles of columns, in `outer` dimensions besides.

    `is_cut`: the one outer dimension counts pieces of the rows, of which the last may be shorter;
    the number of all rows follows that of columns in the argument block.
    """
    columns = Columns(name, vector_bytes, expression, operands)
    text = columns.text
    count = len(operands)
    addresses = text.arguments(count)
    length = columns.length = text.argument(count)
    width = text.argument(count + 1)
    line = text.argument(count + 2) if is_cut else None
    start = count + 2 + is_cut
    sizes = [text.argument(start + d) for d in range(outer)]
    strides = [[text.argument(start + outer + i * (outer + 1) + d) for d in range(outer + 1)]
               for i in range(count)]
    columns.strides = [s[-1] for s in strides]
    rounded = text.integer("add", width, columns.wide - 1)
    tiles = text.integer("udiv", rounded, columns.wide)

    def unit(number: str, _: list[str]) -> list[str]:
        tile = text.integer("urem", number, tiles)
        piece = text.integer("udiv", number, tiles)
        places = coordinates(text, piece, sizes)
        if line is not None:
            columns.length = left_of_line(text, line, piece, length)
        first = text.integer("mul", tile, columns.wide)
        columns.mask_of_tile = columns.mask(columns.wide, first, width)
        columns.pointers = []
        for address, own, operand in zip(addresses, strides, operands, strict=True):
            place = text.pointer(address_at(text, address, places, own))
            columns.pointers.append(
                place if operand.layout == "same"
                else text.offset(place, first, SIZE_OF[operand.type]))
        columns.write_tile()
        return []

    text.loop("%begin", "%end", 1, [], unit)
    return text.text()
