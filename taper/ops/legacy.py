"""The older ways of making tensors: ``torch.Tensor(…)``, ``torch.FloatTensor``, ``x.new_zeros``.

The typed classes exist for `isinstance` and as constructors; every tensor is a `torch.Tensor`.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from taper.core import device as devices
from taper.core import dtype as dtypes
from taper.core.dtype import as_dtype, get_default_dtype
from taper.core.promotion import cpp_type_name, number_as
from taper.core.storage import UntypedStorage
from taper.core.tensor import LEAF, Tensor, wrap
from taper.ops import slow
from taper.ops.declare import method
from taper.ops.empty import empty_strided
from taper.ops.options import finish, has_values, read_options, uninitialized
from taper.ops.sizes import as_sizes, size_arguments
from taper.ops.tensor_data import array_of, tensor_of

__all__ = ["TYPED_CLASSES", "TensorType"]



# -- x.new_… -------------------------------------------------------------------------------------


def _offered(self: Tensor, function: str, *args: Any, **options: Any) -> Any:
    """What the class of a tensor makes of a call; NOT_INTERCEPTED if it leaves it to us."""
    given = {name: option for name, option in options.items() if option}
    return slow.overrides.intercept(getattr(Tensor, function), (self,), (self, *args), given)


def _new(
    self: Tensor, function: str, sizes: tuple[Any, ...], size: Any, value: Any,
    dtype: Any, layout: Any, device: Any, pin_memory: bool, requires_grad: bool,
) -> Tensor:
    shape = size_arguments(function, sizes, size)
    if slow.overrides.has_override(self):
        found = _offered(self, function, shape, dtype=dtype, layout=layout, device=device,
                         pin_memory=pin_memory, requires_grad=requires_grad)
        if found is not slow.overrides.NOT_INTERCEPTED:
            return found
    wanted, where = read_options(function, dtype, device, layout, pin_memory)
    wanted = wanted or self.dtype
    a = self._array
    if type(a) is not np.ndarray and (device is None or where == a.device):
        return finish(np.full_like(a, value or 0, dtype=wanted.numpy_dtype, shape=shape),
                      requires_grad)
    array = uninitialized(shape, wanted, where)
    if value is not None and has_values(array):
        array.fill(value)
    return finish(array, requires_grad)


@method()
def new_zeros(
    self: Tensor, *sizes: Any, size: Any = None, dtype: Any = None, layout: Any = None,
    device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:
    """Makes a tensor of zeros with this tensor's dtype, unless told."""
    return _new(self, "new_zeros", sizes, size, 0, dtype, layout, device, pin_memory, requires_grad)


