"""What layers of recurrent networks launch: all steps, and all gradients, for sizes.

All steps are one kernel, see recurrent_kernels.py and recurrent_gradients.py in compiler/. Where
the weights stay in the second cache, it does everything ("whole"); else what all elements share,
the products with the inputs and the weights' gradients, are better off as matrix products, which
fetch weights less often, and the recipe is for the rest.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from taper.compiler import recurrent_gradients, recurrent_kernels
from taper.compiler.machine import vector_bytes
from taper.compiler.recurrent_cells import CELLS
from taper.compiler.recurrent_code import recurrent_tile, weight_tile
from taper.compiler.recurrent_gradients import BACKWARD_ARRAYS
from taper.compiler.recurrent_kernels import FORWARD_ARRAYS, LINE
from taper.compiler.tile_code import SIZE
from taper.kernels.launch_recipes import Recipe, Stage
from taper.kernels.native import kernels_by_name

__all__ = ["Layer", "backward_recipe", "forward_recipe", "sums_weights", "takes_inputs"]

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]
Layer = tuple[str, str, Ints, int, int]
"""The kind of cells ("lstm", "gru", "tanh", "relu"), the kernels' dtype, the numbers of sequences
that have each step, features and units."""

_GRAIN = 1 << 18  # multiplications that are worth a thread of their own: 3 us
_GRAIN_OF_COPIES = 1 << 14  # elements
_IN_CACHE = 5 << 18  # bytes of weights that stay in the second cache, with what else is there
_FEWEST = 4  # sequences for which the inputs' products aren't better off as one of all steps
_FEWEST_TO_SUM = 8  # … and the weights' gradients
_ELEMENTS_TO_SUM = 128  # of a task, so that its sums are worth their memory
_MOST_TASKS = 16
_CHUNK = 128  # elements from which weights get their gradients at a time
_BEYOND = 64  # elements that a tile may read behind its rows

_STATES = {"lstm": ("hidden", "cell")}  # others have hidden ones only
_KEPT = {"lstm": ("gates", "before", "cells_before", "cells"), "gru": ("gates", "before", "cells")}
# Arrays that a cell has no use for are others of its own.
_FORWARD_NAMES: dict[str, dict[str, str]] = {
    "lstm": {},
    "gru": {"cells_before": "before", "first_cell": "first_hidden", "cell": "hidden"},
    "tanh": {"gates": "result", "cells": "before", "cells_before": "before",
             "first_cell": "first_hidden", "cell": "hidden"},
}
_BACKWARD_NAMES = {
    "lstm": {"for_recurrent": "wanted", "for_bias_recurrent": "for_bias"},
    "gru": {"cells_before": "before", "first_for_cell": "first_for_hidden",
            "for_cell": "for_hidden"},
    "tanh": {"cells": "before", "cells_before": "before", "for_recurrent": "wanted",
             "for_bias_recurrent": "for_bias", "first_for_cell": "first_for_hidden",
             "for_cell": "for_hidden"},
}
for _names in (_FORWARD_NAMES, _BACKWARD_NAMES):
    _names["relu"] = _names["tanh"]


_kernel = kernels_by_name({
    "forward_panels": (recurrent_kernels.forward_panels, recurrent_kernels.PANELS_WORDS),
    "backward_panels": (recurrent_kernels.backward_panels, recurrent_kernels.PANELS_WORDS),
    "forward": (recurrent_kernels.forward, recurrent_kernels.FORWARD_WORDS),
    "backward": (recurrent_gradients.backward, recurrent_gradients.BACKWARD_WORDS),
    "totals": (recurrent_gradients.totals, recurrent_gradients.TOTALS_WORDS),
})


@lru_cache(maxsize=256)
def _steps(sizes: Ints, last_first: bool) -> tuple[Array, Array]:
    """Where each step's elements begin, and how many there are, in the order of the steps."""
    counts = np.array(sizes, np.int64)
    starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)[:-1]))
    if last_first:
        counts, starts = counts[::-1], starts[::-1]
    return np.ascontiguousarray(starts), np.ascontiguousarray(counts)


