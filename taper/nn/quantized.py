"""`torch.nn.quantized`: arithmetic as a module, in floating point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import taper
from taper import Tensor
from taper.nn.modules import Identity, Module

__all__ = ["FloatFunctional"]


class FloatFunctional(Module):
    """Arithmetic whose results a quantized model would observe.

    Example:
        >>> import taper as torch
        >>> arithmetic = torch.nn.quantized.FloatFunctional()
        >>> arithmetic.add_relu(torch.tensor([1., -3.]), torch.tensor([1., 1.]))
        tensor([2., 0.])
    """

    def __init__(self) -> None:
        super().__init__()
        self.activation_post_process = Identity()

    def forward(self, x: Tensor) -> NoReturn:
        """Raises RuntimeError: the operations are methods."""
        raise RuntimeError(
            "FloatFunctional is not intended to use the 'forward'. Please use the underlying "
            "operation"
        )

    def _observed(self, result: Tensor) -> Tensor:
        observed: Tensor = self.activation_post_process(result)
        return observed

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns ``x + y``."""
        return self._observed(taper.add(x, y))

    def add_scalar(self, x: Tensor, y: float) -> Tensor:
        """Returns ``x + y``; numbers are not observed."""
        return taper.add(x, y)

    def mul(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns ``x * y``."""
        return self._observed(taper.mul(x, y))

    def mul_scalar(self, x: Tensor, y: float) -> Tensor:
        """Returns ``x * y``; numbers are not observed."""
        return taper.mul(x, y)

    def cat(self, x: Sequence[Tensor], dim: int = 0) -> Tensor:
        """Returns the tensors, one behind the other."""
        return self._observed(taper.cat(x, dim=dim))

    def add_relu(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns ``relu(x + y)``."""
        return self._observed(taper.relu(taper.add(x, y)))

    def matmul(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns ``x @ y``."""
        return self._observed(taper.matmul(x, y))
