"""Weibull: life times of what ages."""

from __future__ import annotations

from typing import Any

import taper as torch
from taper import Tensor
from taper.distributions import constraints
from taper.distributions.exponential import Exponential
from taper.distributions.gumbel import _EULER
from taper.distributions.rebuilt import Rebuilt
from taper.distributions.transforms import AffineTransform, PowerTransform
from taper.distributions.utils import broadcast_all

__all__ = ["Weibull"]


class Weibull(Rebuilt):
    """The Weibull distribution, of survival function ``exp(-(x / scale)^concentration)``.

    Args:
        scale: the unit. concentration: the shape; 1 gives the exponential distribution.

    Example:
        >>> import taper as torch
        >>> torch.distributions.Weibull(2., 1.).mean
        tensor(2.)
    """

    arg_constraints = {"scale": constraints.positive, "concentration": constraints.positive}
    support = constraints.positive

    def __init__(
        self, scale: Any, concentration: Any, validate_args: bool | None = None
    ) -> None:
        self.scale, self.concentration = broadcast_all(scale, concentration)
        self._finish(validate_args)

    def _build(self) -> tuple[Any, list[Any]]:
        noise = Exponential(torch.ones_like(self.scale), validate_args=False)
        power = PowerTransform(exponent=self.concentration.reciprocal())
        return noise, [power, AffineTransform(loc=0, scale=self.scale)]

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._rebuilt(Weibull, batch_shape, _instance)

    def _moment(self, k: int) -> Tensor:
        """The mean of x^k for a scale of 1."""
        return torch.exp(torch.lgamma(1 + k / self.concentration))

    @property
    def mean(self) -> Tensor:
        return self.scale * self._moment(1)

    @property
    def mode(self) -> Tensor:
        a = self.concentration
        return self.scale * ((a - 1) / a) ** a.reciprocal()

    @property
    def variance(self) -> Tensor:
        return self.scale.pow(2) * (self._moment(2) - self._moment(1).pow(2))

    def entropy(self) -> Tensor:
        inverse = self.concentration.reciprocal()
        return _EULER * (1 - inverse) + torch.log(self.scale * inverse) + 1
