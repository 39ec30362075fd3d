"""Kernels that read where an index says. An index that is out of range is not followed: it sets a
flag, and whoever launched the kernel says what was wrong.

`row_picker`: result (outer, m, inner) of x (outer, n, inner) and an index of m rows. The argument
block: x, index, result, flag; n, m and the bytes of a row. Units are the result's rows.

`element_picker`: result and index (outer, m, inner), x (outer, n, inner). The argument block:
x, index, result, flag; n, m and inner. Units are lines of the result: of `inner` elements, or of
m where `inner` is 1.
"""

from __future__ import annotations

from taper.compiler.expression import SIZE_OF
from taper.compiler.llvm_text import FunctionText
from taper.compiler.vector_code import VectorCode, memory_type

__all__ = ["copy_bytes", "element_picker", "row_picker"]

_LANES = 8  # indices that are looked at together


def _code(text: FunctionText, lanes: int) -> VectorCode:
    return VectorCode(text, lanes, lambda node: None)


def _mask(text: FunctionText, lanes: int, left: str) -> str:
    # Lengths are compared as they are: a line may have more elements than 32 bits can say.
    code = _code(text, lanes)
    iota = f"<{', '.join(f'i64 {i}' for i in range(lanes))}>"
    return text.value(f"icmp slt {code.type('i64')} {iota}, {code.splat(left, 'i64')}")


def copy_bytes(text: FunctionText, source: str, target: str, size: str) -> None:
    """Copies `size` bytes between pointers, a vector at a time."""
    lanes = text.vector_bytes
    code = _code(text, lanes)

    def part(at: str, _: list[str]) -> list[str]:
        value = code.load(text.offset(source, at), "u8")
        code.store(value, text.offset(target, at), "u8")
        return []

    def rest(at: str, _: list[str]) -> list[str]:
        mask = _mask(text, lanes, text.integer("sub", size, at))
        value = code.load(text.offset(source, at), "u8", mask)
        code.store(value, text.offset(target, at), "u8", mask)
        return []

    whole = text.integer("sub", size, text.integer("urem", size, lanes))
    text.loop("0", whole, lanes, [], part)
    text.loop(whole, size, lanes, [], rest)


def row_picker(name: str, vector_bytes: int) -> str:
    """Copies whole rows, as bytes."""
    text = FunctionText(name, vector_bytes)
    x, index, result, flag, n, m, size = text.arguments(7)
    flag = text.pointer(flag)
    block = text.integer("mul", n, size)

    def row(number: str, _: list[str]) -> list[str]:
        outer, place = text.integer("udiv", number, m), text.integer("urem", number, m)
        start = text.offset(text.pointer(index), place, 8)
        wanted = text.value(f"load i64, ptr {start}")
        source = text.integer("add", x, text.integer("mul", outer, block))
        source = text.pointer(text.integer("add", source, text.integer("mul", wanted, size)))
        target = text.pointer(text.integer("add", result, text.integer("mul", number, size)))

        text.either(text.value(f"icmp ult i64 {wanted}, {n}"),
                    lambda: copy_bytes(text, source, target, size),
                    lambda: text.add(f"store i64 1, ptr {flag}"))
        return []

    text.loop("%begin", "%end", 1, [], row)
    return text.text()


def element_picker(name: str, vector_bytes: int, kind: str, is_across: bool) -> str:
    """Picks single elements; `is_across`: the index counts rows, whose elements are `inner`."""
    text = FunctionText(name, vector_bytes)
    x, index, result, flag, n, m, inner = text.arguments(7)
    flag = text.pointer(flag)
    size = SIZE_OF[kind]
    block = text.integer("mul", text.integer("mul", n, inner), size)
    length = inner if is_across else m
    code = _code(text, _LANES)
    indices, bits = code.type("i64"), code.type("b1")
    iota = f"<{', '.join(f'i64 {i}' for i in range(_LANES))}>"

    def line(number: str, _: list[str]) -> list[str]:
        outer = text.integer("udiv", number, m) if is_across else number
        start = text.integer("mul", number, length)
        source = text.pointer(text.integer("add", x, text.integer("mul", outer, block)))

        def pick(at: str, bad: list[str]) -> list[str]:
            mask = _mask(text, _LANES, text.integer("sub", length, at))
            here = text.integer("add", start, at)
            wanted = code.load(text.offset(text.pointer(index), here, 8), "i64", mask)
            is_valid = text.value(f"icmp ult {indices} {wanted}, {code.splat(n, 'i64')}")
            allowed = text.value(f"and {bits} {mask}, {is_valid}")
            if is_across:
                wanted = text.value(f"mul {indices} {wanted}, {code.splat(inner, 'i64')}")
                wanted = text.value(f"add {indices} {wanted}, {code.splat(at, 'i64')}")
                wanted = text.value(f"add {indices} {wanted}, {iota}")
            memory = memory_type(kind)
            element = {1: "i8", 2: "i16", 4: "i32", 8: "i64"}[size]
            places = text.value(f"getelementptr {element}, ptr {source}, {indices} {wanted}")
            found = code.gather_from(places, memory, size, allowed)
            code.store(found, text.offset(text.pointer(result), here, size),
                       "u8" if kind == "b1" else kind, mask)
            wrong = text.value(f"xor {bits} {allowed}, {mask}")
            return [text.value(f"or {bits} {bad[0]}, {wrong}")]

        (bad,) = text.loop("0", length, _LANES, [(bits, "zeroinitializer")], pick)
        some = text.value(f"bitcast {bits} {bad} to i{_LANES}")
        text.either(text.value(f"icmp eq i{_LANES} {some}, 0"), lambda: None,
                    lambda: text.add(f"store i64 1, ptr {flag}"))
        return []

    text.loop("%begin", "%end", 1, [], line)
    return text.text()
