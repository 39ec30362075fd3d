"""Replays of graphs: the bits of Graph.run, call after call, and updates in the inputs' memory."""

import numpy as np
import pytest
from recorded_programs import random_graph

from taper.arrays.traced import TracedArray, recording_into
from taper.compilation.memory_plan import MemoryPlan
from taper.compilation.passes import simplified
from taper.compilation.replay import Replay
from taper.compiler.graph import Graph


def assert_replays(graph: Graph, arrays: list[np.ndarray], updates: dict[str, int]) -> None:
    """Three calls, the later ones with new numbers."""
    replay = Replay(graph, updates)
    rng = np.random.default_rng(7)
    with np.errstate(all="ignore"):
        for _ in range(3):
            given = [a.copy("K") for a in arrays]
            expected = graph.run(*[a.copy("K") for a in given])
            found = dict(zip(replay.returned, replay(given), strict=True))
            found.update({name: given[i] for name, i in updates.items()})
            for name, value in expected.items():
                assert np.array_equal(value, found[name], equal_nan=True), (name, replay.source)
                assert np.shape(value) == found[name].shape
            assert all(found[name].flags.c_contiguous for name in replay.returned)
            untouched = set(range(len(arrays))) - set(updates.values())
            for i in untouched:
                assert np.array_equal(given[i], arrays[i], equal_nan=True)
            for i, name in enumerate(replay.returned):
                found[name][...] = 0  # nobody else may look at it
                assert not any(np.may_share_memory(found[name], g) for g in given), i
            arrays = [rng.standard_normal(a.shape).astype(a.dtype) for a in arrays]


@pytest.mark.parametrize("simple", [False, True])
def test_random_programs(simple: bool) -> None:
    for seed in range(100):
        graph, arrays = random_graph(seed)
        graph = simplified(graph) if simple else graph.without_dead_code()
        assert_replays(graph, arrays, {})


@pytest.mark.parametrize("simple", [False, True])
def test_random_programs_with_updates(simple: bool) -> None:
    count = 0
    for seed in range(200):
        graph, arrays = random_graph(seed)
        shapes = [a.shape for a in arrays]
        updates: dict[str, int] = {}
        for name, r in graph.outputs.items():
            shape = r.node.results[r.output or 0][0]
            free = [i for i, s in enumerate(shapes) if s == shape and i not in updates.values()]
            if free:
                updates[name] = free[0]
        count += len(updates)
        graph = simplified(graph) if simple else graph.without_dead_code()
        assert_replays(graph, arrays, updates)
    assert count > 100


def record(function, *arrays: np.ndarray) -> Graph:
    graph = Graph()
    with recording_into(graph):
        results = function(*[TracedArray.as_input(graph, f"x{i}", a) for i, a in enumerate(arrays)])
        for i, r in enumerate(results):
            graph.outputs[f"result.{i}"] = r.reference
    return graph


def test_inputs_that_exchange_their_values() -> None:
    a, b = np.arange(3.0), np.arange(3.0) + 10
    graph = record(lambda x, y: (y, x), a, b)
    replay = Replay(graph, {"result.0": 0, "result.1": 1})
    for _ in range(3):
        assert replay([a, b]) == []
    assert a.tolist() == [10, 11, 12] and b.tolist() == [0, 1, 2]


def test_an_update_is_computed_where_it_goes() -> None:
    w, g = np.ones(4), np.ones(4)
    replay = Replay(record(lambda w, g: (w - g * 0.5,), w, g), {"result.0": 0})
    for _ in range(3):
        replay([w, g])
    assert w.tolist() == [-0.5] * 4
    assert replay.source is not None and "copyto" not in replay.source


def test_a_value_that_is_still_read_waits() -> None:
    w = np.arange(4.0)
    replay = Replay(record(lambda w: (w + 1, w * 2), w), {"result.0": 0})
    replay([w])
    (double,) = replay([w])
    assert double.tolist() == [2, 4, 6, 8] and w.tolist() == [2, 3, 4, 5]


def test_results_go_into_given_arrays() -> None:
    x = np.arange(4.0).reshape(2, 2)
    replay = Replay(record(lambda x: (x @ x, x.T.copy(), x.sum()), x), {})
    targets = [np.empty((2, 2)), np.empty((2, 2)), np.empty(())]
    for _ in range(2):
        results = replay([x], targets)
        assert all(r is t for r, t in zip(results, targets, strict=True))
    assert targets[0].tolist() == [[2, 3], [6, 11]] and targets[2] == 6
    assert targets[1].tolist() == [[0, 2], [1, 3]]


def test_memory_is_used_again() -> None:
    x = np.ones(1000)

    def chain(x):
        y = x
        for _ in range(20):
            y = np.exp(np.sin(y) + y.reshape(10, 100).T.copy().reshape(-1))
        return (y,)

    replay = Replay(record(chain, x), {})
    replay([x])
    assert 0 < replay.nbytes <= 5 * 8192


def test_places_are_the_smallest_that_fit() -> None:
    plan = MemoryPlan()
    a, b, c = plan.take(1000), plan.take(64), plan.take(100)
    assert (a, b, c) == (0, 1024, 1088) and plan.nbytes == 1216
    plan.give_back(a, 1000)
    plan.give_back(c, 100)
    assert plan.take(128) == c and plan.take(64) == a and plan.take(900) == 64
    plan.give_back(64, 900)
    plan.give_back(b, 64)
    assert plan.take(1000) == 64


def test_functions_that_are_called_as_variables_are() -> None:
    x = np.linspace(-1.0, 1.0, 5)
    graph = record(lambda x: (x + 1,), x)
    for label in ("i0", "v1", "lambda", "into", "a b", "copyto"):
        graph.nodes[0].label = label
        assert_replays(graph, [x], {})


def test_writes_through_views_that_numpy_makes_read_only() -> None:
    def fill_diagonal(x):
        y = x * 2
        y.diagonal()[...] = x[0]
        return (y,)

    x = np.arange(9.0).reshape(3, 3)
    assert_replays(record(fill_diagonal, x), [x], {})
