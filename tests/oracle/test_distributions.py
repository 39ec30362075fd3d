"""torch.distributions against PyTorch: values, moments, samples of equal seeds, gradients.

A case is a class, its parameters (tensors are made from nested lists or NumPy arrays in each
library) and values. What raises in one library must raise the same in the other.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import taper  # noqa: E402

NUMBERS = np.random.RandomState(7)


def positive(*shape):
    return np.exp(NUMBERS.randn(*shape) * 0.7)


def real(*shape):
    return NUMBERS.randn(*shape)


def unit(*shape):
    return NUMBERS.uniform(0.05, 0.95, shape)


def simplex(*shape):
    weights = positive(*shape)
    return weights / weights.sum(-1, keepdims=True)


def definite(n, *batch):
    factor = real(*batch, n, n)
    return factor @ np.swapaxes(factor, -1, -2) + n * np.eye(n)


def factor(n, *batch):
    return np.linalg.cholesky(definite(n, *batch))


def counts(high, *shape):
    return NUMBERS.randint(0, high + 1, shape).astype(float)


def one_hot(n, *shape):
    return np.eye(n)[NUMBERS.randint(0, n, shape)]


# (class, parameters, values)
CASES = [
    ("Bernoulli", {"probs": unit(3)}, counts(1, 2, 3)),
    ("Bernoulli", {"logits": real(3)}, counts(1, 3)),
    ("Bernoulli", {"probs": np.array([0.0, 0.5, 1.0])}, np.array([0.0, 1.0, 1.0])),
    ("Bernoulli", {"probs": 0.3}, counts(1, 4)),
    ("Beta", {"concentration1": positive(4), "concentration0": positive(4)}, unit(3, 4)),
    ("Beta", {"concentration1": 2.0, "concentration0": 3.0}, unit(2)),
    ("Beta", {"concentration1": positive(4) / 9, "concentration0": 0.2}, unit(4)),
    ("Binomial", {"total_count": 6, "probs": unit(3)}, counts(6, 2, 3)),
    ("Binomial", {"total_count": counts(30, 3), "logits": real(3)}, np.zeros(3)),
    ("Binomial", {"total_count": 100, "probs": unit(4)}, counts(100, 4)),
    ("Categorical", {"probs": positive(2, 4)}, counts(3, 5, 2)),
    ("Categorical", {"logits": real(4)}, counts(3, 5)),
    ("Categorical", {"probs": np.array([0.0, 0.25, 0.75])}, np.array([0.0, 1.0])),
    ("Cauchy", {"loc": real(3), "scale": positive(3)}, real(2, 3) * 5),
    ("Chi2", {"df": positive(3) * 3}, positive(2, 3)),
    ("ContinuousBernoulli", {"probs": unit(4)}, unit(2, 4)),
    ("ContinuousBernoulli", {"logits": real(4)}, unit(4)),
    ("ContinuousBernoulli", {"probs": np.array([0.4995, 0.5, 0.5005])}, unit(3)),
    ("Dirichlet", {"concentration": positive(2, 3)}, simplex(4, 2, 3)),
    ("Dirichlet", {"concentration": np.array([0.1, 0.2, 0.3])}, simplex(3)),
    ("Exponential", {"rate": positive(3)}, positive(2, 3)),
    ("Exponential", {"rate": 2.0}, positive(2)),
    ("FisherSnedecor", {"df1": positive(5) * 4, "df2": positive(5) * 6}, positive(2, 5)),
    ("Gamma", {"concentration": positive(4), "rate": positive(4)}, positive(2, 4)),
    ("Gamma", {"concentration": 0.3, "rate": positive(2)}, positive(2)),
    (
        "GeneralizedPareto",
        {"loc": real(4), "scale": positive(4), "concentration": np.array([-0.4, 0.0, 0.3, 1.2])},
        3.0 + positive(4) * 0.1,
    ),
    ("Geometric", {"probs": unit(3)}, counts(6, 2, 3)),
    ("Geometric", {"logits": real(3)}, counts(6, 3)),
    ("Gumbel", {"loc": real(3), "scale": positive(3)}, real(2, 3) * 3),
    ("Gumbel", {"loc": 0.0, "scale": 1.0}, real(3)),
    ("HalfCauchy", {"scale": positive(3)}, positive(2, 3)),
    ("HalfNormal", {"scale": positive(3)}, positive(2, 3)),
    ("InverseGamma", {"concentration": positive(4) * 2, "rate": positive(4)}, positive(2, 4)),
    (
        "Kumaraswamy", {"concentration1": positive(3), "concentration0": positive(3)}, unit(2, 3)
    ),
    ("LKJCholesky", {"dim": 3, "concentration": positive(2)}, None),
    ("LKJCholesky", {"dim": 4}, None),
    ("Laplace", {"loc": real(3), "scale": positive(3)}, real(2, 3) * 3),
    ("LogNormal", {"loc": real(3), "scale": positive(3)}, positive(2, 3)),
    ("LogisticNormal", {"loc": real(2, 3), "scale": positive(2, 3)}, simplex(5, 2, 4)),
    (
        "LowRankMultivariateNormal",
        {"loc": real(2, 4), "cov_factor": real(4, 2), "cov_diag": positive(2, 4)},
        real(3, 2, 4),
    ),
    (
        "LowRankMultivariateNormal",
        {"loc": real(3), "cov_factor": real(3, 1), "cov_diag": positive(3)},
        real(3),
    ),
    ("Multinomial", {"total_count": 5, "probs": positive(3)}, one_hot(3, 4) * 5),
    ("Multinomial", {"total_count": 3, "logits": real(2, 4)}, one_hot(4, 2) * 3),
    ("MultivariateNormal", {"loc": real(3), "covariance_matrix": definite(3)}, real(5, 3)),
    (
        "MultivariateNormal", {"loc": real(3), "precision_matrix": definite(3, 2)}, real(5, 2, 3)
    ),
    ("MultivariateNormal", {"loc": real(4, 2, 3), "scale_tril": factor(3, 2)}, real(2, 3)),
    ("MultivariateNormal", {"loc": real(2, 3), "scale_tril": factor(3, 4, 1)}, real(7, 4, 2, 3)),
    ("NegativeBinomial", {"total_count": positive(3) * 4, "probs": unit(3)}, counts(6, 2, 3)),
    ("NegativeBinomial", {"total_count": 3, "logits": real(3)}, counts(6, 3)),
    ("Normal", {"loc": real(3), "scale": positive(3)}, real(2, 3)),
    ("Normal", {"loc": 0.5, "scale": positive(2, 1)}, real(2, 3)),
    ("Normal", {"loc": 0.5, "scale": 2}, real(20)),
    ("OneHotCategorical", {"probs": positive(2, 4)}, one_hot(4, 3, 2)),
    ("OneHotCategorical", {"logits": real(4)}, one_hot(4, 3)),
    ("OneHotCategoricalStraightThrough", {"logits": real(4)}, one_hot(4, 3)),
    ("Pareto", {"scale": positive(3), "alpha": positive(3) * 3}, 9 + positive(2, 3)),
    ("Poisson", {"rate": positive(4) * 5}, counts(9, 2, 4)),
    ("Poisson", {"rate": np.array([0.0, 2.0])}, np.array([0.0, 1.0])),
    ("RelaxedBernoulli", {"temperature": np.array(0.7), "probs": unit(3)}, unit(2, 3)),
    ("RelaxedBernoulli", {"temperature": np.array(0.7), "logits": real(3)}, unit(3)),
    (
        "RelaxedOneHotCategorical", {"temperature": np.array(0.7), "probs": positive(2, 3)},
        simplex(4, 2, 3),
    ),
    ("RelaxedOneHotCategorical", {"temperature": np.array(2.0), "logits": real(3)}, simplex(3)),
    ("StudentT", {"df": np.array([0.5, 1.5, 4.0]), "loc": real(3), "scale": positive(3)}, real(3)),
    ("StudentT", {"df": 3.0}, real(3)),
    ("Uniform", {"low": -positive(3), "high": positive(3)}, np.array([[0.0] * 3, [0.01] * 3])),
    ("Uniform", {"low": 0.0, "high": 2.0}, unit(3)),
    ("VonMises", {"loc": real(3), "concentration": positive(3)}, real(2, 3)),
    ("VonMises", {"loc": 0.0, "concentration": np.array([1e-7, 1e-3, 40.0])}, real(3)),
    ("Weibull", {"scale": positive(3), "concentration": 1 + positive(3)}, positive(2, 3)),
    ("Wishart", {"df": np.array([4.0, 5.5]), "covariance_matrix": definite(3)}, definite(3, 2)),
    ("Wishart", {"df": 4, "precision_matrix": definite(2)}, definite(2, 3)),
    ("Wishart", {"df": np.array(6.0), "scale_tril": factor(3, 2)}, definite(3, 2)),
]
NAMES = sorted({case[0] for case in CASES})
IDS = [f"{name}-{i}" for i, (name, _, _) in enumerate(CASES)]

each_case = pytest.mark.parametrize(("name", "parameters", "values"), CASES, ids=IDS)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def in_library(library, value, dtype, grad=False):
    if isinstance(value, np.ndarray):
        return library.tensor(value, dtype=getattr(library, dtype), requires_grad=grad)
    return value


def build(library, name, parameters, dtype="float64", grad=False):
    given = {k: in_library(library, v, dtype, grad) for k, v in parameters.items()}
    default = library.get_default_dtype()
    library.set_default_dtype(getattr(library, dtype))
    try:
        return getattr(library.distributions, name)(**given), given
    finally:
        library.set_default_dtype(default)


def both(name, parameters, dtype="float64", grad=False):
    return [build(library, name, parameters, dtype, grad) for library in (torch, taper)]


def outcome(function):
    """What a call returns, or the exception that it raises."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function()
    except (NotImplementedError, ValueError, AssertionError, RuntimeError) as problem:
        return problem


