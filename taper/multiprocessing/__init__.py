"""`torch.multiprocessing`: Python's multiprocessing, and starting many processes at once.

Whatever Python's module has is here under the same name. A tensor that is sent to another process
is copied: changes don't come back, unlike in PyTorch, where the processes share its memory. To
share, call `share_memory_()` on it and fork (``start_processes(…, start_method="fork")``).
"""

from __future__ import annotations

import multiprocessing
from multiprocessing import *  # noqa: F403 - all of it

from taper.multiprocessing.spawn import (
    ENV_VAR_PARALLEL_START,
    ProcessContext,
    ProcessExitedException,
    ProcessRaisedException,
    SpawnContext,
    spawn,
    start_processes,
)

__all__ = [  # noqa: PLE0604 - Python's list is one of strings
    *multiprocessing.__all__,
    "ENV_VAR_PARALLEL_START", "ProcessContext", "ProcessExitedException", "ProcessRaisedException",
    "SpawnContext", "get_all_sharing_strategies", "get_sharing_strategy", "set_sharing_strategy",
    "spawn", "start_processes",
]

_STRATEGIES = {"file_descriptor", "file_system"}
_chosen = ["file_descriptor"]


def get_all_sharing_strategies() -> set[str]:
    """Returns the names that `set_sharing_strategy` takes."""
    return set(_STRATEGIES)


def get_sharing_strategy() -> str:
    """Returns the name that was set last."""
    return _chosen[0]


def set_sharing_strategy(new_strategy: str) -> None:
    """Takes PyTorch's names for how tensors reach other processes; they change nothing here."""
    if new_strategy not in _STRATEGIES:
        raise AssertionError(
            f"invalid sharing strategy '{new_strategy}', expected one of {_STRATEGIES}"
        )
    _chosen[0] = new_strategy
