"""What a recorded call is made of: the tensors that were there before, and those that it makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from taper.arrays.node_functions import Step
from taper.arrays.recorded_number import RecordedNumber
from taper.compilation.differentiable import Backward
from taper.compilation.watches import path_text
from taper.compiler.graph import Graph, GraphNode
from taper.core.storage import address_of, span_in_bytes
from taper.core.symbolic import ShapeEnvironment
from taper.core.tensor import Tensor

__all__ = [
    "BROKEN", "INVALID", "UNCHANGED", "Alias", "Busy", "CheckFailed", "Constant", "FactBroken",
    "Fresh", "Given", "Known", "NotCaptured", "NotedWarning", "Number", "NumberPinned",
    "OutOfRange", "Recorded", "first_overlap",
]


class NotCaptured(Exception):
    """Why a call wasn't captured; `line` is the user's, `state` says that it is worth trying again
    once optimizers have their state."""

    def __init__(
        self, reason: str, line: str | None = None, *, again: bool = False, lasting: bool = False
    ) -> None:
        super().__init__(reason)
        self.line = line
        self.again = again
        self.is_lasting = lasting  # it will be so in every call, if in the first


class Busy(NotCaptured):
    """Raised if a call can't be recorded now."""


class Known:
    """A tensor that was there before the call.

    Attributes:
        role: "state", "argument" (`place` is its position among them) or "gradient" (of the
            known tensor number `place`).
        bumps: by how much the call raises its version, if it writes to it.
        grad: what its `.grad` is after the call: None, or how to make it; UNCHANGED.
    """

    __slots__ = ("array", "attributes", "bumps", "changed_at", "grad", "input", "owner", "path",
                 "place", "role", "saved", "tensor", "written")

    def __init__(self, tensor: Tensor, role: str, place: int, path: Any) -> None:
        self.tensor = tensor
        self.role = role
        self.place = place
        self.path = path
        self.array = tensor._array
        self.saved = (tensor._array, tensor._storage, tensor._grad, tensor._edge, tensor._base)
        self.attributes = tensor.__dict__.copy()
        self.input = -1  # its position among the inputs of the program, if it is read
        self.bumps = 0
        self.changed_at: Any = None
        self.written = False
        self.grad: Any = UNCHANGED
        self.owner: Any = None


    def release(self) -> None:
        """Lets go of a tensor that is another one at each call."""
        if self.role != "state":
            self.tensor = self.array = self.saved = self.attributes = self.owner = None  # type: ignore[assignment]

    def take_over(self, other: Known) -> None:
        """Takes what the recorded call does to the tensor that `other` stands for."""
        for name in ("bumps", "changed_at", "grad", "input", "written"):
            setattr(self, name, getattr(other, name))


UNCHANGED = object()


# -- what results are made of ----------------------------------------------------------------------


class Given:
    """A result that is a known tensor itself."""

    def __init__(self, known: int) -> None:
        self.known = known


class Fresh:
    """A new tensor around an output of the program, or a view of one.

    Attributes:
        strides: how the output must lie in memory; None if that doesn't matter.
        is_inference: whether it was made in inference mode.
    """

    def __init__(
        self, output: int, steps: tuple[Step, ...], edge: Any,
        strides: tuple[int, ...] | None = None, *, is_inference: bool = False,
    ) -> None:
        self.is_inference = is_inference
        self.output = output
        self.strides = strides
        self.steps = steps
        self.edge = edge  # None, LEAF, or the node that it had


class Alias:
    """A new tensor that shares the memory of a known one."""

    def __init__(self, known: int, steps: tuple[Step, ...], edge: Any) -> None:
        self.known = known
        self.steps = steps
        self.edge = edge


class Constant:
    """A new tensor of the same numbers each time."""

    def __init__(self, array: np.ndarray, edge: Any) -> None:
        self.array = array
        self.edge = edge


