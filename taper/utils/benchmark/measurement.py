"""Times of a statement, and the statistics that tell whether they can be trusted."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np

import taper

__all__ = [
    "Measurement", "TaskSpec", "ordered_unique", "select_unit", "set_torch_threads", "trim_sigfig",
    "unit_to_english",
]

# Beyond this part of the median, the interquartile range is worth a warning.
_SUSPICIOUS_SPREAD = 0.1
_FEW_FOR_QUARTILES = 4

_UNITS = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9))
_ENGLISH = {"ns": "nanosecond", "us": "microsecond", "ms": "millisecond", "s": "second"}


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """What was timed: the statement, and what it is called in reports."""

    stmt: str
    setup: str
    global_setup: str = ""
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @property
    def title(self) -> str:
        """What reports are headed with: the label, else the statement."""
        if self.label is not None:
            return self.label + (f": {self.sub_label}" if self.sub_label else "")
        if "\n" not in self.stmt:
            return self.stmt + (f": {self.sub_label}" if self.sub_label else "")
        sub_label = f" ({self.sub_label})" if self.sub_label else ""
        return f"stmt:{sub_label}\n{textwrap.indent(self.stmt, '  ')}"

    def setup_str(self) -> str:
        """The lines about the preparation, if there is one."""
        if self.setup == "pass" or not self.setup:
            return ""
        if "\n" in self.setup:
            return f"setup:\n{textwrap.indent(self.setup, '  ')}\n"
        return f"setup: {self.setup}"

    def summarize(self) -> str:
        """Everything about the task that reports begin with."""
        title = self.title + ("\n" if "\n" in self.title else "")
        parts = [title, self.description or "", self.setup_str()]
        return "\n".join(part for part in parts if part)


class Measurement:
    """The times of several runs of a statement.

    Args:
        number_per_run: how often each run called the statement.
        raw_times: the seconds each run took.
        task_spec: what was timed.
        metadata: whatever else belongs to it.

    Example:
        >>> from taper.utils.benchmark import Measurement, TaskSpec
        >>> Measurement(10, [2e-5, 3e-5, 2.5e-5], TaskSpec("f()", "pass")).median
        2.5e-06
    """

    __module__ = "torch.utils.benchmark.utils.common"

    def __init__(
        self, number_per_run: int, raw_times: list[float], task_spec: TaskSpec,
        metadata: dict[Any, Any] | None = None,
    ) -> None:
        self.number_per_run = number_per_run
        self.raw_times = raw_times
        self.task_spec = task_spec
        self.metadata = metadata

    @cached_property
    def times(self) -> list[float]:
        """The seconds one call took, in each run."""
        return [time / self.number_per_run for time in self.raw_times]

    @property
    def median(self) -> float:
        """The median of the times, in seconds."""
        return self._quantile(0.5)

    @property
    def mean(self) -> float:
        """The mean of the times, in seconds."""
        self._check_not_empty()
        return fmean(self.times)

    @property
    def iqr(self) -> float:
        """The interquartile range: how far the middle half of the times spreads, in seconds."""
        return self._quantile(0.75) - self._quantile(0.25)

    def _check_not_empty(self) -> None:
        if not self.raw_times:
            raise AssertionError("expected raw_times to be non-empty")

    def _quantile(self, part: float) -> float:
        self._check_not_empty()
        return float(np.quantile(self.times, part))

    @property
    def significant_figures(self) -> int:
        """How many digits of the median mean something: those that are the same throughout its
        95 % confidence interval, taken from the order of the times (1 where it is unknown)."""
        half = 1.96 / (2 * math.sqrt(len(self.times)))
        width = self._quantile(min(0.5 + half, 1.0)) - self._quantile(max(0.5 - half, 0.0))
        if width <= 0:
            return 1
        return max(1, min(5, math.floor(math.log10(self.median / width))))

    @property
    def has_warnings(self) -> bool:
        """Whether the times spread suspiciously."""
        return self.iqr / self.median > _SUSPICIOUS_SPREAD

    def meets_confidence(self, threshold: float = _SUSPICIOUS_SPREAD) -> bool:
        """Returns whether the interquartile range is less than this part of the median."""
        return self.iqr / self.median < threshold

    @property
    def title(self) -> str:
        return self.task_spec.title

    @property
    def env(self) -> str | None:
        return self.task_spec.env

    @property
    def as_row_name(self) -> str:
        """The name of its row in tables."""
        return self.task_spec.sub_label or self.task_spec.stmt or "[Unknown]"

    def __repr__(self) -> str:
        kind = type(self)
        task = self.task_spec
        lines = [f"<{kind.__module__}.{kind.__qualname__} object at {hex(id(self))}>",
                 task.summarize()]
        self._check_not_empty()
        unit, scale = select_unit(self.median)

        def text(seconds: float) -> str:
            return f"{seconds / scale:.2f}"

        count = len(self.times)
        if count == 1:
            lines.append(f"  {text(self.median)} {unit}")
        else:
            lines.append(f"  Median: {text(self.median)} {unit}")
            if count >= _FEW_FOR_QUARTILES:
                low, high = self._quantile(0.25), self._quantile(0.75)
                lines.append(f"  IQR:    {text(self.iqr)} {unit} ({text(low)} to {text(high)})")
        threads = task.num_threads
        runs = f"{self.number_per_run} runs {'per measurement, ' if count > 1 else ', '}"
        lines.append(
            f"  {count} measurement{'s' if count > 1 else ''}, {runs}"
            f"{threads} thread{'s' if threads > 1 else ''}"
        )
        if self.has_warnings:
            lines.append(
                f"  WARNING: Interquartile range is {self.iqr / self.median * 100:.1f}% of the "
                "median measurement.\n"
                "           This suggests significant environmental influence."
            )
        return "\n".join(lines)

    @staticmethod
    def merge(measurements: Iterable[Measurement]) -> list[Measurement]:
        """Returns one measurement per task, with the times of all that were given of it."""
        times: dict[TaskSpec, list[float]] = {}
        for measurement in measurements:
            times.setdefault(measurement.task_spec, []).extend(measurement.times)
        return [Measurement(1, found, task, None) for task, found in times.items()]


def select_unit(t: float) -> tuple[str, float]:
    """Returns the unit in which to write a time, and its seconds."""
    return next(((name, scale) for name, scale in _UNITS[:-1] if t >= scale), _UNITS[-1])


def unit_to_english(u: str) -> str:
    """Returns the name of a unit of time: "us" is a microsecond."""
    return _ENGLISH[u]


def trim_sigfig(x: float, n: int) -> float:
    """Returns a number rounded to `n` significant digits.

    >>> from taper.utils.benchmark import trim_sigfig
    >>> trim_sigfig(12345.0, 2)
    12000.0
    """
    if n != int(n):
        raise AssertionError("Number of significant figures must be an integer")
    return float(f"{x:.{int(n) - 1}e}")


def ordered_unique(elements: Iterable[Any]) -> list[Any]:
    """Returns the different elements in the order they first come."""
    return list(dict.fromkeys(elements))


@contextmanager
def set_torch_threads(n: int) -> Iterator[None]:
    """A block in which operators run with `n` threads."""
    before = taper.get_num_threads()
    try:
        taper.set_num_threads(n)
        yield
    finally:
        taper.set_num_threads(before)