@method()
def new_ones(
    self: Tensor, *sizes: Any, size: Any = None, dtype: Any = None, layout: Any = None,
    device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:
    """Makes a tensor of ones with this tensor's dtype, unless told."""
    return _new(self, "new_ones", sizes, size, 1, dtype, layout, device, pin_memory, requires_grad)


@method()
def new_empty(
    self: Tensor, *sizes: Any, size: Any = None, dtype: Any = None, layout: Any = None,
    device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:
    """Makes an uninitialised tensor with this tensor's dtype, unless told."""
    return _new(self, "new_empty", sizes, size, None, dtype, layout, device, pin_memory,
                requires_grad)


@method()
def new_full(
    self: Tensor, size: Any, fill_value: Any, *, dtype: Any = None, layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:
    """Makes a tensor filled with a value, with this tensor's dtype, unless told."""
    if slow.overrides.has_override(self):
        found = _offered(self, "new_full", size, fill_value, dtype=dtype, layout=layout,
                         device=device, pin_memory=pin_memory, requires_grad=requires_grad)
        if found is not slow.overrides.NOT_INTERCEPTED:
            return found
    made = _new(self, "new_full", (as_sizes("new_full", size),), None, None, dtype, layout, device,
                pin_memory, requires_grad)
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    if made.layout is devices.strided:
        made._array.fill(number_as(fill_value, made.dtype))
    return made


@method()
def new_tensor(
    self: Tensor, data: Any, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, layout: Any = None, pin_memory: bool = False,
) -> Tensor:
    """Makes a tensor with a copy of `data` in this tensor's dtype, unless told."""
    if slow.overrides.has_override(self):
        found = _offered(self, "new_tensor", data, dtype=dtype, device=device,
                         requires_grad=requires_grad)
        if found is not slow.overrides.NOT_INTERCEPTED:
            return found
    wanted = as_dtype(dtype, "new_tensor") or (None if isinstance(data, Tensor) else self.dtype)
    if isinstance(data, Tensor):
        warnings.warn(
            "To copy construct from a tensor, it is recommended to use "
            "sourceTensor.detach().clone() or "
            "sourceTensor.detach().clone().requires_grad_(True), rather than "
            "tensor.new_tensor(sourceTensor).",
            UserWarning, stacklevel=2,
        )
        copy = data.detach().to(wanted or self.dtype, copy=True)
        return copy.requires_grad_(requires_grad)
    where = devices.as_device(self.device if device is None else device)
    return tensor_of(data, wanted, where, requires_grad)


@method()
def new_empty_strided(
    self: Tensor, size: Any, stride: Any, dtype: Any = None, layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:
    """Makes an uninitialised tensor of that size and strides, with this tensor's dtype."""
    return empty_strided(
        size, stride, dtype=dtype or self.dtype, layout=layout, device=device,
        pin_memory=pin_memory, requires_grad=requires_grad,
    )


@method("new")
def new(self: Tensor, *args: Any, device: Any = None) -> Tensor:
    """Makes a tensor of this one's dtype from sizes or data, as its legacy class does."""
    return legacy_tensor(self.dtype, args, device)


# -- calling a class -----------------------------------------------------------------------------


def legacy_tensor(dtype: Any, args: tuple[Any, ...], device: Any = None) -> Tensor:
    """What ``torch.FloatTensor(*args)`` makes: memory of a size, or a copy of data."""
    where = devices.as_device(device)
    if not args:
        return wrap(np.empty(0, dtype.numpy_dtype))
    first = args[0]
    if len(args) == 1:
        if isinstance(first, Tensor):
            if first.dtype is not dtype:
                raise TypeError(
                    f"expected TensorOptions(dtype={cpp_type_name(dtype)}, {_DEFAULT_OPTIONS} (got "
                    f"TensorOptions(dtype={cpp_type_name(first.dtype)}, {_DEFAULT_OPTIONS})"
                )
            return first.detach()
        if isinstance(first, UntypedStorage) or hasattr(first, "_untyped_storage"):
            empty = wrap(np.empty(0, dtype.numpy_dtype))
            return empty.set_(first)
        if not isinstance(first, tuple) or type(first).__name__ != "Size":
            is_int = isinstance(first, (int, np.integer)) and not isinstance(first, bool)
            if not is_int:
                return _from_sequence(dtype, first, where)
    shape = size_arguments("new", args)
    return wrap(uninitialized(shape, dtype, where))


_DEFAULT_OPTIONS = (
    "device=cpu, layout=Strided, requires_grad=false (default), pinned_memory=false (default), "
    "memory_format=(nullopt))"
)


def _from_sequence(dtype: Any, data: Any, where: Any) -> Tensor:
    if isinstance(data, str):
        raise TypeError("new(): invalid data type 'str'")
    if not hasattr(data, "__len__"):
        raise TypeError(f"new(): data must be a sequence (got {type(data).__name__})")
    array = array_of(data, dtype)
    if where.type != "cpu":
        array = uninitialized(array.shape, dtype, where)
    return wrap(array)


def tensor_new(cls: type, *args: Any, device: Any = None, **named: Any) -> Tensor:
    """``torch.Tensor(*args)``; for subclasses, an instance of them over the same memory."""
    if named and cls is Tensor:
        raise TypeError(
            "new() received an invalid combination of arguments - got "
            f"({', '.join(type(a).__name__ for a in args)}, "
            f"{', '.join(f'{k}={type(v).__name__}' for k, v in named.items())}), but expected one "
            "of:\n * (*, torch.device device = None)\n"
        )
    if len(args) == 1 and isinstance(args[0], Tensor):
        made = args[0].detach()
    else:
        made = legacy_tensor(get_default_dtype(), args, device)
    if cls is Tensor:
        return made
    _refuse_dispatch(cls)
    return slow.overrides.as_subclass(made, cls)


@staticmethod
def make_subclass(cls: type, data: Tensor, require_grad: bool = False, **ignored: Any) -> Tensor:
    """A tensor of class `cls` over the memory of `data`: ``Tensor._make_subclass``."""
    _refuse_dispatch(cls)
    made = data.detach()
    found = slow.overrides.as_subclass(made, cls)
    found._edge = LEAF if require_grad else None
    return found


@method()
def as_subclass(self: Tensor, cls: type) -> Tensor:
    """Returns the same data and history as an instance of `cls`, a subclass of Tensor."""
    if not (isinstance(cls, type) and issubclass(cls, Tensor)):
        raise TypeError(f"cls must be a type (got {type(cls).__name__})")
    _refuse_dispatch(cls)
    return slow.overrides.as_subclass(self, cls)


def _refuse_dispatch(cls: type) -> None:
    if hasattr(cls, "__torch_dispatch__"):
        raise NotImplementedError(
            f"{cls.__name__}.__torch_dispatch__ would never be called: taper dispatches on classes "
            "above the tape only. Give the class a __torch_function__, or use a TorchDispatchMode "
            "(torch.utils._python_dispatch), which sees operators below the tape"
        )


Tensor.__new__ = tensor_new
Tensor._make_subclass = make_subclass


def _init(self: Tensor, *args: Any, **named: Any) -> None:
    pass


Tensor.__init__ = _init


# -- typed classes -------------------------------------------------------------------------------


class TensorType(type):
    """The type of ``torch.FloatTensor`` and its siblings."""

    __module__ = "torch"
    dtype: Any = dtypes.float32
    layout = devices.strided
    is_cuda = is_sparse = False

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is cls.dtype and (
            instance.layout is devices.strided
        )

    def __call__(cls, *args: Any, device: Any = None) -> Tensor:
        return legacy_tensor(cls.dtype, args, device)


TensorType.__name__ = TensorType.__qualname__ = "tensortype"

TYPED_CLASSES: dict[str, type] = {
    f"{name}Tensor": TensorType(f"{name}Tensor", (), {"dtype": d, "__module__": "torch"})
    for name, d in dtypes.LEGACY_DTYPES.items() if not d.is_complex
}
globals().update(TYPED_CLASSES)


def set_default_tensor_type(t: Any) -> None:
    """Sets the default dtype by the name of a legacy class. Deprecated: use set_default_dtype."""
    if isinstance(t, str):
        found = TYPED_CLASSES.get(t.removeprefix("torch."))
        if found is None:
            raise TypeError(f"invalid type name: '{t}'")
        t = found
    warnings.warn(
        "torch.set_default_tensor_type() is deprecated as of PyTorch 2.1, please use "
        "torch.set_default_dtype() and torch.set_default_device() as alternatives.",
        UserWarning, stacklevel=2,
    )
    if t is not Tensor:
        dtypes.set_default_dtype(t.dtype)


