"""The worker pool: one native kernel on several threads.

    launch(address, block_address, count, grain)

runs `kernel(block, begin, end)` over pieces of 0 … count. What a kernel computes must not depend
on where the pieces begin, so results don't depend on the number of threads. `grain` is the least
count that is worth handing to another thread; pieces begin at multiples of a power of two that
divides it, so that those of arrays begin at cache lines.

Workers are Python threads that stay in machine code (worker_loop.py): no launch takes the GIL, and
nobody who waits holds it. They start with the first launch that can use them. A forked child
starts its own. While an interpreter exits, launches run on the calling thread alone.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from taper.compiler import background
from taper.core.threads import get_num_threads
from taper.runtime import worker_loop
from taper.runtime.semaphore import find_semaphores
from taper.runtime.worker_loop import Word

__all__ = ["launch", "run_alone"]

_MOST_WORKERS = 63
_SPIN_SECONDS = 50e-6
_PAUSES_TIMED = 200
_PATIENCE = 5.0  # seconds for a launch of another thread to end, when the process ends
_PIECES_PER_THREAD = 16  # so that a thread which is held up delays the others little
_FEWEST_PER_THREAD = 4  # so that all threads have about as much to do
MOST_ALIGNED = 1024  # units of work; a smaller power of two that divides a grain is kept together

_i64 = ctypes.c_int64
_KERNEL = ctypes.CFUNCTYPE(None, _i64, _i64, _i64)
_functions: dict[int, Callable[[int, int, int], None]] = {}


def _function_at(address: int) -> Callable[[int, int, int], None]:
    function = _functions[address] = _KERNEL(address)
    return function


def run_alone(address: int, block: int, count: int) -> None:
    """Runs a kernel on this thread, without the GIL."""
    (_functions.get(address) or _function_at(address))(block, 0, count)


class WorkerPool:
    """The threads and the memory they share; see worker_loop.py."""

    def __init__(self, work: int, run: int, pauses: int) -> None:
        semaphores = find_semaphores()
        if semaphores is None:
            raise OSError("no semaphores")
        self._make_semaphore = semaphores.make
        self._kept: list[Any] = []  # what the semaphores live in
        self._lock = threading.Lock()
        self.threads: list[threading.Thread] = []
        words = Word.WORKERS + worker_loop.WORKER_WORDS * _MOST_WORKERS
        memory = (_i64 * (words + 8))()
        skipped = -(ctypes.addressof(memory) // 8) % 8  # to a cache line
        self.words = memory
        self._first = skipped
        self.state = ctypes.addressof(memory) + 8 * skipped
        self._work = ctypes.CFUNCTYPE(None, _i64, _i64)(work)
        self.run = ctypes.CFUNCTYPE(None, *[_i64] * 6)(run)
        self.run_address = run
        self._set(Word.WAIT, semaphores.wait)
        self._set(Word.POST, semaphores.post)
        self._set(Word.LAUNCHER_SEMAPHORE, self._semaphore())
        self._set(Word.SPINS, _spins(pauses))
        self._tell_processors()

    def _set(self, word: int, value: int) -> None:
        self.words[self._first + word] = value

    def _tell_processors(self) -> None:
        """Gives the machine code what it needs to keep workers apart from the launching thread."""
        if not hasattr(os, "sched_getaffinity"):
            return
        system = ctypes.CDLL(None)
        try:
            functions = system.sched_getcpu, system.sched_setaffinity
        except AttributeError:
            return
        for cpu in os.sched_getaffinity(0):
            if cpu < 64 * worker_loop.MASK_WORDS:
                word = self._first + Word.MASK + cpu // 64
                self.words[word] |= (1 << cpu % 64) - (1 << 64 if cpu % 64 == 63 else 0)
        for word, function in zip((Word.GET_CPU, Word.SET_AFFINITY), functions, strict=True):
            self._set(word, ctypes.cast(function, ctypes.c_void_p).value or 0)

    def _semaphore(self) -> int:
        handle, owner = self._make_semaphore()
        self._kept.append(owner)
        return int(handle)

    def start(self, count: int) -> int:
        """Sees to it that there are `count` workers, if they can be had; tells how many are."""
        with self._lock:
            try:
                while len(self.threads) < min(count, _MOST_WORKERS):
                    self._start_one()
            except RuntimeError:  # "can't start new thread": fewer will do
                pass
            return len(self.threads)

    def _start_one(self) -> None:
        number = len(self.threads)
        line = Word.WORKERS + worker_loop.WORKER_WORDS * number
        self._set(line + Word.SEMAPHORE, self._semaphore())
        thread = threading.Thread(
            target=self._work, args=(self.state, number), name=f"taper-worker-{number + 1}",
            daemon=True,
        )
        self._set(line + Word.CPU, -1)
        self._set(line + Word.THREAD, 0)
        thread.start()
        self._set(line + Word.THREAD, thread.native_id or 0)
        self.threads.append(thread)

    def stop(self) -> None:
        """Ends all workers, and waits for them."""
        with self._lock:
            self._set(Word.STOP, 1)
            count = len(self.threads)
            end = time.monotonic() + _PATIENCE
            while self.threads and time.monotonic() < end:
                self.run(self.state, 0, 0, 0, 1, count)  # wakes them, for nothing
                self.threads[-1].join(0.001)
                self.threads = [thread for thread in self.threads if thread.is_alive()]


def _spins(pauses: int) -> int:
    """How many pauses take as long as workers shall spin: they take 5 to 50 ns on processors.

    The shortest of some measurements, of calls that keep the GIL: to get it back may take
    milliseconds, and workers that take a pause for as long go to sleep at once, for good.
    """
    function = ctypes.PYFUNCTYPE(None, _i64)(pauses)

    def seconds() -> float:
        start = time.perf_counter()
        function(_PAUSES_TIMED)
        return time.perf_counter() - start

    each = min(seconds() for _ in range(8)) / _PAUSES_TIMED
    return max(100, min(int(_SPIN_SECONDS / each), 50_000))


class _Shared:
    """The process's pool."""

    __slots__ = ("may_start", "pool")

    def __init__(self) -> None:
        self.pool: WorkerPool | None = None
        self.may_start = True

    def find(self, is_next: bool = False) -> WorkerPool | None:
        """The pool, once its machine code is there, which `is_next` to be made."""
        if self.pool is None and self.may_start:
            found = [
                background.request(("taper.runtime", name), _builder(name), True, is_next, True)
                for name in (worker_loop.WORK, worker_loop.RUN, worker_loop.PAUSES)
            ]
            if None not in found:
                self.may_start = False
                with contextlib.suppress(OSError):  # no semaphores: nobody can wait
                    self.pool = WorkerPool(*found)  # type: ignore[arg-type]
        return self.pool

    def start_afresh(self) -> None:
        """In a forked child: the workers stayed with the parent."""
        self.pool, self.may_start = None, True

    def shut_down(self) -> None:
        """Workers must not be at work while the process is taken down."""
        pool, self.pool, self.may_start = self.pool, None, False
        if pool is not None:
            pool.stop()


