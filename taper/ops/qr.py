"""QR factorizations and products of Householder reflectors.

The derivative of QR follows Walter and Lehmann, Algorithmic differentiation of linear algebra
functions (2018), with real diagonals of R also for complex matrices.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import taper
from taper.core.dtype import from_numpy_dtype
from taper.core.promotion import scalar_type_name
from taper.core.tensor import Tensor
from taper.core.user_warning import warn_once
from taper.kernels import lapack, linear_algebra
from taper.ops.declare import composite, operator
from taper.ops.matrix_checks import check_kinds, check_matrix
from taper.ops.return_types import named
from taper.ops.solve import adjoint, solve_triangular


@operator("linalg.qr", out=True, outputs=("Q", "R"), node="LinalgQrBackward0")
def qr(A: Tensor, mode: str = "reduced") -> Tensor:
    """Factors a matrix into one with orthonormal columns and an upper triangular one.

    Args:     mode: "reduced" (Q is m x k), "complete" (m x m) or "r" (Q is empty)
    Shape:    (*, m, n) → (*, m, k), (*, k, n) with k = min(m, n)
    Example:
        >>> import taper as torch
        >>> torch.linalg.qr(torch.tensor([[3.], [4.]])).R.abs()
        tensor([[5.]])
    """
    check_matrix(A, "linalg.qr")
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', "
            "or 'complete'"
        )
    if mode == "r":
        return np.zeros_like(A, shape=(0,)), linear_algebra.qr(A, "r")
    q, r = linear_algebra.qr(A, mode)
    return q, r


@qr.derivative("A")
def _(grads, result0, result1, mode):
    if mode == "r":
        raise RuntimeError(
            "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. "
            "Please use linalg.qr(A, mode='reduced') if you are going to require gradients."
        )
    q, r = result0, result1
    m, n = q.shape[-2], r.shape[-1]
    if mode == "complete" and m > n:
        raise RuntimeError(
            "The QR decomposition is not differentiable when mode='complete' and nrows > ncols"
        )
    return _tall_gradient(*grads, q, r) if m >= n else _wide_gradient(*grads, q, r)


def _tall_gradient(grad_q: Any, grad_r: Any, q: Tensor, r: Tensor) -> Tensor:
    """(grad_Q + Q S) R^-H, with S the Hermitian matrix of the upper triangle of
    R grad_R^H - grad_Q^H Q, adjoint taken: Q's tangent is skew, R's upper triangular."""
    inner = 0
    if grad_r is not None:
        inner = grad_r @ adjoint(r)
    if grad_q is not None:
        inner = inner - adjoint(q) @ grad_q
    total = q @ _hermitian_of_upper(inner)
    if grad_q is not None:
        total = total + grad_q
    return solve_triangular(adjoint(r), total, upper=False, left=False)


def _wide_gradient(grad_q: Any, grad_r: Any, q: Tensor, r: Tensor) -> Tensor:
    """The first m columns of A determine Q; R = Q^H A is linear in A but for Q's tangent."""
    m = q.shape[-1]
    inner = 0
    if grad_q is not None:
        inner = adjoint(q) @ grad_q
    if grad_r is not None:
        inner = inner - grad_r @ adjoint(r)
    skew = (inner - adjoint(inner)).tril()
    skew = skew - 0.5 * skew.diagonal(0, -2, -1).diag_embed()
    first = r[..., :m]
    part = q @ solve_triangular(adjoint(first), skew, upper=False, left=False)
    part = taper.nn.functional.pad(part, (0, r.shape[-1] - m))
    return part if grad_r is None else part + q @ grad_r


def _hermitian_of_upper(x: Tensor) -> Tensor:
    """The Hermitian matrix with the upper triangle of x and the real part of its diagonal."""
    upper = x.triu(1)
    diagonal = x.diagonal(0, -2, -1)
    if x.is_complex():
        diagonal = diagonal.real.to(x.dtype)
    return upper + adjoint(upper) + diagonal.diag_embed()


