"""What functions that make tensors share: dtype, device, layout, requires_grad, memory formats."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.arrays.levels import is_batched
from taper.arrays.symbolic_shape import array_of
from taper.core import device as devices
from taper.core.device import as_device
from taper.core.dtype import as_dtype, dtype, get_default_dtype
from taper.core.promotion import scalar_type_name
from taper.core.settings import settings
from taper.core.state import is_inference
from taper.core.tensor import LEAF, Tensor, wrap
from taper.kernels.memory_order import suggests_channels_last
from taper.kernels.native_twin import with_native
from taper.ops.inference_call import mark
from taper.ops.native_forward import LARGE
from taper.ops.slow import resize_out

__all__ = [
    "LARGE_BYTES", "check_out_dtype", "copy_in_format", "copy_in_order", "fill", "finish",
    "has_format", "has_values", "in_large_memory", "large_zeros", "preserved_copy",
    "read_options", "suggested_format", "uninitialized", "write_out",
]

ndarray = np.ndarray


def read_options(
    function: str, dtype: Any, device: Any, layout: Any = None, pin_memory: bool = False
) -> tuple[Any, Any]:
    """The dtype (None stays None) and device that a creation function was asked for."""
    if layout is not None and layout is not devices.strided:
        if type(layout) is not devices.layout:
            raise TypeError(
                f"{function}(): argument 'layout' must be torch.layout, not "
                f"{type(layout).__name__}"
            )
        raise NotImplementedError(
            f"{function}(layout={layout!r}) is not supported: make the tensor strided, then call "
            "its to_sparse()"
        )
    if pin_memory:
        raise RuntimeError("Cannot access accelerator device when none is available.")
    return as_dtype(dtype, function), as_device(device)


def check_dtype(function: str, value: Any) -> dtype:
    """The default dtype for None, a dtype as it is; TypeError for anything else."""
    found = as_dtype(value, function)
    return get_default_dtype() if found is None else found


def write_out(out: Tensor, array: Any, wanted: dtype | None = None) -> Tensor:
    """Writes what a creation function made into its `out=` tensor, casting and resizing.

    Args: wanted: the dtype that was asked for, which must be that of `out`.
    """
    check_out_dtype(out, wanted)
    if out._array.shape != array.shape:
        resize_out(out, array.shape)
    out.detach().copy_(wrap(array))
    return out


def check_out_dtype(out: Tensor, wanted: dtype | None) -> None:
    """Raises unless `out=` has the dtype that was asked for beside it."""
    if wanted is not None and wanted is not out.dtype:
        raise RuntimeError(
            f"dtype {scalar_type_name(wanted)} does not match dtype of out parameter "
            f"({scalar_type_name(out.dtype)})"
        )


def finish(array: Any, requires_grad: Any = False) -> Tensor:
    """A new tensor as creation functions return it."""
    tensor = wrap(array)
    if requires_grad:
        if array.dtype.kind in "biu":
            raise RuntimeError(
                "Only Tensors of floating point and complex dtype can require gradients"
            )
        tensor._edge = LEAF
    if is_inference():
        mark(tensor)
    return tensor


def uninitialized(shape: tuple[int, ...], dtype: dtype, device: Any) -> Any:
    """An array of that shape on that device, its values left as they are in memory."""
    if device is devices.CPU or device.type == "cpu":
        try:
            array = array_of(np.empty, shape, dtype.numpy_dtype)
            if type(array) is not np.ndarray or array.nbytes < LARGE_BYTES:
                return array
            return in_large_memory(array)
        except (MemoryError, ValueError) as error:
            raise RuntimeError(
                f"[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you "
                f"tried to allocate a tensor of shape {list(shape)}. Error: {error}"
            ) from None
    from taper.arrays.shape import ShapeArray

    return ShapeArray(shape, dtype.numpy_dtype)


def has_values(array: Any) -> bool:
    """Whether a new array can be filled; those of device="meta" have no values."""
    return type(array) is np.ndarray or hasattr(array, "graph")  # or it is being recorded


LARGE_BYTES = 1 << 18  # from which on it matters how an array lies in memory


def in_large_memory(array: Any) -> Any:
    """An array like this one, whose memory nobody has touched, as large results have it."""
    from taper.runtime.large_arrays import new_array

    return new_array(array.shape, array.dtype, array.size)


_MOST_AT_ONCE = 1 << 26  # bytes; larger zeros come page by page, as they are touched


def fill(array: Any, value: Any) -> None:
    """``array.fill(value)``; large arrays on all cores."""
    if type(array) is not np.ndarray or array.nbytes < LARGE_BYTES or settings.native == "off":
        array.fill(value)
        return
    from taper.kernels import native_fill

    native_fill.fill(array, value)


def large_zeros(array: Any) -> Any:
    """Zeros like these, which the system has promised, in memory as large results have it."""
    if array.nbytes > _MOST_AT_ONCE or settings.native == "off":
        return array
    made = in_large_memory(array)
    fill(made, 0)
    return made


# -- memory formats --------------------------------------------------------------------------------


def dense_order(array: Any) -> list[int]:
    """The dimensions from outermost to innermost in memory, as PyTorch orders them: by stride,
    keeping the given order where strides are 0 or equal."""
    shape, strides = array.shape, array.strides
    order = list(range(len(shape) - 1, -1, -1))  # innermost first
    for i in range(1, len(order)):
        at = i
        for j in range(i - 1, -1, -1):
            inner, outer = order[j], order[at]
            a, b = strides[inner], strides[outer]
            if a == 0 or b == 0 or shape[inner] == 1 or shape[outer] == 1:
                continue
            if a < b:
                break
            if a > b or shape[inner] > shape[outer]:
                order[j], order[at] = outer, inner
                at = j
            else:
                break
    return order[::-1]


def dense_like(array: Any, dtype: Any, order: list[int] | None = None) -> Any:
    """An uninitialised dense array whose dimensions lie in memory as those of `array` do."""
    if order is None:
        if array.flags.c_contiguous or 0 in array.shape:
            return np.empty(array.shape, dtype)
        order = dense_order(array)
    shape = array.shape
    return _put_back(np.empty([shape[d] for d in order], dtype), order)


def filled_like(array: Any, value: Any, dtype: Any, order: list[int] | None = None) -> Any:
    """An array of one number, like one that isn't NumPy's: `dense_like` without data, or recorded.

    Those of sparse arrays and of samples have no order.
    """
    if array.layout is not devices.strided or is_batched(array):
        return np.full_like(array, value, dtype)
    order = dense_order(array) if order is None else order
    return _put_back(np.full_like(_taken_in(array, order), value, dtype, "C"), order)


def _taken_in(array: Any, order: list[int]) -> Any:
    """The array with its dimensions in this order."""
    return array if order == list(range(array.ndim)) else array.transpose(order)


def _put_back(array: Any, order: list[int]) -> Any:
    """The array whose dimensions were taken in this order, as they were before."""
    if order == list(range(array.ndim)):
        return array
    return array.transpose(sorted(range(array.ndim), key=order.__getitem__))


@with_native("taper.kernels.native_copies", is_large=lambda array, dtype=None: array.size > LARGE)
def preserved_copy(array: Any, dtype: Any = None) -> Any:
    """A dense copy (in `dtype`) that keeps the order of dimensions in memory."""
    if type(array) is ndarray and not array.flags.forc and 0 in array.strides:
        made = dense_like(array, dtype or array.dtype)
        made[...] = array
        return made
    if type(array) is not ndarray and array.layout is devices.strided and not is_batched(array):
        return _laid_out(array, dense_order(array), dtype)
    if dtype is None:
        return array.copy("K") if type(array) is ndarray else array.copy()
    return array.astype(dtype)


def _laid_out(array: Any, order: list[int], dtype: Any) -> Any:
    """A dense copy of an array without data, or of a recorded one, in this order of dimensions."""
    moved = _taken_in(array, order)
    return _put_back(moved.copy() if dtype is None else moved.astype(dtype, "C"), order)


@with_native("taper.kernels.native_copies", is_large=lambda array, dtype=None: array.size > LARGE)
def copy_in_order(array: Any, dtype: Any = None) -> Any:
    """A copy in C order (in `dtype`)."""
    return array.copy("C") if dtype is None else array.astype(dtype, "C")


_LAST = {"channels_last": 4, "channels_last_3d": 5}


def order_of_format(memory_format: Any, ndim: int) -> list[int] | None:
    """The order of dimensions in memory that a format asks for; None for contiguous."""
    wanted = _LAST.get(memory_format.name)
    if wanted is None:
        return None
    if ndim != wanted:
        raise RuntimeError(f"required rank {wanted} tensor to use {memory_format.name} format")
    return [0, *range(2, ndim), 1]


def order_like(array: Any, memory_format: Any) -> list[int] | None:
    """The order of dimensions that is asked for; None for that of the array."""
    if memory_format is None or memory_format.name == "preserve_format":
        return None
    return order_of_format(memory_format, array.ndim) or list(range(array.ndim))


def copy_in_format(array: Any, memory_format: Any, dtype: Any = None) -> Any:
    """A dense copy laid out as `memory_format` says; None means to preserve the layout."""
    if memory_format is None or memory_format is devices.preserve_format:
        return preserved_copy(array, dtype)
    order = order_of_format(memory_format, array.ndim)
    if type(array) is not ndarray:
        if order is not None and array.layout is devices.strided and not is_batched(array):
            return _laid_out(array, order, dtype)
        return array.copy() if dtype is None else array.astype(dtype)
    if order is None:
        return copy_in_order(array, dtype)
    made = dense_like(array, dtype or array.dtype, order)
    made[...] = array
    return made


def has_format(array: Any, memory_format: Any) -> bool:
    """Whether the elements lie in memory as the format says, without gaps."""
    if memory_format is None or memory_format.name not in _LAST:
        return _is_c_contiguous(array)
    order = [0, *range(2, array.ndim), 1]
    return len(order) == _LAST[memory_format.name] and _is_c_contiguous(array.transpose(order))


def suggested_format(array: Any) -> Any:
    """The format that PyTorch takes an array's strides for; where dimensions have one element,
    several may fit."""
    if suggests_channels_last(array):
        return devices.channels_last if array.ndim == 4 else devices.channels_last_3d
    return devices.contiguous_format


def _is_c_contiguous(array: Any) -> bool:
    if type(array) is ndarray:
        return array.flags.c_contiguous
    expected = array.dtype.itemsize
    for n, s in zip(reversed(array.shape), reversed(array.strides), strict=True):
        if n != 1 and s != expected:
            return 0 in array.shape
        expected *= n
    return True
