"""Inverses and linear equations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.arrays.symbolic_shape import broadcast_shapes
from taper.core.promotion import scalar_type_name
from taper.core.tensor import Tensor
from taper.core.user_warning import warn_once
from taper.kernels import lapack, linear_algebra
from taper.ops.arithmetic import conj
from taper.ops.declare import composite, operator
from taper.ops.matrix_checks import (
    check_equation,
    check_square,
    require_values,
    singular_error,
    unsolvable_error,
)
from taper.ops.reduction import sum_to
from taper.ops.return_types import named


def adjoint(matrix: Tensor) -> Tensor:
    """The conjugate transpose of the last two dimensions."""
    return conj(matrix).transpose(-2, -1)


# -- inverses ------------------------------------------------------------------------------------


@operator("linalg.inv", method="inverse", out=True, node="LinalgInvExBackward0")
def inv(A: Tensor) -> Tensor:
    """Computes the inverse of each square matrix.

    Shape:    (*, n, n) → (*, n, n)
    Raises:   LinAlgError: if a matrix is singular;  RuntimeError: if it is not square
    Example:
        >>> import taper as torch
        >>> torch.linalg.inv(torch.tensor([[2., 0.], [0., 4.]]))
        tensor([[0.5000, 0.0000],
                [0.0000, 0.2500]])
    """
    check_square(A, "linalg.inv")
    try:
        return linear_algebra.inverse(A)
    except np.linalg.LinAlgError:
        raise singular_error("linalg.inv", lapack.lu_factor(A)[2]) from None


@inv.derivative("A")
def _(grad, result):
    h = adjoint(result)
    return -(h @ (grad @ h))


@composite("inverse", out=True)
def inverse(input: Tensor) -> Tensor:
    """Computes the inverse of each square matrix; see `linalg.inv`.

    Shape:    (*, n, n) → the same
    Example:
        >>> import taper as torch
        >>> torch.inverse(torch.tensor([[4.]]))
        tensor([[0.2500]])
    """
    return inv(input)


@operator("linalg.inv_ex", out=True, outputs=("inverse", "info"), node="LinalgInvExBackward0")
def inv_ex(A: Tensor, *, check_errors: bool = False) -> Tensor:
    """Computes inverses, and `info`: 0, or the row in which a matrix is found to be singular.

    Shape:    (*, n, n) → (*, n, n), (*)
    Example:
        >>> import taper as torch
        >>> torch.linalg.inv_ex(torch.tensor([[4.]])).inverse
        tensor([[0.2500]])
    """
    check_square(A, "linalg.inv")
    require_values(A)
    try:
        return linear_algebra.inverse(A), np.zeros_like(A, np.int32, shape=A.shape[:-2])
    except np.linalg.LinAlgError:
        identity = np.broadcast_to(np.eye(A.shape[-1], dtype=A.dtype), A.shape)
        found, info = _solve_with_info(A, identity)
        if check_errors:
            raise singular_error("linalg.inv_ex", info) from None
        return found, info


@inv_ex.shapes
def _(A):
    found = np.linalg.inv(A)
    return [(found.shape, A.dtype, found.strides), (A.shape[:-2], np.int32)]


@inv_ex.derivative("A")
def _(grads, result0):
    h = adjoint(result0)
    return -(h @ (grads[0] @ h))


def _solve_with_info(a: Any, b: Any) -> tuple[Any, Any]:
    """The solution, with infinities and NaN where a matrix is singular, and `info`."""
    if not a.size:
        batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
        return np.zeros_like(b, shape=(*batch, *b.shape[-2:])), np.zeros(a.shape[:-2], np.int32)
    packed, pivots, info = lapack.lu_factor(a)
    order = lapack.apply_pivots(pivots, a.shape[-1])
    _, (order, b) = lapack.batches((order, 1), (b, 2))
    exchanged = np.take_along_axis(b, order[..., None].astype(np.intp), -2)
    half = lapack.solve_triangular(packed, exchanged, upper=False, unitriangular=True)
    return lapack.solve_triangular(packed, half, upper=True), info


@composite("linalg.tensorinv", out=True)
def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """Computes the inverse of a tensor seen as a matrix: the first `ind` dimensions are its rows.

    Shape:    (*first, *last), of equal numbers of elements → (*last, *first)
    Raises:   RuntimeError: if the numbers of elements differ.
    Example:
        >>> import taper as torch
        >>> torch.linalg.tensorinv(torch.eye(6).reshape(2, 3, 6)).shape
        torch.Size([6, 2, 3])
    """
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', but got {ind}")
    shape = tuple(A.shape)
    rows, columns = math.prod(shape[:ind]), math.prod(shape[ind:])
    if rows != columns:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == "
            f"prod(self.shape[:ind]), but got {columns} != {rows}"
        )
    found = inv(A.reshape(rows, columns))
    return found.reshape(*shape[ind:], *shape[:ind])


# -- equations -----------------------------------------------------------------------------------


@operator(hidden=True, node="LinalgSolveExBackward0")
def solve_left(A: Tensor, B: Tensor) -> Tensor:
    """X of A X = B, with B matrices."""
    if A.size == 0 or B.size == 0:
        batch = broadcast_shapes(A.shape[:-2], B.shape[:-2])
        return np.zeros_like(B, shape=(*batch, *B.shape[-2:]))
    try:
        return linear_algebra.solve(A, B)
    except np.linalg.LinAlgError:
        raise unsolvable_error("torch.linalg.solve", lapack.lu_factor(A)[2]) from None


@solve_left.derivative("A", "B")
def _(grad, A, result, A_shape, B_shape, needs):
    inner = solve_left(adjoint(A), grad)
    grad_a = sum_to(-(inner @ adjoint(result)), A_shape) if needs[0] else None
    return grad_a, sum_to(inner, B_shape) if needs[1] else None


@operator(hidden=True, outputs=2, node="LinalgSolveExBackward0")
def solve_left_ex(A: Tensor, B: Tensor, check_errors: bool) -> Tensor:
    """X of A X = B and `info`."""
    found, info = _solve_with_info(A, B)
    if check_errors and info.any():
        raise unsolvable_error("torch.linalg.solve_ex", info)
    return found, info


@solve_left_ex.derivative("A", "B")
def _(grads, A, result0, A_shape, B_shape, needs):
    inner = solve_left(adjoint(A), grads[0])
    grad_a = sum_to(-(inner @ adjoint(result0)), A_shape) if needs[0] else None
    return grad_a, sum_to(inner, B_shape) if needs[1] else None


@composite("linalg.solve", out=True)
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """Solves A X = B (or X A = B with `left=False`) for each square A.

    Shape:    A (*, n, n), B (*, n, k) or (*, n) → as B, batches broadcast. B counts as vectors if
        it is 1-d or has one dimension less than A and fits its batch.
    Raises:   LinAlgError: if a matrix is singular;  RuntimeError: if shapes or dtypes don't fit
    Example:
        >>> import taper as torch
        >>> torch.linalg.solve(torch.tensor([[2., 0.], [0., 4.]]), torch.tensor([2., 2.]))
        tensor([1.0000, 0.5000])
    """
    _check_solve(A, B, left)
    if is_vector_case(A, B):
        column = solve_left(A if left else A.transpose(-2, -1), B.unsqueeze(-1))
        return column.squeeze(-1)
    if left:
        return solve_left(A, B)
    return solve_left(A.transpose(-2, -1), B.transpose(-2, -1)).transpose(-2, -1)


@composite("linalg.solve_ex", out=True)
def solve_ex(
    A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False
) -> Any:
    """Solves as `linalg.solve` does, and tells `info`: 0, or where a matrix is singular.

    Shape:    A (*, n, n), B (*, n, k) or (*, n) → X like B, info (*)
    Example:
        >>> import taper as torch
        >>> torch.linalg.solve_ex(torch.tensor([[2.]]), torch.tensor([[1.]])).result
        tensor([[0.5000]])
    """
    _check_solve(A, B, left)
    matrix = A if left else A.transpose(-2, -1)
    if is_vector_case(A, B):
        found, info = solve_left_ex(matrix, B.unsqueeze(-1), check_errors)
        found = found.squeeze(-1)
    elif left:
        found, info = solve_left_ex(matrix, B, check_errors)
    else:
        found, info = solve_left_ex(matrix, B.transpose(-2, -1), check_errors)
        found = found.transpose(-2, -1)
    return named("linalg_solve_ex", ("result", "info"))((found, info))


def is_vector_case(A: Tensor, B: Tensor) -> bool:
    """Whether B is a batch of vectors: 1-d, or A's shape without its last dimension."""
    return B.ndim == 1 or (A.ndim - 1 == B.ndim and tuple(B.shape) == tuple(A.shape[:-1]))


