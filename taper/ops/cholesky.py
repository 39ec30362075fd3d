"""Cholesky factors of positive definite matrices, and what is computed from them.

The derivative follows Murray, Differentiation of the Cholesky decomposition (2016).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.dtype import from_numpy_dtype
from taper.core.promotion import scalar_type_name
from taper.core.tensor import Tensor
from taper.core.user_warning import warn_once
from taper.kernels import lapack, linear_algebra
from taper.ops.declare import composite, operator
from taper.ops.matrix_checks import (
    check_batches,
    check_kinds,
    check_matrix,
    check_square,
    check_square_sizes,
    not_definite_error,
    require_values,
)
from taper.ops.reduction import sum_to
from taper.ops.solve import adjoint, solve_triangular


def _factor(a: Any, upper: bool, name: str) -> Any:
    """The factor; reads one triangle only. Raises in the name of the public function."""
    if upper:
        a = a.conj().swapaxes(-1, -2)
    try:
        lower = linear_algebra.cholesky(a)
    except np.linalg.LinAlgError:
        raise not_definite_error(name, _factor_with_info(a)[1]) from None
    return lower.conj().swapaxes(-1, -2) if upper else lower


def _factor_with_info(a: Any) -> tuple[Any, Any]:
    """The lower factor as far as it got, and `info`."""
    potrf = lapack.routine("potrf", a.dtype)
    factor, info = np.empty(a.shape, a.dtype), np.zeros(a.shape[:-2], np.int32)
    for at in np.ndindex(*a.shape[:-2]):
        factor[at], info[at] = potrf(a[at], lower=1, clean=1)
    return factor, info


def _gradient(grad: Tensor, factor: Tensor, upper: bool) -> Tensor:
    if upper:
        grad, factor = adjoint(grad), adjoint(factor)
    h = adjoint(factor)
    phi = (h @ grad).tril()
    phi = phi - 0.5 * phi.diagonal(0, -2, -1).diag_embed()
    # inverse(L^H) phi inverse(L), by two triangular systems
    found = solve_triangular(h, phi, upper=True)
    found = solve_triangular(factor, found, upper=False, left=False)
    return 0.5 * (found + adjoint(found))


@operator("linalg.cholesky", out=True, node="LinalgCholeskyExBackward0")
def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    r"""Factors a positive definite matrix: :math:`A = L L^H`, or :math:`U^H U` with `upper`.

    Shape:    (*, n, n) → (*, n, n)
    Raises:   LinAlgError: if a matrix is not positive definite
    Example:
        >>> import taper as torch
        >>> torch.linalg.cholesky(torch.tensor([[4., 2.], [2., 5.]]))
        tensor([[2., 0.],
                [1., 2.]])
    """
    check_square(A, "linalg.cholesky")
    return _factor(A, upper, "linalg.cholesky")


@cholesky.derivative("A")
def _(grad, result, upper):
    return _gradient(grad, result, upper)


@operator("linalg.cholesky_ex", out=True, outputs=("L", "info"), node="LinalgCholeskyExBackward0")
def cholesky_ex(
    A: Tensor, *, upper: bool = False, check_errors: bool = False
) -> Tensor:
    """Factors as `linalg.cholesky` does, and tells `info`: 0, or which leading minor is at fault.

    Shape:    (*, n, n) → (*, n, n), info (*)
    Raises:   torch.linalg.LinAlgError: if `check_errors` and a matrix is not positive definite.
    Example:
        >>> import taper as torch
        >>> torch.linalg.cholesky_ex(torch.tensor([[-1.]])).info
        tensor(1, dtype=torch.int32)
    """
    check_square(A, "linalg.cholesky")
    require_values(A)
    try:
        return _factor(A, upper, "linalg.cholesky_ex"), np.zeros_like(
            A, np.int32, shape=A.shape[:-2]
        )
    except RuntimeError:
        if check_errors:
            raise
        found, info = _factor_with_info(A.conj().swapaxes(-1, -2) if upper else A)
        return found.conj().swapaxes(-1, -2) if upper else found, info


@cholesky_ex.shapes
def _(A, upper):
    found = _factor(A, upper, "linalg.cholesky_ex")
    return [(found.shape, A.dtype, found.strides), (A.shape[:-2], np.int32)]


@cholesky_ex.derivative("A")
def _(grads, result0, upper):
    return _gradient(grads[0], result0, upper)


@operator("_cholesky", hidden=True, node="CholeskyBackward0")
def old_cholesky(input: Tensor, upper: bool) -> Tensor:
    check_kinds(input, "cholesky_cpu")
    check_square(input, "cholesky")
    return _factor(input, upper, "cholesky")


@old_cholesky.derivative("input")
def _(grad, result, upper):
    return _gradient(grad, result, upper)


@composite("cholesky", method=True, out=True)
def deprecated_cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """Factors a positive definite matrix. Deprecated: use `linalg.cholesky`.

    Shape:    (*, n, n) → the same
    Example:
        >>> import taper as torch
        >>> torch.cholesky(torch.tensor([[4.]]))
        tensor([[2.]])
    """
    warn_once(
        "cholesky",
        "torch.cholesky is deprecated in favor of torch.linalg.cholesky and will be removed in a "
        "future PyTorch release.\nL = torch.cholesky(A)\nshould be replaced with\n"
        "L = torch.linalg.cholesky(A)\nand\nU = torch.cholesky(A, upper=True)\n"
        "should be replaced with\nU = torch.linalg.cholesky(A).mH\nThis transform will produce "
        "equivalent results for all valid (symmetric positive definite) inputs.",
    )
    return old_cholesky(input, upper)


@operator(method=True, out=True, also={"input": "B", "input2": "L"})
def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """Solves A X = B from the Cholesky factor `L` of A (the upper one with `upper`).

    Shape: B (*, n, k), L (*, n, n) → (*, n, k); batches broadcast
    Example:
        >>> import taper as torch
        >>> torch.cholesky_solve(torch.tensor([[8.]]), torch.tensor([[2.]]))
        tensor([[2.]])
    """
    for name, array in (("b", B), ("u", L)):
        if array.ndim < 2:
            raise RuntimeError(
                f"{name} should have at least 2 dimensions, but has {array.ndim} dimensions instead"
            )
    if L.shape[-1] != L.shape[-2] or B.shape[-2] != L.shape[-2]:
        raise RuntimeError(
            f"Incompatible matrix sizes for cholesky_solve: each A matrix is {L.shape[-2]} by "
            f"{L.shape[-1]} but each b matrix is {B.shape[-2]} by {B.shape[-1]}"
        )
    if L.dtype != B.dtype:
        b, a = (scalar_type_name(from_numpy_dtype(x.dtype)) for x in (B, L))
        raise RuntimeError(
            f"Expected b and A to have the same dtype, but found b of type {b} and A of type {a} "
            "instead."
        )
    check_batches(L, B)
    return lapack.cholesky_solve(L, B, upper)


@cholesky_solve.derivative("B", "L")
def _(grad, result, L, B_shape, L_shape, upper, needs):
    inner = cholesky_solve(grad, L, upper)
    grad_l = None
    if needs[1]:
        both = inner @ adjoint(result)
        both = both + adjoint(both)
        grad_l = sum_to(-(L @ both if upper else both @ L), L_shape)
    return sum_to(inner, B_shape) if needs[0] else None, grad_l


@operator(method=True, out=True)
def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """Computes the inverse of A from its Cholesky factor `L` (the upper one with `upper`).

    Shape:    (*, n, n) → the same
    Example:
        >>> import taper as torch
        >>> torch.cholesky_inverse(torch.tensor([[2.]]))
        tensor([[0.2500]])
    """
    check_kinds(L, "cholesky_inverse_out_cpu")
    check_matrix(L, "cholesky_inverse")
    check_square_sizes(L, "cholesky_inverse")
    return lapack.cholesky_inverse(L, upper)


@cholesky_inverse.derivative("L")
def _(grad, result, L, upper):
    both = result @ ((grad + adjoint(grad)) @ result)
    return -(L @ both if upper else both @ L)
