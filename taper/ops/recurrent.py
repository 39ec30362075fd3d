"""Recurrent networks: lstm, gru, rnn_tanh, rnn_relu and their cells.

A layer in one direction is one operator (kernels/recurrent.py). Written on Tensors, below, each is
also what second derivatives and projected LSTMs run through.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.arrays.symbolic_shape import array_of
from taper.core.dtype import from_numpy_dtype
from taper.core.promotion import scalar_type_name
from taper.core.state import is_differentiated
from taper.core.tensor import Tensor, wrap
from taper.kernels import recurrent as kernel
from taper.ops.declare import composite, operator
from taper.ops.namespace import find
from taper.ops.recomputation import gradients_by_running

Sizes = tuple[int, ...]


def _whole(grads: Any, shapes: Any, dtype: Any) -> tuple[Any, ...]:
    """Arrays of gradients, zeros for those that nobody needed."""
    return tuple([
        array_of(np.zeros, shape, dtype) if g is None
        else g._array if g._array.flags.c_contiguous else g._array.copy()
        for g, shape in zip(grads, shapes, strict=True)
    ])


def _check_inexact(data: Any) -> None:
    """Raises for what has no tanh in its own dtype."""
    if data.dtype.kind == "b":
        raise NotImplementedError("\"addmm_impl_cpu_\" not implemented for 'Bool'")
    if data.dtype.kind in "iu":
        name = scalar_type_name(from_numpy_dtype(data.dtype))
        raise RuntimeError(f"result type Float can't be cast to the desired output type {name}")


def _chosen(arrays: Any, needs: Any) -> tuple[Tensor | None, ...]:
    return tuple([wrap(a) if need else None for a, need in zip(arrays, needs, strict=True)])


def _is_plain(*tensors: Tensor | None) -> bool:
    """Whether the kernels can compute with these dtypes as they are."""
    return all(
        t is None or (t._array.dtype.itemsize > 2 and t._array.dtype.kind != "c") for t in tensors
    )


# -- long short-term memory ------------------------------------------------------------------------


@operator(
    hidden=True, outputs=3, upcast=True, aux=("gates", "before", "cells_before", "cells"),
    node="MkldnnRnnLayerBackward0",
)
def lstm_layer(
    data: Tensor, hidden: Tensor, cell: Tensor, w_ih: Tensor, w_hh: Tensor,
    b_ih: Tensor | None, b_hh: Tensor | None, sizes: Any, reverse: bool,
) -> Any:
    _check_inexact(data)
    return kernel.lstm(data, hidden, cell, w_ih, w_hh, b_ih, b_hh, sizes, reverse)


@lstm_layer.derivative("data", "hidden", "cell", "w_ih", "w_hh", "b_ih", "b_hh")
def _(grads, data, hidden, cell, w_ih, w_hh, b_ih, b_hh, gates, before, cells_before, cells,
      needs, sizes, reverse):
    if is_differentiated() or not _is_plain(data):
        return gradients_by_running(
            lambda *inputs: _lstm_on_tensors(*inputs, None, sizes, reverse),
            (data, hidden, cell, w_ih, w_hh, b_ih, b_hh), tuple(grads), needs,
        )
    shapes = (before._array.shape, hidden._array.shape, cell._array.shape)
    found = kernel.lstm_gradient(
        _whole(grads, shapes, data._array.dtype), data._array, w_ih._array, w_hh._array,
        gates._array, before._array, cells_before._array, cells._array, sizes, reverse,
    )
    return _chosen((*found, found[-1]), needs)


def _steps(data: Tensor, sizes: Sizes, reverse: bool) -> Any:
    for n, rows in kernel.steps(sizes, reverse):
        yield n, data[rows.start : rows.stop]


def _joined(outputs: list[Tensor], reverse: bool) -> Tensor:
    return find("cat")(outputs[::-1] if reverse else outputs)


def _updated(state: Tensor, new: Tensor, n: int) -> Tensor:
    """The states with those of the first `n` sequences replaced."""
    return new if n == state._array.shape[0] else find("cat")([new, state[n:]])


def _lstm_on_tensors(
    data: Tensor, hidden: Tensor, cell: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any, b_hh: Any,
    w_hr: Any, sizes: Sizes, reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    linear = find("nn.functional.linear")
    outputs = []
    for n, x in _steps(linear(data, w_ih, b_ih), sizes, reverse):
        gates = x + linear(hidden[:n], w_hh, b_hh)
        i, f, g, o = gates.chunk(4, 1)
        new = f.sigmoid() * cell[:n] + i.sigmoid() * g.tanh()
        out = o.sigmoid() * new.tanh()
        if w_hr is not None:
            out = linear(out, w_hr)
        cell, hidden = _updated(cell, new, n), _updated(hidden, out, n)
        outputs.append(out)
    return _joined(outputs, reverse), hidden, cell


# -- gated recurrent units -----------------------------------------------------------------------


@operator(
    hidden=True, outputs=2, upcast=True, aux=("gates", "before", "shares"),
    node="GruLayerBackward0",
)
def gru_layer(
    data: Tensor, hidden: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None,
    b_hh: Tensor | None, sizes: Any, reverse: bool,
) -> Any:
    _check_inexact(data)
    return kernel.gru(data, hidden, w_ih, w_hh, b_ih, b_hh, sizes, reverse)


@gru_layer.derivative("data", "hidden", "w_ih", "w_hh", "b_ih", "b_hh")
def _(grads, data, hidden, w_ih, w_hh, b_ih, b_hh, gates, before, shares, needs, sizes, reverse):
    if is_differentiated() or not _is_plain(data):
        return gradients_by_running(
            lambda *inputs: _gru_on_tensors(*inputs, sizes, reverse),
            (data, hidden, w_ih, w_hh, b_ih, b_hh), tuple(grads), needs,
        )
    shapes = (before._array.shape, hidden._array.shape)
    return _chosen(kernel.gru_gradient(
        _whole(grads, shapes, data._array.dtype), data._array, w_ih._array, w_hh._array,
        gates._array, before._array, shares._array, sizes, reverse,
    ), needs)


def _gru_on_tensors(
    data: Tensor, hidden: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any, b_hh: Any, sizes: Sizes,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    linear = find("nn.functional.linear")
    outputs = []
    for n, x in _steps(linear(data, w_ih, b_ih), sizes, reverse):
        state = hidden[:n]
        x_r, x_z, x_n = x.chunk(3, 1)
        h_r, h_z, h_n = linear(state, w_hh, b_hh).chunk(3, 1)
        new = (x_n + (x_r + h_r).sigmoid() * h_n).tanh()
        out = new + (x_z + h_z).sigmoid() * (state - new)
        hidden = _updated(hidden, out, n)
        outputs.append(out)
    return _joined(outputs, reverse), hidden


# -- Elman networks ------------------------------------------------------------------------------


@operator(hidden=True, outputs=2, upcast=True, aux=("before",), node="RnnLayerBackward0")
def rnn_layer(
    data: Tensor, hidden: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None,
    b_hh: Tensor | None, sizes: Any, reverse: bool, relu: bool,
) -> Any:
    if relu and data.dtype.kind == "c":
        raise NotImplementedError("clamp is not supported for complex types")
    if not relu or data.dtype.kind == "b":
        _check_inexact(data)
    return kernel.rnn(data, hidden, w_ih, w_hh, b_ih, b_hh, sizes, reverse, relu)


@rnn_layer.derivative("data", "hidden", "w_ih", "w_hh", "b_ih", "b_hh")
def _(grads, data, hidden, w_ih, w_hh, b_ih, b_hh, result0, before, needs, sizes, reverse, relu):
    if is_differentiated() or not _is_plain(data):
        return gradients_by_running(
            lambda *inputs: _rnn_on_tensors(*inputs, sizes, reverse, relu),
            (data, hidden, w_ih, w_hh, b_ih, b_hh), tuple(grads), needs,
        )
    shapes = (before._array.shape, hidden._array.shape)
    found = kernel.rnn_gradient(
        _whole(grads, shapes, data._array.dtype), data._array, w_ih._array, w_hh._array,
        result0._array, before._array, sizes, reverse, relu,
    )
    return _chosen((*found, found[-1]), needs)


def _rnn_on_tensors(
    data: Tensor, hidden: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any, b_hh: Any, sizes: Sizes,
    reverse: bool, relu: bool,
) -> tuple[Tensor, Tensor]:
    linear = find("nn.functional.linear")
    outputs = []
    for n, x in _steps(linear(data, w_ih, b_ih), sizes, reverse):
        total = x + linear(hidden[:n], w_hh, b_hh)
        out = total.clamp(min=0) if relu else total.tanh()
        hidden = _updated(hidden, out, n)
        outputs.append(out)
    return _joined(outputs, reverse), hidden


# -- several layers ------------------------------------------------------------------------------


def _weights(params: Any, layer: int, has_biases: bool, projects: bool) -> list[Any]:
    """w_ih, w_hh, b_ih, b_hh (and w_hr) of one layer in one direction."""
    each = (4 if has_biases else 2) + projects
    given = list(params[layer * each : (layer + 1) * each])
    if len(given) != each:
        raise RuntimeError(
            f"expected {each} weights for each layer and direction, but got {len(params)} weights"
        )
    w_hr = [given.pop()] if projects else []
    return [*given, *([] if has_biases else [None, None]), *w_hr]


def _run(
    kind: str, data: Tensor, sizes: Sizes, states: tuple[Tensor, ...], params: Any,
    has_biases: bool, num_layers: int, dropout: float, train: bool, bidirectional: bool,
) -> tuple[Tensor, ...]:
    """All layers; returns the outputs and the stacked last states."""
    directions = 2 if bidirectional else 1
    each = 4 if has_biases else 2
    projects = kind == "lstm" and len(params) == (each + 1) * num_layers * directions
    last: list[list[Tensor]] = [[] for _ in states]
    for layer in range(num_layers):
        outputs = []
        for direction in range(directions):
            place = layer * directions + direction
            weights = _weights(params, place, has_biases, projects)
            initial = [s[place] for s in states]
            reverse = direction == 1
            if projects:
                found = _lstm_on_tensors(data, *initial, *weights, sizes, reverse)
            elif kind == "lstm":
                found = lstm_layer(data, *initial, *weights, sizes, reverse)
            elif kind == "gru":
                found = gru_layer(data, *initial, *weights, sizes, reverse)
            else:
                found = rnn_layer(data, *initial, *weights, sizes, reverse, kind == "rnn_relu")
            outputs.append(found[0])
            for held, state in zip(last, found[1:], strict=True):
                held.append(state)
        data = outputs[0] if directions == 1 else find("cat")(outputs, 1)
        if dropout and train and layer < num_layers - 1:
            data = find("nn.functional.dropout")(data, dropout, True)
    stack = find("stack")
    return (data, *[stack(held) for held in last])


def _check_states(input: Tensor, states: tuple[Tensor, ...], batch: int) -> None:
    for state in states:
        if state._array.ndim != 3 or state._array.shape[1] != batch:
            raise RuntimeError(
                f"Expected hidden size (layers * directions, {batch}, hidden), got "
                f"{list(state._array.shape)}"
            )
        if state._array.dtype != input._array.dtype:
            raise ValueError(
                "RNN input dtype and hidden state dtype must be the same: "
                f"{input.dtype} and {state.dtype}"
            )


def _network(kind: str, input: Tensor, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Reads the arguments of one of the two forms: padded sequences, or packed ones."""
    packed = ("data", "batch_sizes", "hx", "params", "has_biases", "num_layers", "dropout",
              "train", "bidirectional")
    padded = ("input", "hx", "params", "has_biases", "num_layers", "dropout", "train",
              "bidirectional", "batch_first")
    second = args[0] if args else named.get("batch_sizes")
    # Batch sizes are whole numbers in one dimension, states never are.
    is_packed = isinstance(second, Tensor) and (
        second._array.ndim == 1 and second._array.dtype.kind == "i"
    )
    names = packed if is_packed else padded
    given = dict(zip(names, (input, *args), strict=False)) | named
    missing = [n for n in names if n not in given]
    if missing:
        raise TypeError(f"{kind}() missing required arguments: {', '.join(map(repr, missing))}")
    data = given[names[0]]
    states = tuple(given["hx"]) if kind == "lstm" else (given["hx"],)
    options = [given[n] for n in (
        "params", "has_biases", "num_layers", "dropout", "train", "bidirectional")]
    if is_packed:
        sizes = tuple(given["batch_sizes"]._array.tolist())
        return _run(kind, data, sizes, states, *options)
    if data._array.ndim != 3:
        raise RuntimeError(
            f"{kind}: Expected input to be 3-D but got {data._array.ndim}-D tensor"
        )
    if given["batch_first"]:
        data = data.transpose(0, 1)
    time, batch, features = data._array.shape
    _check_states(data, states, batch)
    outputs, *last = _run(
        kind, data.reshape(time * batch, features), (batch,) * time, states, *options
    )
    outputs = outputs.view(time, batch, outputs._array.shape[1])
    return (outputs.transpose(0, 1) if given["batch_first"] else outputs, *last)


