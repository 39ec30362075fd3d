"""The native twins of kernels/pooling.py: windows along the last dimension, or the last two."""

from __future__ import annotations

from functools import cache, lru_cache
from math import prod
from typing import Any

import numpy as np

from taper.compiler import machine
from taper.compiler.pooling_kernels import POOLING_WORDS, Pooling, pooling
from taper.core.storage import address_of
from taper.kernels.native import Kernel
from taper.runtime.large_arrays import new_array

__all__ = ["max_pool", "max_pool_gradient", "mean_pool", "mean_pool_gradient"]

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]

_KINDS = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}
_WIDEST = 32  # columns of a window, whose positions are written out
_GRAIN = 1 << 15  # elements of windows that are worth a thread of their own


@cache
def _kernel(form: Pooling) -> Kernel:
    def build() -> tuple[str, str]:
        return pooling("pooling", machine.vector_bytes(), form), "pooling"

    return Kernel(build, len(POOLING_WORDS))


@lru_cache(maxsize=256)
def _layout(
    kind: str, task: str, size: Ints, windows: Any, out: Ints
) -> tuple[Kernel, Ints, int] | None:
    """The kernel for windows, its words after the arrays, and the tasks that are worth a thread."""
    kernel, stride, padding, dilation = ((1, *v)[-2:] for v in windows[:4])
    padding = (0, *windows.padding)[-2:]
    if len(out) > 2 or kernel[1] > _WIDEST:
        return None
    height, width = (1, *size)[-2:]
    rows, columns = (1, *out)[-2:]
    words = (height, width, rows, columns, kernel[0], stride[0], dilation[0], *padding)
    form = Pooling(kind, task, kernel[1], stride[1], dilation[1])
    return _kernel(form), words, max(1, _GRAIN // (rows * columns * prod(kernel)))


def _run(
    task: str, arrays: tuple[Array | None, Array | None, Any], size: Ints, lead: Ints, dtype: Any,
    windows: Any, out: Ints,
) -> Array | None:
    """Runs a kernel on (source, grad, divisor); the result's planes are of `size`, or of `out`."""
    kind = _KINDS.get(dtype)
    if kind is None:
        return None
    found = _layout(kind, task, size, windows, out)
    if found is None:
        return None
    kernel, words, grain = found
    address = kernel.address()
    if address is None:
        return None
    source, grad, divisor = arrays
    shape = (*lead, *(size if task.endswith("gradient") else out))
    source = None if source is None else np.ascontiguousarray(source)
    grad = None if grad is None else np.ascontiguousarray(grad)
    if divisor is not None:
        divisor = np.full(out, divisor, dtype)
    result: Array = new_array(shape, dtype, prod(shape))
    at_source, at_grad, at_divisor = (
        0 if a is None else address_of(a) for a in (source, grad, divisor))
    kernel.run(
        address, (at_source, address_of(result), at_grad, at_divisor, *words), prod(lead), grain)
    return result


def _split(x: Array, out: Ints) -> tuple[Ints, Ints]:
    """The sizes of a plane, and what is before them."""
    lead = x.ndim - len(out)
    return x.shape[lead:], x.shape[:lead]


def max_pool(x: Array, windows: Any, out: Ints) -> Array | None:
    """`kernels.pooling.max_pool`, or None without a kernel."""
    size, lead = _split(x, out)
    return _run("max", (x, None, None), size, lead, x.dtype, windows, out)


def max_pool_gradient(grad: Array, x: Array, windows: Any, out: Ints) -> Array | None:
    """`kernels.pooling.max_pool_gradient`, or None without a kernel."""
    if grad.dtype != x.dtype:
        return None
    size, lead = _split(x, out)
    return _run("max gradient", (x, grad, None), size, lead, x.dtype, windows, out)


def mean_pool(x: Array, windows: Any, out: Ints, divisor: Any) -> Array | None:
    """`kernels.pooling.mean_pool`, or None without a kernel."""
    size, lead = _split(x, out)
    return _run("mean", (x, None, divisor), size, lead, x.dtype, windows, out)


def mean_pool_gradient(
    grad: Array, size: Ints, windows: Any, out: Ints, divisor: Any
) -> Array | None:
    """`kernels.pooling.mean_pool_gradient`, or None without a kernel."""
    lead = grad.shape[: grad.ndim - len(out)]
    return _run("mean gradient", (None, grad, divisor), tuple(size), lead, grad.dtype, windows, out)
