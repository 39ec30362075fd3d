"""Runs a statement often enough, with a given number of threads, and measures it."""

from __future__ import annotations

import enum
import textwrap
import timeit
from collections.abc import Callable
from time import perf_counter as timer
from typing import Any, NoReturn

import numpy as np

from taper.utils.benchmark.measurement import Measurement, TaskSpec, set_torch_threads

__all__ = ["Language", "Timer", "timer"]

Callback = Callable[[int, float], NoReturn]


class Language(enum.Enum):
    """The language of a statement; taper runs Python."""

    PYTHON = 0
    CPP = 1


class Timer:
    """Times a statement, as `timeit.Timer` does, with what tensors need.

    The statement runs once before it is measured, with `num_threads` threads: by default one, for
    that is what can be compared.

    Args:
        stmt: the statement.
        setup: runs once before.
        global_setup: for C++; must be empty.
        timer: returns the time in seconds.
        globals: the variables that statement and setup see, beside ``torch``.
        label, sub_label, description: names in reports; `Compare` makes a table per label, a row
            per sub-label, a column per description.
        env: where it was measured, if measurements from several places are compared.
        num_threads: how many threads operators use meanwhile.

    Example:
        >>> import taper as torch
        >>> from taper.utils.benchmark import Timer
        >>> timer = Timer("x + x", setup="x = torch.ones(8)", label="add")
        >>> measured = timer.timeit(100)
        >>> measured.median < 1
        True
    """

    __module__ = "torch.utils.benchmark.utils.timer"

    def __init__(
        self, stmt: str = "pass", setup: str = "pass", global_setup: str = "",
        timer: Callable[[], float] = timer, globals: dict[str, Any] | None = None,
        label: str | None = None, sub_label: str | None = None, description: str | None = None,
        env: str | None = None, num_threads: int = 1, language: Language | str = Language.PYTHON,
    ) -> None:
        if not isinstance(stmt, str):
            raise ValueError("Currently only a `str` stmt is supported.")
        _check_language(language)
        if global_setup:
            raise ValueError(
                f"global_setup is C++ only, got `{global_setup}`. Most likely this code can simply "
                "be moved to `setup`."
            )
        import taper

        variables = dict(globals or {})
        variables.setdefault("torch", taper)
        stmt, setup = _dedent(stmt), _dedent(setup)
        self._globals = variables
        self._timer = timeit.Timer(stmt, setup, timer, variables)
        self._task_spec = TaskSpec(
            stmt=stmt, setup=setup, global_setup=global_setup, label=label, sub_label=sub_label,
            description=description, env=env, num_threads=num_threads,
        )

    def _seconds(self, number: int) -> float:
        # PyTorch measures at least something: a clock may stand still for a short statement.
        return max(self._timer.timeit(number), 1e-9)

    def timeit(self, number: int = 1000000) -> Measurement:
        """Returns one measurement of `number` calls."""
        with set_torch_threads(self._task_spec.num_threads):
            self._seconds(max(number // 100, 2))  # nothing is cold afterwards
            return self._measurement(number, [self._seconds(number)])

    def repeat(self, repeat: int = -1, number: int = -1) -> None:
        """Raises: `timeit.Timer` has it, `blocked_autorange` and `adaptive_autorange` do more."""
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    def autorange(self, callback: Callback | None = None) -> None:
        """Raises: `timeit.Timer` has it, `blocked_autorange` and `adaptive_autorange` do more."""
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    def blocked_autorange(
        self, callback: Callback | None = None, min_run_time: float = 0.2
    ) -> Measurement:
        """Returns measurements of blocks of calls, until they took `min_run_time` seconds.

        Blocks are so long that looking at the clock doesn't count, and so short that many fit in.

        Args:     callback: called with the number of calls and the seconds of each block
        """
        with set_torch_threads(self._task_spec.num_threads):
            number = self._block_size(min_run_time)
            times: list[float] = []
            total = 0.0
            while total < min_run_time:
                times.append(self._run(number, callback))
                total += times[-1]
            return self._measurement(number, times)

    def adaptive_autorange(
        self, threshold: float = 0.1, *, min_run_time: float = 0.01, max_run_time: float = 10.0,
        callback: Callback | None = None,
    ) -> Measurement:
        """Returns measurements of blocks of calls, as many as it takes until they agree.

        Args:
            threshold: they agree when the interquartile range is less than this part of the
                median.
            min_run_time, max_run_time: seconds that it takes at least, and at most.
            callback: called with the number of calls and the seconds of each block.
        """
        with set_torch_threads(self._task_spec.num_threads):
            number = self._block_size(0.05)
            times: list[float] = []
            total = 0.0
            while total < max_run_time:
                times.append(self._run(number, callback))
                total += times[-1]
                enough = len(times) >= _FEWEST_BLOCKS and total >= min_run_time
                if enough and self._measurement(number, times).meets_confidence(threshold):
                    break
            return self._measurement(number, times)

    def _run(self, number: int, callback: Callback | None) -> float:
        seconds = self._seconds(number)
        if callback is not None:
            callback(number, seconds)
        return seconds

    def _measurement(self, number: int, times: list[float]) -> Measurement:
        return Measurement(number, times, self._task_spec)

    def _block_size(self, min_run_time: float) -> int:
        """How many calls to measure at once: so many that looking at the clock takes no more than
        a ten-thousandth, but no more than a thousandth of the whole, if that allows it."""
        self._seconds(2)  # what happens at the first call doesn't count
        clock = float(np.median([self._seconds(0) for _ in range(5)]))
        number = 1
        while True:
            seconds = self._seconds(number)
            is_precise = clock <= 1e-4 * seconds
            if is_precise and seconds >= min_run_time / 1000:
                return number
            if seconds > min_run_time:
                return number
            number *= 10

    def collect_callgrind(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises: instructions are not counted."""
        raise NotImplementedError(
            "Timer.collect_callgrind(): taper doesn't run statements under Valgrind; "
            "blocked_autorange() measures their time"
        )


_FEWEST_BLOCKS = 4


def _check_language(language: Language | str) -> None:
    if language in (Language.PYTHON, "py", "python"):
        return
    if language in (Language.CPP, "cpp", "c++"):
        raise NotImplementedError(
            "Timer(language='c++'): taper has no compiler for C++ statements; time them in Python"
        )
    raise ValueError(f"Invalid language `{language}`.")


def _dedent(code: str) -> str:
    code = textwrap.dedent(code)
    while code and not code[0].strip():
        code = code[1:]
    return code.rstrip()
