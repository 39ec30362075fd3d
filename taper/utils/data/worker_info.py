"""What a worker knows about itself."""

from __future__ import annotations

import threading
from typing import Any

__all__ = ["WorkerGenerators", "WorkerInfo", "get_worker_info", "set_worker_info"]


class WorkerInfo:
    """What `get_worker_info` returns: `id`, `num_workers`, `seed`, `dataset` and more.

    `worker_method` is "multiprocessing" or "thread"; in threads, `rng` has random number
    generators that belong to this worker alone.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any
    rng: WorkerGenerators | None
    worker_method: str

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: Any) -> None:
        raise RuntimeError(f"Cannot assign attributes to {type(self).__name__} objects")

    def __repr__(self) -> str:
        items = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({items})"


class WorkerGenerators:
    """The generators of a worker thread, as threads would disturb each other in common ones."""

    def __init__(self, random_generator: Any, torch_generator: Any, numpy_generator: Any) -> None:
        self.random_generator = random_generator
        self.torch_generator = torch_generator
        self.numpy_generator = numpy_generator


class _Known:
    """Of a worker process, whatever thread asks; and of worker threads, each its own."""

    process: WorkerInfo | None = None
    thread = threading.local()


def get_worker_info() -> WorkerInfo | None:
    """Returns what is known about this worker; None outside of workers."""
    return getattr(_Known.thread, "info", None) or _Known.process


def set_worker_info(info: WorkerInfo) -> None:
    """Says, in a worker, what `get_worker_info` returns."""
    if info.worker_method == "thread":
        _Known.thread.info = info
    else:
        _Known.process = info
