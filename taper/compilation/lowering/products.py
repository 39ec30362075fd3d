"""Products of matrices: which kernel, and the words of its argument block.

BLAS multiplies, on one thread for each task. A product of many rows is cut into tasks of some rows
each, so results don't depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any

import numpy as np

from taper.compilation.lowering.operations import Product
from taper.compilation.lowering.values import View, contiguous
from taper.compiler import matrix_products
from taper.compiler.machine import vector_bytes
from taper.core.storage import address_of
from taper.runtime.blas import NO_TRANSPOSE, TRANSPOSE, find_blas

__all__ = ["Multiplication", "multiplication_of"]

_GRAIN = 1 << 20  # multiplications that are worth a thread of their own
_TASKS = 8
_KINDS = {"float32": "f32", "float64": "f64"}


class Multiplication:
    """A launch of the kernel that calls BLAS."""

    def __init__(self, product: Product) -> None:
        first, second = product.views
        out = product.out
        kind = _KINDS[out.dtype.name]
        blas = find_blas()
        assert blas is not None
        item = out.dtype.itemsize
        rows, depth = first.shape[-2:]
        columns = second.shape[-1]
        batch = out.shape[:-2]
        first_turn, first_lead = _turn_of(first)
        second_turn, second_lead = _turn_of(second)
        parts = _parts(rows, prod(batch) * rows * columns * depth) if not batch else 1
        part = rows // parts
        if batch:
            table = _offsets(batch, item, first, second, contiguous(out.shape)[:-2])
        else:
            steps = np.arange(parts)[:, None] * np.array(
                [part * first.strides[0] * item, 0, part * columns * item])
            table = np.ascontiguousarray(steps, np.int64)
        self.table = table  # kept alive: its address is in the words
        self.key = "products", kind, blas.integer
        self.build = _builder(kind, blas.integer)
        self.accesses = [first, second, View.of(out)]
        # The addresses of the operands stand at words 2 to 4.
        self.words = [
            blas.gemm[kind], address_of(table), 0, 0, 0, part, columns, depth, first_turn,
            second_turn, first_lead, second_lead, columns,
        ]
        self.count = len(table)
        self.grain = max(1, _GRAIN // (part * columns * depth))


def multiplication_of(product: Product) -> Multiplication | None:
    """The launch of a product; None where BLAS isn't found."""
    return None if find_blas() is None else Multiplication(product)


@cache
def _builder(kind: str, integer: str) -> Callable[[], tuple[str, str]]:
    return lambda: (matrix_products.products("products", vector_bytes(), kind, integer), "products")


def _parts(rows: int, work: int) -> int:
    """Into how many tasks of equal rows a product is cut."""
    goal = min(_TASKS, work // _GRAIN)
    return next((p for p in range(goal, 1, -1) if rows % p == 0 and rows // p >= 8), 1)


def _turn_of(view: View) -> tuple[int, int]:
    """Whether BLAS reads a matrix transposed, and its leading stride."""
    (n, m), (row, column) = view.shape[-2:], view.strides[-2:]
    if (column == 1 or m == 1) and (row >= m or n == 1):
        return NO_TRANSPOSE, max(row if n > 1 else m, m)
    return TRANSPOSE, max(column if m > 1 else n, n)


def _offsets(batch: Any, item: int, first: View, second: View, result: Any) -> Any:
    index = np.indices(batch).reshape(len(batch), prod(batch))
    found = []
    for view in (first, second):
        wide = view.broadcast((*batch, *view.shape[-2:]))
        found.append(np.array(wide.strides[:-2], np.int64) @ index * item)
    found.append(np.array(result, np.int64) @ index * item)
    return np.ascontiguousarray(np.stack(found, 1), np.int64)
