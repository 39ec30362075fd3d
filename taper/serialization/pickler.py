"""Pickles objects as PyTorch does: tensors by name of their storage, classes by PyTorch's names."""

from __future__ import annotations

import codecs
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
        data = obj.storage._bytes()
        size = data.nbytes
        # Tensors made with `.data` or `Parameter(tensor)` have storages of their own over the same
        # memory; to a file they are one. Empty memory has no address to go by.
        where = (int(address_of(data)), size) if size else (-1 - len(self.storages), 0)
        key = self._keys.get(where)
        if key is None:
            key = self._keys[where] = str(len(self.storages))
            self.storages.append(data)
            self.itemsizes.append(1 if obj.kind is None else obj.kind.dtype.itemsize)
        if obj.kind is not None and size:
            if self._kinds.setdefault(where[0], obj.kind) is not obj.kind:
                raise RuntimeError(
                    "Cannot save multiple tensors or storages that view the same data as "
                    "different types"
                )
            size //= obj.kind.dtype.itemsize
        kind = kind_name(obj.kind)
        if self._legacy and obj.kind is None:
            kind = torch_name("torch", "ByteStorage")
        name = ("storage", kind, key, "cpu", size)
        return (*name, None) if self._legacy else name

    # -- objects ----------------------------------------------------------------

    def reducer_override(self, obj: Any) -> Any:
        """How tensors, and what describes them, are put into words."""
        kind = type(obj)
        if kind in _PLAIN:  # most of what there is
            return NotImplemented
        if isinstance(obj, Tensor):
            return reduce_tensor(obj)
        if kind is Size:
            return torch_name("torch", "Size"), (tuple(obj),)
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


def reduce_tensor(tensor: Tensor) -> tuple[Any, ...]:
    """A tensor as a call of the function that makes it again."""
    kind = type(tensor)
    attributes = attributes_of(tensor)
    attributes.pop("persistent", None)
    if kind is taper.nn.Parameter:
        arguments: Any = (tensor.data, tensor.requires_grad, OrderedDict())
        if attributes:
            return torch_name("torch._utils", "_rebuild_parameter_with_state"), (
                *arguments, attributes,
            )
        return torch_name("torch._utils", "_rebuild_parameter"), arguments
    name, plain_arguments = _reduce_plain(tensor)
    function = torch_name("torch._utils", name)
    if attributes or (kind is not Tensor and kind is not taper.nn.Buffer):
        return torch_name("torch._tensor", "_rebuild_from_type_v2"), (
            function, kind, plain_arguments, attributes,
        )
    return function, plain_arguments


def attributes_of(tensor: Tensor) -> dict[str, Any]:
    """What a program has set on a tensor, without what taper itself keeps there."""
    return {
        name: value for name, value in tensor.__dict__.items()
        if not name.startswith("_") and name != "name"
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
