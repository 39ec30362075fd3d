"""Joins tensors: cat, stack and their relatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from taper.core.errors import normalize_dim
from taper.core.promotion import can_cast, scalar_type_name
from taper.core.settings import settings
from taper.core.state import active, is_recording
from taper.core.storage import refuse_repeated_memory
from taper.core.tensor import Parameter, Tensor
from taper.kernels import small_joins, small_tensors
from taper.kernels.memory_order import in_rows, joined_in_order, suggests_channels_last
from taper.kernels.when_busy import when_busy
from taper.ops import slow
from taper.ops.declare import composite, operator
from taper.ops.native_forward import LARGE


def _joinable(tensors: Any, dim: Any) -> tuple[list[Any], int]:
    """The arrays to concatenate and the dimension; empty vectors are left out, as in PyTorch."""
    if len(tensors) == 0:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    for i, t in enumerate(tensors):
        if t.ndim == 0:
            raise RuntimeError(
                f"zero-dimensional tensor (at position {i}) cannot be concatenated"
            )
    arrays = [t for t in tensors if t.shape != (0,)]
    if not arrays:
        return [tensors[0]], 0 * normalize_dim(dim, 1)
    first = arrays[0].shape
    dim = normalize_dim(dim, len(first))
    for t in arrays[1:]:
        if t.ndim != len(first):
            raise RuntimeError(
                f"Tensors must have same number of dimensions: got {len(first)} and {t.ndim}"
            )
        if t.shape[:dim] != first[:dim] or t.shape[dim + 1 :] != first[dim + 1 :]:
            at = next(i for i, s in enumerate(tensors) if s is t)
            wrong = next(d for d in range(len(first)) if d != dim and t.shape[d] != first[d])
            raise RuntimeError(
                f"Sizes of tensors must match except in dimension {dim}. Expected size "
                f"{first[wrong]} but got size {t.shape[wrong]} for tensor number {at} in the list."
            )
    return arrays, dim


@operator(out=True, promote="result_type", aliases=("concat", "concatenate"))
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Joins tensors along an existing dimension.

    Shape: equal in all dimensions but `dim`; empty vectors are left out.
    Example:
        >>> import taper as torch
        >>> torch.cat([torch.zeros(1, 2), torch.ones(2, 2)])
        tensor([[0., 0.],
                [1., 1.],
                [1., 1.]])
    """
    if type(dim) is int:
        try:
            return joined_in_order(concatenated(tensors, dim), tensors)
        except ValueError:
            pass
    arrays, dim = _joinable(tensors, dim)
    return joined_in_order(concatenated(arrays, dim), arrays)


def concatenated(arrays: Any, dim: int) -> Any:
    """The arrays along a dimension that they have; many elements by a kernel."""
    if arrays and arrays[0].size * len(arrays) > LARGE and settings.native != "off" and (
        all(type(a) is ndarray for a in arrays)
    ):
        from taper.kernels import native_joins

        found = native_joins.concatenated(arrays, dim)
        if found is not None:
            return found
    return np.concatenate(arrays, dim)


def _write_joined(result: Tensor, out: Any) -> Tensor:
    """`out=` of the joining functions, whose errors have words of their own."""
    if isinstance(out, Tensor):
        if not can_cast(result.dtype, out.dtype):
            raise TypeError(
                "torch.cat(): input types can't be cast to the desired output type "
                f"{scalar_type_name(out.dtype)}"
            )
        refuse_repeated_memory(out._array)
    return slow.write_out(cat, result, out)


def _check_memory(tensors: Any, out: Any) -> None:
    if not isinstance(out, Tensor) or not isinstance(tensors, (tuple, list)):
        return
    for i, t in enumerate(tensors):
        if t is out:
            raise RuntimeError(
                "unsupported operation: some elements of the input tensor and the written-to "
                "tensor refer to a single memory location. Please clone() the tensor before "
                "performing the operation."
            )
        if isinstance(t, Tensor) and t.numel() and np.may_share_memory(t._array, out._array):
            raise RuntimeError(
                "unsupported operation: the input tensors cannot refer to any of the output memory "
                f"locations. Found overlap in input tensor {i}"
            )


