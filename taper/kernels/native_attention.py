"""The native twins of kernels/attention.py; see compiler/attention_kernels.py."""

from __future__ import annotations

import struct
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from taper.compiler.machine import vector_bytes
from taper.compiler.matrix_products import matrix_tile
from taper.compiler.tile_code import Tile
from taper.core.storage import address_of
from taper.kernels.native import Kernel
from taper.kernels.native_twin import are_ready
from taper.runtime.large_arrays import new_array

__all__ = ["attention", "attention_gradient"]

Array = np.ndarray[Any, Any]

_KINDS = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}
_GRAIN = 1 << 20  # multiplications that are worth a thread of their own
_GRAIN_OF_COPIES = 1 << 16  # elements
_LONGEST_ROW = 256  # see compiler/attention_kernels.py
_WORDS = {"turn": 8, "forward": 22, "backward_queries": 31, "backward_keys": 31}


@cache
def _kernel(name: str, *details: Any) -> Kernel:
    """A kernel of compiler/attention_kernels.py (`turn`: matrix_products.py); `details` are its
    arguments but the width."""

    def build() -> tuple[str, str]:
        from taper.compiler import attention_kernels, machine, matrix_products

        module = matrix_products if name == "turn" else attention_kernels
        return getattr(module, name)(name, machine.vector_bytes(), *details), name

    return Kernel(build, _WORDS[name])


def _tile_for(mask: Array | None, *arrays: Array) -> Tile | None:
    """The kernels' tile, where there are kernels for these arrays."""
    kind = _KINDS.get(arrays[0].dtype)
    if kind is None or any(a.dtype != arrays[0].dtype for a in arrays):
        return None
    if mask is not None and mask.dtype != arrays[0].dtype:
        return None
    sizes = [a.shape[2] for a in arrays]
    if not all(a.size for a in arrays) or max(sizes) > _LONGEST_ROW:
        return None
    return _tile_of(kind)


@cache
def _tile_of(kind: str) -> Tile:
    """As many sums as a matrix product's tile, but narrower: what causal tasks compute in vain
    beyond the diagonal grows with a panel's width."""
    tile = matrix_tile(kind, vector_bytes())
    return tile._replace(rows=12, vectors=2) if tile.vectors == 4 else tile


def _dense_rows(array: Array) -> Array:
    """The array, or a copy of it, in which neighbours along the last dimension are adjacent."""
    return array if array.strides[2] == array.itemsize else np.ascontiguousarray(array)


class _Panels(NamedTuple):
    """Matrices packed, transposed, in panels; strides in bytes."""

    array: Array
    matrix: int


