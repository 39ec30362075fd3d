"""`functionalize`, which taper does not need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["functionalize"]


def functionalize(func: Callable[..., Any], *, remove: str = "mutations") -> Callable[..., Any]:
    """Would return `func` with changes in place replaced by copies, for tracing it."""
    raise NotImplementedError(
        "functionalize() prepares functions for PyTorch's tracers: taper has none. Its transforms "
        "take functions that change tensors in place as they are: call `func` itself; "
        "taper.capture.record() writes out the steps of a function."
    )
