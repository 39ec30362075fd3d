"""Workers of a data loader that are threads of this process.

They begin at once, copy nothing, and need nothing to be pickled. In exchange, they take turns
where they run Python, the data set must bear being read by several threads, and a thread that
hangs can't be ended: it is left behind.
"""

from __future__ import annotations

import queue
import random
import threading
import time
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

import taper
from taper.utils.data.worker import (
    NEW_EPOCH,
    Answer,
    Assignment,
    put_in_place_of_all,
    work,
)
from taper.utils.data.worker_info import WorkerGenerators, WorkerInfo, set_worker_info

__all__ = ["WorkerThreads"]


class WorkerThreads:
    """The worker threads of one iterator over a loader."""

    def __init__(self, assignments: Iterable[Assignment], timeout: float) -> None:
        self._timeout = timeout
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._tasks: list[queue.SimpleQueue[Any]] = []
        self._failure: str | None = None
        self.close = weakref.finalize(self, _end, self._tasks)
        self.members: list[threading.Thread] = []
        for assignment in assignments:
            tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
            thread = threading.Thread(
                target=_run_worker, args=(assignment, tasks, self._answers),
                name=f"taper-loader-{assignment.worker_id}", daemon=True,
            )
            thread.start()
            self._tasks.append(tasks)
            self.members.append(thread)

    @property
    def has_failed(self) -> bool:
        """Whether the workers had to be ended."""
        return self._failure is not None

    def send(self, worker_id: int, number: int, indices: Any) -> None:
        """Gives a worker a task."""
        if self._failure is not None:
            raise RuntimeError(self._failure)
        self._tasks[worker_id].put((number, indices))

    def begin_epoch(self) -> None:
        """Has all workers forget their tasks and begin anew."""
        for tasks in self._tasks:
            put_in_place_of_all(tasks, (NEW_EPOCH, None))

    def receive(self, worker_ids: set[int], deadline: float | None) -> list[Answer]:
        """Waits for an answer."""
        seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            answer = self._answers.get(timeout=seconds)
        except queue.Empty:
            self._fail(f"DataLoader timed out after {self._timeout} seconds")
        if isinstance(answer, str):
            self._fail(answer)
        return [answer]

    def _fail(self, message: str) -> None:
        self._failure = message
        self.close()
        raise RuntimeError(message) from None


def _end(all_tasks: list[queue.SimpleQueue[Any]]) -> None:
    for tasks in all_tasks:
        put_in_place_of_all(tasks, None)


def _run_worker(
    assignment: Assignment, tasks: queue.SimpleQueue[Any], answers: queue.SimpleQueue[Any]
) -> None:
    """The main function of a worker thread."""
    words = [assignment.worker_id, assignment.base_seed]
    set_worker_info(WorkerInfo(
        id=assignment.worker_id, num_workers=assignment.num_workers, seed=assignment.seed,
        dataset=assignment.dataset, worker_method="thread",
        rng=WorkerGenerators(
            random.Random(assignment.seed), taper.Generator().manual_seed(assignment.seed),
            np.random.default_rng(np.random.SeedSequence(words)),
        ),
    ))  # fmt: skip
    name = f"DataLoader worker thread {assignment.worker_id}"
    try:
        work(assignment, tasks.get, lambda *answer: answers.put(answer), f"in {name}")
    except BaseException as error:  # SystemExit and its like end the worker
        answers.put(f"{name} exited unexpectedly by {error!r}")
