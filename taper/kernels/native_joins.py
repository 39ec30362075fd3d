"""Native concatenation: arrays copied side by side, on all cores."""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np

from taper.compiler.join_kernels import PIECE, ROWS, interleaver, joiner
from taper.core.storage import address_of
from taper.kernels.native import GRAIN, Kernel
from taper.runtime.large_arrays import new_array

__all__ = ["concatenated"]

ndarray = np.ndarray
_SHORTEST_PART = 16  # bytes; NumPy joins shorter ones as quickly, unless they are single elements


@cache
def _kernel(item: int) -> Kernel:
    """For single elements of a size; 0: for long parts."""
    if not item:
        return Kernel.of(joiner, 5, name="join", exact=True)
    return Kernel.of(interleaver, 5, item, name="join", exact=True)


def concatenated(arrays: Any, axis: Any) -> Any:
    """``np.concatenate(arrays, axis)``; None for arrays that NumPy shall join, or refuse."""
    first = arrays[0]
    shape, dtype = first.shape, first.dtype
    if type(axis) is not int or not -len(shape) <= axis < len(shape) or dtype.hasobject:
        return None
    axis %= len(shape)
    before, behind = shape[:axis], shape[axis + 1 :]
    inner = prod(behind) * dtype.itemsize
    words = []
    length = most = 0
    for a in arrays:
        own = a.shape
        if type(a) is not ndarray or a.dtype is not dtype or not a.flags.c_contiguous or (
            own[:axis] != before or own[axis + 1 :] != behind
        ):
            return None
        size = own[axis] * inner
        words += [address_of(a), size, length * inner]
        length += own[axis]
        most = max(most, size)
    rows, width = prod(before), length * inner
    if not rows or not width:
        return None
    is_single = most == dtype.itemsize and most in (1, 2, 4, 8) and len(arrays) * most == width
    if not is_single and most < _SHORTEST_PART:
        return None
    kernel = _kernel(most if is_single else 0)
    address = kernel.address()
    if address is None:
        return None
    table = np.array(words, np.int64)
    result = new_array((*before, length, *behind), dtype, rows * width // dtype.itemsize)
    if is_single:
        units, last, each = -(-rows // ROWS), rows, ROWS * width
    else:
        last = -(-most // PIECE)
        units, each = rows * len(arrays) * last, min(most, PIECE)
    kernel.run(address, (address_of(table), address_of(result), len(arrays), width, last), units,
               max(1, 4 * GRAIN // each))
    return result
