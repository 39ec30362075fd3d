"""Copies, other dtypes, devices and layouts in memory: clone, contiguous, to, float, copy_ …"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np

from taper.arrays.levels import in_place_error, is_batched
from taper.autograd.tangents import carried_by
from taper.autograd.views import watchers
from taper.core import device as devices
from taper.core import dtype as dtypes
from taper.core.device import as_device
from taper.core.state import active, is_recording
from taper.core.storage import InferenceStorage, new_storage, refuse_repeated_memory
from taper.core.tensor import Parameter, Tensor
from taper.ops import slow
from taper.ops.connect_views import result_of
from taper.ops.declare import composite, method, operator
from taper.ops.native_forward import LARGE
from taper.ops.options import (
    copy_in_format,
    has_format,
    preserved_copy,
    suggested_format,
    uninitialized,
)
from taper.ops.reduction import sum_to

ndarray = np.ndarray
dtype_class = dtypes.dtype


# -- copies --------------------------------------------------------------------------------------


@operator(method=True)
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """Returns a copy, through which gradients flow back.

    Args: memory_format: how to lay out the copy; default: as the original, without gaps.
    Example:
        >>> import taper as torch
        >>> a = torch.zeros(2)
        >>> torch.clone(a).add_(1), a
        (tensor([1., 1.]), tensor([0., 0.]))
    """
    return copy_in_format(input, memory_format)


@clone.derivative("input")
def _(grad):
    return grad


@clone.short_path
def _(input: Tensor, *, memory_format: Any = None) -> Tensor:
    in_rows = memory_format is devices.contiguous_format
    if (
        (memory_format is None or in_rows) and not active.modes
        and (type(input) is Tensor or type(input) is Parameter)
    ):
        a = input._array
        if type(a) is ndarray:
            if a.size <= LARGE and (in_rows or a.flags.c_contiguous):
                r = a.copy()
            else:
                r = copy_in_format(a, memory_format) if in_rows else preserved_copy(a)
            return result_of(input, r, clone)
    return slow.call(clone, (input, memory_format))


@method()
def contiguous(input: Tensor, memory_format: Any = devices.contiguous_format) -> Tensor:
    """Returns the tensor itself if its elements lie in memory in order, else a copy that does."""
    a = input._array
    if memory_format is devices.contiguous_format and type(a) is ndarray:
        if a.flags.c_contiguous:
            return input
    elif memory_format is devices.preserve_format:
        raise RuntimeError(
            "preserve memory format is unsupported by the contiguous operator"
        )
    elif has_format(a, memory_format):
        return input
    return clone(input, memory_format=memory_format)


@method()
def is_contiguous(input: Tensor, memory_format: Any = devices.contiguous_format) -> bool:
    """Returns whether the elements lie in memory in order, without gaps."""
    return has_format(input._array, memory_format)


@composite(method=True)
def resolve_conj(input: Tensor) -> Tensor:
    """Returns the tensor itself: taper conjugates at once.

    Example:
        >>> import taper as torch
        >>> torch.resolve_conj(torch.tensor([1 + 2j]).conj())
        tensor([1.-2.j])
    """
    return input


@composite(method=True)
def resolve_neg(input: Tensor) -> Tensor:
    """Returns the tensor itself: taper negates at once.

    Example:
        >>> import taper as torch
        >>> torch.resolve_neg(-torch.tensor([1., 2.]))
        tensor([-1., -2.])
    """
    return input


# -- another dtype or device ---------------------------------------------------------------------


@operator("_to_copy", node="ToCopyBackward0", hidden=True)
def to_copy(input: Tensor, dtype: Any, device: Any, memory_format: Any) -> Tensor:
    if dtype is not None and input.dtype.kind == "c" and dtype.numpy_dtype.kind not in "cb":
        input = input.real
    target = None if dtype is None else dtype.numpy_dtype
    if device is not None and device.type == "meta":
        if type(input) is not ndarray:
            return input.copy() if target is None else input.astype(target)
        found = dtypes.from_numpy_dtype(input.dtype) if dtype is None else dtype
        return uninitialized(input.shape, found, device)
    return copy_in_format(input, memory_format, target)


@operator("_to_integers", hidden=True, differentiable=False)
def to_integers(input: Tensor, dtype: Any, device: Any, memory_format: Any) -> Tensor:
    """`to_copy` to integers and bools, which no gradient passes."""
    return to_copy.forward(input, dtype, device, memory_format)


@to_copy.derivative("input")
def _(grad, input_dtype):
    if grad.is_complex() and not input_dtype.is_complex:
        grad = grad.real
    return grad.to(input_dtype)


def _warn_about_imaginary_part(source: Any, target: Any) -> None:
    if source.kind == "c" and target is not None and target.numpy_dtype.kind not in "cb":
        warnings.warn(
            "Casting complex values to real discards the imaginary part", UserWarning,
            stacklevel=4,
        )


def _converted(
    input: Tensor, dtype: Any, device: Any, copy: bool = False, memory_format: Any = None
) -> Tensor:
    a = input._array
    if device is not None and device.type == ("cpu" if type(a) is ndarray else a.device.type):
        device = None
    if dtype is not None and a.dtype == dtype.numpy_dtype:
        dtype = None
    is_kept = (
        memory_format is None or memory_format.name == "preserve_format"
        or memory_format is suggested_format(a)  # not only one that the array has as well
    )
    if device is None and dtype is None and not copy and is_kept:
        return input
    if device is not None and device.type == "cpu" and type(a) is not ndarray:
        raise NotImplementedError(
            "Cannot copy out of meta tensor; no data! Please use torch.empty_like(..., "
            "device='cpu') and fill it instead."
        )
    _warn_about_imaginary_part(a.dtype, dtype)
    differentiable = dtype is None or dtype.category >= dtypes.FLOATING
    convert = to_copy if differentiable else to_integers
    return convert(input, dtype, device, memory_format)


@method()
def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Returns the tensor with another dtype or on another device; itself if nothing changes.

    Call it as ``to(dtype)``, ``to(device, dtype)`` or ``to(other)``, with ``copy=True`` to copy in
    any case, ``memory_format=`` for the layout in memory; ``non_blocking=`` has no effect.

    Example:
        >>> import taper as torch
        >>> torch.tensor([1.7, -1.7]).to(torch.int64)
        tensor([ 1, -1])
    """
    if not kwargs and len(args) == 1 and not active.modes:
        d = args[0]
        if type(d) is dtype_class and (type(self) is Tensor or type(self) is Parameter):
            a = self._array
            source = a.dtype
            target = d.numpy_dtype
            if source is target:
                return self
            if type(a) is ndarray and source.kind != "c" and (
                target.kind in "biu" or self._edge is None or not is_recording()
            ):
                is_simple = a.size <= LARGE and a.flags.forc
                r = a.astype(target) if is_simple else preserved_copy(a, target)
                result = _new(Tensor)
                result._array = r
                result._edge = result._storage = result._base = result._grad = None
                return result
    if slow.overrides.has_override(self) or active.modes:
        found = slow.overrides.intercept(Tensor.to, (self, *args), (self, *args), kwargs)
        if found is not slow.overrides.NOT_INTERCEPTED:
            return found
    device, dtype, copy, memory_format = _to_arguments(args, kwargs)
    return _converted(self, dtype, device, copy, memory_format)


