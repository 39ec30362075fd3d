"""Box-Muller as in kernels/box_muller.py, to the same bits, with fused multiply-adds."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.compiler import machine
from taper.compiler.expression import Expression, Node
from taper.compiler.llvm_text import FunctionText
from taper.compiler.vector_code import VectorCode
from taper.core.storage import address_of
from taper.kernels import box_muller as definition
from taper.kernels.native import GRAIN, Kernel
from taper.runtime.large_arrays import new_array

__all__ = ["box_muller"]

_F32 = np.dtype(np.float32)
_FLOAT = "f32"
_BITS = "i32"


def _polynomial(e: Expression, x: Node, coefficients: Any) -> Node:
    """The highest power first."""
    result = e.constant(coefficients[0], _FLOAT)
    for c in coefficients[1:]:
        result = e.fma(result, x, e.constant(c, _FLOAT))
    return result


def _radius(e: Expression, k: Node) -> Node:
    """sqrt(-2 log(1 - k 2**-24))."""
    def bits(value: int) -> Node:
        return e.constant(value, _BITS)

    def number(value: float) -> Node:
        return e.constant(value, _FLOAT)

    root_half = bits(int(definition.SQRT_HALF_BITS))
    raw = e.bitcast(e.convert(e.sub(bits(1 << 24), k), _FLOAT), _BITS)
    raw = e.sub(e.sub(raw, root_half), bits(24 << 23))
    exponent = e.convert(e.binary("shr", raw, bits(23)), _FLOAT)
    mantissa = e.add(e.binary("and", raw, bits(0x7FFFFF)), root_half)
    x = e.sub(e.bitcast(mantissa, _FLOAT), number(1))
    y = e.mul(_polynomial(e, x, definition.LOG), x)
    square = e.mul(x, x)
    y = e.fma(y, square, e.mul(exponent, number(definition.LN2_LOW)))
    y = e.sub(y, e.mul(square, number(0.5)))
    log = e.add(e.add(x, y), e.mul(exponent, number(definition.LN2_HIGH)))
    return e.unary("sqrt", e.mul(log, number(-2)))


def _cos_sin(e: Expression, k: Node) -> tuple[Node, Node]:
    """cos and sin of 2π k 2**-24."""
    def bits(value: int) -> Node:
        return e.constant(value, _BITS)

    def number(value: float) -> Node:
        return e.constant(value, _FLOAT)

    turn = np.float32(2 * np.pi) * np.float32(2.0**-24)
    x = e.mul(e.convert(k, _FLOAT), number(turn))
    quarter = e.binary("shr", e.add(k, bits(1 << 21)), bits(22))
    count = e.convert(quarter, _FLOAT)
    for part in definition.HALF_PI:
        x = e.sub(x, e.mul(count, number(part)))
    square = e.mul(x, x)
    cos = e.mul(_polynomial(e, square, definition.COS), square)
    cos = e.fma(cos, square, e.mul(square, number(-0.5)))
    cos = e.add(cos, number(1))
    sin = e.mul(_polynomial(e, square, definition.SIN), square)
    sin = e.fma(sin, x, x)
    # Odd quarters swap the two; quarters 1 and 2 negate cos, 2 and 3 negate sin.
    is_odd = e.compare("ne", e.binary("and", quarter, bits(1)), bits(0))
    first, second = e.select(is_odd, sin, cos), e.select(is_odd, cos, sin)

    def negated(value: Node, turns: Node) -> Node:
        sign = e.binary("shl", e.binary("and", turns, bits(2)), bits(30))
        return e.bitcast(e.binary("xor", e.bitcast(value, _BITS), sign), _FLOAT)

    return negated(first, e.add(quarter, bits(1))), negated(second, quarter)


def _build() -> tuple[str, str]:
    """A kernel on groups of 16 draws: eight of one half, then eight of the other one."""
    e = Expression()
    low = e.constant(0xFFFFFF, _BITS)
    first, second = (e.binary("and", e.input(i, _BITS), low) for i in (0, 1))
    radius = _radius(e, first)
    cos, sin = _cos_sin(e, second)
    results = [e.mul(cos, radius), e.mul(sin, radius)]
    text = FunctionText("normals", machine.host().vector_bytes)
    draws, normals = text.pointer(text.argument(0)), text.pointer(text.argument(1))

    def groups(count: int, stop: str, start: str) -> None:
        """Computes `count` groups at a time, halves with halves."""
        lanes = 8 * count
        halves = [[16 * g + 8 * half + i for g in range(count) for i in range(8)]
                  for half in (0, 1)]
        back = [halves[0].index(i) if i in halves[0] else lanes + halves[1].index(i)
                for i in range(2 * lanes)]
        both = VectorCode(text, 2 * lanes, lambda node: None)

        def some(number: str, _: list[str]) -> list[str]:
            place = text.integer("mul", number, 16)
            found = both.load(text.offset(draws, place, 4), _BITS)
            parts = [_picked(text, both.type(_BITS), found, "poison", half) for half in halves]
            code = VectorCode(text, lanes, lambda n: parts[n.value] if n.op == "input" else None)
            made = [code.of(result) for result in results]
            both.store(_picked(text, code.type(_FLOAT), made[0], made[1], back),
                       text.offset(normals, place, 4), _FLOAT)
            return []

        text.loop(start, stop, count, [], some)

    odd = text.integer("and", text.integer("sub", "%end", "%begin"), 1)
    even = text.integer("sub", "%end", odd)
    groups(2, even, "%begin")
    groups(1, "%end", even)
    return text.text(), "normals"


def _picked(text: FunctionText, kind: str, a: str, b: str, lanes: list[int]) -> str:
    picked = ", ".join(f"i32 {i}" for i in lanes)
    return text.value(f"shufflevector {kind} {a}, {kind} {b}, <{len(lanes)} x i32> <{picked}>")


_kernel = Kernel(_build, 2)
_kernel.exact = True


def box_muller(draws: Any) -> Any:
    """float32 normals from 32-bit draws, or None."""
    address = _kernel.address()
    if address is None:
        return None
    result = new_array((len(draws),), _F32, len(draws))
    _kernel.run(address, [address_of(draws), address_of(result)], len(draws) // 16, GRAIN // 16)
    return result
