"""taper/ops/power.py: powers, roots and lengths."""

import math

import pytest

import taper as torch


@pytest.mark.parametrize("exponent", [-2, -1, -0.5, 0, 0.5, 1, 2, 3, 2.5])
def test_powers_with_number_exponents_and_their_slopes(exponent):
    x = torch.tensor([4.0, 0.25], dtype=torch.float64, requires_grad=True)
    y = x**exponent
    y.sum().backward()
    assert y.tolist() == pytest.approx([4.0**exponent, 0.25**exponent])
    slopes = [exponent * v ** (exponent - 1) for v in (4.0, 0.25)]
    assert x.grad.tolist() == pytest.approx(slopes)
    assert y.grad_fn.name() == "PowBackward0"


def test_second_derivative():
    x = torch.tensor(3.0, requires_grad=True)
    (slope,) = torch.autograd.grad(x**3, x, create_graph=True)
    slope.backward()
    assert (slope.item(), x.grad.item()) == (27, 18)


def test_integers():
    x = torch.tensor([2, -1, 3])
    assert (x**2).tolist() == [4, 1, 9]
    assert (x**2).dtype is torch.int64
    assert (2**x.abs()).tolist() == [4, 2, 8]
    assert (x**0.5).dtype is torch.float32
    with pytest.raises(RuntimeError, match="Integers to negative integer powers are not allowed"):
        x**-1
    assert torch.pow(x, torch.tensor([-1, -3, -2])).tolist() == [0, -1, 0]


def test_tensor_exponents():
    x = torch.tensor([2.0, 0.0], requires_grad=True)
    p = torch.tensor([3.0, 2.0], requires_grad=True)
    torch.pow(x, p).sum().backward()
    assert x.grad.tolist() == [12, 0]
    assert p.grad.tolist() == pytest.approx([8 * math.log(2), 0])
    q = torch.tensor([3.0], requires_grad=True)
    y = 2**q
    y.backward()
    assert y.grad_fn.name() == "PowBackward2"
    assert q.grad.item() == pytest.approx(8 * math.log(2))


def test_float_power_computes_in_double():
    assert torch.float_power(torch.tensor([2]), 3).dtype is torch.float64
    with pytest.raises(RuntimeError, match="the base given to float_power_ has dtype Float"):
        torch.ones(1).float_power_(2)


def test_two_numbers_are_refused():
    with pytest.raises(TypeError, match=r"pow\(\) received an invalid combination"):
        torch.pow(2, 3)


def test_roots():
    x = torch.tensor([4.0], requires_grad=True)
    y = x.sqrt() + x.rsqrt()
    y.backward()
    assert y.item() == 2.5
    assert x.grad.item() == 0.25 - 0.0625
    assert math.isnan(torch.sqrt(torch.tensor(-1.0)).item())


def test_square_of_bools_is_integer():
    assert torch.square(torch.tensor([True])).dtype is torch.int64


def test_hypot():
    x = torch.tensor([3.0], requires_grad=True)
    y = torch.hypot(x, torch.tensor([4.0]))
    y.backward()
    assert y.item() == 5
    assert x.grad.item() == pytest.approx(0.6)
