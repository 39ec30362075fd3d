"""Numbers that could be symbols in PyTorch's compiler: here they are always plain numbers."""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterable
from typing import Any

__all__ = [
    "SymBool", "SymFloat", "SymInt", "sym_float", "sym_int", "sym_ite", "sym_max", "sym_min",
    "sym_not", "sym_sqrt", "sym_sum",
]


class _Symbol:
    """Nothing is an instance: programs ask with isinstance."""

    def __init__(self, node: Any) -> None:
        raise NotImplementedError(
            f"torch.{type(self).__name__}: taper has no symbolic numbers; sizes are plain ints"
        )


class SymInt(_Symbol):
    """A symbolic int; there are none."""

    __module__ = "torch"


class SymFloat(_Symbol):
    """A symbolic float; there are none."""

    __module__ = "torch"


class SymBool(_Symbol):
    """A symbolic bool; there are none."""

    __module__ = "torch"


def sym_int(a: Any) -> int:
    """Returns `a` cut to an int."""
    return int(a)


def sym_float(a: Any) -> float:
    """Returns `a` as a float."""
    return float(a)


def sym_not(a: Any) -> bool:
    """Returns ``not a``."""
    return not a


def sym_max(a: Any, b: Any) -> Any:
    """Returns the larger; a float if either is one."""
    return _float_if_either(builtins.max(a, b), a, b)


def sym_min(a: Any, b: Any) -> Any:
    """Returns the smaller; a float if either is one."""
    return _float_if_either(builtins.min(a, b), a, b)


def _float_if_either(chosen: Any, a: Any, b: Any) -> Any:
    return float(chosen) if isinstance(a, float) or isinstance(b, float) else chosen


def sym_sum(args: Iterable[Any]) -> Any:
    """Returns the sum."""
    return builtins.sum(args)


def sym_ite(b: Any, t: Any, f: Any) -> Any:
    """Returns ``t if b else f``."""
    return t if b else f


def sym_sqrt(a: Any) -> float:
    """Returns the square root."""
    return math.sqrt(a)
