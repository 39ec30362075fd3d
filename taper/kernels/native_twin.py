"""Chooses between a NumPy definition and a native kernel that computes the same.

    @with_native("taper.kernels.native_pooling", is_large=lambda x, windows, out: x.size > 4096)
    def max_pool(x, windows, out): ...

For large arguments the function of the same name in that module is asked first. It returns None
where it has no kernel: not yet, not for this dtype or layout, not on this machine. The definition
then computes, as it does for everything small, and it says what the result must be.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from taper.core.settings import settings

__all__ = ["are_ready", "with_native"]

F = TypeVar("F", bound=Callable[..., Any])


def with_native(module: str, is_large: Callable[..., bool]) -> Callable[[F], F]:
    """Decorates a definition that has a native twin in `module`."""

    def decorate(definition: F) -> F:
        twin: Any = None

        @wraps(definition)
        def choose(*args: Any) -> Any:
            nonlocal twin
            if is_large(*args) and settings.native != "off":
                if twin is None:
                    twin = getattr(importlib.import_module(module), definition.__name__)
                found = twin(*args)
                if found is not None:
                    return found
            return definition(*args)

        return choose  # type: ignore[return-value]

    return decorate


_WAITED = 0.02  # seconds; who has waited that long for a kernel waits for no other


def are_ready(*kernels: Any, in_programs: bool = False) -> bool:
    """Whether kernels that are needed together are all there. Asks for all of them at once, and
    waits no longer than for one. `in_programs`: whether programs use them as they are."""
    begin = time.perf_counter()
    found = True
    for kernel in kernels:
        if kernel.address(in_programs) is None:
            found = False
            if time.perf_counter() - begin > _WAITED:
                break
    return found