_new = object.__new__


def _to_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, bool, Any]:
    names = ("device", "dtype", "non_blocking", "copy")
    first = args[0] if args else None
    if isinstance(first, Tensor) or "other" in kwargs:
        other = first if isinstance(first, Tensor) else kwargs.pop("other")
        given = {"device": other.device, "dtype": other.dtype}
        given.update(zip(names[2:], args[1:], strict=False))
    elif isinstance(first, dtype_class) or first in (float, int, bool, complex):
        given = dict(zip(names[1:], args, strict=False))
    elif first is None or isinstance(first, (str, devices.device, int)):
        given = dict(zip(names, args, strict=False))
    else:
        raise TypeError(
            f"to() received an invalid combination of arguments - got ({type(first).__name__}), "
            "but expected one of:\n * (torch.device device = None, torch.dtype dtype = None, bool "
            "non_blocking = False, bool copy = False, *, torch.memory_format memory_format = None)"
            "\n * (torch.dtype dtype, bool non_blocking = False, bool copy = False, *, "
            "torch.memory_format memory_format = None)\n * (Tensor tensor, bool non_blocking = "
            "False, bool copy = False, *, torch.memory_format memory_format = None)\n"
        )
    given.update(kwargs)
    for name in given:
        if name not in (*names, "memory_format"):
            raise TypeError(f"to() got an unexpected keyword argument '{name}'")
    device = given.get("device")
    return (
        None if device is None else as_device(device), dtypes.as_dtype(given.get("dtype"), "to"),
        bool(given.get("copy")), given.get("memory_format"),
    )


