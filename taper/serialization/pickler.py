"""Pickles objects as PyTorch does: tensors by name of their storage, classes by PyTorch's names."""

from __future__ import annotations

import codecs
import functools
import pickle
from collections import OrderedDict
from types import FunctionType
from typing import Any

import numpy as np

import taper
from taper import Tensor
from taper.core.device import device, layout
from taper.core.dtype import dtype as dtype_class
from taper.core.size import Size
from taper.core.storage import UntypedStorage, address_of
from taper.core.typed_storage import TypedStorage
from taper.nn.parameter import UninitializedTensorMixin
from taper.serialization.names import (
    StorageKind,
    TorchName,
    kind_name,
    storage_kind,
    torch_name,
    torch_name_of,
)

__all__ = ["TorchPickler", "attributes_of", "sparse_parts"]


_PLAIN = frozenset([int, float, bool, str, bytes, tuple, list, dict, type(None), TorchName])
_TENSORS = frozenset([Tensor, taper.nn.Parameter])


class _StorageUse:
    """A storage seen through a dtype: what stands in a pickle for the memory of a tensor."""

    __slots__ = ("kind", "storage")

    def __init__(self, storage: UntypedStorage, kind: StorageKind | None) -> None:
        self.storage = storage
        self.kind = kind


# Typeshed has a wrong class under this name.
_PythonPickler: Any = pickle._Pickler


class TorchPickler(_PythonPickler):
    """Python's own pickler (in Python, so that names can be written as we want them).

    Afterwards `storages` has the memory to save, in the order of its keys ("0", "1" …).
    """

    dispatch: dict[type, Any] = dict(_PythonPickler.dispatch)

    def __init__(self, file: Any, protocol: int, legacy: bool = False) -> None:
        super().__init__(file, protocol)
        self.storages: list[np.ndarray[Any, Any]] = []
        self.itemsizes: list[int] = []  # of the dtype each was first seen with
        self._legacy = legacy
        self._keys: dict[tuple[int, int], str] = {}
        self._kinds: dict[int, StorageKind] = {}

    # -- memory -----------------------------------------------------------------

    def persistent_id(self, obj: Any) -> Any:
        """Storages go into records of their own."""
        if type(obj) is not _StorageUse:
            if isinstance(obj, TypedStorage):
                obj = _StorageUse(obj.untyped(), storage_kind(obj.dtype))
            elif type(obj) is UntypedStorage:
                obj = _StorageUse(obj, None)
            else:
                return None
        kind = kind_name(obj.kind)
        if self._legacy and obj.kind is None:
            kind = torch_name("torch", "ByteStorage")
        name = ("storage", kind, *self._key(obj.storage._bytes(), obj.kind))
        return (*name, None) if self._legacy else name

    def _key(
        self, data: np.ndarray[Any, Any], kind: StorageKind | None
    ) -> tuple[str, str, int]:
        """The key that memory is saved under, its device, and how many elements it has."""
        size = data.nbytes
        # Tensors made with `.data` or `Parameter(tensor)` have storages of their own over the same
        # memory; to a file they are one. Empty memory has no address to go by.
        where = (int(address_of(data)), size) if size else (-1 - len(self.storages), 0)
        key = self._keys.get(where)
        if key is None:
            key = self._keys[where] = str(len(self.storages))
            self.storages.append(data)
            self.itemsizes.append(1 if kind is None else kind.dtype.itemsize)
        if kind is not None and size:
            if self._kinds.setdefault(where[0], kind) is not kind:
                raise RuntimeError(
                    "Cannot save multiple tensors or storages that view the same data as "
                    "different types"
                )
            size //= kind.dtype.itemsize
        return key, "cpu", size

    # -- the short way ------------------------------------------------------------

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        """Saves anything; most of what there is on a shorter way than Python's."""
        kind = type(obj)
        if kind in _PLAIN or kind in _TENSORS:
            known = self.memo.get(id(obj))
            if known is not None:
                self.write(self.get(known[0]))
                return
            if kind in _PLAIN:
                self.dispatch[kind](self, obj)
                return
            if self._save_dense(obj):
                self.memoize(obj)
                return
        super().save(obj, save_persistent_id)

    def _save_dense(self, tensor: Tensor) -> bool:
        """Writes what `reduce_tensor` says of a tensor, without making and remembering its tuples.

        False: the tensor isn't one of those that this can write.
        """
        array: Any = tensor._array
        first = array if tensor._storage is None else tensor._storage.array
        if type(array) is not np.ndarray or not first.flags.c_contiguous or self._legacy:
            return False
        dtype = tensor.dtype
        kind = storage_kind(dtype)
        if kind is None or attributes_of(tensor):
            return False
        write, save = self.write, self.save
        is_parameter = type(tensor) is taper.nn.Parameter
        if is_parameter:
            save(torch_name("torch._utils", "_rebuild_parameter"))
            write(pickle.MARK)
        save(torch_name("torch._utils", "_rebuild_tensor_v2"))
        write(pickle.MARK + pickle.MARK)
        save("storage")
        save(kind_name(kind))
        for part in self._key(first.reshape(-1).view(np.uint8), kind):
            save(part)
        write(pickle.TUPLE + pickle.BINPERSID)
        save(tensor.storage_offset())
        write(_written(tuple(array.shape)) + _written(tensor.stride()))
        self._save_last_arguments(tensor.requires_grad and not is_parameter)
        if is_parameter:
            self._save_last_arguments(tensor.requires_grad)
        return True

    def _save_last_arguments(self, requires_grad: bool) -> None:
        """The end of a call that makes a tensor: whether it requires grad, and no hooks."""
        self.write(pickle.NEWTRUE if requires_grad else pickle.NEWFALSE)
        self.save(OrderedDict)
        self.write(pickle.EMPTY_TUPLE + pickle.REDUCE + pickle.TUPLE + pickle.REDUCE)

    # -- objects ----------------------------------------------------------------

    def reducer_override(self, obj: Any) -> Any:
        """How tensors, and what describes them, are put into words."""
        kind = type(obj)
        if isinstance(obj, UninitializedTensorMixin):
            return obj.__reduce_ex__(self.proto)
        if isinstance(obj, Tensor):
            return reduce_tensor(obj)
        if kind is Size:
            return torch_name("torch", "Size"), (tuple(obj),)
        if kind.__module__ == "torch.return_types":
            return torch_name(kind.__module__, kind.__name__), (tuple(obj), {})
        if kind is device:
            arguments: Any = (obj.type,) if obj.index is None else (obj.type, obj.index)
            return torch_name("torch", "device"), arguments
        if kind is layout:
            return torch_name("torch.serialization", "_get_layout"), (repr(obj),)
        return NotImplemented

    def save_torch_name(self, obj: TorchName) -> None:
        self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        self.memoize(obj)

    def save_dtype(self, obj: dtype_class) -> None:
        self.save(torch_name("torch", obj.name))

    def save_global(self, obj: Any, name: str | None = None) -> None:
        """Classes and functions of ours have PyTorch's names."""
        there = torch_name_of(obj)
        if there is None:
            super().save_global(obj, name)
        else:
            self.save(there)

    def save_bytes(self, obj: bytes) -> None:
        """As text, in protocol 2; Python would call `bytes` where there are none, and PyTorch's
        reader, which trusts nobody, not."""
        if obj or self.proto > 2:
            _PythonPickler.save_bytes(self, obj)
        else:
            self.save_reduce(codecs.encode, ("", "latin1"), obj=obj)

    dispatch[bytes] = save_bytes
    dispatch[TorchName] = save_torch_name
    dispatch[dtype_class] = save_dtype
    dispatch[FunctionType] = save_global


