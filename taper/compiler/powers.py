"""Powers and lengths of vectors, as arithmetic: x ** y = 2 ** (y log2 |x|), with a sign.

An error of the logarithm is multiplied by y log2 |x|, which may be a thousand. So float32 computes
in float64, and float64 has its logarithm as a sum of two numbers, and 2 to a sum of two numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from taper.compiler.expression import Expression, Node
from taper.compiler.float_parts import power_of_two, rounded, scaled, split, to_range
from taper.compiler.polynomials import EXP, fast_two_sum, horner, polynomial, product

__all__ = ["hypot", "power"]

Pair = tuple[Node, Node]  # a number and what rounding it lost

# log2(1 + f) / f on [sqrt(1/2) - 1, sqrt(2) - 1], and (2^r - 1) / r on [-1/2, 1/2]
_LOG = (
    1.4426950408708794, -0.7213475209631551, 0.4808983601762459, -0.3606736553159396,
    0.28853739437873954, -0.24045433696411997, 0.20617283226751987, -0.1802710257711494,
    0.15878356832510718, -0.14349039375280995, 0.14495052999815844, -0.1414478821058739,
    0.07553790398013412,
)
_POWER = (
    0.6931471880262288, 0.24022650760568126, 0.05550357114219078, 0.009618082557277852,
    0.0013390863364671234, 0.0001545316294512069,
)
# (atanh(s) / s - 1 - s^2 / 3 - s^4 / 5) / s^6, in s^2, for s up to (sqrt(2) - 1) / (sqrt(2) + 1)
_ATANH = (
    0.142857142857143, 0.11111111111070357, 0.09090909113029018, 0.07692303196370495,
    0.06667100890527815, 0.05860910450750151, 0.057831251398188066,
)
# Numbers and what rounding them lost.
_THIRD = 0.3333333333333333, 1.850371707708594e-17
_FIFTH = 0.2, -1.1102230246251566e-17
_TWO_OVER_LN2 = 2.8853900817779268, 4.0710547481862066e-17
_LN2 = 0.6931471805599453, 2.3190468138462996e-17


def power(e: Expression, x: Node, y: Node) -> Node:
    """C's pow, with all that it says of zeros, infinities and NaN."""
    kind = x.type
    zero, one = e.constant(0.0, kind), e.constant(1.0, kind)
    limit = e.constant(math.inf, kind)
    size = e.unary("abs", x)
    found = (_of_single if kind == "f32" else _of_double)(e, size, y)
    is_whole = e.compare("eq", e.unary("trunc", y), y)
    half = e.mul(y, e.constant(0.5, kind))
    is_odd = e.binary("and", is_whole, e.compare("ne", e.unary("trunc", half), half))
    found = e.select(is_odd, e.make("copysign", (found, x), kind), found)
    broken = e.binary("and", e.compare("lt", x, zero), e.compare("lt", size, limit))
    broken = e.binary("and", broken, e.unary("not", is_whole))
    broken = e.binary("and", broken, e.compare("lt", e.unary("abs", y), limit))
    found = e.select(broken, e.constant(math.nan, kind), found)
    is_one = e.binary("or", e.compare("eq", y, zero), e.compare("eq", x, one))
    return e.select(is_one, one, found)


def _with_limits(e: Expression, x: Node, logarithm: Node) -> Node:
    """The logarithm, where x isn't 0, infinity or NaN, which have their own: as float64."""
    zero = e.constant(0.0, x.type)
    own = e.select(e.compare("eq", x, zero), e.constant(-math.inf, x.type), x)
    own = e.convert(own, "f64")
    is_usual = e.binary("and", e.compare("gt", x, zero),
                        e.compare("lt", x, e.constant(math.inf, x.type)))
    return e.select(is_usual, logarithm, own)


def _of_single(e: Expression, x: Node, y: Node) -> Node:
    """x ** y for x >= 0."""
    m, n = split(e, x)
    f = e.convert(e.sub(m, e.constant(1.0, "f32")), "f64")
    logarithm = e.fma(f, polynomial(e, f, _LOG), e.convert(n, "f64"))
    logarithm = _with_limits(e, x, logarithm)
    # An infinite y would make NaN of 1's logarithm.
    y = to_range(e, e.convert(y, "f64"), -1e40, 1e40)
    exponent = to_range(e, e.mul(y, logarithm), -300.0, 300.0)
    whole, integer = rounded(e, exponent)
    r = e.sub(exponent, whole)
    found = e.fma(r, horner(e, r, _POWER), e.constant(1.0, "f64"))
    return e.convert(e.mul(found, power_of_two(e, integer, "f64")), "f32")


