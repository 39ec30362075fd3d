"""Eigenvalues and singular values.

Derivatives follow Giles, Collected matrix derivative results (2008), and Townsend, Differentiating
the singular value decomposition (2016), in the conjugate convention of PyTorch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import taper
from taper.core.dtype import from_numpy_dtype
from taper.core.promotion import scalar_type_name
from taper.core.tensor import Tensor
from taper.kernels import linear_algebra
from taper.ops.declare import composite, operator
from taper.ops.matrix_checks import (
    check_kinds,
    check_matrix,
    check_square_sizes,
    has_non_finite,
    not_converged_error,
)
from taper.ops.return_types import named
from taper.ops.solve import adjoint, solve_left


def _check_sizes(a: Any, name: str) -> None:
    if a.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor A must have at least 2 dimensions.")
    check_square_sizes(a, name)


@operator("linalg.eigh", out=True, outputs=("eigenvalues", "eigenvectors"),
          node="LinalgEighBackward0")
def eigh(A: Tensor, UPLO: str = "L") -> Tensor:
    """Computes the eigenvalues, ascending, and eigenvectors of a symmetric or Hermitian matrix.

    Args:     UPLO: which triangle to read, "L" or "U"
    Shape:    (*, n, n) → (*, n), (*, n, n)
    Example:
        >>> import taper as torch
        >>> torch.linalg.eigh(torch.tensor([[2., 0.], [0., 1.]])).eigenvalues
        tensor([1., 2.])
    """
    _check_sizes(A, "linalg.eigh")
    check_kinds(A, "linalg_eigh_cpu")
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    try:
        values, vectors = linear_algebra.eigenvectors_of_symmetric(A, UPLO.upper())
    except np.linalg.LinAlgError:
        raise not_converged_error("linalg.eigh", A) from None
    return values, vectors


@eigh.derivative("A")
def _(grads, result0, result1):
    grad_values, grad_vectors = grads
    values, vectors = result0, result1
    h = adjoint(vectors)
    if grad_vectors is None:
        return vectors @ (grad_values.unsqueeze(-1) * h)
    gaps = values.unsqueeze(-2) - values.unsqueeze(-1)
    gaps = gaps + taper.diag_embed(taper.full_like(values, float("inf")))
    inner = (h @ grad_vectors) / gaps
    if grad_values is not None:
        inner = inner + taper.diag_embed(grad_values)
    return vectors @ inner @ h


@operator("linalg.eig", out=True, outputs=("eigenvalues", "eigenvectors"),
          node="LinalgEigBackward0")
def eig(A: Tensor) -> Tensor:
    """Computes the eigenvalues and eigenvectors of a square matrix, as complex numbers.

    Shape:    (*, n, n) → (*, n), (*, n, n)
    Example:
        >>> import taper as torch
        >>> torch.linalg.eig(torch.tensor([[2., 0.], [0., 3.]])).eigenvalues
        tensor([2.+0.j, 3.+0.j])
    """
    _check_sizes(A, "linalg.eig")
    if A.dtype.kind in "biu":
        name = scalar_type_name(from_numpy_dtype(A.dtype))
        raise RuntimeError(f"Unknown Complex ScalarType for {name}")
    check_kinds(A, "linalg_eig_out_cpu")
    if has_non_finite(A):
        raise RuntimeError("torch.linalg.eig: input tensor should not contain infs or NaNs.")
    return linear_algebra.complex_eigenvectors(A)


@eig.derivative("A")
def _(grads, result0, result1, A_dtype):
    grad_values, grad_vectors = grads
    values, vectors = result0, result1
    h = adjoint(vectors)
    if grad_vectors is None:
        inner = taper.diag_embed(grad_values)
    else:
        gram = h @ vectors
        projected = h @ grad_vectors
        real = projected.diagonal(0, -2, -1).real
        correction = projected - gram * real.unsqueeze(-2)
        gaps = (values.unsqueeze(-2) - values.unsqueeze(-1)).conj()
        gaps = gaps + taper.diag_embed(taper.ones_like(values))
        inner = correction / gaps
        inner = inner - taper.diag_embed(inner.diagonal(0, -2, -1))
        if grad_values is not None:
            inner = inner + taper.diag_embed(grad_values)
    found = solve_left(h, inner @ h)
    return found if A_dtype.is_complex else found.real


@operator(hidden=True, outputs=("U", "S", "Vh"), node="LinalgSvdBackward0")
def svd_full(A: Tensor, full_matrices: bool) -> Tensor:
    """A = U diag(S) Vh."""
    check_matrix(A, "linalg.svd")
    if type(A) is np.ndarray and bool(np.isnan(A).any()):
        raise not_converged_error("linalg.svd", A)
    try:
        u, s, vh = linear_algebra.singular_values(A, full_matrices)
    except np.linalg.LinAlgError:
        raise not_converged_error("linalg.svd", A) from None
    return u, s, vh


@svd_full.derivative("A")
def _(grads, result0, result1, result2, full_matrices):
    grad_u, grad_s, grad_vh = grads
    k = result1.shape[-1]
    u, s, vh = result0[..., :k], result1, result2[..., :k, :]
    if full_matrices:  # the further vectors only complete a basis: their gradient counts as zero
        grad_u = None if grad_u is None else grad_u[..., :k]
        grad_vh = None if grad_vh is None else grad_vh[..., :k, :]
    if grad_u is None and grad_vh is None:
        return u @ (grad_s.unsqueeze(-1) * vh)
    v = adjoint(vh)
    s2 = s * s
    gaps = s2.unsqueeze(-2) - s2.unsqueeze(-1)
    gaps = gaps + taper.diag_embed(taper.full_like(s, float("inf")))
    inner = 0
    if grad_u is not None:
        projected = adjoint(u) @ grad_u
        skew = (projected - adjoint(projected)) / gaps
        inner = inner + skew * s.unsqueeze(-2)
        if projected.is_complex():
            phase = projected.diagonal(0, -2, -1).imag / s
            inner = inner + taper.diag_embed(taper.complex(taper.zeros_like(phase), phase))
    if grad_vh is not None:
        projected = vh @ adjoint(grad_vh)
        skew = (projected - adjoint(projected)) / gaps
        inner = inner + s.unsqueeze(-1) * skew
    if grad_s is not None:
        inner = inner + taper.diag_embed(grad_s)
    found = u @ inner @ vh
    if grad_u is not None and u.shape[-2] > k:
        rest = grad_u / s.unsqueeze(-2)
        found = found + (rest - u @ (adjoint(u) @ rest)) @ vh
    if grad_vh is not None and vh.shape[-1] > k:
        rest = grad_vh / s.unsqueeze(-1)
        found = found + u @ (rest - (rest @ v) @ vh)
    return found


@composite("linalg.svd", out=True)
def svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    r"""Computes the singular value decomposition :math:`A = U \operatorname{diag}(S) V^H`.

    Shape:    (*, m, n) → U (*, m, m or k), S (*, k) descending, Vh (*, n or k, n), k = min(m, n)
    Example:
        >>> import taper as torch
        >>> torch.linalg.svd(torch.tensor([[0., 2.], [1., 0.]])).S
        tensor([2., 1.])
    """
    if driver is not None:
        raise RuntimeError("torch.linalg.svd: keyword argument `driver=` is only supported on CUDA "
                           "inputs with cuSOLVER backend.")
    return named("linalg_svd", ("U", "S", "Vh"))(svd_full(A, full_matrices))


@composite("linalg.svdvals", out=True)
def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """Computes the singular values, descending.

    Shape:    (*, m, n) → (*, min(m, n))
    Example:
        >>> import taper as torch
        >>> torch.linalg.svdvals(torch.tensor([[0., 2.], [1., 0.]]))
        tensor([2., 1.])
    """
    return svd_full(A, False)[1]


@composite("linalg.eigvals", out=True)
def eigvals(A: Tensor) -> Tensor:
    """Computes the eigenvalues of a square matrix, as complex numbers.

    Shape:    (*, n, n) → (*, n)
    Example:
        >>> import taper as torch
        >>> torch.linalg.eigvals(torch.tensor([[2., 0.], [0., 3.]]))
        tensor([2.+0.j, 3.+0.j])
    """
    return eig(A)[0]


@composite("linalg.eigvalsh", out=True)
def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """Computes the eigenvalues, ascending, of a symmetric or Hermitian matrix.

    Shape:    (*, n, n) → (*, n)
    Example:
        >>> import taper as torch
        >>> torch.linalg.eigvalsh(torch.tensor([[2., 0.], [0., 1.]]))
        tensor([1., 2.])
    """
    return eigh(A, UPLO)[0]


@composite("svd", method=True, out=True)
def old_svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    r"""Computes :math:`A = U \operatorname{diag}(S) V^H`; `linalg.svd` is its successor.

    Args:     some: U and V have only min(m, n) columns;  compute_uv: if False they are zeros
    Example:
        >>> import taper as torch
        >>> torch.svd(torch.tensor([[0., 2.], [1., 0.]])).S
        tensor([2., 1.])
    """
    if input.ndim < 2:
        raise RuntimeError(
            f"linalg.svd: input should have at least 2 dimensions, but has {input.ndim} dimensions "
            "instead"
        )
    fields = ("U", "S", "V")
    if not compute_uv:
        m, n = input.shape[-2:]
        zeros = [input.new_zeros(*input.shape[:-2], k, k) for k in (m, n)]
        return named("svd", fields)((zeros[0], svdvals(input), zeros[1]))
    u, s, vh = svd_full(input, not some)
    return named("svd", fields)((u, s, adjoint(vh)))
