"""taper/ops/sign.py: signs and magnitudes."""

import pytest

import taper as torch


def test_abs():
    x = torch.tensor([-2.0, 0.0, 3.0], requires_grad=True)
    y = abs(x)
    y.sum().backward()
    assert y.tolist() == [2, 0, 3]
    assert x.grad.tolist() == [-1, 0, 1]
    assert torch.abs(torch.tensor([3 + 4j])).tolist() == [5]
    with pytest.raises(RuntimeError, match="In-place abs is not supported for complex"):
        torch.tensor([1j]).abs_()
    with pytest.raises(NotImplementedError, match="\"abs_cpu\" not implemented for 'Bool'"):
        torch.tensor([True]).abs()


def test_gradient_of_complex_lengths():
    z = torch.tensor([3 + 4j], requires_grad=True)
    z.abs().backward()
    assert z.grad.tolist() == pytest.approx([0.6 + 0.8j])


def test_sign_and_sgn():
    x = torch.tensor([-2.5, 0.0, float("nan"), float("inf")])
    assert torch.sign(x).tolist() == [-1, 0, 0, 1]
    assert torch.sign(torch.tensor([True, False])).tolist() == [True, False]
    assert torch.sgn(torch.tensor([3 + 4j, 0])).tolist() == pytest.approx([0.6 + 0.8j, 0])
    with pytest.raises(NotImplementedError, match=r"Unlike NumPy, torch\.sign"):
        torch.sign(torch.tensor([1j]))


def test_signbit_and_copysign_see_negative_zero():
    x = torch.tensor([-0.0, 0.0])
    assert torch.signbit(x).tolist() == [True, False]
    assert torch.copysign(torch.tensor([1, 1]), x).tolist() == [-1, 1]
    assert torch.copysign(torch.tensor([1.0]), -2).tolist() == [-1]
