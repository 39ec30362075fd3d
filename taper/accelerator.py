"""`torch.accelerator`: there is none; programs that ask are told so."""

from __future__ import annotations

from typing import Any

__all__ = [
    "current_accelerator", "current_device_idx", "current_device_index", "current_stream",
    "device_count", "device_index", "empty_cache", "get_memory_info", "is_available",
    "max_memory_allocated", "max_memory_reserved", "memory_allocated", "memory_reserved",
    "memory_stats", "reset_accumulated_memory_stats", "reset_peak_memory_stats",
    "set_device_idx", "set_device_index", "set_stream", "synchronize",
]


def is_available() -> bool:
    """Returns False."""
    return False


def device_count() -> int:
    """Returns 0."""
    return 0


def current_accelerator(check_available: bool = False) -> None:
    """Returns None."""


def _refuse(*args: Any, **options: Any) -> Any:
    """Raises PyTorch's RuntimeError."""
    raise RuntimeError("Cannot access accelerator device when none is available.")


current_device_idx = current_device_index = current_stream = device_index = _refuse
set_device_idx = set_device_index = set_stream = synchronize = empty_cache = _refuse
get_memory_info = memory_allocated = memory_reserved = memory_stats = _refuse
max_memory_allocated = max_memory_reserved = _refuse
reset_accumulated_memory_stats = reset_peak_memory_stats = _refuse
