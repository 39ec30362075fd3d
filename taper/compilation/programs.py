"""Which back end runs a recorded graph."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any, Protocol

import numpy as np

from taper.compilation.explanations import log
from taper.compiler import background
from taper.compiler.graph import Graph
from taper.core.settings import settings
from taper.core.threads import get_num_threads

__all__ = ["Program", "choose_program"]


class Program(Protocol):
    """Runs the graph that passes have left: ``program(arrays, into)`` gives its outputs that aren't
    updates, in new arrays or those of `into`."""

    graph: Graph

    def expect(self, arrays: list[np.ndarray | None]) -> None: ...

    def __call__(self, arrays: list[np.ndarray], into: list[Any]) -> list[np.ndarray]: ...


def prepare() -> None:
    """Asks for what all programs need, to have it made while one is recorded."""
    from taper.compilation.steps import driver_address
    from taper.runtime.pool import shared_pool

    if settings.native != "off" and background.load():
        driver_address()
        if get_num_threads() > 1:
            shared_pool()


def choose_program(graph: Graph, updates: dict[str, int]) -> Program:
    """A program for the graph: ``program(arrays, into)`` returns the outputs that aren't updates.

    Args:
        updates: name of an output → position of the input into whose memory it is written.
    """
    from taper.compilation.passes import simplified
    from taper.compilation.program import make_program
    from taper.compilation.replay import Replay

    applied: Counter[str] = Counter()
    count = len(graph.nodes)
    graph = simplified(graph, applied)
    rules = ", ".join([f"{rule}: {times}" for rule, times in applied.most_common()])
    log.info(f"{count} recorded calls became {len(graph.nodes)} ({rules})")
    if settings.native == "off":
        return Replay(graph, updates)
    try:
        return make_program(graph, updates)
    except NotImplementedError as reason:
        log.info(f"a graph of {len(graph.nodes)} calls runs through NumPy: {reason}")
    except Exception as error:
        if settings.native == "now":
            raise
        warnings.warn(
            f"taper couldn't make a native program of {len(graph.nodes)} calls, it runs through "
            f"NumPy instead: {error!r}", RuntimeWarning, stacklevel=2,
        )
    return Replay(graph, updates)
