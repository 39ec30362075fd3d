"""Categorical: one of n classes, as a whole number."""

from __future__ import annotations

from typing import Any

import taper as torch
from taper import Size, Tensor
from taper.distributions import constraints
from taper.distributions.probs_or_logits import OfProbsOrLogits
from taper.distributions.utils import take_probs_or_logits

__all__ = ["Categorical"]


class Categorical(OfProbsOrLogits):
    """One of the classes 0 … n - 1, each with its probability.

    Args:
        probs: along the last dimension, weights of the classes, which are divided by their sum.
        logits: or logarithms of such weights.

    Example:
        >>> import taper as torch
        >>> torch.distributions.Categorical(torch.tensor([1., 3.])).probs
        tensor([0.2500, 0.7500])
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    has_enumerate_support = True
    _is_binary = False

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        if take_probs_or_logits(probs, logits):
            _check_vector("probs", probs)
            self.probs = probs / probs.sum(-1, True)
        else:
            _check_vector("logits", logits)
            self.logits = logits - logits.logsumexp(-1, True)
        shape = self._param.shape
        self._num_events = shape[-1]
        super().__init__(shape[:-1], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(Categorical, _instance)
        new._num_events = self._num_events
        return self._expanded(Categorical, batch_shape, new)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        return constraints.integer_interval(0, self._num_events - 1)

    @property
    def mean(self) -> Tensor:
        return self._undefined()

    @property
    def mode(self) -> Tensor:
        return self.probs.argmax(dim=-1)

    @property
    def variance(self) -> Tensor:
        return self._undefined()

    def _undefined(self) -> Tensor:
        """Classes have no order, so neither mean nor variance."""
        return torch.full(
            self._extended_shape(), torch.nan, dtype=self.probs.dtype, device=self.probs.device
        )

    def sample(self, sample_shape: Any = Size()) -> Tensor:  # noqa: B008 - immutable
        sample_shape = Size(sample_shape)
        with torch.no_grad():
            rows = self.probs.reshape(-1, self._num_events)
            drawn = torch.multinomial(rows, sample_shape.numel(), True).T
            return drawn.reshape(self._extended_shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        index = value.long().unsqueeze(-1)
        logits = self.logits
        if index.shape[:-1] != logits.shape[:-1]:
            index, logits = torch.broadcast_tensors(index, logits)
            index = index[..., :1]
        return logits.gather(-1, index).squeeze(-1)

    def entropy(self) -> Tensor:
        # Classes of probability 0 count as 0 · a large number, not 0 · inf.
        logits = self.logits.clamp(min=torch.finfo(self.logits.dtype).min)
        return -(logits * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = torch.arange(self._num_events, dtype=torch.long, device=self._param.device)
        return self._along_first(values, expand)


def _check_vector(name: str, value: Any) -> None:
    if value.dim() < 1:
        raise ValueError(f"`{name}` parameter must be at least one-dimensional.")
