"""Programs: a graph as a flat list of native calls, run by one driver.

    program = make_program(graph, updates={"weight": 0})
    results = program(arrays, into)

The graph is taken apart into operations, these are put into groups, each group is one kernel
(taper/compilation/lowering). What is left over are calls of Python functions, between which the
driver (compiler/program_driver.py) runs everything else without coming back to Python.

While kernels are being made, and where there can be none, the graph runs by NumPy.
"""

from __future__ import annotations

import ctypes
import threading
import time
import warnings
from array import array
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cached_property
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from taper.compilation.lowering import memory
from taper.compilation.lowering.copies import copy_into_input
from taper.compilation.lowering.groups import Group
from taper.compilation.lowering.launches import Address, Launch
from taper.compilation.lowering.loops import Loops, loops_of
from taper.compilation.lowering.operations import (
    Call,
    Check,
    Join,
    Prepared,
    Product,
    RowPick,
    RowSum,
    is_known,
    mapped,
)
from taper.compilation.lowering.products import launches_of, needs_blas
from taper.compilation.lowering.recipes import launches_of_recipe
from taper.compilation.lowering.reuse import with_places_of_operands
from taper.compilation.lowering.rows import pick_launch, sum_launch
from taper.compilation.lowering.schedule import Order
from taper.compilation.lowering.values import Value, View, inverse
from taper.compilation.planning import CHECKS, Plan
from taper.compilation.replay import Replay
from taper.compilation.steps import (
    ARENA,
    Instruction,
    LaterView,
    PythonCall,
    Segment,
    arguments_getter,
    driver_address,
    driver_code,
    strided_view,
    view_of_whole,
)
from taper.compiler import background
from taper.compiler.graph import Graph
from taper.compiler.program_driver import DRIVER_WORDS, GUARD
from taper.core.settings import settings
from taper.core.storage import address_of
from taper.core.threads import get_num_threads
from taper.runtime import pool as pools
from taper.runtime.blas import find_blas
from taper.runtime.large_arrays import new_array

__all__ = ["Program", "SharedArena", "make_program"]

Array = np.ndarray[Any, Any]
_INSTRUCTIONS, _COUNT, _PATCH_COUNT, _STOPPED = map(
    DRIVER_WORDS.index, ("instructions", "count", "patch_count", "stopped"))
_INSTRUCTION_BYTES = 40
_ROUNDS_IF_SHARED = 1  # of the search for little memory
_LONGEST_WAIT = 0.6  # seconds for kernels, in the call that records a program


def make_program(graph: Graph, updates: dict[str, int]) -> Program:
    """A program that computes the graph's outputs.

    Args:
        updates: name of an output -> position of the input into whose memory the new value goes.
    """
    return Program(graph, updates)


class SharedArena:
    """Memory for the values of programs of which one runs at a time. What nobody has touched yet
    costs more than many a program, so one for another size takes what there is."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._largest = new_array((0,), np.dtype(np.uint8), 0)

    def of(self, size: int) -> Array:
        """An array of at least so many bytes."""
        if self._largest.size < size or not self._largest.size:
            self._largest = new_array((max(64, size),), np.dtype(np.uint8), size)
        return self._largest


class _Fresh(NamedTuple):
    """A result in memory that is made for each run: its number, how its memory is laid out, and the
    orders of axes that lead from it to its memory and back, if they aren't the same."""

    number: int
    shape: tuple[int, ...]  # in memory
    dtype: Any
    size: int
    order: tuple[int, ...] | None
    back: tuple[int, ...] | None


def _fresh(number: int, shape: tuple[int, ...], order: tuple[int, ...], value: Value) -> _Fresh:
    memory = tuple([shape[a] for a in order])
    if order == tuple(range(len(order))):
        return _Fresh(number, memory, value.dtype, value.size, None, None)
    return _Fresh(number, memory, value.dtype, value.size, order, inverse(order))


