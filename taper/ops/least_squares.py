"""Pseudoinverses and least squares.

The derivative of the pseudoinverse is that of Golub and Pereyra, The differentiation of
pseudo-inverses and nonlinear least squares problems whose variables separate (1973).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.dtype import FLOATING, REDUCED_FLOATS, from_numpy_dtype
from taper.core.promotion import scalar_type_name
from taper.core.tensor import Tensor
from taper.kernels import lapack, linear_algebra
from taper.ops.declare import composite, operator
from taper.ops.matrix_checks import check_batches, check_has_tolerance, check_square
from taper.ops.reduction import sum_to
from taper.ops.return_types import named
from taper.ops.solve import adjoint

# -- pseudoinverse -------------------------------------------------------------------------------


def tolerance(values: Any, rows: int, columns: int, atol: Any, rtol: Any) -> Any:
    """What a singular value must exceed to count, for descending magnitudes (*, k): (*, 1)."""
    eps = float(np.finfo(values.dtype).eps) * max(rows, columns)
    if atol is None:
        atol = 0.0
        relative = eps if rtol is None else rtol
    elif rtol is None:
        relative = np.where(np.asarray(atol) > 0, 0.0, eps)
    else:
        relative = rtol
    absolute, relative = (np.asarray(t).astype(values.dtype)[..., None] for t in (atol, relative))
    return np.maximum(absolute, relative * values.max(-1, keepdims=True))


def numbers_of(*given: Any) -> list[Any]:
    """Tensors among tolerances as arrays."""
    return [t._array if isinstance(t, Tensor) else t for t in given]


@operator(hidden=True, node="LinalgPinvBackward0")
def pseudoinverse(A: Tensor, atol: Any, rtol: Any, hermitian: bool) -> Tensor:
    """Inverts the singular values (or eigenvalues) above the tolerance."""
    *lead, m, n = A.shape
    if not A.size:
        return np.zeros_like(A, shape=(*lead, n, m))
    if hermitian:
        check_square(A, "linalg.eigh")
        values, vectors = linear_algebra.eigenvectors_of_symmetric(A)
        kept = np.absolute(values) > tolerance(np.absolute(values), m, n, atol, rtol)
        inverse = np.where(kept, np.divide(1, values, where=kept, out=np.zeros_like(values)), 0)
        return np.matmul(vectors * inverse.astype(A.dtype)[..., None, :],
                         vectors.conj().swapaxes(-1, -2))
    u, s, vh = linear_algebra.singular_values(A, full_matrices=False)
    kept = s > tolerance(s, m, n, atol, rtol)
    inverse = np.divide(1, s, where=kept, out=np.zeros_like(s))
    right = vh.conj().swapaxes(-1, -2) * inverse.astype(A.dtype)[..., None, :]
    return np.matmul(right, u.conj().swapaxes(-1, -2))


def _pseudoinverse_gradient(grad: Tensor, p: Tensor, A: Tensor) -> Tensor:
    r"""From :math:`dP = -P\,dA\,P + (I - PA)\,dA^H P^H P + P P^H\,dA^H (I - AP)`."""
    h, grad_h = adjoint(p), adjoint(grad)
    first = grad_h @ p
    second = p @ grad_h
    return (
        -(h @ (grad @ h))
        + h @ (second - (second @ p) @ A)
        + (first - A @ (p @ first)) @ h
    )


@pseudoinverse.derivative("A")
def _(grad, result, A):
    return _pseudoinverse_gradient(grad, result, A)


@composite("linalg.pinv", out=True)
def pinv(
    A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None,
    rtol: Any = None,
) -> Tensor:
    """Computes the pseudoinverse (Moore-Penrose inverse).

    Args:     atol, rtol: singular values up to the larger of atol and rtol times the largest
            count as zero. Default: rtol = eps * max(m, n), or 0 if `atol` is given
        hermitian: A is Hermitian: use eigenvalues;  rcond: an old name of `rtol`
    Shape:    (*, m, n) → (*, n, m)
    Example:
        >>> import taper as torch
        >>> torch.linalg.pinv(torch.tensor([[2.], [0.]]))
        tensor([[0.5000, 0.0000]])
    """
    d = A.dtype
    if A.ndim < 2 or d.category < FLOATING or d in REDUCED_FLOATS:
        raise RuntimeError(
            f"linalg.pinv({scalar_type_name(d)}{{{list(A.shape)}}}): expected a tensor with 2 or "
            "more dimensions of float, double, cfloat or cdouble types"
        )
    if rcond is not None:
        atol, rtol = 0.0, rcond
    return pseudoinverse(A, *numbers_of(atol, rtol), hermitian)


@composite(method=True)
def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """Computes the pseudoinverse; see `linalg.pinv`.

    Shape:    (*, m, n) → (*, n, m)
    Example:
        >>> import taper as torch
        >>> torch.pinverse(torch.tensor([[2.], [0.]]))
        tensor([[0.5000, 0.0000]])
    """
    return pinv.function(input, rcond)


# -- least squares -------------------------------------------------------------------------------

_DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


@composite("linalg.lstsq", out=True)
def lstsq(
    A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None
) -> Any:
    r"""Finds X that minimises :math:`\lVert A X - B \rVert_F`; the shortest if there are many.

    Args:     rcond: singular values up to rcond times the largest count as zero; default
            eps * max(m, n).
        driver: the LAPACK routine: "gelsy" (default), "gels" (full rank only), "gelsd", "gelss".
    Shape:    A (*, m, n), B (*, m, k) or (*, m) → solution (*, n, k) or (*, n); residuals (*, k),
        empty unless m > n, rank n and not by "gelsy"; rank (*), empty by "gels";
        singular_values (*, min(m, n)), empty unless by "gelsd" or "gelss"
    Example:
        >>> import taper as torch
        >>> A, B = torch.tensor([[1., 0.], [1., 1.], [1., 2.]]), torch.tensor([1., 3., 5.])
        >>> torch.linalg.lstsq(A, B).solution.round(decimals=3)
        tensor([1., 2.])
    """
    solution, residuals, rank, values = least_squares(A, B, rcond, driver)
    fields = ("solution", "residuals", "rank", "singular_values")
    return named("linalg_lstsq", fields)((solution, residuals, rank, values.detach()))


@operator(hidden=True, outputs=4, node="LinalgLstsqBackward0")
def least_squares(A: Tensor, B: Tensor, rcond: float | None, driver: str | None) -> Tensor:
    """Solution, residuals, rank and singular values."""
    name = "torch.linalg.lstsq"
    _check_lstsq(A, B, name)
    chosen = driver or "gelsy"
    if chosen not in _DRIVERS:
        raise RuntimeError(
            f"{name}: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)"
        )
    vector = is_vector_side(A, B)
    b = B[..., None] if vector else B
    if A.shape[-2] != b.shape[-2]:
        raise RuntimeError(
            f"{name}: input.size(-2) should match other.size({-1 if vector else -2})"
        )
    check_batches(A, b)
    m, n = A.shape[-2:]
    if rcond is None:
        rcond = float(np.finfo(A.dtype).eps) * max(m, n)
    solution, rest, rank, values = lapack.least_squares(A, b, rcond, chosen)
    real = values.dtype
    full = chosen == "gels" or bool((rank == n).all())
    residuals = np.zeros(0, real)
    if m > n and full and chosen != "gelsy":
        residuals = np.add.reduce((rest * rest.conj()).real, -2)
    if vector:
        solution = solution[..., 0]
    if chosen == "gels" or (0 in A.shape[:-2]):
        rank = np.zeros(0, np.int64)
    if chosen in ("gels", "gelsy"):
        values = np.zeros(0, real)
    return solution, residuals, rank, values


@least_squares.shapes
def _(A, B, driver):
    *lead, m, n = A.shape
    vector, real = is_vector_side(A, B), np.zeros(0, A.dtype).real.dtype
    columns = () if vector else B.shape[-1:]
    by_values = (driver or "gelsy") in ("gelsd", "gelss")
    return [
        ((*lead, n, *columns), A.dtype),
        ((*lead, *(columns or (1,))) if by_values and m > n else (0,), real),  # of full rank
        (tuple(lead) if (driver or "gelsy") != "gels" else (0,), np.dtype(np.int64)),
        ((*lead, min(m, n)) if by_values else (0,), real),
    ]


def is_vector_side(a: Any, b: Any) -> bool:
    """Whether B is a batch of vectors: 1-d, or of A's shape without its last dimension."""
    return b.ndim == 1 or (a.ndim - 1 == b.ndim and b.shape == a.shape[:-1])


