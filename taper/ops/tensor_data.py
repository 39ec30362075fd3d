"""Tensors from existing data: tensor, as_tensor, asarray, from_numpy, frombuffer, scalar_tensor."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from taper.core import dtype as dtypes
from taper.core import index
from taper.core.device import as_device
from taper.core.dtype import _BY_NUMPY, _default, as_dtype, from_numpy_dtype, get_default_dtype
from taper.core.promotion import promote_types, scalar_type_name
from taper.core.state import active
from taper.core.tensor import Tensor, wrap
from taper.ops.declare import composite
from taper.ops.options import finish, uninitialized
from taper.runtime.large_arrays import copied

ndarray = np.ndarray
_array = np.array
_F64, _I64, _BOOL = np.dtype("f8"), np.dtype("i8"), np.dtype("?")
_NUMBERS = (bool, int, float, complex)
_new = object.__new__
_WORTH_ALIGNING = 1 << 15  # bytes: kernels read lines of the cache, a vector in two costs double


@composite()
def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Makes a tensor with a copy of `data`: a number, nested lists, a NumPy array, a tensor.

    Dtype: bool, int64 or the default dtype for Python's numbers; that of NumPy's data otherwise.
    Raises: ValueError: if nested lists have unequal lengths.
    Example:
        >>> import taper as torch
        >>> torch.tensor([[1, 2], [3, 4]])
        tensor([[1, 2],
                [3, 4]])
    """
    if device is None and not active.modes:
        kind = type(data)
        if kind is list or kind is tuple:
            leaf = data
            while (kind is list or kind is tuple) and leaf:
                leaf = leaf[0]
                kind = type(leaf)
        # Python's numbers only, where NumPy finds the dtype that PyTorch would.
        if kind is float or kind is int or kind is bool:
            try:
                array = _array(data)
            except (ValueError, OverflowError, RuntimeError):
                array = _NOTHING
            found = array.dtype
            target = None
            if found is _F64:
                target = _default[0].numpy_dtype
            elif found is _I64 or found is _BOOL:
                target = found
            if target is not None and dtype is not None and type(dtype) is dtypes.dtype and (
                dtype.category >= 2 and found is not _BOOL
            ):
                target = dtype.numpy_dtype
            elif dtype is not None:
                target = None
            if target is not None:
                if found is not target:
                    array = array.astype(target)
                if not requires_grad:
                    result = _new(Tensor)
                    result._array = array
                    result._edge = result._storage = result._base = result._grad = None
                    return result
                return finish(array, requires_grad)
    return tensor_of(data, as_dtype(dtype, "tensor"), as_device(device), requires_grad)


_NOTHING = np.empty(0, object)


def tensor_of(
    data: Any, dtype: Any, device: Any, requires_grad: bool, stacklevel: int = 3
) -> Tensor:
    if isinstance(data, Tensor):
        warnings.warn(
            "To copy construct from a tensor, it is recommended to use "
            "sourceTensor.detach().clone() or "
            "sourceTensor.detach().clone().requires_grad_(True), rather than "
            "torch.tensor(sourceTensor).",
            UserWarning, stacklevel=stacklevel,
        )
        result = data.detach().to(device, dtype, copy=True)
        return result.requires_grad_(requires_grad)
    if hasattr(data, "untyped"):
        return _over_storage(data, dtype).requires_grad_(requires_grad)
    return finish(_on(array_of(data, dtype), device), requires_grad)


def _over_storage(storage: Any, dtype: Any) -> Tensor:
    """A vector over the memory of an UntypedStorage or TypedStorage: its bytes are not copied."""
    own = getattr(storage, "dtype", None)
    if own is not None and dtype not in (None, own):
        raise RuntimeError(
            f"Expected a Storage of type {scalar_type_name(dtype)} or an UntypedStorage, but got "
            f"{scalar_type_name(own)}"
        )
    empty = finish(np.empty(0, (dtype or own or dtypes.int64).numpy_dtype), False)
    return empty.set_(storage.untyped())


def _on(array: Any, device: Any) -> Any:
    if device.type == "cpu":
        return array
    return uninitialized(array.shape, from_numpy_dtype(array.dtype), device)


