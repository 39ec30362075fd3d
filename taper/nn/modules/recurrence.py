"""The steps of recurrent layers, and how a sequence is run through them.

A step takes what the input contributes to the gates, already computed for all times at once, and
the state. Sequences come as a list of the contributions at each time; in packed sequences their
number of rows falls from time to time, as the shorter sequences end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import taper
import taper.nn.functional as F
from taper import Tensor

__all__ = [
    "STEPS", "LayerWeights", "gru_step", "lstm_step", "rnn_relu_step", "rnn_tanh_step", "run",
]


class LayerWeights(NamedTuple):
    """The parameters of one layer in one direction."""

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None = None
    bias_hh: Tensor | None = None
    weight_hr: Tensor | None = None


State = tuple[Tensor, ...]


def rnn_tanh_step(gates: Tensor, state: State, weights: LayerWeights) -> State:
    r""":math:`h' = \tanh(W_{ih} x + b_{ih} + W_{hh} h + b_{hh})`."""
    return (taper.tanh(gates + F.linear(state[0], weights.weight_hh, weights.bias_hh)),)


def rnn_relu_step(gates: Tensor, state: State, weights: LayerWeights) -> State:
    """As `rnn_tanh_step`, with relu."""
    return (F.relu(gates + F.linear(state[0], weights.weight_hh, weights.bias_hh)),)


def lstm_step(gates: Tensor, state: State, weights: LayerWeights) -> State:
    r"""Input, forget, cell and output gates: :math:`c' = f c + i g`, :math:`h' = o \tanh(c')`."""
    hidden, cell = state
    gates = gates + F.linear(hidden, weights.weight_hh, weights.bias_hh)
    into, forget, candidate, out = gates.chunk(4, 1)
    cell = taper.sigmoid(forget) * cell + taper.sigmoid(into) * taper.tanh(candidate)
    hidden = taper.sigmoid(out) * taper.tanh(cell)
    if weights.weight_hr is not None:
        hidden = F.linear(hidden, weights.weight_hr)
    return hidden, cell


def gru_step(gates: Tensor, state: State, weights: LayerWeights) -> State:
    r"""Reset r, update z, new n: :math:`n = \tanh(x_n + r h_n)`, :math:`h' = n + z (h - n)`."""
    hidden = state[0]
    own = F.linear(hidden, weights.weight_hh, weights.bias_hh)
    input_reset, input_update, input_new = gates.chunk(3, 1)
    own_reset, own_update, own_new = own.chunk(3, 1)
    reset = taper.sigmoid(input_reset + own_reset)
    update = taper.sigmoid(input_update + own_update)
    new = taper.tanh(input_new + reset * own_new)
    return (new + update * (hidden - new),)


Step = Callable[[Tensor, State, LayerWeights], State]
STEPS: dict[str, Step] = {
    "RNN_TANH": rnn_tanh_step, "RNN_RELU": rnn_relu_step, "LSTM": lstm_step, "GRU": gru_step,
}


def run(
    step: Step, gates: Sequence[Tensor], state: State, weights: LayerWeights, backwards: bool
) -> tuple[list[Tensor], State]:
    """Runs one layer in one direction; returns the outputs by time and the final state.

    Args:
        gates: the input's contribution at each time, (rows, gates); rows never grow.
        state: the initial state, with as many rows as the first time.
    """
    outputs: list[Tensor] = [gates[0]] * len(gates)
    initial = state
    ended: list[State] = []
    times: Any = range(len(gates))
    if backwards:
        times = reversed(times)
        state = tuple(part[: len(gates[-1])] for part in initial)
    for time in times:
        rows, current = gates[time].size(0), state[0].size(0)
        if rows < current:
            ended.append(tuple(part[rows:] for part in state))
            state = tuple(part[:rows] for part in state)
        elif rows > current:
            state = tuple(
                taper.cat([part, first[current:rows]])
                for part, first in zip(state, initial, strict=True)
            )
        state = step(gates[time], state, weights)
        outputs[time] = state[0]
    if ended:
        parts = [state, *reversed(ended)]
        state = tuple(taper.cat(list(pieces)) for pieces in zip(*parts, strict=True))
    return outputs, state