@composite("qr", method=True, out=True)
def deprecated_qr(input: Tensor, some: bool = True) -> Any:
    """Factors a matrix into Q and R. Deprecated: use `linalg.qr`.

    Shape:    (*, m, n) → Q (*, m, k), R (*, k, n) with k = min(m, n), or m unless `some`
    Example:
        >>> import taper as torch
        >>> torch.qr(torch.tensor([[3.], [4.]])).R.abs()
        tensor([[5.]])
    """
    warn_once(
        "qr",
        "torch.qr is deprecated in favor of torch.linalg.qr and will be removed in a future "
        "PyTorch release.\nThe boolean parameter 'some' has been replaced with a string parameter "
        "'mode'.\nQ, R = torch.qr(A, some)\nshould be replaced with\n"
        "Q, R = torch.linalg.qr(A, 'reduced' if some else 'complete')",
    )
    return named("qr", ("Q", "R"))(qr(input, "reduced" if some else "complete"))


# -- reflectors ----------------------------------------------------------------------------------


@operator(method=True, out=True, outputs=("a", "tau"), node="GeqrfBackward0")
def geqrf(input: Tensor) -> Tensor:
    """Computes QR in LAPACK's form: R above, and below it the reflectors, with factors `tau`.

    Shape:    (*, m, n) → a (*, m, n), tau (*, min(m, n))
    Example:
        >>> import taper as torch
        >>> torch.geqrf(torch.tensor([[2.]])).tau
        tensor([0.])
    """
    if input.ndim < 2:
        raise RuntimeError("torch.geqrf: input must have at least 2 dimensions.")
    check_kinds(input, "geqrf_cpu")
    return lapack.qr_factor(input)


@geqrf.derivative("input")
def _(grads):
    raise NotImplementedError("the derivative for 'geqrf' is not implemented.")


def _check_reflectors(input: Any, tau: Any, name: str) -> None:
    if input.ndim < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions.")
    if input.ndim - tau.ndim != 1:
        raise RuntimeError(
            f"{name}: Expected tau to have one dimension less than input, but got tau.ndim equal "
            f"to {tau.ndim} and input.ndim is equal to {input.ndim}"
        )
    if tau.shape[:-1] != input.shape[:-2]:
        raise RuntimeError(
            f"{name}: Expected batch dimensions of tau to be equal to input.shape[:-2], but got "
            f"{list(tau.shape[:-1])}"
        )
    if tau.dtype != input.dtype:
        a, b = (scalar_type_name(from_numpy_dtype(x.dtype)) for x in (tau, input))
        raise RuntimeError(f"{name}: tau dtype {a} does not match input dtype {b}")


@operator("linalg.householder_product", out=True, method="orgqr", aliases=("orgqr",),
          also={"A": "input", "input2": "tau"},
          node="LinalgHouseholderProductBackward0")
def householder_product(input: Tensor, tau: Tensor) -> Tensor:
    r"""The first n columns of :math:`H_1 H_2 \cdots H_k`, :math:`H_i = I - \tau_i v_i v_i^H`.

    Column i of `input` has :math:`v_i` below its diagonal; a one stands on it, zeros above.

    Shape: input (*, m, n), tau (*, k), m >= n >= k → (*, m, n)
    Example:
        >>> import taper as torch
        >>> torch.linalg.householder_product(torch.tensor([[9.], [1.]]), torch.tensor([1.]))
        tensor([[ 0.],
                [-1.]])
    """
    name = "torch.linalg.householder_product"
    if input.ndim >= 2:
        if input.shape[-2] < input.shape[-1]:
            raise RuntimeError(
                f"{name}: input.shape[-2] must be greater than or equal to input.shape[-1]"
            )
        if tau.ndim and input.ndim - tau.ndim == 1 and input.shape[-1] < tau.shape[-1]:
            raise RuntimeError(
                f"{name}: input.shape[-1] must be greater than or equal to tau.shape[-1]"
            )
    _check_reflectors(input, tau, name)
    return lapack.householder_product(input, tau)


@householder_product.derivative("input", "tau")
def _(grad, input, tau):
    if not input.numel() or not tau.numel():
        return None, None
    columns = taper.eye(*input.shape[-2:], dtype=input.dtype, device=input.device)
    columns = columns.expand(*input.shape)
    grad_input, grad_tau, _ = _gradient_of_reflections(grad, input, tau, columns, False)
    return grad_input, grad_tau


