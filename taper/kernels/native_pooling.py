"""The native twins of kernels/pooling.py: windows along the last dimension, or the last two."""

from __future__ import annotations

from functools import cache, lru_cache
from math import prod
from typing import Any

import numpy as np

from taper.compiler import machine
from taper.compiler.halving_kernels import halving
from taper.compiler.pooling_kernels import POOLING_WORDS, Pooling, pooling
from taper.compiler.tile_code import SIZE
from taper.compiler.winograd_kernels import lanes_for
from taper.kernels.launch_recipes import Recipe, Stage, run
from taper.kernels.native import FLOAT_KINDS, Kernel

__all__ = ["max_pool", "max_pool_gradient", "mean_pool", "mean_pool_gradient", "pooling_recipe"]

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]

_WIDEST = 32  # columns of a window, whose positions are written out
_GRAIN = 1 << 15  # elements of windows that are worth a thread of their own
_OPERANDS = {"max": ("x",), "max gradient": ("grad", "x"),
             "mean": ("x", "divisors"), "mean gradient": ("grad", "divisors")}


@cache
def _kernel(form: Pooling) -> Kernel:
    return Kernel.of(pooling, len(POOLING_WORDS), form)


@cache
def _halving(*details: Any) -> Kernel:
    return Kernel.of(halving, len(POOLING_WORDS), *details)


@lru_cache(maxsize=256)
def pooling_recipe(
    task: str, dtype: Any, lead: Ints, size: Ints, windows: Any, out: Ints, has_floor: bool = False,
) -> Recipe | None:
    """The launches of a task of pooling_kernels.Pooling, for planes of `size` that are pooled to
    `out`; `lead` are the dimensions before. None if there are no kernels.

    Operands are "x", "grad" and "divisors", an array like a plane of the result. With `has_floor`
    the gradient of a maximum is zero where that isn't above zero.
    """
    kind = FLOAT_KINDS.get(dtype)
    kernel, stride, padding, dilation = ((1, *v)[-2:] for v in windows[:4])
    padding = (0, *windows.padding)[-2:]
    if kind is None or len(out) > 2 or kernel[1] > _WIDEST:
        return None
    height, width = (1, *size)[-2:]
    rows, columns = (1, *out)[-2:]
    halves = (kernel == stride == (2, 2) and dilation == (1, 1) and not any(padding)
              and 2 * rows <= height and 2 * columns <= width)
    if halves:
        lanes = lanes_for(machine.vector_bytes() // SIZE[kind], columns)
        own = _halving(kind, task, lanes, has_floor)
    elif has_floor:
        return None
    else:
        own = _kernel(Pooling(kind, task, kernel[1], stride[1], dilation[1]))
    operands = _OPERANDS[task]
    arrays = tuple([label if label in operands else "result"
                    for label in ("x", "result", "grad", "divisors")])
    words = (height, width, rows, columns, kernel[0], stride[0], dilation[0], *padding)
    stage = Stage(own, arrays, words, prod(lead),
                  max(1, _GRAIN // max(1, rows * columns * prod(kernel))), f"{task} of windows")
    return Recipe((stage,), (), (*lead, *(size if task.endswith("gradient") else out)), operands)


def _run(
    task: str, first: Array, second: Array | None, lead: Ints, size: Ints, windows: Any, out: Ints,
) -> Array | None:
    recipe = pooling_recipe(task, first.dtype, lead, size, windows, out)
    if recipe is None:
        return None
    operands = [first] if second is None else [first, second]
    return run(recipe, *map(np.ascontiguousarray, operands))


def _split(x: Array, out: Ints) -> tuple[Ints, Ints]:
    """What is before the planes, and their sizes."""
    lead = x.ndim - len(out)
    return x.shape[:lead], x.shape[lead:]


def max_pool(x: Array, windows: Any, out: Ints) -> Array | None:
    """`kernels.pooling.max_pool`, or None without a kernel."""
    return _run("max", x, None, *_split(x, out), windows, out)


def max_pool_gradient(grad: Array, x: Array, windows: Any, out: Ints) -> Array | None:
    """`kernels.pooling.max_pool_gradient`, or None without a kernel."""
    if grad.dtype != x.dtype:
        return None
    return _run("max gradient", grad, x, *_split(x, out), windows, out)


def mean_pool(x: Array, windows: Any, out: Ints, divisor: Any) -> Array | None:
    """`kernels.pooling.mean_pool`, or None without a kernel."""
    return _run("mean", x, np.full(out, divisor, x.dtype), *_split(x, out), windows, out)


def mean_pool_gradient(
    grad: Array, size: Ints, windows: Any, out: Ints, divisor: Any
) -> Array | None:
    """`kernels.pooling.mean_pool_gradient`, or None without a kernel."""
    lead = grad.shape[: grad.ndim - len(out)]
    divisors = np.full(out, divisor, grad.dtype)
    return _run("mean gradient", grad, divisors, lead, tuple(size), windows, out)
