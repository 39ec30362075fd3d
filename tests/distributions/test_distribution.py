"""What all distributions do alike: shapes, expansion, checks, printing, moments of samples."""

import warnings

import pytest
from families import CONTINUOUS, DISCRETE, FAMILIES, t

import taper as torch
from taper import distributions as D

every_family = pytest.mark.parametrize("name", FAMILIES)


def test_there_is_a_case_of_every_family():
    other = {
        "Distribution", "ExponentialFamily", "Independent", "MixtureSameFamily",
        "TransformedDistribution",
    }
    names = {
        name for name in D.__all__
        if isinstance(getattr(D, name), type) and issubclass(getattr(D, name), D.Distribution)
    }
    assert names - other == set(FAMILIES)


@every_family
def test_shapes(name):
    distribution = FAMILIES[name]()
    own = distribution.batch_shape + distribution.event_shape
    for shape in ((), (4,), (2, 3)):
        value = distribution.sample(shape)
        assert value.shape == shape + own
        assert not value.requires_grad
        log_prob = distribution.log_prob(value)
        assert log_prob.shape == shape + distribution.batch_shape
        assert log_prob.isfinite().all()
        assert distribution.support.check(value).all()


@every_family
def test_expanding_changes_nothing_else(name):
    distribution = FAMILIES[name]()
    shape = (3, *distribution.batch_shape)
    expanded = distribution.expand(shape)
    assert type(expanded) is type(distribution)
    assert expanded.batch_shape == shape
    assert expanded.event_shape == distribution.event_shape
    value = distribution.sample()
    same = distribution.log_prob(value).expand(shape)
    assert torch.allclose(expanded.log_prob(value), same)
    assert expanded.sample((2,)).shape == (2, *shape, *distribution.event_shape)
    if name in CONTINUOUS or name in DISCRETE:
        assert torch.allclose(
            expanded.mean, distribution.mean.expand(shape + distribution.event_shape)
        )


@pytest.mark.parametrize("name", [*CONTINUOUS, *DISCRETE])
def test_samples_have_the_moments(name):
    distribution = FAMILIES[name]()
    values = distribution.sample((6000,))
    error = (values.mean(0) - distribution.mean).abs() / distribution.stddev
    assert (error < 0.06).all()
    ratio = values.var(0) / distribution.variance
    assert ((ratio > 0.7) & (ratio < 1.4)).all()


@pytest.mark.parametrize("name", [*CONTINUOUS, *DISCRETE])
def test_entropy_is_the_mean_of_minus_log_prob(name):
    distribution = FAMILIES[name]()
    try:
        entropy = distribution.entropy()
    except NotImplementedError:
        pytest.skip("has no closed form")
    surprise = -distribution.log_prob(distribution.sample((6000,)))
    error = (surprise.mean(0) - entropy).abs()
    assert (error < 5 * surprise.std(0) / 6000**0.5 + 1e-6).all()
    assert torch.allclose(distribution.perplexity(), entropy.exp())


@pytest.mark.parametrize("name", ["Bernoulli", "Binomial", "Categorical", "OneHotCategorical"])
def test_probabilities_sum_to_one(name):
    distribution = FAMILIES[name]()
    assert distribution.has_enumerate_support
    values = distribution.enumerate_support()
    total = distribution.log_prob(values).exp().sum(0)
    assert torch.allclose(total, torch.ones_like(total))
    assert distribution.enumerate_support(expand=False).shape[0] == len(values)


@pytest.mark.parametrize(
    "name", [n for n in CONTINUOUS if n not in {"FisherSnedecor", "StudentT", "Beta", "Dirichlet"}]
)
def test_cdf_and_its_inverse(name):
    distribution = FAMILIES[name]()
    levels = t(0.1, 0.5, 0.9).reshape(3, *[1] * len(distribution.batch_shape))
    try:
        quantiles = distribution.icdf(levels.expand(3, *distribution.batch_shape))
    except NotImplementedError:
        pytest.skip("has no inverse")
    assert torch.allclose(distribution.cdf(quantiles), levels.expand_as(quantiles))
    drawn = distribution.sample((4000,))
    share = (drawn <= quantiles[1]).double().mean(0)
    assert ((share - 0.5).abs() < 0.04).all()


def test_cdf_is_the_integral_of_the_density():
    for name in ("Beta", "Gamma", "Weibull", "Gumbel", "Kumaraswamy"):
        distribution = FAMILIES[name]()
        try:
            value = distribution.sample().requires_grad_()
            (density,) = torch.autograd.grad(distribution.cdf(value).sum(), value)
        except NotImplementedError:
            continue
        assert torch.allclose(density, distribution.log_prob(value).exp()), name


