"""The operators that programs define (`torch.library`), as `torch.ops` shows them."""

from __future__ import annotations

from typing import Any

__all__ = ["NAMESPACES", "OperatorNamespace", "namespace"]


class OperatorNamespace:
    """What ``torch.ops.<name>`` is: the custom operators of one namespace are its attributes."""

    __module__ = "torch._ops"

    def __init__(self, name: str) -> None:
        self.name = name
        self.operators: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name == "operators":  # asked by copy and pickle before __init__
            raise AttributeError(name)
        try:
            return self.operators[name]
        except KeyError:
            raise AttributeError(
                f"'_OpNamespace' '{self.name}' object has no attribute '{name}'"
            ) from None

    def __dir__(self) -> list[str]:
        return sorted(self.operators)


NAMESPACES: dict[str, OperatorNamespace] = {}


def namespace(name: str) -> OperatorNamespace:
    """The namespace of that name, an empty one if nothing was defined in it."""
    if name not in NAMESPACES:
        NAMESPACES[name] = OperatorNamespace(name)
    return NAMESPACES[name]