def _check_solve(A: Tensor, B: Tensor, left: bool) -> None:
    name = "linalg.solve"
    check_square(A._array, name)
    if A.dtype is not B.dtype:
        raise RuntimeError(
            f"{name}: Expected A and B to have the same dtype, but found A of type "
            f"{scalar_type_name(A.dtype)} and B of type {scalar_type_name(B.dtype)} instead"
        )
    if is_vector_case(A, B):
        b = B._array[..., None]
        check_equation(A._array, b, name)
    else:
        check_equation(A._array, B._array, name, left)


@composite("linalg.tensorsolve", out=True)
def tensorsolve(A: Tensor, B: Tensor, dims: Any = None) -> Tensor:
    """Solves tensordot(A, X, X.ndim) = B; `dims` of A are moved to its end before.

    Shape:    A (*B.shape, *X.shape), B → X
    Example:
        >>> import taper as torch
        >>> torch.linalg.tensorsolve(torch.eye(6).reshape(2, 3, 6), torch.ones(2, 3)).shape
        torch.Size([6])
    """
    if dims is not None:
        A = A.movedim(tuple(dims), tuple(range(A.ndim - len(dims), A.ndim)))
    shape = tuple(A.shape)
    wanted = shape[B.ndim :]
    rows, columns = math.prod(shape[: B.ndim]), math.prod(wanted)
    if rows != columns:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
            f"prod(self.shape[:other.ndim]), but got {columns} != {rows}"
        )
    found = solve(A.reshape(rows, columns), B.flatten())
    return found.reshape(wanted)


