"""Elements by rank: median, kthvalue, mode, quantile."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.dtype import float32, float64
from taper.core.errors import normalize_dim
from taper.core.tensor import Tensor, wrap
from taper.kernels.lanes import pick
from taper.kernels.memory_order import in_rows
from taper.ops.argument_checks import values_known
from taper.ops.declare import Operator, composite, operator
from taper.ops.extrema import scatter_grad
from taper.ops.out_argument import set_apart
from taper.ops.sort import order_around, stable_order


def _require_elements(input: Any, axis: int, name: str) -> None:
    if input.ndim and input.shape[axis] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {axis} to have non-zero size.")


def _without_dim(x: Any, axis: int, keepdim: bool) -> Any:
    return x if keepdim else x.reshape(x.shape[:axis] + x.shape[axis + 1:])


def _picked(input: Any, axis: int, index: Any, keepdim: bool) -> tuple[Any, Any]:
    """Values and indices of one element per lane; `index` has size 1 along the axis."""
    index = in_rows(index)
    return (_without_dim(pick(input, axis, index), axis, keepdim),
            _without_dim(index, axis, keepdim))


# -- median ------------------------------------------------------------------


def _median_index(input: Any, axis: int, ignore_nan: bool) -> Any:
    """The index of the lower median of each lane; of the first NaN, unless they are ignored."""
    n = input.shape[axis]
    order = order_around(input, axis, [(n - 1) // 2])
    middle = (slice(None),) * axis + (slice((n - 1) // 2, (n - 1) // 2 + 1),)
    if input.dtype.kind in "biu":
        return order[middle]
    missing = np.isnan(input)
    if type(missing) is np.ndarray and not missing.any():
        return order[middle]
    count = np.add.reduce(missing, axis, np.int64, None, True)
    if ignore_nan:
        order = stable_order(input, axis)
        return pick(order, axis, np.maximum(n - count - 1, 0) // 2)
    return np.where(count > 0, missing.argmax(axis, keepdims=True), order[middle])


def _median_of_all(input: Any, ignore_nan: bool) -> Any:
    flat = input.flatten()  # a copy, to be partitioned
    n = flat.size
    if n == 0:
        if input.dtype.kind in "biu":
            return np.full_like(input, np.iinfo(input.dtype).min, shape=())
        return np.full_like(input, np.nan, shape=())
    if input.dtype.kind not in "biu":
        largest = flat[flat.argmax()]
        if np.isnan(largest):
            missing = np.isnan(flat)
            if not ignore_nan or missing.all():
                return np.full_like(input, np.nan, shape=())
            flat = flat[~missing]
            n = flat.size
    if input.dtype.kind == "V":  # bfloat16, which NumPy cannot partition
        return np.sort(flat)[(n - 1) // 2]
    flat.partition((n - 1) // 2)
    return flat[(n - 1) // 2]


def _median_along(name: str, input: Any, dim: int, keepdim: bool, ignore_nan: bool) -> Any:
    axis = normalize_dim(dim, input.ndim)
    if input.ndim == 0:
        return input.copy(), np.zeros_like(input, dtype=np.int64)
    _require_elements(input, axis, name)
    return _picked(input, axis, _median_index(input, axis, ignore_nan), keepdim)


def _shared(grad: Any, input: Tensor, result: Tensor) -> Any:
    """The gradient of an element of all, in equal parts to all that equal it (or are NaN too)."""
    mask = (input == result) | (input.isnan() & result.isnan())
    return mask * (grad / mask.sum())


def _declare_median(name: str, skips_nan: bool) -> tuple[Operator, Operator]:
    """The overloads of `median` or `nanmedian`: of all elements, and along a dimension."""

    @operator(name, hidden=True, kinds="if", kernel="median_cpu")
    def of_all(input: Tensor) -> Tensor:
        return _median_of_all(input, skips_nan)

    @of_all.shapes
    def _(input):
        return (), input.dtype

    @of_all.derivative("input")
    def _(grad, input, result):
        return _shared(grad, input, result)

    @operator(
        name, hidden=True, out=True, outputs=("values", "indices"), kinds="if",
        kernel="median_out", node=f"{name.capitalize()}Backward1",
    )
    def along(input: Tensor, dim: int, keepdim: bool = False) -> Tensor:
        return _median_along(name, input, dim, keepdim, skips_nan)

    @along.derivative("input")
    def _(grad, result1, input_shape, dim, keepdim):
        return scatter_grad(grad, result1, input_shape, dim, keepdim)

    return of_all, along


median_of_all, median_along = _declare_median("median", False)
nanmedian_of_all, nanmedian_along = _declare_median("nanmedian", True)


@composite(method=True)
def median(input: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """The median, the lower one of two: of all elements, or along `dim` with indices.

    NaN if there is a NaN; `nanmedian` ignores them.
    Example:
        >>> import taper as torch
        >>> torch.median(torch.tensor([4., 1., 3., 2.]))
        tensor(2.)
    """
    if dim is None:
        return median_of_all.function(input)
    return median_along.function(input, dim, keepdim, out=out)


@composite(method=True)
def nanmedian(
    input: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Any = None
) -> Any:
    """The median, the lower one of two, of the elements that are not NaN.

    Example:
        >>> import taper as torch
        >>> torch.nanmedian(torch.tensor([1., torch.nan, 3., 2.]))
        tensor(2.)
    """
    if dim is None:
        return nanmedian_of_all.function(input)
    return nanmedian_along.function(input, dim, keepdim, out=out)


# -- kthvalue, mode ------------------------------------------------------------------


@operator(method=True, out=True, outputs=("values", "indices"), kinds="if",
          kernel="kthvalue_cpu", with_out=set_apart)
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Tensor:
    """The `k`-th smallest element along `dim`, counted from 1, and its index.

    Raises:   RuntimeError: if `k` is not between 1 and the size of `dim`.
    Example:
        >>> import taper as torch
        >>> torch.kthvalue(torch.tensor([4., 1., 3.]), 2).values
        tensor(3.)
    """
    axis = normalize_dim(dim, input.ndim)
    _require_elements(input, axis, "kthvalue")
    k = int(k)
    if not 1 <= k <= (input.shape[axis] if input.ndim else 1):
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {axis}")
    if input.ndim == 0:
        return input.copy(), np.zeros_like(input, dtype=np.int64)
    kth = (slice(None),) * axis + (slice(k - 1, k),)
    return _picked(input, axis, order_around(input, axis, [k - 1])[kth], keepdim)


@kthvalue.derivative("input")
def _(grad, result1, input_shape, dim, keepdim):
    return scatter_grad(grad, result1, input_shape, dim, keepdim)


@operator(method=True, out=True, outputs=("values", "indices"), kinds="bif", kernel="mode_cpu")
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Tensor:
    """The most frequent element along `dim`, the smallest of several, and its last index.

    Example:
        >>> import taper as torch
        >>> torch.mode(torch.tensor([3, 1, 1, 2]))
        torch.return_types.mode(
        values=tensor(1),
        indices=tensor(2))
    """
    axis = normalize_dim(dim, input.ndim)
    if input.ndim == 0:
        return input.copy(), np.zeros_like(input, dtype=np.int64)
    _require_elements(input, axis, "mode")
    order = np.moveaxis(stable_order(input, axis), axis, -1)
    ordered = np.moveaxis(pick(input, axis, stable_order(input, axis)), axis, -1)
    n = ordered.shape[-1]
    places = np.arange(n)
    starts = np.ones_like(ordered, dtype=np.bool_)
    starts[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    start = np.maximum.accumulate(np.where(starts, places, 0), -1)
    run = places - start  # how many equal elements stand before each
    last = run.argmax(-1, keepdims=True)
    index = np.moveaxis(pick(order, order.ndim - 1, last), -1, axis)
    return _picked(input, axis, index, keepdim)


@mode.derivative("input")
def _(grad, result1, input_shape, dim, keepdim):
    return scatter_grad(grad, result1, input_shape, dim, keepdim)


# -- quantile ------------------------------------------------------------------

_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _ranks(ordered: Any, q: Any, interpolation: str, ignore_nan: bool) -> Any:
    """Where, between 0 and n - 1, the quantiles lie in sorted lanes; lanes with NaN end in NaN."""
    n = ordered.shape[-1]
    missing = np.isnan(ordered[..., -1:])  # NaN is sorted to the end
    if type(missing) is np.ndarray and not missing.any():
        ranks = np.broadcast_to(q * q.dtype.type(n - 1), (*ordered.shape[:-1], q.size))
    elif ignore_nan:
        known = np.add.reduce(~np.isnan(ordered), -1, np.int64, None, True)
        ranks = q * np.maximum(known - 1, 0).astype(q.dtype)
    else:
        ranks = np.where(missing, q.dtype.type(n - 1), q * q.dtype.type(n - 1))
    if interpolation == "lower":
        return np.floor(ranks)
    if interpolation == "higher":
        return np.ceil(ranks)
    return np.rint(ranks) if interpolation == "nearest" else ranks


def _lanes_last(input: Any, dim: Any) -> Any:
    """The lanes of an array or tensor along the last dimension."""
    if dim is None or input.ndim <= 1:
        return input.reshape(-1)
    order = [d for d in range(input.ndim) if d != dim % input.ndim]
    order.append(dim % input.ndim)
    return input.transpose(order) if isinstance(input, np.ndarray) else input.permute(order)


@operator("quantile", hidden=True, aux=("below", "above", "weight"))
def quantiles(
    input: Tensor, q: Tensor, dim: Any, shape: Any, interpolation: str, ignore_nan: bool
) -> Tensor:
    """Quantiles, one for each q, as a new first dimension before `shape` unless q is 0-d.

    Beside them, the indices of the elements around each, and the weight of the upper one.
    """
    lanes = _lanes_last(input, dim)
    last = lanes.ndim - 1
    order = stable_order(lanes, last)
    ordered = pick(lanes, last, order)
    ranks = _ranks(ordered, q.reshape(-1), interpolation, ignore_nan)
    lower = np.floor(ranks)
    below, above = lower.astype(np.int64), np.ceil(ranks).astype(np.int64)
    low, high = pick(ordered, last, below), pick(ordered, last, above)
    weight = np.full_like(ranks, 0.5) if interpolation == "midpoint" else ranks - lower
    step = high - low
    result = np.where(weight < 0.5, low + weight * step, high - step * (1 - weight))
    result = np.where(below == above, low, result) if interpolation != "midpoint" else result
    result = result.reshape(shape) if q.ndim == 0 else (
        np.moveaxis(result, -1, 0).reshape((q.size, *shape)))
    return result, pick(order, last, below), pick(order, last, above), weight


def _back_to_lanes(grad: Tensor, q: Tensor, below: Tensor) -> Tensor:
    lead = list(below.shape[:-1])
    return grad.reshape([*lead, 1]) if q.dim() == 0 else (
        grad.reshape([q.numel(), *lead]).movedim(0, -1))


@quantiles.derivative("input")
def _(grad, input, q, dim, below, above, weight):
    grad = _back_to_lanes(grad, q, below)
    lanes = _lanes_last(input.detach(), dim)
    spread = grad.new_zeros(lanes.shape).scatter_add(-1, below, grad * (1 - weight))
    spread = spread.scatter_add(-1, above, grad * weight)
    if dim is None or input.dim() <= 1:
        return spread.reshape(input.shape)
    return spread.movedim(-1, dim)


@quantiles.derivative("q")
def _(grad, input, q, dim, interpolation, below, above):
    if interpolation != "linear":
        return None
    grad = _back_to_lanes(grad, q, below)
    lanes = _lanes_last(input, dim)
    step = lanes.gather(-1, above) - lanes.gather(-1, below)
    slope = grad * step * (lanes.shape[-1] - 1)
    return slope.reshape(-1, q.numel()).sum(0).reshape(q.shape)


def _quantile(
    name: str, input: Tensor, q: Any, dim: Any, keepdim: bool, interpolation: str, ignore_nan: bool
) -> Tensor:
    if input.numel() == 0:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if input.dtype not in (float32, float64):
        raise RuntimeError("quantile() input tensor must be either float or double dtype")
    if not isinstance(q, Tensor):
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q:g}")
        q = wrap(np.asarray(q, input.dtype.numpy_dtype))
    elif q.dim() > 1:
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
    elif q.dtype != input.dtype:
        raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
    elif values_known(q) and not bool(((q >= 0) & (q <= 1)).all()):
        raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    if interpolation not in _INTERPOLATIONS:
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, "
            f"but got {interpolation}"
        )
    if dim is None:
        shape: list[int] = [1] * input.dim() if keepdim else []
    else:
        dim = normalize_dim(dim, input.dim())
        shape = [1 if d == dim else n for d, n in enumerate(input.shape) if keepdim or d != dim]
    return quantiles.function(input, q, dim, shape, interpolation, ignore_nan)


@composite(method=True, out=True)
def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *,
    interpolation: str = "linear",
) -> Tensor:
    """The `q`-quantiles, q in [0, 1], of all elements or along `dim`.

    Several `q`, as a vector, give results stacked along a new first dimension.
    Shape:    q () or (k) → the shape without `dim`, with k in front
    Raises:   RuntimeError: if q lies outside [0, 1].
    Example:
        >>> import taper as torch
        >>> torch.quantile(torch.tensor([0., 1., 2., 3.]), 0.5)
        tensor(1.5000)
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


@composite(method=True, out=True)
def nanquantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *,
    interpolation: str = "linear",
) -> Tensor:
    """The `q`-quantiles of the elements that are not NaN.

    Example:
        >>> import taper as torch
        >>> torch.nanquantile(torch.tensor([0., torch.nan, 2.]), 0.5)
        tensor(1.)
    """
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)
