"""What kernels do to batched arrays (vmap): rules like those of NumPy's functions, by primitive.

Three kinds of rule serve nearly all: kernels that take stacks of matrices take one dimension more
(`stacks`); kernels that treat the items of one dimension alike, be it the batch or the channels,
get the samples as further items of it (`joins`); convolutions take them as items of the batch or as
groups. Kernels without a rule run once per sample.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.arrays.batched_arguments import aligned, expanded, is_at, rule
from taper.arrays.batched_rules import BatchedArray
from taper.arrays.levels import Level
from taper.arrays.primitive import Primitive
from taper.kernels import (
    attention,
    convolution,
    distance,
    embedding,
    lapack,
    linear_algebra,
    normalization,
    pooling,
    resampling,
)

__all__ = ["BatchedArray"]


# -- stacks of matrices ----------------------------------------------------------------------------


def stacks(kernel: Primitive[..., Any], *cores: int, broadcasts: bool = True) -> None:
    """A kernel of arrays that have so many dimensions of their own, behind those of stacks.

    `broadcasts`: whether arrays without a stack are taken for all matrices of the others.
    """

    @rule(kernel)
    def call(level: Level, *args: Any) -> Any:
        arrays, others = args[: len(cores)], args[len(cores) :]
        if not broadcasts:
            arrays = tuple([BatchedArray(expanded(a, level), level) for a in arrays])
        loops = max([a.ndim - core for a, core in zip(arrays, cores, strict=True)])
        lifted = [aligned(a, level, loops + core) for a, core in zip(arrays, cores, strict=True)]
        return _batched(kernel(*lifted, *others), level)


def _batched(result: Any, level: Level) -> Any:
    if isinstance(result, tuple):
        return tuple([BatchedArray(r, level) for r in result])
    return BatchedArray(result, level)


stacks(lapack.solve_triangular, 2, 2)
stacks(lapack.lu_factor, 2)
stacks(linear_algebra.complex_eigenvectors, 2)
stacks(lapack.lu_solve, 2, 1, 2)
stacks(lapack.apply_pivots, 1)
stacks(lapack.ldl_factor, 2)
stacks(lapack.ldl_solve, 2, 1, 2)
stacks(lapack.qr_factor, 2)
stacks(lapack.householder_product, 2, 1, broadcasts=False)
stacks(lapack.apply_reflectors, 2, 1, 2)
stacks(lapack.cholesky_solve, 2, 2)
stacks(lapack.cholesky_inverse, 2)


# -- more items ------------------------------------------------------------------------------------


def joined(array: Any, level: Level, axis: int) -> Any:
    """The array of all samples with those as items of its dimension `axis`, sample by sample."""
    inner = expanded(array, level)
    if axis:
        inner = np.moveaxis(inner, 0, axis)
    shape = inner.shape
    return inner.reshape((*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :]))


def parted(array: Any, level: Level, axis: int) -> BatchedArray:
    """The batched array whose samples are items of a dimension."""
    shape = array.shape
    items = shape[axis] // level.size if level.size else 0
    apart = array.reshape((*shape[:axis], level.size, items, *shape[axis + 1 :]))
    return BatchedArray(np.moveaxis(apart, axis, 0) if axis else apart, level)


def joins(kernel: Primitive[..., Any], axes: tuple[int, ...], result: int | tuple[int, ...] = 0
          ) -> None:
    """A kernel whose first arguments have alike items along these dimensions, as has its result."""

    @rule(kernel)
    def call(level: Level, *args: Any) -> Any:
        arrays = [None if a is None else joined(a, level, axis)
                  for a, axis in zip(args, axes, strict=False)]
        found = kernel(*arrays, *args[len(axes) :])
        if isinstance(result, tuple):
            return tuple([parted(r, level, axis) for r, axis in zip(found, result, strict=True)])
        return parted(found, level, result)


joins(normalization.normalize_rows, (0,), (0, 0, 0))
joins(normalization.row_gradient, (0, 0, 0))
joins(normalization.normalize_rows_by_rms, (0,), (0, 0))
joins(normalization.rms_gradient, (0, 0, 0))
joins(normalization.normalize_channels, (1, 0, 0), (1, 0, 0, 0))
joins(normalization.scale_channels, (1, 0, 0, 0, 0), 1)
joins(normalization.channel_gradient, (1, 1, 0, 0, 0), (1, 0, 0))
joins(pooling.max_pool, (0,))
joins(pooling.max_pool_with_indices, (0,), (0, 0))
joins(pooling.max_pool_gradient, (0, 0))
joins(pooling.mean_pool, (0,))
joins(pooling.mean_pool_gradient, (0,))
joins(pooling.adaptive_mean, (0,))
joins(pooling.adaptive_mean_gradient, (0,))
joins(pooling.adaptive_max, (0,), (0, 0))
joins(pooling.gather_planes, (0, 0))
joins(pooling.scatter_planes, (0, 0))
joins(resampling.resample, (0,))
joins(resampling.resample_adjoint, (0,))
joins(distance.distances, (0, 0))
joins(distance.euclidean_distances, (0, 0))
joins(distance.distance_gradient, (0, 0, 0, 0))


def _attends(kernel: Primitive[..., Any], arrays: int, result: tuple[int, ...]) -> None:
    """Attention: items of the batch, where a mask may be the same for all."""
    mask_at = arrays - (1 if kernel is attention.attention else 3)

    @rule(kernel)
    def call(level: Level, *args: Any) -> Any:
        batch = args[0].shape[0]
        lifted = []
        for i, array in enumerate(args[:arrays]):
            if i == mask_at and array is not None and (is_at(array, level) or len(array) > 1):
                inner = expanded(array, level)
                shape = (level.size, batch, *inner.shape[2:])
                array = np.broadcast_to(inner, shape).reshape((-1, *inner.shape[2:]))
            elif i != mask_at:
                array = joined(array, level, 0)
            lifted.append(array)
        found = kernel(*lifted, *args[arrays:])
        return tuple([parted(r, level, axis) for r, axis in zip(found, result, strict=True)])


_attends(attention.attention, 4, (0, 0))
_attends(attention.attention_gradient, 7, (0, 0, 0))


@rule(embedding.add_rows)
def _add_rows(level: Level, count: int, index: Any, rows: Any) -> Any:
    """One table for each sample, under each other."""
    first = np.arange(level.size) * count
    names = (expanded(index, level) + first[:, None]).reshape(-1)
    table = embedding.add_rows(count * level.size, names, joined(rows, level, 0))
    return parted(table, level, 0)


# -- convolutions ----------------------------------------------------------------------------------


@rule(convolution.convolve)
def _convolve(
    level: Level, x: Any, weight: Any, stride: Any, padding: Any, dilation: Any, groups: int,
    bias: Any = None,
) -> Any:
    numbers = (stride, padding, dilation)
    if not is_at(weight, level) and not is_at(bias, level):
        return parted(
            convolution.convolve(joined(x, level, 0), weight, *numbers, groups, bias), level, 0)
    if groups == 1 and not is_at(x, level):  # more filters
        result = convolution.convolve(x, joined(weight, level, 0), *numbers, 1)
    else:
        result = convolution.convolve(
            joined(x, level, 1), joined(weight, level, 0), *numbers, groups * level.size)
    return _with_bias(parted(result, level, 1), bias)


def _with_bias(result: BatchedArray, bias: Any) -> BatchedArray:
    if bias is None:
        return result
    return result + bias.reshape((-1, *(1,) * (result.ndim - 2)))


@rule(convolution.input_gradient)
def _input_gradient(
    level: Level, grad: Any, weight: Any, size: Any, stride: Any, padding: Any, dilation: Any,
    groups: int, bias: Any = None,
) -> Any:
    numbers = (size, stride, padding, dilation)
    if not is_at(weight, level) and not is_at(bias, level):
        return parted(
            convolution.input_gradient(joined(grad, level, 0), weight, *numbers, groups, bias),
            level, 0)
    result = convolution.input_gradient(
        joined(grad, level, 1), joined(weight, level, 0), *numbers, groups * level.size)
    return _with_bias(parted(result, level, 1), bias)


@rule(convolution.weight_gradient)
def _weight_gradient(
    level: Level, grad: Any, x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any,
    groups: int,
) -> Any:
    numbers = (kernel, stride, padding, dilation)
    if groups == 1 and not is_at(x, level):  # more filters
        return parted(
            convolution.weight_gradient(joined(grad, level, 1), x, *numbers, 1), level, 0)
    return parted(
        convolution.weight_gradient(
            joined(grad, level, 1), joined(x, level, 1), *numbers, groups * level.size),
        level, 0)
