"""A pipe for pickles between two processes, large ones through memory that both have mapped.

Note [blocks]. What is large goes into a block: memory without a name, whose file descriptor travels
once, with its first use. Whatever becomes of the processes, the system takes it back with the last
of them. When the last array on a block has died, its number travels back with the next message,
and the sender writes to it again; for to touch fresh memory, page by page, takes several times as
long as to write to it. So messages are small, and `can_send` tells whether the pipe takes one.
"""

from __future__ import annotations

import functools
import io
import itertools
import mmap
import os
import pickle
import select
import tempfile
import weakref
from collections.abc import Callable
from multiprocessing import reduction
from typing import Any

import numpy as np

__all__ = ["BlockPipe"]

_LARGE = 1 << 14  # bytes from which a buffer, or a pickle, is worth a block
_SMALLEST_BLOCK = 1 << 16
_ALIGNED = 64  # bytes: buffers begin at cache lines
_MOST_LENT = 32  # blocks that the other side may keep; to each belongs a file descriptor
_MOST_FREE = 8  # blocks that wait here


class BlockPipe:
    """One end of such a pipe, around a `multiprocessing.Connection`."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._ours = _Blocks()
        self._theirs: dict[int, mmap.mmap] = {}
        self._uses: dict[int, weakref.ref[Any]] = {}  # which say when the arrays on a block die
        self._unused: list[int] = []  # of theirs; what to tell them

    def close(self) -> None:
        """Closes the pipe. Arrays that came through it live on."""
        self.connection.close()

    def can_send(self) -> bool:
        """Whether a message can be sent without waiting for the other side to receive some."""
        return _is_ready(self.connection, "POLLOUT")

    def can_receive(self) -> bool:
        """Whether there is a message, or the end of them."""
        return _is_ready(self.connection, "POLLIN")

    def send(self, label: Any, value: Any) -> None:
        """Sends a label, which is small, and a value. Nothing is sent if that can't be pickled."""
        pickled, buffers = _pickled(value)
        if len(pickled) >= _LARGE:
            buffers.append(memoryview(pickled))
            pickled = b""
        ends = list(itertools.accumulate(_aligned(buffer.nbytes) for buffer in buffers))
        places = [
            (end - _aligned(buffer.nbytes), buffer.nbytes)
            for end, buffer in zip(ends, buffers, strict=True)
        ]
        block, handle = self._ours.take(ends[-1]) if ends else (None, None)
        if block is not None:
            memory = self._ours.memory[block]
            for (start, size), buffer in zip(places, buffers, strict=True):
                memory[start : start + size] = buffer
        unused = [self._unused.pop() for _ in range(len(self._unused))]
        header = label, places, block, handle is not None, self._ours.forgotten(), unused
        self.connection.send_bytes(pickle.dumps(header) + pickled)
        if handle is not None:
            reduction.send_handle(self.connection, handle, None)
            os.close(handle)
        if block is None:
            for buffer in buffers:
                self.connection.send_bytes(buffer)

    def receive(self) -> tuple[Any, Callable[[], Any]]:
        """Receives a label, and what unpickles the value.

        Raises: EOFError, OSError: if the other end is closed.
        """
        message = io.BytesIO(self.connection.recv_bytes())
        label, places, block, is_new, forgotten, unused = pickle.load(message)
        self._ours.free += unused
        for number in forgotten:
            del self._theirs[number], self._uses[number]
        if is_new:
            handle = reduction.recv_handle(self.connection)
            self._theirs[block] = mmap.mmap(handle, 0)
            os.close(handle)
        if block is not None:
            memory = self._memory(block)
            buffers = [memory[start : start + size] for start, size in places]
        else:
            buffers = [np.empty(size, np.uint8) for _, size in places]
            for buffer in buffers:
                self.connection.recv_bytes_into(buffer)
        if message.tell() == message.getbuffer().nbytes:  # the pickle came as the last buffer
            return label, functools.partial(pickle.loads, buffers.pop(), buffers=buffers)
        return label, functools.partial(pickle.load, message, buffers=buffers)

    def _memory(self, block: int) -> Any:
        """An array over a whole block of theirs, with a note of its end."""
        memory = np.ndarray((len(self._theirs[block]),), np.uint8, self._theirs[block])
        self._uses[block] = weakref.ref(memory, functools.partial(_note, self._unused, block))
        return memory


class _Blocks:
    """Blocks that were made here, by number."""

    def __init__(self) -> None:
        self.memory: dict[int, mmap.mmap] = {}
        self.free: list[int] = []  # not used by the other side
        self._numbers = itertools.count()

    def take(self, size: int) -> tuple[int | None, int | None]:
        """A block of at least this size, and its descriptor if it is new.

        Both are None where there can't be one.
        """
        capacity = max(_SMALLEST_BLOCK, 1 << (size - 1).bit_length())
        for number in self.free:
            if len(self.memory[number]) == capacity:
                self.free.remove(number)
                return number, None
        if len(self.memory) - len(self.free) >= _MOST_LENT:
            return None, None
        handle = _nameless_memory()
        if handle is None:
            return None, None
        try:
            os.ftruncate(handle, capacity)
            memory = mmap.mmap(handle, capacity)
        except OSError:  # the process has mapped all that it may
            os.close(handle)
            return None, None
        number = next(self._numbers)
        self.memory[number] = memory
        return number, handle

    def forgotten(self) -> list[int]:
        """Gives up the blocks that have waited longest, if too many wait; says which."""
        gone, self.free = self.free[:-_MOST_FREE], self.free[-_MOST_FREE:]
        for number in gone:
            del self.memory[number]
        return gone


def _nameless_memory() -> int | None:
    """A descriptor of memory, or of a file that has no name any more; None if there is none."""
    if not hasattr(reduction, "sendfds"):  # Windows
        return None
    try:
        if hasattr(os, "memfd_create"):
            return os.memfd_create("taper")
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())
    except OSError:  # no descriptor is left
        return None


def _is_ready(connection: Any, event: str) -> bool:
    if not hasattr(select, "poll"):  # Windows
        return event == "POLLOUT" or connection.poll()
    poll = select.poll()
    poll.register(connection, getattr(select, event))
    return bool(poll.poll(0))


def _note(unused: list[int], block: int, _: Any) -> None:
    unused.append(block)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


def _pickled(value: Any) -> tuple[bytes, list[memoryview]]:
    """A pickle and, apart from it and so without copying them, its large buffers."""
    large: list[memoryview] = []

    def is_small(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes >= _LARGE:
            large.append(raw)
        return raw.nbytes < _LARGE

    file = io.BytesIO()
    reduction.ForkingPickler(file, 5, True, is_small).dump(value)
    return file.getvalue(), large
