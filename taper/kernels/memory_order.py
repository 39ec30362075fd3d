"""Where results lie in memory, if NumPy would have them elsewhere than PyTorch."""

from __future__ import annotations

from typing import Any

from numpy import broadcast_to, moveaxis, ndarray

__all__ = [
    "as_images_lie", "as_laid_out", "cast_in_order", "copied", "in_rows",
    "in_rows_or_channels_last", "is_channels_last", "joined_in_order", "newly_in_rows",
    "suggests_channels_last",
]


def _laid(x: Any) -> Any:
    """What tells how an array lies in memory; None if its class doesn't say."""
    return x if type(x) is ndarray else getattr(x, "laid", None)


def in_rows(x: Any) -> Any:
    """The array in the order of rows, in which PyTorch gives reductions; NumPy's lie in memory as
    what was reduced, so that they could not be viewed in other shapes."""
    laid = _laid(x)
    if laid is None or laid.ndim < 2 or laid.flags.c_contiguous:
        return x
    return x.copy()


def newly_in_rows(x: Any) -> Any:
    """A new array in the order of rows, also by what dims of one element have for a stride: NumPy
    leaves there what it used for other things, and `suggests_channels_last` looks at it."""
    laid = _laid(x)
    if laid is None or laid.ndim < 2:
        return x
    if not laid.flags.c_contiguous:
        return x.copy()
    return x.reshape(-1).reshape(x.shape) if 1 in laid.shape else x


def in_rows_or_channels_last(x: Any) -> Any:
    """The array in the order of rows, unless it is images whose channels lie side by side, which
    PyTorch keeps so."""
    laid = _laid(x)
    if laid is None or laid.ndim < 2 or laid.flags.c_contiguous or is_channels_last(laid):
        return x
    return x.copy()


def as_images_lie(x: Any, images: Any) -> Any:
    """What was made of images, or volumes: in the order of rows, unless their channels lie side by
    side."""
    laid = _laid(images)
    if laid is None or laid.flags.c_contiguous or x.ndim not in (4, 5):
        return in_rows(x)
    if is_channels_last(laid) or suggests_channels_last(laid):
        return _in_channels_last(x)
    return in_rows(x)


def _in_channels_last(x: Any) -> Any:
    return moveaxis(in_rows(moveaxis(x, 1, -1)), -1, 1)


def joined_in_order(x: Any, parts: Any) -> Any:
    """What arrays were joined to: in the order of rows, unless the channels of all of them lie side
    by side, as PyTorch sees it."""
    if x.ndim in (4, 5) and all(map(suggests_channels_last, parts)):
        return _in_channels_last(x)
    return in_rows(x)


def suggests_channels_last(x: Any) -> bool:
    """Whether PyTorch takes the strides for those of images whose channels lie side by side: what
    dimensions of one element have for a stride counts, too."""
    x = _laid(x)
    if x is None or x.ndim not in (4, 5) or not x.strides[1]:
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
    x = _laid(x)
    return (
        x is not None and x.ndim in (4, 5) and not x.flags.c_contiguous
        and moveaxis(x, 1, -1).flags.c_contiguous
    )


def copied(x: Any) -> Any:
    """A copy that lies in memory as the array does."""
    return x.copy() if _laid(x) is None else x.copy("K")


def as_laid_out(x: Any, pattern: Any) -> Any:
    """The array, which is in the order of rows, in memory as another of its shape is."""
    laid = _laid(pattern)
    if _laid(x) is None or laid is None or laid.flags.c_contiguous:
        return x
    if 0 in laid.strides:  # expanded
        return in_rows(x)
    order = sorted(range(laid.ndim), key=lambda d: -laid.strides[d])
    return x.transpose(order).copy().transpose([order.index(d) for d in range(laid.ndim)])


def cast_in_order(x: Any, dtype: Any) -> Any:
    """An operand in another dtype. One that is expanded stays so: written out, it would have a say
    in how the result lies in memory."""
    laid = _laid(x)
    if laid is not None and 0 in laid.strides:
        one = x[tuple([slice(None) if step else slice(0, 1) for step in laid.strides])]
        return broadcast_to(one.astype(dtype), x.shape)
    return x.astype(dtype)
