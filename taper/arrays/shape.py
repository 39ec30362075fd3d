"""`ShapeArray`: works out shape, strides and dtype of what NumPy would compute; holds no data.

It is what a tensor on `device="meta"` is made of. One rule per NumPy function, not per operator:
views ask NumPy itself, on a stand-in whose memory is never touched; everything else computes a
shape and a dtype. A function without a rule raises NotImplementedError, naming itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from taper.core import device as devices
from taper.core.storage import span_in_bytes

__all__ = ["ShapeArray", "shape_array"]

_TINY = np.zeros(1, np.uint8)
Rule = TypeVar("Rule", bound=Callable[..., Any])


def contiguous(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """The byte strides of a C-contiguous array."""
    strides = []
    step = itemsize
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


class Flags:
    """The part of ndarray.flags that forwards ask for."""

    __slots__ = ("array",)
    writeable = True

    def __init__(self, array: ShapeArray) -> None:
        self.array = array

    @property
    def c_contiguous(self) -> bool:
        return self.array._stand_in().flags.c_contiguous

    @property
    def f_contiguous(self) -> bool:
        return self.array._stand_in().flags.f_contiguous

    @property
    def forc(self) -> bool:
        return self.array._stand_in().flags.forc


class ShapeArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array without data: shape, dtype and strides."""

    __slots__ = ("dtype", "shape", "storage_offset", "strides")
    device = devices.META
    layout = devices.strided
    base = None

    def __init__(
        self, shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...] | None = None,
        storage_offset: int = 0,
    ) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.strides = contiguous(shape, self.dtype.itemsize) if strides is None else strides
        self.storage_offset = storage_offset

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize  # type: ignore[no-any-return]

    @property
    def nbytes(self) -> int:
        return span_in_bytes(self)

    @property
    def flags(self) -> Flags:
        return Flags(self)

    def __len__(self) -> int:
        return self.shape[0]

    def __bool__(self) -> bool:
        raise _no_data()

    def __float__(self) -> float:
        raise _no_data()

    def __int__(self) -> int:
        raise _no_data()

    def __index__(self) -> int:
        raise _no_data()

    def item(self, *index: Any) -> Any:
        raise _no_data()

    def tolist(self) -> Any:
        raise _no_data()

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise NotImplementedError(
            "Cannot copy out of meta tensor; no data! (a NumPy function without a rule for shapes "
            "asked for it)"
        )

    def __repr__(self) -> str:
        return f"ShapeArray({self.shape}, {self.dtype})"

    # -- views: NumPy answers, on memory that is never touched ------------------------------------

    def _stand_in(self) -> np.ndarray[Any, Any]:
        tiny = np.zeros(1, self.dtype)
        return np.lib.stride_tricks.as_strided(tiny, self.shape, self.strides)

    def _like(self, view: np.ndarray[Any, Any]) -> ShapeArray:
        return ShapeArray(view.shape, view.dtype, view.strides, self.storage_offset)

    def as_strided(self, shape: Any, strides: Any, offset: int = 0) -> ShapeArray:
        """A window with these strides; they and the offset from here are in bytes."""
        start = self.storage_offset + offset // self.dtype.itemsize
        return ShapeArray(tuple(shape), self.dtype, tuple(strides), start)

    def reshape(self, *shape: Any, **ignored: Any) -> ShapeArray:
        if len(shape) == 1 and not isinstance(shape[0], (int, np.integer)):
            shape = tuple(shape[0])
        try:
            return self._like(np.reshape(self._stand_in(), shape, copy=False))
        except ValueError:
            sizes = np.broadcast_to(_TINY[:1].reshape(()), self.shape)  # checks and fills in -1
            known = [n for n in shape if n != -1]
            total = math.prod(known)
            if -1 in shape and total:
                shape = tuple(self.size // total if n == -1 else n for n in shape)
            if math.prod(shape) != sizes.size:
                raise ValueError(
                    f"cannot reshape array of size {self.size} into shape {shape}"
                ) from None
            return ShapeArray(tuple(shape), self.dtype)

    def transpose(self, *axes: Any) -> ShapeArray:
        return self._like(self._stand_in().transpose(*axes))

    def swapaxes(self, first: int, second: int) -> ShapeArray:
        return self._like(self._stand_in().swapaxes(first, second))

    def squeeze(self, axis: Any = None) -> ShapeArray:
        return self._like(self._stand_in().squeeze(axis))

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> ShapeArray:
        return self._like(self._stand_in().diagonal(offset, axis1, axis2))

    def view(self, dtype: Any = None) -> ShapeArray:
        return self._like(self._stand_in() if dtype is None else self._stand_in().view(dtype))

    @property
    def T(self) -> ShapeArray:  # ndarray's name
        return self.transpose()

    @property
    def real(self) -> ShapeArray:
        return self._like(self._stand_in().real)

    @property
    def imag(self) -> ShapeArray:
        return self._like(self._stand_in().imag)

    def __getitem__(self, index: Any) -> ShapeArray:
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(p, (ShapeArray, np.ndarray, list)) for p in parts):
            return self._advanced(parts)
        return self._like(self._stand_in()[index])

    def _advanced(self, parts: tuple[Any, ...]) -> ShapeArray:
        """Integer-array indexing, on zero-size-free stand-ins of the index arrays."""
        replaced = []
        for p in parts:
            if isinstance(p, ShapeArray):
                if p.dtype.kind == "b":
                    raise NotImplementedError(
                        "indexing a meta tensor by a mask: the result's shape depends on data"
                    )
                replaced.append(np.zeros(p.shape, np.intp))
            else:
                replaced.append(p)
        # One byte that every element of the stand-in shares is safe to read.
        source = np.broadcast_to(_TINY.reshape(()), self.shape)
        return ShapeArray(source[tuple(replaced)].shape, self.dtype)

    def __setitem__(self, index: Any, value: Any) -> None:
        target = self[index]
        if np.broadcast_shapes(np.shape(value), target.shape) != target.shape:
            raise ValueError(
                f"could not broadcast input array from shape {np.shape(value)} into shape "
                f"{target.shape}"
            )

    def __iter__(self) -> Any:
        return (self[i] for i in range(self.shape[0]))

    # -- copies ----------------------------------------------------------------------------------

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> ShapeArray:
        return ShapeArray(self.shape, dtype)

    def copy(self, order: str = "C") -> ShapeArray:
        return ShapeArray(self.shape, self.dtype)

    def ravel(self, order: str = "C") -> ShapeArray:
        return self.reshape(-1)

    flatten = ravel

    def fill(self, value: Any) -> None:
        pass

    def conj(self) -> ShapeArray:
        return ShapeArray(self.shape, self.dtype)

    conjugate = conj

    def dot(self, other: Any) -> ShapeArray:
        return _dot(self, other)

    def take(self, indices: Any, axis: Any = None, mode: str = "raise") -> ShapeArray:
        return _take(self, indices, axis)

    def repeat(self, repeats: Any, axis: Any = None) -> ShapeArray:
        return _repeat(self, repeats, axis)

    # -- NumPy's protocols -----------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        result = _UFUNC_METHODS[method](ufunc, inputs, kwargs)
        if out is not None:
            for target, made in zip(out, result if type(result) is tuple else (result,),
                                    strict=True):
                if target is not None and np.broadcast_shapes(
                    target.shape, made.shape
                ) != target.shape:
                    raise ValueError(
                        f"non-broadcastable output operand with shape {target.shape} doesn't "
                        f"match the broadcast shape {made.shape}"
                    )
            return out[0] if len(out) == 1 else out
        return result

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        rule = RULES.get(function)
        if rule is None:
            raise NotImplementedError(
                f"numpy.{function.__name__} has no rule for shapes without data, so this operator "
                "does not run on device='meta' yet; use a tensor on the CPU"
            )
        return rule(*args, **kwargs)


