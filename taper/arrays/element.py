"""`ElementArray`: stands for the elements of arrays while a definition becomes a native kernel.

A forward such as ``np.multiply(x, np.exp(x))`` runs on ElementArrays once for each combination of
dtypes, and leaves an `Expression` behind: the same definition, for the compiler. Dtypes follow
NumPy's own rules, asked of the ufuncs. Shapes have no meaning here, except that reductions along
the row (``np.add.reduce(x, axis, keepdims=True)``) give one value for a row.

Whatever has no rule raises `NotElementwise`, and NumPy goes on serving that definition.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from taper.compiler.expression import CONSTANT, ROW, SIZE_OF, Expression, Node, is_float

__all__ = ["POWERS", "ElementArray", "NotElementwise", "kind_of"]


class NotElementwise(TypeError):
    """Raised when a definition does what no rule here covers."""


_KINDS = {
    "bool": "b1", "int8": "i8", "uint8": "u8", "int16": "i16", "uint16": "u16", "int32": "i32",
    "uint32": "u32", "int64": "i64", "uint64": "u64", "float16": "f16", "bfloat16": "bf16",
    "float32": "f32", "float64": "f64",
}
_NUMBERS = (bool, int, float, np.bool_, np.number)


@cache
def kind_of(dtype: Any) -> str:
    """The compiler's name of a dtype; NotElementwise for those it doesn't have."""
    found = _KINDS.get(dtype.name)
    if found is None:
        raise NotElementwise(f"dtype {dtype}")
    return found


class ElementArray(np.lib.mixins.NDArrayOperatorsMixin):
    """The elements of one array: a node of an expression, and its dtype."""

    __slots__ = ("axis", "dtype", "e", "ndim", "node")
    size = 1 << 30  # many: definitions that treat few elements differently shall not

    def __init__(
        self, e: Expression, node: Node, dtype: Any, ndim: int = 1, axis: int | None = None
    ) -> None:
        self.e = e
        self.node = node
        self.dtype = dtype
        self.ndim = ndim
        self.axis = axis  # the dimension that rows run along, where reductions are allowed

    def like(self, node: Node, dtype: Any) -> ElementArray:
        return ElementArray(self.e, node, dtype, self.ndim, self.axis)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "reduce":
            return self._reduce(ufunc, *inputs, **kwargs)
        wide = kwargs.pop("dtype", None)
        if method != "__call__" or any(v is not None for v in kwargs.values()):
            raise NotElementwise(f"{ufunc.__name__}.{method} with {sorted(kwargs)}")
        if ufunc is np.power and isinstance(inputs[1], (int, float)) and inputs[1] in POWERS:
            return POWERS[inputs[1]](inputs[0])
        rule = _RULES.get(ufunc.__name__)
        if rule is None or ufunc.nout != 1:
            raise NotElementwise(ufunc.__name__)
        given = [np.dtype(wide)] * len(inputs) if wide else map(_dtype_of, inputs)
        *wanted, result = ufunc.resolve_dtypes((*given, None))
        if any(d.itemsize == 2 and d.name == "float16" for d in (result, *wanted)):
            raise NotElementwise("arithmetic in float16")
        kinds = [kind_of(w) for w in wanted]
        nodes = [self.node_of(x, kind) for x, kind in zip(inputs, kinds, strict=True)]
        found = rule(self.e, *nodes)
        return self.like(self.e.convert(found, kind_of(result)), result)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function is np.where and len(args) == 3 and not kwargs:
            condition, x, y = args
            dtype = np.result_type(*[
                a.dtype if isinstance(a, (ElementArray, np.ndarray)) else a for a in (x, y)])
            kind = kind_of(dtype)
            chosen = self.e.select(self.node_of(condition, "b1"), self.node_of(x, kind),
                                   self.node_of(y, kind))
            return self.like(chosen, dtype)
        raise NotElementwise(function.__name__)

    def node_of(self, value: Any, kind: str) -> Node:
        """An operand as a node of this type; numbers and 0-d arrays are constants."""
        if isinstance(value, ElementArray):
            return self.e.convert(value.node, kind)
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value[()]
        if not isinstance(value, _NUMBERS):
            raise NotElementwise(f"{type(value).__name__} as an operand")
        return self.e.number(value.item() if isinstance(value, np.generic) else value, kind)

    def _reduce(
        self, ufunc: Any, array: Any, axis: Any = None, dtype: Any = None, out: Any = None,
        keepdims: bool = False,
    ) -> Any:
        op = _REDUCTIONS.get(ufunc.__name__)
        if op is None or self.axis is None or axis != self.axis or not keepdims or out is not None:
            raise NotElementwise(f"{ufunc.__name__}.reduce over other dimensions")
        if dtype is not None and dtype != self.dtype:
            raise NotElementwise("reduction in another dtype")
        if array.node.level in (CONSTANT, ROW) or not is_float(array.node.type):
            raise NotElementwise("reduction of such values")
        return self.like(self.e.reduce(op, array.node), self.dtype)

    def reduced(self, op: str) -> ElementArray:
        """A reduction along the row that NumPy has no ufunc for: reduce_argmax, reduce_argmin."""
        node = self.e.reduce(op, self.node)
        return self.like(node, np.dtype(np.int64) if node.type == "i64" else self.dtype)

    def row_length(self) -> ElementArray:
        """How many elements the row has."""
        return self.like(self.e.row_length(self.node.type), self.dtype)

    def astype(self, dtype: Any, copy: bool = True) -> ElementArray:
        dtype = np.dtype(dtype)
        kind, source = kind_of(dtype), self.node.type
        node = self.node
        if source in ("f16", "bf16") and kind != source:
            node = self.e.convert(node, "f32")
        elif kind in ("f16", "bf16") and source != kind:
            if source in ("f64", "i64", "u64", "i32", "u32"):
                raise NotElementwise(f"{source} to {kind} would round twice")
            node = self.e.convert(node, "f32")
        elif is_float(source) and kind == "u64":
            raise NotElementwise("floats to uint64")
        return self.like(self.e.convert(node, kind), dtype)

    def conj(self) -> ElementArray:
        return self

    conjugate = conj

    def copy(self) -> ElementArray:
        return self

    @property
    def real(self) -> ElementArray:
        return self

    def __bool__(self) -> bool:
        raise NotElementwise("a branch on a value")

    __float__ = __int__ = __index__ = __bool__


def _dtype_of(value: Any) -> Any:
    """What ufuncs resolve dtypes from: Python numbers count by their type only."""
    if isinstance(value, (ElementArray, np.ndarray, np.generic)):
        return value.dtype
    if type(value) in (int, float):
        return type(value)
    if type(value) is bool:
        return np.dtype(bool)
    raise NotElementwise(f"{type(value).__name__} as an operand")


# -- rules: what a ufunc is in the language of expressions -----------------------------------------

Rule = Callable[..., Node]
POWERS: dict[float, Callable[[Any], Any]] = {
    0.5: np.sqrt, 1: np.positive, 2: np.square, -1: np.reciprocal,
}
_REDUCTIONS = {"add": "reduce_sum", "multiply": "reduce_prod", "maximum": "reduce_max",
               "minimum": "reduce_min"}


def _plain(op: str) -> Rule:
    return lambda e, *nodes: e.make(op, nodes, nodes[0].type)


def _add(e: Expression, x: Node, y: Node) -> Node:
    return e.make("or" if x.type == "b1" else "add", (x, y), x.type)


def _multiply(e: Expression, x: Node, y: Node) -> Node:
    return e.make("and" if x.type == "b1" else "mul", (x, y), x.type)


def _comparison(op: str) -> Rule:
    def rule(e: Expression, x: Node, y: Node) -> Node:
        if x.type == "b1":
            x, y = e.convert(x, "u8"), e.convert(y, "u8")
        return e.compare(op, x, y)

    return rule


def _of_bools(op: str) -> Rule:
    return lambda e, *nodes: e.make(op, [e.convert(n, "b1") for n in nodes], "b1")


def _sign(e: Expression, x: Node) -> Node:
    zero, one = e.constant(0, x.type), e.constant(1, x.type)
    above = e.select(e.compare("gt", x, zero), one, zero)
    if x.type[0] == "u":
        return above
    found = e.select(e.compare("lt", x, zero), e.constant(-1, x.type), above)
    return e.select(e.is_nan(x), x, found) if is_float(x.type) else found


def _larger_number(op: str) -> Rule:
    """fmax and fmin: NaN only where both are."""
    def rule(e: Expression, x: Node, y: Node) -> Node:
        chosen = e.select(e.compare(op, x, y), x, y)
        return e.select(e.is_nan(y), x, chosen) if is_float(x.type) else chosen

    return rule


def _is_inf(e: Expression, x: Node) -> Node:
    if not is_float(x.type):
        return e.constant(False, "b1")
    return e.compare("eq", e.unary("abs", x), e.constant(math.inf, x.type))


def _is_finite(e: Expression, x: Node) -> Node:
    if not is_float(x.type):
        return e.constant(True, "b1")
    return e.compare("lt", e.unary("abs", x), e.constant(math.inf, x.type))


def _is_nan(e: Expression, x: Node) -> Node:
    return e.is_nan(x) if is_float(x.type) else e.constant(False, "b1")


def _floor_divide(e: Expression, x: Node, y: Node) -> Node:
    """Of 32-bit integers and narrower: the floor of a float64 quotient, which is exact for them."""
    if is_float(x.type) or SIZE_OF[x.type] > 4:
        raise NotElementwise("floor_divide of such types")
    quotient = e.div(e.convert(x, "f64"), e.convert(y, "f64"))
    found = e.convert(e.unary("floor", quotient), x.type)
    zero = e.constant(0, x.type)
    return e.select(e.compare("eq", y, zero), zero, found)


def _remainder(e: Expression, x: Node, y: Node) -> Node:
    """The sign is the divisor's."""
    whole = _floor_divide(e, x, y)
    zero = e.constant(0, x.type)
    return e.select(e.compare("eq", y, zero), zero, e.sub(x, e.mul(whole, y)))


