"""RNN, LSTM, GRU and their cells (values against PyTorch are in tests/oracle)."""

import math

import pytest

import taper as torch
from taper import nn
from taper.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def filled(module, value=0.5):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)
    return module


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_cells_compute_their_formulas():
    x, h, c = (torch.full((1, 1), v) for v in (2.0, 1.0, 3.0))
    gate = 0.5 * 2 + 0.5 + 0.5 * 1 + 0.5  # every gate of these weights
    assert filled(nn.RNNCell(1, 1))(x, h).item() == pytest.approx(math.tanh(gate))
    assert filled(nn.RNNCell(1, 1, nonlinearity="relu"))(x, h).item() == gate
    s = sigmoid(gate)
    cell = s * 3 + s * math.tanh(gate)
    hidden, new_cell = filled(nn.LSTMCell(1, 1))(x, (h, c))
    assert new_cell.item() == pytest.approx(cell)
    assert hidden.item() == pytest.approx(s * math.tanh(cell))
    new = math.tanh(1.5 + s * 1.0)
    assert filled(nn.GRUCell(1, 1))(x, h).item() == pytest.approx((1 - s) * new + s * 1.0)


def test_layers_run_their_cells():
    layer, cell = filled(nn.GRU(2, 3), 0.1), filled(nn.GRUCell(2, 3), 0.1)
    steps = torch.arange(8.0).reshape(4, 1, 2)
    output, state = layer(steps)
    hidden = None
    for time, step in enumerate(steps):
        hidden = cell(step, hidden)
        assert torch.allclose(output[time], hidden)
    assert torch.allclose(state[0], hidden)


def test_directions_and_layers():
    torch.manual_seed(0)
    layer = nn.LSTM(2, 3, num_layers=2, bidirectional=True, batch_first=True)
    output, (hidden, cell) = layer(torch.randn(4, 5, 2))
    assert (output.shape, hidden.shape, cell.shape) == ((4, 5, 6), (4, 4, 3), (4, 4, 3))
    assert torch.allclose(output[:, -1, :3], hidden[2])
    assert torch.allclose(output[:, 0, 3:], hidden[3])
    assert layer(torch.randn(5, 2))[0].shape == (5, 6)
    projected = nn.LSTM(2, 3, proj_size=1)
    output, (hidden, cell) = projected(torch.randn(5, 4, 2))
    assert (output.shape, hidden.shape, cell.shape) == ((5, 4, 1), (1, 4, 1), (1, 4, 3))


def test_packing_ignores_the_padding():
    torch.manual_seed(0)
    layer = nn.GRU(2, 3, bidirectional=True)
    x = torch.randn(5, 2, 2)
    packed, state = layer(pack_padded_sequence(x, [3, 5], enforce_sorted=False))
    output, lengths = pad_packed_sequence(packed)
    assert lengths.tolist() == [3, 5]
    alone, alone_state = layer(x[:3, :1])
    assert torch.allclose(output[:3, :1], alone, atol=1e-6)
    assert torch.allclose(state[:, :1], alone_state, atol=1e-6)
    assert output[3:, 0].abs().sum().item() == 0.0


def test_gradients_reach_every_weight():
    layer = nn.LSTM(2, 3, 2, bidirectional=True)
    output, (hidden, cell) = layer(torch.randn(4, 1, 2))
    (output.sum() + hidden.sum() + cell.sum()).backward()
    assert all(weight.grad is not None for weight in layer.parameters())
