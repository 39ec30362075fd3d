"""Rules for shapes of `numpy.linalg` and `numpy.fft`, beside those of shape_rules.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from taper.arrays.numpy_order import kept_order
from taper.arrays.shape import ShapeArray
from taper.arrays.shape_rules import RULES, rule, stacked

__all__ = ["RULES"]

Shape = tuple[int, ...]

# -- linear algebra ------------------------------------------------------------------------------


def _square(a: Any) -> None:
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise np.linalg.LinAlgError("Last 2 dimensions of the array must be square")


def _real(dtype: Any) -> Any:
    return np.zeros(0, dtype).real.dtype


def _complex(dtype: Any) -> Any:
    return np.result_type(dtype, np.complex64)


def _of(arrays: Sequence[Any], core: Shape, dtype: Any) -> ShapeArray:
    """What LAPACK makes of stacks of matrices, a result of shape `core` of each."""
    lead = np.broadcast_shapes(*[a.shape[:-2] for a in arrays])
    return stacked([(a.shape[:-2], a.strides[:-2]) for a in arrays], lead, core, dtype)


@rule(np.linalg.inv, np.linalg.cholesky)
def _same_matrix(a: Any, *args: Any, **kwargs: Any) -> ShapeArray:
    _square(a)
    return _of([a], a.shape[-2:], a.dtype)


@rule(np.linalg.matrix_power)
def _matrix_power(a: Any, n: int) -> ShapeArray:
    _square(a)
    return a.astype(a.dtype) if n in (0, 1) else _same_matrix(a)


@rule(np.linalg.det)
def _det(a: Any) -> ShapeArray:
    _square(a)
    return _of([a], (), a.dtype)


@rule(np.linalg.slogdet)
def _slogdet(a: Any) -> tuple[ShapeArray, ShapeArray]:
    _square(a)
    return _of([a], (), a.dtype), _of([a], (), _real(a.dtype))


@rule(np.linalg.solve)
def _solve(a: Any, b: Any) -> ShapeArray:
    dtype = np.result_type(a.dtype, b.dtype)
    if b.ndim == 1:
        return _of([a], b.shape, dtype)
    return _of([a, b], b.shape[-2:], dtype)


@rule(np.linalg.svd)
def _svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
         ) -> Any:
    m, n = a.shape[-2:]
    k = min(m, n)
    values = _of([a], (k,), _real(a.dtype))
    if not compute_uv:
        return values
    left, right = ((m, m), (n, n)) if full_matrices else ((m, k), (k, n))
    return _of([a], left, a.dtype), values, _of([a], right, a.dtype)


@rule(np.linalg.eigh)
def _eigh(a: Any, UPLO: str = "L") -> tuple[ShapeArray, ShapeArray]:
    _square(a)
    return _of([a], a.shape[-1:], _real(a.dtype)), _of([a], a.shape[-2:], a.dtype)


@rule(np.linalg.eigvalsh)
def _eigvalsh(a: Any, UPLO: str = "L") -> ShapeArray:
    return _eigh(a)[0]


@rule(np.linalg.eig)
def _eig(a: Any) -> tuple[ShapeArray, ShapeArray]:
    _square(a)
    dtype = _complex(a.dtype)  # real where the values allow it; forwards make it complex
    return _of([a], a.shape[-1:], dtype), _of([a], a.shape[-2:], dtype)


@rule(np.linalg.eigvals)
def _eigvals(a: Any) -> ShapeArray:
    return _eig(a)[0]


@rule(np.linalg.qr)
def _qr(a: Any, mode: str = "reduced") -> Any:
    m, n = a.shape[-2:]
    inner = m if mode == "complete" else min(m, n)
    a = a.astype(a.dtype)
    r = np.triu(np.zeros_like(a, shape=(*a.shape[:-2], inner, n)))
    return r if mode == "r" else (_of([a], (m, inner), a.dtype), r)


# -- Fourier transforms --------------------------------------------------------------------------


def _resized(a: Any, sizes: Any, axes: Any) -> Shape:
    """The shape with `sizes` (None: as they are) along `axes` (None: all, or the last ones)."""
    if axes is None:
        axes = range(a.ndim) if sizes is None else range(a.ndim - len(sizes), a.ndim)
    shape = list(a.shape)
    for axis, n in zip(axes, sizes if sizes is not None else [None] * len(axes), strict=True):
        if n is not None:
            shape[axis] = n
    return tuple(shape)


def _last(axes: Sequence[int] | None) -> int:
    return -1 if axes is None else axes[-1]


def _with(shape: Shape, axis: int, n: int) -> Shape:
    changed = list(shape)
    changed[axis] = n
    return tuple(changed)


def _transformed(a: Any, shape: Shape, dtype: Any) -> ShapeArray:
    kept = kept_order(shape, a.strides)
    dtype = np.dtype(dtype)
    return ShapeArray(
        shape, dtype, None if kept is None else tuple([s * dtype.itemsize for s in kept]))


@rule(np.fft.fftn, np.fft.ifftn, np.fft.fft2, np.fft.ifft2)
def _fftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None, out: Any = None) -> ShapeArray:
    return _transformed(a, _resized(a, s, axes), _complex(a.dtype))


@rule(np.fft.rfftn, np.fft.rfft2)
def _rfftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None, out: Any = None
           ) -> ShapeArray:
    shape = _resized(a, s, axes)
    axis = _last(axes)
    return _transformed(a, _with(shape, axis, shape[axis] // 2 + 1), _complex(a.dtype))


@rule(np.fft.irfftn, np.fft.irfft2)
def _irfftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None, out: Any = None
            ) -> ShapeArray:
    shape = _resized(a, s, axes)
    axis = _last(axes)
    n = s[-1] if s is not None else 2 * (a.shape[axis] - 1)
    return _transformed(a, _with(shape, axis, n), _real(_complex(a.dtype)))


@rule(np.fft.fft, np.fft.ifft)
def _fft(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: Any = None) -> ShapeArray:
    return _fftn(a, [n], [axis])


@rule(np.fft.rfft, np.fft.ihfft)
def _rfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: Any = None) -> ShapeArray:
    return _rfftn(a, [n], [axis])


@rule(np.fft.irfft, np.fft.hfft)
def _irfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: Any = None) -> ShapeArray:
    return _irfftn(a, None if n is None else [n], [axis])
