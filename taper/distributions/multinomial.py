"""Multinomial: how often each class comes up in a number of draws."""

from __future__ import annotations

from typing import Any

import taper as torch
from taper import Size, Tensor
from taper.distributions import constraints
from taper.distributions.binomial import Binomial
from taper.distributions.categorical import Categorical
from taper.distributions.distribution import Distribution
from taper.distributions.probs_or_logits import OfCategorical
from taper.distributions.utils import broadcast_all

__all__ = ["Multinomial"]


class Multinomial(OfCategorical):
    """Counts of the classes in `total_count` draws.

    Args:
        total_count: the number of draws, a whole number.
        probs: along the last dimension, weights of the classes; or logits: their logarithms.

    Example:
        >>> import taper as torch
        >>> torch.distributions.Multinomial(4, torch.tensor([1., 3.])).mean
        tensor([1., 3.])
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    total_count: int

    def __init__(
        self, total_count: int = 1, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        self._categorical = Categorical(probs=probs, logits=logits)
        self._binomial = Binomial(total_count=total_count, probs=self.probs)
        super().__init__(
            self._categorical.batch_shape, self._categorical.param_shape[-1:],
            validate_args=validate_args,
        )

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(Multinomial, _instance)
        batch_shape = Size(batch_shape)
        new.total_count = self.total_count
        new._categorical = self._categorical.expand(batch_shape)
        new._binomial = self._binomial.expand(batch_shape + self._event_shape)
        Distribution.__init__(new, batch_shape, self._event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Any:
        return constraints.multinomial(self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        sample_shape = Size(sample_shape)
        draws = self._categorical.sample(Size((self.total_count,)) + sample_shape)
        draws = draws.movedim(0, -1)
        counts = self._new(self._extended_shape(sample_shape)).zero_()
        counts.scatter_add_(-1, draws, torch.ones_like(draws, dtype=counts.dtype))
        return counts

    def entropy(self) -> Tensor:
        count = torch.tensor(self.total_count, dtype=self._param.dtype)
        possible = self._binomial.enumerate_support(expand=False)[1:]
        weights = self._binomial.log_prob(possible).exp()
        mean_log_factorial = (weights * torch.lgamma(possible + 1)).sum([0, -1])
        return count * self._categorical.entropy() - torch.lgamma(count + 1) + mean_log_factorial

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        ways = torch.lgamma(value.sum(-1) + 1) - torch.lgamma(value + 1).sum(-1)
        logits = logits.masked_fill((value == 0) & (logits == -torch.inf), 0)  # 0 · log 0 is 0
        return ways + (logits * value).sum(-1)
