"""Inverses and linear equations."""

from __future__ import annotations


import numpy as np

from taper.core.errors import LinAlgError, broadcast_error
from taper.core.tensor import Tensor
from taper.ops.arithmetic import conj
from taper.ops.declare import composite, operator
from taper.ops.matrix_checks import check_dtype, check_square, scalar_type_name, singular_error
from taper.ops.reduction import sum_to


def adjoint(matrix: Tensor) -> Tensor:
    """The conjugate transpose of the last two dimensions."""
    return conj(matrix).transpose(-2, -1)  # type: ignore[no-any-return]


@operator(
    "linalg.inv", method="inverse", out=True, aliases=("inverse",), node="LinalgInvExBackward0"
)
def inv(A: Tensor) -> Tensor:  # noqa: N803 - PyTorch's argument name
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
        return np.linalg.inv(A)
    except np.linalg.LinAlgError:
        raise singular_error("linalg.inv", A) from None


@inv.derivative("A")
def _(grad, result):
    h = adjoint(result)
    return -(h @ (grad @ h))


@operator(hidden=True, node="LinalgSolveExBackward0")
def solve_left(A: Tensor, B: Tensor) -> Tensor:  # noqa: N803
    """X of A X = B, with B matrices."""
    if A.size == 0 or B.size == 0:
        batch = np.broadcast_shapes(A.shape[:-2], B.shape[:-2])
        return np.zeros_like(B, shape=(*batch, *B.shape[-2:]))
    try:
        return np.linalg.solve(A, B)
    except np.linalg.LinAlgError:
        raise LinAlgError(
            "torch.linalg.solve: The solver failed because the input matrix is singular."
        ) from None


@solve_left.derivative("A", "B")
def _(grad, A, result, A_shape, B_shape, needs):  # noqa: N803
    inner = solve_left(adjoint(A), grad)
    grad_a = sum_to(-(inner @ adjoint(result)), A_shape) if needs[0] else None
    return grad_a, sum_to(inner, B_shape) if needs[1] else None


@composite("linalg.solve", out=True)
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:  # noqa: N803
    """Solves A X = B (or X A = B with `left=False`) for each square A.

    Shape:    A (*, n, n), B (*, n, k) or (*, n) → as B, batches broadcast. B counts as vectors if
        it is 1-d or has one dimension less than A and fits its batch.
    Raises:   LinAlgError: if a matrix is singular;  RuntimeError: if shapes or dtypes don't fit
    Example:
        >>> import taper as torch
        >>> torch.linalg.solve(torch.tensor([[2., 0.], [0., 4.]]), torch.tensor([2., 2.]))
        tensor([1.0000, 0.5000])
    """
    _check_equation(A, B, left, "linalg.solve")
    if is_vector_case(A, B):
        column = solve_left(A if left else A.transpose(-2, -1), B.unsqueeze(-1))  # type: ignore
        return column.squeeze(-1)  # type: ignore[no-any-return]
    if left:
        return solve_left(A, B)
    return solve_left(A.transpose(-2, -1), B.transpose(-2, -1)).transpose(-2, -1)  # type: ignore


def is_vector_case(A: Tensor, B: Tensor) -> bool:  # noqa: N803
    """Whether B is a batch of vectors: 1-d, or A's shape without its last dimension."""
    return B.ndim == 1 or (A.ndim - 1 == B.ndim and tuple(B.shape) == tuple(A.shape[:-1]))


def _check_equation(A: Tensor, B: Tensor, left: bool, name: str) -> None:  # noqa: N803
    check_square(A._array, name)
    check_dtype(B._array, name)
    if A.dtype is not B.dtype:
        raise RuntimeError(
            f"{name}: Expected A and B to have the same dtype, but found A of type "
            f"{scalar_type_name(A.dtype)} and B of type {scalar_type_name(B.dtype)} instead"
        )
    vector = is_vector_case(A, B)
    rows, columns = (B.shape[-1], 1) if vector else (B.shape[-2], B.shape[-1])
    n = A.shape[-1]
    if (rows if left or vector else columns) != n:
        equation = "AX = B" if left else "XA = B"
        raise RuntimeError(
            f"{name}: Incompatible shapes of A and B for the equation {equation} "
            f"({A.shape[-2]}x{n} and {rows}x{columns})"
        )
    if not vector:
        error = broadcast_error([tuple(A.shape[:-2]), tuple(B.shape[:-2])])
        if error is not None:
            raise error


