"""Ready-made parametrizations: weight norm, spectral norm, orthogonal matrices."""

from __future__ import annotations

from typing import Any

import taper
import taper.nn.functional as F
from taper import Tensor
from taper.nn.modules.module import Module
from taper.nn.utils import parametrize

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


def norm_except_dim(weight: Tensor, dim: int | None) -> Tensor:
    """The 2-norm over all dimensions but `dim`, which are kept; over all if `dim` is None or -1."""
    if dim is None or dim == -1:
        return taper.linalg.vector_norm(weight)
    others = [d for d in range(weight.dim()) if d != dim]
    return taper.linalg.vector_norm(weight, 2, others, keepdim=True)


class _WeightNorm(Module):
    r""":math:`w = g \, v / \|v\|`: the length of each row is learned apart from its direction."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return weight_v * (weight_g / norm_except_dim(weight_v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return norm_except_dim(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int = 0) -> Module:
    """Learns length and direction of a weight apart (Salimans & Kingma, 2016).

    ``parametrizations.weight.original0`` is the length, ``original1`` the direction.

    Args:
        dim: the dimension along which there are several lengths; None: there is one.
    """
    parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def read_older_names(state_dict: Any, prefix: str, *rest: Any) -> None:
        old = [f"{prefix}{name}_g", f"{prefix}{name}_v"]
        if all(key in state_dict for key in old):
            for index, key in enumerate(old):
                state_dict[f"{prefix}parametrizations.{name}.original{index}"] = state_dict.pop(key)

    module._register_load_state_dict_pre_hook(read_older_names)
    return module


class _SpectralNorm(Module):
    """Divides a weight by its largest singular value, found by the power method."""

    def __init__(
        self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12
    ) -> None:
        super().__init__()
        ndim = weight.ndim
        if not -ndim <= dim < ndim:
            raise IndexError(
                "Dimension out of range (expected to be in range of "
                f"[-{ndim}, {ndim - 1}] but got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                "Expected n_power_iterations to be positive, but got "
                f"n_power_iterations={n_power_iterations}"
            )
        self.dim = dim % ndim
        self.eps = eps
        if ndim > 1:  # a vector is divided by its own norm
            self.n_power_iterations = n_power_iterations
            matrix = self._as_matrix(weight)
            rows, columns = matrix.size()
            u = matrix.new_empty(rows).normal_(0, 1)
            v = matrix.new_empty(columns).normal_(0, 1)
            self.register_buffer("_u", F.normalize(u, dim=0, eps=self.eps))
            self.register_buffer("_v", F.normalize(v, dim=0, eps=self.eps))
            self._power_method(matrix, 15)

    def _as_matrix(self, weight: Tensor) -> Tensor:
        if self.dim != 0:
            weight = weight.movedim(self.dim, 0)
        return weight.flatten(1)

    def _power_method(self, matrix: Tensor, iterations: int) -> None:
        with taper.no_grad():
            for _ in range(iterations):
                self._u.copy_(F.normalize(taper.mv(matrix, self._v), dim=0, eps=self.eps))
                self._v.copy_(F.normalize(taper.mv(matrix.H, self._u), dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = self._as_matrix(weight)
        if self.training:
            self._power_method(matrix, self.n_power_iterations)
        # Copies: the vectors change in place at the next call, before this one's backward, maybe.
        u, v = self._u.clone(), self._v.clone()
        return weight / taper.vdot(u, taper.mv(matrix, v))

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Keeps the largest singular value of a weight at 1 (Miyato et al., 2018).

    Args:
        n_power_iterations: steps of the power method per call in training.
        dim: the dimension of the outputs, default: 0, or 1 for transposed convolutions.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if dim is None:
        dim = 1 if getattr(module, "transposed", False) else 0
    norm = _SpectralNorm(weight, n_power_iterations, dim, eps)
    return parametrize.register_parametrization(module, name, norm)


class _Orthogonal(Module):
    """Makes a matrix orthogonal, as a function of a matrix without constraints."""

    base: Tensor | None

    def __init__(
        self, weight: Tensor, orthogonal_map: str, *, use_trivialization: bool = True
    ) -> None:
        super().__init__()
        if weight.is_complex() and orthogonal_map == "householder":
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Tensor:
        transposed = X.size(-2) < X.size(-1)
        tall = X.mT if transposed else X
        rows, columns = tall.size(-2), tall.size(-1)
        if self.orthogonal_map == "householder":
            lower = tall.tril(diagonal=-1)
            tau = 2.0 / (1.0 + (lower * lower).sum(dim=-2))
            q = taper.linalg.householder_product(lower, tau)
            # The diagonal holds signs, through which nothing is learned.
            q = q * tall.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)
        else:
            lower = tall.tril()
            if rows != columns:
                fill = tall.new_zeros(rows, rows - columns)
                lower = taper.cat([lower, fill.expand(*tall.shape[:-2], -1, -1)], dim=-1)
            skew = lower - lower.mH
            if self.orthogonal_map == "matrix_exp":
                q = taper.matrix_exp(skew)
            else:  # Cayley: (I - A/2)⁻¹ (I + A/2)
                identity = taper.eye(rows, dtype=skew.dtype, device=skew.device)
                q = taper.linalg.solve(identity - 0.5 * skew, identity + 0.5 * skew)
            q = q[..., :columns] if rows != columns else q
        if getattr(self, "base", None) is not None:
            q = self.base @ q
        return q.mT if transposed else q

    def right_inverse(self, Q: Tensor) -> Tensor:
        if Q.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of "
                f"shape {Q.shape}."
            )
        transposed = Q.size(-2) < Q.size(-1)
        tall = Q.mT if transposed else Q
        rows, columns = tall.size(-2), tall.size(-1)
        if not hasattr(self, "base"):
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley "
                    "parametrizations when use_trivialization=False."
                )
            return self._householder_inverse(tall, transposed)
        if rows == columns:
            base = tall.clone() if _is_orthogonal(tall) else _make_orthogonal(tall)
        else:
            random = taper.randn(
                *tall.size()[:-2], rows, rows - columns, dtype=tall.dtype, device=tall.device
            )
            base = taper.cat([tall, random], dim=-1)
            base = _make_orthogonal(base)
        self.base = base
        identity = taper.zeros_like(tall)
        identity.diagonal(dim1=-2, dim2=-1).fill_(-1.0 if self.orthogonal_map == "householder"
                                                  else 0.0)
        return identity.mT if transposed else identity

    @staticmethod
    def _householder_inverse(tall: Tensor, transposed: bool) -> Tensor:
        lower, tau = taper.geqrf(tall)
        lower.diagonal(dim1=-2, dim2=-1).sign_()
        lower.diagonal(dim1=-2, dim2=-1)[tau == 0.0] *= -1
        return lower.mT if transposed else lower


def _is_orthogonal(matrix: Tensor) -> bool:
    columns = matrix.size(-1)
    identity = taper.eye(columns, dtype=matrix.dtype, device=matrix.device)
    eps = 10.0 * columns * taper.finfo(matrix.dtype).eps
    return bool(taper.allclose(matrix.mH @ matrix, identity, atol=eps))


def _make_orthogonal(matrix: Tensor) -> Tensor:
    """Q of the QR decomposition, with signs so that orthogonal columns stay what they are."""
    factors, tau = taper.geqrf(matrix)
    q = taper.linalg.householder_product(factors, tau)
    q *= factors.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)
    return q


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: str | None = None, *,
    use_trivialization: bool = True,
) -> Module:
    """Keeps a matrix orthogonal (or its rows or columns, if it is not square).

    Args:
        orthogonal_map: ``"matrix_exp"``, ``"cayley"`` or ``"householder"``; default: the first
            for square and complex matrices, the last for others.
        use_trivialization: whether to learn the difference to the present matrix (Lezcano, 2019).
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.ndim < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} "
                         "dimensions.")
    if orthogonal_map is None:
        square = weight.size(-2) == weight.size(-1)
        orthogonal_map = "matrix_exp" if square or weight.is_complex() else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(
            "orthogonal_map has to be one of \"matrix_exp\", \"cayley\", \"householder\". Got: "
            f"{orthogonal_map}"
        )
    chosen = _Orthogonal(weight, orthogonal_map, use_trivialization=use_trivialization)
    return parametrize.register_parametrization(module, name, chosen, unsafe=True)
