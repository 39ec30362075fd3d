"""Memory for large results: what was freed lately is used again.

The system hands out fresh memory page by page, on first touch, and that takes longer than most
kernels on it. So a large array made here keeps its memory in a `Block`; when the last array on it
dies, the memory waits for the next result of its size. The pool is bounded, the oldest memory is
given back first, and arrays of other origin are left alone.
"""

from __future__ import annotations

import ctypes
import threading
from collections import OrderedDict
from functools import cache
from typing import Any

import numpy as np

from taper.core.storage import address_of

__all__ = ["clear", "new_array"]

_SMALLEST = 1 << 17  # bytes; malloc itself reuses what is smaller
_ALIGNED = 1 << 15  # bytes; from here on arrays begin at a cache line: vectors that cross one cost double
_ROUNDED_TO = 1 << 16  # so that similar sizes can use each other's memory
_MOST_BYTES = 1 << 28  # that wait in the pool
_LINE = 64

_ndarray = np.ndarray
_free: OrderedDict[int, list[Any]] = OrderedDict()  # size -> memory, the latest used last
_lock = threading.Lock()
_waiting = 0


class Block:
    """Owns memory for as long as arrays use it; then the pool has it."""

    memory: Any  # a NumPy array, and where in it the first cache line begins
    capacity: int

    def __del__(self) -> None:
        _give_back(self.memory, self.capacity)


@cache
def _block_type(size: int) -> Any:
    """Arrays need an owner with the buffer protocol: a ctypes array is one."""
    return type("Block", (Block, ctypes.c_char * size), {})


def _give_back(memory: Any, capacity: int) -> None:
    global _waiting
    if _lock is None or not _lock.acquire(blocking=False):  # at exit; or another thread is here
        return
    try:
        _free.setdefault(capacity, []).append(memory)
        _free.move_to_end(capacity)
        _waiting += capacity
        while _waiting > _MOST_BYTES:
            oldest, kept = next(iter(_free.items()))
            kept.pop()
            _waiting -= oldest
            if not kept:
                del _free[oldest]
    finally:
        _lock.release()


def clear() -> None:
    """Gives all waiting memory back to the system."""
    global _waiting
    with _lock:
        _free.clear()
        _waiting = 0


def new_array(shape: Any, dtype: Any, size: int, strides: Any = None) -> Any:
    """An uninitialized array; `size` is its number of elements. Large ones use memory again.

    `strides`, in bytes, must describe a dense array.
    """
    global _waiting
    count = size * dtype.itemsize
    if count < _SMALLEST:
        if count < _ALIGNED and strides is None:
            return np.empty(shape, dtype)
        raw = np.empty(count + _LINE, np.uint8)
        return _ndarray(shape, dtype, raw, -address_of(raw) % _LINE, strides)
    capacity = -(-count // _ROUNDED_TO) * _ROUNDED_TO
    memory = None
    with _lock:
        kept = _free.get(capacity)
        if kept:
            memory = kept.pop()
            _waiting -= capacity
            if not kept:
                del _free[capacity]
    if memory is None:
        raw = np.empty(capacity + _LINE, np.uint8)
        memory = raw, -address_of(raw) % _LINE
    block = _block_type(capacity).from_buffer(*memory)
    block.memory = memory
    block.capacity = capacity
    return _ndarray(shape, dtype, block, 0, strides)
