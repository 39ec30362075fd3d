"""The native twins of kernels/fourier.py: transforms of many lines at once, one in each lane.

A line that is alone is cut into rows and columns. Lengths must be products of 2, 3 and 5; other
transforms stay with SciPy.
"""

from __future__ import annotations

from functools import cache, lru_cache
from math import prod, sqrt
from typing import Any, NamedTuple

import numpy as np

from taper.compiler.fourier_kernels import (
    TRANSFORM_WORDS,
    Transform,
    buffer_bytes,
    radices_of,
    transform,
)
from taper.compiler.machine import vector_bytes
from taper.kernels.native import Kernel
from taper.kernels.native_twin import are_ready
from taper.runtime.large_arrays import new_array
from taper.runtime.planned_calls import constant, replayed, scratch
from taper.runtime.pool import MOST_ALIGNED

__all__ = ["complex_to_complex", "real_to_complex"]

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]

_KINDS = {np.dtype(kind): name for kind, name in (
    ("f4", "f32"), ("c8", "f32"), ("f8", "f64"), ("c16", "f64"))}
_COMPLEX: dict[Any, Any] = {np.dtype("f4"): np.dtype("c8"), np.dtype("f8"): np.dtype("c16")}
_REAL: dict[str, Any] = {"f32": np.dtype("f4"), "f64": np.dtype("f8")}
_LONGEST = 2048  # elements of a lane; its buffers stay in the second cache
_SLOTS = 16  # buffers; tasks that share one are done by one thread


@cache
def _kernel(form: Transform) -> Kernel:
    return Kernel.of(transform, len(TRANSFORM_WORDS), form)


class _Pass(NamedTuple):
    """One launch: its kernel and what it needs to know, strides in bytes."""

    form: Transform
    lanes: int
    outer: int
    strides: Ints  # element, lane, outer: of the source, then of the result
    twist: Ints = ()  # rows and columns of a line that was cut


def _turns(counts: Array, length: int) -> Array:
    """exp(-2 pi i count / length), exactly rounded for the multiples of a quarter turn."""
    counts = counts % length
    quarters, rest = divmod(4 * counts, length)
    angles = rest * (np.pi / 2 / length)
    return np.exp(-1j * angles) * np.array([1, -1j, -1, 1j])[quarters]


@lru_cache(maxsize=64)
def _factors(form: Transform) -> Array:
    """What the kernel multiplies by, stage by stage."""
    found = []
    done = 1
    for radix in radices_of(form.length) or ():
        rest = form.length // (done * radix)
        found.append(_turns(np.outer(np.arange(rest), np.arange(1, radix)), radix * rest).ravel())
        done *= radix
    if form.is_half:
        found.append(_turns(np.arange(form.length + 1), 2 * form.length))
    return np.concatenate([np.zeros(1), *found]).view(np.float64)[2:].astype(_REAL[form.kind])


@lru_cache(maxsize=16)
def _twist(kind: str, rows: int, columns: int) -> Array:
    """Planes of the factors between the columns of a line and its rows."""
    found = _turns(np.outer(np.arange(rows), np.arange(columns)), rows * columns)
    return np.stack((found.real, found.imag)).astype(_REAL[kind])


class _Step(NamedTuple):
    """A launch of which only the arrays are to come."""

    kernel: Kernel
    address: int
    to_middle: bool  # or to the result; the next step reads it there
    tables: tuple[Array, ...]  # factors, twist, scale
    buffers: int  # their size in real numbers
    words: Ints
    tasks: int
    together: int


class _Plan(NamedTuple):
    """All that the operands' shape and dtype determine."""

    steps: list[_Step]
    shape: Ints
    dtype: Any
    size: int
    needs_middle: bool


_plans: dict[Any, _Plan] = {}
_MOST_PLANS = 256


