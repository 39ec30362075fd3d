"""`RecordedNumber`: a Python float whose arithmetic becomes part of a graph.

Learning rates are floats that schedulers change between steps, and counts of steps change by
themselves: recorded programs read both when they run. Sums, products and powers of such numbers
are recorded as calls on 0-d float64 arrays, which round as Python's floats do; with a tensor they
are a number like any other. To everything else - comparisons, `int()`, printing - a number has to
show its value, and then the program would hold only for that: `pin` is called, which may refuse.

C code that reads a float without asking (`math.sqrt`) finds NaN, so that what it computes is
recognized in the graph.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["RecordedNumber"]

_F64 = np.dtype(np.float64)


class RecordedNumber(float):
    """A number that `array`, recorded and 0-d, stands for; `value` is what it is now, or NaN if
    nobody knows: then it is equal to nothing but itself, as a key of a dict.

    `pin()` is called when somebody looks at the value.
    """

    __slots__ = ("array", "pin", "value")

    array: Any
    pin: Callable[[], None]
    value: float

    def __new__(cls, array: Any, value: float, pin: Callable[[], None]) -> RecordedNumber:
        made = float.__new__(cls, "nan")
        made.array, made.value, made.pin = array, value, pin
        return made

    def recorded_as(self, dtype: Any) -> Any:
        """A recorded 0-d array of this dtype."""
        return self.array if dtype == _F64 else self.array.astype(dtype)

    def pinned(self) -> float:
        """The value, by which the program is bound from now on."""
        self.pin()
        return self.value

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        dtypes = [x.dtype for x in inputs if hasattr(x, "dtype") and hasattr(x, "shape")]
        dtype = np.result_type(*dtypes, 0.0) if dtypes else _F64
        values = [x.recorded_as(dtype) if type(x) is RecordedNumber else x for x in inputs]
        return getattr(ufunc, method)(*values, **kwargs)

    def __hash__(self) -> int:
        return id(self) if self.value != self.value else hash(self.pinned())

    def __reduce__(self) -> Any:
        return float, (self.pinned(),)



def _arithmetic(name: str, ufunc: np.ufunc) -> None:
    compute = getattr(operator, name)

    def forwards(self: RecordedNumber, other: Any) -> Any:
        return combine(self, other, self, other)

    def backwards(self: RecordedNumber, other: Any) -> Any:
        return combine(self, other, other, self)

    def combine(self: RecordedNumber, other: Any, first: Any, second: Any) -> Any:
        kind = type(other)
        if kind is RecordedNumber:
            pins = self.pin, other.pin

            def pin() -> None:
                for each in pins:
                    each()
        elif kind is float or kind is int:
            pin = self.pin
        else:
            return NotImplemented
        arrays = [x.array if type(x) is RecordedNumber else np.float64(x) for x in (first, second)]
        values = [x.value if type(x) is RecordedNumber else x for x in (first, second)]
        try:
            value = compute(*values)
        except ArithmeticError:
            value = float("nan")
        if isinstance(value, complex):  # a negative number to a broken power
            return compute(*[x.pinned() if type(x) is RecordedNumber else x
                             for x in (first, second)])
        return RecordedNumber(ufunc(*arrays), value, pin)

    setattr(RecordedNumber, f"__{name}__", forwards)
    setattr(RecordedNumber, f"__r{name}__", backwards)


for _name, _ufunc in {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide, "pow": np.power,
}.items():
    _arithmetic(_name, _ufunc)


def _sign(name: str, ufunc: np.ufunc) -> None:
    compute = getattr(operator, name)

    def method(self: RecordedNumber) -> Any:
        return RecordedNumber(ufunc(self.array), compute(self.value), self.pin)

    setattr(RecordedNumber, f"__{name}__", method)


_sign("neg", np.negative)
_sign("abs", np.absolute)


def _revealing(name: str) -> None:
    plain = getattr(float, name)

    def method(self: RecordedNumber, *others: Any) -> Any:
        return plain(self.pinned(), *[
            x.pinned() if type(x) is RecordedNumber else x for x in others
        ])

    setattr(RecordedNumber, name, method)


for _name in (
    "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__bool__",
    "__float__", "__int__", "__repr__", "__str__", "__format__", "__round__", "__trunc__",
    "__floor__", "__ceil__", "__floordiv__", "__rfloordiv__", "__mod__", "__rmod__", "__divmod__",
    "__rdivmod__", "is_integer", "hex", "as_integer_ratio", "conjugate",
):
    _revealing(_name)
