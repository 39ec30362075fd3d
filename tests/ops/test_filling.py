"""taper/ops/filling.py: fill and zero."""

import pytest

import taper as torch


def test_fill():
    x = torch.ones(2, 2)
    assert x.fill_(3) is x
    assert x.tolist() == [[3, 3], [3, 3]]
    assert torch.ones(2, dtype=torch.int64).fill_(1.5).tolist() == [1, 1]
    assert torch.fill(torch.zeros(2), torch.tensor(2.0)).tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="fill_ only supports 0-dimension value tensor"):
        x.fill_(torch.ones(2))


def test_gradients_end_at_what_is_overwritten():
    x = torch.ones(2, requires_grad=True)
    value = torch.tensor(5.0, requires_grad=True)
    (x * 2).fill_(value).sum().backward()
    assert x.grad.tolist() == [0, 0]
    assert value.grad.item() == 2


def test_zero():
    x = torch.ones(3)
    assert x.zero_() is x
    assert x.tolist() == [0, 0, 0]
    assert x._version == 1
    leaf = torch.ones(1, requires_grad=True)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        leaf.zero_()
