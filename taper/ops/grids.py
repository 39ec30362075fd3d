"""Combinations of several tensors' elements: meshgrid, cartesian_prod, broadcast_tensors …"""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np

from taper.arrays import symbolic_shape
from taper.core.errors import broadcast_error
from taper.core.size import Size
from taper.core.tensor import Tensor, wrap
from taper.ops.declare import composite
from taper.ops.join import stack


def _given(tensors: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        return tuple(tensors[0])
    return tensors


@composite(offers=True)
def broadcast_tensors(*tensors: Any) -> Any:
    """Expands tensors to their common shape, as views.

    Example:
        >>> import taper as torch
        >>> x, y = torch.broadcast_tensors(torch.tensor([1, 2]), torch.tensor([[3]]))
        >>> y
        tensor([[3, 3]])
    """
    tensors = _given(tensors)
    shapes = [t._array.shape for t in tensors]
    if all(s == shapes[0] for s in shapes):
        shape = shapes[0] if shapes else ()
    else:
        problem = broadcast_error(shapes)
        if problem is not None:
            raise problem
        shape = symbolic_shape.broadcast_shapes(*shapes)
    return tuple([t if t._array.shape == shape else t.expand(shape) for t in tensors])


@composite()
def broadcast_shapes(*shapes: Any) -> Size:
    """Returns the shape that tensors of these shapes broadcast to.

    Example:
        >>> import taper as torch
        >>> torch.broadcast_shapes((2, 1), (3,))
        torch.Size([2, 3])
    """
    result: list[int] = []
    for position, given in enumerate(shapes):
        shape = (given,) if isinstance(given, int) else tuple(given)
        for n in shape:
            if n < 0:
                raise RuntimeError(
                    f"Trying to create tensor with negative dimension ({n}): ({n})"
                )
        result = [1] * (len(shape) - len(result)) + result
        for i in range(-1, -len(shape) - 1, -1):
            if shape[i] == 1 or shape[i] == result[i]:
                continue
            if result[i] != 1:
                raise RuntimeError(
                    f"Attempting to broadcast a dimension of length {shape[i]} at {i}! Mismatching "
                    f"argument at index {position} had {shape}; but expected shape should be "
                    f"broadcastable to {result}"
                )
            result[i] = shape[i]
    return Size(result)


_warned_about_indexing = False


@composite(offers=True)
def meshgrid(*tensors: Any, indexing: str | None = None) -> Any:
    """Makes grids of coordinates out of vectors: one tensor for each, as views.

    Args: indexing ("ij" or "xy"): whether the first vector runs along the first dimension, or the
        second, as in NumPy. Default "ij", with a warning.
    Shape:    (a), (b) → (a, b), (a, b), or (b, a) with indexing "xy"
    Example:
        >>> import taper as torch
        >>> torch.meshgrid(torch.tensor([1, 2]), torch.tensor([3, 4]), indexing="ij")[0]
        tensor([[1, 1],
                [2, 2]])
    """
    global _warned_about_indexing  # noqa: PLW0603 - once per program
    tensors = _given(tensors)
    if indexing is None and not _warned_about_indexing:
        _warned_about_indexing = True
        warnings.warn(
            "torch.meshgrid: in an upcoming release, it will be required to pass the indexing "
            "argument.",
            UserWarning, stacklevel=2,
        )
    if not tensors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(
            f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    for t in tensors:
        if not isinstance(t, Tensor):
            raise TypeError(
                "meshgrid(): argument 'tensors' (position 1) must be tuple of Tensors, not "
                f"{type(t).__name__}"
            )
        if t.dtype is not tensors[0].dtype:
            raise RuntimeError("torch.meshgrid expects all tensors to have the same dtype")
    for t in tensors:
        if t._array.ndim > 1:
            raise RuntimeError(
                "torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: "
                + f"{t}"
            )
    swaps = indexing == "xy" and len(tensors) >= 2
    if swaps:
        tensors = (tensors[1], tensors[0], *tensors[2:])
    count = len(tensors)
    shape = [t.numel() for t in tensors]
    grids = [
        t.view((*(1,) * i, -1, *(1,) * (count - 1 - i))).expand(shape)
        for i, t in enumerate(tensors)
    ]
    if swaps:
        grids[:2] = grids[1], grids[0]
    return tuple(grids)


@composite(offers=True)
def cartesian_prod(*tensors: Any) -> Tensor:
    """Lists all ways to pick one element of each vector, one a row.

    Shape:    (a), (b) → (a b, 2)
    Example:
        >>> import taper as torch
        >>> torch.cartesian_prod(torch.tensor([1, 2]), torch.tensor([3, 4]))
        tensor([[1, 3],
                [1, 4],
                [2, 3],
                [2, 4]])
    """
    tensors = _given(tensors)
    for t in tensors:
        if t._array.ndim != 1:
            raise RuntimeError("Expect a 1D vector, but got shape [" + ", ".join(
                map(str, t._array.shape)) + "]")
    if len(tensors) == 1:
        return tensors[0]
    grids = meshgrid.forward(*tensors, indexing="ij")
    return stack([g.flatten() for g in grids], 1)


@composite()
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """Lists all ways to pick `r` elements of a vector, one a row.

    Shape:    (n) → (n choose r, r)
    Example:
        >>> import taper as torch
        >>> torch.combinations(torch.tensor([1, 2, 3]))
        tensor([[1, 2],
                [1, 3],
                [2, 3]])
    """
    if input._array.ndim != 1:
        raise RuntimeError("Expect a 1D vector, but got shape [" + ", ".join(
            map(str, input._array.shape)) + "]")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return input.new_empty(0)
    pick = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    picked = np.array(list(pick(range(len(input._array)), r)), np.int64).reshape(-1, r)
    return input[wrap(picked)]
