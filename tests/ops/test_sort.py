import math

import pytest

import taper as torch


def test_sort():
    x = torch.tensor([[3.0, 1.0, 2.0]])
    values, indices = x.sort(1)
    assert values.tolist() == [[1, 2, 3]] and indices.tolist() == [[1, 2, 0]]
    assert x.sort(descending=True).indices.tolist() == [[0, 2, 1]]
    assert torch.argsort(x).tolist() == [[1, 2, 0]]
    assert torch.msort(torch.tensor([[2], [1]])).tolist() == [[1], [2]]


@pytest.mark.parametrize("descending", [False, True])
def test_equal_elements_keep_their_order(descending):
    x = torch.tensor([1, 0, 1, 0, 1])
    wanted = [0, 2, 4, 1, 3] if descending else [1, 3, 0, 2, 4]
    assert torch.sort(x, descending=descending, stable=True).indices.tolist() == wanted
    assert x.argsort(descending=descending).tolist() == wanted


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_nan_is_the_largest(dtype):
    x = torch.tensor([math.nan, 1.0, -math.inf]).to(dtype)
    assert x.argsort().tolist() == [2, 1, 0]
    assert x.sort(descending=True).indices.tolist() == [0, 1, 2]
    assert x.topk(2).indices.tolist() == [0, 1]


@pytest.mark.parametrize("n", [10, 1000])
def test_topk(n):
    x = torch.arange(float(n)).flip(0).reshape(1, n)
    values, indices = x.topk(3)
    assert values.tolist() == [[n - 1, n - 2, n - 3]] and indices.tolist() == [[0, 1, 2]]
    assert x.topk(2, largest=False).values.tolist() == [[0, 1]]
    with pytest.raises(RuntimeError, match="selected index k out of range"):
        x.topk(n + 1)


def test_gradients_go_back_where_they_came_from():
    x = torch.tensor([3.0, 1.0, 2.0], requires_grad=True)
    (x.sort().values * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [3, 1, 2]
    x.grad = None
    x.topk(1).values.sum().backward()
    assert x.grad.tolist() == [1, 0, 0]
