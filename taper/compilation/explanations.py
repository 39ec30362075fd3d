"""What `explain` tells: what was captured, what is watched, and what ran as it is, and why."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

__all__ = ["Explanation", "Unsupported", "log"]

log = logging.getLogger("torch._dynamo")


class Unsupported(RuntimeError):
    """Raised with `fullgraph=True` by a call that can't be captured."""

    __module__ = "torch._dynamo.exc"


def _steps_of(program: Any) -> str:
    """How many steps a program has; the steps themselves are in `program.describe()`."""
    describe = getattr(program, "describe", None)
    if describe is None:
        return "NumPy, from memory planned ahead"
    steps = [line for line in describe().split("\n")[1:] if not line.startswith(" ")]
    calls = [step.removeprefix("call ") for step in steps if step.startswith("call ")]
    names = ", ".join([name if count == 1 else f"{count} of {name}"
                       for name, count in Counter(calls).items()])
    return (f"{len(steps) - len(calls)} kernels and products, {len(calls)} calls of Python "
            f"functions{names and f' ({names})'}")


class Explanation:
    """How calls of a compiled function were carried out; `print` it.

    Attributes:
        function: its name.
        programs: one entry per captured call: its graph, what it reads and writes, the program, and
            the seconds that recording and planning took.
        fallbacks: why other calls ran as they are, each with the line if one is known.
        calls: how many calls ran as programs, and how many as they are.
    """

    def __init__(self, function: str) -> None:
        self.function = function
        self.programs: list[dict[str, Any]] = []
        self.fallbacks: list[tuple[str, str | None]] = []
        self.calls = {"compiled": 0, "eager": 0}

    @property
    def graph_count(self) -> int:
        """How many graphs were captured."""
        return len(self.programs)

    @property
    def graph_break_count(self) -> int:
        """How many reasons there were to run a call as it is."""
        return len(self.fallbacks)

    @property
    def break_reasons(self) -> list[str]:
        """Those reasons."""
        return [reason for reason, _ in self.fallbacks]

    def __str__(self) -> str:
        lines = [
            f"{self.function}: {self.calls['compiled']} calls ran as programs, "
            f"{self.calls['eager']} as they are"
        ]
        for i, program in enumerate(self.programs):
            lines.append(f"program {i}: {', '.join(program['arguments']) or 'no arguments'}")
            for name in ("nodes", "sizes", "reads", "writes", "watches"):
                lines.append(f"  {name}: {program[name]}")
            lines.append(f"  runs as: {_steps_of(program['program'])}")
            recorded, planned = (f"{1000 * s:.1f} ms" for s in program["seconds"])
            lines.append(f"  took: {recorded} to record, {planned} to plan and find kernels")
        for reason, line in self.fallbacks:
            lines.append(f"ran as it is: {reason}" + (f"\n  at {line}" if line else ""))
        return "\n".join(lines)

    __repr__ = __str__
