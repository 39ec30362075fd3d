"""Reductions and normalizations of the elements that a mask keeps: ``torch.masked``.

Each replaces the elements where `mask` is False by a value that does not change the result, then
computes as without a mask. Where a lane is masked out completely, the result is that value's.
"""

from __future__ import annotations

import math
from typing import Any

from taper.core.dtype import BOOL, FLOATING, INTEGER, as_dtype, float32, int64
from taper.core.errors import normalize_dim, normalize_dims
from taper.core.tensor import Tensor
from taper.ops.declare import OPERATORS, composite
from taper.ops.signature import Truth


def _dims(dim: Any, ndim: int) -> tuple[int, ...]:
    """The dimensions that `dim` names: all, one or several."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(ndim))
    if isinstance(dim, int):
        return (normalize_dim(dim, ndim),) if ndim else ()
    return normalize_dims(dim, ndim) if ndim else ()


def _masked(input: Tensor, mask: Tensor | None, fill: Any) -> Tensor:
    """`input` with `fill` where the mask is False."""
    if mask is None:
        return input
    if mask.dim() > input.dim():
        raise IndexError(
            "_input_mask expected broadcastable mask (got mask dimensionality higher than of the "
            "input)"
        )
    return input.masked_fill(mask.bool().logical_not(), fill)


def _lowest(input: Tensor) -> Any:
    """The value that is never larger than another of the dtype."""
    return _limit(input, -math.inf)


def _limit(input: Tensor, infinity: float) -> Any:
    import numpy as np

    d = input.dtype
    if d.category >= FLOATING:
        return infinity
    if d.category < INTEGER:
        return infinity > 0
    limits = np.iinfo(d.numpy_dtype)
    return int(limits.max if infinity > 0 else limits.min)


def _wide(input: Tensor, dtype: Any) -> Any:
    """The dtype that sums and products are returned in: int64 for integers."""
    return as_dtype(dtype) or (int64 if input.dtype.category <= INTEGER else input.dtype)


def _as(input: Tensor, dtype: Any) -> Tensor:
    d = as_dtype(dtype)
    return input if d is None or d is input.dtype else input.to(d)


@composite("masked.sum")
def sum(
    input: Tensor, dim: Any = None, *, keepdim: Truth = False, dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Adds up the elements that `mask` keeps; 0 if there are none.

    Example:
        >>> import taper as torch
        >>> torch.masked.sum(torch.tensor([1, 2, 4]), mask=torch.tensor([True, False, True]))
        tensor(5)
    """
    d = _wide(input, dtype)
    return _masked(input, mask, 0).sum(_dims(dim, input.dim()), bool(keepdim), dtype=d)


