"""`torch.xpu`: absent. What programs call unconditionally works, the rest raises."""

from __future__ import annotations

from typing import Any

from taper.cuda import (
    device_count,
    empty_cache,
    get_rng_state_all,
    is_available,
    is_bf16_supported,
    is_initialized,
    manual_seed,
    manual_seed_all,
    max_memory_allocated,
    max_memory_reserved,
    memory_allocated,
    memory_reserved,
    set_rng_state_all,
)

__all__ = [
    "current_device", "device_count", "empty_cache", "get_device_capability", "get_device_name",
    "get_device_properties", "get_rng_state", "get_rng_state_all", "is_available",
    "is_bf16_supported", "is_initialized", "manual_seed", "manual_seed_all",
    "max_memory_allocated", "max_memory_reserved", "mem_get_info", "memory_allocated",
    "memory_reserved", "reset_peak_memory_stats", "set_device", "set_rng_state",
    "set_rng_state_all", "synchronize",
]


def _refuse(*args: Any, **options: Any) -> Any:
    """Raises: there is no device."""
    raise AssertionError("Torch not compiled with XPU enabled")


current_device = get_device_capability = get_device_name = get_device_properties = _refuse
get_rng_state = mem_get_info = reset_peak_memory_stats = set_device = set_rng_state = _refuse
synchronize = current_stream = _refuse
