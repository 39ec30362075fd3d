"""Kernels that add, or put, where an index says. An index that is out of range is not followed: it
sets a flag, and whoever launched the kernel says what was wrong.

Results don't depend on the number of threads: what one unit adds, it adds in order, and no two
units write to the same place.

`element_adder`: the argument block has tables, index, values, flag; how many places a table has,
how many indices there are and how many a unit takes. Each unit has a table of its own; the first
one's is there already, the others begin with zeros.

`line_writer`: lines of a table, along memory, each with a line of indices and of values, which are
added or put there. The argument block has the table, index, values, flag; how long the table's
lines and the others are. A unit is a line.

`row_adder`: the argument block has a table, index, rows, flag; how many rows the table has, how
many indices there are, and how many elements a row has. A unit is `row_tile` columns.
"""

from __future__ import annotations

from collections.abc import Callable

from taper.compiler.expression import SIZE_OF, is_float
from taper.compiler.llvm_text import FunctionText
from taper.compiler.vector_code import VectorCode

__all__ = ["element_adder", "line_writer", "row_adder", "row_tile"]


def _code(text: FunctionText, lanes: int) -> VectorCode:
    return VectorCode(text, lanes, lambda node: None)


def _sum(code: VectorCode, kind: str, a: str, b: str) -> str:
    op = "fadd" if is_float(kind) else "add"
    return code.text.value(f"{op} {code.type(kind)} {a}, {b}")


def _at_index(
    text: FunctionText, index: str, at: str, places: str, flag: str, then: Callable[[str], None]
) -> None:
    """Calls `then` with index `at` to write what is done with it, if that is in range."""
    wanted = text.value(f"load i64, ptr {text.offset(index, at, 8)}")
    text.either(text.value(f"icmp ult i64 {wanted}, {places}"),
                lambda: then(wanted),
                lambda: text.add(f"store i64 1, ptr {flag}"))


def element_adder(name: str, vector_bytes: int, kind: str) -> str:
    """Adds single elements."""
    text = FunctionText(name, vector_bytes)
    tables, index, values, flag, places, count, each = text.arguments(7)
    index, values, flag = text.pointer(index), text.pointer(values), text.pointer(flag)
    size = SIZE_OF[kind]
    lanes = vector_bytes // size
    one, many = _code(text, 1), _code(text, lanes)

    def unit(number: str, _: list[str]) -> list[str]:
        start = text.integer("mul", text.integer("mul", number, places), size)
        table = text.pointer(text.integer("add", tables, start))

        def clear(at: str, _: list[str]) -> list[str]:
            left = text.value(f"trunc i64 {text.integer('sub', places, at)} to i32")
            iota = f"<{', '.join(f'i32 {i}' for i in range(lanes))}>"
            mask = text.value(f"icmp slt {many.type('i32')} {iota}, {many.splat(left, 'i32')}")
            many.store(many.constant(0, kind), text.offset(table, at, size), kind, mask)
            return []

        is_later = text.value(f"icmp ne i64 {number}, 0")
        to_clear = text.value(f"select i1 {is_later}, i64 {places}, i64 0")
        text.loop("0", to_clear, lanes, [], clear)
        begin = text.integer("mul", number, each)
        end = text.least(text.integer("add", begin, each), count)

        def element(at: str, _: list[str]) -> list[str]:
            def add(wanted: str) -> None:
                place = text.offset(table, wanted, size)
                value = one.load(text.offset(values, at, size), kind)
                one.store(_sum(one, kind, one.load(place, kind), value), place, kind)

            _at_index(text, index, at, places, flag, add)
            return []

        text.loop(begin, end, 1, [], element)
        return []

    text.loop("%begin", "%end", 1, [], unit)
    return text.text()


def line_writer(name: str, vector_bytes: int, kind: str, adds: bool) -> str:
    """Adds or puts elements of lines, one after the other."""
    text = FunctionText(name, vector_bytes)
    table, index, values, flag, places, count = text.arguments(6)
    flag = text.pointer(flag)
    size = SIZE_OF[kind]
    one = _code(text, 1)

    def line(number: str, _: list[str]) -> list[str]:
        def own(address: str, length: str, item: int) -> str:
            start = text.integer("mul", text.integer("mul", number, length), item)
            return text.pointer(text.integer("add", address, start))

        target, source, where = own(table, places, size), own(values, count, size), own(
            index, count, 8)

        def element(at: str, _: list[str]) -> list[str]:
            def write(wanted: str) -> None:
                place = text.offset(target, wanted, size)
                value = one.load(text.offset(source, at, size), kind)
                if adds:
                    value = _sum(one, kind, one.load(place, kind), value)
                one.store(value, place, kind)

            _at_index(text, where, at, places, flag, write)
            return []

        text.loop("0", count, 1, [], element)
        return []

    text.loop("%begin", "%end", 1, [], line)
    return text.text()


def row_tile(vector_bytes: int, kind: str) -> int:
    """How many columns a unit of `row_adder` has."""
    return 4 * vector_bytes // SIZE_OF[kind]


def row_adder(name: str, vector_bytes: int, kind: str) -> str:
    """Adds rows."""
    text = FunctionText(name, vector_bytes)
    table, index, rows, flag, places, count, width = text.arguments(7)
    index, flag = text.pointer(index), text.pointer(flag)
    size, tile = SIZE_OF[kind], row_tile(vector_bytes, kind)
    code = _code(text, tile)
    pitch = text.integer("mul", width, size)
    iota = f"<{', '.join(f'i32 {i}' for i in range(tile))}>"

    def unit(number: str, _: list[str]) -> list[str]:
        first = text.integer("mul", number, tile)
        left = text.value(f"trunc i64 {text.integer('sub', width, first)} to i32")
        mask = text.value(f"icmp slt {code.type('i32')} {iota}, {code.splat(left, 'i32')}")
        start = text.integer("mul", first, size)
        target = text.pointer(text.integer("add", table, start))
        source = text.pointer(text.integer("add", rows, start))

        def row(at: str, _: list[str]) -> list[str]:
            def add(wanted: str) -> None:
                place = text.offset(target, text.integer("mul", wanted, pitch))
                own = text.offset(source, text.integer("mul", at, pitch))
                total = _sum(code, kind, code.load(place, kind, mask), code.load(own, kind, mask))
                code.store(total, place, kind, mask)

            _at_index(text, index, at, places, flag, add)
            return []

        text.loop("0", count, 1, [], row)
        return []

    text.loop("%begin", "%end", 1, [], unit)
    return text.text()
