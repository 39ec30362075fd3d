"""Inverse trigonometric functions, and angles of points, as arithmetic.

Angles are sums of two numbers until the last step, which is the only one that rounds much.
"""

from __future__ import annotations

import math

from taper.compiler.expression import Expression, Node
from taper.compiler.float_parts import LAYOUT
from taper.compiler.polynomials import fast_two_sum, polynomial

__all__ = ["acos", "asin", "atan", "atan2"]

# (atan(t) / t - 1) / t^2, in t^2, on [0, tan(pi / 8)]
_ATAN = {
    "f32": (-0.3333333175381697, 0.1999953879477192, -0.14263897112598675, 0.1074309966767457,
            -0.06449835224591496),
    "f64": (-0.3333333333333333, 0.19999999999999993, -0.1428571428571149, 0.11111111110751482,
            -0.0909090906681608, 0.07692306729194896, -0.06666641869131183,
            0.058819230561140225, -0.05258020272656758, 0.04719259188242093,
            -0.04103887546862687, 0.030622995553735516, -0.013905374533113234),
}
# (asin(x) / x - 1) / x^2, in x^2, on [0, 1/2]
_ASIN = {
    "f32": (0.16666666337430908, 0.07500094543497424, 0.04459940152851218, 0.031100662735494583,
            0.017149238357677194, 0.03369084720283021),
    "f64": (0.16666666666666669, 0.07499999999998433, 0.04464285714635543, 0.030381944138531247,
            0.02237217294214989, 0.017352392720869973, 0.013971212973552933, 0.011479177415184902,
            0.010322814350185798, 0.005457506718640282, 0.017400879442694216,
            -0.014851887071247485, 0.028757851367421747),
}
# Angles as numbers of the type and what rounding them loses.
_PI = {
    "f32": (3.1415927410125732, -8.742278000372485e-08),
    "f64": (3.141592653589793, 1.2246467991473532e-16),
}
_LARGE = {"f32": 1e38, "f64": 1e308}
_LEAST = {"f32": 1e-30, "f64": 1e-290}  # too little to change a root, but for that of 0


def _part_of_pi(e: Expression, factor: float, kind: str) -> tuple[Node, Node]:
    """pi times a power of two, and what rounding it loses."""
    high, low = _PI[kind]
    return e.constant(high * factor, kind), e.constant(low * factor, kind)


def _arc_of_quotient(e: Expression, above: Node, below: Node) -> tuple[Node, Node]:
    """atan(above / below) for 0 <= above <= below, as a sum: pi/4 + atan((a - b) / (a + b)) beyond
    tan(pi/8)."""
    kind = above.type
    zero = e.constant(0.0, kind)
    bound = e.constant(math.sqrt(2) - 1, kind)
    is_middle = e.compare("gt", above, e.mul(below, bound))
    t = e.div(e.select(is_middle, e.sub(above, below), above),
              e.select(is_middle, e.add(above, below), below))
    square = e.mul(t, t)
    curve = e.mul(e.mul(t, square), polynomial(e, square, _ATAN[kind]))
    start, start_low = [e.select(is_middle, part, zero) for part in _part_of_pi(e, 0.25, kind)]
    high, low = fast_two_sum(e, start, t)
    return high, e.add(low, e.add(curve, start_low))


def _from(
    e: Expression, condition: Node, factor: float, arc: tuple[Node, Node]
) -> tuple[Node, Node]:
    """A part of pi minus the arc, where the condition holds."""
    high, high_low = _part_of_pi(e, factor, arc[0].type)
    other, lost = fast_two_sum(e, high, e.neg(arc[0]))
    other_low = e.add(lost, e.sub(high_low, arc[1]))
    return e.select(condition, other, arc[0]), e.select(condition, other_low, arc[1])


def atan(e: Expression, x: Node) -> Node:
    """In terms of 1 / x beyond 1."""
    kind = x.type
    one, size = e.constant(1.0, kind), e.unary("abs", x)
    is_far = e.compare("gt", size, one)
    arc = _arc_of_quotient(e, e.select(is_far, one, size), e.select(is_far, size, one))
    found = e.add(*_from(e, is_far, 0.5, arc))
    return e.make("copysign", (found, x), kind)


