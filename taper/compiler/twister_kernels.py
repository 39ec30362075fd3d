"""The Mersenne Twister's numbers, a vector at a time.

Its states are one stream of words in which each follows from words 624, 623 and 227 before it, so
a vector's worth of them can be computed at once. Source: Matsumoto and Nishimura, Mersenne Twister
(1998).
"""

from __future__ import annotations

from taper.compiler.llvm_text import FunctionText
from taper.compiler.vector_code import VectorCode

__all__ = ["BLOCK", "twister"]

BLOCK = 624
_MIDDLE = 397
_LANES = 16  # which divide BLOCK
_MATRIX = 0x9908B0DF - (1 << 32)
_UPPER, _LOWER = -(1 << 31), (1 << 31) - 1


def twister(name: str, vector_bytes: int) -> str:
    """The kernel. The argument block: the stream, which begins with BLOCK words of state and has
    room for more; where the numbers go. Units are numbers, by multiples of BLOCK, all at once."""
    text = FunctionText(name, vector_bytes)
    stream, numbers = text.pointer(text.argument(0)), text.pointer(text.argument(1))
    code = VectorCode(text, _LANES, lambda node: None)
    whole = code.type("i32")

    def load(at: str, ahead: int) -> str:
        return code.load(text.offset(stream, text.integer("add", at, ahead), 4), "i32")

    def op(name: str, a: str, b: str | int) -> str:
        return text.value(f"{name} {whole} {a}, {b if isinstance(b, str) else constant(b)}")

    def constant(value: int) -> str:
        return code.constant(value if value < 1 << 31 else value - (1 << 32), "i32")

    def step(at: str, _: list[str]) -> list[str]:
        first, second = load(at, 0), load(at, 1)
        joined = op("or", op("and", first, _UPPER), op("and", second, _LOWER))
        odd = op("sub", constant(0), op("and", second, 1))
        turned = op("xor", op("lshr", joined, 1), op("and", odd, _MATRIX))
        new = op("xor", load(at, _MIDDLE), turned)
        code.store(new, text.offset(stream, text.integer("add", at, BLOCK), 4), "i32")
        y = op("xor", new, op("lshr", new, 11))
        y = op("xor", y, op("and", op("shl", y, 7), 0x9D2C5680))
        y = op("xor", y, op("and", op("shl", y, 15), 0xEFC60000))
        code.store(op("xor", y, op("lshr", y, 18)), text.offset(numbers, at, 4), "i32")
        return []

    text.loop("%begin", "%end", _LANES, [], step)
    return text.text()
