"""taper/ops/trigonometric.py: values and slopes from Python's math module."""

import math

import pytest

import taper as torch

CASES = [
    ("sin", 0.5, math.sin(0.5), math.cos(0.5)),
    ("cos", 0.5, math.cos(0.5), -math.sin(0.5)),
    ("tan", 0.5, math.tan(0.5), 1 / math.cos(0.5) ** 2),
    ("asin", 0.5, math.asin(0.5), 1 / math.sqrt(0.75)),
    ("acos", 0.5, math.acos(0.5), -1 / math.sqrt(0.75)),
    ("atan", 0.5, math.atan(0.5), 0.8),
    ("sinh", 0.5, math.sinh(0.5), math.cosh(0.5)),
    ("cosh", 0.5, math.cosh(0.5), math.sinh(0.5)),
    ("tanh", 0.5, math.tanh(0.5), 1 - math.tanh(0.5) ** 2),
    ("asinh", 0.5, math.asinh(0.5), 1 / math.sqrt(1.25)),
    ("acosh", 2.0, math.acosh(2), 1 / math.sqrt(3)),
    ("atanh", 0.5, math.atanh(0.5), 1 / 0.75),
    ("deg2rad", 180.0, math.pi, math.pi / 180),
    ("rad2deg", math.pi, 180.0, 180 / math.pi),
    ("sinc", 0.5, 2 / math.pi, -4 / math.pi),
]


@pytest.mark.parametrize(("name", "value", "result", "slope"), CASES)
def test_values_and_slopes(name, value, result, slope):
    x = torch.tensor([value], dtype=torch.float64, requires_grad=True)
    y = getattr(torch, name)(x)
    y.backward()
    assert y.item() == pytest.approx(result)
    assert x.grad.item() == pytest.approx(slope)


def test_long_names():
    for short in ("asin", "acos", "atan", "asinh", "acosh", "atanh", "atan2"):
        long = getattr(torch, "arc" + short[1:])
        assert long is not getattr(torch, short)  # as in PyTorch; who is told of a call sees which
        given = [torch.tensor(1.0)] * (2 if short == "atan2" else 1)
        assert long(*given).equal(getattr(torch, short)(*given))


def test_atan2_in_all_quadrants():
    y = torch.tensor([1.0, 1.0, -1.0, -1.0, 0.0], requires_grad=True)
    x = torch.tensor([1.0, -1.0, 1.0, -1.0, 0.0])
    angle = torch.atan2(y, x)
    angle.sum().backward()
    assert angle.tolist() == pytest.approx([math.pi * k / 4 for k in (1, 3, -1, -3, 0)])
    assert y.grad.tolist() == [0.5, -0.5, 0.5, -0.5, 0]


def test_sinc_at_zero():
    x = torch.tensor([0.0], requires_grad=True)
    y = torch.sinc(x)
    y.backward()
    assert (y.item(), x.grad.item()) == (1, 0)
    small = torch.tensor([6e-8, 1e-4], dtype=torch.float16, requires_grad=True)
    torch.sinc(small).sum().backward()  # whose squares vanish
    assert small.grad.tolist() == [0, 0]


def test_degrees_are_real():
    with pytest.raises(RuntimeError, match="deg2rad is not supported for complex tensors"):
        torch.deg2rad(torch.tensor([1j]))
