"""What cells of recurrent networks compute for one unit, as expressions, with their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from taper.compiler.expression import Expression, Node

__all__ = ["CELLS", "Cell"]


class Cell(NamedTuple):
    """A kind of cell: how many gates a unit has, and its formulas.

    Formulas get operands and give results in the order of these labels, which are arrays of
    kernels (recurrent_code.py): "gates" and the like stand for one operand a gate.

    Attributes:
        shares: whether the state's share of the gates is an operand of its own.
        product_adds: whether the gradient of the state before has a part besides the product.
    """

    gates: int
    shares: bool
    product_adds: bool
    states: tuple[str, ...]
    step: Callable[..., list[Node]]
    step_operands: tuple[str, ...]
    step_results: tuple[str, ...]
    gradient: Callable[..., list[Node]]
    gradient_operands: tuple[str, ...]
    gradient_results: tuple[str, ...]


def _lstm(e: Expression, i: Node, f: Node, g: Node, o: Node, c: Node) -> list[Node]:
    """The gates, the cell state before and after, twice, and the hidden state, twice."""
    i, f, o = (e.unary("sigmoid", x) for x in (i, f, o))
    g = e.unary("tanh", g)
    new = e.fma(f, c, e.mul(i, g))
    hidden = e.mul(o, e.unary("tanh", new))
    return [i, f, g, o, c, new, new, hidden, hidden]


def _lstm_gradient(
    e: Expression, i: Node, f: Node, g: Node, o: Node, before: Node, cell: Node, output: Node,
    hidden: Node, later: Node,
) -> list[Node]:
    """The gates' gradients, and the cell state's before."""
    one = e.constant(1.0, i.type)
    hidden = e.add(hidden, output)
    size = e.unary("tanh", cell)
    cell = e.add(later, e.mul(e.mul(hidden, o), e.sub(one, e.mul(size, size))))

    def through_sigmoid(grad: Node, gate: Node) -> Node:
        return e.mul(e.mul(grad, gate), e.sub(one, gate))

    return [
        through_sigmoid(e.mul(cell, g), i), through_sigmoid(e.mul(cell, before), f),
        e.mul(e.mul(cell, i), e.sub(one, e.mul(g, g))), through_sigmoid(e.mul(hidden, size), o),
        e.mul(cell, f),
    ]


def _gru(
    e: Expression, r: Node, z: Node, n: Node, of_r: Node, of_z: Node, of_n: Node, h: Node
) -> list[Node]:
    """The gates r, z and n, n's share from the state, and the new state, twice."""
    r, z = e.unary("sigmoid", e.add(r, of_r)), e.unary("sigmoid", e.add(z, of_z))
    n = e.unary("tanh", e.fma(r, of_n, n))
    new = e.fma(z, e.sub(h, n), n)
    return [r, z, n, of_n, new, new]


def _gru_gradient(
    e: Expression, r: Node, z: Node, n: Node, before: Node, share: Node, output: Node, hidden: Node
) -> list[Node]:
    """The gates' gradients, those of the state's shares of them, and the state's own part."""
    one = e.constant(1.0, r.type)
    hidden = e.add(hidden, output)
    new = e.mul(e.mul(hidden, e.sub(one, z)), e.sub(one, e.mul(n, n)))
    for_r = e.mul(e.mul(e.mul(new, share), r), e.sub(one, r))
    for_z = e.mul(e.mul(e.mul(hidden, e.sub(before, n)), z), e.sub(one, z))
    return [for_r, for_z, new, for_r, for_z, e.mul(new, r), e.mul(hidden, z)]


def _tanh(e: Expression, a: Node) -> list[Node]:
    """The new state, twice."""
    new = e.unary("tanh", a)
    return [new, new]


def _tanh_gradient(e: Expression, new: Node, output: Node, hidden: Node) -> list[Node]:
    rest = e.sub(e.constant(1.0, new.type), e.mul(new, new))
    return [e.mul(e.add(hidden, output), rest)]


def _relu(e: Expression, a: Node) -> list[Node]:
    """The new state, twice. NaN stays NaN."""
    zero = e.constant(0.0, a.type)
    new = e.select(e.compare("lt", a, zero), zero, a)
    return [new, new]


def _relu_gradient(e: Expression, new: Node, output: Node, hidden: Node) -> list[Node]:
    zero = e.constant(0.0, new.type)
    return [e.select(e.compare("gt", new, zero), e.add(hidden, output), zero)]


_OF_RNN = (("gates",), ("outputs", "hidden"))
_OF_RNN_GRADIENT = (("gates", "for_outputs", "for_hidden"), ("wanted",))

CELLS = {
    "lstm": Cell(
        4, False, False, ("hidden", "cell"),
        _lstm, ("gates", "cell"),
        ("gates", "cells_before", "cells", "cell", "outputs", "hidden"),
        _lstm_gradient,
        ("gates", "cells_before", "cells", "for_outputs", "for_hidden", "for_cell"),
        ("wanted", "for_cell")),
    "gru": Cell(
        3, True, True, ("hidden",),
        _gru, ("gates", "shares", "hidden"), ("gates", "cells", "outputs", "hidden"),
        _gru_gradient, ("gates", "before", "cells", "for_outputs", "for_hidden"),
        ("wanted", "for_recurrent", "for_hidden")),
    "tanh": Cell(1, False, False, ("hidden",), _tanh, *_OF_RNN, _tanh_gradient, *_OF_RNN_GRADIENT),
    "relu": Cell(1, False, False, ("hidden",), _relu, *_OF_RNN, _relu_gradient, *_OF_RNN_GRADIENT),
}
