"""How gradients move between a base and its views, for histories that in-place changes rewrite.

See Note [in-place on a view] in autograd/views.py. A region of the base is described by a
`Geometry`; all three work on a dense array in the order of the base's memory, so that any view of
it, overlapping ones included, is a strided window.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.autograd import views
from taper.autograd.views import Geometry
from taper.core.storage import strided_view
from taper.core.tensor import Tensor, contiguous_strides
from taper.ops.complex import view_as_complex, view_as_real
from taper.ops.declare import operator

ndarray = np.ndarray


def _memory_of(array: Any, geometry: Geometry) -> tuple[Any, int]:
    """A copy of `array`, laid out in memory as the base is, as a vector; and where it starts.

    The vector spans everything that the base or the view reaches; gaps hold zeros.
    """
    stop = geometry.offset + _reach(geometry.shape, geometry.strides)
    if (
        geometry.base_strides == contiguous_strides(geometry.base_shape)
        and geometry.offset >= 0 and stop <= array.size
    ):
        return array.reshape(-1).copy() if array.flags.c_contiguous else array.flatten(), 0
    start = min(geometry.offset, 0)
    stop = max(_reach(geometry.base_shape, geometry.base_strides), stop)
    flat = _zeros_of_kind(array, (stop - start,))
    if array.size:
        _window(flat, geometry.base_shape, geometry.base_strides, -start)[...] = array
    return flat, -start


def _zeros_of_kind(array: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of the class and dtype of `array`."""
    if type(array) is ndarray:
        return np.zeros(shape, array.dtype)
    return np.zeros_like(array, shape=shape)


def _reach(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    if 0 in shape:
        return 0
    return sum([(n - 1) * s for n, s in zip(shape, strides, strict=True)]) + 1


def _window(flat: Any, shape: Any, strides: Any, start: int) -> Any:
    item = flat.dtype.itemsize
    return strided_view(flat, shape, tuple([s * item for s in strides]), start * item)


def _base_window(flat: Any, geometry: Geometry, start: int) -> Any:
    """The base's part of a vector that nobody else holds."""
    found = _window(flat, geometry.base_shape, geometry.base_strides, start)
    return found.copy() if _overlaps(geometry.base_shape, geometry.base_strides) else found


def _overlaps(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether a window may name one element twice."""
    reach = 0
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size > 1:
            if stride <= reach:
                return True
            reach += (size - 1) * stride
    return False


@operator("_slice_of_base", hidden=True)
def slice_of_base(input: Tensor, geometry: Any) -> Tensor:
    """The part of a gradient of the base that belongs to the view."""
    flat, start = _memory_of(input, geometry)
    if 0 in geometry.shape:
        return _zeros_of_kind(input, geometry.shape)
    return _window(flat, geometry.shape, geometry.strides, start + geometry.offset).copy()


@slice_of_base.derivative("input")
def _(grad, geometry):
    return scatter_into_base(grad, geometry)


@operator("_scatter_into_base", hidden=True)
def scatter_into_base(input: Tensor, geometry: Any) -> Tensor:
    """The gradient of a view as one of its base: zeros everywhere else."""
    zeros = _zeros_of_kind(input, geometry.base_shape)
    flat, start = _memory_of(zeros, geometry)
    if input.size:
        if _overlaps(geometry.shape, geometry.strides):
            positions = _window(np.arange(len(flat)), geometry.shape, geometry.strides,
                                start + geometry.offset)
            np.add.at(flat, positions, input)
        else:
            _window(flat, geometry.shape, geometry.strides, start + geometry.offset)[...] = input
    if not zeros.size:
        return zeros
    if _overlaps(geometry.base_shape, geometry.base_strides):
        # An element that the base names n times gets its share of the gradient n times.
        counts = np.zeros(len(flat), input.dtype)
        positions = _window(np.arange(len(flat)), geometry.base_shape, geometry.base_strides, start)
        np.add.at(counts, positions, 1)
        flat /= np.maximum(counts, 1)
    return _base_window(flat, geometry, start)


@scatter_into_base.derivative("input")
def _(grad, geometry):
    return slice_of_base(grad, geometry)


@operator("_clear_in_base", hidden=True)
def clear_in_base(input: Tensor, geometry: Any) -> Tensor:
    """A gradient of the base with the view's part set to zero: that was overwritten."""
    flat, start = _memory_of(input, geometry)
    if 0 not in geometry.shape:
        _window(flat, geometry.shape, geometry.strides, start + geometry.offset)[...] = 0
    if not input.size:
        return input.copy()
    return _base_window(flat, geometry, start)


@clear_in_base.derivative("input")
def _(grad, geometry):
    return clear_in_base(grad, geometry)


views.slice_of_base = slice_of_base.function
views.scatter_into_base = scatter_into_base.function
views.clear_in_base = clear_in_base.function
views.view_as_real = view_as_real.function
views.view_as_complex = view_as_complex.function