def check(theirs, ours, dtype, what=""):
    if isinstance(theirs, Exception):
        assert isinstance(ours, type(theirs)), (what, theirs, ours)
        return
    assert not isinstance(ours, Exception), (what, ours)
    assert tuple(ours.shape) == tuple(theirs.shape), what
    assert str(ours.dtype) == str(theirs.dtype), what
    loose = dtype == "float32"
    np.testing.assert_allclose(
        ours.detach().numpy(), theirs.detach().numpy(), rtol=3e-4 if loose else 1e-9,
        atol=3e-5 if loose else 1e-10, err_msg=what,
    )


# What PyTorch gets wrong, or less precisely: its own values are not the measure.
WRONG_IN_TORCH = {
    ("Kumaraswamy", "mode"),  # log(1 - b) for b > 1
    ("Multinomial", "entropy"),  # float32 inside, whatever the dtype
}
APPROXIMATE_IN_TORCH = {"VonMises"}  # Bessel functions by polynomials of seven digits


@each_dtype
@each_case
def test_properties(name, parameters, values, dtype):
    (theirs, _), (ours, _) = both(name, parameters, dtype)
    assert tuple(ours.batch_shape) == tuple(theirs.batch_shape)
    assert tuple(ours.event_shape) == tuple(theirs.event_shape)
    assert ours.has_rsample == theirs.has_rsample
    assert ours.has_enumerate_support == theirs.has_enumerate_support
    assert sorted(ours.arg_constraints) == sorted(theirs.arg_constraints)
    assert repr(ours.support) == repr(theirs.support)
    assert repr(ours) == repr(theirs)
    precision = "float32" if name in APPROXIMATE_IN_TORCH else dtype
    for what in (*ours.arg_constraints, "mean", "mode", "variance", "stddev"):
        if (name, what) not in WRONG_IN_TORCH:
            check(
                outcome(lambda what=what: getattr(theirs, what)),
                outcome(lambda what=what: getattr(ours, what)), precision, what,
            )
    if (name, "entropy") in WRONG_IN_TORCH:
        precision = "float32"
    check(outcome(theirs.entropy), outcome(ours.entropy), precision, "entropy")
    check(outcome(theirs.perplexity), outcome(ours.perplexity), precision, "perplexity")
    for expand in (True, False):
        check(
            outcome(lambda expand=expand: theirs.enumerate_support(expand)),
            outcome(lambda expand=expand: ours.enumerate_support(expand)), dtype, "enumerate",
        )