def _reflector(input: Tensor, i: int) -> Tensor:
    """v_i as a column."""
    m = input.shape[-2]
    below = input[..., i + 1 :, i : i + 1]
    one = input.new_ones((*input.shape[:-2], 1, 1))
    column = taper.cat([one, below], -2)
    return taper.nn.functional.pad(column, (0, 0, m - column.shape[-2], 0))


def _gradient_of_reflections(
    grad: Tensor, input: Tensor, tau: Tensor, start: Tensor, transpose: bool
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Gradients of H_1 … H_k C (or of H_k^H … H_1^H C) with respect to input, tau and C.

    From :math:`dH = -d\tau\, v v^H - \tau\, dv\, v^H - \tau\, v\, dv^H`, between what the
    reflectors on its right made of C and what those on its left make of the gradient.
    """
    k = tau.shape[-1]
    order = list(range(k)) if transpose else list(range(k - 1, -1, -1))
    vectors = [_reflector(input, i) for i in range(k)]
    factors: list[Any] = [tau[..., i : i + 1].unsqueeze(-1) for i in range(k)]
    if transpose:
        factors = [adjoint(f) for f in factors]
    inputs, c = {}, start
    for i in order:
        inputs[i] = c
        v = vectors[i]
        c = c - factors[i] * (v @ (adjoint(v) @ c))
    of_columns: dict[int, Tensor] = {}
    of_factors: dict[int, Tensor] = {}
    for i in reversed(order):
        v, factor, c = vectors[i], factors[i], inputs[i]
        gv, cv = adjoint(grad) @ v, adjoint(c) @ v
        of_factors[i] = -(adjoint(cv) @ gv).conj().squeeze(-1)
        of_vector = -(adjoint(factor) * (grad @ cv) + factor * (c @ gv))
        of_columns[i] = of_vector.tril(-1 - i)
        grad = grad - adjoint(factor) * (v @ (adjoint(v) @ grad))
    if not k:
        return taper.zeros_like(input), taper.zeros_like(tau), grad
    grad_tau = taper.cat([of_factors[i] for i in range(k)], -1)
    grad_input = taper.cat([of_columns[i] for i in range(k)], -1)
    if input.shape[-1] > k:
        grad_input = taper.nn.functional.pad(grad_input, (0, input.shape[-1] - k))
    return grad_input, grad_tau.conj() if transpose else grad_tau, grad


@operator(method=True, out=True, also={"input2": "tau", "input3": "other"})
def ormqr(
    input: Tensor, tau: Tensor, other: Tensor, left: bool = True, transpose: bool = False
) -> Tensor:
    """Multiplies `other` with the product Q of Householder reflectors, without forming Q.

    Args:     left: Q @ other, else other @ Q;  transpose: take Q^H for Q
    Shape:    input (*, m, k), tau (*, k), other (*, m, n) (or (*, n, m)) → as other
    Example:
        >>> import taper as torch
        >>> torch.ormqr(torch.tensor([[9.], [1.]]), torch.tensor([1.]), torch.eye(2))
        tensor([[ 0., -1.],
                [-1.,  0.]])
    """
    name = "torch.ormqr"
    if input.ndim < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions.")
    if other.ndim < 2:
        raise RuntimeError(f"{name}: other must have at least 2 dimensions.")
    side = -2 if left else -1
    if other.shape[side] != input.shape[-2]:
        raise RuntimeError(f"{name}: other.shape[{side}] must be equal to input.shape[-2]")
    if tau.shape[-1] != min(other.shape[side], input.shape[-1]):
        raise RuntimeError(
            f"{name}: tau.shape[-1] must be equal to min(other.shape[{side}], input.shape[-1])"
        )
    _check_reflectors(input, tau, name)
    return lapack.apply_reflectors(input, tau, other, left, transpose)


@ormqr.derivative("input", "tau", "other")
def _(grad, input, tau, other, left, transpose):
    if not input.numel():
        return None, None, grad
    if left:
        return _gradient_of_reflections(grad, input, tau, other, transpose)
    # C Q is the adjoint of Q^H C^H.
    found = _gradient_of_reflections(adjoint(grad), input, tau, adjoint(other), not transpose)
    return found[0], found[1], adjoint(found[2])
