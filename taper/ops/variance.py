"""Variances and standard deviations, alone and with the mean."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from taper.core.dtype import FLOATING
from taper.core.tensor import Tensor
from taper.kernels.memory_order import in_rows
from taper.kernels.summation import as_divisor, sum_of_squares, sum_over
from taper.ops.declare import operator
from taper.ops.reduction import axes_of, count_over, unsqueeze_reduced


def _arguments(dim: Any, unbiased: Any, correction: Any) -> tuple[Any, Any]:
    """(dim, correction) of PyTorch's overloads: `unbiased` may stand in the place of `dim`."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None:
        correction = 1 if unbiased else 0
    return dim, 1 if correction is None else correction


def _inexact(name: str) -> Any:
    """The rule for dtypes: they stay as they are, and integers are refused."""

    def promote(bound: dict[str, Any]) -> Any:
        d = bound["input"].dtype
        if d.category < FLOATING:
            raise RuntimeError(f"{name} only support floating point and complex dtypes")
        return d

    return promote


def _spread(name: str, input: Any, dim: Any, correction: Any, keepdim: bool) -> tuple[Any, Any]:
    """The variance, and the mean in some shape, in two passes: first the mean, then the squares of
    what differs from it."""
    if dim is None and not keepdim and 1 < input.size <= 1024 and correction == 1 and (
        input.dtype.kind == "f"
    ):
        n = input.size
        off = input.ravel()
        mean = sum_over(off) / n
        off = off - mean
        return off.dot(off) / (n - 1), mean
    axis = axes_of(dim, input.ndim)
    shape = input.shape
    n = count_over(shape, axis)
    if n <= correction and input.size:
        warnings.warn(
            f"{name}(): degrees of freedom is <= 0. Correction should be strictly less than the "
            "reduction factor (input numel divided by output numel).",
            UserWarning, stacklevel=4,
        )
    if input.ndim == 0:
        input = input.reshape(1)
    real = input.real.dtype if input.dtype.kind == "c" else input.dtype
    mean = np.divide(sum_over(input, axis, True), as_divisor(n or np.nan, real))
    off = input - mean
    keep = keepdim and bool(shape)
    if off.dtype.kind == "c":
        total = sum_over(off.real * off.real + off.imag * off.imag, axis, keep)
    else:
        total = sum_of_squares(off, axis, keep)
    variance = np.divide(in_rows(total), as_divisor(max(n - correction, 0), real))
    return variance if shape else variance.reshape(()), in_rows(mean)


@operator(
    method=True, out=True, promote=_inexact("std and var"), upcast=True,
    native="native_reductions.var",
)
def var(
    input: Tensor, dim: bool | Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: Any = None,
) -> Tensor:
    r"""The variance: :math:`\frac1{n-c}\sum_i |x_i - \bar x|^2`, c = `correction` = 1.

    ``unbiased=False`` is ``correction=0``. Of complex numbers it is real.
    Example:
        >>> import taper as torch
        >>> torch.var(torch.tensor([1., 2., 3.]))
        tensor(1.)
    """
    dim, correction = _arguments(dim, unbiased, correction)
    return _spread("var", input, dim, correction, keepdim)[0]


def _var_grad(grad: Any, input: Any, dim: Any, correction: Any, keepdim: bool) -> Any:
    n = count_over(input.shape, axes_of(dim, input.dim()))
    grad = unsqueeze_reduced(grad, input.shape, dim, keepdim)
    left = n - correction
    axes = axes_of(dim, input.dim())
    off = input - (input.mean() if axes is None else input.mean(axes, True))
    if left <= 0:
        return grad * off.new_full(off.shape, math.inf).masked_fill(off == 0, math.nan)
    return grad * off * (2.0 / left)


@var.derivative("input")
def _(grad, input, dim, unbiased, keepdim, correction):
    dim, correction = _arguments(dim, unbiased, correction)
    return _var_grad(grad, input, dim, correction, keepdim)


@operator(
    method=True, out=True, promote=_inexact("std and var"), upcast=True,
    native="native_reductions.std",
)
def std(
    input: Tensor, dim: bool | Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: Any = None,
) -> Tensor:
    r"""The standard deviation, the square root of `var`.

    Its gradient is 0 where it is 0.
    Example:
        >>> import taper as torch
        >>> torch.std(torch.tensor([1., 2., 3.]))
        tensor(1.)
    """
    dim, correction = _arguments(dim, unbiased, correction)
    return np.sqrt(_spread("std", input, dim, correction, keepdim)[0])


def _std_grad(grad: Any, result: Any, input: Any, dim: Any, correction: Any, keepdim: bool) -> Any:
    grad = (grad / (result * 2)).masked_fill(result == 0, 0)
    return _var_grad(grad, input, dim, correction, keepdim)


@std.derivative("input")
def _(grad, input, result, dim, unbiased, keepdim, correction):
    dim, correction = _arguments(dim, unbiased, correction)
    return _std_grad(grad, result, input, dim, correction, keepdim)


def _mean_grad(grad: Any, shape: Any, dim: Any, keepdim: bool) -> Any:
    n = count_over(shape, axes_of(dim, len(shape)))
    return unsqueeze_reduced(grad / n, shape, dim, keepdim).expand(shape)


@operator(promote=_inexact("var_mean"), upcast=True, outputs=2)
def var_mean(
    input: Tensor, dim: bool | Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: Any = None,
) -> Tensor:
    """The variance, as `var` gives it, and the mean.

    Example:
        >>> import taper as torch
        >>> torch.var_mean(torch.tensor([1., 2., 3.]))
        (tensor(1.), tensor(2.))
    """
    dim, correction = _arguments(dim, unbiased, correction)
    variance, mean = _spread("var_mean", input, dim, correction, keepdim)
    return variance, mean.reshape(np.shape(variance))


@var_mean.derivative("input")
def _(grads, input, dim, unbiased, keepdim, correction):
    dim, correction = _arguments(dim, unbiased, correction)
    parts = []
    if grads[0] is not None:
        parts.append(_var_grad(grads[0], input, dim, correction, keepdim))
    if grads[1] is not None:
        parts.append(_mean_grad(grads[1], input.shape, dim, keepdim))
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


@operator(promote=_inexact("std_mean"), upcast=True, outputs=2)
def std_mean(
    input: Tensor, dim: bool | Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: Any = None,
) -> Tensor:
    """The standard deviation, as `std` gives it, and the mean.

    Example:
        >>> import taper as torch
        >>> torch.std_mean(torch.tensor([1., 2., 3.]))
        (tensor(1.), tensor(2.))
    """
    dim, correction = _arguments(dim, unbiased, correction)
    variance, mean = _spread("std_mean", input, dim, correction, keepdim)
    return np.sqrt(variance), mean.reshape(np.shape(variance))


@std_mean.derivative("input")
def _(grads, input, result0, dim, unbiased, keepdim, correction):
    dim, correction = _arguments(dim, unbiased, correction)
    parts = []
    if grads[0] is not None:
        parts.append(_std_grad(grads[0], result0, input, dim, correction, keepdim))
    if grads[1] is not None:
        parts.append(_mean_grad(grads[1], input.shape, dim, keepdim))
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]
