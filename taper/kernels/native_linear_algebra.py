"""The native twins of kernels/linear_algebra.py: many small systems at once, and elimination in
matrices of medium size, one a task. See native_reflections.py for orthogonal factors."""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from taper.compiler import cholesky_kernels
from taper.compiler.cholesky_kernels import FACTOR_WORDS
from taper.compiler.elimination_kernels import (
    BLOCK,
    ELIMINATION_WORDS,
    STATUS_EACH,
    TOGETHER,
    elimination,
)
from taper.compiler.machine import vector_bytes
from taper.compiler.small_systems import MOST_SIDES, MOST_UNKNOWNS, SYSTEMS_WORDS, systems
from taper.compiler.tile_code import SIZE
from taper.core.storage import address_of
from taper.core.threads import get_num_threads
from taper.kernels.native import FLOAT_KINDS, Kernel
from taper.runtime.large_arrays import new_array
from taper.runtime.planned_calls import replayed, scratch

__all__ = ["cholesky", "determinant", "inverse", "log_determinant", "solve"]

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]

_GRAIN = 1 << 15  # multiplications that are worth a thread of their own


_WORTH_PARTS, _MOST_PARTS = 64, 4  # rows of one inverse that several threads compute
_WORTH_STEPS = 3072  # bytes of a row of a Cholesky factor that they compute block by block
_LARGEST = 512  # unknowns; a panel and what is beside it should stay in the caches
_MOST_BYTES = 1 << 26  # of a batch's working memory


@cache
def _kernel(kind: str, n: int, m: int) -> Kernel:
    return Kernel.of(systems, len(SYSTEMS_WORDS), kind, n, m)


def solve(a: Array, b: Array) -> Array | None:
    """`kernels.linear_algebra.solve`, or None without a kernel.

    Raises: LinAlgError: if a matrix is singular.
    """
    return _solve_small(a, b) if a.shape[-1] <= MOST_UNKNOWNS else _solve(a, b)


def _solve_small(a: Array, b: Array) -> Array | None:
    """One system in each lane."""
    kind = FLOAT_KINDS.get(a.dtype)
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


# -- elimination -----------------------------------------------------------------------------------


@cache
def _elimination(kind: Any) -> Kernel:
    return Kernel.of(elimination, len(ELIMINATION_WORDS), kind)


@cache
def _cholesky(kind: Any) -> Kernel:
    return Kernel.of(cholesky_kernels.cholesky, len(FACTOR_WORDS), kind)


class _Eliminated(NamedTuple):
    """Matrices after elimination."""

    work: Array  # (matrices, rows, columns): U, and the right sides or what became of them
    pivots: Array
    status: Array
    rows: int


def _pitch(count: int, item: int) -> int:
    """Elements from one line to the next, such that lines don't fight for the same cache sets."""
    return count + 64 // item if count * item % 1024 == 0 else count


class _Room(NamedTuple):
    """Matrices in rows, with room for further columns, up to a multiple of the kernels' blocks."""

    work: Array  # (matrices, rows, pitch)
    panels: Array
    status: Array
    rows: int
    columns: int


