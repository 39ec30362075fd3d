"""The native twin of kernels/linear_algebra.py: many small systems at once."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from taper.compiler import machine
from taper.compiler.machine import vector_bytes
from taper.compiler.small_systems import MOST_SIDES, MOST_UNKNOWNS, SYSTEMS_WORDS, systems
from taper.compiler.tile_code import SIZE
from taper.core.storage import address_of
from taper.kernels.native import Kernel

__all__ = ["solve"]

Array = np.ndarray[Any, Any]

_KINDS = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}
_GRAIN = 1 << 15  # multiplications that are worth a thread of their own


@cache
def _kernel(kind: str, n: int, m: int) -> Kernel:
    def build() -> tuple[str, str]:
        return systems("systems", machine.vector_bytes(), kind, n, m), "systems"

    return Kernel(build, len(SYSTEMS_WORDS))


def solve(a: Array, b: Array) -> Array | None:
    """`kernels.linear_algebra.solve`, or None without a kernel.

    Raises: LinAlgError: if a matrix is singular.
    """
    kind = _KINDS.get(a.dtype)
    *batch, n, m = b.shape
    if (
        kind is None or a.dtype != b.dtype or a.shape != (*batch, n, n)
        or n > MOST_UNKNOWNS or m > MOST_SIDES
    ):
        return None
    kernel = _kernel(kind, n, m)
    address = kernel.address()
    if address is None:
        return None
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    result = np.empty(b.shape, b.dtype)
    count = b.size // (n * m)
    lanes = vector_bytes() // SIZE[kind]
    tasks = -(-count // lanes)
    singular = np.empty(tasks, np.int64)
    kernel.run(address, (
        address_of(a), address_of(b), address_of(result), address_of(singular), count,
    ), tasks, max(1, _GRAIN // (n * n * (n + m) * lanes)))
    if np.logical_or.reduce(singular):
        raise np.linalg.LinAlgError("Singular matrix")
    return result
