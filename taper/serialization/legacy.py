"""Reads the format of before PyTorch 1.6: pickles one after the other, then the memory."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from taper.serialization.names import StorageKind
from taper.serialization.rebuild import LoadedStorage
from taper.serialization.save import LEGACY_MAGIC, LEGACY_VERSION

__all__ = ["load"]


def load(
    file: IO[bytes], map_location: Any, read_object: Callable[..., Any],
    restore: Callable[..., Any], arguments: tuple[Any, ...],
) -> Any:
    """The object in a file.

    Args:
        file: open at its beginning. map_location: as in `taper.load`.
        read_object: unpickles ``(file, find_storage, *arguments)``.
        restore: moves a storage as `map_location` says.
    """
    start = file.tell()
    if not file.read(1):
        raise EOFError("Ran out of input")
    file.seek(start)
    if _is_tar(file):
        raise NotImplementedError(
            "this file has the tar format of before PyTorch 0.1.10: load it with PyTorch and save "
            "it again"
        )
    file.seek(start)

    def no_storage(saved_id: Any) -> Any:
        raise pickle.UnpicklingError(f"unexpected storage {saved_id!r}")

    if read_object(file, no_storage) != LEGACY_MAGIC:
        raise RuntimeError("Invalid magic number; corrupt file?")
    version = read_object(file, no_storage)
    if version != LEGACY_VERSION:
        raise RuntimeError(f"Invalid protocol version: {version}")
    system = read_object(file, no_storage)
    is_little = not isinstance(system, dict) or system.get("little_endian", True)
    if not is_little:
        raise NotImplementedError("this file was written on a big-endian machine")
    # Tensors are made before their memory is read: give them pieces of it to be filled later.
    storages: dict[str, LoadedStorage] = {}
    counts: dict[str, tuple[int, int]] = {}

    def find_storage(saved_id: Any) -> LoadedStorage:
        if not isinstance(saved_id, tuple) or len(saved_id) != 6 or saved_id[0] != "storage":
            raise pickle.UnpicklingError(f"unknown saved id: {saved_id!r}")
        _, kind, key, location, count, view = saved_id
        if not isinstance(kind, StorageKind) or not isinstance(count, int) or count < 0:
            raise pickle.UnpicklingError(f"a storage in this file has no type: {saved_id!r}")
        if view is not None:
            raise NotImplementedError(
                "this file has views of storages, a form of before PyTorch 0.4: load it with "
                "PyTorch and save it again"
            )
        if key not in storages:
            itemsize = kind.dtype.itemsize if kind.dtype is not None else 1
            _check_room(file, count * itemsize)
            data = np.empty(count * itemsize, np.uint8)
            counts[key] = (count, itemsize)
            storages[key] = restore(LoadedStorage(data, kind.dtype), location, map_location)
        return storages[key]

    result = read_object(file, find_storage, *arguments)
    keys = read_object(file, no_storage)
    if not isinstance(keys, list):
        raise pickle.UnpicklingError("this file doesn't list its storages")
    for key in keys:
        if not isinstance(key, str) or key not in storages:
            raise RuntimeError(f"no tensor in this file uses storage {key!r}")
        count, itemsize = counts[key]
        header = file.read(8)
        if len(header) < 8 or struct.unpack("<q", header)[0] != count:
            raise RuntimeError(f"storage {key!r} of this file has the wrong size")
        data = file.read(count * itemsize)
        if len(data) < count * itemsize:
            raise EOFError(f"storage {key!r} of this file ends early")
        storages[key].bytes[...] = np.frombuffer(data, np.uint8)
    return result.untyped() if isinstance(result, LoadedStorage) else result


def _is_tar(file: IO[bytes]) -> bool:
    """Whether a tar archive, with its mark in the first block, begins at the file's position."""
    file.seek(257, 1)
    return file.read(5) == b"ustar"


def _check_room(file: IO[bytes], size: int) -> None:
    """Raises if the file can't hold as many bytes as it speaks of."""
    here = file.tell()
    end = file.seek(0, 2)
    file.seek(here)
    if size > end - here:
        raise RuntimeError(
            f"a storage of this file should have {size} bytes, but only {end - here} are left"
        )
