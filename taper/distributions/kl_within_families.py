"""Kullback-Leibler divergences between two distributions of the same family.

Sources: the definition, and for exponential families F. Nielsen and R. Nock, "Entropies and
cross-entropies of exponential families" (2010).
"""

from __future__ import annotations

from typing import Any

import taper as torch
from taper import Tensor
from taper.distributions.bernoulli import Bernoulli
from taper.distributions.beta import Beta
from taper.distributions.binomial import Binomial
from taper.distributions.categorical import Categorical
from taper.distributions.cauchy import Cauchy
from taper.distributions.continuous_bernoulli import ContinuousBernoulli
from taper.distributions.dirichlet import Dirichlet
from taper.distributions.exp_family import ExponentialFamily
from taper.distributions.exponential import Exponential
from taper.distributions.gamma import Gamma
from taper.distributions.geometric import Geometric
from taper.distributions.gumbel import _EULER, Gumbel
from taper.distributions.half_normal import HalfNormal
from taper.distributions.independent import Independent
from taper.distributions.kl_registry import kl_divergence, register_kl
from taper.distributions.laplace import Laplace
from taper.distributions.lowrank_multivariate_normal import LowRankMultivariateNormal
from taper.distributions.multivariate_normal import MultivariateNormal, log_det_of_factor
from taper.distributions.normal import Normal
from taper.distributions.one_hot_categorical import OneHotCategorical
from taper.distributions.pareto import Pareto
from taper.distributions.poisson import Poisson
from taper.distributions.transformed_distribution import TransformedDistribution
from taper.distributions.uniform import Uniform
from taper.distributions.utils import sum_rightmost
from taper.nn.functional import softplus

# Discrete ---------------------------------------------------------------------------------


def _weighted(weight: Tensor, log_ratio: Tensor, other: Tensor) -> Tensor:
    """weight · log_ratio; infinite where q says 0, but 0 where p says so, too."""
    term = weight * log_ratio
    impossible = (other == 0).expand_as(term)
    never = (weight == 0).expand_as(term)
    return term.masked_fill(impossible, torch.inf).masked_fill(never, 0)


@register_kl(Bernoulli, Bernoulli)
def _(p: Any, q: Any) -> Tensor:
    ones = _weighted(p.probs, softplus(-q.logits) - softplus(-p.logits), q.probs)
    zeros = _weighted(1 - p.probs, softplus(q.logits) - softplus(p.logits), 1 - q.probs)
    return ones + zeros


@register_kl(Binomial, Binomial)
def _(p: Any, q: Any) -> Tensor:
    if (q.total_count > p.total_count).any():  # no closed form: ratios of binomial coefficients
        raise NotImplementedError(
            "KL between Binomials where q.total_count > p.total_count is not implemented"
        )
    trial = p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p()
    return (p.total_count * trial).masked_fill(p.total_count > q.total_count, torch.inf)


@register_kl(Categorical, Categorical)
def _(p: Any, q: Any) -> Tensor:
    return _weighted(p.probs, p.logits - q.logits, q.probs).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _(p: Any, q: Any) -> Tensor:
    return kl_divergence(p._categorical, q._categorical)


@register_kl(Geometric, Geometric)
def _(p: Any, q: Any) -> Tensor:
    return -p.entropy() - torch.log1p(-q.probs) / p.probs - q.logits


@register_kl(Poisson, Poisson)
def _(p: Any, q: Any) -> Tensor:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


# Continuous -------------------------------------------------------------------------------


@register_kl(Beta, Beta)
def _(p: Any, q: Any) -> Tensor:
    return kl_divergence(p._dirichlet, q._dirichlet)


@register_kl(Cauchy, Cauchy)
def _(p: Any, q: Any) -> Tensor:
    # Source: F. Chyzak and F. Nielsen, "A closed-form formula for the Kullback-Leibler divergence
    # between Cauchy distributions" (2019).
    above = ((p.scale + q.scale).pow(2) + (p.loc - q.loc).pow(2)).log()
    return above - (4 * p.scale * q.scale).log()


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _(p: Any, q: Any) -> Tensor:
    of_p = p._cont_bern_log_norm() + torch.log1p(-p.probs)
    of_q = q._cont_bern_log_norm() + torch.log1p(-q.probs)
    return p.mean * (p.logits - q.logits) + of_p - of_q


@register_kl(Dirichlet, Dirichlet)
def _(p: Any, q: Any) -> Tensor:
    a, b = p.concentration, q.concentration
    normalizers = a.sum(-1).lgamma() - b.sum(-1).lgamma() + (b.lgamma() - a.lgamma()).sum(-1)
    mean_log = a.digamma() - a.sum(-1, True).digamma()
    return normalizers + ((a - b) * mean_log).sum(-1)


@register_kl(Exponential, Exponential)
def _(p: Any, q: Any) -> Tensor:
    ratio = q.rate / p.rate
    return -ratio.log() + ratio - 1


@register_kl(Gamma, Gamma)
def _(p: Any, q: Any) -> Tensor:
    return (
        q.concentration * (p.rate / q.rate).log()
        + torch.lgamma(q.concentration)
        - torch.lgamma(p.concentration)
        + (p.concentration - q.concentration) * torch.digamma(p.concentration)
        + (q.rate - p.rate) * (p.concentration / p.rate)
    )


