"""taper/ops/division.py: quotients and remainders, whose signs are the point."""

import pytest

import taper as torch


def test_integers_divide_to_the_default_float():
    assert (torch.tensor([1, 2]) / 4).dtype is torch.float32
    assert (torch.tensor([1, 2]) / 4).tolist() == [0.25, 0.5]


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_rounding_modes(dtype):
    x = torch.tensor([-7, 7, -7, 7], dtype=dtype)
    y = torch.tensor([2, 2, -2, -2], dtype=dtype)
    assert torch.div(x, y, rounding_mode="trunc").tolist() == [-3, 3, 3, -3]
    assert torch.div(x, y, rounding_mode="floor").tolist() == [-4, 3, 3, -4]
    assert (x // y).tolist() == [-4, 3, 3, -4]
    assert torch.remainder(x, y).tolist() == [1, 1, -1, -1]
    assert torch.fmod(x, y).tolist() == [-1, 1, -1, 1]
    assert torch.div(x, y, rounding_mode="floor").dtype is dtype


def test_unknown_rounding_mode():
    with pytest.raises(RuntimeError, match="div expected rounding_mode to be one of None"):
        torch.div(torch.ones(1), 2, rounding_mode="up")


def test_integers_refuse_zero_and_floats_do_not():
    for function in (torch.floor_divide, torch.remainder, torch.fmod):
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            function(torch.tensor([1]), 0)
    assert (torch.tensor([1.0, -1.0]) / 0).tolist() == [float("inf"), float("-inf")]


def test_numbers_on_the_left():
    x = torch.tensor([2.0, 4.0], requires_grad=True)
    y = 8 / x
    assert y.tolist() == [4, 2]
    assert y.grad_fn.name() == "MulBackward0"
    y.sum().backward()
    assert x.grad.tolist() == [-2, -0.5]
    assert (7 // torch.tensor([2, 3])).tolist() == [3, 2]
    assert (7 % torch.tensor([2, 4])).tolist() == [1, 3]


def test_gradients():
    x = torch.tensor([7.0], requires_grad=True)
    y = torch.tensor([2.0], requires_grad=True)
    (x / y).backward()
    assert (x.grad.item(), y.grad.item()) == (0.5, -1.75)
    x.grad = y.grad = None
    torch.remainder(x, y).backward()
    assert (x.grad.item(), y.grad.item()) == (1, -3)
    x.grad = None
    torch.div(x, y, rounding_mode="floor").backward()
    assert x.grad.item() == 0


def test_floor_divide_has_no_derivative():
    x = torch.tensor([7.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="floor_divide"):
        (x // 2).backward()


def test_reciprocal():
    x = torch.tensor([2.0, -4.0], requires_grad=True)
    y = x.reciprocal()
    y.sum().backward()
    assert y.tolist() == [0.5, -0.25]
    assert x.grad.tolist() == [-0.25, -0.0625]
