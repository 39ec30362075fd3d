"""Von Mises: angles around a direction."""

from __future__ import annotations

import math
from typing import Any

import taper as torch
from taper import Tensor
from taper.distributions import constraints
from taper.distributions.distribution import Distribution
from taper.distributions.utils import broadcast_all, lazy_property

__all__ = ["VonMises"]


class VonMises(Distribution):
    """Angles, of density ``∝ exp(concentration cos(x - loc))``, in radians from -π to π.

    Args:
        loc: the direction. concentration: how closely the angles keep to it.

    Example:
        >>> import taper as torch
        >>> torch.distributions.VonMises(torch.tensor(0.), torch.tensor(1.)).sample((2,)).shape
        torch.Size([2])
    """

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real
    has_rsample = False

    def __init__(
        self, loc: Any, concentration: Any, validate_args: bool | None = None
    ) -> None:
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._expanded(VonMises, batch_shape, _instance)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @lazy_property
    def variance(self) -> Tensor:
        """The circular variance, 1 - I₁(κ) / I₀(κ)."""
        k = self.concentration
        return 1 - torch.special.i1e(k) / torch.special.i0e(k)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        k = self.concentration
        # log I₀(κ) = κ + log I₀e(κ), and the two κ are taken together
        cosine = k * (torch.cos(value - self.loc) - 1)
        return cosine - math.log(2 * math.pi) - torch.log(torch.special.i0e(k))

    @lazy_property
    def _loc(self) -> Tensor:
        return self.loc.to(torch.double)

    @lazy_property
    def _concentration(self) -> Tensor:
        return self.concentration.to(torch.double)

    @lazy_property
    def _proposal_r(self) -> Tensor:
        """The width of the wrapped Cauchy distribution that proposals come from."""
        k = self._concentration
        tau = 1 + (1 + 4 * k * k).sqrt()
        rho = (tau - (2 * tau).sqrt()) / (2 * k)
        # For small κ rho has no digits left; r is 1/κ + κ + O(κ³).
        return torch.where(k < 1e-5, 1 / k + k, (1 + rho * rho) / (2 * rho))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws angles by rejection, in float64.

        Source: D. J. Best and N. I. Fisher, "Efficient simulation of the von Mises distribution"
        (1979).
        """
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            k = self._concentration.expand(shape)
            r = self._proposal_r.expand(shape)
            angle = torch.empty(shape, dtype=torch.double, device=self.loc.device)
            done = torch.zeros(shape, dtype=torch.bool, device=self.loc.device)
            while not done.all():
                u1, u2, u3 = torch.rand((3, *shape), dtype=torch.double).unbind()
                z = torch.cos(math.pi * u1)
                f = (1 + r * z) / (r + z)
                c = k * (r - f)
                accept = (c * (2 - c) - u2 > 0) | ((c / u2).log() + 1 - c >= 0)
                angle = torch.where(accept, (u3 - 0.5).sign() * f.acos(), angle)
                done = done | accept
            wrapped = (angle + math.pi + self._loc) % (2 * math.pi) - math.pi
            return wrapped.to(self.loc.dtype)
