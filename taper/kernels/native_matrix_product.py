"""The native twins of kernels/matrix_product.py: tiles on all threads; batches of rows by BLAS.

How work is cut depends on the shapes only, so results are the same for any number of threads.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from taper.compiler import matrix_products
from taper.compiler.machine import vector_bytes
from taper.compiler.matrix_products import (
    BATCH_PANELS_WORDS,
    MULTIPLY_WORDS,
    PACKING_WORDS,
    PANELS_WORDS,
    PRODUCTS_WORDS,
    matrix_tile_for,
)
from taper.compiler.tile_code import Tile
from taper.core.storage import address_of
from taper.kernels.native import FLOAT_KINDS, Kernel
from taper.kernels.native_twin import are_ready
from taper.runtime.blas import NO_TRANSPOSE, TRANSPOSE, find_blas
from taper.runtime.large_arrays import new_array
from taper.runtime.planned_calls import constant, replayed, scratch
from taper.runtime.pool import MOST_ALIGNED

__all__ = [
    "FEWEST_ROWS", "Cut", "affine", "cut", "kernel_of", "multiply", "multiply_batches",
    "work_of_batch",
]

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]

_GRAIN = 1 << 18  # multiplications that are worth a thread of their own: 3 us
_GRAIN_OF_BATCHES = 1 << 20
_GRAIN_OF_COPIES = 1 << 14  # elements
_DEEPEST = 512  # of k at a time, so that a tile's rows of the first factor stay in the first cache
_AT_ONCE = 8  # panels of the second factor for them; they stay in the second cache
_LINES = 16
_WORTH_PACKING = 96  # rows that read each panel of the second factor, or columns for the first
_IN_CACHE = 1 << 20  # bytes of a second factor in rows that is read where it lies
_MOST_ROWS, _FEWEST_ROWS = 1024, 96  # for which columns of the second factor are packed again
_FEWEST_TASKS, _MANY_TASKS = 8, 16  # that a product is cut into, if it can be
_SLOTS = 32  # packed columns that wait in memory
FEWEST_ROWS = 4  # rows of one matrix of a batch, else most of a tile would be empty
_MOST_KEPT = 1 << 16  # words of a batch's table of places that is kept


@cache
def kernel_of(name: str, *details: Any) -> Kernel:
    """A kernel of compiler/matrix_products.py; `details` are its arguments but the width."""
    words = {
        "multiply": PACKING_WORDS if True in details else MULTIPLY_WORDS, "panels": PANELS_WORDS,
        "products": PRODUCTS_WORDS, "batch_panels": BATCH_PANELS_WORDS,
    }[name]
    return Kernel.of(getattr(matrix_products, name), len(words), *details)


class _Launch(NamedTuple):
    """A launch whose words after the addresses are known."""

    kernel: Kernel
    address: int
    words: tuple[int, ...]
    tasks: int
    grain: int


class Work(NamedTuple):
    """The words of a launch after its addresses, its tasks and its grain."""

    words: tuple[int, ...]
    tasks: int
    grain: int


class CutPart(NamedTuple):
    """Some of k. The words of `panels` follow the addresses of the first factor, its panels, and
    twice the second factor; those of `multiply` follow that of the second factor's panels, if it is
    packed, and those of both factors (the first packed), the result and what is added."""

    first_shift: int  # bytes from the beginning of each factor
    second_shift: int
    panels: Work | None
    multiply: Work


class Cut(NamedTuple):
    """How a product is cut into launches: what the shapes and strides of its factors determine."""

    kernels: tuple[tuple[Any, ...], ...]  # names and details: multiply, then panels if needed
    sizes: tuple[int, int]  # elements of both factors' panels; 0 where it isn't packed
    parts: list[CutPart]


def cut(dtype: Any, first: tuple[Ints, Ints], second: tuple[Ints, Ints]) -> Cut | None:
    """The launches of a product of factors with these shapes and strides (in bytes), one of which
    is that of neighbours; None where there are no kernels."""
    kind = FLOAT_KINDS.get(dtype)
    if kind is None or vector_bytes() < 32:
        return None
    ((rows, depth), a_strides), ((_, columns), b_strides) = first, second
    item = dtype.itemsize
    # Whether neighbours in memory are neighbours in k.
    a_along, b_along = a_strides[1] == item, b_strides[0] == item and b_strides[1] != item
    tile = matrix_tile_for(kind, vector_bytes(), rows, columns)
    width = tile.lanes * tile.vectors
    packs_first = not a_along and columns >= _WORTH_PACKING
    is_small = depth <= _DEEPEST and depth * b_strides[0] <= _IN_CACHE
    packs = b_along or (rows >= _WORTH_PACKING and not is_small)
    kernels: tuple[tuple[Any, ...], ...] = (
        ("multiply", tile, True, b_along) if packs else ("multiply", tile),)
    if packs_first:
        kernels = (*kernels, ("panels", tile, False, False))
    deepest = depth if not packs else -(-depth // -(-depth // _DEEPEST))
    tasks_of = _tasks_of(-(-rows // tile.rows), -(-columns // width), tile.rows, packs)
    tasks = tasks_of.row_groups * tasks_of.column_groups
    together = min(1 << (-(-tasks // _SLOTS) - 1).bit_length(), MOST_ALIGNED)
    a_layout = (item, tile.rows * item) if packs_first else a_strides
    parts = []
    for k in range(0, depth, deepest):
        deep = min(deepest, depth - k)
        panels = None
        if packs_first:
            lines = -(-deep // _LINES)
            panels = Work(
                (rows, a_strides[1], lines, 0, 0, deep, _LINES), lines,
                max(1, _GRAIN_OF_COPIES // (deep * tile.rows)))
        b_layout = (deep * width * item, width * item, 1) if packs else (
            width * item, b_strides[0], 0)
        own = (b_strides[1 if b_along else 0],
               tasks_of.columns_at_once * deep * width * item, together)
        each = tile.rows * tasks_of.rows_at_once * width * tasks_of.columns_at_once * deep
        parts.append(CutPart(k * a_strides[1], k * b_strides[0], panels, Work(
            (_AT_ONE_MATRIX, deep, rows, columns, *tasks_of,
             tile.rows * (deep if packs_first else 1) * a_layout[0], *a_layout, *b_layout,
             columns * item, columns * item if k else 0, *(own if packs else ())),
            tasks, together if packs else max(1, _GRAIN // each))))
    sizes = (tasks_of.row_tiles * tile.rows * deepest * packs_first,
             -(-tasks // together) * tasks_of.columns_at_once * width * deepest * packs)
    return Cut(kernels, sizes, parts)


class _Tasks(NamedTuple):
    """How many tiles there are, in how many groups, and of how many."""

    row_tiles: int
    column_tiles: int
    row_groups: int
    column_groups: int
    rows_at_once: int
    columns_at_once: int


def _tasks_of(down: int, across: int, rows: int, packs: bool) -> _Tasks:
    """How tiles of so many rows, so many down and across, make tasks."""
    if not packs:
        return _Tasks(down, across, down, -(-across // _AT_ONCE), 1, _AT_ONCE)
    count = down * rows
    wanted = max(1, round(count / _MOST_ROWS),
                 min(-(-_FEWEST_TASKS // across), count // _FEWEST_ROWS))
    wanted += wanted % 2 and across % 2 and wanted > 1  # an even number, for two threads
    rows_at_once = -(-down // wanted)
    row_groups = -(-down // rows_at_once)
    columns_at_once = max(1, min(_AT_ONCE, across * row_groups // _MANY_TASKS))
    return _Tasks(down, across, row_groups, -(-across // columns_at_once), rows_at_once,
                  columns_at_once)


class _Part(NamedTuple):
    """Some of k."""

    first_shift: int  # bytes from the beginning of each factor
    second_shift: int
    panels: _Launch | None
    multiply: _Launch


class _Plan(NamedTuple):
    """What two factors' shapes and strides determine."""

    sizes: tuple[int, int]  # elements of both factors' panels; 0 where it isn't packed
    start: Array  # zeros for one row
    parts: list[_Part]


