"""Filling, placing and picking elements by a mask, and finding those that are not zero."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.arrays.symbolic_shape import broadcast_shapes
from taper.core.dtype import from_numpy_dtype
from taper.core.errors import broadcast_error
from taper.core.promotion import cpp_type_name, scalar_type_name
from taper.core.tensor import Tensor
from taper.kernels.memory_order import in_rows
from taper.kernels.selection import elements_where, places_where
from taper.ops.declare import OPERATORS, composite, operator
from taper.ops.out_argument import set_apart
from taper.ops.reduction import sum_to
from taper.ops.scatter import as_element

_BOOL = np.dtype("bool")


def _require_mask(mask: Any) -> None:
    if mask.dtype is not _BOOL:
        raise RuntimeError(
            "masked_fill_ only supports boolean masks, but got mask with dtype "
            f"{cpp_type_name(from_numpy_dtype(mask.dtype))}"
        )


def _fill(input: Any, mask: Any, value: Any) -> Any:
    _require_mask(mask)
    if mask.shape == input.shape and type(input) is np.ndarray and input.flags.c_contiguous:
        result = input.copy()
        np.putmask(result, mask, value)
        return result
    _require_broadcastable(mask, input)
    return in_rows(np.where(mask, as_element(value, input.dtype), input))


def _require_broadcastable(mask: Any, input: Any) -> None:
    """PyTorch broadcasts the input against the mask, and says so in this order."""
    error = broadcast_error((mask.shape, input.shape))
    if error is not None:
        raise error


@operator("masked_fill", hidden=True, native="native_selection.masked_fill")
def masked_fill_number(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`masked_fill` with a number."""
    if type(value) is not float or input.dtype.kind != "f":
        value = as_element(value, input.dtype)
    return _fill(input, mask, value)


@masked_fill_number.derivative("input")
def _(grad, mask, input_shape):
    return sum_to(grad.masked_fill(mask, 0), input_shape)


@operator(
    "masked_fill", hidden=True, node="MaskedFillBackward1", native="native_selection.masked_fill",
)
def masked_fill_tensor(input: Tensor, mask: Tensor, value: Tensor) -> Tensor:
    """`masked_fill` with a 0-d tensor."""
    if value.ndim:
        raise RuntimeError(
            "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
            f"{value.ndim} dimension(s)."
        )
    if value.dtype != input.dtype:
        value = as_element(value.item(), input.dtype)
    return _fill(input, mask, value)


@masked_fill_tensor.derivative("input")
def _(grad, mask, input_shape):
    return sum_to(grad.masked_fill(mask, 0), input_shape)


@masked_fill_tensor.derivative("value")
def _(grad, mask):
    return (grad * mask).sum()


