"""Workers of a data loader that are processes: starts them, talks to them, and ends them.

Note [ends]. However either side ends, the other gets to know by the pipe between them. So nobody
else may hold its ends: a forked process closes those that it inherits of the loader.

- The loader ends its workers by closing the pipes. A worker then finishes the batch that it is
  at; if that takes longer than `_GRACE`, it is killed.
- The loader's process dies, in whatever way: its workers see the pipe break, and end themselves
  likewise. (Should somebody hold the pipe nevertheless, they see that they have another parent.)
- A worker dies: the loader sees it by the process's sentinel, and raises an error that says how.
- Nobody wants the batches any more: the finalizer ends the workers. It owns all that it needs;
  of a dead cycle, the garbage collector may finalize other objects before ours.
- Ctrl-C goes to all processes of the terminal's group. Workers leave it to the loader, from
  their first moment.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import multiprocessing.connection
import os
import random
import select
import signal
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, NoReturn

import numpy as np

import taper
from taper.utils.data.block_pipe import BlockPipe
from taper.utils.data.worker import FAILED, NEW_EPOCH, Answer, Assignment, Failure, Task, work
from taper.utils.data.worker_info import WorkerInfo, set_worker_info

__all__ = ["WorkerProcesses"]

_GRACE = 1.0  # seconds that a worker has to end, and
_GRACE_AFTER_FAILURE = 0.2  # the same if something has gone wrong already
_LOOK_AT_PARENT = 2000.0  # milliseconds after which a worker does so


# -- the loader's side ----------------------------------------------------------------


class _Worker(NamedTuple):
    process: Any
    pipe: BlockPipe
    name: str
    backlog: deque[Task]  # what the pipe has no room for


class WorkerProcesses:
    """The worker processes of one iterator over a loader."""

    def __init__(self, context: Any, assignments: Iterable[Assignment], timeout: float) -> None:
        self._timeout = timeout
        self._workers: list[_Worker] = []
        self._owner = os.getpid()
        self._finalizer = weakref.finalize(self, _end, self._owner, self._workers)
        self._failure: str | None = None
        context = context or multiprocessing.get_context()
        if context.get_start_method() == "fork":
            _import_for_workers()
        try:
            for assignment in assignments:
                self._workers.append(_start(context, assignment))
        except BaseException:
            self.close(_GRACE_AFTER_FAILURE)
            raise

    @property
    def members(self) -> list[Any]:
        """The processes."""
        return [worker.process for worker in self._workers]

    @property
    def has_failed(self) -> bool:
        """Whether the workers had to be ended."""
        return self._failure is not None

    def send(self, worker_id: int, number: int, indices: Any) -> None:
        """Gives a worker a task. This never waits: the worker may wait for us to take answers."""
        with self._supervised():
            worker = self._workers[worker_id]
            worker.backlog.append((number, indices))
            self._send_backlog(worker)

    def _send_backlog(self, worker: _Worker) -> None:
        try:
            while worker.backlog and worker.pipe.can_send():
                worker.pipe.send(*worker.backlog.popleft())
        except (BrokenPipeError, ConnectionResetError):
            self._raise_unexpected_end([worker])

    def begin_epoch(self) -> None:
        """Has all workers forget their tasks and begin anew."""
        for worker_id, worker in enumerate(self._workers):
            worker.backlog.clear()
            self.send(worker_id, NEW_EPOCH, None)

    def receive(self, worker_ids: set[int], deadline: float | None) -> list[Answer]:
        """Waits for answers of these workers, and takes those that are there."""
        with self._supervised():
            workers = [self._workers[worker_id] for worker_id in worker_ids]
            by_event: dict[Any, _Worker] = {worker.pipe.connection: worker for worker in workers}
            by_event.update((worker.process.sentinel, worker) for worker in workers)
            seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
            events = multiprocessing.connection.wait(by_event, seconds)
            if not events:
                raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds")
            answering = [by_event[event] for event in events if not isinstance(event, int)]
            if not answering:
                self._raise_unexpected_end([by_event[event] for event in events])
            answers = [self._answer(worker) for worker in answering]
            for worker in workers:
                self._send_backlog(worker)
            return answers

    def _answer(self, worker: _Worker) -> Answer:
        try:
            (number, kind, imported), unpickle = worker.pipe.receive()
        except (EOFError, OSError):
            self._raise_unexpected_end([worker])
        _useful_modules.update(imported)
        try:
            return number, kind, unpickle()
        except Exception as error:
            return number, FAILED, Failure(error, f"from {worker.name}")

    @contextlib.contextmanager
    def _supervised(self) -> Iterator[None]:
        """Ends all workers if something goes wrong, for pipes may be left in mid-sentence."""
        if self._failure is not None:
            raise RuntimeError(self._failure)
        try:
            yield
        except BaseException as error:
            self._failure = str(error) or f"DataLoader was interrupted by {type(error).__name__}"
            self.close(_GRACE_AFTER_FAILURE)
            raise

    def _raise_unexpected_end(self, ended: list[_Worker]) -> NoReturn:
        """Says which workers ended by themselves, and how."""
        for worker in ended:
            worker.process.join(timeout=3.0)
        pids = ", ".join(str(worker.process.pid) for worker in ended)
        message = f"DataLoader worker (pid(s) {pids}) exited unexpectedly"
        code = ended[0].process.exitcode
        if code is None:
            message += ": its connection is broken"
        elif code < 0:
            message += f": killed by signal: {signal.strsignal(-code) or -code}."
        else:
            message += (
                f" with exit code {code}. Details are lost due to multiprocessing. Rerunning with "
                "num_workers=0 may give better error trace."
            )
        raise RuntimeError(message) from None

    def close(self, grace: float = _GRACE) -> None:
        """Ends the workers: politely, then by force."""
        _end(self._owner, self._workers, grace)
        self._finalizer.detach()


# The loader's ends of all pipes, which forked processes must not hold.
_pipes_of_loaders: weakref.WeakSet[Any] = weakref.WeakSet()


def _close_inherited() -> None:
    for pipe in list(_pipes_of_loaders):
        pipe.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)


# Modules that workers import while they work. Of the workers of the next epoch, each would have to
# import them again, which can take longer than an epoch, if they weren't forked with them.
_useful_modules = {"taper.serialization"}  # what pickles tensors
_USEFUL = ("taper", "llvmlite", "threadpoolctl")  # of other packages we don't know what they do


def _import_for_workers() -> None:
    while _useful_modules:
        importlib.import_module(_useful_modules.pop())


def _start(context: Any, assignment: Assignment) -> _Worker:
    ours, theirs = context.Pipe()
    _pipes_of_loaders.add(ours)
    process = context.Process(target=_run_worker, args=(theirs, assignment), daemon=True)
    if context.get_start_method() != "fork" and hasattr(signal, "pthread_sigmask"):
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # its start would let SIGINT through again
    with _interrupts_held_back():
        process.start()
    theirs.close()
    return _Worker(process, BlockPipe(ours), _name(assignment), deque())


def _name(assignment: Assignment) -> str:
    return f"DataLoader worker process {assignment.worker_id}"


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Has a process that is started begin with SIGINT blocked."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(owner: int, workers: list[_Worker], grace: float = _GRACE) -> None:
    if os.getpid() != owner:  # forked: they are the children of another
        return
    for worker in workers:
        worker.pipe.close()
    deadline = time.monotonic() + grace
    while workers:
        process = workers[-1].process
        waited = multiprocessing.connection.wait(
            [process.sentinel], max(0.0, deadline - time.monotonic())
        )
        if not waited:
            process.kill()
        process.join()
        workers.pop()


# -- the worker's side -----------------------------------------------------------------


def _run_worker(connection: Any, assignment: Assignment) -> None:
    """The main function of a worker process."""
    _leave_signals_to_loader()
    end = _LoaderEnd(BlockPipe(connection), f"in {_name(assignment)}")
    threading.Thread(target=end.watch, daemon=True).start()
    taper.set_num_threads(1)
    _seed_generators(assignment)
    set_worker_info(WorkerInfo(
        id=assignment.worker_id, num_workers=assignment.num_workers, seed=assignment.seed,
        dataset=assignment.dataset, rng=None, worker_method="multiprocessing",
    ))  # fmt: skip
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # nobody wants the answer
        work(assignment, end.next_task, end.answer, end.where)


def _leave_signals_to_loader() -> None:
    """Handlers that were set in the loader's process are not meant for its workers.

    SIGINT gets one that does nothing, not SIG_IGN, which programs started by a data set inherit.
    """
    signal.signal(signal.SIGINT, lambda number, frame: None)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _seed_generators(assignment: Assignment) -> None:
    """Seeds all random number generators of a worker process as PyTorch does."""
    words = [assignment.worker_id, assignment.base_seed]
    random.seed(assignment.seed)
    taper.manual_seed(assignment.seed)
    np.random.seed(np.random.SeedSequence(words).generate_state(4))


class _LoaderEnd:
    """What a worker process has of its loader."""

    def __init__(self, pipe: BlockPipe, where: str) -> None:
        self._pipe = pipe
        self._tasks: deque[Task] = deque()
        self._is_gone = False
        self._known_modules = set(sys.modules)
        self.where = where

    def next_task(self) -> Task | None:
        """The next task that is still wanted; None if the loader is gone."""
        try:
            while not self._tasks or self._pipe.can_receive():
                number, unpickle = self._pipe.receive()
                if number == NEW_EPOCH:
                    self._tasks.clear()
                self._tasks.append((number, unpickle()))
        except (EOFError, ConnectionResetError):
            return None
        return None if self._is_gone else self._tasks.popleft()

    def answer(self, number: int, kind: str, value: Any) -> None:
        """Sends an answer; if it can't be pickled, this failure instead."""
        imported = self._newly_imported()
        try:
            self._pipe.send((number, kind, imported), value)
        except OSError:
            raise
        except Exception as error:
            self._pipe.send((number, FAILED, imported), Failure(error, self.where))

    def _newly_imported(self) -> list[str]:
        if len(sys.modules) == len(self._known_modules):
            return []
        new = set(sys.modules) - self._known_modules
        self._known_modules |= new
        return sorted(name for name in new if name.partition(".")[0] in _USEFUL)

    def watch(self) -> None:
        """Waits, in a thread, for the end of the loader, and makes it the end of this process."""
        if not hasattr(select, "poll"):  # Windows
            return
        parent = os.getppid()
        poll = select.poll()
        poll.register(self._pipe.connection, 0)  # not for messages, only for the end of them
        while not poll.poll(_LOOK_AT_PARENT) and os.getppid() == parent:
            pass
        self._is_gone = True
        time.sleep(_GRACE)  # for the batch that is being loaded
        os._exit(1)
