"""Generalized Pareto: what lies beyond a high threshold."""

from __future__ import annotations

from typing import Any

import taper as torch
from taper import Tensor
from taper.distributions import constraints
from taper.distributions.distribution import Distribution
from taper.distributions.utils import broadcast_all

__all__ = ["GeneralizedPareto"]


class GeneralizedPareto(Distribution):
    """Excesses over a threshold; with z = (x - loc) / scale, ``P(X > x) = (1 + ξ z)^(-1/ξ)``.

    A concentration ξ of 0 gives an exponential, one below 0 an end at loc - scale / ξ.

    Args:
        loc: the threshold. scale: the unit. concentration: ξ, the weight of the tail.

    Example:
        >>> import taper as torch
        >>> torch.distributions.GeneralizedPareto(0., 1., 0.5).mean
        tensor(2.)
    """

    arg_constraints = {
        "loc": constraints.real, "scale": constraints.positive, "concentration": constraints.real
    }
    has_rsample = True

    def __init__(
        self, loc: Any, scale: Any, concentration: Any, validate_args: bool | None = None
    ) -> None:
        self.loc, self.scale, self.concentration = broadcast_all(loc, scale, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._expanded(GeneralizedPareto, batch_shape, _instance)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        end = self.loc - self.scale / self.concentration
        infinity = torch.full_like(self.loc, torch.inf)
        return constraints.interval(
            self.loc, torch.where(self.concentration < 0, end, infinity)
        )

    def _is_exponential(self) -> Tensor:
        return torch.isclose(self.concentration, torch.zeros_like(self.concentration))

    def _nonzero(self) -> Tensor:
        """The concentration, with 1 where it is 0: no branch divides by 0."""
        return self.concentration.masked_fill(self._is_exponential(), 1.0)

    def _z(self, x: Tensor) -> Tensor:
        return (x - self.loc) / self.scale

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return self.icdf(torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        z, xi = self._z(value), self._nonzero()
        factor = 1 / xi + 1
        # At ξ = -1 the density is constant, also at the end, where the logarithm is -inf.
        power = torch.where(factor == 0, factor, factor * torch.log1p(xi * z))
        return -self.scale.log() - torch.where(self._is_exponential(), z, power)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Returns log P(X > value)."""
        z, xi = self._z(value), self._nonzero()
        return -torch.where(self._is_exponential(), z, torch.log1p(xi * z) / xi)

    def log_cdf(self, value: Tensor) -> Tensor:
        """Returns log P(X ≤ value)."""
        if self._validate_args:
            self._validate_sample(value)
        return torch.log1p(-torch.exp(self.log_survival_function(value)))

    def cdf(self, value: Tensor) -> Tensor:
        return torch.exp(self.log_cdf(value))

    def icdf(self, value: Tensor) -> Tensor:
        log_survival, xi = torch.log1p(-value), self._nonzero()
        power = self.scale / xi * torch.expm1(-xi * log_survival)
        return self.loc + torch.where(
            self._is_exponential(), -self.scale * log_survival, power
        )

    @property
    def mean(self) -> Tensor:
        finite = self.loc + self.scale / (1 - self.concentration)
        return finite.masked_fill(self.concentration >= 1, torch.nan)

    @property
    def variance(self) -> Tensor:
        xi = self.concentration
        finite = self.scale.pow(2) / ((1 - xi).pow(2) * (1 - 2 * xi))
        return finite.masked_fill(xi >= 0.5, torch.nan)

    @property
    def mode(self) -> Tensor:
        return self.loc

    def entropy(self) -> Tensor:
        return torch.log(self.scale) + self.concentration + 1
