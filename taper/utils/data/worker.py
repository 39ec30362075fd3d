"""Worker processes of a data loader: what runs in them, and how the loader talks to them.

Note [worker protocol]. Each worker has one pipe. The loader sends tasks, ``(number, indices)``;
the worker answers with ``(number, kind, value)``. In the worker one thread receives and another
sends, so that neither side ever waits for the other's full pipe; when the pipe breaks, because
the loader's process is gone, the worker ends itself.
"""

from __future__ import annotations

import io
import os
import pickle
import queue
import random
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

import taper
from taper.utils.data.fetch import fetcher
from taper.utils.data.worker_info import WorkerInfo, set_worker_info

__all__ = [
    "ENDED", "FAILED", "READY", "Failure", "receive_in_pieces", "run_worker",
]

_LARGE = 1 << 16  # bytes from which a buffer travels apart from the pickle
READY, FAILED, ENDED = "ready", "failed", "ended"  # kinds of answers


class Failure:
    """An exception in a worker, on its way to the main process."""

    def __init__(self, error: BaseException, where: str) -> None:
        self.type = type(error)
        self.where = where
        self.text = "".join(traceback.format_exception(error))

    def reraise(self) -> None:
        """Raises the same kind of exception, with the worker's traceback in its message."""
        message = f"Caught {self.type.__name__} {self.where}.\nOriginal {self.text}"
        if self.type is KeyError:
            raise KeyError(_Verbatim(message))
        try:
            error = self.type(message)
        except Exception:  # a type whose constructor wants something else
            raise RuntimeError(message) from None
        raise error


class _Verbatim(str):
    """A message that a KeyError shows with its line breaks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def seed_worker(base_seed: int, worker_id: int) -> int:
    """Seeds all random number generators of a worker process as PyTorch does."""
    seed = base_seed + worker_id
    random.seed(seed)
    taper.manual_seed(seed)
    np.random.seed(np.random.SeedSequence([worker_id, base_seed]).generate_state(4))
    return seed


def run_worker(
    connection: Any, dataset: Any, worker_id: int, num_workers: int, base_seed: int,
    init_fn: Callable[[int], Any] | None, fetcher_arguments: tuple[Any, ...],
) -> None:
    """The main function of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the loader gets it too, and ends the workers
    taper.set_num_threads(1)
    seed = seed_worker(base_seed, worker_id)
    tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, tasks), daemon=True).start()
    sender = threading.Thread(target=_send, args=(connection, answers), daemon=True)
    sender.start()
    where = f"in DataLoader worker process {worker_id}"
    set_worker_info(WorkerInfo(
        id=worker_id, num_workers=num_workers, seed=seed, dataset=dataset, rng=None,
        worker_method="multiprocessing",
    ))  # fmt: skip
    fetch: Any = None
    failed_start: Failure | None = None
    try:
        if init_fn is not None:
            init_fn(worker_id)
        fetch = fetcher(dataset, *fetcher_arguments)
    except Exception as error:
        failed_start = Failure(error, where)
    while (task := tasks.get()) is not None:
        number, indices = task
        if indices is None:  # a persistent worker begins another epoch
            try:
                fetch = fetcher(dataset, *fetcher_arguments)
                answers.put((number, READY, None))
            except Exception as error:
                answers.put((number, FAILED, Failure(error, where)))
            continue
        if failed_start is not None:
            answers.put((number, FAILED, failed_start))
            continue
        try:
            answers.put((number, READY, fetch(indices)))
        except StopIteration as error:
            if fetcher_arguments[0]:
                answers.put((number, ENDED, None))
            else:
                answers.put((number, FAILED, Failure(error, where)))
        except Exception as error:
            answers.put((number, FAILED, Failure(error, where)))
    answers.put(None)
    sender.join()


def _receive(connection: Any, tasks: queue.SimpleQueue[Any]) -> None:
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            os._exit(0)
        tasks.put(task)
        if task is None:
            return


def _send(connection: Any, answers: queue.SimpleQueue[Any]) -> None:
    while (answer := answers.get()) is not None:
        try:
            try:
                send_in_pieces(connection, answer)
            except (BrokenPipeError, ConnectionResetError):
                os._exit(0)
        except Exception as error:  # a sample that can't be pickled
            failure = Failure(error, "while sending a batch")
            send_in_pieces(connection, (answer[0], FAILED, failure))


def send_in_pieces(connection: Any, value: Any) -> None:
    """Sends a pickle and, apart from it and so without copying them, its large buffers."""
    large: list[memoryview] = []

    def is_small(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes >= _LARGE:
            large.append(raw)
        return raw.nbytes < _LARGE

    pickled = io.BytesIO()
    ForkingPickler(pickled, 5, True, is_small).dump(value)
    connection.send((pickled.getvalue(), [raw.nbytes for raw in large]))
    for raw in large:
        connection.send_bytes(raw)


def receive_in_pieces(connection: Any) -> Any:
    """Receives what `send_in_pieces` sent."""
    pickled, sizes = connection.recv()
    buffers = [np.empty(size, np.uint8) for size in sizes]
    for buffer in buffers:
        connection.recv_bytes_into(buffer)
    return pickle.loads(pickled, buffers=buffers)
