"""Memory that is used again, in machine code: what NumPy frees waits for the next large result.

`find_functions()` gives the addresses of an allocator and a NumPy memory handler (a capsule) for
arrays that own such memory: when the last reference to one is gone, NumPy calls the handler's
`free`, and the memory waits here. All of it runs with the GIL held, which is its lock.

Note [what waits]. Memory is kept by its exact capacity, which sizes are rounded up to, the one that
was freed last first: it is the likeliest to be in a cache. What has waited longest is given back
when there are too many bytes. Before the first element lie three words: the capacity, where the
system's memory begins, and its length if it was mapped.

Large memory is mapped, with large pages if the system lends them. Arrays that begin at the same
place of their pages would fight for the same lines of the caches, so they begin at one of eight.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from functools import cache
from string import Template
from typing import Any, NamedTuple

from taper.compiler import background

__all__ = ["MemoryFunctions", "find_functions"]

_MOST_BYTES = 1 << 28  # that wait
_MOST = 512  # pieces that wait: as many as one training step of a deep network frees
_PAGE = 1 << 21  # bytes of a large page
_HUGE = 3 << 20  # bytes that are worth large pages
_HUGEPAGE_ADVICE = 14  # MADV_HUGEPAGE


class Word:
    """Where things are in the allocator's block, as indices of 64-bit words."""

    COUNT, BYTES, MOST_BYTES, MALLOC, FREE, MMAP, MUNMAP, MADVISE, TURN, MAP_FLAGS = range(10)
    CAPACITIES = 16
    ADDRESSES = CAPACITIES + _MOST
    WORDS = ADDRESSES + _MOST


class _Allocator(ctypes.Structure):
    """NumPy's PyDataMemAllocator."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("context", "malloc", "calloc", "realloc",
                                                     "free")]


class _Handler(ctypes.Structure):
    """NumPy's PyDataMem_Handler."""

    _fields_ = [("name", ctypes.c_char * 127), ("version", ctypes.c_uint8),
                ("allocator", _Allocator)]


class MemoryFunctions(NamedTuple):
    """Addresses: ptr take(state, bytes), give(state, ptr), clear(state); the allocator's state, and
    the capsule of the handler. `words` are the state's, for Python."""

    take: int
    give: int
    clear: int
    state: int
    handler: Any
    words: Any

    def give_all_back(self) -> None:
        """Gives the memory that waits back to the system."""
        ctypes.PYFUNCTYPE(None, ctypes.c_int64)(self.clear)(self.state)

    def waiting_bytes(self) -> int:
        return int(self.words[Word.BYTES])


_kept: list[Any] = []  # for ever: arrays that live longer than this module call these functions


def find_functions() -> MemoryFunctions | None:
    """The allocator, once its code is there."""
    code = background.request(("taper.runtime", "memory"), _built, exact=True, in_programs=True)
    return None if code is None else _made(code)


def _built() -> tuple[str, str]:
    numbers = {key: value for key, value in vars(Word).items() if key.isupper()}
    return Template(_TEXT).substitute(
        numbers, MOST=_MOST, PAGE=_PAGE, HUGE=_HUGE, ADVICE=_HUGEPAGE_ADVICE), "taper_memory"


@cache
def _made(code: int) -> MemoryFunctions:
    words = (ctypes.c_int64 * Word.WORDS)()
    words[Word.MOST_BYTES] = _MOST_BYTES
    for word, name in ((Word.MALLOC, "PyMem_RawMalloc"), (Word.FREE, "PyMem_RawFree")):
        words[word] = _address(getattr(ctypes.pythonapi, name))
    if sys.platform != "win32":
        system = ctypes.CDLL(None)
        words[Word.MMAP], words[Word.MUNMAP] = _address(system.mmap), _address(system.munmap)
        words[Word.MAP_FLAGS] = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        if hasattr(mmap, "MADV_HUGEPAGE"):
            words[Word.MADVISE] = _address(system.madvise)
    state = ctypes.addressof(words)
    found = (ctypes.c_int64 * 7)()
    ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(code)(ctypes.addressof(found))
    take, give, clear, *rest = found
    handler = _Handler(b"taper", 1, _Allocator(state, *rest))
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p,
                                                   ctypes.c_void_p]
    label = ctypes.c_char_p(b"mem_handler")
    capsule = new(ctypes.addressof(handler), label, None)
    _kept.append((words, handler, label, capsule))
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_kept))
    return MemoryFunctions(take, give, clear, state, capsule, words)


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


