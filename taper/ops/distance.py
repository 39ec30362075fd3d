"""Distances and similarities: cdist, pdist, pairwise_distance, cosine_similarity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.arrays.symbolic_shape import broadcast_shapes
from taper.core.dtype import from_numpy_dtype
from taper.core.errors import broadcast_error, normalize_dim
from taper.core.promotion import result_dtype, scalar_type_name
from taper.core.state import is_differentiated
from taper.core.tensor import Tensor, wrap
from taper.kernels import distance as kernel
from taper.ops.argument_checks import values_known
from taper.ops.declare import composite, operator

_FEW_ROWS = 25  # from more rows on, PyTorch takes the matrix product


def _gradient(grad: Tensor, result: Tensor, x1: Tensor, x2: Tensor, p: float) -> Tensor:
    """The gradient of x1, for (batch, rows, size) Tensors."""
    if not is_differentiated():
        return wrap(kernel.distance_gradient(
            grad._array, result._array, x1._array, x2._array, p
        ))
    difference = x1.unsqueeze(2) - x2.unsqueeze(1)
    size, wanted = result.unsqueeze(3), grad.unsqueeze(3)
    zero = size == 0
    size = size.masked_fill(zero, 1.0)
    if p == 0:
        share = difference * 0
    elif p == 1:
        share = difference.sign() * wanted
    elif p == 2:
        share = difference * (wanted / size).masked_fill(zero, 0.0)
    elif p == math.inf:
        share = difference.sign() * (difference.abs() == size) * wanted
    else:
        at_zero = difference == 0
        power = difference.abs().masked_fill(at_zero, 1.0).pow(p - 1)
        share = (difference.sign() * power * (wanted / size.pow(p - 1))).masked_fill(at_zero, 0.0)
    return share.sum(2)


@operator(hidden=True, upcast=True, node="CdistBackward0", kinds="f")
def row_distances(x1: Tensor, x2: Tensor, p: float, by_product: bool) -> Tensor:
    """`cdist` of (*, rows, size) arrays of equal batches."""
    shape = (*x1.shape[:-1], x2.shape[-2])
    x1, x2 = _one_batch(x1), _one_batch(x2)
    found = kernel.euclidean_distances(x1, x2) if by_product else kernel.distances(x1, x2, p)
    return found.reshape(shape)


def _one_batch(x: Any) -> Any:
    """As (batch, rows, size)."""
    if x.ndim == 3:
        return x
    return x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])


@row_distances.derivative("x1", "x2")
def _(grad, result, x1, x2, x1_shape, x2_shape, needs, p):
    grad, result, x1, x2 = (_one_batch(t) for t in (grad, result, x1, x2))
    first = second = None
    if needs[0]:
        first = _gradient(grad, result, x1, x2, p).reshape(x1_shape)
    if needs[1]:
        second = _gradient(grad.transpose(1, 2), result.transpose(1, 2), x2, x1, p)
        second = second.reshape(x2_shape)
    return first, second


_MODES = {
    "use_mm_for_euclid_dist_if_necessary": None, "use_mm_for_euclid_dist": True,
    "donot_use_mm_for_euclid_dist": False,
}


@composite()
def cdist(
    x1: Tensor, x2: Tensor, p: float = 2.0,
    compute_mode: str = "use_mm_for_euclid_dist_if_necessary",
) -> Tensor:
    r"""The p-norm distance of each row of `x1` to each row of `x2`.

    Args:     compute_mode: whether the Euclidean distance may be found by a matrix product, which
        is quicker and less exact: "use_mm_for_euclid_dist_if_necessary" (for more than 25 rows),
        "use_mm_for_euclid_dist" or "donot_use_mm_for_euclid_dist"
    Shape:    (*, P, M), (*, R, M) → (*, P, R)
    Example:
        >>> import taper as torch
        >>> torch.cdist(torch.tensor([[0., 0.]]), torch.tensor([[3., 4.], [1., 0.]]))
        tensor([[5., 1.]])
    """
    if compute_mode not in _MODES:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    a, b = x1._array, x2._array
    for name, array in (("X1", a), ("X2", b)):
        if array.dtype.kind not in "fV":
            raise RuntimeError(
                f"cdist only supports floating-point dtypes, {name} got: "
                f"{scalar_type_name(from_numpy_dtype(array.dtype))}"
            )
    for name, array in (("X1", a), ("X2", b)):
        if array.ndim < 2:
            raise RuntimeError(
                f"cdist only supports at least 2D tensors, {name} got: {array.ndim}D"
            )
    if a.shape[-1] != b.shape[-1]:
        raise RuntimeError(
            f"X1 and X2 must have the same number of columns. X1: {a.shape[-1]} X2: {b.shape[-1]}"
        )
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    if a.dtype != b.dtype:
        names = [scalar_type_name(t.dtype) for t in (x1, x2)]
        raise RuntimeError(f"expected scalar type {names[0]} but found {names[1]}")
    rows, columns, size = a.shape[-2], b.shape[-2], a.shape[-1]
    if a.shape[:-2] != b.shape[:-2]:
        batch = tuple(broadcast_shapes(a.shape[:-2], b.shape[:-2]))
        x1, x2 = x1.expand(*batch, rows, size), x2.expand(*batch, columns, size)
    chosen = _MODES[compute_mode]
    by_product = p == 2 and (
        chosen if chosen is not None else rows > _FEW_ROWS or columns > _FEW_ROWS
    )
    return row_distances(x1, x2, float(p), by_product)


@operator("pdist", aliases=("nn.functional.pdist",), upcast=True)
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm distances of all pairs of rows: (0, 1), (0, 2) … (1, 2) and so on.

    Shape:    (N, M) → (N (N - 1) / 2)
    Example:
        >>> import taper as torch
        >>> torch.pdist(torch.tensor([[0.], [1.], [3.]]))
        tensor([1., 3., 2.])
    """
    if input.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.ndim}D")
    if input.dtype.kind not in "fV":
        raise RuntimeError("pdist only supports floating-point dtypes")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    upper = np.triu_indices(input.shape[0], 1)
    return kernel.distances(input[None], input[None], p)[0][upper]


