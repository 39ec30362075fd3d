"""The steps of a program: what each computes, what it reads and writes, how long it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

from taper.compilation.lowering.groups import Group
from taper.compilation.lowering.launches import Launch
from taper.compilation.lowering.loops import Loops
from taper.compilation.lowering.operations import (
    Call,
    Check,
    Join,
    Operation,
    Prepared,
    Product,
    RowPick,
    RowSum,
)
from taper.compilation.lowering.schedule import reads_of
from taper.compilation.lowering.values import Value, View
from taper.compilation.program import Program
from taper.compilation.reports.machine_speed import MachineSpeed
from taper.compiler.expression import CONSTANT, ELEMENT, REDUCTIONS, Expression
from taper.compiler.machine import vector_bytes
from taper.compiler.math_library import lowered
from taper.viewer.programs import KernelView

__all__ = ["kernels_of", "with_times"]

_FREE = ("input", "constant", "spread")  # nodes of an expression that compute nothing


def kernels_of(program: Program) -> list[KernelView]:
    """The steps of a native program in their order, without times."""
    return [_kernel(number, unit, launches)
            for number, (unit, launches) in enumerate(_units(program))]


def with_times(
    kernels: list[KernelView], program: Program, arrays: Sequence[Any], speed: MachineSpeed | None
) -> None:
    """Measures a program on copies of arrays, and fills in times and bounds."""
    seconds = iter([seconds for seconds, _ in program.measure(arrays)])
    for kernel, (unit, launches) in zip(kernels, _units(program), strict=True):
        kernel.seconds = sum(next(seconds) for _ in launches or (None,))
        if speed is not None:
            kernel.bound = speed.seconds_to_move(kernel.read + kernel.written)
            if kernel.flops:
                kernel.bound = max(kernel.bound, speed.seconds_to_compute(
                    kernel.flops, _written(unit)[0].dtype.itemsize))


def _units(program: Program) -> Iterator[tuple[Any, list[Launch]]]:
    """What runs, with its launches; calls of Python functions have none."""
    for unit in program.schedule.order:
        if not isinstance(unit, Join):
            yield unit, [] if isinstance(unit, Call) else program.launches[id(unit)]


def _kernel(number: int, unit: Any, launches: list[Launch]) -> KernelView:
    operations = unit.operations if isinstance(unit, Group) else [unit]
    nodes = dict.fromkeys([o.node for o in operations if o.node is not None])
    source = []
    for launch in launches:
        source.append(f"{launch.text}, {launch.tasks} tasks")
        if isinstance(launch.source, Loops):
            source.append(str(launch.source.expression))
    return KernelView(
        number, _kind(unit, launches), _title(unit, launches),
        [_text(o) for o in operations], list(nodes),
        "\n".join(source) or "a Python function, called between kernels",
        _bytes_read(unit), sum(value.bytes for value in _written(unit)), _flops(unit, launches))


def _kind(unit: Any, launches: list[Launch]) -> str:
    if isinstance(unit, Group):
        loops = launches[0].source
        return loops.form if isinstance(loops, Loops) else "kernel"
    kinds = {Product: "product", Prepared: "kernels", RowPick: "rows picked",
             RowSum: "rows added", Check: "check", Call: "call"}
    return kinds[type(unit)]


def _title(unit: Any, launches: list[Launch]) -> str:
    if isinstance(unit, Group):
        return " ".join([o.label for o in unit.operations])
    return launches[-1].text if launches else str(unit.label)


def _text(operation: Operation) -> str:
    types = ", ".join(f"{o.dtype}{list(o.shape)}" for o in operation.outs)
    return f"{operation}  : {types}" if types else str(operation)


def _written(unit: Any) -> list[Value]:
    return list(unit.stored) if isinstance(unit, Group) else unit.outs


def _bytes_read(unit: Any) -> int:
    """Bytes of all elements that are read, each once."""
    if isinstance(unit, RowPick):  # only rows that are asked for
        return unit.out.bytes + unit.views[1].size * unit.views[1].dtype.itemsize
    found: dict[Value, dict[Any, int]] = {}
    for view in reads_of(unit):
        found.setdefault(view.value, {})[view.offset, view.shape, view.strides] = _extent(view)
    return sum(min(value.bytes, sum(parts.values())) for value, parts in found.items())


def _extent(view: View) -> int:
    """Bytes of the elements that a view shows; repeated ones count once."""
    count = prod([n for n, step in zip(view.shape, view.strides, strict=True) if step or not n])
    return int(count * view.dtype.itemsize)


def _flops(unit: Any, launches: list[Launch]) -> int | None:
    if isinstance(unit, Product):
        return 2 * unit.out.size * unit.views[0].shape[-1]
    if isinstance(unit, Group) and isinstance(launches[0].source, Loops):
        return _arithmetic(launches[0].source.expression, unit)
    return None


def _arithmetic(expression: Expression, group: Group) -> int:
    """How many operations an expression takes, its functions taken apart into arithmetic."""
    total = 0
    for node in lowered(expression, vector_bytes()).nodes:
        if node.op not in _FREE and node.level != CONSTANT:
            if node.level == ELEMENT or node.op in REDUCTIONS:
                total += group.size
            elif group.is_reduced:  # else it is computed once, before the elements
                total += group.kept_size
    return total
