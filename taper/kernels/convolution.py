"""Convolutions in any number of dimensions: windows laid out as columns, then matrix products.

Arrays are (batch, channels, *space); `stride`, `padding` and `dilation` have one int per dimension
of space. A convolution is linear in its input and in its weight, so three functions suffice:

    convolve          y(x, w)
    input_gradient    x's gradient from y's and w; with another name: the transposed convolution
    weight_gradient   w's gradient from y's and x

Note [columns]: windows are copied to columns a part at a time, so that a part stays in the cache
and memory does not grow with the size of the kernel. Channels are the outer axis of a column
("planes") unless rows are short and channels many: then they are the inner one ("pixels").
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from taper.arrays.primitive import primitive
from taper.kernels.native_twin import with_native

__all__ = ["convolve", "input_gradient", "output_size", "transposed_size", "weight_gradient"]

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]

_PART = 1 << 17  # elements of a part of the columns: 0.5 MB of float32
_WORTH_A_KERNEL = 1 << 18  # multiplications
_SHORT_ROW_BYTES = 128
_SHORT_ROW = 14  # rows up to here are copied faster with their channels side by side


def output_size(size: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints) -> Ints:
    """The sizes of a convolution's result."""
    return tuple([
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    ])


def transposed_size(
    size: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, extra: Ints
) -> Ints:
    """The sizes of a transposed convolution's result; `extra` is PyTorch's output_padding."""
    return tuple([
        (n - 1) * s - 2 * p + d * (k - 1) + 1 + e
        for n, k, s, p, d, e in zip(size, kernel, stride, padding, dilation, extra, strict=True)
    ])


def zero_padded(x: Array, padding: Ints) -> Array:
    """A contiguous array with `padding` zeros at both ends of each dimension of space."""
    if not any(padding):
        return x if x.flags.c_contiguous else x.copy()
    size = x.shape[2:]
    result = np.zeros(
        (*x.shape[:2], *[n + 2 * p for n, p in zip(size, padding, strict=True)]), x.dtype
    )
    result[inner(size, padding)] = x
    return result


def inner(size: Ints, padding: Ints) -> tuple[Any, ...]:
    """The index of what lies between the padding."""
    return (..., *[slice(p, p + n) for n, p in zip(size, padding, strict=True)])


