"""The discrete Fourier transform: NumPy's, SciPy's for many elements, or native kernels.

`norm` is NumPy's name of what the transform divides by. Functions take arrays of any class.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.kernels.native_twin import with_native

__all__ = ["complex_to_complex", "complex_to_real", "real_to_complex"]

Array = Any
Dims = tuple[int, ...]

_MANY = 4096  # elements; fewer are not worth importing SciPy for
_NATIVE = "taper.kernels.native_fourier"


def _is_large(x: Array, *_: Any) -> bool:
    return type(x) is np.ndarray and x.size >= _MANY


def _transforms(x: Array) -> Any:
    """NumPy's transforms, or for many elements SciPy's, which take 2 to 6 times less."""
    if _is_large(x):
        import scipy.fft

        return scipy.fft
    return np.fft


@with_native(_NATIVE, _is_large)
def complex_to_complex(x: Array, dims: Dims, norm: str, forward: bool) -> Array:
    """Transforms complex values along `dims`."""
    transforms = _transforms(x)
    if len(dims) == 1:
        one = transforms.fft if forward else transforms.ifft
        return one(x, axis=dims[0], norm=norm)
    many = transforms.fftn if forward else transforms.ifftn
    return many(x, axes=dims, norm=norm)


@with_native(_NATIVE, _is_large)
def real_to_complex(x: Array, dims: Dims, norm: str, half: bool) -> Array:
    """Transforms real values; `half` keeps the non-redundant half of the last of `dims`."""
    transforms = _transforms(x)
    if not half:
        if len(dims) > 1:
            return transforms.fftn(x, axes=dims, norm=norm)
        return transforms.fft(x, axis=dims[0], norm=norm)
    if len(dims) == 1:
        return transforms.rfft(x, axis=dims[0], norm=norm)
    return transforms.rfftn(x, axes=dims, norm=norm)


def complex_to_real(x: Array, dims: Dims, norm: str, last_size: int) -> Array:
    """Transforms half of a Hermitian spectrum back to `last_size` real values."""
    transforms = _transforms(x)
    if len(dims) == 1:
        return transforms.irfft(x, last_size, axis=dims[0], norm=norm)
    sizes = [x.shape[d] for d in dims[:-1]] + [last_size]
    return transforms.irfftn(x, sizes, axes=dims, norm=norm)
