"""Cuts tensors into parts along a dimension: unbind, split, chunk, tensor_split, narrow."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from taper.arrays.symbolic_shape import is_symbolic
from taper.core.errors import normalize_dim
from taper.core.state import active
from taper.core.storage import new_storage
from taper.core.tensor import Parameter, Tensor
from taper.ops import slow
from taper.ops.declare import composite, operator
from taper.ops.index import slice_dim
from taper.ops.join import cat, stack

_ALL = slice(None)


@operator(method=True, view=True, outputs="list")
def unbind(input: Tensor, dim: int = 0) -> Any:
    """Returns the slices along a dimension, as a tuple of views.

    Shape:    (n, *) → n of (*) with dim 0
    Example:
        >>> import taper as torch
        >>> torch.unbind(torch.tensor([[1, 2], [3, 4]]))
        (tensor([1, 2]), tensor([3, 4]))
    """
    if not input.ndim:
        normalize_dim(dim, 0)
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    lead = (_ALL,) * normalize_dim(dim, input.ndim)
    return tuple([input[(*lead, i, ...)] for i in range(input.shape[len(lead)])])


@unbind.short_path
def _(input: Tensor, dim: int = 0) -> Any:
    if (
        dim == 0 and type(dim) is int and (type(input) is Tensor or type(input) is Parameter)
        and input._edge is None and not active.modes
    ):
        a = input._array
        if a.ndim and type(a) is _ndarray:
            storage = input._storage
            if storage is None:
                storage = input._storage = new_storage(a)
            base = input._base
            if base is None:
                base = input
            rows = list(a) if a.ndim > 1 else [a[i, ...] for i in _range(len(a))]
            views = []
            for row in rows:
                view = _new(Tensor)
                view._array = row
                view._edge = None
                view._storage = storage
                view._base = base
                view._grad = None
                views.append(view)
            return tuple(views)
    return slow.call(unbind, (input, dim))


_new, _ndarray, _range = object.__new__, np.ndarray, range


@unbind.derivative("input")
def _(grads, input_shape, input_dtype, dim):
    dim = normalize_dim(dim, len(input_shape))
    shape = (*input_shape[:dim], *input_shape[dim + 1 :])
    return stack(_filled(grads, [shape] * input_shape[dim]), dim)


def _filled(grads: Any, shapes: list[tuple[int, ...]]) -> list[Tensor]:
    """The gradients with zeros in place of those that nobody asked for."""
    known = next(g for g in grads if g is not None)
    return [
        known.new_zeros(shape) if g is None else g
        for g, shape in zip(grads, shapes, strict=True)
    ]


@operator("_split_with_sizes", view=True, outputs="list", node="SplitWithSizesBackward0",
          hidden=True)
def split_sizes(input: Tensor, sizes: Any, dim: int) -> Any:
    lead = (_ALL,) * dim
    parts = []
    start = 0
    for size in sizes:
        parts.append(input[(*lead, slice(start, start + size))])
        start += size
    return tuple(parts)


@split_sizes.derivative("input")
def _(grads, input_shape, sizes, dim):
    if len(grads) == 1:
        return grads[0]
    before, after = input_shape[:dim], input_shape[dim + 1 :]
    return cat(_filled(grads, [(*before, n, *after) for n in sizes]), dim)


@operator("_split", view=True, outputs="list", node="SplitBackward0", hidden=True)
def split_equal(input: Tensor, sizes: Any, dim: int) -> Any:
    return split_sizes.forward(input, sizes, dim)


@split_equal.derivative("input")
def _(grads, input_shape, sizes, dim):
    return split_sizes.derivatives[0].function(grads, input_shape, sizes, dim)


split_sizes.name = "split_with_sizes"
split_equal.name = "split"


def checked_dim(function: str, input: Tensor, dim: Any) -> int:
    if not input._array.ndim:
        raise RuntimeError(f"{function} expects at least a 1-dimensional tensor")
    return normalize_dim(dim, input._array.ndim)


def equal_sizes(size: int, split_size: int) -> list[int]:
    """How long the parts are when a dimension is cut every `split_size`; the last may be short."""
    if split_size < 0:
        raise RuntimeError(
            f"split expects split_size be non-negative, but got split_size={split_size}"
        )
    if split_size == 0:
        if size:
            raise RuntimeError(
                "split_size can only be 0 if dimension size is 0, but got dimension size of "
                f"{size}"
            )
        return [0]
    count = max((size + split_size - 1) // split_size, 1)
    return [split_size] * (count - 1) + [size - split_size * (count - 1)]


def checked_sizes(input: Tensor, sizes: Any, dim: int) -> list[int]:
    sizes = [int(s) for s in sizes]
    if any(s < 0 for s in sizes):
        raise RuntimeError(
            "split_with_sizes expects split_sizes have only non-negative entries, but got "
            f"split_sizes={sizes}"
        )
    size = input._array.shape[dim]
    if sum(sizes) != size:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {size} (input tensor's size "
            f"at dimension {dim}), but got split_sizes={sizes}"
        )
    return sizes


@composite("split", method=True)
def split(tensor: Tensor, split_size_or_sections: Any = None, dim: int = 0, **named: Any) -> Any:
    """Cuts a dimension into parts of a given size, or of the sizes in a list, as views.

    Example:
        >>> import taper as torch
        >>> torch.split(torch.arange(5), 2)
        (tensor([0, 1]), tensor([2, 3]), tensor([4]))
    """
    if active.modes or not (type(tensor) is Tensor or type(tensor) is Parameter):
        answer = slow.offer_composite(split, (tensor,), None, sys._getframe(0))
        if answer is not slow.overrides.NOT_INTERCEPTED:
            return answer
    how = named.get("split_size", split_size_or_sections)
    at = checked_dim("split", tensor, dim)
    if isinstance(how, (int, np.integer)) or (isinstance(how, Tensor) and not how._array.ndim):
        return split_equal(tensor, equal_sizes(tensor._array.shape[at], int(how)), at)
    return split_sizes(tensor, checked_sizes(tensor, how, at), at)


@composite(method=True, also={"tensor": "input", "split_size_or_sections": "split_sizes"})
def split_with_sizes(input: Tensor, split_sizes: Any, dim: int = 0) -> Any:
    """Cuts a dimension into parts of the given sizes, as views.

    Example:
        >>> import taper as torch
        >>> torch.split_with_sizes(torch.arange(3), [1, 2])
        (tensor([0]), tensor([1, 2]))
    """
    at = checked_dim("split_with_sizes", input, dim)
    return _split_with_sizes(input, checked_sizes(input, split_sizes, at), at)


_split_with_sizes = split_sizes


def chunk_sizes(size: int, chunks: int) -> list[int]:
    """The sizes of at most `chunks` equal parts."""
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    each = (size + chunks - 1) // chunks
    return [0] * chunks if not each else equal_sizes(size, each)


@composite(method=True)
def chunk(input: Tensor, chunks: int, dim: int = 0) -> Any:
    """Cuts a dimension into at most `chunks` parts of equal size, the last maybe smaller.

    Example:
        >>> import taper as torch
        >>> torch.chunk(torch.arange(5), 3)
        (tensor([0, 1]), tensor([2, 3]), tensor([4]))
    """
    at = checked_dim("chunk", input, dim)
    size = input._array.shape[at]
    sizes = chunk_sizes(size, chunks)
    return (split_equal if size else split_sizes)(input, sizes, at)


@operator("_unsafe_split", outputs="list", node="UnsafeSplitBackward0", hidden=True)
def unsafe_split_equal(input: Tensor, sizes: Any, dim: int) -> Any:
    return split_sizes.forward(input, sizes, dim)


@unsafe_split_equal.derivative("input")
def _(grads, input_shape, sizes, dim):
    return split_sizes.derivatives[0].function(grads, input_shape, sizes, dim)


def _unsafely(input: Tensor, sizes: list[int], dim: int) -> Any:
    """Parts that share the input's memory, but neither its history nor its version counter."""
    parts = unsafe_split_equal(input, sizes, dim)
    for part in parts:
        part._storage = new_storage(input._shared_storage().array)
    return parts


