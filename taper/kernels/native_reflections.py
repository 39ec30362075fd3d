"""Orthogonal factors of matrices of medium size by a native kernel: QR, least squares."""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from taper.compiler.machine import vector_bytes
from taper.compiler.reflection_kernels import BLOCK, REFLECTION_WORDS, reflection
from taper.core.storage import address_of
from taper.kernels import lapack
from taper.kernels.native import FLOAT_KINDS, Kernel
from taper.runtime.large_arrays import new_array

__all__ = ["least_squares", "qr"]

Array = np.ndarray[Any, Any]

_GRAIN = 1 << 15  # multiplications that are worth a thread of their own
_MOST = 1 << 18  # elements of a matrix; it should stay in the second cache
_MOST_BYTES = 1 << 26  # of a batch's working memory
_WELL_ABOVE = 10  # how far from the limit R's condition is where its rank is beyond doubt


@cache
def _kernel(kind: Any) -> Kernel:
    return Kernel.of(reflection, len(REFLECTION_WORDS), kind)


class _Reflected(NamedTuple):
    basis: Array  # (matrices, rows, basis_columns)
    triangle: Array  # (matrices, triangle_rows, columns and sides)


def _reflect(
    a: Array, sides: Array | None, basis_columns: int, triangle_rows: int
) -> _Reflected | None:
    """Reflects a batch of matrices and their sides; None where there is no kernel, or squares of
    the elements would be out of bounds."""
    dtype, item, count = a.dtype, a.itemsize, prod(a.shape[:-2])
    rows, columns = a.shape[-2:]
    kernel = _kernel(FLOAT_KINDS.get(dtype))
    address = kernel.address() if dtype in FLOAT_KINDS else None
    if address is None or not count or rows * columns > _MOST:
        return None
    side_columns = 0 if sides is None else sides.shape[-1]
    lanes, k = vector_bytes() // item, min(rows, columns)
    height = -(-rows // lanes) * lanes
    pitch = height + lanes if height * item % 1024 == 0 else height
    width = max(columns + side_columns, basis_columns) + 2 * max(lanes, BLOCK)
    if count * (width + k) * pitch * item > _MOST_BYTES:
        return None
    work: Array = new_array((count, width, pitch), dtype, count * width * pitch)
    vectors: Array = new_array((count, k + BLOCK, pitch), dtype, count * (k + BLOCK) * pitch)
    factors = np.zeros((count, k + BLOCK), dtype)
    vectors[:, k:] = 0
    basis: Array = new_array(
        (count, rows, basis_columns), dtype, count * rows * basis_columns)
    triangle: Array = np.empty((count, triangle_rows, columns + side_columns), dtype)
    status = np.empty(count, np.int64)
    a = np.ascontiguousarray(a)
    sides = a if sides is None else np.ascontiguousarray(sides)
    kernel.run(address, (
        *map(address_of, (a, sides, basis, triangle, work, vectors, factors, status)),
        rows, columns, side_columns, k, basis_columns, triangle_rows, pitch * item,
        rows * columns * item, rows * side_columns * item, rows * basis_columns * item,
        triangle_rows * (columns + side_columns) * item, work.strides[0],
        vectors.strides[0], factors.strides[0],
    ), count, max(1, _GRAIN // (rows * columns * columns)))
    return None if status.any() else _Reflected(basis, triangle)


def qr(a: Array, mode: str = "reduced") -> Any:
    """`kernels.linear_algebra.qr`, or None without a kernel."""
    *batch, rows, columns = a.shape
    k = min(rows, columns)
    height = rows if mode == "complete" else k
    found = _reflect(a, None, 0 if mode == "r" else height, height)
    if found is None:
        return None
    triangle = found.triangle.reshape(*batch, height, columns)
    return triangle if mode == "r" else (found.basis.reshape(*batch, rows, height), triangle)


def least_squares(a: Array, b: Array, rcond: float, driver: str) -> Any:
    """`kernels.lapack.least_squares`, or None without a kernel: only for more rows than columns
    and full rank beyond doubt, where no choice is left to the routine."""
    *batch, rows, columns = a.shape
    sides = b.shape[-1]
    if rows < columns or a.dtype != b.dtype or b.shape[:-1] != a.shape[:-1] or not b.size:
        return None
    found = _reflect(a, b, 0, rows)
    if found is None:
        return None
    triangle = found.triangle
    factor = triangle[:, :columns, :columns]
    identity = np.broadcast_to(np.eye(columns, dtype=a.dtype), factor.shape)
    # Infinite where the diagonal has a zero: not beyond doubt either.
    solved = lapack.solve_triangular(
        factor, np.concatenate((identity, triangle[:, :columns, columns:]), -1), True)
    condition = _length(factor) * _length(solved[..., :columns])
    limit = max(float(rcond), float(np.finfo(a.dtype).eps) * columns) * _WELL_ABOVE
    if not (condition * limit < 1).all():
        return None
    x = solved[..., columns:].copy()
    rest = triangle[:, columns:, columns:]
    rank = np.full(batch, columns if driver == "gelsy" else 0, np.int64)
    return (
        x.reshape(*batch, columns, sides), rest.reshape(*batch, rows - columns, sides), rank,
        np.zeros((*batch, columns), a.dtype),
    )


def _length(a: Array) -> Array:
    """The lengths of matrices as vectors."""
    return np.sqrt(np.add.reduce(np.square(a), (-2, -1)))
