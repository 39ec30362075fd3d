"""Shapes that depend on a symbolic size: found at three sizes, right at all others or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taper.arrays.node_arguments import at_size, depends_on_size
from taper.arrays.shape import ShapeArray
from taper.arrays.symbolic_shape import (
    SymbolicShape,
    array_of,
    broadcast_shapes,
    fitted_shape,
    in_rows,
    shapes_at_points,
    with_symbolic_sizes,
)
from taper.arrays.traced import TracedArray, recording_into
from taper.compiler.graph import Graph
from taper.core.symbolic import ShapeEnvironment, SizePinned, SymInt, value_at

FLOAT = np.dtype(np.float32)


def shape_of(environment: ShapeEnvironment, make: Any, dtype: Any = FLOAT) -> Any:
    return SymbolicShape(
        environment, tuple([ShapeArray(make(n), dtype) for n in environment.points]))


def at(numbers: Any, size: int) -> tuple[int, ...]:
    return tuple([value_at(n, size) for n in numbers])


def test_shape_and_strides_follow_from_the_size() -> None:
    found = shape_of(ShapeEnvironment(5), lambda n: (3, n, 2 * n))
    assert found.ndim == 3 and found.dtype == FLOAT
    for n in (2, 5, 11):
        expected = ShapeArray((3, n, 2 * n), FLOAT)
        assert at(found.shape, n) == expected.shape and at(found.strides, n) == expected.strides
        assert value_at(found.size, n) == 6 * n * n and value_at(found.nbytes, n) == 24 * n * n


def test_flags_hold_at_all_sizes() -> None:
    environment = ShapeEnvironment(5)
    assert shape_of(environment, lambda n: (n, 3)).flags.c_contiguous
    points = tuple([ShapeArray((n, 3), FLOAT, (4, 4 * n)) for n in environment.points])
    flags = SymbolicShape(environment, points).flags
    assert flags.f_contiguous and not flags.c_contiguous
    assert shape_of(environment, lambda n: (n - 3, 3)).flags.c_contiguous
    assert not environment.guards.hold_for(4)  # one row is contiguous in both orders


def test_what_is_no_polynomial_is_refused() -> None:
    environment = ShapeEnvironment(4)
    with pytest.raises(SizePinned):
        shape_of(environment, lambda n: (n // 2,))
    with pytest.raises(SizePinned):
        shape_of(environment, lambda n: (1,) * n)
    with pytest.raises(SizePinned):
        shapes_at_points(environment, lambda i: (ShapeArray((2,), FLOAT),) * (i + 1))


def test_a_shape_that_is_the_same_everywhere_is_a_plain_one() -> None:
    same = ShapeArray((2, 3), FLOAT)
    assert fitted_shape((same, ShapeArray((2, 3), FLOAT), same), ShapeEnvironment(4)) is same


def test_in_rows() -> None:
    environment = ShapeEnvironment(4)
    points = tuple([ShapeArray((n, 3), FLOAT, (4, 4 * n)) for n in environment.points])
    assert at(in_rows(SymbolicShape(environment, points)).strides, 9) == (12, 4)


def test_errors_at_a_point_are_remembered() -> None:
    environment = ShapeEnvironment(4)

    def halves(i: int) -> Any:
        if environment.points[i] % 2:
            raise ValueError
        return ShapeArray((2, 2), FLOAT)

    with pytest.raises(ValueError):
        shapes_at_points(environment, halves)
    assert environment.was_pinned


sizes: Any = st.sampled_from([1, 3, "s", "s-2", "2s"])


def size_of(name: Any, s: Any) -> Any:
    return {"s": s, "s-2": s - 2, "2s": 2 * s}.get(name, name)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(sizes, max_size=3), min_size=1, max_size=3), st.integers(2, 6))
def test_broadcast_shapes(shapes: Any, hint: int) -> None:
    environment = ShapeEnvironment(hint)
    given = [tuple([size_of(n, environment.size) for n in shape]) for shape in shapes]

    def expected(size: int) -> Any:
        try:
            return np.broadcast_shapes(*[tuple([size_of(n, size) for n in s]) for s in shapes])
        except ValueError:
            return None

    try:
        found = broadcast_shapes(*given)
    except ValueError:
        found = None
    for size in (2, 3, 4, 5, 6, 9):
        if environment.guards.hold_for(size):
            assert (None if found is None else at(found, size)) == expected(size)


def recorded(compute: Any, make: Any, hint: int = 5) -> Any:
    environment = ShapeEnvironment(hint)
    graph = Graph()
    with with_symbolic_sizes(environment), recording_into(graph):
        x = TracedArray.as_input(graph, "x", None, shape_of(environment, make))
        return compute(x), environment


@pytest.mark.parametrize("compute", [
    lambda x: x + 1, lambda x: x.T, lambda x: x[1:], lambda x: x[:, ::-1],
    lambda x: x.reshape(-1), lambda x: np.add.reduce(x, 0), lambda x: x @ x.T,
    lambda x: np.concatenate([x, x, x[:1]]), lambda x: x[:, None] * x,
    lambda x: x.reshape(x.shape[0], 2, 2), lambda x: x.astype(np.int64),
    lambda x: np.broadcast_to(x[:1], (x.shape[0], 4)),
])
def test_recorded_calls(compute: Any) -> None:
    found, _ = recorded(compute, lambda n: (n, 4))
    for n in (2, 3, 8):
        expected = compute(np.zeros((n, 4), np.float32))
        assert at(found.shape, n) == expected.shape and found.dtype == expected.dtype
        assert at(found.strides, n) == expected.strides


def test_reshape_to_what_doesnt_fit() -> None:
    with pytest.raises((ValueError, SizePinned)):
        recorded(lambda x: x.reshape(2, -1), lambda n: (n, 3))


def test_arrays_made_of_sizes() -> None:
    def compute(x: Any) -> Any:
        assert type(array_of(np.arange, 3)) is np.ndarray
        return array_of(np.arange, 1, x.shape[0] + 1)

    found, _ = recorded(compute, lambda n: (n, 3))
    assert type(found) is TracedArray and at(found.shape, 9) == (9,)
    assert type(array_of(np.arange, 3)) is np.ndarray


def test_arguments_at_a_size() -> None:
    size = ShapeEnvironment(5).size
    arguments = [size, (slice(None, size - 1), {"a": [2 * size]}), 3, "x"]
    assert depends_on_size(arguments) and not depends_on_size([3, (slice(2), {"a": [4]})])
    assert at_size(arguments, 7) == [7, (slice(None, 6), {"a": [14]}), 3, "x"]
    assert type(size) is SymInt
