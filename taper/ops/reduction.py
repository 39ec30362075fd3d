"""Sums, means and products over some or all dimensions; any, all, counts.

Largest and smallest elements are in extrema.py, variances in variance.py, norms in norm.py,
medians and quantiles in order_statistics.py.
"""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from taper.autograd import engine
from taper.core.dtype import FLOATING, INTEGER, as_dtype, int64
from taper.core.errors import normalize_dim, normalize_dims
from taper.core.promotion import scalar_type_name
from taper.core.tensor import Tensor
from taper.kernels import row_sums
from taper.kernels.memory_order import in_rows
from taper.kernels.summation import as_divisor, multiply_rows, small_total, sum_over
from taper.ops.declare import OPERATORS, composite, operator
from taper.ops.out_argument import dtype_of_inexact_out, dtype_of_out

_I64 = np.dtype("int64")


def axes_of(dim: Any, ndim: int) -> Any:
    """The axes that `dim` names: None for all, else an int or a tuple, counted from the front."""
    if dim is None:
        return None
    if type(dim) is int:
        return dim if 0 <= dim < ndim else normalize_dim(dim, ndim)
    if isinstance(dim, (tuple, list)):
        axes = normalize_dims(dim, ndim)
        return axes if 0 < len(axes) < ndim else None
    return normalize_dim(dim, ndim)


def count_over(shape: tuple[int, ...], axis: Any) -> int:
    """How many elements each result of a reduction over `axis` is made of."""
    if axis is None:
        axis = range(len(shape))
    elif type(axis) is int:
        return shape[axis] if shape else 1
    n = 1
    for d in axis:
        n *= shape[d] if shape else 1
    return n


def _sum_dtype(bound: dict[str, Any]) -> Any:
    """`dtype=` if given; integers and bools are summed in int64."""
    d = bound["input"].dtype
    return as_dtype(bound.get("dtype")) or (int64 if d.category <= INTEGER else d)


@operator(
    method=True, out=True, promote=_sum_dtype, upcast=True, takes_integers=True,
    with_out=dtype_of_out,
    variant=("dim is not None", "SumBackward1"),
)
def sum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    r"""Adds up the elements, all of them or along `dim`.

    Args:     dim (int or tuple of ints): default all dimensions (also for an empty tuple)
    Dtype:    integers are summed in int64; float16 and bfloat16 in float32
    Example:
        >>> import taper as torch
        >>> torch.sum(torch.ones(2, 3), dim=1)
        tensor([3., 3.])
    """
    if dim is None and not keepdim:
        total = small_total(input)
        if total is not None:
            return total
    kind = input.dtype.kind
    if dim is None and kind == "f" and not keepdim:
        return sum_over(input)
    axis = axes_of(dim, input.ndim)
    if input.ndim == 0:
        return input + 0 if kind != "b" else input.astype(_I64)
    if kind == "b":
        if axis is None and not keepdim:
            return np.count_nonzero(input)
        return in_rows(np.add.reduce(input, axis, _I64, None, keepdim))
    total = sum_over(input, axis, keepdim)
    return in_rows(total) if input.ndim > 2 else total


@sum.derivative("input")
def _(grad, input_shape, dim, keepdim):
    return expand_reduced(grad, input_shape, dim, keepdim)


def unsqueeze_reduced(value: Tensor, shape: Any, dim: Any, keepdim: bool) -> Tensor:
    """Gives a reduced tensor its reduced dimensions back, with size 1."""
    if dim is None or not shape or keepdim:
        return value
    axis = axes_of(dim, builtins.len(shape))
    if axis is None:
        return value
    for d in sorted((axis,) if type(axis) is int else axis):
        value = value.unsqueeze(d)
    return value


# Up to here a filled array is quicker to make, and to compute with, than an expanded view.
_SPREAD_LIMIT = 4096


