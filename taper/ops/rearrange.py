"""Elements repeated or moved about: repeat, tile, repeat_interleave, flip, roll, rot90."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.arrays.symbolic_shape import array_of
from taper.core.errors import normalize_dim, normalize_dims
from taper.core.promotion import scalar_type_name
from taper.core.tensor import Tensor, wrap
from taper.kernels.memory_order import in_rows
from taper.ops.declare import composite, method, operator
from taper.ops.sizes import as_sizes

_ALL = slice(None)


@operator("_repeat", hidden=True, node="RepeatBackward0")
def repeated(input: Tensor, repeats: Any) -> Tensor:
    lead = len(repeats) - input.ndim
    shape = (1,) * lead + input.shape
    # Each dimension n becomes (repeat, n), of which the first is broadcast.
    split = tuple([x for n in shape for x in (1, n)])
    wide = tuple([x for r, n in zip(repeats, shape, strict=True) for x in (r, n)])
    if type(input) is np.ndarray:  # the copy may be of a symbolic size
        whole = array_of(_broadcast_copy, input.reshape(split), wide)
    else:
        whole = _broadcast_copy(input.reshape(split), wide)
    return whole.reshape(tuple([r * n for r, n in zip(repeats, shape, strict=True)]))


def _broadcast_copy(array: Any, shape: tuple[int, ...]) -> Any:
    return np.broadcast_to(array, shape).copy()


@repeated.derivative("input")
def _(grad, input_shape, repeats):
    lead = len(repeats) - len(input_shape)
    shape = (1,) * lead + tuple(input_shape)
    if 0 in repeats:
        return grad.new_zeros(input_shape)
    split = [x for r, n in zip(repeats, shape, strict=True) for x in (r, n)]
    if not split:
        return grad
    return grad.reshape(split).sum(tuple(range(0, len(split), 2))).reshape(input_shape)


repeated.name = "repeat"


@method("repeat")
def repeat(input: Tensor, *repeats: Any, **named: Any) -> Tensor:
    """Repeats the tensor along each dimension; further repeats add dimensions in front.

    Example:
        >>> import taper as torch
        >>> torch.tensor([1, 2]).repeat(2, 2)
        tensor([[1, 2, 1, 2],
                [1, 2, 1, 2]])
    """
    given = named.get("repeats", repeats[0] if len(repeats) == 1 else repeats)
    sizes = as_sizes("repeat", given, "repeats")
    shape = input._array.shape
    if len(sizes) < len(shape):
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of "
            "tensor"
        )
    padded = (1,) * (len(sizes) - len(shape)) + shape
    target = [r * n for r, n in zip(sizes, padded, strict=True)]
    for n in target:
        if n < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {n}: {target}")
    return repeated(input, sizes)


@composite(method=True, offers=True)
def tile(input: Tensor, *dims: Any, **named: Any) -> Tensor:
    """Repeats the tensor along its last dimensions; missing repeats count as 1.

    Example:
        >>> import taper as torch
        >>> torch.tile(torch.tensor([1, 2]), (2,))
        tensor([1, 2, 1, 2])
    """
    given = named.get("dims", dims[0] if len(dims) == 1 else dims)
    sizes = as_sizes("tile", given, "dims")
    return input.repeat((1,) * (input._array.ndim - len(sizes)) + sizes)


def _repeat_index(repeats: Tensor) -> Any:
    counts = repeats._array
    if counts.dtype.kind not in "iu" or counts.dtype.itemsize < 4:
        raise NotImplementedError(
            f'"repeat_interleave_cpu" not implemented for \'{scalar_type_name(repeats.dtype)}\''
        )
    if counts.ndim != 1:
        raise RuntimeError("repeat_interleave only accept 1D vector as repeat")
    if counts.size and counts.min() < 0:
        raise RuntimeError("repeats can not be negative")
    return np.arange(len(counts), dtype=counts.dtype).repeat(counts)


@composite(method=True)
def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Repeats each element, or each slice along `dim`; `repeats` is a number or one per slice.

    Example:
        >>> import taper as torch
        >>> torch.repeat_interleave(torch.tensor([1, 2]), 2)
        tensor([1, 1, 2, 2])
    """
    if repeats is None:
        return wrap(_repeat_index(input))
    if dim is None:
        input, dim = input.flatten(), 0
    dim = normalize_dim(dim, input._array.ndim)
    shape = input._array.shape or (1,)
    size = shape[dim]
    if isinstance(repeats, Tensor) and repeats._array.ndim == 0:
        repeats = repeats.reshape(1)
    if isinstance(repeats, Tensor) and repeats._array.size != 1:
        if repeats._array.ndim == 1 and repeats._array.size != size:
            raise RuntimeError(
                "repeats must have the same size as input along dim, but got repeats.size(0) = "
                f"{repeats._array.size} and input.size({dim}) = {size}"
            )
        index = _repeat_index(repeats)
        _check_output_size(output_size, len(index))
        return input.index_select(dim, wrap(index))
    if isinstance(repeats, (list, tuple)):
        return repeat_interleave.forward(
            input, wrap(np.array(repeats, np.int64)), dim, output_size=output_size)
    if isinstance(repeats, Tensor):
        _repeat_index(repeats)
        repeats = repeats.item()
    if repeats < 0:
        raise RuntimeError("Repeats must be non-negative")
    _check_output_size(output_size, size * repeats)
    wide = input.reshape(shape).unsqueeze(dim + 1).expand(
        (*shape[: dim + 1], repeats, *shape[dim + 1 :]))
    from taper.core.device import contiguous_format

    whole = wide.clone(memory_format=contiguous_format)
    return whole.view((*shape[:dim], size * repeats, *shape[dim + 1 :]))