def array_of(data: Any, dtype: Any = None) -> Any:
    """A new array with the values of `data`, in `dtype` or the one that PyTorch infers."""
    if isinstance(data, ndarray):
        _check_numpy(data)
        if not data.flags.c_contiguous:
            array = _array(data, order="C")
        else:
            array = copied(data) if data.nbytes >= _WORTH_ALIGNING else data.copy("K")
        return array if dtype is None else array.astype(dtype.numpy_dtype)
    if isinstance(data, np.generic):
        array = _array(data)
        _check_numpy(array)
        return array if dtype is None else _cast_numbers(array, dtype)
    if hasattr(data, "__array_interface__"):
        return array_of(np.asarray(data), dtype)
    if hasattr(data, "__dlpack__") and not isinstance(data, Tensor):
        return array_of(np.from_dlpack(data), dtype)
    shape = _shape_of(data)
    leaves: list[Any] = []
    _collect(data, shape, 0, leaves)
    if dtype is None:
        dtype = _inferred_dtype(leaves)
    values = _values(leaves, dtype)
    return values.reshape(shape)


index.array_of = array_of


def _is_sequence(value: Any) -> bool:
    return hasattr(value, "__len__") and hasattr(value, "__getitem__") and not isinstance(
        value, (str, bytes, dict, set, Tensor)
    ) and not (isinstance(value, ndarray) and value.ndim == 0) and not isinstance(value, np.generic)


def _shape_of(data: Any) -> tuple[int, ...]:
    shape = []
    while _is_sequence(data):
        shape.append(len(data))
        if len(shape) > 128:
            raise ValueError(f"too many dimensions '{type(data).__name__}'")
        if not shape[-1]:
            break
        if isinstance(data, ndarray):
            shape[-1:] = data.shape
            break
        data = data[0]
    if isinstance(data, (str, bytes)):
        if shape:
            raise ValueError(f"too many dimensions '{type(data).__name__}'")
        raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
    return tuple(shape)


def _collect(data: Any, shape: tuple[int, ...], depth: int, leaves: list[Any]) -> None:
    if depth == len(shape):
        if _is_sequence(data):
            raise TypeError(f"'{type(data).__name__}' object cannot be interpreted as an integer")
        leaves.append(data)
        return
    if not _is_sequence(data):
        if isinstance(data, Tensor) and data._array.ndim:
            data = data.tolist()
        else:
            raise TypeError("not a sequence")
    if len(data) != shape[depth]:
        raise ValueError(
            f"expected sequence of length {shape[depth]} at dim {depth} (got {len(data)})"
        )
    for item in data:
        _collect(item, shape, depth + 1, leaves)


