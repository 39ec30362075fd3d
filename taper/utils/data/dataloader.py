"""Loads batches from a data set, in this process or by worker processes."""

from __future__ import annotations

import copy
import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

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
from taper.utils.data.worker_info import get_worker_info

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
        num_workers: processes (or threads) that load; 0: this one does.
        collate_fn: puts a list of samples together; default: `default_collate`.
        pin_memory, pin_memory_device: accepted; there is no device to pin memory for.
        drop_last: leaves the last batch out if it is smaller.
        timeout: seconds to wait for a worker; 0: as long as it lives.
        worker_init_fn: called with the worker's number in each worker.
        multiprocessing_context: how workers are started: "fork", "spawn", "forkserver", or
            "thread" for threads of this process: they start at once and share the data set, but
            not generators of random numbers; theirs are in ``get_worker_info().rng``.
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
    _iterator: Any = None  # of persistent workers

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
        self._reported = _ReportedLength(dataset, num_workers)
        self.check_worker_number_rationality()

    @property
    def multiprocessing_context(self) -> Any:
        """How workers are started."""
        return self.__multiprocessing_context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context: Any) -> None:
        if context is not None and self.num_workers == 0:
            raise ValueError(
                "multiprocessing_context can only be used with multi-process loading "
                f"(num_workers > 0), but got num_workers={self.num_workers}"
            )
        if context is not None and context != "thread":
            import multiprocessing

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
        from taper.utils.data.worker_iterator import WorkersIterator

        if not self.persistent_workers:
            return WorkersIterator(self)
        if self._iterator is None or self._iterator.has_failed:
            self._iterator = WorkersIterator(self)
        else:
            self._iterator.restart(self)
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
        self._reported.length = length
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


class _BaseDataLoaderIter:
    """Goes through a data set once; other packages ask whether something is one."""


class _ReportedLength:
    """What `len` said of a loader of an iterable data set, which may yield more than that."""

    def __init__(self, dataset: Any, num_workers: int) -> None:
        self.dataset = dataset
        self.num_workers = num_workers
        self.length: int | None = None

    def warn_if_less_than(self, yielded: int) -> None:
        """Called by an iterator's `__next__`, whose caller is warned."""
        if self.length is None or yielded <= self.length:
            return
        text = (
            f"Length of IterableDataset {self.dataset} was reported to be {self.length}"
            f"(when accessing len(dataloader)), but {yielded} samples have been fetched. "
        )
        if self.num_workers > 1:
            text += (
                "For multiprocessing data-loading, this could be caused by not properly "
                "configuring the IterableDataset replica at each worker. Please see "
                "https://pytorch.org/docs/stable/data.html#torch.utils.data.IterableDataset for "
                "examples."
            )
        warnings.warn(text, stacklevel=3)


class _PlainIterator(_BaseDataLoaderIter):
    """One epoch, loaded in this process."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._loader = loader
        self._reported = copy.copy(loader._reported)  # `len` asked for later is for later epochs
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
        self._reported.warn_if_less_than(self._yielded)
        return batch

    def __len__(self) -> int:
        return len(self._loader._index_sampler)


_SingleProcessDataLoaderIter = _PlainIterator


def __getattr__(name: str) -> Any:
    if name == "_MultiProcessingDataLoaderIter":
        from taper.utils.data.worker_iterator import WorkersIterator

        return WorkersIterator
    raise AttributeError(f"module 'torch.utils.data.dataloader' has no attribute {name!r}")
