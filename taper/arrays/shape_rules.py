"""What NumPy's functions would return for arrays without data: one rule for each.

A rule takes the function's arguments and returns a `ShapeArray` for every array it would make;
ufuncs are asked for their dtypes. taper/arrays/shape.py finds the rules through NumPy's protocols;
those of numpy.linalg and numpy.fft are in library_shapes.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from taper.arrays.numpy_order import (
    dense,
    iterated_order,
    joined_order,
    kept_order,
    likeness,
    ordered_like,
)
from taper.arrays.shape import DataNeeded, ShapeArray, forwards
from taper.core.rule_tables import entered_in

__all__ = ["RULES", "UFUNC_METHODS", "reduced_shape", "rule"]

_TINY = np.zeros(1, np.uint8)


# -- ufuncs ----------------------------------------------------------------------------------------


def _ufunc_dtypes(ufunc: Any, inputs: Any, dtype: Any = None) -> tuple[Any, ...]:
    kinds = tuple(
        type(x) if type(x) in (int, float, complex) else np.dtype(bool) if type(x) is bool
        else x.dtype
        for x in inputs
    )
    outputs: int = ufunc.nout
    if dtype is not None:
        return (np.dtype(dtype),) * outputs
    return tuple(ufunc.resolve_dtypes((*kinds, *(None,) * outputs))[len(kinds):])


def _call(ufunc: Any, inputs: Any, kwargs: Any) -> Any:
    if not forwards.running:
        for x in inputs:
            if isinstance(x, np.ndarray) and x.ndim:
                raise RuntimeError(
                    "Expected all tensors to be on the same device, but found at least two "
                    "devices, cpu and meta!"
                )
    if ufunc is np.matmul:
        return _matmul(*inputs)
    if ufunc.signature is not None:
        return _generalized(ufunc, inputs, kwargs)
    if all([type(x) is ShapeArray or type(x) in _NUMBERS for x in inputs]):
        described = _elementwise(ufunc, tuple([
            (x.shape, x.dtype, x.strides) if type(x) is ShapeArray else type(x) for x in inputs
        ]), kwargs.get("dtype"))
    else:
        described = _elementwise_of(ufunc, inputs, kwargs.get("dtype"))
    results = tuple([ShapeArray(*each) for each in described])
    return results[0] if len(results) == 1 else results


_NUMBERS = frozenset([int, float, complex, bool])
Described = tuple[tuple[tuple[int, ...], Any, tuple[int, ...] | None], ...]


@lru_cache(maxsize=4096)
def _elementwise(ufunc: Any, operands: tuple[Any, ...], dtype: Any) -> Described:
    """The same for operands given as (shape, dtype, strides), or as the type of a number: a program
    calls a function many times on arrays that are alike."""
    inputs = [ShapeArray(*x) if type(x) is tuple else x(1) for x in operands]
    return _elementwise_of(ufunc, inputs, dtype)


def _elementwise_of(ufunc: Any, inputs: Any, dtype: Any) -> Described:
    """Shape, dtype and strides of each result of an elementwise ufunc."""
    shape = np.broadcast_shapes(*[x.shape if isinstance(x, ShapeArray) else np.shape(x)
                                  for x in inputs])
    strides = _iterated(inputs, shape)
    return tuple([(shape, d, _in_bytes(strides, d))
                  for d in _ufunc_dtypes(ufunc, inputs, dtype)])


def _iterated(inputs: Any, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The strides, in elements, of what is made of these inputs element by element; None for C's
    order."""
    if len(shape) < 2:
        return None
    return dense(shape, iterated_order(_laid(inputs), shape))


def _laid(inputs: Any) -> list[Any]:
    return [(x.shape, x.strides) for x in inputs if isinstance(x, (ShapeArray, np.ndarray))]


def _in_bytes(strides: tuple[int, ...] | None, dtype: Any) -> tuple[int, ...] | None:
    if strides is None:
        return None
    itemsize = np.dtype(dtype).itemsize
    return tuple([s * itemsize for s in strides])


