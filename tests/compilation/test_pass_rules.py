"""What each pass makes of small graphs, by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np

from taper.arrays.traced import TracedArray, recording_into
from taper.compilation.passes import simplified
from taper.compiler.graph import Graph, Reference

X = np.arange(12, dtype=np.float32).reshape(3, 4) - 5


def recorded(function: Callable[..., Any], *arrays: np.ndarray) -> Graph:
    graph = Graph()
    with recording_into(graph):
        results = function(*[TracedArray.as_input(graph, f"x{i}", a) for i, a in enumerate(arrays)])
        for i, r in enumerate(results if type(results) is tuple else (results,)):
            graph.outputs[f"result.{i}"] = r.reference
    return graph


def labels(function: Callable[..., Any], *arrays: np.ndarray) -> list[str]:
    """The calls that are left, which compute the same."""
    graph = recorded(function, *(arrays or (X,)))
    after = simplified(graph)
    after.check()
    expected, found = graph.run(*(arrays or (X,))), after.run(*(arrays or (X,)))
    for name, value in expected.items():
        assert np.array_equal(value, found[name])
    return [node.label for node in after.nodes]


def test_identities() -> None:
    assert labels(lambda x: np.exp(x * np.float32(1) / np.float32(1) - np.float32(0))) == ["exp"]
    assert labels(lambda x: np.exp(np.negative(-x))) == ["exp"]
    assert labels(lambda x: np.exp(x.astype(np.float32).conj())) == ["exp"]
    assert labels(lambda x: np.exp(np.concatenate([x], 0))) == ["exp"]


def test_zero_is_added_where_it_makes_minus_zero_positive() -> None:
    assert labels(lambda x: np.exp(x + np.float32(0))) == ["add", "exp"]
    assert labels(lambda x: np.exp(x + np.float32(-0.0))) == ["exp"]


def test_numbers_in_place_of_arrays_full_of_them() -> None:
    assert labels(lambda x: np.exp(np.ones_like(x) * x)) == ["exp"]
    assert labels(lambda x: np.where(x > 0, np.ones_like(x), np.zeros_like(x))) == [
        "greater", "where"]
    assert labels(lambda x: np.zeros_like(x) + np.ones_like(x)[::2][0]) == ["full"]
    graph = simplified(recorded(lambda x: x + np.ones((3, 4), np.float32), X))
    assert graph.nodes[0].args[1].shape == (3, 4)  # a constant that somebody made stays


def test_equal_calls_are_one_but_draws_are_not() -> None:
    assert labels(lambda x: np.exp(x) + np.exp(x)) == ["exp", "add"]
    graph = recorded(lambda x: x, X)
    for _ in range(2):
        graph.add("draw", np.ones, ((3, 4),), {}, [((3, 4), X.dtype)], effect=True)
    assert [n.label for n in simplified(graph).nodes] == ["draw", "draw"]


def test_views_are_joined() -> None:
    assert labels(lambda x: np.exp(x.T.T)) == ["exp"]
    assert labels(lambda x: np.exp(x.reshape(2, 6).reshape(-1))) == ["reshape", "exp"]
    assert labels(lambda x: np.exp(x[None].swapaxes(0, 1))) == ["reshape", "exp"]
    assert labels(lambda x: np.exp(x[1:][:, ::-1][1])) == ["__getitem__", "exp"]
    (node, _) = simplified(recorded(lambda x: np.exp(x[1:][:, ::-1][1]), X)).nodes
    assert node.args[1] == (2, slice(3, None, -1))
    assert labels(lambda x: x.dot(x.swapaxes(-1, -2))) == ["transpose", "matmul"]


def test_writes() -> None:
    def whole(x: Any) -> Any:
        y = np.zeros_like(x)
        y.T[...] = np.exp(x).T
        return y

    def in_parts(x: Any) -> Any:
        y = np.zeros_like(x)
        y[2:] = np.exp(x[2:])
        y[:2] = np.sqrt(np.square(x[:2]))
        return y

    def one_part(x: Any) -> Any:
        y = x * 2
        y[1] = x[0]
        return y

    def at_places(x: Any) -> Any:
        y, z = np.zeros_like(x), np.zeros_like(x)
        y[np.array([2, 0])] = x[:2]
        np.add.at(z, np.array([1, 1]), x[:2])
        return y + z

    assert labels(whole) == ["exp"]
    assert labels(in_parts)[-1] == "concatenate" and "setitem" not in labels(in_parts)
    assert labels(one_part) == ["multiply", "__getitem__", "setitem"]
    assert labels(at_places) == ["__getitem__", "scatter", "scatter_add", "add"]


def test_outputs_share_no_memory_that_they_did_not_share() -> None:
    assert labels(lambda x: x.copy()) == ["copy"]
    assert labels(lambda x: ((y := np.exp(x)).copy(), y)) == ["exp", "copy"]
    assert labels(lambda x: np.exp(x).copy()) == ["exp"]
    assert labels(lambda x: (np.exp(x), np.exp(x))) == ["exp", "copy"]
    assert labels(lambda x: ((y := np.exp(x)), y.T)) == ["exp", "transpose"]  # these did


def test_copies_into_another_layout_stay() -> None:
    assert labels(lambda x: np.exp(x.T.copy())) == ["transpose", "copy", "exp"]


def test_rules_that_were_used_are_counted() -> None:
    from collections import Counter

    applied: Counter[str] = Counter()
    simplified(recorded(lambda x: np.exp(x * np.float32(1)) + np.exp(x), X), applied)
    assert applied["products with one"] == 1 and applied["merged with an equal call"] == 1


def test_what_is_known_is_computed_once() -> None:
    x = np.float32(2.0)
    graph = recorded(lambda y: np.exp(y) * np.sqrt(np.full((), x)), X)
    assert len(simplified(graph).nodes) == 2
    (_, product) = simplified(graph).nodes
    assert isinstance(product.args[0], Reference) and product.args[1] == np.sqrt(x)
