"""The native twins of kernels/attention.py; see compiler/attention_kernels.py."""

from __future__ import annotations

import struct
from functools import cache
from math import prod
from typing import Any

import numpy as np

from taper.compiler.machine import vector_bytes
from taper.compiler.matrix_products import matrix_tile
from taper.compiler.tile_code import Tile
from taper.kernels.native import FLOAT_KINDS, Kernel
from taper.kernels.native_twin import are_ready
from taper.runtime.large_arrays import new_array
from taper.runtime.planned_calls import replayed, scratch

__all__ = ["attention", "attention_gradient"]

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]

_GRAIN = 1 << 20  # multiplications that are worth a thread of their own
_LONGEST_ROW = 256  # see compiler/attention_kernels.py
_ENOUGH_MATRICES = 8  # for all threads to have some


@cache
def _kernel(name: str, *details: Any) -> Kernel:
    """A kernel of compiler/attention_*.py; `details` are its arguments but the width."""
    from taper.compiler import attention_gradients, attention_kernels

    words = {"pack": attention_kernels.PACK_WORDS, "forward": attention_kernels.FORWARD_WORDS}
    module = attention_kernels if name in words else attention_gradients
    found = words.get(name, attention_gradients.BACKWARD_WORDS)
    return Kernel.of(getattr(module, name), len(found), *details)


def _tile_for(mask: Array | None, *arrays: Array) -> Tile | None:
    """The kernels' tile, where there are kernels for these arrays."""
    kind = FLOAT_KINDS.get(arrays[0].dtype)
    if kind is None or any(a.dtype != arrays[0].dtype for a in arrays):
        return None
    if mask is not None and mask.dtype != arrays[0].dtype:
        return None
    sizes = [a.shape[-1] for a in arrays]
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
    return array if array.strides[-1] == array.itemsize else np.ascontiguousarray(array)


def _strides(array: Array | None) -> Ints:
    """Bytes from item to item, from head to head and from row to row."""
    if array is None:
        return 0, 0, 0
    item, *head, row = [
        0 if n == 1 else s for n, s in zip(array.shape[:-1], array.strides[:-1], strict=True)]
    return item, *(head or [0]), row


def _like(array: Array, width: int) -> Array:
    """A new array whose rows are `width` wide and lie in memory in the order of those of `array`,
    as PyTorch has it."""
    shape, dtype = (*array.shape[:-1], width), array.dtype
    strides = array.strides[:-1]
    if 0 in strides or list(strides) == sorted(strides, reverse=True):
        return new_array(shape, dtype, prod(shape))
    found = [0] * len(strides)
    step = width * dtype.itemsize
    for d in sorted(range(len(strides)), key=strides.__getitem__):
        found[d] = step
        step *= shape[d]
    return new_array(shape, dtype, prod(shape), (*found, dtype.itemsize))


def _bits(value: float, dtype: Any) -> int:
    if dtype.itemsize == 8:
        return int(struct.unpack("<q", struct.pack("<d", value))[0])
    return int(struct.unpack("<I", struct.pack("<f", value))[0])


def _usual_mask(mask: Array | None, item: int) -> tuple[Array | None, int]:
    """A mask whose columns are adjacent or all the same, and how far they lie apart."""
    if mask is None or mask.shape[-1] == 1:
        return mask, 0
    if mask.strides[-1] not in (0, item):
        mask = np.ascontiguousarray(mask)
    return mask, mask.strides[-1]