# -- triangular ----------------------------------------------------------------------------------


@operator("linalg.solve_triangular", out=True, promote="result_type", kinds="fc",
          kernel="triangular_solve_cpu", node="LinalgSolveTriangularBackward0")
def solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True,
    unitriangular: bool = False,
) -> Tensor:
    """Solves A X = B (X A = B with `left=False`), reading one triangle of A only.

    Args: unitriangular: take the diagonal of A for ones
    Shape: A (*, n, n), B (*, n, k) (or (*, k, n)) → as B; batches broadcast
    Example:
        >>> import taper as torch
        >>> A = torch.tensor([[2., 1.], [0., 4.]])
        >>> torch.linalg.solve_triangular(A, torch.tensor([[4.], [8.]]), upper=True)
        tensor([[1.],
                [2.]])
    """
    check_equation(A, B, "linalg.solve_triangular", left)
    return lapack.solve_triangular(A, B, upper, left, unitriangular)


@solve_triangular.derivative("A", "B")
def _(grad, A, result, A_shape, B_shape, upper, left, unitriangular, needs):
    inner = solve_triangular.function(
        adjoint(A), grad, upper=not upper, left=left, unitriangular=unitriangular
    )
    grad_a = None
    if needs[0]:
        full = inner @ adjoint(result) if left else adjoint(result) @ inner
        skipped = int(unitriangular)
        grad_a = sum_to(-(full.triu(skipped) if upper else full.tril(-skipped)), A_shape)
    return grad_a, sum_to(inner, B_shape) if needs[1] else None


@operator(hidden=True, kinds="fc", kernel="triangular_solve", node="TriangularSolveBackward0",
          outputs=("solution", "cloned_coefficient"))
def triangular_system(
    b: Tensor, A: Tensor, upper: bool, transpose: bool, unitriangular: bool
) -> Tensor:
    """The old `triangular_solve`: also hands back a copy of the matrix."""
    if A.shape[-1] != A.shape[-2] or b.shape[-2] != A.shape[-2]:
        raise RuntimeError(
            f"Incompatible matrix sizes for triangular_solve: each A matrix is {A.shape[-2]} by "
            f"{A.shape[-1]} but each b matrix is {b.shape[-2]} by {b.shape[-1]}"
        )
    matrix = A.swapaxes(-1, -2) if transpose else A
    found = lapack.solve_triangular(matrix, b, upper != transpose, True, unitriangular)
    return found, np.broadcast_to(A, (*found.shape[:-2], *A.shape[-2:])).copy()


@triangular_system.derivative("b", "A")
def _(grads, A, result0, A_shape, b_shape, upper, transpose, unitriangular, needs):
    grad, grad_copy = grads
    grad_a = None if grad_copy is None else sum_to(grad_copy, A_shape)
    if grad is None:
        return None, grad_a
    matrix = conj(A) if transpose else adjoint(A)
    inner = solve_triangular.function(
        matrix, grad, upper=upper == transpose, unitriangular=unitriangular
    )
    if needs[1]:
        full = inner @ adjoint(result0)
        full = full.transpose(-2, -1) if transpose else full
        skipped = int(unitriangular)
        own = sum_to(-(full.triu(skipped) if upper else full.tril(-skipped)), A_shape)
        grad_a = own if grad_a is None else grad_a + own
    return sum_to(inner, b_shape) if needs[0] else None, grad_a


@composite(method=True, out=True)
def triangular_solve(
    b: Tensor, A: Tensor, upper: bool = True, transpose: bool = False,
    unitriangular: bool = False,
) -> Any:
    """Solves A X = b for triangular A. Deprecated: use `linalg.solve_triangular`.

    Shape:    b (*, n, k), A (*, n, n) → solution (*, n, k), and A itself
    Example:
        >>> import taper as torch
        >>> torch.triangular_solve(torch.tensor([[4.]]), torch.tensor([[2.]])).solution
        tensor([[2.]])
    """
    warn_once(
        "triangular_solve",
        "torch.triangular_solve is deprecated in favor of torch.linalg.solve_triangularand will be "
        "removed in a future PyTorch release.\ntorch.linalg.solve_triangular has its arguments "
        "reversed and does not return a copy of one of the inputs.\n"
        "X = torch.triangular_solve(B, A).solution\nshould be replaced with\n"
        "X = torch.linalg.solve_triangular(A, B).",
    )
    found = triangular_system(b, A, upper, transpose, unitriangular)
    return named("triangular_solve", ("solution", "cloned_coefficient"))(found)
