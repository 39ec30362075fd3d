"""Reads and writes safetensors files, without the package of that name (which works, too).

Source: the format's description in the README of huggingface/safetensors. Eight bytes tell the
length of a header in JSON: for each tensor its dtype, shape, and where its bytes lie after the
header; they follow each other without gaps. Nothing in such a file can run.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

import numpy as np

import taper
from taper import Tensor
from taper.serialization.archive import read_into
from taper.serialization.replacing import replacing

__all__ = ["load_file", "read_metadata", "save_file"]

_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000  # that of the format's own reader
_ALIGNMENT = 8
_ADDRESSES = 2**63

_DTYPES = {
    "BOOL": taper.bool, "U8": taper.uint8, "I8": taper.int8, "I16": taper.int16,
    "U16": taper.uint16, "I32": taper.int32, "U32": taper.uint32, "I64": taper.int64,
    "U64": taper.uint64, "F16": taper.float16, "BF16": taper.bfloat16, "F32": taper.float32,
    "F64": taper.float64, "C64": taper.complex64, "F8_E4M3": taper.float8_e4m3fn,
    "F8_E5M2": taper.float8_e5m2, "F8_E4M3FNUZ": taper.float8_e4m3fnuz,
    "F8_E5M2FNUZ": taper.float8_e5m2fnuz, "F8_E8M0": taper.float8_e8m0fnu,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class Entry(NamedTuple):
    """Where a tensor lies in a file."""

    name: str
    dtype: taper.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


def save_file(
    tensors: Mapping[str, Tensor], filename: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Saves named tensors to a file that takes the place of an older one at once.

    Tensors that share memory are written one by one, and don't share it when they are loaded.

    Args:
        tensors: by name.
        metadata: texts that are kept with them.

    Example:
        >>> import os, tempfile
        >>> import taper as torch
        >>> from taper.serialization.safetensors import load_file, save_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "model.safetensors")
        ...     save_file({"weight": torch.ones(2, dtype=torch.bfloat16)}, path)
        ...     load_file(path)
        {'weight': tensor([1., 1.], dtype=torch.bfloat16)}
    """
    header: dict[str, Any] = {}
    if metadata is not None:
        for key, text in metadata.items():
            if not isinstance(key, str) or not isinstance(text, str):
                raise TypeError(f"metadata has to be texts by text, got {key!r}: {text!r}")
        header["__metadata__"] = dict(metadata)
    for name, tensor in tensors.items():
        _check(name, tensor)
    # The widest come first, so that each begins at a multiple of its width.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    offset = 0
    for name, tensor in ordered:
        size = tensor.numel() * tensor.dtype.itemsize
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [offset, offset + size]}
        offset += size
    described = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    described += b" " * (-len(described) % _ALIGNMENT)
    with replacing(os.fspath(filename)) as file:
        file.write(len(described).to_bytes(_LENGTH_BYTES, "little") + described)
        for _, tensor in ordered:
            file.write(_bytes_of(tensor))


def load_file(
    filename: str | os.PathLike[str], device: Any = "cpu"
) -> dict[str, Tensor]:
    """Returns the tensors of a file by name.

    Raises:   RuntimeError: if the file isn't what it says it is
    """
    with open(filename, "rb") as file:
        entries, _, _ = _read_header(file)
        loaded = {}
        for entry in entries:  # they follow the header, and each other
            array = np.empty(entry.shape, entry.dtype.numpy_dtype)
            if not read_into(file, array.reshape(-1).view(np.uint8).data):
                raise _invalid(f"{entry.name!r} ends early")
            if sys.byteorder == "big":
                array = array.byteswap()
            loaded[entry.name] = taper.from_numpy(array).to(device)
        return loaded


def read_metadata(filename: str | os.PathLike[str]) -> dict[str, str]:
    """Returns the texts that were saved with a file's tensors."""
    with open(filename, "rb") as file:
        return _read_header(file)[1]


def _check(name: Any, tensor: Any) -> None:
    if not isinstance(name, str) or not isinstance(tensor, Tensor):
        raise TypeError(f"save_file() takes tensors by name, got {name!r}: {type(tensor).__name__}")
    if name == "__metadata__":
        raise ValueError("a tensor can't be called '__metadata__', the format uses that name")
    if tensor.device.type == "meta" or tensor.layout is not taper.strided:
        raise ValueError(f"tensor {name!r} has no memory of its own that could be written")
    if tensor.dtype not in _NAMES:
        raise ValueError(f"tensor {name!r}: safetensors has no dtype for {tensor.dtype}")


def _bytes_of(tensor: Tensor) -> Any:
    """A tensor's elements one after the other, as bytes that a file can write."""
    array = np.ascontiguousarray(tensor.detach()._array)
    if sys.byteorder == "big":
        array = array.byteswap()
    return array.reshape(-1).view(np.uint8).data


def _read_header(file: IO[bytes]) -> tuple[list[Entry], dict[str, str], int]:
    """A file's entries, its texts, and where its data begin; all checked against its size."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    start = _LENGTH_BYTES + length
    if size < _LENGTH_BYTES or start > size or length > _LONGEST_HEADER:
        raise _invalid(f"its header would have {length} bytes, the file has {size}")
    try:
        header = json.loads(file.read(length).decode(), object_pairs_hook=_without_repeats,
                            parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"its header can't be read: {error}") from None
    if not isinstance(header, dict):
        raise _invalid("its header is no object")
    texts = header.pop("__metadata__", {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise _invalid("its metadata aren't texts")
    entries = sorted((_entry(name, told) for name, told in header.items()),
                     key=lambda entry: (entry.begin, entry.end))
    end = 0
    for entry in entries:
        if entry.begin != end:
            raise _invalid(f"{entry.name!r} begins at {entry.begin}, after bytes up to {end}")
        end = entry.end
    if end != size - start:
        raise _invalid(f"its tensors have {end} bytes, the file has {size - start} for them")
    return entries, texts, start


def _entry(name: str, told: Any) -> Entry:
    """What a header says of one tensor."""
    if not isinstance(told, dict) or set(told) != {"dtype", "shape", "data_offsets"}:
        raise _invalid(f"{name!r} isn't described by dtype, shape and data_offsets")
    dtype = _DTYPES.get(told["dtype"]) if isinstance(told["dtype"], str) else None
    if dtype is None:
        shown = told["dtype"] if isinstance(told["dtype"], str) else type(told["dtype"])
        raise _invalid(f"{name!r} has the unknown dtype {shown!r:.40}")
    shape, offsets = told["shape"], told["data_offsets"]
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2 or len(shape) > 64:
        raise _invalid(f"shape or data_offsets of {name!r} aren't lists of sizes")
    begin, end = offsets
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise _invalid(f"{name!r} of shape {shape} can't have {end - begin} bytes")
    if math.prod(n for n in shape if n) * dtype.itemsize >= _ADDRESSES:
        raise _invalid(f"{name!r} of shape {shape} is too large, empty as it is")
    return Entry(name, dtype, tuple(shape), begin, end)


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _invalid(why: str) -> RuntimeError:
    return RuntimeError(f"invalid safetensors file: {why}")
