"""Native kernels of kernels/normalization.py: rows and channels brought to mean 0 and variance 1.

Each function has the arguments of its namesake there, and returns None where that shall compute.
Channels of a batch (batch, channels, rest) are rows of `rest` elements, whose statistics are put
together over the batch in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.kernels.native_reductions import PRECISE_TOTAL
from taper.kernels.native_rows import (
    CHANNEL,
    FULL,
    PER_ROW,
    WEIGHT,
    RowProgram,
    mean_of,
    total,
)
from taper.runtime.planned_calls import replayed, scratch

__all__ = [
    "channel_gradient", "layer_gradient", "normalize_channels", "normalize_layer",
    "normalize_layer_by_rms", "rms_layer_gradient", "scale_channels",
]

ndarray = np.ndarray
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_add = np.add.reduce


def _is_plain(first: Any, *others: Any) -> bool:
    """Whether arrays, or Nones, are of one dtype that kernels compute in, and in C order."""
    dtype = first.dtype
    if dtype not in _FLOATS or not first.size:
        return False
    return all(a is None or (type(a) is ndarray and a.dtype is dtype and a.flags.c_contiguous)
               for a in (first, *others))


# -- rows ------------------------------------------------------------------------------------------


def _layer(x: Any, weight: Any, bias: Any, *, eps: float) -> Any:
    mean = mean_of(x)
    off = x - mean
    inverse = 1 / np.sqrt(mean_of(off * off) + eps)
    result = off * inverse
    if weight is not None:
        result = result * weight
    return result if bias is None else result + bias, mean, inverse


def _layer_slope(grad: Any, x: Any, mean: Any, inverse: Any, weight: Any) -> Any:
    wanted = grad if weight is None else grad * weight
    given = (x - mean) * inverse
    return (wanted - mean_of(wanted) - given * mean_of(wanted * given)) * inverse


def _affine_slopes(grad: Any, x: Any, mean: Any, inverse: Any) -> Any:
    return total(grad * ((x - mean) * inverse)), total(grad)


_LAYER = RowProgram(_layer, FULL, WEIGHT, WEIGHT)
_LAYER_SLOPE = RowProgram(_layer_slope, FULL, FULL, PER_ROW, PER_ROW, WEIGHT)
# Over all rows: what is one for each row there is one for each place along the reduction here.
_AFFINE_SLOPES = RowProgram(_affine_slopes, FULL, FULL, WEIGHT, WEIGHT)


@replayed
def normalize_layer(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    if not _is_plain(x, weight, bias):
        return None
    rows, n = x.shape
    found = _LAYER(rows, n, 1, x, weight, bias, eps=float(eps))
    if found is None:
        return None
    result, mean, inverse = found
    return result.reshape(x.shape), mean, inverse


@replayed
def layer_gradient(
    grad: Any, x: Any, mean: Any, inverse: Any, weight: Any, needs_affine: bool
) -> Any:
    if not _is_plain(grad, x, mean, inverse, weight):
        return None
    rows, n = x.shape
    slope = _LAYER_SLOPE(rows, n, 1, grad, x, mean, inverse, weight)
    if slope is None:
        return None
    if not needs_affine:
        return slope[0].reshape(x.shape), None, None
    affine = _summed_over_rows(_AFFINE_SLOPES, rows, n, (grad, x), (mean, inverse))
    return None if affine is None else (slope[0].reshape(x.shape), *affine)


_PART = 128  # rows whose products one thread adds; see Note [blocks] in native_reductions.py


def _summed_over_rows(
    program: RowProgram, rows: int, n: int, full: tuple[Any, ...], per_row: tuple[Any, ...]
) -> Any:
    """Sums over the rows of a matrix, part by part. The results have n elements."""
    part = max(_PART, -(-rows // 16))
    parts = program(-(-rows // part), part, n, *full, *per_row, line=rows)
    if parts is None:
        return None
    if len(parts[0]) == 1:
        return [r.reshape(n) for r in parts]
    sums = [PRECISE_TOTAL(1, len(r), n, scratch(r)) for r in parts]
    return None if None in sums else [s[0].reshape(n) for s in sums]


def _layer_by_rms(x: Any, weight: Any, *, eps: float) -> Any:
    inverse = 1 / np.sqrt(mean_of(x * x) + eps)
    result = x * inverse
    return result if weight is None else result * weight, inverse


def _rms_slope(grad: Any, x: Any, inverse: Any, weight: Any) -> Any:
    wanted = grad if weight is None else grad * weight
    given = x * inverse
    return (wanted - given * mean_of(wanted * given)) * inverse


def _rms_weight_slope(grad: Any, x: Any, inverse: Any) -> Any:
    return total(grad * (x * inverse))


_LAYER_BY_RMS = RowProgram(_layer_by_rms, FULL, WEIGHT)
_RMS_SLOPE = RowProgram(_rms_slope, FULL, FULL, PER_ROW, WEIGHT)
_RMS_WEIGHT_SLOPE = RowProgram(_rms_weight_slope, FULL, FULL, WEIGHT)


@replayed
def normalize_layer_by_rms(x: Any, weight: Any, eps: float) -> Any:
    if not _is_plain(x, weight):
        return None
    rows, n = x.shape
    found = _LAYER_BY_RMS(rows, n, 1, x, weight, eps=float(eps))
    return None if found is None else (found[0].reshape(x.shape), found[1])


@replayed
def rms_layer_gradient(
    grad: Any, x: Any, inverse: Any, weight: Any, needs_weight: bool
) -> Any:
    if not _is_plain(grad, x, inverse, weight):
        return None
    rows, n = x.shape
    slope = _RMS_SLOPE(rows, n, 1, grad, x, inverse, weight)
    if slope is None:
        return None
    if not needs_weight:
        return slope[0].reshape(x.shape), None
    found = _summed_over_rows(_RMS_WEIGHT_SLOPE, rows, n, (grad, x), (inverse,))
    return None if found is None else (slope[0].reshape(x.shape), found[0])


# -- channels --------------------------------------------------------------------------------------


def _statistics(x: Any) -> Any:
    mean = mean_of(x)
    off = x - mean
    return mean, total(off * off)


def _affine(x: Any, mean: Any, scale: Any, shift: Any) -> Any:
    result = (x if mean is None else x - mean) * scale
    return result if shift is None else result + shift


def _scaled(x: Any, mean: Any, inverse: Any, weight: Any, bias: Any) -> Any:
    scale = inverse if weight is None else inverse * weight
    shift = -(mean * scale)
    return x * scale + (shift if bias is None else shift + bias)


def _channel_sums(grad: Any, x: Any, mean: Any) -> Any:
    return total(grad), total(grad * (x - mean))


def _channel_slope(grad: Any, x: Any, mean: Any, a: Any, b: Any, scale: Any) -> Any:
    return ((x - mean) * a + grad - b) * scale


_STATISTICS = RowProgram(_statistics, FULL)
_AFFINE = RowProgram(_affine, FULL, CHANNEL, CHANNEL, CHANNEL)
_SCALED = RowProgram(_scaled, FULL, *[CHANNEL] * 4)
_CHANNEL_SUMS = RowProgram(_channel_sums, FULL, FULL, CHANNEL)
_CHANNEL_SLOPE = RowProgram(_channel_slope, FULL, FULL, *[CHANNEL] * 4)


def _layout(x: Any) -> tuple[Any, int, int]:
    """(outer, n, inner) of a batch: along memory, or, where `rest` is 1, one row per channel
    across it."""
    batch, channels, rest = x.shape
    return ((1,), batch, channels) if rest == 1 else ((batch, channels), rest, 1)


def normalize_channels(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    if not _is_plain(x, weight, bias):
        return None
    batch, channels, rest = x.shape
    outer, n, inner = _layout(x)
    found = _STATISTICS(outer, n, inner, x)
    if found is None:
        return None
    means, squares = [r.reshape(-1, channels).astype(np.float64) for r in found]
    wide = _add(means, 0) / len(means)
    between = _add((means - wide) ** 2, 0) * n
    dtype = x.dtype
    variance = ((_add(squares, 0) + between) / (batch * rest)).astype(dtype)
    mean = wide.astype(dtype)
    inverse = dtype.type(1) / np.sqrt(variance + dtype.type(eps))
    scale = inverse if weight is None else inverse * weight
    result = _AFFINE(outer, n, inner, x, mean, scale, bias)
    return None if result is None else (result[0].reshape(x.shape), mean, variance, inverse)


@replayed
def scale_channels(x: Any, mean: Any, inverse: Any, weight: Any, bias: Any) -> Any:
    if not _is_plain(x, mean, inverse, weight, bias):
        return None
    found = _SCALED(*_layout(x), x, mean, inverse, weight, bias)
    return None if found is None else found[0].reshape(x.shape)


def channel_gradient(
    grad: Any, x: Any, mean: Any, inverse: Any, weight: Any, batch_statistics: bool
) -> Any:
    if not _is_plain(grad, x, mean, inverse, weight):
        return None
    batch, channels, rest = x.shape
    layout = _layout(x)
    found = _CHANNEL_SUMS(*layout, grad, x, mean)
    if found is None:
        return None
    for_bias, product = [_add(r.reshape(-1, channels), 0, np.float64) for r in found]
    dtype = x.dtype
    scale = inverse if weight is None else inverse * weight
    if batch_statistics:
        count = batch * rest
        a = (-(inverse.astype(np.float64) ** 2) * product / count).astype(dtype)
        b = (for_bias / count).astype(dtype)
        result = _CHANNEL_SLOPE(*layout, grad, x, mean, a, b, scale)
    else:
        result = _AFFINE(*layout, grad, None, scale, None)
    if result is None:
        return None
    return (result[0].reshape(x.shape), (product * inverse).astype(dtype), for_bias.astype(dtype))
