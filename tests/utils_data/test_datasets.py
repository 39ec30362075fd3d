"""Data sets, samplers and collation, by hand."""

from __future__ import annotations

import collections

import numpy as np
import pytest

import taper as torch
from taper.utils import data

Point = collections.namedtuple("Point", "x y")


class Numbers(data.IterableDataset):
    def __init__(self, *numbers):
        self.numbers = numbers

    def __iter__(self):
        return iter(self.numbers)

    def __len__(self):
        return len(self.numbers)


def rows(*columns):
    return data.TensorDataset(*[torch.tensor(column) for column in columns])


def test_tensor_dataset():
    dataset = rows([1, 2, 3], [4.0, 5.0, 6.0])
    assert len(dataset) == 3
    assert [x.item() for x in dataset[1]] == [2, 5.0]
    with pytest.raises(AssertionError, match="Size mismatch between tensors"):
        rows([1, 2], [1])


def test_concatenation():
    dataset = rows([1, 2]) + rows([3])
    assert isinstance(dataset, data.ConcatDataset)
    assert [dataset[i][0].item() for i in (0, 1, 2, -1, -3)] == [1, 2, 3, 3, 1]
    assert dataset.cumulative_sizes == [2, 3]
    with pytest.raises(ValueError, match="absolute value of index should not exceed dataset len"):
        dataset[-4]
    with pytest.raises(IndexError):
        dataset[3]
    with pytest.raises(AssertionError, match="datasets should not be an empty iterable"):
        data.ConcatDataset([])
    with pytest.raises(AssertionError, match="ConcatDataset does not support IterableDataset"):
        data.ConcatDataset([Numbers(1)])


def test_chain():
    dataset = Numbers(1, 2) + Numbers(3)
    assert list(dataset) == [1, 2, 3]
    assert len(dataset) == 3
    with pytest.raises(AssertionError, match="ChainDataset only supports IterableDataset"):
        list(data.ChainDataset([[1]]))


def test_stack():
    pairs = data.StackDataset([1, 2, 3], "abc")
    assert pairs[1] == (2, "b")
    assert pairs.__getitems__([0, 2]) == [(1, "a"), (3, "c")]
    named = data.StackDataset(number=[1, 2], letter="ab")
    assert named[0] == {"number": 1, "letter": "a"}
    assert named.__getitems__([1]) == [{"number": 2, "letter": "b"}]
    for arguments, text in (((), "At least one dataset"), (([1], [1, 2]), "Size mismatch between")):
        with pytest.raises(ValueError, match=text):
            data.StackDataset(*arguments)


def test_subset_and_split():
    subset = data.Subset("abcdef", [4, 2, 0])
    assert [subset[0], subset[-1], len(subset)] == ["e", "a", 3]
    assert subset.__getitems__([1, 2]) == ["c", "a"]
    parts = data.random_split(range(10), [0.5, 0.25, 0.25])
    assert [len(part) for part in parts] == [6, 2, 2]
    assert sorted(x for part in parts for x in part) == list(range(10))
    with pytest.raises(ValueError, match="Sum of input lengths does not equal"):
        data.random_split(range(10), [3, 4])
    with pytest.warns(UserWarning, match="Length of split at index 0 is 0"):
        data.random_split(range(1), [0.0, 1.0])


def test_batch_sampler():
    assert list(data.BatchSampler(range(5), 2, False)) == [[0, 1], [2, 3], [4]]
    assert list(data.BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
    assert [len(data.BatchSampler(range(5), 2, drop)) for drop in (False, True)] == [3, 2]


def test_random_samplers():
    assert sorted(data.RandomSampler(range(7))) == list(range(7))
    assert len(list(data.RandomSampler(range(7), num_samples=20))) == 20
    assert sorted(data.SubsetRandomSampler([5, 9, 2])) == [2, 5, 9]
    assert set(data.WeightedRandomSampler([0.0, 1.0, 0.0], 5)) == {1}
    generator = torch.Generator().manual_seed(3)
    first = list(data.RandomSampler(range(50), generator=generator))
    generator.manual_seed(3)
    assert list(data.RandomSampler(range(50), generator=generator)) == first


def test_distributed_sampler_covers_everything():
    parts = [list(data.DistributedSampler(range(10), 3, rank)) for rank in range(3)]
    assert [len(part) for part in parts] == [4, 4, 4]
    assert {index for part in parts for index in part} == set(range(10))
    sampler = data.DistributedSampler(range(100), 2, 0)
    before = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != before


@pytest.mark.parametrize(("make", "kind", "text"), [
    (lambda: data.RandomSampler([]), ValueError, "num_samples should be a positive integer value"),
    (lambda: data.RandomSampler([1], replacement=3), TypeError, "replacement should be a boolean"),
    (lambda: data.BatchSampler([1], 0, False), ValueError, "batch_size should be a positive inte"),
    (lambda: data.BatchSampler([1], 1, 3), ValueError, "drop_last should be a boolean value"),
    (lambda: data.WeightedRandomSampler([1.0], 0), ValueError, "num_samples should be a positive"),
    (lambda: data.WeightedRandomSampler([[1.0]], 1), ValueError, "weights should be a 1d sequence"),
    (lambda: data.DistributedSampler([1], 2, 2), ValueError, "Invalid rank 2, rank should be in"),
])  # fmt: skip
def test_errors(make, kind, text):
    with pytest.raises(kind, match=text):
        make()


@pytest.mark.parametrize(("batch", "expected"), [
    ([1, 2], "tensor([1, 2])"),
    ([1.5, 2], "tensor([1.5000, 2.0000], dtype=torch.float64)"),
    ([True, False], "tensor([ True, False])"),
    (["a", "b"], "['a', 'b']"),
    ([(1, "a"), (2, "b")], "[tensor([1, 2]), ('a', 'b')]"),
    ([[1, 2], [3, 4]], "[tensor([1, 3]), tensor([2, 4])]"),
    ([{"x": 1}, {"x": 2}], "{'x': tensor([1, 2])}"),
    ([Point(1, 2), Point(3, 4)], "Point(x=tensor([1, 3]), y=tensor([2, 4]))"),
    ([np.float64(1), np.float64(2)], "tensor([1., 2.], dtype=torch.float64)"),
    ([np.arange(2), np.arange(2)], "tensor([[0, 1],\n        [0, 1]])"),
    ([collections.OrderedDict(x=1)] * 2,
     repr(collections.OrderedDict(x=torch.tensor([1, 1])))),
])  # fmt: skip
def test_collation(batch, expected):
    assert repr(data.default_collate(batch)) == expected


def test_collation_keeps_gradients():
    values = [torch.ones(2, requires_grad=True) for _ in range(2)]
    data.default_collate(values).sum().backward()
    assert values[0].grad.tolist() == [1, 1]


@pytest.mark.parametrize(("batch", "kind", "text"), [
    ([None], TypeError, "default_collate: batch must contain tensors, numpy arrays, numbers"),
    ([[1], [2, 3]], RuntimeError, "each element in list of batch should be of equal size"),
    ([np.array("a")], TypeError, "found <U1"),
])  # fmt: skip
def test_collation_errors(batch, kind, text):
    with pytest.raises(kind, match=text):
        data.default_collate(batch)


def test_conversion():
    value = {"a": np.zeros(2), "b": [np.float32(1), "x"], "c": Point(1, np.zeros(1)), "d": None}
    assert repr(data.default_convert(value)) == (
        "{'a': tensor([0., 0.], dtype=torch.float64), 'b': [tensor(1.), 'x'], "
        "'c': Point(x=1, y=tensor([0.], dtype=torch.float64)), 'd': None}"
    )
