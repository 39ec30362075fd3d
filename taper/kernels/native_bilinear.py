"""The native twin of kernels/bilinear.py: both products in registers, rows on all threads."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from taper.compiler import bilinear_kernels, machine
from taper.compiler.matrix_products import matrix_tile_for
from taper.compiler.tile_code import Tile
from taper.kernels.native import FLOAT_KINDS, Kernel
from taper.runtime.large_arrays import new_array
from taper.runtime.planned_calls import replayed

__all__ = ["bilinear"]

Array = np.ndarray[Any, Any]

_GRAIN = 1 << 18  # multiplications that are worth a thread of their own
_LINE = 64  # bytes; tasks don't share one of the result
_OF_ROWS = 1 << 13  # bytes of the first factor that stay in the first cache, beside a matrix


@cache
def _kernel(tile: Tile) -> Kernel:
    return Kernel.of(bilinear_kernels.bilinear, len(bilinear_kernels.BILINEAR_WORDS), tile)


def bilinear(first: Array, matrices: Array, second: Array) -> Array | None:
    """`kernels.bilinear.bilinear`, or None without a kernel."""
    item = first.itemsize
    if matrices.strides[2] != item and matrices.strides[1] == item:
        first, matrices, second = second, matrices.transpose(0, 2, 1), first
    if matrices.strides[2] != item:
        matrices = np.ascontiguousarray(matrices)
    return _bilinear(first, matrices, second if second.strides[1] == item else second.copy())


@replayed
def _bilinear(first: Array, matrices: Array, second: Array) -> Array | None:
    dtype = first.dtype
    kind = FLOAT_KINDS.get(dtype)
    if kind is None or machine.vector_bytes() < 32 or not (
        dtype is matrices.dtype is second.dtype
    ):
        return None
    rows, item = len(first), dtype.itemsize
    features, depth, columns = matrices.shape
    tile = matrix_tile_for(kind, machine.vector_bytes(), rows, columns)
    kernel = _kernel(tile)
    address = kernel.address()
    if address is None:
        return None
    result: Array = new_array((rows, features), dtype, rows * features)
    row_tiles = -(-rows // tile.rows)
    rows_at_once = max(1, _OF_ROWS // (tile.rows * depth * item))
    features_at_once = _LINE // item
    feature_groups = -(-features // features_at_once)
    each = rows_at_once * tile.rows * features_at_once * depth * columns
    kernel.launch(address, (first, matrices, second, result), (
        rows, features, depth, columns, row_tiles, rows_at_once, feature_groups, features_at_once,
        *first.strides, *matrices.strides[:2], second.strides[0], *result.strides,
    ), -(-row_tiles // rows_at_once) * feature_groups, max(1, _GRAIN // each))
    return result
