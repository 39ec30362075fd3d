"""Kernels on request: what is in the cache comes at once; a thread compiles the rest.

    address = request("add float32", lambda: (text_of_the_module(), "add"))
    if address is None:
        …  # NumPy, this time

`settings.native` decides: "background" waits for a kernel a short while only, "now" until it is
there; "off" always answers None. So does a machine where no code can be made.

Note [the same numbers every time]. Kernels and NumPy may differ in the last digit. If NumPy served
until a kernel is ready, the same call would give two results, and two runs of a program could
differ. So whoever asks writes the kernel's text, looks whether the cache has its code, which takes
a millisecond, and waits for the thread otherwise: 5 to 20. Only where that takes longer, as on the
first run on a machine, does NumPy serve meanwhile, since no call shall wait for more than 50. What
somebody waits for is compiled first. Kernels that give NumPy's very bits are `exact`: nobody waits,
and the thread writes their text. `torch.use_deterministic_algorithms(True)` waits however long it
takes.

Note [the thread imports nothing]. Two threads that import at the same time can wait for each other
forever (CPython 3.11 does, on chains that share modules). So who asks has imported LLVM (`load`)
and what builders need: they import what they need at the top of their modules.

Note [nobody waits in vain]. Some waits have no limit. So a job sets its event however it ends, the
thread outlives what a job raises, a kernel is noted as asked for when the thread has it to do, a
forked child does again what its parent's thread was doing, and who waits starts the thread if there
is none. At exit, when there will be none, nobody waits.

Note [who compiles soon]. The first calls of a compiled function run as they are, and then a program
takes their place, which has other kernels. So they ask for none (`without_new_kernels`): NumPy
serves, unless that takes so long that kernels are worth it, and the program's don't stand in line.
Who waits for a program's kernels helps to make them (`wait_for`).
"""

from __future__ import annotations

import atexit
import heapq
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any, TypeVar

from taper.compiler import machine
from taper.core.settings import settings
from taper.core.threads import are_deterministic_algorithms_enabled
from taper.core.user_warning import is_own

__all__ = [
    "Builder", "Successor", "asks_for_none", "is_at_work", "load", "request", "wait_for",
    "wait_until_idle", "waits", "without_new_kernels",
]

_Made = TypeVar("_Made")
Builder = Callable[[], tuple[str, str]]  # -> (text of a module, name of its function)

_LONGEST_WAIT = 0.035  # seconds, for one call
_SECONDS_BETWEEN_LOOKS = 0.1  # whether there is still somebody to wait for
_LONGEST_ABSTENTION = 0.5  # seconds that a call may take without new kernels
_MISSING = -1

_addresses: dict[Hashable, int | _Pending | None] = {}  # None: can't be had
_get_address = _addresses.get


class _Pending:
    """A kernel that was asked for and isn't in use yet."""

    __slots__ = ("address", "builder", "is_next", "is_worth_waiting", "key", "ready")

    def __init__(self, key: Hashable, builder: Builder, is_next: bool) -> None:
        self.key = key
        self.builder = builder
        self.is_next = is_next  # whether it is made before what nobody waits for
        self.ready = threading.Event()
        self.is_worth_waiting = True
        self.address: int | None = None

    def find(self) -> None:
        """Writes the text, and takes the code from the cache if it is there."""
        module = None

        def look() -> int | None:
            nonlocal module
            module = self.builder()
            return machine.cached_ir(*module, max(0.0, _patience.left))

        self.address = _unless_it_fails(self.key, look)
        if module is None or self.address is not None:
            self.ready.set()
        else:
            self.builder = lambda: module

    def compile(self) -> None:
        """What the thread does, or who helps it."""
        with _setting(self.ready):
            self.address = compile_now(self.key, self.builder)


class Successor:
    """A function of machine code that takes another's place once it is made.

    `make` returns it, or None where there can be none; `then` is called with what it returned. What
    is in the cache is made of here and now, which takes milliseconds, and the thread that compiles
    makes the rest. There, `make` must not import.
    """

    __slots__ = ("is_waited_for", "made", "make", "name", "ready", "then")

    def __init__(
        self, name: str, make: Callable[[], Any], then: Callable[[Any], None] | None = None,
        is_waited_for: bool = False,
    ) -> None:
        self.name = name
        self.make = make
        self.then = then
        self.is_waited_for = is_waited_for
        self.ready = threading.Event()
        self.made: Any = None
        cached = nullcontext() if settings.native == "now" else machine.only_from_cache()
        try:
            with cached:
                self.take()
        except machine.NotCached:
            _unfinished.append(self)
            self.leave_to_thread()

    def leave_to_thread(self) -> None:
        """Asks for it once more; an event that was forked may be locked."""
        self.ready = threading.Event()
        _compiler.add(self._take_in_thread, self.is_waited_for)

    def _take_in_thread(self) -> None:
        try:
            self.take()
        finally:
            _unfinished.remove(self)

    def take(self) -> None:
        """Makes it, and hands it over."""
        with _setting(self.ready):
            self.made = _unless_it_fails(self.name, self.make)
            if self.then is not None and self.made is not None:
                self.then(self.made)


