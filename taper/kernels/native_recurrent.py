"""The native twins of kernels/recurrent.py: layers of recurrent networks, and their gradients.

All steps are one kernel, see recurrent_kernels.py in compiler/. Where the weights stay in the
second cache, it does everything; else what all elements share, the products with the inputs and
the weights' gradients, are matrix products (matrix_product.py), which fetch weights less often.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from taper.compiler.machine import vector_bytes
from taper.compiler.recurrent_cells import CELLS
from taper.compiler.recurrent_kernels import (
    BACKWARD_WORDS,
    FORWARD_WORDS,
    LINE,
    PANELS_WORDS,
    TOTALS_WORDS,
    recurrent_tile,
    weight_tile,
)
from taper.kernels import matrix_product, native_matrix_product
from taper.kernels.matrix_product import multiply
from taper.kernels.native import Kernel
from taper.kernels.native_twin import are_ready
from taper.runtime.large_arrays import new_array
from taper.runtime.planned_calls import constant, replayed, scratch

__all__ = [
    "Pass", "Work", "backward_pass", "forward_pass", "gru", "gru_gradient", "kernel_of", "lstm",
    "lstm_gradient", "rnn", "rnn_gradient", "steps_of",
]

Array = np.ndarray[Any, Any]

_KINDS = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}
_GRAIN = 1 << 18  # multiplications that are worth a thread of their own: 3 us
_GRAIN_OF_COPIES = 1 << 14  # elements
_IN_CACHE = 5 << 18  # bytes of weights that stay in the second cache, with what else is there
_FEWEST = 4  # sequences for which the inputs' products aren't better off as one of all steps
_FEWEST_TO_SUM = 8  # … and the weights' gradients
_ELEMENTS_TO_SUM = 128  # of a task, so that its sums are worth their memory
_MOST_TASKS = 16
_CHUNK = 128  # elements from which weights get their gradients at a time
_BEYOND = 64  # elements that a tile may read behind its rows


class Work(NamedTuple):
    """A launch: the kernel's name and details, the words after its arrays, tasks and grain."""

    kernel: tuple[Any, ...]
    words: tuple[int, ...]
    tasks: int
    grain: int


class Pass(NamedTuple):
    """What sizes determine of a pass.

    Attributes:
        is_whole: whether it takes care of the inputs and the weights' gradients, too.
        scratch: elements of memory for one call.
        totals: sums of the parts of the weights' gradients: inputs, states, biases.
    """

    is_whole: bool
    scratch: int
    panels: Work
    steps: Work
    totals: tuple[Work, ...] = ()

    @property
    def kernels(self) -> list[Kernel]:
        return [kernel_of(*work.kernel) for work in (self.panels, self.steps, *self.totals)]


@cache
def kernel_of(name: str, *details: Any) -> Kernel:
    """A kernel of compiler/recurrent_kernels.py; `details` are its arguments but the width."""
    words = {
        "forward": FORWARD_WORDS, "backward": BACKWARD_WORDS, "forward_panels": PANELS_WORDS,
        "backward_panels": PANELS_WORDS, "totals": TOTALS_WORDS,
    }[name]

    def build() -> tuple[str, str]:
        from taper.compiler import machine, recurrent_kernels

        return getattr(recurrent_kernels, name)(name, machine.vector_bytes(), *details), name

    return Kernel(build, len(words))


@lru_cache(maxsize=256)
def steps_of(sizes: tuple[int, ...], last_first: bool) -> tuple[Array, Array]:
    """Where each step's elements begin, and how many there are, in the order of the steps."""
    counts = np.array(sizes, np.int64)
    starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)[:-1]))
    if last_first:
        counts, starts = counts[::-1], starts[::-1]
    return np.ascontiguousarray(starts), np.ascontiguousarray(counts)


