"""Layers of recurrent networks over packed sequences, and their gradients.

`data` is (elements, features): first the sequences' first elements, then those of all that are at
least two long … `sizes[t]` sequences, the longest first, have an element t. States are
(sequences, hidden). The inputs' share of the gates is one matrix product for all elements.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from taper.arrays.primitive import primitive
from taper.kernels.native_twin import with_native

__all__ = [
    "gru", "gru_gradient", "lstm", "lstm_gradient", "rnn", "rnn_gradient",
]

Array = np.ndarray[Any, Any]


def steps(sizes: tuple[int, ...], reverse: bool) -> Iterator[tuple[int, slice]]:
    """(number of sequences, slice of elements) of each time, last time first if `reverse`."""
    starts = [0]
    for n in sizes:
        starts.append(starts[-1] + n)
    times = range(len(sizes))
    for t in reversed(times) if reverse else times:
        yield sizes[t], slice(starts[t], starts[t + 1])


def sigmoid(x: Array) -> Array:
    """The logistic function, in place. Gates that are nearly closed keep their digits, which they
    would lose by way of tanh; where exp overflows, they are closed."""
    x *= x.dtype.type(-1)  # NumPy's negative is wrong in place on a column (2.4.6)
    np.exp(x, x)
    x += x.dtype.type(1)
    np.reciprocal(x, x)
    return x


def project(data: Array, weight: Array, *biases: Array | None) -> Array:
    """data @ weightᵀ plus the biases there are."""
    result = data.dot(weight.T)
    for bias in biases:
        if bias is not None:
            result += bias
    return result


def rows_like(data: Array, other: Array) -> Any:
    """The shape and dtype of a row for each element, as wide as those of `other`."""
    return (data.shape[0], other.shape[1]), data.dtype


_NATIVE = "taper.kernels.native_recurrent"
_WORTH_A_KERNEL = 1 << 17  # multiplications of states with the recurrent weight


def _is_large(data: Array, w_hh: Array) -> bool:
    return len(data) * w_hh.size >= _WORTH_A_KERNEL


def _check_weights(gates: int, hidden: Array, w_ih: Array, w_hh: Array, *biases: Any) -> None:
    """Raises where weights don't fit: kernels of machine code don't look at their sizes."""
    width = hidden.shape[1]
    rows = gates * width
    if w_ih.shape[0] != rows or w_hh.shape != (rows, width) or any([
            bias is not None and bias.shape != (rows,) for bias in biases]):
        raise RuntimeError("the weights of a recurrent layer don't fit its hidden state")


@primitive
@with_native(_NATIVE, lambda data, hidden, cell, w_ih, w_hh, *_: _is_large(data, w_hh))
def lstm(
    data: Array, hidden: Array, cell: Array, w_ih: Array, w_hh: Array, b_ih: Array | None,
    b_hh: Array | None, sizes: tuple[int, ...], reverse: bool,
) -> tuple[Array, Array, Array, Array, Array, Array, Array]:
    """Outputs, last hidden state, last cell state; then what the gradient needs: the gates, the
    hidden and cell states before each element, and the cell states after it."""
    gates = project(data, w_ih, b_ih, b_hh)
    width = hidden.shape[1]
    hidden, cell = hidden.copy(), cell.copy()
    outputs = np.empty((len(data), width), data.dtype)
    before, cells_before, cells = (np.empty_like(outputs) for _ in range(3))
    recurrent = w_hh.T
    for n, rows in steps(sizes, reverse):
        h, c, gate = hidden[:n], cell[:n], gates[rows]
        before[rows] = h
        cells_before[rows] = c
        gate += h.dot(recurrent)
        sigmoid(gate[:, : 2 * width])
        np.tanh(gate[:, 2 * width : 3 * width], gate[:, 2 * width : 3 * width])
        sigmoid(gate[:, 3 * width :])
        c *= gate[:, width : 2 * width]
        c += gate[:, :width] * gate[:, 2 * width : 3 * width]
        cells[rows] = c
        np.tanh(c, h)
        h *= gate[:, 3 * width :]
        outputs[rows] = h
    return outputs, hidden, cell, gates, before, cells_before, cells


@lstm.shapes
def _(
    data: Array, hidden: Array, cell: Array, w_ih: Array, w_hh: Array, b_ih: Array | None,
    b_hh: Array | None, sizes: tuple[int, ...], reverse: bool,
) -> Any:
    _check_weights(4, hidden, w_ih, w_hh, b_ih, b_hh)
    one = rows_like(data, hidden)
    return [
        one, (hidden.shape, hidden.dtype), (cell.shape, cell.dtype), rows_like(data, w_ih.T),
        one, one, one,
    ]


@primitive
@with_native(_NATIVE, lambda grads, data, w_ih, w_hh, *_: _is_large(data, w_hh))
def lstm_gradient(
    grads: tuple[Array, Array, Array], data: Array, w_ih: Array, w_hh: Array, gates: Array,
    before: Array, cells_before: Array, cells: Array, sizes: tuple[int, ...], reverse: bool,
) -> tuple[Array, ...]:
    """Gradients of data, hidden, cell, w_ih, w_hh and both biases (one array)."""
    for_outputs, for_hidden, for_cell = grads[0], grads[1].copy(), grads[2].copy()
    width = before.shape[1]
    wanted = np.empty_like(gates)
    for n, rows in reversed(list(steps(sizes, reverse))):
        gate, d = gates[rows], wanted[rows]
        i, f, g, o = (gate[:, k * width : (k + 1) * width] for k in range(4))
        dh, dc = for_hidden[:n], for_cell[:n]
        dh += for_outputs[rows]
        size = np.tanh(cells[rows])
        d[:, 3 * width :] = dh * size * o * (1 - o)
        dc += dh * o * (1 - size * size)
        d[:, :width] = dc * g * i * (1 - i)
        d[:, width : 2 * width] = dc * cells_before[rows] * f * (1 - f)
        d[:, 2 * width : 3 * width] = dc * i * (1 - g * g)
        dc *= f
        for_hidden[:n] = d.dot(w_hh)
    return (
        wanted.dot(w_ih), for_hidden, for_cell, wanted.T.dot(data), wanted.T.dot(before),
        np.add.reduce(wanted, 0),
    )


@lstm_gradient.shapes
def _(
    grads: tuple[Array, Array, Array], data: Array, w_ih: Array, w_hh: Array, *rest: Any
) -> Any:
    states = [(grad.shape, grad.dtype) for grad in grads[1:]]
    return [
        (data.shape, data.dtype), *states, (w_ih.shape, w_ih.dtype), (w_hh.shape, w_hh.dtype),
        (w_ih.shape[:1], w_ih.dtype),
    ]


@primitive
@with_native(_NATIVE, lambda data, hidden, w_ih, w_hh, *_: _is_large(data, w_hh))
def gru(
    data: Array, hidden: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None,
    sizes: tuple[int, ...], reverse: bool,
) -> tuple[Array, Array, Array, Array, Array]:
    """Outputs and last hidden state; then what the gradient needs: the gates r, z, n, the hidden
    states before each element, and their share of n's gate."""
    gates = project(data, w_ih, b_ih)
    width = hidden.shape[1]
    hidden = hidden.copy()
    outputs = np.empty((len(data), width), data.dtype)
    before, shares = np.empty_like(outputs), np.empty_like(outputs)
    recurrent = w_hh.T
    for n, rows in steps(sizes, reverse):
        h, gate = hidden[:n], gates[rows]
        before[rows] = h
        from_hidden = h.dot(recurrent)
        if b_hh is not None:
            from_hidden += b_hh
        gate[:, : 2 * width] += from_hidden[:, : 2 * width]
        sigmoid(gate[:, : 2 * width])
        share = from_hidden[:, 2 * width :]
        shares[rows] = share
        new = gate[:, 2 * width :]
        new += gate[:, :width] * share
        np.tanh(new, new)
        h -= new
        h *= gate[:, width : 2 * width]
        h += new
        outputs[rows] = h
    return outputs, hidden, gates, before, shares