def _turned(x: Array, tile: Tile) -> _Panels | None:
    kernel = _kernel("turn", tile)
    address = kernel.address()
    if address is None:
        return None
    batch, count, depth = x.shape
    width = tile.lanes * tile.vectors
    panels = -(-count // width)
    size = panels * width * depth
    found: Array = new_array((batch * size,), x.dtype, batch * size)
    matrix = size * x.itemsize
    kernel.run(address, (
        address_of(x), address_of(found), count, x.strides[1], depth, panels, x.strides[0], matrix,
    ), batch * panels, max(1, _GRAIN_OF_COPIES // (width * depth)))
    return _Panels(found, matrix)


def _bits(value: float, dtype: Any) -> int:
    if dtype.itemsize == 8:
        return int(struct.unpack("<q", struct.pack("<d", value))[0])
    return int(struct.unpack("<I", struct.pack("<f", value))[0])


def _mask_words(mask: Array | None, item: int) -> tuple[Array | None, tuple[int, int, int]]:
    """A mask whose columns are adjacent or all the same, and its strides."""
    if mask is None:
        return None, (0, 0, 0)
    if mask.shape[2] > 1 and mask.strides[2] not in (0, item):
        mask = np.ascontiguousarray(mask)
    strides = [0 if n == 1 else s for n, s in zip(mask.shape, mask.strides, strict=True)]
    return mask, (strides[0], strides[1], strides[2])


def attention(
    query: Array, key: Array, value: Array, mask: Array | None, causal: bool, scale: float
) -> tuple[Array, Array] | None:
    """`kernels.attention.attention`, or None without a kernel."""
    tile = _tile_for(mask, query, key, value)
    if tile is None:
        return None
    kernel = _kernel("forward", tile, mask is not None)
    if not are_ready(kernel, _kernel("turn", tile)):
        return None
    address = kernel.address()
    query, key, value = _dense_rows(query), _dense_rows(key), _dense_rows(value)
    panels = _turned(key, tile)
    if address is None or panels is None:
        return None
    batch, queries, size = query.shape
    keys, width = key.shape[1], value.shape[2]
    result: Array = new_array((batch, queries, width), query.dtype, batch * queries * width)
    most, total = np.empty((2, batch, queries, 1), query.dtype)
    mask, mask_strides = _mask_words(mask, query.itemsize)
    blocks = -(-queries // tile.rows)
    kernel.run(address, (
        address_of(query), address_of(panels.array), address_of(value), address_of(result),
        address_of(most), address_of(total), 0 if mask is None else address_of(mask), queries,
        keys, size, width, _bits(scale, query.dtype), causal, blocks, *query.strides[:2],
        panels.matrix, *value.strides[:2], *mask_strides,
    ), batch * blocks, max(1, _GRAIN // (tile.rows * keys * (size + width))))
    np.log(total, total)
    total += most
    return result, total


def attention_gradient(
    grad: Array, query: Array, key: Array, value: Array, mask: Array | None, result: Array,
    logsum: Array, causal: bool, scale: float,
) -> tuple[Array, Array, Array] | None:
    """`kernels.attention.attention_gradient`, or None without a kernel."""
    tile = _tile_for(mask, query, key, value, grad)
    if tile is None:
        return None
    has_mask = mask is not None
    kernels = [_kernel(name, tile, has_mask) for name in ("backward_queries", "backward_keys")]
    if not are_ready(*kernels, _kernel("turn", tile)):
        return None
    addresses = [kernel.address() for kernel in kernels]
    grad, query, key, value = (_dense_rows(a) for a in (grad, query, key, value))
    panels = [_turned(a, tile) for a in (key, value, query, grad)]
    if None in addresses or None in panels:
        return None
    logsum = np.ascontiguousarray(logsum)
    along = np.vecdot(grad, result)
    for_query, for_key, for_value = (
        new_array(a.shape, a.dtype, a.size) for a in (query, key, value)
    )
    mask, mask_strides = _mask_words(mask, query.itemsize)
    mask_at = 0 if mask is None else address_of(mask)
    number = _bits(scale, query.dtype)
    sides = (
        (query, key, grad, None, panels[0], panels[1], for_query, None),
        (key, query, value, grad, panels[2], panels[3], for_key, for_value),
    )
    for kernel, address, side in zip(kernels, addresses, sides, strict=True):
        rows, others, grads, grad_others, own, grad_own, first, second = side
        assert own is not None and grad_own is not None and address is not None
        blocks = -(-rows.shape[1] // tile.rows)
        kernel.run(address, (
            address_of(rows), address_of(own.array), address_of(others), address_of(grads),
            address_of(grad_own.array), 0 if grad_others is None else address_of(grad_others),
            address_of(logsum), address_of(along), address_of(first),
            0 if second is None else address_of(second), mask_at, rows.shape[1], others.shape[1],
            rows.shape[2], grads.shape[2], number, causal, blocks, *rows.strides[:2], own.matrix,
            *others.strides[:2], *grads.strides[:2], grad_own.matrix,
            *((0, 0) if grad_others is None else grad_others.strides[:2]), *mask_strides,
        ), len(rows) * blocks,
            max(1, _GRAIN // (3 * tile.rows * others.shape[1] * rows.shape[2])))
    return for_query, for_key, for_value
