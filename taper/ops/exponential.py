"""Exponentials and logarithms."""

from __future__ import annotations

import numpy as np

from taper.core.tensor import Tensor
from taper.ops.declare import operator


@operator(method=True, inplace=True, out=True, promote="float", ufunc=np.exp)
def exp(input: Tensor) -> Tensor:
    r"""Raises e to each element: :math:`y_i = e^{x_i}`.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.exp(torch.tensor([0., 1.]))
        tensor([1.0000, 2.7183])
    """
    return np.exp(input)


@exp.derivative("input")
def _(grad, result):
    return grad * (result.conj() if result.is_complex() else result)
