"""Functions of a room under the names that its C++ module has for them, as pickles have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import taper

__all__ = ["functions_of"]


def functions_of(room: str) -> Callable[[str], Any]:
    """The `__getattr__` of ``torch._C._linalg`` and its like: ``linalg_norm`` is their ``norm``."""

    def find(name: str) -> Any:
        if not name.startswith(f"{room}_"):
            raise AttributeError(f"module 'torch._C._{room}' has no attribute {name!r}")
        return getattr(getattr(taper, room), name.removeprefix(f"{room}_"))

    return find
