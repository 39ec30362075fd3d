"""Tensors in ordinary pickles: for `pickle.dumps`, worker processes, joblib and the like.

Tensors that share memory share it again when they come out of one pickle, and large memory
travels out of band where the protocol (5) can do that. These pickles are for taper only; files
to keep, or for PyTorch, are made by `save`.
"""

from __future__ import annotations

import copyreg
import weakref
from typing import Any

import numpy as np

import taper
from taper import Tensor
from taper.core.storage import Storage, UntypedStorage
from taper.serialization import rebuild
from taper.serialization.pickler import attributes_of, sparse_parts

__all__ = ["reduce_tensor"]


def reduce_tensor(tensor: Tensor) -> tuple[Any, ...]:
    """What ``tensor.__reduce_ex__`` returns."""
    kind = type(tensor)
    attributes = attributes_of(tensor)
    if tensor.layout is not taper.strided:
        function: Any = rebuild.rebuild_sparse_tensor
        arguments: tuple[Any, ...] = (tensor.layout, sparse_parts(tensor))
    elif tensor.is_meta:
        function = rebuild.rebuild_meta_tensor
        arguments = (tensor.dtype, tuple(tensor.shape), tensor.stride(), tensor.requires_grad)
    else:
        function = _tensor_of
        arguments = (
            _memory_of(tensor._shared_storage()), tensor.storage_offset(), tuple(tensor.shape),
            tensor.stride(), tensor.requires_grad, tensor.dtype,
        )
    if kind is Tensor and not attributes:
        return function, arguments
    # Classes of torch are found by a word, because pickle would look for them in torch.
    name = _WORDS.get(kind, kind)
    return _of_kind, (name, function, arguments, tensor.requires_grad, attributes)


_WORDS: dict[type, str] = {Tensor: "Tensor", taper.nn.Parameter: "Parameter"}


def _tensor_of(
    storage: rebuild.LoadedStorage, offset: int, size: Any, stride: Any, requires_grad: bool,
    dtype: Any,
) -> Tensor:
    return rebuild.rebuild_tensor_v3(storage, offset, size, stride, requires_grad, None, dtype)


def _of_kind(
    kind: Any, function: Any, arguments: tuple[Any, ...], requires_grad: bool,
    attributes: dict[str, Any],
) -> Tensor:
    result: Tensor = function(*arguments)
    if kind == "Parameter":
        result = taper.nn.Parameter(result.detach(), requires_grad)
    elif kind != "Tensor":
        result = result.as_subclass(kind)
    for name, value in attributes.items():
        setattr(result, name, value)
    return result


class _Memory:
    """What stands in a pickle for a storage; one for each, so that a pickle has it once."""

    __slots__ = ("__weakref__", "storage")

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def __reduce__(self) -> tuple[Any, ...]:
        return _storage_of, (UntypedStorage(self.storage)._bytes(),)


# A pickler keeps what it has pickled until it is done.
_memories: weakref.WeakValueDictionary[int, _Memory] = weakref.WeakValueDictionary()


def _memory_of(storage: Storage) -> _Memory:
    return _memories.setdefault(id(storage), _Memory(storage))


def _storage_of(data: np.ndarray[Any, Any]) -> rebuild.LoadedStorage:
    # Memory that came out of band may be read-only; tensors can be written to.
    return rebuild.LoadedStorage(data if data.flags.writeable else data.copy(), taper.uint8)


def _reduce_untyped(storage: UntypedStorage) -> tuple[Any, ...]:
    return rebuild.LoadedStorage.untyped, (_memory_of(storage._storage),)


copyreg.pickle(UntypedStorage, _reduce_untyped)
