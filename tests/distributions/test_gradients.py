"""Gradients: of log densities, of samples as functions of the parameters, of entropies."""

import numpy as np
import pytest
from families import CONTINUOUS, FAMILIES, t

import taper as torch
from taper import distributions as D
from taper.autograd import gradcheck

PARAMETERS = {
    "Beta": (t(2.0, 0.8), t(3.0, 1.5)),
    "Cauchy": (t(0.3), t(1.5)),
    "ContinuousBernoulli": (t(0.2, 0.4),),
    "Dirichlet": (t(1.5, 2.0, 3.0),),
    "Exponential": (t(0.5, 2.0),),
    "FisherSnedecor": (t(5.0), t(12.0)),
    "Gamma": (t(0.7, 3.0), t(1.0, 2.0)),
    "GeneralizedPareto": (t(0.5), t(1.2), t(0.2)),
    "Gumbel": (t(0.3), t(1.5)),
    "InverseGamma": (t(5.0), t(2.0)),
    "Kumaraswamy": (t(2.0), t(1.5)),
    "Laplace": (t(0.3), t(1.5)),
    "LogNormal": (t(0.3), t(0.5)),
    "LogisticNormal": (t(0.3, 0.1), t(0.5, 0.7)),
    "Normal": (t(0.3), t(1.5)),
    "Pareto": (t(1.5), t(6.0)),
    "StudentT": (t(6.0), t(0.3), t(2.0)),
    "Uniform": (t(0.3), t(1.5)),
    "VonMises": (t(0.3), t(2.0)),
    "Weibull": (t(1.5), t(2.5)),
}


def with_gradient(name):
    return [p.clone().requires_grad_() for p in PARAMETERS[name]]


@pytest.mark.parametrize("name", PARAMETERS)
def test_log_prob(name):
    value = getattr(D, name)(*PARAMETERS[name]).sample((3,))

    def log_prob(*parameters):
        return getattr(D, name)(*parameters, validate_args=False).log_prob(value)

    assert gradcheck(log_prob, with_gradient(name))


@pytest.mark.parametrize(
    "name", [name for name in PARAMETERS if getattr(D, name).has_rsample is True]
)
def test_pathwise_gradients_of_simple_noise(name):
    if name in {"Beta", "Dirichlet", "FisherSnedecor", "Gamma", "InverseGamma", "StudentT"}:
        pytest.skip("rejection: the next test")

    def draw(*parameters):
        torch.manual_seed(1)
        return getattr(D, name)(*parameters, validate_args=False).rsample((3,))

    assert gradcheck(draw, with_gradient(name), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("Gamma", lambda d: d.mean), ("Beta", lambda d: d.mean), ("Dirichlet", lambda d: d.mean),
        ("InverseGamma", lambda d: d.mean), ("FisherSnedecor", lambda d: d.mean),
        ("StudentT", lambda d: d.mean),
    ],
)
def test_gradients_of_rejection_samples_on_average(name, moment):
    """The mean of the gradients is the gradient of the mean."""
    parameters = with_gradient(name)
    distribution = getattr(D, name)(*parameters)
    weights = torch.arange(1.0, 1 + parameters[0].numel()).double()
    estimated = torch.autograd.grad(
        (distribution.rsample((3000,)).mean(0) * weights).sum(), parameters
    )
    exact = torch.autograd.grad(
        (moment(getattr(D, name)(*parameters)) * weights).sum(), parameters, allow_unused=True
    )
    for a, b in zip(estimated, exact, strict=True):
        b = torch.zeros_like(a) if b is None else b
        assert ((a - b).abs() < 0.1 * b.abs().max() + 0.02).all()


def test_gradients_of_gamma_move_along_the_quantiles():
    special = pytest.importorskip("scipy.special")
    a = t(0.1, 0.9, 3.0, 40.0).requires_grad_()
    x = D.Gamma(a, 1.0).rsample()
    (slope,) = torch.autograd.grad(x.sum(), a)
    shape, at = a.detach().numpy(), x.detach().numpy()
    u, h = special.gammainc(shape, at), 1e-4
    up, down = special.gammaincinv(shape + h, u), special.gammaincinv(shape - h, u)
    assert np.allclose(slope.numpy(), (up - down) / (2 * h), rtol=1e-5, atol=1e-9)


def test_dirichlet_stays_on_the_simplex():
    a = t(0.5, 2.0, 4.0).requires_grad_()
    x = D.Dirichlet(a).rsample((5,))
    (slope,) = torch.autograd.grad(x.sum(), a)
    assert slope.abs().max() < 1e-9  # the sum is 1 whatever the concentrations


def test_straight_through():
    logits = t(0.1, 0.2, 0.3).requires_grad_()
    sample = D.OneHotCategoricalStraightThrough(logits=logits).rsample()
    assert sorted(sample.tolist()) == pytest.approx([0, 0, 1])
    weights = t(1.0, 5.0, 2.0)
    (slope,) = torch.autograd.grad((sample * weights).sum(), logits)
    (expected,) = torch.autograd.grad((logits.softmax(-1) * weights).sum(), logits)
    assert torch.allclose(slope, expected)


def test_what_rsample_has_a_history():
    for name, make in FAMILIES.items():
        distribution = make()
        if distribution.has_rsample:
            for parameter in ("loc", "scale", "rate", "concentration"):
                if isinstance(distribution.__dict__.get(parameter), torch.Tensor):
                    setattr(
                        distribution, parameter,
                        getattr(distribution, parameter).detach().requires_grad_(),
                    )
            assert not distribution.sample().requires_grad, name


@pytest.mark.parametrize("name", [n for n in CONTINUOUS if n in PARAMETERS])
def test_entropy(name):
    try:
        getattr(D, name)(*PARAMETERS[name]).entropy()
    except NotImplementedError:
        pytest.skip("has no closed form")

    def entropy(*parameters):
        return getattr(D, name)(*parameters).entropy()

    assert gradcheck(entropy, with_gradient(name))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("covariance_matrix", lambda x: x @ x.T + torch.eye(3).double()),
        ("precision_matrix", lambda x: x @ x.T + torch.eye(3).double()),
        ("scale_tril", lambda x: x.tril(-1) + torch.eye(3).double()),
    ],
)
def test_multivariate_normal(name, make):
    def both(loc, x):
        torch.manual_seed(0)
        normal = D.MultivariateNormal(loc, **{name: make(x)})
        return normal.log_prob(t(0.5, 0.2, -1.0)), normal.rsample(), normal.entropy()

    inputs = [torch.randn(3).double().requires_grad_(), torch.randn(3, 3).double().requires_grad_()]
    assert gradcheck(both, inputs)


def test_wishart():
    def both(df, x):
        factor = x.tril(-1) + torch.eye(2).double() * 2
        wishart = D.Wishart(df, scale_tril=factor)
        return wishart.log_prob(torch.eye(2).double() * 3), wishart.entropy()

    x = torch.randn(2, 2).double().requires_grad_()
    assert gradcheck(both, [t(4.0)[0].requires_grad_(), x])
    factor = torch.eye(2).double().requires_grad_()
    sample = D.Wishart(t(4.0)[0], scale_tril=factor).rsample((2000,))
    (slope,) = torch.autograd.grad(sample.mean(0).diagonal().sum(), factor)
    assert torch.allclose(slope.diagonal(), t(8.0, 8.0), rtol=0.1)  # d(4 l²)/dl
