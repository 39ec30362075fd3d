"""Makes tensors again from what a file says: storage, offset, sizes, strides.

Files may come from anywhere, so each number is checked against the memory it speaks of.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

import taper
from taper import Tensor
from taper.core.dtype import dtype as dtype_class
from taper.core.storage import Storage, UntypedStorage, new_storage
from taper.core.tensor import wrap
from taper.core.typed_storage import TypedStorage
from taper.serialization.names import StorageKind

__all__ = ["NAMES", "LoadedStorage"]


class LoadedStorage(TypedStorage):
    """Memory that was read from a file; all tensors made of it share it."""

    def __init__(
        self, data: np.ndarray[Any, Any], dtype: dtype_class, device: str = "cpu"
    ) -> None:
        self.bytes = data  # one-dimensional, uint8
        self.dtype = dtype
        self.location = device
        self._storage: Storage | None = None
        self._resolved: dict[tuple[bool, bool], LoadedStorage] = {}

    def shared(self, dtype: dtype_class) -> Storage:
        """The storage as tensors know it."""
        if self._storage is None:
            whole = len(self.bytes) // dtype.itemsize * dtype.itemsize
            self._storage = new_storage(self.bytes[:whole].view(dtype.numpy_dtype))
        return self._storage

    @property
    def _untyped_storage(self) -> UntypedStorage:  # type: ignore[override]
        return UntypedStorage(self.shared(self.dtype))

    def resolved(self, conjugate: bool, negative: bool) -> LoadedStorage:
        """The storage with the operations done that PyTorch had put off when it saved a tensor.

        All such tensors share it: what looks at a storage a thousand times doesn't copy it a
        thousand times.
        """
        if not conjugate and not negative:
            return self
        found = self._resolved.get((conjugate, negative))
        if found is None:
            found = LoadedStorage(np.empty_like(self.bytes), self.dtype, self.location)
            self._resolved[conjugate, negative] = found
            self.resolve()
        return found

    def resolve(self) -> None:
        """Does these operations, again if the memory has been filled since."""
        for (conjugate, negative), found in self._resolved.items():
            array = self.shared(self.dtype).array
            array = np.conj(array) if conjugate else array
            found.shared(self.dtype).array[...] = -array if negative else array


def check_storage(kind: Any, key: Any, location: Any, count: Any) -> None:
    """Raises UnpicklingError unless these, from a file, can describe a storage."""
    if not isinstance(kind, StorageKind):
        raise pickle.UnpicklingError(f"a storage in this file has no type, but {type(kind)}")
    if not isinstance(key, str) or not isinstance(location, str):
        raise pickle.UnpicklingError("a storage in this file has no name or no location")
    if not isinstance(count, int) or not 0 <= count < 2**63:
        raise pickle.UnpicklingError("a storage in this file has a number of elements that is none")


_MOST_DIMENSIONS = 64  # NumPy's


def _sizes(value: Any) -> tuple[int, ...]:
    """Sizes or strides in a file."""
    if not isinstance(value, (tuple, list)) or len(value) > _MOST_DIMENSIONS or not all(
        isinstance(n, int) and 0 <= n < 2**63 for n in value
    ):
        raise RuntimeError("a tensor in this file has sizes or strides that aren't any")
    return tuple(map(int, value))


def _tensor(
    storage: LoadedStorage, offset: int, size: Any, stride: Any, requires_grad: bool,
    dtype: dtype_class,
) -> Tensor:
    """A tensor over loaded memory."""
    if not isinstance(storage, LoadedStorage) or not isinstance(dtype, dtype_class):
        raise RuntimeError("a tensor in this file has no storage or no dtype")
    shape, strides = _sizes(size), _sizes(stride)
    if len(shape) != len(strides) or not isinstance(offset, int) or not 0 <= offset < 2**63:
        raise RuntimeError(
            f"a tensor in this file has size {list(shape)}, stride {list(strides)} and storage "
            f"offset {offset if isinstance(offset, int) else type(offset)}"
        )
    if storage.location == "meta":
        result = taper.empty(shape, dtype=dtype, device="meta")
        if result.stride() != strides:
            result = taper.empty_strided(shape, strides, dtype=dtype, device="meta")
    else:
        itemsize = dtype.itemsize
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if math.prod(shape) != 0 and last >= len(storage.bytes) // itemsize:
            raise RuntimeError(
                f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset "
                f"{offset}, and itemsize {itemsize} requiring a storage size of "
                f"{(last + 1) * itemsize} are out of bounds for storage of size "
                f"{len(storage.bytes)}"
            )
        shared = storage.shared(dtype)
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
    return rebuild_tensor_v2(storage, offset, size, stride, False, None)


def rebuild_tensor_v2(
    storage: Any, offset: int, size: Any, stride: Any, requires_grad: bool, backward_hooks: Any,
    metadata: Any = None,
) -> Tensor:
    """A tensor of a typed storage."""
    if not isinstance(storage, LoadedStorage):
        raise RuntimeError("a tensor in this file has no storage")
    if isinstance(metadata, dict):
        storage = storage.resolved(bool(metadata.get("conj")), bool(metadata.get("neg")))
    result = _tensor(storage, offset, size, stride, requires_grad, storage.dtype)
    return _with_hooks(result, backward_hooks)


def rebuild_tensor_v3(
    storage: Any, offset: int, size: Any, stride: Any, requires_grad: bool, backward_hooks: Any,
    dtype: Any, metadata: Any = None,
) -> Tensor:
    """A tensor of bytes, with a dtype."""
    if isinstance(metadata, dict) and (metadata.get("conj") or metadata.get("neg")):
        raise NotImplementedError(
            f"a {dtype} tensor in this file was to be conjugated or negated: save it with "
            "resolve_conj() and resolve_neg()"
        )
    result = _tensor(storage, offset, size, stride, requires_grad, dtype)
    return _with_hooks(result, backward_hooks)


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
            raise RuntimeError(f"Invalid serialized state: a tuple of {len(state)}")
        state = {**(state[0] or {}), **(state[1] or {})}
    for name, value in (state or {}).items():
        if not isinstance(name, str):
            raise RuntimeError(f"a file can't name an attribute by a value of {type(name)}")
        if (name.startswith("_") and name != "_is_buffer") or hasattr(type(tensor), name):
            raise RuntimeError(f"a file can't set the attribute {name!r} of a tensor")
        setattr(tensor, name, value)
    return tensor


def rebuild_from_type(
    function: Callable[..., Tensor], new_type: type, arguments: tuple[Any, ...], state: Any
) -> Tensor:
    """A tensor of a subclass, or one with attributes."""
    result = function(*arguments)
    if type(result) is not new_type:
        result = result.as_subclass(new_type)
    if getattr(new_type, "__setstate__", None) is not getattr(Tensor, "__setstate__", None):
        result.__setstate__(state)
        return result
    return _with_state(result, state)


def makes_tensors(function: Any) -> bool:
    """Whether a function from a file is one of those that `rebuild_from_type` calls."""
    return any(function is known for known in NAMES["torch._utils"].values())


def rebuild_sparse_tensor(layout: Any, data: tuple[Any, ...]) -> Tensor:
    """A sparse tensor of any layout, whose indices are checked, if need be later."""
    waiting = _waiting.get()
    if waiting is None:
        return _sparse_tensor(layout, data, True)
    waiting.append((layout, data))
    return _sparse_tensor(layout, data, False)


# Sparse tensors that were made before their memory was read.
_waiting: ContextVar[list[tuple[Any, tuple[Any, ...]]] | None] = ContextVar(
    "waiting", default=None)


@contextmanager
def memory_comes_later() -> Iterator[None]:
    """In this block sparse tensors are made unchecked; at its end, they are checked."""
    waiting: list[tuple[Any, tuple[Any, ...]]] = []
    token = _waiting.set(waiting)
    try:
        yield
    finally:
        _waiting.reset(token)
    for layout, data in waiting:
        _sparse_tensor(layout, data, True)


def _sparse_tensor(layout: Any, data: tuple[Any, ...], check: bool) -> Tensor:
    if layout is taper.sparse_coo:
        indices, values, size, *coalesced = data
        return taper.sparse_coo_tensor(
            indices, values, size, check_invariants=check,
            **({"is_coalesced": coalesced[0]} if coalesced else {}),
        )
    compressed, plain, values, size = data
    return taper.sparse_compressed_tensor(
        compressed, plain, values, size, layout=layout, check_invariants=check
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
