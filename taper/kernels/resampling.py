"""Resampling along axes: each new element is a weighted sum of a few old ones.

A plan of an axis is (index, weight): arrays (taps, out), or `weight` None for copies. Indices never
decrease along an axis, which makes the adjoint a sum over runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.arrays.primitive import primitive

__all__ = ["antialiased", "cubic", "linear", "nearest", "resample", "resample_adjoint"]

Array = np.ndarray[Any, Any]
Plan = tuple[Array, Array | None]


def scale_of(size: int, out: int, factor: float | None, align_corners: bool, kind: Any) -> Any:
    """The distance, in the input, of neighbours in the result."""
    if align_corners:
        return kind(size - 1) / kind(out - 1) if out > 1 else kind(0)
    return kind(1.0 / factor) if factor else kind(size) / kind(out)


def nearest(size: int, out: int, factor: float | None, exact: bool) -> Plan:
    """The element on the left of each place, or the closest (`exact`)."""
    places = np.arange(out)
    if not exact and out == size:
        return places[None], None
    if not exact and out == 2 * size and not factor:
        return (places >> 1)[None], None
    kind = np.float32
    scale = scale_of(size, out, factor, False, kind)
    offset = kind(0.5 if exact else 0)
    found = np.floor((places.astype(kind) + offset) * scale).astype(np.intp)
    return np.minimum(found, size - 1)[None], None


def linear(size: int, out: int, factor: float | None, align_corners: bool, kind: Any) -> Plan:
    """The two neighbours of each place, weighted by how close they are."""
    places = np.arange(out, dtype=kind)
    if size == out:
        # PyTorch copies, also where a factor other than 1 led here.
        return np.arange(out)[None], None
    scale = scale_of(size, out, factor, align_corners, kind)
    if align_corners:
        source = places * scale
    else:
        source = np.maximum((places + kind(0.5)) * scale - kind(0.5), kind(0))
    left = np.minimum(source.astype(np.intp), size - 1)
    right = np.minimum(left + 1, size - 1)
    share = np.clip(source - left.astype(kind), kind(0), kind(1))
    return np.stack((left, right)), np.stack((kind(1) - share, share))


def cubic_weights(t: Array, a: float) -> list[Array]:
    """Keys' cubic convolution at distances 1 + t, t, 1 - t and 2 - t (Keys, 1981)."""

    def near(x: Array) -> Array:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Array) -> Array:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def cubic(size: int, out: int, factor: float | None, align_corners: bool, kind: Any) -> Plan:
    """Four neighbours of each place, weighted by a cubic convolution."""
    places = np.arange(out, dtype=kind)
    scale = scale_of(size, out, factor, align_corners, kind)
    half = kind(0.5)
    source = places * scale if align_corners else (places + half) * scale - half
    left = np.floor(source)
    index = left.astype(np.intp) + np.arange(-1, 3)[:, None]
    weights = cubic_weights(source - left, kind(-0.75))
    return np.clip(index, 0, size - 1), np.stack(weights).astype(kind)


def _triangle(x: Array) -> Array:
    return np.maximum(1 - np.abs(x), 0)


def _cubic_filter(x: Array) -> Array:
    x, a = np.abs(x), -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(x: Array) -> Array:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


FILTERS: dict[str, tuple[Callable[[Array], Array], int]] = {
    "bilinear": (_triangle, 1), "bicubic": (_cubic_filter, 2), "lanczos": (_lanczos, 3),
}


def antialiased(
    size: int, out: int, factor: float | None, align_corners: bool, mode: str, kind: Any
) -> Plan:
    """All elements under a filter that is as wide as a new element, as Pillow does it."""
    function, support = FILTERS[mode]
    scale = float(scale_of(size, out, factor, align_corners, np.float64))
    reach = support * scale if scale >= 1 else float(support)
    squeeze = 1 / scale if scale >= 1 else 1.0
    center = scale * (np.arange(out) + 0.5)
    first = np.maximum((center - reach + 0.5).astype(np.intp), 0)
    last = np.minimum((center + reach + 0.5).astype(np.intp), size)
    taps = np.arange(int((last - first).max(initial=1)))[:, None]
    index = first + taps
    weight = function((index - center + 0.5) * squeeze)
    weight = np.where(index < last, weight, 0.0)
    total = np.add.reduce(weight, 0)
    weight /= np.where(total == 0, 1.0, total)
    return np.minimum(index, size - 1), weight.astype(kind)


def _shaped(weight: Array, axis: int, ndim: int) -> Array:
    return weight.reshape(*[-1 if d == axis else 1 for d in range(ndim)])


@primitive
def resample(x: Array, plans: tuple[Plan, ...]) -> Array:
    """Applies one plan per dimension of space, the last dimensions of `x`."""
    lead = x.ndim - len(plans)
    for axis, (index, weight) in enumerate(plans, lead):
        if weight is None:
            x = x.take(index[0], axis)
            continue
        result: Any = None
        for places, factors in zip(index, weight, strict=True):
            part = x.take(places, axis)
            part *= _shaped(factors, axis, x.ndim)
            result = part if result is None else np.add(result, part, result)
        x = result
    return x


@resample.shapes
def _(x: Array, plans: tuple[Plan, ...]) -> Any:
    lead = x.shape[: x.ndim - len(plans)]
    return (*lead, *[index.shape[1] for index, _ in plans]), x.dtype


@primitive
def resample_adjoint(grad: Array, plans: tuple[Plan, ...], size: tuple[int, ...]) -> Array:
    """The gradient of the input of `resample`, whose sizes are `size`."""
    lead = grad.ndim - len(plans)
    for axis in range(grad.ndim - 1, lead - 1, -1):
        index, weight = plans[axis - lead]
        before = (slice(None),) * axis
        shape = (*grad.shape[:axis], size[axis - lead], *grad.shape[axis + 1 :])
        result = np.zeros(shape, grad.dtype)
        for tap, places in enumerate(index):
            part = grad if weight is None else grad * _shaped(weight[tap], axis, grad.ndim)
            starts = np.flatnonzero(np.concatenate(([True], places[1:] != places[:-1])))
            result[(*before, places[starts])] += np.add.reduceat(part, starts, axis)
        grad = result
    return grad


@resample_adjoint.shapes
def _(grad: Array, plans: tuple[Plan, ...], size: tuple[int, ...]) -> Any:
    return (*grad.shape[: grad.ndim - len(plans)], *size), grad.dtype


def is_identity(plan: Plan, size: int) -> bool:
    """Whether a plan copies every element to its own place."""
    index, weight = plan
    return weight is None and index.shape[1] == size and bool((index[0] == np.arange(size)).all())


def floor_size(size: int, factor: float) -> int:
    """The size of a dimension made larger by a factor."""
    return math.floor(float(size) * factor)
