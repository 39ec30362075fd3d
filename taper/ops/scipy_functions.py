"""Functions of scipy.special, imported when the first one is used."""

from __future__ import annotations

from typing import Any

__all__ = ["scipy_special"]

_FOUND: dict[str, Any] = {}


def scipy_special(name: str) -> Any:
    """The ufunc of scipy.special called `name`. They take float32 and float64 arrays."""
    found = _FOUND.get(name)
    if found is None:
        import scipy.special

        found = _FOUND[name] = getattr(scipy.special, name)
    return found
