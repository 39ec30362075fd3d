"""What torch.distributions refuses, with PyTorch's exceptions and messages: a line each."""

from __future__ import annotations

import math
import warnings

import pytest

torch = pytest.importorskip("torch")

import taper  # noqa: E402

BAD = """
D.Normal(t(0., 1.), t(-1., 1.))
D.Normal(0., -1.)
D.Normal("a", 1)
D.Normal(t(0.), [1.])
D.Normal(t(0., 1.), t(1., 1, 1))
D.Normal(0., 1.).log_prob("a")
D.Normal(0., 1.).log_prob(1.)
D.Normal(0., 1.).log_prob(t(math.nan))
D.Normal(t(0., 1.), 1.).log_prob(t(1., 2, 3))
D.Normal(t(0., 1.), 1.).expand((3,))
D.Normal(0., 1.).sample(3)
D.Exponential(t(1., 2.)).log_prob(t(-1., 2))
D.Categorical()
D.Categorical(probs=t(1., 2.), logits=t(1., 2))
D.Categorical(probs=t(1.)[0])
D.Categorical(logits=t(1.)[0])
D.Categorical(probs=t(-1., 2.))
D.Categorical(probs=t(1., 2.)).log_prob(t(3.))
D.Bernoulli(0.3, 0.2)
D.Bernoulli("a")
D.Bernoulli(t(.1, 1.2))
D.Bernoulli(t(.1)).log_prob(t(.4))
D.Binomial(3)
D.Binomial(t(3, -1), t(.4))
D.Binomial(t(3., 4.5), t(.4))
D.Binomial(t(3, 4), t(.4)).enumerate_support()
D.Binomial(t(3, 4), t(.4)).entropy()
D.Binomial(3, t(.4, .2)).log_prob(t(7.))
D.Multinomial(3, t(.4, .2)).log_prob(t(1., 3))
D.Multinomial(t(3), t(.4, .2))
D.Multinomial(3)
D.Geometric()
D.Geometric(t(0.))
D.NegativeBinomial(3)
D.NegativeBinomial(3, t(1.))
D.MultivariateNormal(t(0., 0))
D.MultivariateNormal(t(0.)[0], x.eye(2))
D.MultivariateNormal(t(0., 0), x.ones(2))
D.MultivariateNormal(t(0., 0), scale_tril=x.ones(2))
D.MultivariateNormal(t(0., 0), precision_matrix=x.ones(2))
D.MultivariateNormal(t(0., 0), x.ones(2, 2))
D.MultivariateNormal(t(0., 0), scale_tril=x.ones(2, 2))
D.MultivariateNormal(t(0., 0), x.eye(2)).log_prob(t(0.)[0])
D.MultivariateNormal(t(0., 0), x.eye(2)).log_prob(x.ones(3))
D.LowRankMultivariateNormal(t(0.)[0], x.ones(2, 1), x.ones(2))
D.LowRankMultivariateNormal(t(0., 0), x.ones(1), x.ones(2))
D.LowRankMultivariateNormal(t(0., 0), x.ones(3, 1), x.ones(2))
D.LowRankMultivariateNormal(t(0., 0), x.ones(2, 1), x.ones(3))
D.LowRankMultivariateNormal(x.ones(3, 2), x.ones(4, 2, 1), x.ones(2))
D.Dirichlet(t(1.)[0])
D.Dirichlet(t(1., -1))
D.Dirichlet(t(1., 1)).log_prob(t(.1, .2))
D.Beta(-1., 2.)
D.Beta(t(1.), 2.).log_prob(t(2.))
D.Uniform(2., 1.)
D.Uniform(t(2.), t(1.))
D.Uniform(0., 1.).log_prob(t(2.))
D.LKJCholesky(1)
D.LKJCholesky(3, -1.)
D.LKJCholesky(3).log_prob(x.ones(3, 3))
D.Wishart(t(3.))
D.Wishart(t(1.), x.eye(3))
D.Wishart(3, x.ones(3))
D.Wishart(3., x.eye(3)).log_prob(x.ones(3, 3))
D.Independent(D.Normal(t(0., 1), 1.), 2)
D.Independent(D.Bernoulli(t(.1, .2)), 1).enumerate_support()
D.MixtureSameFamily(1, 2)
D.MixtureSameFamily(D.Categorical(x.ones(3)), 2)
D.MixtureSameFamily(D.Categorical(x.ones(3)), D.Normal(x.ones(4), 1))
D.MixtureSameFamily(D.Categorical(x.ones(2, 3)), D.Normal(x.ones(4, 3), 1))
D.TransformedDistribution(D.Normal(0., 1.), 3)
D.TransformedDistribution(D.Normal(0., 1.), [3])
D.TransformedDistribution(D.Normal(0., 1.), D.StickBreakingTransform())
D.TransformedDistribution(D.Normal(0., 1.), D.ExpTransform()).log_prob(t(-1.))
D.HalfNormal(1.).log_prob(t(-1.))
D.HalfCauchy(-1.)
D.LogNormal(0., 1.).log_prob(t(-1.))
D.Weibull(-1., 1.)
D.Pareto(1., 1.).log_prob(t(.5))
D.Gumbel(0., -1.)
D.Kumaraswamy(1., 1.).log_prob(t(1.5))
D.InverseGamma(1., -1.)
D.StudentT(-1.)
D.Chi2(t(-1.))
D.Poisson(-2.)
D.Poisson(2.).log_prob(t(.5))
D.VonMises(t(1.), t(-2.))
D.ContinuousBernoulli()
D.ContinuousBernoulli(t(2.), validate_args=True)
D.RelaxedBernoulli(t(1.))
D.RelaxedOneHotCategorical(t(1.))
D.OneHotCategorical(t(1., 1.)).log_prob(t(1., 1.))
D.GeneralizedPareto(0., -1., 0.)
D.GeneralizedPareto(0., 1., -.5).log_prob(t(3.))
D.Distribution().sample()
D.Distribution().mean
D.Distribution().mode
D.Distribution().entropy()
D.Distribution().expand((1,))
D.Distribution.set_default_validate_args(3)
D.kl_divergence(D.Normal(0., 1.), D.Cauchy(1., 1.))
D.kl_divergence(D.Independent(D.Normal(t(1.), 1.), 1), D.Independent(D.Normal(t(1.), 1.), 0))
D.kl_divergence(D.LogNormal(0., 1.), D.Gumbel(1., 1.))
D.Bernoulli(.3).icdf(t(.3))
D.Poisson(.3).rsample()
D.Poisson(.3).entropy()
D.Bernoulli(.3).sample().no_such_name
D.transforms.Transform(2)
D.transforms.Transform().event_dim
D.transforms.Transform().sign
D.transforms.Transform()(t(1.))
D.transforms.Transform().inv(t(1.))
D.ReshapeTransform((2, 3), (5,))
D.ReshapeTransform((2, 3), (6,))(x.ones(4, 3))
D.ReshapeTransform((2, 3), (6,)).forward_shape((3,))
D.ReshapeTransform((2, 3), (6,)).forward_shape((2, 2))
D.ReshapeTransform((2, 3), (6,)).inverse_shape((2, 2))
D.StickBreakingTransform().forward_shape(())
D.CorrCholeskyTransform().forward_shape((4,))
D.CorrCholeskyTransform().inverse_shape((6,))
D.CorrCholeskyTransform().inverse_shape((6, 5))
D.IndependentTransform(D.ExpTransform(), 1)(t(1.)[0])
D.AbsTransform().log_abs_det_jacobian(t(1.), t(1.))
D.CatTransform([D.ExpTransform(), 3])
D.CatTransform([D.ExpTransform(), D.ExpTransform()], 0, [1])
D.CatTransform([D.ExpTransform(), D.ExpTransform()], 0, [1, 2])(x.ones(4))
D.CatTransform([D.ExpTransform(), D.ExpTransform()], 3, [1, 2])(x.ones(3))
D.StackTransform([D.ExpTransform(), D.ExpTransform()], 0)(x.ones(3))
D.StackTransform([D.ExpTransform(), 3])
D.biject_to(D.constraints.boolean)
D.transform_to(D.constraints.dependent)
D.biject_to(3)
D.biject_to.register(3, lambda c: 1)
D.biject_to(D.constraints.positive_definite)
D.constraints.dependent.check(t(3.))
D.constraints.dependent.is_discrete
D.constraints.dependent.event_dim
D.constraints.Constraint().check(t(3.))
D.constraints.independent(3, 1)
D.constraints.independent(D.constraints.real, -1)
D.constraints.independent(D.constraints.real, 1).check(t(1.)[0])
D.constraints.cat([D.constraints.real], 0, [3, 3])
D.constraints.cat([1])
D.utils.tril_matrix_to_vec(x.eye(3), 3)
"""


@pytest.mark.parametrize("line", [line for line in BAD.splitlines() if line])
def test_error(line):
    said = []
    for library in (torch, taper):
        scope = {
            "D": library.distributions, "x": library, "math": math,
            "t": lambda *v, x=library: x.tensor(v, dtype=x.float32),
        }
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                eval(line, scope)
        except Exception as problem:
            said.append((type(problem), str(problem).replace("taper.", "torch.")))
        else:
            pytest.fail(f"{library.__name__} accepts it")
    assert said[1] == said[0]