def _room_for(a: Array, parts: int, further: int) -> _Room | None:
    """A batch of square matrices in rows of their own; None where kernels wouldn't pay."""
    n, item, count = a.shape[-1], a.itemsize, prod(a.shape[:-2]) * parts
    if a.dtype not in FLOAT_KINDS or not MOST_UNKNOWNS < n <= _LARGEST or a.shape[-2] != n:
        return None
    lanes = vector_bytes() // item
    rows = -(-n // BLOCK) * BLOCK
    columns = rows + -(-further // lanes) * lanes
    pitch, panel_pitch = _pitch(columns, item), _pitch(rows, item)
    if not count or count * rows * pitch * item > _MOST_BYTES:
        return None
    work: Array = new_array((count, rows, pitch), a.dtype, count * rows * pitch)
    height = BLOCK + TOGETHER
    panels: Array = new_array(
        (count, height, panel_pitch), a.dtype, count * height * panel_pitch)
    panels[:, BLOCK:] = 0
    status = np.empty((count, STATUS_EACH // 8), np.int64)[:, 0]
    return _Room(work, panels, status, rows, columns)


def _fill(work: Array, a: Array) -> None:
    """Writes matrices, and what is beyond them says 1 = 1."""
    n = a.shape[-1]
    count, rows, pitch = work.shape
    work[:, :n, :n] = a.reshape(count, n, n)
    work[:, :n, n:] = 0
    if rows > n:
        work[:, n:] = 0
        work.reshape(count, -1)[:, n * (pitch + 1) : rows * pitch : pitch + 1] = 1


def _eliminate(a: Array, sides: Array | None = None) -> _Eliminated | None:
    """Eliminates in a batch of square matrices, with right sides or without."""
    n, m = a.shape[-1], 0 if sides is None else sides.shape[-1]
    kernel = _elimination(FLOAT_KINDS.get(a.dtype))
    address = kernel.address() if a.dtype in FLOAT_KINDS else None
    room = None if address is None else _room_for(a, 1, m)
    if room is None:
        return None
    work, panels, status, rows, columns = room
    count = len(work)
    _fill(work, a)
    if sides is not None:
        work[:, :n, rows : rows + m] = sides.reshape(count, n, m)
    of_task = np.zeros((count, 2), np.int64)
    of_task[:, 0] = columns
    pivots = np.empty((count, rows), np.int64)
    kernel.run(address, (
        address_of(work), address_of(panels), address_of(pivots), address_of(status),
        address_of(of_task), rows, False, m > 0, work.strides[1], panels.strides[1],
        work.strides[0], panels.strides[0], pivots.strides[0], 0, 0, n, 0, 1,
    ), count, max(1, _GRAIN // n**3))
    if (status < 0).any():  # dividing by a subnormal pivot: LAPACK takes more care
        return None
    return _Eliminated(work, pivots, status, rows)


def cholesky(a: Array) -> Array | None:
    """`kernels.linear_algebra.cholesky`, or None without a kernel.

    Raises: LinAlgError: if a matrix is not positive definite.
    """
    if a.dtype not in FLOAT_KINDS or not a.size or not a.shape[-2] == a.shape[-1] <= _LARGEST:
        return None
    found = _factored(np.ascontiguousarray(a))
    if found is None:
        return None
    result, status = found
    if status[:, 0].any():
        raise np.linalg.LinAlgError("Matrix is not positive definite")
    return result


@replayed
def _factored(a: Array) -> tuple[Array, Array] | None:
    """Cholesky's factors, and of each task in how far it failed.

    Where there are fewer matrices than threads, several compute the rows of one, a block of columns
    at a time. The result is the same.
    """
    dtype, item, n, count = a.dtype, a.itemsize, a.shape[-1], prod(a.shape[:-2])
    kernel = _cholesky(FLOAT_KINDS.get(dtype))
    address = kernel.address()
    if address is None:
        return None
    parts = max(1, min(get_num_threads() // count, _MOST_PARTS)) if n * item >= _WORTH_STEPS else 1
    tasks = count * parts
    rows = -(-n // BLOCK) * BLOCK
    panel_pitch = _pitch(rows, item)
    sizes = ((BLOCK + TOGETHER) * panel_pitch, rows * BLOCK, rows * BLOCK)
    rooms = [scratch(new_array((tasks, size), dtype, tasks * size)) for size in sizes]
    status = np.empty((tasks, STATUS_EACH // 8), np.int64)
    result: Array = new_array(a.shape, dtype, a.size)
    step = rows if parts == 1 else BLOCK
    for begin in range(0, rows, step):
        kernel.launch(address, (a, *rooms, result, status), (
            n, panel_pitch * item, BLOCK * item, n * item, n * n * item,
            *(size * item for size in sizes), begin, begin + step, parts,
        ), tasks, max(1, _GRAIN // n**3))
    return result, status


def _refuse_singular(status: Array) -> None:
    if status.any():
        raise np.linalg.LinAlgError("Singular matrix")


def _solve(a: Array, b: Array) -> Array | None:
    if a.dtype != b.dtype or a.shape[:-1] != b.shape[:-1] or not b.size:
        return None
    found = _eliminate(a, b)
    if found is None:
        return None
    _refuse_singular(found.status)
    n, m = b.shape[-2:]
    return found.work[:, :n, found.rows : found.rows + m].copy().reshape(b.shape)


def inverse(a: Array) -> Array | None:
    """`kernels.linear_algebra.inverse`, or None without a kernel.

    Where there are fewer matrices than threads, several compute the columns of one, each with the
    factors for itself: columns don't depend on each other, so the result is the same.

    Raises: LinAlgError: if a matrix is singular.
    """
    n, count, dtype = a.shape[-1], prod(a.shape[:-2]), a.dtype
    parts = get_num_threads() // count if count and n >= _WORTH_PARTS else 1
    cuts = _cuts(-(-n // BLOCK), max(1, min(parts, _MOST_PARTS)))
    widths = np.diff(cuts)
    parts = len(widths)
    kernel = _elimination(FLOAT_KINDS.get(dtype))
    address = kernel.address() if dtype in FLOAT_KINDS else None
    room = None if address is None else _room_for(a, parts, int(widths.max()))
    if room is None:
        return None
    work, panels, status, rows, _ = room
    of_task = np.empty((count, parts, 2), np.int64)
    of_task[:, :, 0], of_task[:, :, 1] = widths + rows, cuts[:-1]
    pivots = np.empty((count * parts, 2 * rows), np.int64)
    result: Array = new_array(a.shape, dtype, a.size)
    a = np.ascontiguousarray(a)
    kernel.run(address, (
        address_of(work), address_of(panels), address_of(pivots), address_of(status),
        address_of(of_task), rows, True, True, work.strides[1], panels.strides[1],
        work.strides[0], panels.strides[0], pivots.strides[0], address_of(a), address_of(result),
        n, n * a.itemsize, parts,
    ), count * parts, max(1, _GRAIN // n**3))
    if (status < 0).any():
        return None
    _refuse_singular(status)
    return result


@cache
def _cuts(blocks: int, parts: int) -> Ints:
    """Where to cut the columns of an inverse into parts that take about as long: those to the left
    have more that isn't zero."""
    work = np.cumsum((blocks - np.arange(blocks)) ** 2 + blocks**2)
    cuts = [0, *(int(np.searchsorted(work, work[-1] * p / parts)) for p in range(1, parts)), blocks]
    return tuple(BLOCK * cut for cut in cuts)


def log_determinant(a: Array) -> Any:
    """`kernels.linear_algebra.log_determinant`, or None without a kernel."""
    found = _eliminate(a)
    if found is None:
        return None
    diagonal, odd = _diagonal(found, a)
    sign = np.multiply.reduce(np.sign(diagonal), -1)
    with np.errstate(divide="ignore"):
        logarithm = np.add.reduce(np.log(np.abs(diagonal)), -1)
    return sign * odd, logarithm


def determinant(a: Array) -> Any:
    """`kernels.linear_algebra.determinant`, or None without a kernel."""
    found = _eliminate(a)
    if found is None:
        return None
    diagonal, odd = _diagonal(found, a)
    return np.multiply.reduce(diagonal, -1) * odd


def _diagonal(found: _Eliminated, a: Array) -> tuple[Array, Array]:
    """U's diagonals, and -1 for matrices whose rows were exchanged an odd number of times, else 1.
    """
    batch, n = a.shape[:-2], a.shape[-1]
    diagonal = found.work.diagonal(0, 1, 2)[:, :n].reshape(*batch, n)
    exchanged = np.add.reduce(found.pivots != np.arange(found.rows), 1).reshape(batch)
    return diagonal, (1 - 2 * (exchanged % 2)).astype(a.dtype)