_TEXT = """
define internal void @release(ptr %s, ptr %memory) {
entry:
  %base.at = getelementptr i64, ptr %memory, i64 -2
  %base = load ptr, ptr %base.at
  %mapped.at = getelementptr i64, ptr %memory, i64 -3
  %mapped = load i64, ptr %mapped.at
  %is.mapped = icmp ne i64 %mapped, 0
  br i1 %is.mapped, label %unmap, label %give
unmap:
  %unmap.at = getelementptr i64, ptr %s, i64 $MUNMAP
  %munmap = load ptr, ptr %unmap.at
  %ignored = call i32 %munmap(ptr %base, i64 %mapped)
  ret void
give:
  %free.at = getelementptr i64, ptr %s, i64 $FREE
  %free = load ptr, ptr %free.at
  call void %free(ptr %base)
  ret void
}

; Takes entry `place` out of the list.
define internal void @remove(ptr %s, i64 %place) {
entry:
  %count = load i64, ptr %s
  %last = sub i64 %count, 1
  %capacities = getelementptr i64, ptr %s, i64 $CAPACITIES
  %addresses = getelementptr i64, ptr %s, i64 $ADDRESSES
  %own.at = getelementptr i64, ptr %capacities, i64 %place
  %own = load i64, ptr %own.at
  %bytes.at = getelementptr i64, ptr %s, i64 $BYTES
  %bytes = load i64, ptr %bytes.at
  %left = sub i64 %bytes, %own
  store i64 %left, ptr %bytes.at
  store i64 %last, ptr %s
  br label %more
more:
  %i = phi i64 [ %place, %entry ], [ %next, %move ]
  %are.more = icmp slt i64 %i, %last
  br i1 %are.more, label %move, label %done
move:
  %next = add i64 %i, 1
  %from.capacity = getelementptr i64, ptr %capacities, i64 %next
  %to.capacity = getelementptr i64, ptr %capacities, i64 %i
  %capacity = load i64, ptr %from.capacity
  store i64 %capacity, ptr %to.capacity
  %from.address = getelementptr i64, ptr %addresses, i64 %next
  %to.address = getelementptr i64, ptr %addresses, i64 %i
  %address = load i64, ptr %from.address
  store i64 %address, ptr %to.address
  br label %more
done:
  ret void
}

define internal void @drop_oldest(ptr %s) {
  %oldest.at = getelementptr i64, ptr %s, i64 $ADDRESSES
  %oldest = load ptr, ptr %oldest.at
  call void @remove(ptr %s, i64 0)
  call void @release(ptr %s, ptr %oldest)
  ret void
}

define internal void @clear(ptr %s) {
entry:
  br label %more
more:
  %count = load i64, ptr %s
  %some = icmp sgt i64 %count, 0
  br i1 %some, label %one, label %done
one:
  call void @drop_oldest(ptr %s)
  br label %more
done:
  ret void
}

define internal ptr @from_heap(ptr %s, i64 %capacity) {
entry:
  %malloc.at = getelementptr i64, ptr %s, i64 $MALLOC
  %malloc = load ptr, ptr %malloc.at
  %wanted = add i64 %capacity, 128
  %base = call ptr %malloc(i64 %wanted)
  %failed = icmp eq ptr %base, null
  br i1 %failed, label %none, label %some
none:
  ret ptr null
some:
  %base.int = ptrtoint ptr %base to i64
  %behind = add i64 %base.int, 127
  %aligned = and i64 %behind, -64
  %memory = inttoptr i64 %aligned to ptr
  %capacity.at = getelementptr i64, ptr %memory, i64 -1
  store i64 %capacity, ptr %capacity.at
  %base.at = getelementptr i64, ptr %memory, i64 -2
  store ptr %base, ptr %base.at
  %mapped.at = getelementptr i64, ptr %memory, i64 -3
  store i64 0, ptr %mapped.at
  ret ptr %memory
}

define internal ptr @mapped(ptr %s, i64 %capacity) {
entry:
  %map.at = getelementptr i64, ptr %s, i64 $MMAP
  %mmap = load ptr, ptr %map.at
  %can.map = icmp ne ptr %mmap, null
  br i1 %can.map, label %map, label %heap
heap:
  %plain = call ptr @from_heap(ptr %s, i64 %capacity)
  ret ptr %plain
map:
  %more = mul i64 $PAGE, 2
  %wanted = add i64 %capacity, %more
  %flags.at = getelementptr i64, ptr %s, i64 $MAP_FLAGS
  %flags.long = load i64, ptr %flags.at
  %flags = trunc i64 %flags.long to i32
  %base = call ptr %mmap(ptr null, i64 %wanted, i32 3, i32 %flags, i32 -1, i64 0)
  %base.int = ptrtoint ptr %base to i64
  %failed = icmp eq i64 %base.int, -1
  br i1 %failed, label %heap, label %advise
advise:
  %advise.at = getelementptr i64, ptr %s, i64 $MADVISE
  %madvise = load ptr, ptr %advise.at
  %can.advise = icmp ne ptr %madvise, null
  br i1 %can.advise, label %call.advise, label %place
call.advise:
  %ignored = call i32 %madvise(ptr %base, i64 %wanted, i32 $ADVICE)
  br label %place
place:
  %turn.at = getelementptr i64, ptr %s, i64 $TURN
  %turn = load i64, ptr %turn.at
  %turn.more = add i64 %turn, 1
  %turn.next = and i64 %turn.more, 7
  store i64 %turn.next, ptr %turn.at
  %stagger = mul i64 %turn, 4160
  %behind = add i64 %base.int, $PAGE
  %behind.header = add i64 %behind, 63
  %page = and i64 %behind.header, -$PAGE
  %start = add i64 %page, %stagger
  %memory = inttoptr i64 %start to ptr
  %capacity.at = getelementptr i64, ptr %memory, i64 -1
  store i64 %capacity, ptr %capacity.at
  %base.at = getelementptr i64, ptr %memory, i64 -2
  store ptr %base, ptr %base.at
  %mapped.at = getelementptr i64, ptr %memory, i64 -3
  store i64 %wanted, ptr %mapped.at
  ret ptr %memory
}

; Memory for so many bytes, beginning at a cache line; null if there is none.
define internal ptr @take(ptr %s, i64 %bytes) {
entry:
  %is.large = icmp uge i64 %bytes, 1048576
  %less = select i1 %is.large, i64 65535, i64 4095
  %wanted = add i64 %bytes, %less
  %keep = xor i64 %less, -1
  %rounded = and i64 %wanted, %keep
  %nothing = icmp eq i64 %rounded, 0
  %capacity = select i1 %nothing, i64 4096, i64 %rounded
  %count = load i64, ptr %s
  %capacities = getelementptr i64, ptr %s, i64 $CAPACITIES
  br label %look
look:
  %i = phi i64 [ %count, %entry ], [ %place, %compare ]
  %is.over = icmp eq i64 %i, 0
  br i1 %is.over, label %fresh, label %compare
compare:
  %place = sub i64 %i, 1
  %own.at = getelementptr i64, ptr %capacities, i64 %place
  %own = load i64, ptr %own.at
  %fits = icmp eq i64 %own, %capacity
  br i1 %fits, label %found, label %look
found:
  %addresses = getelementptr i64, ptr %s, i64 $ADDRESSES
  %memory.at = getelementptr i64, ptr %addresses, i64 %place
  %memory = load ptr, ptr %memory.at
  call void @remove(ptr %s, i64 %place)
  ret ptr %memory
fresh:
  %is.huge = icmp uge i64 %capacity, $HUGE
  br i1 %is.huge, label %huge, label %usual
huge:
  %of.system = call ptr @mapped(ptr %s, i64 %capacity)
  ret ptr %of.system
usual:
  %of.heap = call ptr @from_heap(ptr %s, i64 %capacity)
  ret ptr %of.heap
}

; Keeps memory for the next one who asks.
define internal void @give(ptr %s, ptr %memory) {
entry:
  %capacity.at = getelementptr i64, ptr %memory, i64 -1
  %capacity = load i64, ptr %capacity.at
  %count.before = load i64, ptr %s
  %is.full = icmp uge i64 %count.before, $MOST
  br i1 %is.full, label %make.room, label %add
make.room:
  call void @drop_oldest(ptr %s)
  br label %add
add:
  %count = load i64, ptr %s
  %capacities = getelementptr i64, ptr %s, i64 $CAPACITIES
  %own.at = getelementptr i64, ptr %capacities, i64 %count
  store i64 %capacity, ptr %own.at
  %addresses = getelementptr i64, ptr %s, i64 $ADDRESSES
  %memory.at = getelementptr i64, ptr %addresses, i64 %count
  store ptr %memory, ptr %memory.at
  %more = add i64 %count, 1
  store i64 %more, ptr %s
  %bytes.at = getelementptr i64, ptr %s, i64 $BYTES
  %bytes.before = load i64, ptr %bytes.at
  %sum = add i64 %bytes.before, %capacity
  store i64 %sum, ptr %bytes.at
  %most.at = getelementptr i64, ptr %s, i64 $MOST_BYTES
  %most = load i64, ptr %most.at
  br label %bound
bound:
  %bytes = load i64, ptr %bytes.at
  %too.many = icmp ugt i64 %bytes, %most
  br i1 %too.many, label %drop, label %done
drop:
  call void @drop_oldest(ptr %s)
  br label %bound
done:
  ret void
}

; What NumPy calls: malloc, calloc, realloc, free.
define internal ptr @handler_malloc(ptr %s, i64 %size) {
  %memory = call ptr @take(ptr %s, i64 %size)
  ret ptr %memory
}

define internal ptr @handler_calloc(ptr %s, i64 %count, i64 %each) {
entry:
  %size = mul i64 %count, %each
  %memory = call ptr @take(ptr %s, i64 %size)
  %failed = icmp eq ptr %memory, null
  br i1 %failed, label %done, label %more
more:
  %i = phi i64 [ 0, %entry ], [ %next, %clear ]
  %are.more = icmp ult i64 %i, %size
  br i1 %are.more, label %clear, label %done
clear:
  %at = getelementptr i8, ptr %memory, i64 %i
  store volatile i64 0, ptr %at
  %next = add i64 %i, 8
  br label %more
done:
  ret ptr %memory
}

define internal ptr @handler_realloc(ptr %s, ptr %old, i64 %size) {
entry:
  %memory = call ptr @take(ptr %s, i64 %size)
  %failed = icmp eq ptr %memory, null
  br i1 %failed, label %done, label %measure
measure:
  %capacity.at = getelementptr i64, ptr %old, i64 -1
  %capacity = load i64, ptr %capacity.at
  %new.capacity.at = getelementptr i64, ptr %memory, i64 -1
  %new.capacity = load i64, ptr %new.capacity.at
  %shrinks = icmp ult i64 %new.capacity, %capacity
  %bytes = select i1 %shrinks, i64 %new.capacity, i64 %capacity
  br label %more
more:
  %i = phi i64 [ 0, %measure ], [ %next, %copy ]
  %are.more = icmp ult i64 %i, %bytes
  br i1 %are.more, label %copy, label %free
copy:
  %from = getelementptr i8, ptr %old, i64 %i
  %to = getelementptr i8, ptr %memory, i64 %i
  %word = load volatile i64, ptr %from
  store volatile i64 %word, ptr %to
  %next = add i64 %i, 8
  br label %more
free:
  call void @give(ptr %s, ptr %old)
  br label %done
done:
  ret ptr %memory
}

define internal void @handler_free(ptr %s, ptr %memory, i64 %size) {
  call void @give(ptr %s, ptr %memory)
  ret void
}

; Where these functions are.
define void @taper_memory(ptr %found) {
  store ptr @take, ptr %found
  %1 = getelementptr ptr, ptr %found, i64 1
  store ptr @give, ptr %1
  %2 = getelementptr ptr, ptr %found, i64 2
  store ptr @clear, ptr %2
  %3 = getelementptr ptr, ptr %found, i64 3
  store ptr @handler_malloc, ptr %3
  %4 = getelementptr ptr, ptr %found, i64 4
  store ptr @handler_calloc, ptr %4
  %5 = getelementptr ptr, ptr %found, i64 5
  store ptr @handler_realloc, ptr %5
  %6 = getelementptr ptr, ptr %found, i64 6
  store ptr @handler_free, ptr %6
  ret void
}
"""