def _panels(array: Array, tile: Tile) -> Array:
    """Memory for matrices packed, turned, in panels."""
    width = tile.lanes * tile.vectors
    size = prod(array.shape[:-2]) * -(-array.shape[-2] // width) * width * array.shape[-1]
    found: Array = scratch(new_array((size,), array.dtype, size))
    return found


def _packed(array: Array, tile: Tile) -> Array:
    kernel = _kernel("pack", tile)
    panels = _panels(array, tile)
    *lead, count, size = array.shape
    kernel.launch(kernel.address() or 0, (array, panels), (
        count, size, _heads(array), *_strides(array),
    ), prod(lead), max(1, _GRAIN // (count * size)))
    return panels


def _heads(array: Array) -> int:
    return array.shape[1] if array.ndim == 4 else 1


@replayed
def attention(
    query: Array, key: Array, value: Array, mask: Array | None, causal: bool, scale: float
) -> tuple[Array, Array] | None:
    """`kernels.attention.attention`, or None without a kernel."""
    tile = _tile_for(mask, query, key, value)
    if tile is None:
        return None
    *lead, queries, size = query.shape
    keys, width = value.shape[-2:]
    matrices = prod(lead)
    together = matrices >= _ENOUGH_MATRICES
    kernel = _kernel("forward", tile, mask is not None, together)
    if not are_ready(kernel, *([] if together else [_kernel("pack", tile)])):
        return None
    query, key, value = _dense_rows(query), _dense_rows(key), _dense_rows(value)
    mask, mask_column = _usual_mask(mask, query.itemsize)
    panels = (_panels if together else _packed)(key, tile)
    result = _like(query, width)
    logsum = new_array((*lead, queries, 1), query.dtype, matrices * queries)
    blocks = -(-queries // tile.rows)
    tasks = matrices if together else matrices * blocks
    kernel.launch(kernel.address() or 0, (
        query, key, value, panels, result, logsum, query if mask is None else mask,
    ), (
        queries, keys, size, width, _bits(scale, query.dtype), causal, blocks, _heads(query),
        *_strides(query), *_strides(key), *_strides(value), *_strides(result), *_strides(mask),
        mask_column,
    ), tasks, max(1, _GRAIN * tasks // (matrices * queries * keys * (size + width))))
    return result, logsum


@replayed
def attention_gradient(
    grad: Array, query: Array, key: Array, value: Array, mask: Array | None, result: Array,
    logsum: Array, causal: bool, scale: float,
) -> tuple[Array, Array, Array] | None:
    """`kernels.attention.attention_gradient`, or None without a kernel."""
    tile = _tile_for(mask, query, key, value, grad)
    if tile is None:
        return None
    has_mask = mask is not None
    matrices = prod(query.shape[:-2])
    together = matrices >= _ENOUGH_MATRICES
    of_keys = _kernel("backward_keys", tile, has_mask, together)
    others = [] if together else [
        _kernel("backward_queries", tile, has_mask), _kernel("pack", tile),
        _kernel("row_products", tile)]
    if not are_ready(of_keys, *others):
        return None
    grad, query, key, value, result = map(_dense_rows, (grad, query, key, value, result))
    mask, mask_column = _usual_mask(mask, query.itemsize)
    logsum = np.ascontiguousarray(logsum)
    along = scratch(new_array(logsum.shape, logsum.dtype, logsum.size))
    make_panels = _panels if together else _packed
    panels, grad_panels = make_panels(query, tile), make_panels(grad, tile)
    for_query, for_key, for_value = (_like(a, a.shape[-1]) for a in (query, key, value))

    def launch(kernel: Kernel, sides: tuple[Array, ...], tasks: int, grain: int) -> None:
        rows, others, grads, grad_others, own, grad_own, first, second = sides
        arrays = (rows, others, grads, grad_others, own, grad_own, result, logsum, along, first,
                  second, for_query, query if mask is None else mask)
        laid = (rows, others, grads, grad_others, result, first, second, for_query, mask)
        kernel.launch(kernel.address() or 0, arrays, (
            rows.shape[-2], others.shape[-2], query.shape[-1], value.shape[-1],
            _bits(scale, query.dtype), causal, -(-rows.shape[-2] // tile.rows), _heads(query),
            *[s for a in laid for s in _strides(a)], mask_column,
        ), tasks, grain)

    of_queries = (key, query, value, grad, panels, grad_panels, for_key, for_value)
    work = 3 * query.size * key.shape[-2]
    if together:
        launch(of_keys, of_queries, matrices, max(1, _GRAIN * matrices // work))
        return for_query, for_key, for_value
    launch(_kernel("row_products", tile), of_queries, matrices,
           max(1, _GRAIN * matrices // grad.size))
    for kernel, side in (
        (others[0], (query, key, grad, value, _packed(key, tile), _packed(value, tile), for_query,
                     for_query)),
        (of_keys, of_queries),
    ):
        tasks = matrices * -(-side[0].shape[-2] // tile.rows)
        launch(kernel, side, tasks, max(1, _GRAIN * tasks // work))
    return for_query, for_key, for_value
