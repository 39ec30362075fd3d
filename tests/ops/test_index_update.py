import pytest

import taper as torch


def test_index_add():
    x = torch.zeros(3, 2)
    y = x.index_add(0, torch.tensor([0, 0]), torch.ones(2, 2), alpha=2)
    assert y.tolist() == [[4, 4], [0, 0], [0, 0]]
    columns = x.index_add(1, torch.tensor([1]), torch.ones(3, 1))
    assert columns.tolist() == [[0, 1]] * 3
    with pytest.raises(RuntimeError, match="Number of indices"):
        x.index_add(0, torch.tensor([0]), torch.ones(2, 2))
    with pytest.raises(RuntimeError, match="index 5 is out of bounds for dimension 0 with size 3"):
        x.index_add(0, torch.tensor([5]), torch.ones(1, 2))


def test_index_copy_and_its_gradients():
    x = torch.zeros(3, requires_grad=True)
    source = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x.index_copy(0, torch.tensor([2, 0]), source)
    assert y.tolist() == [2, 0, 1]
    (y * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [0, 2, 0] and source.grad.tolist() == [3, 1]


def test_index_fill_counts_repeated_indices_once():
    x = torch.zeros(2, 2)
    assert x.index_fill(1, torch.tensor([-1]), 7).tolist() == [[0, 7], [0, 7]]
    value = torch.tensor(2.0, requires_grad=True)
    x.index_fill(0, torch.tensor([1, 1]), value).sum().backward()
    assert value.grad.item() == 2
    assert x.index_fill_(0, torch.tensor([0]), 1) is x and x.tolist() == [[1, 1], [0, 0]]


@pytest.mark.filterwarnings("ignore:index_reduce")
def test_index_reduce():
    x, i, source = torch.tensor([1.0, 5.0]), torch.tensor([0, 0]), torch.tensor([2.0, 3.0])
    assert x.index_reduce(0, i, source, "prod").tolist() == [6, 5]
    assert x.index_reduce(0, i, source, "mean", include_self=False).tolist() == [2.5, 5]
    with pytest.raises(RuntimeError, match="Expected reduce to be one of prod, mean"):
        x.index_reduce(0, i, source, "sum")


def test_copied_slices_have_the_dimensions_of_their_destination():
    with pytest.raises(IndexError, match="When source and destination are not scalars"):
        torch.zeros(5).index_copy(0, torch.tensor([0, 1]), torch.ones(2, 1))
