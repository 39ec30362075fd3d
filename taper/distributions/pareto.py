"""Pareto: incomes, file sizes and other things of which few are large."""

from __future__ import annotations

from typing import Any

from taper import Tensor
from taper.distributions import constraints
from taper.distributions.exponential import Exponential
from taper.distributions.rebuilt import Rebuilt
from taper.distributions.transforms import AffineTransform, ExpTransform
from taper.distributions.utils import broadcast_all

__all__ = ["Pareto"]


class Pareto(Rebuilt):
    """The Pareto distribution, of survival function ``(scale / x)^alpha``.

    Args:
        scale: the smallest value. alpha: how quickly large values become rare.

    Example:
        >>> import taper as torch
        >>> torch.distributions.Pareto(1., 3.).mean
        tensor(1.5000)
    """

    arg_constraints = {"alpha": constraints.positive, "scale": constraints.positive}

    def __init__(self, scale: Any, alpha: Any, validate_args: bool | None = None) -> None:
        self.scale, self.alpha = broadcast_all(scale, alpha)
        self._finish(validate_args)

    def _build(self) -> tuple[Any, list[Any]]:
        noise = Exponential(self.alpha, validate_args=False)
        return noise, [ExpTransform(), AffineTransform(loc=0, scale=self.scale)]

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._rebuilt(Pareto, batch_shape, _instance)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        return constraints.greater_than_eq(self.scale)

    @property
    def mean(self) -> Tensor:
        a = self.alpha.clamp(min=1)  # infinite from there down
        return a * self.scale / (a - 1)

    @property
    def mode(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        a = self.alpha.clamp(min=2)
        return self.scale.pow(2) * a / ((a - 1).pow(2) * (a - 2))

    def entropy(self) -> Tensor:
        return (self.scale / self.alpha).log() + (1 + self.alpha.reciprocal())
