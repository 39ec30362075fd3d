"""The verbs: every file of this folder that declares operators, one family a file.

Importing the package imports all of them, so a new family needs no list to be added to.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from taper.core import custom_operators

for _file in sorted(os.listdir(os.path.dirname(__file__))):
    if _file.endswith(".py") and not _file.startswith("_"):
        importlib.import_module(f"taper.ops.{_file[:-3]}")


def __getattr__(name: str) -> Any:
    """The namespaces of operators: ``torch.ops.mylib.foo``, see `torch.library`.

    As in PyTorch every name is one; it is empty until somebody defines operators in it.
    """
    if name.startswith("_"):
        raise AttributeError(f"module 'torch.ops' has no attribute {name!r}")
    if name == "load_library":
        import taper

        return taper.library.load_library
    return custom_operators.namespace(name)
