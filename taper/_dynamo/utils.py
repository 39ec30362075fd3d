"""What packages ask `torch._dynamo.utils`."""

from __future__ import annotations

from typing import Any

__all__ = ["is_compile_supported"]


def is_compile_supported(device_type: Any) -> bool:
    """Whether programs for this kind of device can be compiled: those for CPUs."""
    return str(device_type).partition(":")[0] == "cpu"
