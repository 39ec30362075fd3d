"""Products of matrices, and of batches of them: NumPy's, or in panels on our own threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.kernels.memory_order import in_rows
from taper.kernels.native_twin import with_native

__all__ = ["affine", "multiply", "multiply_batches"]

Array = np.ndarray[Any, Any]

_WORTH_A_KERNEL = 1 << 18  # multiplications; up to here BLAS is as quick, on one thread
# Where the second factor lies across and is wide, as weights do, BLAS is slow from here on.
WORTH_A_KERNEL_ACROSS, WIDE = 1 << 16, 128
# OpenBLAS starts threads from the first number of multiplications on. They meet at barriers that
# spin, so on a busy machine a product of 40 us took 10 ms; they are worth that from the second on.
_FIRST_WITH_THREADS, _WORTH_THREADS = 1 << 18, 1 << 22
NARROWEST = 8  # rows and columns, else most of a tile would be empty
_WORTH_A_KERNEL_OF_BATCHES = 1 << 19
_SMALLEST_MATRIX = 1 << 12  # multiplications of one of a batch


def _is_medium(a: Array, b: Array, *_: Any) -> bool:
    rows, columns = a.shape[0], b.shape[1]
    work = a.size * columns
    if rows < NARROWEST or columns < NARROWEST or work < WORTH_A_KERNEL_ACROSS:
        return False
    return work > _WORTH_A_KERNEL or (
        columns >= WIDE and b.strides[0] == b.itemsize and a.strides[1] == a.itemsize)


@with_native("taper.kernels.native_matrix_product", _is_medium)
def multiply(a: Array, b: Array) -> Array:
    """The product of two matrices."""
    return _by_blas(a, b)


def _by_blas(a: Array, b: Array) -> Array:
    """NumPy's product; on one thread where BLAS would take several for too little work."""
    if _FIRST_WITH_THREADS < a.size * b.shape[1] < _WORTH_THREADS:
        from taper.runtime.blas import find_blas

        blas = find_blas()
        if blas is not None:
            with blas.one_thread:
                return a.dot(b)
    return a.dot(b)


@with_native("taper.kernels.native_matrix_product", _is_medium)
def affine(a: Array, b: Array, bias: Array) -> Array:
    """The product of two matrices plus `bias`, which is broadcast over it.

    Raises: ValueError: if shapes don't fit.
    """
    result = _by_blas(a, b)
    return np.add(result, bias, result)


def _are_many(a: Any, b: Any) -> bool:
    if type(a) is not np.ndarray or type(b) is not np.ndarray:
        return False
    each = a.shape[-2] * a.shape[-1] * b.shape[-1]
    most = max(a.size * b.shape[-1], b.size * a.shape[-2])
    return each >= _SMALLEST_MATRIX and most >= _WORTH_A_KERNEL_OF_BATCHES


@with_native("taper.kernels.native_matrix_product", _are_many)
def multiply_batches(a: Any, b: Any) -> Any:
    """The products of matrices, the last two dimensions, over broadcast batch dimensions.

    Arrays of any class; ndarrays may have a native kernel.
    """
    return in_rows(np.matmul(a, b))
