"""Each pass alone, and all together: the same bits on random programs."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from recorded_programs import random_graph

from taper.compilation import passes
from taper.compilation.passes.rewriting import kind_of
from taper.compiler.graph import Graph

PASSES = [
    passes.remove_dead_code, passes.merge_subexpressions, passes.fold_constants,
    passes.remove_identities, passes.join_views, passes.direct_writes, passes.normalize_products,
    passes.simplified,
]


def assert_same(before: Graph, after: Graph, arrays: list[np.ndarray]) -> None:
    after.check()
    with np.errstate(all="ignore"):
        expected, found = before.run(*arrays), after.run(*arrays)
    assert list(expected) == list(found)
    for name, value in expected.items():
        assert value.dtype == found[name].dtype, name
        assert np.array_equal(value, found[name], equal_nan=True), name
        assert np.array_equal(np.signbit(value) & ~np.isnan(value),
                              np.signbit(found[name]) & ~np.isnan(value)), name


@pytest.mark.parametrize("one", PASSES, ids=lambda p: p.__name__)
def test_random_programs_compute_the_same(one: Callable[[Graph], Graph]) -> None:
    for seed in range(60):
        graph, arrays = random_graph(seed)
        assert_same(graph, one(graph), arrays)


def test_nothing_comes_to_share_memory() -> None:
    for seed in range(100):
        graph, arrays = random_graph(seed)
        after = passes.simplified(graph)
        with np.errstate(all="ignore"):
            expected, found = graph.run(*arrays), after.run(*arrays)
        for a, b in combinations(expected, 2):
            if np.may_share_memory(found[a], found[b]):
                assert np.may_share_memory(expected[a], expected[b])
        for name, value in found.items():
            for x in arrays:
                if np.may_share_memory(value, x):
                    assert np.may_share_memory(expected[name], x)


def test_simplified_is_a_fixed_point() -> None:
    for seed in range(20):
        once = passes.simplified(random_graph(seed)[0])
        assert len(passes.simplified(once).nodes) == len(once.nodes)


def test_views_have_one_spelling() -> None:
    for seed in range(30):
        for node in passes.simplified(random_graph(seed)[0]).nodes:
            assert kind_of(node) not in ("swapaxes", "squeeze", "ravel", "moveaxis", "dot")
            if kind_of(node) == "transpose":
                assert len(node.args[1]) == len(node.results[0][0])
            if kind_of(node) == "reshape":
                assert node.args[1] == node.results[0][0]