@gru.shapes
def _(
    data: Array, hidden: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None,
    sizes: tuple[int, ...], reverse: bool,
) -> Any:
    _check_weights(3, hidden, w_ih, w_hh, b_ih, b_hh)
    one = rows_like(data, hidden)
    return [one, (hidden.shape, hidden.dtype), rows_like(data, w_ih.T), one, one]


@primitive
@with_native(_NATIVE, lambda grads, data, w_ih, w_hh, *_: _is_large(data, w_hh))
def gru_gradient(
    grads: tuple[Array, Array], data: Array, w_ih: Array, w_hh: Array, gates: Array,
    before: Array, shares: Array, sizes: tuple[int, ...], reverse: bool,
) -> tuple[Array, ...]:
    """Gradients of data, hidden, w_ih, w_hh, b_ih and b_hh."""
    for_outputs, for_hidden = grads[0], grads[1].copy()
    width = before.shape[1]
    wanted = np.empty_like(gates)
    for_recurrent = np.empty_like(gates)
    for n, rows in reversed(list(steps(sizes, reverse))):
        gate, d, e = gates[rows], wanted[rows], for_recurrent[rows]
        r, z, new = (gate[:, k * width : (k + 1) * width] for k in range(3))
        dh = for_hidden[:n]
        dh += for_outputs[rows]
        d_new = dh * (1 - z) * (1 - new * new)
        d[:, :width] = d_new * shares[rows] * r * (1 - r)
        d[:, width : 2 * width] = dh * (before[rows] - new) * z * (1 - z)
        d[:, 2 * width :] = d_new
        e[:, : 2 * width] = d[:, : 2 * width]
        e[:, 2 * width :] = d_new * r
        dh *= z
        dh += e.dot(w_hh)
    return (
        wanted.dot(w_ih), for_hidden, wanted.T.dot(data), for_recurrent.T.dot(before),
        np.add.reduce(wanted, 0), np.add.reduce(for_recurrent, 0),
    )


