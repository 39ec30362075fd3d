"""Column kernels whose lanes may lie apart: what runs beside the walk has any stride.

As in column_kernels.py one lane is one column (or one short row), and the loop goes along it. Here
neighbouring lanes may be any distance apart in each operand, so rows of ten are sixteen lanes wide.

The argument block: the operands' addresses; the number of steps to walk and of lanes; the outer
sizes; for each operand its outer strides, the one from step to step, and that from lane to lane, in
bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from taper.compiler.column_kernels import Columns
from taper.compiler.expression import SIZE_OF, Expression
from taper.compiler.passes import Operand
from taper.compiler.row_kernels import address_at, coordinates
from taper.compiler.vector_code import VectorCode

__all__ = ["lane_kernel"]


class _Lanes(Columns):
    lane_strides: list[str]

    def _load(self, pointer: str, operand: int, kind: str) -> str:
        if self.operands[operand].layout != "strided":
            return super()._load(pointer, operand, kind)
        return self.code().gather(pointer, self.lane_strides[operand], kind, self.mask_of_tile)

    def _store(self, code: VectorCode, value: str, operand: int, place: str) -> None:
        kind = self.operands[operand].type
        if self.operands[operand].layout != "strided":
            super()._store(code, value, operand, place)
        else:
            code.scatter(value, place, self.lane_strides[operand], kind, self.mask_of_tile)


def lane_kernel(
    name: str, vector_bytes: int, expression: Expression, operands: Sequence[Operand], outer: int,
    lanes: int,
) -> str:
    """A kernel whose units are tiles of `lanes` lanes, in `outer` dimensions besides."""
    columns = _Lanes(name, vector_bytes, expression, operands)
    columns.wide = lanes
    text = columns.text
    count = len(operands)
    addresses = text.arguments(count)
    columns.length = text.argument(count)
    width = text.argument(count + 1)
    sizes = [text.argument(count + 2 + d) for d in range(outer)]
    each = outer + 2
    strides = [[text.argument(count + 2 + outer + i * each + d) for d in range(each)]
               for i in range(count)]
    columns.strides = [s[-2] for s in strides]
    columns.lane_strides = [s[-1] for s in strides]
    rounded = text.integer("add", width, lanes - 1)
    tiles = text.integer("udiv", rounded, lanes)

    def unit(number: str, _: list[str]) -> list[str]:
        tile = text.integer("urem", number, tiles)
        places = coordinates(text, text.integer("udiv", number, tiles), sizes)
        first = text.integer("mul", tile, lanes)
        columns.mask_of_tile = columns.mask(lanes, first, width)
        columns.pointers = []
        for i, (address, own, operand) in enumerate(zip(addresses, strides, operands, strict=True)):
            place = text.pointer(address_at(text, address, places, own))
            if operand.layout == "contiguous":
                place = text.offset(place, first, SIZE_OF[operand.type])
            elif operand.layout == "strided":
                place = text.offset(place, text.integer("mul", first, columns.lane_strides[i]))
            columns.pointers.append(place)
        columns.write_tile()
        return []

    text.loop("%begin", "%end", 1, [], unit)
    return text.text()