def _invert(e: Expression, x: Node) -> Node:
    return e.make("not", (x,), x.type)


def _unless_integer(op: str) -> Rule:
    """Rounding leaves integers as they are."""
    return lambda e, x: e.unary(op, x) if is_float(x.type) else x


def _reciprocal(e: Expression, x: Node) -> Node:
    if not is_float(x.type):
        raise NotElementwise("reciprocal of integers")
    return e.div(e.constant(1, x.type), x)


def _power(e: Expression, x: Node, y: Node) -> Node:
    if not is_float(x.type):
        raise NotElementwise("powers of integers")
    return e.binary("pow", x, y)


def _logaddexp(e: Expression, x: Node, y: Node) -> Node:
    larger = e.larger(x, y)
    gap = e.neg(e.unary("abs", e.sub(x, y)))
    found = e.add(larger, e.unary("log1p", e.unary("exp", gap)))
    # Equal infinities have no difference.
    return e.select(e.compare("eq", x, y), e.add(x, e.constant(math.log(2), x.type)), found)


_RULES: dict[str, Rule] = {
    "add": _add, "subtract": _plain("sub"), "multiply": _multiply, "divide": _plain("div"),
    "true_divide": _plain("div"), "negative": _plain("neg"), "positive": lambda e, x: x,
    "absolute": lambda e, x: x if x.type == "b1" else e.unary("abs", x),
    "fabs": _plain("abs"), "square": lambda e, x: e.mul(x, x), "sqrt": _plain("sqrt"),
    "reciprocal": _reciprocal, "conjugate": lambda e, x: x, "sign": _sign,
    "maximum": lambda e, x, y: e.make("or", (x, y), "b1") if x.type == "b1" else e.larger(x, y),
    "minimum": lambda e, x, y: e.make("and", (x, y), "b1") if x.type == "b1" else e.smaller(x, y),
    "fmax": _larger_number("gt"), "fmin": _larger_number("lt"), "copysign": _plain("copysign"),
    "floor": _unless_integer("floor"), "ceil": _unless_integer("ceil"),
    "trunc": _unless_integer("trunc"), "rint": _unless_integer("round"),
    "floor_divide": _floor_divide, "remainder": _remainder,
    "equal": _comparison("eq"), "not_equal": _comparison("ne"), "less": _comparison("lt"),
    "less_equal": _comparison("le"), "greater": _comparison("gt"),
    "greater_equal": _comparison("ge"), "isnan": _is_nan, "isinf": _is_inf,
    "isfinite": _is_finite, "logical_and": _of_bools("and"), "logical_or": _of_bools("or"),
    "logical_xor": _of_bools("xor"), "logical_not": _of_bools("not"),
    "bitwise_and": _plain("and"), "bitwise_or": _plain("or"), "bitwise_xor": _plain("xor"),
    "invert": _invert, "bitwise_invert": _invert, "logaddexp": _logaddexp,
    "power": _power, "hypot": _plain("hypot"),
    "expit": lambda e, x: e.unary("sigmoid", x), "arctan2": _plain("atan2"),
    **{f"arc{name[1:]}": _plain(name) for name in (
        "asin", "acos", "atan", "asinh", "acosh", "atanh")},
    **{name: _plain(name) for name in (
        "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "tanh", "sinh", "cosh", "erf",
        "erfc", "sin", "cos", "tan")},
}
