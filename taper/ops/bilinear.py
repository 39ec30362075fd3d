"""Bilinear maps of two inputs."""

from __future__ import annotations

from taper.core.promotion import cpp_type_name
from taper.core.tensor import Tensor, wrap
from taper.kernels.bilinear import bilinear as kernel
from taper.ops.declare import composite
from taper.ops.matrix import may_compute_at_once


@composite("bilinear", aliases=("nn.functional.bilinear",))
def bilinear(
    input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    r"""Maps two vectors to one: :math:`y_k = x_1^T W_k x_2 + b_k`.

    Shape:    input1 (*, I), input2 (*, J), weight (K, I, J), bias (K) → (*, K)
    Example:
        >>> import taper as torch
        >>> torch.bilinear(torch.tensor([[2.]]), torch.tensor([[3.]]), torch.ones(1, 1, 1))
        tensor([[6.]])
    """
    a, b, w = input1._array, input2._array, weight._array
    if not a.dtype == b.dtype == w.dtype:
        found = [cpp_type_name(x.dtype) for x in (input1, input2, weight)]
        raise RuntimeError(
            "All tensors must have the same dtype, got input1: "
            f"{found[0]}, input2: {found[1]}, weight: {found[2]}"
        )
    if a.ndim != b.ndim:
        raise RuntimeError(
            f"bilinear(): input dimensions do not match: got {a.ndim} and {b.ndim}"
        )
    for dim in range(a.ndim - 1):
        if a.shape[dim] != b.shape[dim]:
            raise RuntimeError(
                f"bilinear(): input batch dimensions do not match at dim {dim}: got "
                f"{a.shape[dim]} and {b.shape[dim]}"
            )
    if w.ndim < 3:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-w.ndim}, {w.ndim - 1}], but "
            "got 2)"
        )
    for number, (x, place) in enumerate(((a, 1), (b, 2)), 1):
        if x.shape[-1] != w.shape[place]:
            raise RuntimeError(
                f"bilinear(): input{number} size does not match weight size: got {x.shape[-1]} but "
                f"expected {w.shape[place]}"
            )
    if bias is not None and bias._array.shape[0] != w.shape[0]:
        raise RuntimeError(
            f"bilinear(): bias size does not match weight size: got {bias._array.shape[0]} but "
            f"expected {w.shape[0]}"
        )
    features, first, second = w.shape
    rows1, rows2 = input1.reshape(-1, first), input2.reshape(-1, second)
    if may_compute_at_once(rows1, weight, rows2):
        result = wrap(kernel(rows1._array, w, rows2._array))
    else:
        # (rows, I) times (I, K J), then each row's (K, J) times its vector (J).
        half = rows1.mm(weight.transpose(0, 1).reshape(first, features * second))
        result = half.view(-1, features, second).bmm(rows2.unsqueeze(2)).squeeze(2)
    if bias is not None:
        result = result + bias
    return result.view(*a.shape[:-1], features)
