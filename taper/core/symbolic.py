"""Symbolic sizes: ints that stand for a batch size that isn't fixed, while a call is recorded.

`SymInt` computes like an int and remembers how it follows from *the* size of its
`ShapeEnvironment`: as a polynomial where it can, else as a function. So a graph that was recorded
at one size can be had for another. Who compares gets the answer for the size that the recording was
made at (the *hint*), and the comparison becomes a *guard*: where it would come out otherwise, the
graph isn't valid. A comparison that is the same for all sizes from 2 on needs none (an array of one
row is broadcast, so the sizes 0 and 1 aren't covered).

Whatever needs a plain number (`range`, an index of a list, NumPy's C code) asks `__index__`, which
raises `SizePinned`: the recording then holds for that size alone, and has to be made again with
plain numbers. Nothing can look at a size unnoticed.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from numbers import Number
from typing import Any

__all__ = [
    "Guards", "ShapeEnvironment", "SizePinned", "SymFloat", "SymInt", "fitted", "value_at",
    "value_at_hint",
]

Terms = tuple[int, ...]  # how often 1, the size, its square … count in a polynomial

SMALLEST = 2
_LARGEST = 1 << 56  # more than there can be elements


class SizePinned(Exception):
    """Raised where a symbolic size has to be a plain number."""


class Guards:
    """Comparisons of symbolic numbers that have to come out as they did."""

    def __init__(self) -> None:
        self.found: dict[Any, tuple[Callable[[Any, Any], bool], Any, Any, bool]] = {}

    def answer(
        self, hint: int, compare: Callable[[Any, Any], bool], first: Any, second: Any
    ) -> bool:
        """What a comparison gives for a size, which from now on is assumed."""
        key = compare, _identity(first), _identity(second)
        if key not in self.found:
            answer = compare(value_at(first, hint), value_at(second, hint))
            self.found[key] = compare, first, second, answer
        return self.found[key][3]

    def hold_for(self, size: int) -> bool:
        """Whether everything that was assumed is true of a size."""
        if size < SMALLEST:
            return False
        try:
            return all([compare(value_at(first, size), value_at(second, size)) is answer
                        for compare, first, second, answer in self.found.values()])
        except ArithmeticError:  # a division by what is zero for this size
            return False

    def __len__(self) -> int:
        return len(self.found)

    def __str__(self) -> str:
        lines = []
        for compare, first, second, answer in self.found.values():
            sign = _SIGNS[compare.__name__][not answer]
            if type(first) is SymInt and first.terms is not None and second == 0:
                constant, *rest = first.terms
                first, second = SymInt(first.environment, (0, *rest), None), -constant
            left, right = [x.text() if isinstance(x, _Symbolic) else str(x)
                           for x in (first, second)]
            lines.append(f"{left} {sign} {right}")
        return "\n".join(lines)


_SIGNS = {"eq": ("==", "!="), "ne": ("!=", "=="), "lt": ("<", ">="), "le": ("<=", ">"),
          "gt": (">", "<="), "ge": (">=", "<")}


class ShapeEnvironment:
    """The size that is left open, and what is assumed of it.

    Attributes:
        hint: the size that comparisons are answered for.
        guards: the comparisons.
    """

    def __init__(self, hint: int) -> None:
        self.hint = hint
        self.points = (hint, hint + 1, hint + 2)  # a polynomial of second degree is known by three
        self.recorded_as: Callable[[Any, Any], Any]  # set by who records: a number as an array
        self.was_pinned = False  # also if somebody caught the error, and went another way
        self.guards = Guards()

    @property
    def size(self) -> SymInt:
        """The size itself."""
        return SymInt(self, (0, 1), None)

    def guarded(self, compare: Callable[[Any, Any], bool], first: Any, second: Any) -> bool:
        """What a comparison gives for the hint, which from now on is assumed."""
        return self.guards.answer(self.hint, compare, first, second)

    @contextmanager
    def assuming(self, hint: int) -> Iterator[Guards]:
        """Within, comparisons are answered for another size, and noted apart from others."""
        before = self.hint, self.guards
        self.hint, self.guards = hint, Guards()
        try:
            yield self.guards
        finally:
            self.hint, self.guards = before


def value_at(value: Any, size: int) -> Any:
    """A number for this size, if it is symbolic; anything else as it is."""
    return value.at(size) if type(value) is SymInt or type(value) is SymFloat else value


def value_at_hint(value: Any) -> Any:
    """A number as it is in the call that is recorded, for questions whose answers shapes tell."""
    return value.at(value.environment.hint) if isinstance(value, _Symbolic) else value


def _identity(value: Any) -> Any:
    """Equal for numbers that are known to be the same."""
    if type(value) is SymInt and value.terms is not None:
        return "terms", value.terms
    return ("number", id(value)) if isinstance(value, _Symbolic) else value


def _evaluated(terms: Terms, size: int) -> int:
    found = 0
    for coefficient in reversed(terms):
        found = found * size + coefficient
    return found


def _trimmed(terms: Iterable[int]) -> Terms:
    kept = list(terms)
    while len(kept) > 1 and not kept[-1]:
        kept.pop()
    return tuple(kept)


def _sign_everywhere(terms: Terms) -> int | None:
    """1 or -1 if a polynomial has this sign for all sizes from SMALLEST on; None if that can't be
    told by its coefficients about that point."""
    moved = list(terms)
    for first in range(len(moved) - 1):  # Horner's scheme, again and again
        for i in range(len(moved) - 2, first - 1, -1):
            moved[i] += SMALLEST * moved[i + 1]
    if moved[0] > 0 and min(moved) >= 0:
        return 1
    if moved[0] < 0 and max(moved) <= 0:
        return -1
    return None


def _quotient(first: Terms, second: Terms) -> Terms | None:
    """The polynomial that times `second` is `first`; None if there is none."""
    rest, found = list(first), [0] * max(1, len(first) - len(second) + 1)
    while len(rest) >= len(second) and any(rest):
        factor, left = divmod(rest[-1], second[-1])
        if left:
            return None
        shift = len(rest) - len(second)
        found[shift] = factor
        for i, coefficient in enumerate(second):
            rest[shift + i] -= factor * coefficient
        rest.pop()
    return None if any(rest) else _trimmed(found)


def fitted(environment: ShapeEnvironment, values: Iterable[int]) -> int | SymInt:
    """The number that is these at the environment's points.

    Raises:
        SizePinned: if it is no polynomial of second degree with whole coefficients.
    """
    a, b, c = values
    if a == b == c:
        return a
    x = environment.points[0]
    square, odd = divmod(c - 2 * b + a, 2)
    if odd:
        raise SizePinned("a size isn't a polynomial of the batch size")
    linear = b - a - square * (2 * x + 1)
    return SymInt(environment, _trimmed((a - linear * x - square * x * x, linear, square)), None)


class _Symbolic:
    """What both kinds of numbers have in common."""

    __slots__ = ("compute", "environment")

    environment: ShapeEnvironment
    compute: Callable[[int], Any] | None

    def at(self, size: int) -> Any:
        """The number for this size."""
        raise NotImplementedError

    def recorded_as(self, dtype: Any) -> Any:
        """A recorded 0-d array of this dtype."""
        return self.environment.recorded_as(self, dtype)

    def _pinned(self, *ignored: Any, **options: Any) -> Any:
        self.environment.was_pinned = True
        raise SizePinned("a number that depends on the batch size is needed as a plain number")

    __index__ = __int__ = __float__ = __complex__ = _pinned
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _pinned
    __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = __invert__ = _pinned
    __reduce__ = is_integer = as_integer_ratio = _pinned

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        return self

    def conjugate(self) -> Any:
        """The number itself."""
        return self

    real = property(conjugate)

    def _not_compared(self, other: Any) -> Any:
        """For what decides by itself whether it equals a number; other numbers want a plain one."""
        return self._pinned() if isinstance(other, Number) else NotImplemented

    def __bool__(self) -> bool:
        return bool(operator.ne(self, 0))

    def __hash__(self) -> int:
        # Caches within taper may tell numbers apart by how they follow from the size.
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if not caller.startswith("taper."):
            self._pinned()
        return self._hash()

    def _hash(self) -> int:
        return id(self)

    __repr__ = __str__ = __format__ = _pinned  # who sees a text may decide by it; see text()

    def text(self) -> str:
        """What readers of graphs see: s is the size."""
        return f"f(s), {self.at(self.environment.hint)} at s = {self.environment.hint}"

    def is_same(self, other: Any) -> bool:
        """Whether two numbers are the same for all sizes, as far as that is known."""
        return self is other


class SymInt(_Symbolic):
    """An int that depends on a size that is left open."""

    __slots__ = ("terms",)
    __module__ = "torch"
    imag = 0
    denominator = 1
    numerator = property(_Symbolic.conjugate)
    bit_length = bit_count = to_bytes = _Symbolic._pinned

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return int  # who asks isinstance(size, int) goes the way of all sizes

    def __init__(
        self, environment: ShapeEnvironment, terms: Terms | None,
        compute: Callable[[int], Any] | None,
    ) -> None:
        self.environment = environment
        self.terms = terms
        self.compute = compute

    def at(self, size: int) -> int:
        """The number for this size."""
        if self.terms is not None:
            return _evaluated(self.terms, size)
        assert self.compute is not None
        found: int = self.compute(size)
        return found

    def is_same(self, other: Any) -> bool:
        return self is other or (
            type(other) is SymInt and self.terms is not None and self.terms == other.terms
            and self.environment is other.environment)

    def _hash(self) -> int:
        return id(self) if self.terms is None else hash((id(self.environment), self.terms))

    def text(self) -> str:
        """The polynomial, as far as it is one."""
        if self.terms is None:
            return super().text()
        names = ["", "s", *[f"s**{i}" for i in range(2, len(self.terms))]]
        parts = ["*".join(filter(None, ["" if c == 1 and name else str(c), name]))
                 for c, name in zip(self.terms, names, strict=False) if c]
        return " + ".join(reversed(parts)).replace("+ -", "- ")

    # -- arithmetic: exact for polynomials -----------------------------------------------------

    def _polynomial(self, terms: Iterable[int]) -> Any:
        found = _trimmed(terms)
        return found[0] if len(found) == 1 else SymInt(self.environment, found, None)

    def _terms_of(self, other: Any) -> Terms | None:
        """None for what isn't a polynomial."""
        if type(other) is SymInt:
            return other.terms
        return (int(other),)

    def __add__(self, other: Any) -> Any:
        if type(other) not in _INTS:
            return _float_of(operator.add, self, other)
        mine, others = self.terms, self._terms_of(other)
        if mine is None or others is None:
            return self._composed(operator.add, self, other)
        length = max(len(mine), len(others))
        padded = [(*t, *(0,) * (length - len(t))) for t in (mine, others)]
        return self._polynomial(map(operator.add, *padded))

    __radd__ = __add__

    def __neg__(self) -> Any:
        if self.terms is None:
            return self._composed(operator.mul, self, -1)
        return self._polynomial([-c for c in self.terms])

    def __sub__(self, other: Any) -> Any:
        if type(other) not in _INTS:
            return _float_of(operator.sub, self, other)
        return self + -other

    def __rsub__(self, other: Any) -> Any:
        if type(other) not in _INTS:
            return _float_of(operator.sub, other, self)
        return -self + other

    def __mul__(self, other: Any) -> Any:
        if type(other) not in _INTS:
            return _float_of(operator.mul, self, other)
        mine, others = self.terms, self._terms_of(other)
        if mine is None or others is None:
            return self._composed(operator.mul, self, other)
        found = [0] * (len(mine) + len(others) - 1)
        for i, a in enumerate(mine):
            for j, b in enumerate(others):
                found[i + j] += a * b
        return self._polynomial(found)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        return _divided(self, other, operator.floordiv)

    def __rfloordiv__(self, other: Any) -> Any:
        return _divided(other, self, operator.floordiv)

    def __mod__(self, other: Any) -> Any:
        return _divided(self, other, operator.mod)

    def __rmod__(self, other: Any) -> Any:
        return _divided(other, self, operator.mod)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __truediv__(self, other: Any) -> Any:
        return _float_of(operator.truediv, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _float_of(operator.truediv, other, self)

    def __pow__(self, exponent: Any) -> Any:
        if type(exponent) is SymInt:
            return self._pinned()  # the power is a float if it is negative
        if type(exponent) is bool:
            exponent = int(exponent)
        if type(exponent) is not int or exponent < 0:
            return _float_of(operator.pow, self, exponent)
        if exponent > 4:
            return self._composed(operator.pow, self, exponent)
        found: Any = 1
        for _ in range(exponent):
            found = self * found
        return found

    def __rpow__(self, base: Any) -> Any:
        return self._pinned()

    def __pos__(self) -> SymInt:
        return self

    __trunc__ = __floor__ = __ceil__ = __pos__

    def __round__(self, digits: int | None = None) -> Any:
        return self if digits is None or digits >= 0 else self._pinned()

    def __abs__(self) -> Any:
        return self if self >= 0 else -self

    def _composed(self, compute: Callable[[Any, Any], Any], first: Any, second: Any) -> SymInt:
        """A number that is no polynomial."""
        return SymInt(self.environment, None,
                      lambda size: compute(value_at(first, size), value_at(second, size)))

    # -- comparisons: guards -------------------------------------------------------------------

    def _compared(self, compare: Callable[[Any, Any], bool], other: Any) -> Any:
        if type(other) is float or type(other) is SymFloat:
            return self.environment.guarded(compare, self, other)
        if type(other) not in _INTS:
            return self._not_compared(other)
        if self.is_same(other):
            return compare(0, 0)
        if type(other) is int and abs(other) > _LARGEST:
            return compare(0, other)
        if type(other) is SymInt and other.environment is not self.environment:
            return NotImplemented  # a key that another recording left in a cache
        difference = self - other
        if type(difference) is int:
            return compare(difference, 0)
        if difference.terms is not None:
            sign = _sign_everywhere(difference.terms)
            if sign is not None:
                return compare(sign, 0)
        return self.environment.guarded(compare, difference, 0)

    def __eq__(self, other: object) -> Any:
        return self._compared(operator.eq, other)

    def __ne__(self, other: object) -> Any:
        return self._compared(operator.ne, other)

    def __lt__(self, other: Any) -> Any:
        return self._compared(operator.lt, other)

    def __le__(self, other: Any) -> Any:
        return self._compared(operator.le, other)

    def __gt__(self, other: Any) -> Any:
        return self._compared(operator.gt, other)

    def __ge__(self, other: Any) -> Any:
        return self._compared(operator.ge, other)

    __hash__ = _Symbolic.__hash__


_INTS = frozenset([int, bool, SymInt])


def _divided(first: Any, second: Any, compute: Callable[[Any, Any], Any]) -> Any:
    """first // second or first % second."""
    if type(first) not in _INTS or type(second) not in _INTS:
        return _float_of(compute, first, second)
    owner: SymInt = first if type(first) is SymInt else second
    terms, others = owner._terms_of(first), owner._terms_of(second)
    if second == 0:
        raise ZeroDivisionError("integer division or modulo by zero")
    if terms is not None and others is not None:
        found = _quotient(terms, others)
        if found is not None:
            return 0 if compute is operator.mod else owner._polynomial(found)
    return owner._composed(compute, first, second)


class SymFloat(_Symbolic):
    """A float that depends on a size that is left open."""

    __slots__ = ()
    __module__ = "torch"
    imag = 0.0
    hex = _Symbolic._pinned

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return float

    def __init__(self, environment: ShapeEnvironment, compute: Callable[[int], Any]) -> None:
        self.environment = environment
        self.compute = compute

    def at(self, size: int) -> Any:
        """The number for this size."""
        assert self.compute is not None
        return self.compute(size)

    def _compared(self, compare: Callable[[Any, Any], bool], other: Any) -> Any:
        if type(other) not in _NUMBERS:
            return self._not_compared(other)
        return self.environment.guarded(compare, self, other)

    def _whole(self, compute: Callable[[Any], int]) -> SymInt:
        return SymInt(self.environment, None, lambda size: compute(self.at(size)))

    def __round__(self, digits: int | None = None) -> Any:
        if digits is None:
            return self._whole(round)
        return SymFloat(self.environment, lambda size: round(self.at(size), digits))

    def __trunc__(self) -> SymInt:
        return self._whole(math.trunc)

    def __floor__(self) -> SymInt:
        return self._whole(math.floor)

    def __ceil__(self) -> SymInt:
        return self._whole(math.ceil)

    def __neg__(self) -> SymFloat:
        return SymFloat(self.environment, lambda size: -self.at(size))

    def __abs__(self) -> SymFloat:
        return SymFloat(self.environment, lambda size: abs(self.at(size)))

    __hash__ = _Symbolic.__hash__


    def __pos__(self) -> SymFloat:
        return self


_NUMBERS = frozenset([int, bool, float, SymInt, SymFloat])
_DIVISIONS = frozenset([operator.truediv, operator.floordiv, operator.mod])


def _float_of(compute: Callable[[Any, Any], Any], first: Any, second: Any) -> Any:
    """The float that a function makes of two numbers, of which one is symbolic."""
    if type(first) not in _NUMBERS or type(second) not in _NUMBERS:
        return NotImplemented
    owner = first if isinstance(first, _Symbolic) else second
    if compute in _DIVISIONS and second == 0:  # which other sizes have to be asked as well
        raise ZeroDivisionError("division by zero")
    if compute is operator.pow and first <= 0:  # of negative ones, powers are complex
        return owner._pinned()
    return SymFloat(owner.environment,
                    lambda size: compute(value_at(first, size), value_at(second, size)))


def _add_arithmetic(name: str) -> None:
    compute = getattr(operator, name)

    def forwards(self: SymFloat, other: Any) -> Any:
        return _float_of(compute, self, other)

    def backwards(self: SymFloat, other: Any) -> Any:
        return _float_of(compute, other, self)

    setattr(SymFloat, f"__{name}__", forwards)
    setattr(SymFloat, f"__r{name}__", backwards)


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    _add_arithmetic(_name)


def _add_comparison(name: str) -> None:
    compare = getattr(operator, name)

    def method(self: SymFloat, other: Any) -> Any:
        return self._compared(compare, other)

    setattr(SymFloat, f"__{name}__", method)


for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    _add_comparison(_name)