def _check_lstsq(a: Any, b: Any, name: str) -> None:
    if a.ndim < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions.")
    if b.ndim < 1:
        raise RuntimeError(f"{name}: other must have at least 1 dimension.")
    if a.dtype != b.dtype:
        first, second = (scalar_type_name(from_numpy_dtype(x.dtype)) for x in (a, b))
        raise RuntimeError(
            f"{name}: Expected input and other to have the same dtype, but got input's dtype "
            f"{first} and other's dtype {second}"
        )
    check_has_tolerance(a)
    ahead = a.ndim - b.ndim
    if not 0 <= ahead <= 1 and b.ndim != 1:
        raise RuntimeError(
            f"{name}: input.dim() must be greater or equal to other.dim() and (input.dim() - "
            "other.dim()) <= 1"
        )


@least_squares.derivative("A", "B")
def _(grads, A, B, result0, A_shape, B_shape, needs):
    grad, grad_residuals = grads[0], grads[1]
    vector = is_vector_side(A._array, B._array)
    b = B.unsqueeze(-1) if vector else B
    x = result0.unsqueeze(-1) if vector else result0
    grad_a = grad_b = None
    if grad is not None:
        g = grad.unsqueeze(-1) if vector else grad
        p = pinv.function(A)
        if needs[0]:
            grad_a = _pseudoinverse_gradient(g @ adjoint(b), p, A)
        if needs[1]:
            grad_b = adjoint(p) @ g
    if grad_residuals is not None and grad_residuals.numel():
        off = 2 * grad_residuals.unsqueeze(-2) * (A @ x - b)
        of_a, of_b = off @ adjoint(x), -off
        grad_a = of_a if grad_a is None else grad_a + of_a
        grad_b = of_b if grad_b is None else grad_b + of_b
    if grad_b is not None:
        grad_b = sum_to(grad_b.squeeze(-1) if vector else grad_b, B_shape)
    return None if grad_a is None else sum_to(grad_a, A_shape), grad_b
