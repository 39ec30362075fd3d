"""The mutable globals: whether operations are recorded, and which modes intercept calls.

Grad mode and inference mode are context variables, so each thread and each asyncio task has
its own, as in PyTorch each thread has. `active.modes` counts everything, in any thread, that
wants to see each operator call (function modes, saved-tensor hooks, inference mode, autocast):
while it is zero, generated wrappers take their short path without asking further.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

__all__ = [
    "Active", "active", "around_forwards", "autocasting", "grad_mode", "inference",
    "is_differentiated", "is_inference", "is_recording",
]

grad_mode: ContextVar[bool] = ContextVar("grad_mode", default=True)
is_recording = grad_mode.get

# Below the tape: ``around(op, bound, run)`` stands in for the forwards that ops/slow.py runs; it
# returns what ``run()`` would.
around_forwards: ContextVar[Any] = ContextVar("around_forwards", default=None)

# Whether and how operators choose their precision: an ops.autocast.Autocast, or None.
autocasting: ContextVar[Any] = ContextVar("autocasting", default=None)

inference: ContextVar[bool] = ContextVar("inference", default=False)
is_inference = inference.get


class Active:
    """How many modes anywhere in the process want to see every operator call.

    `tangents` counts those among them that are levels of forward mode, `inference` those that are
    inference mode.
    """

    __slots__ = ("inference", "modes", "tangents")

    def __init__(self) -> None:
        self.modes = 0
        self.tangents = 0
        self.inference = 0


active = Active()


def is_differentiated() -> bool:
    """Whether a derivative rule has to be made of operators, for it may be differentiated itself:
    it is being recorded, or tangents go through it."""
    return is_recording() or active.tangents > 0
