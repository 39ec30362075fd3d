"""taper/ops/rectifier.py: functions that are straight in parts, by hand, corners included."""

import pytest

import taper as torch

F = torch.nn.functional


def slopes(function, values):
    """The derivative at each of the values."""
    x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    function(x).sum().backward()
    return x.grad.tolist()


@pytest.mark.parametrize(
    ("function", "values", "results", "derivatives"),
    [
        (torch.relu, [-1.0, 0.0, 2.0], [0, 0, 2], [0, 0, 1]),
        (F.relu6, [-1.0, 0.0, 3.0, 6.0, 8.0], [0, 0, 3, 6, 6], [0, 0, 1, 0, 0]),
        (lambda x: F.leaky_relu(x, 0.5), [-2.0, 0.0, 2.0], [-1, 0, 2], [0.5, 0.5, 1]),
        (lambda x: F.threshold(x, 1.0, 9.0), [0.5, 1.0, 2.0], [9, 9, 2], [0, 0, 1]),
        (F.hardtanh, [-2.0, -1.0, 0.5, 1.0], [-1, -1, 0.5, 1], [0, 0, 1, 0]),
        (F.hardsigmoid, [-3.0, 0.0, 1.5, 3.0], [0, 0.5, 0.75, 1], [0, 1 / 6, 1 / 6, 0]),
        (F.hardswish, [-4.0, 1.5, 4.0], [0, 1.125, 4], [0, 1, 1]),
        (F.hardshrink, [-0.5, 0.25, 0.75], [0, 0, 0.75], [0, 0, 1]),
        (F.softshrink, [-1.5, 0.25, 0.75], [-1, 0, 0.25], [1, 0, 1]),
    ],
)
def test_values_and_slopes(function, values, results, derivatives):
    assert function(torch.tensor(values)).tolist() == pytest.approx(results)
    assert slopes(function, values) == pytest.approx(derivatives)


def test_nan_passes_through():
    nan = torch.tensor(float("nan"))
    for function in (torch.relu, F.relu6, F.leaky_relu, F.hardtanh, F.hardshrink, F.softshrink):
        assert function(nan).isnan()


def test_prelu_has_a_slope_for_each_channel():
    x = torch.tensor([[-1.0, -1.0], [2.0, -3.0]], requires_grad=True)
    weight = torch.tensor([0.5, 2.0], requires_grad=True)
    F.prelu(x, weight).sum().backward()
    assert F.prelu(x, weight).tolist() == [[-0.5, -2.0], [2.0, -6.0]]
    assert x.grad.tolist() == [[0.5, 2.0], [1.0, 2.0]]
    assert weight.grad.tolist() == [-1.0, -4.0]
    with pytest.raises(RuntimeError, match="Mismatch of parameter numbers and input channel size"):
        F.prelu(x, torch.ones(3))


def test_rrelu_draws_slopes_when_training():
    x = torch.full((200,), -1.0)
    assert F.rrelu(x, 0.2, 0.4).tolist() == pytest.approx([-0.3] * 200)
    drawn = -F.rrelu(x, 0.2, 0.4, training=True)
    assert 0.2 <= drawn.min() < 0.25 and 0.35 < drawn.max() <= 0.4


def test_in_place():
    x = torch.tensor([-1.0, 2.0])
    assert F.relu(x, inplace=True) is x
    assert x.tolist() == [0.0, 2.0]
    assert F.leaky_relu_(torch.tensor([-1.0]), 0.1).tolist() == pytest.approx([-0.1])


def test_kinds():
    assert torch.relu(torch.tensor([-1, 2])).tolist() == [0, 2]
    with pytest.raises(RuntimeError, match="Boolean inputs not supported for relu"):
        torch.relu(torch.tensor([True]))
    with pytest.raises(NotImplementedError, match="clamp is not supported for complex types"):
        torch.relu(torch.tensor([1j]))
