"""A sampler that shares a data set out among the processes of a distributed program."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import taper
from taper.utils.data.sampler import Sampler

__all__ = ["DistributedSampler"]


class DistributedSampler(Sampler[int]):
    """The part of the indices that belongs to one process.

    Call `set_epoch` before each epoch, or every epoch has the same order.

    Args:
        dataset: something with a length.
        num_replicas, rank: how many processes there are, and which one this is; default: asked
            of the process group.
        shuffle: in random order. seed: of that order, the same in all processes.
        drop_last: leaves out what doesn't divide evenly; else some samples come twice.
    """

    def __init__(
        self, dataset: Any, num_replicas: int | None = None, rank: int | None = None,
        shuffle: bool = True, seed: int = 0, drop_last: bool = False,
    ) -> None:
        if num_replicas is None:
            num_replicas = taper.distributed.get_world_size()
        if rank is None:
            rank = taper.distributed.get_rank()
        if rank >= num_replicas or rank < 0:
            raise ValueError(
                f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]"
            )
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        size = len(dataset)
        self.num_samples = size // num_replicas if drop_last else math.ceil(size / num_replicas)
        self.total_size = self.num_samples * num_replicas
        self.shuffle = shuffle
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        size = len(self.dataset)
        if self.shuffle:
            generator = taper.Generator()
            generator.manual_seed(self.seed + self.epoch)
            indices = taper.randperm(size, generator=generator).tolist()
        else:
            indices = list(range(size))
        if self.total_size > size:  # begin again from the front
            indices *= math.ceil(self.total_size / size)
        return iter(indices[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch follows; the order depends on it."""
        self.epoch = epoch
