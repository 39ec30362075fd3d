"""Divergences against means over samples, and which formula is chosen."""

import math

import pytest
from families import COVARIANCE, matrix, t

import taper as torch
from taper import distributions as D
from taper.distributions import kl

# One of each family, placed so that most pairs are finite.
ONE = {
    D.Bernoulli: lambda: D.Bernoulli(t(0.3)[0]),
    D.Beta: lambda: D.Beta(t(2.0)[0], t(3.0)[0]),
    D.Binomial: lambda: D.Binomial(5, t(0.3)[0]),
    D.Categorical: lambda: D.Categorical(t(1.0, 2.0, 3.0)),
    D.Cauchy: lambda: D.Cauchy(t(0.5)[0], t(1.0)[0]),
    D.ContinuousBernoulli: lambda: D.ContinuousBernoulli(t(0.3)[0]),
    D.Dirichlet: lambda: D.Dirichlet(t(1.0, 2.0, 3.0)),
    D.Exponential: lambda: D.Exponential(t(1.5)[0]),
    D.Gamma: lambda: D.Gamma(t(2.0)[0], t(1.5)[0]),
    D.Geometric: lambda: D.Geometric(t(0.3)[0]),
    D.Gumbel: lambda: D.Gumbel(t(0.2)[0], t(0.5)[0]),
    D.HalfNormal: lambda: D.HalfNormal(t(1.5)[0]),
    D.Laplace: lambda: D.Laplace(t(0.2)[0], t(0.5)[0]),
    D.LowRankMultivariateNormal: lambda: D.LowRankMultivariateNormal(
        t(1.0, 2.0, 3.0), matrix([1.0], [0.5], [-1.0]), t(1.0, 0.5, 2.0)
    ),
    D.MultivariateNormal: lambda: D.MultivariateNormal(t(0.0, 1.0, 3.0), COVARIANCE),
    D.Normal: lambda: D.Normal(t(0.2)[0], t(0.5)[0]),
    D.OneHotCategorical: lambda: D.OneHotCategorical(t(1.0, 2.0, 3.0)),
    D.Pareto: lambda: D.Pareto(t(0.2)[0], t(4.0)[0]),
    D.Poisson: lambda: D.Poisson(t(3.0)[0]),
    D.Uniform: lambda: D.Uniform(t(0.3)[0], t(0.8)[0]),
}
OTHER = {
    D.Bernoulli: lambda: D.Bernoulli(t(0.6)[0]),
    D.Beta: lambda: D.Beta(t(1.5)[0], t(1.2)[0]),
    D.Binomial: lambda: D.Binomial(5, t(0.6)[0]),
    D.Categorical: lambda: D.Categorical(t(3.0, 2.0, 3.0)),
    D.Cauchy: lambda: D.Cauchy(t(0.0)[0], t(2.0)[0]),
    D.ContinuousBernoulli: lambda: D.ContinuousBernoulli(t(0.8)[0]),
    D.Dirichlet: lambda: D.Dirichlet(t(2.0, 2.0, 1.0)),
    D.Exponential: lambda: D.Exponential(t(0.5)[0]),
    D.Gamma: lambda: D.Gamma(t(1.5)[0], t(0.5)[0]),
    D.Geometric: lambda: D.Geometric(t(0.5)[0]),
    D.Gumbel: lambda: D.Gumbel(t(0.0)[0], t(1.0)[0]),
    D.HalfNormal: lambda: D.HalfNormal(t(2.5)[0]),
    D.Laplace: lambda: D.Laplace(t(0.0)[0], t(1.0)[0]),
    D.LowRankMultivariateNormal: lambda: D.LowRankMultivariateNormal(
        t(1.0, 1.0, 1.0), matrix([1.0, 0.2], [0.5, 1.0], [-1.0, 0.0]), t(1.0, 1.5, 2.0)
    ),
    D.MultivariateNormal: lambda: D.MultivariateNormal(t(0.0, 0.0, 0.0), COVARIANCE * 2),
    D.Normal: lambda: D.Normal(t(0.0)[0], t(1.0)[0]),
    D.OneHotCategorical: lambda: D.OneHotCategorical(t(3.0, 2.0, 3.0)),
    D.Pareto: lambda: D.Pareto(t(0.1)[0], t(2.0)[0]),
    D.Poisson: lambda: D.Poisson(t(2.0)[0]),
    D.Uniform: lambda: D.Uniform(t(-1.0)[0], t(1.5)[0]),
}
PAIRS = [pair for pair in kl._KL_REGISTRY if pair[0] in ONE and pair[1] in OTHER]


