"""Uninitialised tensors whose layout in memory is told: empty_strided, empty_permuted."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.dtype import get_default_dtype
from taper.core.storage import strided_view
from taper.core.tensor import Tensor
from taper.ops.declare import composite
from taper.ops.options import finish, read_options, uninitialized
from taper.ops.sizes import as_sizes


@composite()
def empty_strided(
    size: Any, stride: Any, *, dtype: Any = None, layout: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:
    """Makes an uninitialised tensor of that size and strides, in elements.

    Example:
        >>> import taper as torch
        >>> torch.empty_strided((2, 3), (1, 2)).stride()
        (1, 2)
    """
    size, stride = as_sizes("empty_strided", size), as_sizes("empty_strided", stride, "stride")
    if len(size) != len(stride):
        raise RuntimeError(
            f"dimensionality of sizes ({len(size)}) must match dimensionality of strides "
            f"({len(stride)})"
        )
    if any(s < 0 for s in stride) or any(n < 0 for n in size):
        raise RuntimeError(
            f"Storage size calculation overflowed with sizes={list(size)} and "
            f"strides={list(stride)}"
        )
    wanted, where = read_options("empty_strided", dtype, device, layout, pin_memory)
    wanted = wanted or get_default_dtype()
    count = 0 if 0 in size else sum([(n - 1) * s for n, s in zip(size, stride, strict=True)]) + 1
    strides = tuple([s * wanted.itemsize for s in stride])
    if where.type != "cpu":
        flat = uninitialized(size, wanted, where)
        return finish(flat.as_strided(size, strides, 0), requires_grad)
    if not count:
        return finish(np.empty(size, wanted.numpy_dtype), requires_grad)
    flat = uninitialized((count,), wanted, where)
    return finish(strided_view(flat, size, strides), requires_grad)


@composite()
def empty_permuted(
    size: Any, physical_layout: Any, *, dtype: Any = None, layout: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:
    """Makes an uninitialised tensor whose dimensions lie in memory in the given order.

    Example:
        >>> import taper as torch
        >>> torch.empty_permuted((2, 3), (1, 0)).stride()
        (1, 2)
    """
    size, order = as_sizes("empty_permuted", size), as_sizes("empty_permuted", physical_layout)
    if len(size) != len(order):
        raise RuntimeError(
            "Number of dimensions in size does not match the length of the physical_layout; i.e. "
            f"len(size) = {len(size)} is not equal to len(physical_layout) = {len(order)}"
        )
    for d in order:
        if not 0 <= d < len(size):
            raise RuntimeError(f"Dimension out of range (expected to be between 0 and "
                               f"{len(size) - 1}, but got {d} at index {order.index(d)}).  NB: "
                               "negative dims not currently supported; file an issue if you want "
                               "it.")
    if len(set(order)) != len(order):
        raise RuntimeError("Duplicate dim not allowed")
    wanted, where = read_options("empty_permuted", dtype, device, layout, pin_memory)
    array = uninitialized(tuple([size[d] for d in order]), wanted or get_default_dtype(), where)
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return finish(array.transpose(inverse) if order else array, requires_grad)
