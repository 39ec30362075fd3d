"""The loader: batches, options, and workers that fail in all the ways workers do."""

from __future__ import annotations

import gc
import os
import signal
import time
import warnings

import pytest

import taper as torch
from taper.utils import data
from taper.utils.data import DataLoader


def rows(count=10):
    return data.TensorDataset(torch.arange(count), torch.arange(count) * 10)


def lists(loader):
    return [[column.tolist() for column in batch] for batch in loader]


def test_batches():
    assert lists(DataLoader(rows(5), 2)) == [
        [[0, 1], [0, 10]], [[2, 3], [20, 30]], [[4], [40]],
    ]
    assert lists(DataLoader(rows(5), 2, drop_last=True))[-1] == [[2, 3], [20, 30]]
    assert lists(DataLoader(rows(2), batch_size=None)) == [[0, 0], [1, 10]]
    assert lists(DataLoader(rows(5), batch_sampler=[[4, 0], [1]])) == [
        [[4, 0], [40, 0]], [[1], [10]],
    ]
    assert [len(DataLoader(rows(5), 2, drop_last=drop)) for drop in (False, True)] == [3, 2]


def test_plain_rows_equal_collated_rows():
    """The short way for a TensorDataset, and through Subset, gives what collation gives."""
    dataset = data.Subset(rows(20), list(range(19, 0, -2)))
    expected = lists(DataLoader(dataset, 3, collate_fn=data.default_collate))
    assert lists(DataLoader(dataset, 3)) == expected

    class Doubled(data.TensorDataset):
        def __getitem__(self, index):
            return tuple(2 * x for x in super().__getitem__(index))

    assert lists(DataLoader(Doubled(torch.arange(3)), 3)) == [[[0, 2, 4]]]


def test_batches_do_not_share_memory_with_the_data():
    tensor = torch.zeros(4)
    for (batch,) in DataLoader(data.TensorDataset(tensor), 2):
        batch.add_(1)
    assert tensor.tolist() == [0, 0, 0, 0]


def test_rows_that_need_gradients():
    tensor = torch.ones(4, requires_grad=True)
    for (batch,) in DataLoader(data.TensorDataset(tensor), 2):
        batch.sum().backward()
    assert tensor.grad.tolist() == [1, 1, 1, 1]


def test_getitems_is_used():
    class Whole(data.Dataset):
        def __len__(self):
            return 4

        def __getitems__(self, indices):
            return [index * 2 for index in indices]

    assert [x.tolist() for x in DataLoader(Whole(), 2)] == [[0, 2], [4, 6]]


class Numbers(data.IterableDataset):
    def __init__(self, count):
        self.count = count

    def __iter__(self):
        worker = data.get_worker_info()
        step = worker.num_workers if worker else 1
        return iter(range(worker.id if worker else 0, self.count, step))


@pytest.mark.parametrize("workers", [0, 2])
def test_iterable(workers):
    loader = DataLoader(Numbers(7), batch_size=2, num_workers=workers)
    for _ in range(2):
        assert sorted(x for batch in loader for x in batch.tolist()) == list(range(7))


def test_wrong_length_of_an_iterable_warns():
    class Wrong(Numbers):
        def __len__(self):
            return 2

    loader = DataLoader(Wrong(5), batch_size=None)
    assert len(loader) == 2
    with pytest.warns(UserWarning, match="was reported to be 2.*but 3 samples have been fetched"):
        list(loader)
    with warnings.catch_warnings():  # here, `list` asks for the length when the epoch has begun
        warnings.simplefilter("error")
        assert len(list(DataLoader(Wrong(5), batch_size=None))) == 5


