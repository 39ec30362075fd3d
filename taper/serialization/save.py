"""Writes objects with tensors to files."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import struct
import sys
from typing import IO, Any

import numpy as np

from taper.serialization.archive import ArchiveWriter
from taper.serialization.options import options
from taper.serialization.pickler import TorchPickler
from taper.serialization.replacing import replacing

__all__ = ["DEFAULT_PROTOCOL", "LEGACY_MAGIC", "LEGACY_VERSION", "save"]

DEFAULT_PROTOCOL = 2
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001


def save(
    obj: Any, f: str | os.PathLike[str] | IO[bytes], pickle_module: Any = pickle,
    pickle_protocol: int = DEFAULT_PROTOCOL, _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
) -> None:
    """Saves an object to a file that `load`, and PyTorch's, can read.

    Tensors that share memory do so again when they are loaded. An existing file is replaced at
    once, when the new one is complete and on disk: a crash leaves the old one.

    Args:
        obj: the object, such as a state dict.
        f: a path, or a file object open for writing bytes.
        pickle_module: only Python's own `pickle`.
        pickle_protocol: the version of the pickles in the file.

    Example:
        >>> import io
        >>> import taper as torch
        >>> file = io.BytesIO()
        >>> torch.save({"weight": torch.arange(3), "epoch": 5}, file)
        >>> _ = file.seek(0)
        >>> torch.load(file)
        {'weight': tensor([0, 1, 2]), 'epoch': 5}
    """
    if pickle_module is not pickle:
        raise NotImplementedError(
            f"save() with pickle_module={getattr(pickle_module, '__name__', pickle_module)}: "
            "taper writes files with Python's own pickle only"
        )
    if isinstance(f, (str, os.PathLike)):
        path = os.fspath(f)
        folder = os.path.dirname(path)
        if folder and not os.path.isdir(folder):
            raise RuntimeError(f"Parent directory {folder} does not exist.")
        name = os.path.splitext(os.path.basename(path))[0]
        with replacing(path) as file:
            _write(obj, file, name, pickle_protocol, _use_new_zipfile_serialization,
                   not _disable_byteorder_record)
    elif hasattr(f, "write"):
        _write(obj, f, "archive", pickle_protocol, _use_new_zipfile_serialization,
               not _disable_byteorder_record)
        if hasattr(f, "flush"):
            f.flush()
    else:
        raise AttributeError(
            "expected 'f' to be string, path, or a file-like object with a 'write' attribute"
        )


def _write(
    obj: Any, file: IO[bytes], name: str, protocol: int, zipped: bool, with_byteorder: bool
) -> None:
    if not zipped:
        _write_legacy(obj, file, protocol)
        return
    pickled = io.BytesIO()
    pickler = TorchPickler(pickled, protocol)
    pickler.dump(obj)
    archive = ArchiveWriter(file, name)
    archive.write("data.pkl", pickled.getvalue())
    archive.write(".format_version", b"1")
    archive.write(".storage_alignment", b"64")
    if with_byteorder:
        archive.write("byteorder", sys.byteorder.encode())
    identity = hashlib.sha1(pickled.getvalue())
    for key, data in enumerate(pickler.storages):
        archive.write(f"data/{key}", np.zeros_like(data) if options.skip_data else data)
        identity.update(struct.pack("<Q", data.nbytes))
    archive.write("version", b"3\n")
    number = int.from_bytes(identity.digest()[:16], "big") % 10**40
    archive.write(".data/serialization_id", f"{number:040d}".encode())
    archive.close()


def _write_legacy(obj: Any, file: IO[bytes], protocol: int) -> None:
    """The format of before PyTorch 1.6: pickles one after the other, then the memory."""
    pickle.dump(LEGACY_MAGIC, file, protocol=protocol)
    pickle.dump(LEGACY_VERSION, file, protocol=protocol)
    sizes = {"short": 2, "int": 4, "long": 4}
    system = {
        "protocol_version": LEGACY_VERSION, "little_endian": sys.byteorder == "little",
        "type_sizes": sizes,
    }
    pickle.dump(system, file, protocol=protocol)
    pickler = TorchPickler(file, protocol, legacy=True)
    pickler.dump(obj)
    pickle.dump([str(key) for key in range(len(pickler.storages))], file, protocol=protocol)
    file.flush()
    for data, itemsize in zip(pickler.storages, pickler.itemsizes, strict=True):
        file.write(struct.pack("<q", data.nbytes // itemsize))
        file.write(data.data)
