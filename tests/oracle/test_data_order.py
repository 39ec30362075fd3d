"""Samplers and loaders against PyTorch: equal seeds give equal orders, and leave equal states."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import taper  # noqa: E402
import taper.utils.data  # noqa: E402

SIZE = 23


def plain(value):
    """Tensors as lists, in nested containers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def same(program):
    """Runs a program of (library, its data module) on both sides, from the same seed."""
    results = []
    for library in (taper, torch):
        library.manual_seed(7)
        result = plain(program(library, library.utils.data))
        results.append((result, library.rand(3).tolist()))
    assert results[0] == results[1]


def epochs(library, data, count=3, **options):
    dataset = data.TensorDataset(library.arange(SIZE), library.arange(SIZE) * 2)
    loader = data.DataLoader(dataset, **options)
    return [list(loader) for _ in range(count)]


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 23, 50])
@pytest.mark.parametrize("workers", [0, 2])
def test_shuffled_epochs(batch_size, drop_last, workers):
    same(lambda library, data: epochs(
        library, data, batch_size=batch_size, drop_last=drop_last, shuffle=True,
        num_workers=workers,
    ))  # fmt: skip


@pytest.mark.parametrize("options", [
    {}, {"drop_last": True}, {"num_workers": 1}, {"num_workers": 2, "persistent_workers": True},
], ids=str)  # fmt: skip
def test_a_generator_of_ones_own(options):
    def program(library, data):
        generator = library.Generator()
        generator.manual_seed(3)
        batches = epochs(library, data, batch_size=4, shuffle=True, generator=generator, **options)
        return batches, generator.get_state()

    same(program)


@pytest.mark.parametrize(
    "arguments", [(), (True,), (True, 45), (False, 50), (False, 5), (True, 64)], ids=str
)
def test_random_sampler(arguments):
    same(lambda library, data: [list(data.RandomSampler(range(10), *arguments)) for _ in range(2)])


def test_other_samplers():
    def program(library, data):
        return [
            list(data.SubsetRandomSampler([3, 4, 5, 9])),
            list(data.DistributedSampler(range(10), 3, 1)),
            list(data.DistributedSampler(range(10), 3, 2, seed=5, drop_last=True)),
            list(data.DistributedSampler(range(2), 5, 4)),
            [part.indices for part in data.random_split(range(10), [0.3, 0.7])],
            [part.indices for part in data.random_split(range(10), [2, 3, 5])],
        ]

    same(program)


@pytest.mark.parametrize("replacement", [True, False])
def test_weighted_sampler(replacement):
    same(lambda library, data: list(data.WeightedRandomSampler([1, 2, 3.5, 0.1], 4, replacement)))


def test_random_numbers_of_workers():
    """What a worker draws depends on its number and the base seed only."""

    def program(library, data):
        import random

        import numpy as np

        class Drawn(data.Dataset):
            def __len__(self):
                return 6

            def __getitem__(self, index):
                return library.rand(1).item(), random.random(), np.random.rand()

        return [list(data.DataLoader(Drawn(), num_workers=2)) for _ in range(2)]

    same(program)


@pytest.mark.parametrize(("batch_size", "drop_last"), [(3, False), (3, True), (None, False)])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_iterable_datasets(batch_size, drop_last, workers):
    def program(library, data):
        class Numbers(data.IterableDataset):
            def __iter__(self):
                worker = data.get_worker_info()
                first = worker.id * 10 if worker else 0
                return iter(range(first, first + 7 + first // 2))

        return list(data.DataLoader(
            Numbers(), batch_size=batch_size, drop_last=drop_last, num_workers=workers
        ))  # fmt: skip

    same(program)
