"""Kullback-Leibler divergences between distributions of different families.

All are the cross entropy, the mean under p of -log q(x), less the entropy of p. The cross entropy
takes a few moments of p: those that log q is made of.
"""

from __future__ import annotations

import math
from typing import Any

import taper as torch
from taper import Tensor
from taper.distributions.bernoulli import Bernoulli
from taper.distributions.beta import Beta
from taper.distributions.binomial import Binomial
from taper.distributions.continuous_bernoulli import ContinuousBernoulli
from taper.distributions.exponential import Exponential
from taper.distributions.gamma import Gamma
from taper.distributions.gumbel import _EULER, Gumbel
from taper.distributions.kl_registry import register_kl
from taper.distributions.laplace import Laplace
from taper.distributions.normal import Normal
from taper.distributions.pareto import Pareto
from taper.distributions.poisson import Poisson
from taper.distributions.uniform import Uniform


def _infinite_where(result: Tensor, *outside: Tensor) -> Tensor:
    """Where p gives weight to what q excludes, the divergence is infinite."""
    for condition in outside:
        result = result.masked_fill(condition.expand_as(result), torch.inf)
    return result


# Moments ----------------------------------------------------------------------------------


def _mean_log(p: Any) -> Tensor:
    """The mean of log x."""
    if isinstance(p, Beta):
        return torch.digamma(p.concentration1) - torch.digamma(
            p.concentration1 + p.concentration0
        )
    if isinstance(p, Exponential):
        return -p.rate.log() - _EULER
    if isinstance(p, Pareto):
        return p.scale.log() + p.alpha.reciprocal()
    return _mean_log_between(p.low, p.high)


def _mean_log_between(low: Tensor, high: Tensor) -> Tensor:
    return (torch.xlogy(high, high) - torch.xlogy(low, low)) / (high - low) - 1


def _mean_exponential(p: Any, factor: Tensor) -> Tensor:
    """The mean of exp(-factor x)."""
    if isinstance(p, Exponential):
        return p.rate / (p.rate + factor)
    if isinstance(p, Gamma):
        return (1 + factor / p.rate).pow(-p.concentration)
    if isinstance(p, Normal):
        return torch.exp(factor * (0.5 * factor * p.variance - p.loc))
    ends = torch.exp(-factor * p.low) - torch.exp(-factor * p.high)
    return ends / (factor * (p.high - p.low))


# To each family ---------------------------------------------------------------------------


@register_kl(Beta, Normal)
@register_kl(ContinuousBernoulli, Normal)
@register_kl(Exponential, Normal)
@register_kl(Gamma, Normal)
@register_kl(Gumbel, Normal)
@register_kl(Laplace, Normal)
@register_kl(Pareto, Normal)
@register_kl(Uniform, Normal)
def _(p: Any, q: Any) -> Tensor:
    squared = (p.variance + (p.mean - q.loc).pow(2)) / q.variance
    cross = 0.5 * (squared + math.log(2 * math.pi)) + q.scale.log()
    return cross - p.entropy()


@register_kl(Beta, Exponential)
@register_kl(ContinuousBernoulli, Exponential)
@register_kl(Gamma, Exponential)
@register_kl(Pareto, Exponential)
@register_kl(Uniform, Exponential)
def _(p: Any, q: Any) -> Tensor:
    result = q.rate * p.mean - q.rate.log() - p.entropy()
    return _infinite_where(result, p.low < 0) if isinstance(p, Uniform) else result


@register_kl(Beta, Gamma)
@register_kl(Exponential, Gamma)
@register_kl(Pareto, Gamma)
@register_kl(Uniform, Gamma)
def _(p: Any, q: Any) -> Tensor:
    a, rate = q.concentration, q.rate
    cross = a.lgamma() - a * rate.log() - (a - 1) * _mean_log(p) + rate * p.mean
    result = cross - p.entropy()
    return _infinite_where(result, p.low < 0) if isinstance(p, Uniform) else result


@register_kl(Exponential, Gumbel)
@register_kl(Gamma, Gumbel)
@register_kl(Normal, Gumbel)
@register_kl(Uniform, Gumbel)
def _(p: Any, q: Any) -> Tensor:
    exponential = _mean_exponential(p, 1 / q.scale) * torch.exp(q.loc / q.scale)
    return q.scale.log() + (p.mean - q.loc) / q.scale + exponential - p.entropy()


@register_kl(Normal, Laplace)
def _(p: Any, q: Any) -> Tensor:
    shift = p.loc - q.loc
    z = shift / p.scale / math.sqrt(2)
    distance = p.scale * math.sqrt(2 / math.pi) * torch.exp(-z.pow(2)) + shift * torch.erf(z)
    return torch.log(2 * q.scale) + distance / q.scale - p.entropy()


@register_kl(Beta, ContinuousBernoulli)
@register_kl(Uniform, ContinuousBernoulli)
def _(p: Any, q: Any) -> Tensor:
    cross = -p.mean * q.logits - torch.log1p(-q.probs) - q._cont_bern_log_norm()
    result = cross - p.entropy()
    return _infinite_where(result, p.low < 0, p.high > 1) if isinstance(p, Uniform) else result


@register_kl(Beta, Uniform)
@register_kl(ContinuousBernoulli, Uniform)
def _(p: Any, q: Any) -> Tensor:
    result = (q.high - q.low).log() - p.entropy()
    return _infinite_where(result, q.low > 0, q.high < 1)


@register_kl(Uniform, Beta)
def _(p: Any, q: Any) -> Tensor:
    a, b = q.concentration1, q.concentration0
    logarithms = (a - 1) * _mean_log(p) + (b - 1) * _mean_log_between(1 - p.high, 1 - p.low)
    cross = a.lgamma() + b.lgamma() - (a + b).lgamma() - logarithms
    return _infinite_where(cross - p.entropy(), p.low < 0, p.high > 1)


@register_kl(Uniform, Pareto)
def _(p: Any, q: Any) -> Tensor:
    cross = (q.alpha + 1) * _mean_log(p) - q.alpha.log() - q.alpha * q.scale.log()
    return _infinite_where(cross - p.entropy(), p.low < q.scale)


@register_kl(Bernoulli, Poisson)
def _(p: Any, q: Any) -> Tensor:
    return -p.entropy() - (p.probs * q.rate.log() - q.rate)


# Never finite -----------------------------------------------------------------------------

_EXCLUDES: dict[type, list[type]] = {
    Beta: [Pareto],
    ContinuousBernoulli: [Pareto],
    Exponential: [Beta, ContinuousBernoulli, Pareto, Uniform],
    Gamma: [Beta, ContinuousBernoulli, Pareto, Uniform],
    Gumbel: [Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform],
    Laplace: [Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform],
    Normal: [Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform],
    Pareto: [Beta, ContinuousBernoulli, Uniform],
    Poisson: [Bernoulli, Binomial],
}
"""Which families give no weight to values that a distribution always may have."""


def _infinite(p: Any, q: Any) -> Tensor:
    # p.mean may have a gradient or be infinite; only its shape and dtype count.
    return torch.full_like(p.mean.detach(), torch.inf)


for _kind, _others in _EXCLUDES.items():
    for _other in _others:
        register_kl(_kind, _other)(_infinite)
