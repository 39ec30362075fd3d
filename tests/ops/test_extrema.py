import math

import pytest

import taper as torch


def test_overloads_of_max():
    x = torch.tensor([[1.0, 5.0], [7.0, 2.0]])
    assert x.max().item() == 7
    values, indices = x.max(1)
    assert values.tolist() == [5, 7] and indices.tolist() == [1, 0]
    assert torch.max(x, dim=0, keepdim=True).values.tolist() == [[7, 5]]
    assert torch.max(x, torch.tensor(3.0)).tolist() == [[3, 5], [7, 3]]
    assert torch.min(x, axis=0).indices.tolist() == [0, 1]


def test_nan_is_both_largest_and_smallest():
    x = torch.tensor([1.0, math.nan, 3.0])
    assert math.isnan(x.max().item()) and math.isnan(x.amin().item())
    assert x.argmax().item() == 1 and x.argmin().item() == 1


def test_ties_share_the_gradient_without_dim():
    x = torch.tensor([2.0, 2.0, 1.0], requires_grad=True)
    x.max().backward()
    assert x.grad.tolist() == [0.5, 0.5, 0]
    x.grad = None
    x.amax(0).backward()
    assert x.grad.tolist() == [0.5, 0.5, 0]


def test_the_index_returned_gets_the_gradient():
    x = torch.tensor([[2.0, 2.0], [0.0, 1.0]], requires_grad=True)
    x.max(1).values.sum().backward()
    assert x.grad.tolist() == [[1, 0], [0, 1]]


def test_aminmax():
    x = torch.tensor([[3.0, 1.0]], requires_grad=True)
    low, high = torch.aminmax(x, dim=1)
    (2 * low + high).sum().backward()
    assert x.grad.tolist() == [[1, 2]]


def test_there_is_no_largest_of_none():
    with pytest.raises(RuntimeError, match=r"max\(\): Expected reduction dim to be specified"):
        torch.zeros(0).max()
    with pytest.raises(IndexError, match=r"argmax\(\): Expected reduction dim 1 to have non-zero"):
        torch.zeros(2, 0).argmax(1)
    assert torch.zeros(0, 2).max(1).values.shape == (0,)


def test_scalars_have_index_zero():
    assert torch.tensor(4.0).max(0) == (torch.tensor(4.0), torch.tensor(0))
    assert torch.tensor(4.0).argmax(-1).item() == 0


@pytest.mark.parametrize("size", [3, 40])
def test_long_and_short_rows_agree(size):
    x = torch.arange(2.0 * size).reshape(2, size)
    assert x.amax(1).tolist() == [size - 1, 2 * size - 1]
    assert x.amin(-1, keepdim=True).tolist() == [[0], [size]]
