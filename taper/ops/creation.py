"""Tensors from sizes and numbers: zeros, ones, full, empty, eye and relatives.

Evenly spaced values are in ranges.py, tensors of existing data in tensor_data.py, random ones in
random.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.arrays.symbolic_shape import array_of
from taper.core.dtype import (
    REDUCED_FLOATS,
    _default,
    dtype,
    get_default_dtype,
)
from taper.core.promotion import dtype_of_number, fitting_number, number_as
from taper.core.state import active
from taper.core.tensor import Tensor, wrap
from taper.ops import slow
from taper.ops.declare import composite
from taper.ops.options import (
    LARGE_BYTES,
    check_out_dtype,
    dense_like,
    fill,
    filled_like,
    finish,
    has_values,
    in_large_memory,
    large_zeros,
    order_like,
    order_of_format,
    read_options,
    uninitialized,
)
from taper.ops.ranges import finish_array
from taper.ops.signature import Number
from taper.ops.sizes import size_arguments
from taper.ops.sparse_creation import empty_tensor

_new = object.__new__
_zeros, _empty = np.zeros, np.empty


# -- one value everywhere --------------------------------------------------------------------------


def _made(
    function: str, size: tuple[int, ...], value: Any, out: Any, dtype: Any, layout: Any,
    device: Any, pin_memory: bool, requires_grad: bool,
) -> Tensor:
    """The unusual ways of making a tensor of one value (None: uninitialised)."""
    if out is None and not value and layout is not None and layout.name[:6] == "sparse":
        return empty_tensor(size, dtype, layout, device, requires_grad)
    wanted, where = read_options(function, dtype, device, layout, pin_memory)
    if out is not None:
        return _into(function, out, size, value, wanted)
    array = uninitialized(size, wanted or get_default_dtype(), where)
    if value is not None and has_values(array):
        fill(array, value)
    return finish(array, requires_grad)


def _into(function: str, out: Tensor, size: tuple[int, ...], value: Any, wanted: Any) -> Tensor:
    check_out_dtype(out, wanted)
    if out._array.shape != size:
        slow.resize_out(out, size)
    if value is not None:
        out.detach().fill_(value)
    return out


@composite()
def zeros(
    *sizes: Any, size: Any = None, out: Any = None, dtype: Any = None, layout: Any = None,
    device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:
    """Makes a tensor filled with 0.

    Args:     sizes (ints, or one tuple)    dtype: default the default dtype
    Example:
        >>> import taper as torch
        >>> torch.zeros(2, 3)
        tensor([[0., 0., 0.],
                [0., 0., 0.]])
    """
    if device is out is layout is None and sizes and type(sizes[0]) is not bool and (
        not requires_grad and not active.modes
    ):
        try:
            array = _zeros(sizes, (_default[0] if dtype is None else dtype).numpy_dtype)
        except Exception:
            pass
        else:
            tensor = _new(Tensor)
            tensor._array = array if array.nbytes < LARGE_BYTES else large_zeros(array)
            tensor._edge = tensor._storage = tensor._base = tensor._grad = None
            return tensor
    shape = size_arguments("zeros", sizes, size)
    if out is device is layout is None and not active.modes:
        array = _zeros(shape, (read_options("zeros", dtype, None)[0] or _default[0]).numpy_dtype)
        return finish(array if array.nbytes < LARGE_BYTES else large_zeros(array), requires_grad)
    return _made("zeros", shape, 0, out, dtype, layout, device, pin_memory, requires_grad)


@composite()
def ones(
    *sizes: Any, size: Any = None, out: Any = None, dtype: Any = None, layout: Any = None,
    device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:
    """Makes a tensor filled with 1.

    Args:     sizes (ints, or one tuple)    dtype: default the default dtype
    Example:
        >>> import taper as torch
        >>> torch.ones(2, dtype=torch.int64)
        tensor([1, 1])
    """
    if device is out is layout is None and sizes and type(sizes[0]) is not bool and (
        not requires_grad and not active.modes
    ):
        try:
            array = _empty(sizes, (_default[0] if dtype is None else dtype).numpy_dtype)
        except Exception:
            pass
        else:
            if array.nbytes >= LARGE_BYTES:
                array = in_large_memory(array)
                fill(array, 1)
            else:
                array.fill(1)
            return wrap(array)
    shape = size_arguments("ones", sizes, size)
    return _made("ones", shape, 1, out, dtype, layout, device, pin_memory, requires_grad)


@composite()
def empty(
    *sizes: Any, size: Any = None, out: Any = None, dtype: Any = None, layout: Any = None,
    device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False, memory_format: Any = None,
) -> Tensor:
    """Makes a tensor whose values are whatever was in memory.

    Args: sizes (ints, or one tuple)    dtype: default the default dtype
    Example:
        >>> import taper as torch
        >>> torch.empty(2, 3).shape
        torch.Size([2, 3])
    """
    if device is out is layout is memory_format is None and sizes and (
        type(sizes[0]) is not bool and not requires_grad and not active.modes
    ):
        try:
            made = _empty(sizes, (_default[0] if dtype is None else dtype).numpy_dtype)
            return wrap(made if made.nbytes < LARGE_BYTES else in_large_memory(made))
        except Exception:
            pass
    shape = size_arguments("empty", sizes, size)
    made = _made("empty", shape, None, out, dtype, layout, device, pin_memory, requires_grad)
    if memory_format is not None:
        order = order_of_format(memory_format, len(shape))
        if order is not None:
            made._array = dense_like(made._array, made._array.dtype, order)
    return made


def _fill_dtype(value: Any) -> dtype:
    return value.dtype if isinstance(value, Tensor) else dtype_of_number(value)


@composite()
def full(
    size: Any, fill_value: Number, *, out: Any = None, dtype: Any = None, layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:
    """Makes a tensor filled with `fill_value`.

    Dtype: that of the value: bool, int64, the default dtype, or its complex counterpart.
    Example:
        >>> import taper as torch
        >>> torch.full((2,), 7)
        tensor([7, 7])
    """
    if not isinstance(size, (tuple, list)):
        raise TypeError(
            f"full(): argument 'size' (position 1) must be tuple of ints, not "
            f"{type(size).__name__}"
        )
    shape = size_arguments("full", (size,))
    if dtype is None and out is None:
        dtype = _fill_dtype(fill_value)
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    made = _made("full", shape, None, out, dtype, layout, device, pin_memory, requires_grad)
    if has_values(made._array):
        fill(made._array, _element(fill_value, made.dtype))
    return made


def _element(value: Any, target: Any) -> Any:
    """What to fill with. Half precision overflows to infinity here; `fill_` refuses to."""
    return number_as(value if target in REDUCED_FLOATS else fitting_number(value, target), target)


# -- like another tensor -------------------------------------------------------------------------


def _like(
    function: str, input: Any, value: Any, dtype: Any, layout: Any, device: Any,
    pin_memory: bool, requires_grad: bool, memory_format: Any,
) -> Tensor:
    if not isinstance(input, Tensor):
        raise TypeError(
            f"{function}(): argument 'input' (position 1) must be Tensor, not "
            f"{type(input).__name__}"
        )
    a = input._array
    wanted, where = read_options(function, dtype, device, layout, pin_memory)
    target = wanted or input.dtype
    order = order_like(a, memory_format)
    if type(a) is np.ndarray and (device is None or where.type == "cpu"):
        array = dense_like(a, target.numpy_dtype, order)
        if value is not None:
            array.fill(_element(value, target))
    elif type(a) is not np.ndarray and (device is None or where == a.device):
        array = filled_like(a, 0 if value is None else value, target.numpy_dtype, order)
    else:
        array = uninitialized(a.shape, target, where)
        if value is not None and has_values(array):
            array.fill(value)
    return finish(array, requires_grad)


@composite()
def zeros_like(
    input: Tensor, *, dtype: Any = None, layout: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False, memory_format: Any = None,
) -> Tensor:
    """Makes a tensor of zeros with the shape, dtype and layout in memory of `input`.

    Example:
        >>> import taper as torch
        >>> torch.zeros_like(torch.tensor([1, 2]))
        tensor([0, 0])
    """
    if dtype is None and device is None and type(input) is Tensor and not active.modes:
        a = input._array
        if type(a) is np.ndarray and a.flags.c_contiguous and memory_format is None and (
            layout is None and not requires_grad
        ):
            array = _zeros(a.shape, a.dtype)
            return wrap(array if array.nbytes < LARGE_BYTES else large_zeros(array))
    return _like("zeros_like", input, 0, dtype, layout, device, pin_memory, requires_grad,
                 memory_format)


@composite()
def ones_like(
    input: Tensor, *, dtype: Any = None, layout: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False, memory_format: Any = None,
) -> Tensor:
    """Makes a tensor of ones with the shape, dtype and layout in memory of `input`.

    Example:
        >>> import taper as torch
        >>> torch.ones_like(torch.tensor([[3., 4.]]))
        tensor([[1., 1.]])
    """
    return _like("ones_like", input, 1, dtype, layout, device, pin_memory, requires_grad,
                 memory_format)


@composite()
def empty_like(
    input: Tensor, *, dtype: Any = None, layout: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False, memory_format: Any = None,
) -> Tensor:
    """Makes an uninitialised tensor with the shape, dtype and layout in memory of `input`.

    Example:
        >>> import taper as torch
        >>> torch.empty_like(torch.tensor([[3, 4]])).shape
        torch.Size([1, 2])
    """
    return _like("empty_like", input, None, dtype, layout, device, pin_memory, requires_grad,
                 memory_format)


@composite()
def full_like(
    input: Tensor, fill_value: Number, *, dtype: Any = None, layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Makes a tensor filled with `fill_value`, with the shape, dtype and layout of `input`.

    Example:
        >>> import taper as torch
        >>> torch.full_like(torch.tensor([1., 2.]), 7)
        tensor([7., 7.])
    """
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    return _like("full_like", input, fill_value, dtype, layout, device, pin_memory,
                 requires_grad, memory_format)


# -- the identity --------------------------------------------------------------------------------


@composite()
def eye(
    n: int, m: int | None = None, *, out: Any = None, dtype: Any = None, layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:
    """Makes a matrix with ones on the diagonal and zeros elsewhere.

    Example:
        >>> import taper as torch
        >>> torch.eye(2)
        tensor([[1., 0.],
                [0., 1.]])
    """
    m = n if m is None else m
    for name, value in (("n", n), ("m", m)):
        if value < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {value}")
    wanted = read_options("eye", dtype, None, layout, pin_memory)[0]
    if out is not None:
        check_out_dtype(out, wanted)
    wanted = wanted or (out.dtype if out is not None else get_default_dtype())
    if n * m >= 2**60:
        raise RuntimeError("numel: integer multiplication overflow")
    array = array_of(np.eye, n, m, 0, wanted.numpy_dtype)
    return finish_array("eye", array, out, wanted, device, requires_grad)


