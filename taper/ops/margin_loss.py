"""Losses that want predictions to lie apart by a margin: pairs, triplets and rankings."""

from __future__ import annotations

from typing import Any

import numpy as np

import taper
from taper.core.dtype import from_numpy_dtype
from taper.core.promotion import scalar_type_name
from taper.core.tensor import Tensor
from taper.ops.argument_checks import check_constant
from taper.ops.declare import composite, operator
from taper.ops.loss import (
    check_reduction,
    legacy_reduction,
    per_element,
    reduce_array,
    reduce_tensor,
)


@operator(hidden=True, promote="result_type", upcast=True, node="SoftMarginLossBackward0")
def soft_margin(input: Tensor, target: Tensor, reduction: str) -> Tensor:
    """log(1 + exp(-t x))."""
    if input.dtype.kind == "b":
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to "
            "invert a mask, use the `~` or `logical_not()` operator instead."
        )
    if input.dtype.kind in "iu":
        name = scalar_type_name(from_numpy_dtype(input.dtype))
        raise RuntimeError(f"result type Float can't be cast to the desired output type {name}")
    return reduce_array(np.log1p(np.exp(-target * input)), reduction)


@soft_margin.derivative("input")
def _(grad, input, target, reduction):
    slope = (-target * (-target * input).sigmoid()).conj()
    return slope * per_element(grad, reduction, input.numel())


@composite("nn.functional.soft_margin_loss")
def soft_margin_loss(
    input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Measures :math:`\log(1 + e^{-t x})` for targets of 1 and -1.

    Shape:    input (*), target the same → () or (*) with reduction "none"
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.soft_margin_loss(torch.zeros(1), torch.ones(1))
        tensor(0.6931)
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_reduction(reduction)
    check_constant("soft_margin_loss", "target", target)
    return soft_margin(input, target, reduction)


@composite("nn.functional.hinge_embedding_loss")
def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, size_average: Any = None,
    reduce: Any = None, reduction: str = "mean",
) -> Tensor:
    r"""Measures x where t = 1 and :math:`\max(0, m - x)` where t = -1.

    Shape:    input (*), target the same → () or (*) with reduction "none"
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.hinge_embedding_loss(torch.tensor([.5, .5]), torch.tensor([1, -1]))
        tensor(0.5000)
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    zeros = taper.zeros_like(input)
    losses = taper.where(target != 1, (margin - input).clamp_min(0), zeros) + taper.where(
        target != -1, input, zeros
    )
    return reduce_tensor(losses, reduction)


@composite("nn.functional.margin_ranking_loss")
def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: Any = None,
    reduce: Any = None, reduction: str = "mean",
) -> Tensor:
    r"""Measures :math:`\max(0, -t (x_1 - x_2) + m)`: which of two should rank higher.

    Shape:    input1 (N), input2, target the same → () or (N)
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.margin_ranking_loss(
        ...     torch.tensor([1.]), torch.tensor([2.]), torch.tensor([1.]))
        tensor(1.)
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if input1.dim() != input2.dim() or input1.dim() != target.dim():
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.size()}, input2: {input2.size()}, target: {target.size()} "
        )
    losses = (-target * (input1 - input2) + margin).clamp_min(0)
    return reduce_tensor(losses, reduction)


@composite("nn.functional.cosine_embedding_loss")
def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: Any = None,
    reduce: Any = None, reduction: str = "mean",
) -> Tensor:
    r"""Measures :math:`1 - \cos` for pairs of target 1, :math:`\max(0, \cos - m)` for -1.

    Shape:    input1 (N, D) or (D), input2 the same, target (N) or () → () or (N)
    Example:
        >>> import taper as torch
        >>> x = torch.tensor([[1., 0.]])
        >>> torch.nn.functional.cosine_embedding_loss(x, x, torch.ones(1))
        tensor(0.)
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if target.ndim not in (0, 1):
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if target.ndim == 1 and input1.ndim != 2:
        raise RuntimeError("1D target tensor expects 2D input tensors, but found inputs with "
                           f"sizes {list(input1.shape)} and {list(input2.shape)}.")
    if target.ndim == 0 and input1.ndim != 1:
        raise RuntimeError("0D target tensor expects 1D input tensors, but found inputs with "
                           f"sizes {list(input1.shape)} and {list(input2.shape)}.")
    dim = target.ndim
    product = (input1 * input2).sum(dim)
    squared1 = (input1 * input1).sum(dim) + 1e-12
    squared2 = (input2 * input2).sum(dim) + 1e-12
    cosine = product / (squared1 * squared2).sqrt()
    zeros = taper.zeros_like(cosine)
    losses = taper.where(target == 1, 1 - cosine, zeros) + taper.where(
        target == -1, (cosine - margin).clamp_min(0), zeros
    )
    return reduce_tensor(losses, reduction)


@composite("nn.functional.triplet_margin_loss")
def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2,
    eps: float = 1e-6, swap: bool = False, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Measures :math:`\max(0, d(a, p) - d(a, n) + m)` with p-norm distances d.

    Args:     swap: use the smaller of d(a, n) and d(p, n)
    Source: Balntas et al., Learning local feature descriptors with triplets (2016).
    Shape:    anchor (N, D) or (D), positive, negative the same → () or (N)
    Example:
        >>> import taper as torch
        >>> x = torch.zeros(1, 2)
        >>> torch.nn.functional.triplet_margin_loss(x, x, x)
        tensor(1.)
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of "
            f"dimensions, but got: anchor {anchor.ndim}D, positive {positive.ndim}D, and negative "
            f"{negative.ndim}D inputs"
        )
    distance = taper.nn.functional.pairwise_distance
    near = distance(anchor, positive, p, eps)
    far = distance(anchor, negative, p, eps)
    if swap:
        far = taper.minimum(far, distance(positive, negative, p, eps))
    return reduce_tensor((margin + near - far).clamp_min(0), reduction)


@composite("nn.functional.triplet_margin_with_distance_loss")
def triplet_margin_with_distance_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, *, distance_function: Any = None,
    margin: float = 1.0, swap: bool = False, reduction: str = "mean",
) -> Tensor:
    r"""`triplet_margin_loss` with any distance: a function of two tensors.

    Args: distance_function: by default the Euclidean distance.
    Example:
        >>> import taper as torch
        >>> x, y, z = torch.tensor([[0.], [3.], [2.]]).unsqueeze(1)
        >>> torch.nn.functional.triplet_margin_with_distance_loss(x, y, z)
        tensor(2.)
    """
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    distance = distance_function or taper.nn.functional.pairwise_distance
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of "
            f"dimensions, but got: anchor {anchor.ndim}D, positive {positive.ndim}D, and negative "
            f"{negative.ndim}D inputs"
        )
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = taper.minimum(far, distance(positive, negative))
    return reduce_tensor((margin + near - far).clamp_min(0), reduction)
