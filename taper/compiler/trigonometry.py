"""Sine and cosine of moderate angles, and the inverse tangent, as arithmetic."""

from __future__ import annotations

import math

from taper.compiler.expression import Expression, Node
from taper.compiler.polynomials import polynomial

__all__ = ["LARGEST_ANGLE", "atan", "cosine", "sine"]

LARGEST_ANGLE = 1e6
"""Up to here sines and cosines are right. Larger angles would take more digits of pi than are worth
their time in every lane, so who asks for a kernel looks at the angles first."""

# pi / 2 in three parts; whole numbers below 2**20 times the first two are exact.
_HALF_PI = 1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21
# (sin(r) / r - 1) / r^2 and (cos(r) - 1 + r^2 / 2) / r^4, in r^2, on [0, pi / 4]
_SIN = (
    -0.16666666666666666, 0.008333333333333331, -0.0001984126984126504, 2.755731921932058e-06,
    -2.50521062259944e-08, 1.6058530596645953e-10, -7.586636882825159e-13,
)
_COS = (
    0.041666666666666664, -0.0013888888888888887, 2.4801587301584632e-05,
    -2.755731922139249e-07, 2.0876755787492604e-09, -1.1470460319209511e-11,
    4.745838412531023e-14,
)
_TINY = 2.0**-27  # below it, angles are their own sines
# (atan(t) / t - 1) / t^2, in t^2, on [0, tan(pi / 8)]
_ATAN = {
    "f32": (-0.3333333175381697, 0.1999953879477192, -0.14263897112598675, 0.1074309966767457,
            -0.06449835224591496),
    "f64": (-0.3333333333333333, 0.19999999999999993, -0.1428571428571149, 0.11111111110751482,
            -0.0909090906681608, 0.07692306729194896, -0.06666641869131183,
            0.058819230561140225, -0.05258020272656758, 0.04719259188242093,
            -0.04103887546862687, 0.030622995553735516, -0.013905374533113234),
}
# What rounding pi / 2 to the type loses.
_HALF_PI_REST = {"f32": -4.371139000186241e-08, "f64": 6.123233995736766e-17}


def _reduced(e: Expression, x: Node) -> tuple[Node, Node, Node]:
    """r + l in [-pi/4, pi/4], l being what rounding r lost, and n, an integer, with
    x = n pi/2 + r + l."""
    magic = e.constant(1.5 * 2.0**52, "f64")
    shifted = e.add(e.mul(x, e.constant(2 / math.pi, "f64")), magic)
    n = e.sub(shifted, magic)
    high, middle, low = [e.constant(part, "f64") for part in _HALF_PI]
    exact = e.sub(x, e.mul(n, high))
    step = e.mul(n, middle)
    close = e.sub(exact, step)
    lost = e.fma(e.neg(n), low, e.sub(e.sub(exact, close), step))
    r = e.add(close, lost)
    return r, e.add(e.sub(close, r), lost), e.bitcast(shifted, "i64")


def _sine_and_cosine(e: Expression, x: Node) -> tuple[Node, Node, Node]:
    """Of r + l, and n."""
    r, lost, n = _reduced(e, x)
    square = e.mul(r, r)
    one, half = e.constant(1.0, "f64"), e.mul(square, e.constant(0.5, "f64"))
    curve = e.mul(e.mul(r, square), polynomial(e, square, _SIN))
    sine = e.add(r, e.add(curve, e.mul(lost, e.sub(one, half))))
    start = e.sub(one, half)
    rest = e.sub(e.sub(one, start), half)
    curve = e.fma(e.mul(square, square), polynomial(e, square, _COS), e.neg(e.mul(r, lost)))
    return sine, e.add(start, e.add(rest, curve)), n


def _of_quarter(e: Expression, even: Node, odd: Node, n: Node) -> Node:
    """The even or odd quarters' value, its sign changed in the third and fourth."""
    def has_bit(bit: int) -> Node:
        masked = e.binary("and", n, e.constant(bit, n.type))
        return e.compare("ne", masked, e.constant(0, n.type))

    found = e.select(has_bit(1), odd, even)
    return e.select(has_bit(2), e.neg(found), found)


def sine(e: Expression, x: Node) -> Node:
    """Of float64."""
    small, large, n = _sine_and_cosine(e, x)
    is_tiny = e.compare("lt", e.unary("abs", x), e.constant(_TINY, x.type))
    return e.select(is_tiny, x, _of_quarter(e, small, large, n))


def cosine(e: Expression, x: Node) -> Node:
    """Of float64."""
    small, large, n = _sine_and_cosine(e, x)
    return _of_quarter(e, small, large, e.add(n, e.constant(1, n.type)))


def atan(e: Expression, x: Node) -> Node:
    """pi/2 - atan(1/x) beyond tan(3 pi/8), pi/4 + atan((x - 1) / (x + 1)) beyond tan(pi/8)."""
    kind = x.type
    one, zero = e.constant(1, kind), e.constant(0, kind)
    size = e.unary("abs", x)
    is_far = e.compare("gt", size, e.constant(1 + math.sqrt(2), kind))
    is_middle = e.compare("gt", size, e.constant(math.sqrt(2) - 1, kind))
    above = e.select(is_far, e.neg(one), e.select(is_middle, e.sub(size, one), size))
    below = e.select(is_far, size, e.select(is_middle, e.add(size, one), one))
    t = e.div(above, below)
    square = e.mul(t, t)
    curve = e.mul(e.mul(t, square), polynomial(e, square, _ATAN[kind]))

    def by_range(of_far: float) -> Node:
        return e.select(is_far, e.constant(of_far, kind),
                        e.select(is_middle, e.constant(of_far / 2, kind), zero))

    found = e.add(t, e.add(curve, by_range(_HALF_PI_REST[kind])))
    return e.make("copysign", (e.add(by_range(math.pi / 2), found), x), kind)
