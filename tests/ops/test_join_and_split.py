"""Joining and cutting."""

import pytest

import taper as torch


def test_cat():
    a, b = torch.zeros(1, 2), torch.ones(2, 2, dtype=torch.int64)
    joined = torch.cat([a, b])
    assert joined.dtype is torch.float32 and joined.shape == (3, 2)
    assert torch.cat([torch.zeros(0), a], 1).shape == (1, 2)
    x = torch.ones(2, requires_grad=True)
    y = torch.ones(1, requires_grad=True)
    (torch.cat([x, y, x]) * torch.arange(5.0)).sum().backward()
    assert x.grad.tolist() == [3, 5] and y.grad.tolist() == [2]


def test_stack():
    x = torch.ones(2, requires_grad=True)
    assert torch.stack([x, x], 1).tolist() == [[1, 1], [1, 1]]
    assert torch.stack([x[0], x[1]]).shape == (2,)
    torch.stack([x, x], -1).sum().backward()
    assert x.grad.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: torch.cat([]), ValueError, "expected a non-empty list of Tensors"),
        (lambda: torch.cat([torch.zeros(1), 1]), TypeError, "expected Tensor as element 1"),
        (lambda: torch.cat([torch.zeros(2, 3), torch.zeros(2, 4)]), RuntimeError,
         "Sizes of tensors must match except in dimension 0. Expected size 3 but got size 4"),
        (lambda: torch.cat([torch.tensor(1)]), RuntimeError, "zero-dimensional tensor"),
        (lambda: torch.stack([torch.zeros(2), torch.zeros(3)]), RuntimeError,
         "stack expects each tensor to be equal size"),
        (lambda: torch.zeros(3).split(0), RuntimeError, "split_size can only be 0"),
        (lambda: torch.zeros(3).split([1, 1]), RuntimeError, "sum exactly to 3"),
        (lambda: torch.zeros(3).chunk(0), RuntimeError, "chunks` to be greater than 0"),
        (lambda: torch.zeros(3).narrow(0, 1, 3), RuntimeError, "exceeds dimension size"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_parts():
    x = torch.arange(5)
    assert [p.tolist() for p in x.split(2)] == [[0, 1], [2, 3], [4]]
    assert [p.tolist() for p in x.chunk(2)] == [[0, 1, 2], [3, 4]]
    assert [p.tolist() for p in x.tensor_split(3)] == [[0, 1], [2, 3], [4]]
    assert [p.tolist() for p in x.split([1, 4])] == [[0], [1, 2, 3, 4]]
    assert [r.item() for r in x] == [0, 1, 2, 3, 4]
    assert all(p._base is x for p in x.split(2))


def test_gradients_of_some_parts():
    x = torch.ones(2, 3, requires_grad=True)
    first, _ = x.unbind()
    (first * 2).sum().backward()
    assert x.grad.tolist() == [[2, 2, 2], [0, 0, 0]]
    x.grad = None
    x.split([1, 2], 1)[1].sum().backward()
    assert x.grad.tolist() == [[0, 1, 1], [0, 1, 1]]
    x.grad = None
    x.split(5)[0].sum().backward()
    assert x.grad.tolist() == [[1, 1, 1], [1, 1, 1]]