def _generalized(ufunc: Any, inputs: Any, kwargs: Any) -> ShapeArray:
    """A ufunc on whole dimensions, such as vecdot, "(n),(n)->()"."""
    left, _, right = ufunc.signature.partition("->")
    cores = [core.split(",") if core else [] for core in left.strip("()").split("),(")]
    sizes: dict[str, int] = {}
    lead = []
    for core, x in zip(cores, inputs, strict=True):
        split = x.ndim - len(core)
        lead.append(x.shape[:split])
        for name, n in zip(core, x.shape[split:], strict=True):
            if sizes.setdefault(name, n) != n:
                raise ValueError(f"{ufunc.__name__}: sizes {sizes[name]} and {n} differ")
    last = [sizes[name] for name in right.strip("()").split(",") if name]
    laid = [(shape, x.strides[:len(shape)]) for shape, x in zip(lead, inputs, strict=True)]
    return stacked(laid, np.broadcast_shapes(*lead), tuple(last),
                   _ufunc_dtypes(ufunc, inputs, kwargs.get("dtype"))[0])


def stacked(inputs: Any, lead: tuple[int, ...], core: tuple[int, ...], dtype: Any) -> ShapeArray:
    """What a function on the last dimensions makes of stacks, given the shapes before them and
    those in `core`, of its result."""
    order = [len(lead) + d for d in range(len(core) - 1, -1, -1)] + iterated_order(inputs, lead)
    shape = (*lead, *core)
    return ShapeArray(shape, dtype, _in_bytes(dense(shape, order), dtype))


def reduced_axes(ndim: int, axis: Any) -> set[int]:
    """The axes that `axis` stands for: an int, a tuple, or None for all."""
    if axis is None:
        return set(range(ndim))
    return {np.lib.array_utils.normalize_axis_index(a, ndim)
            for a in (axis if isinstance(axis, tuple) else (axis,))}


def reduced_shape(shape: tuple[int, ...], axis: Any, keepdims: bool) -> tuple[int, ...]:
    """The shape after reducing over `axis`: an int, a tuple, or None for all."""
    axes = reduced_axes(len(shape), axis)
    if keepdims:
        return tuple(1 if d in axes else n for d, n in enumerate(shape))
    return tuple(n for d, n in enumerate(shape) if d not in axes)


def reduced(array: Any, axis: Any, keepdims: bool, dtype: Any) -> ShapeArray:
    """An array reduced over `axis`: the other dimensions lie as they lay."""
    shape = reduced_shape(array.shape, axis, keepdims)
    whole = reduced_shape(array.shape, axis, True)
    if len(shape) < 2:
        return ShapeArray(shape, dtype)
    strides = dense(whole, iterated_order(_laid([array]), array.shape))
    if not keepdims:
        gone = reduced_axes(array.ndim, axis)
        strides = tuple([s for d, s in enumerate(strides) if d not in gone])
    return ShapeArray(shape, dtype, _in_bytes(strides, dtype))


def _reduce_dtype(ufunc: Any, dtype: Any) -> Any:
    if ufunc in (np.add, np.multiply) and dtype.kind in "biu" and dtype.itemsize < 8:
        return np.dtype(np.uint64 if dtype.kind == "u" else np.int64)
    return ufunc.resolve_dtypes((dtype, dtype, None))[2]


def _reduce(ufunc: Any, inputs: Any, kwargs: Any) -> ShapeArray:
    array, *rest = inputs
    names = ("axis", "dtype", "out", "keepdims")
    options = {**dict(zip(names, rest, strict=False)), **kwargs}
    axis = options.get("axis", 0)
    dtype = options.get("dtype") or _reduce_dtype(ufunc, array.dtype)
    if ufunc.identity is None and any(
        array.shape[d] == 0 for d in range(array.ndim)
        if axis is None or d in np.atleast_1d(axis) % max(array.ndim, 1)
    ):
        raise ValueError(
            f"zero-size array to reduction operation {ufunc.__name__} which has no identity"
        )
    return reduced(array, axis, bool(options.get("keepdims")), dtype)


