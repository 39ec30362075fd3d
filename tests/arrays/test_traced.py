"""Recorded arrays: writes into arrays and their views, in a graph whose values never change."""

from typing import Any

import numpy as np
import pytest

from taper.arrays.node_functions import Step, method_caller, window, write
from taper.arrays.traced import TracedArray
from taper.compiler.graph import Graph


def check(program, *arrays):
    """The program's recorded result, replayed, is what NumPy computes."""
    graph = Graph()
    traced = [TracedArray.as_input(graph, f"x{i}", a) for i, a in enumerate(arrays)]
    graph.outputs["y"] = program(*traced).reference
    found = graph.run(*[a.copy("K") for a in arrays])["y"]
    np.testing.assert_array_equal(found, program(*[a.copy("K") for a in arrays]))


def fill_parts(x):
    y = x * 1
    view = y[1:]
    view[0] = 5
    view += 1
    y.reshape(2, 2).T[0, 1] = -1
    np.multiply(view, 2, out=view)
    return y + view.sum()


def change_what_views_see(x):
    view = x[::2]
    x += 10
    return view * 1


def write_by_indices(x):
    y = x.reshape(2, 2) * 1
    y[np.array([0, 1]), np.array([1, 0])] = 7
    np.add.at(y, (np.array([0, 0]), np.array([0, 0])), 1.0)
    return y


def complex_parts(x):
    z = x * (1 + 1j)
    z.real = 3
    z.imag[1:] += 2
    return z


def put_and_sort(x):
    y = x * 1
    np.put_along_axis(y, np.array([3, 0]), np.array([9.0, -9.0]), 0)
    y.sort()
    return y


@pytest.mark.parametrize("program", [
    fill_parts, change_what_views_see, write_by_indices, complex_parts, put_and_sort,
])
def test_writes(program):
    check(program, np.arange(4.0))


def test_writes_where_memory_lies_otherwise():
    """reshape() is a view of the recorded array, but a copy of the one that comes."""
    graph = Graph()
    x = TracedArray.as_input(graph, "x", np.zeros((2, 3)))
    x.reshape(6)[1] = 5
    graph.outputs["y"] = x.reference
    found = graph.run(np.zeros((3, 2)).T)["y"]
    assert found.tolist() == [[0, 5, 0], [0, 0, 0]]


def test_values_are_not_there():
    x = TracedArray.as_input(Graph(), "x", np.ones(2))
    for ask in (bool, float, int, np.asarray, lambda x: x.item(), lambda x: x.tolist()):
        with pytest.raises(NotImplementedError, match="needs a value"):
            ask(x.sum())
    with pytest.raises(NotImplementedError, match="was not told of"):
        np.add(x, 1, out=np.zeros(2))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex128])
def test_writes_through_windows_of_memory_that_lies_otherwise(dtype: Any) -> None:
    """A window counts in bytes, also where places are found by their numbers."""
    item = np.dtype(dtype).itemsize
    steps = (Step(method_caller("transpose"), ([1, 0],), {}),
             Step(window, ((2,), (4 * item,), 0), {}))  # the diagonal of a transposed (3, 2)
    for array in (np.zeros((3, 2), dtype), np.zeros((2, 3), dtype).T):
        found = write(array, steps, np.full(2, 2, dtype))
        assert found.tolist() == [[2, 0], [0, 2], [0, 0]]
