"""Graphs: what reads what, copies that share nodes, and the checker."""

import numpy as np
import pytest

from taper.compiler.graph import Graph, Reference, replaced

F = np.dtype("float32")


def small() -> Graph:
    """x -> exp(x), x * exp(x), a draw nobody reads."""
    graph = Graph()
    x = graph.add_input("x", (3,), F, (4,))
    e = graph.add("exp", np.exp, (Reference(x),), {}, [((3,), F)])
    graph.add("negative", np.negative, (Reference(e),), {}, [((3,), F)])
    y = graph.add("multiply", np.multiply, (Reference(x), Reference(e)), {}, [((3,), F)])
    graph.add("draw", np.zeros, (3,), {}, [((3,), F)], effect=True)
    graph.outputs["result"] = Reference(y)
    return graph


def test_users_are_listed_once_and_in_order() -> None:
    graph = small()
    users = graph.users()
    assert [n.label for n in users[0]] == ["exp", "multiply"]
    assert [n.label for n in users[1]] == ["negative", "multiply"]


def test_dead_code_goes_but_effects_stay() -> None:
    graph = small().without_dead_code()
    assert [n.label for n in graph.nodes] == ["exp", "multiply", "draw"]
    graph.check()
    x = np.arange(3, dtype=F)
    assert np.array_equal(graph.run(x)["result"], x * np.exp(x))


def test_renumbered_graphs_compute_the_same() -> None:
    graph = small().without_dead_code().renumbered()
    graph.check()
    assert [n.number for n in graph.nodes] == [1, 2, 3]
    assert graph.inputs[0].strides == [(4,)] and graph.nodes[2].effect
    x = np.arange(3, dtype=F)
    assert np.array_equal(graph.run(x)["result"], x * np.exp(x))


def test_replaced_goes_into_nested_arguments() -> None:
    node = small().nodes[0]
    found = replaced(((Reference(node), 1), [Reference(node)], {"a": Reference(node)}), lambda r: 7)
    assert found == ((7, 1), [7], {"a": 7})


def test_check_finds_what_is_wrong() -> None:
    graph = small()
    graph.check()
    wrong_order = graph.like(reversed(graph.nodes), graph.outputs)
    with pytest.raises(ValueError, match="isn't computed before"):
        wrong_order.check()
    with pytest.raises(ValueError, match="is given to another"):
        graph.like([*graph.nodes, graph.nodes[0]], graph.outputs).check()
    graph.add("add", np.add, (Reference(graph.inputs[0]), 1), {}, [((2,), F)])
    with pytest.raises(ValueError, match="operands have the shapes"):
        graph.check()
