"""What operators of linear algebra ask of their inputs, and the errors in PyTorch's words."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.dtype import FLOATING, REDUCED_FLOATS, from_numpy_dtype
from taper.core.errors import LinAlgError, broadcast_error
from taper.core.promotion import scalar_type_name

# Functions that let half precision through to a kernel, which has none.
_KERNELS = {
    "linalg.cholesky": "cholesky_cpu", "linalg.cond": "svd_cpu", "linalg.det": "lu_cpu",
    "linalg.qr": "geqrf_cpu", "linalg.solve": "lu_cpu",
    "linalg.svd": "svd_cpu", "torch.linalg.ldl_factor_ex": "ldl_factor_cpu",
    "torch.linalg.ldl_solve": "ldl_solve_cpu", "torch.linalg.lu_solve": "linalg.lu_solve_cpu",
}


def missing_kernel(kernel: str, kind: Any) -> NotImplementedError:
    """The error of a dtype for which PyTorch has no kernel."""
    return NotImplementedError(f'"{kernel}" not implemented for \'{scalar_type_name(kind)}\'')


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
        if name in _KERNELS:
            raise missing_kernel(_KERNELS[name], kind)
        raise RuntimeError(
            f"{name}: Low precision dtypes not supported. Got {scalar_type_name(kind)}"
        )


def check_has_tolerance(array: Any) -> None:
    """Raises unless the dtype has the precision that tolerances are made of."""
    kind = from_numpy_dtype(array.dtype)
    if kind.category < FLOATING or kind in REDUCED_FLOATS:
        raise RuntimeError("This function doesn't handle types other than float and double")


def check_square(array: Any, name: str, argument: str = "A") -> None:
    """`check_matrix`, and raises unless the matrices are square."""
    check_matrix(array, name, argument)
    check_square_sizes(array, name, argument)


def check_kinds(array: Any, kernel: str) -> None:
    """Raises NotImplementedError, in the name of PyTorch's kernel, for what LAPACK has no type."""
    kind = from_numpy_dtype(array.dtype)
    if kind.category < FLOATING or kind in REDUCED_FLOATS:
        raise missing_kernel(kernel, kind)


def check_equation(a: Any, b: Any, name: str, left: bool = True) -> None:
    """Raises unless A X = B (or X A = B) makes sense for matrices B: sizes and batches."""
    for argument, array in (("A", a), ("B", b)):
        if array.ndim < 2:
            raise RuntimeError(
                f"{name}: The input tensor {argument} must have at least 2 dimensions."
            )
    check_square_sizes(a, name)
    n, rows, columns = a.shape[-1], b.shape[-2], b.shape[-1]
    if n != (rows if left else columns):
        equation = "AX = B" if left else "XA = B"
        raise RuntimeError(
            f"{name}: Incompatible shapes of A and B for the equation {equation} "
            f"({a.shape[-2]}x{n} and {rows}x{columns})"
        )
    check_batches(a, b)


def check_batches(a: Any, b: Any) -> None:
    """Raises unless the batches of two arrays of matrices broadcast."""
    error = broadcast_error([tuple(a.shape[:-2]), tuple(b.shape[:-2])])
    if error is not None:
        raise error


def check_square_sizes(array: Any, name: str, argument: str = "A") -> None:
    """Raises unless the matrices are square."""
    if array.shape[-1] != array.shape[-2]:
        raise RuntimeError(
            f"{name}: {argument} must be batches of square matrices, but they are "
            f"{array.shape[-2]} by {array.shape[-1]} matrices"
        )


def batch_words(info: Any) -> tuple[str, int]:
    """What messages say of the first failure in an array of LAPACK's `info`: where, and its row."""
    flat = info.reshape(-1)
    first = int(np.flatnonzero(flat)[0])
    return ("" if info.ndim == 0 else f"(Batch element {first}): "), int(flat[first])


def singular_error(name: str, info: Any) -> LinAlgError:
    """The error of inverting a singular matrix; names the zero diagonal element."""
    where, row = batch_words(info)
    return LinAlgError(
        f"{name}: {where}The diagonal element {row} is zero, the inversion could not be completed "
        "because the input matrix is singular."
    )


def unsolvable_error(name: str, info: Any) -> LinAlgError:
    """The error of solving equations with a singular matrix."""
    where, _ = batch_words(info)
    return LinAlgError(
        f"{name}: {where}The solver failed because the input matrix is singular."
    )


def not_definite_error(name: str, info: Any) -> LinAlgError:
    """The error of factoring a matrix that is not positive definite; names the minor."""
    where, minor = batch_words(info)
    return LinAlgError(
        f"{name}: {where}The factorization could not be completed because the input is not "
        f"positive-definite (the leading minor of order {minor} is not positive-definite)."
    )


def not_converged_error(name: str, array: Any) -> LinAlgError:
    """The error of an iteration for eigenvalues or singular values that came to no end."""
    if has_non_finite(array):
        return LinAlgError(
            f"{name}: The algorithm failed to converge because the input matrix contained "
            "non-finite values."
        )
    return LinAlgError(
        f"{name}: The algorithm failed to converge because the input matrix is ill-conditioned or "
        "has too many repeated values."
    )


def require_values(array: Any) -> None:
    """Refuses arrays without values, for what goes by them; the forward is recorded as a whole."""
    if type(array) is not np.ndarray and hasattr(array, "laid"):
        raise NotImplementedError("whether a matrix can be factored depends on values")


def has_non_finite(array: Any) -> bool:
    """Whether an element is infinite or NaN."""
    return type(array) is np.ndarray and not bool(np.isfinite(array).all())
