"""Reads the format of before PyTorch 1.6: pickles one after the other, then the memory."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from taper.serialization.allowed import shown
from taper.serialization.archive import read_into
from taper.serialization.rebuild import LoadedStorage, check_storage, memory_comes_later
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
    end = file.seek(0, os.SEEK_END)
    file.seek(start)
    if _is_tar(file):
        raise NotImplementedError(
            "this file has the tar format of before PyTorch 0.1.10: load it with PyTorch and save "
            "it again"
        )
    file.seek(start)

    def no_storage(saved_id: Any) -> Any:
        raise pickle.UnpicklingError("a storage where there can't be one")

    if read_object(file, no_storage) != LEGACY_MAGIC:
        raise RuntimeError("Invalid magic number; corrupt file?")
    version = read_object(file, no_storage)
    if version != LEGACY_VERSION:
        raise RuntimeError(f"Invalid protocol version: {shown(version)}")
    system = read_object(file, no_storage)
    is_little = not isinstance(system, dict) or system.get("little_endian", True)
    if not is_little:
        raise NotImplementedError("this file was written on a big-endian machine")
    # Tensors are made before their memory is read: give them pieces of it to be filled later.
    storages: dict[str, LoadedStorage] = {}
    counts: dict[str, int] = {}
    announced = 0  # bytes of all storages

    def find_storage(saved_id: Any) -> Any:
        if isinstance(saved_id, tuple) and len(saved_id) == 4 and saved_id[0] == "module":
            return saved_id[1]  # a module's class, with its source code; none if nobody is trusted
        if not isinstance(saved_id, tuple) or len(saved_id) != 6 or saved_id[0] != "storage":
            raise pickle.UnpicklingError("unknown saved id: it names no storage")
        _, kind, key, location, count, view = saved_id
        check_storage(kind, key, location, count)
        if view is not None:
            raise NotImplementedError(
                "this file has views of storages, a form of before PyTorch 0.4: load it with "
                "PyTorch and save it again"
            )
        if key not in storages:
            itemsize = kind.dtype.itemsize
            nonlocal announced
            announced += count * itemsize
            if announced > end - file.tell():
                raise RuntimeError(
                    f"storages of this file should have {announced} bytes, but only "
                    f"{end - file.tell()} are left"
                )
            data = np.empty(count * itemsize, np.uint8)
            counts[key] = count
            storages[key] = restore(LoadedStorage(data, kind.dtype), location, map_location)
        return storages[key]

    with memory_comes_later():
        result = read_object(file, find_storage, *arguments)
        _fill(file, storages, counts, read_object(file, no_storage))
    return result


def _fill(
    file: IO[bytes], storages: dict[str, LoadedStorage], counts: dict[str, int], keys: Any
) -> None:
    """Reads the memory of the storages, which comes in the order of `keys`."""
    if not isinstance(keys, list):
        raise pickle.UnpicklingError("this file doesn't list its storages")
    for key in keys:
        if not isinstance(key, str) or key not in counts:
            raise RuntimeError(f"no tensor in this file uses storage {shown(key)}")
        header = file.read(8)
        if len(header) < 8 or struct.unpack("<q", header)[0] != counts.pop(key):
            raise RuntimeError(f"storage {key!r} of this file has the wrong size")
        if not read_into(file, storages[key].bytes.data):
            raise EOFError(f"storage {key!r} of this file ends early")
        storages[key].resolve()
    if counts:  # their memory would be whatever was there before
        raise EOFError(f"storage {next(iter(counts))!r} isn't in this file")


def _is_tar(file: IO[bytes]) -> bool:
    """Whether a tar archive, with its mark in the first block, begins at the file's position."""
    file.seek(257, 1)
    return file.read(5) == b"ustar"
