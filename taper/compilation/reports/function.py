"""A compiled function as a page shows it: its programs, what they watch, what ran as it is."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from taper.compilation.explanations import Explanation
from taper.compilation.program import Program
from taper.compilation.reports.graphs import items_of
from taper.compilation.reports.kernels import kernels_of, with_times
from taper.compilation.reports.machine_speed import MachineSpeed, machine_speed
from taper.compilation.symbolic_graph import graph_at
from taper.compilation.variant import Variant
from taper.compilation.watches import MISSING, path_text
from taper.compiler import background
from taper.compiler.graph import Graph, GraphNode
from taper.core.generator import Generator, default_generator
from taper.core.tensor import Tensor
from taper.viewer.program_page import as_page
from taper.viewer.programs import FunctionView, GuardView, KernelView, ProgramView

__all__ = ["view_of_function", "write_page"]

_RUNS = 11
_PLAIN = (int, float, str, bool, type(None))


def write_page(
    explanation: Explanation, variants: Sequence[Any], path: Path,
    arguments: Sequence[Tensor] | None = None,
) -> Path:
    """Writes the page of a compiled function."""
    path.write_text(as_page(view_of_function(explanation, variants, arguments)), encoding="utf-8")
    return path


def view_of_function(
    explanation: Explanation, variants: Sequence[Any], arguments: Sequence[Tensor] | None = None
) -> FunctionView:
    """What there is to see of a compiled function, with times.

    Args:
        variants: its variants; the programs are shown of those that have one.
        arguments: tensors of a call of the first of them, to measure it with.
    """
    background.wait_until_idle(60)
    speed = machine_speed()
    programs: list[ProgramView] = []
    shown = [v for v in variants if isinstance(v, Variant)]
    with _same_random_numbers([default_generator, *itertools.chain.from_iterable(
            [v.state.snapshot.generators for v in shown])]):
        for i, variant in enumerate(shown):
            programs += _views_of(f"program {i}", variant, None if i else arguments, speed)
    return FunctionView(
        explanation.function, explanation.calls["compiled"], explanation.calls["eager"], programs,
        list(explanation.fallbacks), [] if speed is None else speed.lines())


@contextmanager
def _same_random_numbers(generators: list[Generator]) -> Iterator[None]:
    """What is drawn within is drawn again behind it."""
    states = [(g, g.get_state()) for g in generators]
    try:
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)


def _views_of(
    title: str, variant: Variant, arguments: Sequence[Tensor] | None, speed: MachineSpeed | None
) -> Iterator[ProgramView]:
    recorded = variant.recorded
    given: dict[int, Any] = {}
    for known in recorded.known:
        if known.input >= 0 and known.role == "state":
            given[known.input] = known.array
        elif known.input >= 0 and known.role == "argument" and arguments is not None:
            given[known.input] = arguments[known.place]._array
    given.update({n.place: np.array(n.group[n.name], np.float64)
                  for n in recorded.numbers if n.place >= 0})
    graph = _graph_of(recorded.graph, recorded.size)
    view = _view_of(title, graph, variant.program, given, speed)
    arguments_read = [graph.inputs[k.input] for k in recorded.known
                      if k.role == "argument" and k.input >= 0]
    if arguments_read:
        view.notes.append("of arguments " + ", ".join(
            [f"{dtype}{list(shape)}" for node in arguments_read for shape, dtype in node.results]))
    written = [recorded.graph.inputs[i].label for i in recorded.updates.values()]
    if written:
        view.notes.append(f"writes to {', '.join(written)}")
    view.guards = list(_guards(variant))
    yield view
    for backward in recorded.backwards:
        if backward.program is not None:
            of_known = {i: recorded.known[k].array for i, k in enumerate(backward.inputs)
                        if recorded.known[k].role == "state"}
            yield _view_of(f"{title}, backward", _graph_of(backward.graph, recorded.size),
                           backward.program, of_known, speed)


def _graph_of(graph: Graph, size: int | None) -> Graph:
    """A recorded graph, for the one size if its batch size is open."""
    return graph if size is None else graph_at(graph, size)


def _view_of(
    title: str, graph: Graph, program: Any, given: dict[int, Any], speed: MachineSpeed | None
) -> ProgramView:
    """A program with its graphs, measured on `given` inputs and made-up ones for the others."""
    kernels: list[KernelView] = []
    of_node: dict[int, list[int]] = {}
    is_native = isinstance(program, Program) and program.is_native
    if is_native:
        kernels = kernels_of(program)
        for kernel in kernels:
            for node in kernel.nodes:
                of_node.setdefault(node, []).append(kernel.number)
    view = ProgramView(title, items_of(graph), items_of(program.graph, of_node), kernels)
    place = {node.number: i for i, node in enumerate(
        [*program.graph.inputs, *program.graph.nodes])}
    for kernel in kernels:
        kernel.nodes = [place[node] for node in kernel.nodes]  # boxes from here on
    if not is_native:
        view.unmeasured = ("it runs through NumPy, call by call: there are no kernels "
                           "(no llvmlite, or native code is off)")
    elif not program.is_ready():
        view.unmeasured = "its kernels aren't ready; NumPy computes until they are"
    if view.unmeasured:
        return view
    view.notes.append(f"{program.arena_bytes:,} bytes for values within")
    made_up = [node.label for i, node in enumerate(graph.inputs) if i not in given]
    if made_up:
        view.notes.append("measured with numbers made up, as they aren't kept, for "
                          + ", ".join(made_up))
    arrays = [given[i] if i in given else _made_up(node) for i, node in enumerate(graph.inputs)]
    try:
        with_times(kernels, program, arrays, speed)
        taken = _seconds_of_calls(program, arrays)
        view.seconds, view.least = median(taken), min(taken)
    except Exception as error:  # made-up numbers may be refused: the page tells it
        view.unmeasured = f"{type(error).__name__}: {error}"
    return view


def _made_up(node: GraphNode) -> Any:
    """Numbers between 0 and 1 that lie as a graph's input does; zeros, which every index may be,
    for integers."""
    shape, dtype = node.results[0]
    strides = None if node.strides is None else node.strides[0]
    axes = sorted(range(len(shape)), key=lambda a: (-strides[a], a)) if strides else range(
        len(shape))
    memory = np.zeros([shape[a] for a in axes], dtype)
    if np.issubdtype(memory.dtype, np.inexact) or memory.dtype.isbuiltin != 1:
        memory[...] = np.random.default_rng(0).random(memory.shape)
    return memory.transpose(np.argsort(axes)) if shape else memory


def _seconds_of_calls(program: Program, arrays: Sequence[Any]) -> list[float]:
    """The times of whole calls, on copies."""
    copies = [a.copy("K") for a in arrays]
    into: list[Any] = [None] * len(program.returned)
    taken = []
    for _ in range(_RUNS):
        for own, a in zip(copies, arrays, strict=True):
            np.copyto(own, a)
        start = time.perf_counter()
        program(copies, into)
        taken.append(time.perf_counter() - start)
    return taken


def _guards(variant: Variant) -> Iterator[GuardView]:
    """What a program depends on: Python's state, then tensors."""
    for watch in variant.state.watches:
        kind = type(watch).__name__.removesuffix("Watch").lower()
        yield GuardView(path_text(watch.path) or "the function", kind, _content(watch),
                        watch.holds() or watch.holds_but_for_numbers())
    found = variant.state.snapshot.tensors
    for place, tensor_watch in zip(found, variant.state.tensors, strict=True):
        t = place.tensor
        yield GuardView(
            path_text(place.path), "tensor",
            f"{t._array.dtype}{list(t._array.shape)}, requires_grad={t.requires_grad}",
            tensor_watch.holds())


def _content(watch: Any) -> str:
    """What a watch's holder held, in short."""
    names, saved = getattr(watch, "names", None), watch.saved
    if names is not None:
        return ", ".join([f"{n}: {_short(v)}" for n, v in zip(names, saved, strict=True)])
    if isinstance(saved, tuple) and len(saved) == 2 and isinstance(saved[0], tuple):  # of a dict
        return ", ".join([f"{_short(k)}: {_short(v)}" for k, v in zip(*saved, strict=False)])
    if isinstance(saved, (tuple, frozenset)):
        return f"{len(saved)} elements"
    return _short(saved)


def _short(value: Any) -> str:
    if isinstance(value, _PLAIN) or value is MISSING:
        return repr(value)[:60]
    name = getattr(value, "__name__", None)
    return f"{type(value).__name__} {name}" if isinstance(name, str) else type(value).__name__
