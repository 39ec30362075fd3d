"""LAPACK's routines that NumPy lacks, on batches of matrices: factors, pivots, triangular systems.

SciPy hands them out one matrix at a time, in Fortran's order; here they take arrays (*, m, n) and
give fresh ones in C's order. Pivots count from 1, as LAPACK's do. `info` is 0 where all went well,
else the 1-based place that LAPACK complains about.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.arrays.primitive import primitive
from taper.core.dtype import from_numpy_dtype
from taper.core.promotion import scalar_type_name
from taper.kernels.native_twin import with_native
from taper.kernels.scipy_threads import with_fitting_threads

__all__ = [
    "apply_pivots", "apply_reflectors", "cholesky", "cholesky_inverse", "cholesky_solve",
    "householder_product", "inverse", "ldl_factor", "ldl_solve", "least_squares", "lu_factor",
    "lu_solve", "qr_factor", "solve_triangular",
]

Array = np.ndarray[Any, Any]
INT32 = np.dtype(np.int32)
_BLOCK = 64  # columns that LAPACK treats at once, if it has room for them
_WORTH_A_KERNEL = 16  # columns
_PREFIX = {"float32": "s", "float64": "d", "complex64": "c", "complex128": "z"}


def routine(name: str, dtype: Any) -> Callable[..., Any]:
    """LAPACK's routine for a dtype; `name` without the letter that says the dtype."""
    from scipy.linalg import lapack

    return getattr(lapack, _prefix(name, dtype) + name)


def blas(name: str, dtype: Any) -> Callable[..., Any]:
    """BLAS's routine for a dtype."""
    from scipy.linalg import blas as functions

    return getattr(functions, _prefix(name, dtype) + name)


def _prefix(name: str, dtype: Any) -> str:
    """The letter of a dtype; the others have PyTorch's error."""
    if dtype.name not in _PREFIX:
        kind = scalar_type_name(from_numpy_dtype(dtype))
        raise NotImplementedError(f'"{name}_cpu" not implemented for \'{kind}\'')
    return _PREFIX[dtype.name]


def batches(*arrays: tuple[Array, int]) -> tuple[tuple[int, ...], list[Array]]:
    """The broadcast batch shape of (array, its own dimensions) pairs, and the arrays with it."""
    lead = lead_of(*arrays)
    return lead, [np.broadcast_to(a, (*lead, *a.shape[a.ndim - k :])) for a, k in arrays]


def lead_of(*arrays: tuple[Array, int]) -> tuple[int, ...]:
    """The broadcast batch shape of (array, its own dimensions) pairs."""
    return np.broadcast_shapes(*(a.shape[: a.ndim - k] for a, k in arrays))


# -- triangular systems --------------------------------------------------------------------------


@primitive
@with_fitting_threads
def solve_triangular(
    a: Array, b: Array, upper: bool, left: bool = True, unitriangular: bool = False
) -> Array:
    """X of A X = B, or X A = B with `left` False; zeros on the diagonal give infinities."""
    lead, (a, b) = batches((a, 2), (b, 2))
    result = np.empty(b.shape, b.dtype)
    if not result.size:
        return result
    trsm = blas("trsm", a.dtype)
    # A C-ordered matrix is its transpose in Fortran's order, so transposed problems need no copy.
    for at in np.ndindex(*lead):
        found = trsm(1, a[at].T, b[at].T, int(left), int(upper), 0, int(unitriangular))
        result[at] = found.T
    return result


@solve_triangular.shapes
def _(
    a: Array, b: Array, upper: bool, left: bool = True, unitriangular: bool = False
) -> Any:
    return (*lead_of((a, 2), (b, 2)), *b.shape[-2:]), b.dtype


# -- LU ------------------------------------------------------------------------------------------


@primitive
@with_fitting_threads
def lu_factor(a: Array) -> tuple[Array, Array, Array]:
    """L and U in one array, the pivots and `info`."""
    *lead, m, n = a.shape
    k = min(m, n)
    packed = np.empty(a.shape, a.dtype)
    pivots = np.empty((*lead, k), np.int32)
    info = np.zeros(lead, np.int32)
    if not k:
        return packed, pivots, info
    getrf = routine("getrf", a.dtype)
    for at in np.ndindex(*lead):
        packed[at], found, info[at] = getrf(a[at])
        pivots[at] = found + 1  # SciPy counts from 0
    return packed, pivots, info


