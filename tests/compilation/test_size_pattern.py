"""Which sizes are left open: those in which two calls differ, if one number explains all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import taper as torch
from taper.compilation.size_pattern import pattern_of
from taper.compilation.snapshot import take
from taper.core.symbolic import ShapeEnvironment, value_at


def function(*tensors: Any) -> Any:
    return tensors


def key_of(*tensors: Any) -> Any:
    return take(function, tensors, {}).key


def zeros(*shapes: tuple[int, ...]) -> Any:
    return key_of(*[torch.zeros(shape) for shape in shapes])


def test_one_argument() -> None:
    pattern = pattern_of(zeros((4, 3)), zeros((6, 3)))
    assert pattern is not None
    assert [pattern.size_of(zeros((n, 3))) for n in (2, 4, 6, 9)] == [2, 4, 6, 9]
    assert pattern.size_of(zeros((4, 5))) is None and pattern.size_of(zeros((4,))) is None
    assert pattern.size_of(zeros((4, 3), (4, 3))) is None
    assert pattern.size_of(key_of(torch.zeros(4, 3, dtype=torch.float64))) is None
    assert pattern.size_of(key_of(torch.zeros(4, 3, requires_grad=True))) is None
    assert pattern.size_of(key_of(torch.zeros(3, 4).t())) is None  # other strides


def test_sizes_that_follow_from_one() -> None:
    pattern = pattern_of(zeros((4, 3), (12,), (3, 5)), zeros((6, 3), (18,), (3, 7)))
    assert pattern is not None
    assert pattern.size_of(zeros((5, 3), (15,), (3, 6))) == 5
    assert pattern.size_of(zeros((5, 3), (15,), (3, 7))) is None
    assert pattern.size_of(zeros((5, 3), (16,), (3, 6))) is None


def test_the_size_that_changes_least_is_the_batch_size() -> None:
    pattern = pattern_of(zeros((8, 3), (4, 2)), zeros((12, 3), (6, 2)))
    assert pattern is not None and pattern.size_of(zeros((10, 3), (5, 2))) == 5
    assert pattern.size_of(zeros((9, 3), (5, 2))) is None


def test_constant_arguments_stay() -> None:
    pattern = pattern_of(zeros((4, 3), (4, 3)), zeros((6, 3), (4, 3)))
    assert pattern is not None and pattern.size_of(zeros((9, 3), (4, 3))) == 9
    assert pattern.size_of(zeros((9, 3), (9, 3))) is None


@pytest.mark.parametrize("first, second", [
    (((4, 3),), ((4, 3),)),  # nothing differs
    (((1, 3),), ((6, 3),)),  # one row is another thing
    (((0, 3),), ((6, 3),)),
    (((4, 3),), ((4, 3, 1),)),
    (((4, 3),), ((4, 3), (4, 3))),
])
def test_no_pattern(first: Any, second: Any) -> None:
    assert pattern_of(zeros(*first), zeros(*second)) is None


def test_other_differences_are_none_of_sizes() -> None:
    a = zeros((4, 3))
    assert pattern_of(a, key_of(torch.zeros(6, 3, dtype=torch.float64))) is None
    assert pattern_of(a, key_of(torch.zeros(6, 3, requires_grad=True))) is None
    assert pattern_of(a, key_of(torch.zeros(3, 4).t())) is None
    assert pattern_of(key_of(torch.zeros(4, 3), 1), key_of(torch.zeros(6, 3), 2)) is None


dims: Any = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=3)


@settings(max_examples=150, deadline=None)
@given(st.lists(dims, min_size=1, max_size=3), st.integers(2, 9), st.integers(2, 9),
       st.integers(2, 9))
def test_sizes_are_found_again(arguments: Any, a: int, b: int, c: int) -> None:
    def shapes(n: int) -> Any:
        return [tuple([start + step * n for start, step in shape]) for shape in arguments]

    pattern = pattern_of(zeros(*shapes(a)), zeros(*shapes(b)))
    if pattern is None:
        return
    size = pattern.size_of(zeros(*shapes(c)))
    if size is None:  # strides of products of sizes are no lines
        return
    environment = ShapeEnvironment(max(size, 2))
    for place, shape in enumerate(shapes(c)):
        found = pattern.shape_of(place, environment)
        if found is not None:
            expected = np.zeros(shape, np.float32)
            assert tuple([value_at(n, size) for n in found.shape]) == shape
            assert tuple([value_at(n, size) for n in found.strides]) == tuple(
                [value_at(n, size) for n in expected.strides]) or 0 in shape
