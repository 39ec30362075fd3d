"""Relaxed Bernoulli: numbers between 0 and 1 that can be differentiated by the probability."""

from __future__ import annotations

from typing import Any

import taper as torch
from taper import Tensor
from taper.distributions import constraints
from taper.distributions.distribution import Distribution
from taper.distributions.probs_or_logits import OfProbsOrLogits
from taper.distributions.transformed_distribution import TransformedDistribution
from taper.distributions.transforms import SigmoidTransform
from taper.distributions.utils import broadcast_all, clamp_probs, take_probs_or_logits

__all__ = ["LogitRelaxedBernoulli", "RelaxedBernoulli", "Tempered"]


class LogitRelaxedBernoulli(OfProbsOrLogits):
    """The log odds of a RelaxedBernoulli.

    Source: C. J. Maddison, A. Mnih and Y. W. Teh, "The concrete distribution" (2017).

    Args:
        temperature: how soft. probs: the probabilities, or logits: their log odds.
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.real

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        self.temperature = temperature
        if take_probs_or_logits(probs, logits):
            (self.probs,) = broadcast_all(probs)
        else:
            (self.logits,) = broadcast_all(logits)
        super().__init__(self._param.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(LogitRelaxedBernoulli, _instance)
        new.temperature = self.temperature
        return self._expanded(LogitRelaxedBernoulli, batch_shape, new)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        probs = clamp_probs(self.probs.expand(shape))
        noise = clamp_probs(torch.rand(shape, dtype=probs.dtype, device=probs.device))
        log_odds = noise.log() - (-noise).log1p() + probs.log() - (-probs).log1p()
        return log_odds / self.temperature

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        difference = logits - value * self.temperature
        return self.temperature.log() + difference - 2 * difference.exp().log1p()


class Tempered(TransformedDistribution):
    """A transformed distribution with the temperature and the probabilities of its base."""

    has_rsample = True

    @property
    def temperature(self) -> Tensor:
        """How soft the choice is: near 0 almost none."""
        return self.base_dist.temperature

    @property
    def logits(self) -> Tensor:
        """The log odds, or log probabilities."""
        return self.base_dist.logits

    @property
    def probs(self) -> Tensor:
        """The probabilities."""
        return self.base_dist.probs


class RelaxedBernoulli(Tempered):
    """Numbers in (0, 1) that come near 0 or 1 as the temperature falls.

    Args:
        temperature: how soft the choice is.
        probs: the probabilities of 1, or logits: their log odds.

    Example:
        >>> import taper as torch
        >>> D = torch.distributions
        >>> D.RelaxedBernoulli(torch.tensor(0.5), torch.tensor([0.1, 0.9])).sample() > 0.5
        tensor([False,  True])
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        base: Distribution = LogitRelaxedBernoulli(temperature, probs, logits)
        super().__init__(base, SigmoidTransform(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(RelaxedBernoulli, _instance)
        return super().expand(batch_shape, _instance=new)
