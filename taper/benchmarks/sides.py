"""Two worker processes that do the same work in turns, and the ratios of their times."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from typing import Any, NamedTuple

__all__ = ["Outcome", "Side", "SideEnded", "compare", "time_alone"]

_WARM_ROUNDS = 20  # whose time passes before any is measured: kernels of small calls are loaded
_PAUSE = 0.002  # seconds before each round: the threads of the other side go to sleep


class SideEnded(Exception):
    """A worker that could not begin, or went away."""


class Side:
    """A worker process with one module."""

    def __init__(self, module: str, is_compiled: bool = False) -> None:
        self.module = module
        options = ["--compile"] if is_compiled else []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "taper.benchmarks.worker", module, *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        opening = self.read()
        if "error" in opening:
            raise SideEnded(opening["error"])
        self.version: str = opening["version"]

    def read(self) -> dict[str, Any]:
        """The next answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SideEnded(f"the worker with {self.module} ended: {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, **order: Any) -> dict[str, Any]:
        """The answer to an order, see worker.py."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self.read()

    def time(self, calls: int) -> float:
        """Seconds for each of so many calls."""
        time.sleep(_PAUSE)
        seconds: float = self.ask(time=calls)["seconds"]
        return seconds / calls

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


class Outcome(NamedTuple):
    """Seconds a call takes on both sides, and the ratios of all rounds: above 1 taper is faster."""

    ratios: list[float]
    seconds: float
    reference_seconds: float


def compare(
    name: str, subject: Side, reference: Side, rounds: int, length: float
) -> Outcome | str:
    """Measures a workload in rounds of `length` seconds; or says why it can't be measured."""
    made = {side: side.ask(make=name) for side in (subject, reference)}
    for side, answer in made.items():
        if "error" in answer:
            return f"{side.module}: {answer['error']}"
    if not _agree(made[subject]["result"], made[reference]["result"]):
        return "WRONG: the results differ"
    calls = {side: _calls_for(side, length) for side in (subject, reference)}
    times: dict[Side, list[float]] = {subject: [], reference: []}
    for turn in range(rounds):
        order = (subject, reference) if turn % 2 else (reference, subject)
        for side in order:
            times[side].append(side.time(calls[side]))
    ratios = [b / a for a, b in zip(times[subject], times[reference], strict=True)]
    return Outcome(ratios, *(statistics.median(times[side]) for side in (subject, reference)))


def time_alone(name: str, subject: Side, rounds: int, length: float) -> float | str:
    """The median of the seconds a call takes; or what was wrong."""
    answer = subject.ask(make=name)
    if "error" in answer:
        return f"{subject.module}: {answer['error']}"
    calls = _calls_for(subject, length)
    return statistics.median([subject.time(calls) for _ in range(rounds)])


def _agree(mine: list[float], theirs: list[float]) -> bool:
    """Whether two results agree as far as float32 sums in different orders can."""
    return len(mine) == len(theirs) and all(
        a == b or math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-4)
        for a, b in zip(mine, theirs, strict=True)
    )


def _calls_for(side: Side, length: float) -> int:
    """How many calls make a round of about so many seconds; warms up on the way."""
    calls, warmed = 1, 0.0
    while (took := side.ask(time=calls)["seconds"]) < length / 2 or warmed < _WARM_ROUNDS * length:
        warmed += took
        calls = max(1, int(calls * min(length / max(took, 1e-9), 10)))
    return calls
