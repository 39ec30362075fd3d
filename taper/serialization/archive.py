"""The container: a zip archive of uncompressed records, each beginning at a multiple of 64 bytes.

Writing is ours, because zip libraries can't align; reading finds records through `zipfile`, then
takes their bytes straight from the file. The format is that of PKWARE's APPNOTE 6.3.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from typing import IO, Any

import numpy as np

from taper.serialization.options import options

__all__ = ["ArchiveReader", "ArchiveWriter", "is_archive", "read_into"]

_ALIGNMENT = 64
_SMALL = 1 << 14  # records are written together with their headers
_LIMIT = 0xFFFFFFFF  # sizes from here on need the 64-bit fields
_FILE_NAMES_ARE_UTF8 = 1 << 11
_LOCAL_HEADER = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL_HEADER = struct.Struct("<4sHHHHHHIIIHHHHHII")


class ArchiveWriter:
    """Writes records one after the other to a file object; `close` adds the directory."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self._name = name
        self._offset = 0
        self._directory: list[bytes] = []

    def write(self, record: str, data: bytes | memoryview | np.ndarray[Any, Any]) -> None:
        """Adds a record."""
        # NumPy's stubs know the buffer protocol from Python 3.12 on.
        buffer: Any = data
        view = memoryview(buffer).cast("B") if len(data) else memoryview(b"")
        size = view.nbytes
        checksum = zlib.crc32(view) if options.crc32 else 0
        name = f"{self._name}/{record}".encode()
        large = size >= _LIMIT
        version = 45 if large else 0
        extra = struct.pack("<HHQQ", 1, 16, size, size) if large else b""
        begin = self._offset + _LOCAL_HEADER.size + len(name) + len(extra) + 4
        padding = -begin % _ALIGNMENT
        extra += struct.pack("<2sH", b"FB", padding) + b"Z" * padding
        shown = _LIMIT if large else size
        fields = (version, _FILE_NAMES_ARE_UTF8, 0, 0, 0, checksum, shown, shown, len(name))
        header_at = self._offset
        header = _LOCAL_HEADER.pack(b"PK\3\4", *fields, len(extra)) + name + extra
        if size < _SMALL:
            self._put(header + view)
        else:
            self._put(header)
            self._put(view)
        self._directory.append(self._entry(fields, name, size, header_at))

    def _entry(self, fields: tuple[int, ...], name: bytes, size: int, header_at: int) -> bytes:
        """The record's entry in the directory."""
        wide = b""
        if size >= _LIMIT:
            wide += struct.pack("<QQ", size, size)
        if header_at >= _LIMIT:
            wide += struct.pack("<Q", header_at)
        extra = struct.pack("<HH", 1, len(wide)) + wide if wide else b""
        shown_at = min(header_at, _LIMIT)
        return (
            _CENTRAL_HEADER.pack(
                b"PK\1\2", 0, *fields, len(extra), 0, 0, 0, 0, shown_at
            ) + name + extra
        )

    def _put(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._offset += len(data)

    def close(self) -> None:
        """Writes the directory; the file itself stays open."""
        begin, count = self._offset, len(self._directory)
        self._put(b"".join(self._directory))
        size = self._offset - begin
        if begin >= _LIMIT or size >= _LIMIT or count >= 0xFFFF:
            wide_at = self._offset
            self._put(
                struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, begin)
                + struct.pack("<4sIQI", b"PK\6\7", 0, wide_at, 1)
            )
        count = min(count, 0xFFFF)
        size, begin = min(size, _LIMIT), min(begin, _LIMIT)
        self._put(struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, size, begin, 0))


def is_archive(file: IO[bytes]) -> bool:
    """Whether a zip archive begins at the file's position, which stays the same."""
    start = file.tell()
    found = file.read(4) == b"PK\3\4"
    file.seek(start)
    return found


class ArchiveReader:
    """Reads records by name.

    Raises: RuntimeError: for archives that are damaged, compressed, or not PyTorch's.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        start = file.tell()
        file.seek(0, os.SEEK_END)
        self.file_size = self._unread = file.tell()
        file.seek(start)
        try:
            directory = zipfile.ZipFile(file).infolist()
        except (zipfile.BadZipFile, ValueError, OSError, struct.error, NotImplementedError,
                UnicodeDecodeError, OverflowError) as error:
            raise _damaged("failed finding central directory") from error
        self._records: dict[str, zipfile.ZipInfo] = {}
        for info in directory:
            name = info.filename.partition("/")[2]
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
                raise _damaged(f"record {info.filename!r} is compressed or encrypted")
            if info.compress_size != info.file_size:
                raise _damaged(f"record {info.filename!r} has two sizes")
            if name in self._records:
                raise _damaged(f"there are two records {info.filename!r}")
            self._records[name] = info

    def __contains__(self, record: str) -> bool:
        return record in self._records

    def size(self, record: str) -> int:
        """The size of a record in bytes."""
        return self._find(record).file_size

    def _find(self, record: str) -> zipfile.ZipInfo:
        try:
            return self._records[record]
        except KeyError:
            raise RuntimeError(
                f"PytorchStreamReader failed locating file {record}: file not found"
            ) from None

    def offset(self, record: str) -> int:
        """Where the bytes of a record begin in the file."""
        info = self._find(record)
        if not 0 <= info.header_offset < self.file_size:
            raise _damaged(f"record {record!r} lies outside of the file")
        self._file.seek(info.header_offset)
        header = self._file.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\3\4":
            raise _damaged(f"record {record!r} has no header")
        name_size, extra_size = struct.unpack("<HH", header[-4:])
        begin = info.header_offset + _LOCAL_HEADER.size + name_size + extra_size
        if begin + info.file_size > self.file_size:
            raise _damaged(f"record {record!r} reaches beyond the end of the file")
        return begin

    def read(self, record: str) -> np.ndarray[Any, Any]:
        """The bytes of a record, in memory of their own."""
        begin, size = self.offset(record), self.size(record)
        self._unread -= size
        if self._unread < 0:
            raise _damaged("records lie over each other")
        data = np.empty(size, np.uint8)
        self._file.seek(begin)
        if not read_into(self._file, data.data):
            raise _damaged(f"record {record!r} ends early")
        return data


def read_into(file: IO[bytes], view: memoryview) -> bool:
    """Fills memory with what comes next in a file; False where the file ends before."""
    readinto = getattr(file, "readinto", None)
    while len(view):
        if readinto is not None:
            count = int(readinto(view))
        else:
            data = file.read(len(view))
            count = len(data)
            view[:count] = data
        if not count:
            return False
        view = view[count:]
    return True


def _damaged(what: str) -> RuntimeError:
    return RuntimeError(
        f"PytorchStreamReader failed reading zip archive: {what}. If you are seeing this error, "
        "there is a high likelihood that your checkpoint file is corrupted. This can happen if "
        "the checkpoint was not saved properly, was transferred incorrectly, or the file was "
        "modified after saving."
    )