@register_kl(Gumbel, Gumbel)
def _(p: Any, q: Any) -> Tensor:
    ratio = p.scale / q.scale
    shift = (p.loc - q.loc) / q.scale
    mean_exponential = torch.exp(torch.lgamma(1 + ratio) - shift)
    return -ratio.log() + shift + ratio * _EULER + mean_exponential - (1 + _EULER)


@register_kl(HalfNormal, HalfNormal)
def _(p: Any, q: Any) -> Tensor:
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(Laplace, Laplace)
def _(p: Any, q: Any) -> Tensor:
    # Source: M. Gil, F. Alajaji and T. Linder, "Rényi divergence measures for commonly used
    # univariate continuous distributions" (2013).
    ratio = p.scale / q.scale
    distance = (p.loc - q.loc).abs()
    return -ratio.log() + distance / q.scale + ratio * torch.exp(-distance / p.scale) - 1


@register_kl(Normal, Normal)
def _(p: Any, q: Any) -> Tensor:
    ratio = (p.scale / q.scale).pow(2)
    shift = ((p.loc - q.loc) / q.scale).pow(2)
    return 0.5 * (ratio + shift - 1 - ratio.log())


@register_kl(Pareto, Pareto)
def _(p: Any, q: Any) -> Tensor:
    ratio = q.alpha / p.alpha
    result = q.alpha * (p.scale / q.scale).log() - ratio.log() + ratio - 1
    return result.masked_fill(p.scale < q.scale, torch.inf)


@register_kl(Uniform, Uniform)
def _(p: Any, q: Any) -> Tensor:
    result = ((q.high - q.low) / (p.high - p.low)).log()
    return result.masked_fill((q.low > p.low) | (q.high < p.high), torch.inf)


# Multivariate normal ----------------------------------------------------------------------


def _roots(p: Any) -> list[Tensor]:
    """Matrices R with Σ = sum of R Rᵀ."""
    if isinstance(p, MultivariateNormal):
        return [p._unbroadcasted_scale_tril]
    return [p._unbroadcasted_cov_factor, p._unbroadcasted_cov_diag.sqrt().diag_embed()]


def _squared(q: Any, root: Tensor) -> Tensor:
    """trace(Rᵀ Σ⁻¹ R)."""
    if isinstance(q, MultivariateNormal):
        factor = q._unbroadcasted_scale_tril
        return torch.linalg.solve_triangular(factor, root, upper=False).pow(2).sum((-2, -1))
    # Woodbury: Σ⁻¹ = D⁻¹ - D⁻¹ W C⁻¹ Wᵀ D⁻¹, C being the capacitance.
    diagonal = q._unbroadcasted_cov_diag.unsqueeze(-1)
    projected = q._unbroadcasted_cov_factor.mT @ (root / diagonal)
    inner = torch.linalg.solve_triangular(q._capacitance_tril, projected, upper=False)
    return (root.pow(2) / diagonal).sum((-2, -1)) - inner.pow(2).sum((-2, -1))


def _log_det(p: Any) -> Tensor:
    if isinstance(p, MultivariateNormal):
        return 2 * log_det_of_factor(p._unbroadcasted_scale_tril)
    return p._log_det()


@register_kl(MultivariateNormal, MultivariateNormal)
@register_kl(MultivariateNormal, LowRankMultivariateNormal)
@register_kl(LowRankMultivariateNormal, MultivariateNormal)
@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
def _(p: Any, q: Any) -> Tensor:
    if p.event_shape != q.event_shape:
        kinds = {type(p), type(q)}
        name = "(Low Rank) " if any(issubclass(k, LowRankMultivariateNormal) for k in kinds) else ""
        raise ValueError(
            f"KL-divergence between two {name}Multivariate Normals with different event shapes "
            "cannot be computed"
        )
    spread = sum(_squared(q, root) for root in _roots(p))
    shift = _squared(q, (q.loc - p.loc).unsqueeze(-1))
    return 0.5 * (_log_det(q) - _log_det(p) + spread + shift - p.event_shape[0])


# By construction --------------------------------------------------------------------------


@register_kl(ExponentialFamily, ExponentialFamily)
def _(p: Any, q: Any) -> Tensor:
    """The Bregman divergence of the log normalizer."""
    if type(p) is not type(q):
        raise NotImplementedError(
            "The cross KL-divergence between different exponential families cannot be computed "
            "using Bregman divergences"
        )
    of_p = [parameter.detach().requires_grad_() for parameter in p._natural_params]
    normalizer = p._log_normalizer(*of_p)
    slopes = torch.autograd.grad(normalizer.sum(), of_p, create_graph=True)
    result = q._log_normalizer(*q._natural_params) - normalizer
    for a, b, slope in zip(of_p, q._natural_params, slopes, strict=True):
        result = result - sum_rightmost((b - a) * slope, len(q.event_shape))
    return result


@register_kl(TransformedDistribution, TransformedDistribution)
def _(p: Any, q: Any) -> Tensor:
    """Divergence doesn't change under a map that is one to one."""
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(Independent, Independent)
def _(p: Any, q: Any) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError
    result = kl_divergence(p.base_dist, q.base_dist)
    return sum_rightmost(result, p.reinterpreted_batch_ndims)
