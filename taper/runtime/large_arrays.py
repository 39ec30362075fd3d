"""Memory for large results: what was freed lately is used again.

The system hands out fresh memory page by page, on first touch, and that takes longer than most
kernels on it; and small pages are looked up slowly where threads walk large arrays. So a large
array made here lies in memory that waits for the next result of its size once nobody has it any
more (waiting_memory.py); the amount that waits is bounded. While there is no machine code, NumPy
makes the memory. Either way large arrays begin at a cache line, as vectors that cross one cost
double.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from taper.compiler import background
from taper.core.storage import address_of
from taper.runtime.planned_calls import memory_maker
from taper.runtime.waiting_memory import Word, find_functions

__all__ = ["clear", "copied", "new_array", "waiting_bytes"]

_SMALL = 1 << 15  # bytes; NumPy keeps what is smaller at hand
_LINE = 64

_ndarray = np.ndarray
_byte = np.dtype(np.uint8)


def _make(count: int) -> Any:
    """Memory of so many bytes as an array that begins at a cache line; None while NumPy shall."""
    maker = memory_maker() if background.is_loaded() else None
    if maker is None:
        return None
    globals()["_make"] = maker
    return maker(count)


def new_array(shape: Any, dtype: Any, size: int, strides: Any = None) -> Any:
    """An uninitialized array; `size` is its number of elements. Large ones use memory again.

    `strides`, in bytes, must describe a dense array.
    """
    count = size * dtype.itemsize
    if count < _SMALL:
        if strides is None:
            return np.empty(shape, dtype)
        return _ndarray(shape, dtype, np.empty(count, _byte), 0, strides)
    memory = _make(count)
    if memory is None:
        memory = np.empty(count + _LINE, _byte)
        return _ndarray(shape, dtype, memory, -address_of(memory) % _LINE, strides)
    return _ndarray(shape, dtype, memory, 0, strides)


def copied(array: Any) -> Any:
    """A copy of a contiguous array, in memory as large results have it."""
    made = new_array(array.shape, array.dtype, array.size)
    made[...] = array
    return made


def clear() -> None:
    """Gives all waiting memory back to the system."""
    found = find_functions() if background.is_loaded() else None
    if found is not None:
        ctypes.PYFUNCTYPE(None, ctypes.c_int64)(found.clear)(found.state)


def waiting_bytes() -> int:
    """How much memory waits to be used again."""
    found = find_functions() if background.is_loaded() else None
    return 0 if found is None else int(found.words[Word.BYTES])
