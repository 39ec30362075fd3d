"""The NumPy definitions of kernels, which native ones are compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["definition_of"]


def definition_of(kernel: Any) -> Callable[..., Any]:
    """What a kernel is below its native twin and the protocols of arrays."""
    found: Callable[..., Any] = kernel.function.__wrapped__
    return found
