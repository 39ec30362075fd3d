"""Modules such as `taper.linalg` hold no bodies: they ask the operators' table for their names."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from taper.ops.declare import INPLACE, OPERATORS

__all__ = ["find", "functions_below", "names_below"]


def find(path: str) -> Any:
    """The public function called `path` below torch, such as "exp", "exp_" or "linalg.inv"."""
    op = OPERATORS.get(path)
    if op is not None:
        return op.known_as(path)
    op = INPLACE.get(path)
    if op is not None:
        return op.known_as(path, inplace=True)
    raise AttributeError(path)


def names_below(prefix: str) -> list[str]:
    """The names of all operators directly below a namespace; "" for torch itself."""
    start = prefix + "." if prefix else ""
    found = (p[len(start):] for table in (OPERATORS, INPLACE) for p in table if p.startswith(start))
    return sorted(name for name in found if "." not in name)


def functions_below(
    module: str, prefix: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a module whose names are the operators below `prefix`.

    Functions are generated on first use and then kept in the module.
    """

    def get(name: str) -> Any:
        try:
            value = find(f"{prefix}.{name}" if prefix else name)
        except AttributeError:
            raise AttributeError(f"module '{module}' has no attribute '{name}'") from None
        vars(sys.modules[module])[name] = value
        return value

    def listed() -> list[str]:
        own = [n for n in vars(sys.modules[module]) if not n.startswith("_")]
        return sorted({*own, *names_below(prefix)})

    return get, listed
