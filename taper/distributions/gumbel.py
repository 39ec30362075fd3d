"""Gumbel: the largest of many numbers."""

from __future__ import annotations

import math
from typing import Any

import taper as torch
from taper import Tensor
from taper.distributions import constraints
from taper.distributions.rebuilt import Rebuilt
from taper.distributions.transforms import AffineTransform, ExpTransform
from taper.distributions.uniform import Uniform
from taper.distributions.utils import broadcast_all

__all__ = ["Gumbel"]

_EULER = 0.57721566490153286060


class Gumbel(Rebuilt):
    """The Gumbel (extreme value) distribution, of cdf ``exp(-exp(-(x - loc) / scale))``.

    Args:
        loc: the mode. scale: the unit.

    Example:
        >>> import taper as torch
        >>> torch.distributions.Gumbel(0., 1.).mean
        tensor(0.5772)
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        self._finish(validate_args)

    def _build(self) -> tuple[Any, list[Any]]:
        limits = torch.finfo(self.loc.dtype)
        noise = Uniform(
            torch.full_like(self.loc, limits.tiny), torch.full_like(self.loc, 1 - limits.eps),
            validate_args=False,
        )
        negate = AffineTransform(loc=0, scale=-torch.ones_like(self.scale))
        log = ExpTransform().inv
        return noise, [log, negate, log, AffineTransform(loc=self.loc, scale=-self.scale)]

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._rebuilt(Gumbel, batch_shape, _instance)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        y = (self.loc - value) / self.scale
        return y - y.exp() - self.scale.log()

    @property
    def mean(self) -> Tensor:
        return self.loc + self.scale * _EULER

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return (math.pi / math.sqrt(6)) * self.scale

    @property
    def variance(self) -> Tensor:
        return self.stddev.pow(2)

    def entropy(self) -> Tensor:
        return self.scale.log() + (1 + _EULER)
