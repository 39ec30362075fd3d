"""Loading data (`data`), handles of hooks (`hooks`), DLPack (`dlpack`)."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    """The modules below, which need no import of their own."""
    if not name.startswith("__"):
        try:
            return importlib.import_module(f"taper.utils.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"taper.utils.{name}":
                raise
    raise AttributeError(f"module 'torch.utils' has no attribute {name!r}")
