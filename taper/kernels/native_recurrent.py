"""The native twins of kernels/recurrent.py: layers of LSTM and GRU, and their gradients.

What all elements share, the products with the inputs and the weights' gradients, are matrix
products (matrix_product.py); what runs through time is one kernel, see recurrent_kernels.py in
compiler/.
"""

from __future__ import annotations

from functools import cache, lru_cache, wraps
from typing import Any, NamedTuple

import numpy as np

from taper.compiler.machine import vector_bytes
from taper.compiler.matrix_products import PANELS_WORDS
from taper.compiler.recurrent_kernels import (
    BACKWARD_WORDS,
    FORWARD_WORDS,
    GATES_WORDS,
    recurrent_tile,
)
from taper.compiler.tile_code import Tile
from taper.core.storage import address_of
from taper.kernels import matrix_product, native_matrix_product
from taper.kernels.matrix_product import multiply
from taper.kernels.native import Kernel
from taper.kernels.native_twin import are_ready
from taper.runtime.large_arrays import new_array
from taper.runtime.planned_calls import constant, replayed, scratch

__all__ = ["gru", "gru_gradient", "lstm", "lstm_gradient"]

Array = np.ndarray[Any, Any]

_KINDS = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}
_LINES = 16
_GRAIN = 1 << 18  # multiplications that are worth a thread of their own: 3 us
_GRAIN_OF_COPIES = 1 << 13  # elements


@cache
def _kernel(name: str, *details: Any) -> Kernel:
    """A kernel of compiler/recurrent_kernels.py, or the packer of compiler/matrix_products.py."""
    words = {"forward": FORWARD_WORDS, "backward": BACKWARD_WORDS, "gate_panels": GATES_WORDS,
             "panels": PANELS_WORDS}[name]

    def build() -> tuple[str, str]:
        from taper.compiler import machine, matrix_products, recurrent_kernels

        module = matrix_products if name == "panels" else recurrent_kernels
        return getattr(module, name)(name, machine.vector_bytes(), *details), name

    return Kernel(build, len(words))


class _Forward(NamedTuple):
    """What a forward pass runs, once it is there."""

    tile: Tile
    panels: Kernel
    panels_address: int
    kernel: Kernel
    address: int


_tile = lru_cache(recurrent_tile)
_forwards: dict[Any, _Forward] = {}


def _forward_for(gates: int, *arrays: Array | None) -> _Forward | None:
    """The kernels of a forward pass on these arrays, if there are any, and already."""
    first: Any = arrays[0]
    found = _forwards.get((gates, first.dtype))
    tile = _tile_for(gates, *arrays)
    if tile is None or found is not None:
        return None if tile is None else found
    kernels = _kernel("gate_panels", tile), _kernel("forward", tile)
    if not are_ready(*kernels):
        return None
    addresses = [kernel.address() for kernel in kernels]
    if addresses[0] is None or addresses[1] is None:
        return None
    found = _Forward(tile, kernels[0], addresses[0], kernels[1], addresses[1])
    _forwards[gates, first.dtype] = found
    return found


def _tile_for(gates: int, *arrays: Array | None) -> Tile | None:
    """The kernels' tile, where there are kernels for these arrays."""
    first: Any = arrays[0]
    kind = _KINDS.get(first.dtype)
    if kind is None:
        return None
    for a in arrays:
        if a is not None and (a.dtype is not first.dtype or not a.size):
            return None
    return _tile(kind, vector_bytes(), gates)


@lru_cache(maxsize=256)
def _steps(sizes: tuple[int, ...], last_first: bool) -> tuple[Array, Array]:
    """Where each step's elements begin, and how many there are, in the order of the steps."""
    counts = np.array(sizes, np.int64)
    starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)[:-1]))
    if last_first:
        counts, starts = counts[::-1], starts[::-1]
    return np.ascontiguousarray(starts), np.ascontiguousarray(counts)


