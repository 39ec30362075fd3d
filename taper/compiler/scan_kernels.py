"""Kernels of running sums and products, carried in float64, and of running extremes.

The argument block: input and result, both of shape (outer, n, inner) in C order, then n and inner.
Units are rows where `inner` is 1 (lanes are neighbours, added up in three steps, then the sum so
far), else tiles of columns (each lane carries its own).
"""

from __future__ import annotations

from taper.compiler.expression import SIZE_OF, is_float
from taper.compiler.llvm_text import FunctionText
from taper.compiler.vector_code import VectorCode

__all__ = ["TILE", "extreme_kernel", "scan_kernel"]

TILE = 32  # columns of a unit
_LANES = 8  # neighbours that are added up at a time


def scan_kernel(name: str, vector_bytes: int, kind: str, op: str, is_across: bool) -> str:
    """The running `op` ("add" or "mul") of f32 or f64 elements."""
    text = FunctionText(name, vector_bytes)
    source, target, length, width = text.arguments(4)
    write = _across if is_across else _along
    write(text, kind, op, source, target, length, width)
    return text.text()


def _mask(text: FunctionText, lanes: int, left: str) -> str:
    narrow = text.value(f"trunc i64 {left} to i32")
    code = _code(text, lanes)
    iota = f"<{', '.join(f'i32 {i}' for i in range(lanes))}>"
    return text.value(f"icmp slt {code.type('i32')} {iota}, {code.splat(narrow, 'i32')}")


def _code(text: FunctionText, lanes: int) -> VectorCode:
    return VectorCode(text, lanes, lambda node: None)


def _load(code: VectorCode, pointer: str, kind: str, mask: str) -> str:
    found = code.load(pointer, kind, mask)
    if kind == "f64":
        return found
    return code.text.value(f"fpext {code.type(kind)} {found} to {code.type('f64')}")


def _store(code: VectorCode, value: str, pointer: str, kind: str, mask: str) -> None:
    if kind != "f64":
        value = code.text.value(f"fptrunc {code.type('f64')} {value} to {code.type(kind)}")
    code.store(value, pointer, kind, mask)


def _along(
    text: FunctionText, kind: str, op: str, source: str, target: str, length: str, width: str
) -> None:
    neutral = "0x0000000000000000" if op == "add" else "0x3FF0000000000000"
    code = _code(text, _LANES)
    whole = code.type("f64")
    size = SIZE_OF[kind]

    def row(number: str, _: list[str]) -> list[str]:
        start = text.integer("mul", text.integer("mul", number, length), size)
        x = text.pointer(text.integer("add", source, start))
        y = text.pointer(text.integer("add", target, start))

        def step(index: str, carried: list[str]) -> list[str]:
            mask = _mask(text, _LANES, text.integer("sub", length, index))
            value = _load(code, text.offset(x, index, size), kind, mask)
            for distance in (1, 2, 4):
                picked = ", ".join(
                    f"i32 {i - distance if i >= distance else _LANES}" for i in range(_LANES))
                moved = text.value(
                    f"shufflevector {whole} {value}, {whole} splat (double {neutral}), "
                    f"<{_LANES} x i32> <{picked}>")
                value = text.value(f"f{op} {whole} {value}, {moved}")
            value = text.value(f"f{op} {whole} {value}, {carried[0]}")
            _store(code, value, text.offset(y, index, size), kind, mask)
            last = ", ".join(f"i32 {_LANES - 1}" for _ in range(_LANES))
            return [text.value(f"shufflevector {whole} {value}, {whole} poison, "
                               f"<{_LANES} x i32> <{last}>")]

        text.loop("0", length, _LANES, [(whole, f"splat (double {neutral})")], step)
        return []

    text.loop("%begin", "%end", 1, [], row)


def _across(
    text: FunctionText, kind: str, op: str, source: str, target: str, length: str, width: str
) -> None:
    neutral = "0x0000000000000000" if op == "add" else "0x3FF0000000000000"
    code = _code(text, TILE)
    whole = code.type("f64")
    size = SIZE_OF[kind]
    tiles = text.integer("udiv", text.integer("add", width, TILE - 1), TILE)
    step_bytes = text.integer("mul", width, size)
    plane = text.integer("mul", step_bytes, length)

    def unit(number: str, _: list[str]) -> list[str]:
        column = text.integer("mul", text.integer("urem", number, tiles), TILE)
        mask = _mask(text, TILE, text.integer("sub", width, column))
        start = text.integer("add", text.integer("mul", text.integer("udiv", number, tiles), plane),
                             text.integer("mul", column, size))
        x = text.pointer(text.integer("add", source, start))
        y = text.pointer(text.integer("add", target, start))

        def step(index: str, carried: list[str]) -> list[str]:
            down = text.integer("mul", index, step_bytes)
            value = _load(code, text.offset(x, down), kind, mask)
            value = text.value(f"f{op} {whole} {value}, {carried[0]}")
            _store(code, value, text.offset(y, down), kind, mask)
            return [value]

        text.loop("0", length, 1, [(whole, f"splat (double {neutral})")], step)
        return []

    text.loop("%begin", "%end", 1, [], unit)


def extreme_kernel(name: str, vector_bytes: int, kind: str, op: str, is_across: bool) -> str:
    """The running largest ("ge") or smallest ("le") elements and their int64 places, the last of
    equal ones; NaN stays. The argument block: input, values, places, n and inner."""
    text = FunctionText(name, vector_bytes)
    source, values, places, length, width = text.arguments(5)
    lanes = TILE if is_across else 1
    code = _code(text, lanes)
    whole, indices, bits = code.type(kind), code.type("i64"), code.type("b1")
    size = SIZE_OF[kind]
    tiles = text.integer("udiv", text.integer("add", width, lanes - 1), lanes)

    def unit(number: str, _: list[str]) -> list[str]:
        column = text.integer("mul", text.integer("urem", number, tiles), lanes)
        mask = _mask(text, lanes, text.integer("sub", width, column)) if is_across else None
        plane = text.integer("mul", text.integer("udiv", number, tiles), length)
        first = text.integer("add", text.integer("mul", plane, width), column)

        def at(address: str, index: str, item: int) -> str:
            place = text.integer("add", first, text.integer("mul", index, width))
            return text.offset(text.pointer(address), place, item)

        def store(index: str, best: str, place: str) -> None:
            code.store(best, at(values, index, size), kind, mask)
            code.store(place, at(places, index, 8), "i64", mask)

        def step(index: str, carried: list[str]) -> list[str]:
            best, place = carried
            new = code.load(at(source, index, size), kind, mask)
            wins = code.compare(op, kind, new, best)
            if is_float(kind):
                is_nan = code.compare("ne", kind, new, new)
                wins = text.value(f"or {bits} {wins}, {is_nan}")
            here = code.splat(index, "i64")
            best = text.value(f"select {bits} {wins}, {whole} {new}, {whole} {best}")
            place = text.value(f"select {bits} {wins}, {indices} {here}, {indices} {place}")
            store(index, best, place)
            return [best, place]

        begin = code.load(at(source, "0", size), kind, mask)
        zero = code.constant(0, "i64")
        store("0", begin, zero)
        text.loop("1", length, 1, [(whole, begin), (indices, zero)], step)
        return []

    text.loop("%begin", "%end", 1, [], unit)
    return text.text()
