"""Relaxed one-hot vectors (Gumbel-softmax): a choice that can be differentiated."""

from __future__ import annotations

from typing import Any

import taper as torch
from taper import Size, Tensor
from taper.distributions import constraints
from taper.distributions.categorical import Categorical
from taper.distributions.distribution import Distribution
from taper.distributions.probs_or_logits import OfCategorical
from taper.distributions.relaxed_bernoulli import Tempered
from taper.distributions.transforms import ExpTransform
from taper.distributions.utils import broadcast_all, clamp_probs

__all__ = ["ExpRelaxedCategorical", "RelaxedOneHotCategorical"]


class ExpRelaxedCategorical(OfCategorical):
    """The logarithm of a RelaxedOneHotCategorical.

    Sources: C. J. Maddison, A. Mnih and Y. W. Teh, "The concrete distribution" (2017); E. Jang,
    S. Gu and B. Poole, "Categorical reparameterization with Gumbel-softmax" (2017).

    Args:
        temperature: how soft. probs: weights of the classes, or logits: their logarithms.
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    # The logarithm of a point of the simplex lies on a surface, which has no constraint.
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        self._categorical = Categorical(probs, logits)
        self.temperature = temperature
        super().__init__(
            self._categorical.batch_shape, self._categorical.param_shape[-1:],
            validate_args=validate_args,
        )

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(ExpRelaxedCategorical, _instance)
        batch_shape = Size(batch_shape)
        new.temperature = self.temperature
        new._categorical = self._categorical.expand(batch_shape)
        Distribution.__init__(new, batch_shape, self._event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        noise = clamp_probs(torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device))
        gumbels = -((-(noise.log())).log())
        scores = (self.logits + gumbels) / self.temperature
        return scores - scores.logsumexp(dim=-1, keepdim=True)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        n = self._event_shape[-1]
        logits, value = broadcast_all(self.logits, value)
        factor = torch.full_like(self.temperature, float(n)).lgamma()
        factor = factor + (n - 1) * self.temperature.log()
        score = logits - value * self.temperature
        return (score - score.logsumexp(dim=-1, keepdim=True)).sum(-1) + factor


class RelaxedOneHotCategorical(Tempered):
    """Points of the simplex that come near its corners as the temperature falls.

    Args:
        temperature: how soft the choice is.
        probs: along the last dimension, weights of the classes; or logits: their logarithms.

    Example:
        >>> import taper as torch
        >>> D = torch.distributions
        >>> D.RelaxedOneHotCategorical(torch.tensor(1e-3), torch.tensor([0., 1.])).sample()
        tensor([0., 1.])
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.simplex

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args=validate_args)
        super().__init__(base, ExpTransform(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(RelaxedOneHotCategorical, _instance)
        return super().expand(batch_shape, _instance=new)
