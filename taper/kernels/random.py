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

The remaining names are PyTorch's. Dtypes are NumPy's (`dtype.numpy_dtype`). Uniform and normal
numbers come from `random_streams.py`, raw draws from `core/generator.py`; what takes a varying
number of them (Poisson, binomial, gamma) is in `rejection.py`.

Note [rounding once]: PyTorch's kernels are compiled with fused multiply-add. A float32 `x * a + b`
is computed in float64 here and a float64 one in long double, and rounded to the type afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from taper.core.generator import Generator
from taper.kernels.random_levels import for_each_sample
from taper.kernels.random_streams import (
    FEW,
    FLOAT32,
    FLOAT64,
    MOST_AT_ONCE,
    block_normal,
    blocks_of_16,
    draws_at_once,
    few_normals,
    in_chunks,
    ones_below,
    serial_normal,
    uniform32,
    uniform64,
)

__all__ = [
    "any_integers", "bernoulli", "bernoulli_of", "cauchy", "exponential", "fill", "fill_normal",
    "geometric", "integers", "log_normal", "multinomial", "normal", "normal_around",
    "permutation", "rrelu_noise", "uniform",
]

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]

FLOAT16, BFLOAT16 = np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)
INT64 = np.dtype(np.int64)
COMPLEX64, COMPLEX128 = np.dtype(np.complex64), np.dtype(np.complex128)
_DIGITS = {FLOAT32: 24, FLOAT64: 53, FLOAT16: 11, BFLOAT16: 8}


# Uniform ----------------------------------------------------------------------------------


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
        values = uniform32(generator, math.prod(shape))
        return values if len(shape) == 1 else values.reshape(shape)
    if dtype.kind == "c":
        part = FLOAT32 if dtype == COMPLEX64 else FLOAT64
        return uniform(generator, (*shape, 2), part, low, high).view(dtype).reshape(shape)
    count = math.prod(shape)
    if dtype == FLOAT64:
        values = uniform64(generator, count)
        if low != 0.0 or high != 1.0:
            values = _multiply_add(values, high - low, low)
            values[values >= high] = low
        return values.reshape(shape)
    values = uniform32(generator, count)
    first, last = np.float32(low), np.float32(high)
    if first != 0 or last != 1:
        values = _multiply_add(values, float(last - first), float(first))
    values = values.astype(dtype, copy=False)
    values[values >= dtype.type(high)] = dtype.type(low)
    return values.reshape(shape)


# Normal -----------------------------------------------------------------------------------


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
        values = serial_normal(generator, count)
        if mean != 0.0 or std != 1.0:
            values = _multiply_add(values, std, mean)
        values = values.astype(dtype, copy=False)
    elif dtype == FLOAT64:
        values = block_normal(generator, count, dtype)
        if mean != 0.0 or std != 1.0:
            values = _multiply_add(values, std, mean)
    elif dtype == FLOAT32:
        values = block_normal(generator, count, dtype)
        if mean != 0.0 or std != 1.0:
            values = _multiply_add(values, float(np.float32(std)), float(np.float32(mean)))
    else:
        rest = count & 15
        values = np.empty(count, np.float32)
        values[: count - rest] = blocks_of_16(generator, count - rest, FLOAT32)
        if rest:  # 16-bit types draw block by block: nothing for the part drawn anew
            values[count - 16 :] = blocks_of_16(generator, 16, FLOAT32)
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
    values = _multiply_add(serial_normal(generator, math.prod(shape)), std, mean)
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
        values = in_chunks(generator, count, 1, dtype, lambda draws: draws % modulus)
    else:
        wide = np.dtype(np.uint64 if dtype.kind == "u" else np.int64)
        values = in_chunks(
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
    if count <= FEW or 2 * count > MOST_AT_ONCE:
        return (uniform64(generator, count) < p).astype(dtype).reshape(shape)
    return ones_below(draws_at_once(generator, 2 * count), p, dtype).reshape(shape)


@for_each_sample
def bernoulli_of(
    generator: Generator, probabilities: Array, dtype: np.dtype[Any] | None = None
) -> Array:
    """Ones with the given probabilities, else zeros; `dtype` defaults to that of the array."""
    draw = uniform64 if probabilities.dtype == FLOAT64 else uniform32
    values = draw(generator, probabilities.size).reshape(probabilities.shape) < probabilities
    return values.astype(probabilities.dtype if dtype is None else dtype)


@for_each_sample
def exponential(
    generator: Generator, shape: Shape, dtype: np.dtype[Any] = FLOAT32, rate: float = 1.0
) -> Array:
    """-log(1 - u) / rate, computed in float64."""
    values = uniform64(generator, math.prod(shape))
    np.negative(values, out=values)
    np.log1p(values, out=values)
    values *= -1.0 / rate
    return values.astype(dtype, copy=False).reshape(shape)


@for_each_sample
def geometric(generator: Generator, shape: Shape, dtype: np.dtype[Any], p: float) -> Array:
    """How many trials until the first success: ⌈log u / log(1 - p)⌉."""
    values = uniform64(generator, math.prod(shape))
    np.log(values, out=values)
    values /= math.log1p(-p)
    return np.ceil(values, out=values).astype(dtype, copy=False).reshape(shape)


@for_each_sample
def cauchy(
    generator: Generator, shape: Shape, dtype: np.dtype[Any] = FLOAT32, median: float = 0.0,
    sigma: float = 1.0,
) -> Array:
    """median + sigma tan(π (u - ½))."""
    values = uniform64(generator, math.prod(shape))
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
            row[...] = bounds.searchsorted(uniform64(generator, num_samples))
    return np.ascontiguousarray(chosen.reshape(*weights.shape[:-1], num_samples))


@for_each_sample
def rrelu_noise(generator: Generator, x: Array, lower: float, upper: float) -> Array:
    """The slopes of rrelu in training: uniform in [lower, upper) where x ≤ 0, else 1."""
    noise = np.ones(x.shape, x.dtype)
    negative = x <= 0
    drawn = uniform64(generator, int(np.count_nonzero(negative)))
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
