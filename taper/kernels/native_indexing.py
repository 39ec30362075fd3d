"""Native kernels that pick rows and elements by index.

Indices out of range make these functions return None, so that the definition says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any

import numpy as np

from taper.arrays.element import NotElementwise, kind_of
from taper.compiler.index_kernels import element_picker, row_picker
from taper.core.storage import address_of
from taper.kernels.native import GRAIN, Kernel
from taper.runtime.large_arrays import new_array

__all__ = ["embedding", "gather", "index_select", "rows_at"]

ndarray = np.ndarray
_I64 = np.dtype(np.int64)
_SHORTEST_ROW = 32  # bytes
FEW = 16384  # results; NumPy picks fewer as quickly


@cache
def _kernel(write: Callable[..., str], *details: Any) -> Kernel:
    return Kernel.of(write, 7, *details, name="pick")


def _run(
    kernel: Kernel, x: Any, index: Any, shape: Any, sizes: Any, units: int, each: int
) -> Any:
    address = kernel.address()
    if address is None:
        return None
    out = new_array(shape, x.dtype, prod(shape))
    flag = np.zeros(1, _I64)
    words = [address_of(x), address_of(index), address_of(out), address_of(flag), *sizes]
    kernel.run(address, words, units, max(1, GRAIN // max(each, 1)))
    return None if flag[0] else out


def _rows(x: Any, dim: int, index: Any) -> Any:
    """`x` at the rows of `index` along `dim`; the index may have any shape."""
    if type(x) is not ndarray or type(index) is not ndarray or index.dtype != _I64 or not (
        x.flags.c_contiguous and index.flags.c_contiguous and x.size and index.size
    ):
        return None
    n, inner = x.shape[dim], prod(x.shape[dim + 1 :])
    if inner * x.dtype.itemsize < _SHORTEST_ROW or index.size * inner < FEW:
        return None
    outer = x.size // (n * inner)
    shape = (*x.shape[:dim], *index.shape, *x.shape[dim + 1 :])
    m = index.size
    kernel = _kernel(row_picker)
    return _run(kernel, x, index, shape, (n, m, inner * x.dtype.itemsize), outer * m, inner)


def index_select(input: Any, dim: int, index: Any) -> Any:
    if type(dim) is not int or not -input.ndim <= dim < input.ndim or index.ndim != 1:
        return None
    return _rows(input, dim % input.ndim, index)


def rows_at(x: Any, index: Any) -> Any:
    """`x` at an index of its first dimension; negative indices are left to NumPy."""
    return _rows(x, 0, index) if x.ndim > 1 else None


def embedding(
    weight: Any, indices: Any, padding_idx: int = -1, scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    return _rows(weight, 0, indices) if weight.ndim == 2 else None


def gather(input: Any, dim: int, index: Any, *, sparse_grad: bool = False) -> Any:
    if type(input) is not ndarray or type(index) is not ndarray or index.dtype != _I64 or not (
        type(dim) is int and -input.ndim <= dim < input.ndim and index.ndim == input.ndim
    ):
        return None
    dim %= input.ndim
    shape = input.shape
    if index.size < FEW or index.shape[:dim] != shape[:dim] or index.shape[dim + 1 :] != (
        shape[dim + 1 :]
    ) or not (
        input.flags.c_contiguous and index.flags.c_contiguous and input.size and index.size
    ):
        return None
    n, m, inner = shape[dim], index.shape[dim], prod(shape[dim + 1 :])
    outer = prod(shape[:dim])
    try:
        kind = kind_of(input.dtype)
    except NotElementwise:
        return None
    is_across = inner > 1
    kernel = _kernel(element_picker, kind, is_across)
    if is_across:
        return _run(kernel, input, index, index.shape, (n, m, inner), outer * m, inner)
    return _run(kernel, input, index, index.shape, (n, m, 1), outer, m)
