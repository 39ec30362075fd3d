"""Where packages describe their operators to PyTorch's first ONNX exporter.

Such descriptions (`register_custom_op_symbolic`) write nodes of TorchScript's graphs, which taper
doesn't have: they are kept, and never called. `taper.onnx.export` refuses what it can't write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["parse_args", "register_custom_op_symbolic", "unregister_custom_op_symbolic"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_described: dict[tuple[str, int], Callable[..., Any]] = {}


def parse_args(*arg_descriptors: str) -> Callable[[_Function], _Function]:
    """Would convert a description's arguments; returns it as it is."""
    return lambda function: function


def register_custom_op_symbolic(
    symbolic_name: str, symbolic_fn: Callable[..., Any], opset_version: int
) -> None:
    """Keeps the description of an operator, ``"mylib::foo"``.

    Raises:
        ValueError: if the name has no namespace.
    """
    if "::" not in symbolic_name:
        raise ValueError(
            f"Failed to register operator {symbolic_name}. The symbolic name must match the "
            "format domain::name, and should start with a letter and contain only alphanumerical "
            "characters"
        )
    _described[symbolic_name, opset_version] = symbolic_fn


def unregister_custom_op_symbolic(symbolic_name: str, opset_version: int) -> None:
    """Forgets the description of an operator."""
    _described.pop((symbolic_name, opset_version), None)