def _no_data() -> RuntimeError:
    return RuntimeError("Tensor.item() cannot be called on meta tensors")


def shape_array(value: Any) -> Any:
    """What a rule sees of an operand: shape and dtype, for arrays with and without data."""
    if isinstance(value, (ShapeArray, np.ndarray, np.generic)):
        return value
    return np.asarray(value)


# -- ufuncs ----------------------------------------------------------------------------------------


def _ufunc_dtypes(ufunc: Any, inputs: Any, dtype: Any = None) -> tuple[Any, ...]:
    kinds = tuple(
        type(x) if type(x) in (int, float, complex) else np.dtype(bool) if type(x) is bool
        else x.dtype
        for x in inputs
    )
    found = ufunc.resolve_dtypes((*kinds, *(None,) * ufunc.nout))
    outputs = found[len(kinds):]
    return tuple(np.dtype(dtype) for _ in outputs) if dtype is not None else outputs


def _call(ufunc: Any, inputs: Any, kwargs: Any) -> Any:
    if ufunc is np.matmul:
        return _matmul(*inputs)
    for x in inputs:
        if isinstance(x, np.ndarray) and x.ndim:
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                "cpu and meta!"
            )
    shape = np.broadcast_shapes(*(np.shape(x) if not isinstance(x, ShapeArray) else x.shape
                                  for x in inputs))
    strides = _elementwise_strides(inputs, shape)
    results = tuple(
        ShapeArray(shape, d, None if strides is None else
                   tuple(s * np.dtype(d).itemsize for s in strides))
        for d in _ufunc_dtypes(ufunc, inputs, kwargs.get("dtype"))
    )
    return results[0] if len(results) == 1 else results


