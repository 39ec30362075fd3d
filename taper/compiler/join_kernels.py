"""Kernels that put the parts of several arrays next to each other, or one value everywhere.

The argument block: a table with three words for each array (where its elements are; the bytes of
one part; where in a row of the result its parts go), the result, the number of arrays, the bytes of
a row of the result, and one more word.

`joiner`: long parts. The word says into how many pieces of `PIECE` bytes each part is cut; a unit
is one piece: rows x arrays x pieces. `interleaver`: parts of one element. The word is the number of
rows; a unit is `ROWS` of them.

`filler`: the argument block has a pattern of one vector, the result, and its bytes. A unit is a
piece of `PIECE` bytes.
"""

from __future__ import annotations

from taper.compiler.index_kernels import copy_bytes
from taper.compiler.llvm_text import FunctionText
from taper.compiler.vector_code import VectorCode

__all__ = ["PIECE", "ROWS", "filler", "interleaver", "joiner"]

PIECE = 1 << 16
ROWS = 512  # whose lines stay in the first cache while array after array is written into them


def _entry(text: FunctionText, table: str, number: str) -> list[str]:
    """The three words of an array."""
    start = text.integer("mul", number, 3)
    return [text.value(f"load i64, ptr {text.offset(table, text.integer('add', start, i), 8)}")
            for i in range(3)]


def joiner(name: str, vector_bytes: int) -> str:
    """Copies parts as bytes."""
    text = FunctionText(name, vector_bytes)
    table, result, count, width, pieces = text.arguments(5)
    table = text.pointer(table)

    def piece(number: str, _: list[str]) -> list[str]:
        which = text.integer("urem", number, pieces)
        part = text.integer("udiv", number, pieces)
        row = text.integer("udiv", part, count)
        source, size, place = _entry(text, table, text.integer("urem", part, count))
        begin = text.integer("mul", which, PIECE)
        end = text.least(text.integer("add", begin, PIECE), size)
        source = text.integer("add", source, text.integer("mul", row, size))
        target = text.integer("add", result, text.integer("mul", row, width))
        target = text.integer("add", target, place)
        copy_bytes(text, text.pointer(text.integer("add", source, begin)),
                   text.pointer(text.integer("add", target, begin)),
                   text.integer("sub", end, begin))
        return []

    text.loop("%begin", "%end", 1, [], piece)
    return text.text()


def interleaver(name: str, vector_bytes: int, item: int) -> str:
    """Copies elements of `item` bytes: 1, 2, 4 or 8."""
    text = FunctionText(name, vector_bytes)
    table, result, count, width, rows = text.arguments(5)
    table = text.pointer(table)
    kind = f"i{8 * item}"

    def some(number: str, _: list[str]) -> list[str]:
        first = text.integer("mul", number, ROWS)
        last = text.least(text.integer("add", first, ROWS), rows)

        def array(which: str, _: list[str]) -> list[str]:
            source, _size, place = _entry(text, table, which)
            source = text.pointer(source)
            target = text.pointer(text.integer("add", result, place))

            def element(row: str, _: list[str]) -> list[str]:
                value = text.value(f"load {kind}, ptr {text.offset(source, row, item)}")
                where = text.offset(target, text.integer("mul", row, width))
                text.add(f"store {kind} {value}, ptr {where}")
                return []

            text.loop(first, last, 1, [], element)
            return []

        text.loop("0", count, 1, [], array)
        return []

    text.loop("%begin", "%end", 1, [], some)
    return text.text()


def filler(name: str, vector_bytes: int) -> str:
    """Repeats a pattern."""
    text = FunctionText(name, vector_bytes)
    pattern, result, size = text.arguments(3)
    result = text.pointer(result)
    code = VectorCode(text, vector_bytes, lambda node: None)
    value = code.load(text.pointer(pattern), "u8")

    def piece(number: str, _: list[str]) -> list[str]:
        begin = text.integer("mul", number, PIECE)
        end = text.least(text.integer("add", begin, PIECE), size)
        left = text.integer("urem", text.integer("sub", end, begin), vector_bytes)
        whole = text.integer("sub", end, left)

        def vector(at: str, _: list[str]) -> list[str]:
            code.store(value, text.offset(result, at), "u8")
            return []

        text.loop(begin, whole, vector_bytes, [], vector)
        narrow = text.value(f"trunc i64 {left} to i32")
        iota = f"<{', '.join(f'i32 {i}' for i in range(vector_bytes))}>"
        mask = text.value(f"icmp slt {code.type('i32')} {iota}, {code.splat(narrow, 'i32')}")
        code.store(value, text.offset(result, whole), "u8", mask)
        return []

    text.loop("%begin", "%end", 1, [], piece)
    return text.text()
