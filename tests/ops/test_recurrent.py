import math

import numpy as np
import pytest

import taper as torch
from taper.autograd import gradcheck, gradgradcheck
from taper.kernels import recurrent


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_cells_by_hand():
    one = torch.ones(1, 1)
    h, c = torch.lstm_cell(one, (one, one), torch.ones(4, 1), torch.zeros(4, 1))
    cell = sigmoid(1) + sigmoid(1) * math.tanh(1)
    assert c.item() == pytest.approx(cell)
    assert h.item() == pytest.approx(sigmoid(1) * math.tanh(cell))
    h = torch.gru_cell(one, one, torch.ones(3, 1), torch.ones(3, 1))
    z, n = sigmoid(2), math.tanh(1 + sigmoid(2))
    assert h.item() == pytest.approx((1 - z) * n + z)
    assert torch.rnn_tanh_cell(one, one, one, one).item() == pytest.approx(math.tanh(2))
    assert torch.rnn_relu_cell(one, one, one, -3 * one).item() == 0


@pytest.mark.parametrize(("kind", "gates"), [("lstm", 4), ("gru", 3), ("rnn_tanh", 1)])
def test_derivatives(kind, gates):
    weights = [random(gates * 2, 3), random(gates * 2, 2), random(gates * 2), random(gates * 2)]
    states = [random(1, 2, 2) for _ in range(1 + (kind == "lstm"))]

    def run(x, *rest):
        hx = rest[: len(states)] if kind == "lstm" else rest[0]
        network = getattr(torch, kind)
        return network(x, hx, rest[len(states) :], True, 1, 0.0, False, False, False)

    inputs = (random(3, 2, 3), *states, *weights)
    assert gradcheck(run, inputs)
    assert gradgradcheck(lambda *args: run(*args)[0], inputs)


def test_directions_layers_and_batch_first():
    x, h = random(2, 3, 2), torch.zeros(4, 2, 2, dtype=torch.float64)
    sizes = [(2, 2), (2, 2)] * 2 + [(2, 4), (2, 2)] * 2
    weights = [random(*s) for s in sizes]
    y, last = torch.rnn_tanh(x, h, weights, False, 2, 0.0, False, True, True)
    assert y.shape == (2, 3, 4)
    assert torch.allclose(last[2], y[:, -1, :2])  # forward ends at the last element
    assert torch.allclose(last[3], y[:, 0, 2:])  # backward at the first


def test_packed_sequences_are_independent():
    weights = [random(6, 2), random(6, 2)]
    long, short = random(3, 2), random(1, 2)
    data = torch.cat([long[:1], short, long[1:]])
    h = torch.zeros(2, 2, 2, dtype=torch.float64)
    y, last = torch.gru(
        data, torch.tensor([2, 1, 1]), h, weights * 2, False, 1, 0.0, False, True
    )
    alone, _ = torch.gru(
        short[:, None], h[:, :1], weights * 2, False, 1, 0.0, False, True, False
    )
    assert torch.allclose(y[1], alone[0, 0])
    assert torch.allclose(last[:, 1].flatten(), alone.flatten())


def test_errors():
    with pytest.raises(RuntimeError, match="input has inconsistent input_size: got 2 expected 3"):
        torch.gru_cell(
            torch.ones(1, 2), torch.ones(1, 1), torch.ones(3, 3), torch.ones(3, 1)
        )


def test_gates_of_one_unit_and_gates_that_are_nearly_closed():
    gate = np.array([[0.0, 1.0], [0.0, -20.0]], np.float32)
    recurrent.sigmoid(gate[:, 1:])  # a column, in place
    assert np.allclose(gate[:, 1], [0.7310586, 2.0611537e-9], rtol=1e-6, atol=0)
