"""Storage: the memory that a tensor and its views share, with their version counter.

Note [storage is lazy]. Most tensors are never viewed, saved or changed in place, so a tensor's
`_storage` is None until somebody asks. None means: the memory of `_array`, at version 0, shared
with no other tensor. Making a view, saving a result or changing in place makes the `Storage`,
and views hand it on.

Note [views share a version counter]. `version` counts in-place changes. Whoever saves a tensor
for backward remembers the version; a later difference is an error (autograd/node.py).
"""

from __future__ import annotations

import ctypes
import os
import sys
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from taper.core.errors import overlap_error

__all__ = ["Storage", "UntypedStorage", "address_of", "dense_memory", "is_dense", "new_storage",
           "refuse_repeated_memory", "repeats_memory", "span_in_bytes", "strided_view"]

_ndarray = np.ndarray
_new = object.__new__


class Storage:
    """The region of memory that starts at `array`, and how often it was changed in place."""

    __slots__ = ("__weakref__", "array", "changed_at", "version", "views")

    array: Any  # the first tensor's array; the storage begins at its first element
    version: int
    changed_at: Any  # (operator, code object, instruction) of the last in-place change, or None
    views: list[weakref.ref[Any]] | None  # differentiable views, see autograd/views.py

    def count_change(self) -> None:
        """Counts one change of the memory in place."""
        self.version += 1


def new_storage(array: Any) -> Storage:
    """A storage at version 0 that begins at `array`."""
    storage = _new(Storage)
    storage.array = array
    storage.version = 0
    storage.changed_at = None
    storage.views = None
    return storage


class InferenceStorage(Storage):
    """The memory of a tensor made in inference mode: it counts no changes and can't be saved."""

    __slots__ = ()

    @property
    def version(self) -> int:  # type: ignore[override]
        raise RuntimeError(
            "Inference tensors cannot be saved for backward. Please do not use Tensors created in "
            "inference mode in computation tracked by autograd. To work around this, you can make "
            "a clone to get a normal tensor and use it in autograd, or use `torch.no_grad()` "
            "instead of `torch.inference_mode()`."
        )

    def count_change(self) -> None:
        """Does nothing: changes of such memory aren't counted."""


def inference_storage(array: Any) -> Storage:
    """A storage that begins at `array`, for a tensor made in inference mode."""
    storage = _new(InferenceStorage)
    storage.array = array
    storage.changed_at = None
    storage.views = None
    return storage


def _python_address(array: Any) -> int:
    """The address of an array's first element."""
    return array.__array_interface__["data"][0]  # type: ignore[no-any-return]


def _words_of_memory() -> Any:
    """All memory as pointer-sized words, to read `PyArrayObject.data`, the word after an object's
    header: 10x quicker than asking the array, and worth it as programs compare `data_ptr()`s.
    None where NumPy's own answer differs."""
    if sys.implementation.name != "cpython":  # elsewhere id() is no address
        return None
    try:
        memory = memoryview((ctypes.c_char * (2**62)).from_address(0)).cast("B").cast("P")
        probe = np.ones(3)
        if memory[(id(probe) >> 3) + HEADER_WORDS] != _python_address(probe):
            return None
    except (TypeError, ValueError, OverflowError):
        return None
    return memory


HEADER_WORDS = object.__basicsize__ // ctypes.sizeof(ctypes.c_void_p)
memory_words = _words_of_memory()


def _fast_address(array: Any) -> int:
    return memory_words[(id(array) >> 3) + HEADER_WORDS]  # type: ignore[no-any-return]


address_of = _python_address if memory_words is None else _fast_address


def start_of(array: Any) -> int:
    """Where an array of any class begins, in bytes from wherever its class counts."""
    if type(array) is _ndarray:
        return int(address_of(array))
    if hasattr(array, "address"):
        return int(array.address)
    return int(array.storage_offset * array.dtype.itemsize)


def owner_of(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The ndarray at the end of the chain of bases: the one whose memory it is."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def dense_memory(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A one-dimensional view of all memory that the owner of `array` has, in its dtype.

    Raises: RuntimeError: if the owner's elements are not dense (then no such view exists).
    """
    owner = owner_of(array)
    if type(owner) is not _ndarray:  # memmap's views take 10 µs each
        owner = owner.view(_ndarray)
    if not owner.flags.c_contiguous:
        order = sorted(range(owner.ndim), key=lambda d: owner.strides[d], reverse=True)
        owner = owner.transpose(order)
        if not owner.flags.c_contiguous:
            raise RuntimeError("this memory has gaps; make it contiguous() first")
    flat = owner.reshape(-1)
    return flat if flat.dtype == array.dtype else flat.view(array.dtype)


def repeats_memory(array: Any) -> bool:
    """Whether an array is expanded: then elements share memory, and it must not be written to."""
    strides = array.strides
    if 0 not in strides or not array.size:
        return False
    return any(s == 0 and n > 1 for s, n in zip(strides, array.shape, strict=True))


def refuse_repeated_memory(array: Any) -> None:
    """Raises PyTorch's error where an expanded array would be written to."""
    if repeats_memory(array):
        raise overlap_error()


def span_in_bytes(array: Any) -> int:
    """How many bytes lie between an array's first and last element, both included."""
    if array.size == 0:
        return 0
    reach = sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True))
    return int(reach + array.dtype.itemsize)