@functools.lru_cache(1024)
def _written(numbers: tuple[int, ...]) -> bytes:
    """A tuple of sizes or strides as a pickle has it."""
    parts = []
    for number in numbers:
        if number < 256:
            parts.append(pickle.BININT1 + number.to_bytes(1, "little"))
        elif number < 65536:
            parts.append(pickle.BININT2 + number.to_bytes(2, "little"))
        else:
            parts.append(pickle.LONG1 + b"\x08" + number.to_bytes(8, "little"))
    tuples = (pickle.EMPTY_TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3)
    if len(numbers) < len(tuples):
        return b"".join(parts) + tuples[len(numbers)]
    return pickle.MARK + b"".join(parts) + pickle.TUPLE


def reduce_tensor(tensor: Tensor) -> tuple[Any, ...]:
    """A tensor as a call of the function that makes it again."""
    kind = type(tensor)
    attributes = attributes_of(tensor)
    if kind is taper.nn.Parameter:
        arguments: Any = (tensor.data, tensor.requires_grad, OrderedDict())
        if attributes:
            return torch_name("torch._utils", "_rebuild_parameter_with_state"), (
                *arguments, attributes,
            )
        return torch_name("torch._utils", "_rebuild_parameter"), arguments
    name, plain_arguments = _reduce_plain(tensor)
    function = torch_name("torch._utils", name)
    if attributes or kind is not Tensor:
        return torch_name("torch._tensor", "_rebuild_from_type_v2"), (
            function, kind, plain_arguments, attributes,
        )
    return function, plain_arguments


def attributes_of(tensor: Tensor) -> dict[str, Any]:
    """What a program has set on a tensor, without what taper itself keeps there."""
    return {
        name: value for name, value in tensor.__dict__.items()
        if name == "_is_buffer" or (not name.startswith("_") and name != "name")
    }


def _reduce_plain(tensor: Tensor) -> tuple[str, tuple[Any, ...]]:
    """The function that makes a tensor, and its arguments."""
    if tensor.layout is not taper.strided:
        return "_rebuild_sparse_tensor", (tensor.layout, sparse_parts(tensor))
    size, stride = tuple(tensor.shape), tuple(tensor.stride())
    if tensor.is_meta:
        return "_rebuild_meta_tensor_no_storage", (
            tensor.dtype, size, stride, tensor.requires_grad,
        )
    kind = storage_kind(tensor.dtype)
    use = _StorageUse(tensor.untyped_storage(), kind)
    where = (tensor.storage_offset(), size, stride)
    arguments: Any = (use, *where, tensor.requires_grad, OrderedDict())
    if kind is None:
        return "_rebuild_tensor_v3", (*arguments, tensor.dtype)
    return "_rebuild_tensor_v2", arguments


def sparse_parts(tensor: Tensor) -> tuple[Any, ...]:
    """What a sparse tensor consists of, in the order that files keep it in."""
    if tensor.layout is taper.sparse_coo:
        return tensor._indices(), tensor._values(), tensor.size(), tensor.is_coalesced()
    if tensor.layout in (taper.sparse_csr, taper.sparse_bsr):
        return tensor.crow_indices(), tensor.col_indices(), tensor.values(), tensor.size()
    return tensor.ccol_indices(), tensor.row_indices(), tensor.values(), tensor.size()