@composite(method=True, also={"split_size_or_sections": "split_size"})
def unsafe_split(tensor: Tensor, split_size: int, dim: int = 0) -> Any:
    """Like `split`, but the parts may be changed in place, at your own risk.

    Example:
        >>> import taper as torch
        >>> torch.unsafe_split(torch.arange(3), 2)
        (tensor([0, 1]), tensor([2]))
    """
    at = checked_dim("split", tensor, dim)
    return _unsafely(tensor, equal_sizes(tensor._array.shape[at], split_size), at)


@composite(method=True, also={"tensor": "input", "split_size_or_sections": "split_sizes"})
def unsafe_split_with_sizes(input: Tensor, split_sizes: Any, dim: int = 0) -> Any:
    """Like `split_with_sizes`, but the parts may be changed in place, at your own risk.

    Example:
        >>> import taper as torch
        >>> torch.unsafe_split_with_sizes(torch.arange(3), [1, 2])
        (tensor([0]), tensor([1, 2]))
    """
    at = checked_dim("split_with_sizes", input, dim)
    return _unsafely(input, checked_sizes(input, split_sizes, at), at)


@composite(method=True)
def unsafe_chunk(input: Tensor, chunks: int, dim: int = 0) -> Any:
    """Like `chunk`, but the parts may be changed in place, at your own risk.

    Example:
        >>> import taper as torch
        >>> torch.unsafe_chunk(torch.arange(4), 2)
        (tensor([0, 1]), tensor([2, 3]))
    """
    at = checked_dim("chunk", input, dim)
    return _unsafely(input, chunk_sizes(input._array.shape[at], chunks), at)


def _narrowed(input: Tensor, dim: int, start: int, stop: int) -> Tensor:
    return slice_dim(input, dim, start, stop, 1)


