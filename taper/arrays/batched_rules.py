"""What NumPy's functions do to batched arrays: one rule for each, found through its protocols.

A rule is called with the level that it takes off and with the function's own arguments, in which
arrays of that level are still BatchedArrays; its result is the result for all samples. Functions
without a rule run once per sample, see `each_sample`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from taper.arrays.batched import BatchedArray, axes_behind, axis_behind
from taper.arrays.levels import Level, control_flow_error, in_place_error, shapes_error

__all__ = ["RULES", "call_function", "call_ufunc", "each_sample", "expanded", "rule"]

ndarray = np.ndarray
Rule = TypeVar("Rule", bound=Callable[..., Any])
RULES: dict[Any, Callable[..., Any]] = {}
"""One rule per function of NumPy, or primitive of ours."""


def rule(*functions: Any) -> Callable[[Rule], Rule]:
    """Registers the rule for some functions."""

    def register(function: Rule) -> Rule:
        for f in functions:
            RULES[f] = function
        return function

    return register


# -- levels of arguments ---------------------------------------------------------------------------


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


def ndim_of(values: Any) -> int:
    """The most dimensions that one sample of any of these has."""
    return max([v.ndim if hasattr(v, "ndim") else np.ndim(v) for v in values])


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


# -- ufuncs ----------------------------------------------------------------------------------------


def call_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What `__array_ufunc__` is asked."""
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
        result = RULES.get(ufunc, _core_dimensions(ufunc))(level, *inputs, **options)
    else:
        result = _METHODS[method](ufunc, level, *inputs, **options)
    if out is None:
        return result
    out[0][...] = result
    return out[0]


def _elementwise(ufunc: Any, level: Level, inputs: Any, out: Any, options: Any) -> Any:
    ndim = 0
    for value in inputs:
        n = len(value.shape) if hasattr(value, "shape") else np.ndim(value)
        if n > ndim:
            ndim = n
    if out is not None:
        return _into(ufunc, level, inputs, out, options, ndim)
    if "where" in options:
        options["where"] = aligned(options["where"], level, ndim)
    result = ufunc(*[aligned(v, level, ndim) for v in inputs], **options)
    return batched(result, level) if type(result) is tuple else BatchedArray(result, level)


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
        loops = max([np.ndim(v) - core for v, core in zip(inputs, cores, strict=True)])
        lifted = [aligned(v, level, loops + core)
                  for v, core in zip(inputs, cores, strict=True)]
        return batched(ufunc(*lifted, **options), level)

    return call


def _reduction_options(args: Any, options: dict[str, Any]) -> dict[str, Any]:
    names = ("axis", "dtype", "out", "keepdims", "initial", "where")
    given = {**dict(zip(names, args, strict=False)), **options}
    given.pop("out", None)
    return {k: v for k, v in given.items() if v is not np._NoValue}


def behind(axis: Any, array: Any) -> Any:
    """The axes of a reduction of each sample; None is all of them."""
    if axis is None:
        return tuple(range(1, array.ndim + 1))
    return axes_behind(axis, array.ndim)


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
    n = np.ndim(second)
    return ufunc(first.reshape(first.shape + (1,) * n), second, **options)


def _at(ufunc: Any, level: Level, array: Any, index: Any, *values: Any) -> None:
    """Adds (or the like) at positions that may repeat."""
    from taper.arrays.batched_index import _place

    if not is_at(array, level):
        raise in_place_error()
    parts = index if type(index) is tuple else (index,)
    place = _place(array, parts)
    if place.source is not None or any(_is_older(p, level) for p in (*parts, *values)):
        each_sample(ufunc.at, level, (array, index, *values), {})
        return
    ndim = np.ndim(array[index]) if values else 0
    if any([np.ndim(v) > ndim for v in values]):
        each_sample(ufunc.at, level, (array, index, *values), {})
        return
    ufunc.at(array.inner, place.index, *[aligned(v, level, ndim) for v in values])


def _is_older(value: Any, level: Level) -> bool:
    return type(value) is BatchedArray and value.level is not level