def _accumulate(ufunc: Any, inputs: Any, kwargs: Any) -> ShapeArray:
    array = inputs[0]
    return _accumulated(array, kwargs.get("dtype") or _reduce_dtype(ufunc, array.dtype))


def _accumulated(array: Any, dtype: Any) -> ShapeArray:
    return ShapeArray(array.shape, dtype, _in_bytes(_iterated([array], array.shape), dtype))


def _outer(ufunc: Any, inputs: Any, kwargs: Any) -> ShapeArray:
    a, b = inputs
    shape, dtype = (*a.shape, *b.shape), _ufunc_dtypes(ufunc, inputs)[0]
    wide = (*a.shape, *(1,) * b.ndim), (*a.strides, *(0,) * b.ndim)
    order = iterated_order([wide, (b.shape, b.strides)], shape)
    return ShapeArray(shape, dtype, _in_bytes(dense(shape, order), dtype))


def _at(ufunc: Any, inputs: Any, kwargs: Any) -> None:
    return None


UFUNC_METHODS: dict[str, Callable[..., Any]] = {
    "__call__": _call, "reduce": _reduce, "accumulate": _accumulate, "outer": _outer, "at": _at,
}


# -- functions -------------------------------------------------------------------------------------

RULES: dict[Any, Callable[..., Any]] = {}
"""One rule per NumPy function: same arguments, a ShapeArray for every array it would make."""

rule = entered_in(RULES)


def _matmul(a: Any, b: Any) -> ShapeArray:
    dtype = np.result_type(a.dtype, b.dtype)
    n, m = a.shape, b.shape
    inner = n[-1], m[-2] if len(m) > 1 else m[-1]
    if inner[0] != inner[1]:
        raise ValueError(f"matmul: inner sizes differ: {inner[0]} and {inner[1]}")
    batch = np.broadcast_shapes(n[:-2], m[:-2])
    laid = [(x.shape[:-2], x.strides[:-2]) for x in (a, b)]
    return stacked(laid, batch, (*n[-2:-1], *(m[-1:] if len(m) > 1 else ())), dtype)


RULES[np.matmul] = _matmul


@rule(np.dot)
def _dot(a: Any, b: Any, out: Any = None) -> ShapeArray:
    if a.ndim == 0 or b.ndim == 0:
        return ShapeArray(np.broadcast_shapes(a.shape, b.shape), np.result_type(a.dtype, b.dtype))
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else -1]:
        raise ValueError(f"shapes {a.shape} and {b.shape} not aligned")
    rest = b.shape[:-2] + b.shape[-1:] if b.ndim > 1 else ()
    return ShapeArray((*a.shape[:-1], *rest), np.result_type(a.dtype, b.dtype))


@rule(np.zeros_like, np.empty_like, np.ones_like)
def _new_like(a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None,
              **ignored: Any) -> ShapeArray:
    if shape is None and isinstance(a, ShapeArray):
        return a.astype(dtype or a.dtype, order)
    dtype = dtype or a.dtype
    if shape is None:
        return ShapeArray(a.shape, dtype)
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    kept = kept_order(shape, a.strides) if order == "K" and len(shape) == a.ndim else None
    return ShapeArray(shape, dtype, _in_bytes(kept, dtype))


@rule(np.full_like)
def _full_like(a: ShapeArray, fill_value: Any, dtype: Any = None, order: str = "K",
               subok: bool = True, shape: Any = None, **ignored: Any) -> ShapeArray:
    return _new_like(a, dtype, order, shape=shape)


@rule(np.where)
def _where(condition: Any, x: Any, y: Any) -> ShapeArray:
    shape = np.broadcast_shapes(*(np.shape(v) if not isinstance(v, ShapeArray) else v.shape
                                  for v in (condition, x, y)))
    dtype = np.result_type(*(
        v if type(v) in (int, float, complex) else v.dtype for v in (x, y)
    ))
    return ShapeArray(shape, dtype, _in_bytes(_iterated((condition, x, y), shape), dtype))


