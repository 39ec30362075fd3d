"""The verbs: every file of this folder that declares operators, one family a file.

Importing the package imports all of them, so a new family needs no list to be added to.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from taper.core.custom_operators import NAMESPACES

for _file in sorted(os.listdir(os.path.dirname(__file__))):
    if _file.endswith(".py") and not _file.startswith("_"):
        importlib.import_module(f"taper.ops.{_file[:-3]}")


def __getattr__(name: str) -> Any:
    """The namespaces of custom operators: ``torch.ops.mylib.foo``, see `torch.library`."""
    if name in NAMESPACES:
        return NAMESPACES[name]
    raise AttributeError(
        f"'_OpNamespace' '{name}' has no operators: torch.ops shows those that were defined with "
        "torch.library; PyTorch's own (torch.ops.aten) have no names here, call torch's functions"
    )
