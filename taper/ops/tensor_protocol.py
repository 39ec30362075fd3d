"""What makes a Tensor a Python object: numbers, iteration, printing, NumPy, copying, pickling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import taper
from taper.arrays.levels import is_batched
from taper.core.device import layout_title
from taper.core.printing import format_tensor, tensor_str
from taper.core.state import is_recording
from taper.core.storage import new_storage
from taper.core.tensor import LEAF, Parameter, Tensor, wrap
from taper.core.user_warning import warn_once
from taper.ops import slow
from taper.ops.declare import method

ndarray = np.ndarray
_new = object.__new__


# -- values as Python objects --------------------------------------------------------------------


@method()
def item(self: Tensor) -> Any:
    """Returns the value of a tensor of one element as a Python number."""
    a = self._array
    if type(a) is not ndarray:
        return _without_data(self)
    try:
        return a.item()
    except ValueError:
        raise RuntimeError(
            f"a Tensor with {a.size} elements cannot be converted to Scalar"
        ) from None


def _without_data(self: Tensor) -> Any:
    if self._array.size != 1 and self.is_meta:
        raise RuntimeError(
            f"a Tensor with {self._array.size} elements cannot be converted to Scalar"
        )
    if self.is_meta:
        raise RuntimeError("Tensor.item() cannot be called on meta tensors")
    return self._array.item()


@method()
def tolist(self: Tensor) -> Any:
    """Returns the values as nested lists of Python numbers; a number if the tensor is 0-d."""
    a = self._array
    if type(a) is not ndarray:
        if self.is_meta:
            raise NotImplementedError("Cannot copy out of meta tensor; no data!")
        return a.tolist()  # it says why it can't
    if a.dtype.kind == "V" and a.dtype.itemsize <= 2:
        a = a.astype(np.float32)
    return a.tolist()


def _single(self: Tensor) -> Any:
    a = self._array
    if a.size != 1:
        raise ValueError("only one element tensors can be converted to Python scalars")
    return a.item() if type(a) is ndarray else item(self)


def _bool(self: Tensor) -> bool:
    a = self._array
    size = a.size
    if size == 1:
        return bool(a.item()) if type(a) is ndarray else bool(a)
    if size == 0:
        raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
    raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")


def _number(self: Tensor) -> Any:
    """The value as Python's number, which leaves the graph: a warning says so once."""
    if self._edge is not None and is_recording():
        warn_once("number of a tensor in the graph", (
            "Converting a tensor with requires_grad=True to a scalar may lead to unexpected "
            "behavior.\nConsider using tensor.detach() first."
        ))
    return _single(self)


def _int(self: Tensor) -> int:
    value = _number(self)
    if isinstance(value, complex):
        if value.imag:
            raise RuntimeError("value cannot be converted to type int64_t without overflow")
        return int(value.real)
    return int(value)


def _float(self: Tensor) -> float:
    value = _number(self)
    if isinstance(value, complex):
        if value.imag:
            raise RuntimeError("value cannot be converted to type double without overflow")
        return float(value.real)
    return float(value)


def _complex(self: Tensor) -> complex:
    return complex(_number(self))


def _index(self: Tensor) -> int:
    a = self._array
    if a.size == 1 and a.dtype.kind in "iub":
        return int(a.item())
    raise TypeError("only integer tensors of a single element can be converted to an index")


def _len(self: Tensor) -> int:
    shape = self._array.shape
    if not shape:
        raise TypeError("len() of a 0-d tensor")
    return shape[0]


def _iter(self: Tensor) -> Iterator[Tensor]:
    if not self._array.ndim:
        raise TypeError("iteration over a 0-d tensor")
    return iter(self.unbind(0))


def _contains(self: Tensor, element: Any) -> bool:
    if isinstance(element, (Tensor, int, float, complex, bool)):
        return bool((self == element).any())
    raise RuntimeError(
        f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a "
        f"{type(element)}."
    )


def _repr(self: Tensor, *, tensor_contents: str | None = None) -> str:
    return tensor_str(self, tensor_contents=tensor_contents)


def _format(self: Tensor, spec: str) -> str:
    return format_tensor(self, spec)


def _dir(self: Tensor) -> list[str]:
    names = {*object.__dir__(self), *vars(self)}
    return sorted(n for n in names if n not in Tensor.__slots__)


# -- NumPy ---------------------------------------------------------------------------------------


@method()
def numpy(self: Tensor, *, force: bool = False) -> Any:
    """Returns a NumPy array that shares the tensor's memory.

    Args: force: detach first, and copy if the array could not share memory.
    Raises: RuntimeError: if the tensor requires grad, outside of no_grad().
        TypeError: if NumPy lacks the dtype.
    """
    a = self._array
    if self._edge is not None and not force and is_recording():
        raise RuntimeError(
            "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
        )
    if type(a) is ndarray:
        if a.dtype.kind == "V" or a.dtype.num > 255:
            raise TypeError(f"Got unsupported ScalarType {_scalar_name(self)}")
        return a.view()
    if is_batched(a):
        return a.tolist()  # which raises the error of this, too
    from taper.arrays.traced import TracedArray

    if type(a) is TracedArray:
        return a.__array__()  # likewise
    if self.layout.name != "strided":
        raise TypeError(
            f"can't convert {layout_title(self.layout)} layout tensor to numpy. Use "
            "Tensor.to_dense() first."
        )
    raise TypeError(
        f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the "
        "tensor to host memory first."
    )


