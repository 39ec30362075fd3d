"""Symbolic sizes compute like ints, for every size, and comparisons are noted."""

from __future__ import annotations

import contextlib
import copy
import math
import operator
import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taper.core.symbolic import ShapeEnvironment, SizePinned, SymFloat, SymInt, fitted, value_at

SIZES = (2, 3, 4, 5, 7, 8, 16, 33, 100)
INTS = ("add", "sub", "mul", "floordiv", "mod", "truediv")
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")

numbers = st.one_of(st.just("size"), st.integers(-9, 9), st.sampled_from([True, 0.5, -2.0, 3.25]))
expressions: Any = st.recursive(
    numbers, lambda inner: st.tuples(st.sampled_from(INTS), inner, inner), max_leaves=6)


def computed(expression: Any, size: Any) -> Any:
    if isinstance(expression, tuple):
        name, first, second = expression
        return getattr(operator, name)(computed(first, size), computed(second, size))
    return size if expression == "size" and isinstance(expression, str) else expression


@settings(max_examples=300, deadline=None)
@given(expressions, st.sampled_from(SIZES))
def test_arithmetic_is_that_of_ints_at_every_size(expression: Any, hint: int) -> None:
    environment = ShapeEnvironment(hint)
    try:
        found = computed(expression, environment.size)
    except ZeroDivisionError:
        with pytest.raises(ZeroDivisionError):
            computed(expression, hint)
        return
    for size in SIZES:
        if environment.guards.hold_for(size):
            expected = computed(expression, size)
            assert value_at(found, size) == expected
            assert type(value_at(found, size)) is type(expected)


@settings(max_examples=300, deadline=None)
@given(expressions, st.sampled_from(COMPARISONS), expressions, st.sampled_from(SIZES))
def test_guards_hold_where_the_answer_is_the_same(
    first: Any, name: str, second: Any, hint: int
) -> None:
    environment = ShapeEnvironment(hint)
    compare = getattr(operator, name)
    try:
        a, b = computed(first, environment.size), computed(second, environment.size)
    except ZeroDivisionError:
        return
    before = len(environment.guards)
    answer = compare(a, b)
    assert answer is compare(computed(first, hint), computed(second, hint))
    assert environment.guards.hold_for(hint)
    for size in SIZES:
        try:
            same = compare(computed(first, size), computed(second, size)) is answer
        except ZeroDivisionError:
            assert not environment.guards.hold_for(size)
            continue
        if not same:
            assert not environment.guards.hold_for(size)
        elif not before:  # no division: nothing but this comparison was assumed
            assert environment.guards.hold_for(size)


@pytest.mark.parametrize("hint", [2, 5, 64])
def test_powers(hint: int) -> None:
    size = ShapeEnvironment(hint).size
    for exponent in (0, 1, 2, 4, 5, 7, True, False):
        found = value_at(size**exponent, 6)
        assert found == 6**exponent and type(found) is int
    for exponent in (-1, 0.5, -0.5):
        found = value_at(size**exponent, 6)
        assert found == 6**exponent and type(found) is float
    for compute in (lambda: size**size, lambda: 2**size, lambda: (-size) ** 0.5):
        with pytest.raises(SizePinned):
            compute()


def test_comparisons_that_are_the_same_for_all_sizes_need_no_guard() -> None:
    environment = ShapeEnvironment(7)
    size = environment.size
    assert size != 1 and size > 0 and size > 1 and size * size + 1 > size and size != 0
    assert size == size and 2 * size == size + size and size < 1 << 60 and bool(size)
    assert len(environment.guards) == 0
    assert not size > 20
    assert [n for n in range(30) if environment.guards.hold_for(n)] == list(range(2, 21))


def test_sizes_0_and_1_are_never_covered() -> None:
    environment = ShapeEnvironment(7)
    assert not environment.guards.hold_for(0) and not environment.guards.hold_for(1)
    assert environment.guards.hold_for(2)