@pytest.mark.parametrize(("options", "kind", "text"), [
    ({"num_workers": -1}, ValueError, "num_workers option should be non-negative"),
    ({"timeout": -1}, ValueError, "timeout option should be non-negative"),
    ({"prefetch_factor": 2}, ValueError, "prefetch_factor option could only be specified in multi"),
    ({"persistent_workers": True}, ValueError, "persistent_workers option needs num_workers > 0"),
    ({"shuffle": True, "sampler": [1]}, ValueError, "sampler option is mutually exclusive with"),
    ({"batch_sampler": [[1]], "batch_size": 2}, ValueError, "batch_sampler option is mutually"),
    ({"batch_size": None, "drop_last": True}, ValueError, "batch_size=None option disables auto-b"),
    ({"batch_size": 0}, ValueError, "batch_size should be a positive integer value"),
    ({"multiprocessing_context": "x", "num_workers": 1}, ValueError, "should specify a valid"),
    ({"multiprocessing_context": "fork"}, ValueError, "can only be used with multi-process"),
])  # fmt: skip
def test_errors(options, kind, text):
    with pytest.raises(kind, match=text):
        DataLoader(rows(), **options)


def test_fixed_options():
    loader = DataLoader(rows())
    with pytest.raises(ValueError, match="batch_size attribute should not be set after DataLoader"):
        loader.batch_size = 3
    with pytest.raises(ValueError, match="expected unspecified shuffle option"):
        DataLoader(Numbers(3), shuffle=True)
    with pytest.warns(UserWarning, match="This DataLoader will create 500 worker processes"):
        DataLoader(rows(), num_workers=500)


# -- workers ------------------------------------------------------------------------


class Faulty(data.Dataset):
    """Does something at index 3."""

    def __init__(self, fault):
        self.fault = fault

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == 3:
            self.fault()
        return index


def fail():
    raise KeyError("no such row")


def alive(pids):
    found = []
    for pid in pids:
        try:
            os.kill(pid, 0)
            found.append(pid)
        except ProcessLookupError:
            continue
    return found


@pytest.mark.parametrize("context", ["fork", "spawn", "thread"])
def test_workers_keep_the_order(context):
    loader = DataLoader(rows(11), 2, num_workers=2, multiprocessing_context=context)
    assert lists(loader) == lists(DataLoader(rows(11), 2))


def test_out_of_order():
    loader = DataLoader(rows(11), 2, num_workers=2, in_order=False)
    assert sorted(lists(loader)) == sorted(lists(DataLoader(rows(11), 2)))


def test_large_batches_do_not_block():
    class Large(data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, index):
            return torch.full((300_000,), float(index))

    loader = DataLoader(Large(), num_workers=2, prefetch_factor=4)
    assert [batch[0, 0].item() for batch in loader] == list(range(8))


def test_batches_may_all_be_kept():
    class Large(data.Dataset):
        def __len__(self):
            return 150

        def __getitem__(self, index):
            return torch.full((20_000,), float(index))

    batches = list(DataLoader(Large(), batch_size=None, num_workers=1))
    assert [batch[-1].item() for batch in batches] == list(range(150))


def test_tasks_larger_than_a_pipe_do_not_block():
    """Each side could wait for the other to take what it sends."""
    class Whole(data.Dataset):
        def __len__(self):
            return 400_000

        def __getitems__(self, indices):
            return [torch.zeros(100_000), torch.tensor(indices)]

    loader = DataLoader(
        Whole(), 100_000, num_workers=1, prefetch_factor=4, collate_fn=lambda batch: batch[1],
        timeout=20,
    )
    assert sum(len(batch) for batch in loader) == 400_000


def test_one_goes_on_after_an_exception():
    batches = iter(DataLoader(Faulty(fail), num_workers=2))
    assert [next(batches).item() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError):
        next(batches)
    assert [batch.item() for batch in batches] == [4, 5, 6, 7]


def test_a_failed_start_is_said_in_every_epoch():
    loader = DataLoader(
        rows(), num_workers=1, worker_init_fn=lambda number: int("x"), persistent_workers=True
    )
    for _ in range(2):
        with pytest.raises(ValueError, match="Caught ValueError in DataLoader worker process 0"):
            list(loader)