def sampled(library, distribution, method="sample", shape=(5,)):
    library.manual_seed(3)
    return getattr(distribution, method)(library.Size(shape))


def valid_values(theirs, values):
    """Values to ask about: of the case, or else what PyTorch draws."""
    return sampled(torch, theirs).numpy() if values is None else values


@each_dtype
@each_case
def test_densities(name, parameters, values, dtype):
    (theirs, _), (ours, _) = both(name, parameters, dtype)
    values = valid_values(theirs, values)
    a, b = (in_library(library, values, dtype) for library in (torch, taper))
    precision = "float32" if name in APPROXIMATE_IN_TORCH else dtype
    for what in ("log_prob", "cdf"):
        check(
            outcome(lambda what=what: getattr(theirs, what)(a)),
            outcome(lambda what=what: getattr(ours, what)(b)), precision, what,
        )
    levels = np.random.RandomState(0).uniform(0.01, 0.99, (2, *theirs.batch_shape))
    a, b = (in_library(library, levels, dtype) for library in (torch, taper))
    check(outcome(lambda: theirs.icdf(a)), outcome(lambda: ours.icdf(b)), precision, "icdf")


@each_dtype
@pytest.mark.parametrize("shape", [(), (3,), (20, 2)])
@each_case
def test_equal_seeds_give_equal_samples(name, parameters, values, dtype, shape):
    (theirs, _), (ours, _) = both(name, parameters, dtype)
    for method in ("sample", "rsample"):
        check(
            outcome(lambda method=method: sampled(torch, theirs, method, shape)),
            outcome(lambda method=method: sampled(taper, ours, method, shape)), dtype, method,
        )
        after = torch.rand(1, dtype=torch.float64).item()
        assert taper.rand(1, dtype=taper.float64).item() == after


