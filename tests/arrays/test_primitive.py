"""Primitives run on ndarrays and ask other classes of arrays, as NumPy's functions do."""

import numpy as np
import pytest

from taper.arrays.primitive import answers, primitive
from taper.arrays.shape import ShapeArray
from taper.arrays.traced import TracedArray
from taper.compiler.graph import Graph
from taper.kernels import convolution, pooling, recurrent


@primitive
def doubled_rows(x, times):
    """Rows, several times."""
    return np.repeat(x, times, 0) * 2


@doubled_rows.shapes
def _(x, times):
    return (x.shape[0] * times, *x.shape[1:]), x.dtype


def test_runs_on_ndarrays():
    assert doubled_rows(np.ones((1, 2)), 2).tolist() == [[2, 2], [2, 2]]
    assert doubled_rows.__doc__ == "Rows, several times."


def test_shapes_come_from_the_rule():
    found = doubled_rows(ShapeArray((3, 4), np.float32), 5)
    assert type(found) is ShapeArray and found.shape == (15, 4) and found.dtype == np.float32


def test_a_call_is_one_node_of_a_graph():
    graph = Graph()
    x = TracedArray.as_input(graph, "x", np.ones((1, 2), np.float32))
    y = doubled_rows(x, 2)
    graph.outputs["y"] = y.reference
    assert str(graph.nodes[0]) == "%1 = doubled_rows(%0, 2)  : float32[2, 2]"
    assert graph.run(np.ones((1, 2), np.float32))["y"].tolist() == [[2, 2], [2, 2]]


def test_other_classes_answer_in_numpys_order():
    asked = []

    @answers
    class Other:
        def __array_function__(self, function, types, args, kwargs):
            asked.append(type(self).__name__)
            return NotImplemented

    @answers
    class More(Other):
        def __array_function__(self, function, types, args, kwargs):
            super().__array_function__(function, types, args, kwargs)
            return "answer"

    assert doubled_rows(Other(), More()) == "answer" and asked == ["More"]
    with pytest.raises(TypeError, match="doubled_rows: no implementation"):
        doubled_rows(Other(), 2)


def test_without_a_rule_the_message_names_it():
    @primitive
    def unruled(x):
        return x

    with pytest.raises(NotImplementedError, match="unruled has no rule for shapes"):
        unruled(ShapeArray((2,), np.float32))


X, W = np.ones((2, 4, 6, 5), np.float32), np.ones((6, 2, 3, 3), np.float32)
WINDOWS = pooling.Windows((2, 2), (2, 1), (1, 0), (1, 1))
OUT = pooling.pooled_size((6, 5), WINDOWS)
ROWS, H = np.ones((5, 3), np.float32), np.ones((2, 4), np.float32)


@pytest.mark.parametrize(("kernel", "args"), [
    (convolution.convolve, (X, W, (1, 2), (1, 0), (1, 1), 2)),
    (convolution.input_gradient, (np.ones((2, 6, 4, 3), np.float32), W, (6, 5), (1, 1), (0, 0),
                                  (1, 1), 2)),
    (convolution.weight_gradient, (np.ones((2, 6, 4, 3), np.float32), X, (3, 3), (1, 1), (0, 0),
                                   (1, 1), 2)),
    (pooling.max_pool, (X, WINDOWS, OUT)),
    (pooling.max_pool_with_indices, (X, WINDOWS, OUT)),
    (pooling.mean_pool, (X, WINDOWS, OUT, 4)),
    (pooling.adaptive_max, (X, (3, 2))),
    (recurrent.lstm, (ROWS, H, H, np.ones((16, 3), np.float32), np.ones((16, 4), np.float32), None,
                      None, (2, 2, 1), False)),
    (recurrent.gru, (ROWS, H, np.ones((12, 3), np.float32), np.ones((12, 4), np.float32), None,
                     None, (2, 2, 1), True)),
])
def test_rules_of_kernels_tell_what_they_return(kernel, args):
    expected = kernel(*args)
    found = kernel(*[
        ShapeArray(a.shape, a.dtype) if isinstance(a, np.ndarray) else a for a in args
    ])
    if not isinstance(expected, tuple):
        expected, found = (expected,), (found,)
    assert [(a.shape, a.dtype) for a in found] == [(a.shape, a.dtype) for a in expected]