def test_exceptions_of_types_that_stay_in_the_worker():
    class Own(Exception):
        pass

    def raise_own():
        raise Own("here")

    with pytest.raises(RuntimeError, match="Caught Own in DataLoader worker process 1") as caught:
        list(DataLoader(Faulty(raise_own), num_workers=2))
    assert "here" in str(caught.value)


def test_forked_processes_leave_the_workers_alone():
    iterator = iter(DataLoader(rows(100), 1, num_workers=2))
    next(iterator)
    pid = os.fork()
    if pid == 0:
        iterator._crew.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert len(list(iterator)) == 99


def test_exceptions_come_with_the_workers_traceback():
    with pytest.raises(KeyError) as caught:
        list(DataLoader(Faulty(fail), num_workers=2))
    text = str(caught.value)
    assert text.startswith("Caught KeyError in DataLoader worker process 1.\nOriginal Traceback")
    assert "no such row" in text


def test_worker_init_fn():
    with pytest.raises(ValueError, match="Caught ValueError in DataLoader worker process 0"):
        list(DataLoader(rows(), num_workers=1, worker_init_fn=lambda number: int("x")))


@pytest.mark.parametrize(("fault", "text"), [
    (lambda: os._exit(3), r"DataLoader worker \(pid\(s\) \d+\) exited unexpectedly with exit code"),
    (lambda: os.kill(os.getpid(), signal.SIGKILL), "exited unexpectedly: killed by signal: Killed"),
])  # fmt: skip
def test_workers_that_die_are_named(fault, text):
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=text):
        list(DataLoader(Faulty(fault), num_workers=2))
    assert time.monotonic() - start < 5


def test_timeout_and_no_orphans():
    loader = DataLoader(Faulty(lambda: time.sleep(60)), num_workers=2, timeout=0.3)
    iterator = iter(loader)
    pids = [worker.pid for worker in iterator._workers]
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0.3 seconds"):
        list(iterator)
    del iterator
    gc.collect()
    assert time.monotonic() - start < 5
    assert not alive(pids)


def test_leaving_early_ends_the_workers():
    iterator = iter(DataLoader(rows(100), 1, num_workers=2))
    next(iterator)
    pids = [worker.pid for worker in iterator._workers]
    del iterator
    gc.collect()
    assert not alive(pids)


def test_leaving_in_a_cycle_ends_the_workers():
    """Of a dead cycle the collector finalizes connections, too, and maybe before the iterator."""
    pids = []
    for _ in range(5):
        iterator = iter(DataLoader(rows(100), 1, num_workers=2))
        iterator.cycle = [iterator]
        next(iterator)
        pids += [worker.pid for worker in iterator._workers]
        del iterator
    spare = os.open(os.devnull, os.O_RDONLY)  # closing a number twice would close a stranger
    gc.collect()
    os.close(spare)
    assert not alive(pids)


def test_persistent_workers():
    loader = DataLoader(rows(6), 2, num_workers=2, persistent_workers=True)
    expected = lists(DataLoader(rows(6), 2))
    assert lists(loader) == expected
    pids = {worker.pid for worker in loader._iterator._workers}
    next(iter(loader))  # an epoch that is left early
    assert lists(loader) == expected
    assert {worker.pid for worker in loader._iterator._workers} == pids
    del loader
    gc.collect()
    assert not alive(pids)


def test_workers_know_themselves():
    class Who(data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            info = data.get_worker_info()
            assert info.dataset is self
            with pytest.raises(RuntimeError, match="Cannot assign attributes to WorkerInfo"):
                info.id = 3
            return info.id, info.num_workers, info.seed == torch.initial_seed()

    assert data.get_worker_info() is None
    batches = list(DataLoader(Who(), batch_size=None, num_workers=2))
    assert batches == [[0, 2, True], [1, 2, True]] * 2


def test_nothing_is_left_to_warn_about():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(DataLoader(rows(), 2, num_workers=2))
        gc.collect()
