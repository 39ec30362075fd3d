"""Random numbers as PyTorch's CPU kernels draw them: equal seeds give equal numbers.

Every function takes a `Generator`, then a shape (or the arrays it depends on) and parameters that
the caller has checked, and returns a fresh array in C order. An operator is then one line:

    rand      uniform(generator, shape, dtype)
    uniform_  fill(self, uniform, generator, low, high)        any strides, see `fill`
    randn     normal(generator, shape, dtype)
    normal_   fill_normal(self, generator, mean, std)
    normal    normal_around(generator, mean, std)              arrays, or one of them a number
    randint   integers(generator, shape, dtype, low, high)     random_(): any_integers
    randperm  permutation(generator, n, dtype)
    bernoulli bernoulli(generator, shape, dtype, p), bernoulli_of(generator, probabilities, dtype)
    dropout   bernoulli(generator, shape, dtype, 1 - p)        as mask, scaled by 1 / (1 - p)

The remaining names are PyTorch's. Dtypes are NumPy's (`dtype.numpy_dtype`). Raw draws, and how
small calls are served from numbers computed ahead, are in `core/generator.py`;
what takes a varying number of them (Poisson, binomial, gamma) is in `rejection.py`.

Note [rounding once]: PyTorch's kernels are compiled with fused multiply-add. A float32 `x * a + b`
is computed in float64 here and a float64 one in long double, and rounded to the type afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from taper.core.generator import Ahead, Generator, Quicker
from taper.core.settings import settings
from taper.kernels.box_muller import box_muller
from taper.kernels.native_twin import with_native
from taper.kernels.random_levels import for_each_sample

__all__ = [
    "any_integers", "bernoulli", "bernoulli_of", "cauchy", "exponential", "few_normals", "fill",
    "fill_normal", "geometric", "integers", "log_normal", "multinomial", "normal", "normal_around",
    "permutation", "rrelu_noise", "uniform",
]

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
FLOAT16, BFLOAT16 = np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)
INT64 = np.dtype(np.int64)
COMPLEX64, COMPLEX128 = np.dtype(np.complex64), np.dtype(np.complex128)
_DIGITS = {FLOAT32: 24, FLOAT64: 53, FLOAT16: 11, BFLOAT16: 8}

_CHUNK = 1 << 15  # draws per round of a large fill: the arrays of a round stay in the cache
_MOST_AT_ONCE = 1 << 24  # draws for a native kernel: 64 MB
_FEW = 4096  # calls for fewer numbers are served from those computed ahead
_LOW53, _32 = np.uint64((1 << 53) - 1), np.uint64(32)


def _in_chunks(
    generator: Generator, count: int, draws_each: int, dtype: np.dtype[Any],
    make: Callable[[Array], Array],
) -> Array:
    """`make` of the next draws, `draws_each` per number, a cache-sized part at a time; if that has
    a native kernel, many at once."""
    if count * draws_each <= _CHUNK:
        return make(generator.draw(count * draws_each)).astype(dtype, copy=False)
    if make in _NATIVE and settings.native != "off" and count * draws_each <= _MOST_AT_ONCE:
        return make(_draws_at_once(generator, count * draws_each))
    result = np.empty(count, dtype)
    step = _CHUNK // draws_each
    for start in range(0, count, step):
        part = result[start : start + step]
        part[...] = make(generator.draw(len(part) * draws_each))
    return result


def _draws_at_once(generator: Generator, count: int) -> Array:
    """Many draws, by a native kernel if there is one."""
    if Quicker.draws is None and settings.native != "off":
        from taper.kernels.native_twister import draws

        Quicker.draws = draws
    return generator.draw(count)


# Uniform ----------------------------------------------------------------------------------


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


def _uniform32(generator: Generator, count: int) -> Array:
    """float32 in [0, 1), one draw each."""
    if count <= _FEW:
        found = generator.take(_UNIFORM32, count)
        if found is not None:
            return found
    return _in_chunks(generator, count, 1, FLOAT32, to_uniform32)


def _uniform64(generator: Generator, count: int) -> Array:
    """float64 in [0, 1), two draws each."""
    if count <= _FEW:
        found = generator.take(_UNIFORM64, count)
        if found is not None:
            return found
    return _in_chunks(generator, count, 2, FLOAT64, to_uniform64)


def _multiply_add(x: Array, scale: float, offset: float) -> Array:
    """x * scale + offset in the type of `x`, see Note [rounding once]; may overwrite `x`."""
    if offset == 0:
        x *= scale
        return x
    wide: Array = x.astype(np.float64 if x.dtype == FLOAT32 else np.longdouble)
    wide *= scale
    wide += offset
    return wide.astype(x.dtype)


@for_each_sample
def uniform(
    generator: Generator, shape: Shape, dtype: np.dtype[Any] = FLOAT32, low: float = 0.0,
    high: float = 1.0,
) -> Array:
    """Numbers in [low, high). A result that rounds up to `high` becomes `low`."""
    if dtype is FLOAT32 and low == 0.0 and high == 1.0:
        values = _uniform32(generator, math.prod(shape))
        return values if len(shape) == 1 else values.reshape(shape)
    if dtype.kind == "c":
        part = FLOAT32 if dtype == COMPLEX64 else FLOAT64
        return uniform(generator, (*shape, 2), part, low, high).view(dtype).reshape(shape)
    count = math.prod(shape)
    if dtype == FLOAT64:
        values = _uniform64(generator, count)
        if low != 0.0 or high != 1.0:
            values = _multiply_add(values, high - low, low)
            values[values >= high] = low
        return values.reshape(shape)
    values = _uniform32(generator, count)
    first, last = np.float32(low), np.float32(high)
    if first != 0 or last != 1:
        values = _multiply_add(values, float(last - first), float(first))
    values = values.astype(dtype, copy=False)
    values[values >= dtype.type(high)] = dtype.type(low)
    return values.reshape(shape)


# Normal -----------------------------------------------------------------------------------


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


def _serial_normal(generator: Generator, count: int) -> Array:
    """float64 normals drawn one by one; the second of a pair is kept for the next call."""
    if count == 0:
        return np.empty(0)
    kept = generator.next_normal
    missing = count if kept is None else count - 1
    pairs = (missing + 1) >> 1
    values = generator.take(_NORMAL64, 2 * pairs) if count <= _FEW else None
    if values is None:
        values = _in_chunks(generator, 2 * pairs, 2, FLOAT64, _to_normal64)
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
    return _serial_normal(generator, count).astype(np.float32)


def _to_normal16(draws: Array) -> Array:
    """As `box_muller`, in float64 (two draws a number)."""
    blocks = to_uniform64(draws).reshape(-1, 2, 8)
    radius = np.sqrt(-2.0 * np.log(1.0 - blocks[:, 0]))
    angle = 2 * math.pi * blocks[:, 1]
    result = np.empty_like(blocks)
    np.multiply(radius, np.cos(angle), out=result[:, 0])
    np.multiply(radius, np.sin(angle), out=result[:, 1])
    return result.reshape(-1)


def _blocks_of_16(generator: Generator, count: int, dtype: np.dtype[Any]) -> Array:
    """Normals made 16 at a time; `count` is a multiple of 16."""
    if dtype == FLOAT64:
        return _in_chunks(generator, count, 2, FLOAT64, _to_normal16)
    if count <= _FEW:
        found = generator.take(_NORMAL32, count)
        if found is not None:
            return found
    return _in_chunks(generator, count, 1, FLOAT32, box_muller)


def _block_normal(generator: Generator, count: int, dtype: np.dtype[Any]) -> Array:
    """At least 16 normals; if `count` is no multiple of 16, the last 16 are drawn anew."""
    rest = count & 15
    if rest == 0:
        return _blocks_of_16(generator, count, dtype)
    result = np.empty(count, dtype)
    result[: count - rest] = _blocks_of_16(generator, count - rest, dtype)
    if dtype.itemsize >= 4:  # PyTorch draws for all first; for 16-bit types block by block
        generator.draw(2 * rest if dtype == FLOAT64 else rest)
    result[count - 16 :] = _blocks_of_16(generator, 16, dtype)
    return result


@for_each_sample
def normal(
    generator: Generator, shape: Shape, dtype: np.dtype[Any] = FLOAT32, mean: float = 0.0,
    std: float = 1.0, serial: bool = False,
) -> Array:
    """Normal numbers: drawn in blocks of 16 if there are 16 or more and not `serial`.

    PyTorch draws serially into tensors that aren't contiguous, see `fill_normal`.
    """
    if dtype is FLOAT32 and len(shape) == 1 and shape[0] < 16 and mean == 0.0 and std == 1.0:
        return few_normals(generator, shape[0])
    if dtype.kind == "c":
        part = FLOAT32 if dtype == COMPLEX64 else FLOAT64
        parts = normal(generator, (*shape, 2), part, mean, std / math.sqrt(2.0), serial)
        return parts.view(dtype).reshape(shape)
    count = math.prod(shape)
    if count < 16 or serial:
        values = _serial_normal(generator, count)
        if mean != 0.0 or std != 1.0:
            values = _multiply_add(values, std, mean)
        values = values.astype(dtype, copy=False)
    elif dtype == FLOAT64:
        values = _block_normal(generator, count, dtype)
        if mean != 0.0 or std != 1.0:
            values = _multiply_add(values, std, mean)
    elif dtype == FLOAT32:
        values = _block_normal(generator, count, dtype)
        if mean != 0.0 or std != 1.0:
            values = _multiply_add(values, float(np.float32(std)), float(np.float32(mean)))
    else:
        rest = count & 15
        values = np.empty(count, np.float32)
        values[: count - rest] = _blocks_of_16(generator, count - rest, FLOAT32)
        if rest:  # 16-bit types draw block by block: nothing for the part drawn anew
            values[count - 16 :] = _blocks_of_16(generator, 16, FLOAT32)
        if mean != 0.0 or std != 1.0:
            values = _multiply_add(values, float(np.float32(std)), float(np.float32(mean)))
        values = values.astype(dtype)
    return values if len(shape) == 1 else values.reshape(shape)


@for_each_sample
def normal_around(generator: Generator, mean: Any, std: Any) -> Array:
    """Normal numbers whose means, deviations or both come from arrays.

    An array gives the dtype (`mean` before `std`); two arrays are broadcast against each other.
    """
    if not isinstance(mean, np.ndarray):
        values = normal(generator, std.shape, std.dtype)
        values *= std
        values += std.dtype.type(mean)
        return values
    if not isinstance(std, np.ndarray):
        values = normal(generator, mean.shape, mean.dtype, 0.0, std)
    else:
        shape = mean.shape
        if std.shape != shape:
            shape = np.broadcast_shapes(shape, std.shape)
        values = normal(generator, shape, mean.dtype)
        values *= std
    values += mean
    return values


@for_each_sample
def log_normal(
    generator: Generator, shape: Shape, dtype: np.dtype[Any] = FLOAT32, mean: float = 1.0,
    std: float = 2.0,
) -> Array:
    """exp of normal numbers, drawn serially."""
    values = _multiply_add(_serial_normal(generator, math.prod(shape)), std, mean)
    return np.exp(values, out=values).astype(dtype, copy=False).reshape(shape)


# Integers ---------------------------------------------------------------------------------


@for_each_sample
def integers(
    generator: Generator, shape: Shape, dtype: np.dtype[Any], low: int, high: int | None
) -> Array:
    """Whole numbers in [low, high): 64-bit draws if the range is 2²⁸ or more, else 32-bit ones.

    `high=None` is the whole int64 range. Floating point dtypes hold whole numbers too.
    """
    count = math.prod(shape)
    span = 1 << 64 if high is None else high - low
    if span >= 1 << 28:
        values = generator.draw64(count)
        if span < 1 << 64:
            values %= np.uint64(span)
            values += np.uint64(low & (1 << 64) - 1)
        signed = values if dtype.kind == "u" and dtype.itemsize == 8 else values.view(np.int64)
        return signed.astype(dtype).reshape(shape)
    modulus = np.uint32(span)
    if low == 0:
        values = _in_chunks(generator, count, 1, dtype, lambda draws: draws % modulus)
    else:
        wide = np.dtype(np.uint64 if dtype.kind == "u" else np.int64)
        values = _in_chunks(
            generator, count, 1, dtype, lambda draws: (draws % modulus).astype(wide) + low
        )
    return values if len(shape) == 1 else values.reshape(shape)


@for_each_sample
def any_integers(generator: Generator, shape: Shape, dtype: np.dtype[Any]) -> Array:
    """Whole numbers from 0 to the largest the dtype holds without gaps (`random_()`)."""
    count = math.prod(shape)
    if dtype.kind == "b":
        values = generator.draw(count) & np.uint32(1)
    elif dtype in _DIGITS:
        most = (1 << _DIGITS[dtype]) + 1
        if dtype == FLOAT64:
            values = generator.draw64(count) % np.uint64(most)
        else:
            values = generator.draw(count) % np.uint32(most)
    elif dtype.itemsize == 8:
        values = generator.draw64(count) & np.uint64((1 << 63) - 1)
    else:
        values = generator.draw(count) & np.uint32(np.iinfo(dtype).max)
    return values.astype(dtype).reshape(shape)


_SEQUENTIAL = 600  # below this, swapping in a loop is faster than following the swaps


@for_each_sample
def permutation(generator: Generator, n: int, dtype: np.dtype[Any] = INT64) -> Array:
    """A permutation of range(n): for each i in turn, i is swapped with a random j ≥ i."""
    if n < 2:
        return np.arange(n).astype(dtype)
    left = np.arange(n, 1, -1, dtype=np.uint32 if n < 0xFFFFFFFF // 20 else np.uint64)
    draws = generator.draw(n - 1) if n < 0xFFFFFFFF // 20 else generator.draw64(n - 1)
    offset = draws % left
    if n < _SEQUENTIAL:
        items = list(range(n))
        for i, j in enumerate(offset.tolist()):
            j += i
            items[i], items[j] = items[j], items[i]
        return np.array(items, dtype)
    target = np.arange(n)
    target[:-1] += offset.astype(np.int64)
    return _follow_swaps(target).astype(dtype, copy=False)


def _follow_swaps(target: Array) -> Array:
    """The result of swapping items i and target[i] ≥ i of range(n), for i = 0, 1, … in turn.

    Swap i leaves item target[i] for good at i, and puts what was at i to target[i]. What swap i
    finds at target[i] was put there by the last earlier swap with the same target, if any; and
    what was at k when swap k came was put there by the last swap m < k with target[m] = k. Both are
    found for all swaps at once; chains of the latter are followed by doubling.
    """
    n = len(target)
    steps = np.arange(n)
    last = np.full(n, -1)
    moving = target != steps
    before = np.full(n, -1)  # the last earlier swap with the same target
    pending = steps[moving]  # in increasing order: the last assignment is the latest swap
    last[target[pending]] = pending
    arrived = last.copy()  # arrived[k]: the last swap into k; all of them come before swap k
    while len(pending):
        # Of the swaps with one target, all but the latest pending: the next one down precedes it.
        latest = last[target[pending]]
        pending = pending[latest != pending]
        if not len(pending):
            break
        goals = target[pending]
        above = last[goals]
        last[goals] = pending
        before[above] = last[target[above]]
    # what was at k when swap k came
    origin = np.where(arrived >= 0, arrived, steps)
    while True:
        further = origin[origin]
        if np.array_equal(further, origin):
            break
        origin = further
    result = np.where(before >= 0, origin[before], target)
    still = ~moving
    result[still] = origin[still]
    return result


# Other distributions ----------------------------------------------------------------------


@for_each_sample
def bernoulli(generator: Generator, shape: Shape, dtype: np.dtype[Any], p: float) -> Array:
    """Ones with probability `p`, else zeros."""
    count = math.prod(shape)
    if count <= _FEW or 2 * count > _MOST_AT_ONCE:
        return (_uniform64(generator, count) < p).astype(dtype).reshape(shape)
    return ones_below(_draws_at_once(generator, 2 * count), p, dtype).reshape(shape)


@with_native(_TWISTER, is_large=lambda draws, limit, dtype: draws.size > _CHUNK)
def ones_below(draws: Array, limit: float, dtype: np.dtype[Any]) -> Array:
    """One where a number made of two draws is less than `limit`, else zero."""
    return (to_uniform64(draws) < limit).astype(dtype)


@for_each_sample
def bernoulli_of(
    generator: Generator, probabilities: Array, dtype: np.dtype[Any] | None = None
) -> Array:
    """Ones with the given probabilities, else zeros; `dtype` defaults to that of the array."""
    draw = _uniform64 if probabilities.dtype == FLOAT64 else _uniform32
    values = draw(generator, probabilities.size).reshape(probabilities.shape) < probabilities
    return values.astype(probabilities.dtype if dtype is None else dtype)


@for_each_sample
def exponential(
    generator: Generator, shape: Shape, dtype: np.dtype[Any] = FLOAT32, rate: float = 1.0
) -> Array:
    """-log(1 - u) / rate, computed in float64."""
    values = _uniform64(generator, math.prod(shape))
    np.negative(values, out=values)
    np.log1p(values, out=values)
    values *= -1.0 / rate
    return values.astype(dtype, copy=False).reshape(shape)


@for_each_sample
def geometric(generator: Generator, shape: Shape, dtype: np.dtype[Any], p: float) -> Array:
    """How many trials until the first success: ⌈log u / log(1 - p)⌉."""
    values = _uniform64(generator, math.prod(shape))
    np.log(values, out=values)
    values /= math.log1p(-p)
    return np.ceil(values, out=values).astype(dtype, copy=False).reshape(shape)


@for_each_sample
def cauchy(
    generator: Generator, shape: Shape, dtype: np.dtype[Any] = FLOAT32, median: float = 0.0,
    sigma: float = 1.0,
) -> Array:
    """median + sigma tan(π (u - ½))."""
    values = _uniform64(generator, math.prod(shape))
    values -= 0.5
    values *= math.pi
    values = _multiply_add(np.tan(values, out=values), sigma, median)
    return values.astype(dtype, copy=False).reshape(shape)


@for_each_sample
def multinomial(
    generator: Generator, weights: Array, num_samples: int, replacement: bool = False
) -> Array:
    """Indices drawn along the last axis of 1-d or 2-d `weights`; int64.

    One sample, and samples without replacement: the largest of weights / exponential numbers.
    With replacement: where a uniform number falls among the cumulative weights.

    Raises: RuntimeError: if a weight is negative, infinite or NaN, or a row's sum isn't positive.
    """
    rows = weights.reshape(-1, weights.shape[-1])
    if not replacement or num_samples == 1:
        if not bool((rows >= 0).all() and (rows < np.inf).all()):
            raise RuntimeError(
                "probability tensor contains either `inf`, `nan` or element < 0"
            )
        if not bool((rows.sum(axis=1) > 0).all()):
            raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
        noise = exponential(generator, rows.shape, rows.dtype)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            score = rows / noise
        if num_samples == 1:
            chosen = score.argmax(axis=1)[:, None]
        else:
            chosen = np.argsort(-score, axis=1, kind="stable")[:, :num_samples]
    else:
        chosen = np.empty((len(rows), num_samples), np.int64)
        sums = rows.cumsum(axis=1, dtype=FLOAT64 if rows.dtype == FLOAT64 else FLOAT32)
        if not bool((rows >= 0).all()):
            raise RuntimeError(
                "invalid multinomial distribution (encountering probability entry < 0)"
            )
        if not bool((rows < np.inf).all()):
            raise RuntimeError(
                "invalid multinomial distribution (encountering probability entry = infinity or "
                "NaN)"
            )
        if not sums.shape[1] or not bool((sums[:, -1] > 0).all()):
            raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
        sums /= sums[:, -1:].copy()
        sums[:, -1] = 1
        sums = sums.astype(FLOAT64, copy=False)
        for row, bounds in zip(chosen, sums, strict=True):
            row[...] = bounds.searchsorted(_uniform64(generator, num_samples))
    return np.ascontiguousarray(chosen.reshape(*weights.shape[:-1], num_samples))


@for_each_sample
def rrelu_noise(generator: Generator, x: Array, lower: float, upper: float) -> Array:
    """The slopes of rrelu in training: uniform in [lower, upper) where x ≤ 0, else 1."""
    noise = np.ones(x.shape, x.dtype)
    negative = x <= 0
    drawn = _uniform64(generator, int(np.count_nonzero(negative)))
    first, last = float(x.dtype.type(lower)), float(x.dtype.type(upper))
    drawn *= last - first
    drawn += first
    noise[negative] = drawn
    return noise


# Filling arrays of any strides ------------------------------------------------------------


def memory_order(array: Array) -> tuple[int, ...]:
    """The axes from the largest stride to the smallest: the order PyTorch fills an array in."""
    strides = [
        stride if size > 1 else 0 for size, stride in zip(array.shape, array.strides, strict=True)
    ]
    return tuple(sorted(range(array.ndim), key=strides.__getitem__, reverse=True))


def fill(target: Array, kernel: Callable[..., Array], generator: Generator, *params: Any) -> None:
    """Writes `kernel(generator, shape, dtype, *params)` into `target`, in its order of memory.

    For uniform, integers, any_integers, bernoulli, exponential, geometric, cauchy and log_normal.
    """
    if not target.flags.c_contiguous:
        target = target.transpose(memory_order(target))
    target[...] = kernel(generator, target.shape, target.dtype, *params)


def fill_normal(
    target: Array, generator: Generator, mean: float = 0.0, std: float = 1.0
) -> None:
    """Writes normal numbers into `target`: one by one if it isn't contiguous."""
    if target.flags.c_contiguous:
        target[...] = normal(generator, target.shape, target.dtype, mean, std)
    else:
        target = target.transpose(memory_order(target))
        target[...] = normal(generator, target.shape, target.dtype, mean, std, serial=True)