@composite()
def lstm(input: Tensor, *args: Any, **named: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Runs a network of long short-term memories; what nn.LSTM calls.

    Takes (input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first),
    or packed sequences as (data, batch_sizes, hx, params, …, bidirectional). Returns the outputs,
    the last hidden states and the last cell states.
    Shape:    input (L, N, I), hx two of (layers * directions, N, H) → (L, N, directions * H)
    Source:   Hochreiter and Schmidhuber, Long Short-Term Memory, 1997.
    Example:
        >>> import taper as torch
        >>> params, h = [torch.ones(4, 1), torch.ones(4, 1)], torch.zeros(1, 1, 1)
        >>> torch.lstm(torch.ones(2, 1, 1), (h, h), params, False, 1, 0., False, False, False)[0][1]
        tensor([[0.6505]])
    """
    return _network("lstm", input, args, named)


@composite()
def gru(input: Tensor, *args: Any, **named: Any) -> tuple[Tensor, Tensor]:
    """Runs a network of gated recurrent units; `lstm` explains the arguments; hx is one tensor.

    Shape:    input (L, N, I), hx (layers * directions, N, H) → (L, N, directions * H)
    Example:
        >>> import taper as torch
        >>> params, h = [torch.ones(3, 1), torch.ones(3, 1)], torch.zeros(1, 1, 1)
        >>> torch.gru(torch.ones(2, 1, 1), h, params, False, 1, 0., False, False, False)[0][1]
        tensor([[0.3468]])
    """
    return _network("gru", input, args, named)


@composite()
def rnn_tanh(input: Tensor, *args: Any, **named: Any) -> tuple[Tensor, Tensor]:
    """Runs an Elman network with tanh; `lstm` explains the arguments; hx is one tensor.

    Shape:    input (L, N, I), hx (layers * directions, N, H) → (L, N, directions * H)
    Example:
        >>> import taper as torch
        >>> params, h = [torch.ones(1, 1), torch.ones(1, 1)], torch.zeros(1, 1, 1)
        >>> torch.rnn_tanh(torch.ones(2, 1, 1), h, params, False, 1, 0., False, False, False)[0][1]
        tensor([[0.9427]])
    """
    return _network("rnn_tanh", input, args, named)


@composite()
def rnn_relu(input: Tensor, *args: Any, **named: Any) -> tuple[Tensor, Tensor]:
    """Runs an Elman network with relu; `lstm` explains the arguments; hx is one tensor.

    Shape:    input (L, N, I), hx (layers * directions, N, H) → (L, N, directions * H)
    Example:
        >>> import taper as torch
        >>> params, h = [torch.ones(1, 1), torch.ones(1, 1)], torch.zeros(1, 1, 1)
        >>> torch.rnn_relu(torch.ones(2, 1, 1), h, params, False, 1, 0., False, False, False)[0][1]
        tensor([[2.]])
    """
    return _network("rnn_relu", input, args, named)


# -- single steps --------------------------------------------------------------------------------


def _check_cell(input: Tensor, states: Any, w_ih: Tensor, w_hh: Tensor, gates: int) -> None:
    expected = w_ih._array.shape[1]
    if input._array.shape[-1] != expected:
        raise RuntimeError(
            f"input has inconsistent input_size: got {input._array.shape[-1]} expected {expected}"
        )
    hidden = w_hh._array.shape[1]
    for number, state in enumerate(states):
        if state._array.shape[0] != input._array.shape[0]:
            raise RuntimeError(
                f"Input batch size {input._array.shape[0]} doesn't match hidden{number} batch size "
                f"{state._array.shape[0]}"
            )
        if state._array.shape[1] != hidden:
            raise RuntimeError(
                f"hidden{number} has inconsistent hidden_size: got {state._array.shape[1]}, "
                f"expected {hidden}"
            )


@composite()
def lstm_cell(
    input: Tensor, hx: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One step of a long short-term memory: the new hidden state and cell state.

    Shape:    input (N, I), hx two of (N, H), w_ih (4 H, I), w_hh (4 H, H); gates i, f, g, o
    Example:
        >>> import taper as torch
        >>> h = torch.zeros(1, 1)
        >>> torch.lstm_cell(torch.ones(1, 1), (h, h), torch.ones(4, 1), torch.ones(4, 1))
        (tensor([[0.3696]]), tensor([[0.5568]]))
    """
    hidden, cell = hx
    _check_cell(input, (hidden, cell), w_ih, w_hh, 4)
    found = lstm_layer(
        input, hidden, cell, w_ih, w_hh, b_ih, b_hh, (input._array.shape[0],), False
    )
    return found[1], found[2]


@composite()
def gru_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """One step of a gated recurrent unit: the new hidden state.

    Shape:    input (N, I), hx (N, H), w_ih (3 H, I), w_hh (3 H, H); gates r, z, n
    Example:
        >>> import taper as torch
        >>> torch.gru_cell(torch.ones(1, 1), torch.zeros(1, 1), torch.ones(3, 1), torch.ones(3, 1))
        tensor([[0.2048]])
    """
    _check_cell(input, (hx,), w_ih, w_hh, 3)
    return gru_layer(
        input, hx, w_ih, w_hh, b_ih, b_hh, (input._array.shape[0],), False
    )[1]


@composite()
def rnn_tanh_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """One step of an Elman network with tanh.  Shape: input (N, I), hx (N, H), w_ih (H, I).

    Example:
        >>> import taper as torch
        >>> x = torch.ones(1, 1)
        >>> torch.rnn_tanh_cell(x, x, x, x)
        tensor([[0.9640]])
    """
    _check_cell(input, (hx,), w_ih, w_hh, 1)
    return rnn_layer(
        input, hx, w_ih, w_hh, b_ih, b_hh, (input._array.shape[0],), False, False
    )[1]


@composite()
def rnn_relu_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """One step of an Elman network with relu.  Shape: input (N, I), hx (N, H), w_ih (H, I).

    Example:
        >>> import taper as torch
        >>> x = torch.ones(1, 1)
        >>> torch.rnn_relu_cell(x, x, x, x)
        tensor([[2.]])
    """
    _check_cell(input, (hx,), w_ih, w_hh, 1)
    return rnn_layer(
        input, hx, w_ih, w_hh, b_ih, b_hh, (input._array.shape[0],), False, True
    )[1]
