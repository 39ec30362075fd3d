"""Memory for large results: what was freed lately is used again.

The system hands out fresh memory page by page, on first touch, and that takes longer than most
kernels on it; and small pages are looked up slowly where threads walk large arrays. So a large
array made here has large pages, if the system lends them, and keeps its memory in a `Block`; when
the last array on it dies, the memory waits for the next result of its size. The pool is bounded,
the oldest memory is given back first, and arrays of other origin are left alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import mmap
import threading
from collections import OrderedDict
from functools import cache
from typing import Any

import numpy as np

from taper.core.storage import address_of

__all__ = ["clear", "copied", "new_array", "waiting_bytes"]

_SMALLEST = 1 << 17  # bytes; malloc itself reuses what is smaller
_ALIGNED = 1 << 15  # bytes; from here on arrays begin at a cache line, as crossing one costs double
_ROUNDED_TO = 1 << 16  # so that similar sizes can use each other's memory
_MOST_BYTES = 1 << 28  # that wait in the pool
_LINE = 64
_PAGE = 1 << 21  # bytes of a large page
_HUGE = 3 << 20  # bytes that are worth large pages
# Arrays that begin at the same place of their pages would fight for the same lines of the cache.
_STAGGER = 4096 + _LINE
_turns = itertools.cycle(range(8))

_ndarray = np.ndarray


class _Pool:
    """Memory that waits, by size; the size that was freed last is given back last.

    Nobody waits for the lock: arrays die at any moment, also while this thread holds it, and a
    process may fork then. Who doesn't get it does without the pool.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.by_size: OrderedDict[int, list[Any]] = OrderedDict()
        self.bytes = 0

    def take(self, size: int) -> Any:
        """Memory of this size, or None."""
        if not self.lock.acquire(blocking=False):
            return None
        try:
            kept = self.by_size.get(size)
            if not kept:
                return None
            self.bytes -= size
            memory = kept.pop()
            if not kept:
                del self.by_size[size]
            return memory
        finally:
            self.lock.release()

    def give(self, memory: Any, size: int) -> None:
        """Keeps memory for the next one who asks."""
        if not self.lock.acquire(blocking=False):
            return
        try:
            self.by_size.setdefault(size, []).append(memory)
            self.by_size.move_to_end(size)
            self.bytes += size
            while self.bytes > _MOST_BYTES:
                oldest, kept = next(iter(self.by_size.items()))
                kept.pop()
                self.bytes -= oldest
                if not kept:
                    del self.by_size[oldest]
        finally:
            self.lock.release()


_pool = _Pool()


def _fresh(size: int) -> tuple[Any, int]:
    """New memory, and where in it the first cache line or large page begins."""
    if size >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        pages = mmap.mmap(-1, size + 2 * _PAGE)
        with contextlib.suppress(OSError):  # a system without large pages
            pages.madvise(mmap.MADV_HUGEPAGE)
        raw = np.frombuffer(pages, np.uint8)
        return raw, -address_of(raw) % _PAGE + _STAGGER * next(_turns)
    raw = np.empty(size + _LINE, np.uint8)
    return raw, -address_of(raw) % _LINE


class Block:
    """Owns memory for as long as arrays use it; then the pool has it."""

    memory: Any  # a NumPy array, and where in it the first cache line begins
    capacity: int
    give = _pool.give  # held here, as names of modules are gone when the interpreter exits

    def __del__(self) -> None:
        self.give(self.memory, self.capacity)


@cache
def _block_type(size: int) -> Any:
    """Arrays need an owner with the buffer protocol: a ctypes array is one."""
    return type("Block", (Block, ctypes.c_char * size), {})


def clear() -> None:
    """Gives all waiting memory back to the system."""
    with _pool.lock:
        _pool.by_size.clear()
        _pool.bytes = 0


def waiting_bytes() -> int:
    """How much memory waits to be used again."""
    return _pool.bytes


def new_array(shape: Any, dtype: Any, size: int, strides: Any = None) -> Any:
    """An uninitialized array; `size` is its number of elements. Large ones use memory again.

    `strides`, in bytes, must describe a dense array.
    """
    count = size * dtype.itemsize
    if count < _SMALLEST:
        if count < _ALIGNED and strides is None:
            return np.empty(shape, dtype)
        raw = np.empty(count + _LINE, np.uint8)
        return _ndarray(shape, dtype, raw, -address_of(raw) % _LINE, strides)
    capacity = -(-count // _ROUNDED_TO) * _ROUNDED_TO
    memory = _pool.take(capacity)
    if memory is None:
        memory = _fresh(capacity)
    block = _block_type(capacity).from_buffer(*memory)
    block.memory = memory
    block.capacity = capacity
    return _ndarray(shape, dtype, block, 0, strides)


def copied(array: Any) -> Any:
    """A copy of a contiguous array, in memory as large results have it."""
    made = new_array(array.shape, array.dtype, array.size)
    made[...] = array
    return made
