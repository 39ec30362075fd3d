"""What a convolution and its gradients launch: by shifted products, or by Winograd's algorithm.

See compiler/shifted_products.py for the kernels and flat_layout.py for the layout. The input is
spread and the weight packed; then sums are computed. Arrays are told by shapes and strides in
bytes; operands are "x" or "grad", "weight" and maybe "bias".
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from taper.compiler import matrix_products, outer_products, shifted_products
from taper.compiler.outer_products import outer_tile
from taper.compiler.shifted_products import dots_tile, product_tile
from taper.compiler.tile_code import SIZE, Tile
from taper.kernels import winograd_recipes
from taper.kernels.convolution import output_size
from taper.kernels.flat_layout import Layout, filled, layout_of, lines_of, table, units_of
from taper.kernels.launch_recipes import Recipe, Stage
from taper.kernels.native import kernels_by_name

__all__ = ["Convolution", "forward_recipe", "input_recipe", "weight_recipe"]

Ints = tuple[int, ...]

_kernel = kernels_by_name({
    "product": (shifted_products.product, shifted_products.PRODUCT_WORDS),
    "dots": (shifted_products.dots, shifted_products.DOTS_WORDS),
    "spread": (shifted_products.spread, shifted_products.SPREAD_WORDS),
    "pack": (shifted_products.pack, shifted_products.PACK_WORDS),
    "outer": (outer_products.outer, outer_products.OUTER_WORDS),
    "turn": (matrix_products.turn, matrix_products.TURN_WORDS),
})
_GRAIN = 1 << 21  # multiplications that are worth a thread of their own
_GRAIN_OF_COPIES = 1 << 16  # elements
_SLACK = 512  # elements beyond a buffer that may be read


class Convolution(NamedTuple):
    """The numbers of a convolution, and for which kernels it is."""

    kernel: Ints
    stride: Ints
    padding: Ints
    dilation: Ints
    groups: int
    kind: str  # "f32" or "f64"
    vector_bytes: int

    @property
    def item(self) -> int:
        return SIZE[self.kind]

    @property
    def is_plain(self) -> bool:
        """Whether the result's elements meet neighbours, and no padding."""
        return not any(self.padding) and max(self.stride) == 1

    @property
    def suits_winograd(self) -> bool:
        """Whether it has windows of 3 x 3 side by side."""
        return (self.kernel == (3, 3) and self.groups == 1
                and self.stride == self.dilation == (1, 1))

    def layout_for(self, out: Ints) -> Layout:
        """How planes of the input lie for results of this size, in three dimensions."""
        steps = filled(self.stride, 1)
        reach = [
            (n - 1) * s + d * (k - 1) + 1 for n, k, s, d in zip(
                out, filled(self.kernel, 1), steps, filled(self.dilation, 1), strict=True)
        ]
        return layout_of(tuple(reach), steps)

    def offsets(self, layout: Layout, channels: int) -> Any:
        """From a window's first element to each of them: bytes in so many planes of a layout."""
        dilation = filled(self.dilation, 1)
        shifts = [
            layout.shift_of(tuple([i * d for i, d in zip(place, dilation, strict=True)]))
            for place in itertools.product(*map(range, filled(self.kernel, 1)))
        ]
        planes = np.arange(channels)[:, None] * layout.plane
        return ((planes + table(shifts)) * self.item).reshape(-1)


def _dense_strides(size: Ints, itemsize: int) -> Ints:
    return (size[1] * size[2] * itemsize, size[2] * itemsize, itemsize)


# -- planes ----------------------------------------------------------------------------------------