def sliding(x: Array, kernel: Ints, stride: Ints, dilation: Ints, out: Ints, groups: int) -> Array:
    """A view (batch, group, channel, *kernel, *out) of the windows of a contiguous array."""
    batch, channels = x.shape[:2]
    steps = x.strides
    space = steps[2:]
    return np.ndarray(
        (batch, groups, channels // groups, *kernel, *out), x.dtype, x, 0,
        (steps[0], steps[1] * (channels // groups), steps[1],
         *[s * d for s, d in zip(space, dilation, strict=True)],
         *[s * d for s, d in zip(space, stride, strict=True)]),
    )


def columns_of(view: Array, count: int) -> Array:
    """A contiguous copy of windows from `sliding`, their `count` dimensions of space joined.

    Short rows are copied as single items of that many bytes: NumPy's loops then run over rows.
    """
    shape = view.shape
    row = shape[-1] * view.itemsize
    joined = (*shape[:-count], math.prod(shape[-count:]))
    if row > _SHORT_ROW_BYTES or view.strides[-1] != view.itemsize or shape[-1] == 1:
        return view.reshape(joined)
    rows = view.view(np.dtype((np.void, row)))[..., 0]
    return rows.copy().view(view.dtype).reshape(joined)


def parts(batch: int, out: Ints, rows: int) -> Iterator[tuple[slice, slice]]:
    """Slices of the batch, and of the first dimension of space, whose columns fit a part.

    `rows` is the length of a column.
    """
    each = rows * math.prod(out)
    if each <= _PART or batch > 1:
        step = max(1, _PART // each)
    else:
        step = 1
    if step > 1 or each <= 4 * _PART:
        for start in range(0, batch, step):
            yield slice(start, min(start + step, batch)), slice(0, out[0])
        return
    height = max(1, _PART * out[0] // each)
    for image in range(batch):
        for top in range(0, out[0], height):
            yield slice(image, image + 1), slice(top, min(top + height, out[0]))


def suits_pixels(channels: int, kernel: Ints, dilation: Ints, out: Ints, groups: int) -> bool:
    """Whether columns are built faster with channels as the inner axis, see Note [columns]."""
    return (
        groups == 1 and out[-1] <= _SHORT_ROW and channels >= 8 and dilation[-1] == 1
        and channels * kernel[-1] >= 32 and (kernel[-1] > 1 or len(out) > 1)
    )


def _is_large(x: Array, weight: Array, *_: Any) -> bool:
    """Whether there is enough to multiply for a native kernel; of either gradient, too."""
    return x.size * weight.size > _WORTH_A_KERNEL * x.shape[1]


def _with_bias(result: Array, bias: Array | None) -> Array:
    if bias is not None:
        result += bias.reshape(-1, *[1] * (result.ndim - 2))
    return result


@primitive
@with_native("taper.kernels.native_convolution", _is_large)
def convolve(
    x: Array, weight: Array, stride: Ints, padding: Ints, dilation: Ints, groups: int,
    bias: Array | None = None,
) -> Array:
    """The convolution (without flipping, as in all of deep learning) of x with the weight.

    x: (batch, channels, *space), weight: (filters, channels / groups, *kernel), bias: (filters,).
    """
    return _with_bias(_convolve(x, weight, stride, padding, dilation, groups), bias)


def _convolve(
    x: Array, weight: Array, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Array:
    batch, channels = x.shape[:2]
    filters, each, *rest = weight.shape
    kernel = tuple(rest)
    out = output_size(x.shape[2:], kernel, stride, padding, dilation)
    length = each * math.prod(kernel)
    space = math.prod(out)
    if not batch * filters * space or not length:
        return np.zeros((batch, filters, *out), x.dtype)
    if groups > 1 and each == 1 and filters == channels:
        return _depthwise(x, weight, stride, padding, dilation, out)
    if suits_pixels(channels, kernel, dilation, out, groups) and math.prod(kernel) > 1:
        return _convolve_pixels(x, weight, stride, padding, dilation, out)
    if groups == 1 and math.prod(kernel) == 1 and not any(padding) and max(stride) == 1:
        # A product per pixel needs no columns.
        flat = x.reshape(batch, channels, space)
        return np.matmul(weight.reshape(filters, channels), flat).reshape(batch, filters, *out)
    view = sliding(zero_padded(x, padding), kernel, stride, dilation, out, groups)
    matrix = weight.reshape(groups, filters // groups, length)
    if batch * groups * length * space <= _PART:
        columns = columns_of(view, len(kernel)).reshape(batch, groups, length, space)
        if groups == 1:
            return np.matmul(matrix[0], columns[:, 0]).reshape(batch, filters, *out)
        return np.matmul(matrix, columns).reshape(batch, filters, *out)
    result = np.empty((batch, groups, filters // groups, *out), x.dtype)
    axis = (slice(None),) * (2 + len(kernel))
    for images, lines in parts(batch, out, groups * length):
        part = view[(images, *axis, lines)]
        count = part.shape[0]
        columns = columns_of(part, len(kernel)).reshape(count, groups, length, -1)
        product = np.matmul(matrix, columns)
        result[images, :, :, lines] = product.reshape(count, groups, -1, *part.shape[-len(out):])
    return result.reshape(batch, filters, *out)


@convolve.shapes
def _(
    x: Array, weight: Array, stride: Ints, padding: Ints, dilation: Ints, groups: int,
    bias: Array | None = None,
) -> Any:
    out = output_size(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    return (x.shape[0], weight.shape[0], *out), x.dtype


def _pixel_windows(
    x: Array, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, out: Ints
) -> Array:
    """A view (batch, *out, *kernel but the last, last * channels) of windows side by side."""
    batch, channels = x.shape[:2]
    size = x.shape[2:]
    padded = np.zeros(
        (batch, *[n + 2 * p for n, p in zip(size, padding, strict=True)], channels), x.dtype
    )
    padded[(slice(None), *inner(size, padding)[1:])] = np.moveaxis(x, 1, -1)
    steps = padded.strides
    return np.ndarray(
        (batch, *out, *kernel[:-1], kernel[-1] * channels), x.dtype, padded, 0,
        (steps[0], *[a * b for a, b in zip(steps[1:-1], stride, strict=True)],
         *[a * b for a, b in zip(steps[1:-2], dilation[:-1], strict=True)], steps[-1]),
    )


def _convolve_pixels(
    x: Array, weight: Array, stride: Ints, padding: Ints, dilation: Ints, out: Ints
) -> Array:
    filters = weight.shape[0]
    view = _pixel_windows(x, weight.shape[2:], stride, padding, dilation, out)
    matrix = np.moveaxis(weight, (0, 1), (-1, -2)).reshape(-1, filters)
    batch, length, space = x.shape[0], matrix.shape[0], math.prod(out)
    result = np.empty((batch, filters, space), x.dtype)
    step = max(1, 4 * _PART // (length * space))
    for start in range(0, batch, step):
        # As fast as NumPy can: filters as columns, turned round while they are in the cache.
        product = view[start : start + step].reshape(-1, length).dot(matrix)
        result[start : start + step] = product.reshape(-1, space, filters).transpose(0, 2, 1)
    return result.reshape(batch, filters, *out)


def positions(kernel: Ints) -> Iterator[Ints]:
    """All indices into a kernel."""
    return itertools.product(*map(range, kernel))


def reached(position: Ints, stride: Ints, dilation: Ints, out: Ints) -> tuple[Any, ...]:
    """The index, into a padded array, of the elements that one kernel position meets."""
    return (..., *[
        slice(i * d, i * d + (n - 1) * s + 1, s)
        for i, d, n, s in zip(position, dilation, out, stride, strict=True)
    ])


def _depthwise(
    x: Array, weight: Array, stride: Ints, padding: Ints, dilation: Ints, out: Ints
) -> Array:
    """One filter for each channel: products by kernel position, without columns.

    With stride 1 whole planes are shifted, see Note [shifted planes].
    """
    padded = zero_padded(x, padding)
    kernel = weight.shape[2:]
    factors = weight.reshape(-1, *kernel)
    if max(stride) == 1:
        flat, length, offsets = _shifts(padded, kernel, dilation, out)
        found = np.empty((*x.shape[:2], length), x.dtype)
        for images in images_of(found):
            source, target = flat[images], found[images]
            product = np.empty_like(target)
            for number, (position, offset) in enumerate(offsets):
                factor = factors[(..., *position)].reshape(-1, 1)
                view = source[..., offset : offset + length]
                np.multiply(view, factor, product if number else target)
                if number:
                    target += product
        return _cropped(found, padded.shape[2:], out).copy()
    result = np.zeros((*x.shape[:2], *out), x.dtype)
    for position in positions(kernel):
        factor = factors[(..., *position)].reshape(-1, *[1] * len(kernel))
        result += padded[reached(position, stride, dilation, out)] * factor
    return result


def _shifts(
    padded: Array, kernel: Ints, dilation: Ints, out: Ints
) -> tuple[Array, int, list[tuple[Ints, int]]]:
    """Planes as rows, how much of a row the results take up, and where each kernel position's
    part begins.

    Note [shifted planes]: a kernel position sees the padded plane shifted by a constant. Shifting
    whole planes gives some products too many, between the rows of the result, but one long loop.
    """
    space = padded.shape[2:]
    steps = [math.prod(space[d + 1 :]) for d in range(len(space))]
    length = sum((n - 1) * s for n, s in zip(out, steps, strict=True)) + 1
    offsets = [
        (position, sum(i * d * s for i, d, s in zip(position, dilation, steps, strict=True)))
        for position in positions(kernel)
    ]
    return padded.reshape(*padded.shape[:2], -1), length, offsets


def _cropped(flat: Array, space: Ints, out: Ints) -> Array:
    """A view, in the shape of the result, of rows in the layout of the padded planes."""
    size = flat.itemsize
    steps = [math.prod(space[d + 1 :]) * size for d in range(len(space))]
    return np.ndarray((*flat.shape[:2], *out), flat.dtype, flat, 0, (*flat.strides[:2], *steps))


def _spread(grad: Array, space: Ints, length: int) -> Array:
    """Rows in the layout of the padded planes, with zeros where the result has nothing."""
    flat = np.zeros((*grad.shape[:2], length), grad.dtype)
    _cropped(flat, space, grad.shape[2:])[...] = grad
    return flat


def images_of(x: Array) -> Iterator[slice]:
    """Slices of a batch that stay in the cache."""
    step = max(1, _PART // 2 // max(x[0].size, 1))
    for start in range(0, len(x), step):
        yield slice(start, start + step)


@primitive
@with_native("taper.kernels.native_convolution", _is_large)
def input_gradient(
    grad: Array, weight: Array, size: Ints, stride: Ints, padding: Ints, dilation: Ints,
    groups: int, bias: Array | None = None,
) -> Array:
    """The gradient of a convolution's input, whose sizes are `size`; or, with a bias maybe, a
    transposed convolution."""
    return _with_bias(
        _input_gradient(grad, weight, size, stride, padding, dilation, groups), bias
    )


def _input_gradient(
    grad: Array, weight: Array, size: Ints, stride: Ints, padding: Ints, dilation: Ints,
    groups: int,
) -> Array:
    batch, filters = grad.shape[:2]
    _, each, *rest = weight.shape
    kernel = tuple(rest)
    out = grad.shape[2:]
    channels = each * groups
    length = each * math.prod(kernel)
    if not grad.size or not weight.size or not math.prod(size):
        return np.zeros((batch, channels, *size), grad.dtype)
    flipped = tuple([d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding, strict=True)])
    if (
        groups == 1 and max(stride) == 1 and min(flipped) >= 0
        and filters <= (
            4 * each if suits_pixels(filters, kernel, dilation, size, 1) else 1.5 * each
        )
        and output_size(out, kernel, stride, flipped, dilation) == size
    ):
        mirrored = np.flip(weight, tuple(range(2, weight.ndim))).swapaxes(0, 1)
        return _convolve(grad, np.ascontiguousarray(mirrored), stride, flipped, dilation, 1)
    padded = np.zeros(
        (batch, groups, each, *[
            max(n + 2 * p, (m - 1) * s + d * (k - 1) + 1)
            for n, p, m, s, d, k in zip(size, padding, out, stride, dilation, kernel, strict=True)
        ]), grad.dtype,
    )
    grouped = grad.reshape(batch, groups, filters // groups, *out)
    if groups > 1 and each == 1 and filters == groups:
        planes = padded.reshape(batch, channels, *padded.shape[3:])
        if max(stride) == 1:
            flat, reach, offsets = _shifts(planes, kernel, dilation, out)
            spread = _spread(grad, planes.shape[2:], reach)
            for images in images_of(spread):
                wanted, target = spread[images], flat[images]
                for position, offset in offsets:
                    view = target[..., offset : offset + reach]
                    view += wanted * weight[(..., *position)].reshape(-1, 1)
        else:
            for position in positions(kernel):
                factor = weight[(..., *position)].reshape(-1, *[1] * len(kernel))
                view = planes[reached(position, stride, dilation, out)]
                view += grad * factor
    else:
        matrix = weight.reshape(groups, filters // groups, length).swapaxes(1, 2)
        for images, lines in parts(batch, out, groups * length):
            part = grouped[images, :, :, lines]
            count = part.shape[0]
            shape = part.shape[3:]
            columns = np.matmul(
                matrix, part.reshape(count, groups, filters // groups, -1)
            ).reshape(count, groups, each, *kernel, *shape)
            target = padded[images, :, :, lines.start * stride[0] :]
            rest_of_index = (slice(None),) * len(shape)
            for position in positions(kernel):
                view = target[reached(position, stride, dilation, shape)]
                view += columns[(..., *position, *rest_of_index)]
    result = padded.reshape(batch, channels, *padded.shape[3:])
    if any(padding) or result.shape[2:] != size:
        result = result[inner(size, padding)]
    return result if result.flags.c_contiguous else result.copy()


@input_gradient.shapes
def _(
    grad: Array, weight: Array, size: Ints, stride: Ints, padding: Ints, dilation: Ints,
    groups: int, bias: Array | None = None,
) -> Any:
    return (grad.shape[0], weight.shape[1] * groups, *size), grad.dtype


def _has_large_dots(grad: Array, x: Array, kernel: Ints, *_: Any) -> bool:
    return grad.size * x.shape[1] * math.prod(kernel) > _WORTH_A_KERNEL


@primitive
@with_native("taper.kernels.native_convolution", _has_large_dots)
def weight_gradient(
    grad: Array, x: Array, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Array:
    """The gradient of a convolution's weight, whose windows have the sizes `kernel`."""
    batch, channels = x.shape[:2]
    filters = grad.shape[1]
    out = grad.shape[2:]
    each = channels // groups
    length = each * math.prod(kernel)
    if not grad.size or not x.size or not length:
        return np.zeros((filters, each, *kernel), grad.dtype)
    if suits_pixels(channels, kernel, dilation, out, groups):
        return _weight_gradient_pixels(grad, x, kernel, stride, padding, dilation)
    if groups > 1 and each == 1 and filters == channels:
        return _weight_gradient_depthwise(grad, x, kernel, stride, padding, dilation)
    view = sliding(zero_padded(x, padding), kernel, stride, dilation, out, groups)
    grouped = grad.reshape(batch, groups, filters // groups, *out)
    axis = (slice(None),) * (2 + len(kernel))
    total: Any = None
    for images, lines in parts(batch, out, groups * length):
        part = view[(images, *axis, lines)]
        count = part.shape[0]
        columns = columns_of(part, len(kernel)).reshape(count, groups, length, -1)
        wanted = grouped[images, :, :, lines].reshape(count, groups, filters // groups, -1)
        product = np.matmul(wanted, columns.swapaxes(2, 3))
        summed = product[0] if count == 1 else np.add.reduce(product, 0)
        total = summed if total is None else total + summed
    return total.reshape(filters, each, *kernel)


@weight_gradient.shapes
def _(
    grad: Array, x: Array, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Any:
    return (grad.shape[1], x.shape[1] // groups, *kernel), grad.dtype


def _weight_gradient_pixels(
    grad: Array, x: Array, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> Array:
    batch, filters = grad.shape[:2]
    out = grad.shape[2:]
    view = _pixel_windows(x, kernel, stride, padding, dilation, out)
    length = x.shape[1] * math.prod(kernel)
    space = math.prod(out)
    columns_of_grad = grad.reshape(batch, filters, space).swapaxes(0, 1)
    total: Any = None
    step = max(1, 4 * _PART // (length * space))
    for start in range(0, batch, step):
        wanted = columns_of_grad[:, start : start + step].reshape(filters, -1)
        product = wanted.dot(view[start : start + step].reshape(-1, length))
        total = product if total is None else total + product
    shaped = total.reshape(filters, *kernel, x.shape[1])
    return np.ascontiguousarray(np.moveaxis(shaped, -1, 1))


def _weight_gradient_depthwise(
    grad: Array, x: Array, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> Array:
    padded = zero_padded(x, padding)
    out = grad.shape[2:]
    total = np.zeros((x.shape[1], *kernel), grad.dtype)
    if max(stride) == 1:
        flat, length, offsets = _shifts(padded, kernel, dilation, out)
        spread = _spread(grad, padded.shape[2:], length)
        for position, offset in offsets:
            found = np.vecdot(flat[..., offset : offset + length].conj(), spread) if (
                flat.dtype.kind == "c") else np.vecdot(flat[..., offset : offset + length], spread)
            total[(slice(None), *position)] = np.add.reduce(found, 0)
        return total.reshape(-1, 1, *kernel)
    lead = (*grad.shape[:2], math.prod(out))
    for position in positions(kernel):
        product = padded[reached(position, stride, dilation, out)] * grad
        total[(slice(None), *position)] = np.add.reduce(product.reshape(lead), (0, 2))
    return total.reshape(-1, 1, *kernel)