_unfinished: list[Successor] = []  # what the thread has to make


@contextmanager
def _setting(ready: threading.Event) -> Iterator[None]:
    """Sets an event in the end, but for KeyboardInterrupt, after which the job is done later."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException:
        ready.set()
        raise
    ready.set()


class _Compiler:
    """The thread and what it has to do. It is started by the first request."""

    def __init__(self) -> None:
        self.start_afresh()

    def start_afresh(self) -> None:
        """In a forked child: the thread stayed with the parent, and locks may be held."""
        self.waiting: list[tuple[bool, int, Callable[[], None]]] = []  # a heap
        self.count = 0  # requests that are not done
        self.added = 0
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None
        self.closed = False

    def add(self, job: Callable[[], None], is_waited_for: bool = False) -> None:
        with self.changed:
            if self.closed:
                return
            self.count += 1
            self.added += 1
            heapq.heappush(self.waiting, (not is_waited_for, self.added, job))
            self.start()
            self.changed.notify_all()

    def start(self) -> None:
        """Starts the thread, if there is none and something to do."""
        with self.changed:
            if self.count and not self.closed and (
                self.thread is None or not self.thread.is_alive()
            ):
                thread = threading.Thread(target=self.run, name="taper-compiler", daemon=True)
                thread.start()
                self.thread = thread

    def put_first(self, job: Callable[[], None]) -> None:
        """Somebody waits for this job now, if it isn't being done already."""
        with self.changed:
            self.waiting = [
                (is_late and each != job, number, each) for is_late, number, each in self.waiting]
            heapq.heapify(self.waiting)

    def run(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._do(job)
            except BaseException:  # who waits for the next job shall not wait in vain
                threading.excepthook(
                    threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))

    def help(self) -> bool:
        """Does one job that somebody waits for, in this thread; tells whether there was one."""
        with self.changed:
            if self.closed or not self.waiting or self.waiting[0][0]:
                return False
            job = heapq.heappop(self.waiting)[2]
        try:
            self._do(job)
        except KeyboardInterrupt:
            self.add(job, is_waited_for=True)
            raise
        return True

    def _next(self) -> Callable[[], None] | None:
        with self.changed:
            self.changed.wait_for(lambda: self.waiting or self.closed)
            return None if self.closed else heapq.heappop(self.waiting)[2]

    def _do(self, job: Callable[[], None]) -> None:
        try:
            job()
        finally:
            with self.changed:
                self.count -= 1
                self.changed.notify_all()

    def close(self) -> None:
        """LLVM must not be at work while the process is taken down."""
        with self.changed:
            self.closed = True
            thread = self.thread
            self.changed.notify_all()
        if thread is not None:
            thread.join(5.0)


_compiler = _Compiler()


def compile_now(key: Hashable, builder: Builder) -> int | None:
    """Compiles and returns a kernel; None where it can't be had."""
    return _unless_it_fails(key, lambda: machine.compile_ir(*builder()))


def _unless_it_fails(key: Hashable, make: Callable[[], _Made | None]) -> _Made | None:
    try:
        return make() if machine.is_available() else None
    except machine.NoNativeCode:
        return None
    except machine.NotCached:
        raise
    except Exception as error:
        if settings.native == "now":
            raise
        warnings.warn(
            f"taper couldn't compile the kernel {key!r}, NumPy computes instead: {error!r}",
            RuntimeWarning, stacklevel=2,
        )
        return None


def request(
    key: Hashable, builder: Builder, exact: bool = False, is_next: bool = False,
    in_programs: bool = False,
) -> int | None:
    """The address of the kernel that `builder` describes, or None if it isn't there (yet).

    `builder` is called once for a key, maybe in another thread. An `exact` kernel gives the very
    numbers that are computed without it, so it is used as soon as it is ready. One that `is_next`
    is made before those that nobody waits for. What is `in_programs` as it is in calls may be asked
    for before there is one.
    """
    if settings.native == "off":
        return None
    found = _get_address(key, _MISSING)
    if isinstance(found, _Pending):
        if is_next and not found.is_next:
            found.is_next = True
            _compiler.put_first(found.compile)
        return _waited_for(key, found, exact)
    if found is not _MISSING:
        return found
    abstains = not is_next and asks_for_none()
    if abstains and not in_programs:
        return None
    begin = _begin_wait()
    if not load():
        _addresses[key] = None
        return None
    if settings.native == "now":
        address = _addresses[key] = compile_now(key, builder)
        return address
    is_next = is_next or not (exact or abstains)
    pending = _Pending(key, builder, is_next)
    if not exact and not abstains:
        pending.find()
        _end_wait(begin)
    if not pending.ready.is_set():
        _compiler.add(pending.compile, is_next)
    _addresses[key] = pending
    return _waited_for(key, pending, exact)