def test_default_of_the_checks():
    assert D.Normal(0.0, 1.0)._validate_args
    D.Distribution.set_default_validate_args(False)
    try:
        D.Normal(0.0, -1.0)
        with pytest.raises(ValueError, match="Expected parameter scale"):
            D.Normal(0.0, -1.0, validate_args=True)
    finally:
        D.Distribution.set_default_validate_args(True)
    with pytest.raises(ValueError, match="Expected parameter scale"):
        D.Normal(0.0, -1.0)
    D.Normal(0.0, -1.0, validate_args=False)


def test_messages():
    with pytest.raises(ValueError) as caught:
        D.Normal(torch.zeros(2), torch.tensor([-1.0, 1.0]))
    assert str(caught.value) == (
        "Expected parameter scale (Tensor of shape (2,)) of distribution Normal(loc: "
        "torch.Size([2]), scale: torch.Size([2])) to satisfy the constraint GreaterThan("
        "lower_bound=0.0), but found invalid values:\ntensor([-1.,  1.])"
    )
    with pytest.raises(ValueError, match="within the support"):
        D.Exponential(1.0).log_prob(torch.tensor(-1.0))
    with pytest.raises(ValueError, match="must be a Tensor"):
        D.Normal(0.0, 1.0).log_prob(1.0)
    with pytest.raises(ValueError, match="not broadcastable"):
        D.Normal(torch.zeros(2), 1.0).log_prob(torch.zeros(3))


def test_printing():
    assert repr(D.Normal(0.0, 1.0)) == "Normal(loc: 0.0, scale: 1.0)"
    assert repr(D.Categorical(torch.ones(3))) == "Categorical(probs: torch.Size([3]))"
    normal = D.Independent(D.Normal(torch.zeros(2), 1.0), 1)
    assert repr(normal) == "Independent(Normal(loc: torch.Size([2]), scale: torch.Size([2])), 1)"


class OfOneParameter(D.Normal):
    def __init__(self, scale):
        super().__init__(0.0, scale)


class WithoutParameters(D.Distribution):
    pass


def test_subclasses():
    with pytest.raises(NotImplementedError, match="must also define a custom"):
        OfOneParameter(1.0).expand((2,))
    with pytest.warns(UserWarning, match="does not define `arg_constraints`"):
        own = WithoutParameters()
    for method in ("sample", "rsample", "entropy"):
        with pytest.raises(NotImplementedError):
            getattr(own, method)()
    with pytest.raises(NotImplementedError, match="does not implement mode"):
        own.mode
    with pytest.warns(FutureWarning, match="sample_n"):
        assert D.Normal(0.0, 1.0).sample_n(3).shape == (3,)


def test_lazy_parameters_are_computed_once():
    distribution = D.Bernoulli(logits=torch.zeros(2, requires_grad=True))
    with torch.no_grad():
        probs = distribution.probs
    assert probs.requires_grad  # whatever mode it was first read in
    assert distribution.probs is probs
    assert isinstance(D.Bernoulli.probs, property)


def test_independent_counts_dimensions_as_events():
    base = D.Normal(torch.zeros(2, 3), 1.0)
    whole = D.Independent(base, 2)
    assert whole.batch_shape == ()
    assert whole.event_shape == (2, 3)
    value = torch.randn(5, 2, 3)
    assert torch.allclose(whole.log_prob(value), base.log_prob(value).sum((-2, -1)))
    assert torch.allclose(whole.entropy(), base.entropy().sum())


def test_mixture():
    mixture = D.MixtureSameFamily(
        D.Categorical(t(1.0, 3.0)), D.Normal(t(-2.0, 2.0), t(0.5, 1.0))
    )
    x = t(-2.0, 0.0, 1.0)
    parts = [D.Normal(t(-2.0), t(0.5)), D.Normal(t(2.0), t(1.0))]
    density = 0.25 * parts[0].log_prob(x).exp() + 0.75 * parts[1].log_prob(x).exp()
    assert torch.allclose(mixture.log_prob(x).exp(), density)
    assert torch.allclose(mixture.cdf(x), 0.25 * parts[0].cdf(x) + 0.75 * parts[1].cdf(x))
    values = mixture.sample((8000,))
    assert abs(values.mean() - mixture.mean) < 0.06
    assert abs(values.var() / mixture.variance - 1) < 0.05


def test_samples_follow_the_seed():
    torch.manual_seed(0)
    first = D.Gamma(t(0.5, 2.0), 1.0).sample((3,))
    torch.manual_seed(0)
    assert torch.equal(D.Gamma(t(0.5, 2.0), 1.0).sample((3,)), first)


def test_low_degrees_of_freedom_are_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        D.Wishart(3, torch.eye(3))
    with pytest.warns(UserWarning, match="Low df values"):
        D.Wishart(2.5, torch.eye(3))
