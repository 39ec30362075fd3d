"""Operators whose results share their input's memory."""

from __future__ import annotations

from typing import Any

from taper.core.errors import normalize_dim
from taper.core.tensor import Tensor
from taper.ops.declare import operator


@operator(method=True, view=True)
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """Inserts a dimension of size 1 at `dim`. The result is a view.

    Example:
        >>> import taper as torch
        >>> torch.unsqueeze(torch.zeros(3), 0).shape
        torch.Size([1, 3])
    """
    dim = normalize_dim(dim, input.ndim + 1)
    index = (slice(None),) * dim + (None,)
    return input[index]


@unsqueeze.derivative("input")
def _(grad, dim):
    return grad.squeeze(dim)
