"""The kernel that adds rows to the rows of a table that an index names.

`row_adder`: table (count, width) of zeros, plus rows (m, width) where index (m) says; the index
must be in range. The argument block: rows, index, table; m, count and width. Units are `lanes`
columns of all rows, so threads don't meet, and each sum is taken in the order of the rows.
"""

from __future__ import annotations

from taper.compiler.expression import SIZE_OF
from taper.compiler.llvm_text import FunctionText
from taper.compiler.vector_code import VectorCode

__all__ = ["row_adder", "row_adder_lanes"]


def row_adder_lanes(vector_bytes: int, kind: str) -> int:
    """How many columns a unit has."""
    return 4 * vector_bytes // SIZE_OF[kind]


def row_adder(name: str, vector_bytes: int, kind: str) -> str:
    """The text of the kernel, for floats."""
    text = FunctionText(name, vector_bytes)
    rows, index, table, m, count, width = text.arguments(6)
    rows, index, table = (text.pointer(a) for a in (rows, index, table))
    lanes, size = row_adder_lanes(vector_bytes, kind), SIZE_OF[kind]
    code = VectorCode(text, lanes, lambda node: None)
    whole = code.type(kind)
    pitch = text.integer("mul", width, size)

    def unit(number: str, _: list[str]) -> list[str]:
        first = text.integer("mul", number, lanes)
        mask = _first_lanes(text, code, text.integer("sub", width, first))
        source, target = (text.offset(p, first, size) for p in (rows, table))

        def clear(row: str, _: list[str]) -> list[str]:
            place = text.offset(target, text.integer("mul", row, pitch))
            code.store("zeroinitializer", place, kind, mask)
            return []

        def add(i: str, _: list[str]) -> list[str]:
            wanted = text.value(f"load i64, ptr {text.offset(index, i, 8)}")
            place = text.offset(target, text.integer("mul", wanted, pitch))
            here = text.offset(source, text.integer("mul", i, pitch))
            old, new = code.load(place, kind, mask), code.load(here, kind, mask)
            code.store(text.value(f"fadd {whole} {old}, {new}"), place, kind, mask)
            return []

        text.loop("0", count, 1, [], clear)
        text.loop("0", m, 1, [], add)
        return []

    text.loop("%begin", "%end", 1, [], unit)
    return text.text()


def _first_lanes(text: FunctionText, code: VectorCode, count: str) -> str:
    iota = f"<{', '.join(f'i64 {i}' for i in range(code.lanes))}>"
    return text.value(f"icmp slt {code.type('i64')} {iota}, {code.splat(count, 'i64')}")