# -- plans -----------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def forward_pass(
    kind: str, dtype: Any, sizes: tuple[int, ...], features: int, units: int
) -> Pass:
    """The launches of all steps of a layer of cells of a kind; see FORWARD_WORDS."""
    cell, sequences = CELLS[kind], sizes[0]
    tile = recurrent_tile(_KINDS[dtype], vector_bytes(), sequences)
    gates = cell.gates * units
    is_whole = (features + units) * gates * dtype.itemsize <= _IN_CACHE and (
        sequences >= _FEWEST or len(sizes) == 1)
    if not is_whole:
        features = 0
    width = tile.lanes * tile.vectors
    panels, blocks = -(-gates // width), -(-sequences // tile.rows)
    recurrent = panels * width * features
    shares = recurrent + panels * width * units
    return Pass(
        is_whole, shares + blocks * tile.rows * gates * cell.shares,
        Work(("forward_panels", tile), (features, units, gates, recurrent, panels),
             panels, max(1, _GRAIN_OF_COPIES // (width * (features + units)))),
        Work(("forward", tile, kind),
             (len(sizes), units, features, sequences, recurrent, shares),
             blocks, _grain(tile.rows * gates * (features + units) * len(sizes))))


@lru_cache(maxsize=256)
def backward_pass(
    kind: str, dtype: Any, sizes: tuple[int, ...], features: int, units: int
) -> Pass:
    """The launches of a layer's gradients; see BACKWARD_WORDS. What tasks there are depends on
    sizes only, so sums are the same for any number of threads."""
    cell, sequences, elements = CELLS[kind], sizes[0], sum(sizes)
    own, width = _KINDS[dtype], vector_bytes()
    tile, weights = recurrent_tile(own, width, sequences), weight_tile(own, width)
    gates = cell.gates * units
    is_whole = (features + units) * gates * dtype.itemsize <= _IN_CACHE and (
        sequences >= _FEWEST_TO_SUM and elements >= 2 * _ELEMENTS_TO_SUM)
    across = tile.lanes * tile.vectors
    blocks = -(-sequences // tile.rows)
    at_once, chunk, part = 1, len(sizes), 0
    biases = 2 if cell.shares else 1
    if is_whole:
        at_once = -(-blocks // max(1, min(_MOST_TASKS, elements // _ELEMENTS_TO_SUM)))
        chunk = min(chunk, max(1, _CHUNK // tile.rows))
        part = gates * (features + units + biases)
    else:
        features = 0
    tasks = -(-blocks // at_once)
    recurrent = -(-features // across) * across * gates
    own_wanted = recurrent + -(-units // across) * across * gates
    kept = tasks * chunk * tile.rows * gates + _BEYOND if is_whole else 0
    own_recurrent = own_wanted + kept
    parts = own_recurrent + kept * cell.shares
    totals = []
    if tasks > 1 and is_whole:
        place = parts
        for size in (gates * features, gates * units, *[gates] * biases):
            totals.append(Work(("totals", own), (place, part, tasks - 1, size),
                               -(-size // tile.lanes), _GRAIN_OF_COPIES // tile.lanes))
            place += size
    lines = -(-gates // LINE)
    return Pass(
        is_whole, parts + (tasks - 1) * part,
        Work(("backward_panels", tile), (features, units, gates, recurrent, lines),
             lines, max(1, _GRAIN_OF_COPIES // (LINE * (features + units)))),
        Work(("backward", tile, weights, kind),
             (len(sizes), units, features, sequences, recurrent, chunk, own_wanted, own_recurrent,
              parts, part, at_once, is_whole),
             tasks, _grain(at_once * tile.rows * gates * (features + units) * len(sizes))),
        tuple(totals))


def _grain(multiplications: int) -> int:
    """How many tasks are worth a thread: one, unless they are very little work."""
    return max(1, _GRAIN // multiplications)


# -- running them ----------------------------------------------------------------------------------


def _have_kernels(*arrays: Array | None) -> bool:
    """Whether there are kernels for arrays of these dtypes."""
    first: Any = arrays[0]
    return first.dtype in _KINDS and all(
        a is None or (a.dtype is first.dtype and a.size > 0) for a in arrays)


def _launch(work: Work, arrays: Any) -> None:
    kernel = kernel_of(*work.kernel)
    kernel.launch(kernel.address() or 0, arrays, work.words, work.tasks, work.grain)


def _packed(found: Pass, w_ih: Array, w_hh: Array) -> Array:
    """The memory of one call, in which the packed weights are."""
    own: Array = scratch(new_array((found.scratch,), w_hh.dtype, found.scratch))
    _launch(found.panels, (np.ascontiguousarray(w_ih), np.ascontiguousarray(w_hh), own))
    return own


def _rooms(count: int, data: Array, width: int) -> Any:
    """Arrays with a row for each element."""
    shape = len(data), width
    return tuple(new_array(shape, data.dtype, shape[0] * shape[1]) for _ in range(count))


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
def _layer(kind: str, reverse: bool, sizes: tuple[int, ...]) -> tuple[Any, ...]:
    """What isn't an array, always as the same tuple: plans tell arguments apart by identity."""
    return kind, reverse, *sizes


def _forward(
    data: Array, hidden: Array, cell: Array, w_ih: Array, w_hh: Array, b_ih: Array | None,
    b_hh: Array | None, layer: tuple[Any, ...],
) -> tuple[Array, ...] | None:
    """All steps of a layer; None without kernels. `cell` is the hidden state again where there is
    no other."""
    kind, reverse, *rest = layer
    sizes, units = tuple(rest), w_hh.shape[1]
    states = (hidden, cell) if kind == "lstm" else (hidden,)
    if not _have_kernels(data, *states, w_ih, w_hh, b_ih, b_hh) or hidden.shape[1] != units:
        return None
    found = forward_pass(kind, data.dtype, sizes, data.shape[1], units)
    if not are_ready(*found.kernels):
        return None
    gates = _rooms(1, data, len(w_hh))[0] if found.is_whole else _projected(data, w_ih, b_ih)
    if gates is None:
        return None
    zeros = constant(_zeros(len(w_hh), data.dtype))
    biases = [zeros if b is None else np.ascontiguousarray(b) for b in (b_ih, b_hh)]
    first = [np.ascontiguousarray(s) for s in states]
    last = [np.empty(s.shape, s.dtype) for s in states]
    own = _packed(found, w_ih, w_hh)

    def run(outputs: Array, before: Array, cells_before: Array, cells: Array) -> None:
        _launch(found.steps, (
            np.ascontiguousarray(data), gates, own, first[0], first[-1], last[0], last[-1], outputs,
            before, cells_before, cells, *biases, *map(constant, steps_of(sizes, reverse))))

    if kind == "lstm":
        kept = _rooms(4, data, units)
        run(*kept)
        return kept[0], *last, gates, *kept[1:]
    if kind == "gru":
        outputs, before, shares = _rooms(3, data, units)
        run(outputs, before, before, shares)
        return outputs, *last, gates, before, shares
    before, = _rooms(1, data, units)
    run(gates, before, before, before)
    return gates, *last, before


def _backward(
    for_outputs: Array, for_hidden: Array, for_cell: Array, data: Array, w_ih: Array, w_hh: Array,
    gates: Array, before: Array, cells_before: Array, cells: Array, layer: tuple[Any, ...],
) -> tuple[Array, ...] | None:
    """The gradients of data, states, weights and biases; None without kernels."""
    kind, reverse, *rest = layer
    sizes = tuple(rest)
    found = backward_pass(kind, data.dtype, sizes, data.shape[1], w_hh.shape[1])
    if not are_ready(*found.kernels):
        return None
    first = [np.ascontiguousarray(g)
             for g in ((for_hidden, for_cell) if kind == "lstm" else (for_hidden,))]
    kept = [np.ascontiguousarray(a) for a in (before, cells_before, cells, for_outputs)]
    states = [np.empty(g.shape, g.dtype) for g in first]
    own = _packed(found, w_ih, w_hh)
    biases = 2 if CELLS[kind].shares else 1

    def run(wanted: Array, for_recurrent: Array, *results: Array) -> None:
        _launch(found.steps, (
            np.ascontiguousarray(data), np.ascontiguousarray(gates), own, *kept, first[0],
            first[-1], states[0], states[-1], wanted, for_recurrent, *results,
            *map(constant, steps_of(sizes, not reverse))))

    if found.is_whole:
        rest_of = [*_rooms(1, data, data.shape[1]),
                   *[new_array(w.shape, w.dtype, w.size) for w in (w_ih, w_hh)],
                   *[np.empty(len(w_hh), data.dtype) for _ in range(biases)]]
        run(own, own, *rest_of[:4], rest_of[-1])
        for work, result in zip(found.totals, rest_of[1:], strict=False):
            _launch(work, (result, own))
        return rest_of[0], *states, *rest_of[1:]
    both = _rooms(biases, data, gates.shape[1])
    run(both[0], both[-1], *[both[0]] * 5)
    return (
        multiply(both[0], w_ih), *states, multiply(both[0].T, data), multiply(both[-1].T, before),
        *[np.add.reduce(wanted, 0) for wanted in both])


# -- the twins -------------------------------------------------------------------------------------

_forward_again, _backward_again = replayed(_forward), replayed(_backward)


def _run_forward(kind: str, args: tuple[Any, ...], sizes: Any, reverse: bool) -> Any:
    """`_forward`, launched again where matrix products are launches, too."""
    run: Any = _forward_again if vector_bytes() >= 32 else _forward
    return run(*args, _layer(kind, reverse, tuple(sizes)))


def _run_backward(kind: str, args: tuple[Any, ...], sizes: Any, reverse: bool) -> Any:
    """`_backward`, launched again where it does nothing but launches."""
    if not _have_kernels(*args):
        return None
    sizes = tuple(sizes)
    data, w_hh = args[3], args[5]
    found = backward_pass(kind, data.dtype, sizes, data.shape[1], w_hh.shape[1])
    run: Any = _backward_again if found.is_whole else _backward
    return run(*args, _layer(kind, reverse, sizes))


def lstm(
    data: Array, hidden: Array, cell: Array, w_ih: Array, w_hh: Array, b_ih: Array | None,
    b_hh: Array | None, sizes: tuple[int, ...], reverse: bool,
) -> tuple[Array, Array, Array, Array, Array, Array, Array] | None:
    """`kernels.recurrent.lstm`, or None without a kernel."""
    return _run_forward("lstm", (data, hidden, cell, w_ih, w_hh, b_ih, b_hh), sizes, reverse)


def lstm_gradient(
    grads: tuple[Array, Array, Array], data: Array, w_ih: Array, w_hh: Array, gates: Array,
    before: Array, cells_before: Array, cells: Array, sizes: tuple[int, ...], reverse: bool,
) -> tuple[Array, ...] | None:
    """`kernels.recurrent.lstm_gradient`, or None without a kernel."""
    args = *grads, data, w_ih, w_hh, gates, before, cells_before, cells
    return _run_backward("lstm", args, sizes, reverse)


def gru(
    data: Array, hidden: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None,
    sizes: tuple[int, ...], reverse: bool,
) -> tuple[Array, Array, Array, Array, Array] | None:
    """`kernels.recurrent.gru`, or None without a kernel."""
    return _run_forward("gru", (data, hidden, hidden, w_ih, w_hh, b_ih, b_hh), sizes, reverse)


def gru_gradient(
    grads: tuple[Array, Array], data: Array, w_ih: Array, w_hh: Array, gates: Array,
    before: Array, shares: Array, sizes: tuple[int, ...], reverse: bool,
) -> tuple[Array, ...] | None:
    """`kernels.recurrent.gru_gradient`, or None without a kernel."""
    args = *grads, grads[1], data, w_ih, w_hh, gates, before, before, shares
    return _run_backward("gru", args, sizes, reverse)


def rnn(
    data: Array, hidden: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None,
    sizes: tuple[int, ...], reverse: bool, relu: bool,
) -> tuple[Array, Array, Array] | None:
    """`kernels.recurrent.rnn`, or None without a kernel."""
    args = data, hidden, hidden, w_ih, w_hh, b_ih, b_hh
    return _run_forward("relu" if relu else "tanh", args, sizes, reverse)


def rnn_gradient(
    grads: tuple[Array, Array], data: Array, w_ih: Array, w_hh: Array, outputs: Array,
    before: Array, sizes: tuple[int, ...], reverse: bool, relu: bool,
) -> tuple[Array, ...] | None:
    """`kernels.recurrent.rnn_gradient`, or None without a kernel."""
    args = *grads, grads[1], data, w_ih, w_hh, outputs, before, before, before
    return _run_backward("relu" if relu else "tanh", args, sizes, reverse)