def _spread(
    name: str, shape: Ints, strides: Ints, layout: Layout, low: Ints, of: Convolution, into: int,
) -> tuple[Stage, int]:
    """The launch that brings an operand's planes to a layout, in scratch memory whose size it
    tells: there is some more behind, which may be read."""
    item = of.item
    steps = filled(strides[2:], 0)
    elements, rest = divmod(steps[2] * layout.phases[2], item)
    kernel = _kernel("spread", of.kind, elements if not rest and 0 < elements <= 4 else 0)
    lines, width = lines_of(layout, filled(shape[2:], 1), low, steps, item)
    planes = shape[0] * shape[1]
    stage = Stage(kernel, (name, into, lines), (
        len(lines), width, shape[1], strides[0], strides[1], steps[2] * layout.phases[2],
        layout.plane * item,
    ), planes, max(1, _GRAIN_OF_COPIES // layout.plane), f"planes of {name}")
    return stage, planes * layout.plane + _SLACK


# -- products --------------------------------------------------------------------------------------


class _Product(NamedTuple):
    """What a product's launch needs, besides arrays."""

    tile: Tile
    offsets: Any  # of k in the source
    places: Any  # of k in the weight
    units: Any
    span: int  # elements between the first and the last of a unit
    pitches: tuple[int, int, int]  # of the source, in elements; of the result; between elements


def _span(units: Any, pitch: int) -> tuple[int, int]:
    """The least and the greatest number of elements from the first to the last of a unit."""
    spans = (units[:, 2] - 1) * pitch + units[:, 3]
    return int(spans.min()), int(spans.max())


def _product_stages(
    plan: _Product, source: Any, into: int, result: Ints, rows: int, of: Convolution,
    strides: Ints, has_bias: bool, has_floor: bool,
) -> tuple[list[Stage], int]:
    """The launches of a product for all images, and the size of the scratch memory `into` which
    weights are packed. `strides` are the source's (image, group) and the weight's (group, row)."""
    tile, item, groups = plan.tile, of.item, of.groups
    tiles = -(-rows // tile.rows)
    depth = len(plan.offsets)
    source_image, source_group, weight_group, weight_row = strides
    row = prod(result[2:]) * item
    pack = Stage(_kernel("pack", tile), ("weight", into, plan.places),
                 (depth, rows, tiles, weight_group, weight_row), groups * tiles,
                 max(1, _GRAIN_OF_COPIES // max(1, tile.rows * depth)), "weights")
    product = Stage(
        _kernel("product", tile, plan.pitches[2] != item, has_bias, has_floor),
        (into, plan.offsets, source, "result", "bias" if has_bias else into, plan.units),
        (depth, tiles, rows, len(plan.units), groups, source_image, source_group,
         result[1] * row, row * rows, row, *plan.pitches),
        result[0] * groups * len(plan.units) * tiles,
        max(1, _GRAIN // (tile.rows * max(1, depth) * plan.span)), "shifted products")
    return [pack, product], groups * tiles * tile.rows * depth


@lru_cache(maxsize=256)
def forward_recipe(
    shape: Ints, strides: Ints, weight: Ints, of: Convolution, has_bias: bool, has_floor: bool,
) -> Recipe | None:
    """The launches of a convolution; with `has_floor` results below zero become zero. The weight
    is contiguous. None if there is nothing to do."""
    filters, each = weight[:2]
    size, item = shape[2:], of.item
    out = output_size(size, of.kernel, of.stride, of.padding, of.dilation)
    if not prod(out):
        return None
    is_dense = strides == _c_strides(shape, item)
    if of.suits_winograd and is_dense:
        found = winograd_recipes.convolution_recipe(
            shape, weight, of.padding, False, of.kind, item, of.vector_bytes, has_bias, has_floor)
        if found is not None:
            return found
    wide, full = filled(out, 1), filled(size, 1)
    layout = of.layout_for(wide)
    tile = product_tile(of.kind, of.vector_bytes, filters // of.groups)
    positions = prod(of.kernel)
    is_plain = of.is_plain and is_dense
    is_pixelwise = is_plain and positions == 1
    if is_pixelwise:
        layout, wide = Layout((1, 1, prod(full)), (1, 1, 1)), (1, 1, prod(full))
    elif is_plain and layout.size != full:
        is_plain = False
    units = units_of(wide, layout, 0, _dense_strides(wide, item), 0, item)
    least, greatest = _span(units, layout.size[2])
    if is_plain and least < tile.lanes * tile.vectors:
        is_plain = False  # a tile would read behind the array
    places = np.arange(each * positions, dtype=np.int64) * item
    plan = _Product(tile, of.offsets(layout, each), places, units, greatest,
                    (layout.size[2], wide[2] * item, item))
    stages: list[Stage] = []
    memory: list[int] = []
    source: Any = "x"
    plane = prod(size)
    if not is_plain:
        if is_pixelwise:
            shape, strides = (*shape[:2], plane), (*strides[:2], item)
        stage, scratch = _spread("x", shape, strides, layout, filled(of.padding, 0), of, 0)
        stages.append(stage)
        memory.append(scratch)
        source, plane = 0, layout.plane
    rows = filters // of.groups
    group = each * plane * item
    row = each * positions * item
    more, scratch = _product_stages(
        plan, source, len(memory), (shape[0], filters, *out), rows, of,
        (group * of.groups, group, rows * row, row), has_bias, has_floor)
    return Recipe((*stages, *more), (*memory, scratch), (shape[0], filters, *out),
                  ("x", "weight", *(["bias"] if has_bias else [])))


def _c_strides(shape: Ints, item: int) -> Ints:
    return tuple([prod(shape[d + 1 :]) * item for d in range(len(shape))])


# -- gradients -------------------------------------------------------------------------------------


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
def input_recipe(
    grad: Ints, strides: Ints, weight: Ints, size: Ints, of: Convolution, has_bias: bool,
) -> Recipe | None:
    """The launches of the gradient of a convolution's input, or of a transposed convolution."""
    filters, each = weight[:2]
    item = of.item
    if not prod(size):
        return None
    if of.suits_winograd and strides == _c_strides(grad, item):
        low = tuple([2 - p for p in of.padding])
        found = winograd_recipes.convolution_recipe(
            grad, weight, low, True, of.kind, item, of.vector_bytes, has_bias, False)
        if found is not None and found.shape[2:] == size:
            return found._replace(operands=("grad", *found.operands[1:]), stages=tuple([
                s._replace(arrays=tuple(["grad" if type(a) is str and a == "x" else a
                                         for a in s.arrays])) for s in found.stages]))
    kernel, full = filled(of.kernel, 1), filled(size, 1)
    axes = [
        _axis(*numbers) for numbers in zip(
            full, kernel, filled(of.stride, 1), filled(of.padding, 0), filled(of.dilation, 1),
            strict=True)
    ]
    low = tuple([before for before, _ in axes])
    extent = tuple([
        max(a.first + a.length + max((s for _, s in a.taps), default=0) for a in phases)
        for _, phases in axes
    ])
    layout = Layout(extent, (1, 1, 1))
    tile = product_tile(of.kind, of.vector_bytes, each)
    taps_count = prod(kernel)
    dense = _dense_strides(full, item)
    jump = tuple([s * d for s, d in zip(filled(of.stride, 1), dense, strict=True)])
    inside = filters // of.groups
    group = inside * layout.plane * item
    window = taps_count * item
    steps = (group * of.groups, group, inside * each * window, window)
    shape = (grad[0], each * of.groups, *size)
    stage, scratch = _spread("grad", grad, strides, layout, low, of, 0)
    stages, memory = [stage], [scratch]
    for a, b, c in itertools.product(*[phases for _, phases in axes]):
        counts = (a.length, b.length, c.length)
        if min(counts) <= 0:
            continue
        taps = list(itertools.product(a.taps, b.taps, c.taps))
        shifts = [layout.shift_of((i[1], j[1], k[1])) for i, j, k in taps]
        numbers = [(i[0] * kernel[1] + j[0]) * kernel[2] + k[0] for i, j, k in taps]
        first = layout.shift_of((a.first, b.first, c.first))
        target = a.target * dense[0] + b.target * dense[1] + c.target * dense[2]
        units = units_of(counts, layout, first, jump, target, item)
        planes = np.arange(inside)[:, None]
        plan = _Product(
            tile, ((planes * layout.plane + table(shifts)) * item).reshape(-1),
            ((planes * (each * taps_count) + table(numbers)) * item).reshape(-1), units,
            _span(units, extent[2])[1], (extent[2], jump[1], jump[2]))
        more, scratch = _product_stages(
            plan, 0, len(memory), shape, each, of, steps, has_bias, False)
        stages += more
        memory.append(scratch)
    return Recipe(tuple(stages), tuple(memory), shape,
                  ("grad", "weight", *(["bias"] if has_bias else [])))


_MANY_FILTERS, _DEEP = 8, 25  # from here on outer products are quicker than dots


@lru_cache(maxsize=256)
def weight_recipe(
    grad: Ints, shape: Ints, strides: Ints, of: Convolution,
) -> Recipe | None:
    """The launches of the gradient of a convolution's weight. The gradient of its results is
    contiguous."""
    item, groups = of.item, of.groups
    size, out = shape[2:], grad[2:]
    filters, channels = grad[1], shape[1]
    each, rows = channels // groups, filters // groups
    is_dense = strides == _c_strides(shape, item)
    if of.suits_winograd and is_dense:
        found = winograd_recipes.gradient_recipe(
            shape, grad, of.padding, of.kind, item, of.vector_bytes)
        if found is not None:
            return found
    full, wide = filled(size, 1), filled(out, 1)
    layout = of.layout_for(wide)
    is_plain = of.is_plain and is_dense
    if is_plain:
        layout = Layout(full, (1, 1, 1))
    if is_plain and prod(of.kernel) == 1:
        layout, wide = Layout((1, 1, prod(full)), (1, 1, 1)), (1, 1, prod(wide))
    stages: list[Stage] = []
    memory: list[int] = []
    source: Any = "x"
    if not is_plain:
        stage, scratch = _spread("x", shape, strides, layout, filled(of.padding, 0), of, 0)
        stages.append(stage)
        memory.append(scratch)
        source = 0
    products = _WeightProducts(
        of, layout, wide, of.offsets(layout, each), source, each * layout.plane * item, grad[0],
        rows)
    if rows >= _MANY_FILTERS and len(products.offsets) > _DEEP:
        more, scratch = products.outer(len(memory))
        stages += more
        memory.append(scratch)
    else:
        stages.append(products.dots())
    return Recipe(tuple(stages), tuple(memory), (filters, each, *of.kernel), ("grad", "x"))


class _WeightProducts(NamedTuple):
    """Products of the gradient's planes with shifted planes of the source."""

    of: Convolution
    layout: Layout
    wide: Ints  # the size of the gradient's planes
    offsets: Any  # of a window's elements in the source
    source: Any
    source_group: int  # bytes
    batch: int
    rows: int  # filters of a group

    def dots(self) -> Stage:
        """The launch that sums along planes."""
        of, rows, depth, space = self.of, self.rows, len(self.offsets), prod(self.wide)
        item, groups = of.item, of.groups
        tile = dots_tile(of.kind, of.vector_bytes, rows, depth, self.wide[2])
        units = units_of(self.wide, self.layout, 0, _dense_strides(self.wide, item), 0, item,
                         shifted_products.LONGEST_UNIT)
        at_once = tile.vectors * shifted_products.BLOCKS_AT_ONCE
        tiles, blocks = -(-rows // tile.rows), -(-depth // at_once)
        work = tile.rows * min(depth, at_once) * space * self.batch
        return Stage(
            _kernel("dots", tile), ("grad", self.source, "result", self.offsets, units),
            (depth, rows, tiles, blocks, len(units), self.batch, groups * rows * space * item,
             rows * space * item, space * item, self.source_group * groups, self.source_group,
             self.layout.size[2] * item, self.wide[2] * item, rows * depth * item, depth * item),
            groups * tiles * blocks, max(1, _GRAIN // work), "dots")

    def outer(self, into: int) -> tuple[list[Stage], int]:
        """The launches that sum outer products, whose lanes are filters, and the size of the
        scratch memory `into` which the gradient is turned for that."""
        of, rows, depth, space = self.of, self.rows, len(self.offsets), prod(self.wide)
        item, groups = of.item, of.groups
        tile = outer_tile(of.kind, of.vector_bytes, rows)
        width = tile.lanes * tile.vectors
        units = units_of(self.wide, self.layout, 0, _dense_strides(self.wide, width * item), 0,
                         item, outer_products.LONGEST_UNIT)
        panels = -(-rows // width)
        panel = width * space * item
        turn = Stage(
            _kernel("turn", tile), ("grad", into),
            (rows, space * item, space, panels, rows * space * item, panels * panel),
            self.batch * groups * panels, max(1, _GRAIN_OF_COPIES // (width * space)),
            "turned gradient")
        at_once = outer_products.BLOCKS_AT_ONCE * tile.rows
        blocks = -(-depth // at_once)
        work = width * min(depth, at_once) * space * self.batch
        outer = Stage(
            _kernel("outer", tile), (into, self.source, "result", self.offsets, units),
            (depth, rows, panels, blocks, len(units), self.batch, groups, panel,
             self.source_group * groups, self.source_group, self.layout.size[2] * item,
             self.wide[2] * width * item, rows * depth * item, depth * item),
            groups * panels * blocks, max(1, _GRAIN // work), "outer products")
        return [turn, outer], self.batch * groups * panels * width * space
