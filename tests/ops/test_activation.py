"""taper/ops/activation.py and rectifier.py: values and slopes by hand, through the math module."""

import math

import pytest

import taper as torch

F = torch.nn.functional


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def phi(x):
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def density(x):
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


CASES = [
    ("relu", {}, -1.0, 0, 0),
    ("relu", {}, 2.0, 2, 1),
    ("relu", {}, 0.0, 0, 0),
    ("relu6", {}, 7.0, 6, 0),
    ("relu6", {}, 3.0, 3, 1),
    ("leaky_relu", {"negative_slope": 0.1}, -2.0, -0.2, 0.1),
    ("elu", {"alpha": 2}, -1.0, 2 * math.expm1(-1), 2 * math.exp(-1)),
    ("selu", {}, 1.0, 1.0507009873554805, 1.0507009873554805),
    ("celu", {"alpha": 2}, -1.0, 2 * math.expm1(-0.5), math.exp(-0.5)),
    ("gelu", {}, 0.5, 0.5 * phi(0.5), phi(0.5) + 0.5 * density(0.5)),
    ("silu", {}, 0.5, 0.5 * sigmoid(0.5), sigmoid(0.5) * (1 + 0.5 * (1 - sigmoid(0.5)))),
    ("mish", {}, 0.0, 0, 0.6),
    ("hardtanh", {}, 1.5, 1, 0),
    ("hardtanh", {"min_val": -2.0, "max_val": 2.0}, 1.5, 1.5, 1),
    ("hardsigmoid", {}, 0.0, 0.5, 1 / 6),
    ("hardswish", {}, 1.5, 1.5 * 4.5 / 6, 1),
    ("hardshrink", {}, 0.4, 0, 0),
    ("hardshrink", {}, 0.6, 0.6, 1),
    ("softshrink", {}, -2.0, -1.5, 1),
    ("softplus", {"beta": 2}, 0.5, math.log(1 + math.e) / 2, sigmoid(1)),
    ("softplus", {}, 30.0, 30, 1),
    ("logsigmoid", {}, 0.5, math.log(sigmoid(0.5)), 1 - sigmoid(0.5)),
    ("softsign", {}, 3.0, 0.75, 1 / 16),
    ("tanhshrink", {}, 1.0, 1 - math.tanh(1), math.tanh(1) ** 2),
    ("threshold", {"threshold": 1, "value": 20}, 0.5, 20, 0),
]


@pytest.mark.parametrize(("name", "arguments", "value", "result", "slope"), CASES)
def test_values_and_slopes(name, arguments, value, result, slope):
    x = torch.tensor([value], dtype=torch.float64, requires_grad=True)
    y = getattr(F, name)(x, **arguments)
    y.backward()
    assert y.item() == pytest.approx(result, abs=1e-12)
    assert x.grad.item() == pytest.approx(slope, rel=1e-7)


@pytest.mark.parametrize("name", ["relu", "silu", "elu", "hardswish", "leaky_relu", "mish"])
def test_in_place(name):
    x = torch.tensor([-1.0, 2.0])
    expected = getattr(F, name)(x).tolist()
    assert getattr(F, name)(x, inplace=True) is x
    assert x.tolist() == expected


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_twice_differentiated(approximate):
    step = 1e-5
    slopes = []
    for value in (0.7 - step, 0.7 + step, 0.7):
        x = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(F.gelu(x, approximate=approximate), x, create_graph=True)
        slopes.append(slope)
    (bend,) = torch.autograd.grad(slopes[2], x)
    assert bend.item() == pytest.approx((slopes[1] - slopes[0]).item() / (2 * step), rel=1e-6)


def test_infinite_gradients_stop_at_relu():
    x = torch.tensor([-1.0], requires_grad=True)
    F.relu(x).backward(torch.tensor([float("inf")]))
    assert x.grad.tolist() == [0]


def test_prelu_has_one_weight_or_one_per_channel():
    x = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    weight = torch.tensor([0.5, 0.25], requires_grad=True)
    y = F.prelu(x, weight)
    y.sum().backward()
    assert y.tolist() == [[-0.5, -0.5]]
    assert x.grad.tolist() == [[0.5, 0.25]]
    assert weight.grad.tolist() == [-1, -2]
    with pytest.raises(RuntimeError, match="Mismatch of parameter numbers and input channel size"):
        F.prelu(torch.ones(1, 3), weight)


def test_rrelu_draws_slopes_when_training():
    x = torch.full((1000,), -1.0)
    y = F.rrelu(x, 0.25, 0.75, training=True)
    assert -0.75 <= y.min().item() < y.max().item() <= -0.25
    assert F.rrelu(x, 0.25, 0.75)[0].item() == -0.5
    with pytest.raises(RuntimeError, match="Lower bound should be less than or equal"):
        F.rrelu(x, 2, 1)


def test_glu():
    x = torch.tensor([[2.0, 4.0, 0.0, 0.0]], requires_grad=True)
    y = F.glu(x)
    y.sum().backward()
    assert y.tolist() == [[1, 2]]
    assert x.grad.tolist() == [[0.5, 0.5, 0.5, 1]]
    with pytest.raises(RuntimeError, match="Halving dimension must be even, but dimension 0 is"):
        F.glu(torch.ones(3))


def test_what_is_refused():
    with pytest.raises(RuntimeError, match="Boolean inputs not supported for relu"):
        torch.relu(torch.tensor([True]))
    with pytest.raises(ValueError, match="min_val cannot be greater than max_val"):
        F.hardtanh(torch.ones(1), 1, -1)
    with pytest.raises(RuntimeError, match="approximate argument must be either none or tanh"):
        F.gelu(torch.ones(1), approximate="x")
    with pytest.raises(RuntimeError, match="ZeroDivisionError: alpha cannot be 0 for CELU"):
        F.celu(torch.ones(1), 0)
    with pytest.raises(RuntimeError, match="lambda must be in range"):
        F.softshrink(torch.ones(1), -1)
    with pytest.raises(NotImplementedError, match="\"silu_cpu\" not implemented for 'Long'"):
        F.silu(torch.tensor([1]))


@pytest.mark.parametrize("name", ["relu", "hardtanh", "leaky_relu", "hardshrink", "softshrink"])
def test_slopes_of_straight_pieces_have_zero_slope(name):
    """They stay connected to the input: asking for the second derivative is no error."""
    x = torch.tensor([-1.5, 0.25, 2.0], requires_grad=True)
    (slope,) = torch.autograd.grad(
        getattr(torch.nn.functional, name)(x).sum(), x, create_graph=True
    )
    (second,) = torch.autograd.grad(slope.sum(), x)
    assert second.tolist() == [0.0, 0.0, 0.0]
