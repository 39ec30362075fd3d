import math

import pytest

import taper as torch


def test_overloads():
    x = torch.tensor([[1.0, 2.0, 3.0], [2.0, 2.0, 5.0]])
    assert x.var(1).tolist() == [1, 3]
    assert x[0].var(False).item() == pytest.approx(2 / 3)
    assert x.var(1, unbiased=False).tolist() == pytest.approx([2 / 3, 2])
    assert x.var(dim=1, correction=0, keepdim=True).shape == (2, 1)
    assert x[0].std().item() == 1
    variance, mean = torch.var_mean(x, 1)
    assert variance.tolist() == [1, 3] and mean.tolist() == [2, 3]


def test_one_element_has_no_variance():
    with pytest.warns(UserWarning, match="degrees of freedom is <= 0"):
        assert math.isnan(torch.tensor([3.0]).var().item())


def test_gradients():
    x = torch.tensor([1.0, 2.0, 6.0], requires_grad=True)
    x.var().backward()
    assert x.grad.tolist() == [-2, -1, 3]
    x = torch.ones(3, requires_grad=True)
    x.std().backward()
    assert x.grad.tolist() == [0, 0, 0]


def test_integers_are_refused():
    with pytest.raises(RuntimeError, match="std and var only support floating point"):
        torch.tensor([1, 2]).std()


def test_complex_variance_is_real():
    x = torch.tensor([1 + 1j, -1 - 1j])
    assert x.var().dtype is torch.float32 and x.var().item() == 4
