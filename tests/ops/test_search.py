import math

import pytest

import taper as torch


def test_searchsorted():
    edges = torch.tensor([1.0, 3.0, 5.0])
    assert torch.searchsorted(edges, torch.tensor([3.0, 9.0])).tolist() == [1, 3]
    assert torch.searchsorted(edges, 3.0, right=True).item() == 2
    assert torch.searchsorted(edges, torch.tensor([3]), out_int32=True).dtype is torch.int32
    rows = torch.tensor([[1, 3], [10, 30]])
    assert torch.searchsorted(rows, torch.tensor([[2], [2]])).tolist() == [[1], [0]]
    order = torch.tensor([2, 0, 1])
    assert torch.searchsorted(torch.tensor([3.0, 5.0, 1.0]), 4.0, sorter=order).item() == 2
    with pytest.raises(RuntimeError, match="side and right can't be set to opposites"):
        torch.searchsorted(edges, 3.0, right=True, side="left")


def test_bucketize_and_isin():
    assert torch.bucketize(torch.tensor([0.0, 2.0, 9.0]), torch.tensor([1.0, 3.0])).tolist() == [
        0, 1, 2]
    x = torch.tensor([1, 2, 3])
    assert torch.isin(x, torch.tensor([3, 1])).tolist() == [True, False, True]
    assert torch.isin(x, 2, invert=True).tolist() == [True, False, True]
    assert torch.isin(x, torch.tensor([], dtype=torch.int64)).tolist() == [False] * 3
    assert torch.isin(torch.tensor([math.nan]), torch.tensor([math.nan])).item() is False


def test_unique():
    x = torch.tensor([[3, 1], [1, 3]])
    values, inverse, counts = torch.unique(x, return_inverse=True, return_counts=True)
    assert values.tolist() == [1, 3] and counts.tolist() == [2, 2]
    assert inverse.tolist() == [[1, 0], [0, 1]]
    rows = torch.tensor([[2, 1], [1, 9], [2, 1]])
    values, counts = rows.unique(dim=0, return_counts=True)
    assert values.tolist() == [[1, 9], [2, 1]] and counts.tolist() == [1, 2]
    assert torch.tensor([math.nan, math.nan]).unique().numel() == 2


def test_unique_consecutive():
    values, counts = torch.tensor([1, 1, 2, 1]).unique_consecutive(return_counts=True)
    assert values.tolist() == [1, 2, 1] and counts.tolist() == [2, 1, 1]


def test_unravel_index():
    assert [t.tolist() for t in torch.unravel_index(torch.tensor([5, 11]), (3, 4))] == [
        [1, 2], [1, 3]]
