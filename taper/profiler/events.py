"""What was recorded, as PyTorch hands it out: events, averages by name, and lists of both."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from taper.profiler.chrome_trace import write_trace
from taper.profiler.recorder import Range
from taper.profiler.table import table_of, time_text

__all__ = ["EventList", "FunctionEvent", "FunctionEventAvg", "Interval", "events_of"]


_STEP_NUMBER = re.compile(r"^(ProfilerStep)#\d+$")


class Interval:
    """The begin and end of an event, in microseconds since the recording began."""

    def __init__(self, start: float, end: float) -> None:
        self.start = start
        self.end = end

    def elapsed_us(self) -> float:
        """Returns the time between."""
        return self.end - self.start


class Timed:
    """What events and averages have in common: times in microseconds, and their texts.

    There are no devices but the CPU, so all device times are zero.
    """

    count: int
    cpu_time_total: float
    self_cpu_time_total: float
    cpu_memory_usage: int
    self_cpu_memory_usage: int
    is_async = is_remote = is_legacy = False
    node_id = -1
    use_device = None
    flops = 0
    device_time = device_time_total = self_device_time_total = 0.0
    device_memory_usage = self_device_memory_usage = 0
    overload_name = ""

    @property
    def cpu_time(self) -> float:
        """The mean time of one call."""
        return self.cpu_time_total / self.count if self.count else 0.0

    @property
    def cpu_time_str(self) -> str:
        return time_text(self.cpu_time)

    @property
    def cpu_time_total_str(self) -> str:
        return time_text(self.cpu_time_total)

    @property
    def self_cpu_time_total_str(self) -> str:
        return time_text(self.self_cpu_time_total)


class FunctionEvent(Timed):
    """One call."""

    __module__ = "torch.autograd.profiler_util"

    count = 1

    def __init__(self, number: int, recorded: Range, origin: int) -> None:
        self.id = number
        self.trace_name = recorded.name  # with the number of a step, which averages leave out
        self.name = _STEP_NUMBER.sub(r"\1*", recorded.name)
        self.kind = recorded.kind
        self.is_user_annotation = recorded.kind == "user_annotation"
        self.thread = recorded.thread
        self.input_shapes = recorded.shapes
        self.stack = recorded.stack
        self.note = recorded.note
        self.time_range = Interval((recorded.start - origin) / 1e3, (recorded.end - origin) / 1e3)
        self.cpu_time_total = self.time_range.elapsed_us()
        self.cpu_memory_usage = recorded.total_memory
        self.cpu_parent: FunctionEvent | None = None
        self.cpu_children: list[FunctionEvent] = []
        self.kernels: list[Any] = []

    @property
    def key(self) -> str:
        return self.name

    @property
    def self_cpu_time_total(self) -> float:  # type: ignore[override]
        """The time spent in the call, without that of calls within it."""
        return self.cpu_time_total - sum(c.cpu_time_total for c in self.cpu_children)

    @property
    def self_cpu_memory_usage(self) -> int:  # type: ignore[override]
        return self.cpu_memory_usage - sum(c.cpu_memory_usage for c in self.cpu_children)

    def __repr__(self) -> str:
        return (
            f"<FunctionEvent id={self.id} name={self.name} cpu_time={self.cpu_time_str} "
            f"start_us={self.time_range.start:.3f} end_us={self.time_range.end:.3f} "
            f"cpu_children={[child.id for child in self.cpu_children]} thread={self.thread} "
            f"input_shapes={self.input_shapes} cpu_memory_usage={self.cpu_memory_usage}>"
        )


class FunctionEventAvg(Timed):
    """Calls of one name, or of one name and one set of shapes, taken together."""

    __module__ = "torch.autograd.profiler_util"

    def __init__(self) -> None:
        self.key = ""
        self.count = 0
        self.cpu_time_total = self.self_cpu_time_total = 0.0
        self.cpu_memory_usage = self.self_cpu_memory_usage = 0
        self.input_shapes: Any = ""
        self.stack: list[str] = []
        self.is_user_annotation = False

    def add(self, other: Timed) -> FunctionEventAvg:
        """Adds an event, or another average of the same key."""
        if not self.count:
            self.key = self.key or other.key  # type: ignore[attr-defined]
            self.is_user_annotation = other.is_user_annotation  # type: ignore[attr-defined]
        self.cpu_time_total += other.cpu_time_total
        self.self_cpu_time_total += other.self_cpu_time_total
        self.cpu_memory_usage += other.cpu_memory_usage
        self.self_cpu_memory_usage += other.self_cpu_memory_usage
        self.count += other.count
        return self

    def __iadd__(self, other: Timed) -> FunctionEventAvg:
        return self.add(other)

    def __repr__(self) -> str:
        return (
            f"<FunctionEventAvg key={self.key} self_cpu_time={self.self_cpu_time_total_str} "
            f"cpu_time={self.cpu_time_str}  self_cuda_time=0.000us cuda_time=0.000us "
            f"input_shapes={self.input_shapes} cpu_memory_usage={self.cpu_memory_usage} "
            "cuda_memory_usage=0>"
        )


class EventList(list[Any]):
    """Events, or their averages, with the questions one asks of them."""

    __module__ = "torch.autograd.profiler_util"

    def __init__(
        self, events: Iterable[Any] = (), *, profile_memory: bool = False,
        with_shapes: bool = False, with_stack: bool = False,
    ) -> None:
        super().__init__(events)
        self._profile_memory = profile_memory
        self._with_shapes = with_shapes
        self._with_stack = with_stack

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all calls, in microseconds."""
        return sum(event.self_cpu_time_total for event in self)

    def key_averages(
        self, group_by_input_shape: bool = False, group_by_stack_n: int = 0,
        group_by_overload_name: bool = False,
    ) -> EventList:
        """Returns events of the same name taken together.

        Args:
            group_by_input_shape: only those of the same shapes of arguments, too.
            group_by_stack_n: only those called from the same lines, that many of them.
        """
        groups: defaultdict[Any, FunctionEventAvg] = defaultdict(FunctionEventAvg)
        for event in self:
            shapes = event.input_shapes if group_by_input_shape else []
            lines = event.stack[:group_by_stack_n] if group_by_stack_n > 0 else []
            group = groups[event.key, str(shapes), tuple(lines)]
            group.add(event)
            group.stack = lines
            if group_by_input_shape:
                group.input_shapes = shapes
        return EventList(
            groups.values(), profile_memory=self._profile_memory,
            with_shapes=group_by_input_shape, with_stack=group_by_stack_n > 0,
        )

    def total_average(self) -> FunctionEventAvg:
        """Returns all events taken together."""
        total = FunctionEventAvg()
        total.key = "Total"
        for event in self:
            total.add(event)
        return total

    def table(
        self, sort_by: str | None = None, row_limit: int = 100, max_src_column_width: int = 75,
        max_name_column_width: int = 55, max_shapes_column_width: int = 80,
        header: str | None = None, top_level_events_only: bool = False,
        time_unit: str | None = None,
    ) -> str:
        """Returns the events as a table for the eye.

        Args:
            sort_by: the attribute by which rows come, largest first, such as
                ``"cpu_time_total"``, ``"self_cpu_time_total"`` or ``"count"``.
            row_limit: at most so many rows; -1: all.
            header: a line above.
            top_level_events_only: leave out what ran within other events.
            time_unit: ``"s"``, ``"ms"`` or ``"us"`` for all times; by default each has its own.
        """
        rows = self if sort_by is None else sorted(
            self, key=lambda event: getattr(event, _SORT_NAMES.get(sort_by, sort_by)), reverse=True
        )
        if top_level_events_only:
            rows = [row for row in rows if getattr(row, "cpu_parent", None) is None]
        return table_of(
            list(rows)[: row_limit if row_limit >= 0 else None], total=self.self_cpu_time_total,
            memory=self._profile_memory, shapes=self._with_shapes, sources=self._with_stack,
            widths=(max_name_column_width, max_src_column_width, max_shapes_column_width),
            header=header, unit=time_unit,
        )

    def __str__(self) -> str:
        return self.table()

    def export_chrome_trace(self, path: str) -> None:
        """Writes the events to a file for chrome://tracing or Perfetto."""
        write_trace(path, self)

    def export_stacks(self, path: str, metric: str) -> None:
        """Writes lines ``caller;…;called microseconds``, which flame graphs are drawn from.

        Args:     metric: ``"self_cpu_time_total"``
        """
        if metric not in _STACK_METRICS:
            raise ValueError(f"metric should be one of: {_STACK_METRICS}")
        with open(path, "w", encoding="utf-8") as file:
            for event in self:
                value = int(getattr(event, metric))
                if event.stack and value > 0:
                    called_from = ";".join(line.replace(" ", "_") for line in event.stack[::-1])
                    file.write(f"{called_from} {value}\n")


_STACK_METRICS = ["self_cpu_time_total", "self_device_time_total"]

# Older names that programs for GPUs sort by; without a device they are zero.
_SORT_NAMES = {
    "cuda_time": "device_time", "cuda_time_total": "device_time_total",
    "self_cuda_time_total": "self_device_time_total",
    "cuda_memory_usage": "device_memory_usage",
    "self_cuda_memory_usage": "self_device_memory_usage",
}


def events_of(ranges: list[Range], origin: int, **options: bool) -> EventList:
    """The ranges of a recording as events that know their parents and children."""
    made = {id(r): FunctionEvent(number, r, origin) for number, r in enumerate(ranges)}
    for recorded in ranges:
        parent = made.get(id(recorded.parent))
        if parent is not None:
            child = made[id(recorded)]
            child.cpu_parent = parent
            parent.cpu_children.append(child)
    return EventList(made.values(), **options)
