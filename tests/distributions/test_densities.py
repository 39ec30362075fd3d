"""Log densities and probabilities against SciPy's and closed forms."""

import math

import numpy as np
import pytest
from families import COVARIANCE, t

import taper as torch
from taper import distributions as D

stats = pytest.importorskip("scipy.stats")

HALF = np.array([0.1, 0.5, 0.9])
REAL = np.array([-3.0, -0.2, 0.0, 1.5, 8.0])
POSITIVE = np.array([0.05, 0.7, 1.0, 3.5, 20.0])
COUNTS = np.array([0.0, 1.0, 2.0, 5.0])

CASES = {
    "beta": (lambda: D.Beta(2.0, 0.5), stats.beta(2.0, 0.5), HALF),
    "binomial": (lambda: D.Binomial(6, t(0.3)), stats.binom(6, 0.3), COUNTS),
    "cauchy": (lambda: D.Cauchy(t(1.0), t(2.0)), stats.cauchy(1.0, 2.0), REAL),
    "chi2": (lambda: D.Chi2(t(3.0)), stats.chi2(3.0), POSITIVE),
    "exponential": (lambda: D.Exponential(t(2.0)), stats.expon(scale=0.5), POSITIVE),
    "f": (lambda: D.FisherSnedecor(t(3.0), t(5.0)), stats.f(3, 5), POSITIVE),
    "gamma": (lambda: D.Gamma(t(2.5), t(2.0)), stats.gamma(2.5, scale=0.5), POSITIVE),
    "generalized pareto": (
        lambda: D.GeneralizedPareto(t(0.0), t(2.0), t(0.3)), stats.genpareto(0.3, 0, 2), POSITIVE
    ),
    "geometric": (lambda: D.Geometric(t(0.3)), stats.geom(0.3, loc=-1), COUNTS),
    "gumbel": (lambda: D.Gumbel(t(1.0), t(2.0)), stats.gumbel_r(1.0, 2.0), REAL),
    "half cauchy": (lambda: D.HalfCauchy(t(2.0)), stats.halfcauchy(scale=2.0), POSITIVE),
    "half normal": (lambda: D.HalfNormal(t(2.0)), stats.halfnorm(scale=2.0), POSITIVE),
    "inverse gamma": (
        lambda: D.InverseGamma(t(2.5), t(2.0)), stats.invgamma(2.5, scale=2.0), POSITIVE
    ),
    "laplace": (lambda: D.Laplace(t(1.0), t(2.0)), stats.laplace(1.0, 2.0), REAL),
    "log normal": (
        lambda: D.LogNormal(t(0.5), t(0.8)), stats.lognorm(0.8, scale=math.exp(0.5)), POSITIVE
    ),
    "negative binomial": (
        lambda: D.NegativeBinomial(t(3.0), t(0.4)), stats.nbinom(3.0, 0.6), COUNTS
    ),
    "normal": (lambda: D.Normal(t(1.0), t(2.0)), stats.norm(1.0, 2.0), REAL),
    "pareto": (lambda: D.Pareto(t(2.0), t(3.0)), stats.pareto(3.0, scale=2.0), POSITIVE + 2),
    "poisson": (lambda: D.Poisson(t(2.5)), stats.poisson(2.5), COUNTS),
    "student": (lambda: D.StudentT(t(3.0), 1.0, 2.0), stats.t(3.0, 1.0, 2.0), REAL),
    "uniform": (lambda: D.Uniform(t(-4.0), t(10.0)), stats.uniform(-4, 14), REAL),
    "von mises": (lambda: D.VonMises(t(0.3), t(2.0)), stats.vonmises(2.0, loc=0.3), REAL[1:4]),
    "weibull": (
        lambda: D.Weibull(t(2.0), t(1.5)), stats.weibull_min(1.5, scale=2.0), POSITIVE
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_against_scipy(name):
    make, other, values = CASES[name]
    ours = make()
    x = torch.tensor(values, dtype=torch.float32 if name == "beta" else torch.float64)
    expected = other.logpmf(values) if hasattr(other, "pmf") and hasattr(
        other.dist, "_pmf"
    ) else other.logpdf(values)
    tolerance = 1e-5 if name == "beta" else 1e-10
    np.testing.assert_allclose(ours.log_prob(x).numpy(), expected, rtol=tolerance, atol=tolerance)
    try:
        np.testing.assert_allclose(ours.cdf(x).numpy(), other.cdf(values), rtol=1e-9, atol=1e-12)
    except NotImplementedError:
        return
    if name not in {"gamma", "chi2", "inverse gamma"}:
        levels = torch.tensor(HALF)
        np.testing.assert_allclose(ours.icdf(levels).numpy(), other.ppf(HALF), rtol=1e-9)


def test_multivariate_normal():
    mean, covariance = np.array([1.0, 2.0, 3.0]), COVARIANCE.numpy()
    other = stats.multivariate_normal(mean, covariance)
    x = np.random.randn(4, 2, 3)
    given = {
        "covariance_matrix": covariance, "precision_matrix": np.linalg.inv(covariance),
        "scale_tril": np.linalg.cholesky(covariance),
    }
    for name, value in given.items():
        ours = D.MultivariateNormal(torch.tensor(mean), **{name: torch.tensor(value)})
        assert np.allclose(ours.log_prob(torch.tensor(x)).numpy(), other.logpdf(x))
        assert np.allclose(ours.entropy(), other.entropy())
        for what, expected in given.items():
            assert np.allclose(getattr(ours, what).numpy(), expected)
        assert np.allclose(ours.variance.numpy(), np.diag(covariance))


def test_low_rank_is_the_full_normal():
    w, d, mean = torch.randn(4, 2).double(), torch.rand(4).double() + 0.5, torch.randn(4).double()
    low = D.LowRankMultivariateNormal(mean, w, d)
    full = D.MultivariateNormal(mean, w @ w.T + torch.diag(d))
    x = torch.randn(5, 4).double()
    assert torch.allclose(low.log_prob(x), full.log_prob(x))
    for what in ("covariance_matrix", "precision_matrix", "scale_tril", "variance", "mean"):
        assert torch.allclose(getattr(low, what), getattr(full, what)), what
    assert torch.allclose(low.entropy(), full.entropy())


def test_vectors_and_matrices():
    probs = np.array([0.2, 0.3, 0.5])
    x = np.array([[1.0, 2.0, 3.0], [6.0, 0.0, 0.0]])
    multinomial = D.Multinomial(6, torch.tensor(probs))
    expected = stats.multinomial(6, probs).logpmf(x)
    assert np.allclose(multinomial.log_prob(torch.tensor(x)).numpy(), expected)
    assert np.allclose(multinomial.entropy(), stats.multinomial(6, probs).entropy())
    alpha, point = np.array([1.5, 2.0, 0.5]), np.array([0.2, 0.3, 0.5])
    expected = stats.dirichlet(alpha).logpdf(point)
    assert np.allclose(D.Dirichlet(torch.tensor(alpha)).log_prob(torch.tensor(point)), expected)
    wishart = D.Wishart(t(5.0)[0], COVARIANCE)
    other = stats.wishart(5, COVARIANCE.numpy())
    value = COVARIANCE * 2 + torch.eye(3, dtype=torch.float64)
    assert np.allclose(wishart.log_prob(value), other.logpdf(value.numpy()))
    assert np.allclose(wishart.entropy(), other.entropy())


def test_categories():
    probs = t(1.0, 3.0, 4.0) / 8
    assert torch.allclose(D.Categorical(probs).log_prob(torch.arange(3)), probs.log())
    one_hot = D.OneHotCategorical(logits=probs.log() + 5)
    assert torch.allclose(one_hot.log_prob(torch.eye(3).double()), probs.log())
    assert torch.equal(one_hot.mode, t(0.0, 0.0, 1.0))
    certain = D.Categorical(t(0.0, 1.0))
    assert certain.entropy().abs() < 1e-6
    assert torch.allclose(
        D.Bernoulli(t(0.2, 0.7)).log_prob(t(1.0, 0.0)), t(0.2, 0.3).log()
    )


def test_relaxed_densities_integrate_to_one():
    grid = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    for temperature in (0.8, 2.0):
        relaxed = D.RelaxedBernoulli(t(temperature)[0], t(0.3)[0])
        assert abs(relaxed.log_prob(grid).exp().mean() - 1) < 1e-2
        pairs = torch.stack([grid, 1 - grid], -1)
        relaxed = D.RelaxedOneHotCategorical(t(temperature)[0], t(0.3, 0.7))
        assert abs(relaxed.log_prob(pairs).exp().mean() - 1) < 1e-2


def test_continuous_bernoulli_integrates_to_one():
    grid = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    for p in (0.01, 0.4989, 0.4995, 0.5, 0.7):
        density = D.ContinuousBernoulli(t(p)[0]).log_prob(grid).exp()
        assert abs(density.mean() - 1) < 1e-6
        assert abs((density * grid).mean() - D.ContinuousBernoulli(t(p)[0]).mean) < 1e-6


def test_lkj_of_two_dimensions():
    # For one correlation r the density is ∝ (1 - r²)^(η - 1); the factor's second row is
    # (r, √(1 - r²)). η = 1 is uniform on (-1, 1).
    r = t(-0.5, 0.0, 0.8)
    zero = torch.zeros_like(r)
    factor = torch.stack(
        [torch.stack([zero + 1, zero], -1), torch.stack([r, (1 - r * r).sqrt()], -1)], -2
    )
    assert torch.allclose(D.LKJCholesky(2, t(1.0)[0]).log_prob(factor), zero - math.log(2))
    expected = stats.beta(2, 2, loc=-1, scale=2).logpdf(r.numpy())
    assert np.allclose(D.LKJCholesky(2, t(2.0)[0]).log_prob(factor).numpy(), expected)


def test_edges():
    assert D.Uniform(0.0, 1.0).log_prob(torch.tensor(1.0)) == -math.inf
    assert D.Geometric(torch.tensor(1.0)).log_prob(torch.tensor(0.0)) == 0
    assert D.Poisson(torch.tensor(0.0)).log_prob(torch.tensor(0.0)) == 0
    impossible = D.Multinomial(2, torch.tensor([0.0, 1.0]))
    assert impossible.log_prob(torch.tensor([0.0, 2.0])).abs() < 1e-5
    assert D.StudentT(torch.tensor([1.0, 2.0, 3.0])).variance.isfinite().tolist() == [
        False, False, True
    ]
    assert D.Pareto(1.0, 0.5).mean == math.inf
    corner = D.Dirichlet(torch.tensor([0.5, 0.9])).mode
    assert corner.sum() == 1
