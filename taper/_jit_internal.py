"""Names of `torch._jit_internal` that packages use: marks for TorchScript, which there is not."""

from __future__ import annotations

from typing import TypeVar

from taper.jit import _overload, _overload_method, export, ignore, is_scripting, unused

__all__ = [
    "_copy_to_script_wrapper", "_overload", "_overload_method", "export", "ignore", "is_scripting",
    "unused",
]

T = TypeVar("T")


def _copy_to_script_wrapper(fn: T) -> T:
    """Marks a method for TorchScript; returns it."""
    return fn
