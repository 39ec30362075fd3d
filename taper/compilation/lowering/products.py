"""Products of matrices as launches: our own tiles, and BLAS for batches.

How a product is cut depends on its shapes, so results don't depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from math import prod
from typing import Any

import numpy as np

from taper.arrays.node_arguments import at_hint
from taper.compilation.lowering.launches import Address, Launch
from taper.compilation.lowering.operations import Product
from taper.compilation.lowering.values import Value, View, contiguous
from taper.compiler import matrix_products
from taper.compiler.expression import Expression
from taper.compiler.machine import vector_bytes
from taper.compiler.matrix_products import MULTIPLY_WORDS, matrix_tile_for
from taper.compiler.passes import Operand
from taper.compiler.row_kernels import flat_kernel
from taper.kernels.native_matrix_product import FEWEST_ROWS, Cut, cut, kernel_of, work_of_batch
from taper.runtime.blas import NO_TRANSPOSE, TRANSPOSE, find_blas

__all__ = ["has_tiles", "has_tiles_for_batch", "launches_of", "needs_blas"]

_GRAIN = 1 << 20  # multiplications of BLAS that are worth a thread of their own
_GRAIN_OF_SUMS = 1 << 13  # elements
_DEEP = 256  # terms of sums that are worth being two
_KINDS = {"float32": "f32", "float64": "f64"}


def has_tiles(product: Product) -> bool:
    """Whether a product is done by our own tiles, which can begin with a row."""
    return _cut_of(product) is not None


def needs_blas(product: Product) -> bool:
    """Whether there are no tiles for a product."""
    return not has_tiles(product) and not has_tiles_for_batch(*product.views[:2])


def has_tiles_for_batch(first: View, second: View) -> bool:
    """Whether batches of matrices are multiplied by our own tiles, where they lie."""
    return (len(first.shape) > 2 and len(first.shape) == len(second.shape)
            and first.shape[-2] >= FEWEST_ROWS and second.strides[-1] == 1
            and first.dtype.name in _KINDS and vector_bytes() >= 32)


def launches_of(product: Product) -> tuple[list[Launch], list[Value]] | None:
    """The launches of a product, and values that they need besides; None if nobody can do it."""
    found = _cut_of(product)
    if found is not None:
        return _by_tiles(product, found)
    if has_tiles_for_batch(*product.views[:2]):
        return [_by_tiles_of_batch(product)], []
    return None if find_blas() is None else ([_by_blas(product)], [])


def _text_of(product: Product) -> str:
    a, b = product.views[:2]
    bias = " + row" if len(product.views) > 2 else ""
    return f"product {product.out} = {list(a.shape)} @ {list(b.shape)}{bias}"


# -- tiles -------------------------------------------------------------------------------------


def _cut_of(product: Product) -> Cut | None:
    first, second = product.views[:2]
    if len(first.shape) != 2 or len(second.shape) != 2:
        return None
    layouts = []
    item = product.out.dtype.itemsize
    for view in (first, second):
        row, column = _usual_strides(view)
        layouts.append(at_hint((view.shape, (row * item, column * item))))
    return cut(product.out.dtype, layouts[0], layouts[1])


def _usual_strides(view: View) -> tuple[int, int]:
    """Strides of which one is that of neighbours, also where a dimension has one element."""
    row, column = view.strides
    if column == 1 or row == 1:
        return row, column
    return (row, 1) if view.shape[1] == 1 else (1, column)


def _by_tiles(product: Product, found: Cut) -> tuple[list[Launch], list[Value]]:
    first, second, *start = product.views
    out = product.out
    item = out.dtype.itemsize
    packed = [Value(f"{out}.panels", (size,), out.dtype) if size else None
              for size in found.sizes]
    own = [Address(packed[1])] if packed[1] is not None else []
    if start:
        begin = Address(start[0].value, start[0].offset)
    else:
        begin = Address(_constant("zeros", np.zeros(second.shape[1], out.dtype)))
    kernels = [kernel_of(*names) for names in found.kernels]
    launches = []
    if _is_halved(product, found):
        return _by_halves(product, found, kernels)
    for part in found.parts:
        factors = [Address(view.value, view.offset + shift // item) for view, shift in (
            (first, part.first_shift), (second, part.second_shift))]
        if part.panels is not None and packed[0] is not None:
            target = Address(packed[0])
            launches.append(Launch(
                (found.kernels[1], "product"), kernels[1].build,
                [factors[0], target, factors[1], factors[1], *part.panels.words],
                part.panels.tasks, part.panels.grain, f"panels of {out}"))
            factors[0] = target
        launches.append(Launch(
            (found.kernels[0], "product"), kernels[0].build,
            [*own, *factors, Address(out), begin, *part.multiply.words],
            part.multiply.tasks, part.multiply.grain, _text_of(product)))
        begin = Address(out)
    return launches, [value for value in packed if value is not None]


def _is_halved(product: Product, found: Cut) -> bool:
    """Whether a product is the sum of two, of the first and of the last half of k, as it is for the
    gradient of a small weight: then each thread reads the half of the rows that it wrote itself,
    and that lies in its own cache."""
    first, second = product.views[:2]
    (rows, depth), columns = first.shape, second.shape[1]
    return (
        len(product.views) == 2 and len(found.parts) == 1 and found.sizes[1] == 0
        and first.strides[1] != 1 and depth % 2 == 0
        and depth >= max(_DEEP, 2 * rows, 2 * columns))


def _by_halves(
    product: Product, found: Cut, kernels: list[Any]
) -> tuple[list[Launch], list[Value]]:
    first, second = product.views
    out = product.out
    (part,) = found.parts
    halves = Value(f"{out}.halves", (2, out.size), out.dtype)
    left, right = (Address(view.value, view.offset) for view in (first, second))
    launches, memory = [], [halves]
    if part.panels is not None:
        packed = Value(f"{out}.panels", (found.sizes[0],), out.dtype)
        memory.append(packed)
        launches.append(Launch(
            (found.kernels[1], "product"), kernels[1].build,
            [left, Address(packed), right, right, *part.panels.words],
            part.panels.tasks, part.panels.grain, f"panels of {out}"))
        left = Address(packed)
    word = dict(zip(MULTIPLY_WORDS[4:], part.multiply.words, strict=True))
    half = word["depth"] // 2
    table = _constant("halves", np.array(
        [[0, 0, 0], [half * word["first_k"], half * word["second_k"], out.bytes]], np.int64))
    zeros = _constant("zeros", np.zeros(second.shape[1], out.dtype))
    kind = _KINDS[out.dtype.name]
    launches.append(Launch(
        (found.kernels[0], "product"), kernels[0].build,
        [left, right, Address(halves), Address(zeros), Address(table), half,
         *part.multiply.words[2:]],
        2 * part.multiply.tasks, part.multiply.grain, f"{_text_of(product)}, in halves"))
    launches.append(Launch(
        ("sum of halves", kind), partial(_adder, kind),
        [Address(halves), Address(halves, out.size), Address(out)],
        out.size, _GRAIN_OF_SUMS, f"sum of halves of {out}"))
    return launches, memory


def _adder(kind: str) -> tuple[str, str]:
    e = Expression()
    e.results.append(e.add(e.input(0, kind), e.input(1, kind)))
    return flat_kernel(
        "add_halves", vector_bytes(), e, [Operand(kind, "contiguous")] * 3), "add_halves"


def _by_tiles_of_batch(product: Product) -> Launch:
    first, second = product.views
    out = product.out
    item = out.dtype.itemsize
    rows, depth = first.shape[-2:]
    columns = second.shape[-1]
    tile = matrix_tile_for(_KINDS[out.dtype.name], vector_bytes(), rows, columns)
    table = _constant("places", _offsets(out.shape[:-2], item, first, second))
    work = work_of_batch(
        tile, item, table.shape[0], (rows, depth, columns),
        tuple([s * item for s in first.strides[-2:]]),
        (tile.lanes * tile.vectors * item, second.strides[-2] * item, 0))
    return Launch(
        (("multiply", tile), "product"), kernel_of("multiply", tile).build,
        [Address(first.value, first.offset), Address(second.value, second.offset), Address(out),
         Address(_constant("zeros", np.zeros(columns, out.dtype))), Address(table), *work.words],
        work.tasks, work.grain, _text_of(product))


# -- BLAS --------------------------------------------------------------------------------------


def _by_blas(product: Product) -> Launch:
    first, second = product.views
    out = product.out
    kind = _KINDS[out.dtype.name]
    blas = find_blas()
    assert blas is not None
    rows, depth = first.shape[-2:]
    columns = second.shape[-1]
    first_turn, first_lead = _turn_of(first)
    second_turn, second_lead = _turn_of(second)
    table = _constant("places", _offsets(out.shape[:-2], out.dtype.itemsize, first, second))
    return Launch(
        ("products", kind, blas.integer), _builder(kind, blas.integer),
        [blas.gemm[kind], Address(table), Address(first.value, first.offset),
         Address(second.value, second.offset), Address(out), rows, columns, depth, first_turn,
         second_turn, first_lead, second_lead, columns],
        table.shape[0], max(1, _GRAIN // (rows * columns * depth)), _text_of(product))


def _constant(name: str, array: Any) -> Value:
    value = Value(name, array.shape, array.dtype)
    value.constant = array
    return value


@cache
def _builder(kind: str, integer: str) -> Callable[[], tuple[str, str]]:
    return lambda: (matrix_products.products("products", vector_bytes(), kind, integer), "products")


def _turn_of(view: View) -> tuple[int, int]:
    """Whether BLAS reads a matrix transposed, and its leading stride."""
    (n, m), (row, column) = view.shape[-2:], view.strides[-2:]
    if (column == 1 or m == 1) and (row >= m or n == 1):
        return NO_TRANSPOSE, max(row if n > 1 else m, m)
    return TRANSPOSE, max(column if m > 1 else n, n)


def _offsets(batch: Any, item: int, first: View, second: View) -> Any:
    """Where the matrices of a batch lie: a table of offsets in bytes."""
    index = np.indices(batch).reshape(len(batch), prod(batch))
    found = []
    for view in (first, second):
        wide = view.broadcast((*batch, *view.shape[-2:]))
        found.append(np.array(wide.strides[:-2], np.int64) @ index * item)
    matrix = first.shape[-2] * second.shape[-1]
    found.append(np.array([s * matrix for s in contiguous(batch)], np.int64) @ index * item)
    return np.ascontiguousarray(np.stack(found, 1), np.int64)
