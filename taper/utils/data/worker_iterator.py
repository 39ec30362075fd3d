"""Goes through a data set with worker processes: gives them tasks, takes their batches in order.

What happens in the workers is in `worker.py`.
"""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import multiprocessing.connection
import os
import signal
import time
import weakref
from collections.abc import Iterator
from typing import Any

import taper
from taper.utils.data.sampler import draw_seed
from taper.utils.data.worker import ENDED, FAILED, receive_in_pieces, run_worker

__all__ = ["WorkersIterator"]


class WorkersIterator:
    """One epoch (or, with persistent workers, many), loaded by worker processes."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        context = loader.multiprocessing_context or multiprocessing.get_context()
        count = loader.num_workers
        self._workers: list[Any] = []
        self._pipes: list[Any] = []
        # It owns both, so they are whole when it runs, which a finalizer of ours could not say:
        # of a dead cycle the garbage collector may have finalized them first.
        self._end = weakref.finalize(self, _end_workers, os.getpid(), self._workers, self._pipes)
        _ = taper.save  # what pickles tensors: imported once, before the workers are forked
        self._begin()
        self._base_seed = draw_seed(loader.generator)
        for worker_id in range(count):
            ours, theirs = context.Pipe()
            worker = context.Process(
                target=run_worker,
                args=(
                    theirs, loader.dataset, worker_id, count, self._base_seed,
                    loader.worker_init_fn, loader._fetcher_arguments(),
                ),
                daemon=True,
            )
            worker.start()
            theirs.close()  # so that the pipe breaks when either process ends
            self._workers.append(worker)
            self._pipes.append(ours)
        self._send_ahead()

    def _begin(self) -> None:
        """Starts an epoch: the order of indices and all counters."""
        loader = self._loader
        self._indices = iter(loader._index_sampler)
        self._active = list(range(loader.num_workers))  # workers that still have data
        self._next_worker = itertools.cycle(range(loader.num_workers))
        self._sent = self._wanted = 0  # numbers of the next task to send, and to yield
        self._owner: dict[int, int] = {}  # task → worker, of unanswered tasks
        self._ready: dict[int, Any] = {}  # task → (kind, value)
        self._exhausted = False
        self._yielded = 0

    def restart(self) -> None:
        """Starts another epoch with the same workers."""
        while self._owner:  # answers of an epoch that was left early
            self._receive()
        self._begin()
        for worker_id, pipe in enumerate(self._pipes):
            pipe.send((-1 - worker_id, None))
            self._owner[-1 - worker_id] = worker_id
        while self._owner:
            self._receive()
        for kind, value in list(self._ready.values()):
            if kind == FAILED:
                value.reraise()
        self._ready.clear()
        self._send_ahead()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __len__(self) -> int:
        return len(self._loader._index_sampler)

    def __next__(self) -> Any:
        while True:
            self._send_ahead()
            number = self._next_answer()
            if number is None:
                if not self._loader.persistent_workers:
                    self.close()
                raise StopIteration
            kind, value = self._ready.pop(number)
            self._wanted = max(self._wanted, number + 1)
            if kind == ENDED:
                continue
            if kind == FAILED:
                if not self._loader.persistent_workers:
                    self.close()
                value.reraise()
            self._send_ahead()
            self._yielded += 1
            self._loader._warn_if_longer(self._yielded)
            return value

    def _send_ahead(self) -> None:
        """Keeps every worker supplied with tasks."""
        limit = (self._loader.prefetch_factor or 0) * self._loader.num_workers
        while not self._exhausted and self._active and len(self._owner) + len(self._ready) < max(
            limit, 1
        ):
            try:
                indices = next(self._indices)
            except StopIteration:
                self._exhausted = True
                return
            if indices is None:  # an unbatched iterable data set: None would mean a new epoch
                indices = ()
            worker_id = next(w for w in self._next_worker if w in self._active)
            self._owner[self._sent] = worker_id
            try:
                self._pipes[worker_id].send((self._sent, indices))
            except (BrokenPipeError, ConnectionResetError):
                self._raise_if_dead()
                raise
            self._sent += 1

    def _next_answer(self) -> int | None:
        """The number of the task whose answer comes next; None at the end of the epoch."""
        while True:
            if self._loader.in_order:
                while self._wanted < self._sent:
                    if self._wanted in self._ready:
                        return self._wanted
                    if self._wanted in self._owner:
                        break
                    self._wanted += 1  # a task of a worker that has run out of data
                else:
                    return None
            elif self._ready:
                return next(iter(self._ready))
            elif not self._owner:
                return None
            self._receive()

    def _receive(self) -> None:
        """Waits for answers, and takes those that are there."""
        waiting = {self._pipes[w]: w for w in set(self._owner.values())}
        sentinels = {self._workers[w].sentinel: w for w in waiting.values()}
        timeout = self._loader.timeout or None
        deadline = None if timeout is None else time.monotonic() + timeout
        events = multiprocessing.connection.wait([*waiting, *sentinels], timeout)
        if not events and deadline is not None:
            raise RuntimeError(f"DataLoader timed out after {timeout} seconds")
        pipes: list[Any] = [event for event in events if event in waiting]
        for pipe in pipes:
            try:
                number, kind, value = receive_in_pieces(pipe)
            except (EOFError, OSError):
                self._raise_if_dead()
                raise
            worker_id = self._owner.pop(number)
            self._ready[number] = (kind, value)
            if kind == ENDED and worker_id in self._active:
                self._active.remove(worker_id)
        if not pipes:
            self._raise_if_dead()

    def _raise_if_dead(self) -> None:
        """Names the workers that ended by themselves, and how."""
        dead = []
        for worker in self._workers:
            worker.join(timeout=1 if not worker.is_alive() else 0.1)
            if worker.exitcode is not None:
                dead.append(worker)
        if not dead:
            return
        pids = ", ".join(str(worker.pid) for worker in dead)
        code = dead[0].exitcode
        how = f"exit code {code}" if code >= 0 else f"signal {-code} ({_signal_name(-code)})"
        self.close()
        raise RuntimeError(
            f"DataLoader worker (pid {pids}) exited unexpectedly with {how}. Details are lost due "
            "to multiprocessing. Rerunning with num_workers=0 may give better error trace."
        )

    def close(self) -> None:
        """Ends the workers: politely, then after a second by force."""
        self._end()
        self._owner.clear()


def _end_workers(owner_pid: int, workers: list[Any], pipes: list[Any]) -> None:
    if os.getpid() != owner_pid:  # forked: they are the children of another
        return
    for pipe in pipes:
        try:
            pipe.send(None)
        except (OSError, ValueError):
            continue  # that worker is gone already
    for pipe in pipes:
        pipe.close()
    end = time.monotonic() + 1.0
    for worker in workers:
        worker.join(timeout=max(0.0, end - time.monotonic()))
        if worker.exitcode is None:
            worker.kill()
            worker.join()
    workers.clear()
    pipes.clear()


@functools.cache
def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
