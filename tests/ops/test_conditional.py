"""taper/ops/conditional.py: where."""

import pytest

import taper as torch

MASK = torch.tensor([True, False])


def test_tensors_and_numbers():
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    assert torch.where(MASK, x, y).tolist() == [1, 4]
    assert torch.where(MASK, x, 0).tolist() == [1, 0]
    assert torch.where(MASK, -1.0, y).tolist() == [-1, 4]
    assert torch.where(MASK, 1, 2.5).dtype is torch.float32
    assert torch.where(MASK, 1, 2).dtype is torch.int64
    assert x.where(MASK, y).tolist() == [1, 4]


def test_dtypes_are_promoted_without_the_condition():
    assert torch.where(MASK, torch.tensor([1, 2]), 0).dtype is torch.int64
    assert torch.where(MASK, torch.tensor([1, 2]), torch.tensor([0.5, 1.5])).tolist() == [1, 1.5]


def test_gradients_go_where_elements_came_from():
    x = torch.tensor([[1.0], [2.0]], requires_grad=True)
    y = torch.tensor(3.0, requires_grad=True)
    torch.where(MASK, x, y).sum().backward()
    assert x.grad.tolist() == [[1], [1]]
    assert y.grad.item() == 2


def test_a_hidden_branch_does_not_spread_nan():
    x = torch.tensor([0.0, 4.0], requires_grad=True)
    torch.where(torch.tensor([False, True]), x.sqrt(), 0).sum().backward()
    assert x.grad[1].item() == 0.25


def test_the_condition_must_be_bool():
    with pytest.raises(RuntimeError, match="where expected condition to be a boolean tensor"):
        torch.where(torch.ones(2), 1, 2)
