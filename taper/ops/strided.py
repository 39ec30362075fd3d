"""Views by strides: as_strided, unfold, other dtypes; and other memory for a tensor.

Diagonals are in diagonal.py.
"""

from __future__ import annotations

import math
import sys
import warnings
from typing import Any

import numpy as np

from taper.autograd.node import rename_in_place
from taper.autograd.tangents import take_tangents
from taper.autograd.views import Geometry, hand_on_history
from taper.core.dtype import as_dtype
from taper.core.errors import normalize_dim
from taper.core.hidden_facts import ask
from taper.core.promotion import cpp_type_name, scalar_type_name
from taper.core.state import is_recording
from taper.core.storage import (
    InferenceStorage,
    UntypedStorage,
    address_of,
    dense_memory,
    strided_view,
)
from taper.core.tensor import Tensor, contiguous_strides
from taper.ops import slow
from taper.ops.declare import composite, method, operator
from taper.ops.options import order_of_format, preserved_copy
from taper.ops.sizes import as_sizes
from taper.ops.view_history import scatter_into_base

ndarray = np.ndarray
_ALL = slice(None)


# -- as_strided ----------------------------------------------------------------------------------


@operator("_as_strided", view=True, node="AsStridedBackward0", hidden=True)
def strided(input: Tensor, size: Any, stride: Any, offset: int, own_stride: Any) -> Tensor:
    """A window on the input's memory; `offset` counts from its first element."""
    item = input.dtype.itemsize
    if type(input) is not ndarray:
        return input.as_strided(size, tuple([s * item for s in stride]), offset * item)
    return strided_view(input, size, tuple([s * item for s in stride]), offset * item)


@strided.derivative("input")
def _(grad, input_shape, size, stride, offset, own_stride):
    return scatter_into_base(grad, Geometry(input_shape, own_stride, size, stride, offset))


strided.name = "as_strided"


def checked_window(
    input: Tensor, size: Any, stride: Any, storage_offset: Any, default: int | None = None
) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Size, stride and the offset from the input's first element; raises if out of bounds."""
    size, stride = as_sizes("as_strided", size), as_sizes("as_strided", stride, "stride")
    if len(size) != len(stride):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(s < 0 for s in stride):
        raise RuntimeError(
            "as_strided: Negative strides are not supported at the moment, got strides: "
            f"{list(stride)}"
        )
    if any(n < 0 for n in size):
        raise RuntimeError(
            f"Storage size calculation overflowed with sizes={list(size)} and "
            f"strides={list(stride)}"
        )
    array = input._array
    own = input.storage_offset() if type(array) is ndarray else getattr(array, "storage_offset", 0)
    if storage_offset is not None:
        ask(array, "the storage_offset that as_strided() takes", of_inputs=True)
        offset = int(storage_offset)
    else:
        offset = own if default is None else default
    if offset < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {offset}")
    item = input.element_size()
    if 0 not in size and type(array) is ndarray:
        reach = offset + sum([(n - 1) * s for n, s in zip(size, stride, strict=True)]) + 1
        have = input.untyped_storage().nbytes()
        if reach * item > have:
            raise RuntimeError(
                f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, "
                f"and itemsize {item} requiring a storage size of {reach * item} are out of bounds "
                f"for storage of size {have}"
            )
    return size, stride, 0 if 0 in size else offset - own


@composite(method=True)
def as_strided(
    input: Tensor, size: Any, stride: Any, storage_offset: int | None = None
) -> Tensor:
    """Returns a view of the tensor's memory with the given size, strides and offset, in elements.

    Example:
        >>> import taper as torch
        >>> torch.as_strided(torch.arange(4), (3, 2), (1, 1))
        tensor([[0, 1],
                [1, 2],
                [2, 3]])
    """
    window = checked_window(input, size, stride, storage_offset)
    return strided(input, *window, input.stride())


@operator("_as_strided_scatter", node="AsStridedScatterBackward0", hidden=True)
def strided_scatter(input: Tensor, src: Tensor, size: Any, stride: Any, offset: int) -> Tensor:
    result = preserved_copy(input)
    item = input.dtype.itemsize
    strides = tuple([s * item for s in stride])
    if type(result) is ndarray:
        window = strided_view(result, size, strides, offset * item)
    else:
        window = result.as_strided(size, strides, offset * item)
    window[...] = src
    return result