def wait_for(keys: Iterable[Hashable], seconds: float) -> None:
    """Waits until these kernels are there, which were asked for, or for so long; and helps."""
    end = time.perf_counter() + seconds
    awaited = [found.ready for found in map(_get_address, keys) if isinstance(found, _Pending)]
    while time.perf_counter() < end and not all([ready.is_set() for ready in awaited]):
        if not _compiler.help():
            break
    for ready in awaited:
        ready.wait(max(0.0, end - time.perf_counter()))


def _waited_for(key: Hashable, pending: _Pending, exact: bool) -> int | None:
    """The kernel, if it is ready or soon will be; see the Note."""
    if exact:
        if not pending.ready.is_set() and (settings.native != "now" or not _comes(pending.ready)):
            return None
    elif not waits(pending.ready, pending.is_worth_waiting):
        pending.is_worth_waiting = False  # NumPy's rounding was seen already
        return None
    _addresses[key] = pending.address
    return pending.address


class _Patience(threading.local):
    """How long a call of this thread's may still wait; and whose call that is."""

    left, end = _LONGEST_WAIT, 0.0
    caller: tuple[int, int] | None = None


_patience = _Patience()
_RECOVERY = 0.5  # seconds of patience for each second that the same line of a program runs on


def waits(ready: threading.Event, is_worth_it: bool = True) -> bool:
    """Waits for what the thread does, as long as a call may; tells whether it came."""
    if ready.is_set():
        return True
    if settings.native == "now" or are_deterministic_algorithms_enabled():
        return _comes(ready)  # no moment decides which of two roundings a call has
    if not is_worth_it or asks_for_none():
        return False
    begin = _begin_wait()
    came = ready.wait(max(0.0, _patience.left))
    _end_wait(begin)
    return came


def _comes(ready: threading.Event) -> bool:
    """Waits however long it takes; False at exit, when nothing is made any more."""
    while not _compiler.closed and not ready.wait(_SECONDS_BETWEEN_LOOKS):
        _compiler.start()
    return ready.is_set()


class _Abstention(threading.local):
    """Until when this thread asks for no kernels."""

    end = 0.0


_abstention = _Abstention()


@contextmanager
def without_new_kernels(seconds: float = _LONGEST_ABSTENTION) -> Iterator[None]:
    """Within, this thread uses the kernels that there are, and NumPy, for so long; see the Note."""
    before, _abstention.end = _abstention.end, time.perf_counter() + seconds
    try:
        yield
    finally:
        _abstention.end = before


def asks_for_none() -> bool:
    """Whether this thread asks for no kernels now: whoever would, computes by NumPy."""
    return (
        _abstention.end > 0.0 and time.perf_counter() < _abstention.end
        and settings.native != "now" and not are_deterministic_algorithms_enabled()
    )


def _begin_wait() -> float:
    """When it began; a call that waits for the first time has all patience."""
    now = time.perf_counter()
    caller = _caller()
    found = _LONGEST_WAIT
    if caller == _patience.caller:
        found = min(found, _patience.left + _RECOVERY * (now - _patience.end))
    _patience.caller, _patience.left = caller, found
    return now


def _end_wait(begin: float) -> None:
    _patience.end = time.perf_counter()
    _patience.left -= _patience.end - begin


def _caller() -> tuple[int, int]:
    """The frame and the instruction in it that called taper."""
    frame = sys._getframe(2)
    while frame.f_back is not None and is_own(frame.f_code.co_filename):
        frame = frame.f_back
    return id(frame), frame.f_lasti


@cache
def load() -> bool:
    """Imports LLVM, 20 to 50 ms; tells whether code can be made."""
    found = machine.is_available()
    _Loaded.is_done = True
    return found


class _Loaded:
    is_done = False


def is_loaded() -> bool:
    """Whether `load` has done its work already."""
    return _Loaded.is_done


def is_at_work() -> bool:
    """Whether kernels are being made, so that what can't be done now may be possible soon."""
    return _compiler.count > 0 or asks_for_none()


def wait_until_idle(timeout: float | None = None) -> bool:
    """Waits for all kernels that were asked for; tells whether they are done."""
    _compiler.start()
    with _compiler.changed:
        return _compiler.changed.wait_for(lambda: _compiler.count == 0, timeout)


def _start_afresh() -> None:
    """In a forked child: kernels are asked for again by who needs them, successors now."""
    _compiler.start_afresh()
    for key in [key for key, found in _addresses.items() if isinstance(found, _Pending)]:
        del _addresses[key]
    for successor in _unfinished:
        successor.leave_to_thread()


atexit.register(_compiler.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