def _conversion(name: str, target: Any) -> None:
    def convert(self: Tensor, memory_format: Any = None) -> Tensor:
        if memory_format is None:
            return self.to(target)
        return self.to(target, memory_format=memory_format)

    convert.__name__ = name
    convert.__qualname__ = f"Tensor.{name}"
    convert.__doc__ = f"Returns the tensor as {target!r}; itself if it is that already."
    setattr(Tensor, name, convert)


for _name, _target in {
    "float": dtypes.float32, "double": dtypes.float64, "half": dtypes.float16,
    "bfloat16": dtypes.bfloat16, "int": dtypes.int32, "long": dtypes.int64,
    "short": dtypes.int16, "char": dtypes.int8, "byte": dtypes.uint8, "bool": dtypes.bool_,
    "cfloat": dtypes.complex64, "cdouble": dtypes.complex128,
}.items():
    _conversion(_name, _target)


@method()
def chalf(self: Tensor, memory_format: Any = None) -> Tensor:
    """Raises: NumPy has no complex numbers of half precision; use `cfloat`."""
    raise dtypes.complex32.error()


@method()
def type_as(self: Tensor, tensor: Tensor) -> Tensor:
    """Returns the tensor in the dtype of another."""
    return self.to(tensor.dtype)


@method("type")
def tensor_type(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """Returns the name of the legacy type, or the tensor in another dtype."""
    from taper.core.dtype import legacy_type_name

    if dtype is None:
        return legacy_type_name(self.dtype, self.device.type)
    if isinstance(dtype, str):
        for name, d in dtypes.LEGACY_DTYPES.items():
            if dtype == f"torch.{name}Tensor":
                return self.to(d)
        if dtype == "torch.Tensor":
            return self.to(dtypes.get_default_dtype())
        raise ValueError(f"invalid type: '{dtype}'")
    wanted = getattr(dtype, "dtype", None) if isinstance(dtype, type) else None
    if isinstance(wanted, dtype_class):
        return self.to(wanted)
    return self.to(dtypes.as_dtype(dtype, "type"))


@method()
def cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    """Returns the tensor on the CPU: itself."""
    return _converted(self, None, devices.CPU, False, memory_format)


@method()
def cuda(self: Tensor, device: Any = None, non_blocking: bool = False, **ignored: Any) -> Tensor:
    """Raises: taper computes on the CPU."""
    raise AssertionError("Torch not compiled with CUDA enabled")


# -- overwriting ---------------------------------------------------------------------------------


@operator("_copy_into", node="CopyBackwards", hidden=True)
def copy_into(input: Tensor, src: Tensor) -> Tensor:
    """The values that `input.copy_(src)` leaves: `src` in the shape and dtype of `input`."""
    if src.dtype != input.dtype:
        if src.dtype.kind == "c" and input.dtype.kind not in "cb":
            src = src.real
        src = src.astype(input.dtype)
    return np.broadcast_to(src, input.shape)


@copy_into.derivative("input")
def _(grad, input_shape):
    return grad.new_zeros(input_shape)


@copy_into.derivative("src")
def _(grad, src_shape, src_dtype):
    if grad.is_complex() and not src_dtype.is_complex:
        grad = grad.real
    return sum_to(grad, src_shape).to(src_dtype)


@method("copy_")
def copy_(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """Copies the elements of `src` into this tensor, casting and broadcasting them."""
    if slow.overrides.has_override(self) or slow.overrides.has_override(src):
        given = (self, src, non_blocking) if non_blocking else (self, src)
        found = slow.overrides.intercept(Tensor.copy_, (self, src), given)
        if found is not slow.overrides.NOT_INTERCEPTED:
            return found
    if not isinstance(src, Tensor):
        if isinstance(src, (int, float, complex, bool)):
            refuse_repeated_memory(self._array)
            return self.fill_(src)
        raise TypeError(
            f"copy_(): argument 'other' (position 1) must be Tensor, not {type(src).__name__}"
        )
    target, source = self._array, src._array
    if self.layout is not src.layout:
        raise RuntimeError("copy_() between dense and sparse Tensors is not implemented!")
    if type(target) is not ndarray and not is_batched(target):
        if self.layout is devices.strided:  # without data, or being recorded
            return _copy_recorded(self, src.to(self.device))
        target[...] = source
        self._bump_version()
        return self
    if type(source) is not ndarray:
        if is_batched(source):
            if type(target) is ndarray:
                raise in_place_error()
        elif src.is_meta:
            raise NotImplementedError("Cannot copy out of meta tensor; no data!")
        else:
            return _copy_recorded(self, src)
    unseen = not active.modes or not (watchers or carried_by((self, src)))
    if unseen and ((self._edge is None and src._edge is None) or not is_recording()):
        if 0 in target.strides:  # it may be expanded
            refuse_repeated_memory(target)
        if target.shape != source.shape:
            _check_copy_shapes(target.shape, source.shape)
        if not target.flags.writeable:
            slow._make_writeable(self)
        if source.dtype is not target.dtype:
            _warn_about_imaginary_part(source.dtype, self.dtype)
        if source.dtype.kind == "c" and target.dtype.kind not in "cb":
            source = source.real
        storage = self._storage
        if storage is None:
            storage = self._storage = new_storage(target)
        elif type(storage) is InferenceStorage:
            return _copy_recorded(self, src)
        target[...] = source
        storage.version += 1
        frame = sys._getframe(1)
        storage.changed_at = ("copy_", frame.f_code, frame.f_lasti)
        return self
    return _copy_recorded(self, src)


def _check_copy_shapes(target: tuple[int, ...], source: tuple[int, ...]) -> None:
    if target == source:
        return
    lead = len(target) - len(source)
    for d in range(-1, -len(source) - 1, -1):
        have, want = source[d], target[d] if -d <= len(target) else 1
        if have != want and (have != 1):
            if lead < 0 and -d > len(target):
                continue
            raise RuntimeError(
                f"The size of tensor a ({want}) must match the size of tensor b ({have}) at "
                f"non-singleton dimension {len(target) + d if lead >= 0 else len(source) + d}"
            )
    if lead < 0:
        raise RuntimeError(
            f"output with shape {list(target)} doesn't match the broadcast shape {list(source)}"
        )


def _copy_recorded(self: Tensor, src: Tensor) -> Tensor:
    slow.check_inplace(self)
    refuse_repeated_memory(self._array)
    _check_copy_shapes(self._array.shape, src._array.shape)
    frame = sys._getframe(2)
    where = (frame.f_code, frame.f_lasti)
    original = slow.alias_with_history(self)
    result = slow.execute(copy_into, slow.signature_of(copy_into), (original, src), None, where)
    slow.overwrite(self, original, result, "copy_", where)
    return self
