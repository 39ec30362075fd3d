"""taper/ops/promoted_call.py: operands that only need casting."""

import pytest

import taper as torch


def test_integers_meet_floats():
    i, x = torch.tensor([1, 2]), torch.tensor([0.5, 0.25])
    for _ in range(2):  # the second call follows the remembered plan
        assert (i * x).tolist() == [0.5, 0.5]
        assert (i * 0.5).dtype is torch.float32
        assert (i + True).dtype is torch.int64
        assert (i == 1.5).tolist() == [False, False]
        assert torch.exp(torch.tensor([0])).dtype is torch.float32


def test_the_default_dtype_may_change():
    i = torch.tensor([1, 2])
    assert (i / 2).dtype is torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        assert (i / 2).dtype is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_half_precision_computes_in_float32_and_comes_back():
    h = torch.tensor([3.0], dtype=torch.bfloat16)
    assert (h * 1.1).dtype is torch.bfloat16
    assert (h * 1.1).item() == 3.296875  # 3.3 rounded once; 1.1 is not rounded first
    assert (h > 2).dtype is torch.bool
    g = torch.tensor([3.0], dtype=torch.float16, requires_grad=True)
    (g * 2).sum().backward()
    assert g.grad.dtype is torch.float16


def test_small_integers_wrap_around():
    x = torch.tensor([250], dtype=torch.uint8)
    assert (x + 10).tolist() == [4]
    assert (x + torch.tensor([10], dtype=torch.uint8)).tolist() == [4]


def test_masks_keep_the_history_of_floats():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * torch.tensor([True, False])
    assert y.grad_fn.name() == "MulBackward0"
    y.sum().backward()
    assert x.grad.tolist() == [1, 0]


def test_history_of_what_is_cast_gets_its_own_dtype_back():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (x * torch.tensor([2.0, 3.0], dtype=torch.float64)).sum().backward()
    assert x.grad.dtype is torch.float32
    assert x.grad.tolist() == [2, 3]


def test_checks_still_hold():
    with pytest.raises(RuntimeError, match="Subtraction, the `-` operator, with a bool"):
        torch.tensor([1]) - torch.tensor([True])
    with pytest.raises(RuntimeError, match="The size of tensor a"):
        torch.ones(2) * torch.tensor([1, 2, 3])