_plans: dict[Any, _Plan] = {}
_MOST_PLANS = 512
_ONE_MATRIX = np.zeros(3, np.int64)
_AT_ONE_MATRIX = address_of(_ONE_MATRIX)


def _made(a: Array, b: Array) -> _Plan | None:
    """A new plan, once there are kernels; kept under the factors' layouts."""
    found = cut(a.dtype, (a.shape, a.strides), (b.shape, b.strides))
    if found is None:
        return None
    kernels = [kernel_of(*names) for names in found.kernels]
    if not are_ready(*kernels, in_programs=True):
        return None
    addresses = [kernel.address() for kernel in kernels]
    if None in addresses:
        return None

    def launch(which: int, work: Work) -> _Launch:
        return _Launch(kernels[which], addresses[which] or 0, *work)

    plan = _Plan(found.sizes, np.zeros(b.shape[1], a.dtype), [
        _Part(p.first_shift, p.second_shift, p.panels and launch(1, p.panels),
              launch(0, p.multiply)) for p in found.parts])
    if len(_plans) >= _MOST_PLANS:
        _plans.clear()
    _plans[(a.shape, a.strides, b.shape, b.strides, a.dtype)] = plan
    return plan


def multiply(a: Array, b: Array) -> Array | None:
    """`kernels.matrix_product.multiply`, or None without a kernel."""
    return _chosen(a, b, None)


