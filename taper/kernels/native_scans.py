"""Native running sums, products and extremes."""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np

from taper.arrays.element import kind_of
from taper.compiler.scan_kernels import TILE, extreme_kernel, scan_kernel
from taper.kernels.native import GRAIN, Kernel
from taper.runtime.large_arrays import new_array
from taper.runtime.planned_calls import replayed

__all__ = ["cummax", "cummin", "cumprod", "cumsum"]

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


@cache
def _kernel(kind: str, op: str, is_across: bool) -> Kernel:
    return Kernel.of(scan_kernel, 4, kind, op, is_across, name="scan")


@replayed
def _scan(op: str, input: Any, dim: Any, dtype: Any) -> Any:
    if type(input) is not np.ndarray or input.dtype not in _FLOATS or not input.size or (
        type(dim) is not int or not -input.ndim <= dim < input.ndim or dtype is not None
    ):
        return None
    dim %= input.ndim
    n, inner = input.shape[dim], prod(input.shape[dim + 1 :])
    outer = input.size // (n * inner)
    kernel = _kernel(kind_of(input.dtype), op, inner > 1)
    address = kernel.address()
    if address is None:
        return None
    x = input if input.flags.c_contiguous else input.copy()
    out = new_array(x.shape, x.dtype, x.size)
    if inner == 1:
        units, grain = outer, max(1, GRAIN // n)
    else:
        units, grain = outer * -(-inner // TILE), max(1, GRAIN // (n * TILE))
    kernel.launch(address, (x, out), (n, inner), units, grain)
    return out


def cumsum(input: Any, dim: int, *, dtype: Any = None) -> Any:
    return _scan("add", input, dim, dtype)


def cumprod(input: Any, dim: int, *, dtype: Any = None) -> Any:
    return _scan("mul", input, dim, dtype)


_ORDERED = [np.dtype(name) for name in ("f4", "f8", "i4", "i8")]
_I64 = np.dtype(np.int64)


@cache
def _extreme_kernel(kind: str, op: str, is_across: bool) -> Kernel:
    return Kernel.of(extreme_kernel, 5, kind, op, is_across, name="extreme", exact=True)


@replayed
def _running_extreme(op: str, input: Any, dim: Any) -> Any:
    if type(input) is not np.ndarray or input.dtype not in _ORDERED or not input.size or (
        type(dim) is not int or not -input.ndim <= dim < input.ndim
    ) or not input.flags.c_contiguous:
        return None
    dim %= input.ndim
    n, inner = input.shape[dim], prod(input.shape[dim + 1 :])
    kernel = _extreme_kernel(kind_of(input.dtype), op, inner > 1)
    address = kernel.address()
    if address is None:
        return None
    values = new_array(input.shape, input.dtype, input.size)
    places = new_array(input.shape, _I64, input.size)
    each = TILE if inner > 1 else 1
    units = input.size // (n * inner) * -(-inner // each)
    kernel.launch(address, (input, values, places), (n, inner), units, max(1, GRAIN // (n * each)))
    return values, places


def cummax(input: Any, dim: int) -> Any:
    return _running_extreme("ge", input, dim)


def cummin(input: Any, dim: int) -> Any:
    return _running_extreme("le", input, dim)
