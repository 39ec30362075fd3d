"""Pooling: the maximum or the mean of windows, in any number of dimensions.

Arrays are (*lead, *space) with as many dimensions of space as `kernel` has entries. Maximum and
sum of a box are those of its rows' maxima and sums, so each dimension is treated on its own, the
last one first: as many steps as the sum, not the product, of the kernel's sizes. Of equal elements
the first in row-major order is the maximum, as in PyTorch.

Indices count the elements of one plane of the input, (*space), from 0.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from taper.arrays.primitive import primitive
from taper.kernels.native_twin import with_native
from taper.kernels.selection import zero_where

__all__ = [
    "Windows", "adaptive_max", "adaptive_mean", "adaptive_mean_gradient", "gather_planes",
    "max_pool", "max_pool_gradient", "max_pool_with_indices", "mean_pool", "mean_pool_gradient",
    "pooled_size", "scatter_planes",
]

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]

_SHORT_ROW_BYTES = 128
_NATIVE = "taper.kernels.native_pooling"
_WORTH_A_KERNEL = 1 << 12  # elements


def _is_large(x: Array, *_: Any) -> bool:
    return x.size >= _WORTH_A_KERNEL


class Windows(NamedTuple):
    """Where windows lie; one int per dimension of space."""

    kernel: Ints
    stride: Ints
    padding: Ints
    dilation: Ints
    ceil_mode: bool = False
    is_tiled: bool = False  # whether they divide the input into boxes side by side


def pooled_size(size: Ints, windows: Windows) -> Ints:
    """The sizes of the result. With `ceil_mode` a window may reach beyond the end, but each
    begins inside the input or its left padding."""
    found = []
    for n, k, s, p, d in zip(size, *windows[:4], strict=True):
        room = n + 2 * p - d * (k - 1) - 1
        count = -(-room // s) if windows.ceil_mode else room // s
        if windows.ceil_mode and count * s >= n + p:
            count -= 1
        found.append(count + 1)
    return tuple(found)


def pooled(x: Array, out: Ints) -> Ints:
    """The shape of `x` with other sizes of space."""
    return (*x.shape[: x.ndim - len(out)], *out)


def lowest(dtype: Any) -> Any:
    """What no element is smaller than."""
    return np.iinfo(dtype).min if dtype.kind in "iu" else -math.inf


def padded(x: Array, windows: Windows, out: Ints, value: Any) -> Array:
    """The input with `value` around it, as far as the windows reach."""
    if windows.is_tiled:
        return x
    size = x.shape[x.ndim - len(out) :]
    ends = [
        max((m - 1) * s + d * (k - 1) + 1 - p - n, 0)
        for n, m, k, s, p, d in zip(size, out, *windows[:4], strict=True)
    ]
    if not any(windows.padding) and not any(ends):
        return x
    shape = [p + n + e for n, p, e in zip(size, windows.padding, ends, strict=True)]
    result = np.full((*x.shape[: x.ndim - len(out)], *shape), value, x.dtype)
    result[inside(size, windows.padding)] = x
    return result


def inside(size: Ints, padding: Ints) -> tuple[Any, ...]:
    """The index of what is not padding."""
    return (..., *[slice(p, p + n) for n, p in zip(size, padding, strict=True)])


def tiles_of(x: Array, axis: int, kernel: int, stride: int, dilation: int, out: int) -> Any:
    """Where windows divide the axis into pieces side by side: an array (pieces, kernel).

    What lies behind the axis is one item, of that many bytes, so that NumPy's loops run over
    pieces and not over short rows. None where windows or memory lie otherwise, or rows are long.
    """
    if kernel != stride or dilation != 1 or kernel * out != x.shape[axis]:
        return None
    row = math.prod(x.shape[axis + 1 :])
    if not x.flags.c_contiguous or row * x.itemsize > _SHORT_ROW_BYTES or not x.size:
        return None
    if row == 1:
        return x.reshape(-1, kernel)
    return x.reshape(-1, kernel * row).view(np.dtype((np.void, row * x.itemsize)))


def slices_of(
    x: Array, axis: int, kernel: int, stride: int, dilation: int, out: int
) -> list[Array]:
    """For each position in the window, the elements that stand there, in any one shape."""
    tiles = tiles_of(x, axis, kernel, stride, dilation, out)
    if tiles is None:
        return views_of(x, axis, kernel, stride, dilation, out)
    if tiles.dtype == x.dtype:
        return [tiles[:, j] for j in range(kernel)]
    return [tiles[:, j].copy().view(x.dtype) for j in range(kernel)]


def views_of(
    x: Array, axis: int, kernel: int, stride: int, dilation: int, out: int
) -> list[Array]:
    """`slices_of` as views, in the shape of the result."""
    before = (slice(None),) * axis
    return [
        x[(*before, slice(j * dilation, j * dilation + (out - 1) * stride + 1, stride))]
        for j in range(kernel)
    ]


def _along(x: Array, axis: int, windows: Windows, out: Ints) -> tuple[Any, ...]:
    """The arguments of `slices_of` for one axis, and the shape of its result."""
    d = axis - (x.ndim - len(out))
    numbers = (windows.kernel[d], windows.stride[d], windows.dilation[d], out[d])
    return (*numbers, (*x.shape[:axis], out[d], *x.shape[axis + 1 :]))


def _reduce_axis(x: Array, axis: int, windows: Windows, out: Ints, ufunc: Any) -> Array:
    *numbers, shape = _along(x, axis, windows, out)
    first, *others = slices_of(x, axis, *numbers)
    if not others:
        return first.reshape(shape)
    result = ufunc(first, others[0])
    for other in others[1:]:
        ufunc(result, other, out=result)
    return result.reshape(shape)


def _reduce_tiles(x: Array, kernel: Ints, out: Ints, ufunc: Any) -> Array:
    """`_reduce_axis` along all dimensions of a contiguous array that the windows divide."""
    dtype, row = x.dtype, 1
    result = x
    for k, n in zip(reversed(kernel), reversed(out), strict=True):
        if k > 1:
            if row == 1:
                tiles: Array = result.reshape(-1, k)
                parts = [tiles[:, j] for j in range(k)]
            elif row * dtype.itemsize <= _SHORT_ROW_BYTES:
                tiles = result.reshape(-1, k * row).view(np.dtype((np.void, row * dtype.itemsize)))
                parts = [tiles[:, j].copy().view(dtype) for j in range(k)]
            else:
                tiles = result.reshape(-1, k, row)
                parts = [tiles[:, j] for j in range(k)]
            result = ufunc(parts[0], parts[1])
            for part in parts[2:]:
                ufunc(result, part, out=result)
        row *= n
    if result is x:
        return x.copy()
    return result.reshape(*x.shape[: x.ndim - len(out)], *out)


@primitive
@with_native(_NATIVE, _is_large)
def max_pool(x: Array, windows: Windows, out: Ints) -> Array:
    """The maximum of each window."""
    if windows.is_tiled and x.size and x.flags.c_contiguous:
        return _reduce_tiles(x, windows.kernel, out, np.maximum)
    result = padded(x, windows, out, lowest(x.dtype))
    for axis in range(x.ndim - 1, x.ndim - len(out) - 1, -1):
        result = _reduce_axis(result, axis, windows, out, np.maximum)
    return result.copy() if np.may_share_memory(result, x) else result


@max_pool.shapes
def _(x: Array, windows: Windows, out: Ints) -> Any:
    return pooled(x, out), x.dtype


def _choose(x: Array, axis: int, windows: Windows, out: Ints) -> tuple[Array, Array]:
    """The maxima along one axis, and where in its window each stands."""
    *numbers, shape = _along(x, axis, windows, out)
    first, *others = slices_of(x, axis, *numbers)
    if not others:
        return first.reshape(shape).copy(), np.zeros(shape, np.uint8)
    may_be_nan = x.dtype.kind == "f" and np.isnan(np.add.reduce(x, None))
    best: Any = first
    kind = np.uint8 if len(others) < 256 else np.intp
    choice: Any = None
    for j, other in enumerate(others, 1):
        better = other > best
        if may_be_nan:
            better |= np.isnan(other)
        best = np.maximum(best, other) if j == 1 else np.maximum(best, other, out=best)
        # A later position is a larger number: what is better now is the largest so far.
        if j == 1:
            choice = better.view(np.uint8) if kind is np.uint8 else better.astype(kind)
        else:
            np.maximum(choice, np.multiply(better, kind(j), dtype=kind), out=choice)
    return best.reshape(shape), choice.reshape(shape)


@primitive
def max_pool_with_indices(x: Array, windows: Windows, out: Ints) -> tuple[Array, Array]:
    """The maximum of each window, and its index in the plane."""
    lead = x.ndim - len(out)
    size = x.shape[lead:]
    best = padded(x, windows, out, lowest(x.dtype))
    index: Any = None
    for axis in range(x.ndim - 1, lead - 1, -1):
        d = axis - lead
        best, choice = _choose(best, axis, windows, out)
        starts = np.arange(out[d], dtype=np.int64) * windows.stride[d] - windows.padding[d]
        where = starts.reshape(-1, *[1] * (x.ndim - 1 - axis)) + choice * np.int64(
            windows.dilation[d]
        )
        np.clip(where, 0, size[d] - 1, where)
        step = math.prod(size[d + 1 :])
        if index is None:
            index = where * step
            continue
        # `index` belongs to the lines of the input: take that of the chosen line.
        line = where + windows.padding[d]
        index = np.take_along_axis(index, line, axis) + where * step
    return best, index


@max_pool_with_indices.shapes
def _(x: Array, windows: Windows, out: Ints) -> Any:
    return [(pooled(x, out), x.dtype), (pooled(x, out), np.dtype(np.int64))]


@primitive
@with_native(_NATIVE, _is_large)
def max_pool_gradient(grad: Array, x: Array, windows: Windows, out: Ints) -> Array:
    """The gradient of the input of `max_pool`."""
    lead = x.ndim - len(out)
    size = x.shape[lead:]
    best = padded(x, windows, out, lowest(x.dtype))
    steps = []
    for axis in range(x.ndim - 1, lead - 1, -1):
        shape = best.shape
        best, choice = _choose(best, axis, windows, out)
        steps.append((axis, shape, choice))
    for axis, shape, choice in reversed(steps):
        grad = _spread(grad, axis, shape, choice, windows, out)
    if grad.shape != x.shape:
        grad = grad[inside(size, windows.padding)].copy()
    return grad


@max_pool_gradient.shapes
def _(grad: Array, x: Array, windows: Windows, out: Ints) -> Any:
    return x.shape, grad.dtype


def _spread(
    grad: Array, axis: int, shape: Ints, choice: Array, windows: Windows, out: Ints
) -> Array:
    """Brings gradients back along one axis to where the maxima stood."""
    below: Array = np.empty(shape, grad.dtype)
    kernel, stride, dilation, count, _ = _along(below, axis, windows, out)
    tiles = tiles_of(below, axis, kernel, stride, dilation, count)
    if tiles is not None:
        flat, chosen = grad.reshape(-1), choice.reshape(-1)
        for j in range(kernel):
            part = zero_where(chosen != j, flat)
            tiles[:, j] = part if tiles.dtype == part.dtype else part.view(tiles.dtype)
        return below
    below.fill(0)
    for j, view in enumerate(views_of(below, axis, kernel, stride, dilation, count)):
        view += zero_where(choice != j, grad)
    return below


# -- means -----------------------------------------------------------------------------------------


def counts(
    size: Ints, windows: Windows, out: Ints, count_include_pad: bool
) -> Any:
    """How many elements each window has: a number, or an array (*out)."""
    total: Any = 1
    for d, (n, m) in enumerate(zip(size, out, strict=True)):
        k, s, p = windows.kernel[d], windows.stride[d], windows.padding[d]
        if (p == 0 or count_include_pad) and (m - 1) * s + k <= n + 2 * p:
            total = total * k
            continue
        start = np.arange(m) * s - p
        end = np.minimum(start + k, n + p)
        if not count_include_pad:
            end = np.minimum(end, n)
            start = np.maximum(start, 0)
        total = total * (end - start).reshape(-1, *[1] * (len(size) - 1 - d))
    return total


def divide(x: Array, by: Any) -> Array:
    """Division in the dtype of `x`; whole numbers are rounded toward zero."""
    if x.dtype.kind in "iu":
        return np.trunc(x / by).astype(x.dtype)
    return x / (x.dtype.type(by) if isinstance(by, int) else by.astype(x.dtype))


@primitive
@with_native(_NATIVE, _is_large)
def mean_pool(x: Array, windows: Windows, out: Ints, divisor: Any) -> Array:
    """The sum of each window over `divisor`."""
    if windows.is_tiled and x.size and x.flags.c_contiguous:
        return divide(_reduce_tiles(x, windows.kernel, out, np.add), divisor)
    result = padded(x, windows, out, 0)
    for axis in range(x.ndim - 1, x.ndim - len(out) - 1, -1):
        result = _reduce_axis(result, axis, windows, out, np.add)
    return divide(result, divisor)


@mean_pool.shapes
def _(x: Array, windows: Windows, out: Ints, divisor: Any) -> Any:
    return pooled(x, out), x.dtype


@primitive
@with_native(_NATIVE, _is_large)
def mean_pool_gradient(
    grad: Array, size: Ints, windows: Windows, out: Ints, divisor: Any
) -> Array:
    """The gradient of the input of `mean_pool`."""
    lead = grad.ndim - len(out)
    grad = divide(grad, divisor)
    for d in range(len(out)):
        axis = lead + d
        k, s, p = windows.kernel[d], windows.stride[d], windows.padding[d]
        length = max(size[d] + p, (out[d] - 1) * s + k)
        below = np.zeros((*grad.shape[:axis], length, *grad.shape[axis + 1 :]), grad.dtype)
        for view in views_of(below, axis, k, s, 1, out[d]):
            view += grad
        grad = below
        if length != size[d] or p:
            grad = grad[(*(slice(None),) * axis, slice(p, p + size[d]))]
    return grad if grad.flags.c_contiguous else grad.copy()


@mean_pool_gradient.shapes
def _(grad: Array, size: Ints, windows: Windows, out: Ints, divisor: Any) -> Any:
    return pooled(grad, size), grad.dtype


# -- adaptive pooling ----------------------------------------------------------------------------


def bounds(size: int, out: int) -> list[tuple[int, int]]:
    """Where the windows begin and end that divide `size` elements into `out` parts."""
    return [(i * size // out, -((-(i + 1) * size) // out)) for i in range(out)]


def even_windows(size: Ints, out: Ints) -> Windows | None:
    """The windows that divide `size` elements into `out` parts, if all are alike."""
    if any(n % m for n, m in zip(size, out, strict=True)):
        return None
    kernel = tuple(n // m for n, m in zip(size, out, strict=True))
    return Windows(kernel, kernel, (0,) * len(out), (1,) * len(out), is_tiled=True)


_FEW = 4  # windows of a row


@primitive
def adaptive_mean(x: Array, out: Ints) -> Array:
    """The means of windows that divide each dimension of space into `out` parts."""
    lead = x.ndim - len(out)
    windows = even_windows(x.shape[lead:], out)
    if windows is not None and out[-1] >= _FEW:  # ordinary pooling has quicker loops
        return mean_pool(x, windows, out, math.prod(windows.kernel))
    for axis in range(x.ndim - 1, lead - 1, -1):
        parts = bounds(x.shape[axis], out[axis - lead])
        before = (slice(None),) * axis
        result = np.empty((*x.shape[:axis], len(parts), *x.shape[axis + 1 :]), x.dtype)
        for i, (start, end) in enumerate(parts):
            total = np.add.reduce(x[(*before, slice(start, end))], axis)
            result[(*before, i)] = total / x.dtype.type(end - start)
        x = result
    return x


@adaptive_mean.shapes
def _(x: Array, out: Ints) -> Any:
    return pooled(x, out), x.dtype


@primitive
def adaptive_mean_gradient(grad: Array, size: Ints) -> Array:
    """The gradient of the input of `adaptive_mean`, whose sizes are `size`."""
    lead = grad.ndim - len(size)
    out = grad.shape[lead:]
    windows = even_windows(tuple(size), out)
    if windows is not None and out[-1] >= _FEW:
        return mean_pool_gradient(grad, tuple(size), windows, out, math.prod(windows.kernel))
    for axis in range(lead, grad.ndim):
        parts = bounds(size[axis - lead], grad.shape[axis])
        before = (slice(None),) * axis
        result = np.zeros((*grad.shape[:axis], size[axis - lead], *grad.shape[axis + 1 :]),
                          grad.dtype)
        for i, (start, end) in enumerate(parts):
            share = grad[(*before, slice(i, i + 1))] / grad.dtype.type(end - start)
            result[(*before, slice(start, end))] += share
        grad = result
    return grad


@adaptive_mean_gradient.shapes
def _(grad: Array, size: Ints) -> Any:
    return pooled(grad, size), grad.dtype


def _last_nan(x: Array, axis: int) -> Array:
    """The position of the last NaN along an axis."""
    return x.shape[axis] - 1 - np.isnan(np.flip(x, axis)).argmax(axis)


def box_max(x: Array, starts: list[Any], ends: list[Any]) -> tuple[Array, Array]:
    """Maxima and indices of boxes whose bounds along each dimension of space are given."""
    size = x.shape[x.ndim - len(starts) :]
    lead = x.ndim - len(starts)
    index: Any = None
    for axis in range(x.ndim - 1, lead - 1, -1):
        d = axis - lead
        before = (slice(None),) * axis
        shape = (*x.shape[:axis], len(starts[d]), *x.shape[axis + 1 :])
        best, where = np.empty(shape, x.dtype), np.empty(shape, np.int64)
        for i, (start, end) in enumerate(zip(starts[d], ends[d], strict=True)):
            part = x[(*before, slice(start, end))]
            chosen = part.argmax(axis)
            best[(*before, i)] = np.take_along_axis(
                part, np.expand_dims(chosen, axis), axis
            ).squeeze(axis)
            if part.dtype.kind == "f" and np.isnan(best[(*before, i)]).any():
                chosen = np.where(np.isnan(best[(*before, i)]), _last_nan(part, axis), chosen)
            where[(*before, i)] = chosen + start
        step = math.prod(size[d + 1 :])
        if index is None:
            index = where * step
        else:
            index = np.take_along_axis(index, where, axis) + where * step
        x = best
    return x, index


@primitive
def adaptive_max(x: Array, out: Ints) -> tuple[Array, Array]:
    """The maxima, and their indices, of windows that divide each dimension into `out` parts."""
    parts = [bounds(n, m) for n, m in zip(x.shape[x.ndim - len(out) :], out, strict=True)]
    return box_max(x, [[a for a, _ in p] for p in parts], [[b for _, b in p] for p in parts])


@adaptive_max.shapes
def _(x: Array, out: Ints) -> Any:
    return [(pooled(x, out), x.dtype), (pooled(x, out), np.dtype(np.int64))]


# -- by index ------------------------------------------------------------------------------------


@primitive
def gather_planes(x: Array, index: Array, count: int) -> Array:
    """The elements of each plane (the last `count` dimensions) that `index` names."""
    lead = x.shape[: x.ndim - count]
    flat = x.reshape(*lead, math.prod(x.shape[len(lead) :]))
    where = index.reshape(*lead, math.prod(index.shape[len(lead) :]))
    picked = np.take_along_axis(flat, where, -1)
    return picked.reshape(index.shape)


@gather_planes.shapes
def _(x: Array, index: Array, count: int) -> Any:
    return index.shape, x.dtype


@primitive
def scatter_planes(x: Array, index: Array, size: Ints) -> Array:
    """Planes of sizes `size` with the elements of `x` added at the places that `index` names."""
    lead = x.shape[: x.ndim - len(size)]
    planes, each = math.prod(lead), math.prod(size)
    if not x.size:
        return np.zeros((*lead, *size), x.dtype)
    first = np.arange(planes, dtype=np.int64)[:, None] * each
    places = index.reshape(planes, index.size // planes) + first
    total = np.bincount(places.reshape(-1), x.reshape(-1), planes * each)
    return total.astype(x.dtype).reshape(*lead, *size)


@scatter_planes.shapes
def _(x: Array, index: Array, size: Ints) -> Any:
    return pooled(x, size), x.dtype


# -- windows at random places --------------------------------------------------------------------


def fractional_starts(samples: Array, size: int, out: int, kernel: int) -> Array:
    """Where windows begin, (planes, out), for one uniform number per plane.

    Source: Graham, Fractional Max-Pooling, 2014 (pseudorandom sequences).
    """
    number = samples.dtype.type
    result = np.full((len(samples), out), size - kernel, np.int64)
    if out > 1:
        step = number(size - kernel) / number(out - 1)
        places = np.arange(out - 1, dtype=samples.dtype)
        moved = ((places + samples[:, None]) * step).astype(np.int64)
        result[:, :-1] = moved - (samples[:, None] * step).astype(np.int64)
    return result


def fractional_max(x: Array, starts: list[Array], kernel: Ints) -> tuple[Array, Array]:
    """Maxima and indices of windows that begin at `starts`, one (planes, out) per dimension."""
    count = len(kernel)
    size = x.shape[x.ndim - count :]
    lead = x.shape[: x.ndim - count]
    planes = x.reshape(math.prod(lead), math.prod(size))
    out = tuple([s.shape[1] for s in starts])
    corner: Any = 0
    for d, start in enumerate(starts):
        shape = (-1, *[out[d] if e == d else 1 for e in range(count)])
        corner = corner + start.reshape(shape) * math.prod(size[d + 1 :])
    corner = np.broadcast_to(corner, (len(planes), *out)).reshape(len(planes), math.prod(out))
    best: Any = None
    for position in np.ndindex(*kernel):
        offset = 0
        for d, step in enumerate(position):
            offset += step * math.prod(size[d + 1 :])
        index = corner + offset
        value = np.take_along_axis(planes, index, 1)
        if best is None:
            best, chosen = value, index.copy()
            continue
        better = (value > best) | (value != value)
        np.copyto(best, value, where=better)
        np.copyto(chosen, index, where=better)
    return best.reshape(*lead, *out), chosen.reshape(*lead, *out)