@operator(hidden=True, node="ExpandBackward0")
def spread(input: Tensor, size: Any) -> Tensor:
    """A new tensor with the one value of a 0-d tensor everywhere."""
    if type(input) is not np.ndarray:
        return np.broadcast_to(input, size)
    result = np.empty(size, input.dtype)
    result.fill(input)
    return result


@spread.derivative("input")
def _(grad):
    return sum(grad)


def expand_reduced(grad: Tensor, shape: Any, dim: Any, keepdim: bool) -> Tensor:
    """Brings the gradient of a reduction back to the shape of its input."""
    if grad._array.ndim == 0 and shape and math.prod(shape) <= _SPREAD_LIMIT:
        return spread(grad, shape)
    return unsqueeze_reduced(grad, shape, dim, keepdim).expand(shape)


def _mean_dtype(bound: dict[str, Any]) -> Any:
    wanted = as_dtype(bound.get("dtype"))
    found = wanted or bound["input"].dtype
    if found.category < FLOATING:
        which = "Input" if wanted is None else "Optional"
        raise RuntimeError(
            f"mean(): could not infer output dtype. {which} dtype must be either a floating point "
            f"or complex dtype. Got: {scalar_type_name(found)}"
        )
    return found


@operator(
    method=True, out=True, promote=_mean_dtype, upcast=True, with_out=dtype_of_out,
    variant=("dim is not None", "MeanBackward1"),
)
def mean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    r"""The arithmetic mean, of all elements or along `dim`: :math:`\frac1n\sum_i x_i`.

    The mean of no elements is NaN.
    Raises:  RuntimeError: for integers, unless a floating point `dtype` is given
    Example:
        >>> import taper as torch
        >>> torch.mean(torch.tensor([[1., 2.], [3., 6.]]), dim=1)
        tensor([1.5000, 4.5000])
    """
    axis = None if dim is None else axes_of(dim, input.ndim)
    if input.ndim == 0:
        return input + 0
    if axis is None and not keepdim:
        return sum_over(input) / input.size
    n = count_over(input.shape, axis)
    total = sum_over(input, axis, keepdim)
    return np.divide(in_rows(total) if input.ndim > 2 else total, as_divisor(n, input.dtype))


@mean.derivative("input")
def _(grad, input_shape, dim, keepdim):
    n = count_over(input_shape, None if dim is None else axes_of(dim, builtins.len(input_shape)))
    return expand_reduced(grad / n, input_shape, dim, keepdim)


