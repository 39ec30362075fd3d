"""Modules whose names are found when they are asked for, and all of them when `vars()` asks."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

__all__ = ["fill_when_listed"]


_own_names = vars(ModuleType)["__dict__"].__get__


class LazyModule(ModuleType):
    """A module with a `__getattr__` of its own whose `__dict__` is complete.

    Packages go through ``torch.distributions.__dict__`` for all classes, for instance. (A subclass
    of the module type costs 20 ns for each attribute that is read: not for modules of functions
    that are called in loops.)
    """

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        names: dict[str, Any] = _own_names(self)
        for name in names.get("__all__", ()):
            if name not in names:
                names[name] = getattr(self, name)
        return names


def fill_when_listed(module: str) -> None:
    """Makes a module that is being imported a `LazyModule`."""
    sys.modules[module].__class__ = LazyModule
