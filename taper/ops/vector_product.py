"""Products of vectors along a dimension: vecdot, cross; Vandermonde matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

import taper
from taper.core.dtype import FLOATING, REDUCED_FLOATS
from taper.core.errors import normalize_dim
from taper.core.promotion import scalar_type_name
from taper.core.tensor import Tensor
from taper.core.user_warning import warn_once
from taper.kernels.memory_order import in_rows
from taper.ops.arithmetic import conj
from taper.ops.declare import composite, operator
from taper.ops.product_checks import same_dtypes_in_cross
from taper.ops.reduction import sum_to


@composite("linalg.vecdot", out=True)
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    r"""Sums products along a dimension, the first factor conjugated: :math:`\sum_i \bar x_i y_i`.

    Shape:    (*, n), (*, n) → (*)
    Example:
        >>> import taper as torch
        >>> torch.linalg.vecdot(torch.tensor([[1., 2.]]), torch.tensor([[3., 4.]]))
        tensor([11.])
    """
    if x.dtype.category < FLOATING:
        raise RuntimeError(
            "linalg.vecdot: Expected a floating point or complex tensor as input. Got "
            f"{scalar_type_name(x.dtype)}"
        )
    if x.ndim == 1 and y.ndim == 1 and x.shape == y.shape:
        return taper.vdot(x, y)
    return (conj(x) * y).sum(dim)


@operator("linalg.cross", out=True, promote="result_type", kinds="ifc", kernel="cross",
          node="LinalgCrossBackward0", check=same_dtypes_in_cross)
def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """Cross products of vectors of length 3, along `dim`; the other dimensions broadcast.

    Shape:    (*, 3, *), broadcast → the same
    Raises:   RuntimeError: if `dim` has not 3 elements.
    Example:
        >>> import taper as torch
        >>> torch.linalg.cross(torch.tensor([1., 0., 0.]), torch.tensor([0., 1., 0.]))
        tensor([0., 0., 1.])
    """
    if input.ndim != other.ndim:
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    axis = normalize_dim(dim, input.ndim)
    n, m = (x.shape[axis] if x.ndim else 1 for x in (input, other))
    if n != 3 or m != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {n} and {m}"
        )

    def part(x: Any, i: int) -> Any:
        return x[(slice(None),) * axis + (slice(i % 3, i % 3 + 1),)]

    return in_rows(np.concatenate(
        [part(input, i + 1) * part(other, i + 2) - part(input, i + 2) * part(other, i + 1)
         for i in range(3)],
        axis,
    ))


@cross.derivative("input")
def _(grad, other, input_shape, dim):
    return sum_to(cross(conj(other).expand(grad.shape), grad, dim=dim), input_shape)


@cross.derivative("other")
def _(grad, input, other_shape, dim):
    return sum_to(cross(grad, conj(input).expand(grad.shape), dim=dim), other_shape)


@composite("cross", method=True, out=True)
def old_cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """Cross products as `linalg.cross` computes them; without `dim`, along the first of size 3.

    Shape:    (*, 3, *) → the same
    Example:
        >>> import taper as torch
        >>> torch.cross(torch.tensor([1., 0., 0.]), torch.tensor([0., 1., 0.]), dim=0)
        tensor([0., 0., 1.])
    """
    if dim is None:
        warn_once(
            "cross",
            "Using torch.cross without specifying the dim arg is deprecated.\nPlease either pass "
            "the dim explicitly or simply use torch.linalg.cross.\nThe default value of dim will "
            "change to agree with that of linalg.cross in a future release.",
        )
        found = [d for d, n in enumerate(input.shape) if n == 3]
        if not found:
            raise RuntimeError("no dimension of size 3 in input")
        dim = found[0]
    return cross(input, other, dim=dim)


@composite("linalg.vander")
def linalg_vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """Vandermonde matrices: the powers 0 … N-1 of each element in a row.

    Shape:    (*, n) → (*, n, N)
    Example:
        >>> import taper as torch
        >>> torch.linalg.vander(torch.tensor([2, 3]), N=3)
        tensor([[1, 2, 4],
                [1, 3, 9]])
    """
    if x.dtype is taper.bool or x.dtype in REDUCED_FLOATS:
        raise RuntimeError("linalg.vander supports floating point, complex, and integer tensors, "
                           f"but got {scalar_type_name(x.dtype)}")
    if x.ndim < 1:
        x = x.unsqueeze(0)
    if N is None:
        N = x.shape[-1]
    elif N <= 1:
        raise RuntimeError("N must be greater than 1.")
    ones = taper.ones_like(x).unsqueeze(-1)
    powers = x.unsqueeze(-1).expand(*x.shape, N - 1).cumprod(-1)
    return taper.cat([ones.to(powers.dtype), powers], -1)


@composite()
def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """A Vandermonde matrix of a vector: powers N-1 … 0 in a row, or 0 … N-1 if `increasing`.

    Shape:    (n) → (n, N)
    Example:
        >>> import taper as torch
        >>> torch.vander(torch.tensor([2, 3]), 3)
        tensor([[4, 2, 1],
                [9, 3, 1]])
    """
    if x.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    if N is None:
        N = x.shape[0]
    if N < 0:
        raise RuntimeError("N must be non-negative.")
    result = x.new_ones(x.shape[0], N)
    if N > 1:
        powers = x.unsqueeze(1).expand(-1, N - 1).cumprod(1)
        result = taper.cat([result[:, :1].to(powers.dtype), powers], 1)
    return result if increasing else result.flip(1)
