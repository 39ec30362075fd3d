"""Losses as functions of torch itself, which take the reduction as a number: none 0, mean 1, sum 2.

Each is the loss of the same name in ``nn.functional``; unless told otherwise they don't reduce.
"""

from __future__ import annotations

from typing import Any

from taper.core.tensor import Tensor
from taper.ops.declare import composite
from taper.ops.namespace import find

REDUCTIONS = ("none", "mean", "sum")


def _name(reduction: Any) -> str:
    """The reduction that a number, or a name, stands for."""
    if isinstance(reduction, str):
        return reduction
    if reduction not in (0, 1, 2):
        raise RuntimeError(f"reduction must be 0 (none), 1 (mean) or 2 (sum), but got {reduction}")
    return REDUCTIONS[reduction]


@composite("binary_cross_entropy_with_logits")
def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, pos_weight: Tensor | None = None,
    reduction: Any = 0, *, size_average: bool | None = None, reduce: bool | None = None,
) -> Tensor:
    """`nn.functional.binary_cross_entropy_with_logits`; the reduction is a number.

    Example:
        >>> import taper as torch
        >>> torch.binary_cross_entropy_with_logits(torch.zeros(1), torch.ones(1))
        tensor([0.6931])
    """
    return find("nn.functional.binary_cross_entropy_with_logits")(
        input, target, weight, size_average, reduce, _name(reduction), pos_weight
    )


@composite("cosine_embedding_loss")
def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: Any = 0, *,
    size_average: bool | None = None, reduce: bool | None = None,
) -> Tensor:
    """`nn.functional.cosine_embedding_loss`; the reduction is a number.

    Example:
        >>> import taper as torch
        >>> torch.cosine_embedding_loss(torch.eye(2), torch.eye(2), torch.ones(2), reduction=2)
        tensor(0.)
    """
    return find("nn.functional.cosine_embedding_loss")(
        input1, input2, target, margin, size_average, reduce, _name(reduction)
    )


@composite("hinge_embedding_loss")
def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, reduction: Any = 0, *,
    size_average: bool | None = None, reduce: bool | None = None,
) -> Tensor:
    """`nn.functional.hinge_embedding_loss`; the reduction is a number.

    Example:
        >>> import taper as torch
        >>> torch.hinge_embedding_loss(torch.tensor([3.]), torch.ones(1))
        tensor([3.])
    """
    return find("nn.functional.hinge_embedding_loss")(
        input, target, margin, size_average, reduce, _name(reduction)
    )


@composite("kl_div")
def kl_div(
    input: Tensor, target: Tensor, reduction: Any = 0, *, log_target: bool = False,
    size_average: bool | None = None, reduce: bool | None = None,
) -> Tensor:
    """`nn.functional.kl_div`; the reduction is a number.

    Example:
        >>> import taper as torch
        >>> torch.kl_div(torch.zeros(1), torch.ones(1), 2)
        tensor(0.)
    """
    return find("nn.functional.kl_div")(
        input, target, size_average, reduce, _name(reduction), log_target
    )


@composite("margin_ranking_loss")
def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: Any = 0, *,
    size_average: bool | None = None, reduce: bool | None = None,
) -> Tensor:
    """`nn.functional.margin_ranking_loss`; the reduction is a number.

    Example:
        >>> import taper as torch
        >>> torch.margin_ranking_loss(torch.zeros(1), torch.ones(1), torch.ones(1))
        tensor([1.])
    """
    return find("nn.functional.margin_ranking_loss")(
        input1, input2, target, margin, size_average, reduce, _name(reduction)
    )


@composite("poisson_nll_loss")
def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool, full: bool, eps: float, reduction: Any
) -> Tensor:
    """`nn.functional.poisson_nll_loss`; the reduction is a number.

    Example:
        >>> import taper as torch
        >>> torch.poisson_nll_loss(torch.zeros(1), torch.ones(1), True, False, 1e-8, 1)
        tensor(1.)
    """
    return find("nn.functional.poisson_nll_loss")(
        input, target, log_input, full, eps=eps, reduction=_name(reduction)
    )


@composite("triplet_margin_loss")
def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2.0,
    eps: float = 1e-6, swap: bool = False, reduction: Any = 0, *,
    size_average: bool | None = None, reduce: bool | None = None,
) -> Tensor:
    """`nn.functional.triplet_margin_loss`; the reduction is a number.

    Example:
        >>> import taper as torch
        >>> torch.triplet_margin_loss(torch.eye(2), torch.eye(2), torch.eye(2)[[1, 0]])
        tensor([0., 0.])
    """
    return find("nn.functional.triplet_margin_loss")(
        anchor, positive, negative, margin, p, eps, swap, size_average, reduce, _name(reduction)
    )
