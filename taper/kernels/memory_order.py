"""Where results lie in memory, if NumPy would have them elsewhere than PyTorch."""

from __future__ import annotations

from typing import Any

from numpy import ndarray

__all__ = ["cast_in_order", "in_rows"]


def in_rows(x: Any) -> Any:
    """The array in the order of rows, in which PyTorch gives reductions; NumPy's lie in memory as
    what was reduced, so that they could not be viewed in other shapes."""
    if type(x) is not ndarray or x.ndim < 2 or x.flags.c_contiguous:
        return x
    return x.copy()


def cast_in_order(x: Any, dtype: Any) -> Any:
    """The array in another dtype; expanded dims stay in their place, which NumPy would sort."""
    if type(x) is ndarray and 0 in x.strides:
        return x.astype(dtype, "C")
    return x.astype(dtype)
