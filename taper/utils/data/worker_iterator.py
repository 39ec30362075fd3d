"""Goes through a data set with workers: gives them tasks, takes their batches in order.

What workers do is in `worker.py`, how they are reached in `worker_processes.py` and
`worker_threads.py`.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from taper.utils.data.dataloader import _BaseDataLoaderIter
from taper.utils.data.sampler import draw_seed
from taper.utils.data.worker import ENDED, FAILED, Assignment

__all__ = ["WorkersIterator"]


class WorkersIterator(_BaseDataLoaderIter):
    """One epoch (or, with persistent workers, many), loaded by workers.

    It does not hold the loader, which holds it while workers are persistent: such a cycle would
    keep the workers until the garbage collector comes by.
    """

    def __init__(self, loader: Any) -> None:
        self._numbers = itertools.count()  # of tasks, not counted anew for each epoch
        self._begin(loader)
        self._base_seed = draw_seed(loader.generator)
        self._crew = _start_workers(loader, self._base_seed)
        self._send_ahead()

    @property
    def _workers(self) -> list[Any]:
        return self._crew.members

    @property
    def has_failed(self) -> bool:
        """Whether no more batches can come, because the workers had to be ended."""
        return self._crew.has_failed

    def _begin(self, loader: Any) -> None:
        """Starts an epoch: options, the order of indices and all counters."""
        self._sampler = loader._index_sampler
        self._in_order = loader.in_order
        self._timeout = loader.timeout
        self._ends_workers = not loader.persistent_workers
        self._most_sent = max(1, (loader.prefetch_factor or 0) * loader.num_workers)
        self._reported = copy.copy(loader._reported)
        self._indices = iter(self._sampler)
        self._active = deque(range(loader.num_workers))  # workers that still have data
        self._sent: deque[int] = deque()  # tasks whose batch has not been yielded
        self._owner: dict[int, int] = {}  # task → worker, of unanswered tasks
        self._ready: dict[int, tuple[str, Any]] = {}  # task → answer
        self._exhausted = False
        self._yielded = 0

    def restart(self, loader: Any) -> None:
        """Starts another epoch with the same workers; what is left of the last one is dropped."""
        self._begin(loader)
        self._crew.begin_epoch()
        self._send_ahead()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __len__(self) -> int:
        return len(self._sampler)

    def __next__(self) -> Any:
        deadline = time.monotonic() + self._timeout if self._timeout else None
        kind = ENDED
        while kind == ENDED:
            self._send_ahead()
            if not self._sent:
                if self._ends_workers:
                    self._crew.close()
                raise StopIteration
            kind, value = self._next_answer(deadline)
        self._send_ahead()
        if kind == FAILED:
            del self  # or the traceback would keep the workers
            value.reraise()
        self._yielded += 1
        self._reported.warn_if_less_than(self._yielded)
        return value

    def _send_ahead(self) -> None:
        """Keeps every worker supplied with tasks."""
        while not self._exhausted and self._active and len(self._sent) < self._most_sent:
            try:
                indices = next(self._indices)
            except StopIteration:
                self._exhausted = True
                return
            number = next(self._numbers)
            worker_id = self._active[0]
            self._active.rotate(-1)
            self._sent.append(number)
            self._owner[number] = worker_id
            self._crew.send(worker_id, number, indices)

    def _next_answer(self, deadline: float | None) -> tuple[str, Any]:
        """The answer that comes next: to the first of the tasks sent, or to any."""
        while (self._sent[0] not in self._ready) if self._in_order else (not self._ready):
            self._receive(deadline)
        number = self._sent[0] if self._in_order else next(iter(self._ready))
        self._sent.remove(number)
        return self._ready.pop(number)

    def _receive(self, deadline: float | None) -> None:
        for number, kind, value in self._crew.receive(set(self._owner.values()), deadline):
            worker_id = self._owner.pop(number, None)
            if worker_id is None:
                continue  # of an epoch that was left early
            self._ready[number] = kind, value
            if kind == ENDED and worker_id in self._active:
                self._active.remove(worker_id)


def _start_workers(loader: Any, base_seed: int) -> Any:
    assignments = [
        Assignment(
            loader.dataset, worker_id, loader.num_workers, base_seed, loader.worker_init_fn,
            loader._fetcher_arguments(),
        )
        for worker_id in range(loader.num_workers)
    ]
    if loader.multiprocessing_context == "thread":
        from taper.utils.data.worker_threads import WorkerThreads

        return WorkerThreads(assignments, loader.timeout)
    # Python's machinery for processes takes as long to import as all of data loading.
    from taper.utils.data.worker_processes import WorkerProcesses

    return WorkerProcesses(loader.multiprocessing_context, assignments, loader.timeout)
