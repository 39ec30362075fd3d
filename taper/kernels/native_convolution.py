"""Native convolutions: the twins of kernels/convolution.py, by shifted products.

See compiler/shifted_products.py for the kernels and flat_layout.py for the layout. What is planned
from shapes alone is kept; a call spreads the input, packs the weight and computes.
"""

from __future__ import annotations

import itertools
from functools import cache, lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from taper.compiler import machine, matrix_products, outer_products, shifted_products
from taper.compiler.machine import vector_bytes
from taper.compiler.outer_products import outer_tile
from taper.compiler.shifted_products import dots_tile, product_tile
from taper.compiler.tile_code import Tile
from taper.core.storage import address_of
from taper.kernels.convolution import output_size
from taper.kernels.flat_layout import Layout, filled, layout_of, lines_of, table, units_of
from taper.kernels.native import Kernel
from taper.kernels.native_twin import are_ready
from taper.runtime.large_arrays import new_array

__all__ = ["convolve", "input_gradient", "weight_gradient"]

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]

_KERNELS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "product": (shifted_products, shifted_products.PRODUCT_WORDS),
    "dots": (shifted_products, shifted_products.DOTS_WORDS),
    "spread": (shifted_products, shifted_products.SPREAD_WORDS),
    "pack": (shifted_products, shifted_products.PACK_WORDS),
    "outer": (outer_products, outer_products.OUTER_WORDS),
    "turn": (matrix_products, matrix_products.TURN_WORDS),
}
_KINDS = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}
_GRAIN = 1 << 21  # multiplications that are worth a thread of their own
_GRAIN_OF_COPIES = 1 << 16  # elements
_SLACK = 512  # elements beyond a buffer that may be read


@cache
def _kernel(name: str, *details: Any) -> Kernel:
    """A kernel of the compiler's; `details` are its arguments but the width."""
    module, words = _KERNELS[name]

    def build() -> tuple[str, str]:
        return getattr(module, name)(name, machine.vector_bytes(), *details), name

    return Kernel(build, len(words))


def _kind_of(*arrays: Array) -> str | None:
    """The kernels' name of the dtype that all arrays have; None if there are no kernels for it."""
    kind = _KINDS.get(arrays[0].dtype)
    same = all(a.dtype == arrays[0].dtype for a in arrays)
    return kind if same and all(a.size for a in arrays) else None


# -- planes ----------------------------------------------------------------------------------------


def _spreader(x: Array, layout: Layout, kind: str) -> Kernel:
    """The kernel that `_spread` runs."""
    elements, rest = divmod(x.strides[-1] * layout.phases[2], x.itemsize)
    return _kernel("spread", kind, elements if not rest and 0 < elements <= 4 else 0)