def atan2(e: Expression, y: Node, x: Node) -> Node:
    """The angle of the point (x, y)."""
    kind = x.type
    zero, limit = e.constant(0.0, kind), e.constant(math.inf, kind)
    width, height = e.unary("abs", x), e.unary("abs", y)
    is_steep = e.compare("gt", height, width)
    above, below = e.select(is_steep, width, height), e.select(is_steep, height, width)
    # Sums shall not overflow; two infinities are a diagonal.
    is_large = e.compare("gt", below, e.constant(_LARGE[kind], kind))
    factor = e.select(is_large, e.constant(0.25, kind), e.constant(1.0, kind))
    above, below = e.mul(above, factor), e.mul(below, factor)
    is_infinite = e.compare("eq", below, limit)
    above = e.select(is_infinite, e.select(e.compare("eq", above, limit), e.constant(1.0, kind),
                                           e.select(e.is_nan(above), above, zero)), above)
    is_origin = e.compare("eq", below, zero)
    below = e.select(e.binary("or", is_infinite, is_origin), e.constant(1.0, kind), below)
    arc = _from(e, is_steep, 0.5, _arc_of_quotient(e, above, below))
    bits = e.bitcast(x, LAYOUT[kind][0])
    is_left = e.compare("lt", bits, e.constant(0, bits.type))
    found = e.add(*_from(e, is_left, 1.0, arc))
    found = e.select(e.is_nan(x), x, found)
    return e.make("copysign", (e.select(e.is_nan(y), y, found), y), kind)


def _halves(e: Expression, size: Node) -> tuple[Node, Node, Node, Node]:
    """asin(t) - t for t = size up to 1/2, and for t = sqrt((1 - size) / 2) beyond it. Also t, what
    rounding it lost, and whether size is beyond."""
    kind = size.type
    half = e.constant(0.5, kind)
    is_far = e.compare("gt", size, half)
    square = e.select(is_far, e.fma(e.neg(half), size, half), e.mul(size, size))
    root = e.unary("sqrt", square)
    t = e.select(is_far, root, size)
    # sqrt(z) = t + (z - t^2) / 2 t
    divisor = e.add(e.add(root, root), e.constant(_LEAST[kind], kind))
    lost = e.div(e.fma(e.neg(root), root, square), divisor)
    lost = e.select(is_far, lost, e.constant(0.0, kind))
    curve = e.mul(e.mul(t, square), polynomial(e, square, _ASIN[kind]))
    return curve, t, lost, is_far


def asin(e: Expression, x: Node) -> Node:
    """pi/2 - 2 asin(sqrt((1 - x) / 2)) beyond 1/2."""
    kind = x.type
    curve, t, lost, is_far = _halves(e, e.unary("abs", x))
    two = e.constant(2.0, kind)
    arc = e.mul(two, t), e.mul(two, e.add(curve, lost))
    far = _from(e, is_far, 0.5, arc)
    found = e.select(is_far, e.add(*far), e.add(t, curve))
    return e.make("copysign", (found, x), kind)


def acos(e: Expression, x: Node) -> Node:
    """pi/2 - asin(x) up to 1/2; beyond it, 2 asin(sqrt((1 - |x|) / 2)), or pi minus that."""
    kind = x.type
    curve, t, lost, is_far = _halves(e, e.unary("abs", x))
    two, zero = e.constant(2.0, kind), e.constant(0.0, kind)
    far = _from(e, e.compare("lt", x, zero), 1.0,
                (e.mul(two, t), e.mul(two, e.add(curve, lost))))
    high, low = _part_of_pi(e, 0.5, kind)
    near, rest = fast_two_sum(e, high, e.neg(x))
    curve = e.make("copysign", (curve, x), kind)
    near = e.add(near, e.add(rest, e.sub(low, curve)))
    return e.select(is_far, e.add(*far), near)
