"""Sines, cosines and tangents of angles of any size, as arithmetic.

Angles are reduced to x - n pi/2 with pi/2 in three parts. By products that are rounded once (`fma`)
the first difference is exact, and what the second loses is kept. Angles above
`LARGEST` are reduced by the bits of 2/pi that matter for their exponents, after M. Payne and
R. Hanek, Radian reduction for trigonometric functions (1983); they are a rare case.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

from taper.compiler.expression import Expression, Node, RareCase
from taper.compiler.float_parts import LAYOUT
from taper.compiler.polynomials import polynomial, product, two_sum

__all__ = ["LARGEST", "cosine", "sine", "tangent"]

LARGEST = {"f32": 1e5, "f64": 1e9}
"""Angles above are a rare case."""

_HALF_PI = {
    "f32": (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    "f64": (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
}
# (sin(r) / r - 1) / r^2 and (cos(r) - 1 + r^2 / 2) / r^4, in r^2, on [0, pi / 4]
_SIN = {
    "f32": (-0.16666666663556465, 0.00833333175998571, -0.00019840025546557762,
            2.724209211867588e-06),
    "f64": (-0.16666666666666666, 0.008333333333333331, -0.0001984126984126504,
            2.755731921932058e-06, -2.50521062259944e-08, 1.6058530596645953e-10,
            -7.586636882825159e-13),
}
_COS = {
    "f32": (0.04166666450159036, -0.0013888272730454862, 2.4541476931007875e-05),
    "f64": (0.041666666666666664, -0.0013888888888888887, 2.4801587301584632e-05,
            -2.755731922139249e-07, 2.0876755787492604e-09, -1.1470460319209511e-11,
            4.745838412531023e-14),
}
_TINY = {"f32": 2.0**-12, "f64": 2.0**-27}  # below it, angles are their own sines


def _reduced(e: Expression, x: Node) -> tuple[Node, Node, Node]:
    """r + l in [-pi/4, pi/4], l being what rounding r lost, and n, an integer, with
    x = n pi/2 + r + l."""
    kind = x.type
    bits, mantissa, _ = LAYOUT[kind]
    magic = e.constant(1.5 * 2.0**mantissa, kind)
    shifted = e.add(e.mul(x, e.constant(2 / math.pi, kind)), magic)
    n = e.sub(shifted, magic)
    high, middle, low = [e.constant(part, kind) for part in _HALF_PI[kind]]
    exact = e.fma(e.neg(n), high, x)
    step = e.mul(n, middle)
    close = e.sub(exact, step)
    rest = e.fma(n, low, e.fma(n, middle, e.neg(step)))
    lost = e.sub(e.sub(e.sub(exact, close), step), rest)
    r = e.add(close, lost)
    return r, e.add(e.sub(close, r), lost), e.bitcast(shifted, bits)


_WINDOW = 32  # exponents that share the same bits of 2/pi
_FIRST, _END = 1024 // _WINDOW, 2048 // _WINDOW  # windows of exponents, of numbers from 2 on
_DIGITS, _KEPT = 1400, 210  # of 2/pi, and of what is in the table; all behind the point


@cache
def _bits_of_two_over_pi() -> tuple[tuple[float, ...], ...]:
    """For each window 2/pi * 2**(its least exponent - 52), without the multiples of 4, which whole
    numbers make whole turns: in four parts of 53 bits."""
    parts: tuple[list[float], ...] = ([], [], [], [])
    inverse = _two_over_pi()
    for window in range(_FIRST, _END):
        exponent = window * _WINDOW - 1023 - 52
        rest = (inverse >> (_DIGITS - _KEPT - exponent)) & ((4 << _KEPT) - 1)
        for place, part in enumerate(parts):
            unit = 51 + 53 * place
            part.append(math.ldexp(rest >> (_KEPT - unit), -unit))
            rest &= (1 << (_KEPT - unit)) - 1
    return tuple(map(tuple, parts))


def _two_over_pi() -> int:
    """2/pi * 2**_DIGITS, by the arithmetic-geometric mean (Gauss, Legendre)."""
    precise = _DIGITS + 40
    one = 1 << precise
    a, b, t, k = one, math.isqrt(one * one // 2), one // 4, 0
    while abs(a - b) > 1:
        mean = (a + b) // 2
        t -= ((a - mean) ** 2 >> precise) << k
        a, b, k = mean, math.isqrt(a * b), k + 1
    pi = (a + b) ** 2 // (4 * t)
    return (2 << (_DIGITS + precise)) // pi


def _reduced_by_bits(e: Expression, x: Node) -> tuple[Node, Node, Node]:
    """As `_reduced`, for float64 of any size above 2."""
    def parted(number: Node) -> tuple[Node, Node]:
        whole = e.unary("round", number)
        return whole, e.sub(number, whole)

    def integer(value: int) -> Node:
        return e.constant(value, "i64")

    bits = e.bitcast(x, "i64")
    window = e.binary("shr", bits, integer(52 + 5))
    first, second, third, fourth = [e.lookup(table, window) for table in _bits_of_two_over_pi()]
    # x times a power of two: the sign, and 53 bits with up to 31 zeros behind them
    inside = e.binary("and", bits, integer(-(1 << 63) | ((_WINDOW << 52) - 1)))
    whole = e.bitcast(e.add(inside, integer((1023 + 52) << 52)), "f64")
    top, below_top = product(e, whole, first)
    turns = e.unary("round", e.mul(top, e.constant(0.25, "f64")))
    n1, a = parted(e.fma(e.constant(-4.0, "f64"), turns, top))
    n2, b = parted(below_top)
    middle, below_middle = product(e, whole, second)
    n3, c = parted(middle)
    bottom, below_bottom = product(e, whole, third)
    high, low = two_sum(e, a, b)
    for part in (c, below_middle, bottom):
        high, lost = two_sum(e, high, part)
        low = e.add(low, lost)
    low = e.add(low, e.fma(whole, fourth, below_bottom))
    n4, high = parted(high)
    high, low = two_sum(e, high, low)
    half_pi, rest = [e.constant(part, "f64") for part in _HALF_PI["f64"][:2]]
    r = e.mul(high, half_pi)
    lost = e.fma(high, rest, e.fma(low, half_pi, e.fma(high, half_pi, e.neg(r))))
    n = e.add(e.add(n1, n2), e.add(n3, n4))
    return r, lost, e.bitcast(e.add(n, e.constant(1.5 * 2.0**52, "f64")), "i64")


class _Quarter:
    """Sine and cosine of r + l, each as a number and what is to be added to it."""

    def __init__(self, e: Expression, r: Node, lost: Node) -> None:
        kind = r.type
        square = e.mul(r, r)
        one, half = e.constant(1.0, kind), e.mul(square, e.constant(0.5, kind))
        start = e.sub(one, half)
        curve = e.mul(e.mul(r, square), polynomial(e, square, _SIN[kind]))
        self.sine = r, e.fma(lost, start, curve)
        curve = e.fma(e.mul(square, square), polynomial(e, square, _COS[kind]),
                      e.neg(e.mul(r, lost)))
        self.cosine = start, e.add(e.sub(e.sub(one, start), half), curve)


def _has_bit(e: Expression, n: Node, bit: int) -> Node:
    masked = e.binary("and", n, e.constant(bit, n.type))
    return e.compare("ne", masked, e.constant(0, n.type))


def _sine_of(e: Expression, r: Node, lost: Node, n: Node) -> Node:
    quarter = _Quarter(e, r, lost)
    found = e.select(_has_bit(e, n, 1), e.add(*quarter.cosine), e.add(*quarter.sine))
    return e.select(_has_bit(e, n, 2), e.neg(found), found)


def _cosine_of(e: Expression, r: Node, lost: Node, n: Node) -> Node:
    return _sine_of(e, r, lost, e.add(n, e.constant(1, n.type)))


def _tangent_of(e: Expression, r: Node, lost: Node, n: Node) -> Node:
    """sine / cosine, or cosine / -sine, with what rounding both has lost."""
    quarter = _Quarter(e, r, lost)
    sine, cosine = two_sum(e, *quarter.sine), two_sum(e, *quarter.cosine)
    is_odd = _has_bit(e, n, 1)
    above = [e.select(is_odd, c, s) for s, c in zip(sine, cosine, strict=True)]
    below = [e.select(is_odd, e.neg(s), c) for s, c in zip(sine, cosine, strict=True)]
    inverse = e.div(e.constant(1.0, r.type), below[0])
    found = e.mul(above[0], inverse)
    minus = e.neg(found)
    rest = e.add(e.fma(minus, below[0], above[0]), e.fma(minus, below[1], above[1]))
    return e.fma(rest, inverse, found)


_Function = Callable[[Expression, Node, Node, Node], Node]


@cache
def _large(name: str, function: _Function, kind: str) -> RareCase:
    e = Expression()
    x = e.convert(e.input(0, kind), "f64")
    e.results.append(e.convert(function(e, *_reduced_by_bits(e, x)), kind))
    return RareCase(f"{name}_of_large_{kind}", e)


def _of_angles(name: str, function: _Function, is_odd: bool) -> Callable[[Expression, Node], Node]:
    def definition(e: Expression, x: Node) -> Node:
        kind = x.type
        found = function(e, *_reduced(e, x))
        size = e.unary("abs", x)
        if is_odd:
            tiny = e.compare("lt", size, e.constant(_TINY[kind], kind))
            found = e.select(tiny, x, found)
        is_large = e.binary("and", e.compare("gt", size, e.constant(LARGEST[kind], kind)),
                            e.compare("lt", size, e.constant(math.inf, kind)))
        return e.rarely(is_large, _large(name, function, kind), found, x)

    return definition


sine = _of_angles("sine", _sine_of, True)
cosine = _of_angles("cosine", _cosine_of, False)
tangent = _of_angles("tangent", _tangent_of, True)
