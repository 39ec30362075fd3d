"""What a worker process knows about itself."""

from __future__ import annotations

from typing import Any

__all__ = ["WorkerInfo", "get_worker_info", "set_worker_info"]


class WorkerInfo:
    """What `get_worker_info` returns: `id`, `num_workers`, `seed` and the worker's `dataset`."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: Any) -> None:
        raise RuntimeError(f"Cannot assign attributes to {type(self).__name__} objects")

    def __repr__(self) -> str:
        items = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({items})"


_worker_info: list[WorkerInfo | None] = [None]


def get_worker_info() -> WorkerInfo | None:
    """Returns what is known about this worker process; None in the main process."""
    return _worker_info[0]


def set_worker_info(info: WorkerInfo) -> None:
    """Says, in a worker process, what `get_worker_info` returns."""
    _worker_info[0] = info
