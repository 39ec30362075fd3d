"""Compiled kernels on disk: one file each, named by everything that its machine code depends on.

A file is the digest of its content, then the content. Whatever can't be read, or doesn't match its
digest, is not there; whatever can't be written is left. So a cache that is read-only, missing,
full, cut off by a crash or shared by processes costs a compilation at most.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

__all__ = ["ObjectCache", "sha256"]

_DIGEST_SIZE = 32
_MOST_FILES = 8192  # of some 4 KB each


def sha256(content: bytes) -> Any:
    """A digest, from a module that programs which compile nothing needn't wait for."""
    import hashlib

    return hashlib.sha256(content)


class ObjectCache:
    """Machine code by key, in a folder; without one (None) nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._checked_size = False

    def load(self, key: str) -> bytes | None:
        """What was stored under the key, if it is there and whole."""
        if self.folder is None:
            return None
        try:
            data = (self.folder / f"{key}.o").read_bytes()
        except OSError:
            return None
        digest, content = data[:_DIGEST_SIZE], data[_DIGEST_SIZE:]
        return content if content and sha256(content).digest() == digest else None

    def store(self, key: str, content: bytes) -> None:
        """Writes an entry in one step: readers see all of it or nothing."""
        if self.folder is None:
            return
        import tempfile

        try:
            # Others could plant code in a folder that they may write to.
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._drop_oldest()
            descriptor, name = tempfile.mkstemp(".partial", dir=self.folder)
        except OSError:
            return
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(sha256(content).digest() + content)
            os.replace(name, self.folder / f"{key}.o")
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(name)

    def _drop_oldest(self) -> None:
        """Once a process: keeps the folder from growing forever."""
        if self._checked_size or self.folder is None:
            return
        self._checked_size = True
        files = list(self.folder.glob("*.o"))
        if len(files) <= _MOST_FILES:
            return
        files.sort(key=lambda file: file.stat().st_mtime)
        for file in files[: len(files) // 2]:
            with contextlib.suppress(OSError):
                file.unlink()
