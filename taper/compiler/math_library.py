"""Mathematical functions as arithmetic: what `exp`, `log`, `tanh` … in an expression stand for.

Each function reduces its argument to a small interval and evaluates a polynomial there. The
coefficients are our own: interpolation at Chebyshev nodes, in 60 digits, of the function named
beside them. Bounds on the error in units in the last place (ulp), over the whole range of the type
with infinities, NaN, subnormal numbers and signed zeros, are in `ULP` and tested. Arguments that a
conversion to integers would not survive are rounded by adding 1.5 * 2**(mantissa bits), which is
safe for NaN too.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from taper.compiler import inverse_functions, powers, trigonometry
from taper.compiler.expression import Expression, Node
from taper.compiler.float_parts import Scaling, power_of_two, rounded, scaled, split, to_range
from taper.compiler.polynomials import EXP, fast_two_sum, horner, polynomial, product

__all__ = ["SCALING", "ULP", "lowered"]

SCALING = 64  # vectors of this many bytes are AVX-512's, which has an instruction for x * 2**n

ULP = {
    "exp": (1.5, 1.5), "exp2": (1.5, 1.5), "expm1": (2, 2), "log": (1.5, 1.5), "log2": (1, 1),
    "log10": (1, 1), "log1p": (2, 2), "tanh": (2.5, 3), "sinh": (3, 3), "cosh": (2.5, 2.5),
    "sigmoid": (2.5, 2.5), "erf": (5.5, 2), "erfc": (2, 6), "rsqrt": (1.5, 1.5),
    "asin": (1, 1), "acos": (1, 1), "atan": (2, 1.5), "atan2": (2, 2), "asinh": (2, 2),
    "acosh": (2, 2), "atanh": (2, 2), "sin": (1, 1), "cos": (1, 1), "tan": (1, 1),
    "pow": (1, 1), "hypot": (1, 1.5),
}
"""The largest error of each function in ulp, for float32 and float64."""

# Below the first, the result is 0; above the second, infinity.
_EXP_RANGE = {"f32": (-104.0, 89.0), "f64": (-746.0, 710.0)}
# ln 2 as a number with trailing zeros and the rest: n * the first is exact.
_LN2 = {
    "f32": (0.693359375, -2.1219444005469058e-4),
    "f64": (0.6931471803691238, 1.9082149292705877e-10),
}
# (log(1 + f) - f + f^2 / 2) / f^3 on [sqrt(1/2) - 1, sqrt(2) - 1]
_LOG32 = (
    0.33333333281200334, -0.2499999027237084, 0.2000001003497686, -0.16668001803748264,
    0.14286525158465885, -0.12450736358856745, 0.11037764778517271, -0.10646234025693226,
    0.1053101767433568, -0.06201590950942333,
)
# (log((1 + s) / (1 - s)) - 2 s) / s^3, in s^2, for the same range
_LOG64 = (
    0.6666666666666666, 0.40000000000000885, 0.28571428570799784, 0.22222222392581045,
    0.18181795547521137, 0.15386244737621665, 0.13268638369266825, 0.13088034850927555,
)
# Of logarithms to a base: 1 / ln base and log 2, each as a number and the rest. n * log 2 is exact.
_BASES = {
    "2": {
        "f32": (1.4426950216293335, 1.9259629911266175e-08, 1.0, 0.0),
        "f64": (1.4426950408889634, 2.0355273740931033e-17, 1.0, 0.0),
    },
    "10": {
        "f32": (0.4342944920063019, -1.0103050052231683e-08, 0.301025390625, 4.605038981195214e-06),
        "f64": (0.4342944819032518, 1.098319650216765e-17, 0.30102999566361177,
                3.694239077158931e-13),
    },
}
# erf(x) / x as a quotient of polynomials in x^2, all of whose terms are positive, by least squares
# at Chebyshev nodes of [0, 3.95]; there erf has come to 1 in float32.
_ERF32 = (
    (1.128379143897972, 0.1915390502210767, 0.052873896555130674, 0.0038076516494003824,
     0.0002846717261730428, 2.025941209208061e-06),
    (1.0, 0.5030797428447475, 0.11455491008580104, 0.015054086534475175, 0.0011705928297694387,
     3.7831294934967126e-05),
)
# erf(x) / x - 1, in x^2, on [0, 1]
_ERF64 = (
    0.1283791670955126, -0.3761263890318375, 0.11283791670954879, -0.026866170645076792,
    0.0052239776248180145, -0.000854832698083379, 0.0001205533111164271, -1.4925595266831182e-05,
    1.6461000484121368e-06, -1.6350312701054695e-07, 1.4659775274047436e-08,
    -1.1372848856791674e-09, 5.957176147748911e-11,
)
# (1 + 2 x) exp(x^2) erfc(x), in (x - 4) / (x + 4), on [1, 28]
_SCALED_ERFC = (
    1.2329951186255526, -0.13962111684056253, 0.015379652102620517, 0.06809705425469556,
    -0.10103906603636663, 0.09373283499822639, -0.06633036581022515, 0.03716751553970077,
    -0.016197734090861556, 0.005031969959955954, -0.0007577729682444181, -0.0001992566557780742,
    0.0001506197652840239, -2.4398796129808548e-05, -1.1214940454085914e-05,
    5.706137058391276e-06, 2.779610203474889e-07, -8.132213473308921e-07, 9.378764713111928e-08,
    8.981761538262737e-08, -2.6490729369178822e-08,
)


def lowered(expression: Expression, vector_bytes: int = 0) -> Expression:
    """The expression with its mathematical functions replaced by arithmetic, for a processor with
    vectors of so many bytes."""
    made = Scaling() if vector_bytes == SCALING else Expression()

    def rule(function: Callable[..., Node]) -> Callable[..., Node]:
        return lambda new, node, args: function(new, *args)

    rules = {name: rule(f) for name, f in _FUNCTIONS.items()}
    return expression.rewritten(rules, new=made).without_dead_code()


def _exp_minus_one_reduced(e: Expression, r: Node) -> Node:
    """e^r - 1 for |r| < ln 2 / 2."""
    return e.fma(e.mul(r, r), polynomial(e, r, EXP[r.type]), r)


def _reduce_exp(e: Expression, x: Node) -> tuple[Node, Node, Node]:
    """r and n, as a float and an integer, with x = n ln 2 + r."""
    high, low = _LN2[x.type]
    n, integer = rounded(e, e.mul(x, e.constant(1 / math.log(2), x.type)))
    r = e.fma(n, e.constant(-high, x.type), x)
    return e.fma(n, e.constant(-low, x.type), r), n, integer


def _exp(e: Expression, x: Node) -> Node:
    low, high = _EXP_RANGE[x.type]
    zero, top = e.constant(0, x.type), e.constant(high, x.type)
    # Processors take 25 times as long where a result is subnormal or vanishes: masked scores, which
    # are -inf, shall not come so far.
    vanishes = e.compare("lt", x, e.constant(low, x.type))
    x = e.select(vanishes, zero, e.select(e.compare("gt", x, top), top, x))
    r, whole, n = _reduce_exp(e, x)
    found = scaled(e, e.add(_exp_minus_one_reduced(e, r), e.constant(1, x.type)), whole, n)
    return e.select(vanishes, zero, found)


def _exp2(e: Expression, x: Node) -> Node:
    low, high = _EXP_RANGE[x.type]
    x = to_range(e, x, low * 1.45, high * 1.45)
    n, integer = rounded(e, x)
    ln2 = math.log(2)
    r = e.sub(x, n)
    # r ln 2, with what rounding ln 2 to the type loses
    r = e.fma(r, e.constant(ln2, x.type), e.mul(r, e.constant(_LN2_REST[x.type], x.type)))
    return scaled(e, e.add(_exp_minus_one_reduced(e, r), e.constant(1, x.type)), n, integer)


_LN2_REST = {"f32": math.log(2) - 0.693147182464599609375, "f64": 2.3190468138462996e-17}


def _expm1(e: Expression, x: Node) -> Node:
    kind = x.type
    original = x
    low, high = {"f32": (-20.0, 89.0), "f64": (-40.0, 710.0)}[kind]
    x = to_range(e, x, low, high)
    r, _, n = _reduce_exp(e, x)
    small = _exp_minus_one_reduced(e, r)
    # 2^n (small + 1) - 1 = 2 (2^(n-1) small + (2^(n-1) - 1/2)): 2^n itself may overflow.
    power = power_of_two(e, e.sub(n, e.constant(1, n.type)), kind)
    half = e.fma(power, small, e.sub(power, e.constant(0.5, kind)))
    result = e.add(half, half)
    # Tiny arguments keep their sign and their last bit.
    tiny = e.compare("lt", e.unary("abs", x), e.constant({"f32": 1e-8, "f64": 1e-17}[kind], kind))
    return e.select(tiny, original, result)


def _log_of_split(e: Expression, m: Node) -> tuple[Node, Node]:
    """log(m) as the sum of f = m - 1 and a correction."""
    kind = m.type
    f = e.sub(m, e.constant(1, kind))
    half_square = e.mul(e.mul(f, f), e.constant(0.5, kind))
    if kind == "f32":
        cubed = e.mul(e.mul(f, f), f)
        return f, e.sub(e.mul(cubed, polynomial(e, f, _LOG32)), half_square)
    s = e.div(f, e.add(f, e.constant(2, kind)))
    z = e.mul(s, s)
    rest = e.mul(z, polynomial(e, z, _LOG64))
    # log(1 + f) = f - f^2/2 + s (f^2/2 + R)
    return f, e.sub(e.mul(s, e.add(half_square, rest)), half_square)


def _log_limits(e: Expression, x: Node, result: Node) -> Node:
    """-inf at 0, NaN below, infinity and NaN as they are."""
    kind = x.type
    zero = e.constant(0.0, kind)
    top = e.constant(math.inf, kind)
    result = e.select(e.compare("lt", x, top), result, x)  # inf and NaN are their own logarithms
    result = e.select(e.compare("eq", x, zero), e.constant(-math.inf, kind), result)
    return e.select(e.compare("lt", x, zero), e.constant(math.nan, kind), result)


def _log(e: Expression, x: Node) -> Node:
    m, n = split(e, x)
    f, rest = _log_of_split(e, m)
    high, low = _LN2[x.type]
    low_part = e.fma(n, e.constant(low, x.type), rest)
    result = e.fma(n, e.constant(high, x.type), e.add(f, low_part))
    return _log_limits(e, x, result)


def _log_to_base(base: str) -> Callable[[Expression, Node], Node]:
    def function(e: Expression, x: Node) -> Node:
        factor, factor_low, ratio, ratio_low = [
            e.constant(number, x.type) for number in _BASES[base][x.type]]
        m, n = split(e, x)
        total, lost = fast_two_sum(e, *_log_of_split(e, m))
        found, low = product(e, total, factor)
        low = e.fma(total, factor_low, e.fma(lost, factor, low))
        # Rounded once, so that powers of the base have whole logarithms.
        high, rest = fast_two_sum(e, e.mul(n, ratio), found)
        return _log_limits(e, x, e.add(high, e.add(rest, e.fma(n, ratio_low, low))))

    return function


def _log1p(e: Expression, x: Node) -> Node:
    kind = x.type
    one = e.constant(1, kind)
    u = e.add(x, one)
    # What the addition lost, relative to u.
    larger = e.compare("gt", x, one)
    lost = e.select(larger, e.sub(one, e.sub(u, x)), e.sub(x, e.sub(u, one)))
    m, n = split(e, u)
    f, rest = _log_of_split(e, m)
    high, low = _LN2[kind]
    low_part = e.add(e.fma(n, e.constant(low, kind), rest), e.div(lost, u))
    result = e.fma(n, e.constant(high, kind), e.add(f, low_part))
    result = e.select(e.compare("lt", x, e.constant(math.inf, kind)), result, x)
    result = e.select(e.compare("eq", u, e.constant(0.0, kind)), e.constant(-math.inf, kind),
                      result)
    # 1 + x rounds to 1 for tiny x, which are their own results, sign of zero included
    tiny = e.compare("lt", e.unary("abs", x), e.constant({"f32": 3e-8, "f64": 5e-17}[kind], kind))
    result = e.select(tiny, x, result)
    return e.select(e.compare("lt", x, e.constant(-1, kind)), e.constant(math.nan, kind), result)


def _tanh(e: Expression, x: Node) -> Node:
    """t / (t + 2) with t = e^(2|x|) - 1."""
    kind = x.type
    bound = e.constant({"f32": 10.0, "f64": 22.0}[kind], kind)
    size = e.unary("abs", x)
    size = e.select(e.compare("gt", size, bound), bound, size)
    r, _, n = _reduce_exp(e, e.add(size, size))
    power = power_of_two(e, n, kind)
    t = e.fma(power, _exp_minus_one_reduced(e, r), e.sub(power, e.constant(1, kind)))
    return e.make("copysign", (e.div(t, e.add(t, e.constant(2, kind))), x), kind)


def _sinh(e: Expression, x: Node) -> Node:
    kind = x.type
    size = e.unary("abs", x)
    # exp overflows before sinh does, so large arguments go by half.
    large = e.compare("gt", size, e.constant({"f32": 80.0, "f64": 700.0}[kind], kind))
    t = _expm1(e, size)
    half = e.constant(0.5, kind)
    small = e.mul(half, e.add(t, e.div(t, e.add(t, e.constant(1, kind)))))
    root = _exp(e, e.mul(size, half))
    result = e.select(large, e.mul(e.mul(half, root), root), small)
    return e.make("copysign", (result, x), kind)


def _cosh(e: Expression, x: Node) -> Node:
    kind = x.type
    size = e.unary("abs", x)
    half = e.constant(0.5, kind)
    large = e.compare("gt", size, e.constant({"f32": 80.0, "f64": 700.0}[kind], kind))
    t = _exp(e, size)
    small = e.mul(half, e.add(t, e.div(e.constant(1, kind), t)))
    root = _exp(e, e.mul(size, half))
    return e.select(large, e.mul(e.mul(half, root), root), small)


def _asinh(e: Expression, x: Node) -> Node:
    """log(1 + a + a^2 / (1 + sqrt(1 + a^2))); of large numbers log(2 a)"""
    one, size = e.constant(1, x.type), e.unary("abs", x)
    is_large, a = _below_large(e, size)
    square = e.mul(a, a)
    t = e.add(a, e.div(square, e.add(one, e.unary("sqrt", e.add(one, square)))))
    return e.make("copysign", (_log_or_that_of_twice(e, size, is_large, t), x), x.type)


def _acosh(e: Expression, x: Node) -> Node:
    """log(1 + t + sqrt(2 t + t^2)) with t = x - 1; of large numbers log(2 x)"""
    is_large, a = _below_large(e, x)
    t = e.sub(a, e.constant(1, x.type))
    t = e.add(t, e.unary("sqrt", e.fma(t, t, e.add(t, t))))
    return _log_or_that_of_twice(e, x, is_large, t)


def _below_large(e: Expression, x: Node) -> tuple[Node, Node]:
    """Whether 1 doesn't count beside x^2; and x, or 1 where that is so."""
    is_large = e.compare("gt", x, e.constant({"f32": 1e5, "f64": 1e9}[x.type], x.type))
    return is_large, e.select(is_large, e.constant(1, x.type), x)