def _packed_gates(weight: Array, found: _Forward) -> Array:
    """The recurrent weight in panels of units with all their gates."""
    tile = found.tile
    units = weight.shape[1]
    panels = -(-units // tile.lanes)
    size = panels * tile.lanes * tile.vectors * units
    packed: Array = scratch(new_array((size,), weight.dtype, size))
    row = units * weight.itemsize
    found.panels.launch(
        found.panels_address, (weight, packed), (units, row, panels, units * row),
        panels * tile.vectors, max(1, _GRAIN_OF_COPIES // (tile.lanes * units)))
    return packed


def _packed_straight(weight: Array, tile: Tile) -> tuple[Array, int] | None:
    """The recurrent weight in panels of units, and how many there are."""
    kernel = _kernel("panels", tile, False, False)
    address = kernel.address()
    if address is None:
        return None
    weight = np.ascontiguousarray(weight)
    depth, units = weight.shape
    width = tile.lanes * tile.vectors
    panels = -(-units // width)
    found: Array = new_array((panels * width * depth,), weight.dtype, panels * width * depth)
    at, to = address_of(weight), address_of(found)
    kernel.run(address, (
        at, to, at, to, 0, weight.strides[0], 0, units, weight.strides[0], depth, _LINES,
    ), -(-depth // _LINES), max(1, _GRAIN_OF_COPIES // (units * _LINES)))
    return found, panels


def _grain(tile: Tile, sequences: int, units: int, steps: int) -> int:
    """How many blocks are worth a thread: one, unless they are very little work."""
    return max(1, _GRAIN // (tile.rows * tile.vectors * units * units * steps))


class _States(NamedTuple):
    """The states of a pass: the first ones, and the last ones, which it writes."""

    first_hidden: Array
    first_cell: Array  # the hidden ones again where there are no others
    hidden: Array
    cell: Array


def _run_forward(
    found: _Forward, weight: Array, gates: Array, states: _States, bias: Array | None,
    kept: tuple[Array, Array, Array, Array], sizes: tuple[int, ...], reverse: bool,
) -> None:
    tile = found.tile
    panels = _packed_gates(np.ascontiguousarray(weight), found)
    starts, counts = map(constant, _steps(sizes, reverse))
    sequences, units = states.hidden.shape
    bias = constant(_zeros(len(weight), weight.dtype)) if bias is None else bias
    found.kernel.launch(
        found.address,
        (gates, panels, *states, *kept, np.ascontiguousarray(bias), starts, counts),
        (len(counts), units, -(-units // tile.lanes), sequences),
        -(-sequences // tile.rows), _grain(tile, sequences, units, len(counts)))


@lru_cache(maxsize=64)
def _zeros(count: int, dtype: Any) -> Array:
    return np.zeros(count, dtype)


def _projected(data: Array, weight: Array, bias: Array | None) -> Array | None:
    """The inputs' share of the gates. Where kernels multiply, they must: a pass that is launched
    again launches nothing else."""
    module = native_matrix_product if vector_bytes() >= 32 else matrix_product
    return module.multiply(data, weight.T) if bias is None else (
        module.affine(data, weight.T, bias))


@lru_cache(maxsize=256)
def _the_same(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The first tuple that was equal: plans tell arguments apart by identity."""
    return sizes


def _again(compute: Any) -> Any:
    """A pass that is launched again, if matrix products are launches, too."""
    planned = replayed(compute)

    @wraps(compute)
    def run(*args: Any) -> Any:
        *arrays, sizes, reverse = args
        return (planned if vector_bytes() >= 32 else compute)(
            *arrays, _the_same(tuple(sizes)), reverse)

    return run


@_again
def lstm(
    data: Array, hidden: Array, cell: Array, w_ih: Array, w_hh: Array, b_ih: Array | None,
    b_hh: Array | None, sizes: tuple[int, ...], reverse: bool,
) -> tuple[Array, Array, Array, Array, Array, Array, Array] | None:
    """`kernels.recurrent.lstm`, or None without a kernel."""
    found = _forward_for(4, data, hidden, cell, w_ih, w_hh, b_ih, b_hh)
    if found is None or w_hh.shape[1] != hidden.shape[1]:
        return None
    gates = _projected(data, w_ih, b_ih)
    if gates is None:
        return None
    first = np.ascontiguousarray(hidden), np.ascontiguousarray(cell)
    states = _States(*first, *(np.empty(hidden.shape, hidden.dtype) for _ in range(2)))
    outputs, before, cells_before, cells = kept = _rooms(4, data, hidden)
    _run_forward(found, w_hh, gates, states, b_hh, kept, sizes, reverse)
    return outputs, states.hidden, states.cell, gates, before, cells_before, cells


def _rooms(count: int, data: Array, hidden: Array) -> Any:
    """Arrays with a row of states for each element."""
    shape = len(data), hidden.shape[1]
    return tuple(new_array(shape, data.dtype, shape[0] * shape[1]) for _ in range(count))


@_again
def gru(
    data: Array, hidden: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None,
    sizes: tuple[int, ...], reverse: bool,
) -> tuple[Array, Array, Array, Array, Array] | None:
    """`kernels.recurrent.gru`, or None without a kernel."""
    found = _forward_for(3, data, hidden, w_ih, w_hh, b_ih, b_hh)
    if found is None or w_hh.shape[1] != hidden.shape[1]:
        return None
    gates = _projected(data, w_ih, b_ih)
    if gates is None:
        return None
    first, last = np.ascontiguousarray(hidden), np.empty(hidden.shape, hidden.dtype)
    outputs, before, shares = _rooms(3, data, hidden)
    kept = (outputs, before, before, shares)
    _run_forward(found, w_hh, gates, _States(first, first, last, last), b_hh, kept, sizes, reverse)
    return outputs, last, gates, before, shares


def _run_backward(
    tile: Tile, weight: Array, gates: Array, states: tuple[Array, Array, Array | None],
    kept: tuple[Array, Array], sizes: tuple[int, ...], reverse: bool,
) -> tuple[Array, Array] | None:
    """The gradients of the gates, as the inputs and as the states share in them."""
    kernel = _kernel("backward", tile)
    if not are_ready(kernel, _kernel("panels", tile, False, False)):
        return None
    address = kernel.address()
    packed = _packed_straight(weight, tile)
    if address is None or packed is None:
        return None
    panels, panel_count = packed
    for_outputs, for_hidden, for_cell = states
    before, cells = kept
    wanted: Array = new_array(gates.shape, gates.dtype, gates.size)
    for_recurrent = wanted if tile.vectors == 4 else new_array(
        gates.shape, gates.dtype, gates.size)
    starts, counts = _steps(sizes, not reverse)
    sequences, units = for_hidden.shape
    kernel.run(address, (
        address_of(gates), address_of(panels), address_of(for_outputs), address_of(for_hidden),
        0 if for_cell is None else address_of(for_cell), address_of(before), address_of(cells),
        address_of(wanted), address_of(for_recurrent), address_of(starts), address_of(counts),
        len(counts), units, -(-units // tile.lanes), panel_count,
    ), -(-sequences // tile.rows), _grain(tile, sequences, units, len(counts)))
    return wanted, for_recurrent


def lstm_gradient(
    grads: tuple[Array, Array, Array], data: Array, w_ih: Array, w_hh: Array, gates: Array,
    before: Array, cells_before: Array, cells: Array, sizes: tuple[int, ...], reverse: bool,
) -> tuple[Array, ...] | None:
    """`kernels.recurrent.lstm_gradient`, or None without a kernel."""
    tile = _tile_for(4, data, w_ih, w_hh, gates, *grads)
    if tile is None:
        return None
    for_outputs = np.ascontiguousarray(grads[0])
    for_hidden, for_cell = grads[1].copy("C"), grads[2].copy("C")
    kept = np.ascontiguousarray(cells_before), np.ascontiguousarray(cells)
    found = _run_backward(tile, w_hh, np.ascontiguousarray(gates),
                          (for_outputs, for_hidden, for_cell), kept, sizes, reverse)
    if found is None:
        return None
    wanted = found[0]
    return (
        multiply(wanted, w_ih), for_hidden, for_cell, multiply(wanted.T, data),
        multiply(wanted.T, before), np.add.reduce(wanted, 0),
    )


def gru_gradient(
    grads: tuple[Array, Array], data: Array, w_ih: Array, w_hh: Array, gates: Array,
    before: Array, shares: Array, sizes: tuple[int, ...], reverse: bool,
) -> tuple[Array, ...] | None:
    """`kernels.recurrent.gru_gradient`, or None without a kernel."""
    tile = _tile_for(3, data, w_ih, w_hh, gates, *grads)
    if tile is None:
        return None
    for_outputs, for_hidden = np.ascontiguousarray(grads[0]), grads[1].copy("C")
    kept = np.ascontiguousarray(before), np.ascontiguousarray(shares)
    found = _run_backward(tile, w_hh, np.ascontiguousarray(gates),
                          (for_outputs, for_hidden, None), kept, sizes, reverse)
    if found is None:
        return None
    wanted, for_recurrent = found
    return (
        multiply(wanted, w_ih), for_hidden, multiply(wanted.T, data),
        multiply(for_recurrent.T, before), np.add.reduce(wanted, 0),
        np.add.reduce(for_recurrent, 0),
    )
