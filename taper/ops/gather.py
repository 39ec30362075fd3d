"""Picking elements by index: gather, index_select, take, take_along_dim."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.arrays.symbolic_shape import broadcast_shapes
from taper.core.dtype import from_numpy_dtype
from taper.core.errors import normalize_dim
from taper.core.promotion import scalar_type_name
from taper.core.tensor import Tensor
from taper.kernels.lanes import check_index, pick, plain_positions
from taper.ops.declare import composite, operator
from taper.ops.out_argument import same_dtype_apart, set_apart

_INDEX_DTYPES = frozenset((np.dtype("int64"), np.dtype("int32")))


def require_index(index: Any, name: str, words: str = "int32/int64") -> None:
    """Raises unless `index` has one of the dtypes of indices."""
    if index.dtype not in _INDEX_DTYPES:
        raise RuntimeError(f"{name}(): Expected dtype {words} for index")


def require_lanes(
    name: str, input: Any, dim: int, index: Any, src: Any = None, other: str = "self"
) -> None:
    """Raises unless `index` (and `src`) fit `input` as gather and scatter want it."""
    require_index(index, name)
    ndim = max(input.ndim, 1)
    if max(index.ndim, 1) != ndim:
        raise RuntimeError(
            f"Index tensor must have the same number of dimensions as {other} tensor"
        )
    if src is not None and max(src.ndim, 1) != max(index.ndim, 1):
        raise RuntimeError(
            "Index tensor must have the same number of dimensions as src tensor"
        )
    sizes = input.shape or (1,)
    found = index.shape or (1,)
    too_large = [d for d in range(ndim) if d != dim and found[d] > sizes[d]]
    if src is None:
        if too_large and name == "gather":
            raise RuntimeError(
                f"Size does not match at dimension {too_large[0]} expected index {list(found)} to "
                f"be no larger than self {list(sizes)} apart from dimension {dim}"
            )
        if too_large:
            raise RuntimeError(
                f"Expected index {list(found)} to be no larger than self {list(sizes)} apart from "
                f"dimension {dim}"
            )
    else:
        given = src.shape or (1,)
        if too_large or any(n > m for n, m in zip(found, given, strict=True)):
            raise RuntimeError(
                f"Expected index {list(found)} to be no larger than self {list(sizes)} apart from "
                f"dimension {dim} and to be no larger size than src {list(given)}"
            )


def require_in_range(index: Any, size: int, dim: int) -> None:
    """As `check_index`, with the exception type of gather and scatter."""
    try:
        check_index(index, size, dim)
    except IndexError as error:
        raise RuntimeError(str(error)) from None


@operator(method=True, out=True, with_out=same_dtype_apart, native="native_indexing.gather")
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """Picks elements along `dim`: ``y[i][j] = x[i][index[i][j]]`` for a matrix and dim 1.

    Shape:   the result has the shape of `index`, which may be smaller than `input`
    Raises:  RuntimeError: if an index is out of bounds or `index` does not fit
    Example:
        >>> import taper as torch
        >>> torch.gather(torch.tensor([[1, 2], [3, 4]]), 1, torch.tensor([[0, 0], [1, 0]]))
        tensor([[1, 1],
                [4, 3]])
    """
    positions = plain_positions(input, dim, index)
    if positions is not None:
        return input.ravel().take(positions)
    dim = normalize_dim(dim, input.ndim)
    if index.size == 0:
        return np.zeros_like(input, shape=index.shape)
    if index.ndim != input.ndim or index.shape != input.shape:
        require_lanes("gather", input, dim, index, other="input")
    else:
        require_index(index, "gather")
    if input.ndim == 0 or index.ndim == 0:
        require_in_range(index, input.size, dim)
        return pick(input.reshape(-1), 0, index.reshape(-1)).reshape(index.shape)
    require_in_range(index, input.shape[dim], dim)
    return pick(input, dim, index)


@gather.derivative("input")
def _(grad, input_shape, dim, index):
    return grad.new_zeros(input_shape).scatter_add(dim, index, grad)


@composite(out=True, method=True)
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Picks elements along `dim` by `indices`, which broadcast against `input` elsewhere.

    Without `dim`, both are flattened. Negative indices count from the end.
    Example:
        >>> import taper as torch
        >>> x = torch.tensor([[30, 10, 20]])
        >>> torch.take_along_dim(x, torch.argsort(x, dim=1), dim=1)
        tensor([[10, 20, 30]])
    """
    if indices.dtype.numpy_dtype not in _INDEX_DTYPES:
        raise RuntimeError(
            "torch.take_along_dim(): dtype of indices should be Long but got "
            f"{scalar_type_name(indices.dtype)}"
        )
    if dim is None:
        input, indices, dim = input.reshape(-1), indices.reshape(-1), 0
    if input.dim() != indices.dim():
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, "
            f"but got {input.dim()} dimensions for input, and {indices.dim()} dimensions for "
            "indices"
        )
    dim = normalize_dim(dim, input.dim())
    if not input.dim():
        return gather(input, 0, indices)
    shape = list(broadcast_shapes(
        tuple(input.shape[:dim] + input.shape[dim + 1:]),
        tuple(indices.shape[:dim] + indices.shape[dim + 1:]),
    ))
    size = input.shape[dim]
    input = input.expand([*shape[:dim], size, *shape[dim:]])
    indices = indices.expand([*shape[:dim], indices.shape[dim], *shape[dim:]])
    if size:
        indices = indices.remainder(size)
    return gather(input, dim, indices)


