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
    from taper.compilation.passes import simplified
    from taper.compilation.program import make_program

    return make_program(simplified(graph), updates)
