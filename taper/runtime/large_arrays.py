"""Memory for large results: what was freed lately is used again.

The system hands out fresh memory page by page, on first touch, and that takes longer than most
kernels on it; and small pages are looked up slowly where threads walk large arrays. So a large
array made here lies in memory that waits for the next result of its size once nobody has it any
more (waiting_memory.py); the amount that waits is bounded. While there is no machine code, NumPy
makes the memory. Either way large arrays begin at a cache line, as vectors that cross one cost
double.
"""

from __future__ import annotations

import contextlib
import mmap
from typing import Any

import numpy as np

from taper.compiler import background
from taper.core.storage import address_of

__all__ = ["clear", "copied", "new_array", "waiting_bytes"]

_SMALL = 1 << 15  # bytes; NumPy keeps what is smaller at hand
_LINE = 64
_PAGE = 1 << 21  # bytes of a large page
_HUGE = 3 << 20  # bytes that are worth large pages

_ndarray = np.ndarray
_byte = np.dtype(np.uint8)


def _make(size: int, dtype: Any, count: int) -> Any:
    """A vector that begins at a cache line, of so many elements and bytes."""
    if background.is_loaded():
        from taper.runtime.planned_calls import memory_maker

        maker = memory_maker()
        if maker is not None:
            globals()["_make"] = maker
            return maker(size, dtype, count)
    if count >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        pages = mmap.mmap(-1, count + 2 * _PAGE)
        with contextlib.suppress(OSError):  # a system without large pages
            pages.madvise(mmap.MADV_HUGEPAGE)
        memory = np.frombuffer(pages, _byte)
        return _ndarray((size,), dtype, memory, -address_of(memory) % _PAGE)
    memory = np.empty(count + _LINE, _byte)
    return _ndarray((size,), dtype, memory, -address_of(memory) % _LINE)


def new_array(shape: Any, dtype: Any, size: int, strides: Any = None) -> Any:
    """An uninitialized array; `size` is its number of elements. Large ones use memory again.

    `strides`, in bytes, must describe a dense array.
    """
    count = size * dtype.itemsize
    if count < _SMALL:
        if strides is None:
            return np.empty(shape, dtype)
        return _ndarray(shape, dtype, np.empty(count, _byte), 0, strides)
    memory = _make(size, dtype, count)
    if len(shape) == 1 and strides is None:
        return memory
    return _ndarray(shape, dtype, memory, 0, strides)


def copied(array: Any) -> Any:
    """A copy of a contiguous array, in memory as large results have it."""
    made = new_array(array.shape, array.dtype, array.size)
    made[...] = array
    return made


def _functions() -> Any:
    if not background.is_loaded():
        return None
    from taper.runtime.waiting_memory import find_functions

    return find_functions()


def clear() -> None:
    """Gives all waiting memory back to the system."""
    found = _functions()
    if found is not None:
        found.give_all_back()


def waiting_bytes() -> int:
    """How much memory waits to be used again."""
    found = _functions()
    return 0 if found is None else found.waiting_bytes()