class Program:
    """Callable: ``program(arrays, into)`` returns the outputs that aren't updates.

    Args:
        graph: what to compute, or a function that makes it if it is asked for.
        plan: of this graph, if there is one.      shared: memory that other programs use too.
        arrays: for each input of the graph. Those that are updated are written to.
        into: for each output that is returned, the array that takes it, or None for a new one.
    """

    def __init__(
        self, graph: Graph | Callable[[], Graph], updates: dict[str, int],
        plan: Plan | None = None, shared: SharedArena | None = None,
    ) -> None:
        self._graph_of = graph
        self.updates = updates
        names = self.graph.outputs if plan is None else plan.outputs
        self.returned = [name for name in names if name not in updates and name not in CHECKS]
        self._shared = shared
        self._lock = threading.Lock() if shared is None else shared.lock
        self._is_ready = False
        self._threads = -1
        self._pool: Any = None
        self.is_native = settings.native != "off" and background.load()
        if self.is_native:
            try:
                self.plan = plan or Plan.of(self.graph, updates, self.replay.facts)
                self._place_all()
                self._ask()
            except Exception as error:
                if settings.native == "now":
                    raise
                self.is_native = False
                warnings.warn(
                    f"taper couldn't make a native program of a graph of {len(self.graph.nodes)} "
                    f"calls, NumPy computes instead: {error!r}", RuntimeWarning, stacklevel=2)

    @cached_property
    def graph(self) -> Graph:
        """What it computes."""
        return self._graph_of() if callable(self._graph_of) else self._graph_of

    @cached_property
    def replay(self) -> Replay:
        """What computes it by NumPy, where there are no kernels."""
        return Replay(self.graph, self.updates)

    # -- planning ------------------------------------------------------------------------------

    def _place_all(self) -> None:
        """Gives everything in the plan its place in memory, and writes the steps."""
        outputs, schedule = self.plan.outputs, self.plan.order
        self.schedule = schedule
        self.input_orders = self.plan.input_orders
        base_of, lives = self._bases(schedule, outputs)
        scratch = self._make_launches(schedule)
        in_order = [self.launches.get(id(unit), []) for unit in schedule.order]
        lives, homes = with_places_of_operands(in_order, lives)
        lives = {**lives, **scratch}
        offsets, self.arena_bytes = (
            memory.plan(lives) if self._shared is None else memory.plan(lives, _ROUNDS_IF_SHARED))
        offsets.update({value: offsets[home] for value, home in homes.items()})
        self.places = {**base_of, **{v: (ARENA, offset) for v, offset in offsets.items()}}
        self.arena = (SharedArena() if self._shared is None else self._shared).of(self.arena_bytes)
        self.bases = array("q", [0] * self.base_count)
        self.held: list[Any] = [None] * self.base_count
        self.stays: list[Any] = [None] * self.base_count
        self.at_rest: list[Any] = [None] * self.base_count  # what `held` is between runs
        late = [(outputs[name], place) for name, place in self.updates.items()
                if outputs[name] not in schedule.in_place]
        self.late = [(View.of(value), place) for value, place in late if not is_known(value.dtype)]
        self._make_steps(
            schedule, [copy_into_input(*each) for each in late if is_known(each[0].dtype)],
            {self._place(Address(value))[0] for value, _ in late})

    def _bases(
        self, schedule: Order, outputs: dict[str, Value]
    ) -> tuple[dict[Value, tuple[int, int]], dict[Value, tuple[int, int, int]]]:
        """Where values lie that aren't in the arena; and how long those live that are."""
        count = 1 + len(self.input_orders)
        places: dict[Value, tuple[int, int]] = {
            v: (1 + place, 0) for v, place in schedule.in_place.items()}
        self.fresh: list[_Fresh] = []
        self.result_bases: list[int] = []
        for name in self.returned:
            value = outputs[name]
            places[value] = count, 0
            if not isinstance(value.maker, Call):
                self.fresh.append(_fresh(
                    len(self.result_bases), self.plan.shapes[name], self.plan.orders[name], value))
            self.result_bases.append(count)
            count += 1
        for unit in schedule.order:
            if isinstance(unit, Call):
                for value in unit.outs:
                    if value not in places:
                        places[value] = count, 0
                        count += 1
        self.base_count = count
        end = len(schedule.order)
        late = {outputs[name] for name in self.updates} - set(schedule.in_place)
        touched = schedule.lives()
        lives = {
            v: (v.bytes, first, end if v in late else last)
            for v, (first, last) in touched.items() if v not in places}
        self.last_reads: dict[int, int] = {}
        for v, (_, last) in touched.items():
            if v in places:
                self.last_reads[places[v][0]] = last
        return places, lives

    def _make_launches(self, schedule: Order) -> dict[Value, tuple[int, int, int]]:
        """Makes the launches of all units; returns what they need besides, with its life."""
        self.launches: dict[int, list[Launch]] = {}
        self.needs_blas = False
        scratch: dict[Value, tuple[int, int, int]] = {}
        for index, unit in enumerate(schedule.order):
            if isinstance(unit, Group):
                self.launches[id(unit)] = [loops_of(unit, schedule.place)]
                continue
            if isinstance(unit, Product):
                self.needs_blas = self.needs_blas or needs_blas(unit)
                found = launches_of(unit)
            elif isinstance(unit, Prepared):
                found = launches_of_recipe(unit)
            elif isinstance(unit, RowPick):
                found = pick_launch(unit)
            elif isinstance(unit, RowSum):
                found = sum_launch(unit)
            elif isinstance(unit, Check):
                flag = unit.views[0]
                found = [Launch(None, driver_code, [Address(flag.value, flag.offset)], 0, GUARD,
                                f"check {unit.views[1]}", unit)], []
            else:
                continue
            if found is None:
                raise NotImplementedError("products without vectors and without BLAS")
            self.launches[id(unit)], others = found
            scratch.update({value: (value.bytes, index, index) for value in others})
        return scratch

    def _place(self, at: Address | View) -> tuple[int, int]:
        """The base and the offset in bytes of a view; constants' are negative addresses."""
        value = at.value
        offset = at.offset * value.dtype.itemsize
        if value.constant is not None:
            return -address_of(value.constant), offset
        if value.input is not None:
            return 1 + value.input, offset
        whole = self.schedule.place(value)
        base, start = self.places[whole.value]
        return base, start + whole.offset * value.dtype.itemsize + offset

    def _static(self, view: View) -> Array:
        """A view of a value in the arena."""
        _, offset = self._place(view)
        return strided_view(self.arena, offset, view)

    def _make_steps(self, schedule: Order, late: list[Launch], kept: set[int]) -> None:
        """The steps of all units, and then some launches; they read what lies at bases `kept`."""
        self.steps: list[Any] = []
        self.instructions: list[Instruction] = []
        results = {*self.result_bases, *kept}
        for index, unit in enumerate(schedule.order):
            if isinstance(unit, Join):
                continue
            if isinstance(unit, Call):
                outs = [(self.places[v][0], v) for v in unit.outs]
                released = [
                    base for base, last in self.last_reads.items()
                    if last == index and base not in results and base > len(self.input_orders)]
                self.steps.append(PythonCall(unit, self._getters(unit), outs, released))
                continue
            self._add_launches(self.launches[id(unit)])
        if late:
            self._add_launches(late)

    def _add_launches(self, launches: list[Launch]) -> None:
        if not self.steps or not isinstance(self.steps[-1], Segment):
            self.steps.append(Segment(self.bases.buffer_info()[0]))
        for launch in launches:
            instruction = Instruction(launch, self._place)
            self.steps[-1].instructions.append(instruction)
            self.instructions.append(instruction)

    def _getters(self, call: Call) -> Callable[[list[Any]], tuple[Any, Any]]:
        """A function that gives the arguments of a call."""
        def prepared(item: Any) -> Any:
            if not isinstance(item, View):
                return item
            value = item.value
            if value.constant is not None:
                return view_of_whole(value.constant, item)
            base, _ = self._place(item)
            if base == ARENA:
                return self._static(item)
            return LaterView(base, item)

        return arguments_getter(mapped(prepared, call.args), mapped(prepared, call.kwargs))

    # -- kernels -------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Asks for all kernels, and waits for them a while, as who compiles expects."""
        self._driver = driver_address()
        if get_num_threads() > 1 and self._is_shared():
            pools.shared_pool()
        # Those that were written by hand take longest.
        for step in sorted(self.instructions, key=lambda s: isinstance(s.launch.source, Loops)):
            step.is_ready()
        background.wait_for([step.launch.key for step in self.instructions], _LONGEST_WAIT)

    def is_ready(self) -> bool:
        """Whether all kernels are there."""
        if not self.is_native:
            return False
        if self._is_ready:
            return True
        if self._driver is None:
            self._driver = driver_address()
            if self._driver is None:
                return False
        if not all(step.is_ready() for step in self.instructions):
            return False
        self._run_driver = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(self._driver)
        self._is_ready = True
        return True

    def _is_shared(self) -> bool:
        """Whether a kernel is worth several threads."""
        return any([step.launch.tasks > step.launch.grain for step in self.instructions])

    def _link(self) -> None:
        """Writes the tables of the driver, for the threads there are now."""
        self._threads = get_num_threads()
        run = state = 0
        if self._threads > 1 and self._is_shared():
            pool = pools.shared_pool()
            if pool is not None:
                pool.start(self._threads - 1)
                run, state = pool.run_address, pool.state
            elif background.is_at_work():
                self._threads = -1  # the next call tries again
        self._pool = pools.current_pool()
        for step in self.steps:
            if isinstance(step, Segment):
                step.link(address_of(self.arena), run, state)

    # -- running -------------------------------------------------------------------------------

    def __call__(
        self, arrays: Sequence[Array], into: Sequence[Array | None] | None = None
    ) -> list[Array]:
        if not (self._is_ready or self.is_ready()) or not self._lock.acquire(blocking=False):
            return self.replay(arrays, into)
        try:
            if self.needs_blas:
                blas = find_blas()
                assert blas is not None
                with blas.one_thread:
                    return self._run(arrays, into)
            return self._run(arrays, into)
        finally:
            self._lock.release()

    def expect(self, arrays: Sequence[Array | None]) -> None:
        """Takes the arrays that calls will bring, as long as nobody says otherwise; None for those
        that are others each time. Where they lie is written down once."""
        if not self.is_native:
            return
        for base, (a, order) in enumerate(zip(arrays, self.input_orders, strict=True), 1):
            self.stays[base] = self.at_rest[base] = None
            if a is None:
                continue
            own = a if order is None else a.transpose(order)
            if own.flags.c_contiguous:
                self.stays[base] = a
                self.at_rest[base] = own
                self.bases[base] = address_of(own)
        self.held[:] = self.at_rest

    def _run(self, arrays: Sequence[Array], into: Sequence[Array | None] | None) -> list[Array]:
        if self._threads != get_num_threads() or self._pool is not pools.current_pool():
            self._link()
        held, bases, stays = self.held, self.bases, self.stays
        copies: list[tuple[int, Array]] | None = None
        for base, a in enumerate(arrays, 1):
            if a is stays[base]:
                continue
            stays[base] = None
            order = self.input_orders[base - 1]
            if order is not None:
                a = a.transpose(order)
            if not a.flags.c_contiguous:
                if copies is None:
                    copies = []
                copies.append((base - 1, a))
                a = a.copy("C")
            held[base] = a
            bases[base] = address_of(a)
        results: list[Any] = [None] * len(self.result_bases)
        for i, shape, dtype, size, order, back in self.fresh:
            given = memory = None if into is None else into[i]
            if given is not None and order is not None:
                memory = given.transpose(order)
            if memory is None or not memory.flags.c_contiguous:
                given = memory = new_array(shape, dtype, size)
                if back is not None:
                    given = memory.transpose(back)
            results[i] = given
            base = self.result_bases[i]
            held[base] = memory
            bases[base] = address_of(memory)
        for step in self.steps:
            if type(step) is Segment:
                self._run_driver(step.block, 0, 0)
                if step.words[_STOPPED]:
                    self._complain(step)
            else:
                step.run(held, bases)
        return self._finished(arrays, into, results, copies)

    def _complain(self, segment: Segment) -> None:
        """Raises what a check has found."""
        segment.words[_STOPPED] = 0
        for step in segment.instructions:
            check = step.launch.source
            if isinstance(check, Check):
                flag, index = check.views
                if self._array(flag).any():
                    check.complain(self._array(index))

    def _array(self, view: View) -> Array:
        """A view as an array, while the program runs."""
        if view.value.constant is not None:
            return view_of_whole(view.value.constant, view)
        base, _ = self._place(view)
        return self._static(view) if base == ARENA else view_of_whole(self.held[base], view)

    def _finished(
        self, arrays: Sequence[Array], into: Sequence[Array | None] | None, results: list[Any],
        copies: list[tuple[int, Array]] | None,
    ) -> list[Array]:
        held = self.held
        for i, base in enumerate(self.result_bases):
            if results[i] is None:
                results[i] = held[base]
            if into is not None and into[i] is not None and results[i] is not into[i]:
                target = into[i]
                assert target is not None
                np.copyto(target, results[i])
                results[i] = target
        for view, place in self.late:
            source = self._array(view)
            order = self.input_orders[place]
            target = arrays[place] if order is None else arrays[place].transpose(order)
            np.copyto(target, source.reshape(target.shape))
        if copies is not None:
            late = {place for _, place in self.late}
            changed = {*self.updates.values()} - late
            for place, a in copies:
                if place in changed:
                    np.copyto(a, held[1 + place])
        held[:] = self.at_rest
        return results

    # -- looking at it -------------------------------------------------------------------------

    def measure(
        self, arrays: Sequence[Array], times: int = 11,
        of_runs: Callable[[Sequence[float]], float] = median,
    ) -> list[tuple[float, str]]:
        """The time of each step, in seconds, with what it does; on copies of the arrays.

        Args:
            of_runs: what is taken of the times of several runs.
        """
        assert self.is_ready()
        copies = [a.copy("K") for a in arrays]
        results = [new_array(f.shape, f.dtype, f.size) for f in self.fresh]
        blas = find_blas() if self.needs_blas else None
        with self._lock, nullcontext() if blas is None else blas.one_thread:
            self._run(copies, None)
            runs = []
            for _ in range(times):
                for own, a in zip(copies, arrays, strict=True):
                    np.copyto(own, a)
                runs.append(self._timed_steps(copies, results))
        names = [name for step in self.steps for name in (
            [i.launch.text for i in step.instructions] if isinstance(step, Segment)
            else [f"call {step.label}"])]
        taken = zip(*runs, strict=True)
        return [(of_runs(each), name) for each, name in zip(taken, names, strict=True)]

    def _timed_steps(self, arrays: Sequence[Array], results: list[Array]) -> list[float]:
        """Runs the program step by step: the seconds that each of them took."""
        held, bases = self.held, self.bases
        for base, (a, order) in enumerate(zip(arrays, self.input_orders, strict=True), 1):
            self.stays[base] = None
            held[base] = np.ascontiguousarray(a if order is None else a.transpose(order))
        for fresh, made in zip(self.fresh, results, strict=True):
            held[self.result_bases[fresh.number]] = made
        for base, given in enumerate(held):
            if given is not None:
                bases[base] = address_of(given)
        taken: list[float] = []
        for step in self.steps:
            if isinstance(step, Segment):
                taken += self._timed_instructions(step)
            else:
                start = time.perf_counter()
                step.run(held, bases)
                taken.append(time.perf_counter() - start)
        held[:] = self.at_rest
        return taken

    def _timed_instructions(self, segment: Segment) -> list[float]:
        words = segment.words
        before = list(words)
        words[_COUNT] = 0
        self._run_driver(segment.block, 0, 0)  # fills in the addresses
        words[_PATCH_COUNT] = 0
        nothing = min([self._seconds_of(segment) for _ in range(3)])  # the call itself
        words[_COUNT] = 1
        taken = []
        for _ in segment.instructions:
            taken.append(max(0.0, self._seconds_of(segment) - nothing))
            words[_INSTRUCTIONS] += _INSTRUCTION_BYTES
        words[:] = before
        return taken

    def _seconds_of(self, segment: Segment) -> float:
        start = time.perf_counter()
        self._run_driver(segment.block, 0, 0)
        return time.perf_counter() - start

    def describe(self) -> str:
        """The instructions in order, with what they compute."""
        if not self.is_native:
            return "runs by NumPy: there is no native code here"
        lines = [f"arena of {self.arena_bytes} bytes"]
        for step in self.steps:
            if isinstance(step, Segment):
                for instruction in step.instructions:
                    launch = instruction.launch
                    lines.append(f"{launch.text}, {launch.tasks} tasks")
                    if isinstance(launch.source, Loops):
                        lines += ["    " + line
                                  for line in str(launch.source.expression).split("\n")]
            else:
                lines.append(f"call {step.label}")
        return "\n".join(lines)