def plain_arrays(tensors: Any) -> Any:
    """The arrays of plain tensors of which nothing is recorded; None for any others.

    Their dtypes may differ, and other arrays than NumPy's be among them: those refuse to become
    part of one (`__array__` raises).
    """
    kind = type(tensors)
    if kind is not list and kind is not tuple:
        return None
    arrays = [t._array for t in tensors if type(t) is Tensor and t._edge is None]
    if len(arrays) == len(tensors):
        return arrays
    for t in tensors:
        if (type(t) is not Tensor and type(t) is not Parameter) or (
            t._edge is not None and is_recording()
        ):
            return None
    return [t._array for t in tensors]


def joined(tensors: Any, dim: Any) -> Any:
    """The arrays of plain tensors as one; None where the full way has something to do or to say."""
    if type(tensors) is not list and type(tensors) is not tuple:
        return None
    arrays = [t._array for t in tensors if type(t) is Tensor and t._edge is None]
    if len(arrays) != len(tensors):
        arrays = plain_arrays(tensors)
    try:
        array = _concatenate(arrays, dim) if arrays[0].size * len(arrays) <= LARGE else (
            concatenated(arrays, dim))
    except Exception:  # the full way says what was wrong
        return None
    # PyTorch's type of the parts is not always NumPy's, unless it is that of the first.
    if array.dtype is not arrays[0].dtype:
        return None
    if array.ndim == 1 or (array.ndim < 4 and array.flags.c_contiguous):
        return array
    return joined_in_order(array, arrays)


joined_by_python = joined
when_busy(globals(), "joined", lambda: small_joins.made(joined_by_python))


@cat.short_path
def _(tensors: Any = None, dim: int = 0, *, out: Any = None, axis: Any = None) -> Tensor:
    if axis is not None:
        dim = axis
    if out is None and not active.modes:
        array = joined(tensors, dim)
        if array is not None:
            return small_tensors.wrap(array)
    if isinstance(tensors, (tuple, list)) and not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    if out is None:
        return slow.call(cat, (tensors, dim))
    _check_memory(tensors, out)
    return _write_joined(slow.call(cat, (tensors, dim)), out)


# Without NumPy's search for overriding types: see `plain_arrays`.
_concatenate = getattr(np.concatenate, "_implementation", np.concatenate)
_array, ndarray = np.array, np.ndarray


@cat.derivative("tensors")
def _(grad, tensors_shape, dim, needs):
    dim = normalize_dim(dim, grad._array.ndim)
    grads = []
    start = 0
    for shape, needed in zip(tensors_shape, needs, strict=True):
        size = shape[dim] if shape != (0,) else 0
        if not needed:
            grads.append(None)
        elif shape == (0,):
            grads.append(grad.new_zeros((0,)))
        else:
            grads.append(grad.narrow(dim, start, size))
        start += size
    return grads


