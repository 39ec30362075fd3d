"""One distribution of each family, for tests that ask all of them the same question."""

from __future__ import annotations

import taper as torch
from taper import distributions as D


def matrix(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def t(*values):
    return torch.tensor(values, dtype=torch.float64)


COVARIANCE = matrix([2.0, 0.5, 0.1], [0.5, 1.0, 0.2], [0.1, 0.2, 1.5])

CONTINUOUS = {
    "Beta": lambda: D.Beta(t(2.0, 0.8), t(3.0, 1.5)),
    "Chi2": lambda: D.Chi2(t(3.0, 6.0)),
    "ContinuousBernoulli": lambda: D.ContinuousBernoulli(t(0.2, 0.5)),
    "Dirichlet": lambda: D.Dirichlet(t(1.5, 2.0, 3.0)),
    "Exponential": lambda: D.Exponential(t(0.5, 2.0)),
    "FisherSnedecor": lambda: D.FisherSnedecor(t(5.0, 8.0), t(12.0, 20.0)),
    "Gamma": lambda: D.Gamma(t(0.7, 3.0), t(1.0, 2.0)),
    "GeneralizedPareto": lambda: D.GeneralizedPareto(t(0.0, 1.0), t(1.0, 2.0), t(0.1, -0.3)),
    "Gumbel": lambda: D.Gumbel(t(0.0, 1.0), t(1.0, 2.0)),
    "HalfNormal": lambda: D.HalfNormal(t(1.0, 2.0)),
    "InverseGamma": lambda: D.InverseGamma(t(5.0, 8.0), t(1.0, 2.0)),
    "Kumaraswamy": lambda: D.Kumaraswamy(t(2.0, 3.0), t(1.5, 2.0)),
    "Laplace": lambda: D.Laplace(t(0.0, 1.0), t(1.0, 2.0)),
    "LogNormal": lambda: D.LogNormal(t(0.0, 0.5), t(0.3, 0.5)),
    "LowRankMultivariateNormal": lambda: D.LowRankMultivariateNormal(
        t(1.0, 2.0, 3.0), matrix([1.0], [0.5], [-1.0]), t(1.0, 0.5, 2.0)
    ),
    "MultivariateNormal": lambda: D.MultivariateNormal(t(1.0, 2.0, 3.0), COVARIANCE),
    "Normal": lambda: D.Normal(t(0.0, 1.0), t(1.0, 2.0)),
    "Pareto": lambda: D.Pareto(t(1.0, 2.0), t(6.0, 9.0)),
    "StudentT": lambda: D.StudentT(t(6.0, 9.0), t(0.0, 1.0), t(1.0, 2.0)),
    "Uniform": lambda: D.Uniform(t(0.0, -1.0), t(1.0, 3.0)),
    "Weibull": lambda: D.Weibull(t(1.0, 2.0), t(1.5, 2.0)),
    "Wishart": lambda: D.Wishart(t(5.0)[0], COVARIANCE),
}
DISCRETE = {
    "Bernoulli": lambda: D.Bernoulli(t(0.2, 0.7)),
    "Binomial": lambda: D.Binomial(7, t(0.2, 0.7)),
    "Geometric": lambda: D.Geometric(t(0.3, 0.7)),
    "Multinomial": lambda: D.Multinomial(6, t(1.0, 2.0, 3.0)),
    "NegativeBinomial": lambda: D.NegativeBinomial(t(3.0, 2.5), t(0.2, 0.6)),
    "OneHotCategorical": lambda: D.OneHotCategorical(t(1.0, 2.0, 3.0)),
    "Poisson": lambda: D.Poisson(t(0.5, 12.0)),
}
WITHOUT_MOMENTS = {
    "Categorical": lambda: D.Categorical(t(1.0, 2.0, 3.0)),
    "Cauchy": lambda: D.Cauchy(t(0.0, 1.0), t(1.0, 2.0)),
    "HalfCauchy": lambda: D.HalfCauchy(t(1.0, 2.0)),
    "LKJCholesky": lambda: D.LKJCholesky(3, t(1.0, 2.0)),
    "LogisticNormal": lambda: D.LogisticNormal(t(0.0, 1.0), t(1.0, 2.0)),
    "OneHotCategoricalStraightThrough": lambda: D.OneHotCategoricalStraightThrough(t(1.0, 2.0)),
    "RelaxedBernoulli": lambda: D.RelaxedBernoulli(t(0.7)[0], t(0.3, 0.7)),
    "RelaxedOneHotCategorical": lambda: D.RelaxedOneHotCategorical(t(0.7)[0], t(1.0, 2.0, 3.0)),
    "VonMises": lambda: D.VonMises(t(0.0, 1.0), t(1.0, 4.0)),
}
FAMILIES = {**CONTINUOUS, **DISCRETE, **WITHOUT_MOMENTS}