@strided_scatter.derivative("input")
def _(grad, size, stride, offset):
    cleared = grad.contiguous()
    return strided_scatter(cleared, cleared.new_zeros(size), size, stride, offset)


@strided_scatter.derivative("src")
def _(grad, size, stride, offset):
    return grad.contiguous().as_strided(size, stride, offset)


strided_scatter.name = "as_strided_scatter"


@composite(method=True)
def as_strided_scatter(
    input: Tensor, src: Tensor, size: Any, stride: Any, storage_offset: int | None = None
) -> Tensor:
    """Returns a copy of `input` with `src` written where ``as_strided(size, stride)`` looks.

    Example:
        >>> import taper as torch
        >>> torch.as_strided_scatter(torch.zeros(2, 2), torch.ones(2), (2,), (3,))
        tensor([[1., 0.],
                [0., 1.]])
    """
    size, stride, offset = checked_window(input, size, stride, storage_offset, default=0)
    if src._array.shape != size:
        raise RuntimeError(
            "expected src to have a size equal to the slice of self. src size = "
            f"{list(src._array.shape)}, slice size = {list(size)}"
        )
    return strided_scatter(input, src, size, stride, offset)


# -- windows -------------------------------------------------------------------------------------


@operator("_unfold", method="unfold", view=True, node="UnfoldBackward0", hidden=True)
def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Returns all windows of `size` positions along a dimension, as a last dimension. A view.

    Example:
        >>> import taper as torch
        >>> torch.arange(5).unfold(0, 2, 2)
        tensor([[0, 1],
                [2, 3]])
    """
    dim = normalize_dim(dimension, input.ndim)
    shape = input.shape or (1,)
    strides = input.strides or (input.dtype.itemsize,)
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > shape[dim]:
        raise RuntimeError(
            f"maximum size for tensor at dimension {dim} is {shape[dim]} but size is {size}"
        )
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    count = (shape[dim] - size) // step + 1
    if not input.ndim:
        return strided_view(input, (size,), (strides[0],))
    return strided_view(
        input, (*shape[:dim], count, *shape[dim + 1 :], size),
        (*strides[:dim], strides[dim] * step, *strides[dim + 1 :], strides[dim]),
    )


@unfold.derivative("input")
def _(grad, input_shape, dimension, size, step):
    return unfold_backward(grad, input_shape, dimension, size, step)


unfold.name = "unfold"


@operator("_unfold_backward", hidden=True)
def unfold_backward(input: Tensor, shape: Any, dimension: int, size: int, step: int) -> Tensor:
    result = np.zeros_like(input, shape=shape)
    dim = normalize_dim(dimension, len(shape))
    if not shape:
        return input.sum().reshape(()).astype(input.dtype)
    for i in range(size):
        stop = i + step * (input.shape[dim] - 1) + 1
        result[(*(_ALL,) * dim, slice(i, stop, step))] += input[..., i]
    return result


@unfold_backward.derivative("input")
def _(grad, dimension, size, step):
    return grad.unfold(dimension, size, step)


# -- in place: the tensor itself becomes the view ------------------------------------------------


def _become(self: Tensor, name: str, make: Any, depth: int = 2) -> Tensor:
    """Gives the tensor the geometry and history of the view that `make` returns.

    The user's frame is `depth` frames up.
    """
    slow.check_inplace(self)
    frame = sys._getframe(depth)
    original = slow.alias_with_history(self, overwritten=False)
    view = make(original)
    self._array = view._array
    take_tangents(self, view)
    if self._edge is not None and is_recording():
        rename_in_place(view._edge)
        hand_on_history(self, view._edge)
    self._bump_version((name, frame.f_code, frame.f_lasti))
    return self


@method()
def squeeze_(self: Tensor, dim: Any = None) -> Tensor:
    """The in-place form of `squeeze`."""
    return _become(self, "squeeze_", lambda x: x.squeeze() if dim is None else x.squeeze(dim))


@method()
def unsqueeze_(self: Tensor, dim: int) -> Tensor:
    """The in-place form of `unsqueeze`."""
    return _become(self, "unsqueeze_", lambda x: x.unsqueeze(dim))


@method()
def transpose_(self: Tensor, dim0: int, dim1: int) -> Tensor:
    """The in-place form of `transpose`."""
    return _become(self, "transpose_", lambda x: x.transpose(dim0, dim1))


@method()
def swapaxes_(self: Tensor, axis0: int, axis1: int) -> Tensor:
    """The in-place form of `swapaxes`."""
    return _become(self, "swapaxes_", lambda x: x.transpose(axis0, axis1))


@method()
def swapdims_(self: Tensor, dim0: int, dim1: int) -> Tensor:
    """The in-place form of `swapdims`."""
    return _become(self, "swapdims_", lambda x: x.transpose(dim0, dim1))


@method()
def t_(self: Tensor) -> Tensor:
    """The in-place form of `t`."""

    def transposed(x: Tensor) -> Tensor:
        if x._array.ndim > 2:
            raise RuntimeError(
                f"t_() expects a tensor with <= 2 dimensions, but self is {x._array.ndim}D"
            )
        return x.t()

    return _become(self, "t_", transposed)


@composite(method=True)
def as_strided_(
    input: Tensor, size: Any, stride: Any, storage_offset: int | None = None
) -> Tensor:
    """The in-place form of `as_strided`.

    Example:
        >>> import taper as torch
        >>> torch.arange(4).as_strided_((2,), (2,))
        tensor([0, 2])
    """
    return _become(input, "as_strided_",
                   lambda x: as_strided.forward(x, size, stride, storage_offset), depth=3)


# -- another dtype for the same bytes ------------------------------------------------------------


@operator("_view_dtype", view=True, differentiable=False, node="ViewBackward1", hidden=True)
def reinterpreted(input: Tensor, dtype: Any) -> Tensor:
    old, new = input.dtype, dtype.numpy_dtype
    if old.itemsize == new.itemsize:
        return input.view(new)
    names = f"{_name(old)} as {scalar_type_name(dtype)} (different element sizes)"
    if not input.ndim:
        raise RuntimeError(f"self.dim() cannot be 0 to view {names}")
    last = input.strides[-1] // old.itemsize
    if input.shape[-1] != 1 and last != 1 and input.size:
        raise RuntimeError(f"self.stride(-1) must be 1 to view {names}, but got {last}")
    ratio = new.itemsize // old.itemsize
    if ratio > 1:
        if input.shape[-1] % ratio:
            raise RuntimeError(
                f"self.size(-1) must be divisible by {ratio} to view {names}, but got "
                f"{input.shape[-1]}"
            )
        for d, s in enumerate(input.strides[:-1]):
            if s % new.itemsize and input.shape[d] > 1:
                raise RuntimeError(
                    f"self.stride({d}) must be divisible by {ratio} to view {names}, but got "
                    f"{s // old.itemsize}"
                )
        if (address_of(input) - address_of(dense_memory(input))) % new.itemsize:
            raise RuntimeError(
                f"self.storage_offset() must be divisible by {ratio} to view {names}"
            )
    return input.view(new)


def _name(numpy_dtype: Any) -> str:
    from taper.core.dtype import from_numpy_dtype

    return scalar_type_name(from_numpy_dtype(numpy_dtype))


def view_dtype(input: Tensor, dtype: Any) -> Tensor:
    """``x.view(dtype)``: the same bytes read as another dtype."""
    wanted = as_dtype(dtype, "view")
    if wanted is input.dtype:
        return input.view(input._array.shape)
    return reinterpreted(input, wanted)


# -- other memory for a tensor -------------------------------------------------------------------


def _check_no_grad(self: Tensor, what: str) -> None:
    if self._edge is not None:
        raise RuntimeError(f"cannot {what} variables that require grad")


@method()
def resize_(self: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Gives the tensor another shape in place; its memory grows if need be, but never shrinks.

    The first elements in memory are kept, new ones are uninitialised.
    """
    shape = as_sizes("resize_", sizes[0] if len(sizes) == 1 else sizes)
    _check_no_grad(self, "resize")
    if any(n < 0 for n in shape):
        raise RuntimeError("numel: integer multiplication overflow")
    array = self._array
    if type(array) is not ndarray:
        self._array = array.as_strided(
            shape, tuple([s * array.dtype.itemsize for s in contiguous_strides(shape)]), 0)
        return self
    order = None if memory_format is None else order_of_format(memory_format, len(shape))
    if shape == array.shape and order is None:
        return self
    strides = contiguous_strides(shape)
    if order is not None:
        inner = contiguous_strides(tuple([shape[d] for d in order]))
        strides = tuple([inner[order.index(d)] for d in range(len(shape))])
    _move_window(self, shape, strides, self.storage_offset())
    return self


