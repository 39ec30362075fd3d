"""`ShapeArray`: works out shape, strides and dtype of what NumPy would compute; holds no data.

It is what a tensor on `device="meta"` is made of. Views ask NumPy itself, on a stand-in whose
memory is never touched; functions have a rule each, in shape_rules.py. A function without a rule
raises NotImplementedError, naming itself.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.arrays.numpy_order import kept_order, likeness, ordered_like
from taper.arrays.primitive import Primitive, answers
from taper.arrays.shaped import ShapedArray
from taper.core import device as devices
from taper.core.storage import address_of, owner_of, span_in_bytes

__all__ = ["DataNeeded", "NoData", "ShapeArray", "arrays_of", "forwards"]

_TINY = np.zeros(1, np.uint8)


class DataNeeded(NotImplementedError):
    """The shape of a result depends on values."""

    __module__ = "torch"


class NoData(RuntimeError):
    """A value was asked for."""

    __module__ = "torch"


class Forwards:
    """Whether a forward on meta tensors is running: then arrays with values are its constants, and
    not tensors of another device."""

    running = False


forwards = Forwards()


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


@answers
class ShapeArray(ShapedArray):
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
    def nbytes(self) -> int:
        return span_in_bytes(self)

    @property
    def laid(self) -> ShapeArray:
        """What tells how this array lies in memory."""
        return self

    @property
    def flags(self) -> Flags:
        return Flags(self)

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
        moved = address_of(view) - address_of(owner_of(view))
        start = (self.storage_offset * self.dtype.itemsize + moved) // view.dtype.itemsize
        return ShapeArray(view.shape, view.dtype, view.strides, start)

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

    @real.setter
    def real(self, value: Any) -> None:
        pass

    @property
    def imag(self) -> ShapeArray:
        return self._like(self._stand_in().imag)

    @imag.setter
    def imag(self, value: Any) -> None:
        pass

    def __getitem__(self, index: Any) -> ShapeArray:
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(p, (ShapeArray, np.ndarray, list)) for p in parts):
            return self._advanced(parts)
        return self._like(self._stand_in()[index])

    def _advanced(self, parts: tuple[Any, ...]) -> ShapeArray:
        """Integer-array indexing, on zero-size-free stand-ins of the index arrays."""
        known: list[Any] = []
        for p in parts:
            if isinstance(p, ShapeArray) and p.dtype.kind == "b":
                raise DataNeeded(
                    "indexing a meta tensor by a mask: the result's shape depends on data"
                )
            p = np.asarray(p) if isinstance(p, list) else p
            if isinstance(p, np.ndarray) and p.dtype.kind == "b" and p.ndim:
                known += p.nonzero()
            else:
                known.append(p)
        # One byte that every element of the stand-in shares is safe to read.
        source = np.broadcast_to(_TINY.reshape(()), self.shape)
        shape = source[tuple([np.zeros(p.shape, np.intp) if isinstance(p, ShapeArray) else p
                              for p in parts])].shape
        if len(shape) < 2 or not math.prod(shape) or any([type(p) is bool for p in known]):
            return ShapeArray(shape, self.dtype)
        # What basic parts leave; it lies as it does, so NumPy lays what is taken from a likeness.
        left = self._stand_in()[tuple([
            p if p is None or p is Ellipsis or type(p) is slice else slice(None) for p in known])]
        small = likeness(left)[tuple([_small_part(p) for p in known])]
        return ShapeArray(shape, self.dtype, ordered_like(shape, small, self.itemsize))

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

    def astype(self, dtype: Any, order: str = "K", **ignored: Any) -> ShapeArray:
        dtype = np.dtype(dtype)
        strides = None if order == "C" else kept_order(self.shape, self.strides)
        return ShapeArray(
            self.shape, dtype, None if strides is None else tuple([s * dtype.itemsize
                                                                   for s in strides]))

    def copy(self, order: str = "C") -> ShapeArray:
        return self.astype(self.dtype, order)

    def ravel(self, order: str = "C") -> ShapeArray:
        return self.reshape(-1)

    flatten = ravel

    def fill(self, value: Any) -> None:
        pass

    def conj(self) -> ShapeArray:
        return np.conjugate(self)  # type: ignore[return-value]

    conjugate = conj

    # -- methods that are functions: see their rules ----------------------------------------------

    def dot(self, other: Any) -> ShapeArray:
        return np.dot(self, other)  # type: ignore[no-any-return]

    def take(self, indices: Any, axis: Any = None, mode: str = "raise") -> ShapeArray:
        return np.take(self, indices, axis)  # type: ignore[no-any-return]

    def repeat(self, repeats: Any, axis: Any = None) -> ShapeArray:
        return np.repeat(self, repeats, axis)  # type: ignore[return-value]

    def argmax(self, axis: Any = None, *, keepdims: bool = False) -> ShapeArray:
        return np.argmax(self, axis, keepdims=keepdims)  # type: ignore[no-any-return]

    def argmin(self, axis: Any = None, *, keepdims: bool = False) -> ShapeArray:
        return np.argmin(self, axis, keepdims=keepdims)  # type: ignore[no-any-return]

    def argsort(self, axis: int = -1, **ignored: Any) -> ShapeArray:
        return np.argsort(self, axis)  # type: ignore[return-value]

    def searchsorted(self, values: Any, side: Any = "left", sorter: Any = None) -> ShapeArray:
        return np.searchsorted(self, values)  # type: ignore[no-any-return]

    def sort(self, axis: int = -1, **ignored: Any) -> None:
        pass

    def _reduced(self, ufunc: Any, axis: Any, dtype: Any, keepdims: bool) -> ShapeArray:
        result: ShapeArray = ufunc.reduce(self, axis, dtype, keepdims=keepdims)
        return result

    def sum(self, axis: Any = None, dtype: Any = None, *, keepdims: bool = False) -> ShapeArray:
        return self._reduced(np.add, axis, dtype, keepdims)

    def prod(self, axis: Any = None, dtype: Any = None, *, keepdims: bool = False) -> ShapeArray:
        return self._reduced(np.multiply, axis, dtype, keepdims)

    def max(self, axis: Any = None, *, keepdims: bool = False) -> ShapeArray:
        return self._reduced(np.maximum, axis, None, keepdims)

    def min(self, axis: Any = None, *, keepdims: bool = False) -> ShapeArray:
        return self._reduced(np.minimum, axis, None, keepdims)

    def any(self, axis: Any = None, *, keepdims: bool = False) -> ShapeArray:
        return self._reduced(np.logical_or, axis, None, keepdims)

    def all(self, axis: Any = None, *, keepdims: bool = False) -> ShapeArray:
        return self._reduced(np.logical_and, axis, None, keepdims)

    # -- NumPy's protocols -----------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from taper.arrays.shape_rules import UFUNC_METHODS

        out = kwargs.pop("out", None)
        result = UFUNC_METHODS[method](ufunc, inputs, kwargs)
        if out is not None:
            if any(isinstance(target, np.ndarray) for target in out):
                raise DataNeeded(
                    "writing the values of a meta tensor into memory: it has none; use a tensor on "
                    "the CPU"
                )
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
        from taper.arrays.library_shapes import RULES

        rule = RULES.get(function)
        if rule is None and type(function) is Primitive and function.shape_rule is not None:
            return arrays_of(function.shape_rule(*args, **kwargs))
        if rule is None:
            raise NotImplementedError(
                f"{name_of(function)} has no rule for shapes without data, so this operator does "
                "not run on device='meta' yet; use a tensor on the CPU"
            )
        return rule(*args, **kwargs)


def _small_part(part: Any) -> Any:
    """A part of an index into an array, for one into the `likeness` of what basic parts left."""
    if isinstance(part, (ShapeArray, np.ndarray)):
        return likeness(part).astype(np.intp)
    if part is None or type(part) is slice:
        return slice(None)
    return part if part is Ellipsis else 0


def name_of(function: Any) -> str:
    """A NumPy function or a primitive, as messages name it."""
    prefix = "" if type(function) is Primitive else "numpy."
    return f"{prefix}{function.__name__}"


def arrays_of(found: Any) -> Any:
    """The arrays that a rule for shapes describes: by (shape, dtype), or a list of such pairs."""
    if type(found) is list:
        return tuple([ShapeArray(*pair) for pair in found])
    return ShapeArray(*found)


def _no_data() -> NoData:
    return NoData("Tensor.item() cannot be called on meta tensors")
