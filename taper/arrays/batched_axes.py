"""NumPy's functions along axes of batched arrays: reductions, order, picking, transforms."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.arrays.batched import BatchedArray, axes_behind, axis_behind
from taper.arrays.batched_arguments import (
    RULES,
    aligned,
    behind,
    each_sample,
    given_out,
    is_at,
    rule,
    together,
)
from taper.arrays.levels import Level, in_place_error

__all__: list[str] = []

_function: Any  # of loops over functions that share a rule


def _reducing(function: Any, over_all: bool = True) -> None:
    """A function ``f(a, axis, …)`` for which axis=None means all."""
    def call(level: Level, a: Any, axis: Any = None, *args: Any, **options: Any) -> Any:
        if any([is_at(v, level) for v in options.values()]) or not is_at(a, level):
            return each_sample(function, level, (a, axis, *args), options)
        out = options.pop("out", None)
        inner = a.inner
        if axis is None:
            if over_all:
                axis = tuple(range(1, inner.ndim))
            elif options.get("keepdims") is True:
                inner, axis = inner.reshape((inner.shape[0], -1)), 1
                found = function(inner, axis, *args, **options)
                return BatchedArray(found.reshape((len(found), *(1,) * a.ndim)), level)
            else:
                inner, axis = inner.reshape((inner.shape[0], a.size)), 1
        elif not a.ndim:
            inner, axis = inner[:, None], 1
        else:
            axis = axes_behind(axis, a.ndim)
        return given_out(BatchedArray(function(inner, axis, *args, **options), level), out)

    RULES[function] = call


for _function in (
    np.sum, np.prod, np.mean, np.var, np.std, np.max, np.min, np.any, np.all, np.count_nonzero,
    np.ptp, np.nansum, np.nanmean, np.median, np.average,
):
    _reducing(_function)
for _function in (np.argmax, np.argmin, np.cumsum, np.cumprod, np.nanargmax, np.nanargmin):
    _reducing(_function, over_all=False)


def _ordering(function: Any, given: int) -> None:
    """A function ``f(a, …, axis=-1, …)`` that keeps the shape; axis=None flattens.

    `given` is the position of the axis.
    """
    def call(level: Level, a: Any, *args: Any, **options: Any) -> Any:
        if not is_at(a, level):
            return each_sample(function, level, (a, *args), options)
        values = list(args)
        if len(values) >= given:
            axis = values.pop(given - 1)
        else:
            axis = options.pop("axis", -1)
        inner = a.inner
        if axis is None:
            inner, axis = inner.reshape((inner.shape[0], a.size)), 0
        return BatchedArray(
            function(inner, *values, axis=axis_behind(axis, max(a.ndim, 1)), **options), level)

    RULES[function] = call


for _function, _place_of_axis in (
    (np.sort, 1), (np.argsort, 1), (np.partition, 2), (np.argpartition, 2), (np.diff, 2),
):
    _ordering(_function, _place_of_axis)


@rule(np.flip)
def _flip(level: Level, m: Any, axis: Any = None) -> Any:
    return BatchedArray(np.flip(m.inner, behind(axis, m)), level)


@rule(np.roll)
def _roll(level: Level, a: Any, shift: Any, axis: Any = None) -> Any:
    if is_at(shift, level):
        return each_sample(np.roll, level, (a, shift, axis), {})
    if axis is None:
        return np.roll(a.reshape(a.size), shift, 0).reshape(a.shape)
    return BatchedArray(np.roll(a.inner, shift, axes_behind(axis, a.ndim)), level)


@rule(np.rot90)
def _rot90(level: Level, m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    return BatchedArray(np.rot90(m.inner, k, axes_behind(tuple(axes), m.ndim)), level)


@rule(np.repeat)
def _repeat(level: Level, a: Any, repeats: Any, axis: Any = None) -> Any:
    if is_at(repeats, level):
        return each_sample(np.repeat, level, (a, repeats, axis), {})
    if axis is None:
        a, axis = a.reshape(a.size), 0
    return BatchedArray(np.repeat(a.inner, repeats, axis_behind(axis, a.ndim)), level)


@rule(np.take)
def _take(level: Level, a: Any, indices: Any, axis: Any = None, out: Any = None, mode: Any = "raise"
          ) -> Any:
    if axis is None:
        a, axis = a.reshape(a.size), 0
    if not is_at(indices, level):
        return given_out(BatchedArray(
            np.take(a.inner, indices, axis_behind(axis, a.ndim), mode=mode), level), out)
    if not is_at(a, level):  # one table for all samples: its rows are taken at once
        axis %= a.ndim
        found = np.take(a, indices.inner, axis, mode=mode)
        return given_out(BatchedArray(np.moveaxis(found, axis, 0) if axis else found, level), out)
    axis %= a.ndim
    if mode != "raise":
        return each_sample(np.take, level, (a, indices, axis), {"mode": mode})
    return given_out(a[(*(slice(None),) * axis, indices)], out)


@rule(np.take_along_axis)
def _take_along_axis(level: Level, arr: Any, indices: Any, axis: Any = -1) -> Any:
    if axis is None:
        arr, axis = arr.reshape(arr.size), 0
    given = (arr, indices)
    lifted = [a if is_at(v, level) else a[None]
              for a, v in zip(together(given, level), given, strict=True)]
    first, second = lifted
    found = np.take_along_axis(first, second, axis_behind(axis, first.ndim - 1))
    return BatchedArray(found, level)


@rule(np.put_along_axis)
def _put_along_axis(level: Level, arr: Any, indices: Any, values: Any, axis: Any) -> None:
    if not is_at(arr, level):
        raise in_place_error()
    if axis is None:
        each_sample(np.put_along_axis, level, (arr, indices, values, axis), {})
        return
    inner = indices.inner if is_at(indices, level) else np.broadcast_to(
        indices, (level.size, *indices.shape))
    np.put_along_axis(arr.inner, inner, aligned(values, level, arr.ndim),
                      axis_behind(axis, arr.ndim))


@rule(np.searchsorted)
def _searchsorted(level: Level, a: Any, v: Any, side: Any = "left", sorter: Any = None) -> Any:
    if is_at(a, level) or is_at(sorter, level):
        return each_sample(np.searchsorted, level, (a, v, side, sorter), {})
    return BatchedArray(np.searchsorted(a, v.inner, side, sorter), level)


def _transforming(*functions: Any) -> None:
    """Fourier transforms along one axis: ``f(a, n, axis)``."""
    for function in functions:
        def call(level: Level, a: Any, n: Any = None, axis: int = -1, *args: Any,
                 function: Any = function, **options: Any) -> Any:
            return BatchedArray(
                function(a.inner, n, axis_behind(axis, a.ndim), *args, **options), level)

        RULES[function] = call


_transforming(np.fft.fft, np.fft.ifft, np.fft.rfft, np.fft.irfft, np.fft.hfft, np.fft.ihfft)


def _transforming_several(*functions: Any) -> None:
    """Fourier transforms along several axes: ``f(a, s, axes)``."""
    for function in functions:
        def call(level: Level, a: Any, s: Any = None, axes: Any = None, *args: Any,
                 function: Any = function, **options: Any) -> Any:
            if axes is None:
                axes = range(-(len(s) if s is not None else a.ndim), 0)
            axes = axes_behind(tuple(axes), a.ndim)
            return BatchedArray(function(a.inner, s, axes, *args, **options), level)

        RULES[function] = call


_transforming_several(np.fft.fftn, np.fft.ifftn, np.fft.rfftn, np.fft.irfftn)


for _function in (np.fft.fftshift, np.fft.ifftshift):
    RULES[_function] = lambda level, x, axes=None, function=_function: BatchedArray(
        function(x.inner, behind(axes, x)), level)
