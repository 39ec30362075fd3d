"""The native twins of kernels/convolution.py: recipes for shapes (convolution_recipes), run."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.compiler.machine import vector_bytes
from taper.kernels.convolution_recipes import (
    Convolution,
    forward_recipe,
    input_recipe,
    weight_recipe,
)
from taper.kernels.launch_recipes import run
from taper.kernels.native import FLOAT_KINDS

__all__ = ["convolve", "input_gradient", "weight_gradient"]

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]



def _kind_of(*arrays: Array) -> str | None:
    """The kernels' name of the dtype that all arrays have; None if there are no kernels for it."""
    kind = FLOAT_KINDS.get(arrays[0].dtype)
    same = all(a.dtype == arrays[0].dtype for a in arrays)
    return kind if same and all(a.size for a in arrays) else None


def _with(bias: Array | None, dtype: Any) -> list[Array]:
    return [] if bias is None else [np.ascontiguousarray(bias, dtype)]


def convolve(
    x: Array, weight: Array, stride: Ints, padding: Ints, dilation: Ints, groups: int,
    bias: Array | None = None,
) -> Array | None:
    """`kernels.convolution.convolve`, or None without a kernel."""
    kind = _kind_of(x, weight)
    if kind is None or weight.ndim > 5:
        return None
    recipe = forward_recipe(
        x.shape, x.strides, weight.shape, Convolution(
            weight.shape[2:], stride, padding, dilation, groups, kind, vector_bytes()),
        bias is not None, False)
    return recipe and run(recipe, x, np.ascontiguousarray(weight), *_with(bias, x.dtype))


def input_gradient(
    grad: Array, weight: Array, size: Ints, stride: Ints, padding: Ints, dilation: Ints,
    groups: int, bias: Array | None = None,
) -> Array | None:
    """`kernels.convolution.input_gradient`, or None without a kernel."""
    kind = _kind_of(grad, weight)
    if kind is None or weight.ndim > 5:
        return None
    recipe = input_recipe(
        grad.shape, grad.strides, weight.shape, tuple(size), Convolution(
            weight.shape[2:], stride, padding, dilation, groups, kind, vector_bytes()),
        bias is not None)
    return recipe and run(recipe, grad, np.ascontiguousarray(weight), *_with(bias, grad.dtype))


def weight_gradient(
    grad: Array, x: Array, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Array | None:
    """`kernels.convolution.weight_gradient`, or None without a kernel."""
    kind = _kind_of(grad, x)
    if kind is None or len(kernel) > 3:
        return None
    recipe = weight_recipe(
        grad.shape, x.shape, x.strides, Convolution(
            kernel, stride, padding, dilation, groups, kind, vector_bytes()))
    return recipe and run(recipe, np.ascontiguousarray(grad), x)