@each_case
def test_expand(name, parameters, values):
    (theirs, _), (ours, _) = both(name, parameters)
    shape = (2, *theirs.batch_shape)
    theirs, ours = theirs.expand(shape), ours.expand(shape)
    assert type(ours).__name__ == name
    assert tuple(ours.batch_shape) == shape
    assert repr(ours) == repr(theirs)
    values = valid_values(theirs, None if values is None else values[None])
    a, b = (in_library(library, values, "float64") for library in (torch, taper))
    precision = "float32" if name in APPROXIMATE_IN_TORCH else "float64"
    check(outcome(lambda: theirs.log_prob(a)), outcome(lambda: ours.log_prob(b)), precision)
    check(outcome(lambda: theirs.mean), outcome(lambda: ours.mean), "float64")
    check(sampled(torch, theirs), sampled(taper, ours), "float64")
    again, mine = theirs.expand((3, *shape)), ours.expand((3, *shape))
    assert tuple(mine.batch_shape) == tuple(again.batch_shape)


def gradients(library, name, parameters, compute):
    distribution, given = build(library, name, parameters, grad=True)
    result = compute(library, distribution)
    weights = np.random.RandomState(1).randn(*result.shape)
    (result * library.tensor(weights, dtype=library.float64)).sum().backward()
    return {
        key: None if value.grad is None else value.grad.numpy()
        for key, value in given.items() if hasattr(value, "grad")
    }