def _log_or_that_of_twice(e: Expression, x: Node, is_large: Node, t: Node) -> Node:
    """log(2 x) of large x, else log(1 + t)."""
    kind = x.type
    found = _log1p(e, e.select(is_large, e.sub(x, e.constant(1, kind)), t))
    return e.select(is_large, e.add(found, e.constant(math.log(2), kind)), found)


def _atanh(e: Expression, x: Node) -> Node:
    """log(1 + 2 a / (1 - a)) / 2"""
    one, size = e.constant(1, x.type), e.unary("abs", x)
    t = e.div(e.add(size, size), e.sub(one, size))
    found = e.mul(e.constant(0.5, x.type), _log1p(e, t))
    return e.make("copysign", (found, x), x.type)


def _sigmoid(e: Expression, x: Node) -> Node:
    one = e.constant(1, x.type)
    return e.div(one, e.add(one, _exp(e, e.neg(x))))


def _rsqrt(e: Expression, x: Node) -> Node:
    return e.div(e.constant(1, x.type), e.unary("sqrt", x))


def _erf(e: Expression, x: Node) -> Node:
    kind = x.type
    if kind == "f32":
        return _erf32(e, x)
    size = e.unary("abs", x)
    small = e.fma(x, polynomial(e, e.mul(x, x), _ERF64), x)
    large = e.make("copysign", (e.sub(e.constant(1, kind), _erfc_of_large(e, size)), x), kind)
    return e.select(e.compare("gt", size, e.constant(1.0, kind)), large,
                    e.select(e.is_nan(x), x, small))