def _spread(x: Array, layout: Layout, low: Ints, kind: str) -> Array | None:
    """The planes of x in a layout, with some memory behind that may be read."""
    strides = filled(x.strides[2:], 0)
    step = strides[2] * layout.phases[2]
    kernel = _spreader(x, layout, kind)
    address = kernel.address()
    if address is None:
        return None
    size = filled(x.shape[2:], 1)
    lines, width = lines_of(layout, size, low, strides, x.itemsize)
    batch, channels = x.shape[:2]
    planes = batch * channels
    found: Array = new_array((planes * layout.plane + _SLACK,), x.dtype,
                             planes * layout.plane + _SLACK)
    words = (
        address_of(x), address_of(found), address_of(lines), len(lines), width, channels,
        x.strides[0], x.strides[1], step, layout.plane * x.itemsize,
    )
    kernel.run(address, words, planes, max(1, _GRAIN_OF_COPIES // layout.plane))
    return found


# -- products --------------------------------------------------------------------------------------


class _Product(NamedTuple):
    """What a product's launch needs, besides addresses."""

    tile: Tile
    offsets: Array  # of k in the source
    places: Array  # of k in the weight
    units: Array
    span: int  # elements between the first and the last of a unit
    pitches: tuple[int, int, int]  # of the source, in elements; of the result; between elements


def _span(units: Array, pitch: int) -> tuple[int, int]:
    """The least and the greatest number of elements from the first to the last of a unit."""
    spans = (units[:, 2] - 1) * pitch + units[:, 3]
    return int(spans.min()), int(spans.max())


def _kernels_of(plan: _Product, itemsize: int) -> tuple[Kernel, Kernel]:
    """The kernels that `_run_product` runs."""
    return _kernel("product", plan.tile, plan.pitches[2] != itemsize), _kernel("pack", plan.tile)


def _run_product(
    plan: _Product, source: Any, weight: Array, bias: Array | None, result: Array,
    rows: int, groups: int, strides: Any,
) -> bool:
    """Computes a product for all images. `strides` are the source's (image, group) and the
    weight's (group, row). Tells whether the kernels were there."""
    tile = plan.tile
    kernel, pack = _kernels_of(plan, result.itemsize)
    address, pack_address = kernel.address(), pack.address()
    if address is None or pack_address is None:
        return False
    tiles = -(-rows // tile.rows)
    depth = len(plan.offsets)
    packed = new_array((groups * tiles * tile.rows * depth,), result.dtype,
                       groups * tiles * tile.rows * depth)
    source_image, source_group, weight_group, weight_row = strides
    pack.run(pack_address, (
        address_of(weight), address_of(packed), address_of(plan.places), depth, rows, tiles,
        weight_group, weight_row,
    ), groups * tiles, max(1, _GRAIN_OF_COPIES // max(1, tile.rows * depth)))
    biases = np.zeros((groups, tiles * tile.rows), result.dtype)
    if bias is not None:
        biases[:, :rows] = bias.reshape(groups, rows)
    batch = result.shape[0]
    _, row = result.strides[:2]
    kernel.run(address, (
        address_of(packed), address_of(plan.offsets), depth, address_of(source),
        address_of(result), address_of(biases), tiles, rows, address_of(plan.units),
        len(plan.units), groups, source_image, source_group, result.strides[0], row * rows, row,
        *plan.pitches,
    ), batch * groups * len(plan.units) * tiles,
        max(1, _GRAIN // (tile.rows * max(1, depth) * plan.span)))
    return True


class _Forward(NamedTuple):
    out: Ints  # the result's sizes
    layout: Layout | None  # of the input; None if it is used where it lies
    low: Ints
    product: _Product


def _positions(kernel: Ints) -> Any:
    return itertools.product(*map(range, kernel))


def _extent(out: Ints, kernel: Ints, stride: Ints, dilation: Ints) -> Ints:
    """How far the windows reach."""
    return tuple([
        (n - 1) * s + d * (k - 1) + 1
        for n, k, s, d in zip(out, kernel, stride, dilation, strict=True)
    ])


@lru_cache(maxsize=256)
def _forward_plan(
    size: Ints, weight: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int,
    kind: str, itemsize: int, vector_bytes: int,
) -> _Forward:
    filters, each, *rest = weight
    out = output_size(size, tuple(rest), stride, padding, dilation)
    kernel, wide = filled(rest, 1), filled(out, 1)
    steps, low = filled(stride, 1), filled(padding, 0)
    dilation = filled(dilation, 1)
    taps = prod(kernel)
    layout = layout_of(_extent(wide, kernel, steps, dilation), steps)
    tile = product_tile(kind, vector_bytes, filters // groups)
    is_plain = not any(padding) and max(stride) == 1
    full = filled(size, 1)
    if is_plain and taps == 1:
        layout, wide = Layout((1, 1, prod(full)), (1, 1, 1)), (1, 1, prod(full))
    elif is_plain and layout.size != full:
        is_plain = False
    units = units_of(wide, layout, 0, _dense_strides(wide, itemsize), 0, itemsize)
    least, greatest = _span(units, layout.size[2])
    if is_plain and least < tile.lanes * tile.vectors:
        is_plain = False  # a tile would read behind the array
    shifts = [
        layout.shift_of(tuple([i * d for i, d in zip(p, dilation, strict=True)]))
        for p in _positions(kernel)
    ]
    offsets = (np.arange(each)[:, None] * layout.plane + table(shifts)) * itemsize
    places = np.arange(each * taps, dtype=np.int64) * itemsize
    return _Forward(
        out, None if is_plain else layout, low,
        _Product(tile, offsets.reshape(-1), places, units, greatest,
                 (layout.size[2], wide[2] * itemsize, itemsize)),
    )


def _dense_strides(size: Ints, itemsize: int) -> Ints:
    return (size[1] * size[2] * itemsize, size[2] * itemsize, itemsize)


def convolve(
    x: Array, weight: Array, stride: Ints, padding: Ints, dilation: Ints, groups: int,
    bias: Array | None = None,
) -> Array | None:
    """`kernels.convolution.convolve`, or None without a kernel."""
    kind = _kind_of(x, weight)
    if kind is None or weight.ndim > 5:
        return None
    plan = _forward_plan(
        x.shape[2:], weight.shape, stride, padding, dilation, groups, kind, x.itemsize,
        vector_bytes(),
    )
    filters, each = weight.shape[:2]
    if not prod(plan.out):
        return None
    spreader = [] if plan.layout is None else [_spreader(x, plan.layout, kind)]
    if not are_ready(*spreader, *_kernels_of(plan.product, x.itemsize)):
        return None
    weight = np.ascontiguousarray(weight)
    if plan.layout is None:
        source: Array | None = np.ascontiguousarray(x)
        plane = prod(x.shape[2:])
    elif plan.layout.size == (1, 1, prod(x.shape[2:])) and not any(plan.low):
        # A product per pixel whose planes are shorter than a tile.
        source = _spread(x.reshape(*x.shape[:2], -1), plan.layout, plan.low, kind)
        plane = plan.layout.plane
    else:
        source = _spread(x, plan.layout, plan.low, kind)
        plane = plan.layout.plane
    if source is None:
        return None
    rows = filters // groups
    shape = (x.shape[0], filters, *plan.out)
    result: Array = new_array(shape, x.dtype, prod(shape))
    group = each * plane * x.itemsize
    strides = (group * groups, group, rows * weight.strides[0], weight.strides[0])
    done = _run_product(plan.product, source, weight, bias, result, rows, groups, strides)
    return result if done else None


# -- gradients -------------------------------------------------------------------------------------


class _Backward(NamedTuple):
    layout: Layout  # of the gradient that comes in
    low: Ints
    products: list[_Product]  # one for each phase of the result


class _Axis(NamedTuple):
    """One phase of one dimension: see `_axis`."""

    taps: list[tuple[int, int]]  # (position in the window, shift)
    first: int  # place in the flat gradient where the result begins
    length: int
    target: int  # the first element of the result


def _axis(size: int, kernel: int, step: int, pad: int, dilation: int) -> tuple[int, list[_Axis]]:
    """How one dimension of an input's gradient falls into phases.

    Element x of the input is place x + pad = q * step + phase of the padded one. The positions k of
    the window that meet it are those with k * dilation = phase modulo step, each with the
    gradient at q - k * dilation // step. Returns how many zeros go before the gradient, too.
    """
    reach = max((dilation * (kernel - 1)) // step, 0)
    found = []
    for phase in range(step):
        taps = [(k, k * dilation // step) for k in range(kernel) if k * dilation % step == phase]
        begin = -((phase - pad) // step)
        count = (size - 1 + pad - phase) // step - begin + 1
        found.append((taps, begin, count, begin * step + phase - pad))
    start = min(begin for _, begin, _, _ in found)
    return reach - start, [
        _Axis([(k, reach - shift) for k, shift in taps], begin - start, count, target)
        for taps, begin, count, target in found
    ]


@lru_cache(maxsize=256)
def _backward_plan(
    size: Ints, weight: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int,
    kind: str, itemsize: int, vector_bytes: int,
) -> _Backward:
    filters, each, *rest = weight
    kernel, full = filled(rest, 1), filled(size, 1)
    axes = [
        _axis(*numbers) for numbers in zip(
            full, kernel, filled(stride, 1), filled(padding, 0), filled(dilation, 1), strict=True)
    ]
    low = tuple([before for before, _ in axes])
    extent = tuple([
        max(a.first + a.length + max((s for _, s in a.taps), default=0) for a in phases)
        for _, phases in axes
    ])
    layout = Layout(extent, (1, 1, 1))
    tile = product_tile(kind, vector_bytes, each)
    taps_count = prod(kernel)
    dense = _dense_strides(full, itemsize)
    jump = tuple([s * d for s, d in zip(filled(stride, 1), dense, strict=True)])
    inside = filters // groups
    products = []
    for a, b, c in itertools.product(*[phases for _, phases in axes]):
        counts = (a.length, b.length, c.length)
        if min(counts) <= 0:
            continue
        taps = list(itertools.product(a.taps, b.taps, c.taps))
        shifts = [layout.shift_of((i[1], j[1], k[1])) for i, j, k in taps]
        numbers = [(i[0] * kernel[1] + j[0]) * kernel[2] + k[0] for i, j, k in taps]
        first = layout.shift_of((a.first, b.first, c.first))
        target = a.target * dense[0] + b.target * dense[1] + c.target * dense[2]
        units = units_of(counts, layout, first, jump, target, itemsize)
        planes = np.arange(inside)[:, None]
        products.append(_Product(
            tile, ((planes * layout.plane + table(shifts)) * itemsize).reshape(-1),
            ((planes * (each * taps_count) + table(numbers)) * itemsize).reshape(-1), units,
            _span(units, extent[2])[1], (extent[2], jump[1], jump[2]),
        ))
    return _Backward(layout, low, products)


def input_gradient(
    grad: Array, weight: Array, size: Ints, stride: Ints, padding: Ints, dilation: Ints,
    groups: int, bias: Array | None = None,
) -> Array | None:
    """`kernels.convolution.input_gradient`, or None without a kernel."""
    kind = _kind_of(grad, weight)
    if kind is None or weight.ndim > 5 or not prod(size):
        return None
    plan = _backward_plan(
        size, weight.shape, stride, padding, dilation, groups, kind, grad.itemsize,
        vector_bytes(),
    )
    if not are_ready(_spreader(grad, plan.layout, kind),
                     *[k for one in plan.products for k in _kernels_of(one, grad.itemsize)]):
        return None
    filters, each, *kernel = weight.shape
    weight = np.ascontiguousarray(weight)
    source = _spread(grad, plan.layout, plan.low, kind)
    if source is None:
        return None
    shape = (grad.shape[0], each * groups, *size)
    result: Array = new_array(shape, grad.dtype, prod(shape))
    inside = filters // groups
    group = inside * plan.layout.plane * grad.itemsize
    taps = prod(kernel) * grad.itemsize
    strides = (group * groups, group, inside * each * taps, taps)
    for one in plan.products:
        if not _run_product(one, source, weight, bias, result, each, groups, strides):
            return None
    return result


class _WeightPlan(NamedTuple):
    layout: Layout | None
    low: Ints
    tile: Tile
    is_outer: bool  # by outer products, not by dots
    offsets: Array
    units: Array
    pitches: tuple[int, int]
    work: int  # multiplications of a task for one image


_MANY_FILTERS = 8  # from here on outer products are quicker than dots


@lru_cache(maxsize=256)
def _weight_plan(
    size: Ints, out: Ints, each: int, rows: int, kernel: Ints, stride: Ints, padding: Ints,
    dilation: Ints, kind: str, itemsize: int, vector_bytes: int,
) -> _WeightPlan:
    full, wide = filled(size, 1), filled(out, 1)
    kernel, steps = filled(kernel, 1), filled(stride, 1)
    dilation = filled(dilation, 1)
    layout = layout_of(_extent(wide, kernel, steps, dilation), steps)
    is_plain = not any(padding) and max(stride) == 1
    if is_plain:
        layout = Layout(full, (1, 1, 1))
    if is_plain and prod(kernel) == 1:
        layout, wide = Layout((1, 1, prod(full)), (1, 1, 1)), (1, 1, prod(wide))
    shifts = [
        layout.shift_of(tuple([i * d for i, d in zip(p, dilation, strict=True)]))
        for p in _positions(kernel)
    ]
    offsets = (np.arange(each)[:, None] * layout.plane + table(shifts)) * itemsize
    pitch = layout.size[2]
    is_outer = rows >= _MANY_FILTERS
    if is_outer:
        tile = outer_tile(kind, vector_bytes, rows)
        item, longest = tile.lanes * tile.vectors * itemsize, outer_products.LONGEST_UNIT
        at_once = tile.rows * outer_products.BLOCKS_AT_ONCE
    else:
        tile = dots_tile(kind, vector_bytes, rows, offsets.size, wide[2])
        item, longest = itemsize, shifted_products.LONGEST_UNIT
        at_once = tile.vectors * shifted_products.BLOCKS_AT_ONCE
    units = units_of(wide, layout, 0, _dense_strides(wide, item), 0, itemsize, longest)
    high = tile.lanes * tile.vectors if is_outer else tile.rows
    return _WeightPlan(
        None if is_plain else layout, filled(padding, 0), tile, is_outer, offsets.reshape(-1),
        units, (pitch * itemsize, wide[2] * item), high * min(offsets.size, at_once) * prod(wide),
    )


def weight_gradient(
    grad: Array, x: Array, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Array | None:
    """`kernels.convolution.weight_gradient`, or None without a kernel."""
    kind = _kind_of(grad, x)
    if kind is None or len(kernel) > 3 or not prod(kernel):
        return None
    filters, channels = grad.shape[1], x.shape[1]
    each, rows = channels // groups, filters // groups
    plan = _weight_plan(
        x.shape[2:], grad.shape[2:], each, rows, kernel, stride, padding, dilation, kind,
        x.itemsize, vector_bytes(),
    )
    spreader = [] if plan.layout is None else [_spreader(x, plan.layout, kind)]
    names = ("outer", "turn") if plan.is_outer else ("dots",)
    if not are_ready(*spreader, *[_kernel(name, plan.tile) for name in names]):
        return None
    if plan.layout is None:
        source: Array | None = np.ascontiguousarray(x)
        plane = prod(x.shape[2:])
    else:
        source = _spread(x, plan.layout, plan.low, kind)
        plane = plan.layout.plane
    if source is None:
        return None
    result: Array = np.empty((filters, each, *kernel), x.dtype)
    run = _run_outer if plan.is_outer else _run_dots
    done = run(plan, np.ascontiguousarray(grad), source, result, groups, each * plane * x.itemsize)
    return result if done else None


def _run_dots(
    plan: _WeightPlan, grad: Array, source: Array, result: Array, groups: int, source_group: int
) -> bool:
    kernel = _kernel("dots", plan.tile)
    address = kernel.address()
    if address is None:
        return False
    rows, depth = len(result) // groups, len(plan.offsets)
    tiles = -(-rows // plan.tile.rows)
    blocks = -(-depth // (shifted_products.BLOCKS_AT_ONCE * plan.tile.vectors))
    kernel.run(address, (
        address_of(grad), address_of(source), address_of(result), address_of(plan.offsets), depth,
        rows, tiles, blocks, address_of(plan.units), len(plan.units), len(grad), grad.strides[0],
        rows * grad.strides[1], grad.strides[1], source_group * groups, source_group,
        *plan.pitches, rows * depth * grad.itemsize, depth * grad.itemsize,
    ), groups * tiles * blocks, max(1, _GRAIN // (plan.work * len(grad))))
    return True


def _run_outer(
    plan: _WeightPlan, grad: Array, source: Array, result: Array, groups: int, source_group: int
) -> bool:
    tile = plan.tile
    kernel, turn = _kernel("outer", tile), _kernel("turn", tile)
    address, turn_address = kernel.address(), turn.address()
    if address is None or turn_address is None:
        return False
    batch, filters = grad.shape[:2]
    rows, depth, space = filters // groups, len(plan.offsets), prod(grad.shape[2:])
    width = tile.lanes * tile.vectors
    panels = -(-rows // width)
    item = grad.itemsize
    panel = width * space * item
    packed = new_array((batch * groups * panels * width * space,), grad.dtype,
                       batch * groups * panels * width * space)
    turn.run(turn_address, (
        address_of(grad), address_of(packed), rows, space * item, space, panels,
        rows * space * item, panels * panel,
    ), batch * groups * panels, max(1, _GRAIN_OF_COPIES // (width * space)))
    blocks = -(-depth // (outer_products.BLOCKS_AT_ONCE * tile.rows))
    kernel.run(address, (
        address_of(packed), address_of(source), address_of(result), address_of(plan.offsets),
        depth, rows, panels, blocks, address_of(plan.units), len(plan.units), batch, groups, panel,
        source_group * groups, source_group, *plan.pitches, rows * depth * item, depth * item,
    ), groups * panels * blocks, max(1, _GRAIN // (plan.work * batch)))
    return True
