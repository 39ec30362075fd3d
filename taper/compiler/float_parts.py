"""Floats taken apart: whole numbers nearby, exponents and mantissas, and the limits of a range."""

from __future__ import annotations

from taper.compiler.expression import Expression, Node

__all__ = ["LAYOUT", "Scaling", "power_of_two", "rounded", "scaled", "split", "to_range"]

LAYOUT = {"f32": ("i32", 23, 127), "f64": ("i64", 52, 1023)}
"""Of the two types: (bits type, mantissa bits, exponent bias)."""


class Scaling(Expression):
    """An expression for processors that multiply by powers of two in one instruction."""


def to_range(e: Expression, x: Node, low: float, high: float) -> Node:
    """x limited to [low, high]; NaN stays."""
    top, bottom = e.constant(high, x.type), e.constant(low, x.type)
    x = e.select(e.compare("gt", x, top), top, x)
    return e.select(e.compare("lt", x, bottom), bottom, x)


def rounded(e: Expression, x: Node) -> tuple[Node, Node]:
    """The nearest integer to x, |x| < 2**21, as a float and as an integer of the same size."""
    bits, mantissa, _ = LAYOUT[x.type]
    magic = e.constant(1.5 * 2.0**mantissa, x.type)
    shifted = e.add(x, magic)
    integer = e.binary("sub", e.bitcast(shifted, bits), e.bitcast(magic, bits))
    return e.sub(shifted, magic), integer


def power_of_two(e: Expression, n: Node, kind: str) -> Node:
    """2**n as a float, for n in the range of normal exponents."""
    bits, mantissa, bias = LAYOUT[kind]
    biased = e.add(n, e.constant(bias, bits))
    return e.bitcast(e.binary("shl", biased, e.constant(mantissa, bits)), kind)


def scaled(e: Expression, x: Node, whole: Node, n: Node) -> Node:
    """x * 2**n, where `whole` is n as a float. In two steps, each of which has a normal exponent:
    only the last one rounds."""
    if isinstance(e, Scaling):
        return e.make("scale", (x, whole), x.type)
    half = e.binary("shr", n, e.constant(1, n.type))
    rest = e.sub(n, half)
    x = e.mul(x, power_of_two(e, half, x.type))
    return e.mul(x, power_of_two(e, rest, x.type))


def split(e: Expression, x: Node) -> tuple[Node, Node]:
    """m in [sqrt(1/2), sqrt(2)) and n, a float, with x = m 2**n, for positive finite x."""
    kind = x.type
    bits, mantissa, bias = LAYOUT[kind]
    least = 2.0 ** (1 - bias)
    is_small = e.compare("lt", x, e.constant(least, kind))
    x = e.select(is_small, e.mul(x, e.constant(2.0**mantissa, kind)), x)
    raw = e.bitcast(x, bits)
    # Counted from sqrt(1/2), the exponent field is that of m.
    offset = e.constant(_bits_of_root_half(kind), bits)
    shifted = e.sub(raw, offset)
    n = e.binary("shr", shifted, e.constant(mantissa, bits))
    fraction = e.binary("and", shifted, e.constant((1 << mantissa) - 1, bits))
    m = e.bitcast(e.add(fraction, offset), kind)
    exponent = _small_integer_as_float(e, n, kind)
    lowered_by = e.constant(float(mantissa), kind)
    return m, e.select(is_small, e.sub(exponent, lowered_by), exponent)


def _bits_of_root_half(kind: str) -> int:
    return 0x3F3504F3 if kind == "f32" else 0x3FE6A09E667F3BCD


def _small_integer_as_float(e: Expression, n: Node, kind: str) -> Node:
    """An integer of few digits as a float of its size, without a conversion instruction."""
    bits, mantissa, _ = LAYOUT[kind]
    if kind == "f32":
        return e.convert(n, kind)
    magic = e.constant(1.5 * 2.0**mantissa, kind)
    return e.sub(e.bitcast(e.add(n, e.bitcast(magic, bits)), kind), magic)