@operator(method=True, out=True, with_out=set_apart, native="native_indexing.index_select")
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Picks whole slices along `dim` by the numbers in the vector `index`.

    Raises:  IndexError: if an index is out of range, negative ones included
    Example:
        >>> import taper as torch
        >>> torch.index_select(torch.tensor([[1, 2], [3, 4]]), 0, torch.tensor([1, 1]))
        tensor([[3, 4],
                [3, 4]])
    """
    dim = normalize_dim(dim, input.ndim)
    if index.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    require_index(index, "index_select", "int32 or int64")
    if input.ndim == 0:
        if index.size != 1:
            raise RuntimeError(
                "index_select(): Index to scalar can have only 1 value, got "
                f"{index.size} value(s)"
            )
        check_index(index, 1, 0, words="index out of range in self")
        return input.copy()
    check_index(index, input.shape[dim], dim, words="index out of range in self")
    return input.take(index if index.ndim else index.reshape(1), dim)


@index_select.derivative("input")
def _(grad, input_shape, dim, index):
    return grad.new_zeros(input_shape).index_add(dim, index, grad)


def long_index(name: str, index: Any) -> None:
    """Raises unless `index` is int64, in the words of take and put."""
    if index.dtype != np.int64:
        raise RuntimeError(
            f"{name}(): Expected a long tensor for index, but got "
            f"{scalar_type_name(from_numpy_dtype(index.dtype))}"
        )


def wrapped_positions(index: Any, size: int) -> Any:
    """Flat positions, negative ones counted from the end; raises IndexError beyond."""
    if type(index) is not np.ndarray:
        return np.where(index < 0, index + size, index)
    if index.size:
        unsigned = index.ravel().view(np.uint64)
        if unsigned[unsigned.argmax()] < size:
            return index
        low, high = index.min(), index.max()
        if low < -size or high >= size:
            bad = low if low < -size else high
            raise IndexError(
                f"out of range: tried to access index {bad} on a tensor of {size} elements."
            )
        if low < 0:
            return np.where(index < 0, index + size, index)
    return index


@operator(method=True, out=True, with_out=set_apart, also={"indices": "index"})
def take(input: Tensor, index: Tensor) -> Tensor:
    """Picks elements of the flattened `input`, in the shape of `index`.

    Negative indices count from the end.
    Shape:    index (*) → the same
    Raises:   IndexError: if a position is out of range.
    Example:
        >>> import taper as torch
        >>> torch.take(torch.tensor([[1, 2], [3, 4]]), torch.tensor([0, -1]))
        tensor([1, 4])
    """
    long_index("take", index)
    positions = wrapped_positions(index, input.size)
    if index.size == 0:
        return np.zeros_like(input, shape=index.shape)
    return input.ravel().take(positions)


@take.derivative("input")
def _(grad, input_shape, index):
    return grad.new_zeros(input_shape).put(index, grad, True)
