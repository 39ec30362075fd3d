"""Native copies: into another order of memory, into another dtype, or just on all cores."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.kernels.native import Elementwise
from taper.kernels.strided_walks import result_like
from taper.runtime.large_arrays import new_array
from taper.runtime.planned_calls import replayed

__all__ = ["copy_in_order", "preserved_copy"]

ndarray = np.ndarray
_converters: dict[Any, Elementwise] = {}


def _converter(dtype: Any) -> Elementwise:
    """The definition of a conversion, which includes that to an array's own dtype."""
    found = _converters.get(dtype)
    if found is None:
        found = _converters[dtype] = Elementwise(lambda x: x.astype(dtype), (0,), stores_half=True)
    return found


@replayed
def copy_in_order(array: Any, dtype: Any = None) -> Any:
    """A copy in C order; None if NumPy shall make it."""
    if type(array) is not ndarray:
        return None
    dtype = array.dtype if dtype is None else dtype
    if array.dtype.hasobject or dtype.kind == "c" or array.dtype.kind == "c":
        return None
    out = new_array(array.shape, dtype, array.size)
    return _converter(dtype).compute((array,), {}, out)


@replayed
def preserved_copy(array: Any, dtype: Any = None) -> Any:
    """A dense copy with the same order of dimensions in memory; None if NumPy shall make it."""
    if type(array) is not ndarray or 0 in array.strides:
        return None
    if array.flags.c_contiguous:
        return copy_in_order(array, dtype)
    dtype = array.dtype if dtype is None else dtype
    if dtype.kind == "c" or array.dtype.kind == "c":
        return None
    like = result_like([array])
    out = new_array(array.shape, dtype, array.size, [s * dtype.itemsize for s in like.strides])
    return _converter(dtype).compute((array,), {}, out)
