"""The native twins of kernels/recurrent.py: recipes for sizes (recurrent_recipes.py), run."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.kernels.launch_recipes import run
from taper.kernels.matrix_product import affine, multiply
from taper.kernels.native import FLOAT_KINDS
from taper.kernels.recurrent_recipes import (
    Layer,
    backward_recipe,
    forward_recipe,
    sums_weights,
    takes_inputs,
)

__all__ = ["gru", "gru_gradient", "lstm", "lstm_gradient", "rnn", "rnn_gradient"]

Array = np.ndarray[Any, Any]



def _layer(
    kind: str, sizes: tuple[int, ...], data: Array, w_hh: Array, *others: Array | None
) -> Layer | None:
    """The layer of these arrays, if there are kernels for them."""
    dtype = data.dtype
    for a in (data, w_hh, *others):
        if a is not None and (a.dtype != dtype or not a.size):
            return None
    own = FLOAT_KINDS.get(dtype)
    return None if own is None else (kind, own, tuple(sizes), data.shape[1], w_hh.shape[1])


def _run_forward(
    kind: str, data: Array, states: tuple[Array, ...], w_ih: Array, w_hh: Array,
    b_ih: Array | None, b_hh: Array | None, sizes: tuple[int, ...], reverse: bool,
) -> Any:
    """The results of `forward_recipe`; None without kernels."""
    layer = _layer(kind, sizes, data, w_hh, *states, w_ih, b_ih, b_hh)
    if layer is None or states[0].shape[1] != w_hh.shape[1]:
        return None
    recipe = forward_recipe(layer, reverse, (b_ih is not None, b_hh is not None))
    biases: list[Array | None]
    if takes_inputs(layer):
        first, weights, biases = data, [w_ih, w_hh], [b_ih, b_hh]
    else:
        first = multiply(data, w_ih.T) if b_ih is None else affine(data, w_ih.T, b_ih)
        weights, biases = [w_hh], [b_hh]
    operands = (first, *states, *weights, *[b for b in biases if b is not None])
    return run(recipe, *map(np.ascontiguousarray, operands))


def _run_backward(
    kind: str, grads: tuple[Array, ...], data: Array, w_ih: Array, w_hh: Array,
    kept: tuple[Array, ...], before: Array, sizes: tuple[int, ...], reverse: bool,
) -> Any:
    """The gradients of data, states, weights and biases; None without kernels."""
    layer = _layer(kind, sizes, data, w_hh, *grads, w_ih)
    if layer is None:
        return None
    is_whole = sums_weights(layer)
    operands = (*grads, data, w_ih, w_hh, *kept) if is_whole else (*grads, w_hh, *kept)
    found = run(backward_recipe(layer, reverse), *map(np.ascontiguousarray, operands))
    if is_whole or found is None:
        return found
    wanted, *states = found
    for_recurrent = states.pop() if kind == "gru" else wanted
    biases = [np.add.reduce(wanted, 0)]
    if for_recurrent is not wanted:
        biases.append(np.add.reduce(for_recurrent, 0))
    return (multiply(wanted, w_ih), *states, multiply(wanted.T, data),
            multiply(for_recurrent.T, before), *biases)


def lstm(
    data: Array, hidden: Array, cell: Array, w_ih: Array, w_hh: Array, b_ih: Array | None,
    b_hh: Array | None, sizes: tuple[int, ...], reverse: bool,
) -> tuple[Array, Array, Array, Array, Array, Array, Array] | None:
    """`kernels.recurrent.lstm`, or None without a kernel."""
    return _run_forward("lstm", data, (hidden, cell), w_ih, w_hh, b_ih, b_hh, sizes, reverse)


def lstm_gradient(
    grads: tuple[Array, Array, Array], data: Array, w_ih: Array, w_hh: Array, gates: Array,
    before: Array, cells_before: Array, cells: Array, sizes: tuple[int, ...], reverse: bool,
) -> tuple[Array, ...] | None:
    """`kernels.recurrent.lstm_gradient`, or None without a kernel."""
    kept = gates, before, cells_before, cells
    return _run_backward("lstm", grads, data, w_ih, w_hh, kept, before, sizes, reverse)


def gru(
    data: Array, hidden: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None,
    sizes: tuple[int, ...], reverse: bool,
) -> tuple[Array, Array, Array, Array, Array] | None:
    """`kernels.recurrent.gru`, or None without a kernel."""
    return _run_forward("gru", data, (hidden,), w_ih, w_hh, b_ih, b_hh, sizes, reverse)


def gru_gradient(
    grads: tuple[Array, Array], data: Array, w_ih: Array, w_hh: Array, gates: Array,
    before: Array, shares: Array, sizes: tuple[int, ...], reverse: bool,
) -> tuple[Array, ...] | None:
    """`kernels.recurrent.gru_gradient`, or None without a kernel."""
    kept = gates, before, shares
    return _run_backward("gru", grads, data, w_ih, w_hh, kept, before, sizes, reverse)


def rnn(
    data: Array, hidden: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None,
    sizes: tuple[int, ...], reverse: bool, relu: bool,
) -> tuple[Array, Array, Array] | None:
    """`kernels.recurrent.rnn`, or None without a kernel."""
    kind = "relu" if relu else "tanh"
    return _run_forward(kind, data, (hidden,), w_ih, w_hh, b_ih, b_hh, sizes, reverse)


def rnn_gradient(
    grads: tuple[Array, Array], data: Array, w_ih: Array, w_hh: Array, outputs: Array,
    before: Array, sizes: tuple[int, ...], reverse: bool, relu: bool,
) -> tuple[Array, ...] | None:
    """`kernels.recurrent.rnn_gradient`, or None without a kernel."""
    kind = "relu" if relu else "tanh"
    kept = outputs, before
    return _run_backward(kind, grads, data, w_ih, w_hh, kept, before, sizes, reverse)