def test_whoever_needs_a_plain_number_pins_it() -> None:
    plain: list[Any] = [
        int, float, complex, range, operator.index, math.sqrt, str, repr, hash, pickle.dumps,
        "{}".format, "%d".__mod__, lambda n: [1][n], lambda n: [1] * n, lambda n: {3: 1}[n],
        lambda n: {n: 1}, lambda n: n & 1, lambda n: 1 << n, lambda n: ~n, np.zeros, np.arange,
        lambda n: n.bit_length(), lambda n: n == Fraction(3),
        lambda n: round(n, -1), lambda n: f"{n:4}", lambda n: n == 2 + 0j,
    ]
    for ask in plain:
        environment = ShapeEnvironment(5)
        with pytest.raises(SizePinned):
            ask(environment.size)
        assert environment.was_pinned
    for ask in (float, int, math.floor, hash, repr, lambda x: x.is_integer(), lambda x: x.hex()):
        environment = ShapeEnvironment(5)
        half = environment.size / 2
        if ask is math.floor:
            assert value_at(math.floor(half), 9) == 4
        else:
            with pytest.raises(SizePinned):
                ask(half)


def test_a_caught_error_is_remembered() -> None:
    environment = ShapeEnvironment(5)
    with contextlib.suppress(Exception):
        int(environment.size)
    assert environment.was_pinned


def test_fractions_compare_by_their_parts() -> None:
    environment = ShapeEnvironment(5)
    assert Fraction(3) != environment.size
    assert environment.guards.hold_for(4) and not environment.guards.hold_for(3)


def test_it_is_an_int_to_who_asks() -> None:
    environment = ShapeEnvironment(5)
    size, half = environment.size, environment.size / 2
    assert isinstance(size, int) and size.__class__ is int and not isinstance(size, float)
    assert isinstance(half, float) and not isinstance(half, int)
    match size:
        case float():
            raise AssertionError
        case int():
            pass
    assert size.real is size and size.imag == 0 and size.numerator is size
    assert size.denominator == 1 and size.conjugate() is size
    assert copy.copy(size) is size and copy.deepcopy((size, 1))[0] is size
    assert round(size) is size and math.trunc(size) is size and math.ceil(size) is size
    assert value_at(round(half, 1), 5) == 2.5 and value_at(round(half), 9) == 4
    assert not environment.was_pinned and len(environment.guards) == 0


def test_divisions_by_zero_are_asked_of_every_size() -> None:
    environment = ShapeEnvironment(5)
    ratio = 1 / (environment.size - 7)
    assert value_at(ratio, 9) == 0.5
    assert [n for n in range(2, 12) if not environment.guards.hold_for(n)] == [7]
    environment = ShapeEnvironment(7)
    for compute in (operator.truediv, operator.floordiv, operator.mod):
        with pytest.raises(ZeroDivisionError):
            compute(1, environment.size - 7)
    assert not environment.guards.hold_for(8)


def test_what_doesnt_divide_is_a_function() -> None:
    environment = ShapeEnvironment(5)
    size = environment.size
    assert (4 * size + 8) // 4 == size + 2 and (size * size) // size == size
    assert (6 * size) % 3 == 0
    assert len(environment.guards) == 0
    half = size // 2
    assert type(half) is SymInt and half.terms is None and value_at(half, 9) == 4
    assert value_at(half + half, 9) == 8 and value_at(-size // 2, 9) == -5
    assert value_at(divmod(size, 4)[1], 9) == 1


def test_fitted() -> None:
    environment = ShapeEnvironment(4)
    assert fitted(environment, (3, 3, 3)) == 3
    for compute in (lambda n: n, lambda n: 3 * n - 2, lambda n: n * n, lambda n: 1 - n * n):
        found = fitted(environment, map(compute, environment.points))
        assert [value_at(found, n) for n in SIZES] == [compute(n) for n in SIZES]
    with pytest.raises(SizePinned):
        fitted(environment, (2, 2, 3))


def test_two_recordings_have_nothing_in_common() -> None:
    first, second = ShapeEnvironment(5), ShapeEnvironment(5)
    assert (first.size == second.size) is False
    assert len(first.guards) == len(second.guards) == 0


def test_answers_for_another_size() -> None:
    environment = ShapeEnvironment(5)
    assert environment.size < 10
    with environment.assuming(20) as guards:
        assert environment.size > 10
        assert guards.hold_for(11) and not guards.hold_for(10)
    assert environment.guards.hold_for(9) and not environment.guards.hold_for(20)
    assert "s < 10" in str(environment.guards)


def test_floats_compare_with_guards() -> None:
    environment = ShapeEnvironment(5)
    half = environment.size / 2
    assert type(half) is SymFloat and half > 2 and half < environment.size and half != 2
    assert [n for n in range(2, 8) if environment.guards.hold_for(n)] == [5, 6, 7]