def _of_double(e: Expression, x: Node, y: Node) -> Node:
    """x ** y for x >= 0."""
    m, n = split(e, x)
    high, low = _log2(e, m)
    high, lost = fast_two_sum(e, n, high)
    low = e.add(low, lost)
    high = _with_limits(e, x, high)
    y = to_range(e, y, -1e300, 1e300)
    exponent, rest = product(e, y, high)
    rest = e.fma(y, low, rest)
    most = e.constant(1100.0, "f64")
    is_usual = e.compare("lt", e.unary("abs", exponent), most)
    exponent = to_range(e, exponent, -1100.0, 1100.0)
    whole, integer = rounded(e, exponent)
    r = e.sub(exponent, whole)
    rest = e.select(is_usual, rest, e.constant(0.0, "f64"))
    return scaled(e, _exp2(e, r, rest), whole, integer)


def _constants(e: Expression, numbers: Sequence[float]) -> list[Node]:
    return [e.constant(number, "f64") for number in numbers]


def _log2(e: Expression, m: Node) -> Pair:
    """log2(m) for m in [sqrt(1/2), sqrt(2)], to 2**-67: 2 atanh(s) / ln 2, s = (m - 1) / (m + 1)"""
    one = e.constant(1.0, "f64")
    above, below = e.sub(m, one), e.add(m, one)
    lost = e.sub(m, e.sub(below, one))
    inverse = e.div(one, below)
    s = e.mul(above, inverse)
    rest = e.fma(e.neg(s), lost, e.fma(e.neg(s), below, above))
    s_low = e.mul(rest, inverse)
    z, z_low = product(e, s, s)
    z_low = e.fma(e.add(s, s), s_low, z_low)
    # atanh(s) = s + s z (1/3 + z (1/5 + ...))
    p, p_low = e.mul(z, polynomial(e, z, _ATANH)), e.constant(0.0, "f64")
    for coefficient in (_FIFTH, _THIRD):
        c, c_low = _constants(e, coefficient)
        w, w_low = fast_two_sum(e, c, p)
        w_low = e.add(w_low, e.add(c_low, p_low))
        p, p_low = product(e, z, w)
        p_low = e.fma(z, w_low, e.fma(z_low, w, p_low))
    t, t_low = product(e, s, p)
    t_low = e.add(e.fma(s, p_low, e.fma(s_low, p, t_low)), s_low)
    a, a_low = fast_two_sum(e, s, t)
    a_low = e.add(a_low, t_low)
    factor, factor_low = _constants(e, _TWO_OVER_LN2)
    found, low = product(e, a, factor)
    return found, e.fma(a, factor_low, e.fma(a_low, factor, low))


def _exp2(e: Expression, r: Node, rest: Node) -> Node:
    """2 ** (r + rest) for |r| <= 1/2 and a tiny rest."""
    ln2, ln2_low = _constants(e, _LN2)
    t, t_low = product(e, r, ln2)
    t_low = e.fma(r, ln2_low, e.fma(rest, ln2, t_low))
    high, low = fast_two_sum(e, e.constant(1.0, "f64"), t)
    curve = e.fma(e.mul(t, t), polynomial(e, t, EXP["f64"]), low)
    return e.add(high, e.fma(t_low, e.add(high, curve), curve))


def hypot(e: Expression, x: Node, y: Node) -> Node:
    """sqrt(x^2 + y^2) without overflow; infinite if x or y is, whatever the other one is."""
    kind = x.type
    limit = e.constant(math.inf, kind)
    x, y = e.unary("abs", x), e.unary("abs", y)
    is_infinite = e.binary("or", e.compare("eq", x, limit), e.compare("eq", y, limit))
    if kind == "f32":
        wide_x, wide_y = e.convert(x, "f64"), e.convert(y, "f64")
        square = e.fma(wide_x, wide_x, e.mul(wide_y, wide_y))
        found = e.convert(e.unary("sqrt", square), kind)
        return e.select(is_infinite, limit, found)
    larger = e.select(e.compare("gt", x, y), x, y)
    smaller = e.select(e.compare("gt", x, y), y, x)
    one = e.constant(1.0, kind)
    is_large = e.compare("gt", larger, e.constant(2.0**500, kind))
    is_small = e.compare("lt", larger, e.constant(2.0**-450, kind))

    def by_size(large: float, small: float) -> Node:
        return e.select(is_large, e.constant(large, kind),
                        e.select(is_small, e.constant(small, kind), one))

    factor = by_size(2.0**-600, 2.0**600)
    larger, smaller = e.mul(larger, factor), e.mul(smaller, factor)
    square = e.fma(larger, larger, e.mul(smaller, smaller))
    found = e.mul(e.unary("sqrt", square), by_size(2.0**600, 2.0**-600))
    return e.select(is_infinite, limit, found)
