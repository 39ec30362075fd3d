"""Loading data (`data`), handles of hooks (`hooks`), DLPack (`dlpack`)."""

from __future__ import annotations

import importlib
from typing import Any


def swap_tensors(t1: Any, t2: Any) -> None:
    """Exchanges two tensors wherever they are known: class, memory, history and attributes."""
    kinds = type(t2), type(t1)
    for name in _PARTS:
        first, second = getattr(t1, name), getattr(t2, name)
        setattr(t1, name, second)
        setattr(t2, name, first)
    t1.__class__, t2.__class__ = kinds


_PARTS = ("_array", "_base", "_edge", "_grad", "_storage", "__dict__")


def __getattr__(name: str) -> Any:
    """The modules below, which need no import of their own."""
    if not name.startswith("__"):
        try:
            return importlib.import_module(f"taper.utils.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"taper.utils.{name}":
                raise
    raise AttributeError(f"module 'torch.utils' has no attribute {name!r}")
