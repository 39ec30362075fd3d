"""Distributions given either probabilities or logits, which work out the other when asked."""

from __future__ import annotations

from typing import Any

from taper import Size, Tensor
from taper.distributions.distribution import Distribution
from taper.distributions.utils import lazy_property, logits_to_probs, probs_to_logits

__all__ = ["OfCategorical", "OfProbsOrLogits"]


class OfProbsOrLogits(Distribution):
    """Keeps `probs` or `logits`, whichever was given, and computes the other on first use."""

    _is_binary = True

    @lazy_property
    def logits(self) -> Tensor:
        """The log odds, or normalized log probabilities."""
        return probs_to_logits(self.probs, self._is_binary)

    @lazy_property
    def probs(self) -> Tensor:
        """The probabilities."""
        return logits_to_probs(self.logits, self._is_binary)

    @property
    def _param(self) -> Tensor:
        own = self.__dict__
        return own["probs"] if "probs" in own else own["logits"]

    @property
    def param_shape(self) -> Size:
        """The shape of the parameter."""
        return self._param.shape

    def _new(self, *args: Any, **options: Any) -> Tensor:
        return self._param.new(*args, **options)


class OfCategorical(Distribution):
    """Has its probabilities in a Categorical."""

    _categorical: Any

    @property
    def logits(self) -> Tensor:
        """The normalized log probabilities."""
        return self._categorical.logits

    @property
    def probs(self) -> Tensor:
        """The probabilities."""
        return self._categorical.probs

    @property
    def _param(self) -> Tensor:
        return self._categorical._param

    @property
    def param_shape(self) -> Size:
        """The shape of the parameter."""
        return self._categorical.param_shape

    def _new(self, *args: Any, **options: Any) -> Tensor:
        return self._categorical._new(*args, **options)
