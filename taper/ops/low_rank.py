"""Randomized factorizations of low rank.

Source: Halko, Martinsson and Tropp, Finding structure with randomness (2011), algorithms 4.4, 5.1.
"""

from __future__ import annotations

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
