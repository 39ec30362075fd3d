"""Elementwise functions, reductions and products in ONNX's operators."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from taper.compilation.passes import dtype_of, shape_of
from taper.compiler.graph import GraphNode
from taper.onnx.writer import TRANSLATIONS, Writer, translation, unsupported

__all__: list[str] = []

_BOOL = np.dtype(np.bool_)

_UNARY = {
    "numpy.exp": "Exp", "numpy.log": "Log", "numpy.sqrt": "Sqrt", "numpy.negative": "Neg",
    "numpy.absolute": "Abs", "numpy.reciprocal": "Reciprocal", "numpy.sin": "Sin",
    "numpy.cos": "Cos", "numpy.tan": "Tan", "numpy.arcsin": "Asin", "numpy.arccos": "Acos",
    "numpy.arctan": "Atan", "numpy.sinh": "Sinh", "numpy.cosh": "Cosh", "numpy.tanh": "Tanh",
    "numpy.arcsinh": "Asinh", "numpy.arccosh": "Acosh", "numpy.arctanh": "Atanh",
    "numpy.floor": "Floor", "numpy.ceil": "Ceil", "numpy.rint": "Round", "numpy.sign": "Sign",
    "numpy.isnan": "IsNaN", "numpy.isinf": "IsInf", "numpy.logical_not": "Not",
    "numpy.positive": "Identity", "numpy.conjugate": "Identity", "scipy.erf": "Erf",
    "scipy.expit": "Sigmoid",
}
_BINARY = {
    "numpy.add": "Add", "numpy.subtract": "Sub", "numpy.multiply": "Mul", "numpy.divide": "Div",
    "numpy.power": "Pow", "numpy.float_power": "Pow", "numpy.maximum": "Max",
    "numpy.minimum": "Min", "numpy.equal": "Equal", "numpy.less": "Less",
    "numpy.less_equal": "LessOrEqual", "numpy.greater": "Greater",
    "numpy.greater_equal": "GreaterOrEqual", "numpy.logical_and": "And", "numpy.logical_or": "Or",
    "numpy.logical_xor": "Xor", "numpy.matmul": "MatMul", "method.dot": "MatMul",
    "numpy.dot": "MatMul",
}
_OF_BOOLS = {"Add": "Or", "Mul": "And", "Max": "Or", "Min": "And"}
_BITWISE = {"numpy.bitwise_and": "And", "numpy.bitwise_or": "Or", "numpy.bitwise_xor": "Xor"}


def _operands(writer: Writer, node: GraphNode) -> list[str]:
    """The operands, cast to what NumPy computes in."""
    function: Any = node.function
    if node.kwargs.keys() - {"dtype", "casting"}:
        raise unsupported(node, f"with the options {', '.join(node.kwargs)}")
    if not isinstance(function, np.ufunc) or "dtype" in node.kwargs:
        return [writer.operand(a, node.results[0][1]) for a in node.args]
    kinds = [type(a) if type(a) in (int, float, complex) else dtype_of(a) or np.dtype(type(a))
             for a in node.args]
    found = function.resolve_dtypes((*kinds, *[None] * function.nout))
    wanted = [_BOOL] * len(kinds) if function.__name__.startswith("logical_") else found
    return [writer.operand(a, d) for a, d in zip(node.args, wanted, strict=False)]


def _operator(op: str, writer: Writer, node: GraphNode) -> str:
    if node.label == "dot" and max(len(shape_of(a)) for a in node.args) > 2:
        raise unsupported(node, "of more than two dimensions")
    if node.results[0][1] == _BOOL:
        op = _OF_BOOLS.get(op, op)
    operands = _operands(writer, node)
    if writer.opset < 12 and op.endswith("OrEqual"):
        strict = writer.add(op.removesuffix("OrEqual"), *operands)
        return str(writer.add("Or", strict, writer.add("Equal", *operands)))
    return str(writer.add(op, *operands))


TRANSLATIONS.update({name: partial(_operator, op) for name, op in {**_UNARY, **_BINARY}.items()})


def _own_name(node: GraphNode) -> str:
    name: str = node.function.__name__  # type: ignore[union-attr]
    return name


@translation("numpy.not_equal")
def _not_equal(writer: Writer, node: GraphNode) -> str:
    return str(writer.add("Not", writer.add("Equal", *_operands(writer, node))))


@translation(*_BITWISE, "numpy.invert")
def _bits(writer: Writer, node: GraphNode) -> str:
    operands = _operands(writer, node)
    of_bools = node.results[0][1] == _BOOL
    if _own_name(node) == "invert":
        return str(writer.add("Not" if of_bools else "BitwiseNot", *operands))
    op = _BITWISE[f"numpy.{_own_name(node)}"]
    return str(writer.add(op if of_bools else f"Bitwise{op}", *operands))


@translation("numpy.square", "numpy.isfinite", "numpy.trunc", "numpy.expm1", "numpy.log1p",
             "numpy.exp2", "numpy.log2", "numpy.log10", "scipy.erfc")
def _composed(writer: Writer, node: GraphNode) -> str:
    (x,) = _operands(writer, node)
    dtype = node.results[0][1]
    add = writer.add
    name = _own_name(node)
    if name == "square":
        return str(add("Mul", x, x))
    if name == "isfinite":
        return str(add("Not", add("Or", add("IsNaN", x), add("IsInf", x))))
    if name == "trunc":
        return str(add("Mul", add("Sign", x), add("Floor", add("Abs", x))))
    if name == "exp2":
        return str(add("Pow", writer.constant(2, dtype), x))
    if name in ("log2", "log10"):
        return str(add("Mul", add("Log", x), writer.constant(1 / math.log(int(name[3:])), dtype)))
    one = writer.constant(1, dtype)
    if name == "erfc":
        return str(add("Sub", one, add("Erf", x)))
    if name == "log1p":
        return _log1p(writer, x, dtype)
    # expm1: exp(x) - 1 loses digits near 0, where it is 2 t / (1 - t) with t = tanh(x / 2).
    t = add("Tanh", add("Mul", x, writer.constant(0.5, dtype)))
    near = add("Div", add("Mul", t, writer.constant(2, dtype)), add("Sub", one, t))
    is_near = add("Less", add("Abs", x), writer.constant(0.5, dtype))
    return str(add("Where", is_near, near, add("Sub", add("Exp", x), one)))


def _log1p(writer: Writer, x: str, dtype: Any) -> str:
    """log(1 + x); near 0 what 1 + x lost is put right: log(u) x / (u - 1) (Kahan)."""
    add = writer.add
    one = writer.constant(1, dtype)
    u = add("Add", x, one)
    lost = add("Sub", u, one)
    is_zero = add("Equal", lost, writer.constant(0, dtype))
    corrected = add("Div", add("Mul", add("Log", u), x), add("Where", is_zero, one, lost))
    near = add("Where", is_zero, x, corrected)
    is_near = add("Less", add("Abs", x), writer.constant(0.5, dtype))
    return str(add("Where", is_near, near, add("Log", u)))


@translation("numpy.logaddexp", "numpy.remainder", "numpy.fmod", "numpy.floor_divide",
             "numpy.hypot", "numpy.vecdot")
def _of_two(writer: Writer, node: GraphNode) -> str:
    x, y = _operands(writer, node)
    dtype = node.results[0][1]
    add = writer.add
    is_float = dtype.kind == "f"
    name = _own_name(node)
    if name == "vecdot":
        return writer.reduce("ReduceSum", add("Mul", x, y), [-1], False)
    if name == "hypot":
        return str(add("Sqrt", add("Add", add("Mul", x, x), add("Mul", y, y))))
    if name == "logaddexp":
        apart = add("Neg", add("Abs", add("Sub", x, y)))
        together = add("Add", x, writer.constant(math.log(2), dtype))
        sum_ = add("Add", add("Max", x, y), _log1p(writer, add("Exp", apart), dtype))
        return str(add("Where", add("Equal", x, y), together, sum_))
    if name == "fmod":
        return str(add("Mod", x, y, fmod=1))
    if not is_float:
        rest = add("Mod", x, y)
        return str(rest if name == "remainder" else add("Div", add("Sub", x, rest), y))
    floor = add("Floor", add("Div", x, y))
    return str(floor if name == "floor_divide" else add("Sub", x, add("Mul", floor, y)))


# -- choices and reductions ------------------------------------------------------------------------


@translation("numpy.arctan2")
def _angle(writer: Writer, node: GraphNode) -> str:
    """The angle of (x, y): atan(y / x), half a turn further where x is negative."""
    y, x = _operands(writer, node)
    dtype = node.results[0][1]
    add = writer.add
    zero, half_turn = writer.constant(0, dtype), writer.constant(math.pi, dtype)
    behind = add("Where", add("Less", y, zero), add("Neg", half_turn), half_turn)
    angle = add("Atan", add("Div", y, x))
    angle = add("Where", add("Less", x, zero), add("Add", angle, behind), angle)
    is_origin = add("And", add("Equal", x, zero), add("Equal", y, zero))
    return str(add("Where", is_origin, zero, angle))


@translation("numpy.where")
def _where(writer: Writer, node: GraphNode) -> str:
    if len(node.args) != 3:
        raise unsupported(node, "the number of its results depends on values")
    condition, *choices = node.args
    dtype = node.results[0][1]
    return str(writer.add("Where", writer.operand(condition, _BOOL),
                          *[writer.operand(c, dtype) for c in choices]))


@translation("numpy.nan_to_num")
def _without_nan(writer: Writer, node: GraphNode) -> str:
    """NaN as a number, and infinities as the largest ones."""
    values = dict(zip(("x", "copy", "nan", "posinf", "neginf"), node.args, strict=False))
    values.update(node.kwargs)
    dtype = node.results[0][1]
    name = writer.operand(values["x"], dtype)
    zero = writer.constant(0, dtype)
    limits = (("posinf", "Greater", np.finfo(dtype).max), ("neginf", "Less", np.finfo(dtype).min))
    for option, sign, usual in limits:
        given = values.get(option)
        number = writer.operand(usual if given is None else given, dtype)
        found = writer.add("And", writer.add("IsInf", name), writer.add(sign, name, zero))
        name = writer.add("Where", found, number, name)
    number = writer.operand(values.get("nan", 0.0), dtype)
    return str(writer.add("Where", writer.add("IsNaN", name), number, name))


@translation("hidden(1).search.search")
def _places_among(writer: Writer, node: GraphNode) -> list[str]:
    """How many of the sorted numbers are less than each value, or not greater."""
    numbers, values, right, _, sorter = (*node.args, None, None)[:5]
    if sorter is not None or len(shape_of(numbers)) != 1 or (right and writer.opset < 12):
        raise unsupported(node, "with these arguments, or before opset 12")
    x = writer.unsqueeze(writer.operand(values), -1)
    found = writer.add("GreaterOrEqual" if right else "Greater", x, writer.operand(numbers))
    ones = writer.cast(found, _BOOL, np.dtype(np.int64))
    count = writer.reduce("ReduceSum", ones, [-1], False)
    return [writer.cast(count, np.dtype(np.int64), node.results[0][1])]


@translation("numpy.clip")
def _clip(writer: Writer, node: GraphNode) -> str:
    x, low, high, *_ = (*node.args, None, None)
    dtype = node.results[0][1]
    name = writer.operand(x, dtype)
    if low is not None:
        name = writer.add("Max", name, writer.operand(low, dtype))
    return name if high is None else str(writer.add("Min", name, writer.operand(high, dtype)))


_REDUCTIONS = {
    "add": "ReduceSum", "multiply": "ReduceProd", "maximum": "ReduceMax", "minimum": "ReduceMin",
    "logical_or": "ReduceMax", "logical_and": "ReduceMin",
}


@translation(*[f"numpy.{name}.reduce" for name in _REDUCTIONS])
def _reduced(writer: Writer, node: GraphNode) -> str:
    ufunc = node.function.__self__.__name__  # type: ignore[union-attr]
    x = node.args[0]
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("axis", 0)
    axes = None if axis is None else [axis] if isinstance(axis, int) else list(axis)
    dtype = node.results[0][1]
    name = writer.operand(x, dtype)
    of_bools = dtype == _BOOL
    if of_bools:
        name = writer.cast(writer.operand(x, _BOOL), _BOOL, np.dtype(np.int32))
    keepdims = bool(node.kwargs.get("keepdims"))
    result = writer.reduce(_REDUCTIONS[ufunc], name, axes, keepdims)
    return writer.cast(result, np.dtype(np.int32), _BOOL) if of_bools else result


@translation("numpy.count_nonzero")
def _counted(writer: Writer, node: GraphNode) -> str:
    x, *rest = node.args
    axis = rest[0] if rest else node.kwargs.get("axis")
    axes = None if axis is None else [axis] if isinstance(axis, int) else list(axis)
    ones = writer.cast(writer.operand(x, _BOOL), _BOOL, np.dtype(np.int64))
    return writer.reduce("ReduceSum", ones, axes, bool(node.kwargs.get("keepdims")))


@translation("numpy.add.accumulate")
def _cumulated(writer: Writer, node: GraphNode) -> str:
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("axis", 0)
    return str(writer.add("CumSum", writer.operand(node.args[0], node.results[0][1]),
                          writer.constant(axis, np.int64)))


@translation("method.argmax", "method.argmin", "numpy.argmax", "numpy.argmin")
def _extreme_place(writer: Writer, node: GraphNode) -> str:
    x, *rest = node.args
    axis = rest[0] if rest else node.kwargs.get("axis")
    name = writer.operand(x)
    if dtype_of(x) == _BOOL:
        name = writer.cast(name, _BOOL, np.dtype(np.int32))
    if axis is None:
        name = writer.add("Reshape", name, writer.ints([-1]))
    keepdims = int(bool(node.kwargs.get("keepdims")) and axis is not None)
    op = "ArgMax" if "argmax" in node.label else "ArgMin"
    result = writer.add(op, name, axis=0 if axis is None else axis, keepdims=keepdims)
    return writer.reshape(result, node.results[0][0]) if axis is None else str(result)


@translation("operator(1).logsumexp")
def _logsumexp(writer: Writer, node: GraphNode) -> list[str]:
    x, dim, keepdim = node.args
    axes = [dim] if isinstance(dim, int) else list(dim)
    return [writer.reduce("ReduceLogSumExp", writer.operand(x), axes, keepdim)]
