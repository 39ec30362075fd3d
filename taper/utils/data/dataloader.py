"""Loads batches from a data set, in this process or by worker processes."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import multiprocessing.connection
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import taper
from taper.utils.data.collate import default_collate, default_convert
from taper.utils.data.dataset import Dataset, IterableDataset
from taper.utils.data.fetch import fetcher
from taper.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    draw_seed,
)
from taper.utils.data.worker import (
    ENDED,
    FAILED,
    get_worker_info,
    receive_in_pieces,
    run_worker,
)

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]

_T_co = TypeVar("_T_co", covariant=True)


class _InfiniteConstantSampler(Sampler[None]):
    """Endless "indices" for data sets that have none."""

    def __iter__(self) -> Iterator[None]:
        return itertools.repeat(None)


class DataLoader(Generic[_T_co]):
    """Goes through a data set in batches; each ``for`` loop over it is one epoch.

    Args:
        dataset: the data set.
        batch_size: samples per batch; None: single samples, as the data set gives them.
        shuffle: in random order, another one each epoch.
        sampler, batch_sampler: give the order of the indices, or lists of them, instead.
        num_workers: processes that load; 0: this one does.
        collate_fn: puts a list of samples together; default: `default_collate`.
        pin_memory, pin_memory_device: accepted; there is no device to pin memory for.
        drop_last: leaves the last batch out if it is smaller.
        timeout: seconds to wait for a worker; 0: as long as it lives.
        worker_init_fn: called with the worker's number in each worker.
        multiprocessing_context: how workers are started: "fork", "spawn", "forkserver".
        generator: where the order, and the seeds of the workers, come from.
        prefetch_factor: batches that each worker loads ahead; default 2.
        persistent_workers: keeps the workers from one epoch to the next.
        in_order: batches come in the order of the sampler, not in that of their being ready.

    Example:
        >>> import taper as torch
        >>> from taper.utils.data import DataLoader
        >>> for batch in DataLoader(range(5), batch_size=2):
        ...     print(batch)
        tensor([0, 1])
        tensor([2, 3])
        tensor([4])
    """

    dataset: Dataset[_T_co]
    batch_size: int | None
    num_workers: int
    drop_last: bool
    sampler: Any
    batch_sampler: Any
    __multiprocessing_context: Any = None
    __initialized = False
    _iterator: _WorkersIterator | None = None

    def __init__(
        self, dataset: Dataset[_T_co], batch_size: int | None = 1, shuffle: bool | None = None,
        sampler: Sampler[Any] | Iterable[Any] | None = None,
        batch_sampler: Sampler[list[Any]] | Iterable[list[Any]] | None = None,
        num_workers: int = 0, collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False, drop_last: bool = False, timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None, multiprocessing_context: Any = None,
        generator: Any = None, *, prefetch_factor: int | None = None,
        persistent_workers: bool = False, pin_memory_device: str = "", in_order: bool = True,
    ) -> None:
        prefetch_factor = _check_worker_options(
            num_workers, timeout, prefetch_factor, persistent_workers
        )
        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.in_order = in_order

        self._is_iterable = isinstance(dataset, IterableDataset)
        if self._is_iterable:
            for name, given in (
                ("shuffle", shuffle or None), ("sampler", sampler), ("batch_sampler", batch_sampler)
            ):
                if given is not None:
                    raise ValueError(
                        f"DataLoader with IterableDataset: expected unspecified {name} option, "
                        f"but got {name}={given}"
                    )
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, "
                    "sampler, and drop_last"
                )
            batch_size = None
            drop_last = False
        elif batch_size is None and drop_last:
            raise ValueError(
                "batch_size=None option disables auto-batching and is mutually exclusive with "
                "drop_last"
            )
        if sampler is None:
            if self._is_iterable:
                sampler = _InfiniteConstantSampler()
            elif shuffle:
                sampler = RandomSampler(dataset, generator=generator)  # type: ignore[arg-type]
            else:
                sampler = SequentialSampler(dataset)  # type: ignore[arg-type]
        if batch_size is not None and batch_sampler is None:
            order: Any = sampler
            batch_sampler = BatchSampler(order, batch_size, drop_last)
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.generator = generator
        if collate_fn is None:
            collate_fn = default_convert if batch_sampler is None else default_collate
        self.collate_fn = collate_fn
        self.persistent_workers = persistent_workers
        self.__initialized = True
        self._iterator = None
        self._IterableDataset_len_called: int | None = None
        self.check_worker_number_rationality()

    @property
    def multiprocessing_context(self) -> Any:
        """How worker processes are started."""
        return self.__multiprocessing_context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context: Any) -> None:
        if context is not None:
            if self.num_workers == 0:
                raise ValueError(
                    "multiprocessing_context can only be used with multi-process loading "
                    f"(num_workers > 0), but got num_workers={self.num_workers}"
                )
            if isinstance(context, str):
                methods = multiprocessing.get_all_start_methods()
                if context not in methods:
                    raise ValueError(
                        "multiprocessing_context option should specify a valid start method in "
                        f"{methods!r}, but got multiprocessing_context={context!r}"
                    )
                context = multiprocessing.get_context(context)
            elif not isinstance(context, multiprocessing.context.BaseContext):
                raise TypeError(
                    "multiprocessing_context option should be a valid context object or a string "
                    "specifying the start method, but got multiprocessing_context="
                    f"{context}"
                )
        self.__multiprocessing_context = context

    def __setattr__(self, name: str, value: Any) -> None:
        if self.__initialized and name in (
            "batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers",
        ):
            raise ValueError(
                f"{name} attribute should not be set after {type(self).__name__} is initialized"
            )
        super().__setattr__(name, value)

    def __iter__(self) -> Iterator[Any]:
        if self.num_workers == 0:
            return _PlainIterator(self)
        if not self.persistent_workers:
            return _WorkersIterator(self)
        if self._iterator is None:
            self._iterator = _WorkersIterator(self)
        else:
            self._iterator.restart()
        return self._iterator

    @property
    def _auto_collation(self) -> bool:
        return self.batch_sampler is not None

    @property
    def _index_sampler(self) -> Any:
        return self.batch_sampler if self._auto_collation else self.sampler

    def __len__(self) -> int:
        if not self._is_iterable:
            return len(self._index_sampler)
        length = len(self.dataset)  # type: ignore[arg-type]
        self._IterableDataset_len_called = length
        if self.batch_size is None:
            return length
        return length // self.batch_size if self.drop_last else -(-length // self.batch_size)

    def check_worker_number_rationality(self) -> None:
        """Warns if there are more workers than processors to run them."""
        if not self.num_workers:
            return
        usable = os.cpu_count()
        if hasattr(os, "sched_getaffinity"):
            usable = len(os.sched_getaffinity(0))
        if usable is not None and self.num_workers > usable:
            warnings.warn(
                f"This DataLoader will create {self.num_workers} worker processes in total. Our "
                f"suggested max number of worker in current system is {usable}, which is smaller "
                "than what this DataLoader is going to create. Please be aware that excessive "
                "worker creation might get DataLoader running slow or even freeze, lower the "
                "worker number to avoid potential slowness/freeze if necessary.",
                stacklevel=3,
            )

    def _fetcher_arguments(self) -> tuple[Any, ...]:
        return self._is_iterable, self._auto_collation, self.collate_fn, self.drop_last


def _check_worker_options(
    num_workers: int, timeout: float, prefetch_factor: int | None, persistent: bool
) -> int | None:
    """Raises ValueError for options that make no sense together; returns the prefetch factor."""
    if num_workers < 0:
        raise ValueError(
            "num_workers option should be non-negative; use num_workers=0 to disable "
            "multiprocessing."
        )
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing."
            "let num_workers > 0 to enable multiprocessing, otherwise set prefetch_factor to None."
        )
    if prefetch_factor is not None and prefetch_factor < 0:
        raise ValueError("prefetch_factor option should be non-negative")
    if persistent and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")
    return 2 if num_workers > 0 and prefetch_factor is None else prefetch_factor


class _PlainIterator:
    """One epoch, loaded in this process."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._loader = loader
        self._indices = iter(loader._index_sampler)
        # Unused here, but PyTorch draws it, and what follows must come out the same.
        self._base_seed = draw_seed(loader.generator)
        self._fetch = fetcher(loader.dataset, *loader._fetcher_arguments())
        self._yielded = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        batch = self._fetch(next(self._indices))
        self._yielded += 1
        _warn_if_longer(self._loader, self._yielded)
        return batch

    def __len__(self) -> int:
        return len(self._loader._index_sampler)


