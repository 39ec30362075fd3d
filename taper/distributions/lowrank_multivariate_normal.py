"""Multivariate normal distributions whose covariance is a few directions plus a diagonal."""

from __future__ import annotations

import math
from typing import Any

import taper as torch
from taper import Tensor
from taper.distributions import constraints
from taper.distributions.distribution import Distribution
from taper.distributions.multivariate_normal import (
    log_det_of_factor,
    mahalanobis,
    matrix_vector,
)
from taper.distributions.utils import lazy_property

__all__ = ["LowRankMultivariateNormal", "low_rank_log_det", "low_rank_mahalanobis"]


def capacitance_factor(w: Tensor, d: Tensor) -> Tensor:
    """The Cholesky factor of I + Wᵀ D⁻¹ W, a small matrix that stands in for W Wᵀ + D."""
    small = torch.matmul(w.mT / d.unsqueeze(-2), w)
    return torch.linalg.cholesky(small + torch.eye(w.shape[-1], dtype=w.dtype, device=w.device))


def low_rank_log_det(w: Tensor, d: Tensor, factor: Tensor) -> Tensor:
    """log det(W Wᵀ + D), by the matrix determinant lemma."""
    return 2 * log_det_of_factor(factor) + d.log().sum(-1)


def low_rank_mahalanobis(w: Tensor, d: Tensor, difference: Tensor, factor: Tensor) -> Tensor:
    """xᵀ (W Wᵀ + D)⁻¹ x, by the Woodbury identity."""
    weighted = difference / d
    projected = matrix_vector(w.mT, weighted)
    return (difference * weighted).sum(-1) - mahalanobis(factor, projected)


class LowRankMultivariateNormal(Distribution):
    """The normal distribution of covariance ``W Wᵀ + diag(D)``, at a cost linear in its size.

    Args:
        loc: the mean, of n numbers. cov_factor: W, n by m. cov_diag: D, n positive numbers.

    Example:
        >>> import taper as torch
        >>> D = torch.distributions
        >>> D.LowRankMultivariateNormal(torch.zeros(2), torch.ones(2, 1), torch.ones(2)).variance
        tensor([2., 2.])
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self, loc: Tensor, cov_factor: Tensor, cov_diag: Tensor,
        validate_args: bool | None = None,
    ) -> None:
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        event_shape = loc.shape[-1:]
        if cov_factor.dim() < 2:
            raise ValueError(
                "cov_factor must be at least two-dimensional, with optional leading batch "
                "dimensions"
            )
        if cov_factor.shape[-2:-1] != event_shape:
            raise ValueError(
                f"cov_factor must be a batch of matrices with shape {event_shape[0]} x m"
            )
        if cov_diag.shape[-1:] != event_shape:
            raise ValueError(f"cov_diag must be a batch of vectors with shape {event_shape}")
        try:
            batch_shape = torch.broadcast_shapes(
                loc.shape[:-1], cov_factor.shape[:-2], cov_diag.shape[:-1]
            )
        except RuntimeError as error:
            raise ValueError(
                f"Incompatible batch shapes: loc {loc.shape}, cov_factor {cov_factor.shape}, "
                f"cov_diag {cov_diag.shape}"
            ) from error
        self.loc = loc.expand(batch_shape + event_shape)
        self.cov_factor = cov_factor.expand(batch_shape + cov_factor.shape[-2:])
        self.cov_diag = cov_diag.expand(batch_shape + event_shape)
        super().__init__(batch_shape, event_shape, validate_args=validate_args)
        self._unbroadcasted_cov_factor = cov_factor
        self._unbroadcasted_cov_diag = cov_diag
        self._capacitance_tril = capacitance_factor(cov_factor, cov_diag)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(LowRankMultivariateNormal, _instance)
        new._unbroadcasted_cov_factor = self._unbroadcasted_cov_factor
        new._unbroadcasted_cov_diag = self._unbroadcasted_cov_diag
        new._capacitance_tril = self._capacitance_tril
        return self._expanded(LowRankMultivariateNormal, batch_shape, new)

    def _square(self, matrix: Tensor) -> Tensor:
        return matrix.expand(self._batch_shape + self._event_shape + self._event_shape)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @lazy_property
    def variance(self) -> Tensor:
        """The diagonal of the covariance."""
        variance = self._unbroadcasted_cov_factor.pow(2).sum(-1) + self._unbroadcasted_cov_diag
        return variance.expand(self._batch_shape + self._event_shape)

    @lazy_property
    def scale_tril(self) -> Tensor:
        """The lower Cholesky factor of the covariance."""
        # √D (I + V Vᵀ) √D with V = W / √D: the middle is better conditioned than the whole.
        root = self._unbroadcasted_cov_diag.sqrt().unsqueeze(-1)
        v = self._unbroadcasted_cov_factor / root
        eye = torch.eye(v.shape[-2], dtype=v.dtype, device=v.device)
        return self._square(root * torch.linalg.cholesky(torch.matmul(v, v.mT) + eye))

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """The covariance."""
        w = self._unbroadcasted_cov_factor
        diagonal = torch.diag_embed(self._unbroadcasted_cov_diag)
        return self._square(torch.matmul(w, w.mT) + diagonal)

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance, by the Woodbury identity."""
        scaled = self._unbroadcasted_cov_factor.mT / self._unbroadcasted_cov_diag.unsqueeze(-2)
        a = torch.linalg.solve_triangular(self._capacitance_tril, scaled, upper=False)
        diagonal = torch.diag_embed(self._unbroadcasted_cov_diag.reciprocal())
        return self._square(diagonal - torch.matmul(a.mT, a))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        options: Any = {"dtype": self.loc.dtype, "device": self.loc.device}
        common = torch.randn(shape[:-1] + self.cov_factor.shape[-1:], **options)
        own = torch.randn(shape, **options)
        return (
            self.loc
            + matrix_vector(self._unbroadcasted_cov_factor, common)
            + self._unbroadcasted_cov_diag.sqrt() * own
        )

    def _log_det(self) -> Tensor:
        return low_rank_log_det(
            self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag, self._capacitance_tril
        )

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        distance = low_rank_mahalanobis(
            self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag, value - self.loc,
            self._capacitance_tril,
        )
        constant = self._event_shape[0] * math.log(2 * math.pi)
        return -0.5 * (constant + self._log_det() + distance)

    def entropy(self) -> Tensor:
        n = self._event_shape[0]
        entropy = 0.5 * (n * (1.0 + math.log(2 * math.pi)) + self._log_det())
        return entropy.expand(self._batch_shape)


# The names that libraries on top of PyTorch import.
_batch_capacitance_tril = capacitance_factor
_batch_lowrank_logdet = low_rank_log_det
_batch_lowrank_mahalanobis = low_rank_mahalanobis