@pytest.mark.parametrize(
    ("first", "second"), PAIRS, ids=[f"{p.__name__}-{q.__name__}" for p, q in PAIRS]
)
def test_against_samples(first, second):
    p, q = ONE[first](), OTHER[second]()
    exact = D.kl_divergence(p, q)
    assert exact.shape == p.batch_shape
    x = p.sample((8000,))
    if exact.isinf():
        assert not q.support.check(x).all() or q.log_prob(x).isinf().any() or (
            isinstance(p, (D.Exponential, D.Gamma, D.Pareto, D.Poisson))
        )
        return
    ratio = p.log_prob(x) - q.log_prob(x)
    assert abs(ratio.mean() - exact) < 5 * ratio.std() / 8000**0.5 + 1e-9
    if first is second:
        assert D.kl_divergence(p, ONE[first]()).abs() < 1e-6


def test_infinite_where_q_excludes():
    wide, narrow = D.Uniform(0.0, 2.0), D.Uniform(0.5, 1.0)
    assert D.kl_divergence(wide, narrow) == math.inf
    assert D.kl_divergence(narrow, wide) == pytest.approx(math.log(4))
    certain = D.Bernoulli(torch.tensor(1.0))
    assert D.kl_divergence(D.Bernoulli(torch.tensor(0.5)), certain) == math.inf
    assert D.kl_divergence(certain, D.Bernoulli(torch.tensor(0.5))) == pytest.approx(
        math.log(2), abs=1e-6
    )
    assert D.kl_divergence(D.Uniform(-1.0, 1.0), D.Gamma(1.0, 1.0)) == math.inf


def test_exponential_families_by_their_normalizers():
    general = kl._KL_REGISTRY[D.ExponentialFamily, D.ExponentialFamily]
    for kind in (D.Bernoulli, D.Beta, D.Dirichlet, D.Exponential, D.Gamma, D.Normal, D.Poisson):
        p, q = ONE[kind](), OTHER[kind]()
        assert torch.allclose(general(p, q), D.kl_divergence(p, q)), kind
        if kind not in {D.Beta, D.Dirichlet, D.Poisson}:  # whose k(x) isn't 0 on average
            assert torch.allclose(D.ExponentialFamily.entropy(p), p.entropy()), kind
    with pytest.raises(NotImplementedError, match="cross KL-divergence"):
        D.kl_divergence(D.Poisson(t(1.0)), D.Normal(t(1.0), 1.0))


def test_made_of_others():
    p, q = (D.Normal(t(m, 1.0), t(1.0, 2.0)) for m in (0.0, 3.0))
    whole = D.kl_divergence(D.Independent(p, 1), D.Independent(q, 1))
    assert torch.allclose(whole, D.kl_divergence(p, q).sum())
    exp = D.ExpTransform()
    moved = [D.TransformedDistribution(d, exp) for d in (p, q)]
    assert torch.allclose(D.kl_divergence(*moved), D.kl_divergence(p, q))


@pytest.fixture
def registry():
    """The formulas; what a test registers is forgotten after it."""
    before = dict(kl._KL_REGISTRY)
    yield kl._KL_REGISTRY
    kl._KL_REGISTRY.clear()
    kl._KL_REGISTRY.update(before)
    kl._KL_MEMOIZE.clear()


def test_the_most_specific_formula_is_chosen(registry):
    class Left(D.Normal):
        pass

    class Right(D.Normal):
        pass

    def marked(number):
        return lambda p, q: torch.tensor(number)

    left, right = Left(0.0, 1.0), Right(0.0, 1.0)
    assert D.kl_divergence(left, right) == 0
    D.register_kl(Left, D.Normal)(marked(1.0))
    assert D.kl_divergence(left, right) == 1
    D.register_kl(D.Normal, Right)(marked(2.0))
    with pytest.warns(RuntimeWarning, match="Ambiguous kl_divergence"):
        assert D.kl_divergence(left, right) == 1
    D.register_kl(Left, Right)(marked(3.0))
    assert D.kl_divergence(left, right) == 3
    with pytest.raises(NotImplementedError, match="No KL"):
        D.kl_divergence(D.Cauchy(0.0, 1.0), left)
    with pytest.raises(TypeError, match="Distribution subclass"):
        D.register_kl(3, Left)
