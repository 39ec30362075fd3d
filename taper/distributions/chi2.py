"""Chi-squared: sums of squares of standard normal numbers."""

from __future__ import annotations

from typing import Any

from taper import Tensor
from taper.distributions import constraints
from taper.distributions.gamma import Gamma

__all__ = ["Chi2"]


class Chi2(Gamma):
    """The chi-squared distribution: a Gamma of concentration df / 2 and rate 1 / 2.

    Args:
        df: the degrees of freedom.

    Example:
        >>> import taper as torch
        >>> torch.distributions.Chi2(torch.tensor([3.])).variance
        tensor([6.])
    """

    arg_constraints = {"df": constraints.positive}

    def __init__(self, df: Any, validate_args: bool | None = None) -> None:
        super().__init__(0.5 * df, 0.5, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(Chi2, _instance)
        new.concentration = self.concentration.expand(batch_shape)
        new.rate = self.rate.expand(batch_shape)
        return self._expanded(Chi2, batch_shape, new)

    @property
    def df(self) -> Tensor:
        """The degrees of freedom."""
        return self.concentration * 2
