"""`torch.distributed.distributed_c10d`, where PyTorch keeps what `torch.distributed` exports."""

from __future__ import annotations

from typing import Any

from taper import distributed
from taper.distributed.group import ProcessGroup, member

__all__ = ["_get_default_group"]


def _get_default_group() -> ProcessGroup:
    """The group of all processes."""
    return member(None)


def __getattr__(name: str) -> Any:
    return getattr(distributed, name)