class Number:
    """A float in a parameter group, or one that is passed, that the program reads at each call.

    Attributes:
        group: the dict that holds it under `name`, or a tuple with it at `index`; of those that are
            passed, `Snapshot.numbers`.
        place: its position among the inputs.
    """

    __slots__ = ("group", "index", "is_passed", "name", "place", "recorded")

    def __init__(
        self, group: dict[str, Any], name: str, index: int | None, *, is_passed: bool = False
    ) -> None:
        self.is_passed = is_passed
        self.group = group
        self.name = name
        self.index = index
        self.place = -1
        self.recorded: RecordedNumber | None = None

    @property
    def label(self) -> str:
        """What explanations call it."""
        return self.name if self.index is None else f"{self.name}[{self.index}]"

    def value(self) -> float:
        """What it is now."""
        entry = self.group[self.name]
        found: float = entry if self.index is None else entry[self.index]
        return found


class NumberPinned(Exception):
    """Raised if a call depends on the value of a number that was to be an input: that of this name,
    or nobody knows of which."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.name = name


BROKEN = "broken"
"""The output of a graph that tells whether a fact about numbers (arrays/recorded_number.py) isn't
true. A program raises FactBroken then, before it changes anything."""


INVALID = "invalid"
"""The output that tells whether a check of values failed that the recorded call made: of the
parameters of a distribution, for example. A program raises CheckFailed then, in the same way."""


class FactBroken(Exception):
    """Raised by a program for numbers that compare otherwise than those that it was recorded for.
    """


class CheckFailed(FactBroken):
    """Raised by a program in which a check of values fails: the function raises what is due."""


class OutOfRange(CheckFailed, IndexError):
    """Raised by a program for an index that is out of range, before it changes anything."""


def first_overlap(arrays: Sequence[Any], written: Sequence[bool]) -> tuple[int, int] | None:
    """The numbers of two arrays that share memory to which one of them is written, if any do."""
    spans = sorted([
        (address_of(a), address_of(a) + span_in_bytes(a), i)
        for i, a in enumerate(arrays) if a.size])
    end_of_all = end_of_written = 0
    of_all = of_written = 0
    for start, end, i in spans:
        if start < end_of_written or (written[i] and start < end_of_all):
            return (of_written if start < end_of_written else of_all), i
        if end > end_of_all:
            end_of_all, of_all = end, i
        if written[i] and end > end_of_written:
            end_of_written, of_written = end, i
    return None


class NotedWarning(NamedTuple):
    """The arguments of `warnings.warn_explicit` that give a warning again."""

    message: Any
    category: Any
    filename: str
    lineno: int
    module: str
    registry: dict[Any, Any]


class Recorded:
    """A recorded call.

    Attributes:
        graph: its inputs are those known tensors that are read (`Known.input`).
        updates: output name → position of the input whose memory it is written to.
        outputs: names of the outputs that become tensors, in the order of `Fresh.output`.
        tensors: how to make each tensor of the result, and new gradients.
        result: ``result(tensors)`` is what the function returns.
        warnings: those that it gave.
        returned: containers of the state that are in the result.
    """

    def __init__(self, graph: Graph, known: list[Known]) -> None:
        self.graph = graph
        self.known = known
        self.numbers: list[Number] = []
        self.updates: dict[str, int] = {}
        self.tensors: list[Any] = []
        self.output_count = 0
        self.uses: dict[int, int] = {}  # how often each of `tensors` is used
        self.only: int | None = None  # the one that is the result, if it is one
        self.result: Any = None
        self.backwards: list[Backward] = []  # of results that can still be differentiated
        self.environment: ShapeEnvironment | None = None  # of a call with symbolic sizes
        self.nodes: list[GraphNode] = []  # all calls that were made, and those of its backward
        self.size: int | None = None  # if its graph has symbolic sizes, that of this call
        self.warnings: list[NotedWarning] = []
        self.returned: list[Any] = []

    def overlap(self) -> str | None:
        """Which memory that is written to two known tensors share, if any."""
        found = first_overlap([k.array for k in self.known], [k.written for k in self.known])
        if found is None:
            return None
        first, second = [path_text(self.known[i].path) for i in found]
        return f"{first} and {second} share memory that is written to"