def _builder(name: str) -> background.Builder:
    return lambda: (worker_loop.text(name), name)


_shared = _Shared()


class _Launches:
    count = 0  # of this process


launches = _Launches


def launch(address: int, block: int, count: int, grain: int) -> None:
    """Runs the kernel at `address` over 0 … count, on as many threads as are worth it."""
    _Launches.count += 1
    if count > grain:
        threads = get_num_threads()
        if threads > 1:
            pool = _shared.pool or _shared.find()
            if pool is not None:
                helpers, piece = _shares(count, grain, threads)
                if len(pool.threads) < helpers:
                    helpers = pool.start(helpers)
                pool.run(pool.state, address, block, count, piece, helpers)
                return
    (_functions.get(address) or _function_at(address))(block, 0, count)


def _shares(count: int, grain: int, threads: int) -> tuple[int, int]:
    """How many workers help, and in what pieces."""
    grains = -(-count // grain)
    used = min(threads, grains)
    if grains < used * _FEWEST_PER_THREAD:
        step = min(grain & -grain, MOST_ALIGNED)
        piece = -(-count // (used * _FEWEST_PER_THREAD * step)) * step
    else:
        piece = grain * max(1, grains // (used * _PIECES_PER_THREAD))
    return used - 1, piece


def current_pool() -> WorkerPool | None:
    """The process's pool, if there is one yet."""
    return _shared.pool


def shared_pool() -> WorkerPool | None:
    """The process's pool, once its machine code is there, which is made soon."""
    return _shared.pool or _shared.find(is_next=True)


def division(count: int, grain: int) -> tuple[int, int] | None:
    """The size of pieces and the number of workers with which `launch` runs so many units; None
    while it can't, for want of the pool."""
    threads = get_num_threads()
    if count <= grain or threads == 1:
        return count, 0
    pool = _shared.pool
    if pool is None:
        return None
    helpers, piece = _shares(count, grain, threads)
    return piece, min(helpers, len(pool.threads))


def addresses() -> tuple[int, int] | None:
    """Where the machine code of launches is, and the pool's state: for machine code."""
    pool = _shared.pool
    if pool is None:
        return None
    return ctypes.cast(pool.run, ctypes.c_void_p).value or 0, pool.state


atexit.register(_shared.shut_down)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_shared.start_afresh)
