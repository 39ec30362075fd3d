"""Kernels of running sums and products, carried in float64.

The argument block: input and result, both of shape (outer, n, inner) in C order, then n and inner.
Units are rows where `inner` is 1 (lanes are neighbours, added up in three steps, then the sum so
far), else tiles of columns (each lane carries its own).
"""

from __future__ import annotations

from taper.compiler.expression import SIZE_OF
from taper.compiler.llvm_text import FunctionText
from taper.compiler.vector_code import VectorCode

__all__ = ["TILE", "scan_kernel"]

TILE = 32  # columns of a unit
_LANES = 8  # neighbours that are added up at a time


def scan_kernel(name: str, vector_bytes: int, kind: str, op: str, is_across: bool) -> str:
    """The running `op` ("add" or "mul") of f32 or f64 elements."""
    text = FunctionText(name, vector_bytes)
    source, target, length, width = (text.argument(i) for i in range(4))
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