@rule(np.concatenate)
def _concatenate(arrays: Any, axis: int = 0, out: Any = None, dtype: Any = None,
                 **ignored: Any) -> ShapeArray:
    first = arrays[0]
    axis = np.lib.array_utils.normalize_axis_index(axis, first.ndim)
    for a in arrays[1:]:
        if a.ndim != first.ndim or any(
            m != n for d, (m, n) in enumerate(zip(a.shape, first.shape, strict=True)) if d != axis
        ):
            raise ValueError(
                "all the input array dimensions except for the concatenation axis must match "
                "exactly"
            )
    shape = list(first.shape)
    shape[axis] = sum(a.shape[axis] for a in arrays)
    return _joined(_laid(arrays), tuple(shape),
                   dtype or np.result_type(*(a.dtype for a in arrays)))


def _joined(laid: list[Any], shape: tuple[int, ...], dtype: Any) -> ShapeArray:
    strides = dense(shape, joined_order(laid, len(shape))) if len(shape) > 1 else None
    return ShapeArray(shape, dtype, _in_bytes(strides, dtype))


@rule(np.stack)
def _stack(arrays: Any, axis: int = 0, out: Any = None, **ignored: Any) -> ShapeArray:
    arrays = list(arrays)
    shape = list(arrays[0].shape)
    axis = np.lib.array_utils.normalize_axis_index(axis, len(shape) + 1)
    laid = [((*a.shape[:axis], 1, *a.shape[axis:]), (*a.strides[:axis], 0, *a.strides[axis:]))
            for a in arrays]
    shape.insert(axis, len(arrays))
    return _joined(laid, tuple(shape), np.result_type(*(a.dtype for a in arrays)))


@rule(np.take)
def _take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise"
          ) -> ShapeArray:
    shape = np.shape(indices) if not isinstance(indices, ShapeArray) else indices.shape
    if axis is None:
        return ShapeArray(tuple(shape), a.dtype)
    axis = np.lib.array_utils.normalize_axis_index(axis, a.ndim)
    return ShapeArray((*a.shape[:axis], *shape, *a.shape[axis + 1:]), a.dtype)


@rule(np.take_along_axis)
def _take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> ShapeArray:
    axis = np.lib.array_utils.normalize_axis_index(axis, arr.ndim)
    others = np.broadcast_shapes(
        *(tuple(1 if d == axis else n for d, n in enumerate(x.shape)) for x in (arr, indices))
    )
    shape = tuple(indices.shape[axis] if d == axis else n for d, n in enumerate(others))
    if len(shape) < 2 or 0 in shape:
        return ShapeArray(shape, arr.dtype)
    small = np.take_along_axis(likeness(arr), likeness(indices).astype(np.intp), axis)
    return _laid_like(small, shape, arr.dtype)


@rule(np.put_along_axis, np.copyto, np.put, np.putmask)
def _writes(*args: Any, **kwargs: Any) -> None:
    return None


@rule(np.repeat)
def _repeat(a: Any, repeats: Any, axis: Any = None) -> ShapeArray:
    source = np.broadcast_to(_TINY.reshape(()), a.shape)
    return ShapeArray(np.repeat(source, repeats, axis).shape, a.dtype)


@rule(np.broadcast_to)
def _broadcast_to(array: ShapeArray, shape: Any, subok: bool = False) -> ShapeArray:
    return array._like(np.broadcast_to(array._stand_in(), shape))


@rule(np.transpose)
def _transpose(a: ShapeArray, axes: Any = None) -> ShapeArray:
    return a.transpose(axes) if axes is not None else a.transpose()


@rule(np.reshape)
def _reshape(a: ShapeArray, shape: Any, *args: Any, **kwargs: Any) -> ShapeArray:
    return a.reshape(shape)