@composite("masked.prod")
def prod(
    input: Tensor, dim: Any = None, *, keepdim: Truth = False, dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Multiplies the elements that `mask` keeps; 1 if there are none.

    Example:
        >>> import taper as torch
        >>> torch.masked.prod(torch.tensor([2, 3, 4]), mask=torch.tensor([True, False, True]))
        tensor(8)
    """
    result = _as(_masked(input, mask, 1), _wide(input, dtype))
    for d in sorted(_dims(dim, input.dim()), reverse=True):
        result = result.prod(d, bool(keepdim))
    return result


@composite("masked.cumsum")
def cumsum(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """Running sums, where masked elements count as 0.

    Example:
        >>> import taper as torch
        >>> torch.masked.cumsum(torch.tensor([1, 2, 4]), 0, mask=torch.tensor([True, False, True]))
        tensor([1, 1, 5])
    """
    return _masked(input, mask, 0).cumsum(dim, dtype=as_dtype(dtype) or _no_bool(input, "cumsum"))


@composite("masked.cumprod")
def cumprod(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """Running products, where masked elements count as 1.

    Example:
        >>> import taper as torch
        >>> torch.masked.cumprod(torch.tensor([2, 3, 4]), 0, mask=torch.tensor([True, False, True]))
        tensor([2, 2, 8])
    """
    return _masked(input, mask, 1).cumprod(dim, dtype=as_dtype(dtype) or _no_bool(input, "cumprod"))


def _no_bool(input: Tensor, name: str) -> Any:
    """The dtype of the input, which bools are not computed in."""
    if input.dtype.category == BOOL:
        raise NotImplementedError(f"\"{name}_out_cpu\" not implemented for 'Bool'")
    return input.dtype


@composite("masked.amax")
def amax(
    input: Tensor, dim: Any = None, *, keepdim: Truth = False, dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The largest of the elements that `mask` keeps; the dtype's lowest value if there are none.

    Example:
        >>> import taper as torch
        >>> torch.masked.amax(torch.tensor([1, 9, 4]), mask=torch.tensor([True, False, True]))
        tensor(4)
    """
    input = _as(input, dtype)
    return _masked(input, mask, _lowest(input)).amax(_dims(dim, input.dim()), bool(keepdim))


@composite("masked.amin")
def amin(
    input: Tensor, dim: Any = None, *, keepdim: Truth = False, dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The smallest of the elements that `mask` keeps; the dtype's highest value if there are none.

    Example:
        >>> import taper as torch
        >>> torch.masked.amin(torch.tensor([5, 0, 4]), mask=torch.tensor([True, False, True]))
        tensor(4)
    """
    input = _as(input, dtype)
    filled = _masked(input, mask, _limit(input, math.inf))
    return filled.amin(_dims(dim, input.dim()), bool(keepdim))


@composite("masked.argmax")
def argmax(
    input: Tensor, dim: int | None = None, *, keepdim: Truth = False, dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The index of the largest of the elements that `mask` keeps, in the dtype of the input.

    Example:
        >>> import taper as torch
        >>> torch.masked.argmax(torch.tensor([1, 9, 4]), mask=torch.tensor([True, False, True]))
        tensor(2)
    """
    input = _as(input, dtype)
    return _masked(input, mask, _lowest(input)).argmax(dim, bool(keepdim)).to(input.dtype)


@composite("masked.argmin")
def argmin(
    input: Tensor, dim: int | None = None, *, keepdim: Truth = False, dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The index of the smallest of the elements that `mask` keeps, in the dtype of the input.

    Example:
        >>> import taper as torch
        >>> torch.masked.argmin(torch.tensor([5, 0, 4]), mask=torch.tensor([True, False, True]))
        tensor(2)
    """
    input = _as(input, dtype)
    return _masked(input, mask, _limit(input, math.inf)).argmin(dim, bool(keepdim)).to(input.dtype)


def _count(input: Tensor, dims: tuple[int, ...], mask: Tensor | None) -> Any:
    """How many elements are kept in each lane, with the reduced dimensions kept."""
    if mask is None:
        return math.prod(input.shape[d] for d in dims)
    kept = mask.bool().expand(input.shape)
    return kept.sum(dims, True) if dims else kept.long()


def _reduced(value: Any, dims: tuple[int, ...], keepdim: bool) -> Any:
    if keepdim or not isinstance(value, Tensor) or not dims:
        return value
    return value.reshape([n for d, n in enumerate(value.shape) if d not in dims])


@composite("masked.mean")
def mean(
    input: Tensor, dim: Any = None, *, keepdim: Truth = False, dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The mean of the elements that `mask` keeps; NaN if there are none.

    Example:
        >>> import taper as torch
        >>> torch.masked.mean(torch.tensor([1., 2., 4.]), mask=torch.tensor([True, False, True]))
        tensor(2.5000)
    """
    d = as_dtype(dtype) or input.dtype
    if d.category < FLOATING:
        which = "Input" if dtype is None else "Optional"
        raise ValueError(
            f"mean(): Could not infer output dtype. {which} dtype must be either a floating point "
            f"or complex dtype. Got: {d!r}"
        )
    dims = _dims(dim, input.dim())
    total = _masked(input, mask, 0).sum(dims, bool(keepdim), dtype=d)
    return total / _reduced(_count(input, dims, mask), dims, bool(keepdim))


@composite("masked.median")
def median(
    input: Tensor, dim: int = -1, *, keepdim: Truth = False, dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The median of the elements that `mask` keeps; NaN if there are none.

    Example:
        >>> import taper as torch
        >>> x, mask = torch.tensor([1., 2., 4.]), torch.tensor([True, False, True])
        >>> torch.masked.median(x, 0, mask=mask)
        tensor(1.)
    """
    inexact = input if input.is_floating_point() else input.to(float32)
    result = _masked(inexact, mask, math.nan).nanmedian(dim, bool(keepdim))[0]
    if inexact is input:
        return _as(result, dtype)
    if bool(result.isnan().any()):
        raise ValueError(
            "masked median expects no fully masked out rows if dtype is not floating point"
        )
    return result.to(as_dtype(dtype) or input.dtype)


@composite("masked.logsumexp")
def logsumexp(
    input: Tensor, dim: Any = None, *, keepdim: Truth = False, dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The log-sum-exp of the elements that `mask` keeps; -inf if there are none.

    Example:
        >>> import taper as torch
        >>> torch.masked.logsumexp(torch.zeros(3), 0, mask=torch.tensor([True, False, False]))
        tensor(0.)
    """
    d = as_dtype(dtype) or input.dtype
    input = _inexact(input, dtype)
    return _masked(input, mask, -math.inf).logsumexp(_dims(dim, input.dim()), bool(keepdim)).to(d)


@composite("masked.logaddexp")
def logaddexp(
    input: Tensor, other: Tensor, *, dtype: Any = None, input_mask: Tensor | None = None,
    other_mask: Tensor | None = None,
) -> Tensor:
    """The logarithm of the sum of exponentials of two tensors, masked elements being -inf.

    Example:
        >>> import taper as torch
        >>> torch.masked.logaddexp(torch.zeros(1), torch.ones(1), other_mask=torch.tensor([False]))
        tensor([0.])
    """
    first = _masked(_as(input, dtype), input_mask, -math.inf)
    second = _masked(_as(other, dtype), other_mask, -math.inf)
    return OPERATORS["logaddexp"].function(first, second)


@composite("masked.norm")
def norm(
    input: Tensor, ord: float = 2.0, dim: Any = None, *, keepdim: Truth = False, dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The vector norm of the elements that `mask` keeps.

    Example:
        >>> import taper as torch
        >>> torch.masked.norm(torch.tensor([3., 9., 4.]), mask=torch.tensor([True, False, True]))
        tensor(5.)
    """
    fill = math.inf if ord == -math.inf else 0
    return OPERATORS["linalg.vector_norm"].function(
        _masked(input, mask, fill), ord, _dims(dim, input.dim()), bool(keepdim), dtype=dtype
    )


def _spread(
    input: Tensor, dim: Any, unbiased: Any, correction: Any, keepdim: bool, dtype: Any,
    mask: Tensor | None, root: bool,
) -> Tensor:
    if unbiased is None and correction is None:
        correction = 1
    elif correction is None:
        correction = 1 if unbiased else 0
    d = as_dtype(dtype) or input.dtype
    if d.category < FLOATING:
        d = float32
    dims = _dims(dim, input.dim())
    count = _count(input, dims, mask)
    off = input - sum.function(input, dim, keepdim=True, dtype=d, mask=mask) / count
    total = sum.function(off * off.conj(), dim, keepdim=keepdim, dtype=d, mask=mask)
    count = _reduced(count, dims, keepdim)
    if isinstance(count, Tensor):
        count = (count.to(d.to_real()) - correction).clamp(min=0)
    else:
        count = max(count - correction, 0)
    result = (total / count).to(d)
    return result.sqrt() if root else result


@composite("masked.var")
def var(
    input: Tensor, dim: Any = None, unbiased: Truth = None, *, correction: Any = None,
    keepdim: Truth = False, dtype: Any = None, mask: Tensor | None = None,
) -> Tensor:
    """The variance of the elements that `mask` keeps.

    Example:
        >>> import taper as torch
        >>> torch.masked.var(torch.tensor([1., 9., 3.]), mask=torch.tensor([True, False, True]))
        tensor(2.)
    """
    return _spread(input, dim, unbiased, correction, bool(keepdim), dtype, mask, False)


@composite("masked.std")
def std(
    input: Tensor, dim: Any = None, unbiased: Truth = None, *, correction: Any = None,
    keepdim: Truth = False, dtype: Any = None, mask: Tensor | None = None,
) -> Tensor:
    """The standard deviation of the elements that `mask` keeps.

    Example:
        >>> import taper as torch
        >>> torch.masked.std(torch.tensor([1., 9., 3.]), mask=torch.tensor([True, False, True]))
        tensor(1.4142)
    """
    return _spread(input, dim, unbiased, correction, bool(keepdim), dtype, mask, True)


@composite("masked.softmax")
def softmax(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """The softmax of the elements that `mask` keeps; the others get 0.

    Example:
        >>> import taper as torch
        >>> torch.masked.softmax(torch.zeros(3), 0, mask=torch.tensor([True, False, True]))
        tensor([0.5000, 0.0000, 0.5000])
    """
    input = _as(input, dtype)
    return _masked(input, mask, -math.inf).softmax(dim)


@composite("masked.log_softmax")
def log_softmax(
    input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """The logarithm of the softmax of the elements that `mask` keeps; the others get -inf.

    Example:
        >>> import taper as torch
        >>> torch.masked.log_softmax(torch.zeros(2), 0, mask=torch.tensor([True, False]))
        tensor([0., -inf])
    """
    input = _as(input, dtype)
    return _masked(input, mask, -math.inf).log_softmax(dim)


@composite("masked.softmin")
def softmin(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """The softmax of the negated elements that `mask` keeps; the others get 0.

    Example:
        >>> import taper as torch
        >>> torch.masked.softmin(torch.zeros(2), 0, mask=torch.tensor([True, False]))
        tensor([1., 0.])
    """
    input = _as(input, dtype)
    return (-_masked(input, mask, math.inf)).softmax(dim)


def _inexact(input: Tensor, dtype: Any) -> Tensor:
    input = _as(input, dtype)
    return input if input.dtype.category >= FLOATING else input.to(float32)


@composite("masked.normalize")
def normalize(
    input: Tensor, ord: float, dim: int, *, eps: float = 1e-12, dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Divides the elements that `mask` keeps by their norm, at least `eps`; the others get 0.

    Example:
        >>> import taper as torch
        >>> x, mask = torch.tensor([3., 9., 4.]), torch.tensor([True, False, True])
        >>> torch.masked.normalize(x, 2, 0, mask=mask)
        tensor([0.6000, 0.0000, 0.8000])
    """
    input = _as(input, dtype)
    length = norm.function(input, ord, dim, keepdim=True, mask=mask)
    return _masked(input, mask, 0) / length.clamp(min=eps)
