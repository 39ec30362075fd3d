"""NumPy's linear algebra with as many of BLAS's threads as matrices are worth.

OpenBLAS's threads meet at barriers that spin: on a busy machine of two cores they made eigh of a
200 x 200 matrix take 370 ms instead of 2.6. So matrices of medium size get one thread. Functions
take arrays of any class; `kernels/lapack.py` has what NumPy lacks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from taper.arrays.primitive import primitive
from taper.kernels import lapack
from taper.kernels.native_twin import with_native

__all__ = [
    "cholesky", "complex_eigenvectors", "determinant", "eigenvalues_of_symmetric",
    "eigenvectors_of_symmetric", "inverse", "log_determinant", "qr", "singular_values", "solve",
]

_LEAST, _MOST = 32 * 32, 512 * 512  # elements of a matrix; others start no threads, or profit
_SMALLEST, _MANY = 8, 64  # unknowns, and systems of so few, that a native kernel solves
_SMALLEST_MEDIUM, _LARGEST_MEDIUM = 24, 512  # rows for which there is native elimination
_WORTH_HALVING = 128  # rows of a symmetric matrix whose halves are worth a task each
_WORTH_SCIPY = 128  # rows from which SciPy's routines gain more than their import costs
Array = np.ndarray[Any, Any]


def with_few_threads(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a function of matrices that calls NumPy's BLAS."""

    @wraps(function)
    def call(a: Any, *args: Any, **named: Any) -> Any:
        size = a.shape[-1] * a.shape[-2]
        if size < _LEAST or size > _MOST:
            return function(a, *args, **named)
        from taper.runtime.blas import find_blas

        blas = find_blas()
        if blas is None:
            return function(a, *args, **named)
        with blas.one_thread:
            return function(a, *args, **named)

    return call


_eigenvectors = with_few_threads(np.linalg.eig)
_eigenvectors_of_symmetric = with_few_threads(np.linalg.eigh)
eigenvalues_of_symmetric = with_few_threads(np.linalg.eigvalsh)
singular_values = with_few_threads(np.linalg.svd)


@primitive
def complex_eigenvectors(a: Any) -> tuple[Any, Any]:
    """Eigenvalues and eigenvectors; NumPy's are real where their values allow it."""
    values, vectors = _eigenvectors(a)
    kind = np.result_type(a.dtype, np.complex64)
    return values.astype(kind), vectors.astype(kind)


@complex_eigenvectors.shapes
def _(a: Any) -> Any:
    return [(found.shape, found.dtype, found.strides) for found in np.linalg.eig(a)]


def _is_worth_halving(a: Any, *_: Any) -> bool:
    return (
        type(a) is np.ndarray and a.ndim == 2 and _WORTH_HALVING <= a.shape[-1] <= _LARGEST_MEDIUM
        and a.dtype.kind == "f"
    )


@with_native("taper.kernels.native_symmetric", _is_worth_halving)
def eigenvectors_of_symmetric(a: Any, UPLO: str = "L") -> Any:
    """The eigenvalues, ascending, and eigenvectors of each matrix, of which it reads a triangle.

    Raises: LinAlgError: if LAPACK's iteration doesn't converge.
    """
    return _eigenvectors_of_symmetric(a, UPLO)


_NATIVE = "taper.kernels.native_linear_algebra"


def _is_medium(a: Any, *_: Any) -> bool:
    """Whether matrices are of a size for which native elimination is written."""
    return (
        type(a) is np.ndarray and a.ndim > 1 and _SMALLEST_MEDIUM <= a.shape[-1] <= _LARGEST_MEDIUM
        and a.dtype.kind == "f"
    )


def _suits_native(a: Any, b: Any) -> bool:
    """The same for systems, or many of them that are small."""
    if type(a) is not np.ndarray or type(b) is not np.ndarray or b.ndim != a.ndim:
        return False
    return _is_medium(a) or (
        a.ndim > 2 and a.shape[-1] <= _SMALLEST and a.size >= _MANY * a.shape[-1] ** 2)


solve = with_native(_NATIVE, _suits_native)(with_few_threads(np.linalg.solve))
_qr = with_few_threads(np.linalg.qr)
_inverse = with_few_threads(np.linalg.inv)
_cholesky = with_few_threads(np.linalg.cholesky)
_determinant = with_few_threads(np.linalg.det)
_log_determinant = with_few_threads(np.linalg.slogdet)


def _is_worth_reflecting(a: Any, *_: Any) -> bool:
    return _is_medium(a) and a.shape[-2] >= _SMALLEST_MEDIUM


@with_native("taper.kernels.native_reflections", _is_worth_reflecting)
def qr(a: Any, mode: str = "reduced") -> Any:
    """Q and R of each matrix, or only R, as NumPy's `mode` says."""
    return _qr(a, mode)


@with_native(_NATIVE, _is_medium)
def determinant(a: Any) -> Any:
    """The determinant of each matrix."""
    return _determinant(a)


@with_native(_NATIVE, _is_medium)
def log_determinant(a: Any) -> Any:
    """The sign of each determinant, and the logarithm of its size."""
    return _log_determinant(a)


def _suits_scipy(a: Any) -> bool:
    return type(a) is np.ndarray and a.ndim == 2 and len(a) >= _WORTH_SCIPY and a.dtype.kind in "fc"


@with_native(_NATIVE, _is_medium)
def inverse(a: Any) -> Any:
    """The inverse of each matrix, for large ones from their LU factors: NumPy solves for the
    columns of an identity, which takes twice as long.

    Raises: LinAlgError: if a matrix is singular.
    """
    return lapack.inverse(a) if _suits_scipy(a) else _inverse(a)


@with_native(_NATIVE, _is_medium)
def cholesky(a: Any) -> Any:
    """The lower factor of each matrix, of which it reads the lower triangle.

    Raises: LinAlgError: if a matrix is not positive definite.
    """
    return lapack.cholesky(a) if _suits_scipy(a) else _cholesky(a)
