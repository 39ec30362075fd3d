"""Attention: softmax(q kᵀ · scale + mask) v, a block of queries at a time.

Arrays are (batch, length, size), or (batch, heads, length, size) without a mask, all of one batch;
a mask, added to the scores, is None or broadcasts to (batch, queries, keys). The scores are never
stored whole: the backward pass computes them again from each query's logsumexp (Dao et al.,
FlashAttention, 2022).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from taper.arrays.primitive import primitive
from taper.kernels import row_sums
from taper.kernels.native_twin import with_native
from taper.kernels.summation import as_divisor

__all__ = ["attention", "attention_gradient"]

Array = np.ndarray[Any, Any]
ndarray = np.ndarray

_BLOCK = 1 << 19  # scores held at a time
_WORTH_A_KERNEL = 1 << 8  # multiplications of queries with keys; calls of kernels are planned
_FEW = 1 << 13  # scores, what kernels/small_rows.py takes
_FEWEST_QUERIES = 4  # else most of a kernel's tile would be empty


def blocks(batch: int, queries: int, keys: int) -> Iterator[tuple[slice, slice]]:
    """Slices of the batch and of the queries with few enough scores."""
    each = max(queries * keys, 1)
    if batch * each <= _BLOCK or queries == 0:
        yield slice(0, batch), slice(0, queries)
        return
    step = max(1, _BLOCK // each)
    rows = queries if each <= _BLOCK else max(1, _BLOCK // max(keys, 1))
    for start in range(0, batch, step):
        for top in range(0, queries, rows):
            yield (slice(start, min(start + step, batch)), slice(top, min(top + rows, queries)))


def _scores(
    query: Array, key: Array, mask: Array | None, causal: bool, scale: float, items: slice,
    rows: slice,
) -> tuple[Array, slice]:
    """The scores of a block, and the keys that any of its queries may see."""
    seen = slice(0, min(rows.stop, key.shape[1]) if causal else key.shape[1])
    scores = np.matmul(query[items, rows], key[items, seen].swapaxes(1, 2))
    scores *= scores.dtype.type(scale)
    if mask is not None:
        part = mask if mask.shape[0] == 1 else mask[items]
        part = part if part.shape[1] == 1 else part[:, rows]
        scores += part if part.shape[2] == 1 else part[:, :, seen]
    if causal:
        later = np.arange(seen.stop) > np.arange(rows.start, rows.stop)[:, None]
        np.copyto(scores, -math.inf, where=later)
    return scores, seen


def _joined(array: Array) -> Array:
    """The heads of all items, one after the other."""
    return array.reshape(math.prod(array.shape[:2]), *array.shape[2:])


def _is_large(query: Array, key: Array, *_: Any) -> bool:
    queries, keys = query.shape[-2], key.shape[-2]
    if queries < _FEWEST_QUERIES and math.prod(query.shape[:-1]) * keys <= _FEW:
        return False
    return query.size * keys >= _WORTH_A_KERNEL


@lru_cache(maxsize=64)
def _later_keys(queries: int, keys: int, dtype: Any) -> Array:
    """What is added to scores so that no query sees a later key; kept."""
    hidden = np.triu(np.full((queries, keys), -math.inf, dtype), 1)
    hidden.flags.writeable = False
    return hidden


def _few_scores(
    query: Array, key: Array, value: Array, causal: bool, scale: float
) -> tuple[Array, Array] | None:
    """Attention whose scores are few enough to be stored, by the machine code of small rows."""
    batch, queries, _ = query.shape
    keys = key.shape[1]
    scores = np.matmul(query, key.swapaxes(1, 2))
    scores *= as_divisor(scale, scores.dtype)
    if causal:
        scores += _later_keys(queries, keys, scores.dtype)
    rows = scores.reshape(batch * queries, keys)
    weights = row_sums.softmax_of_rows(rows)
    logsum = row_sums.logsumexp_of_rows(rows)
    if weights is None or logsum is None:
        return None
    mixed = np.matmul(weights.reshape(scores.shape), value)
    return mixed, logsum.reshape(batch, queries, 1)


@primitive
@with_native("taper.kernels.native_attention", _is_large)
def attention(
    query: Array, key: Array, value: Array, mask: Array | None, causal: bool, scale: float
) -> tuple[Array, Array]:
    """The mixed values (batch, queries, size), and the logsumexp of each query's scores.

    A query that may see no key gets zeros.
    """
    if query.ndim == 4:
        mixed, logsums = attention(
            _joined(query), _joined(key), _joined(value), mask, causal, scale)
        lead = query.shape[:2]
        return mixed.reshape(*lead, *mixed.shape[1:]), logsums.reshape(*lead, *logsums.shape[1:])
    batch, queries = query.shape[:2]
    if mask is None and type(query) is ndarray and 0 < batch * queries * key.shape[1] <= _FEW:
        few = _few_scores(query, key, value, causal, scale)
        if few is not None:
            return few
    result = np.empty((batch, queries, value.shape[2]), query.dtype)
    logsum = np.empty((batch, queries, 1), query.dtype)
    if not key.shape[1]:
        result[...] = 0
        logsum[...] = -math.inf
        return result, logsum
    for items, rows in blocks(batch, queries, key.shape[1]):
        scores, seen = _scores(query, key, mask, causal, scale, items, rows)
        most = np.maximum.reduce(scores, 2, None, None, True)
        if mask is not None:
            most[most == -math.inf] = 0  # all keys are masked
        scores -= most
        np.exp(scores, scores)
        total = np.add.reduce(scores, 2, None, None, True)
        if mask is not None:
            total[total == 0] = 1
        part = np.matmul(scores, value[items, seen])
        part /= total
        result[items, rows] = part
        np.log(total, total)
        total += most
        logsum[items, rows] = total
    return result, logsum


@attention.shapes
def _(
    query: Array, key: Array, value: Array, mask: Array | None, causal: bool, scale: float
) -> Any:
    lead = query.shape[:-1]
    return [((*lead, value.shape[-1]), query.dtype), ((*lead, 1), query.dtype)]


def _has_large_gradient(grad: Array, query: Array, key: Array, *_: Any) -> bool:
    return query.size * key.shape[-2] >= _WORTH_A_KERNEL


@primitive
@with_native("taper.kernels.native_attention", _has_large_gradient)
def attention_gradient(
    grad: Array, query: Array, key: Array, value: Array, mask: Array | None, result: Array,
    logsum: Array, causal: bool, scale: float,
) -> tuple[Array, Array, Array]:
    """The gradients of query, key and value."""
    if query.ndim == 4:
        first, second, third = attention_gradient(
            _joined(grad), _joined(query), _joined(key), _joined(value), mask, _joined(result),
            _joined(logsum), causal, scale)
        return (first.reshape(query.shape), second.reshape(key.shape), third.reshape(value.shape))
    for_query = np.zeros(query.shape, query.dtype)
    for_key = np.zeros(key.shape, key.dtype)
    for_value = np.zeros(value.shape, value.dtype)
    if not key.shape[1]:
        return for_query, for_key, for_value
    along = np.vecdot(grad, result)[:, :, None]
    factor = query.dtype.type(scale)
    for items, rows in blocks(query.shape[0], query.shape[1], key.shape[1]):
        weights, seen = _scores(query, key, mask, causal, scale, items, rows)
        weights -= logsum[items, rows]
        np.exp(weights, weights)
        wanted = grad[items, rows]
        for_value[items, seen] += np.matmul(weights.swapaxes(1, 2), wanted)
        for_weights = np.matmul(wanted, value[items, seen].swapaxes(1, 2))
        for_weights -= along[items, rows]
        for_weights *= weights
        for_weights *= factor
        for_query[items, rows] = np.matmul(for_weights, key[items, seen])
        for_key[items, seen] += np.matmul(for_weights.swapaxes(1, 2), query[items, rows])
    return for_query, for_key, for_value


@attention_gradient.shapes
def _(
    grad: Array, query: Array, key: Array, value: Array, mask: Array | None, result: Array,
    logsum: Array, causal: bool, scale: float,
) -> Any:
    return [(x.shape, x.dtype) for x in (query, key, value)]