def check_gradients(name, parameters, compute, rtol):
    theirs = outcome(lambda: gradients(torch, name, parameters, compute))
    ours = outcome(lambda: gradients(taper, name, parameters, compute))
    if isinstance(theirs, Exception):
        assert isinstance(ours, type(theirs)), ours
        return
    assert not isinstance(ours, Exception), ours
    for key, expected in theirs.items():
        if expected is None:
            assert ours[key] is None, key
        else:
            np.testing.assert_allclose(ours[key], expected, rtol, 1e-3 * rtol, err_msg=key)


# Gradients of gamma variates are approximations in PyTorch, good to about three digits.
GAMMA_INSIDE = {
    "Beta", "Chi2", "Dirichlet", "FisherSnedecor", "Gamma", "InverseGamma", "StudentT", "Wishart",
}


@each_case
def test_gradients_of_log_prob(name, parameters, values):
    (theirs, _), _ = both(name, parameters)
    values = valid_values(theirs, values)
    rtol = 1e-3 if name in APPROXIMATE_IN_TORCH else 1e-7
    check_gradients(
        name, parameters,
        lambda library, d: d.log_prob(in_library(library, values, "float64")), rtol,
    )


@each_case
def test_gradients_of_rsample(name, parameters, values):
    if name == "Wishart":  # too many digits are lost in PyTorch's derivative of gamma variates
        pytest.skip("tested on its own, against differences")
    rtol = 2e-2 if name in GAMMA_INSIDE else 1e-6
    check_gradients(
        name, parameters, lambda library, d: sampled(library, d, "rsample", (4,)), rtol
    )


@each_case
def test_gradients_of_entropy(name, parameters, values):
    check_gradients(name, parameters, lambda library, d: d.entropy(), 1e-6)


# Made of other distributions --------------------------------------------------------------


def compare(make, methods=("log_prob", "cdf"), value=None):
    theirs, ours = make(torch, torch.distributions), make(taper, taper.distributions)
    assert repr(ours) == repr(theirs)
    assert tuple(ours.batch_shape) == tuple(theirs.batch_shape)
    assert tuple(ours.event_shape) == tuple(theirs.event_shape)
    assert repr(ours.support) == repr(theirs.support)
    drawn = sampled(torch, theirs)
    check(drawn, sampled(taper, ours), "float32", "sample")
    mine = taper.tensor(drawn.numpy())
    for what in methods:
        check(
            outcome(lambda what=what: getattr(theirs, what)(drawn)),
            outcome(lambda what=what: getattr(ours, what)(mine)), "float32", what,
        )
    for what in ("mean", "mode", "variance"):
        check(
            outcome(lambda what=what: getattr(theirs, what)),
            outcome(lambda what=what: getattr(ours, what)), "float32", what,
        )
    check(outcome(theirs.entropy), outcome(ours.entropy), "float32", "entropy")
    for expanded in ((3, *theirs.batch_shape), (2, 3, *theirs.batch_shape)):
        a, b = theirs.expand(expanded), ours.expand(expanded)
        check(a.log_prob(drawn[0]), b.log_prob(mine[0]), "float32", "expanded")
        check(sampled(torch, a), sampled(taper, b), "float32", "expanded sample")


def t(library, *values):
    return library.tensor(values, dtype=library.float32)