def _made(
    passes: list[tuple[_Pass, bool]], shape: Ints, kind: str, scale: float
) -> _Plan | None:
    """A plan of passes, and whether each writes the array in the middle, once there are kernels."""
    if not are_ready(*[_kernel(one.form) for one, _ in passes]):
        return None
    steps: list[_Step] = []
    for one, to_middle in passes:
        form, lanes, outer, strides, twist = one
        kernel = _kernel(form)
        address = kernel.address()
        if address is None:
            return None
        groups = -(-lanes // _lanes_of(kind))
        count = groups * outer
        # Pieces of a launch begin at multiples of it, so no two threads share a buffer.
        together = min(1 << (-(-count // _SLOTS) - 1).bit_length(), MOST_ALIGNED)
        tables = (_factors(form), _twist(kind, *twist) if twist else _NOTHING,
                  np.array([scale if len(steps) == len(passes) - 1 else 1.0], _REAL[kind]))
        buffers = buffer_bytes(vector_bytes(), form) // _REAL[kind].itemsize
        steps.append(_Step(
            kernel, address, to_middle, tables,
            buffers * -(-count // together), (lanes, groups, together, *strides), count, together))
    dtype = _COMPLEX[_REAL[kind]]
    needs_middle = any(step.to_middle for step in steps)
    return _Plan(steps, shape, dtype, prod(shape), needs_middle)


_NOTHING = np.zeros(1)


def _computed(plan: _Plan, x: Array) -> Array:
    """Runs the steps. A line is read before it is written, so the result may be read, too."""
    result: Array = new_array(plan.shape, plan.dtype, plan.size)
    middle: Array = result
    if plan.needs_middle:
        middle = scratch(new_array(plan.shape, plan.dtype, plan.size))
    source = x
    for kernel, address, to_middle, tables, size, words, count, together in plan.steps:
        target = middle if to_middle else result
        factors, twist, scale = map(constant, tables)
        buffers = scratch(new_array((size,), factors.dtype, size)) if size else factors
        kernel.launch(
            address, (source, target, factors, twist, buffers, scale), words, count, together)
        source = target
    return result


def _lanes_of(kind: str) -> int:
    return vector_bytes() // _REAL[kind].itemsize


def _fits(length: int) -> bool:
    return 1 < length <= _LONGEST and radices_of(length) is not None


@lru_cache(maxsize=256)
def _cut(length: int, lanes: int) -> Ints | None:
    """A line as rows and columns, about as many."""
    if radices_of(length) is None:
        return None
    for rows in range(int(sqrt(length)), lanes - 1, -1):
        if length % rows == 0 and _fits(rows) and _fits(length // rows):
            return rows, length // rows
    return None


def _passes(kind: str, shape: Ints, dim: int, inverse: bool) -> list[_Pass] | None:
    """The passes of complex transforms along one dimension of a contiguous array; two of them have
    another array in between. None where kernels wouldn't pay."""
    outer, length, inner = prod(shape[:dim]), shape[dim], prod(shape[dim + 1 :])
    item = 2 * _REAL[kind].itemsize
    few = _lanes_of(kind) // 2
    swaps = {"swaps_source": inverse, "swaps_result": inverse}
    if inner >= few and _fits(length):
        steps = (inner * item, item, length * inner * item)
        return [_Pass(
            Transform(kind, length, "across", "across", length, **swaps), inner, outer, steps * 2)]
    if inner > 1:
        return None
    if outer >= few and _fits(length):
        steps = (item, length * item, 0)
        return [_Pass(
            Transform(kind, length, "along", "along", length, **swaps), outer, 1, steps * 2)]
    cut = _cut(length, _lanes_of(kind))
    if cut is None:
        return None
    rows, columns = cut
    down = (columns * item, item, length * item)
    return [
        _Pass(Transform(kind, rows, "across", "across", rows, swaps_source=inverse,
                        is_twisted=True), columns, outer, down * 2, cut),
        _Pass(Transform(kind, columns, "along", "across", columns, swaps_result=inverse), rows,
              outer, (item, columns * item, length * item, rows * item, item, length * item)),
    ]


def _scale_of(norm: str, count: int, forward: bool) -> float:
    if norm == "ortho":
        return 1 / sqrt(count)
    return 1 / count if (norm == "forward") == forward else 1.0


def complex_to_complex(x: Array, dims: Ints, norm: str, forward: bool) -> Array | None:
    """`kernels.fourier.complex_to_complex`, or None without a kernel."""
    return _complex_to_complex(np.ascontiguousarray(x), _the_same(tuple(dims)), norm, forward)


def real_to_complex(x: Array, dims: Ints, norm: str, half: bool) -> Array | None:
    """`kernels.fourier.real_to_complex`, or None without a kernel."""
    return _real_to_complex(np.ascontiguousarray(x), _the_same(tuple(dims)), norm, half)


@lru_cache(maxsize=256)
def _the_same(dims: Ints) -> Ints:
    """The first tuple that was equal: plans tell arguments apart by identity."""
    return dims


@replayed
def _complex_to_complex(x: Array, dims: Ints, norm: str, forward: bool) -> Array | None:
    return _transformed(_complex_passes, x, dims, norm, forward)


@replayed
def _real_to_complex(x: Array, dims: Ints, norm: str, half: bool) -> Array | None:
    return _transformed(_real_passes, x, dims, norm, half)


def _transformed(
    passes_of: Any, x: Array, dims: Ints, norm: str, choice: bool
) -> Array | None:
    key = (passes_of, x.shape, x.dtype, dims, norm, choice)
    plan = _plans.get(key)
    if plan is None:
        kind = _KINDS.get(x.dtype)
        if kind is None or not x.size:
            return None
        own = tuple(d % x.ndim for d in dims)
        found = passes_of(kind, x.shape, own, choice)
        if found is None:
            return None
        passes, shape = found
        forward = choice or passes_of is _real_passes
        scale = _scale_of(norm, prod(x.shape[d] for d in own), forward)
        plan = _made(passes, shape, kind, scale)
        if plan is None:
            return None
        if len(_plans) >= _MOST_PLANS:
            _plans.clear()
        _plans[key] = plan
    return _computed(plan, x)


@lru_cache(maxsize=256)
def _complex_passes(
    kind: str, shape: Ints, dims: Ints, forward: bool
) -> tuple[list[tuple[_Pass, bool]], Ints] | None:
    """The passes along all dimensions, the last first, and the shape of the result."""
    found = []
    for d in reversed(dims):
        passes = _passes(kind, shape, d, not forward)
        if passes is None:
            return None
        found += [(one, one is not passes[-1]) for one in passes]
    return found, shape


@lru_cache(maxsize=256)
def _real_passes(
    kind: str, shape: Ints, dims: Ints, half: bool
) -> tuple[list[tuple[_Pass, bool]], Ints] | None:
    """The same for real values: first along the last dimension."""
    *others, last = dims
    length = shape[-1]
    rows = prod(shape[:-1])
    if last != len(shape) - 1 or length < 2 or rows < _lanes_of(kind) // 2:
        return None
    stored = length // 2 + 1 if half else length
    item = _REAL[kind].itemsize
    form = Transform(kind, length, "real", "along", stored)
    if half and length % 2 == 0 and length > 2:
        form = Transform(kind, length // 2, "along", "along", stored, is_half=True)
    if not _fits(form.length):
        return None
    along = item if form.source == "real" else 2 * item
    strides = (along, length * item, 0, 2 * item, stored * 2 * item, 0)
    result = (*shape[:-1], stored)
    rest = _complex_passes(kind, result, tuple(others), True)
    if rest is None:
        return None
    return [(_Pass(form, rows, 1, strides), False), *rest[0]], result
