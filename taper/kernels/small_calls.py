"""Small arrays without NumPy's cost per call: built-in functions that stand in for ufuncs.

A ufunc on 64 numbers takes 250 ns, of which 5 are arithmetic. The stand-ins take 60: they compute
equal-shaped contiguous arrays of float32 or float64 (the second may be a single number) in
machine code and leave everything else, as it is, to the ufunc. They give NumPy's very bits, so it
doesn't matter when they come.

When they are made is said in when_busy.py; until then, and without llvmlite, NumPy computes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from taper.kernels.when_busy import when_busy

if TYPE_CHECKING:
    from taper.compiler.expression import Expression, Node

__all__ = ["stand_in"]

LARGEST = 16384  # elements; the GIL is held meanwhile
_LARGE = 32767  # elements of a result, from which on kernels on all cores are quicker

_ARITHMETIC = {np.add: "add", np.subtract: "sub", np.multiply: "mul", np.divide: "div"}
_EXTREMA = {np.maximum: "larger", np.minimum: "smaller"}
_COMPARISONS = {
    np.equal: "eq", np.not_equal: "ne", np.less: "lt", np.less_equal: "le", np.greater: "gt",
    np.greater_equal: "ge",
}
_UNARY = {np.negative: "neg", np.sqrt: "sqrt", np.square: "square"}

# What operands may be: contiguous arrays of one shape, and numbers without dimensions.
_ARRAYS, _WITH_NUMBER, _FROM_NUMBER = ("array", "array"), ("array", "number"), ("number", "array")
_CHOICES = tuple([("condition", *given) for given in (_ARRAYS, _WITH_NUMBER, _FROM_NUMBER)])


def stand_in(ufunc: Any, scope: dict[str, Any], name: str, inplace: bool = False) -> None:
    """Puts a ufunc into a namespace, and something quicker in its place when that is made.

    `inplace`: it will be called as ``ufunc(a, b, a)``.
    """
    scope[name] = ufunc
    if _forms_of(ufunc, inplace):
        when_busy(scope, name, lambda: made(ufunc, inplace))


def _forms_of(ufunc: Any, inplace: bool) -> tuple[tuple[str, ...], ...]:
    """What the operands may be, the likeliest first; none if there is no stand-in."""
    if inplace:
        return (_ARRAYS, _WITH_NUMBER) if ufunc in _ARITHMETIC else ()
    if ufunc in _UNARY:
        return (("array",),)
    if ufunc in _EXTREMA:
        return () if _zeros_are_ordered() else (_FROM_NUMBER, _ARRAYS, _WITH_NUMBER)
    if ufunc is np.where:
        return _CHOICES
    return (_ARRAYS, _WITH_NUMBER) if ufunc in _ARITHMETIC or ufunc in _COMPARISONS else ()


@cache
def _zeros_are_ordered() -> bool:
    """Whether NumPy holds -0 for less than 0, as ARM's instructions do; kernels hold them equal."""
    lesser = np.minimum(np.full(16, -0.0, np.float32), np.float32(0.0))
    return bool(np.signbit(lesser).any())


@cache
def made(ufunc: Any, inplace: bool) -> Callable[..., Any]:
    """The stand-in: it tries each form in turn."""
    rest = ufunc if inplace or getattr(ufunc, "nin", 0) != 2 else _with_large_results(ufunc)
    first: Callable[..., Any] = rest
    for kind in ("f64", "f32"):
        of_other_dtype, first = first, rest
        for operands in reversed(_forms_of(ufunc, inplace)):
            first = _form(ufunc, kind, operands, inplace, first, of_other_dtype)
    return first


def _with_large_results(ufunc: Any) -> Callable[..., Any]:
    """The ufunc; where small operands give a large result, as outer sums do, by a kernel."""
    from taper.kernels.native import Elementwise
    from taper.runtime.direct_call import by_size
    from taper.runtime.planned_calls import replayed

    return by_size(ufunc, replayed(Elementwise(ufunc, (0, 1))), _LARGE)


def _form(
    ufunc: Any, kind: str, given: tuple[str, ...], inplace: bool, otherwise: Callable[..., Any],
    of_other_dtype: Callable[..., Any],
) -> Callable[..., Any]:
    """The function for one dtype and these kinds of operands."""
    from taper.compiler import machine
    from taper.compiler.expression import ELEMENT, ROW, Expression
    from taper.compiler.passes import Operand
    from taper.compiler.row_kernels import flat_kernel
    from taper.runtime.direct_call import Address, Array, DirectCall, Elements, Result

    e = Expression()
    kinds = ["b1" if what == "condition" else kind for what in given]
    levels = [ROW if what == "number" else ELEMENT for what in given]
    inputs = list(zip(kinds, levels, strict=True))
    node = _node(e, ufunc, [e.input(i, k, level) for i, (k, level) in enumerate(inputs)])
    e.results.append(node)
    operands = [Operand(k, "contiguous" if level == ELEMENT else "same") for k, level in inputs]
    operands.append(Operand(node.type, "contiguous"))
    text = flat_kernel("small", machine.host().vector_bytes, e, operands)
    array = levels.index(ELEMENT)  # whose shape the result has
    parameters = [
        Array(k, ndim=0) if level == ROW
        else Array(k, shape_of=array if i > array else None,
                   apart_from=0 if inplace and i else None)
        for i, (k, level) in enumerate(inputs)
    ]
    if inplace:
        parameters.append(Array(kind, is_argument=0))
    call = DirectCall(
        tuple(parameters), tuple([Address(i) for i in range(len(operands))]), Elements(array),
        result=None if inplace else Result(node.type, shape_of=array), largest=LARGEST,
        sized_by=array, writes=(0,) if inplace else (),
    )
    return call.function_now(machine.compile_ir(text, "small"), otherwise, of_other_dtype)


def _node(e: Expression, ufunc: Any, operands: list[Node]) -> Node:
    """What a ufunc computes, as an expression."""
    x = operands[0]
    if ufunc in _UNARY:
        return e.mul(x, x) if ufunc is np.square else e.unary(_UNARY[ufunc], x)
    y = operands[1]
    if ufunc is np.where:
        return e.select(*operands)
    if ufunc in _COMPARISONS:
        return e.compare(_COMPARISONS[ufunc], x, y)
    if ufunc in _EXTREMA:
        return e.larger(x, y) if ufunc is np.maximum else e.smaller(x, y)
    return e.binary(_ARITHMETIC[ufunc], x, y)