@rule(np.expand_dims)
def _expand_dims(a: ShapeArray, axis: Any) -> ShapeArray:
    return a._like(np.expand_dims(a._stand_in(), axis))


@rule(np.moveaxis)
def _moveaxis(a: ShapeArray, source: Any, destination: Any) -> ShapeArray:
    return a._like(np.moveaxis(a._stand_in(), source, destination))


@rule(np.swapaxes)
def _swapaxes(a: ShapeArray, axis1: int, axis2: int) -> ShapeArray:
    return a.swapaxes(axis1, axis2)


@rule(np.squeeze)
def _squeeze(a: ShapeArray, axis: Any = None) -> ShapeArray:
    return a.squeeze(axis)


@rule(np.diagonal)
def _diagonal(a: ShapeArray, offset: int = 0, axis1: int = 0, axis2: int = 1) -> ShapeArray:
    return a.diagonal(offset, axis1, axis2)


@rule(np.roll, np.copy, np.nan_to_num)
def _copied(a: Any, *args: Any, **kwargs: Any) -> ShapeArray:
    return a.astype(a.dtype)  # type: ignore[no-any-return]


@rule(np.tril, np.triu)
def _triangle(m: Any, k: int = 0) -> ShapeArray:
    mask = ShapeArray(m.shape[-2:], np.bool_)
    return ShapeArray(m.shape, m.dtype, _in_bytes(_iterated((mask, m), m.shape), m.dtype))


@rule(np.clip)
def _clip(a: Any, a_min: Any = None, a_max: Any = None, **ignored: Any) -> ShapeArray:
    strides = _iterated((a, a_min, a_max), a.shape)
    return ShapeArray(a.shape, a.dtype, _in_bytes(strides, a.dtype))


@rule(np.around, np.round)
def _round(a: Any, decimals: int = 0, out: Any = None) -> ShapeArray:
    return _laid_like(np.round(likeness(a), decimals), a.shape, a.dtype)


def _laid_like(small: Any, shape: tuple[int, ...], dtype: Any) -> ShapeArray:
    """An array that lies as NumPy laid what it made of a likeness."""
    return ShapeArray(shape, dtype, ordered_like(shape, small, np.dtype(dtype).itemsize))


@rule(np.fft.fftshift, np.fft.ifftshift)
def _shifted(x: Any, *args: Any, **kwargs: Any) -> ShapeArray:
    return _copied(x)


@rule(np.flip)
def _flip(m: Any, axis: Any = None) -> ShapeArray:
    return ShapeArray(m.shape, m.dtype)


@rule(np.rot90)
def _rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> ShapeArray:
    turned: ShapeArray = m._like(np.rot90(m._stand_in(), k, axes))
    return turned


@rule(np.real)
def _real(val: ShapeArray) -> ShapeArray:
    return val.real


@rule(np.imag)
def _imag(val: ShapeArray) -> ShapeArray:
    return val.imag


@rule(np.shape)
def _shape(a: ShapeArray) -> tuple[int, ...]:
    return a.shape


@rule(np.ndim)
def _ndim(a: ShapeArray) -> int:
    return a.ndim


@rule(np.size)
def _size(a: ShapeArray, axis: Any = None) -> int:
    return a.size if axis is None else a.shape[axis]


@rule(np.may_share_memory, np.shares_memory)
def _shares_memory(a: Any, b: Any, max_work: Any = None) -> bool:
    return a is b


@rule(np.broadcast_arrays)
def _broadcast_arrays(*arrays: Any, subok: bool = False) -> tuple[Any, ...]:
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    return tuple(np.broadcast_to(a, shape) for a in arrays)


@rule(np.nonzero, np.flatnonzero, np.argwhere, np.unique)
def _depends_on_data(*args: Any, **kwargs: Any) -> Any:
    raise DataNeeded("the shape of this result depends on values, and meta tensors have none")


@rule(np.searchsorted)
def _searchsorted(a: Any, v: Any, side: Any = "left", sorter: Any = None) -> ShapeArray:
    return ShapeArray(v.shape if isinstance(v, ShapeArray) else np.shape(v), np.intp)


