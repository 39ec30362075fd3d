"""Sorting and the largest few: sort, argsort, msort, topk."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.errors import normalize_dim
from taper.core.tensor import Tensor
from taper.kernels.lanes import pick
from taper.kernels.memory_order import as_laid_out
from taper.kernels.sorting import packed_order
from taper.ops.declare import composite, operator
from taper.ops.extrema import scatter_grad

# From this many elements a lane is partitioned before the largest few of it are sorted.
_PARTITION_FROM = 256


def stable_order(x: Any, axis: int, descending: bool = False) -> Any:
    """The indices that sort `x` along an axis; equal elements keep their order, NaN is largest."""
    if x.dtype.kind == "V":  # bfloat16: its own comparison leaves NaN anywhere
        x = x.astype(np.float32)
    packed = packed_order(x, axis, descending)
    if packed is not None:
        return packed
    if not descending:
        return x.argsort(axis, kind="stable")
    flipped = (slice(None),) * axis + (slice(None, None, -1),)
    order = x[flipped].argsort(axis, kind="stable")
    return np.subtract(x.shape[axis] - 1, order[flipped])


def order_around(x: Any, axis: int, ranks: list[int]) -> Any:
    """Indices of which those at `ranks` are where sorting puts them, smaller elements before and
    larger ones behind."""
    if x.shape[axis] < _PARTITION_FROM or len(ranks) > 8:
        return stable_order(x, axis)
    if x.dtype.kind == "V":
        x = x.astype(np.float32)
    return x.argpartition(ranks, axis)


def _sorted(input: Any, dim: int, descending: bool) -> tuple[Any, Any]:
    axis = normalize_dim(dim, input.ndim)
    if input.dtype.kind == "c":
        raise RuntimeError(" Sort does not support complex dtypes on CPU")
    if input.ndim == 0:
        return input.copy(), np.zeros_like(input, dtype=np.int64)
    order = stable_order(input, axis, descending)
    values = pick(input, axis, order)
    return as_laid_out(values, input), as_laid_out(order, input)


@operator("sort", hidden=True, out=True, outputs=("values", "indices"))
def sort_along(input: Tensor, dim: int = -1, descending: bool = False) -> Tensor:
    """`sort` without a word about stability."""
    return _sorted(input, dim, descending)


@sort_along.derivative("input")
def _(grad, result1, input_shape, dim):
    return scatter_grad(grad, result1, input_shape, dim, True)


@operator("sort", hidden=True, out=True, outputs=("values", "indices"), node="SortBackward1")
def sort_stably(input: Tensor, stable: bool, dim: int = -1, descending: bool = False) -> Tensor:
    """`sort` with `stable` given. It is stable in any case."""
    return _sorted(input, dim, descending)


@sort_stably.derivative("input")
def _(grad, result1, input_shape, dim):
    return scatter_grad(grad, result1, input_shape, dim, True)


@composite(method=True)
def sort(
    input: Tensor, dim: int = -1, descending: bool = False, stable: bool | None = None, *,
    out: Any = None, **named: Any,
) -> Any:
    """Sorts along `dim`; returns the values and their indices. NaN counts as the largest.

    Equal elements always keep their order, whether `stable` is asked for or not.
    Example:
        >>> import taper as torch
        >>> torch.sort(torch.tensor([3, 1, 2]), descending=True)
        torch.return_types.sort(
        values=tensor([3, 2, 1]),
        indices=tensor([0, 2, 1]))
    """
    if "axis" in named:
        dim = named.pop("axis")
    if named:
        raise TypeError(f"sort() got an unexpected keyword argument '{next(iter(named))}'")
    if stable is None:
        return sort_along.function(input, dim, descending, out=out)
    return sort_stably.function(input, stable, dim, descending, out=out)


@composite(method=True)
def argsort(
    input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False
) -> Tensor:
    """The indices that sort along `dim`. Equal elements keep their order.

    Example:
        >>> import taper as torch
        >>> torch.argsort(torch.tensor([3, 1, 2]))
        tensor([1, 2, 0])
    """
    return _argsort.function(input, dim, descending)


@operator("argsort", hidden=True, differentiable=False)
def _argsort(input: Tensor, dim: int, descending: bool) -> Tensor:
    return _sorted(input, dim, descending)[1]


@composite(method=True, out=True)
def msort(input: Tensor) -> Tensor:
    """Sorts along the first dimension.

    Example:
        >>> import taper as torch
        >>> torch.msort(torch.tensor([3, 1, 2]))
        tensor([1, 2, 3])
    """
    return sort_along.function(input, 0)[0]


def _top(input: Any, k: int, axis: int, largest: bool, is_sorted: bool) -> Any:
    """The indices of the k largest or smallest along an axis, in order."""
    n = input.shape[axis]
    if k == 1 and n:
        return input.argmax(axis, keepdims=True) if largest else _first_smallest(input, axis)
    head = (slice(None),) * axis + (slice(0, k),)
    if largest and n < _PARTITION_FROM:
        if axis == input.ndim - 1:
            return stable_order(input, axis)[..., : -k - 1 : -1].copy()
        last = (slice(None),) * axis + (slice(None, -k - 1, -1),)
        return stable_order(input, axis)[last].copy()
    if n < _PARTITION_FROM or k * 4 > n or input.dtype.kind not in "iuf":
        return stable_order(input, axis, largest)[head]
    if largest:
        last = (slice(None),) * axis + (slice(n - k, None),)
        chosen = input.argpartition(n - k, axis)[last]
    else:
        chosen = input.argpartition(k - 1, axis)[head]
    if not is_sorted:
        return chosen
    return pick(chosen, axis, stable_order(pick(input, axis, chosen), axis, largest))


def _first_smallest(input: Any, axis: int) -> Any:
    """The index of the smallest element, where NaN counts as the largest."""
    if input.dtype.kind in "biu":
        return input.argmin(axis, keepdims=True)
    return np.where(np.isnan(input), np.inf, input).argmin(axis, keepdims=True)


@operator(method=True, out=True, outputs=("values", "indices"), native="native_selection.topk")
def topk(
    input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> Tensor:
    """The `k` largest (or smallest) elements along `dim` and their indices.

    NaN counts as the largest. Which of equal elements are returned is not defined.
    Shape:    (…, n, …) → (…, k, …), twice
    Example:
        >>> import taper as torch
        >>> torch.topk(torch.tensor([1., 4., 2.]), 2).values
        tensor([4., 2.])
    """
    if input.dtype.kind in "bc":
        kind = "bool" if input.dtype.kind == "b" else "complex"
        raise RuntimeError(f"topk does not support {kind} dtypes on CPU")
    axis = dim if type(dim) is int and 0 <= dim < input.ndim else normalize_dim(dim, input.ndim)
    k = int(k)
    if k < 0 or k > (input.shape[axis] if input.ndim else 1):
        raise RuntimeError("selected index k out of range")
    if input.ndim == 0:
        return input.copy(), np.zeros_like(input, dtype=np.int64)
    if k == 0:
        shape = (*input.shape[:axis], 0, *input.shape[axis + 1:])
        return np.empty_like(input, shape=shape), np.empty_like(input, np.int64, shape=shape)
    indices = _top(input, k, axis, largest, sorted)
    return pick(input, axis, indices), indices


@topk.derivative("input")
def _(grad, result1, input_shape, dim):
    return scatter_grad(grad, result1, input_shape, dim, True)
