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

from taper.kernels import lapack
from taper.kernels.native_twin import with_native

__all__ = [
    "cholesky", "determinant", "eigenvalues_of_symmetric", "eigenvectors",
    "eigenvectors_of_symmetric", "inverse", "log_determinant", "qr", "singular_values", "solve",
]

_LEAST, _MOST = 32 * 32, 512 * 512  # elements of a matrix; others start no threads, or profit
_SMALLEST, _MANY = 8, 64  # unknowns, and systems of so few, that a native kernel solves
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


determinant = with_few_threads(np.linalg.det)
eigenvectors = with_few_threads(np.linalg.eig)
eigenvectors_of_symmetric = with_few_threads(np.linalg.eigh)
eigenvalues_of_symmetric = with_few_threads(np.linalg.eigvalsh)
log_determinant = with_few_threads(np.linalg.slogdet)
qr = with_few_threads(np.linalg.qr)
singular_values = with_few_threads(np.linalg.svd)


def _are_many_systems(a: Any, b: Any) -> bool:
    return (
        type(a) is np.ndarray and type(b) is np.ndarray and a.ndim > 2 and b.ndim == a.ndim
        and a.shape[-1] <= _SMALLEST and a.size >= _MANY * a.shape[-1] ** 2
    )


solve = with_native("taper.kernels.native_linear_algebra", _are_many_systems)(
    with_few_threads(np.linalg.solve))
_inverse = with_few_threads(np.linalg.inv)
_cholesky = with_few_threads(np.linalg.cholesky)


def _suits_scipy(a: Any) -> bool:
    return type(a) is np.ndarray and a.ndim == 2 and len(a) >= _WORTH_SCIPY and a.dtype.kind in "fc"


def inverse(a: Any) -> Any:
    """The inverse of each matrix, for large ones from their LU factors: NumPy solves for the
    columns of an identity, which takes twice as long.

    Raises: LinAlgError: if a matrix is singular.
    """
    return lapack.inverse(a) if _suits_scipy(a) else _inverse(a)


def cholesky(a: Any) -> Any:
    """The lower factor of each matrix, of which it reads the lower triangle.

    Raises: LinAlgError: if a matrix is not positive definite.
    """
    return lapack.cholesky(a) if _suits_scipy(a) else _cholesky(a)
