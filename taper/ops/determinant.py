"""Determinants, traces and diagonals."""

from __future__ import annotations

from typing import Any

import numpy as np

import taper
from taper.core.tensor import Tensor
from taper.kernels import linear_algebra
from taper.ops.argument_checks import values_known
from taper.ops.arithmetic import conj
from taper.ops.declare import composite, operator
from taper.ops.matrix_checks import check_square
from taper.ops.solve import adjoint, solve_left


@operator("linalg.det", method="det", aliases=("det",), out=True, node="LinalgDetBackward0",
          also={"input": "A"})
def det(A: Tensor) -> Tensor:
    """Computes the determinant of each square matrix.

    Shape:    (*, n, n) → (*)
    Example:
        >>> import taper as torch
        >>> torch.linalg.det(torch.tensor([[2., 0.], [0., 3.]]))
        tensor(6.)
    """
    check_square(A, "linalg.det")
    return linear_algebra.determinant(A)


@det.derivative("A")
def _(grad, result, A):
    return _cofactor_gradient((grad * conj(result)).unsqueeze(-1).unsqueeze(-1), A, grad, result)


def _cofactor_gradient(scaled: Tensor, A: Tensor, grad: Tensor, result: Tensor) -> Tensor:
    """grad * conj(det) * inverse(A)^H; for singular matrices by the cofactors' singular values."""
    with taper.no_grad():
        singular = not values_known(result) or bool((result == 0).any())
    if not singular:
        identity = taper.eye(A.shape[-1], dtype=A.dtype, device=A.device).expand(A.shape)
        return scaled * solve_left(adjoint(A), identity)
    # adj(A) = det(U) det(Vh) V diag(prod of the other singular values) U^H, finite everywhere.
    u, s, vh = taper.linalg.svd(A, full_matrices=False)
    n = s.shape[-1]
    others = [taper.cat([s[..., :i], s[..., i + 1:]], -1).prod(-1) for i in range(n)]
    products = taper.stack(others, -1).to(A.dtype)
    phase = taper.linalg.det(u) * taper.linalg.det(vh)
    adjugate = phase[..., None, None] * (adjoint(vh) * products.unsqueeze(-2)) @ adjoint(u)
    return grad[..., None, None] * adjoint(adjugate)


@operator("linalg.slogdet", method="slogdet", aliases=("slogdet",), out=True,
          outputs=("sign", "logabsdet"), node="LinalgSlogdetBackward0", also={"input": "A"})
def slogdet(A: Tensor) -> Any:
    """Computes the sign (of modulus 1 if complex) and log of the absolute value of determinants.

    Shape:    (*, n, n) → (*), (*)
    Example:
        >>> import taper as torch
        >>> torch.linalg.slogdet(torch.eye(2)).logabsdet
        tensor(0.)
    """
    check_square(A, "linalg.slogdet")
    sign, logabsdet = linear_algebra.log_determinant(A)
    return sign, logabsdet


@slogdet.derivative("A")
def _(grads, result0, A):
    grad_sign, grad_log = grads
    if grad_log is None and (grad_sign is None or not A.is_complex()):
        return None
    scale = taper.zeros_like(result0) if grad_log is None else grad_log.to(A.dtype)
    if A.is_complex() and grad_sign is not None:
        # The phase moves with the imaginary part of trace(inverse(A) dA).
        turn = (grad_sign.conj() * result0).imag
        scale = scale - taper.complex(taper.zeros_like(turn), turn)
    identity = taper.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    scaled = scale.unsqueeze(-1).unsqueeze(-1) * identity
    return solve_left(adjoint(A), scaled)


@composite(method=True)
def logdet(input: Tensor) -> Tensor:
    """Computes the log of the determinant: NaN where it is negative.

    Shape:    (*, n, n) → (*)
    Example:
        >>> import taper as torch
        >>> torch.logdet(torch.eye(2))
        tensor(0.)
    """
    check_square(input._array, "logdet")
    sign, logabsdet = slogdet(input)
    if input.is_complex():
        return sign.log() + logabsdet
    return taper.where(sign == -1.0, float("nan"), logabsdet)


@operator(method=True, out=True, kinds="ifc")
def trace(input: Tensor) -> Tensor:
    """Adds up the diagonal of a matrix.

    Shape:    (m, n) → ()
    Example:
        >>> import taper as torch
        >>> torch.trace(torch.eye(3))
        tensor(3.)
    """
    if input.ndim != 2:
        raise RuntimeError("trace: expected a matrix, but got tensor with dim " + str(input.ndim))
    kind = np.int64 if input.dtype.kind in "biu" else None
    return np.add.reduce(input.diagonal(), 0, kind)


@trace.derivative("input")
def _(grad, input_shape):
    return taper.eye(*input_shape, dtype=grad.dtype, device=grad.device) * grad


@composite("linalg.diagonal")
def linalg_diagonal(
    A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1
) -> Tensor:
    """The diagonals of matrices, as a view; see `torch.diagonal`.

    Shape:    (*, m, n) → (*, k)
    Example:
        >>> import taper as torch
        >>> torch.linalg.diagonal(torch.eye(2))
        tensor([1., 1.])
    """
    return A.diagonal(offset, dim1, dim2)
