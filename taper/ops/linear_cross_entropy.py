"""linear_cross_entropy: the scores of a linear map and their cross entropy in one call."""

from __future__ import annotations

from typing import Any

from taper.core.tensor import Tensor
from taper.ops.classification_loss import cross_entropy
from taper.ops.declare import composite
from taper.ops.namespace import find


@composite("nn.functional.linear_cross_entropy")
def linear_cross_entropy(
    input: Tensor, linear_weight: Tensor, target: Tensor, *, linear_bias: Tensor | None = None,
    weight: Tensor | None = None, reduction: str = "mean", ignore_index: int | None = None,
    label_smoothing: float = 0.0, options: Any = None,
) -> Tensor:
    """Computes the cross entropy of the scores ``linear(input, linear_weight, linear_bias)``.

    Args:
        linear_weight: (C, *, in_features); dimensions in between are positions with a loss each.
        ignore_index: default -100 for class indices; not allowed with probabilities.
        options (LinearCrossEntropyOptions): accepted; the whole batch is one chunk.

    Shape: input (N, in_features) or (in_features); target (N, *) or, probabilities, (N, C, *).

    Example:
        >>> import taper as torch
        >>> F = torch.nn.functional
        >>> F.linear_cross_entropy(torch.ones(2, 3), torch.zeros(4, 3), torch.tensor([0, 3]))
        tensor(1.3863)
    """
    x: Any = input
    if x.dim() not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {x.dim()}")
    if linear_weight.dim() < 2:
        raise RuntimeError(
            "expected linear_weight with dimensionality at least 2, got "
            f"{linear_weight.dim()}"
        )
    classes, *positions, features = linear_weight.shape
    if x.shape[-1] != features:
        raise RuntimeError(
            "expected equal input and linear_weight last dimensions (in_features), "
            f"got {x.shape[-1]} and {features}, respectively"
        )
    if linear_bias is not None and tuple(linear_bias.shape) != (classes, *positions):
        raise RuntimeError(
            f"expected linear_bias shape {(classes, *positions)}, got {tuple(linear_bias.shape)}"
        )
    if positions and x.dim() == 1:
        raise RuntimeError(
            f"K-dimensional loss defined by linear_weight shape {tuple(linear_weight.shape)} "
            f"requires batched input, (N, {features}), got unbatched input with shape "
            f"{tuple(x.shape)}"
        )
    shape = (*x.shape[:-1], classes, *positions)
    if tuple(target.shape) == shape and ignore_index is not None:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    bias: Any = linear_bias
    rows: Any = linear_weight
    if positions:
        rows = rows.reshape(-1, features)
        bias = None if bias is None else bias.reshape(-1)
    scores = find("nn.functional.linear")(x, rows, bias).reshape(shape)
    return cross_entropy.function(
        scores, target, weight, ignore_index=-100 if ignore_index is None else ignore_index,
        reduction=reduction, label_smoothing=label_smoothing,
    )
