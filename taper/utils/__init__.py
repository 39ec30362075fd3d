"""Loading data (`data`), recomputing activations (`checkpoint`), hook handles (`hooks`) …"""

from __future__ import annotations

import importlib
from typing import Any

_MODULES = frozenset(["checkpoint", "data", "dlpack", "hooks", "tensorboard"])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"taper.utils.{name}")
    raise AttributeError(f"module 'torch.utils' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_MODULES)
