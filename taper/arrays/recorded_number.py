"""`RecordedNumber`: a Python float whose arithmetic becomes part of a graph.

Learning rates are floats that schedulers change between steps, and counts of steps change by
themselves: recorded programs read both when they run. Sums, products and powers of such numbers
are recorded as calls on 0-d float64 arrays, which round as Python's floats do; with a tensor they
are a number like any other. A comparison is answered for the value that there is now, and becomes
a *fact*, a recorded 0-d array that must be true whenever the program runs. To everything else -
`int()`, printing - a number has to show its value, and then the program would hold only for that:
`pin` is called, which may refuse.

C code that reads a float without asking (`math.sqrt`) finds NaN, so that what it computes is
recognized in the graph.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Facts", "RecordedNumber", "larger", "smaller"]

_F64 = np.dtype(np.float64)
_LARGEST = sys.float_info.max


class Facts:
    """What a recorded step was told about numbers: comparisons that have to come out the same."""

    def __init__(self) -> None:
        self._found: dict[Any, tuple[Any, tuple[Any, ...]]] = {}

    def add(self, comparison: np.ufunc, first: Any, second: Any, holds: bool) -> None:
        """Notes that a comparison of two recorded 0-d arrays, or one and a float, does (not) hold.
        """
        key = comparison, *[x if type(x) is float else id(x) for x in (first, second)]
        if key not in self._found:
            found = comparison(first, second)
            self._found[key] = found if holds else np.logical_not(found), (first, second)

    def __len__(self) -> int:
        return len(self._found)

    def broken(self) -> Any:
        """A recorded 0-d array, of int32: 1 if one of the facts isn't true."""
        first, *others = [fact for fact, _ in self._found.values()]
        for fact in others:
            first = np.logical_and(first, fact)
        return np.logical_not(first).astype(np.dtype(np.int32))


class RecordedNumber(float):
    """A number that `array`, recorded and 0-d, stands for; `value` is what it is now, or NaN if
    nobody may know: then it is equal to nothing but itself, as a key of a dict.

    `pin()` is called when somebody looks at the value. Comparisons are answered from `now`, the
    value as far as it is known here, and noted in `facts`. Where arithmetic of Python's floats
    raises errors that NumPy's doesn't, or gives complex numbers, an `is_strict` number notes that
    it doesn't; others are never used in that way.
    """

    __slots__ = ("array", "facts", "is_strict", "known", "now", "pin", "value")

    array: Any
    facts: Facts | None
    is_strict: bool
    known: dict[Any, tuple[Any, Any]]  # what was computed from it, as optimizers do again and again
    now: float
    pin: Callable[[], None]
    value: float

    def __new__(
        cls, array: Any, value: float, pin: Callable[[], None], now: float | None = None,
        facts: Facts | None = None, is_strict: bool = False,
    ) -> RecordedNumber:
        made = float.__new__(cls, "nan")
        made.array, made.value, made.pin, made.facts = array, value, pin, facts
        made.now = value if now is None else now
        made.is_strict = is_strict
        made.known = {}
        return made

    def recorded_as(self, dtype: Any) -> Any:
        """A recorded 0-d array of this dtype."""
        return self.array if dtype == _F64 else self.array.astype(dtype)

    def _operand(self, dtype: Any) -> Any:
        """The same for a function that only reads it, so one array serves all of them."""
        found = self.known.get(dtype)
        if found is None:
            found = self.known[dtype] = self.recorded_as(dtype), None
        return found[0]

    def pinned(self) -> float:
        """The value, by which the program is bound from now on."""
        self.pin()
        return self.value

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        dtypes = [x.dtype for x in inputs if hasattr(x, "dtype") and hasattr(x, "shape")]
        dtype = np.result_type(*dtypes, 0.0) if dtypes else _F64
        values = [x._operand(dtype) if type(x) is RecordedNumber else x for x in inputs]
        return getattr(ufunc, method)(*values, **kwargs)

    def __hash__(self) -> int:
        return id(self) if self.value != self.value else hash(self.pinned())

    def __reduce__(self) -> Any:
        return float, (self.pinned(),)


def _both(first: Any, second: Any) -> tuple[Callable[[], None], Facts | None] | None:
    """What pins both numbers, and their facts; None if one isn't a number."""
    recorded = [x for x in (first, second) if type(x) is RecordedNumber]
    if any([type(x) not in (RecordedNumber, float, int) for x in (first, second)]):
        return None
    if len(recorded) == 1:
        return recorded[0].pin, recorded[0].facts
    pins = [x.pin for x in recorded]

    def pin() -> None:
        for each in pins:
            each()

    return pin, next((x.facts for x in recorded if x.facts is not None), None)


