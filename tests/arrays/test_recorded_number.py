"""Numbers whose arithmetic is recorded, and the facts that comparisons of them become."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.arrays.recorded_number import RecordedNumber, larger, smaller
from taper.arrays.traced import TracedArray, recording_into
from taper.compiler.graph import Graph


def test_facts_hold_for_numbers_that_compare_alike() -> None:
    graph = Graph()
    pinned: list[str] = []

    def number(name: str, value: float) -> RecordedNumber:
        array = TracedArray.as_input(graph, name, np.array(value))
        return RecordedNumber(array, value, lambda: pinned.append(name), facts=recording.facts)

    with recording_into(graph) as recording:
        x, y = number("x", 2.0), number("y", 0.5)
        assert x > 1 and x * y == 1.0 and not y >= x and bool(y)
        assert y and not (y < 0.25)  # the first is known already
        assert len(recording.facts) == 5 and not pinned
        graph.outputs["broken"] = recording.facts.broken().reference
        assert int(x) == 2 and pinned == ["x"]
    for values, is_broken in (((2.0, 0.5), 0), ((4.0, 0.25), 0), ((4.0, 0.5), 1), ((1.0, 1.0), 1)):
        assert graph.run(*map(np.array, values))["broken"] == is_broken


def test_larger_and_smaller_are_decided_when_the_program_runs() -> None:
    assert larger(1, 2.5) == 2.5 and smaller(1, 2.5) == 1
    graph = Graph()
    array = TracedArray.as_input(graph, "x", np.array(3.0))
    pin: Any = None
    found = larger(2.0, RecordedNumber(array, 3.0, pin)) + smaller(
        RecordedNumber(array, math.nan, pin), 5)
    assert math.isnan(found.value)  # of one, nobody knows it
    graph.outputs["sum"] = found.array.reference
    assert graph.run(np.array(3.0))["sum"] == 6.0
    assert graph.run(np.array(1.0))["sum"] == 3.0
    assert graph.run(np.array(9.0))["sum"] == 14.0


def test_counts_know_what_they_are_now() -> None:
    graph = Graph()
    with recording_into(graph) as recording:
        array = TracedArray.as_input(graph, "step", np.array(4.0, np.float32))
        recording.arrays[array.reference.node.number] = np.array(4.0, np.float32)
        count = (array + 1).as_number()
        assert math.isnan(count.value) and count.now == 5.0
        assert count > 4.5 and len(recording.facts) == 1
        assert {count: "a"}[count] == "a"  # as a key, by itself
