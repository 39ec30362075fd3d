"""Probability distributions: sampling, densities, moments, divergences, and maps between spaces.

One file each, loaded when first asked for. `distribution.py` has what all of them share,
`constraints.py` the sets that values lie in, `transforms.py` the maps between those sets,
`constraint_registry.py` which map leads where, `kl.py` the divergences.
"""

from __future__ import annotations

import importlib
from typing import Any

from taper.core.lazy_module import fill_when_listed

_FILES = {
    "bernoulli": "Bernoulli", "beta": "Beta", "binomial": "Binomial",
    "categorical": "Categorical", "cauchy": "Cauchy", "chi2": "Chi2",
    "constraint_registry": "biject_to transform_to",
    "continuous_bernoulli": "ContinuousBernoulli", "dirichlet": "Dirichlet",
    "distribution": "Distribution", "exp_family": "ExponentialFamily",
    "exponential": "Exponential", "fishersnedecor": "FisherSnedecor", "gamma": "Gamma",
    "generalized_pareto": "GeneralizedPareto", "geometric": "Geometric", "gumbel": "Gumbel",
    "half_cauchy": "HalfCauchy", "half_normal": "HalfNormal", "independent": "Independent",
    "inverse_gamma": "InverseGamma", "kl": "kl_divergence register_kl",
    "kumaraswamy": "Kumaraswamy", "laplace": "Laplace", "lkj_cholesky": "LKJCholesky",
    "log_normal": "LogNormal", "logistic_normal": "LogisticNormal",
    "lowrank_multivariate_normal": "LowRankMultivariateNormal",
    "mixture_same_family": "MixtureSameFamily", "multinomial": "Multinomial",
    "multivariate_normal": "MultivariateNormal", "negative_binomial": "NegativeBinomial",
    "normal": "Normal",
    "one_hot_categorical": "OneHotCategorical OneHotCategoricalStraightThrough",
    "pareto": "Pareto", "poisson": "Poisson", "relaxed_bernoulli": "RelaxedBernoulli",
    "relaxed_categorical": "RelaxedOneHotCategorical", "studentT": "StudentT",
    "transformed_distribution": "TransformedDistribution",
    "transforms": """AbsTransform AffineTransform CatTransform ComposeTransform
        CorrCholeskyTransform CumulativeDistributionTransform ExpTransform IndependentTransform
        LowerCholeskyTransform PositiveDefiniteTransform PowerTransform ReshapeTransform
        SigmoidTransform SoftmaxTransform SoftplusTransform StackTransform StickBreakingTransform
        TanhTransform Transform identity_transform""",
    "uniform": "Uniform", "von_mises": "VonMises", "weibull": "Weibull", "wishart": "Wishart",
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names.split()}
_MODULES = frozenset([*_FILES, "constraints", "utils"])

__all__ = [*sorted(_FILE_OF)]  # noqa: PLE0604 - all of them are strings


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"taper.distributions.{name}")
    if name not in _FILE_OF:
        raise AttributeError(f"module 'torch.distributions' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"taper.distributions.{_FILE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})


fill_when_listed(__name__)
