"""Writing a file that takes the place of another one at once, when all of it is on disk.

Note [what a kill leaves]. On Linux the file has no name while it is written, so nothing is left of
it. At its end it needs one for a moment, because no system call puts a nameless file in the place
of a named one: `.NAME.taper-complete` beside it. Elsewhere the file is `.NAME.taper-unfinished`
from the start. Whoever saves to NAME next takes these names over; so there is one file at most.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import secrets
import stat
import threading
from collections.abc import Iterator
from typing import IO, Any

__all__ = ["replacing"]

_LONGEST_NAME = 200  # bytes of a name that others are made of; file systems allow 255
_SYNC_EVERY = 16 << 20


@contextlib.contextmanager
def replacing(path: str) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` when all is written, and on disk.

    Whatever happens on the way, `path` holds either what it held before or what was written.
    Devices, pipes, and files in folders where no new file may be made, are written in place.
    """
    path = os.path.realpath(path)
    mode = None
    with contextlib.suppress(FileNotFoundError):
        mode = os.stat(path).st_mode
    folder = os.path.dirname(path)
    if (mode is not None and not stat.S_ISREG(mode)) or not os.access(folder, os.W_OK):
        with open(path, "wb") as file:
            yield file
        return
    temporary = os.path.join(folder, _temporary_name(os.path.basename(path)))
    descriptor = _nameless_file(folder)
    has_name = descriptor is None
    if descriptor is None:
        descriptor, temporary = _named_file(temporary + "unfinished")
    raw = _DiskFile(descriptor, "wb")
    with io.BufferedWriter(raw) as file:
        try:
            yield file
            file.flush()
            raw.sync()
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(descriptor, stat.S_IMODE(mode))
            if has_name:
                os.replace(temporary, path)
            else:
                _name_and_replace(descriptor, temporary + "complete", path)
        except BaseException:
            if has_name:  # as long as the file is open, nobody takes it over
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
            raise
    _sync_folder(folder)


def _temporary_name(name: str) -> str:
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = hashlib.sha1(os.fsencode(name)).hexdigest()
    return f".{name}.taper-"


def _sync_folder(folder: str) -> None:
    """Brings a new name to the disk as well, if the folder may be opened, not only written to."""
    if os.name == "posix" and os.access(folder, os.R_OK):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# -- files without a name ----------------------------------------------------------------------


def _nameless_file(folder: str) -> int | None:
    """A descriptor of a file without a name; None where there are none.

    (Linux has them, on most file systems.)
    """
    if not hasattr(os, "O_TMPFILE") or not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
            return None
        raise


def _name_and_replace(descriptor: int, temporary: str, path: str) -> None:
    """Puts a nameless file in the place of `path`, in two steps.

    Whoever finds the temporary name taken, by a save that was killed between them or by one that is
    between them right now, does the other's second step: that file is as complete.
    """
    while True:
        try:
            # With a folder given, Python asks for the file that the link in /proc leads to.
            os.link(f"/proc/self/fd/{descriptor}", temporary, src_dir_fd=descriptor)
            is_ours = True
        except FileExistsError:
            is_ours = False
        with contextlib.suppress(FileNotFoundError):  # somebody did this step for us
            os.replace(temporary, path)
        if is_ours:
            return


# -- files with a name ---------------------------------------------------------------------------


def _named_file(temporary: str) -> tuple[int, str]:
    """A descriptor of an empty file, and its name.

    One that a killed process has left is taken over, one that is being written is waited for:
    who writes it holds a lock. Where there are no locks, its name is its own.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return _file_of_own_name(temporary)
    while True:
        descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_named(descriptor, temporary):  # it wasn't put in its place meanwhile
                os.ftruncate(descriptor, 0)
                return descriptor, temporary
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                return _file_of_own_name(temporary)
            raise
        os.close(descriptor)


def _is_named(descriptor: int, name: str) -> bool:
    try:
        return os.path.samestat(os.stat(name), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _file_of_own_name(temporary: str) -> tuple[int, str]:
    name = f"{temporary}-{secrets.token_hex(4)}"
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    return os.open(name, flags, 0o666), name


class _DiskFile(io.FileIO):
    """A file whose bytes go to the disk while the next ones are being made and written."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._fresh = 0  # bytes since the thread was last woken
        self._thread: threading.Thread | None = None
        self._more = threading.Semaphore(0)
        self._is_done = False
        self._error: OSError | None = None

    def write(self, data: Any) -> int:
        count = super().write(data) or 0
        self._fresh += count
        if self._fresh >= _SYNC_EVERY:
            self._fresh = 0
            if self._thread is None:
                self._thread = threading.Thread(target=self._sync_as_told, daemon=True)
                self._thread.start()
            self._more.release()
        return count

    def _sync_as_told(self) -> None:
        while self._more.acquire() and not self._is_done and self._error is None:
            try:
                os.fsync(self.fileno())
            except OSError as error:  # the kernel tells it once only
                self._error = error

    def sync(self) -> None:
        """Returns when all bytes are on disk."""
        self._end_thread()
        if self._error is not None:
            raise self._error
        os.fsync(self.fileno())

    def _end_thread(self) -> None:
        if self._thread is not None:
            self._is_done = True
            self._more.release()
            self._thread.join()
            self._thread = None

    def close(self) -> None:
        self._end_thread()
        super().close()
