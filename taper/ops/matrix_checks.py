"""What operators of linear algebra ask of their inputs, and the errors in PyTorch's words."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.dtype import FLOATING, REDUCED_FLOATS, from_numpy_dtype
from taper.core.errors import LinAlgError
from taper.core.promotion import scalar_type_name


def check_matrix(array: Any, name: str, argument: str = "A") -> None:
    """Raises unless `array` has at least two dimensions and a dtype that LAPACK computes in."""
    if array.ndim < 2:
        raise RuntimeError(
            f"{name}: The input tensor {argument} must have at least 2 dimensions."
        )
    check_dtype(array, name)


def check_dtype(array: Any, name: str) -> None:
    """Raises unless the dtype is float32, float64 or complex."""
    kind = from_numpy_dtype(array.dtype)
    if kind.category < FLOATING:
        raise RuntimeError(
            f"{name}: Expected a floating point or complex tensor as input. Got "
            f"{scalar_type_name(kind)}"
        )
    if kind in REDUCED_FLOATS:
        raise RuntimeError(
            f"{name}: Low precision dtypes not supported. Got {scalar_type_name(kind)}"
        )


def check_square(array: Any, name: str, argument: str = "A") -> None:
    """`check_matrix`, and raises unless the matrices are square."""
    check_matrix(array, name, argument)
    if array.shape[-1] != array.shape[-2]:
        raise RuntimeError(
            f"{name}: {argument} must be batches of square matrices, but they are "
            f"{array.shape[-2]} by {array.shape[-1]} matrices"
        )


def first_zero_pivot(array: Any) -> tuple[int | None, int]:
    """(batch element or None, 1-based row) of the first zero on the diagonal of an LU factor."""
    from scipy.linalg import lapack

    flat = array.reshape(-1, *array.shape[-2:])
    for i, matrix in enumerate(flat):
        getrf = lapack.get_lapack_funcs("getrf", (matrix,))
        _, _, info = getrf(matrix)
        if info > 0:
            return (None if array.ndim == 2 else i), int(info)
    return None, 1


def singular_error(name: str, array: Any) -> LinAlgError:
    """The error of inverting a singular matrix; names the zero diagonal element."""
    batch, row = first_zero_pivot(array)
    where = "" if batch is None else f"(Batch element {batch}): "
    return LinAlgError(
        f"{name}: {where}The diagonal element {row} is zero, the inversion could not be completed "
        "because the input matrix is singular."
    )


def not_definite_error(name: str, array: Any) -> LinAlgError:
    """The error of factoring a matrix that is not positive definite; names the minor."""
    from scipy.linalg import lapack

    flat = array.reshape(-1, *array.shape[-2:])
    batch, minor = 0, 1
    for i, matrix in enumerate(flat):
        potrf = lapack.get_lapack_funcs("potrf", (matrix,))
        _, info = potrf(matrix, lower=True)
        if info > 0:
            batch, minor = i, int(info)
            break
    where = "" if array.ndim == 2 else f"(Batch element {batch}): "
    return LinAlgError(
        f"{name}: {where}The factorization could not be completed because the input is not "
        f"positive-definite (the leading minor of order {minor} is not positive-definite)."
    )


def has_non_finite(array: Any) -> bool:
    """Whether an element is infinite or NaN."""
    return not bool(np.isfinite(array).all())
