"""Where results lie in memory, if NumPy would have them elsewhere than PyTorch."""

from __future__ import annotations

from typing import Any

from numpy import broadcast_to, empty_like, moveaxis, ndarray

__all__ = [
    "as_laid_out", "cast_in_order", "copied", "in_rows", "in_rows_or_channels_last",
    "is_channels_last",
]


def in_rows(x: Any) -> Any:
    """The array in the order of rows, in which PyTorch gives reductions; NumPy's lie in memory as
    what was reduced, so that they could not be viewed in other shapes."""
    if type(x) is not ndarray or x.ndim < 2 or x.flags.c_contiguous:
        return x
    return x.copy()


def in_rows_or_channels_last(x: Any) -> Any:
    """The array in the order of rows, unless it is images whose channels lie side by side, which
    PyTorch keeps so."""
    if type(x) is not ndarray or x.ndim < 2 or x.flags.c_contiguous or is_channels_last(x):
        return x
    return x.copy()


def is_channels_last(x: Any) -> bool:
    """Whether the channels of images, or of volumes, lie side by side."""
    return (
        type(x) is ndarray and x.ndim in (4, 5) and not x.flags.c_contiguous
        and moveaxis(x, 1, -1).flags.c_contiguous
    )


def copied(x: Any) -> Any:
    """A copy that lies in memory as the array does."""
    return x.copy("K") if type(x) is ndarray else x.copy()


def as_laid_out(x: Any, pattern: Any) -> Any:
    """The array, which is in the order of rows, in memory as another of its shape is."""
    if type(x) is not ndarray or type(pattern) is not ndarray or pattern.flags.c_contiguous:
        return x
    result = empty_like(pattern, x.dtype)
    result[...] = x
    return result


def cast_in_order(x: Any, dtype: Any) -> Any:
    """An operand in another dtype. One that is expanded stays so: written out, it would have a say
    in how the result lies in memory."""
    if type(x) is ndarray and 0 in x.strides:
        one = x[tuple([slice(None) if step else slice(0, 1) for step in x.strides])]
        return broadcast_to(one.astype(dtype), x.shape)
    return x.astype(dtype)
