"""Symbolic numbers: sizes that aren't fixed while a call of a compiled function is recorded.

Everywhere else, sizes are plain ints, and these functions are Python's own.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterable
from typing import Any

from taper.core.symbolic import SymFloat, SymInt

__all__ = [
    "SymBool", "SymFloat", "SymInt", "sym_float", "sym_int", "sym_ite", "sym_max", "sym_min",
    "sym_not", "sym_sqrt", "sym_sum",
]


class SymBool:
    """A symbolic bool; there are none: a comparison of symbolic numbers is a bool, and a guard."""

    __module__ = "torch"

    def __init__(self, node: Any) -> None:
        raise NotImplementedError(
            "torch.SymBool: comparisons of symbolic numbers give plain bools"
        )


def sym_int(a: Any) -> Any:
    """Returns `a` cut to an int."""
    return math.trunc(a) if isinstance(a, (SymInt, SymFloat)) else int(a)


def sym_float(a: Any) -> Any:
    """Returns `a` as a float."""
    if isinstance(a, SymInt):
        return a / 1
    return a if isinstance(a, SymFloat) else float(a)


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
