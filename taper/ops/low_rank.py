"""A few eigenpairs, singular values or components: factorizations of low rank.

Source: Halko, Martinsson and Tropp, Finding structure with randomness (2011), algorithms 4.4, 5.1.
"""

from __future__ import annotations

from typing import Any

import taper
from taper.core.tensor import Tensor
from taper.ops.declare import composite
from taper.ops.solve import adjoint


def _range_of(A: Tensor, q: int, niter: int, M: Tensor | None) -> Tensor:
    """Orthonormal columns that nearly span what A (less M) maps to, by subspace iteration."""

    def times(x: Tensor) -> Tensor:
        product = A @ x
        return product if M is None else product - M @ x

    def adjoint_times(x: Tensor) -> Tensor:
        product = adjoint(A) @ x
        return product if M is None else product - adjoint(M) @ x

    start = taper.randn(A.shape[-1], q, dtype=A.dtype, device=A.device)
    basis = taper.linalg.qr(times(start)).Q
    for _ in range(niter):
        basis = taper.linalg.qr(adjoint_times(basis)).Q
        basis = taper.linalg.qr(times(basis)).Q
    return basis


def _svd(A: Tensor, q: int, niter: int, M: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    wide = A.shape[-2] < A.shape[-1]
    if wide:  # the factors of the adjoint, exchanged
        A = adjoint(A)
        M = None if M is None else adjoint(M)
    basis = _range_of(A, q, niter, M)
    small = adjoint(basis) @ A
    if M is not None:
        small = small - adjoint(basis) @ M
    u, s, vh = taper.linalg.svd(small, full_matrices=False)
    u, v = basis @ u, adjoint(vh)
    return (v, s, u) if wide else (u, s, v)


@composite()
def svd_lowrank(
    A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Approximates the `q` largest singular values and their vectors: A (less M) = U diag(S) V^H.

    Args:     q: a little more than the rank;  niter: subspace iterations;  M: subtracted, broadcast
    Shape:    (*, m, n) → U (*, m, q), S (*, q), V (*, n, q)
    Example:
        >>> import taper as torch
        >>> torch.svd_lowrank(torch.diag(torch.tensor([3., 2., 0.])), q=2)[1].round(decimals=3)
        tensor([3., 2.])
    """
    q = 6 if q is None else q
    if M is not None:
        M = M.broadcast_to(A.shape)
    return _svd(A, q, 2 if niter is None else niter, M)


@composite()
def pca_lowrank(
    A: Tensor, q: int | None = None, center: bool = True, niter: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    """Approximates the `q` main components of rows of data: U, S, V of A less its columns' means.

    Args: q: default min(6, m, n);  center: whether to subtract the means
    Shape:    (*, m, n) → U (*, m, q), S (*, q), V (*, n, q)
    Example:
        >>> import taper as torch
        >>> A = torch.tensor([[1., 5.], [3., 5.]])
        >>> torch.pca_lowrank(A, q=1)[1].round(decimals=3)
        tensor([1.4140])
    """
    m, n = A.shape[-2:]
    if q is None:
        q = min(6, m, n)
    elif not 0 <= q <= min(m, n):
        raise ValueError(
            f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}"
        )
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    if not center:
        return _svd(A, q, niter, None)
    return _svd(A - A.mean(-2, keepdim=True), q, niter, None)


@composite()
def lobpcg(
    A: Tensor, k: int | None = None, B: Tensor | None = None, X: Tensor | None = None,
    n: int | None = None, iK: Tensor | None = None, niter: int | None = None,
    tol: float | None = None, largest: bool | None = None, method: str | None = None,
    tracker: Any = None, ortho_iparams: Any = None, ortho_fparams: Any = None,
    ortho_bparams: Any = None,
) -> tuple[Tensor, Tensor]:
    """Finds the `k` largest (or smallest) eigenpairs of A x = e B x, for symmetric A, definite B.

    taper computes them all by `linalg.eigh` and hands out `k`: what only steers PyTorch's
    iteration (`X` but for its number of columns, `iK`, `niter`, `tol`, `method` …) has no effect.

    Shape:    A (*, m, m), B the same, X (*, m, k) → eigenvalues (*, k), eigenvectors (*, m, k)
    Example:
        >>> import taper as torch
        >>> torch.lobpcg(torch.diag(torch.arange(6.)), k=2)[0]
        tensor([5., 4.])
    """
    for name, given in (("A", A), ("B", B)):
        if given is not None and (given.ndim < 2 or given.shape[-1] != given.shape[-2]):
            raise ValueError(f"lobpcg: {name} must be square, got shape {list(given.shape)}")
    k = k or n or (1 if X is None else X.shape[-1])
    if A.shape[-1] < 3 * k:
        raise ValueError(
            f"LOBPCG algorithm is not applicable when the number of A rows (={A.shape[-1]}) is "
            f"smaller than 3 x the number of requested eigenpairs (={k})"
        )
    matrix = A.to_dense()
    factor = None if B is None else taper.linalg.cholesky(B.to_dense())
    solve = taper.linalg.solve_triangular
    if factor is not None:
        matrix = solve(factor, matrix, upper=False)
        matrix = solve(adjoint(factor), matrix, upper=True, left=False)
    values, vectors = taper.linalg.eigh(matrix)
    if largest is None or largest:
        values, vectors = values.flip(-1), vectors.flip(-1)
    values, vectors = values[..., :k], vectors[..., :k]
    if factor is not None:
        vectors = solve(adjoint(factor), vectors, upper=True)
    return values, vectors