def _check_output_size(given: int | None, found: int) -> None:
    if given is not None and given != found:
        raise RuntimeError(
            f"repeat_interleave: Invalid output_size, expected {found} but got {given}"
        )


@operator("flip")
def flip(input: Tensor, dims: Any) -> Tensor:
    """Reverses the order of the elements along some dimensions. The result is a copy.

    Example:
        >>> import taper as torch
        >>> torch.flip(torch.tensor([1, 2, 3]), (0,))
        tensor([3, 2, 1])
    """
    dims = normalize_dims(dims if isinstance(dims, (tuple, list)) else (dims,), input.ndim)
    back = slice(None, None, -1)
    index = tuple([back if d in dims else _ALL for d in range(input.ndim)])
    # NumPy would put the dims of expanded tensors into another order.
    return input[(*index, ...)].copy("C" if 0 in input.strides else "K")


@flip.derivative("input")
def _(grad, dims):
    return grad.flip(dims)


@method("flip")
def tensor_flip(input: Tensor, *dims: Any, **named: Any) -> Tensor:
    """Reverses the order of the elements along some dimensions. The result is a copy."""
    given = named.get("dims", dims[0] if len(dims) == 1 else dims)
    return flip(input, given)


@composite(method=True)
def fliplr(input: Tensor) -> Tensor:
    """Reverses the second dimension. The result is a copy.

    Example:
        >>> import taper as torch
        >>> torch.fliplr(torch.tensor([[1, 2], [3, 4]]))
        tensor([[2, 1],
                [4, 3]])
    """
    if input._array.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, (1,))


@composite(method=True)
def flipud(input: Tensor) -> Tensor:
    """Reverses the first dimension. The result is a copy.

    Example:
        >>> import taper as torch
        >>> torch.flipud(torch.tensor([[1, 2], [3, 4]]))
        tensor([[3, 4],
                [1, 2]])
    """
    if input._array.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, (0,))


def _as_tuple(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


@operator(method=True)
def roll(input: Tensor, shifts: Any, dims: Any = ()) -> Tensor:
    """Shifts the elements along dimensions; what leaves at one end comes back at the other.

    Example:
        >>> import taper as torch
        >>> torch.roll(torch.tensor([1, 2, 3]), 1)
        tensor([3, 1, 2])
    """
    shifts, dims = _as_tuple(shifts), () if dims is None else _as_tuple(dims)
    if not shifts:
        raise RuntimeError("`shifts` required")
    if not dims and len(shifts) == 1:
        return _rolled(input.reshape(-1), shifts[0], 0).reshape(input.shape)
    if len(shifts) != len(dims):
        raise RuntimeError(
            f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}"
        )
    if not input.ndim:
        raise IndexError(f"Dimension specified as {dims[0]} but tensor has no dimensions")
    result = input
    for shift, d in zip(shifts, dims, strict=True):
        result = _rolled(result, shift, normalize_dim(d, input.ndim))
    return in_rows(result)


def _rolled(array: Any, shift: int, dim: int) -> Any:
    size = array.shape[dim] if array.ndim else 1
    if not array.size or not array.ndim or not shift % size:
        return array.copy()
    cut = size - shift % size
    lead = (_ALL,) * dim
    return np.concatenate([array[(*lead, slice(cut, None))], array[(*lead, slice(None, cut))]], dim)


@roll.derivative("input")
def _(grad, shifts, dims):
    back = [-s for s in _as_tuple(shifts)]
    return grad.roll(back, () if dims is None else dims)


@operator(method=True, node="Rot90Backward0")
def rot90(input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """Rotates the plane of two dimensions by 90 degrees, `k` times, from the first to the second.

    Example:
        >>> import taper as torch
        >>> torch.rot90(torch.tensor([[1, 2], [3, 4]]))
        tensor([[2, 4],
                [1, 3]])
    """
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    ndim = input.ndim
    if ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {ndim}")
    if dims[0] == dims[1] or abs(dims[0] - dims[1]) == ndim:
        raise RuntimeError(
            f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}"
        )
    for name, d in zip(("dim0", "dim1"), dims, strict=True):
        if not -ndim <= d < ndim:
            raise RuntimeError(f"Rotation {name} out of range, {name} = {d}")
    return np.rot90(input, k, dims).copy("K" if k % 4 else "C")


@rot90.derivative("input")
def _(grad, k, dims):
    return grad.rot90(-k, dims)
