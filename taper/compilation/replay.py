"""Runs a graph through NumPy and our kernels, as straight-line Python over memory planned ahead.

The portable way to run a compiled step: where there is no LLVM, and until native code is ready.
The first call runs the graph node by node and sees how results lie in memory; then Python source is
written in which each call writes into its place in one arena, views of such places are made once,
and an elementwise call writes over an operand that nobody reads afterwards. Results are those of
`Graph.run` to the last bit: the same functions on arrays that lie alike.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from taper.compilation.recorded import BROKEN, INVALID, CheckFailed, FactBroken
from taper.compilation.replay_plan import Observed, Plan
from taper.compilation.replay_source import compiled_source
from taper.compiler.graph import Graph, Reference, replaced

__all__ = ["Replay"]


class Replay:
    """Calls of a graph, again and again.

    Args:
        graph: what to compute.
        updates: by the name of an output, the position of the input whose memory receives it.
            The old value is read before. Inputs that are updated share no memory with others.
    """

    def __init__(self, graph: Graph, updates: dict[str, int]) -> None:
        self.facts: Graph | None = None
        if BROKEN in graph.outputs:  # asked before anything is computed
            outputs = dict(graph.outputs)
            self.facts = graph.like(
                [n for n in graph.nodes if not n.effect], {BROKEN: outputs.pop(BROKEN)},
            ).without_dead_code()
            graph = graph.like(graph.nodes, outputs).without_dead_code()
        self.checked: Replay | None = None
        if INVALID in graph.outputs:  # nothing is written to before that is known
            outputs = dict(graph.outputs)
            check = outputs.pop(INVALID)
            self.checked = Replay(graph.like(graph.nodes, {"check": check, **outputs}), {})
            graph = graph.like(graph.nodes, outputs)
        self.graph = graph
        self.updates = updates
        self.returned = [name for name in graph.outputs if name not in updates]
        self.source: str | None = None
        self.nbytes = 0
        self._run: Callable[..., list[np.ndarray]] | None = None
        self._lock = threading.Lock()  # the arena serves one call at a time

    def expect(self, arrays: Sequence[np.ndarray | None]) -> None:
        """Arrays that calls will bring: nothing is made ready for them here."""

    def __call__(
        self, arrays: Sequence[np.ndarray], into: Sequence[np.ndarray | None] | None = None
    ) -> list[np.ndarray]:
        """The outputs that aren't updates, in order, each in the order of rows.

        Args:
            arrays: for the inputs.
            into: for each output that is returned, the array that takes it, or None for a new one.
                None shares memory with an input.
        """
        if self.facts is not None and self.facts.run(*arrays)[BROKEN]:
            raise FactBroken
        if into is None:
            into = [None] * len(self.returned)
        if self.checked is not None:
            return self._run_checked(arrays, into)
        with self._lock:
            if self._run is not None:
                return self._run(arrays, into)
            observed, results = self._first_run(arrays, into)
            plan = Plan(self.graph, self.updates, observed)
            self.source, self._run = compiled_source(plan)
            self.nbytes = plan.memory.nbytes
            return results

    def _run_checked(
        self, arrays: Sequence[np.ndarray], into: Sequence[np.ndarray | None]
    ) -> list[np.ndarray]:
        assert self.checked is not None
        invalid, *values = self.checked(arrays)
        if invalid:
            raise CheckFailed
        found = dict(zip(self.graph.outputs, values, strict=True))
        for name, place in self.updates.items():
            np.copyto(arrays[place], found[name])
        results = [found[name] for name in self.returned]
        for i, target in enumerate(into):
            if target is not None:
                np.copyto(target, results[i])
                results[i] = target
        return results

    def _first_run(
        self, arrays: Sequence[np.ndarray], into: Sequence[np.ndarray | None]
    ) -> tuple[Observed, list[np.ndarray]]:
        """Runs node by node and remembers how values lie in memory."""
        observed = Observed()
        values: dict[tuple[int, int | None], np.ndarray] = {}
        for node, array in zip(self.graph.inputs, arrays, strict=True):
            values[node.number, None] = array
            observed.add_input(node, array, arrays)
        last = last_reads(self.graph)

        def value_of(reference: Reference) -> np.ndarray:
            return values[reference.node.number, reference.output]

        for i, node in enumerate(self.graph.nodes):
            assert node.function is not None
            result = node.function(*replaced(node.args, value_of),
                                   **replaced(node.kwargs, value_of))
            operands = [((r.node.number, r.output), value_of(r)) for r in node.read]
            several = isinstance(result, tuple)  # LAPACK's are named
            for output, part in enumerate(result if several else (result,)):
                key = (node.number, output if several else None)
                values[key] = np.asarray(part)
                observed.add(key, values[key], operands)
            for key in last.get(i, ()):
                values.pop(key, None)
        return observed, self._finish(arrays, into, value_of)

    def _finish(
        self, arrays: Sequence[np.ndarray], into: Sequence[np.ndarray | None],
        value_of: Callable[[Reference], np.ndarray],
    ) -> list[np.ndarray]:
        """Hands over what the first run computed."""
        outputs = self.graph.outputs
        results = []
        for name, target in zip(self.returned, into, strict=True):
            value = value_of(outputs[name])
            if target is None:
                results.append(np.array(value, order="C"))
            else:
                np.copyto(target, value)
                results.append(target)
        new = [np.array(value_of(outputs[name])) for name in self.updates]
        for place, value in zip(self.updates.values(), new, strict=True):
            np.copyto(arrays[place], value)
        return results


def last_reads(graph: Graph) -> dict[int, list[tuple[int, int | None]]]:
    """By position of a node, the values that are read there for the last time."""
    kept = {(r.node.number, r.output) for r in graph.outputs.values()}
    last: dict[tuple[int, int | None], int] = {}
    for i, node in enumerate(graph.nodes):
        for r in node.read:
            last[r.node.number, r.output] = i
    found: dict[int, list[tuple[int, int | None]]] = {}
    for key, i in last.items():
        if key not in kept:
            found.setdefault(i, []).append(key)
    return found