def is_dense(array: Any) -> bool:
    """Whether each cell of memory between the first and last element belongs to one element."""
    dense = array.size * array.dtype.itemsize
    return not repeats_memory(array) and span_in_bytes(array) == dense


class UntypedStorage:
    """A tensor's memory as bytes: what ``Tensor.untyped_storage()`` returns."""

    __module__ = "torch.storage"

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    @classmethod
    def from_file(cls, filename: Any, shared: bool = False, nbytes: int = 0) -> UntypedStorage:
        """Returns the bytes of a file as they are needed, without reading it first.

        Args:
            shared: what is written to the storage is written to the file, which is made as long
                as it has to be; otherwise the file stays as it is.
            nbytes: how many; 0: all.
        """
        if shared:
            with open(filename, "ab") as file:
                file.truncate(max(file.tell(), nbytes))
        size = os.path.getsize(filename)
        if size < nbytes:
            raise RuntimeError(
                f"unable to mmap {nbytes} bytes from file <{os.fspath(filename)}>: it has {size}"
            )
        count = nbytes or size
        if not count:  # nothing can't be mapped
            return cls(new_storage(np.empty(0, np.uint8)))
        return cls(new_storage(np.memmap(
            filename, np.uint8, "r+" if shared else "c", shape=(count,)
        ).view(np.ndarray)))

    def data_ptr(self) -> int:
        """Returns the address of the first byte."""
        return int(address_of(self._storage.array))

    def nbytes(self) -> int:
        """Returns the size in bytes."""
        return span_in_bytes(self._storage.array)

    size = nbytes
    __len__ = nbytes

    @property
    def device(self) -> Any:
        from taper.core.device import CPU

        return CPU

    def _bytes(self) -> np.ndarray[Any, Any]:
        array = self._storage.array
        flat = dense_memory(array)
        start = int(address_of(array)) - int(address_of(flat))
        raw = flat.view(np.uint8) if flat.dtype != np.uint8 else flat
        return raw[start : start + self.nbytes()]

    def tolist(self) -> list[int]:
        """Returns the bytes as ints."""
        return self._bytes().tolist()  # type: ignore[no-any-return]

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + self.nbytes()

    def untyped(self) -> UntypedStorage:
        """Returns itself: it is bytes already."""
        return self

    def __getitem__(self, index: Any) -> Any:
        """One byte, or a storage over some of them."""
        if isinstance(index, slice):
            if index.step not in (None, 1):
                raise RuntimeError(f"Trying to slice with a step of {index.step}, but only a step "
                                   "of 1 is supported")
            part = self._bytes()[index]
            # Memory of its own, whose first byte is at offset 0 for whoever looks at it.
            return UntypedStorage(new_storage(np.asarray(Memory(part.__array_interface__, part))))
        return int(self._bytes()[index])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """The bytes, so that ``torch.asarray(storage, dtype=torch.uint8)`` shares the memory."""
        return np.asarray(self._bytes(), dtype, copy=copy)

    def __setitem__(self, index: Any, value: int) -> None:
        self._bytes()[index] = value
        self._storage.count_change()

    def fill_(self, value: int) -> UntypedStorage:
        """Sets every byte to `value`."""
        self._bytes()[...] = value
        self._storage.count_change()
        return self

    def _cdata_key(self) -> int:
        return id(self._storage)

    @property
    def _cdata(self) -> int:
        return id(self._storage)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and other._storage is self._storage

    def __hash__(self) -> int:
        return id(self._storage)

    def __repr__(self) -> str:
        lines = "\n".join(f" {byte}" for byte in self.tolist())
        return f"{lines}\n[torch.storage.UntypedStorage(device=cpu) of size {self.nbytes()}]"


def strided_view(
    array: Any, shape: tuple[int, ...], strides: Sequence[int], offset: int = 0
) -> Any:
    """A view of the memory of `array` with this shape; strides and offset (from its first
    element) in bytes. Nobody checks bounds where the memory is not one dense block."""
    if type(array) is not _ndarray:
        return array.as_strided(shape, strides, offset)
    start = offset
    owner = array
    base = owner.base
    while type(base) is _ndarray:
        owner = base
        base = owner.base
    if owner is not array:
        offset += address_of(array) - address_of(owner)
    try:
        return _ndarray(shape, array.dtype, owner, offset, strides)
    except (ValueError, TypeError):  # the owner is not one C-ordered block, or it is too small
        pass
    try:
        memory = dense_memory(array)
    except RuntimeError:
        return _strided_anyhow(array, shape, tuple(strides), start)
    return _ndarray(shape, array.dtype, memory, offset, strides)


def _strided_anyhow(
    array: Any, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
) -> Any:
    """`strided_view` of memory with gaps, such as every other column of a NumPy array."""
    interface = dict(array.__array_interface__)
    interface["data"] = (interface["data"][0] + offset, interface["data"][1])
    interface["shape"] = shape
    interface["strides"] = strides
    if array.dtype.kind == "V":
        interface["typestr"] = f"|V{array.dtype.itemsize}"
    found = np.asarray(Memory(interface, array))
    return found if found.dtype == array.dtype else found.view(array.dtype)


class Memory:
    """Presents memory through NumPy's array interface and keeps its owner alive."""

    def __init__(self, interface: dict[str, Any], owner: Any) -> None:
        self.__array_interface__ = interface
        self.owner = owner
