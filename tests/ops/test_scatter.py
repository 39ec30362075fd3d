import pytest

import taper as torch

I = torch.tensor([[0, 0, 1]])
SRC = torch.tensor([[1.0, 2.0, 3.0]])


def test_scatter_a_tensor_or_a_number():
    x = torch.zeros(1, 3)
    assert x.scatter(1, I, SRC).tolist() == [[2, 3, 0]]
    assert x.scatter(1, I, 5).tolist() == [[5, 5, 0]]
    assert x.scatter(1, torch.tensor([[2]]), SRC).tolist() == [[0, 0, 1]]
    assert x.scatter_(1, I, value=7.0) is x and x.tolist() == [[7, 7, 0]]


def test_scatter_add_and_its_gradients():
    x = torch.ones(1, 3, requires_grad=True)
    src = SRC.clone().requires_grad_()
    y = x.scatter_add(1, I, src)
    assert y.tolist() == [[4, 4, 1]]
    (y * torch.tensor([[1.0, 10.0, 100.0]])).sum().backward()
    assert x.grad.tolist() == [[1, 10, 100]] and src.grad.tolist() == [[1, 1, 10]]


@pytest.mark.parametrize(
    ("reduce", "with_self", "without"),
    [("sum", [6, 7, 4], [3, 3, 4]), ("prod", [6, 12, 4], [2, 3, 4]),
     ("mean", [2, 3.5, 4], [1.5, 3, 4]), ("amax", [3, 4, 4], [2, 3, 4]),
     ("amin", [1, 3, 4], [1, 3, 4])],
)
def test_scatter_reduce(reduce, with_self, without):
    x = torch.tensor([[3.0, 4.0, 4.0]])
    assert x.scatter_reduce(1, I, SRC, reduce).tolist() == [with_self]
    assert x.scatter_reduce(1, I, SRC, reduce, include_self=False).tolist() == [without]


def test_scatter_reduce_shares_the_gradient_of_ties():
    x = torch.tensor([2.0, 0.0], requires_grad=True)
    src = torch.tensor([2.0, 1.0], requires_grad=True)
    x.scatter_reduce(0, torch.tensor([0, 1]), src, "amax").sum().backward()
    assert x.grad.tolist() == [0.5, 0] and src.grad.tolist() == [0.5, 1]


def test_what_scatter_refuses():
    x = torch.zeros(2, 3)
    with pytest.raises(RuntimeError, match=r"Expected self\.dtype to be equal to src\.dtype"):
        x.scatter(1, I, SRC.double())
    with pytest.raises(RuntimeError, match="index 9 is out of bounds for dimension 1 with size 3"):
        x.scatter(1, torch.tensor([[9]]), 1.0)
    with pytest.raises(RuntimeError, match="to be no larger size than src"):
        x.scatter(1, torch.tensor([[0, 1, 2], [0, 1, 2]]), SRC)
    with pytest.raises(RuntimeError, match="value cannot be converted to type float without"):
        x.scatter(1, I, 1j)


def test_put():
    x = torch.zeros(2, 2)
    assert x.put(torch.tensor([1, -1]), torch.tensor([5.0, 6.0])).tolist() == [[0, 5], [0, 6]]
    doubled = x.put(torch.tensor([1, 1]), torch.tensor([5.0, 6.0]), accumulate=True)
    assert doubled.tolist() == [[0, 11], [0, 0]]
