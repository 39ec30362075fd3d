"""`torch.classes`: C++ classes of extensions; there are none."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["load_library", "loaded_libraries"]

loaded_libraries: set[str] = set()


def load_library(path: str) -> NoReturn:
    """Raises NotImplementedError: libraries for PyTorch need PyTorch."""
    raise NotImplementedError(
        f"torch.classes.load_library({path!r}): taper can't load C++ libraries made for PyTorch"
    )


class _ClassNamespace:
    """``torch.classes.<name>``: it is empty."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, attr: str) -> Any:
        if attr.startswith("__"):
            raise AttributeError(attr)
        raise RuntimeError(
            f"Class {self.name}.{attr} does not exist: torch.classes holds classes of C++ "
            "libraries, and taper loads none"
        )


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return _ClassNamespace(name)
