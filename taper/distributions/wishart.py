"""Wishart: covariance matrices of samples."""

from __future__ import annotations

import math
import warnings
from numbers import Number
from typing import Any

import taper as torch
from taper import Size, Tensor
from taper.distributions import constraints
from taper.distributions.chi2 import Chi2
from taper.distributions.exp_family import ExponentialFamily
from taper.distributions.multivariate_normal import (
    cholesky_factor,
    log_det_of_factor,
    the_one_given,
)
from taper.distributions.utils import lazy_property

__all__ = ["Wishart"]

_LOG_2 = math.log(2)


def multivariate_digamma(x: Tensor, p: int) -> Tensor:
    """The derivative of `mvlgamma`: the sum of digamma(x - i / 2) for i < p."""
    steps = torch.arange(p, dtype=x.dtype, device=x.device)
    return torch.digamma(x.unsqueeze(-1) - steps / 2).sum(-1)


class Wishart(ExponentialFamily):
    """The distribution of Σ x xᵀ over df normal vectors x of mean 0.

    Args:
        df: the degrees of freedom, more than n - 1 for n by n matrices.
        covariance_matrix, precision_matrix, scale_tril: exactly one of these: the covariance of x,
            its inverse, or its lower Cholesky factor.

    Example:
        >>> import taper as torch
        >>> torch.distributions.Wishart(torch.tensor(3.), torch.eye(2)).mean
        tensor([[3., 0.],
                [0., 3.]])
    """

    support = constraints.positive_definite
    has_rsample = True
    _mean_carrier_measure = 0

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        return {
            "covariance_matrix": constraints.positive_definite,
            "precision_matrix": constraints.positive_definite,
            "scale_tril": constraints.lower_cholesky,
            "df": constraints.greater_than(self._event_shape[-1] - 1),
        }

    def __init__(
        self, df: Any, covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None, scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        name, matrix = the_one_given(
            covariance_matrix, precision_matrix, scale_tril, AssertionError
        )
        if matrix.dim() < 2:
            raise ValueError(
                "scale_tril must be at least two-dimensional, with optional leading batch "
                "dimensions"
            )
        n = matrix.shape[-1]
        if isinstance(df, Number):
            df = torch.tensor(df, dtype=matrix.dtype, device=matrix.device)
        batch_shape = torch.broadcast_shapes(matrix.shape[:-2], df.shape)
        self.df = df.expand(batch_shape)
        if self.df.le(n - 1).any():
            raise ValueError(
                f"Value of df={df} expected to be greater than ndim - 1 = {n - 1}."
            )
        setattr(self, name, matrix.expand((*batch_shape, -1, -1)))
        if self.df.lt(n).any():
            warnings.warn(
                "Low df values detected. Singular samples are highly likely to occur for "
                "ndim - 1 < df < ndim.",
                stacklevel=2,
            )
        super().__init__(batch_shape, matrix.shape[-2:], validate_args=validate_args)
        self._unbroadcasted_scale_tril = cholesky_factor(name, matrix)
        self._dist_chi2 = Chi2(self.df.unsqueeze(-1) - torch.arange(n, dtype=self.df.dtype))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(Wishart, _instance)
        new._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril
        new._dist_chi2 = self._dist_chi2.expand(Size(batch_shape) + self._event_shape[-1:])
        return self._expanded(Wishart, batch_shape, new)

    def _square(self, matrix: Tensor) -> Tensor:
        return matrix.expand(self._batch_shape + self._event_shape)

    @lazy_property
    def scale_tril(self) -> Tensor:
        """The lower Cholesky factor of the covariance."""
        return self._square(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """The covariance of the vectors."""
        factor = self._unbroadcasted_scale_tril
        return self._square(factor @ factor.mT)

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance."""
        return self._square(torch.cholesky_inverse(self._unbroadcasted_scale_tril))

    def _per_matrix(self) -> Tensor:
        return self.df.reshape((*self._batch_shape, 1, 1))

    @property
    def mean(self) -> Tensor:
        return self._per_matrix() * self.covariance_matrix

    @property
    def mode(self) -> Tensor:
        factor = self.df - self.covariance_matrix.shape[-1] - 1
        factor = factor.masked_fill(factor <= 0, torch.nan)
        return factor.reshape((*self._batch_shape, 1, 1)) * self.covariance_matrix

    @property
    def variance(self) -> Tensor:
        v = self.covariance_matrix
        diagonal = v.diagonal(dim1=-2, dim2=-1)
        return self._per_matrix() * (
            v.pow(2) + diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2)
        )

    def _bartlett_sampling(self, sample_shape: Any = ()) -> Tensor:
        """L A Aᵀ Lᵀ, A being lower triangular: normal numbers, and roots of chi-squared ones.

        Source: M. S. Bartlett, "On the theory of statistical regression" (1933).
        """
        n = self._event_shape[-1]
        diagonal = self._dist_chi2.rsample(sample_shape).sqrt()
        eps = torch.finfo(diagonal.dtype).eps
        noise = torch.diag_embed(diagonal.clamp(min=eps))
        row, column = torch.tril_indices(n, n, offset=-1)
        shape = Size(sample_shape) + self._batch_shape + (n * (n - 1) // 2,)
        noise[..., row, column] = torch.randn(shape, dtype=noise.dtype, device=noise.device)
        factor = self._unbroadcasted_scale_tril @ noise
        return factor @ factor.mT

    def rsample(self, sample_shape: Any = (), max_try_correction: int | None = None) -> Tensor:
        """Draws matrices; singular ones are drawn anew, up to `max_try_correction` (10) times."""
        sample_shape = Size(sample_shape)
        self._bartlett_sampling(sample_shape)  # PyTorch discards its first draw, whatever it is
        sample = self._bartlett_sampling(sample_shape)
        batch_dims = tuple(range(len(sample_shape), len(sample_shape) + len(self._batch_shape)))
        for _ in range(10 if max_try_correction is None else max_try_correction):
            singular = ~self.support.check(sample)
            if batch_dims:
                singular = singular.amax(batch_dims)
            if not singular.any():
                break
            warnings.warn("Singular sample detected.", stacklevel=2)
            sample = sample.clone()
            sample[singular] = self._bartlett_sampling(singular[singular].shape)
        return sample

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        nu, p, factor = self.df, self._event_shape[-1], self._unbroadcasted_scale_tril
        trace = torch.cholesky_solve(value, factor).diagonal(dim1=-2, dim2=-1).sum(-1)
        return (
            -nu * (p * _LOG_2 / 2 + log_det_of_factor(factor))
            - torch.mvlgamma(nu / 2, p=p)
            + (nu - p - 1) / 2 * torch.linalg.slogdet(value).logabsdet
            - trace / 2
        )

    def entropy(self) -> Tensor:
        nu, p = self.df, self._event_shape[-1]
        return (
            (p + 1) * (p * _LOG_2 / 2 + log_det_of_factor(self._unbroadcasted_scale_tril))
            + torch.mvlgamma(nu / 2, p=p)
            - (nu - p - 1) / 2 * multivariate_digamma(nu / 2, p)
            + nu * p / 2
        )

    @property
    def _natural_params(self) -> tuple[Tensor, Tensor]:
        p = self._event_shape[-1]
        return -self.precision_matrix / 2, (self.df - p - 1) / 2

    def _log_normalizer(self, x: Tensor, y: Tensor) -> Tensor:
        p = self._event_shape[-1]
        half = y + (p + 1) / 2
        log_det = -torch.linalg.slogdet(-2 * x).logabsdet
        return half * (log_det + _LOG_2 * p) + torch.mvlgamma(half, p=p)