@lu_factor.shapes
def _(a: Array) -> Any:
    *lead, m, n = a.shape
    return [(a.shape, a.dtype), ((*lead, min(m, n)), INT32), (tuple(lead), INT32)]


@primitive
@with_fitting_threads
def lu_solve(packed: Array, pivots: Array, b: Array, transposed: int) -> Array:
    """X of A X = B from the factors; `transposed`: 1 for A^T, 2 for A^H instead of A."""
    lead, (packed, pivots, b) = batches((packed, 2), (pivots, 1), (b, 2))
    result = np.empty(b.shape, b.dtype)
    if not result.size:
        return result
    # LAPACK would swap rows with memory that isn't the matrix's.
    if pivots.min() < 1 or pivots.max() > packed.shape[-2]:
        raise RuntimeError(
            "Pivots given to lu_solve must all be "
            f"{'greater or equal to 1' if pivots.min() < 1 else 'smaller or equal to LU.size(-2)'}."
            " Did you properly pass the result of lu_factor?"
        )
    getrs = routine("getrs", packed.dtype)
    for at in np.ndindex(*lead):
        result[at] = getrs(packed[at], pivots[at] - 1, b[at], transposed)[0]
    return result


@lu_solve.shapes
def _(packed: Array, pivots: Array, b: Array, transposed: int) -> Any:
    return (*lead_of((packed, 2), (pivots, 1), (b, 2)), *b.shape[-2:]), b.dtype


@primitive
def apply_pivots(pivots: Array, m: int) -> Array:
    """The permutation that the row exchanges make: row i of P^T A is row result[i] of A."""
    lead = pivots.shape[:-1]
    count = math.prod(lead)
    order = np.broadcast_to(np.arange(m), (*lead, m)).copy()
    rows = np.arange(count).reshape(lead)
    flat = order.reshape(count, m)
    if pivots.size and (pivots.min() < 1 or pivots.max() > m):
        raise RuntimeError(
            "pivots passed to lu_unpack must be between 1 and LU.size(-2) inclusive."
            "Did you properly pass the result of lu_factor?"
        )
    for i in range(pivots.shape[-1]):
        j = pivots[..., i] - 1
        first, second = flat[rows, i].copy(), flat[rows, j].copy()
        flat[rows, i], flat[rows, j] = second, first
    return order


@apply_pivots.shapes
def _(pivots: Array, m: int) -> Any:
    return (*pivots.shape[:-1], m), np.dtype(np.int64)


# -- LDL -----------------------------------------------------------------------------------------


@primitive
@with_fitting_threads
def ldl_factor(a: Array, hermitian: bool) -> tuple[Array, Array, Array]:
    """L and the block-diagonal D in one lower triangle, the pivots and `info`."""
    lead = a.shape[:-2]
    packed = np.zeros(a.shape, a.dtype)
    pivots = np.empty(a.shape[:-1], np.int32)
    info = np.zeros(lead, np.int32)
    if not a.size:
        return packed, pivots, info
    name = "hetrf" if hermitian and a.dtype.kind == "c" else "sytrf"
    factor = routine(name, a.dtype)
    work = int(routine(name + "_lwork", a.dtype)(a.shape[-1], lower=1)[0].real)
    for at in np.ndindex(*lead):
        found, pivots[at], info[at] = factor(a[at], lower=1, lwork=work)
        packed[at] = np.tril(found)
    return packed, pivots, info


@ldl_factor.shapes
def _(a: Array, hermitian: bool) -> Any:
    return [(a.shape, a.dtype), (a.shape[:-1], INT32), (a.shape[:-2], INT32)]


@primitive
def ldl_solve(packed: Array, pivots: Array, b: Array, hermitian: bool) -> Array:
    """X of A X = B from the factors."""
    lead, (packed, pivots, b) = batches((packed, 2), (pivots, 1), (b, 2))
    result = b.copy()
    for at in np.ndindex(*lead):
        _ldl_solve_one(packed[at], pivots[at], result[at], hermitian)
    return result


@ldl_solve.shapes
def _(packed: Array, pivots: Array, b: Array, hermitian: bool) -> Any:
    return (*lead_of((packed, 2), (pivots, 1), (b, 2)), *b.shape[-2:]), b.dtype


