"""Reads files that `save`, or PyTorch's, has written."""

from __future__ import annotations

import mmap as memory_map
import os
import pickle
import sys
from collections.abc import Callable
from typing import IO, Any

import numpy as np

import taper
from taper.core.dtype import dtype as dtype_class
from taper.serialization import legacy
from taper.serialization.archive import ArchiveReader, is_archive
from taper.serialization.names import find_torch_object
from taper.serialization.options import LoadEndianness, options
from taper.serialization.rebuild import LoadedStorage, check_storage
from taper.serialization.restricted import restricted_load

__all__ = ["load"]

_ALIGNMENT = 16  # of the widest elements
_HOW_TO_TRUST = (
    "In PyTorch 2.6, we changed the default value of the `weights_only` argument in `torch.load` "
    "from `False` to `True`. Re-running `torch.load` with `weights_only` set to `False` will "
    "likely succeed, but it can result in arbitrary code execution. Do it only if you got the file "
    "from a trusted source."
)
_SEE_DOCS = (
    "\n\nCheck the documentation of torch.load to learn more about types accepted by default with "
    "weights_only https://pytorch.org/docs/stable/generated/torch.load.html."
)


def load(
    f: str | os.PathLike[str] | IO[bytes], map_location: Any = None, pickle_module: Any = None, *,
    weights_only: bool | None = None, mmap: bool | None = None, **pickle_load_args: Any,
) -> Any:
    """Loads an object from a file of PyTorch's format.

    Args:
        f: a path, or a seekable file object open for reading bytes.
        map_location: where tensors go: a device or its name, a dict from the names in the file, or
            a function ``(storage, name) -> storage or None``.
        pickle_module: whose Unpickler to use, with ``weights_only=False``.
        weights_only: True, the default: only tensors, numbers, strings and containers, and what
            `taper.serialization.add_safe_globals` allows; nothing in the file can run code. False:
            any Python object, for files from sources you trust.
        mmap: maps the file into memory instead of reading it; `f` must be a path.
        pickle_load_args: for the Unpickler, such as ``encoding``.

    Raises:
        pickle.UnpicklingError: if the file is damaged or names what isn't allowed.
        RuntimeError: if the archive is damaged, or tensors are on a device that isn't there.
        EOFError: if there is nothing, or too little, in a file of the older format.
        ValueError: if the file says that its bytes are in an unknown order.

    Example: see `save`.
    """
    if os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "").lower() in ("1", "y", "yes", "true"):
        weights_only = True
    if weights_only is None:
        weights_only = pickle_module is None
        no_way = os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "").lower()
        if no_way in ("1", "y", "yes", "true"):
            weights_only = False
    if weights_only and pickle_module is not None:
        raise RuntimeError(
            "Can not safely load weights when explicit pickle_module is specified"
        )
    is_path = isinstance(f, (str, os.PathLike))
    if mmap and not is_path:
        raise ValueError("f must be a file path in order to use the mmap argument")
    if is_path:
        path = os.fspath(f)  # type: ignore[arg-type]
        with open(path, "rb") as file:
            return _load(file, path if mmap else None, map_location, pickle_module, weights_only,
                         pickle_load_args)
    _check_seekable(f)
    return _load(f, None, map_location, pickle_module, weights_only, pickle_load_args)  # type: ignore[arg-type]


def _check_seekable(file: Any) -> None:
    for method in ("seek", "tell", "read"):
        if not hasattr(file, method):
            raise AttributeError(
                f"'{type(file).__name__}' object has no attribute '{method}'. You can only "
                "torch.load from a file that is seekable. Please pre-load the data into a buffer "
                "like io.BytesIO and try to load from it instead."
            )


