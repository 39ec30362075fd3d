"""Running sums, products, extrema and log-sum-exps along one dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.arrays.symbolic_shape import array_of
from taper.core.dtype import INTEGER, as_dtype, bfloat16, int64
from taper.core.errors import normalize_dim
from taper.core.state import active, is_recording
from taper.core.tensor import Tensor
from taper.kernels.memory_order import in_rows
from taper.ops.argument_checks import values_known
from taper.ops.declare import OPERATORS, operator
from taper.ops.out_argument import dtype_of_out

# Running sums and products are carried in double precision, as PyTorch's are.
_WIDER = {np.dtype("float32"): np.dtype("float64"), np.dtype("complex64"): np.dtype("complex128")}


def _running_dtype(bound: dict[str, Any]) -> Any:
    d = bound["input"].dtype
    return as_dtype(bound.get("dtype")) or (int64 if d.category <= INTEGER else d)


def _accumulate(ufunc: Any, input: Any, dim: int) -> Any:
    axis = normalize_dim(dim, input.ndim)
    if input.ndim == 0:
        return input.copy()
    wider = _WIDER.get(input.dtype)
    input = in_rows(input)  # the result is contiguous in any case
    if wider is None:
        return ufunc.accumulate(input, axis, input.dtype)
    if input.size <= 512:
        return ufunc.accumulate(input, axis, wider).astype(input.dtype)
    running = input.astype(wider)
    ufunc.accumulate(running, axis, None, running)
    return running.astype(input.dtype)


@operator(method=True, inplace=True, out=True, promote=_running_dtype, upcast=True,
          with_out=dtype_of_out, native="native_scans.cumsum")
def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    r"""Running sums along `dim`: :math:`y_i = \sum_{j \le i} x_j`.

    Dtype:   integers are summed in int64
    Example:
        >>> import taper as torch
        >>> torch.cumsum(torch.tensor([1., 2., 3.]), 0)
        tensor([1., 3., 6.])
    """
    return _accumulate(np.add, input, dim)


def reversed_cumsum(value: Tensor, dim: int) -> Tensor:
    """Running sums from the end."""
    if value.dim() == 0 or value.numel() <= 1:
        return value
    return value.flip(dim).cumsum(dim).flip(dim)


@cumsum.derivative("input")
def _(grad, dim):
    return reversed_cumsum(grad, dim)


@operator(method=True, inplace=True, out=True, promote=_running_dtype, upcast=True,
          with_out=dtype_of_out, native="native_scans.cumprod")
def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    r"""Running products along `dim`: :math:`y_i = \prod_{j \le i} x_j`.

    Dtype:   integers are multiplied in int64
    Example:
        >>> import taper as torch
        >>> torch.cumprod(torch.tensor([1., 2., 3.]), 0)
        tensor([1., 2., 6.])
    """
    return _accumulate(np.multiply, input, dim)


@cumprod.derivative("input")
def _(grad, input, result, dim):
    r"""dL/dx_k = sum over i >= k of grad_i prod over j <= i, j != k of x_j. Up to the first zero
    that is sum(grad_i y_i) / x_k. At the first zero, x_k is left out of the products; after it,
    they are all zero."""
    if input.dim() == 0 or input.numel() == 0:
        return grad
    dim = normalize_dim(dim, input.dim())
    if input.shape[dim] == 1:
        return grad
    zero = input == 0
    before_zero = zero.cumsum(dim) == 0
    conj_input = input.conj()
    plain = reversed_cumsum(grad * result.conj(), dim) / conj_input.masked_fill(zero, 1)
    if values_known(zero) and not bool(zero.any()):
        return plain
    recorded = is_recording() and (input.requires_grad or grad.requires_grad)
    if recorded or active.tangents:
        return _cumprod_gradient(grad, input, dim)
    first = zero & (zero.cumsum(dim) == 1)
    filled = conj_input.masked_fill(first, 1)
    after = grad.masked_fill(before_zero, 0) * filled.cumprod(dim)
    at_first = reversed_cumsum(after, dim)
    return plain.masked_fill(~before_zero, 0) + at_first.masked_fill(~first, 0)


def _cumprod_gradient(grad: Tensor, input: Tensor, dim: int) -> Tensor:
    """The same, product by product: it stays right when differentiated again at zeros."""
    n = input.shape[dim]
    parts = []
    for k in range(n):
        before = input.narrow(dim, 0, k).prod(dim, True)
        after = input.narrow(dim, k + 1, n - k - 1).cumprod(dim)
        products = OPERATORS["cat"]([before, before * after], dim).conj()
        parts.append((grad.narrow(dim, k, n - k) * products).sum(dim))
    return OPERATORS["stack"](parts, dim)


def _running_extremum(ufunc: Any, input: Any, dim: int) -> Any:
    """Values and indices; the index is that of the last element equal to the value so far."""
    axis = normalize_dim(dim, input.ndim)
    if input.ndim == 0:
        return input.copy(), np.zeros_like(input, dtype=np.int64)
    values = in_rows(ufunc.accumulate(input, axis))
    hit = values == input
    if input.dtype.kind not in "biu":
        hit = hit | np.isnan(input)
    shape = [1] * input.ndim
    shape[axis] = input.shape[axis]
    places = np.where(hit, array_of(np.arange, input.shape[axis]).reshape(shape), 0)
    return values, in_rows(np.maximum.accumulate(places, axis))


@operator(
    method=True, out=True, outputs=("values", "indices"), kinds="bif", kernel="cummax_cpu",
    native="native_scans.cummax",
)
def cummax(input: Tensor, dim: int) -> Tensor:
    """Running largest elements along `dim` and their indices (the last, where equal).

    Example:
        >>> import taper as torch
        >>> torch.cummax(torch.tensor([1., 3., 2.]), 0).values
        tensor([1., 3., 3.])
    """
    return _running_extremum(np.maximum, input, dim)


@operator(
    method=True, out=True, outputs=("values", "indices"), kinds="bif", kernel="cummin_cpu",
    native="native_scans.cummin",
)
def cummin(input: Tensor, dim: int) -> Tensor:
    """Running smallest elements along `dim` and their indices (the last, where equal).

    Example:
        >>> import taper as torch
        >>> torch.cummin(torch.tensor([2., 3., 1.]), 0).values
        tensor([2., 2., 1.])
    """
    return _running_extremum(np.minimum, input, dim)


def _extremum_gradient(grad: Any, indices: Tensor, shape: Any, dim: int) -> Any:
    if not shape:
        return grad
    return grad.new_zeros(shape).scatter_add(dim, indices, grad)


@cummax.derivative("input")
def _(grad, result1, input_shape, dim):
    return _extremum_gradient(grad, result1, input_shape, dim)


@cummin.derivative("input")
def _(grad, result1, input_shape, dim):
    return _extremum_gradient(grad, result1, input_shape, dim)


def _log_add_exp(first: Any, second: Any) -> Any:
    """log(exp(first) + exp(second)) of complex numbers."""
    swap = first.real <= second.real
    high, low = np.where(swap, second, first), np.where(swap, first, second)
    return np.where(np.isinf(low.real) & (low.real < 0), high, high + np.log1p(np.exp(low - high)))


@operator(method=True, out=True, upcast=True, kinds="fc", kernel="logcumsumexp_out_cpu")
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    r"""Running log-sum-exps along `dim`: :math:`y_i = \log \sum_{j \le i} e^{x_j}`.

    Example:
        >>> import taper as torch
        >>> torch.logcumsumexp(torch.zeros(3), 0)
        tensor([0.0000, 0.6931, 1.0986])
    """
    axis = normalize_dim(dim, input.ndim)
    if input.ndim == 0 or input.size == 0:
        return input.copy()
    if input.dtype.kind != "c":
        return in_rows(np.logaddexp.accumulate(input, axis))
    result = input.copy()
    lanes = np.moveaxis(result, axis, 0)
    for i in range(1, len(lanes)):
        lanes[i] = _log_add_exp(lanes[i - 1], lanes[i])
    return result


@logcumsumexp.derivative("input")
def _(grad, input, result, dim):
    r"""exp(x_k) sum over i >= k of grad_i exp(-y_i), all in logarithms, with the positive and the
    negative part of grad apart so that their logarithms exist."""
    if input.dim() == 0 or input.numel() == 0:
        return grad
    if grad.is_complex():
        return _log_backward(grad.log(), input, result, dim)
    magnitude = grad.abs().masked_fill(grad == 0, 1).log()
    # Finite, as -inf would give NaN in the next derivative.
    lowest = -3e38 if grad.dtype is bfloat16 else float(np.finfo(grad.dtype.numpy_dtype).min)
    positive = magnitude.masked_fill(grad <= 0, lowest)
    negative = magnitude.masked_fill(grad >= 0, lowest)
    return _log_backward(positive, input, result, dim) - _log_backward(negative, input, result, dim)


def _log_backward(log_grad: Any, input: Any, result: Any, dim: int) -> Any:
    if log_grad.is_complex():
        result, input = result.conj(), input.conj()
    return (logcumsumexp((log_grad - result).flip(dim), dim).flip(dim) + input).exp()