_METHODS: dict[str, Callable[..., Any]] = {
    "reduce": _reduce, "accumulate": _accumulate, "reduceat": _reduceat, "outer": _outer, "at": _at,
}


# -- functions -------------------------------------------------------------------------------------


def call_function(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What `__array_function__` is asked."""
    level = youngest(args, options)
    found = RULES.get(function)
    if found is None:
        return each_sample(function, level, args, options)
    return found(level, *args, **options)


def _facts(function: Any, fact: Callable[..., Any]) -> None:
    RULES[function] = lambda level, *args, **options: fact(*args, **options)


_facts(np.shape, lambda a: a.shape)
_facts(np.ndim, lambda a: a.ndim)
_facts(np.size, lambda a, axis=None: a.size if axis is None else a.shape[axis])
_facts(np.iscomplexobj, lambda x: x.dtype.kind == "c")
_facts(np.isrealobj, lambda x: x.dtype.kind != "c")
_facts(np.result_type, lambda *args: np.result_type(
    *[a.dtype if type(a) is BatchedArray else a for a in args]))


@rule(np.may_share_memory, np.shares_memory)
def _shares_memory(level: Level, a: Any, b: Any, max_work: Any = None) -> bool:
    return bool(np.may_share_memory(*[x.inner if is_at(x, level) else x for x in (a, b)]))


@rule(np.array_equal)
def _needs_values(level: Level, *args: Any, **options: Any) -> Any:
    raise control_flow_error()


@rule(np.nonzero, np.flatnonzero, np.argwhere)
def _nonzero(level: Level, *args: Any, **options: Any) -> Any:
    raise shapes_error("nonzero")


@rule(np.unique)
def _unique(level: Level, *args: Any, **options: Any) -> Any:
    raise shapes_error("_unique2")


# -- elementwise -----------------------------------------------------------------------------------


def _broadcasting(function: Any, count: int) -> None:
    """A function whose first `count` arguments are broadcast together."""
    def call(level: Level, *args: Any, **options: Any) -> Any:
        lifted = together(args[:count], level)
        return batched(function(*lifted, *args[count:], **options), level)

    RULES[function] = call


for _function, _count in (
    (np.where, 3), (np.clip, 3), (np.isclose, 2), (np.around, 1), (np.round, 1), (np.real, 1),
    (np.imag, 1), (np.nan_to_num, 1), (np.angle, 1), (np.sinc, 1), (np.copy, 1), (np.i0, 1),
    (np.isneginf, 1), (np.isposinf, 1), (np.fix, 1), (np.real_if_close, 1), (np.isin, 1),
):
    _broadcasting(_function, _count)


@rule(np.where)
def _where(level: Level, condition: Any, *values: Any) -> Any:
    if not values:
        raise shapes_error("nonzero")
    return BatchedArray(np.where(*together((condition, *values), level)), level)


@rule(np.clip)
def _clip(level: Level, a: Any, a_min: Any = None, a_max: Any = None, out: Any = None,
          **options: Any) -> Any:
    a_min, a_max = options.pop("min", a_min), options.pop("max", a_max)
    present = [v for v in (a, a_min, a_max) if v is not None]
    lifted = iter(together(present, level))
    found = [None if v is None else next(lifted) for v in (a, a_min, a_max)]
    result = BatchedArray(np.clip(*found, **options), level)
    if out is None:
        return result
    out[...] = result
    return out


@rule(np.copyto)
def _copyto(level: Level, dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    if not is_at(dst, level):
        raise in_place_error()
    ndim = dst.ndim
    np.copyto(dst.inner, aligned(src, level, ndim), casting=casting,  # type: ignore[arg-type]
              where=aligned(where, level, ndim))


@rule(np.putmask)
def _putmask(level: Level, a: Any, mask: Any, values: Any) -> None:
    if np.ndim(values) and np.shape(values) != a.shape:
        each_sample(np.putmask, level, (a, mask, values), {})
        return
    _copyto(level, a, values, "unsafe", mask)


def _new_like(function: Any) -> None:
    def call(level: Level, a: Any, *args: Any, shape: Any = None, **options: Any) -> Any:
        inner = a.inner
        if shape is not None:
            shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
            options["shape"] = (inner.shape[0], *shape)
        elif inner.strides and 0 in inner.strides:
            options.setdefault("order", "C")
        return BatchedArray(function(inner, *args, **options), level)

    RULES[function] = call


for _function in (np.zeros_like, np.ones_like, np.empty_like):
    _new_like(_function)


@rule(np.full_like)
def _full_like(level: Level, a: Any, fill_value: Any, dtype: Any = None, **options: Any) -> Any:
    if not is_at(a, level):
        a = BatchedArray(expanded(a, level), level)
    result = np.empty_like(a, dtype=dtype, **options)
    result[...] = fill_value
    return result


# -- shapes ----------------------------------------------------------------------------------------


@rule(np.reshape)
def _reshape(level: Level, a: Any, /, shape: Any = None, order: Any = "C", **options: Any) -> Any:
    options.pop("copy", None)
    return a.reshape(shape)


@rule(np.ravel)
def _ravel(level: Level, a: Any, order: Any = "C") -> Any:
    return a.reshape(a.size)


@rule(np.transpose, np.permute_dims)
def _transpose(level: Level, a: Any, axes: Any = None) -> Any:
    return a.transpose(axes) if axes is not None else a.transpose()


@rule(np.swapaxes)
def _swapaxes(level: Level, a: Any, axis1: int, axis2: int) -> Any:
    return a.swapaxes(axis1, axis2)


@rule(np.squeeze)
def _squeeze(level: Level, a: Any, axis: Any = None) -> Any:
    return a.squeeze(axis)


@rule(np.diagonal)
def _diagonal(level: Level, a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    return a.diagonal(offset, axis1, axis2)


@rule(np.moveaxis)
def _moveaxis(level: Level, a: Any, source: Any, destination: Any) -> Any:
    found = np.moveaxis(a.inner, axes_behind(source, a.ndim), axes_behind(destination, a.ndim))
    return BatchedArray(found, level)


@rule(np.expand_dims)
def _expand_dims(level: Level, a: Any, axis: Any) -> Any:
    count = len(axis) if isinstance(axis, (tuple, list)) else 1
    return BatchedArray(np.expand_dims(a.inner, axes_behind(axis, a.ndim + count)), level)


@rule(np.broadcast_to)
def _broadcast_to(level: Level, array: Any, shape: Any, subok: bool = False) -> Any:
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    if len(shape) < array.ndim:
        raise ValueError("input operand has more dimensions than allowed by the axis remapping")
    inner = aligned(array, level, len(shape))
    return BatchedArray(np.broadcast_to(inner, (inner.shape[0], *shape)), level)


@rule(np.broadcast_arrays)
def _broadcast_arrays(level: Level, *arrays: Any, subok: bool = False) -> tuple[Any, ...]:
    shape = np.broadcast_shapes(*[np.shape(a) for a in arrays])
    return tuple([np.broadcast_to(a, shape) for a in arrays])


@rule(np.concatenate)
def _concatenate(level: Level, arrays: Any, axis: Any = 0, out: Any = None, **options: Any) -> Any:
    if axis is None:
        arrays, axis = [np.ravel(a) for a in arrays], 0
    inner = [expanded(a, level) for a in arrays]
    result = np.concatenate(inner, axis_behind(axis, inner[0].ndim - 1), **options)
    return _given(BatchedArray(result, level), out)


@rule(np.stack)
def _stack(level: Level, arrays: Any, axis: int = 0, out: Any = None, **options: Any) -> Any:
    inner = [expanded(a, level) for a in arrays]
    return _given(BatchedArray(np.stack(inner, axis_behind(axis, inner[0].ndim), **options), level),
                  out)


def _given(result: Any, out: Any) -> Any:
    if out is None:
        return result
    out[...] = result
    return out


def _tiled(level: Level, a: Any, reps: Any) -> Any:
    reps = (reps,) if isinstance(reps, (int, np.integer)) else tuple(reps)
    inner = aligned(a, level, len(reps))
    return BatchedArray(np.tile(inner, (1, *(1,) * (inner.ndim - 1 - len(reps)), *reps)), level)


RULES[np.tile] = _tiled


@rule(np.pad)
def _pad(level: Level, array: Any, pad_width: Any, mode: Any = "constant", **options: Any) -> Any:
    widths = np.broadcast_to(np.asarray(pad_width), (array.ndim, 2)).tolist()
    if any(is_at(v, level) for v in options.values()):
        return each_sample(np.pad, level, (array, pad_width, mode), options)
    return BatchedArray(np.pad(array.inner, [(0, 0), *widths], mode, **options), level)


@rule(np.append)
def _append(level: Level, arr: Any, values: Any, axis: Any = None) -> Any:
    return np.concatenate([arr, values], axis)


for _function in (np.tril, np.triu):
    RULES[_function] = lambda level, m, k=0, function=_function: BatchedArray(
        function(m.inner, k), level)


# -- along axes ------------------------------------------------------------------------------------


def _reducing(function: Any, over_all: bool = True) -> None:
    """A function ``f(a, axis, …)`` for which axis=None means all."""
    def call(level: Level, a: Any, axis: Any = None, *args: Any, **options: Any) -> Any:
        if any([is_at(v, level) for v in options.values()]) or not is_at(a, level):
            return each_sample(function, level, (a, axis, *args), options)
        out = options.pop("out", None)
        inner = a.inner
        if axis is None:
            if over_all:
                axis = tuple(range(1, inner.ndim))
            elif options.get("keepdims") is True:
                inner, axis = inner.reshape((inner.shape[0], -1)), 1
                found = function(inner, axis, *args, **options)
                return BatchedArray(found.reshape((len(found), *(1,) * a.ndim)), level)
            else:
                inner, axis = inner.reshape((inner.shape[0], a.size)), 1
        elif not a.ndim:
            inner, axis = inner[:, None], 1
        else:
            axis = axes_behind(axis, a.ndim)
        return _given(BatchedArray(function(inner, axis, *args, **options), level), out)

    RULES[function] = call


for _function in (
    np.sum, np.prod, np.mean, np.var, np.std, np.max, np.min, np.any, np.all, np.count_nonzero,
    np.ptp, np.nansum, np.nanmean, np.median, np.average,
):
    _reducing(_function)
for _function in (np.argmax, np.argmin, np.cumsum, np.cumprod, np.nanargmax, np.nanargmin):
    _reducing(_function, over_all=False)


def _ordering(function: Any, given: int) -> None:
    """A function ``f(a, …, axis=-1, …)`` that keeps the shape; axis=None flattens.

    `given` is the position of the axis.
    """
    def call(level: Level, a: Any, *args: Any, **options: Any) -> Any:
        if not is_at(a, level):
            return each_sample(function, level, (a, *args), options)
        values = list(args)
        if len(values) >= given:
            axis = values.pop(given - 1)
        else:
            axis = options.pop("axis", -1)
        inner = a.inner
        if axis is None:
            inner, axis = inner.reshape((inner.shape[0], a.size)), 0
        return BatchedArray(
            function(inner, *values, axis=axis_behind(axis, max(a.ndim, 1)), **options), level)

    RULES[function] = call


for _function, _place_of_axis in (
    (np.sort, 1), (np.argsort, 1), (np.partition, 2), (np.argpartition, 2), (np.diff, 2),
):
    _ordering(_function, _place_of_axis)


@rule(np.flip)
def _flip(level: Level, m: Any, axis: Any = None) -> Any:
    return BatchedArray(np.flip(m.inner, behind(axis, m)), level)


@rule(np.roll)
def _roll(level: Level, a: Any, shift: Any, axis: Any = None) -> Any:
    if is_at(shift, level):
        return each_sample(np.roll, level, (a, shift, axis), {})
    if axis is None:
        return np.roll(a.reshape(a.size), shift, 0).reshape(a.shape)
    return BatchedArray(np.roll(a.inner, shift, axes_behind(axis, a.ndim)), level)


@rule(np.rot90)
def _rot90(level: Level, m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    return BatchedArray(np.rot90(m.inner, k, axes_behind(tuple(axes), m.ndim)), level)


@rule(np.repeat)
def _repeat(level: Level, a: Any, repeats: Any, axis: Any = None) -> Any:
    if is_at(repeats, level):
        return each_sample(np.repeat, level, (a, repeats, axis), {})
    if axis is None:
        a, axis = a.reshape(a.size), 0
    return BatchedArray(np.repeat(a.inner, repeats, axis_behind(axis, a.ndim)), level)


@rule(np.take)
def _take(level: Level, a: Any, indices: Any, axis: Any = None, out: Any = None, mode: Any = "raise"
          ) -> Any:
    if axis is None:
        a, axis = a.reshape(a.size), 0
    if not is_at(indices, level):
        return _given(BatchedArray(
            np.take(a.inner, indices, axis_behind(axis, a.ndim), mode=mode), level), out)
    if not is_at(a, level):  # one table for all samples: its rows are taken at once
        axis %= a.ndim
        found = np.take(a, indices.inner, axis, mode=mode)
        return _given(BatchedArray(np.moveaxis(found, axis, 0) if axis else found, level), out)
    axis %= a.ndim
    if mode != "raise":
        return each_sample(np.take, level, (a, indices, axis), {"mode": mode})
    return _given(a[(*(slice(None),) * axis, indices)], out)


@rule(np.take_along_axis)
def _take_along_axis(level: Level, arr: Any, indices: Any, axis: Any = -1) -> Any:
    if axis is None:
        arr, axis = arr.reshape(arr.size), 0
    arrays = together((arr, indices), level)
    lifted = [a if is_at(v, level) else a[None] for a, v in zip(arrays, (arr, indices), strict=True)]
    return BatchedArray(
        np.take_along_axis(*lifted, axis_behind(axis, lifted[0].ndim - 1)), level)


@rule(np.put_along_axis)
def _put_along_axis(level: Level, arr: Any, indices: Any, values: Any, axis: Any) -> None:
    if not is_at(arr, level):
        raise in_place_error()
    if axis is None:
        each_sample(np.put_along_axis, level, (arr, indices, values, axis), {})
        return
    inner = indices.inner if is_at(indices, level) else np.broadcast_to(
        indices, (level.size, *indices.shape))
    np.put_along_axis(arr.inner, inner, aligned(values, level, arr.ndim),
                      axis_behind(axis, arr.ndim))


@rule(np.searchsorted)
def _searchsorted(level: Level, a: Any, v: Any, side: Any = "left", sorter: Any = None) -> Any:
    if is_at(a, level) or is_at(sorter, level):
        return each_sample(np.searchsorted, level, (a, v, side, sorter), {})
    return BatchedArray(np.searchsorted(a, v.inner, side, sorter), level)


# -- products --------------------------------------------------------------------------------------


@rule(np.matmul)
def _matmul(level: Level, a: Any, b: Any, **options: Any) -> Any:
    m, n = np.ndim(a), np.ndim(b)
    if is_at(a, level) and not is_at(b, level) and n == 2 and m >= 1:
        return BatchedArray(_rows_times(a.inner, b, **options), level)
    if is_at(b, level) and not is_at(a, level) and m == 2 and n == 1:
        return BatchedArray(_rows_times(b.inner, a.swapaxes(0, 1), **options), level)
    vector_first, vector_second = m == 1, n == 1
    first = a[None, :] if vector_first else a
    second = b[:, None] if vector_second else b
    first, second = together((first, second), level)
    if first.shape[-1] != second.shape[-2]:
        raise ValueError(
            "matmul: Input operand 1 has a mismatch in its core dimension 0, with gufunc signature "
            f"(n?,k),(k,m?)->(n?,m?) (size {second.shape[-2]} is different from {first.shape[-1]})"
        )
    if first.shape[-1] == 1 and not options:  # an outer product: NumPy would call BLAS for each
        result = first * second
    else:
        result = np.matmul(first, second, **options)
    if vector_first:
        result = result[..., 0, :]
    if vector_second:
        result = result[..., 0]
    return BatchedArray(result, level)


def _rows_times(rows: Any, matrix: Any, **options: Any) -> Any:
    """``rows @ matrix`` with all rows of all samples in one product."""
    if rows.ndim == 2:
        return np.matmul(rows, matrix, **options)
    if rows.shape[-1] != matrix.shape[0] or not math.prod(rows.shape):
        return np.matmul(rows, matrix, **options)
    flat = np.matmul(rows.reshape((-1, rows.shape[-1])), matrix, **options)
    return flat.reshape((*rows.shape[:-1], matrix.shape[1]))


@rule(np.dot)
def _dot(level: Level, a: Any, b: Any, out: Any = None) -> Any:
    m, n = np.ndim(a), np.ndim(b)
    if not m or not n:
        return _given(np.multiply(a, b), out)
    if n <= 2:
        return _given(np.matmul(a, b), out)
    return _given(each_sample(np.dot, level, (a, b), {}), out)


@rule(np.outer)
def _outer_product(level: Level, a: Any, b: Any, out: Any = None) -> Any:
    return np.multiply(a.reshape((-1, 1)), b.reshape((1, -1)))


@rule(np.einsum)
def _einsum(level: Level, subscripts: Any, *operands: Any, **options: Any) -> Any:
    if not isinstance(subscripts, str) or "->" not in subscripts:
        return each_sample(np.einsum, level, (subscripts, *operands), options)
    left, right = subscripts.replace(" ", "").split("->")
    letters = set(left + right)
    name = next(c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                if c not in letters)
    terms = [name + term if is_at(o, level) else term
             for term, o in zip(left.split(","), operands, strict=True)]
    inner = [o.inner if is_at(o, level) else o for o in operands]
    return BatchedArray(np.einsum(f"{','.join(terms)}->{name}{right}", *inner, **options), level)


# -- linear algebra: NumPy takes stacks of matrices ------------------------------------------------


def _of_matrices(*functions: Any) -> None:
    for function in functions:
        def call(level: Level, a: Any, *args: Any, function: Any = function, **options: Any) -> Any:
            result = function(a.inner, *args, **options)
            if isinstance(result, tuple):
                return type(result)(*[BatchedArray(r, level) for r in result])
            return BatchedArray(result, level)

        RULES[function] = call


_of_matrices(
    np.linalg.inv, np.linalg.cholesky, np.linalg.det, np.linalg.slogdet, np.linalg.eigh,
    np.linalg.eigvalsh, np.linalg.eig, np.linalg.eigvals, np.linalg.svd, np.linalg.qr,
    np.linalg.svdvals, np.linalg.matrix_power,
)


@rule(np.linalg.solve)
def _solve(level: Level, a: Any, b: Any) -> Any:
    vector = b.ndim == 1
    lifted = together((a, b[:, None] if vector else b), level)
    result = np.linalg.solve(*lifted)
    return BatchedArray(result[..., 0] if vector else result, level)


def _transforming(*functions: Any) -> None:
    """Fourier transforms along one axis: ``f(a, n, axis)``."""
    for function in functions:
        def call(level: Level, a: Any, n: Any = None, axis: int = -1, *args: Any,
                 function: Any = function, **options: Any) -> Any:
            return BatchedArray(
                function(a.inner, n, axis_behind(axis, a.ndim), *args, **options), level)

        RULES[function] = call


_transforming(np.fft.fft, np.fft.ifft, np.fft.rfft, np.fft.irfft, np.fft.hfft, np.fft.ihfft)


def _transforming_several(*functions: Any) -> None:
    """Fourier transforms along several axes: ``f(a, s, axes)``."""
    for function in functions:
        def call(level: Level, a: Any, s: Any = None, axes: Any = None, *args: Any,
                 function: Any = function, **options: Any) -> Any:
            if axes is None:
                axes = range(-(len(s) if s is not None else a.ndim), 0)
            axes = axes_behind(tuple(axes), a.ndim)
            return BatchedArray(function(a.inner, s, axes, *args, **options), level)

        RULES[function] = call


_transforming_several(np.fft.fftn, np.fft.ifftn, np.fft.rfftn, np.fft.irfftn)


for _function in (np.fft.fftshift, np.fft.ifftshift):
    RULES[_function] = lambda level, x, axes=None, function=_function: BatchedArray(
        function(x.inner, behind(axes, x)), level)
