"""`torch.distributed` as PyTorch has it when it is built without: not available.

Programs ask `is_available()` first. taper computes in one process, on all its cores; many
processes are started by `torch.multiprocessing`.
"""

from __future__ import annotations

from typing import NoReturn

__all__ = ["is_available"]


def is_available() -> bool:
    """Returns False."""
    return False


class ProcessGroup:
    """A name for annotations; there are none."""

    def __init__(self) -> None:
        raise RuntimeError("torch.distributed isn't available: there are no process groups")


def __getattr__(name: str) -> NoReturn:
    if name.startswith("__"):
        raise AttributeError(f"module 'torch.distributed' has no attribute '{name}'")
    raise AttributeError(
        f"module 'torch.distributed' has no attribute '{name}': it isn't available in taper, and "
        "is_available() says so"
    )
