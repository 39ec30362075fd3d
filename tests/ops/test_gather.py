import pytest

import taper as torch

X = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def test_gather():
    index = torch.tensor([[2, 0], [1, 1]])
    assert X.gather(1, index).tolist() == [[3, 1], [5, 5]]
    assert X.gather(0, torch.tensor([[1, 0, 1]])).tolist() == [[4, 2, 6]]
    assert X.t().gather(0, torch.tensor([[2, 0]])).tolist() == [[3, 4]]
    assert torch.tensor(7.0).gather(0, torch.tensor([0, 0])).tolist() == [7, 7]


@pytest.mark.parametrize(
    ("index", "message"),
    [([[3]], "index 3 is out of bounds for dimension 1 with size 3"),
     ([[-1]], "index -1 is out of bounds"),
     ([[0], [0], [0]], "Size does not match at dimension 0 expected index"),
     ([0], "Index tensor must have the same number of dimensions as input tensor")],
)
def test_what_gather_refuses(index, message):
    with pytest.raises(RuntimeError, match=message):
        X.gather(1, torch.tensor(index))


def test_the_gradient_of_gather_adds_up():
    x = X.clone().requires_grad_()
    x.gather(1, torch.tensor([[0, 0], [2, 1]])).sum().backward()
    assert x.grad.tolist() == [[2, 0, 0], [0, 1, 1]]


def test_index_select():
    assert X.index_select(1, torch.tensor([2, 0])).tolist() == [[3, 1], [6, 4]]
    with pytest.raises(IndexError, match="index out of range in self"):
        X.index_select(0, torch.tensor([-1]))
    x = X.clone().requires_grad_()
    x.index_select(0, torch.tensor([1, 1])).sum().backward()
    assert x.grad.tolist() == [[0, 0, 0], [2, 2, 2]]


def test_take_and_take_along_dim():
    assert X.take(torch.tensor([0, -1])).tolist() == [1, 6]
    with pytest.raises(IndexError, match="tried to access index 6 on a tensor of 6 elements"):
        X.take(torch.tensor([6]))
    assert torch.take_along_dim(X, torch.tensor([[-1]]), 1).tolist() == [[3], [6]]
    assert torch.take_along_dim(X, torch.tensor([4])).tolist() == [5]


def test_out_must_be_apart():
    x = torch.arange(4.0)
    with pytest.raises(RuntimeError, match="unsupported operation: some elements"):
        torch.index_select(x, 0, torch.tensor([1, 0]), out=x[:2])