MADE = {
    "independent": lambda x, D: D.Independent(D.Normal(x.zeros(2, 3), t(x, 1, 2, 3)), 1),
    "independent of all": lambda x, D: D.Independent(D.Beta(t(x, 1, 2), t(x, 3, 4)), 1),
    "independent of none": lambda x, D: D.Independent(D.Normal(t(x, 1, 2), t(x, 3, 4)), 0),
    "mixture": lambda x, D: D.MixtureSameFamily(
        D.Categorical(t(x, 1, 3)), D.Normal(t(x, 0, 4), t(x, 1, 2))
    ),
    "batch of mixtures": lambda x, D: D.MixtureSameFamily(
        D.Categorical(x.ones(2, 3)), D.Gamma(x.ones(2, 3) * t(x, 1, 2, 3), t(x, 3, 2, 1))
    ),
    "mixture of vectors": lambda x, D: D.MixtureSameFamily(
        D.Categorical(t(x, 1, 3)), D.Independent(D.Normal(x.arange(6.0).reshape(2, 3), 1.0), 1)
    ),
    "mixture of matrices": lambda x, D: D.MixtureSameFamily(
        D.Categorical(t(x, 1, 3)), D.LKJCholesky(3, t(x, 1.0, 2.0))
    ),
    "logistic": lambda x, D: D.TransformedDistribution(
        D.Uniform(x.zeros(3), x.ones(3)),
        [D.SigmoidTransform().inv, D.AffineTransform(loc=1.0, scale=t(x, 1, 2, 3))],
    ),
    "falling": lambda x, D: D.TransformedDistribution(
        D.Normal(x.zeros(3), x.ones(3)), [D.AffineTransform(1.0, -2.0), D.ExpTransform()]
    ),
    "broadcast by the transform": lambda x, D: D.TransformedDistribution(
        D.Normal(x.zeros(3), x.ones(3)), D.AffineTransform(x.zeros(2, 1), x.ones(3))
    ),
    "vectors": lambda x, D: D.TransformedDistribution(
        D.Normal(x.zeros(2, 3), x.ones(3)), D.StickBreakingTransform()
    ),
    "vectors from events": lambda x, D: D.TransformedDistribution(
        D.MultivariateNormal(x.zeros(3), x.eye(3)), [D.AffineTransform(t(x, 1, 2, 3), 2.0)]
    ),
    "matrices": lambda x, D: D.TransformedDistribution(
        D.Normal(x.zeros(6), x.ones(6)), D.CorrCholeskyTransform()
    ),
    "reshaped": lambda x, D: D.TransformedDistribution(
        D.Normal(x.zeros(2, 6), 1.0), D.ReshapeTransform((6,), (2, 3))
    ),
    "by its own distribution": lambda x, D: D.TransformedDistribution(
        D.Normal(x.zeros(3), 1.0), D.CumulativeDistributionTransform(D.Normal(0.5, 2.0))
    ),
    "nothing": lambda x, D: D.TransformedDistribution(D.Normal(x.zeros(3), 1.0), []),
}


@pytest.mark.parametrize("name", MADE)
def test_made_of_others(name):
    compare(MADE[name])


# Divergences ------------------------------------------------------------------------------

PAIRS = sorted(
    ((p.__name__, q.__name__) for p, q in torch.distributions.kl._KL_REGISTRY), key=str
)
ABSTRACT = {"ExponentialFamily", "Independent", "TransformedDistribution"}


def test_all_pairs_are_registered():
    ours = taper.distributions.kl._KL_REGISTRY
    assert sorted(((p.__name__, q.__name__) for p, q in ours), key=str) == PAIRS


