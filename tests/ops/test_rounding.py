"""taper/ops/rounding.py: whole numbers, decimals, parts of floating point numbers."""

import pytest

import taper as torch


def test_directions():
    x = torch.tensor([-1.5, -0.5, 0.5, 1.5, 2.5])
    assert torch.floor(x).tolist() == [-2, -1, 0, 1, 2]
    assert torch.ceil(x).tolist() == [-1, 0, 1, 2, 3]
    assert torch.trunc(x).tolist() == [-1, 0, 0, 1, 2]
    assert torch.round(x).tolist() == [-2, 0, 0, 2, 2]
    assert torch.frac(x).tolist() == [-0.5, -0.5, 0.5, 0.5, 0.5]


def test_decimals():
    assert torch.round(torch.tensor([2.567]), decimals=1).item() == pytest.approx(2.6)
    assert torch.round(torch.tensor([1234.0]), decimals=-2).item() == 1200
    with pytest.raises(NotImplementedError, match="\"round_cpu\" not implemented for 'Long'"):
        torch.round(torch.tensor([15]), decimals=-1)


def test_integers_are_copied():
    x = torch.tensor([1, 2])
    y = torch.floor(x)
    y[0] = 9
    assert x.tolist() == [1, 2]


def test_kinds_without_rounding():
    with pytest.raises(NotImplementedError, match="floor is not supported for complex inputs"):
        torch.floor(torch.tensor([1j]))
    with pytest.raises(NotImplementedError, match="\"ceil_vml_cpu\" not implemented for 'Bool'"):
        torch.ceil(torch.tensor([True]))


def test_gradients_are_zero_even_where_the_incoming_one_is_infinite():
    x = torch.tensor([1.5], requires_grad=True)
    x.floor().backward(torch.tensor([float("inf")]))
    assert x.grad.tolist() == [0]


def test_frexp_and_ldexp_are_inverse():
    x = torch.tensor([8.0, -3.0])
    parts = torch.frexp(x)
    assert parts.mantissa.tolist() == [0.5, -0.75]
    assert parts.exponent.tolist() == [4, 2]
    assert parts.exponent.dtype is torch.int32
    assert torch.ldexp(parts.mantissa, parts.exponent).tolist() == [8, -3]
    with pytest.raises(RuntimeError, match=r"torch.frexp\(\) only supports floating-point"):
        torch.frexp(torch.tensor([1]))


def test_nextafter():
    step = torch.nextafter(torch.tensor([1.0]), torch.tensor([2.0])) - 1
    assert step.item() == 2.0**-23
