"""LU factors with row exchanges, LDL factors, and equations solved with them.

Derivatives of LU follow Koerber, Adjoint differentiation of the LU decomposition (2015).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import taper
from taper.core.dtype import from_numpy_dtype
from taper.core.promotion import scalar_type_name
from taper.core.tensor import Tensor, wrap
from taper.core.user_warning import warn_once
from taper.kernels import lapack
from taper.ops.argument_checks import values_known
from taper.ops.declare import composite, operator
from taper.ops.matrix_checks import (
    batch_words,
    check_batches,
    check_dtype,
    check_equation,
    check_kinds,
    check_square,
)
from taper.ops.reduction import sum_to
from taper.ops.return_types import named
from taper.ops.signature import Truth
from taper.ops.solve import adjoint, solve_triangular

# -- factors -------------------------------------------------------------------------------------


def _check_factored(a: Any, pivot: bool, name: str) -> None:
    if a.ndim < 2:
        raise RuntimeError(
            f"{name}: Expected tensor with 2 or more dimensions. Got size: {list(a.shape)} instead"
        )
    check_kinds(a, "lu_cpu")
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")


@operator("linalg.lu_factor_ex", out=True, outputs=("LU", "pivots", "info"),
          node="LinalgLuFactorExBackward0")
def lu_factor_ex(
    A: Tensor, *, pivot: bool = True, check_errors: bool = False
) -> Tensor:
    """Factors as `linalg.lu_factor` does, and tells `info`: 0, or where U has a zero.

    Shape:    (*, m, n) → LU (*, m, n), pivots (*, min(m, n)), info (*)
    Example:
        >>> import taper as torch
        >>> torch.linalg.lu_factor_ex(torch.tensor([[0.]])).info
        tensor(1, dtype=torch.int32)
    """
    _check_factored(A, pivot, "torch.lu_factor")
    packed, pivots, info = lapack.lu_factor(A)
    if check_errors and info.any():
        raise _zero_in_u("torch.linalg.lu_factor_ex", info)
    return packed, pivots, info


def _zero_in_u(name: str, info: Any) -> RuntimeError:
    where, row = batch_words(info)
    return RuntimeError(
        f"{name}: {where}U[{row},{row}] is zero and using it on lu_solve would result in a "
        "division by zero. If you still want to perform the factorization, consider calling "
        "linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)"
    )


@lu_factor_ex.derivative("A")
def _(grads, result0, result1):
    packed, grad = result0, grads[0]
    k = min(packed.shape[-2:])
    lower, upper = _unpacked(packed, k)
    return _factors_gradient(
        grad[..., :k].tril(-1), grad[..., :k, :].triu(), lower, upper, result1
    )


def _unpacked(packed: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """L, with its diagonal of ones, and U."""
    lower = packed[..., :k].tril(-1)
    identity = taper.eye(lower.shape[-2], k, dtype=packed.dtype, device=packed.device)
    return lower + identity, packed[..., :k, :].triu()


def _factors_gradient(
    grad_l: Any, grad_u: Any, lower: Tensor, upper: Tensor, pivots: Tensor
) -> Tensor:
    r"""The gradient of A = P L U. For square matrices
    :math:`P L^{-H} [tril(L^H \bar L, -1) + triu(\bar U U^H)] U^{-H}`;
    a wide one's last columns have :math:`U_2 = L^{-1} P^T A_2`, a tall one's last rows
    :math:`L_2 = P^T A_2 U^{-1}`, whose parts in the gradients of L and U come first.
    """
    m, n = lower.shape[-2], upper.shape[-1]
    k = min(m, n)
    if grad_l is None:
        grad_l = taper.zeros_like(lower)
    if grad_u is None:
        grad_u = taper.zeros_like(upper)
    l1, u1 = lower[..., :k, :], upper[..., :k]
    low = adjoint(l1) @ grad_l[..., :k, :]
    high = grad_u[..., :k] @ adjoint(u1)
    rest = None
    if m < n:
        grad_u2 = grad_u[..., k:]
        low = low - grad_u2 @ adjoint(upper[..., k:])
        rest = solve_triangular(adjoint(l1), grad_u2, upper=True, unitriangular=True)
    elif m > n:
        grad_l2 = grad_l[..., k:, :]
        high = high - adjoint(lower[..., k:, :]) @ grad_l2
        rest = solve_triangular(adjoint(u1), grad_l2, upper=False, left=False)
    inner = low.tril(-1) + high.triu()
    inner = solve_triangular(adjoint(u1), inner, upper=False, left=False)
    inner = solve_triangular(adjoint(l1), inner, upper=True, unitriangular=True)
    if rest is not None:
        inner = taper.cat([inner, rest], -1 if m < n else -2)
    return permutation_of(pivots, m, inner.dtype) @ inner


def permutation_of(pivots: Tensor, m: int, dtype: Any) -> Tensor:
    """The matrix P of A = P L U."""
    order = lapack.apply_pivots(pivots._array, m)
    return wrap(_permutation(order, dtype.numpy_dtype))


def _permutation(order: Any, dtype: Any) -> Any:
    """The matrix whose column i has its one in row order[i]."""
    m = order.shape[-1]
    rows = np.add.accumulate(np.ones_like(order, shape=(m, 1)), 0) - 1
    return (order[..., None, :] == rows).astype(dtype)


@composite("linalg.lu_factor", out=True, also={"input": "A"})
def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:
    """Factors A = P L U, in LAPACK's compact form: L below the diagonal, U from there on.

    Shape: (*, m, n) → LU (*, m, n), pivots (*, min(m, n)), which count from 1
    Raises: RuntimeError: if U has a zero on its diagonal
    Example:
        >>> import taper as torch
        >>> torch.linalg.lu_factor(torch.tensor([[1., 2.], [2., 0.]])).LU
        tensor([[2.0000, 0.0000],
                [0.5000, 2.0000]])
    """
    packed, pivots, info = lu_factor_ex(A, pivot=pivot)
    if values_known(info) and bool((info != 0).any()):
        raise _zero_in_u("torch.linalg.lu_factor", info._array)
    return named("linalg_lu_factor", ("LU", "pivots"))((packed, pivots))


@composite(method=True)
def lu(
    A: Tensor, pivot: bool = True, get_infos: Truth = False, out: Any = None
) -> Any:
    """Factors A = P L U in compact form. Deprecated: use `linalg.lu_factor`.

    Shape:    (*, m, n) → LU (*, m, n), pivots (*, min(m, n))
    Example:
        >>> import taper as torch
        >>> torch.lu(torch.tensor([[4.]]))[0]
        tensor([[4.]])
    """
    warn_once(
        "lu",
        "torch.lu is deprecated in favor of torch.linalg.lu_factor / torch.linalg.lu_factor_ex and "
        "will be removed in a future PyTorch release.\nLU, pivots = torch.lu(A, compute_pivots)\n"
        "should be replaced with\nLU, pivots = torch.linalg.lu_factor(A, compute_pivots)\nand\n"
        "LU, pivots, info = torch.lu(A, compute_pivots, get_infos=True)\nshould be replaced with\n"
        "LU, pivots, info = torch.linalg.lu_factor_ex(A, compute_pivots)",
    )
    packed, pivots, info = lu_factor_ex(A, pivot=pivot)
    if not get_infos and values_known(info) and bool((info != 0).any()):
        raise _zero_in_u("torch.linalg.lu_factor_ex", info._array)
    if get_infos:
        fields = ("LU", "pivots", "info")
        result: Any = named("_lu_with_info", fields)((packed, pivots, info))
    else:
        result = (packed, pivots)
    if out is None:
        return result
    for target, value in zip(out, result, strict=True):
        target.resize_as_(value).copy_(value)
    return out


@operator(hidden=True, outputs=3, node="LinalgLuBackward0", aux=("pivots",))
def lu_parts(A: Tensor, pivot: bool) -> Tensor:
    """P, L and U."""
    _check_factored(A, pivot, "linalg.lu")
    packed, pivots, _ = lapack.lu_factor(A)
    return (*_unpack(packed, pivots, True, True), pivots)


@lu_parts.derivative("A")
def _(grads, result1, result2, pivots):
    return _factors_gradient(grads[1], grads[2], result1, result2, pivots)


@composite("linalg.lu", out=True)
def linalg_lu(A: Tensor, *, pivot: bool = True) -> Any:
    """Factors A = P L U: a permutation, a lower triangular matrix with ones, an upper one.

    Shape:    (*, m, n) → P (*, m, m), L (*, m, k), U (*, k, n) with k = min(m, n)
    Example:
        >>> import taper as torch
        >>> torch.linalg.lu(torch.tensor([[1., 2.], [2., 0.]])).U
        tensor([[2., 0.],
                [0., 2.]])
    """
    p, lower, upper = lu_parts(A, pivot)
    return named("linalg_lu", ("P", "L", "U"))((p.detach(), lower, upper))


def _unpack(packed: Any, pivots: Any, unpack_data: bool, unpack_pivots: bool) -> Any:
    m, n = packed.shape[-2:]
    k = min(m, n)
    p = lower = upper = np.zeros_like(packed, shape=(0,))
    if unpack_pivots:
        order = lapack.apply_pivots(pivots, m)
        p = _permutation(order, packed.dtype)
    if unpack_data:
        lower = np.tril(packed[..., :k], -1) + np.eye(m, k, dtype=packed.dtype)
        upper = np.triu(packed[..., :k, :])
    return p, lower, upper


@composite(out=True)
def lu_unpack(
    LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True,
    unpack_pivots: bool = True,
) -> Any:
    """Unpacks what `linalg.lu_factor` returns into P, L and U.

    Args: unpack_data: whether to make L and U (else empty);  unpack_pivots: the same for P
    Shape:    LU (*, m, n), pivots (*, k) → P (*, m, m), L (*, m, k), U (*, k, n)
    Example:
        >>> import taper as torch
        >>> torch.lu_unpack(*torch.linalg.lu_factor(torch.tensor([[1., 2.], [2., 0.]]))).L
        tensor([[1.0000, 0.0000],
                [0.5000, 1.0000]])
    """
    if LU_data.ndim < 2:
        raise RuntimeError(
            "torch.lu_unpack: Expected tensor with 2 or more dimensions. Got size: "
            f"{list(LU_data.shape)} instead"
        )
    if unpack_pivots and LU_pivots.dtype is not taper.int32:
        raise RuntimeError(
            "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 "
            "dtype.\nNote: this function is intended to be used with the output produced by "
            "torch.linalg.lu_factor"
        )
    p, lower, upper = unpacked_parts(LU_data, LU_pivots, unpack_data, unpack_pivots)
    return named("lu_unpack", ("P", "L", "U"))((p.detach(), lower, upper))


@operator(hidden=True, outputs=3, node="LuUnpackBackward0", unpromoted=("LU_pivots",))
def unpacked_parts(
    LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool, unpack_pivots: bool
) -> Tensor:
    """P, L and U; empty if they are not wanted."""
    return _unpack(LU_data, LU_pivots, unpack_data, unpack_pivots)


@unpacked_parts.derivative("LU_data")
def _(grads, LU_data_shape):
    _, grad_l, grad_u = grads
    m, n = LU_data_shape[-2:]
    pad = taper.nn.functional.pad
    total = None
    if grad_l is not None:
        total = pad(grad_l.tril(-1), (0, n - grad_l.shape[-1]))
    if grad_u is not None:
        upper = pad(grad_u.triu(), (0, 0, 0, m - grad_u.shape[-2]))
        total = upper if total is None else total + upper
    return total


# -- equations -----------------------------------------------------------------------------------


@operator(hidden=True, node="LinalgLuSolveBackward0", unpromoted=("pivots",))
def lu_solve_left(LU: Tensor, pivots: Tensor, B: Tensor, adjoint: bool) -> Tensor:
    """X of A X = B, or of A^H X = B."""
    return lapack.lu_solve(LU, pivots, B, 2 if adjoint else 0)


@lu_solve_left.derivative("LU", "B")
def _(grad, LU, pivots, result, LU_shape, B_shape, adjoint, needs):
    inner = lu_solve_left(LU, pivots, grad, not adjoint)
    grad_lu = None
    if needs[0]:
        # The gradient of A = P L U, then those of L and U in it.
        of_a = -(result @ _turned(inner)) if adjoint else -(inner @ _turned(result))
        n = LU_shape[-1]
        lower, upper = _unpacked(LU, n)
        of_a = _turned(permutation_of(pivots, n, LU.dtype)) @ of_a
        packed = (of_a @ _turned(upper)).tril(-1) + (_turned(lower) @ of_a).triu()
        grad_lu = sum_to(packed, LU_shape)
    return grad_lu, sum_to(inner, B_shape) if needs[1] else None


_turned = adjoint


@composite("linalg.lu_solve", out=True)
def linalg_lu_solve(
    LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True,
    adjoint: bool = False,
) -> Tensor:
    """Solves A X = B (X A = B with `left=False`) from what `linalg.lu_factor` returned of A.

    Args: adjoint: take A^H for A
    Shape:    LU (*, n, n), pivots (*, n), B (*, n, k) → (*, n, k)
    Example:
        >>> import taper as torch
        >>> LU, pivots = torch.linalg.lu_factor(torch.tensor([[0., 2.], [4., 0.]]))
        >>> torch.linalg.lu_solve(LU, pivots, torch.tensor([[2.], [4.]]))
        tensor([[1.],
                [1.]])
    """
    name = "linalg.lu_solve"
    check_dtype(LU._array, f"torch.{name}")
    if LU.dtype is not B.dtype:
        raise RuntimeError(
            f"{name}: Expected LU and B to have the same dtype, but found LU of type "
            f"{scalar_type_name(LU.dtype)} and B of type {scalar_type_name(B.dtype)} instead"
        )
    if pivots.dtype is not taper.int32:
        raise RuntimeError(f"{name}: pivots should be a Tensor of scalar type torch.int32")
    check_equation(LU._array, B._array, name, left)
    if LU.shape[-1] != pivots.shape[-1]:
        raise RuntimeError(
            f"{name}: Number of pivots per batch should be same as the dimension of the matrix"
        )
    if tuple(LU.shape[:-2]) != tuple(pivots.shape[:-1]):
        raise RuntimeError(
            f"{name}: Expected LU.shape[:-1] and pivots.shape to be the same, but got pivots with "
            f"shape {list(pivots.shape)} instead"
        )
    if left:
        return lu_solve_left(LU, pivots, B, adjoint)
    # X A = B is A^H X^H = B^H.
    return _turned(lu_solve_left(LU, pivots, _turned(B), not adjoint))


@composite(method=True, out=True)
def lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """Solves A X = b from the factors of A. Deprecated: use `linalg.lu_solve`.

    Shape:    b (*, n, k), LU (*, n, n), pivots (*, n) → (*, n, k)
    Example:
        >>> import taper as torch
        >>> torch.lu_solve(torch.tensor([[2.]]), *torch.linalg.lu_factor(torch.tensor([[4.]])))
        tensor([[0.5000]])
    """
    warn_once(
        "lu_solve",
        "torch.lu_solve is deprecated in favor of torch.linalg.lu_solveand will be removed in a "
        "future PyTorch release.\nNote that torch.linalg.lu_solve has its arguments reversed.\n"
        "X = torch.lu_solve(B, LU, pivots)\nshould be replaced with\n"
        "X = torch.linalg.lu_solve(LU, pivots, B)",
    )
    return linalg_lu_solve.function(LU_data, LU_pivots, b)


# -- LDL -----------------------------------------------------------------------------------------


@operator("linalg.ldl_factor_ex", out=True, outputs=("LD", "pivots", "info"),
          node="LdlFactorExBackward0")
def ldl_factor_ex(
    A: Tensor, *, hermitian: bool = False, check_errors: bool = False
) -> Tensor:
    """Factors as `linalg.ldl_factor` does, and tells `info`: 0, or where D has a zero.

    Shape:    (*, n, n) → LD (*, n, n), pivots (*, n), info (*)
    Example:
        >>> import taper as torch
        >>> torch.linalg.ldl_factor_ex(torch.tensor([[0.]])).info
        tensor(1, dtype=torch.int32)
    """
    check_square(A, "torch.linalg.ldl_factor_ex")
    packed, pivots, info = lapack.ldl_factor(A, hermitian)
    if check_errors and info.any():
        raise _zero_in_d("torch.linalg.ldl_factor_ex", info)
    return packed, pivots, info


def _zero_in_d(name: str, info: Any) -> RuntimeError:
    where, row = batch_words(info)
    return RuntimeError(
        f"{name}: {where}D[{row},{row}] is zero and using it on ldl_solve would result in a "
        "division by zero."
    )


@composite("linalg.ldl_factor", out=True)
def ldl_factor(A: Tensor, *, hermitian: bool = False) -> Any:
    """Factors a symmetric (or Hermitian) matrix into L D L^T in LAPACK's compact form.

    D has blocks of 1 x 1 and 2 x 2; the lower triangle is read.

    Shape:    (*, n, n) → LD (*, n, n), pivots (*, n)
    Example:
        >>> import taper as torch
        >>> torch.linalg.ldl_factor(torch.tensor([[4., 2.], [2., 3.]])).LD
        tensor([[4.0000, 0.0000],
                [0.5000, 2.0000]])
    """
    packed, pivots, info = ldl_factor_ex(A, hermitian=hermitian)
    if values_known(info) and bool((info != 0).any()):
        raise _zero_in_d("torch.linalg.ldl_factor", info._array)
    return named("linalg_ldl_factor", ("LD", "pivots"))((packed, pivots))


@operator("linalg.ldl_solve", out=True, node="LdlSolveBackward0", unpromoted=("pivots",))
def ldl_solve(
    LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: bool = False
) -> Tensor:
    """Solves A X = B from what `linalg.ldl_factor` returned of A.

    Shape:    LD (*, n, n), pivots (*, n), B (*, n, k) → (*, n, k)
    Example:
        >>> import taper as torch
        >>> torch.linalg.ldl_solve(*torch.linalg.ldl_factor(torch.eye(1)), torch.tensor([[3.]]))
        tensor([[3.]])
    """
    name = "torch.linalg.ldl_solve"
    check_square(LD, name, "A")
    if B.ndim < 2:
        raise RuntimeError(
            f"{name}: Expected B to have at least 2 dimensions, but it has {B.ndim} dimensions "
            "instead"
        )
    if LD.shape[:-1] != pivots.shape:
        raise RuntimeError(
            f"{name}: Expected LD.shape[:-1] and pivots.shape to be the same, but got pivots with "
            f"shape {list(pivots.shape)} instead"
        )
    if pivots.dtype.kind not in "iu":
        raise RuntimeError(
            f"{name}: Expected pivots to be integers. Got "
            f"{scalar_type_name(from_numpy_dtype(pivots.dtype))}"
        )
    check_batches(LD, B)
    if LD.dtype != B.dtype:
        a, b = (scalar_type_name(from_numpy_dtype(x.dtype)) for x in (LD, B))
        raise RuntimeError(f"{name}: LD dtype {a} does not match b dtype {b}")
    return lapack.ldl_solve(LD, pivots, B, hermitian)
