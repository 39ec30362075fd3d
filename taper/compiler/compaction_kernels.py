"""Kernels that keep what a mask of bools says, in two walks.

`counter`: how many are True in each block of BLOCK. The argument block: mask, counts, length.
`packer`: what is kept. The argument block: mask, elements, result, where in the result each block
begins, length. The elements are places (int64) where there are none to pick from.
"""

from __future__ import annotations

from collections.abc import Callable

from taper.compiler.expression import SIZE_OF
from taper.compiler.llvm_text import FunctionText
from taper.compiler.vector_code import VectorCode

__all__ = ["BLOCK", "counter", "packer"]

BLOCK = 16384


def _bits(code: VectorCode, mask: str, at: str, left: str) -> str:
    """Which of the next elements exist and are True."""
    text, lanes = code.text, code.lanes
    narrow = text.value(f"trunc i64 {left} to i32")
    iota = f"<{', '.join(f'i32 {i}' for i in range(lanes))}>"
    exists = text.value(f"icmp slt {code.type('i32')} {iota}, {code.splat(narrow, 'i32')}")
    return code.load(text.offset(mask, at), "b1", exists)


def _count(text: FunctionText, bits: str, lanes: int) -> str:
    kind = f"i{lanes}"
    packed = text.value(f"bitcast <{lanes} x i1> {bits} to {kind}")
    count = text.intrinsic(kind, f"llvm.ctpop.{kind}", [(kind, packed)])
    return count if lanes == 64 else text.value(f"zext {kind} {count} to i64")


def _blocks(
    text: FunctionText, length: str, lanes: int, first: Callable[[str], str],
    step: Callable[[str, str, str], str], last: Callable[[str, str], None],
) -> None:
    """Walks blocks, carrying a number: first(block), then step(at, left, number), last(block,
    number)."""
    def block(number: str, _: list[str]) -> list[str]:
        begin = text.integer("mul", number, BLOCK)
        end = text.least(text.integer("add", begin, BLOCK), length)

        def some(at: str, carried: list[str]) -> list[str]:
            return [step(at, text.integer("sub", end, at), carried[0])]

        (found,) = text.loop(begin, end, lanes, [("i64", first(number))], some)
        last(number, found)
        return []

    text.loop("%begin", "%end", 1, [], block)


def counter(name: str, vector_bytes: int) -> str:
    """Counts what is True."""
    text = FunctionText(name, vector_bytes)
    mask, counts, length = text.arguments(3)
    mask, counts = text.pointer(mask), text.pointer(counts)
    code = VectorCode(text, vector_bytes, lambda node: None)

    def step(at: str, left: str, number: str) -> str:
        found = _count(text, _bits(code, mask, at, left), vector_bytes)
        return text.integer("add", number, found)

    def last(block: str, number: str) -> None:
        text.add(f"store i64 {number}, ptr {text.offset(counts, block, 8)}")

    _blocks(text, length, vector_bytes, lambda block: "0", step, last)
    return text.text()


def packer(name: str, vector_bytes: int, kind: str | None) -> str:
    """Keeps elements of a kind, i32 or i64, or places."""
    text = FunctionText(name, vector_bytes)
    mask, elements, result, starts, length = text.arguments(5)
    mask, elements, result, starts = map(text.pointer, (mask, elements, result, starts))
    size = SIZE_OF[kind or "i64"]
    lanes = max(8, vector_bytes // size)
    code = VectorCode(text, lanes, lambda node: None)
    whole = code.type(kind or "i64")
    iota = f"<{', '.join(f'i64 {i}' for i in range(lanes))}>"

    def first(block: str) -> str:
        return text.value(f"load i64, ptr {text.offset(starts, block, 8)}")

    def step(at: str, left: str, number: str) -> str:
        bits = _bits(code, mask, at, left)
        if kind is None:
            values = text.value(f"add {whole} {code.splat(at, 'i64')}, {iota}")
        else:
            values = code.load(text.offset(elements, at, size), kind, bits)
        text.intrinsic("void", f"llvm.masked.compressstore.v{lanes}{kind or 'i64'}", [
            (whole, values), ("ptr", text.offset(result, number, size)), (code.type("b1"), bits)])
        return text.integer("add", number, _count(text, bits, lanes))

    _blocks(text, length, lanes, first, step, lambda block, number: None)
    return text.text()
