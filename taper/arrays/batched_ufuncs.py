"""What ufuncs and their methods do to batched arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper.arrays.batched import BatchedArray, axis_behind
from taper.arrays.batched_arguments import (
    RULES,
    aligned,
    batched,
    behind,
    dimensions,
    each_sample,
    expanded,
    is_at,
    youngest,
)
from taper.arrays.batched_index import placed
from taper.arrays.levels import Level, in_place_error

__all__ = ["call_ufunc", "outer_products"]

ndarray = np.ndarray


def call_ufunc(self: Any, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
    """What `__array_ufunc__` is asked."""
    if method == "__call__" and not options and ufunc.signature is None:
        # The common call: one level, and no dimensions to insert.
        level = self.level
        ndim = len(self.shape)
        inner = []
        for value in inputs:
            if type(value) is BatchedArray:
                if value.level is not level or len(value.shape) != ndim:
                    break
                inner.append(value.inner)
            elif type(value) is ndarray and value.ndim <= ndim:
                inner.append(value)
            else:
                break
        else:
            found = ufunc(*inner)
            return batched(found, level) if type(found) is tuple else BatchedArray(found, level)
    elif method == "reduce" and options.keys() <= _PLAIN_REDUCTION:
        return _reduce(ufunc, self.level, self, **options)
    return _call_ufunc(ufunc, method, inputs, options)


_PLAIN_REDUCTION = {"axis", "dtype", "keepdims"}  # what has no arrays


def _call_ufunc(
    ufunc: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    level: Any = None
    for value in inputs:
        if type(value) is BatchedArray and (
            level is None or value.level.number > level.number
        ):
            level = value.level
    out = options.pop("out", None) if options else None
    if options or out is not None:
        found = youngest((out, *options.values()))
        if found is not None and (level is None or found.number > level.number):
            level = found
    if out is not None and not all([o is None or is_at(o, level) for o in out]):
        raise in_place_error()
    if method == "__call__":
        if ufunc.signature is None:
            return _elementwise(ufunc, level, inputs, out, options)
        if ufunc not in RULES:
            RULES[ufunc] = _core_dimensions(ufunc)
        result = RULES[ufunc](level, *inputs, **options)
    else:
        result = _METHODS[method](ufunc, level, *inputs, **options)
    if out is None:
        return result
    out[0][...] = result
    return out[0]


def _elementwise(ufunc: Any, level: Level, inputs: Any, out: Any, options: Any) -> Any:
    ndim = 0
    for value in inputs:
        ndim = max(ndim, dimensions(value))
    if out is not None:
        return _into(ufunc, level, inputs, out, options, ndim)
    if "where" in options:
        options["where"] = aligned(options["where"], level, ndim)
    operands = [aligned(v, level, ndim) for v in inputs]
    if ufunc is np.multiply and ndim == 2 and all([is_at(v, level) for v in inputs]):
        first, second = operands
        if first.shape[2] == second.shape[1] == 1 and not options:
            return BatchedArray(outer_products(first, second), level)
    result = ufunc(*operands, **options)
    return batched(result, level) if type(result) is tuple else BatchedArray(result, level)


def outer_products(columns: Any, rows: Any) -> Any:
    """(samples, n, 1) times (samples, 1, m): the outer product of each sample.

    Of what NumPy has, einsum's loop is the quickest: 64 products of 64 x 64 in float32 take matmul
    309 µs (it calls BLAS for each), multiply 107 and einsum 61.
    """
    return np.einsum("bi,bj->bij", columns[:, :, 0], rows[:, 0])


def _into(
    ufunc: Any, level: Level, inputs: Any, out: Any, options: Any, ndim: int
) -> Any:
    """A ufunc that writes its results where it is told."""
    ndim = max(ndim, *[o.ndim for o in out if o is not None])
    for o in out:
        if o is not None and o.ndim != ndim:
            raise ValueError(
                f"non-broadcastable output operand with shape {o.shape} doesn't match the "
                f"broadcast shape of {ndim} dimensions"
            )
    if "where" in options:
        options["where"] = aligned(options["where"], level, ndim)
    targets = tuple([None if o is None else o.inner for o in out])
    results = ufunc(*[aligned(v, level, ndim) for v in inputs], out=targets, **options)
    found = results if type(results) is tuple else (results,)
    given = tuple([BatchedArray(r, level) if o is None else o
                   for o, r in zip(out, found, strict=True)])
    return given if len(given) > 1 else given[0]


def _core_dimensions(ufunc: Any) -> Callable[..., Any]:
    """The rule of a ufunc with core dimensions, such as vecdot: the others are broadcast."""
    cores = [len([n for n in core.split(",") if n])
             for core in ufunc.signature.split("->")[0][1:-1].split("),(")]

    def call(level: Level, *inputs: Any, **options: Any) -> Any:
        loops = max([dimensions(v) - core for v, core in zip(inputs, cores, strict=True)])
        lifted = [aligned(v, level, loops + core)
                  for v, core in zip(inputs, cores, strict=True)]
        return batched(ufunc(*lifted, **options), level)

    return call


def _reduction_options(args: Any, options: dict[str, Any]) -> dict[str, Any]:
    names = ("axis", "dtype", "out", "keepdims", "initial", "where")
    given = {**dict(zip(names, args, strict=False)), **options}
    given.pop("out", None)
    return {k: v for k, v in given.items() if v is not np._NoValue}


def _reduce(ufunc: Any, level: Level, array: Any, *args: Any, **options: Any) -> Any:
    options = _reduction_options(args, options)
    if not is_at(array, level):  # `where` or `initial` is
        array = BatchedArray(expanded(array, level), level)
    options["axis"] = behind(options.get("axis", 0), array) if array.ndim else ()
    for name in ("where", "initial"):
        if name in options:
            options[name] = aligned(options[name], level, array.ndim)
    return BatchedArray(ufunc.reduce(array.inner, **options), level)


def _accumulate(ufunc: Any, level: Level, array: Any, axis: int = 0, dtype: Any = None,
                out: Any = None) -> Any:
    return BatchedArray(ufunc.accumulate(array.inner, axis_behind(axis, array.ndim), dtype), level)


def _reduceat(ufunc: Any, level: Level, array: Any, indices: Any, axis: int = 0,
              dtype: Any = None, out: Any = None) -> Any:
    if is_at(indices, level):
        return each_sample(ufunc.reduceat, level, (array, indices, axis, dtype), {})
    return BatchedArray(
        ufunc.reduceat(array.inner, indices, axis_behind(axis, array.ndim), dtype), level)


def _outer(ufunc: Any, level: Level, first: Any, second: Any, **options: Any) -> Any:
    n = dimensions(second)
    return ufunc(first.reshape(first.shape + (1,) * n), second, **options)


def _at(ufunc: Any, level: Level, array: Any, index: Any, *values: Any) -> None:
    """Adds (or the like) at positions that may repeat."""
    if not is_at(array, level):
        raise in_place_error()
    parts = index if type(index) is tuple else (index,)
    place = placed(array, parts)
    if place.source is not None or any(_is_older(p, level) for p in (*parts, *values)):
        each_sample(ufunc.at, level, (array, index, *values), {})
        return
    ndim = dimensions(array[index]) if values else 0
    if any([dimensions(v) > ndim for v in values]):
        each_sample(ufunc.at, level, (array, index, *values), {})
        return
    ufunc.at(array.inner, place.index, *[aligned(v, level, ndim) for v in values])


def _is_older(value: Any, level: Level) -> bool:
    return type(value) is BatchedArray and value.level is not level


_METHODS: dict[str, Callable[..., Any]] = {
    "reduce": _reduce, "accumulate": _accumulate, "reduceat": _reduceat, "outer": _outer, "at": _at,
}
