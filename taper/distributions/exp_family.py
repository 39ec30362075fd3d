"""Exponential families: distributions whose entropy follows from their normalizer."""

from __future__ import annotations

from typing import Any

import taper as torch
from taper import Tensor
from taper.distributions.distribution import Distribution

__all__ = ["ExponentialFamily"]


class ExponentialFamily(Distribution):
    """The base of distributions with a density ``exp(θ·t(x) - F(θ) + k(x))``.

    A subclass gives θ (`_natural_params`), F (`_log_normalizer`) and the mean of k
    (`_mean_carrier_measure`); then `entropy` and the divergence within the family follow from the
    gradient of F. Source: F. Nielsen and R. Nock, "Entropies and cross-entropies of exponential
    families" (2010).
    """

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self) -> Any:
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """Returns F(θ) - θ·∇F(θ) - E[k]."""
        parameters = [p.detach().requires_grad_() for p in self._natural_params]
        with torch.enable_grad():
            normalizer = self._log_normalizer(*parameters)
            slopes = torch.autograd.grad(normalizer.sum(), parameters, create_graph=True)
        result = normalizer - self._mean_carrier_measure
        for parameter, slope in zip(parameters, slopes, strict=True):
            product = parameter * slope
            result = result - product.reshape(*self._batch_shape, -1).sum(-1)
        return result
