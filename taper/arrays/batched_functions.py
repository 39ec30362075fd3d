"""NumPy's functions on batched arrays: facts, elementwise functions, shapes, joining."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper.arrays.batched import BatchedArray, axes_behind, axis_behind
from taper.arrays.batched_arguments import (
    RULES,
    aligned,
    batched,
    dimensions,
    each_sample,
    expanded,
    given_out,
    is_at,
    rule,
    together,
    youngest,
)
from taper.arrays.levels import Level, control_flow_error, in_place_error, shapes_error

__all__ = ["call_function"]

_function: Any  # of loops over functions that share a rule


def call_function(
    self: Any, function: Any, types: Any, args: tuple[Any, ...], options: dict[str, Any]
) -> Any:
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
    (np.isclose, 2), (np.around, 1), (np.round, 1), (np.real, 1), (np.imag, 1), (np.nan_to_num, 1),
    (np.angle, 1), (np.sinc, 1), (np.copy, 1), (np.isneginf, 1), (np.isposinf, 1),
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
def _copyto(
    level: Level, dst: Any, src: Any, casting: str = "same_kind", where: Any = True
) -> None:
    if not is_at(dst, level):
        raise in_place_error()
    ndim = dst.ndim
    np.copyto(dst.inner, aligned(src, level, ndim), casting=casting,  # type: ignore[arg-type]
              where=aligned(where, level, ndim))


@rule(np.putmask)
def _putmask(level: Level, a: Any, mask: Any, values: Any) -> None:
    if dimensions(values) and np.shape(values) != a.shape:
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
    return given_out(BatchedArray(result, level), out)


@rule(np.stack)
def _stack(level: Level, arrays: Any, axis: int = 0, out: Any = None, **options: Any) -> Any:
    inner = [expanded(a, level) for a in arrays]
    result = np.stack(inner, axis_behind(axis, inner[0].ndim), **options)
    return given_out(BatchedArray(result, level), out)


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
