"""Streams of standard random numbers, flat: uniform in [0, 1) and normal, of a generator's draws.

How they become arrays of a shape, a dtype and another distribution is in `random.py`; raw draws,
and how small calls are served from numbers computed ahead, in `core/generator.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.core.generator import Ahead, Generator, Quicker
from taper.core.settings import settings
from taper.kernels.box_muller import box_muller
from taper.kernels.native_twin import with_native

__all__ = [
    "FEW", "FLOAT32", "FLOAT64", "MOST_AT_ONCE", "block_normal", "blocks_of_16", "draws_at_once",
    "few_normals", "in_chunks", "ones_below", "serial_normal", "to_uniform32", "to_uniform64",
    "uniform32", "uniform64",
]

Array = np.ndarray[Any, np.dtype[Any]]

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)

_CHUNK = 1 << 15  # draws per round of a large fill: the arrays of a round stay in the cache
MOST_AT_ONCE = 1 << 24  # draws for a native kernel: 64 MB
FEW = 4096  # calls for fewer numbers are served from those computed ahead
_LOW53, _32 = np.uint64((1 << 53) - 1), np.uint64(32)


def in_chunks(
    generator: Generator, count: int, draws_each: int, dtype: np.dtype[Any],
    make: Callable[[Array], Array],
) -> Array:
    """`make` of the next draws, `draws_each` per number, a cache-sized part at a time; if that has
    a native kernel, many at once."""
    if count * draws_each <= _CHUNK:
        return make(generator.draw(count * draws_each)).astype(dtype, copy=False)
    if make in _NATIVE and settings.native != "off" and count * draws_each <= MOST_AT_ONCE:
        return make(draws_at_once(generator, count * draws_each))
    result = np.empty(count, dtype)
    step = _CHUNK // draws_each
    for start in range(0, count, step):
        part = result[start : start + step]
        part[...] = make(generator.draw(len(part) * draws_each))
    return result


def draws_at_once(generator: Generator, count: int) -> Array:
    """Many draws, by a native kernel if there is one."""
    if Quicker.draws is None and settings.native != "off":
        from taper.kernels.native_twister import draws

        Quicker.draws = draws
    return generator.draw(count)


# -- uniform ---------------------------------------------------------------------------------------

_TWISTER = "taper.kernels.native_twister"
_twin = with_native(_TWISTER, is_large=lambda draws: draws.size > _CHUNK)


@_twin
def to_uniform32(draws: Array) -> Array:
    result = (draws & np.uint32(0xFFFFFF)).view(np.int32).astype(np.float32)
    result *= np.float32(2.0**-24)
    return result


@_twin
def to_uniform64(draws: Array) -> Array:
    pairs = draws.view(np.uint64)
    if not pairs.flags.aligned:
        pairs = pairs.copy()
    bits = pairs << _32  # the first draw, which memory has in the low half, is the high one
    bits &= _LOW53
    bits |= pairs >> _32
    result = bits.view(np.int64).astype(np.float64)
    result *= 2.0**-53
    return result


_NATIVE = {to_uniform32, to_uniform64, box_muller}  # of many draws
_UNIFORM32 = Ahead(to_uniform32, each=1, period=1)
_UNIFORM64 = Ahead(to_uniform64, each=2, period=2)


def uniform32(generator: Generator, count: int) -> Array:
    """float32 in [0, 1), one draw each."""
    if count <= FEW:
        found = generator.take(_UNIFORM32, count)
        if found is not None:
            return found
    return in_chunks(generator, count, 1, FLOAT32, to_uniform32)


def uniform64(generator: Generator, count: int) -> Array:
    """float64 in [0, 1), two draws each."""
    if count <= FEW:
        found = generator.take(_UNIFORM64, count)
        if found is not None:
            return found
    return in_chunks(generator, count, 2, FLOAT64, to_uniform64)


@with_native(_TWISTER, is_large=lambda draws, limit, dtype: draws.size > _CHUNK)
def ones_below(draws: Array, limit: float, dtype: np.dtype[Any]) -> Array:
    """One where a number made of two draws is less than `limit`, else zero."""
    return (to_uniform64(draws) < limit).astype(dtype)


# -- normal ----------------------------------------------------------------------------------------


def _to_normal64(draws: Array) -> Array:
    """The pairs of Box-Muller's method, four draws a pair: cos first, then sin."""
    uniforms = to_uniform64(draws).reshape(-1, 2)
    angle = uniforms[:, 0] * (2 * math.pi)
    radius = np.log(1.0 - uniforms[:, 1])  # the difference is exact: uniforms end at 2^-53
    radius *= -2.0
    np.sqrt(radius, out=radius)
    result = np.empty_like(uniforms)
    np.multiply(np.cos(angle), radius, out=result[:, 0])
    np.multiply(np.sin(angle), radius, out=result[:, 1])
    return result.reshape(-1)


