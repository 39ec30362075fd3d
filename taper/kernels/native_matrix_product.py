"""The native twins of kernels/matrix_product.py: panels on all threads; batches by BLAS.

How work is cut depends on the shapes only, so results are the same for any number of threads.
"""

from __future__ import annotations

from functools import cache, lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from taper.compiler.machine import vector_bytes
from taper.compiler.matrix_products import (
    MULTIPLY_WORDS,
    PANELS_WORDS,
    PRODUCTS_WORDS,
    matrix_tile,
)
from taper.core.storage import address_of
from taper.kernels.native import Kernel
from taper.kernels.native_twin import are_ready
from taper.runtime.blas import NO_TRANSPOSE, TRANSPOSE, find_blas
from taper.runtime.large_arrays import new_array

__all__ = ["affine", "multiply", "multiply_batches"]

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]

_KINDS = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}
_GRAIN = 1 << 22  # multiplications that are worth a thread of their own: 50 us
_GRAIN_OF_BATCHES = 1 << 20
_GRAIN_OF_COPIES = 1 << 16  # elements
_DEEPEST = 512  # of k at a time, so that a panel of the first factor stays in the first cache
_AT_ONCE = 8  # panels of the second factor for one of the first; they stay in the second cache
_LINES = 16
_MOST_KEPT = 1 << 14  # matrices of a batch whose table of places is kept


@cache
def _kernel(name: str, *details: Any) -> Kernel:
    """A kernel of compiler/matrix_products.py; `details` are its arguments but the width."""
    words = {"multiply": MULTIPLY_WORDS, "panels": PANELS_WORDS, "products": PRODUCTS_WORDS}[name]

    def build() -> tuple[str, str]:
        from taper.compiler import machine, matrix_products

        return getattr(matrix_products, name)(name, machine.vector_bytes(), *details), name

    return Kernel(build, len(words))


class _Part(NamedTuple):
    """Some of k: the words of both launches but addresses, and their tasks and grains."""

    first_shift: int  # bytes from the beginning of each factor
    second_shift: int
    panels: tuple[tuple[int, ...], tuple[int, ...], int, int]
    multiply: tuple[tuple[int, ...], int, int, int]


class _Plan(NamedTuple):
    """What two factors' shapes and strides determine."""

    panels: tuple[Kernel, int]
    multiply: tuple[Kernel, int]
    sizes: tuple[int, int]  # elements of both factors' panels
    start: Array  # zeros for one row
    parts: list[_Part]


_plans: dict[Any, _Plan] = {}
_MOST_PLANS = 512


def _made(a: Array, b: Array) -> _Plan | None:
    """A new plan, once there are kernels; kept under the factors' layouts."""
    kind = _KINDS.get(a.dtype)
    if kind is None or vector_bytes() < 32:
        return None
    item, (rows, depth), columns = a.itemsize, a.shape, b.shape[1]
    # Whether neighbours in memory are neighbours in k.
    a_along, b_along = a.strides[1] == item, b.strides[0] == item
    a_stride, b_stride = a.strides[0 if a_along else 1], b.strides[1 if b_along else 0]
    tile = matrix_tile(kind, vector_bytes())
    panels, multiply = _kernel("panels", tile, a_along, b_along), _kernel("multiply", tile)
    if not are_ready(panels, multiply):
        return None
    addresses = panels.address(), multiply.address()
    if addresses[0] is None or addresses[1] is None:
        return None
    width = tile.lanes * tile.vectors
    down, across = -(-rows // tile.rows), -(-columns // width)
    deepest = -(-depth // -(-depth // _DEEPEST))
    parts = []
    for k in range(0, depth, deepest):
        deep = min(deepest, depth - k)
        lines = -(-deep // _LINES)
        tasks = down if a_along else lines
        parts.append(_Part(
            k * (item if a_along else a_stride), k * (item if b_along else b_stride),
            ((rows, a_stride, tasks), (columns, b_stride, deep, _LINES),
             tasks + (across if b_along else lines), max(1, _GRAIN_OF_COPIES // (deep * width))),
            ((deep, rows, columns, down, across, _AT_ONCE, columns * item),
             columns * item if k else 0, down * -(-across // _AT_ONCE),
             max(1, _GRAIN // (tile.rows * width * min(across, _AT_ONCE) * deep))),
        ))
    plan = _Plan(
        (panels, addresses[0]), (multiply, addresses[1]),
        (down * tile.rows * deepest, across * width * deepest), np.zeros(columns, a.dtype), parts,
    )
    if len(_plans) >= _MOST_PLANS:
        _plans.clear()
    _plans[(a.shape, a.strides, b.shape, b.strides, a.dtype)] = plan
    return plan


def multiply(a: Array, b: Array) -> Array | None:
    """`kernels.matrix_product.multiply`, or None without a kernel."""
    return _multiply(a, b, None)


def affine(a: Array, b: Array, bias: Array) -> Array | None:
    """`kernels.matrix_product.affine`, or None without a kernel."""
    if bias.shape != (b.shape[1],) or bias.dtype != a.dtype:
        return None
    return _multiply(a, b, np.ascontiguousarray(bias))


def _multiply(a: Array, b: Array, bias: Array | None) -> Array | None:
    dtype = a.dtype
    if dtype is not b.dtype or a.shape[1] != b.shape[0]:
        return None
    item = dtype.itemsize
    if item not in a.strides:
        a = np.ascontiguousarray(a)
    if item not in b.strides:
        b = np.ascontiguousarray(b)
    plan = _plans.get((a.shape, a.strides, b.shape, b.strides, dtype)) or _made(a, b)
    if plan is None:
        return None
    sizes, start = plan.sizes, plan.start if bias is None else bias
    first, second = (new_array((size,), dtype, size) for size in sizes)
    rows, columns = a.shape[0], b.shape[1]
    result: Array = new_array((rows, columns), dtype, rows * columns)
    to_first, to_second, to_result = address_of(first), address_of(second), address_of(result)
    at_first, at_second = address_of(a), address_of(b)
    for first_shift, second_shift, panels, multiply in plan.parts:
        about_first, about_second, count, grain = panels
        kernel, address = plan.panels
        kernel.run(address, (
            at_first + first_shift, to_first, *about_first,
            at_second + second_shift, to_second, *about_second,
        ), count, grain)
        words, start_row, count, grain = multiply
        kernel, address = plan.multiply
        kernel.run(address, (
            to_first, to_second, to_result, address_of(start), *words, start_row,
        ), count, grain)
        start = result
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
    offsets = _offsets if prod(batch) <= _MOST_KEPT else _offsets.__wrapped__
    table = offsets(batch, _batch_strides(a, batch), _batch_strides(b, batch), result.strides[:-2])
    with blas.one_thread:
        kernel.run(address, (
            blas.gemm[kind], address_of(table), address_of(a), address_of(b), address_of(result),
            rows, columns, depth, first_turn, second_turn, first_lead, second_lead, columns,
        ), len(table), max(1, _GRAIN_OF_BATCHES // (rows * columns * depth)))
    return result


def _batch_strides(array: Array, batch: Ints) -> Ints:
    lead = array.ndim - 2
    return (*(0,) * (len(batch) - lead), *[
        0 if n == 1 else s for n, s in zip(array.shape[:lead], array.strides[:lead], strict=True)
    ])