def _erf32(e: Expression, x: Node) -> Node:
    kind = x.type
    limit = 3.92  # from here on it is 1
    near = to_range(e, x, -limit, limit)
    square = e.mul(near, near)
    above, below = (horner(e, square, terms) for terms in _ERF32)
    quotient = e.div(e.mul(near, above), below)
    one = e.make("copysign", (e.constant(1, kind), x), kind)
    is_far = e.compare("ge", e.unary("abs", x), e.constant(limit, kind))
    return e.select(is_far, one, quotient)


def _erfc_of_large(e: Expression, x: Node) -> Node:
    """erfc(x) for x >= 1, in float64: exp(-x^2) times a slowly varying factor."""
    kind = x.type
    bound = e.constant(28.0, kind)
    x = e.select(e.compare("gt", x, bound), bound, x)
    four = e.constant(4, kind)
    t = e.div(e.sub(x, four), e.add(x, four))
    factor = e.div(polynomial(e, t, _SCALED_ERFC), e.fma(e.constant(2, kind), x,
                                                          e.constant(1, kind)))
    square = e.mul(x, x)
    lost = e.fma(x, x, e.neg(square))
    power = _exp(e, e.neg(square))
    return e.mul(e.fma(e.neg(power), lost, power), factor)


def _erfc(e: Expression, x: Node) -> Node:
    if x.type == "f32":
        return e.convert(_erfc(e, e.convert(x, "f64")), "f32")
    kind = x.type
    one = e.constant(1, kind)
    size = e.unary("abs", x)
    tail = _erfc_of_large(e, size)
    large = e.select(e.compare("lt", x, e.constant(0.0, kind)),
                     e.sub(e.constant(2, kind), tail), tail)
    small = e.sub(one, e.fma(x, polynomial(e, e.mul(x, x), _ERF64), x))
    return e.select(e.compare("gt", size, one), large, small)


_FUNCTIONS: dict[str, Callable[..., Node]] = {
    "exp": _exp, "exp2": _exp2, "expm1": _expm1, "log": _log, "log2": _log_to_base("2"),
    "log10": _log_to_base("10"), "log1p": _log1p, "tanh": _tanh, "sinh": _sinh, "cosh": _cosh,
    "sigmoid": _sigmoid, "rsqrt": _rsqrt, "erf": _erf, "erfc": _erfc,
    "sin": trigonometry.sine, "cos": trigonometry.cosine, "tan": trigonometry.tangent,
    "asin": inverse_functions.asin, "acos": inverse_functions.acos,
    "atan": inverse_functions.atan, "atan2": inverse_functions.atan2,
    "asinh": _asinh, "acosh": _acosh, "atanh": _atanh, "pow": powers.power, "hypot": powers.hypot,
}