def _dtype_of_leaf(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.dtype
    if isinstance(value, (np.generic, ndarray)):
        return from_numpy_dtype(value.dtype)
    if isinstance(value, bool):
        return dtypes.bool_
    if isinstance(value, int):
        return dtypes.int64
    if isinstance(value, float):
        return get_default_dtype()
    if isinstance(value, complex):
        default = get_default_dtype()
        return dtypes.complex128 if default is dtypes.float64 else dtypes.complex64
    if hasattr(value, "__index__"):
        return dtypes.int64
    if isinstance(value, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{type(value).__name__}'")
    raise RuntimeError(f"Could not infer dtype of {type(value).__name__}")


def _inferred_dtype(leaves: list[Any]) -> Any:
    if not leaves:
        return get_default_dtype()
    result = None
    seen = {}
    for value in leaves:
        key = type(value)
        if key not in _NUMBERS or key not in seen:
            found = seen[key] = _dtype_of_leaf(value)
            result = found if result is None else promote_types(result, found)
    return result


def _values(leaves: list[Any], dtype: Any) -> Any:
    plain: list[Any] = []
    for value in leaves:
        if isinstance(value, Tensor):
            if value._array.size != 1:
                raise TypeError("only integer tensors of a single element can be converted to "
                                "an index")
            value = value.item()
        elif isinstance(value, (np.generic, ndarray)):
            value = value.item()
        if dtype.category < 3 and isinstance(value, complex):
            raise TypeError("must be real number, not complex")
        plain.append(value)
    if dtype.category == 1:
        return _integers(plain, dtype)
    try:
        if dtype.category == 0:
            return _array([bool(v) for v in plain], _BOOL)
        wide = np.complex128 if dtype.category == 3 else np.float64
        return _array(plain, wide).astype(dtype.numpy_dtype)
    except (TypeError, ValueError):
        for value in plain:
            _dtype_of_leaf(value)
        raise


def _integers(plain: list[Any], dtype: Any) -> Any:
    low, high = np.iinfo(dtype.numpy_dtype).min, np.iinfo(dtype.numpy_dtype).max
    numbers = []
    for value in plain:
        if isinstance(value, (str, bytes)):
            raise TypeError(f"new(): invalid data type '{type(value).__name__}'")
        try:
            number = int(value)
        except (ValueError, OverflowError):  # NaN and infinities
            number = high + 1
        except TypeError:
            _dtype_of_leaf(value)
            raise
        if not low <= number <= high:
            if dtype is dtypes.int64 and not isinstance(value, float):
                raise ValueError("Overflow when unpacking long long")
            if not (low < 0 or -high - 1 <= number < 0) or dtype.is_signed or number > high or (
                number < -high - 1
            ):
                raise RuntimeError(
                    f"value cannot be converted to type {dtype.name} without overflow"
                )
            number += high + 1  # PyTorch lets small negative numbers wrap around
        numbers.append(number)
    return _array(numbers, dtype.numpy_dtype)


def _cast_numbers(array: Any, dtype: Any) -> Any:
    if array.dtype.kind == "c" and not dtype.is_complex:
        raise TypeError("must be real number, not complex")
    return array.astype(dtype.numpy_dtype)


# -- sharing memory ------------------------------------------------------------------------------


def _check_numpy(array: Any) -> None:
    if array.dtype not in _BY_NUMPY:
        if not array.dtype.isnative:
            raise ValueError(
                "given numpy array has byte order different from the native byte order. "
                "Conversion between byte orders is currently not supported."
            )
        from_numpy_dtype(array.dtype)
    if array.size and min(array.strides, default=0) < 0:
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative "
            "strides are not currently supported. (You can probably work around this by making a "
            "copy of your array  with array.copy().) "
        )
    item = array.itemsize
    for stride in array.strides:
        if stride % item:
            raise ValueError(
                "given numpy array strides not a multiple of the element byte size. Copy the "
                "numpy array to reallocate the memory."
            )


_warned_about_read_only = False


def _warn_about_read_only(stacklevel: int) -> None:
    global _warned_about_read_only  # noqa: PLW0603 - once per program
    if _warned_about_read_only:
        return
    _warned_about_read_only = True
    warnings.warn(
        "The given NumPy array is not writable, and PyTorch does not support non-writable tensors. "
        "This means writing to this tensor will result in undefined behavior. You may want to copy "
        "the array to protect its data or make it writable before converting it to a tensor. This "
        "type of warning will be suppressed for the rest of this program.",
        UserWarning, stacklevel=stacklevel,
    )


@composite()
def from_numpy(ndarray: Any) -> Tensor:
    """Makes a tensor that shares the memory of a NumPy array: changes are seen by both.

    Example:
        >>> import numpy as np, taper as torch
        >>> a = np.zeros(2)
        >>> _ = torch.from_numpy(a).add_(1); a
        array([1., 1.])
    """
    if type(ndarray) is not _ndarray and not isinstance(ndarray, _ndarray):
        name = type(ndarray).__name__
        if isinstance(ndarray, np.generic):
            name = "numpy." + name
        raise TypeError(f"expected np.ndarray (got {name})")
    if ndarray.dtype not in _BY_NUMPY or not ndarray.flags.c_contiguous:
        _check_numpy(ndarray)
    if not ndarray.flags.writeable:
        _warn_about_read_only(3)
    # Its own array object, since ours may be resized or set to other memory.
    result = _new(Tensor)
    result._array = ndarray.view() if type(ndarray) is _ndarray else ndarray.view(_ndarray)
    result._edge = result._storage = result._base = result._grad = None
    return result


_ndarray = np.ndarray


@composite()
def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """Makes a tensor of `data`, without copying where that is possible.

    Tensors stay themselves, NumPy arrays share their memory, if dtype and device fit.
    Example:
        >>> import taper as torch
        >>> x = torch.ones(2)
        >>> torch.as_tensor(x) is x, torch.as_tensor([1, 2])
        (True, tensor([1, 2]))
    """
    if isinstance(data, Tensor):
        if dtype is None and device is None:
            return data
        return data.to(device, as_dtype(dtype, "as_tensor"))
    if isinstance(data, ndarray):
        result = from_numpy.forward(data)
        if dtype is None and device is None:
            return result
        return result.to(device, as_dtype(dtype, "as_tensor"))
    if type(data) in (list, tuple, int, float, bool):
        return tensor.forward(data, dtype=dtype, device=device)
    return tensor_of(data, as_dtype(dtype, "as_tensor"), as_device(device), False)


@composite()
def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Makes a tensor of anything that holds numbers: tensors, NumPy arrays, DLPack, buffers, lists.

    Args:     copy: True always copies, False never, None only where needed
    Raises:   ValueError: if `copy=False` and a copy is needed.
    Example:
        >>> import taper as torch
        >>> torch.asarray([1.5, 2])
        tensor([1.5000, 2.0000])
    """
    wanted = as_dtype(dtype, "asarray")
    shares = True
    if isinstance(obj, Tensor):
        result = obj
    elif isinstance(obj, np.generic):
        result, shares = wrap(_array(obj)), False
    elif isinstance(obj, ndarray):
        result = from_numpy.forward(obj)
    elif hasattr(obj, "__dlpack__"):
        result = from_dlpack.forward(obj)
    elif _has_buffer(obj):
        result = frombuffer.forward(obj, dtype=wanted or get_default_dtype())
    else:
        shares = False
        result = tensor.forward(obj, dtype=dtype, device=device)
    if not shares:
        if copy is False:
            raise ValueError("can't alias arbitrary sequence into a tensor.")
        if wanted is not None:
            result = result.to(wanted)
        return result.requires_grad_() if requires_grad else result
    changes = wanted is not None and wanted is not result.dtype
    moves = device is not None and as_device(device) != result.device
    if copy is False and (changes or moves):
        what = f"dtype '{result.dtype}' into dtype '{wanted}'" if changes else (
            f"device '{result.device}' into device '{as_device(device)}'")
        raise ValueError(f"can't alias tensor with {what}." if False else
                         f"can't alias tensor with {what.replace(' into ', ' and ')}.")
    if changes or moves:
        result = result.to(device, wanted)
    elif copy:
        result = result.clone()
    if requires_grad:
        if result is obj and not obj.requires_grad:
            result = result.detach()
        return result.requires_grad_()
    if isinstance(obj, Tensor) and obj.requires_grad:
        result = result.detach()
    return result


def _has_buffer(obj: Any) -> bool:
    if isinstance(obj, (str, list, tuple, int, float, complex)):
        return False
    try:
        memoryview(obj)
    except TypeError:
        return False
    return True


@composite()
def frombuffer(
    buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """Makes a vector that reads the memory of a buffer, such as a bytearray, as `dtype`.

    Example:
        >>> import taper as torch
        >>> torch.frombuffer(bytearray([1, 0, 2, 0]), dtype=torch.int16)
        tensor([1, 2], dtype=torch.int16)
    """
    wanted = as_dtype(dtype, "frombuffer")
    try:
        view = memoryview(buffer)
    except TypeError:
        raise ValueError("object does not implement Python buffer protocol.") from None
    size, length = wanted.itemsize, view.nbytes
    if length <= 0 or count == 0:
        raise ValueError(
            f"both buffer length ({length}) and count ({count}) must not be 0"
        )
    if not 0 <= offset < length:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length "
            f"({length} bytes) minus 1"
        )
    if count > 0 and length - offset < count * size:
        raise ValueError(
            f"requested buffer length ({count} * {size} bytes) after offset ({offset} bytes) must "
            f"not be greater than actual buffer length ({length} bytes)"
        )
    if count < 0 and (length - offset) % size:
        raise ValueError(
            f"buffer length ({length - offset} bytes) after offset ({offset} bytes) must be a "
            f"multiple of element size ({size})"
        )
    if view.readonly:
        warnings.warn(
            "The given buffer is not writable, and PyTorch does not support non-writable tensors. "
            "This means you can write to the underlying (supposedly non-writable) buffer using the "
            "tensor. You may want to copy the buffer to protect its data or make it writable "
            "before converting it to a tensor. This type of warning will be suppressed for the "
            "rest of this program.",
            UserWarning, stacklevel=2,
        )
    return finish(np.frombuffer(buffer, wanted.numpy_dtype, count, offset), requires_grad)


@composite()
def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """Makes a tensor that shares the memory of anything with ``__dlpack__``, such as an array.

    Example:
        >>> import taper as torch
        >>> x = torch.zeros(2)
        >>> torch.from_dlpack(x)[0] = 1
        >>> x
        tensor([1., 0.])
    """
    if isinstance(ext_tensor, Tensor):
        result = ext_tensor.detach()
        return result.clone() if copy else result
    if not hasattr(ext_tensor, "__dlpack__"):
        ext_tensor = _Capsule(ext_tensor)
    array = np.from_dlpack(ext_tensor)
    if copy:
        array = array.copy()
    return wrap(array)


class _Capsule:
    """Gives a bare DLPack capsule the interface that NumPy reads from."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **ignored: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


@composite()
def scalar_tensor(
    s: Any, *, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """Makes a 0-d tensor of a number, in the default dtype unless told.

    Example:
        >>> import taper as torch
        >>> torch.scalar_tensor(2)
        tensor(2.)
    """
    wanted = as_dtype(dtype, "scalar_tensor")
    if isinstance(s, Tensor):
        s = s.item()
    if wanted is None:
        wanted = dtypes.complex64 if isinstance(s, complex) else get_default_dtype()
    if wanted.category == 1 and not isinstance(s, complex):
        s = int(s)
    array = _array(s).astype(wanted.numpy_dtype)
    return finish(_on(array, as_device(device)), requires_grad)
