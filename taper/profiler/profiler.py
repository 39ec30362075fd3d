"""`torch.profiler.profile`: recordings of some steps of a program, chosen by a schedule."""

from __future__ import annotations

import json
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from taper.profiler.chrome_trace import write_trace
from taper.profiler.events import EventList
from taper.profiler.session import profile as session
from taper.profiler.session import record_function

__all__ = [
    "ProfilerAction", "ProfilerActivity", "profile", "schedule", "supported_activities",
    "tensorboard_trace_handler",
]


class ProfilerActivity(Enum):
    """What may be recorded. taper computes on the CPU; the others are accepted and stay empty."""

    CPU = 0
    XPU = 1
    CUDA = 2
    HPU = 3
    MTIA = 4
    PrivateUse1 = 5


class ProfilerAction(Enum):
    """What a profiler does during a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


def supported_activities() -> set[ProfilerActivity]:
    """Returns what this machine can record."""
    return {ProfilerActivity.CPU}


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0,
    skip_first_wait: int = 0,
) -> Callable[[int], ProfilerAction]:
    """Returns a schedule for `profile`: which step is recorded.

    The first steps are left out, then cycles follow: wait, warm up, record.

    Args:
        wait, warmup, active: so many steps each.
        repeat: so many cycles; 0: until the end.
        skip_first: so many steps are left out before.
        skip_first_wait: if not 0, the first cycle doesn't wait.

    Example:
        >>> import taper as torch
        >>> plan = torch.profiler.schedule(wait=1, warmup=1, active=2)
        >>> [plan(step).name for step in range(5)]
        ['NONE', 'WARMUP', 'RECORD', 'RECORD_AND_SAVE', 'NONE']
    """
    if min(wait, warmup, repeat, skip_first) < 0 or active <= 0:
        raise AssertionError(
            f"Invalid profiler schedule arguments. Got wait={wait} (need >= 0), warmup={warmup} "
            f"(need >= 0), active={active} (need > 0), repeat={repeat} (need >= 0), "
            f"skip_first={skip_first} (need >= 0)."
        )
    if warmup == 0:
        warnings.warn("Profiler won't be using warmup, this can skew profiler results",
                      stacklevel=2)

    def plan(step: int) -> ProfilerAction:
        if step < 0:
            raise AssertionError(f"Step must be non-negative. Got {step}.")
        step -= skip_first
        if step < 0:
            return ProfilerAction.NONE
        if skip_first_wait != 0:
            step += wait
        cycle, place = divmod(step, wait + warmup + active)
        if (repeat > 0 and cycle >= repeat) or place < wait:
            return ProfilerAction.NONE
        if place < wait + warmup:
            return ProfilerAction.WARMUP
        is_last = place == wait + warmup + active - 1
        return ProfilerAction.RECORD_AND_SAVE if is_last else ProfilerAction.RECORD

    return plan


def _default_schedule_fn(step: int) -> ProfilerAction:
    return ProfilerAction.RECORD


def tensorboard_trace_handler(
    dir_name: str, worker_name: str | None = None, use_gzip: bool = False,
    use_python_export: bool = False,
) -> Callable[[profile], None]:
    """Returns an `on_trace_ready` that writes each trace to a file in a folder."""

    def write(found: profile) -> None:
        os.makedirs(dir_name, exist_ok=True)
        worker = worker_name or f"{socket.gethostname()}_{os.getpid()}"
        ending = ".gz" if use_gzip else ""
        name = f"{worker}.{time.time_ns()}.pt.trace.json{ending}"
        found.export_chrome_trace(os.path.join(dir_name, name))

    return write


class profile:
    """A block whose operators are timed: all of them, or those of the steps a schedule names.

    Args:
        activities: what to record; only the CPU has anything.
        schedule: the action for each step, see `schedule`; then call `step` after each.
        on_trace_ready: called with this object when a recording is complete.
        record_shapes: keep the shapes of operators' arguments.
        profile_memory: keep the bytes of operators' results. What is freed between operators
            isn't seen.
        with_stack: keep the lines of the program that called, and record modules.
        with_flops: taken, and nothing is counted.
        with_modules: record modules' forwards, too.
        acc_events: keep the events of earlier cycles.

    Example:
        >>> import taper as torch
        >>> from taper.profiler import profile, record_function, ProfilerActivity
        >>> model = torch.nn.Linear(10, 5)
        >>> with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as found:
        ...     with record_function("forward"):
        ...         loss = model(torch.ones(3, 10)).sum()
        ...     loss.backward()
        >>> table = found.key_averages().table(sort_by="cpu_time_total", row_limit=10)
        >>> print(table.splitlines()[-1])
        Self CPU time total: ...
    """

    __module__ = "torch.profiler.profiler"

    def __init__(
        self, *, activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[..., Any] | None = None, record_shapes: bool = False,
        profile_memory: bool = False, with_stack: bool = False, with_flops: bool = False,
        with_modules: bool = False, experimental_config: Any = None,
        execution_trace_observer: Any = None, acc_events: bool = False,
        use_cuda: bool | None = None,
        custom_trace_id_callback: Callable[[], str] | None = None,
    ) -> None:
        self.activities = supported_activities() if activities is None else set(activities)
        if not self.activities:
            raise AssertionError("No valid profiler activities found")
        if execution_trace_observer is not None:
            raise NotImplementedError(
                "profile(execution_trace_observer=…): taper writes no execution traces; "
                "export_chrome_trace() writes what was recorded"
            )
        self.schedule = schedule or _default_schedule_fn
        self.on_trace_ready = on_trace_ready
        self.record_shapes = record_shapes
        self.profile_memory = profile_memory
        self.with_stack = with_stack
        self.with_flops = with_flops
        self.with_modules = with_modules
        self.acc_events = acc_events
        self.step_num = 0
        self.current_action = self.schedule(0)
        self.profiler: session | None = None
        self._has_steps = schedule is not None
        self._step: record_function | None = None
        self._earlier: list[Any] = []
        self._cycles = 0
        self._metadata: dict[str, Any] = {}

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.stop()

    def start(self) -> None:
        """Begins, as entering the block does."""
        self._change(ProfilerAction.NONE, self.current_action)
        self._open_step()

    def stop(self) -> None:
        """Ends, as leaving the block does; a recording that runs is then complete."""
        self._close_step()
        self._change(self.current_action, None)

    def step(self) -> None:
        """Says that the next step of the program begins."""
        self._close_step()
        earlier = self.current_action
        self.step_num += 1
        self.current_action = self.schedule(self.step_num)
        self._change(earlier, self.current_action)
        self._open_step()

    def _open_step(self) -> None:
        if self._has_steps and self.current_action in _RECORDING:
            self._step = record_function(f"ProfilerStep#{self.step_num}")
            self._step.__enter__()

    def _close_step(self) -> None:
        if self._step is not None:
            self._step.__exit__(None, None, None)
            self._step = None

    def _change(self, earlier: ProfilerAction, later: ProfilerAction | None) -> None:
        """Starts and ends recordings as two steps that follow each other ask for."""
        complete = earlier is ProfilerAction.RECORD_AND_SAVE or later is None
        if earlier in _RECORDING and (complete or later not in _RECORDING):
            self._finish(is_ready=complete)
            earlier = ProfilerAction.NONE
        if later in _RECORDING and earlier not in _RECORDING:
            self._begin()

    def _begin(self) -> None:
        if self.profiler is not None and self.profiler.function_events is not None:
            if self.acc_events:
                self._earlier += self.profiler.function_events
            elif self._cycles == 1:
                warnings.warn(
                    "Warning: Profiler clears events at the end of each cycle. Only events from "
                    "the current cycle will be reported. To keep events across cycles, set "
                    "acc_events=True.", UserWarning, stacklevel=4,
                )
        self.profiler = session(
            record_shapes=self.record_shapes, profile_memory=self.profile_memory,
            with_stack=self.with_stack, with_modules=self.with_modules,
        )
        self.profiler.__enter__()

    def _finish(self, is_ready: bool) -> None:
        assert self.profiler is not None
        self.profiler.__exit__(None, None, None)
        self._cycles += 1
        if is_ready and self.on_trace_ready is not None:
            self.on_trace_ready(self)

    # -- what was recorded -----------------------------------------------------------------------

    def events(self) -> EventList:
        """Returns the events of the recording, in the order they began."""
        if self.profiler is None or self.profiler.function_events is None:
            raise AssertionError("Profiler must be initialized before getting events")
        found = self.profiler.function_events
        if not self._earlier:
            return found
        return EventList(
            [*self._earlier, *found], profile_memory=self.profile_memory,
            with_shapes=self.record_shapes,
        )

    def key_averages(
        self, group_by_input_shape: bool = False, group_by_stack_n: int = 0,
        group_by_overload_name: bool = False,
    ) -> EventList:
        """Returns events of the same name taken together, see `EventList.key_averages`."""
        if self.profiler is None or self.profiler.function_events is None:
            raise AssertionError("Profiler must be initialized before getting key averages")
        return self.events().key_averages(group_by_input_shape, group_by_stack_n)

    def export_chrome_trace(self, path: str) -> None:
        """Writes the recording to a file for chrome://tracing or Perfetto; compressed if the
        name ends in ``.gz``."""
        write_trace(path, self.events(), {
            "with_stack": int(self.with_stack), "record_shapes": int(self.record_shapes),
            "profile_memory": int(self.profile_memory), **self._metadata,
        })

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Writes the calling lines and their times, which flame graphs are drawn from."""
        if self.profiler is None:
            raise AssertionError("Profiler must be initialized before exporting stacks")
        self.profiler.export_stacks(path, metric)

    def export_memory_timeline(self, path: str, device: str | None = None) -> None:
        """Raises: only results of operators are seen, not what is freed."""
        raise NotImplementedError(
            "export_memory_timeline(): taper sees the memory of operators' results, not when it "
            "is freed; key_averages().table(sort_by='self_cpu_memory_usage') has what it sees"
        )

    def add_metadata(self, key: str, value: str) -> None:
        """Adds a text to the traces that are exported."""
        self._metadata[key] = value

    def add_metadata_json(self, key: str, value: str) -> None:
        """Adds a value, written in JSON, to the traces that are exported."""
        self._metadata[key] = json.loads(value)


_RECORDING = (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)
