"""Which back end runs a recorded graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper.compiler.graph import Graph

__all__ = ["Program", "choose_program"]

Program = Callable[[list[np.ndarray], list[Any]], list[np.ndarray]]


def choose_program(graph: Graph, updates: dict[str, int]) -> Program:
    """A program for the graph: ``program(arrays, into)`` returns the outputs that aren't updates.

    Args:
        updates: name of an output → position of the input into whose memory it is written.
    """
    return _replay(graph, updates)


def _replay(graph: Graph, updates: dict[str, int]) -> Program:
    names = [name for name in graph.outputs if name not in updates]

    def program(arrays: list[np.ndarray], into: list[Any]) -> list[np.ndarray]:
        values = graph.run(*arrays)
        results = [np.array(values[name], order="K") for name in names]
        new = [np.array(values[name]) for name in updates]
        for place, value in zip(updates.values(), new, strict=True):
            arrays[place][...] = value
        return results

    return program