def _elementwise_strides(inputs: Any, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """NumPy keeps the memory order of its operand (K order): strides in elements, if not C."""
    for x in inputs:
        if isinstance(x, ShapeArray) and x.shape == shape and x.ndim > 1:
            order = sorted(range(x.ndim), key=lambda d: -x.strides[d])
            if order == list(range(x.ndim)):
                return None
            strides = [0] * x.ndim
            step = 1
            for d in reversed(order):
                strides[d] = step
                step *= max(shape[d], 1)
            return tuple(strides)
    return None


def reduced_shape(shape: tuple[int, ...], axis: Any, keepdims: bool) -> tuple[int, ...]:
    """The shape after reducing over `axis`: an int, a tuple, or None for all."""
    ndim = len(shape)
    if axis is None:
        axes = set(range(ndim))
    else:
        axes = {np.lib.array_utils.normalize_axis_index(a, ndim)
                for a in (axis if isinstance(axis, tuple) else (axis,))}
    if keepdims:
        return tuple(1 if d in axes else n for d, n in enumerate(shape))
    return tuple(n for d, n in enumerate(shape) if d not in axes)


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
    return ShapeArray(reduced_shape(array.shape, axis, bool(options.get("keepdims"))), dtype)


def _accumulate(ufunc: Any, inputs: Any, kwargs: Any) -> ShapeArray:
    array = inputs[0]
    dtype = kwargs.get("dtype") or _reduce_dtype(ufunc, array.dtype)
    return ShapeArray(array.shape, dtype)


def _outer(ufunc: Any, inputs: Any, kwargs: Any) -> ShapeArray:
    a, b = inputs
    return ShapeArray((*a.shape, *b.shape), _ufunc_dtypes(ufunc, inputs)[0])


def _at(ufunc: Any, inputs: Any, kwargs: Any) -> None:
    return None


_UFUNC_METHODS: dict[str, Callable[..., Any]] = {
    "__call__": _call, "reduce": _reduce, "accumulate": _accumulate, "outer": _outer, "at": _at,
}


# -- functions -------------------------------------------------------------------------------------

RULES: dict[Any, Callable[..., Any]] = {}
"""One rule per NumPy function: same arguments, a ShapeArray for every array it would make."""


def rule(*functions: Any) -> Callable[[Rule], Rule]:
    """Registers the rule for some NumPy functions."""

    def register(function: Rule) -> Rule:
        for f in functions:
            RULES[f] = function
        return function

    return register


def _matmul(a: Any, b: Any) -> ShapeArray:
    dtype = np.result_type(a.dtype, b.dtype)
    n, m = a.shape, b.shape
    inner = n[-1], m[-2] if len(m) > 1 else m[-1]
    if inner[0] != inner[1]:
        raise ValueError(f"matmul: inner sizes differ: {inner[0]} and {inner[1]}")
    batch = np.broadcast_shapes(n[:-2], m[:-2])
    return ShapeArray((*batch, *n[-2:-1], *(m[-1:] if len(m) > 1 else ())), dtype)


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
    if shape is None:
        return ShapeArray(a.shape, dtype or a.dtype)
    return ShapeArray((shape,) if isinstance(shape, int) else tuple(shape), dtype or a.dtype)


@rule(np.full_like)
def _full_like(a: ShapeArray, fill_value: Any, dtype: Any = None, order: str = "K",
               subok: bool = True, shape: Any = None, **ignored: Any) -> ShapeArray:
    return _new_like(a, dtype, shape=shape)


@rule(np.where)
def _where(condition: Any, x: Any, y: Any) -> ShapeArray:
    shape = np.broadcast_shapes(*(np.shape(v) if not isinstance(v, ShapeArray) else v.shape
                                  for v in (condition, x, y)))
    return ShapeArray(shape, np.result_type(*(
        v if type(v) in (int, float, complex) else v.dtype for v in (x, y)
    )))


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
    return ShapeArray(tuple(shape), dtype or np.result_type(*(a.dtype for a in arrays)))


@rule(np.stack)
def _stack(arrays: Any, axis: int = 0, out: Any = None, **ignored: Any) -> ShapeArray:
    arrays = list(arrays)
    shape = list(arrays[0].shape)
    axis = np.lib.array_utils.normalize_axis_index(axis, len(shape) + 1)
    shape.insert(axis, len(arrays))
    return ShapeArray(tuple(shape), np.result_type(*(a.dtype for a in arrays)))


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
    return ShapeArray(shape, arr.dtype)


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


@rule(np.sort, np.flip, np.roll, np.tril, np.triu, np.copy, np.nan_to_num, np.clip, np.around,
      np.round, np.fft.fftshift, np.fft.ifftshift)
def _same(a: Any, *args: Any, **kwargs: Any) -> ShapeArray:
    return ShapeArray(a.shape, a.dtype)


@rule(np.real)
def _real(val: ShapeArray) -> ShapeArray:
    return val.real


@rule(np.imag)
def _imag(val: ShapeArray) -> ShapeArray:
    return val.imag


@rule(np.iscomplexobj)
def _iscomplexobj(x: Any) -> bool:
    return bool(x.dtype.kind == "c")


@rule(np.argsort, np.argpartition)
def _argsort(a: Any, *args: Any, **kwargs: Any) -> ShapeArray:
    return ShapeArray(a.shape, np.intp)


@rule(np.argmax, np.argmin)
def _argmax(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> ShapeArray:
    return ShapeArray(reduced_shape(a.shape, axis, bool(keepdims)), np.intp)


def _reduction_rule(dtype_of: Callable[[Any], Any]) -> Callable[..., ShapeArray]:
    def reduction(a: Any, axis: Any = None, dtype: Any = None, out: Any = None,
                  keepdims: Any = False, **ignored: Any) -> ShapeArray:
        found = np.dtype(dtype) if dtype is not None else dtype_of(a.dtype)
        return ShapeArray(reduced_shape(a.shape, axis, keepdims is True), found)

    return reduction


def _inexact(d: Any) -> Any:
    return d if d.kind not in "biu" else np.dtype(np.float64)


RULES[np.sum] = RULES[np.prod] = _reduction_rule(lambda d: _reduce_dtype(np.add, d))
RULES[np.mean] = _reduction_rule(_inexact)
RULES[np.var] = RULES[np.std] = _reduction_rule(lambda d: np.zeros(0, _inexact(d)).real.dtype)
RULES[np.max] = RULES[np.min] = RULES[np.amax] = RULES[np.amin] = _reduction_rule(lambda d: d)
RULES[np.any] = RULES[np.all] = _reduction_rule(lambda d: np.dtype(bool))
RULES[np.count_nonzero] = _reduction_rule(lambda d: np.dtype(np.intp))


@rule(np.cumsum, np.cumprod)
def _cumulative(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> ShapeArray:
    shape = (a.size,) if axis is None else a.shape
    return ShapeArray(shape, dtype or _reduce_dtype(np.add, a.dtype))


@rule(np.pad)
def _pad(array: Any, pad_width: Any, mode: str = "constant", **ignored: Any) -> ShapeArray:
    widths = np.broadcast_to(np.asarray(pad_width), (array.ndim, 2))
    shape = tuple(n + int(w[0]) + int(w[1]) for n, w in zip(array.shape, widths, strict=True))
    return ShapeArray(shape, array.dtype)


@rule(np.tile)
def _tile(a: Any, reps: Any) -> ShapeArray:
    reps = (reps,) if isinstance(reps, int) else tuple(reps)
    ndim = max(a.ndim, len(reps))
    shape = (1,) * (ndim - a.ndim) + a.shape
    reps = (1,) * (ndim - len(reps)) + reps
    return ShapeArray(tuple(n * r for n, r in zip(shape, reps, strict=True)), a.dtype)


@rule(np.einsum)
def _einsum(*operands: Any, **ignored: Any) -> ShapeArray:
    subscripts, *arrays = operands
    left, _, right = subscripts.partition("->")
    sizes: dict[str, int] = {}
    for term, a in zip(left.split(","), arrays, strict=True):
        sizes.update(zip(term, a.shape, strict=True))
    return ShapeArray(tuple(sizes[c] for c in right), np.result_type(*(a.dtype for a in arrays)))


@rule(np.linalg.inv, np.linalg.cholesky, np.linalg.matrix_power)
def _same_matrix(a: Any, *args: Any, **kwargs: Any) -> ShapeArray:
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise np.linalg.LinAlgError("Last 2 dimensions of the array must be square")
    return ShapeArray(a.shape, a.dtype)


@rule(np.linalg.det)
def _det(a: Any) -> ShapeArray:
    return ShapeArray(a.shape[:-2], a.dtype)


@rule(np.linalg.solve)
def _solve(a: Any, b: Any) -> ShapeArray:
    dtype = np.result_type(a.dtype, b.dtype)
    if b.ndim == 1:
        return ShapeArray((*a.shape[:-2], b.shape[0]), dtype)
    return ShapeArray((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]), dtype)
