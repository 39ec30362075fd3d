"""Normalization: mean and spread of rows or channels, and what they do to gradients.

A batch is (batch, channels, rest) here, rows are (rows, elements). Reduced floats are computed in
float32; statistics are returned in that wider dtype. Sums of products are dot products, so that no
product is stored.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.arrays.primitive import primitive
from taper.kernels.native_twin import with_native
from taper.kernels.summation import as_divisor, sum_over

__all__ = [
    "affine_gradients", "channel_gradient", "layer_gradient", "normalize_channels",
    "normalize_layer", "normalize_layer_by_rms", "normalize_rows", "rms_gradient",
    "rms_layer_gradient", "row_gradient", "scale_channels", "widened",
]

Array = np.ndarray[Any, Any]

_native = with_native(
    "taper.kernels.native_normalization", is_large=lambda x, *rest: x.size > 16384
)
_native_rows = with_native(  # which are planned calls: no more than a NumPy call or two
    "taper.kernels.native_normalization", is_large=lambda x, *rest: x.size > _FEW
)
_FEW = 255  # elements
_PART = 1 << 15  # elements of the rows treated at a time: they stay in the cache


def widened(x: Array) -> Array:
    """The array in the dtype that statistics are computed in."""
    return x if x.dtype.itemsize >= 4 else x.astype(wide_dtype(x))


def wide_dtype(x: Array) -> Any:
    """The dtype of `widened(x)`."""
    return x.dtype if x.dtype.itemsize >= 4 else np.dtype(np.float32)


def per_channel(x: Array) -> Array:
    """The sum over all but the channels."""
    return sum_over(x, (0, 2))


def per_channel_of_product(x: Array, y: Array) -> Array:
    """The sum of products over all but the channels."""
    return np.add.reduce(np.vecdot(x, y), 0)


@primitive
@_native
def normalize_channels(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array, Array]:
    """Channels brought to mean 0 and variance 1, then scaled and shifted.

    Returns the result, the means, the variances (biased) and 1 / sqrt(variance + eps).
    """
    count = x.shape[0] * x.shape[2]
    wide = widened(x)
    one = wide.dtype.type
    mean = per_channel(wide)
    mean /= one(count) if count else one("nan")
    centered = wide - mean[:, None]
    variance = per_channel_of_product(centered, centered)
    variance /= one(count) if count else one("nan")
    inverse = one(1) / np.sqrt(variance + one(eps))
    centered *= (inverse if weight is None else inverse * weight)[:, None]
    if bias is not None:
        centered += bias[:, None]
    return centered.astype(x.dtype, copy=False), mean, variance, inverse


@normalize_channels.shapes
def _(x: Array, weight: Array | None, bias: Array | None, eps: float) -> Any:
    return [(x.shape, x.dtype), *[((x.shape[1],), wide_dtype(x))] * 3]


@primitive
@_native
def scale_channels(
    x: Array, mean: Array, inverse: Array, weight: Array | None, bias: Array | None
) -> Array:
    """Channels normalized by given statistics, then scaled and shifted."""
    scale = inverse if weight is None else inverse * weight
    shift = -mean * scale
    if bias is not None:
        shift += bias
    result = widened(x) * scale[:, None]
    result += shift[:, None]
    return result.astype(x.dtype, copy=False)


@scale_channels.shapes
def _(
    x: Array, mean: Array, inverse: Array, weight: Array | None, bias: Array | None
) -> Any:
    return x.shape, x.dtype


@primitive
@_native
def channel_gradient(
    grad: Array, x: Array, mean: Array, inverse: Array, weight: Array | None, batch_statistics: bool
) -> tuple[Array, Array, Array]:
    """Gradients of the input, the weight and the bias of a normalization of channels."""
    wide = widened(grad)
    centered = widened(x) - mean[:, None]
    for_bias = per_channel(wide)
    product = per_channel_of_product(wide, centered)
    for_weight = product * inverse
    scale = inverse if weight is None else inverse * weight
    if not batch_statistics:
        return (wide * scale[:, None]).astype(grad.dtype, copy=False), for_weight, for_bias
    count = wide.dtype.type(x.shape[0] * x.shape[2] or 1)
    centered *= (-(inverse * inverse) * product / count)[:, None]
    centered += wide
    centered -= (for_bias / count)[:, None]
    centered *= scale[:, None]
    return centered.astype(grad.dtype, copy=False), for_weight, for_bias


@channel_gradient.shapes
def _(
    grad: Array, x: Array, mean: Array, inverse: Array, weight: Array | None, batch_statistics: bool
) -> Any:
    return [(grad.shape, grad.dtype), *[((x.shape[1],), wide_dtype(x))] * 2]


# -- rows ----------------------------------------------------------------------------------------


@primitive
def normalize_rows(x: Array, eps: float) -> tuple[Array, Array, Array]:
    """Rows brought to mean 0 and variance 1, with their means and 1 / sqrt(variance + eps).

    The result is in the wider dtype, for the caller to scale and to round.
    """
    if x.size <= _PART:
        return _normalize_few_rows(x, eps, None)
    rows, count = x.shape
    kind = np.float32 if x.dtype.itemsize < 4 else x.dtype
    result = np.empty((rows, count), kind)
    mean, inverse = np.empty((rows, 1), kind), np.empty((rows, 1), kind)
    step = max(1, _PART // count)
    for start in range(0, rows, step):
        part = slice(start, start + step)
        _, mean[part], inverse[part] = _normalize_few_rows(x[part], eps, result[part])
    return result, mean, inverse


@normalize_rows.shapes
def _(x: Array, eps: float) -> Any:
    column = ((x.shape[0], 1), wide_dtype(x))
    return [(x.shape, wide_dtype(x)), column, column]


def _normalize_few_rows(x: Array, eps: float, out: Array | None) -> tuple[Array, Array, Array]:
    wide = widened(x)
    count = as_divisor(x.shape[1], wide.dtype)
    mean = sum_over(wide, 1, True)
    mean /= count
    centered = np.subtract(wide, mean, out)
    inverse = np.vecdot(centered, centered)[:, None]
    inverse /= count
    inverse += as_divisor(eps, wide.dtype)
    np.power(inverse, as_divisor(-0.5, wide.dtype), inverse)
    centered *= inverse
    return centered, mean, inverse


@primitive
def row_gradient(grad: Array, normalized: Array, inverse: Array) -> Array:
    """The gradient of the input of `normalize_rows`, from that of its result."""
    rows, size = grad.shape
    count = as_divisor(size, grad.dtype)
    result = np.empty_like(grad)
    step = max(1, _PART // max(size, 1)) if grad.size > _PART else max(rows, 1)
    for start in range(0, rows, step):
        part = slice(start, start + step)
        wanted, given = grad[part], normalized[part]
        first = sum_over(wanted, 1, True)
        first /= count
        second = np.vecdot(wanted, given)[:, None]
        second /= count
        target = np.multiply(given, second, result[part])
        np.subtract(wanted, target, target)
        target -= first
        target *= inverse[part]
    return result


@row_gradient.shapes
def _(grad: Array, normalized: Array, inverse: Array) -> Any:
    return grad.shape, grad.dtype


@_native_rows
def normalize_layer(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """`normalize_rows`, then scaled and shifted, all rows alike."""
    result, mean, inverse = normalize_rows(x, eps)
    if weight is not None:
        result *= weight
    if bias is not None:
        result += bias
    return result, mean, inverse


@_native_rows
def layer_gradient(
    grad: Array, x: Array, mean: Array, inverse: Array, weight: Array | None, needs_affine: bool
) -> tuple[Array, Array | None, Array | None]:
    """Gradients of the input, the weight and the bias of `normalize_layer`."""
    rows = widened(grad)
    normalized = widened(x) - mean
    normalized *= inverse
    for_weight, for_bias = affine_gradients(rows, normalized) if needs_affine else (None, None)
    scaled = rows if weight is None else rows * weight
    for_input = row_gradient(scaled, normalized, inverse)
    return for_input.astype(grad.dtype, copy=False), for_weight, for_bias


def affine_gradients(grad: Array, normalized: Array) -> tuple[Array, Array]:
    """Gradients of a weight and a bias that scaled and shifted all rows alike."""
    return sum_over(grad * normalized, 0), sum_over(grad, 0)


@primitive
def normalize_rows_by_rms(x: Array, eps: float) -> tuple[Array, Array]:
    """Rows divided by the root of their mean square, and one over that root."""
    wide = widened(x)
    if wide.dtype.kind == "c":  # the square, not the absolute square, as PyTorch has it
        inverse = np.add.reduce(wide * wide, 1, None, None, True)
    else:
        inverse = np.vecdot(wide, wide)[:, None]
    inverse /= inverse.dtype.type(x.shape[1] or 1)
    inverse += inverse.dtype.type(eps)
    np.sqrt(inverse, inverse)
    np.divide(inverse.dtype.type(1), inverse, inverse)
    return wide * inverse, inverse


@normalize_rows_by_rms.shapes
def _(x: Array, eps: float) -> Any:
    return [(x.shape, wide_dtype(x)), ((x.shape[0], 1), wide_dtype(x))]


@_native_rows
def normalize_layer_by_rms(x: Array, weight: Array | None, eps: float) -> tuple[Array, Array]:
    """`normalize_rows_by_rms`, then scaled, all rows alike."""
    result, inverse = normalize_rows_by_rms(x, eps)
    if weight is not None:
        result *= weight
    return result, inverse


@_native_rows
def rms_layer_gradient(
    grad: Array, x: Array, inverse: Array, weight: Array | None, needs_weight: bool
) -> tuple[Array, Array | None]:
    """Gradients of the input and the weight of `normalize_layer_by_rms`."""
    rows = widened(grad)
    normalized = widened(x) * inverse
    for_weight = affine_gradients(rows, normalized)[0] if needs_weight else None
    scaled = rows if weight is None else rows * weight
    for_input = rms_gradient(scaled, normalized, inverse)
    return for_input.astype(x.dtype, copy=False), for_weight


@primitive
def rms_gradient(grad: Array, normalized: Array, inverse: Array) -> Array:
    """The gradient of the input of `normalize_rows_by_rms`, from that of its result."""
    second = np.vecdot(grad, normalized)[:, None]
    second /= grad.dtype.type(grad.shape[1] or 1)
    result = normalized * -second
    result += grad
    result *= inverse
    return result


@rms_gradient.shapes
def _(grad: Array, normalized: Array, inverse: Array) -> Any:
    return grad.shape, normalized.dtype