def _scalar_name(self: Tensor) -> str:
    from taper.core.promotion import scalar_type_name

    return scalar_type_name(self.dtype)


def _array(self: Tensor, dtype: Any = None, copy: bool | None = None) -> Any:
    array = self.numpy()
    if dtype is not None and array.dtype != dtype:
        if copy is False:
            raise ValueError("Unable to avoid copy while creating an array as requested.")
        return array.astype(dtype)
    return array.copy() if copy else array


def _array_wrap(self: Tensor, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
    if array.dtype == bool:
        array = array.astype(np.uint8)
    return wrap(np.asarray(array))


def _dlpack(
    self: Tensor, *, stream: Any = None, max_version: Any = None, dl_device: Any = None,
    copy: bool | None = None,
) -> Any:
    if self._edge is not None:
        raise BufferError(
            "Can't export tensors that require gradient, use tensor.detach()"
        )
    given: dict[str, Any] = {"max_version": max_version, "dl_device": dl_device, "copy": copy}
    return self._array.__dlpack__(**{k: v for k, v in given.items() if v is not None})


def _dlpack_device(self: Tensor) -> tuple[int, int]:
    return (1, 0)


# -- copying and pickling ------------------------------------------------------------------------


def _deepcopy(self: Tensor, memo: Any) -> Tensor:
    if id(self) in memo:
        return memo[id(self)]
    edge = self._edge
    if edge is not None and edge is not LEAF:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
            "protocol at the moment.  If you were attempting to deepcopy a module, this may be "
            "because of a torch.nn.utils.weight_norm usage, see "
            "https://github.com/pytorch/pytorch/pull/103001"
        )
    storage = self._storage
    if storage is None or type(self._array) is not ndarray:
        array = self._array.copy("K") if type(self._array) is ndarray else self._array
        result = wrap(array)
    else:
        result = _copy_sharing(self, storage, memo)
    kind = type(self)
    if kind is not Tensor:
        result = slow.overrides.as_subclass(result, kind)
    result._edge = edge
    if self._grad is not None:
        import copy

        result._grad = copy.deepcopy(self._grad, memo)
    if self.__dict__:
        import copy

        kept = {k: v for k, v in self.__dict__.items() if k not in ("_accumulator",)}
        result.__dict__.update(copy.deepcopy(kept, memo))
    memo[id(self)] = result
    return result


def _copy_sharing(self: Tensor, storage: Any, memo: Any) -> Tensor:
    """A copy whose memory is shared with the copies of the tensors that share it here."""
    from taper.core.storage import address_of, dense_memory, strided_view

    kept = memo.get(id(storage))
    if kept is None:
        whole = storage.array
        kept = new_storage(dense_memory(whole).copy())
        memo[id(storage)] = kept
        memo[("memory", id(storage))] = (address_of(dense_memory(whole)), storage)
    start, _ = memo[("memory", id(storage))]
    a = self._array
    flat = kept.array if kept.array.dtype == a.dtype else kept.array.view(a.dtype)
    array = strided_view(flat, a.shape, a.strides, address_of(a) - start)
    result = wrap(array)
    result._storage = kept
    return result


def _reduce_ex(self: Tensor, protocol: Any) -> Any:
    # Non-leaves, too: PyTorch pickles their values and makes leaves of them.
    return taper.serialization.reduce_tensor(self)


def _copy(self: Tensor) -> Tensor:
    """A tensor over the same memory, as `copy.copy` of a PyTorch tensor gives."""
    result = wrap(self._array)
    if self._storage is None:
        self._storage = new_storage(self._array)
    result._storage = self._storage
    if type(self) is not Tensor:
        result = slow.overrides.as_subclass(result, type(self))
    edge = self._edge
    result._edge = LEAF if edge is not None else None
    if self.__dict__:
        result.__dict__.update(self.__dict__)
    return result


_PROTOCOL: dict[str, Any] = {
    "__bool__": _bool, "__int__": _int, "__float__": _float, "__complex__": _complex,
    "__index__": _index, "__len__": _len, "__iter__": _iter, "__contains__": _contains,
    "__repr__": _repr, "__format__": _format, "__dir__": _dir,
    "__array__": _array, "__array_wrap__": _array_wrap, "__dlpack__": _dlpack,
    "__dlpack_device__": _dlpack_device, "__deepcopy__": _deepcopy,
    "__reduce_ex__": _reduce_ex, "__copy__": _copy,
}
for _name, _function in _PROTOCOL.items():
    _function.__name__ = _name
    _function.__qualname__ = f"Tensor.{_name}"
    setattr(Tensor, _name, _function)

Parameter.__repr__ = lambda self: "Parameter containing:\n" + _repr(self)


@method()
def index(self: Tensor, positions: Any, dims: Any) -> Any:
    """Raises: there are no first-class dimensions; use `torch.func.vmap`, or `x[…]`."""
    raise NotImplementedError(
        "Tensor.index() binds first-class dimensions, which are not supported: use "
        "torch.func.vmap(), torch.einsum() or x[...]"
    )
