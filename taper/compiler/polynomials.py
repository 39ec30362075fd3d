"""Polynomials in expressions, and sums that lose nothing."""

from __future__ import annotations

from collections.abc import Sequence

from taper.compiler.expression import Expression, Node

__all__ = ["horner", "polynomial", "two_sum"]


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