@operator(
    method=True, out=True, promote=_sum_dtype, upcast=True, with_out=dtype_of_out,
    variant=("dim is not None", "ProdBackward1"),
)
def prod(
    input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    r"""Multiplies the elements, all of them or along one `dim`: :math:`\prod_i x_i`.

    Dtype:   integers are multiplied in int64
    Example:
        >>> import taper as torch
        >>> torch.prod(torch.tensor([[1, 2], [3, 4]]), dim=0)
        tensor([3, 8])
    """
    if input.ndim == 0:
        if dim is not None:
            normalize_dim(dim, 0)
        return input.copy()
    if dim is None:
        return multiply_rows(input.ravel()) if input.flags.c_contiguous else (
            np.multiply.reduce(input, None))
    axis = normalize_dim(dim, input.ndim)
    if axis == input.ndim - 1:
        result = multiply_rows(input)
        return in_rows(result[..., None] if keepdim else result)
    return in_rows(np.multiply.reduce(input, axis, None, None, keepdim))


@prod.derivative("input")
def _(grad, input, dim, keepdim):
    if input.dim() == 0:
        return grad
    if dim is None:
        others = products_of_others(input.reshape(-1), 0).reshape(input.shape)
        return grad * others.conj()
    dim = normalize_dim(dim, input.dim())
    return (grad if keepdim else grad.unsqueeze(dim)) * products_of_others(input, dim).conj()


def _check_nansum(bound: dict[str, Any]) -> None:
    if bound["input"].is_complex():
        axes_of(bound["dim"], bound["input"].ndim)
        raise RuntimeError("nansum on CPU does not support complex inputs")


def products_of_others(input: Tensor, dim: int) -> Tensor:
    """For each element, the product of all the others along `dim`; exact where some are zero."""
    n = input.shape[dim]
    if n == 0:
        return input
    cat = OPERATORS["cat"]
    one = input.new_ones([1 if d == dim else s for d, s in enumerate(input.shape)])
    before = cat([one, input.narrow(dim, 0, n - 1)], dim).cumprod(dim)
    after = cat([one, input.narrow(dim, 1, n - 1).flip(dim)], dim).cumprod(dim).flip(dim)
    return before * after


@operator(
    method=True, out=True, promote=_sum_dtype, upcast=True, kinds="bif", kernel="nansum",
    with_out=dtype_of_inexact_out, check=_check_nansum,
)
def nansum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Adds up the elements, all of them or along `dim`, counting NaN as zero.

    Example:
        >>> import taper as torch
        >>> torch.nansum(torch.tensor([1., torch.nan, 2.]))
        tensor(3.)
    """
    axis = axes_of(dim, input.ndim)
    if input.dtype.kind == "f":
        if type(input) is np.ndarray and input.ndim:
            total = sum_over(input, axis, keepdim)
            if not np.isnan(total).any():
                return in_rows(total)
        input = np.where(np.isnan(input), np.zeros_like(input, shape=()), input)
    return in_rows(sum_over(input, axis if input.ndim else None, keepdim))


@nansum.derivative("input")
def _(grad, input, dim, keepdim):
    return expand_reduced(grad, input.shape, dim, keepdim) * input.isnan().logical_not()


@composite(method=True)
def nanmean(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None
) -> Tensor:
    """The mean of the elements that are not NaN, of all or along `dim`.

    Example:
        >>> import taper as torch
        >>> torch.nanmean(torch.tensor([1., torch.nan, 2.]))
        tensor(1.5000)
    """
    if input.dtype.category < FLOATING:
        raise RuntimeError(
            "nanmean(): expected input to have floating point or complex dtype but got "
            f"{scalar_type_name(input.dtype)}"
        )
    factor = sum(input.detach().isnan().logical_not(), dim, keepdim)
    total = nansum(input, dim, keepdim, dtype=dtype, out=out)
    return total / factor if out is None else total.div_(factor)


_LIMITS = {d: (np.asarray(np.finfo(d).min), np.asarray(np.finfo(d).max))
           for d in (np.dtype("float32"), np.dtype("float64"))}


@operator(
    method=True, out=True, promote="float", aliases=("special.logsumexp",),
    native="native_reductions.logsumexp",
)
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    r"""The logarithm of the sum of exponentials along `dim`, without overflow.

    :math:`m + \log \sum_i e^{x_i - m}` with :math:`m = \max_i x_i`.
    Example:
        >>> import taper as torch
        >>> torch.logsumexp(torch.tensor([500., 500.]), 0) - 500
        tensor(0.6931)
    """
    axis = axes_of(dim, input.ndim) if input.ndim else None
    if dim is not None and input.ndim == 0:
        axes_of(dim, 0)
    if input.ndim == 2 and (axis == 1 or axis == (1,)):
        found = row_sums.logsumexp_of_rows(input)
        if found is not None:
            return found[:, None] if keepdim else found
    if input.size == 0:
        return np.log(np.add.reduce(np.exp(input), axis, None, None, keepdim))
    largest = np.maximum.reduce(input.real, axis, None, None, True)
    # Finite, so that inf - inf does not come up: exp(inf - m) is inf, exp(-inf + m) is 0.
    low, high = _LIMITS[largest.dtype]
    largest = np.minimum(np.maximum(largest, low), high)
    result = np.log(in_rows(sum_over(np.exp(input - largest), axis, keepdim)))
    return result + (largest if keepdim else largest.reshape(np.shape(result)))


@logsumexp.derivative("input")
def _(grad, input, result, dim, keepdim):
    grad = unsqueeze_reduced(grad, input.shape, dim, keepdim)
    result = unsqueeze_reduced(result, input.shape, dim, keepdim)
    return grad * (input - result).exp().conj()


# -- truth ------------------------------------------------------------------


def _truth(result: Any, input: Any) -> Any:
    """`any` and `all` give bools, except that uint8 stays uint8."""
    return result.astype(input.dtype) if input.dtype == np.uint8 else result


@operator(method=True, out=True, differentiable=False)
def any(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Tells whether any element is nonzero, of all or along `dim`; NaN counts as nonzero.

    Example:
        >>> import taper as torch
        >>> torch.any(torch.tensor([[False, True], [False, False]]), dim=1)
        tensor([ True, False])
    """
    axis = _truth_axes(dim, input.ndim)
    if axis is None and not keepdim and input.dtype.kind == "b" and input.size and (
        type(input) is np.ndarray
    ):
        flat = input.ravel()
        return flat[flat.argmax()]
    return _truth(in_rows(np.logical_or.reduce(input, axis, None, None, keepdim)), input)


def _truth_axes(dim: Any, ndim: int) -> Any:
    """As `axes_of`, but an empty tuple reduces nothing, and 0-d tensors have no axis."""
    if dim is None:
        return None
    if isinstance(dim, (tuple, list)) and not dim:
        return None
    axis = axes_of(dim, ndim)
    return axis if ndim else None


@operator(method=True, out=True, differentiable=False)
def all(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Tells whether all elements are nonzero, of all or along `dim`; NaN counts as nonzero.

    Example:
        >>> import taper as torch
        >>> torch.all(torch.tensor([[True, True], [False, True]]), dim=1)
        tensor([ True, False])
    """
    axis = _truth_axes(dim, input.ndim)
    if axis is None and not keepdim and input.dtype.kind == "b" and input.size and (
        type(input) is np.ndarray
    ):
        flat = input.ravel()
        return flat[flat.argmin()]
    return _truth(in_rows(np.logical_and.reduce(input, axis, None, None, keepdim)), input)


@operator(method=True, differentiable=False)
def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    """Counts the nonzero elements, of all or along `dim`, as int64.

    Example:
        >>> import taper as torch
        >>> torch.count_nonzero(torch.tensor([[0, 1], [2, 3]]), dim=0)
        tensor([1, 2])
    """
    axis = axes_of(dim, input.ndim)
    if axis is None or input.ndim == 0:
        return np.count_nonzero(input)
    return in_rows(np.add.reduce(input != 0, axis, _I64))


# -- back to the shape before broadcasting ----------------------------------------


def cast_and_reduce(grad: Tensor, how: Any) -> Tensor:
    """Brings a gradient to the shape and dtype of the input it belongs to."""
    if type(how) is not tuple:  # out of a vmap, see ops/batch_dims.py
        return how(grad)
    shape, dtype = how
    if shape is not None and grad._array.shape != shape:
        grad = sum_to(grad, shape)
    if dtype is not None and grad.dtype is not dtype:
        if grad.is_complex() and not dtype.is_complex:
            grad = grad.real
        grad = grad.to(dtype)
    return grad


def sum_to(grad: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sums over the dimensions that broadcasting to `shape` would expand."""
    present = grad._array.shape
    lead = len(present) - len(shape)
    if lead > 0 and present[lead:] == shape:  # a bias, say: nothing but new dimensions in front
        return sum(grad, 0 if lead == 1 else tuple(range(lead)))
    dims = [*range(lead), *(lead + i for i, n in enumerate(shape)
                            if n == 1 and present[lead + i] != 1)]
    if dims:
        grad = sum(grad, dims, True)
    return grad.reshape(shape) if lead else grad


engine.cast_and_reduce = cast_and_reduce