@composite(method=True, inplace=True)
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Replaces the elements where `mask` is True by a number or 0-d tensor.

    Shape:   `mask` and `input` broadcast together
    Example:
        >>> import taper as torch
        >>> torch.tensor([1., 2.]).masked_fill(torch.tensor([True, False]), 0)
        tensor([0., 2.])
    """
    if isinstance(value, Tensor):
        return masked_fill_tensor.function(input, mask, value)
    if isinstance(value, (int, float, complex, np.number, np.bool_)):
        return masked_fill_number.function(input, mask, value)
    raise TypeError(
        "masked_fill() received an invalid combination of arguments - got (Tensor, "
        f"{type(value).__name__}), but expected one of:\n * (Tensor mask, Tensor value)\n"
        " * (Tensor mask, Number value)\n"
    )


@operator(method=True, inplace=True, also={"tensor": "source"})
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """Replaces the elements where `mask` is True by the elements of `source`, in order.

    Example:
        >>> import taper as torch
        >>> torch.zeros(3).masked_scatter(torch.tensor([True, False, True]), torch.tensor([5., 6.]))
        tensor([5., 0., 6.])
    """
    if mask.dtype is not _BOOL:
        raise RuntimeError(
            "masked_scatter_ only supports boolean masks, but got mask with dtype "
            f"{cpp_type_name(from_numpy_dtype(mask.dtype))}"
        )
    if input.dtype != source.dtype:
        raise RuntimeError(
            "masked_scatter: expected self and source to have same dtypes but got"
            f"{scalar_type_name(from_numpy_dtype(input.dtype))} and "
            f"{scalar_type_name(from_numpy_dtype(source.dtype))}"
        )
    if mask.shape != input.shape:
        mask, input = np.broadcast_arrays(mask, input)
    count = np.count_nonzero(mask)
    if source.size < count:
        raise RuntimeError("Number of elements of source < number of ones in mask")
    result = input.copy()
    result[mask] = source.ravel()[:count]
    return result


@masked_scatter.shapes
def _(input, mask):
    return broadcast_shapes(input.shape, mask.shape), input.dtype


@masked_scatter.derivative("input")
def _(grad, mask, input_shape):
    return sum_to(grad.masked_fill(mask, 0), input_shape)


@masked_scatter.derivative("source")
def _(grad, mask, source_shape):
    picked = grad.masked_select(mask.expand(grad.shape))
    count = math.prod(source_shape)
    if picked.numel() < count:
        picked = OPERATORS["cat"]([picked, grad.new_zeros(count - picked.numel())])
    return picked.reshape(source_shape)


@operator(method=True, out=True, with_out=set_apart)
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """Picks the elements where `mask` is True, as a vector.

    Shape:   `mask` and `input` broadcast together
    Example:
        >>> import taper as torch
        >>> torch.masked_select(torch.tensor([1, 2, 3]), torch.tensor([True, False, True]))
        tensor([1, 3])
    """
    if mask.dtype is not _BOOL:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    if mask.shape != input.shape:
        _require_broadcastable(mask, input)
        input, mask = np.broadcast_arrays(input, mask)
    return elements_where(input, mask) if type(input) is np.ndarray else input[mask]


@masked_select.derivative("input")
def _(grad, input_shape, mask):
    shape = broadcast_shapes(tuple(input_shape), tuple(mask.shape))
    return sum_to(grad.new_zeros(shape).masked_scatter(mask, grad), tuple(input_shape))


# -- nonzero ------------------------------------------------------------------


@operator("nonzero", hidden=True, out=True, differentiable=False)
def nonzero_rows(input: Tensor) -> Tensor:
    """`nonzero` as one tensor."""
    return _rows(input)


def _rows(input: Any) -> Any:
    if input.ndim == 0:
        return np.zeros_like(input, shape=(int(input != 0), 0), dtype=np.int64)
    if input.ndim == 1:
        if type(input) is not np.ndarray:
            return np.nonzero(input)[0].reshape(-1, 1)
        return places_where(input if input.dtype is _BOOL else input != 0).reshape(-1, 1)
    return np.array(np.nonzero(input)).T  # column-major, as PyTorch's


@operator("nonzero", hidden=True, differentiable=False, outputs=0)
def nonzero_columns(input: Tensor) -> Tensor:
    """`nonzero` as one tensor per dimension."""
    found = np.nonzero(input if input.ndim else input.reshape(1))
    return found if len(found) == 1 else tuple(np.array(found))


@composite(method=True)
def nonzero(input: Tensor, *, out: Any = None, as_tuple: bool = False) -> Any:
    """The indices of the elements that are not zero, in order.

    Args:    as_tuple (bool): one vector per dimension instead of one row per element
    Example:
        >>> import taper as torch
        >>> torch.nonzero(torch.tensor([0, 3, 4]))
        tensor([[1],
                [2]])
    """
    if out is not None and not isinstance(out, Tensor):
        raise TypeError(
            f"nonzero(): argument 'out' must be Tensor, not {type(out).__name__}"
        )
    if as_tuple:
        return nonzero_columns.function(input)
    return nonzero_rows.function(input, out=out)


@operator(method=True, differentiable=False)
def argwhere(input: Tensor) -> Tensor:
    """The indices of the elements that are not zero, one row each.

    Shape:    (*) of n dimensions → (matches, n)
    Example:
        >>> import taper as torch
        >>> torch.argwhere(torch.tensor([0, 3, 4]))
        tensor([[1],
                [2]])
    """
    return _rows(input)


@operator(method=True, out=True, differentiable=False)
def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """The first `size` rows of `nonzero`, filled up with `fill_value`.

    Example:
        >>> import taper as torch
        >>> torch.nonzero_static(torch.tensor([0, 3]), size=2)
        tensor([[ 1],
                [-1]])
    """
    if size < 0:
        raise RuntimeError("nonzero_static: 'size' must be an non-negative integer")
    rows = _rows(input)[:size]
    result = np.full_like(rows, fill_value, order="C", shape=(size, input.ndim))
    result[: len(rows)] = rows
    return result


@nonzero_static.shapes
def _(input, size):
    return (size, input.ndim), np.dtype(np.int64)
