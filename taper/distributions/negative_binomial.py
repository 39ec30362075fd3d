"""Negative binomial: how many trials succeed before a number of failures."""

from __future__ import annotations

from typing import Any

import taper as torch
from taper import Tensor
from taper.distributions import constraints
from taper.distributions.gamma import Gamma
from taper.distributions.probs_or_logits import OfProbsOrLogits
from taper.distributions.utils import broadcast_all, lazy_property, take_probs_or_logits
from taper.nn.functional import logsigmoid

__all__ = ["NegativeBinomial"]


class NegativeBinomial(OfProbsOrLogits):
    """The number of successes, of probability `probs` each, before `total_count` failures.

    Args:
        total_count: the number of failures, which need not be whole.
        probs: the probabilities of success, below 1, or logits: their log odds.

    Example:
        >>> import taper as torch
        >>> torch.distributions.NegativeBinomial(3., torch.tensor(0.5)).mean
        tensor(3.)
    """

    arg_constraints = {
        "total_count": constraints.greater_than_eq(0),
        "probs": constraints.half_open_interval(0.0, 1.0), "logits": constraints.real,
    }
    support = constraints.nonnegative_integer

    def __init__(
        self, total_count: Any, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        if take_probs_or_logits(probs, logits):
            self.total_count, self.probs = broadcast_all(total_count, probs)
        else:
            self.total_count, self.logits = broadcast_all(total_count, logits)
        self.total_count = self.total_count.type_as(self._param)
        super().__init__(self._param.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._expanded(NegativeBinomial, batch_shape, _instance)

    @property
    def mean(self) -> Tensor:
        return self.total_count * torch.exp(self.logits)

    @property
    def mode(self) -> Tensor:
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0.0)

    @property
    def variance(self) -> Tensor:
        return self.mean / torch.sigmoid(-self.logits)

    @lazy_property
    def _gamma(self) -> Gamma:
        """Poisson counts with gamma distributed rates are negative binomial."""
        return Gamma(
            concentration=self.total_count, rate=torch.exp(-self.logits), validate_args=False
        )

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return torch.poisson(self._gamma.sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        count = self.total_count
        trials = count * logsigmoid(-self.logits) + value * logsigmoid(self.logits)
        ways = torch.lgamma(count + value) - torch.lgamma(1.0 + value) - torch.lgamma(count)
        return trials + ways.masked_fill(count + value == 0.0, 0.0)
