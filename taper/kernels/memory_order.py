"""Where results lie in memory, if NumPy would have them elsewhere than PyTorch."""

from __future__ import annotations

from typing import Any

from numpy import broadcast_to, empty_like, moveaxis, ndarray

__all__ = [
    "as_laid_out", "cast_in_order", "copied", "in_rows", "in_rows_or_channels_last",
    "is_channels_last", "joined_in_order", "newly_in_rows", "suggests_channels_last",
]


def in_rows(x: Any) -> Any:
    """The array in the order of rows, in which PyTorch gives reductions; NumPy's lie in memory as
    what was reduced, so that they could not be viewed in other shapes."""
    if type(x) is not ndarray or x.ndim < 2 or x.flags.c_contiguous:
        return x
    return x.copy()


def newly_in_rows(x: Any) -> Any:
    """A new array in the order of rows, also by what dims of one element have for a stride: NumPy
    leaves there what it used for other things, and `suggests_channels_last` looks at it."""
    if type(x) is not ndarray or x.ndim < 2:
        return x
    if not x.flags.c_contiguous:
        return x.copy()
    return x.reshape(-1).reshape(x.shape) if 1 in x.shape else x


def in_rows_or_channels_last(x: Any) -> Any:
    """The array in the order of rows, unless it is images whose channels lie side by side, which
    PyTorch keeps so."""
    if type(x) is not ndarray or x.ndim < 2 or x.flags.c_contiguous or is_channels_last(x):
        return x
    return x.copy()


def joined_in_order(x: Any, parts: Any) -> Any:
    """What arrays were joined to: in the order of rows, unless the channels of all of them lie side
    by side, as PyTorch sees it."""
    if type(x) is not ndarray or x.ndim < 2:
        return x
    if x.ndim in (4, 5) and all(map(suggests_channels_last, parts)):
        rows = moveaxis(x, 1, -1)
        return x if rows.flags.c_contiguous else moveaxis(rows.copy(), -1, 1)
    return x if x.flags.c_contiguous else x.copy()


def suggests_channels_last(x: Any) -> bool:
    """Whether PyTorch takes the strides for those of images whose channels lie side by side: what
    dimensions of one element have for a stride counts, too."""
    if type(x) is not ndarray or x.ndim not in (4, 5) or not x.strides[1]:
        return False
    least = 0
    for d in (1, *range(x.ndim - 1, 1, -1), 0):
        stride, size = x.strides[d], x.shape[d]
        if size == 0 or stride < least or (d == 0 and least == x.strides[1]):
            return False
        least = stride * max(size, 1)
    return True


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