@composite(method=True, also={"dimension": "dim"})
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """Takes `length` positions of a dimension, beginning at `start`. The result is a view.

    Example:
        >>> import taper as torch
        >>> torch.narrow(torch.arange(5), 0, 1, 3)
        tensor([1, 2, 3])
    """
    if not input._array.ndim:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    at = normalize_dim(dim, input._array.ndim)
    size = input._array.shape[at]
    if isinstance(start, Tensor):
        if start._array.ndim or start._array.dtype.kind not in "iu":
            raise RuntimeError("start must be an 0-dim integral Tensor.")
        start = start.item()
    start, length = [n if is_symbolic(n) else int(n) for n in (start, length)]
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -size <= start <= size:
        raise IndexError(
            f"start out of range (expected to be in range of [{-size}, {size}], but got {start})"
        )
    first = start + size if start < 0 else start
    if first + length > size:
        raise RuntimeError(
            f"start ({first}) + length ({length}) exceeds dimension size ({size})."
        )
    return _narrowed(input, at, first, first + length)


@composite(method=True, offers=True)
def tensor_split(input: Tensor, indices_or_sections: Any = None, dim: int = 0, **named: Any) -> Any:
    """Cuts a dimension into a number of nearly equal parts, or before each of some positions.

    Example:
        >>> import taper as torch
        >>> torch.tensor_split(torch.arange(5), 2), torch.tensor_split(torch.arange(5), (1, 4))[1]
        ((tensor([0, 1, 2]), tensor([3, 4])), tensor([1, 2, 3]))
    """
    how = named.get("sections", named.get("indices", indices_or_sections))
    if not input._array.ndim:
        raise RuntimeError(
            "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims"
        )
    at = normalize_dim(dim, input._array.ndim)
    if isinstance(how, Tensor):
        if how._array.ndim > 1:
            raise RuntimeError(
                "tensor_split expected tensor_indices_or_sections to be a zero-dimensional or "
                f"one-dimensional tensor, but got a tensor with {how._array.ndim} dims"
            )
        if how.dtype.name != "int64":
            from taper.core.promotion import scalar_type_name

            raise RuntimeError(
                "tensor_split expected tensor_indices_or_sections to have dtype of long, but got "
                f"{scalar_type_name(how.dtype)}"
            )
        how = how.tolist()
    size = input._array.shape[at]
    if isinstance(how, (int, np.integer)):
        if how <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {how}")
        each, more = divmod(size, int(how))
        stops = np.cumsum([each + 1] * more + [each] * (int(how) - more)).tolist()
        starts = [0, *stops[:-1]]
    else:
        cuts = [int(i) for i in how]
        starts, stops = [0, *cuts], [*cuts, size]
    return tuple([slice_dim(input, at, a, b, 1) for a, b in zip(starts, stops, strict=True)])


def _checked_split(function: str, input: Tensor, how: Any, minimum: int, dim: int) -> Any:
    ndim = input._array.ndim
    if ndim < minimum:
        raise RuntimeError(
            f"torch.{function} requires a tensor with at least {minimum} dimension, but got a "
            f"tensor with {ndim} dimensions!"
        )
    if isinstance(how, str):
        raise TypeError(
            f"{function}() received an invalid combination of arguments - got (Tensor, str), but "
            "expected one of:\n * (Tensor input, int sections)\n * (Tensor input, tuple of ints "
            "indices)\n"
        )
    size = input._array.shape[dim]
    if isinstance(how, int) and (how <= 0 or size % how):
        raise RuntimeError(
            f"torch.{function} attempted to split along dimension {dim}, but the size of the "
            f"dimension {size} is not divisible by the split_size {how}!"
        )
    return tensor_split.forward(input, how, dim)


def _one(given: tuple[Any, ...], named: dict[str, Any]) -> Any:
    if named:
        return next(iter(named.values()))
    return given[0] if len(given) == 1 else given


@composite(method=True, offers=True)
def hsplit(input: Tensor, *indices_or_sections: Any, **named: Any) -> Any:
    """Cuts a tensor along its second dimension, a vector along its only one; see tensor_split.

    Example:
        >>> import taper as torch
        >>> torch.hsplit(torch.arange(4), 2)
        (tensor([0, 1]), tensor([2, 3]))
    """
    how = _one(indices_or_sections, named)
    return _checked_split("hsplit", input, how, 1, 0 if input._array.ndim == 1 else 1)


@composite(method=True, offers=True)
def vsplit(input: Tensor, *indices_or_sections: Any, **named: Any) -> Any:
    """Cuts a tensor along its first dimension; see tensor_split.

    Example:
        >>> import taper as torch
        >>> torch.vsplit(torch.tensor([[1, 2], [3, 4]]), 2)
        (tensor([[1, 2]]), tensor([[3, 4]]))
    """
    return _checked_split("vsplit", input, _one(indices_or_sections, named), 2, 0)


@composite(method=True, offers=True)
def dsplit(input: Tensor, *indices_or_sections: Any, **named: Any) -> Any:
    """Cuts a tensor along its third dimension; see tensor_split.

    Example:
        >>> import taper as torch
        >>> [part.shape for part in torch.dsplit(torch.zeros(1, 2, 4), (1, 3))]
        [torch.Size([1, 2, 1]), torch.Size([1, 2, 2]), torch.Size([1, 2, 1])]
    """
    return _checked_split("dsplit", input, _one(indices_or_sections, named), 3, 2)


