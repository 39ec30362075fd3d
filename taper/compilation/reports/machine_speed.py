"""What this machine reaches, measured with the simplest programs: bounds for all others.

A kernel can't be quicker than its bytes come, nor than its arithmetic is done (Williams, Waterman
and Patterson 2009, "Roofline"). Bytes come at different speeds from caches and from memory, so they
are compared with `-x` and `x + y` that move as many or more; arithmetic with the best product of
square matrices, with all threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import inf
from typing import Any

import numpy as np

from taper.compilation.program import make_program
from taper.compiler import background
from taper.compiler.graph import Graph, Reference
from taper.core.settings import settings
from taper.core.threads import get_num_threads

__all__ = ["MachineSpeed", "machine_speed"]

_TRAFFIC = tuple([1 << power for power in range(14, 27, 2)])  # 16 KiB to 64 MiB
_SIDES = (96, 256, 512)
_RUNS = 11


class MachineSpeed:
    """Speeds.

    Args:
        bytes_per_second: for how many bytes, from few to many.
        flops_per_second: for elements of how many bytes.
    """

    def __init__(
        self, bytes_per_second: dict[int, float], flops_per_second: dict[int, float]
    ) -> None:
        self.bytes_per_second = bytes_per_second
        self.flops_per_second = flops_per_second

    def seconds_to_move(self, count: int) -> float:
        """What it takes to read and write so many bytes altogether, at the best speed that was
        measured for as many or more."""
        last = max(self.bytes_per_second)
        return count / max(speed for size, speed in self.bytes_per_second.items()
                           if size >= min(count, last))

    def seconds_to_compute(self, flops: int, itemsize: int) -> float:
        """What so many operations of arithmetic take."""
        return flops / self.flops_per_second[8 if itemsize == 8 else 4]

    def lines(self) -> list[str]:
        """The speeds, for people to read."""
        moved = ", ".join(f"{speed / 1e9:.0f} GB/s for {_size(count)}"
                          for count, speed in self.bytes_per_second.items())
        computed = ", ".join(f"{speed / 1e9:.0f} GFLOP/s in float{8 * item}"
                             for item, speed in self.flops_per_second.items())
        return [f"moves {moved}", f"products reach {computed}", f"{get_num_threads()} threads"]


def machine_speed() -> MachineSpeed | None:
    """The speeds of this machine with the threads there are now; None without native code."""
    is_native = settings.native != "off" and background.load()
    return _measured(get_num_threads()) if is_native else None


@cache
def _measured(threads: int) -> MachineSpeed | None:
    moved, computed = {}, {}
    for count in _TRAFFIC:
        x, y = (np.ones(count // 12, np.float32) for _ in range(2))
        z = np.ones(count // 8, np.float32)
        found = [_seconds_of(np.negative, z), _seconds_of(np.add, x, y)]
        moved[count] = count / min(found)
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        operands = [[np.ones((side, side), dtype) for _ in range(2)] for side in _SIDES]
        computed[dtype.itemsize] = max(
            2 * len(x) ** 3 / _seconds_of(np.matmul, x, y) for x, y in operands)
    is_known = all(moved.values()) and all(computed.values())
    return MachineSpeed(moved, computed) if is_known else None


def _seconds_of(function: Callable[..., Any], *arrays: Any) -> float:
    """The least time of a call, as one kernel; infinite if there is no kernel for it."""
    graph = Graph()
    inputs = [graph.add_input(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
    node = graph.add(function.__name__, function, tuple(map(Reference, inputs)), {},
                     [(arrays[0].shape, arrays[0].dtype)])
    graph.outputs = {"result": Reference(node)}
    program = make_program(graph, {})
    background.wait_until_idle(60)
    if not program.is_ready():
        return inf
    return max(sum(seconds for seconds, _ in program.measure(arrays, _RUNS, min)), 1e-9)


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"
