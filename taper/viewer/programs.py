"""What there is to see of a compiled function: its programs, their graphs, kernels and guards."""

from __future__ import annotations

from dataclasses import dataclass, field

from taper.viewer.history import Item

__all__ = ["FunctionView", "GuardView", "KernelView", "ProgramView"]


@dataclass
class KernelView:
    """One step of a program: a kernel, a product, or a call of a Python function.

    Attributes:
        operations: what was fused, a line each; nodes: the boxes of the graph that it computes.
        source: the expression that the kernel was made from, and its launches.
        read, written: bytes, if each element of an operand is fetched once.
        flops: operations of arithmetic; None if that isn't known.
        seconds: what it took, the median of several runs; None if it wasn't measured.
        bound: what it would take at the speed that was measured of the machine.
    """

    number: int
    kind: str
    title: str
    operations: list[str]
    nodes: list[int]
    source: str
    read: int
    written: int
    flops: int | None = None
    seconds: float | None = None
    bound: float | None = None

    @property
    def gigabytes_per_second(self) -> float | None:
        """Bytes that it reads and writes, by the time it takes."""
        return (self.read + self.written) / self.seconds / 1e9 if self.seconds else None

    @property
    def gigaflops(self) -> float | None:
        """Operations by time."""
        return self.flops / self.seconds / 1e9 if self.seconds and self.flops else None

    @property
    def share(self) -> float | None:
        """The bound as a part of the time: 1 is as quick as this machine."""
        return self.bound / self.seconds if self.seconds and self.bound is not None else None


@dataclass
class GuardView:
    """One place that a program watches; `holds` says whether it is now as it was then."""

    place: str
    kind: str
    content: str
    holds: bool


@dataclass
class ProgramView:
    """One program: its graph before and after the passes, and what runs.

    Attributes:
        seconds: what a whole call of the program took, the median of several; least: the quickest.
        unmeasured: why it wasn't measured.
        notes: what else is to be known, a line each.
    """

    title: str
    before: list[Item]
    after: list[Item]
    kernels: list[KernelView] = field(default_factory=list)
    guards: list[GuardView] = field(default_factory=list)
    seconds: float | None = None
    least: float | None = None
    unmeasured: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass
class FunctionView:
    """A compiled function: programs, and the reasons why calls ran as they are, with lines.

    Attributes:
        machine: what was measured of the machine, a line each.
    """

    name: str
    compiled_calls: int
    eager_calls: int
    programs: list[ProgramView]
    fallbacks: list[tuple[str, str | None]]
    machine: list[str] = field(default_factory=list)
