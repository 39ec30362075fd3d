"""Which back end runs a recorded graph."""

from __future__ import annotations

import traceback
import warnings
from collections import Counter
from typing import Any, Protocol

import numpy as np

from taper.compilation.explanations import log
from taper.compiler import background
from taper.compiler.graph import Graph
from taper.core.settings import settings
from taper.core.symbolic import Guards, ShapeEnvironment
from taper.core.threads import get_num_threads

__all__ = ["Program", "SymbolicProgram", "choose_program"]

MOST_PLANS = 8


class Program(Protocol):
    """Runs the graph that passes have left: ``program(arrays, into)`` gives its outputs that aren't
    updates, in new arrays or those of `into`."""

    @property
    def graph(self) -> Graph: ...

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
    return _program_of(_simplified(graph), updates)


def _simplified(graph: Graph) -> Graph:
    from taper.compilation.passes import simplified

    applied: Counter[str] = Counter()
    found = simplified(graph, applied)
    rules = ", ".join([f"{rule}: {times}" for rule, times in applied.most_common()])
    log.info(f"{len(graph.nodes)} recorded calls became {len(found.nodes)} ({rules})")
    return found


class SymbolicProgram:
    """Programs for all sizes of a graph with a symbolic one.

    What a graph becomes may depend on its size, so there can be several plans, each with guards for
    which sizes it is; the last one used comes first.
    """

    def __init__(
        self, graph: Graph, updates: dict[str, int], environment: ShapeEnvironment
    ) -> None:
        self.graph = graph
        self.updates = updates
        self.environment = environment
        self.plans: list[tuple[Guards, Graph, Any]] = []
        self.arena: Any = None

    def at(self, size: int) -> Program:
        """The program for one size."""
        from taper.compilation.program import Program, SharedArena
        from taper.compilation.symbolic_graph import graph_at

        found = self._plan_for(size)
        if found is None:
            return choose_program(graph_at(self.graph, size), self.updates)
        _, graph, plan = found
        if settings.native == "off" or plan is None:
            return _program_of(graph_at(graph, size), self.updates)
        try:
            if self.arena is None:
                self.arena = SharedArena()
            return Program(
                lambda: graph_at(graph, size), self.updates, plan.at(size), self.arena)
        except Exception as error:  # a choice that was right for another size
            log.info(f"a plan for any size isn't one for {size}: {error!r}")
            return _program_of(graph_at(graph, size), self.updates)

    def _plan_for(self, size: int) -> tuple[Guards, Graph, Any] | None:
        for i, found in enumerate(self.plans):
            if found[0].hold_for(size):
                self.plans.insert(0, self.plans.pop(i))
                return found
        if len(self.plans) == MOST_PLANS:
            return None
        with self.environment.assuming(size) as guards:
            try:
                graph = _simplified(self.graph)
            except Exception as reason:  # what is equal at this size needn't be at others
                log.info("a graph is simplified for one size at a time: "
                         f"{type(reason).__name__} in {_place_of(reason)}")
                return None
            made = guards, graph, self._planned(graph)
        self.plans.insert(0, made)
        return made

    def _planned(self, graph: Graph) -> Any:
        from taper.compilation.planning import Plan
        from taper.compilation.replay import Replay

        try:
            return Plan.of(graph, self.updates, Replay(graph, self.updates).facts)
        except Exception as reason:
            log.info(f"a graph of {len(graph.nodes)} calls is planned for one size at a time: "
                     f"{type(reason).__name__} in {_place_of(reason)}")
            return None


def _place_of(error: Exception) -> str:
    """The function that called the one which raised; messages may have symbolic numbers."""
    return traceback.extract_tb(error.__traceback__)[-2].name


def _program_of(graph: Graph, updates: dict[str, int]) -> Program:
    """A program for a graph that is simplified."""
    from taper.compilation.program import make_program
    from taper.compilation.replay import Replay

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
