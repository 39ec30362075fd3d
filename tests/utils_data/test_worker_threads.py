"""Workers that are threads: the same batches, the same errors, no processes."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import pytest

import taper as torch
from taper.utils import data


class Thread(data.Dataset):
    """Samples that tell which worker loaded them; unlike processes, threads share the data set."""

    def __init__(self, size=8):
        self.size = size
        self.seen = []

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        info = data.get_worker_info()
        self.seen.append((index, info.id, threading.current_thread().name))
        return index


class Numbers(data.IterableDataset):
    def __iter__(self):
        worker = data.get_worker_info()
        return iter(range(worker.id, 9, worker.num_workers))


def loader(dataset, **options):
    options = {"num_workers": 2, "multiprocessing_context": "thread", **options}
    return data.DataLoader(dataset, **options)


def left_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("taper-loader")]


def wait_for_no_threads():
    end = time.monotonic() + 5
    while left_threads() and time.monotonic() < end:
        time.sleep(0.01)
    return left_threads()


@pytest.mark.parametrize("persistent", [False, True])
def test_epochs(persistent):
    dataset = Thread()
    batches = loader(dataset, batch_size=2, persistent_workers=persistent)
    assert batches.multiprocessing_context == "thread"
    for _ in range(3):
        assert [batch.tolist() for batch in batches] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert len(dataset.seen) == 24
    assert {(index // 2 % 2, worker) for index, worker, _ in dataset.seen} == {(0, 0), (1, 1)}
    assert data.get_worker_info() is None
    del batches
    assert not wait_for_no_threads()


def test_iterable_and_out_of_order():
    assert sorted(loader(Numbers(), batch_size=None)) == list(range(9))
    batches = list(loader(Thread(), batch_size=2, in_order=False))
    assert sorted(batch.tolist() for batch in batches) == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_no_copies():
    """What one thread gives the other is the very object."""
    rows = [object(), object()]
    assert list(loader(rows, batch_size=None)) == rows


def test_generators_of_their_own():
    class Drawn(Thread):
        def __getitem__(self, index):
            info = data.get_worker_info()
            assert info.worker_method == "thread"
            rng = info.rng
            return (
                info.seed - info.id, rng.random_generator.random(),
                torch.rand(1, generator=rng.torch_generator).item(), rng.numpy_generator.random(),
            )

    def epoch():
        torch.manual_seed(4)
        return list(loader(Drawn(), batch_size=None))

    first, second = epoch(), epoch()
    assert first == second  # however the threads took turns
    assert len({row[0] for row in first}) == 1
    assert all(len({row[k] for row in first}) == 8 for k in (1, 2, 3))


def test_left_early_and_garbage():
    iterator = iter(loader(Thread(1000)))
    next(iterator)
    iterator.cycle = iterator
    gone = weakref.ref(iterator)
    del iterator
    gc.collect()
    assert gone() is None
    assert not wait_for_no_threads()


def test_a_thread_that_hangs_is_left_behind():
    wake = threading.Event()

    class Hanging(Thread):
        def __getitem__(self, index):
            if index == 3:
                wake.wait(20)
            return index

    batches = iter(loader(Hanging(), timeout=0.2))
    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0.2 seconds"):
        list(batches)
    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0.2 seconds"):
        next(batches)
    wake.set()
    assert not wait_for_no_threads()
