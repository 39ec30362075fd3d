import pytest

import taper as torch

MASK = torch.tensor([[True, False], [False, True]])


def test_masked_fill():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert x.masked_fill(MASK, 0).tolist() == [[0, 2], [3, 0]]
    assert x.masked_fill(MASK[0], -torch.inf).tolist() == [[-torch.inf, 2], [-torch.inf, 4]]
    assert torch.tensor([1, 2]).masked_fill(MASK[0], 7.9).tolist() == [7, 2]
    assert x.masked_fill_(MASK, 9) is x and x.tolist() == [[9, 2], [3, 9]]
    with pytest.raises(RuntimeError, match="masked_fill_ only supports boolean masks"):
        x.masked_fill(x, 0)
    with pytest.raises(RuntimeError, match="only supports a 0-dimensional value tensor"):
        x.masked_fill(MASK, torch.zeros(1))


def test_gradients_of_masked_fill():
    x = torch.ones(2, 2, requires_grad=True)
    value = torch.tensor(3.0, requires_grad=True)
    x.masked_fill(MASK, value).sum().backward()
    assert x.grad.tolist() == [[0, 1], [1, 0]] and value.grad.item() == 2


def test_masked_select_and_scatter():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    picked = x.masked_select(MASK)
    assert picked.tolist() == [1, 4]
    picked.sum().backward()
    assert x.grad.tolist() == [[1, 0], [0, 1]]
    source = torch.tensor([8.0, 9.0, 10.0], requires_grad=True)
    y = torch.zeros(2, 2).masked_scatter(MASK, source)
    assert y.tolist() == [[8, 0], [0, 9]]
    y.sum().backward()
    assert source.grad.tolist() == [1, 1, 0]
    with pytest.raises(RuntimeError, match="Number of elements of source < number of ones"):
        torch.zeros(2, 2).masked_scatter(MASK, torch.ones(1))


def test_nonzero():
    x = torch.tensor([[0, 1], [2, 0]])
    assert x.nonzero().tolist() == [[0, 1], [1, 0]]
    assert [t.tolist() for t in torch.nonzero(x, as_tuple=True)] == [[0, 1], [1, 0]]
    assert torch.argwhere(torch.tensor(3)).shape == (1, 0)
    assert torch.nonzero_static(x, size=3, fill_value=-7).tolist() == [[0, 1], [1, 0], [-7, -7]]
