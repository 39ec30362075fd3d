"""Plans: which kernels and calls a graph becomes, in which order, before anything has a place in
memory.

A plan of a graph with symbolic sizes (core/symbolic.py) is one for all of them: `Plan.at` gives
that for one size, which costs a fraction of making it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper.compilation.lowering.closing import Closing
from taper.compilation.lowering.groups import Grouping
from taper.compilation.lowering.nodes import Lowering, order_of_input
from taper.compilation.lowering.operations import Call, Check
from taper.compilation.lowering.recompute import with_late_copies
from taper.compilation.lowering.schedule import Order, Schedule
from taper.compilation.lowering.values import Value
from taper.compilation.recorded import BROKEN, INVALID, CheckFailed, FactBroken
from taper.compiler.graph import Graph

__all__ = ["CHECKS", "Plan"]

Array = np.ndarray[Any, Any]
CHECKS = (BROKEN, INVALID)
Ints = tuple[int, ...]


class Plan:
    """What a program is made of.

    Attributes:
        updates: name of an output -> position of the input into whose memory the new value goes.
        outputs: a value of its own for each output; `orders`: of its axes in memory; `shapes`.
        input_orders: of the axes of inputs, None for the usual one.
        order: the units, and where values lie.
    """

    updates: dict[str, int]
    outputs: dict[str, Value]
    orders: dict[str, Ints]
    shapes: dict[str, Ints]
    input_orders: list[Ints | None]
    order: Order

    @classmethod
    def of(cls, graph: Graph, updates: dict[str, int], facts: Graph | None) -> Plan:
        """The plan of a graph. `facts`: what is to be asked before all else (`BROKEN`)."""
        plan = cls()
        plan.updates = updates
        lowering = Lowering(graph)
        if facts is not None:  # by themselves, so that nothing else comes before
            lowering.graph = facts
            lowering.run()
            broken = lowering.view(graph.outputs[BROKEN])
            lowering.add(Check(broken, broken, _raising(FactBroken)))
            lowering.graph = graph
        lowering.run()
        if INVALID in graph.outputs:
            invalid = lowering.view(graph.outputs[INVALID])
            lowering.add(Check(invalid, invalid, _raising(CheckFailed)))
        orders = map(order_of_input, graph.inputs)
        plan.input_orders = [None if o == tuple(range(len(o))) else o for o in orders]
        plan._find_outputs(graph, lowering)
        wanted = set(plan.outputs.values())
        grouping = Grouping(with_late_copies(lowering.operations, wanted), wanted)
        grouping.run()
        plan.order = Schedule(
            grouping, {plan.outputs[name]: place for name, place in updates.items()})
        return plan

    def _find_outputs(self, graph: Graph, lowering: Lowering) -> None:
        """A value of its own for each output, and the order of its axes in memory."""
        found: dict[str, Value] = {}
        self.orders, self.shapes = {}, {}
        for name, reference in graph.outputs.items():
            if name in CHECKS:
                continue
            view = lowering.known[reference.node.number, reference.output]
            value, order = view.value, view.order
            usual = tuple(range(len(view.shape)))
            wanted = None  # by an input that is updated
            if name in self.updates:
                wanted = order_of_input(graph.inputs[self.updates[name]])
            is_own = (
                value.maker is not None and value not in found.values() and order is not None
                and wanted in (None, order) and not (isinstance(value.maker, Call) and (
                    name in self.updates or view.shape != value.shape or order != usual)))
            if not is_own:
                order = wanted or usual
                value = lowering.copied(view.permuted(order)).value
            assert order is not None
            found[name], self.orders[name] = value, order
            self.shapes[name] = reference.node.results[reference.output or 0][0]
        self.outputs = found

    def at(self, size: int) -> Plan:
        """The plan for one size."""
        closing = Closing(size)
        plan = Plan()
        plan.updates, plan.orders = self.updates, self.orders
        plan.input_orders = self.input_orders
        plan.order = closing.order(self.order)
        plan.outputs = {name: closing.value(value) for name, value in self.outputs.items()}
        plan.shapes = {name: closing.number(shape) for name, shape in self.shapes.items()}
        return plan


def _raising(error: type[Exception]) -> Callable[[Array], None]:
    def complain(flag: Array) -> None:
        raise error

    return complain