def _ldl_solve_one(packed: Array, pivots: Array, x: Array, hermitian: bool) -> None:
    """Solves in place. A negative pair of pivots marks a 2 x 2 block of D."""
    n = packed.shape[0]
    turned = np.conj if hermitian else np.asarray
    blocks = []
    k = 0
    while k < n:
        size = 1 if pivots[k] > 0 else 2
        blocks.append((k, size))
        k += size
    for k, size in blocks:
        last = k + size - 1
        other = abs(int(pivots[last])) - 1
        x[[last, other]] = x[[other, last]]
        x[last + 1 :] -= packed[last + 1 :, k : last + 1] @ x[k : last + 1]
        block = packed[k : last + 1, k : last + 1]
        if size == 1:
            x[k] /= block[0, 0].real if hermitian else block[0, 0]
        else:
            whole = block + turned(np.tril(block, -1).T)
            x[k : last + 1] = np.linalg.solve(whole, x[k : last + 1])
    for k, size in reversed(blocks):
        last = k + size - 1
        x[k : last + 1] -= turned(packed[last + 1 :, k : last + 1].T) @ x[last + 1 :]
        other = abs(int(pivots[last])) - 1
        x[[last, other]] = x[[other, last]]


# -- reflectors ----------------------------------------------------------------------------------


@primitive
@with_fitting_threads
def qr_factor(a: Array) -> tuple[Array, Array]:
    """R in the upper triangle and the reflectors below it; their factors tau."""
    *lead, m, n = a.shape
    packed, tau = np.empty(a.shape, a.dtype), np.zeros((*lead, min(m, n)), a.dtype)
    if not tau.size:
        return a.copy(), tau
    geqrf = routine("geqrf", a.dtype)
    for at in np.ndindex(*lead):
        packed[at], tau[at] = geqrf(a[at])[:2]
    return packed, tau


@qr_factor.shapes
def _(a: Array) -> Any:
    *lead, m, n = a.shape
    return [(a.shape, a.dtype), ((*lead, min(m, n)), a.dtype)]


@primitive
@with_fitting_threads
def householder_product(a: Array, tau: Array) -> Array:
    """The first columns of H_1 H_2 … H_k, the reflectors lying below the diagonal of `a`."""
    result = np.empty(a.shape, a.dtype)
    if not a.size:
        return result
    if not tau.shape[-1]:
        result[...] = np.eye(*a.shape[-2:])
        return result
    form = routine("ungqr" if a.dtype.kind == "c" else "orgqr", a.dtype)
    for at in np.ndindex(*a.shape[:-2]):
        result[at] = form(a[at], tau[at])[0]
    return result


@householder_product.shapes
def _(a: Array, tau: Array) -> Any:
    return a.shape, a.dtype


@primitive
@with_fitting_threads
def apply_reflectors(a: Array, tau: Array, c: Array, left: bool, transpose: bool) -> Array:
    """Q C, C Q, or with `transpose` Q^H instead of Q = H_1 … H_k."""
    lead, (a, tau, c) = batches((a, 2), (tau, 1), (c, 2))
    k = tau.shape[-1]
    if not c.size or not k:
        return c.copy()
    result = np.empty(c.shape, c.dtype)
    is_complex = a.dtype.kind == "c"
    apply = routine("unmqr" if is_complex else "ormqr", a.dtype)
    trans = ("C" if is_complex else "T") if transpose else "N"
    work = 64 * max(c.shape[-2:])
    for at in np.ndindex(*lead):
        result[at] = apply("L" if left else "R", trans, a[at][:, :k], tau[at], c[at], work)[0]
    return result


@apply_reflectors.shapes
def _(a: Array, tau: Array, c: Array, left: bool, transpose: bool) -> Any:
    return (*lead_of((a, 2), (tau, 1), (c, 2)), *c.shape[-2:]), c.dtype


# -- Cholesky ------------------------------------------------------------------------------------


@primitive
@with_fitting_threads
def cholesky_solve(factor: Array, b: Array, upper: bool) -> Array:
    """X of A X = B from the Cholesky factor of A."""
    lead, (factor, b) = batches((factor, 2), (b, 2))
    result = np.empty(b.shape, b.dtype)
    if not result.size:
        return result
    potrs = routine("potrs", b.dtype)
    for at in np.ndindex(*lead):
        result[at] = potrs(factor[at], b[at], lower=not upper)[0]
    return result


@cholesky_solve.shapes
def _(factor: Array, b: Array, upper: bool) -> Any:
    return (*lead_of((factor, 2), (b, 2)), *b.shape[-2:]), b.dtype


