"""Inverse trigonometric and hyperbolic functions, and angles of points, as arithmetic."""

from __future__ import annotations

import math

from taper.compiler.expression import Expression, Node
from taper.compiler.polynomials import polynomial

__all__ = ["atan"]

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
