"""What distributions share: common shapes, probabilities against logits, values computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import update_wrapper
from numbers import Number
from typing import Any, TypeVar

import taper as torch
from taper import Tensor
from taper.overrides import is_tensor_like

__all__ = [
    "broadcast_all", "clamp_probs", "lazy_property", "logits_to_probs", "probs_to_logits",
    "sum_rightmost", "take_probs_or_logits", "tril_matrix_to_vec", "vec_to_tril_matrix",
]

T = TypeVar("T")


def broadcast_all(*values: Any) -> tuple[Tensor, ...]:
    """Expands tensors and numbers to their common shape; numbers take the first tensor's dtype.

    Raises: ValueError: if a value is neither a tensor nor a number.
    Example:
        >>> import taper as torch
        >>> torch.distributions.utils.broadcast_all(torch.zeros(2), 1.0)
        (tensor([0., 0.]), tensor([1., 1.]))
    """
    first = values[0]
    if type(first) is Tensor:
        shape = first.shape
        for value in values:
            if type(value) is not Tensor or value.shape != shape:
                break
        else:
            return values
    if not all(is_tensor_like(value) or isinstance(value, Number) for value in values):
        raise ValueError(
            "Input arguments must all be instances of Number, torch.Tensor or objects implementing "
            "__torch_function__."
        )
    if not all(is_tensor_like(value) for value in values):
        options: dict[str, Any] = {"dtype": torch.get_default_dtype()}
        for value in values:
            if isinstance(value, Tensor):
                options = {"dtype": value.dtype, "device": value.device}
                break
        values = tuple(
            value if is_tensor_like(value) else torch.tensor(value, **options) for value in values
        )
    return tuple(torch.broadcast_tensors(*values))


def sum_rightmost(value: Tensor, count: int) -> Tensor:
    """Sums over the last `count` dimensions."""
    if count == 0:
        return value
    if count == 1:
        return value.sum(-1)
    return value.reshape(*value.shape[: value.ndim - count], -1).sum(-1)


# Probabilities and logits -----------------------------------------------------------------


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """Turns log odds (binary) or unnormalized log probabilities into probabilities."""
    return torch.sigmoid(logits) if is_binary else torch.nn.functional.softmax(logits, dim=-1)


def clamp_probs(probs: Tensor) -> Tensor:
    """Moves probabilities off 0 and 1, as far as the dtype resolves."""
    eps = torch.finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """Turns probabilities into log odds (binary) or log probabilities."""
    inside = clamp_probs(probs)
    if is_binary:
        return torch.log(inside) - torch.log1p(-inside)
    return torch.log(inside)


def take_probs_or_logits(probs: Any, logits: Any) -> bool:
    """Whether `probs` was given, when exactly one of the two must be.

    Raises: ValueError: if both or none were given.
    """
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")
    return probs is not None


# Triangles --------------------------------------------------------------------------------


def vec_to_tril_matrix(vec: Tensor, diag: int = 0) -> Tensor:
    """Lays vectors out row by row in the lower triangles of square matrices.

    Args: diag: the highest diagonal to fill: 0, or -1 for strictly below the main one.
    Raises: RuntimeError: if no triangle has that many elements.
    Example:
        >>> import taper as torch
        >>> torch.distributions.utils.vec_to_tril_matrix(torch.tensor([1., 2., 3.]))
        tensor([[1., 0.],
                [2., 3.]])
    """
    rows = int(((1 + 8 * vec.shape[-1]) ** 0.5 - 1) / 2)  # of a triangle of so many elements
    n = rows - diag
    matrix = vec.new_zeros((*vec.shape[:-1], n, n))
    row, column = torch.tril_indices(n, n, offset=diag)
    matrix[..., row, column] = vec
    return matrix


def tril_matrix_to_vec(mat: Tensor, diag: int = 0) -> Tensor:
    """Reads the lower triangles of square matrices row by row.

    Raises: ValueError: if the matrices have no such diagonal.
    """
    n = mat.shape[-1]
    if diag < -n or diag >= n:
        raise ValueError(f"diag ({diag}) provided is outside [{-n}, {n - 1}].")
    row, column = torch.tril_indices(n, n, offset=diag)
    return mat[..., row, column]


# Values computed once ---------------------------------------------------------------------


class lazy_property:
    """A property that is computed when first read, with gradients, and then kept.

    Read from the class, it is a plain property, so that documentation finds it.
    """

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        self.wrapped = wrapped
        update_wrapper(self, wrapped)  # type: ignore[arg-type]

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return _ClassSide(self.wrapped)
        with torch.enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.wrapped.__name__, value)
        return value


class _ClassSide(lazy_property, property):
    """What a class shows of a lazy property."""

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        property.__init__(self, wrapped)


def _standard_normal(shape: Sequence[int], dtype: Any, device: Any) -> Tensor:
    return torch.randn(shape, dtype=dtype, device=device)


_sum_rightmost = sum_rightmost  # the names that libraries on top of PyTorch import
