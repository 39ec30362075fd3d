"""Makes tensors again from what a file says: storage, offset, sizes, strides.

Files may come from anywhere, so each number is checked against the memory it speaks of.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

import taper
from taper import Tensor
from taper.core.dtype import dtype as dtype_class
from taper.core.storage import Storage, UntypedStorage, new_storage
from taper.core.tensor import wrap

__all__ = ["NAMES", "LoadedStorage"]


class LoadedStorage:
    """Memory that was read from a file; all tensors made of it share it."""

    __slots__ = ("_storage", "bytes", "device", "dtype")

    def __init__(
        self, data: np.ndarray[Any, Any], dtype: dtype_class | None, device: str = "cpu"
    ) -> None:
        self.bytes = data  # one-dimensional, uint8
        self.dtype = dtype  # None: bytes
        self.device = device
        self._storage: Storage | None = None

    def shared(self, dtype: dtype_class) -> Storage:
        """The storage as tensors know it."""
        if self._storage is None:
            whole = len(self.bytes) // dtype.itemsize * dtype.itemsize
            self._storage = new_storage(self.bytes[:whole].view(dtype.numpy_dtype))
        return self._storage

    def untyped(self) -> UntypedStorage:
        """The storage as a user sees it."""
        return UntypedStorage(self.shared(taper.uint8))


def _tensor(
    storage: LoadedStorage, offset: int, size: Any, stride: Any, requires_grad: bool,
    dtype: dtype_class,
) -> Tensor:
    """A tensor over loaded memory."""
    if not isinstance(storage, LoadedStorage) or not isinstance(dtype, dtype_class):
        raise RuntimeError("a tensor in this file has no storage or no dtype")
    offset = operator.index(offset)
    shape = tuple(operator.index(n) for n in size)
    strides = tuple(operator.index(n) for n in stride)
    if len(shape) != len(strides) or offset < 0 or min((*shape, *strides), default=0) < 0:
        raise RuntimeError(
            f"a tensor in this file has size {list(shape)}, stride {list(strides)} and storage "
            f"offset {offset}"
        )
    if storage.device == "meta":
        result = taper.empty(shape, dtype=dtype, device="meta")
        if result.stride() != strides:
            result = taper.empty_strided(shape, strides, dtype=dtype, device="meta")
    else:
        count = len(storage.bytes) // dtype.itemsize
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if math.prod(shape) != 0 and last >= count:
            raise RuntimeError(
                f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset "
                f"{offset}, and itemsize {dtype.itemsize} requiring a storage size of "
                f"{(last + 1) * dtype.itemsize} are out of bounds for storage of size "
                f"{len(storage.bytes)}"
            )
        shared = storage.shared(dtype)
        itemsize = dtype.itemsize
        if math.prod(shape) == 0:
            array = np.empty(shape, dtype.numpy_dtype)
        else:
            array = np.ndarray(
                shape, dtype.numpy_dtype, storage.bytes, offset * itemsize,
                tuple(s * itemsize for s in strides),
            )
        result = wrap(array)
        result._storage = shared if math.prod(shape) else None
    if requires_grad:
        result.requires_grad_()
    return result


def rebuild_tensor(storage: Any, offset: int, size: Any, stride: Any) -> Tensor:
    """A tensor of a typed storage (the oldest form)."""
    return _tensor(storage, offset, size, stride, False, storage.dtype)


def rebuild_tensor_v2(
    storage: Any, offset: int, size: Any, stride: Any, requires_grad: bool, backward_hooks: Any,
    metadata: Any = None,
) -> Tensor:
    """A tensor of a typed storage."""
    result = _tensor(storage, offset, size, stride, requires_grad, storage.dtype)
    return _with_hooks(_resolved(result, metadata), backward_hooks)


def rebuild_tensor_v3(
    storage: Any, offset: int, size: Any, stride: Any, requires_grad: bool, backward_hooks: Any,
    dtype: Any, metadata: Any = None,
) -> Tensor:
    """A tensor of bytes, with a dtype."""
    result = _tensor(storage, offset, size, stride, requires_grad, dtype)
    return _with_hooks(_resolved(result, metadata), backward_hooks)


def _resolved(tensor: Tensor, metadata: Any) -> Tensor:
    """Does at once what PyTorch had put off when it saved the tensor."""
    metadata = metadata if isinstance(metadata, dict) else {}
    if metadata.get("conj"):
        tensor = tensor.conj()
    return -tensor if metadata.get("neg") else tensor


def _with_hooks(tensor: Tensor, hooks: Any) -> Tensor:
    if isinstance(hooks, dict) and hooks:
        tensor._backward_hooks = hooks
    return tensor


def rebuild_parameter(data: Tensor, requires_grad: bool, backward_hooks: Any) -> Tensor:
    """A parameter."""
    return _with_hooks(taper.nn.Parameter(data, bool(requires_grad)), backward_hooks)


def rebuild_parameter_with_state(
    data: Tensor, requires_grad: bool, backward_hooks: Any, state: Any
) -> Tensor:
    """A parameter with attributes of its own."""
    return _with_state(rebuild_parameter(data, requires_grad, backward_hooks), state)


def _with_state(tensor: Tensor, state: Any) -> Tensor:
    """Gives a tensor its Python attributes back."""
    if isinstance(state, tuple):
        if len(state) != 2:
            raise RuntimeError(f"Invalid serialized state: {state}")
        state = {**(state[0] or {}), **(state[1] or {})}
    for name, value in (state or {}).items():
        if not isinstance(name, str) or name.startswith("_") or hasattr(type(tensor), name):
            raise RuntimeError(f"a file can't set the attribute {name!r} of a tensor")
        setattr(tensor, name, value)
    return tensor


def rebuild_from_type(
    function: Callable[..., Tensor], new_type: type, arguments: tuple[Any, ...], state: Any
) -> Tensor:
    """A tensor of a subclass, or one with attributes."""
    if function not in NAMES["torch._utils"].values():
        raise RuntimeError(f"{function!r} doesn't make tensors")
    result = function(*arguments)
    if type(result) is not new_type:
        result = result.as_subclass(new_type)
    if getattr(new_type, "__setstate__", None) is not getattr(Tensor, "__setstate__", None):
        result.__setstate__(state)
        return result
    return _with_state(result, state)


def rebuild_sparse_tensor(layout: Any, data: tuple[Any, ...]) -> Tensor:
    """A sparse tensor of any layout."""
    if layout is taper.sparse_coo:
        indices, values, size, *coalesced = data
        return taper.sparse_coo_tensor(
            indices, values, size, check_invariants=True,
            **({"is_coalesced": coalesced[0]} if coalesced else {}),
        )
    compressed, plain, values, size = data
    return taper.sparse_compressed_tensor(
        compressed, plain, values, size, layout=layout, check_invariants=True
    )


def rebuild_meta_tensor(dtype: Any, size: Any, stride: Any, requires_grad: bool) -> Tensor:
    """A tensor without data."""
    nothing = LoadedStorage(np.empty(0, np.uint8), dtype, "meta")
    return _tensor(nothing, 0, size, stride, requires_grad, dtype)


def layout_named(name: str) -> Any:
    """The layout that files call ``torch.strided`` and so on."""
    layouts = {repr(getattr(taper, n)): getattr(taper, n) for n in (
        "strided", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc")}
    return layouts[name]


#: module → name in files → function of ours
NAMES: dict[str, dict[str, Callable[..., Any]]] = {
    "torch._utils": {
        "_rebuild_tensor": rebuild_tensor,
        "_rebuild_tensor_v2": rebuild_tensor_v2,
        "_rebuild_tensor_v3": rebuild_tensor_v3,
        "_rebuild_parameter": rebuild_parameter,
        "_rebuild_parameter_with_state": rebuild_parameter_with_state,
        "_rebuild_sparse_tensor": rebuild_sparse_tensor,
        "_rebuild_meta_tensor_no_storage": rebuild_meta_tensor,
    },
    "torch._tensor": {"_rebuild_from_type_v2": rebuild_from_type},
    "torch.serialization": {"_get_layout": layout_named},
}
