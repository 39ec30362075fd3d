"""Matrix factorizations: Cholesky, QR, eigenvalues, singular values.

Derivatives follow Giles, Collected matrix derivative results (2008), and Townsend, Differentiating
the singular value decomposition (2016), in the conjugate convention of PyTorch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import taper
from taper.core.errors import LinAlgError
from taper.core.tensor import Tensor
from taper.ops.declare import composite, operator
from taper.ops.matrix_checks import check_matrix, check_square, has_non_finite, not_definite_error
from taper.ops.solve import adjoint, solve_left


@operator(hidden=True, node="LinalgCholeskyExBackward0")
def cholesky_lower(A: Tensor) -> Tensor:  # noqa: N803 - PyTorch's argument name
    """The lower Cholesky factor; reads the lower triangle."""
    check_square(A, "linalg.cholesky")
    try:
        return np.linalg.cholesky(A)
    except np.linalg.LinAlgError:
        raise not_definite_error("linalg.cholesky", A) from None


@cholesky_lower.derivative("A")
def _(grad, result):
    h = adjoint(result)
    phi = (h @ grad).tril()
    phi = phi - 0.5 * taper.diag_embed(phi.diagonal(0, -2, -1))
    # inverse(L^H) phi inverse(L), by two triangular systems
    left = solve_left(h, phi)
    found = adjoint(solve_left(h, adjoint(left)))
    return 0.5 * (found + adjoint(found))


@composite("linalg.cholesky", out=True)
def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:  # noqa: N803
    r"""Factors a positive definite matrix: :math:`A = L L^H`, or :math:`U^H U` with `upper`.

    Shape:    (*, n, n) → (*, n, n)
    Raises:   LinAlgError: if a matrix is not positive definite
    Example:
        >>> import taper as torch
        >>> torch.linalg.cholesky(torch.tensor([[4., 2.], [2., 5.]]))
        tensor([[2., 0.],
                [1., 2.]])
    """
    lower = cholesky_lower(A)
    return adjoint(lower) if upper else lower


@operator("linalg.qr", out=True, outputs=("Q", "R"), node="LinalgQrBackward0")
def qr(A: Tensor, mode: str = "reduced") -> Tensor:  # noqa: N803
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
        return np.zeros_like(A, shape=(0,)), np.linalg.qr(A, "r")
    q, r = np.linalg.qr(A, mode)
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
    grad_q, grad_r = grads
    if grad_q is None and grad_r is None:
        return None
    inner = 0
    if grad_r is not None:
        inner = inner + r[..., : r.shape[-2]] @ adjoint(grad_r[..., : r.shape[-2]]) if (
            m >= n) else inner + grad_r @ adjoint(r)
    if m >= n:
        found = (r @ adjoint(grad_r)) if grad_r is not None else 0
        if grad_q is not None:
            found = found - adjoint(grad_q) @ q
        symmetric = _copy_lower(found)
        total = q @ symmetric
        if grad_q is not None:
            total = total + grad_q
        return adjoint(solve_left(r, adjoint(total)))
    # Wide matrices: the first m columns determine Q; the rest of R is linear in the rest of A.
    left = r[..., :m]
    found = inner
    if grad_q is not None:
        found = found - adjoint(q) @ grad_q if grad_r is None else found - adjoint(q) @ grad_q
    lower = _lower_to_skew(found)
    first = solve_left(left, adjoint(q @ lower) if False else adjoint(lower))
    total = q @ adjoint(first)
    total = taper.nn.functional.pad(total, (0, n - m))
    if grad_r is not None:
        total = total + q @ _upper_part(grad_r, m)
    return total


def _copy_lower(x: Tensor) -> Tensor:
    """The Hermitian matrix with the lower triangle of x."""
    lower = x.tril(-1)  # type: ignore[attr-defined]
    diagonal = taper.diag_embed(x.diagonal(0, -2, -1).real)  # type: ignore[attr-defined]
    return lower + adjoint(lower) + diagonal  # type: ignore[no-any-return, operator]


def _lower_to_skew(x: Tensor) -> Tensor:
    lower = (x - adjoint(x)).tril(-1)  # type: ignore[operator, attr-defined]
    return lower


def _upper_part(grad_r: Tensor, m: int) -> Tensor:
    return grad_r


@operator("linalg.eigh", out=True, outputs=("eigenvalues", "eigenvectors"),
          node="LinalgEighBackward0")
def eigh(A: Tensor, UPLO: str = "L") -> Tensor:  # noqa: N803
    """Computes the eigenvalues, ascending, and eigenvectors of a symmetric or Hermitian matrix.

    Args:     UPLO: which triangle to read, "L" or "U"
    Shape:    (*, n, n) → (*, n), (*, n, n)
    Example:
        >>> import taper as torch
        >>> torch.linalg.eigh(torch.tensor([[2., 0.], [0., 1.]])).eigenvalues
        tensor([1., 2.])
    """
    check_square(A, "linalg.eigh")
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    found = np.linalg.eigh(A, UPLO.upper())
    return found[0], found[1]


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
def eig(A: Tensor) -> Tensor:  # noqa: N803
    """Computes the eigenvalues and eigenvectors of a square matrix, as complex numbers.

    Shape:    (*, n, n) → (*, n), (*, n, n)
    Example:
        >>> import taper as torch
        >>> torch.linalg.eig(torch.tensor([[2., 0.], [0., 3.]])).eigenvalues
        tensor([2.+0.j, 3.+0.j])
    """
    check_square(A, "linalg.eig")
    if has_non_finite(A):
        raise RuntimeError("torch.linalg.eig: input tensor should not contain infs or NaNs.")
    values, vectors = np.linalg.eig(A)
    kind = np.complex64 if A.dtype.itemsize * (1 if A.dtype.kind == "c" else 2) == 8 else (
        np.complex128
    )
    return values.astype(kind), vectors.astype(kind)


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
def svd_full(A: Tensor, full_matrices: bool) -> Tensor:  # noqa: N803
    """A = U diag(S) Vh."""
    check_matrix(A, "linalg.svd")
    if has_non_finite(A):
        raise LinAlgError(
            "linalg.svd: The algorithm failed to converge because the input matrix contained "
            "non-finite values."
        )
    found = np.linalg.svd(A, full_matrices)
    return found[0], found[1], found[2]


@svd_full.derivative("A")
def _(grads, result0, result1, result2, full_matrices):
    grad_u, grad_s, grad_vh = grads
    k = result1.shape[-1]
    u, s, vh = result0[..., :k], result1, result2[..., :k, :]
    if full_matrices and (grad_u is not None or grad_vh is not None) and (
        result0.shape[-1] != k or result2.shape[-2] != k
    ):
        raise RuntimeError(
            "svd_backward: The derivative of the full SVD with respect to the extra columns of U "
            "or rows of Vh is not defined. Use full_matrices=False."
        )
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


def _named(name: str, fields: tuple[str, ...], values: Any) -> Any:
    from taper.ops.return_types import named

    return named(name, fields)(values)


@composite("linalg.svd", out=True)
def svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> Any:  # noqa: N803
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
    return _named("linalg_svd", ("U", "S", "Vh"), svd_full(A, full_matrices))


@composite("linalg.svdvals", out=True)
def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:  # noqa: N803
    """Computes the singular values, descending.

    Example:
        >>> import taper as torch
        >>> torch.linalg.svdvals(torch.tensor([[0., 2.], [1., 0.]]))
        tensor([2., 1.])
    """
    return svd_full(A, False)[1]  # type: ignore[no-any-return]


@composite("linalg.eigvals", out=True)
def eigvals(A: Tensor) -> Tensor:  # noqa: N803
    """Computes the eigenvalues of a square matrix, as complex numbers.

    Example:
        >>> import taper as torch
        >>> torch.linalg.eigvals(torch.tensor([[2., 0.], [0., 3.]]))
        tensor([2.+0.j, 3.+0.j])
    """
    return eig(A)[0]  # type: ignore[no-any-return]


@composite("linalg.eigvalsh", out=True)
def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:  # noqa: N803
    """Computes the eigenvalues, ascending, of a symmetric or Hermitian matrix.

    Example:
        >>> import taper as torch
        >>> torch.linalg.eigvalsh(torch.tensor([[2., 0.], [0., 1.]]))
        tensor([1., 2.])
    """
    return eigh(A, UPLO)[0]  # type: ignore[no-any-return]
