"""Geometric: how many trials fail before the first success."""

from __future__ import annotations

from typing import Any

import taper as torch
from taper import Tensor
from taper.checks import all_hold
from taper.distributions import constraints
from taper.distributions.probs_or_logits import OfProbsOrLogits
from taper.distributions.utils import broadcast_all, take_probs_or_logits
from taper.nn.functional import binary_cross_entropy_with_logits

__all__ = ["Geometric"]


class Geometric(OfProbsOrLogits):
    """The number of failures before the first success: ``P(k) = (1 - p)^k p``.

    Args:
        probs: the probabilities of success, above 0, or logits: their log odds.

    Example:
        >>> import taper as torch
        >>> torch.distributions.Geometric(torch.tensor([0.25])).mean
        tensor([3.])
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.nonnegative_integer

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        if take_probs_or_logits(probs, logits):
            (self.probs,) = broadcast_all(probs)
        else:
            (self.logits,) = broadcast_all(logits)
        super().__init__(self._param.shape, validate_args=validate_args)
        if self._validate_args and probs is not None:
            valid = self.probs > 0
            if not all_hold(valid):
                raise ValueError(
                    f"Expected parameter probs ({type(self.probs).__name__} of shape "
                    f"{tuple(self.probs.shape)}) of distribution {self!r} to be positive but found "
                    f"invalid values:\n{self.probs.detach()[~valid]}"
                )

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._expanded(Geometric, batch_shape, _instance)

    @property
    def mean(self) -> Tensor:
        return 1.0 / self.probs - 1.0

    @property
    def mode(self) -> Tensor:
        return torch.zeros_like(self.probs)

    @property
    def variance(self) -> Tensor:
        return (1.0 / self.probs - 1.0) / self.probs

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            noise = self.probs.new_empty(shape).uniform_(torch.finfo(self.probs.dtype).tiny, 1)
            return (noise.log() / (-self.probs).log1p()).floor()

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        value, probs = broadcast_all(value, self.probs)
        failure = probs.masked_fill((probs == 1) & (value == 0), 0)  # 0 · log 0 is 0
        return value * (-failure).log1p() + self.probs.log()

    def entropy(self) -> Tensor:
        trial = binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")
        return trial / self.probs
