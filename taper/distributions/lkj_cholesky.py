"""LKJ: correlation matrices, by their Cholesky factors."""

from __future__ import annotations

import math
from typing import Any

import taper as torch
from taper import Size, Tensor
from taper.distributions import constraints
from taper.distributions.beta import Beta
from taper.distributions.distribution import Distribution
from taper.distributions.utils import broadcast_all

__all__ = ["LKJCholesky"]


class LKJCholesky(Distribution):
    """Cholesky factors of correlation matrices M, of density ``∝ det(M)^(concentration - 1)``.

    Source: D. Lewandowski, D. Kurowicka and H. Joe, "Generating random correlation matrices based
    on vines and extended onion method" (2009), section 3.

    Args:
        dim: the size of the matrices. concentration: 1 makes all correlations equally likely.

    Example:
        >>> import taper as torch
        >>> factor = torch.distributions.LKJCholesky(3, 0.5).sample()
        >>> (factor @ factor.T).diagonal().sum()
        tensor(3.)
    """

    arg_constraints = {"concentration": constraints.positive}
    support = constraints.corr_cholesky

    def __init__(
        self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None
    ) -> None:
        if dim < 2:
            raise ValueError(
                f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}."
            )
        self.dim = dim
        (self.concentration,) = broadcast_all(concentration)
        options: Any = {"dtype": self.concentration.dtype, "device": self.concentration.device}
        # Row k of the factor has k - 1 numbers before the diagonal: their squared length.
        rows = torch.cat([torch.zeros(1, **options), torch.arange(dim - 1, **options)])
        marginal = self.concentration + 0.5 * (dim - 2)
        self._beta = Beta(rows + 0.5, marginal.unsqueeze(-1) - 0.5 * rows)
        super().__init__(self.concentration.shape, Size((dim, dim)), validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(LKJCholesky, _instance)
        new.dim = self.dim
        new._beta = self._beta.expand((*batch_shape, self.dim))
        return self._expanded(LKJCholesky, batch_shape, new)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws factors, row by row, by the onion method: a length and a direction each."""
        squared = self._beta.sample(sample_shape).unsqueeze(-1)
        shape = self._extended_shape(sample_shape)
        direction = torch.randn(shape, dtype=squared.dtype, device=squared.device).tril(-1)
        direction = direction / direction.norm(dim=-1, keepdim=True)
        direction[..., 0, :].fill_(0.0)
        rows = torch.sqrt(squared) * direction
        tiny = torch.finfo(rows.dtype).tiny
        diagonal = torch.clamp(1 - (rows * rows).sum(-1), min=tiny).sqrt()
        return rows + torch.diag_embed(diagonal)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        n = self.dim
        diagonal = value.diagonal(dim1=-1, dim2=-2)[..., 1:]
        power = 2 * (self.concentration - 1).unsqueeze(-1) + n
        power = power - torch.arange(2, n + 1, device=self.concentration.device)
        alpha = self.concentration + 0.5 * (n - 1)
        normalizer = (
            0.5 * (n - 1) * math.log(math.pi)
            + torch.mvlgamma(alpha - 0.5, p=n - 1)
            - torch.lgamma(alpha) * (n - 1)
        )
        return (power * diagonal.log()).sum(-1) - normalizer
