"""Gets the samples of a batch from a data set and puts them together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import taper
from taper import Tensor
from taper.utils.data.collate import default_collate
from taper.utils.data.dataset import Subset, TensorDataset

__all__ = ["fetcher"]

Fetch = Callable[[Any], Any]


def fetcher(
    dataset: Any, iterable: bool, batched: bool, collate_fn: Callable[[Any], Any], drop_last: bool
) -> Fetch:
    """A function from an index (or a list of them) to what the loader yields for it."""
    if iterable:
        return _iterable_fetcher(iter(dataset), batched, collate_fn, drop_last)
    if not batched:
        return lambda index: collate_fn(dataset[index])
    if collate_fn is default_collate and _has_plain_rows(dataset):
        return lambda indices: _rows(dataset, indices)
    if getattr(dataset, "__getitems__", None):
        return lambda indices: collate_fn(dataset.__getitems__(indices))
    return lambda indices: collate_fn([dataset[index] for index in indices])


def _iterable_fetcher(
    samples: Iterator[Any], batched: bool, collate_fn: Callable[[Any], Any], drop_last: bool
) -> Fetch:
    """The same for an iterable data set, whose "indices" only say how many samples to take."""
    ended = False

    def fetch(indices: Any) -> Any:
        nonlocal ended
        if ended:
            raise StopIteration
        if not batched:
            return collate_fn(next(samples))
        batch = []
        for _ in indices:
            try:
                batch.append(next(samples))
            except StopIteration:
                ended = True
                break
        if not batch or (drop_last and len(batch) < len(indices)):
            raise StopIteration
        return collate_fn(batch)

    return fetch


def _has_plain_rows(dataset: Any) -> bool:
    """Whether a batch is just rows of tensors: a TensorDataset as it is, or a Subset of one.

    Then the default collation (stacking row by row) equals one indexing for each tensor.
    """
    while type(dataset) is Subset:
        dataset = dataset.dataset
    return type(dataset) is TensorDataset and all(
        type(tensor) is Tensor and not tensor.requires_grad for tensor in dataset.tensors
    )


def _rows(dataset: Any, indices: list[int]) -> list[Tensor]:
    while type(dataset) is Subset:
        indices = [dataset.indices[index] for index in indices]
        dataset = dataset.dataset
    rows = taper.tensor(indices)
    return [tensor[rows] for tensor in dataset.tensors]