SMALL = {
    "Bernoulli": [{"probs": np.array([0.2, 0.5])}, {"logits": np.array([0.3, -1.0])}],
    "Beta": [
        {"concentration1": np.array([1.5, 3.0]), "concentration0": np.array([2.0, 0.7])},
        {"concentration1": np.array([0.5, 1.0]), "concentration0": np.array([1.0, 2.5])},
    ],
    "Binomial": [{"total_count": 5, "probs": unit(2)}, {"total_count": 4, "probs": unit(2)}],
    "Categorical": [{"probs": positive(2, 3)}, {"logits": real(2, 3)}],
    "Cauchy": [{"loc": real(2), "scale": positive(2)}, {"loc": real(2), "scale": positive(2)}],
    "ContinuousBernoulli": [{"probs": np.array([0.2, 0.5])}, {"probs": np.array([0.7, 0.9])}],
    "Dirichlet": [{"concentration": positive(2, 3)}, {"concentration": positive(2, 3)}],
    "Exponential": [{"rate": positive(2)}, {"rate": positive(2)}],
    "Gamma": [
        {"concentration": positive(2), "rate": positive(2)},
        {"concentration": positive(2), "rate": positive(2)},
    ],
    "Geometric": [{"probs": unit(2)}, {"logits": real(2)}],
    "Gumbel": [{"loc": real(2), "scale": positive(2)}, {"loc": real(2), "scale": positive(2)}],
    "HalfNormal": [{"scale": positive(2)}, {"scale": positive(2)}],
    "Laplace": [{"loc": real(2), "scale": positive(2)}, {"loc": real(2), "scale": positive(2)}],
    "LowRankMultivariateNormal": [
        {"loc": real(2, 3), "cov_factor": real(3, 2), "cov_diag": positive(2, 3)},
        {"loc": real(3), "cov_factor": real(3, 1), "cov_diag": positive(3)},
    ],
    "MultivariateNormal": [
        {"loc": real(2, 3), "covariance_matrix": definite(3, 2)},
        {"loc": real(3), "precision_matrix": definite(3)},
    ],
    "Normal": [{"loc": real(2), "scale": positive(2)}, {"loc": real(2), "scale": positive(2)}],
    "OneHotCategorical": [{"probs": positive(2, 3)}, {"logits": real(2, 3)}],
    "Pareto": [
        {"scale": np.array([1.0, 2.0]), "alpha": np.array([2.5, 0.8])},
        {"scale": np.array([0.5, 2.5]), "alpha": np.array([1.5, 3.0])},
    ],
    "Poisson": [{"rate": positive(2)}, {"rate": positive(2)}],
    "Uniform": [
        {"low": np.array([0.2, 0.3]), "high": np.array([0.6, 0.9])},
        {"low": np.array([0.1, -1.0]), "high": np.array([0.7, 2.0])},
        {"low": np.array([-0.5, 0.1]), "high": np.array([0.5, 1.5])},
    ],
}


@pytest.mark.parametrize(
    ("p", "q"), [pair for pair in PAIRS if not ABSTRACT & set(pair)], ids=lambda x: x
)
def test_divergence(p, q):
    for first in SMALL[p]:
        for second in SMALL[q]:
            results = []
            for library in (torch, taper):
                one, other = (
                    build(library, name, given)[0] for name, given in ((p, first), (q, second))
                )
                results.append(outcome(
                    lambda one=one, other=other, library=library:
                    library.distributions.kl_divergence(one, other)
                ))
            if type(results[0]) is RuntimeError:  # PyTorch doesn't broadcast these two
                assert results[1].shape == (2,)
            else:
                check(*results, "float64", f"{first} {second}")


def test_divergence_by_construction():
    def cases(x, D):
        wishart = [D.Wishart(t(x, 4.0), x.eye(3) * k) for k in (1.0, 2.0)]
        log_normal = [D.LogNormal(t(x, k, 1), t(x, 1, 2)) for k in (1.0, 2.0)]
        independent = [D.Independent(D.Normal(t(x, k, 1), 1.0), 1) for k in (1.0, 2.0)]
        chi2 = [D.Chi2(t(x, k)) for k in (1.0, 2.0)]
        other = [D.Independent(D.Normal(t(x, 1.0), 1.0), 0), D.Independent(D.Normal(t(x, 1), 1), 1)]
        weibull = [D.Weibull(t(x, k), 2.0) for k in (1.0, 2.0)]
        half = [D.HalfCauchy(1.0), D.HalfNormal(1.0)]
        mixed = [D.Poisson(t(x, 1.0)), D.Normal(t(x, 1.0), 1.0)]
        return wishart, log_normal, independent, chi2, other, weibull, half, mixed

    pairs = zip(
        cases(torch, torch.distributions), cases(taper, taper.distributions), strict=True
    )
    for theirs, ours in pairs:
        check(
            outcome(lambda theirs=theirs: torch.distributions.kl_divergence(*theirs)),
            outcome(lambda ours=ours: taper.distributions.kl_divergence(*ours)), "float32",
            str(theirs),
        )
