"""Arguments of functions on batched arrays: their levels, and how samples are lined up in front.

Here, too, is the table of rules, and the way of functions that have none: once per sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from taper.arrays.batched import BatchedArray, axes_behind
from taper.arrays.levels import Level, shapes_error
from taper.core.rule_tables import entered_in

__all__ = [
    "RULES", "aligned", "batched", "behind", "dimensions", "each_sample", "expanded",
    "given_out", "is_at", "ndim_of", "rule", "together", "youngest",
]

ndarray = np.ndarray
RULES: dict[Any, Callable[..., Any]] = {}
"""One rule per function of NumPy, or primitive of ours."""

rule = entered_in(RULES)


def batched_in(values: Any) -> Iterator[BatchedArray]:
    """The batched arrays among arguments, and in lists and tuples among them."""
    for value in values:
        if type(value) is BatchedArray:
            yield value
        elif type(value) is list or type(value) is tuple:
            yield from batched_in(value)


def youngest(args: Any, options: dict[str, Any] | None = None) -> Level:
    """The youngest level among arguments."""
    level: Any = None
    for value in batched_in(args if not options else (*args, *options.values())):
        if level is None or value.level.number > level.number:
            level = value.level
    return level  # type: ignore[no-any-return]


def is_at(value: Any, level: Level) -> bool:
    return type(value) is BatchedArray and value.level is level


def expanded(value: Any, level: Level) -> Any:
    """The array of all samples, also where it is the same for each."""
    if is_at(value, level):
        return value.inner
    if not hasattr(value, "shape"):
        value = np.asarray(value)
    return np.broadcast_to(value, (level.size, *value.shape))


def aligned(value: Any, level: Level, ndim: int) -> Any:
    """`inner` with as many dimensions behind the hidden one that NumPy's broadcasting meets."""
    if type(value) is not BatchedArray or value.level is not level:
        return value
    inner = value.inner
    missing = ndim - len(value.shape)
    if missing <= 0:
        return inner
    return inner.reshape((inner.shape[0], *(1,) * missing, *value.shape))


def dimensions(value: Any) -> int:
    """How many dimensions one sample has: np.ndim, without the way through NumPy."""
    return value.ndim if hasattr(value, "ndim") else np.ndim(value)


def ndim_of(values: Any) -> int:
    """The most dimensions that one sample of any of these has."""
    return max([dimensions(v) for v in values])


def together(values: Any, level: Level) -> list[Any]:
    """Arrays whose broadcasting, samples in front, is that of each sample."""
    ndim = ndim_of(values)
    return [aligned(v, level, ndim) for v in values]


def batched(result: Any, level: Level) -> Any:
    if type(result) is tuple or type(result) is list:
        return type(result)([BatchedArray(r, level) for r in result])
    return BatchedArray(result, level)


def each_sample(function: Callable[..., Any], level: Level, args: Any, options: Any) -> Any:
    """Runs a function once per sample and stacks its results: right for every function."""
    results = [
        function(*_sample(args, level, i), **_sample(options, level, i)) for i in range(level.size)
    ]
    if not results:
        raise NotImplementedError(
            f"vmap over no samples: {getattr(function, '__name__', function)} can't tell the shape "
            "of its result"
        )
    return _stacked(results, level, getattr(function, "__name__", "function"))


def _sample(value: Any, level: Level, i: int) -> Any:
    if type(value) is BatchedArray and value.level is level:
        found = value.inner[i]
        return found if hasattr(found, "strides") else np.asarray(found)
    if type(value) is tuple or type(value) is list:
        return type(value)([_sample(v, level, i) for v in value])
    if type(value) is dict:
        return {k: _sample(v, level, i) for k, v in value.items()}
    return value


def _stacked(results: list[Any], level: Level, name: str) -> Any:
    """What the samples' results are together; what is no array must be equal in all."""
    first = results[0]
    if isinstance(first, (tuple, list)):
        parts = [_stacked(list(part), level, name) for part in zip(*results, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    if isinstance(first, (ndarray, np.generic, BatchedArray)):
        if any([r.shape != first.shape for r in results]):
            raise shapes_error(name)
        return BatchedArray(np.stack(results), level)
    return first


def behind(axis: Any, array: Any) -> Any:
    """The axes of a reduction of each sample; None is all of them."""
    if axis is None:
        return tuple(range(1, array.ndim + 1))
    return axes_behind(axis, array.ndim)


def given_out(result: Any, out: Any) -> Any:
    if out is None:
        return result
    out[...] = result
    return out