@rule(np.iscomplexobj)
def _iscomplexobj(x: Any) -> bool:
    return bool(x.dtype.kind == "c")


@rule(np.argsort, np.argpartition)
def _argsort(a: Any, *args: Any, **kwargs: Any) -> ShapeArray:
    return ShapeArray(a.shape, np.intp)


@rule(np.sort)
def _sort(a: Any, axis: Any = -1, **ignored: Any) -> ShapeArray:
    return ShapeArray((a.size,), a.dtype) if axis is None else _copied(a)


@rule(np.argmax, np.argmin)
def _argmax(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> ShapeArray:
    return ShapeArray(reduced_shape(a.shape, axis, bool(keepdims)), np.intp)


def _reduction_rule(dtype_of: Callable[[Any], Any]) -> Callable[..., ShapeArray]:
    def reduction(a: Any, axis: Any = None, dtype: Any = None, out: Any = None,
                  keepdims: Any = False, **ignored: Any) -> ShapeArray:
        found = np.dtype(dtype) if dtype is not None else dtype_of(a.dtype)
        return reduced(a, axis, keepdims is True, found)

    return reduction


def _inexact(d: Any) -> Any:
    return d if d.kind not in "biu" else np.dtype(np.float64)


RULES[np.sum] = RULES[np.prod] = _reduction_rule(lambda d: _reduce_dtype(np.add, d))
RULES[np.mean] = _reduction_rule(_inexact)
RULES[np.var] = RULES[np.std] = _reduction_rule(lambda d: np.zeros(0, _inexact(d)).real.dtype)
RULES[np.max] = RULES[np.min] = RULES[np.amax] = RULES[np.amin] = _reduction_rule(lambda d: d)
RULES[np.any] = RULES[np.all] = _reduction_rule(lambda d: np.dtype(bool))


@rule(np.count_nonzero)
def _count_nonzero(a: Any, axis: Any = None, *, keepdims: Any = False) -> ShapeArray:
    return reduced(a.astype(np.bool_), axis, bool(keepdims), np.intp)


@rule(np.cumsum, np.cumprod)
def _cumulative(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> ShapeArray:
    dtype = dtype or _reduce_dtype(np.add, a.dtype)
    return ShapeArray((a.size,), dtype) if axis is None else _accumulated(a, dtype)


@rule(np.pad)
def _pad(array: Any, pad_width: Any, mode: str = "constant", **ignored: Any) -> ShapeArray:
    widths = np.broadcast_to(np.asarray(pad_width), (array.ndim, 2))
    shape = tuple(n + int(w[0]) + int(w[1]) for n, w in zip(array.shape, widths, strict=True))
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    strides = dense(shape, range(array.ndim)) if fortran else None
    return ShapeArray(shape, array.dtype, _in_bytes(strides, array.dtype))


@rule(np.tile)
def _tile(a: Any, reps: Any) -> ShapeArray:
    reps = (reps,) if isinstance(reps, int) else tuple(reps)
    ndim = max(a.ndim, len(reps))
    shape = (1,) * (ndim - a.ndim) + a.shape
    reps = (1,) * (ndim - len(reps)) + reps
    small = np.tile(likeness(a), tuple(min(r, 2) for r in reps))
    return _laid_like(small, tuple(n * r for n, r in zip(shape, reps, strict=True)), a.dtype)


@rule(np.einsum)
def _einsum(*operands: Any, **ignored: Any) -> ShapeArray:
    subscripts, *arrays = operands
    left, _, right = subscripts.partition("->")
    sizes: dict[str, int] = {}
    for term, a in zip(left.split(","), arrays, strict=True):
        sizes.update(zip(term, a.shape, strict=True))
    small = np.einsum(subscripts, *map(likeness, arrays), **ignored)
    return _laid_like(small, tuple(sizes[c] for c in right),
                      np.result_type(*(a.dtype for a in arrays)))
