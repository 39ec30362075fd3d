"""PyTorch's own operators under the names of its C++ library: ``torch.ops.aten.add.Tensor``.

They are looked up among the functions of torch, of nn.functional and the methods of tensors; all
overloads of a name are the one function. Names that have no public counterpart can be compared, as
keys of tables of operators for instance, but not called.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from taper.core.custom_operators import NAMESPACES, OperatorNamespace
from taper.core.tensor import Tensor

__all__: list[str] = []

_PLACES = ("taper", "taper.nn.functional", "taper.linalg", "taper.fft", "taper.special")


class AtenOperator:
    """One name; its overloads are attributes, and each calls the same function."""

    __module__ = "torch._ops"

    def __init__(self, name: str, function: Callable[..., Any], overload: str = "") -> None:
        self.__name__ = self._name = name
        self._function = function
        self._overloadname = overload

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __getattr__(self, overload: str) -> AtenOperator:
        if overload.startswith("_"):
            raise AttributeError(overload)
        found = AtenOperator(self._name, self._function, overload)
        setattr(self, overload, found)  # the same object each time: programs compare with `is`
        return found

    def name(self) -> str:
        """``aten::name``"""
        return f"aten::{self._name}"

    @property
    def overloadpacket(self) -> AtenOperator:
        """The name without an overload."""
        found: AtenOperator = getattr(NAMESPACES["aten"], self._name)
        return found

    def __repr__(self) -> str:
        kind = f"overload='{self._overloadname}'" if self._overloadname else ""
        return f"<OpOverload(op='aten.{self._name}', {kind})>" if kind else (
            f"<OpOverloadPacket(op='{self}')>")

    def __str__(self) -> str:
        return f"aten.{self._name}" + (f".{self._overloadname}" if self._overloadname else "")


class AtenNamespace(OperatorNamespace):
    """``torch.ops.aten``"""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "operators":
            raise AttributeError(name)
        if name not in self.operators:
            self.operators[name] = AtenOperator(name, _function(name) or _refusing(name))
        return self.operators[name]


def _function(name: str) -> Callable[..., Any] | None:
    for place in _PLACES:
        found = getattr(importlib.import_module(place), name, None)
        if callable(found) and not isinstance(found, type):
            return found
    return getattr(Tensor, name, None)


def _refusing(name: str) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(
            f"torch.ops.aten.{name}: taper has no operator of that name; call torch's public "
            "functions"
        )

    return refuse


NAMESPACES.setdefault("aten", AtenNamespace("aten"))