@primitive
@with_fitting_threads
def cholesky_inverse(factor: Array, upper: bool) -> Array:
    """The inverse of A from its Cholesky factor."""
    result = np.empty(factor.shape, factor.dtype)
    if not result.size:
        return result
    potri = routine("potri", factor.dtype)
    for at in np.ndindex(*factor.shape[:-2]):
        half = potri(factor[at], lower=not upper)[0]
        triangle = np.triu(half) if upper else np.tril(half)
        strict = np.triu(half, 1) if upper else np.tril(half, -1)
        result[at] = triangle + strict.conj().T
    return result


@cholesky_inverse.shapes
def _(factor: Array, upper: bool) -> Any:
    return factor.shape, factor.dtype


# -- one large matrix ----------------------------------------------------------------------------


@with_fitting_threads
def inverse(a: Array) -> Array:
    """The inverse of a matrix.

    Raises: LinAlgError: if it is singular.
    """
    # A C-ordered matrix is its transpose in Fortran's order, and so is the inverse.
    packed, pivots, info = routine("getrf", a.dtype)(a.T)
    if info == 0:
        lwork = _BLOCK * len(a)
        found, info = routine("getri", a.dtype)(packed, pivots, lwork=lwork, overwrite_lu=1)
    if info:
        raise np.linalg.LinAlgError("Singular matrix")
    return found.T


@with_fitting_threads
def cholesky(a: Array) -> Array:
    """The lower factor of a matrix, of which it reads the lower triangle.

    Raises: LinAlgError: if the matrix is not positive definite.
    """
    factor, info = routine("potrf", a.dtype)(a.T, lower=0, clean=1)
    if info:
        raise np.linalg.LinAlgError("Matrix is not positive definite")
    return factor.T


# -- least squares -------------------------------------------------------------------------------


def _is_medium(a: Array, b: Array, rcond: float, driver: str) -> bool:
    return driver in ("gels", "gelsy") and a.shape[-1] >= _WORTH_A_KERNEL


@primitive
@with_native("taper.kernels.native_reflections", _is_medium)
@with_fitting_threads
def least_squares(
    a: Array, b: Array, rcond: float, driver: str
) -> tuple[Array, Array, Array, Array]:
    """X that minimises |A X - B|, the rows of B that `driver` leaves behind X (their squares sum
    to the residuals), the rank and the singular values (both only of some drivers)."""
    *_, m, n = a.shape
    lead, (a, b) = batches((a, 2), (b, 2))
    k, wide = min(m, n), max(m, n)
    padded = np.zeros((*lead, wide, b.shape[-1]), b.dtype)
    padded[..., :m, :] = b
    rank = np.zeros(lead, np.int64)
    values = np.zeros((*lead, k), np.zeros(0, a.dtype).real.dtype)
    solve = routine(driver, a.dtype)
    if not k or not b.shape[-1]:
        return np.zeros((*lead, n, b.shape[-1]), b.dtype), padded[..., n:, :], rank, values
    for at in np.ndindex(*lead):
        if driver == "gels":
            padded[at] = solve(a[at], padded[at])[1]
            continue
        sizes = [int(np.real(s)) for s in routine(driver + "_lwork", a.dtype)(
            m, n, b.shape[-1], *((rcond,) if driver != "gelss" else ()))[:-1]]
        if driver == "gelsy":
            found = solve(a[at], padded[at], np.zeros(n, np.int32), rcond, sizes[0])
            padded[at], rank[at] = found[1], found[3]
        elif driver == "gelsd":
            found = solve(a[at], padded[at], *sizes, cond=rcond)
            padded[at], values[at], rank[at] = found[:3]
        else:
            found = solve(a[at], padded[at], cond=rcond, lwork=sizes[0])
            padded[at], values[at], rank[at] = found[1:4]
    return padded[..., :n, :].copy(), padded[..., n:, :], rank, values


@least_squares.shapes
def _(a: Array, b: Array, rcond: float, driver: str) -> Any:
    *_, m, n = a.shape
    lead, columns = lead_of((a, 2), (b, 2)), b.shape[-1]
    real = np.zeros(0, a.dtype).real.dtype
    return [
        ((*lead, n, columns), b.dtype), ((*lead, max(m - n, 0), columns), b.dtype),
        (lead, np.dtype(np.int64)), ((*lead, min(m, n)), real),
    ]