@gru_gradient.shapes
def _(grads: tuple[Array, Array], data: Array, w_ih: Array, w_hh: Array, *rest: Any) -> Any:
    bias = (w_ih.shape[:1], w_ih.dtype)
    return [
        (data.shape, data.dtype), (grads[1].shape, grads[1].dtype), (w_ih.shape, w_ih.dtype),
        (w_hh.shape, w_hh.dtype), bias, bias,
    ]


@primitive
@with_native(_NATIVE, lambda data, hidden, w_ih, w_hh, *_: _is_large(data, w_hh))
def rnn(
    data: Array, hidden: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None,
    sizes: tuple[int, ...], reverse: bool, relu: bool,
) -> tuple[Array, Array, Array]:
    """Outputs and last hidden state; then the hidden states before each element."""
    outputs = project(data, w_ih, b_ih, b_hh)
    hidden = hidden.copy()
    before = np.empty_like(outputs)
    recurrent = w_hh.T
    for n, rows in steps(sizes, reverse):
        h, out = hidden[:n], outputs[rows]
        before[rows] = h
        out += h.dot(recurrent)
        if relu:
            np.maximum(out, 0, out=out)
        else:
            np.tanh(out, out)
        h[...] = out
    return outputs, hidden, before


@rnn.shapes
def _(
    data: Array, hidden: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None,
    sizes: tuple[int, ...], reverse: bool, relu: bool,
) -> Any:
    _check_weights(1, hidden, w_ih, w_hh, b_ih, b_hh)
    one = rows_like(data, hidden)
    return [one, (hidden.shape, hidden.dtype), one]


@primitive
@with_native(_NATIVE, lambda grads, data, w_ih, w_hh, *_: _is_large(data, w_hh))
def rnn_gradient(
    grads: tuple[Array, Array], data: Array, w_ih: Array, w_hh: Array, outputs: Array,
    before: Array, sizes: tuple[int, ...], reverse: bool, relu: bool,
) -> tuple[Array, ...]:
    """Gradients of data, hidden, w_ih, w_hh and both biases (one array)."""
    for_outputs, for_hidden = grads[0], grads[1].copy()
    wanted = np.empty_like(outputs)
    for n, rows in reversed(list(steps(sizes, reverse))):
        out, d = outputs[rows], wanted[rows]
        np.add(for_hidden[:n], for_outputs[rows], d)
        d *= (out > 0) if relu else (1 - out * out)
        for_hidden[:n] = d.dot(w_hh)
    return (
        wanted.dot(w_ih), for_hidden, wanted.T.dot(data), wanted.T.dot(before),
        np.add.reduce(wanted, 0),
    )


@rnn_gradient.shapes
def _(grads: tuple[Array, Array], data: Array, w_ih: Array, w_hh: Array, *rest: Any) -> Any:
    return [
        (data.shape, data.dtype), (grads[1].shape, grads[1].dtype), (w_ih.shape, w_ih.dtype),
        (w_hh.shape, w_hh.dtype), (w_ih.shape[:1], w_ih.dtype),
    ]
