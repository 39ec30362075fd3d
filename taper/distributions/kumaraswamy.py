"""Kumaraswamy: like Beta, with a distribution function that can be inverted."""

from __future__ import annotations

from typing import Any

import taper as torch
from taper import Tensor
from taper.distributions import constraints
from taper.distributions.gumbel import _EULER
from taper.distributions.rebuilt import Rebuilt
from taper.distributions.transforms import AffineTransform, PowerTransform
from taper.distributions.uniform import Uniform
from taper.distributions.utils import broadcast_all

__all__ = ["Kumaraswamy"]


class Kumaraswamy(Rebuilt):
    """Numbers in [0, 1], of cdf ``1 - (1 - x^a)^b``.

    Args:
        concentration1, concentration0: the exponents a and b.

    Example:
        >>> import taper as torch
        >>> torch.distributions.Kumaraswamy(2., 1.).mean
        tensor(0.6667)
    """

    arg_constraints = {
        "concentration1": constraints.positive, "concentration0": constraints.positive
    }
    support = constraints.unit_interval
    has_rsample = True

    def __init__(
        self, concentration1: Any, concentration0: Any, validate_args: bool | None = None
    ) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        self._finish(validate_args)

    def _build(self) -> tuple[Any, list[Any]]:
        noise = Uniform(
            torch.full_like(self.concentration0, 0), torch.full_like(self.concentration0, 1),
            validate_args=False,
        )
        return noise, [
            PowerTransform(exponent=self.concentration0.reciprocal()),
            AffineTransform(loc=1.0, scale=-1.0),
            PowerTransform(exponent=self.concentration1.reciprocal()),
        ]

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._rebuilt(Kumaraswamy, batch_shape, _instance)

    def _moment(self, k: int) -> Tensor:
        """The mean of x^k: b B(1 + k / a, b)."""
        b = self.concentration0
        first = 1 + k / self.concentration1
        return b * torch.exp(torch.lgamma(first) + torch.lgamma(b) - torch.lgamma(first + b))

    @property
    def mean(self) -> Tensor:
        return self._moment(1)

    @property
    def mode(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        mode = ((a - 1) / (a * b - 1)) ** a.reciprocal()
        return mode.masked_fill((a < 1) | (b < 1), torch.nan)

    @property
    def variance(self) -> Tensor:
        return self._moment(2) - self._moment(1).pow(2)

    def entropy(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        mean_log = torch.digamma(b + 1) + _EULER
        return (1 - b.reciprocal()) + (1 - a.reciprocal()) * mean_log - a.log() - b.log()
