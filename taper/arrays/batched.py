"""`BatchedArray`: one array for all samples of a vmap, which looks like one sample's.

Its first axis, the hidden one, runs along the samples of a level; `shape`, `strides`, indices and
axes leave it out. NumPy's functions have a rule each, in batched_rules.py, that runs them once for
all samples; a function without a rule runs once per sample and its results are stacked.

Note [levels nest]. `inner` may be a BatchedArray again, of an older level: in the vmap of a vmap
the younger level's axis is the outer one. A rule takes off the youngest level among its arguments
and leaves the others to the call it makes, so no rule knows how deep it is nested.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from taper.arrays.levels import Level, control_flow_error, in_place_error, item_error
from taper.arrays.primitive import answers
from taper.arrays.shaped import ShapedArray
from taper.core import device as devices
from taper.core.storage import address_of, strided_view

__all__ = ["BatchedArray", "axes_behind", "axis_behind"]

ndarray = np.ndarray
_ALL = slice(None)


@answers
class BatchedArray(ShapedArray):
    """All samples of a level: `inner` with its first axis hidden."""

    __slots__ = ("dtype", "inner", "level", "shape")
    device = devices.CPU
    layout = devices.strided

    def __init__(self, inner: Any, level: Level) -> None:
        self.inner = inner
        self.level = level
        self.dtype = inner.dtype
        self.shape = inner.shape[1:]

    @property
    def strides(self) -> tuple[int, ...]:
        return self.inner.strides[1:]  # type: ignore[no-any-return]

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def flags(self) -> Any:
        """Those of one sample."""
        inner = self.inner
        return inner[0, ...].flags if inner.shape[0] else inner.flags

    @property
    def base(self) -> Any:
        """The ndarray whose memory it is: the same for an array and its views."""
        base = self.inner.base
        return self.inner if base is None else base

    @property
    def address(self) -> int:
        """Where the first sample begins in memory."""
        inner = self.inner
        return int(address_of(inner)) if type(inner) is ndarray else inner.address

    def __repr__(self) -> str:
        return f"BatchedArray({self.inner!r}, level {self.level.number})"

    # -- values, which a single sample doesn't have ------------------------------------------------

    def __bool__(self) -> bool:
        raise control_flow_error()

    def __float__(self) -> float:
        raise item_error()

    def __int__(self) -> int:
        raise item_error()

    def __complex__(self) -> complex:
        raise item_error()

    def __index__(self) -> int:
        raise item_error()

    def item(self, *index: Any) -> Any:
        raise item_error()

    def tolist(self) -> Any:
        raise RuntimeError("Cannot access data pointer of Tensor that doesn't have storage")

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        # NumPy asks when it is to write a batched array into a plain one.
        raise in_place_error()

    # -- views -------------------------------------------------------------------------------------

    def as_strided(self, shape: Any, strides: Any, offset: int = 0) -> BatchedArray:
        """A window on each sample's memory; strides and offset are in bytes."""
        inner = self.inner
        whole = (inner.shape[0], *shape), (inner.strides[0], *strides)
        return BatchedArray(strided_view(inner, *whole, offset), self.level)

    def reshape(self, *shape: Any, **options: Any) -> BatchedArray:
        if len(shape) == 1 and not isinstance(shape[0], (int, np.integer)):
            shape = tuple(shape[0])
        if -1 in shape:
            known = -math.prod(shape)
            if known <= 0 or self.size % known:
                raise ValueError(f"cannot reshape array of size {self.size} into shape {shape}")
            shape = tuple([self.size // known if n == -1 else n for n in shape])
        return BatchedArray(self.inner.reshape((self.inner.shape[0], *shape), **options),
                            self.level)

    def transpose(self, *axes: Any) -> BatchedArray:
        if len(axes) == 1 and not isinstance(axes[0], (int, np.integer)):
            axes = axes[0]
        ndim = self.ndim
        if not axes:
            axes = tuple(range(ndim - 1, -1, -1))
        order = (0, *[axis_behind(a, ndim) for a in axes])
        return BatchedArray(self.inner.transpose(order), self.level)

    @property
    def T(self) -> BatchedArray:  # ndarray's name
        return self.transpose()

    @property
    def mT(self) -> BatchedArray:  # ndarray's name
        return self.swapaxes(-1, -2)

    def swapaxes(self, first: int, second: int) -> BatchedArray:
        ndim = self.ndim
        return BatchedArray(
            self.inner.swapaxes(axis_behind(first, ndim), axis_behind(second, ndim)), self.level
        )

    def squeeze(self, axis: Any = None) -> BatchedArray:
        if axis is None:
            axes = tuple([d for d, n in enumerate(self.inner.shape) if d and n == 1])
        else:
            axes = axes_behind(axis, self.ndim)
        return BatchedArray(self.inner.squeeze(axes), self.level)

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> BatchedArray:
        ndim = self.ndim
        found = self.inner.diagonal(offset, axis_behind(axis1, ndim), axis_behind(axis2, ndim))
        if type(found) is ndarray:  # as the diagonals that operators give are
            found.flags.writeable = self.inner.flags.writeable
        return BatchedArray(found, self.level)

    def view(self, dtype: Any = None) -> BatchedArray:
        inner = self.inner
        if dtype is not None and np.dtype(dtype).itemsize != self.itemsize and not self.ndim:
            raise ValueError("Changing the dtype of a 0d array is only supported if the itemsize "
                             "is unchanged")
        return BatchedArray(inner.view() if dtype is None else inner.view(dtype), self.level)

    @property
    def real(self) -> BatchedArray:
        return BatchedArray(self.inner.real, self.level)

    @real.setter
    def real(self, value: Any) -> None:
        BatchedArray(self.inner.real, self.level)[...] = value

    @property
    def imag(self) -> BatchedArray:
        return BatchedArray(self.inner.imag, self.level)

    @imag.setter
    def imag(self, value: Any) -> None:
        BatchedArray(self.inner.imag, self.level)[...] = value

    if TYPE_CHECKING:  # bound by batched_index.py

        def __getitem__(self, index: Any) -> Any: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...

    def __iter__(self) -> Any:
        return (self[i] for i in range(self.shape[0]))

    # -- copies ------------------------------------------------------------------------------------

    def astype(self, dtype: Any, *args: Any, **options: Any) -> BatchedArray:
        return BatchedArray(self.inner.astype(dtype, *args, **options), self.level)

    def copy(self, order: Any = "C") -> BatchedArray:
        return BatchedArray(self.inner.copy(order), self.level)

    def ravel(self, order: str = "C") -> BatchedArray:
        return self.reshape(self.size)

    def flatten(self, order: str = "C") -> BatchedArray:
        return self.reshape(self.size).copy()

    def fill(self, value: Any) -> None:
        self[...] = value

    def conj(self) -> BatchedArray:
        return BatchedArray(self.inner.conj(), self.level)

    conjugate = conj

    def sort(self, axis: int = -1, **options: Any) -> None:
        self.inner.sort(axis_behind(axis, self.ndim), **options)

    def partition(self, kth: Any, axis: int = -1, **options: Any) -> None:
        self.inner.partition(kth, axis_behind(axis, self.ndim), **options)

    # -- NumPy's protocols -------------------------------------------------------------------------

    if TYPE_CHECKING:  # bound by batched_rules.py

        def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any: ...
        def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any: ...


def _method(name: str, function: Any) -> Any:
    """The method of arrays that a function of NumPy stands for."""
    def method(self: BatchedArray, *args: Any, **options: Any) -> Any:
        return self.__array_function__(function, (), (self, *args), options)

    method.__name__ = name
    return method


for _name in (
    "all any argmax argmin argpartition argsort clip cumprod cumsum dot max mean min nonzero prod "
    "repeat round searchsorted std sum take trace var"
).split():
    setattr(BatchedArray, _name, _method(_name, getattr(np, _name)))


# -- axes ------------------------------------------------------------------------------------------


def axis_behind(axis: Any, ndim: int) -> int:
    """An axis of one sample as an axis of the array of all samples."""
    if not -ndim <= axis < ndim:
        raise np.exceptions.AxisError(axis, ndim)
    return axis + 1 if axis >= 0 else axis + ndim + 1  # type: ignore[no-any-return]


def axes_behind(axes: Any, ndim: int) -> Any:
    """One axis, or a tuple or list of them, as axes of the array of all samples."""
    if isinstance(axes, (tuple, list)):
        return tuple([axis_behind(a, ndim) for a in axes])
    return axis_behind(axes, ndim)
