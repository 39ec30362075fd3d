"""Continuous Bernoulli: numbers between 0 and 1, such as the grey of a pixel."""

from __future__ import annotations

import math
from typing import Any

import taper as torch
from taper import Tensor
from taper.distributions import constraints
from taper.distributions.exp_family import ExponentialFamily
from taper.distributions.probs_or_logits import OfProbsOrLogits
from taper.distributions.utils import broadcast_all, clamp_probs, take_probs_or_logits
from taper.nn.functional import binary_cross_entropy_with_logits

__all__ = ["ContinuousBernoulli"]


class ContinuousBernoulli(OfProbsOrLogits, ExponentialFamily):
    """The distribution on [0, 1] of density ``∝ probs^x (1 - probs)^(1 - x)``.

    Source: G. Loaiza-Ganem and J. P. Cunningham, "The continuous Bernoulli: fixing a pervasive
    error in variational autoencoders" (2019).

    Args:
        probs: the parameter, in (0, 1), which is not the mean; or logits: its log odds.
        lims: between these `probs`, where formulas divide 0 by 0, Taylor series are used.

    Example:
        >>> import taper as torch
        >>> torch.distributions.ContinuousBernoulli(torch.tensor([0.5])).mean
        tensor([0.5000])
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(
        self, probs: Any = None, logits: Any = None, lims: tuple[float, float] = (0.499, 0.501),
        validate_args: bool | None = None,
    ) -> None:
        if take_probs_or_logits(probs, logits):
            (self.probs,) = broadcast_all(probs)
            if validate_args is not None and not (
                self.arg_constraints["probs"].check(self.probs).all()
            ):
                raise ValueError("The parameter probs has invalid values")
            self.probs = clamp_probs(self.probs)
        else:
            (self.logits,) = broadcast_all(logits)
        self._lims = lims
        super().__init__(self._param.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(ContinuousBernoulli, _instance)
        new._lims = self._lims
        return self._expanded(ContinuousBernoulli, batch_shape, new)

    def _outside_unstable_region(self) -> Tensor:
        return (self.probs <= self._lims[0]) | (self.probs > self._lims[1])

    def _cut_probs(self) -> Tensor:
        """`probs`, but where a series is used the end of its range, so that all stay finite."""
        low = torch.full_like(self.probs, self._lims[0])
        return torch.where(self._outside_unstable_region(), self.probs, low)

    def _choose(self, exact: Tensor, series: Tensor) -> Tensor:
        return torch.where(self._outside_unstable_region(), exact, series)

    def _cont_bern_log_norm(self) -> Tensor:
        """log C, where C = 2 artanh(1 - 2p) / (1 - 2p)."""
        cut = self._cut_probs()
        log_odds = torch.abs(torch.log1p(-cut) - torch.log(cut))
        exact = torch.log(log_odds) - torch.log(torch.abs(1.0 - 2.0 * cut))
        x = (self.probs - 0.5).pow(2)
        return self._choose(exact, math.log(2.0) + (4.0 / 3.0 + 104.0 / 45.0 * x) * x)

    @property
    def mean(self) -> Tensor:
        cut = self._cut_probs()
        exact = cut / (2.0 * cut - 1.0) + 1.0 / (torch.log1p(-cut) - torch.log(cut))
        x = self.probs - 0.5
        return self._choose(exact, 0.5 + (1.0 / 3.0 + 16.0 / 45.0 * x.pow(2)) * x)

    @property
    def stddev(self) -> Tensor:
        return torch.sqrt(self.variance)

    @property
    def variance(self) -> Tensor:
        cut = self._cut_probs()
        log_odds = torch.log1p(-cut) - torch.log(cut)
        exact = cut * (cut - 1.0) / (1.0 - 2.0 * cut).pow(2) + 1.0 / log_odds.pow(2)
        x = (self.probs - 0.5).pow(2)
        return self._choose(exact, 1.0 / 12.0 - (1.0 / 15.0 - 128.0 / 945.0 * x) * x)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return self.icdf(torch.rand(shape, dtype=self.probs.dtype, device=self.probs.device))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        cross_entropy = binary_cross_entropy_with_logits(logits, value, reduction="none")
        return self._cont_bern_log_norm() - cross_entropy

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        cut = self._cut_probs()
        power = torch.pow(cut, value) * torch.pow(1.0 - cut, 1.0 - value)
        result = self._choose((power + cut - 1.0) / (2.0 * cut - 1.0), value)
        zero, one = torch.zeros_like(result), torch.ones_like(result)
        return torch.where(value <= 0.0, zero, torch.where(value >= 1.0, one, result))

    def icdf(self, value: Tensor) -> Tensor:
        cut = self._cut_probs()
        numerator = torch.log1p(-cut + value * (2.0 * cut - 1.0)) - torch.log1p(-cut)
        return self._choose(numerator / (torch.log(cut) - torch.log1p(-cut)), value)

    def entropy(self) -> Tensor:
        log0, log1 = torch.log1p(-self.probs), torch.log(self.probs)
        return self.mean * (log0 - log1) - self._cont_bern_log_norm() - log0

    @property
    def _natural_params(self) -> tuple[Tensor]:
        return (self.logits,)

    def _log_normalizer(self, x: Tensor) -> Tensor:
        outside = (x <= self._lims[0] - 0.5) | (x > self._lims[1] - 0.5)
        cut = torch.where(outside, x, torch.full_like(x, self._lims[0] - 0.5))
        exact = torch.log(torch.abs(torch.special.expm1(cut))) - torch.log(torch.abs(cut))
        series = 0.5 * x + x.pow(2) / 24.0 - x.pow(4) / 2880.0
        return torch.where(outside, exact, series)
