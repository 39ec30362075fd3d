"""The native twins of kernels/matrix_product.py: panels on all threads; batches by BLAS.

How work is cut depends on the shapes only, so results are the same for any number of threads.
"""

from __future__ import annotations

from functools import cache, lru_cache
from math import prod
from typing import Any

import numpy as np

from taper.compiler.background import host
from taper.compiler.matrix_products import (
    MULTIPLY_WORDS,
    PANELS_WORDS,
    PRODUCTS_WORDS,
    matrix_tile,
)
from taper.core.storage import address_of
from taper.kernels.native import Kernel
from taper.runtime.blas import NO_TRANSPOSE, TRANSPOSE, find_blas
from taper.runtime.large_arrays import new_array

__all__ = ["affine", "multiply", "multiply_batches"]

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]

_KINDS = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}
_GRAIN = 1 << 19  # multiplications that are worth a thread of their own
_DEEPEST = 512  # of k at a time, so that a panel of the first factor stays in the first cache
_AT_ONCE = 8  # panels of the second factor for one of the first; they stay in the second cache
_LINES = 16


@cache
def _kernel(name: str, *details: Any) -> Kernel:
    """A kernel of compiler/matrix_products.py; `details` are its arguments but the width."""
    words = {"multiply": MULTIPLY_WORDS, "panels": PANELS_WORDS, "products": PRODUCTS_WORDS}[name]

    def build() -> tuple[str, str]:
        from taper.compiler import machine, matrix_products

        return getattr(matrix_products, name)(name, machine.host().vector_bytes, *details), name

    return Kernel(build, len(words))


@cache
def _zeros(count: int, dtype: Any) -> Array:
    return np.zeros(count, dtype)


def _sides(array: Array, along: int) -> tuple[Array, bool, int]:
    """A factor as the packer reads it: the array, whether its neighbours in memory are neighbours
    in dimension `along` (that of k), and the stride of the other dimension."""
    size = array.itemsize
    other = 1 - along
    if array.strides[along] == size:
        return array, True, array.strides[other]
    if array.strides[other] == size:
        return array, False, array.strides[along]
    array = np.ascontiguousarray(array)
    return array, along == 1, array.strides[0]


def multiply(a: Array, b: Array) -> Array | None:
    """`kernels.matrix_product.multiply`, or None without a kernel."""
    return _multiply(a, b, None)


def affine(a: Array, b: Array, bias: Array) -> Array | None:
    """`kernels.matrix_product.affine`, or None without a kernel."""
    if bias.shape != (b.shape[1],) or bias.dtype != a.dtype:
        return None
    return _multiply(a, b, np.ascontiguousarray(bias))


def _multiply(a: Array, b: Array, bias: Array | None) -> Array | None:
    kind = _KINDS.get(a.dtype)
    here = host()
    if (
        kind is None or here is None or here.vector_bytes < 32 or b.dtype != a.dtype
        or a.shape[1] != b.shape[0]
    ):
        return None
    a, a_along, a_stride = _sides(a, 1)
    b, b_along, b_stride = _sides(b, 0)
    tile = matrix_tile(kind, here.vector_bytes)
    panels, multiply = _kernel("panels", tile, a_along, b_along), _kernel("multiply", tile)
    panels_at, multiply_at = panels.address(), multiply.address()
    if panels_at is None or multiply_at is None:
        return None
    rows, depth = a.shape
    columns = b.shape[1]
    width = tile.lanes * tile.vectors
    down, across = -(-rows // tile.rows), -(-columns // width)
    item = a.itemsize
    parts = -(-depth // _DEEPEST)
    deepest = -(-depth // parts)
    first = new_array((down * tile.rows * deepest,), a.dtype, down * tile.rows * deepest)
    second = new_array((across * width * deepest,), a.dtype, across * width * deepest)
    result: Array = new_array((rows, columns), a.dtype, rows * columns)
    start, start_row = _zeros(columns, a.dtype) if bias is None else bias, 0
    addresses = address_of(first), address_of(second), address_of(result)
    for k in range(0, depth, deepest):
        deep = min(deepest, depth - k)
        lines = -(-deep // _LINES)
        tasks = down if a_along else lines
        panels.run(panels_at, (
            address_of(a) + k * (item if a_along else a_stride), addresses[0], rows, a_stride,
            tasks, address_of(b) + k * (item if b_along else b_stride), addresses[1], columns,
            b_stride, deep, _LINES,
        ), tasks + (across if b_along else lines), max(1, 8192 // (deep * tile.rows)))
        multiply.run(multiply_at, (
            *addresses, address_of(start), deep, rows, columns, down, across, _AT_ONCE,
            columns * item, start_row,
        ), down * -(-across // _AT_ONCE),
            max(1, _GRAIN // (tile.rows * width * min(across, _AT_ONCE) * deep)))
        start, start_row = result, columns * item
    return result


# -- batches ---------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _offsets(shape: Ints, first: Ints, second: Ints, result: Ints) -> Array:
    """Where the matrices of a batch lie: a table of offsets in bytes."""
    index = np.indices(shape).reshape(len(shape), prod(shape))
    found = [np.array(strides, np.int64) @ index for strides in (first, second, result)]
    return np.ascontiguousarray(np.stack(found, 1), np.int64)


def _turn_of(array: Array) -> tuple[Array, int, int]:
    """A batch of matrices as BLAS reads it: the array, its turn, and its leading stride."""
    size = array.itemsize
    row, column = array.strides[-2:]
    n, m = array.shape[-2:]
    if column == size and row % size == 0 and row // size >= m:
        return array, NO_TRANSPOSE, row // size
    if row == size and column % size == 0 and column // size >= n:
        return array, TRANSPOSE, column // size
    return np.ascontiguousarray(array), NO_TRANSPOSE, m


def multiply_batches(a: Array, b: Array) -> Array | None:
    """`kernels.matrix_product.multiply_batches`, or None without a kernel."""
    kind = _KINDS.get(a.dtype)
    blas = find_blas()
    if kind is None or b.dtype != a.dtype or blas is None or a.shape[-1] != b.shape[-2]:
        return None
    kernel = _kernel("products", kind, blas.integer)
    address = kernel.address()
    if address is None:
        return None
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    rows, depth = a.shape[-2:]
    columns = b.shape[-1]
    a, first_turn, first_lead = _turn_of(a)
    b, second_turn, second_lead = _turn_of(b)
    shape = (*batch, rows, columns)
    result: Array = new_array(shape, a.dtype, prod(shape))
    table = _offsets(batch, _batch_strides(a, batch), _batch_strides(b, batch), result.strides[:-2])
    with blas.one_thread:
        kernel.run(address, (
            blas.gemm[kind], address_of(table), address_of(a), address_of(b), address_of(result),
            rows, columns, depth, first_turn, second_turn, first_lead, second_lead, columns,
        ), len(table), max(1, _GRAIN // (rows * columns * depth)))
    return result


def _batch_strides(array: Array, batch: Ints) -> Ints:
    lead = array.ndim - 2
    return (*(0,) * (len(batch) - lead), *[
        0 if n == 1 else s for n, s in zip(array.shape[:lead], array.strides[:lead], strict=True)
    ])