def _named(label: str, names: dict[str, Any]) -> Any:
    """What a recipe calls an array of a kernel."""
    while isinstance(label, str) and label in names:
        label = names[label]
    return label


def _grain(multiplications: int) -> int:
    """How many tasks are worth a thread: one, unless they are very little work."""
    return max(1, _GRAIN // multiplications)


def _fits(layer: Layer) -> bool:
    kind, own, _, features, units = layer
    return (features + units) * CELLS[kind].gates * units * SIZE[own] <= _IN_CACHE


# -- forward ---------------------------------------------------------------------------------------


def takes_inputs(layer: Layer) -> bool:
    """Whether the kernel of all steps multiplies the inputs, too."""
    sizes = layer[2]
    return _fits(layer) and (sizes[0] >= _FEWEST or len(sizes) == 1)


@lru_cache(maxsize=512)
def forward_recipe(layer: Layer, reverse: bool, biases: tuple[bool, bool]) -> Recipe:
    """All steps of a layer: outputs, last states, and what the gradient needs.

    Operands are the data, the first states, both weights, and the biases there are; unless it
    `takes_inputs`, the inputs' share of the gates, the states, the recurrent weight and its bias.
    """
    kind, own, sizes, features, units = layer
    cell, sequences = CELLS[kind], sizes[0]
    is_whole = takes_inputs(layer)
    tile = recurrent_tile(own, vector_bytes(), sequences)
    gates = cell.gates * units
    width = tile.lanes * tile.vectors
    depth = features if is_whole else 0
    panels, blocks = -(-gates // width), -(-sequences // tile.rows)
    recurrent = panels * width * depth
    shares = recurrent + panels * width * units
    states = _STATES.get(kind, ("hidden",))
    kept = _KEPT.get(kind, ("before",))
    shapes = {"gates": (sum(sizes), gates), **dict.fromkeys(states, (sequences, units))}
    starts, counts = _steps(sizes, reverse)
    zeros = np.zeros(gates, np.dtype(f"f{SIZE[own]}"))
    named: dict[str, Any] = {
        "scratch": 0, "starts": starts, "sizes": counts, "outputs": "result",
        **_FORWARD_NAMES[kind],
    }
    if is_whole:
        named["given"] = "data"
    else:
        named["data"] = "given"
    if not (is_whole and biases[0]):
        named["bias_inputs"] = zeros
    if not biases[1]:
        named["bias_recurrent"] = zeros
    first = ("data" if is_whole else "given", *[f"first_{s}" for s in states])
    weights = ("inputs", "recurrent") if is_whole else ("recurrent",)
    given = [name for name, is_there in zip(
        ("bias_inputs", "bias_recurrent"), (biases[0] and is_whole, biases[1]), strict=True)
        if is_there]
    return Recipe(
        (Stage(_kernel("forward_panels", tile), (weights[0], "recurrent", 0),
               (depth, units, gates, recurrent, panels), panels,
               max(1, _GRAIN_OF_COPIES // (width * (depth + units))), "panels of weights"),
         Stage(_kernel("forward", tile, kind),
               tuple([_named(name, named) for name in FORWARD_ARRAYS]),
               (len(sizes), units, depth, sequences, recurrent, shares), blocks,
               _grain(tile.rows * gates * (depth + units) * len(sizes)),
               f"{len(sizes)} steps of {sequences} x {units}")),
        (shares + blocks * tile.rows * gates * cell.shares,), (sum(sizes), units),
        (*first, *weights, *given),
        tuple([(name, shapes.get(name, (sum(sizes), units))) for name in (*states, *kept)]))


# -- backward --------------------------------------------------------------------------------------


def sums_weights(layer: Layer) -> bool:
    """Whether the kernel of all gradients sums those of the weights, too."""
    sizes = layer[2]
    return _fits(layer) and sizes[0] >= _FEWEST_TO_SUM and sum(sizes) >= 2 * _ELEMENTS_TO_SUM


@lru_cache(maxsize=512)
def backward_recipe(layer: Layer, reverse: bool) -> Recipe:
    """A layer's gradients: of data, states, weights and biases.

    Operands are the gradients of outputs and last states, the data, both weights, and what the
    forward pass kept; results the gradients of data, first states, weights, and biases. Unless it
    `sums_weights`, data and their weight aren't among them, and results are the gradients of the
    gates, of the states, and (GRU) of the states' shares of the gates. Which tasks there are
    depends on sizes only, so sums are the same for any number of threads.
    """
    kind, own, sizes, features, units = layer
    cell, sequences, elements = CELLS[kind], sizes[0], sum(sizes)
    tile = recurrent_tile(own, vector_bytes(), sequences)
    is_whole = sums_weights(layer)
    gates = cell.gates * units
    across = tile.lanes * tile.vectors
    blocks = -(-sequences // tile.rows)
    depth, at_once, chunk, part = 0, 1, len(sizes), 0
    biases = ("for_bias", "for_bias_recurrent")[: 1 + cell.shares]
    if is_whole:
        depth = features
        at_once = -(-blocks // min(_MOST_TASKS, elements // _ELEMENTS_TO_SUM))
        chunk = min(chunk, max(1, _CHUNK // tile.rows))
        part = gates * (features + units + len(biases))
    tasks = -(-blocks // at_once)
    recurrent = -(-depth // across) * across * gates
    own_wanted = recurrent + -(-units // across) * across * gates
    kept = tasks * chunk * tile.rows * gates + _BEYOND if is_whole else 0
    own_recurrent = own_wanted + kept
    parts = own_recurrent + kept * cell.shares
    states = _STATES.get(kind, ("hidden",))
    shapes: dict[str, Ints] = {
        **{f"for_{s}": (sequences, units) for s in states}, "for_inputs": (gates, features),
        "for_weight": (gates, units), **dict.fromkeys(biases, (gates,)),
        "for_recurrent": (elements, gates)}
    others = [f"for_{s}" for s in states]
    if is_whole:
        others += ["for_inputs", "for_weight", *biases]
    elif cell.shares:
        others.append("for_recurrent")
    starts, counts = _steps(sizes, not reverse)
    named: dict[str, Any] = {
        "scratch": 0, "starts": starts, "sizes": counts, **_BACKWARD_NAMES[kind]}
    if is_whole:
        named.update(wanted=0, for_recurrent=0, for_data="result")
    else:
        named.update(dict.fromkeys(
            ("wanted", "data", "for_data", "for_inputs", "for_weight", *biases), "result"))
    lines = -(-gates // LINE)
    weights = ("inputs", "recurrent") if is_whole else ("recurrent",)
    stages = [
        Stage(_kernel("backward_panels", tile), (weights[0], "recurrent", 0),
              (depth, units, gates, recurrent, lines), lines,
              max(1, _GRAIN_OF_COPIES // (LINE * (depth + units))), "panels of weights"),
        Stage(_kernel("backward", tile, weight_tile(own, vector_bytes()), kind),
              tuple([_named(name, named) for name in BACKWARD_ARRAYS]),
              (len(sizes), units, depth, sequences, recurrent, chunk, own_wanted, own_recurrent,
               parts, part, at_once, int(is_whole)), tasks,
              _grain(at_once * tile.rows * gates * (depth + units) * len(sizes)),
              f"{len(sizes)} steps of {sequences} x {units}"),
    ]
    if tasks > 1 and is_whole:
        place = parts
        for name in ("for_inputs", "for_weight", *biases):
            size = int(np.prod(shapes[name]))
            stages.append(Stage(
                _kernel("totals", own), (name, 0), (place, part, tasks - 1, size),
                -(-size // tile.lanes), _GRAIN_OF_COPIES // tile.lanes, f"sums of {name}"))
            place += size
    return Recipe(
        tuple(stages), (parts + (tasks - 1) * part,),
        (elements, features) if is_whole else (elements, gates),
        ("for_outputs", *[f"first_for_{s}" for s in states],
         *(("data",) if is_whole else ()), *weights,
         *_KEPT.get(kind, ("gates", "before"))),
        tuple([(name, shapes[name]) for name in others]))