def _to_normal64_rounded(draws: Array) -> Array:
    return _to_normal64(draws).astype(np.float32)


_NORMAL64 = Ahead(_to_normal64, each=2, period=4)
_NORMAL64_ROUNDED = Ahead(_to_normal64_rounded, each=2, period=4)
_NORMAL32 = Ahead(box_muller, each=1, period=16)


def serial_normal(generator: Generator, count: int) -> Array:
    """float64 normals drawn one by one; the second of a pair is kept for the next call."""
    if count == 0:
        return np.empty(0)
    kept = generator.next_normal
    missing = count if kept is None else count - 1
    pairs = (missing + 1) >> 1
    values = generator.take(_NORMAL64, 2 * pairs) if count <= FEW else None
    if values is None:
        values = in_chunks(generator, 2 * pairs, 2, FLOAT64, _to_normal64)
    generator.next_normal = float(values[missing]) if missing & 1 else None
    if kept is None:
        return values[:count]
    result = np.empty(count)
    result[0] = kept
    result[1:] = values[:missing]
    return result


def few_normals(generator: Generator, count: int) -> Array:
    """A few float32 normals, drawn one by one; whole pairs come straight from those ahead."""
    if not count & 1 and generator.next_normal is None:
        found = generator.take(_NORMAL64_ROUNDED, count)
        if found is not None:
            return found
    return serial_normal(generator, count).astype(np.float32)


def _to_normal16(draws: Array) -> Array:
    """As `box_muller`, in float64 (two draws a number)."""
    blocks = to_uniform64(draws).reshape(-1, 2, 8)
    radius = np.sqrt(-2.0 * np.log(1.0 - blocks[:, 0]))
    angle = 2 * math.pi * blocks[:, 1]
    result = np.empty_like(blocks)
    np.multiply(radius, np.cos(angle), out=result[:, 0])
    np.multiply(radius, np.sin(angle), out=result[:, 1])
    return result.reshape(-1)


def blocks_of_16(generator: Generator, count: int, dtype: np.dtype[Any]) -> Array:
    """Normals made 16 at a time; `count` is a multiple of 16."""
    if dtype == FLOAT64:
        return in_chunks(generator, count, 2, FLOAT64, _to_normal16)
    if count <= FEW:
        found = generator.take(_NORMAL32, count)
        if found is not None:
            return found
    return in_chunks(generator, count, 1, FLOAT32, box_muller)


def block_normal(generator: Generator, count: int, dtype: np.dtype[Any]) -> Array:
    """At least 16 normals; if `count` is no multiple of 16, the last 16 are drawn anew."""
    rest = count & 15
    if rest == 0:
        return blocks_of_16(generator, count, dtype)
    result = np.empty(count, dtype)
    result[: count - rest] = blocks_of_16(generator, count - rest, dtype)
    if dtype.itemsize >= 4:  # PyTorch draws for all first; for 16-bit types block by block
        generator.draw(2 * rest if dtype == FLOAT64 else rest)
    result[count - 16 :] = blocks_of_16(generator, 16, dtype)
    return result
