"""p-norm distances between all pairs of rows of two batches, a part of the rows at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from taper.arrays.primitive import primitive

__all__ = ["distance_gradient", "distances", "euclidean_distances"]

Array = np.ndarray[Any, Any]

_PART = 1 << 18  # elements of differences held at a time


def parts(x1: Array, x2: Array) -> Iterator[tuple[int, slice]]:
    """(batch index, slice of x1's rows) with few enough differences."""
    each = max(x2.shape[1] * x2.shape[2], 1)
    step = max(1, _PART // each)
    for item in range(x1.shape[0]):
        for start in range(0, x1.shape[1], step):
            yield item, slice(start, start + step)


def norms(difference: Array, p: float) -> Array:
    """The p-norms over the last axis."""
    if p == 2:
        return np.sqrt(np.vecdot(difference, difference))
    size = np.abs(difference)
    if p == 0:
        return np.count_nonzero(size, -1).astype(size.dtype)
    if p == 1:
        return np.add.reduce(size, -1)
    if p == math.inf:
        return np.maximum.reduce(size, -1, initial=0)
    number = size.dtype.type
    return np.add.reduce(size ** number(p), -1) ** number(1 / p)


@primitive
def distances(x1: Array, x2: Array, p: float) -> Array:
    """The distances (batch, n, m) of rows (batch, n, size) and (batch, m, size)."""
    result = np.empty((x1.shape[0], x1.shape[1], x2.shape[1]), x1.dtype)
    for item, rows in parts(x1, x2):
        result[item, rows] = norms(x1[item, rows, None] - x2[item], p)
    return result


@distances.shapes
def _(x1: Array, x2: Array, p: float) -> Any:
    return (*x1.shape[:2], x2.shape[1]), x1.dtype


@primitive
def euclidean_distances(x1: Array, x2: Array) -> Array:
    """`distances` for p = 2 from one matrix product: quicker for many rows, and less exact."""
    first = np.vecdot(x1, x1)[:, :, None]
    second = np.vecdot(x2, x2)[:, None, :]
    result = np.matmul(x1, x2.swapaxes(1, 2))
    result *= -2
    result += first
    result += second
    np.maximum(result, 0, out=result)
    return np.sqrt(result, result)


@euclidean_distances.shapes
def _(x1: Array, x2: Array) -> Any:
    return (*x1.shape[:2], x2.shape[1]), x1.dtype


@primitive
def distance_gradient(grad: Array, result: Array, x1: Array, x2: Array, p: float) -> Array:
    """The gradient of `x1`; at distance 0 it is 0."""
    found = np.zeros(x1.shape, x1.dtype)
    if p == 0:
        return found
    number = x1.dtype.type
    for item, rows in parts(x1, x2):
        difference = x1[item, rows, None] - x2[item]
        size = result[item, rows, :, None]
        wanted = grad[item, rows, :, None]
        with np.errstate(all="ignore"):
            if p == 2:
                share = difference * np.where(size == 0, number(0), wanted / size)
            elif p == 1:
                share = np.sign(difference) * wanted
            elif p == math.inf:
                share = np.sign(difference) * (np.abs(difference) == size) * wanted
            else:
                power = np.abs(difference) ** number(p - 1)
                power *= np.where(size == 0, number(0), wanted / size ** number(p - 1))
                share = np.where(difference == 0, number(0), np.sign(difference) * power)
        found[item, rows] = np.add.reduce(share, 1)
    return found


@distance_gradient.shapes
def _(grad: Array, result: Array, x1: Array, x2: Array, p: float) -> Any:
    return x1.shape, x1.dtype