@operator(out=True, promote="result_type")
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Joins tensors of equal shape along a new dimension.

    Shape:    k tensors (a, b) → (k, a, b) with dim 0
    Raises:   RuntimeError: if the shapes differ.
    Example:
        >>> import taper as torch
        >>> torch.stack([torch.zeros(2), torch.ones(2)])
        tensor([[0., 0.],
                [1., 1.]])
    """
    if not len(tensors):
        raise RuntimeError("stack expects a non-empty TensorList")
    shape = tensors[0].shape
    for i, t in enumerate(tensors):
        if t.shape != shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and "
                f"{list(t.shape)} at entry {i}"
            )
    ndim = len(shape)
    dim = normalize_dim(dim, ndim + 1)
    if dim == ndim:
        parts = [t[..., None] for t in tensors]
        return joined_in_order(concatenated(parts, dim), parts)
    # Joined along `dim`, that dimension holds them one after the other: it only has to be split.
    joined = joined_in_order(concatenated(tensors, dim), tensors)
    return joined.reshape((*shape[:dim], len(tensors), *shape[dim:]))


@stack.short_path
def _(tensors: Any = None, dim: int = 0, *, out: Any = None, axis: Any = None) -> Tensor:
    if axis is not None:
        dim = axis
    if out is None and dim == 0 and not active.modes:
        arrays = plain_arrays(tensors)
        if arrays and (arrays[0].ndim < 4 or not suggests_channels_last(arrays[0])):
            try:
                array = _array(arrays) if arrays[0].size * len(arrays) <= LARGE else (
                    _stacked(arrays))
            except Exception:  # of unequal shapes
                array = None
            if array is not None and array.dtype is arrays[0].dtype:
                return small_tensors.wrap(array)
    if isinstance(tensors, (tuple, list)) and not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    if out is None:
        return slow.call(stack, (tensors, dim))
    return _write_joined(slow.call(stack, (tensors, dim)), out)


def _stacked(arrays: Any) -> Any:
    """Large arrays along a new first dimension."""
    shape = arrays[0].shape
    if any(a.shape != shape for a in arrays):
        raise ValueError("unequal shapes")
    return concatenated([a[None] for a in arrays], 0)


@stack.derivative("tensors")
def _(grad, dim):
    return grad.unbind(dim)


def _tensors(function: str, tensors: Any) -> Any:
    if not isinstance(tensors, (tuple, list)):
        raise TypeError(
            f"{function}(): argument 'tensors' (position 1) must be tuple of Tensors, not "
            f"{type(tensors).__name__}"
        )
    if not tensors:
        raise RuntimeError(f"{function} expects a non-empty TensorList")
    return tensors


def _joined(tensors: Any, dim: int, out: Any) -> Tensor:
    return cat(tensors, dim) if out is None else cat(tensors, dim, out=out)


@composite(offers=True)
def hstack(tensors: Any, *, out: Any = None) -> Tensor:
    """Joins tensors along their second dimension; vectors along their only one.

    Example:
        >>> import taper as torch
        >>> torch.hstack((torch.tensor([1, 2]), torch.tensor([3])))
        tensor([1, 2, 3])
    """
    tensors = [atleast_1d(t) for t in _tensors("hstack", tensors)]
    return _joined(tensors, 0 if tensors[0]._array.ndim == 1 else 1, out)


@composite(aliases=("row_stack",), offers=True)
def vstack(tensors: Any, *, out: Any = None) -> Tensor:
    """Joins tensors along their first dimension; vectors become rows.

    Example:
        >>> import taper as torch
        >>> torch.vstack((torch.tensor([1, 2]), torch.tensor([3, 4])))
        tensor([[1, 2],
                [3, 4]])
    """
    return _joined([atleast_2d(t) for t in _tensors("vstack", tensors)], 0, out)


@composite(offers=True)
def dstack(tensors: Any, *, out: Any = None) -> Tensor:
    """Joins tensors along their third dimension.

    Shape: (n) → (1, n, k) from k tensors; (n, m) → (n, m, k)
    Example:
        >>> import taper as torch
        >>> torch.dstack((torch.tensor([1, 2]), torch.tensor([3, 4])))
        tensor([[[1, 3],
                 [2, 4]]])
    """
    return _joined([atleast_3d(t) for t in _tensors("dstack", tensors)], 2, out)


@composite(offers=True)
def column_stack(tensors: Any, *, out: Any = None) -> Tensor:
    """Joins tensors along their second dimension; vectors become columns.

    Example:
        >>> import taper as torch
        >>> torch.column_stack((torch.tensor([1, 2]), torch.tensor([3, 4])))
        tensor([[1, 3],
                [2, 4]])
    """
    columns = [
        t.reshape(-1, 1) if t._array.ndim <= 1 else t for t in _tensors("column_stack", tensors)
    ]
    return hstack.forward(columns, out=out)


def _each(function: Any, tensors: tuple[Any, ...]) -> Any:
    if len(tensors) == 1 and isinstance(tensors[0], Tensor):
        return function(tensors[0])
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    for t in tensors:
        if not isinstance(t, Tensor):
            raise TypeError(
                "atleast(): argument 'tensors' must be Tensors, not " + type(t).__name__
            )
    return tuple([function(t) for t in tensors])


@composite(offers=True)
def atleast_1d(*tensors: Any) -> Any:
    """Gives 0-d tensors one dimension; takes one tensor or several.

    Example:
        >>> import taper as torch
        >>> torch.atleast_1d(torch.tensor(1.), torch.tensor([2.]))
        (tensor([1.]), tensor([2.]))
    """
    return _each(lambda t: t if t._array.ndim else t.reshape(1), tensors)


@composite(offers=True)
def atleast_2d(*tensors: Any) -> Any:
    """Gives tensors of fewer dimensions two; takes one tensor or several.

    Shape: () → (1, 1); (n) → (1, n)
    Example:
        >>> import taper as torch
        >>> torch.atleast_2d(torch.tensor([1., 2.]))
        tensor([[1., 2.]])
    """

    def convert(t: Any) -> Any:
        ndim = t._array.ndim
        return t if ndim >= 2 else t.unsqueeze(0) if ndim else t.reshape(1, 1)

    return _each(convert, tensors)


@composite(offers=True)
def atleast_3d(*tensors: Any) -> Any:
    """Gives tensors of fewer dimensions three; takes one tensor or several.

    Shape: () → (1, 1, 1); (n) → (1, n, 1); (n, m) → (n, m, 1)
    Example:
        >>> import taper as torch
        >>> torch.atleast_3d(torch.tensor([1., 2.])).shape
        torch.Size([1, 2, 1])
    """

    def convert(t: Any) -> Any:
        ndim = t._array.ndim
        if ndim >= 3:
            return t
        if ndim == 2:
            return t.unsqueeze(-1)
        return t.unsqueeze(0).unsqueeze(-1) if ndim else t.reshape(1, 1, 1)

    return _each(convert, tensors)


@operator("_block_diag", hidden=True, promote="result_type", node="BlockDiagBackward0")
def placed_on_diagonal(tensors: Sequence[Tensor]) -> Tensor:
    shapes = [_matrix_shape(t.shape) for t in tensors]
    rows, columns = (sum([s[i] for s in shapes]) for i in (0, 1))
    result = in_rows(np.zeros_like(tensors[0], shape=(rows, columns)))
    row = column = 0
    for t, (height, width) in zip(tensors, shapes, strict=True):
        result[row : row + height, column : column + width] = t.reshape(height, width)
        row, column = row + height, column + width
    return result


def _matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    return (1, 1) if not shape else (1, shape[0]) if len(shape) == 1 else shape


@placed_on_diagonal.derivative("tensors")
def _(grad, tensors_shape):
    grads = []
    row = column = 0
    for shape in tensors_shape:
        height, width = _matrix_shape(shape)
        part = grad[row : row + height, column : column + width]
        grads.append(part.reshape(shape))
        row, column = row + height, column + width
    return grads


@composite(offers=True)
def block_diag(*tensors: Any) -> Tensor:
    """Places matrices along the diagonal of a matrix of zeros.

    Example:
        >>> import taper as torch
        >>> torch.block_diag(torch.tensor([[1, 2]]), torch.tensor(3))
        tensor([[1, 2, 0],
                [0, 0, 3]])
    """
    if not tensors:
        tensors = (Tensor(1, 0),)
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    for i, t in enumerate(tensors):
        if t._array.ndim > 2:
            raise RuntimeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has "
                f"{t._array.ndim} dimensions"
            )
    return placed_on_diagonal(tensors)
