"""Functions of scipy.special, imported when the first one is used."""

from __future__ import annotations

from typing import Any

__all__ = ["LARGE_FOR_ERF", "scipy_special"]

_FOUND: dict[str, Any] = {}

LARGE_FOR_ERF = 1023
"""Elements from which on a kernel's error function beats SciPy's, which takes 15 ns for each."""


def scipy_special(name: str) -> Any:
    """The ufunc of scipy.special called `name`. They take float32 and float64 arrays."""
    found = _FOUND.get(name)
    if found is None:
        import scipy.special

        found = _FOUND[name] = getattr(scipy.special, name)
    return found