def _move_window(
    self: Tensor, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
) -> None:
    """Points the tensor at another window of its storage, which grows if it is too small."""
    storage = self._shared_storage()
    item = self._array.dtype.itemsize
    count = 0 if 0 in shape else sum(
        [(n - 1) * s for n, s in zip(shape, strides, strict=True)]) + 1
    needed = offset + count
    whole = UntypedStorage(storage)
    if count and needed * item > whole.nbytes():
        grow(storage, needed * item, self._array.dtype)
    start = storage.array
    if start.dtype != self._array.dtype:
        raw = UntypedStorage(storage)._bytes()
        start = raw[: len(raw) // item * item].view(self._array.dtype)
    if count == 0:
        self._array = np.empty(shape, start.dtype)
        return
    if start.size == 0:
        start = start.reshape(-1)
    self._array = strided_view(
        start, shape, tuple([s * item for s in strides]), offset * item)


def grow(storage: Any, nbytes: int, numpy_dtype: Any) -> None:
    """Makes a storage larger, which moves it: other tensors keep looking at the old memory."""
    old = UntypedStorage(storage)
    fresh = np.zeros(-(-nbytes // numpy_dtype.itemsize), numpy_dtype)
    have = old.nbytes()
    if have:
        fresh.view(np.uint8)[:have] = old._bytes()
    storage.array = fresh


@composite(method=True, also={"tensor": "the_template"})
def resize_as_(input: Tensor, the_template: Tensor, *, memory_format: Any = None) -> Tensor:
    """Gives the tensor the shape of another in place.

    Example:
        >>> import taper as torch
        >>> torch.arange(4).resize_as_(torch.zeros(2, 2))
        tensor([[0, 1],
                [2, 3]])
    """
    return resize_(input, tuple(the_template.shape), memory_format=memory_format)


@method()
def resize(self: Tensor, *sizes: Any) -> Tensor:
    """Returns a view, or a copy, of that shape. Deprecated: use reshape."""
    warnings.warn("non-inplace resize is deprecated", UserWarning, stacklevel=2)
    shape = as_sizes("resize", sizes[0] if len(sizes) == 1 else sizes)
    if math.prod(shape) != self.numel():
        raise RuntimeError(
            f"requested resize to {shape} ({' x '.join(map(str, shape))} elements in total), but "
            f"the given tensor has a size of {tuple(self.shape)} "
            f"({self.numel()} elements). autograd's resize can only change the shape of a given "
            "tensor, while preserving the number of elements. "
        )
    return self.contiguous().view(shape)


@method()
def resize_as(self: Tensor, other: Tensor) -> Tensor:
    """Returns the elements in the shape of `other`. Deprecated: use reshape_as."""
    return resize(self, tuple(other.shape))


@method()
def set_(
    self: Tensor, source: Any = None, storage_offset: int = 0, size: Any = None, stride: Any = None
) -> Tensor:
    """Makes the tensor look at other memory: that of a tensor or a storage, or none."""
    slow.check_inplace(self)
    if source is None:
        self._array = np.empty(0, self._array.dtype)
        self._storage = None
        return self
    if isinstance(source, Tensor):
        if source.dtype is not self.dtype:
            raise RuntimeError(
                f"Could not set tensor of type {cpp_type_name(source.dtype)} to a tensor of type "
                f"{cpp_type_name(self.dtype)}"
            )
        storage = source._shared_storage()
        if size is None:
            size, stride = tuple(source.shape), source.stride()
            storage_offset = source.storage_offset()
    else:
        storage = getattr(source, "_untyped_storage", source)._storage
    item = self._array.dtype.itemsize
    if size is None:
        size = (UntypedStorage(storage).nbytes() // item,)
    size = as_sizes("set_", size)
    stride = contiguous_strides(size) if stride is None else as_sizes("set_", stride)
    if type(storage) is not InferenceStorage:
        version = 0 if self._storage is None or self.is_inference() else self._storage.version
        storage.version = max(storage.version, version) + 1
    self._storage = storage
    self._base = None
    _move_window(self, size, tuple(stride), storage_offset)
    return self


@method()
def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Returns whether both tensors look at the same memory in the same way."""
    return (
        self.data_ptr() == tensor.data_ptr() and self._array.shape == tensor._array.shape
        and self._array.strides == tensor._array.strides and self.dtype is tensor.dtype
        and self._storage is not None and self._storage is tensor._storage
    )