@pdist.derivative("input")
def _(grad, result, input, p):
    n = input._array.shape[0]
    # Both triangles of the matrix of distances, so that the rule for rows applies.
    upper = np.triu_indices(n, 1)
    places = np.concatenate((upper[0] * n + upper[1], upper[1] * n + upper[0]))
    index = wrap(places)

    def as_matrix(values: Tensor) -> Tensor:
        flat = values.new_zeros(n * n).index_add(0, index, values.repeat(2))
        return flat.reshape(1, n, n)

    rows = input.unsqueeze(0)
    return _gradient(as_matrix(grad), as_matrix(result), rows, rows, float(p)).squeeze(0)


@composite("pairwise_distance", aliases=("nn.functional.pairwise_distance",))
def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    r"""The p-norm of :math:`x_1 - x_2 + \epsilon` over the last dimension.

    Example:
        >>> import taper as torch
        >>> torch.pairwise_distance(torch.tensor([[3., 0.]]), torch.tensor([[0., 4.]]), eps=0)
        tensor([5.])
    """
    difference = x1 - x2 + eps
    return difference.norm(p, -1 if difference._array.ndim else 0, keepdim)


@composite("cosine_similarity", aliases=("nn.functional.cosine_similarity",))
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    r"""The cosine of the angle between vectors: :math:`x_1 \cdot x_2 / (\|x_1\| \|x_2\|)`.

    Args:     eps: norms are at least this
    Example:
        >>> import taper as torch
        >>> torch.cosine_similarity(torch.tensor([[3., 4.]]), torch.tensor([[4., 3.]]))
        tensor([0.9600])
    """
    common = result_dtype([x1.dtype, x2.dtype], [], [])
    if not common.is_floating_point:
        raise RuntimeError(
            f"expected common dtype to be floating point, yet common dtype is "
            f"{scalar_type_name(common)}"
        )
    shapes = (x1._array.shape, x2._array.shape)
    try:
        shape = broadcast_shapes(*shapes)
    except ValueError:
        raise broadcast_error(shapes) from None
    dim = normalize_dim(dim, len(shape))
    first, second = (_unit(x.to(common).expand(shape), dim, eps) for x in (x1, x2))
    return (first * second).sum(dim)


def _unit(x: Tensor, dim: int, eps: float) -> Tensor:
    """The vectors divided by their norms, those below `eps` by `eps`; gradients know no bound."""
    size = x.norm(2, dim, True)
    if not values_known(size) or (size._array < eps).any():
        size = size + (size.detach().clamp(min=eps) - size.detach())
    return x / size