def _made(
    ufunc: np.ufunc, compute: Callable[..., Any], first: Any, second: Any
) -> RecordedNumber | Any:
    """The number that a function gives for two, of which one is recorded."""
    both = _both(first, second)
    if both is None:
        return NotImplemented
    pin, facts = both
    operands = (first, second)
    owner, other = operands if type(first) is RecordedNumber else (second, first)
    key = ufunc, owner is first, type(other), (
        id(other) if type(other) is RecordedNumber else str(other))
    if key in owner.known:
        return owner.known[key][0]
    arrays = [x.array if type(x) is RecordedNumber else np.float64(x) for x in operands]
    is_strict = any([type(x) is RecordedNumber and x.is_strict for x in operands])
    known = []
    for name in ("value", "now"):
        values = [getattr(x, name) if type(x) is RecordedNumber else x for x in operands]
        try:
            found = compute(*values) if not any([v != v for v in values]) else math.nan
        except ArithmeticError:
            if is_strict:
                return compute(*[_pinned(x) for x in operands])
            found = math.nan
        if isinstance(found, complex):  # a negative number to a broken power
            return compute(*[_pinned(x) for x in operands])
        known.append(found)
    result = RecordedNumber(ufunc(*arrays), known[0], pin, known[1], facts, is_strict)
    if is_strict and not _is_usual(ufunc, first, second, result):
        return compute(*[_pinned(x) for x in operands])
    owner.known[key] = result, other  # which keeps its id
    return result


def _pinned(x: Any) -> Any:
    return x.pinned() if type(x) is RecordedNumber else x


def _is_usual(ufunc: np.ufunc, first: Any, second: Any, result: RecordedNumber) -> bool:
    """Whether Python's floats give what NumPy gives; notes what that depends on."""
    if ufunc is np.divide:
        return bool(second != 0.0)
    if ufunc is not np.power:
        return True
    if type(first) is RecordedNumber:
        if type(second) is RecordedNumber:
            return False
        if second != int(second):
            is_real = first > 0.0 if second < 0 else first >= 0.0
        else:
            is_real = second >= 0 or first != 0.0
    else:
        is_real = first > 0
    return bool(is_real and -_LARGEST <= result <= _LARGEST)


def larger(first: Any, second: Any) -> Any:
    """The larger of two numbers; if one is recorded, whichever it is when the program runs."""
    if RecordedNumber not in (type(first), type(second)):
        return max(first, second)
    return _made(np.maximum, max, first, second)


def smaller(first: Any, second: Any) -> Any:
    """The smaller of two numbers, in the same way."""
    if RecordedNumber not in (type(first), type(second)):
        return min(first, second)
    return _made(np.minimum, min, first, second)


def _arithmetic(name: str, ufunc: np.ufunc) -> None:
    compute = getattr(operator, name)

    def forwards(self: RecordedNumber, other: Any) -> Any:
        return _made(ufunc, compute, self, other)

    def backwards(self: RecordedNumber, other: Any) -> Any:
        return _made(ufunc, compute, other, self)

    setattr(RecordedNumber, f"__{name}__", forwards)
    setattr(RecordedNumber, f"__r{name}__", backwards)


for _name, _ufunc in {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide, "pow": np.power,
}.items():
    _arithmetic(_name, _ufunc)


def _sign(name: str, ufunc: np.ufunc) -> None:
    compute = getattr(operator, name)

    def method(self: RecordedNumber) -> Any:
        return RecordedNumber(
            ufunc(self.array), compute(self.value), self.pin, compute(self.now), self.facts,
            self.is_strict,
        )

    setattr(RecordedNumber, f"__{name}__", method)


_sign("neg", np.negative)
_sign("abs", np.absolute)


def _comparison(name: str, ufunc: np.ufunc) -> None:
    compute = getattr(operator, name)

    def method(self: RecordedNumber, other: Any) -> Any:
        both = _both(self, other)
        if both is None:
            return NotImplemented
        pin, facts = both
        now = other.now if type(other) is RecordedNumber else other
        if facts is None or self.now != self.now or now != now:
            pin()
            return compute(self.value, getattr(other, "value", other))
        holds: bool = compute(self.now, now)
        facts.add(ufunc, self.array,
                  other.array if type(other) is RecordedNumber else float(other), holds)
        return holds

    setattr(RecordedNumber, f"__{name}__", method)


for _name, _ufunc in {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal,
}.items():
    _comparison(_name, _ufunc)


def _is_true(self: RecordedNumber) -> bool:
    return bool(self != 0.0)


setattr(RecordedNumber, "__bool__", _is_true)  # noqa: B010 - as the others


def _revealing(name: str) -> None:
    plain = getattr(float, name)

    def method(self: RecordedNumber, *others: Any) -> Any:
        return plain(self.pinned(), *[
            x.pinned() if type(x) is RecordedNumber else x for x in others
        ])

    setattr(RecordedNumber, name, method)


for _name in (
    "__float__", "__int__", "__repr__", "__str__", "__format__", "__round__", "__trunc__",
    "__floor__", "__ceil__", "__floordiv__", "__rfloordiv__", "__mod__", "__rmod__", "__divmod__",
    "__rdivmod__", "is_integer", "hex", "as_integer_ratio", "conjugate",
):
    _revealing(_name)
