"""One recording from begin to end (`torch.autograd.profiler.profile`), and named blocks in it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from taper.profiler.events import EventList, FunctionEventAvg, events_of
from taper.profiler.recorder import ANNOTATION, Range, Recorder, running

__all__ = ["profile", "record_function"]

F = TypeVar("F", bound=Callable[..., Any])


class profile:
    """A block in which operators, backward nodes and `record_function` blocks are timed.

    `torch.profiler.profile` has more: schedules, and what happens when a recording is ready.

    Args:
        enabled: record at all.
        record_shapes: keep the shapes of operators' arguments.
        profile_memory: keep the bytes of operators' results. What is freed between operators
            isn't seen.
        with_stack: keep the lines of the program that called, and record modules.
        with_modules: record modules' forwards, too.

    Example:
        >>> import taper as torch
        >>> with torch.autograd.profiler.profile() as found:
        ...     x = torch.ones(3).neg().exp()
        >>> [event.name for event in found.function_events]
        ['aten::neg', 'aten::exp']
    """

    __module__ = "torch.autograd.profiler"

    def __init__(
        self, enabled: bool = True, *, use_cuda: bool = False, use_device: str | None = None,
        record_shapes: bool = False, with_flops: bool = False, profile_memory: bool = False,
        with_stack: bool = False, with_modules: bool = False, use_kineto: bool = False,
        use_cpu: bool = True, experimental_config: Any = None, acc_events: bool = False,
        custom_trace_id_callback: Callable[[], str] | None = None,
    ) -> None:
        self.enabled = enabled
        self.record_shapes = record_shapes
        self.profile_memory = profile_memory
        self.with_stack = with_stack
        self.with_modules = with_modules
        self.entered = False
        self.function_events: EventList | None = None
        self._recorder: Recorder | None = None

    def __enter__(self) -> profile:
        if self.enabled:
            if self.entered:
                raise RuntimeError("Profiler context manager is not reentrant")
            self.entered = True
            self._recorder = Recorder(
                record_shapes=self.record_shapes, profile_memory=self.profile_memory,
                with_stack=self.with_stack, with_modules=self.with_modules or self.with_stack,
            )
            self._recorder.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._recorder is not None:
            self._recorder.stop()
            self.function_events = events_of(
                self._recorder.ranges, self._recorder.started_at,
                profile_memory=self.profile_memory, with_shapes=self.record_shapes,
            )
            self._recorder = None

    def _events(self) -> EventList:
        if self.function_events is None:
            raise RuntimeError("Profiler didn't finish running")
        return self.function_events

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all operators, in microseconds."""
        return self._events().self_cpu_time_total

    def key_averages(
        self, group_by_input_shape: bool = False, group_by_stack_n: int = 0,
        group_by_overload_name: bool = False,
    ) -> EventList:
        """Returns events of the same name taken together, see `EventList.key_averages`."""
        return self._events().key_averages(group_by_input_shape, group_by_stack_n)

    def total_average(self) -> FunctionEventAvg:
        """Returns all events taken together."""
        return self._events().total_average()

    def table(self, *args: Any, **kwargs: Any) -> str:
        """Returns the events as a table, see `EventList.table`."""
        return self._events().table(*args, **kwargs)

    def export_chrome_trace(self, path: str) -> None:
        """Writes the events to a file for chrome://tracing or Perfetto."""
        self._events().export_chrome_trace(path)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Writes the calling lines and their times, which flame graphs are drawn from."""
        if not self.with_stack:
            raise AssertionError("export_stacks() requires with_stack=True")
        self._events().export_stacks(path, metric)

    def __repr__(self) -> str:
        if self.function_events is None:
            return "<unfinished torch.autograd.profile>"
        return repr(self.function_events)

    def __str__(self) -> str:
        return repr(self) if self.function_events is None else str(self.function_events)


class record_function:
    """A block, or a decorated function, that appears in recordings under this name.

    Args:     args: a note that traces show

    Example:
        >>> import taper as torch
        >>> with torch.profiler.profile() as found:
        ...     with torch.profiler.record_function("twice"):
        ...         x = torch.ones(3) * 2
        >>> [event.name for event in found.events()]
        ['twice', 'aten::mul']
    """

    __module__ = "torch.autograd.profiler"

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name = name
        self.args = args
        self._begun: Range | None = None

    def __enter__(self) -> record_function:
        recorder = running.recorder
        if recorder is not None:
            self._begun = recorder.begin(self.name, ANNOTATION)
            self._begun.note = self.args
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._begun is not None and running.recorder is not None:
            running.recorder.end(self._begun)
        self._begun = None

    def __call__(self, function: F) -> F:
        @functools.wraps(function)
        def named(*args: Any, **kwargs: Any) -> Any:
            with record_function(self.name, self.args):
                return function(*args, **kwargs)

        return named  # type: ignore[return-value]
