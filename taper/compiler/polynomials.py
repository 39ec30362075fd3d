"""Polynomials in expressions, and sums and products with what rounding them lost."""

from __future__ import annotations

from collections.abc import Sequence

from taper.compiler.expression import Expression, Node

__all__ = ["EXP", "fast_two_sum", "horner", "polynomial", "product", "two_sum"]

EXP = {
    "f32": (0.5, 0.16666576666119928, 0.04166655421298415, 0.008363232883682618,
            0.0013926250831497611),
    "f64": (0.5, 0.1666666666666667, 0.04166666666666667, 0.008333333333326084,
            0.0013888888888883711, 0.0001984126987500228, 2.480158732567746e-05,
            2.755725517000089e-06, 2.755727347871858e-07, 2.5105312729622103e-08,
            2.09147553258932e-09),
}
"""(e^r - 1 - r) / r^2 for |r| <= ln 2 / 2."""


def polynomial(e: Expression, x: Node, coefficients: Sequence[float]) -> Node:
    """c0 + c1 x + c2 x^2 + …; two chains, of even and odd powers, where it is long."""
    if len(coefficients) > 7:
        square = e.mul(x, x)
        even = polynomial(e, square, coefficients[::2])
        return e.fma(x, polynomial(e, square, coefficients[1::2]), even)
    return horner(e, x, coefficients)


def horner(e: Expression, x: Node, coefficients: Sequence[float]) -> Node:
    """The same in one chain."""
    result = e.constant(coefficients[-1], x.type)
    for c in coefficients[-2::-1]:
        result = e.fma(result, x, e.constant(c, x.type))
    return result


def two_sum(e: Expression, x: Node, y: Node) -> tuple[Node, Node]:
    """x + y, and what rounding it lost."""
    total = e.add(x, y)
    of_y = e.sub(total, x)
    return total, e.add(e.sub(x, e.sub(total, of_y)), e.sub(y, of_y))


def fast_two_sum(e: Expression, x: Node, y: Node) -> tuple[Node, Node]:
    """The same where |x| >= |y|, or x is 0."""
    total = e.add(x, y)
    return total, e.add(e.sub(x, total), y)


def product(e: Expression, x: Node, y: Node) -> tuple[Node, Node]:
    """x * y, and what rounding it lost."""
    found = e.mul(x, y)
    return found, e.fma(x, y, e.neg(found))
