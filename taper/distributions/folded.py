"""Absolute values of numbers from symmetric distributions around 0."""

from __future__ import annotations

import math
from typing import Any

import taper as torch
from taper import Tensor
from taper.distributions.distribution import Distribution
from taper.distributions.transformed_distribution import TransformedDistribution
from taper.distributions.transforms import AbsTransform

__all__ = ["Folded"]


class Folded(TransformedDistribution):
    """|x| for x drawn from `base`, which is symmetric around 0 and has a `scale`."""

    def __init__(self, base: Distribution, validate_args: bool | None) -> None:
        super().__init__(base, AbsTransform(), validate_args=validate_args)

    @property
    def scale(self) -> Tensor:
        """The scale before folding."""
        return self.base_dist.scale

    def log_prob(self, value: Any) -> Tensor:
        value = torch.as_tensor(value, dtype=self.scale.dtype, device=self.scale.device)
        if self._validate_args:
            self._validate_sample(value)
        return (self.base_dist.log_prob(value) + math.log(2)).masked_fill(value < 0, -torch.inf)

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return 2 * self.base_dist.cdf(value) - 1

    def icdf(self, prob: Tensor) -> Tensor:
        return self.base_dist.icdf((prob + 1) / 2)

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() - math.log(2)
