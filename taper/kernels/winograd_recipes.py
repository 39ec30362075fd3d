"""Convolutions with windows of 3 x 3 by Winograd's algorithm: which launches they take.

See compiler/winograd_kernels.py for the kernels. The gradient of a convolution's input is a
convolution of the gradient with mirrored windows, in which filters and channels change places.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from taper.compiler import winograd_gradients, winograd_kernels
from taper.kernels.launch_recipes import Recipe, Stage
from taper.kernels.native import kernels_by_name

__all__ = ["convolution_recipe", "gradient_recipe"]

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]

_FEWEST = 8  # channels and filters from which on it is quicker
_MOST_STACK = 400_000  # bytes
_MOST_SEGMENTS = 1 << 14
_PARTS = 4  # of a sum over tiles, for any number of threads
_GRAIN = 1 << 19  # products that are worth a thread of their own

_kernel = kernels_by_name({
    "weights": (winograd_kernels.weights, winograd_kernels.WEIGHT_WORDS),
    "convolution": (winograd_kernels.convolution, winograd_kernels.CONVOLUTION_WORDS),
    "sums": (winograd_gradients.sums, winograd_gradients.SUMS_WORDS),
    "collect": (winograd_gradients.collect, winograd_gradients.COLLECT_WORDS),
}, prefix="winograd_")


@lru_cache(maxsize=64)
def _blocks_of(
    batch: int, size: Ints, low: Ints, out: Ints, block: int, across: int, strides: Ints,
) -> tuple[Array, Array] | None:
    """The tables of blocks and segments; None if they were large.

    Args:
        size, out: (rows, columns) of the input and of the results.      low: the padding.
        strides: in bytes, of (image, row, column) of the input and of the result.
    """
    lines, columns = ((n + 1) // 2 for n in out)
    if batch * lines * (columns // across + 2) > _MOST_SEGMENTS:
        return None
    blocks: list[tuple[int, int, int]] = []
    segments: list[Ints] = []
    first = place = 0
    for image in range(batch):
        for y in range(lines):
            x = 0
            while x < columns:
                count = min(across, columns - x, block - place)
                top, left = 2 * y - low[0], 2 * x - low[1]
                segments.append((
                    image * strides[0] + top * strides[1] + left * strides[2], top, left, place,
                    count, image * strides[3] + 2 * y * strides[4] + 2 * x * strides[5],
                    min(2, out[0] - 2 * y), min(2 * count, out[1] - 2 * x)))
                x += count
                place += count
                if place == block:
                    blocks.append((first, len(segments), place))
                    first, place = len(segments), 0
    if place:
        blocks.append((first, len(segments), place))
    return np.array(blocks, np.int64), np.array(segments, np.int64)


def _strides(channels: int, size: Ints, item: int) -> Ints:
    """The strides of an image, a plane, a line and an element, in bytes."""
    plane = size[0] * size[1] * item
    return channels * plane, plane, size[1] * item, item


@lru_cache(maxsize=256)
def convolution_recipe(
    shape: Ints, weight: Ints, padding: Ints, is_mirrored: bool, kind: str, item: int,
    vector_bytes: int, has_bias: bool, has_floor: bool,
) -> Recipe | None:
    """The launches of a convolution of "x" with "weight" and maybe "bias"; None where others are
    quicker.

    Args:
        is_mirrored: windows are turned round, and filters are its channels: the gradient.
        has_floor: results below zero become zero.
    """
    batch, channels, *rest = shape
    filters = weight[1] if is_mirrored else weight[0]
    size = (rest[0], rest[1])
    out = (size[0] + 2 * padding[0] - 2, size[1] + 2 * padding[1] - 2)
    if (min(out) < 1 or min(padding) < 0 or vector_bytes < 32
            or min(channels, filters) < _FEWEST):
        return None
    tile = winograd_kernels.tile_for(kind, vector_bytes, filters, (out[1] + 1) // 2)
    if 16 * channels * tile.block * item > _MOST_STACK:
        return None
    image, plane, line, _ = _strides(channels, size, item)
    result_image, result_plane, result_line, _ = _strides(filters, out, item)
    tables = _blocks_of(batch, size, padding, out, tile.block, tile.across,
                       (image, line, item, result_image, result_line, item))
    if tables is None:
        return None
    blocks, segments = tables
    if len(blocks) * 2 * tile.block < 3 * int(blocks[:, 2].sum()) // 2:
        return None
    own, other = 9 * item, 9 * weight[1] * item
    by_filter, by_channel, first, step = (
        (own, other, 8 * item, -item) if is_mirrored else (other, own, 0, item))
    heights = -(-filters // tile.rows)
    depth = channels * tile.rows
    stages = (
        Stage(_kernel("weights", tile), ("weight", 0),
              (channels, filters, by_filter, by_channel, first, step), heights,
              max(1, (1 << 12) // depth), "windows"),
        Stage(_kernel("convolution", tile, has_bias, has_floor),
              ("x", 0, "bias" if has_bias else "x", "result", "weight", blocks, segments),
              (channels, *size, plane, line, filters, result_plane, result_line,
               by_filter, by_channel, first, step), len(blocks),
              max(1, _GRAIN // (16 * tile.block * channels * filters)), "convolution"),
    )
    return Recipe(stages, (heights * 16 * depth,), (batch, filters, *out),
                  ("x", "weight", *(["bias"] if has_bias else [])))


@lru_cache(maxsize=256)
def gradient_recipe(
    shape: Ints, grad: Ints, padding: Ints, kind: str, item: int, vector_bytes: int,
) -> Recipe | None:
    """The launches of the gradient in the windows of a convolution of "x", from the gradient
    "grad" of its results; None where others are quicker."""
    batch, channels, *rest = shape
    filters, (rows, columns) = grad[1], grad[2:]
    size = (rest[0], rest[1])
    if vector_bytes < 32 or min(channels, filters) < _FEWEST:
        return None
    tile = winograd_gradients.tile_for_sums(
        kind, vector_bytes, filters, channels, (columns + 1) // 2)
    width = tile.lanes * tile.vectors
    heights, panels = -(-channels // tile.rows), -(-filters // width)
    filled_channels, filled_filters = heights * tile.rows, panels * width
    block = next((n for n in (64, 48, 32, 16)
                  if 16 * n * (filled_channels + filled_filters) * item <= _MOST_STACK), None)
    if block is None:
        return None
    image, plane, line, _ = _strides(channels, size, item)
    grad_image, grad_plane, grad_line, _ = _strides(filters, (rows, columns), item)
    tables = _blocks_of(batch, size, padding, (rows, columns), block, tile.across,
                       (image, line, item, grad_image, grad_line, item))
    if tables is None:
        return None
    blocks, segments = tables
    parts = min(_PARTS, len(blocks))
    stages = (
        Stage(_kernel("sums", tile, block), ("x", "grad", 0, blocks, segments),
              (channels, *size, plane, line, filters, grad_plane, grad_line, len(blocks), parts),
              parts, max(1, _GRAIN * parts // (
                  16 * int(blocks[:, 2].sum()) * channels * filters)), "products of tiles"),
        Stage(_kernel("collect", kind), ("x", "grad", 0, "result"),
              (channels, filters, batch, *size, rows, columns, *padding, image, plane, line,
               grad_image, grad_plane, grad_line, 9 * channels * item, filled_channels,
               filled_filters, parts), channels,
              max(1, (1 << 13) // (16 * filled_filters * parts)), "windows"),
    )
    return Recipe(stages, (parts * 16 * filled_channels * filled_filters,),
                  (filters, channels, 3, 3), ("grad", "x"))