def affine(a: Array, b: Array, bias: Array) -> Array | None:
    """`kernels.matrix_product.affine`, or None without a kernel."""
    if bias.shape != (b.shape[1],) or bias.dtype != a.dtype:
        return None
    return _chosen(a, b, np.ascontiguousarray(bias))


def _chosen(a: Array, b: Array, bias: Array | None) -> Array | None:
    """By a plan of the whole call, if it is short and needs no copies."""
    item = a.dtype.itemsize
    is_plain = a.shape[1] <= _DEEPEST and item in a.strides and item in b.strides
    return (_replayed if is_plain else _multiply)(a, b, bias)


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
    sizes, start, parts = plan
    start = constant(start) if bias is None else bias
    rows, columns = a.shape[0], b.shape[1]
    result: Array = new_array((rows, columns), dtype, rows * columns)
    of_first, of_second = (
        scratch(new_array((size,), dtype, size)) if size else None for size in sizes)
    own = () if of_second is None else (of_second,)
    for first_shift, second_shift, panels, product in parts:
        first = a.T[first_shift // a.strides[1] :].T if first_shift else a
        second = b[second_shift // b.strides[0] :] if second_shift else b
        if panels is not None:
            kernel, address, words, count, grain = panels
            kernel.launch(address, (first, of_first, second, second), words, count, grain)
            assert of_first is not None
            first = of_first
        kernel, address, words, count, grain = product
        kernel.launch(address, (*own, first, second, result, start), words, count, grain)
        start = result
    return result


_replayed = replayed(_multiply)


# -- batches ---------------------------------------------------------------------------------------


def _offsets(shape: Ints, *strides: Ints) -> Array:
    """Where the matrices of a batch lie: a table of offsets in bytes."""
    index = np.indices(shape).reshape(len(shape), prod(shape))
    found = [np.array(own, np.int64) @ index for own in strides]
    return np.ascontiguousarray(np.stack(found, 1), np.int64)


class _BatchPlan(NamedTuple):
    """What shapes and strides of two batches determine."""

    packing: _Launch | None
    packed_size: int
    multiply: _Launch
    shape: Ints
    size: int
    start: Array
    tables: tuple[Array, ...]  # of the product, and of the packing


_batch_plans: dict[Any, _BatchPlan] = {}


def multiply_batches(a: Array, b: Array) -> Array | None:
    """`kernels.matrix_product.multiply_batches`, or None without a kernel."""
    dtype = a.dtype
    if dtype is not b.dtype or dtype not in FLOAT_KINDS or a.shape[-1] != b.shape[-2]:
        return None
    if a.shape[-2] < FEWEST_ROWS or vector_bytes() < 32:
        return _multiply_batches_by_blas(FLOAT_KINDS[dtype], a, b)
    if dtype.itemsize not in b.strides[-2:]:
        b = np.ascontiguousarray(b)
    return _multiply_batches(a, b)


@replayed
def _multiply_batches(a: Array, b: Array) -> Array | None:
    dtype = a.dtype
    key = (a.shape, a.strides, b.shape, b.strides, dtype)
    plan = _batch_plans.get(key)
    if plan is None:
        plan = _made_for_batches(a, b)
        if plan is None:
            return None
        if plan.tables[0].size <= _MOST_KEPT:
            if len(_batch_plans) >= _MOST_PLANS:
                _batch_plans.clear()
            _batch_plans[key] = plan
    result: Array = new_array(plan.shape, dtype, plan.size)
    second = b
    table, *of_second = plan.tables
    if plan.packing is not None:
        second = scratch(new_array((plan.packed_size,), dtype, plan.packed_size))
        kernel, address, words, count, grain = plan.packing
        kernel.launch(address, (b, second, constant(of_second[0])), words, count, grain)
    kernel, address, words, count, grain = plan.multiply
    kernel.launch(address, (
        a, second, result, constant(plan.start), constant(table)), words, count, grain)
    return result


def _made_for_batches(a: Array, b: Array) -> _BatchPlan | None:
    """A new plan, once there are kernels."""
    dtype, item = a.dtype, a.itemsize
    rows, depth = a.shape[-2:]
    columns = b.shape[-1]
    tile = matrix_tile_for(FLOAT_KINDS[dtype], vector_bytes(), rows, columns)
    width = tile.lanes * tile.vectors
    across = -(-columns // width)
    packs = b.strides[-1] != item
    kernels = [kernel_of("multiply", tile), *([kernel_of("batch_panels", tile)] if packs else [])]
    if not are_ready(*kernels, in_programs=True):
        return None
    address, *others = (kernel.address() for kernel in kernels)
    if address is None or None in others:
        return None
    packing, each, own = None, 0, b.strides[:-2]
    layout = (width * item, b.strides[-2], 0)
    tables = []
    if packs:
        each = across * width * depth
        layout = (depth * width * item, width * item, 1)
        table = _offsets(b.shape[:-2], own)
        tables.append(table)
        packing = _Launch(kernels[1], others[0] or 0, (
            columns, b.strides[-1], depth, across, each * item,
        ), len(table) * across, max(1, _GRAIN_OF_COPIES // (width * depth)))
        own = _dense_strides(b.shape[:-2], each * item)
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    table = _offsets(
        batch, _over_batch(batch, a.shape, a.strides[:-2]), _over_batch(batch, b.shape, own),
        _dense_strides(batch, rows * columns * item))
    tables.insert(0, table)
    multiply = _Launch(kernels[0], address, *work_of_batch(
        tile, item, len(table), (rows, depth, columns), a.strides[-2:], layout))
    return _BatchPlan(
        packing, len(tables[-1]) * each, multiply, (*batch, rows, columns),
        prod(batch) * rows * columns, np.zeros(columns, dtype), tuple(tables))


def work_of_batch(
    tile: Tile, item: int, count: int, sizes: tuple[int, int, int], first: Ints, second: Ints
) -> Work:
    """The launch of the products of `count` pairs of matrices.

    Args:
        sizes: rows, depth and columns.
        first: the strides of the first factor's rows and columns.
        second: from tile to tile, and from row to row, of the second one, and whether it is packed.
    """
    rows, depth, columns = sizes
    width = tile.lanes * tile.vectors
    down, across = -(-rows // tile.rows), -(-columns // width)
    groups = -(-across // _AT_ONCE)
    return Work(
        (depth, rows, columns, down, across, 1, groups, down, _AT_ONCE,
         tile.rows * first[0], *first, *second, columns * item, 0),
        count * groups, max(1, _GRAIN // (rows * min(columns, _AT_ONCE * width) * depth)))


def _dense_strides(shape: Ints, last: int) -> Ints:
    """Strides in bytes of a contiguous array whose items take `last` bytes."""
    return tuple(last * prod(shape[d + 1 :]) for d in range(len(shape)))


def _over_batch(batch: Ints, shape: Ints, strides: Ints) -> Ints:
    """The strides of a batch's dimensions within a larger one."""
    return (*(0,) * (len(batch) - len(strides)), *[
        0 if n == 1 else s for n, s in zip(shape, strides, strict=False)
    ])


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


def _multiply_batches_by_blas(kind: str, a: Array, b: Array) -> Array | None:
    """The same by the machine's BLAS, one matrix a task."""
    blas = find_blas()
    if blas is None:
        return None
    kernel = kernel_of("products", kind, blas.integer)
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
    table = _offsets(
        batch, _over_batch(batch, a.shape, a.strides[:-2]),
        _over_batch(batch, b.shape, b.strides[:-2]), result.strides[:-2])
    with blas.one_thread:
        kernel.run(address, (
            blas.gemm[kind], address_of(table), address_of(a), address_of(b), address_of(result),
            rows, columns, depth, first_turn, second_turn, first_lead, second_lead, columns,
        ), len(table), max(1, _GRAIN_OF_BATCHES // (rows * columns * depth)))
    return result