def _warn_if_longer(loader: DataLoader[Any], yielded: int) -> None:
    """Warns when an iterable data set yields more than `len(loader)` said."""
    expected = loader._IterableDataset_len_called
    if expected is None or yielded <= expected:
        return
    text = (
        f"Length of IterableDataset {loader.dataset} was reported to be {expected}"
        f"(when accessing len(dataloader)), but {yielded} samples have been fetched. "
    )
    if loader.num_workers > 1:
        text += (
            "For multiprocessing data-loading, this could be caused by not properly configuring "
            "the IterableDataset replica at each worker. Please see "
            "https://pytorch.org/docs/stable/data.html#torch.utils.data.IterableDataset for "
            "examples."
        )
    warnings.warn(text, stacklevel=3)


class _WorkersIterator:
    """One epoch (or, with persistent workers, many), loaded by worker processes."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._loader = loader
        context = loader.multiprocessing_context or multiprocessing.get_context()
        count = loader.num_workers
        self._workers: list[Any] = []
        self._pipes: list[Any] = []
        _ = taper.save  # what pickles tensors: imported once, before the workers are forked
        self._begin()
        self._base_seed = draw_seed(loader.generator)
        for worker_id in range(count):
            ours, theirs = context.Pipe()
            worker = context.Process(
                target=run_worker,
                args=(
                    theirs, loader.dataset, worker_id, count, self._base_seed,
                    loader.worker_init_fn, loader._fetcher_arguments(),
                ),
                daemon=True,
            )
            worker.start()
            theirs.close()  # so that the pipe breaks when either process ends
            self._workers.append(worker)
            self._pipes.append(ours)
        self._send_ahead()

    def _begin(self) -> None:
        """Starts an epoch: the order of indices and all counters."""
        loader = self._loader
        self._indices = iter(loader._index_sampler)
        self._active = list(range(loader.num_workers))  # workers that still have data
        self._next_worker = itertools.cycle(range(loader.num_workers))
        self._sent = self._wanted = 0  # numbers of the next task to send, and to yield
        self._owner: dict[int, int] = {}  # task → worker, of unanswered tasks
        self._ready: dict[int, Any] = {}  # task → (kind, value)
        self._exhausted = False
        self._yielded = 0

    def restart(self) -> None:
        """Starts another epoch with the same workers."""
        while self._owner:  # answers of an epoch that was left early
            self._receive()
        self._begin()
        for worker_id, pipe in enumerate(self._pipes):
            pipe.send((-1 - worker_id, None))
            self._owner[-1 - worker_id] = worker_id
        while self._owner:
            self._receive()
        for kind, value in list(self._ready.values()):
            if kind == FAILED:
                value.reraise()
        self._ready.clear()
        self._send_ahead()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __len__(self) -> int:
        return len(self._loader._index_sampler)

    def __next__(self) -> Any:
        while True:
            self._send_ahead()
            number = self._next_answer()
            if number is None:
                if not self._loader.persistent_workers:
                    self.close()
                raise StopIteration
            kind, value = self._ready.pop(number)
            self._wanted = max(self._wanted, number + 1)
            if kind == ENDED:
                continue
            if kind == FAILED:
                if not self._loader.persistent_workers:
                    self.close()
                value.reraise()
            self._send_ahead()
            self._yielded += 1
            _warn_if_longer(self._loader, self._yielded)
            return value

    def _send_ahead(self) -> None:
        """Keeps every worker supplied with tasks."""
        limit = (self._loader.prefetch_factor or 0) * self._loader.num_workers
        while not self._exhausted and self._active and len(self._owner) + len(self._ready) < max(
            limit, 1
        ):
            try:
                indices = next(self._indices)
            except StopIteration:
                self._exhausted = True
                return
            if indices is None:  # an unbatched iterable data set: None would mean a new epoch
                indices = ()
            worker_id = next(w for w in self._next_worker if w in self._active)
            self._owner[self._sent] = worker_id
            try:
                self._pipes[worker_id].send((self._sent, indices))
            except (BrokenPipeError, ConnectionResetError):
                self._raise_if_dead()
                raise
            self._sent += 1

    def _next_answer(self) -> int | None:
        """The number of the task whose answer comes next; None at the end of the epoch."""
        while True:
            if self._loader.in_order:
                while self._wanted < self._sent:
                    if self._wanted in self._ready:
                        return self._wanted
                    if self._wanted in self._owner:
                        break
                    self._wanted += 1  # a task of a worker that has run out of data
                else:
                    return None
            elif self._ready:
                return next(iter(self._ready))
            elif not self._owner:
                return None
            self._receive()

    def _receive(self) -> None:
        """Waits for answers, and takes those that are there."""
        waiting = {self._pipes[w]: w for w in set(self._owner.values())}
        sentinels = {self._workers[w].sentinel: w for w in waiting.values()}
        timeout = self._loader.timeout or None
        deadline = None if timeout is None else time.monotonic() + timeout
        events = multiprocessing.connection.wait([*waiting, *sentinels], timeout)
        if not events and deadline is not None:
            raise RuntimeError(f"DataLoader timed out after {timeout} seconds")
        pipes: list[Any] = [event for event in events if event in waiting]
        for pipe in pipes:
            try:
                number, kind, value = receive_in_pieces(pipe)
            except (EOFError, OSError):
                self._raise_if_dead()
                raise
            worker_id = self._owner.pop(number)
            self._ready[number] = (kind, value)
            if kind == ENDED and worker_id in self._active:
                self._active.remove(worker_id)
        if not pipes:
            self._raise_if_dead()

    def _raise_if_dead(self) -> None:
        """Names the workers that ended by themselves, and how."""
        dead = []
        for worker in self._workers:
            worker.join(timeout=1 if not worker.is_alive() else 0.1)
            if worker.exitcode is not None:
                dead.append(worker)
        if not dead:
            return
        pids = ", ".join(str(worker.pid) for worker in dead)
        code = dead[0].exitcode
        how = f"exit code {code}" if code >= 0 else f"signal {-code} ({_signal_name(-code)})"
        self.close()
        raise RuntimeError(
            f"DataLoader worker (pid {pids}) exited unexpectedly with {how}. Details are lost due "
            "to multiprocessing. Rerunning with num_workers=0 may give better error trace."
        )

    def close(self) -> None:
        """Ends the workers: politely, then after a second by force."""
        workers, self._workers = self._workers, []
        pipes, self._pipes = self._pipes, []
        for pipe in pipes:
            try:
                pipe.send(None)
            except (OSError, ValueError):
                continue  # that worker is gone already
        for pipe in pipes:
            pipe.close()
        end = time.monotonic() + 1.0
        for worker in workers:
            worker.join(timeout=max(0.0, end - time.monotonic()))
            if worker.exitcode is None:
                worker.kill()
                worker.join()
        self._owner.clear()

    def __del__(self) -> None:
        if getattr(self, "_workers", None) and self._workers[0]._parent_pid == os.getpid():
            self.close()


@functools.cache
def _signal_name(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
