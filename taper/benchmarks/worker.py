"""One side of the benchmark: a process with one module, told by lines of JSON what to do."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import Any

from taper.benchmarks import workloads
from taper.benchmarks.workloads import WORKLOADS, Step


def serve(module_name: str, answers: Any) -> None:
    """Answers {"make": name}, {"time": calls} with seconds, or {"error": text}."""
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        answers.write(json.dumps({"error": str(error)}) + "\n")
        return
    answer: dict[str, Any] = {"version": str(getattr(module, "__version__", "?"))}
    step: Step | None = None
    while True:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if not (line := sys.stdin.readline()):
            return
        order = json.loads(line)
        try:
            if "make" in order:
                step = WORKLOADS[order["make"]](module)
                answer = {"result": step().detach().reshape(-1)[:1000].tolist()}
            else:
                assert step is not None
                answer = {"seconds": timed(step, order["time"])}
        except Exception as error:  # whatever the module lacks is a row of the table
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}


def timed(step: Step, calls: int) -> float:
    """Seconds that so many calls take."""
    began = time.perf_counter()
    for _ in range(calls):
        step()
    return time.perf_counter() - began


if __name__ == "__main__":
    # The answers have a channel of their own: what the module prints goes to stderr.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    workloads.COMPILED[0] = "--compile" in sys.argv
    serve(sys.argv[1], channel)