def _load(
    file: IO[bytes], mapped_path: str | None, map_location: Any, pickle_module: Any,
    weights_only: bool, pickle_load_args: dict[str, Any],
) -> Any:
    try:
        if is_archive(file):
            archive = ArchiveReader(file)
            if "constants.pkl" in archive:
                raise NotImplementedError(
                    "this file is a TorchScript archive; taper reads state dicts: save "
                    "module.state_dict() with PyTorch first"
                )
            if "data.pkl" not in archive or "version" not in archive:
                raise RuntimeError(
                    "PytorchStreamReader failed locating file data.pkl: this zip archive is not a "
                    "checkpoint"
                )
            storages = _ArchiveStorages(archive, mapped_path, map_location)
            data = archive.read("data.pkl").tobytes()
            if weights_only:
                return restricted_load(data, storages.find, archive.file_size)
            pickle_load_args.setdefault("encoding", "utf-8")
            return unrestricted_load(data, storages.find, pickle_module, pickle_load_args)
        if mapped_path is not None:
            raise RuntimeError(
                "mmap can only be used with files saved with "
                "`torch.save(_use_new_zipfile_serialization=True), please torch.save your "
                "checkpoint with this option in order to use mmap."
            )
        if weights_only:
            return legacy.load(file, map_location, restricted_load, restored, (_size_of(file),))
        return legacy.load(
            file, map_location, unrestricted_load, restored, (pickle_module, pickle_load_args)
        )
    except pickle.UnpicklingError as error:
        if not weights_only:
            raise
        raise pickle.UnpicklingError(_advice(str(error))) from error.__cause__


def _size_of(file: IO[bytes]) -> int:
    here = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(here)
    return size


def _advice(problem: str) -> str:
    """The error of a restricted load, with what the user can do."""
    if "add_safe_globals" in problem:
        return (
            "Weights only load failed. This file can still be loaded, to do so you have two "
            "options, \033[1mdo those steps only if you trust the source of the checkpoint\033[0m. "
            f"\n\t(1) {_HOW_TO_TRUST}\n\t(2) Alternatively, to load with `weights_only=True` "
            "please check the recommended steps in the following error message.\n\t"
            f"WeightsUnpickler error: {problem}{_SEE_DOCS}"
        )
    if problem.endswith("is blocked."):
        return f"Weights only load failed. {_HOW_TO_TRUST}\n\n\n{problem}{_SEE_DOCS}"
    return (
        f"Weights only load failed. {_HOW_TO_TRUST}\nThis file may also be damaged. "
        f"WeightsUnpickler error: {problem}{_SEE_DOCS}"
    )


def unrestricted_load(
    data: Any, find_storage: Callable[[Any], Any], pickle_module: Any = None,
    arguments: dict[str, Any] | None = None,
) -> Any:
    """Unpickles anything: for files from trusted sources."""
    import io

    class Unpickler((pickle_module or pickle).Unpickler):  # type: ignore[misc]
        """Finds our classes under PyTorch's names."""

        def find_class(self, module: str, name: str) -> Any:
            if module.partition(".")[0] == "torch":
                return find_torch_object(module, name)
            return super().find_class(module, name)

        def persistent_load(self, saved_id: Any) -> Any:
            return find_storage(saved_id)

    file = io.BytesIO(data) if isinstance(data, bytes) else data
    return Unpickler(file, **(arguments or {})).load()


class _ArchiveStorages:
    """The memory in an archive, each piece read when first asked for."""

    def __init__(
        self, archive: ArchiveReader, mapped_path: str | None, map_location: Any
    ) -> None:
        self._archive = archive
        self._map_location = map_location
        self._storages: dict[str, LoadedStorage] = {}
        self._swapped = self._has_other_byteorder()
        self._mapped: memory_map.mmap | None = None
        if mapped_path is not None:
            with open(mapped_path, "rb") as file:
                self._mapped = _map_file(file)

    def _has_other_byteorder(self) -> bool:
        if "byteorder" in self._archive:
            order = self._archive.read("byteorder").tobytes().decode("ascii", "replace")
            if order not in ("little", "big"):
                raise ValueError("Unknown endianness type: " + order)
        else:
            chosen = options.endianness or LoadEndianness.NATIVE
            order = {
                LoadEndianness.NATIVE: sys.byteorder, LoadEndianness.LITTLE: "little",
                LoadEndianness.BIG: "big",
            }[chosen]
        return order != sys.byteorder

    def find(self, saved_id: Any) -> LoadedStorage:
        """The storage that a pickle names."""
        if not isinstance(saved_id, tuple) or len(saved_id) != 5 or saved_id[0] != "storage":
            raise pickle.UnpicklingError("unknown saved id: it names no storage")
        _, kind, key, location, count = saved_id
        check_storage(kind, key, location, count)
        if key not in self._storages:
            device = restored_location(location, self._map_location)
            if device == "meta":
                data = np.empty(0, np.uint8)
            else:
                data = self._data(f"data/{key}")
                itemsize = kind.dtype.itemsize
                if count * itemsize > len(data):
                    raise RuntimeError(
                        f"storage {key} of this file should have {count} elements of {itemsize} "
                        f"bytes, but its record has {len(data)} bytes"
                    )
                if self._swapped:
                    data = _swapped(data, kind.dtype)
            self._storages[key] = restored(
                LoadedStorage(data, kind.dtype, device), location, self._map_location
            )
        return self._storages[key]

    def _data(self, record: str) -> np.ndarray[Any, Any]:
        if self._mapped is None:
            return self._archive.read(record)
        begin = self._archive.offset(record)
        if begin % _ALIGNMENT:  # our files and PyTorch's are aligned, others needn't be
            return self._archive.read(record)
        return np.frombuffer(self._mapped, np.uint8, self._archive.size(record), begin)


def _swapped(data: np.ndarray[Any, Any], dtype: dtype_class) -> np.ndarray[Any, Any]:
    """The bytes of numbers, in the other byte order."""
    part = dtype.to_real().itemsize
    return np.ascontiguousarray(data.reshape(-1, part)[:, ::-1]).reshape(-1)


def _map_file(file: IO[bytes]) -> memory_map.mmap:
    """A file as memory that tensors may write to; the file changes only with MAP_SHARED."""
    private = options.mmap_flags == getattr(memory_map, "MAP_PRIVATE", 2)
    if private:
        return memory_map.mmap(file.fileno(), 0, access=memory_map.ACCESS_COPY)
    with open(file.name, "r+b") as writable:
        return memory_map.mmap(writable.fileno(), 0, access=memory_map.ACCESS_WRITE)


def restored_location(location: Any, map_location: Any) -> str:
    """The device, "cpu" or "meta", that a storage saved from `location` is loaded to."""
    if isinstance(map_location, dict):
        location = map_location.get(location, location)
    elif map_location is not None and not callable(map_location):
        location = map_location
    name = str(location)
    kind = name.partition(":")[0]
    if kind in ("cpu", "meta"):
        return kind
    if callable(map_location) or any(package for package in options.packages):
        return "cpu"  # `restored` asks
    if kind == "cuda":
        raise RuntimeError(
            "Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is "
            "False. If you are running on a CPU-only machine, please use torch.load with "
            "map_location=torch.device('cpu') to map your storages to the CPU."
        )
    raise RuntimeError(
        f"don't know how to restore data location of torch.UntypedStorage (tagged with {name})"
    )


def restored(storage: LoadedStorage, location: Any, map_location: Any) -> LoadedStorage:
    """What the user's function makes of a loaded storage."""
    if callable(map_location) and not isinstance(map_location, (str, taper.device)):
        result = map_location(storage.untyped(), location)
        if result is not None:
            storage.bytes = result._bytes()
            storage._storage = None
            return storage
        restored_location(location, None)
    elif str(location).partition(":")[0] not in ("cpu", "meta"):
        for _, _, restore in options.packages:
            result = restore(storage.untyped(), str(location))
            if result is not None:
                storage.bytes = result._bytes()
                storage._storage = None
                return storage
    return storage
