"""Placing elements by index: scatter, scatter_add, scatter_reduce, put."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from taper.core.dtype import from_numpy_dtype
from taper.core.errors import normalize_dim
from taper.core.promotion import fitting_number, number_as, scalar_type_name
from taper.core.settings import settings
from taper.core.tensor import Tensor
from taper.kernels.lanes import flat_positions, place, plain_positions, reduce_at
from taper.kernels.memory_order import as_laid_out
from taper.ops.declare import OPERATORS, composite, operator
from taper.ops.gather import (
    long_index,
    require_in_range,
    require_lanes,
    wrapped_positions,
)
from taper.ops.native_forward import LARGE


def as_element(value: Any, dtype: Any, name: str = "value") -> Any:
    """A Python number as a 0-d array of this NumPy dtype; RuntimeError if it does not fit."""
    if isinstance(value, np.ndarray):
        return value
    target = from_numpy_dtype(dtype)
    return number_as(fitting_number(value, target), target)


def _flattened(input: Any, index: Any, src: Any) -> tuple[Any, Any, Any]:
    """0-d operands as vectors of one element."""
    if input.ndim and index.ndim:
        return input, index, src
    return input.reshape(-1), index.reshape(-1), None if src is None else src.reshape(-1)


def _prepared(name: str, input: Any, dim: int, index: Any, src: Any) -> tuple[Any, Any, Any, int]:
    """Checks the operands of a scatter and cuts `src` to the shape of `index`."""
    dim = normalize_dim(dim, input.ndim)
    if src is not None and src.dtype != input.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
    if index.size == 0:
        return input, index, src, dim
    require_lanes(name, input, dim, index, src)
    input, index, src = _flattened(input, index, src)
    require_in_range(index, input.shape[dim], dim)
    if src is not None and src.shape != index.shape:
        src = src[tuple([slice(0, n) for n in index.shape])]
    return input, index, src, dim


def _cut(grad: Tensor, shape: Any) -> Tensor:
    """The gradient of a `src` of which only the leading part was used."""
    if grad.shape == shape:
        return grad
    whole = grad.new_zeros(shape)
    for d, n in enumerate(grad.shape):
        if n != shape[d]:
            rest = list(grad.shape)
            rest[d] = shape[d] - n
            grad = OPERATORS["cat"]([grad, whole.new_zeros(rest)], d)
    return grad


@operator("scatter", hidden=True, out=True)
def scatter_src(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """`scatter` of a tensor."""
    if src.shape == index.shape and src.dtype is input.dtype:
        if index.size > LARGE and settings.native != "off":
            from taper.kernels import native_scatter

            found = native_scatter.scatter(input, dim, index, src)
            if found is not None:
                return found
        positions = plain_positions(input, dim, index)
        if positions is not None:
            result = input.copy()
            result.reshape(-1)[positions] = src
            return result
    shape = input.shape
    input, index, src, dim = _prepared("scatter", input, dim, index, src)
    if index.size == 0:
        return input.copy()
    return place(input, dim, index, src).reshape(shape)


@scatter_src.derivative("input")
def _(grad, dim, index):
    return grad.scatter(dim, index, 0)


@scatter_src.derivative("src")
def _(grad, dim, index, src_shape):
    return _cut(grad.gather(dim, index), src_shape)


@operator("scatter", hidden=True, out=True, node="ScatterBackward1")
def scatter_value(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """`scatter` of one number."""
    positions = plain_positions(input, dim, index)
    if positions is not None:
        result = input.copy()
        result.reshape(-1)[positions] = as_element(value, input.dtype)
        return result
    shape = input.shape
    input, index, _, dim = _prepared("scatter", input, dim, index, None)
    if index.size == 0:
        return input.copy()
    return place(input, dim, index, as_element(value, input.dtype)).reshape(shape)


@scatter_value.derivative("input")
def _(grad, dim, index):
    return grad.scatter(dim, index, 0)


@operator("scatter", hidden=True, out=True, upcast=True, unpromoted=("index",))
def scatter_joined(input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str) -> Tensor:
    """`scatter` with `reduce`."""
    shape = input.shape
    input, index, src, dim = _prepared("scatter", input, dim, index, src)
    if index.size == 0:
        return input.copy()
    return reduce_at(_JOINS[reduce], input, dim, index, src).reshape(shape)


_JOINS = {"add": np.add, "multiply": np.multiply}


@composite(method=True, inplace=True)
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, reduce: str | None = None,
    value: Any = None, out: Any = None,
) -> Tensor:
    """Places `src`, a tensor or a number, along `dim`: ``y[i][index[i][j]] = src[i][j]``.

    ``reduce="add"`` or ``"multiply"`` joins it with what is there. If indices repeat without
    `reduce`, the last one wins.
    Example:
        >>> import taper as torch
        >>> torch.zeros(2, 3).scatter(1, torch.tensor([[2], [0]]), 1.)
        tensor([[0., 0., 1.],
                [1., 0., 0.]])
    """
    if src is None:
        src = value
    if reduce is not None:
        if reduce not in _JOINS:
            raise RuntimeError("reduce argument must be either add or multiply.")
        if not isinstance(src, Tensor):
            src = input.new_full(index.shape, src)
        else:
            warnings.warn(
                "The reduce argument of torch.scatter with Tensor src is deprecated and will be "
                "removed in a future PyTorch release. Use torch.scatter_reduce instead for more "
                "reduction options.", UserWarning, stacklevel=3,
            )
        return scatter_joined.function(input, dim, index, src, reduce, out=out)
    if isinstance(src, Tensor):
        return scatter_src.function(input, dim, index, src, out=out)
    return scatter_value.function(input, dim, index, src, out=out)


@operator(method=True, inplace=True, out=True, upcast=True, unpromoted=("index",))
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """Adds `src` along `dim`: ``y[i][index[i][j]] += src[i][j]``, as often as indices repeat.

    Example:
        >>> import taper as torch
        >>> torch.zeros(3).scatter_add(0, torch.tensor([0, 0, 2]), torch.tensor([1., 2., 3.]))
        tensor([3., 0., 3.])
    """
    if src.shape == index.shape and src.dtype is input.dtype:
        if index.size > LARGE and settings.native != "off":
            from taper.kernels import native_scatter

            found = native_scatter.scatter_add(input, dim, index, src)
            if found is not None:
                return found
        positions = plain_positions(input, dim, index)
        if positions is not None:
            result = input.copy()
            np.add.at(result.reshape(-1), positions.ravel(), src.ravel())
            return result
    shape = input.shape
    input, index, src, dim = _prepared("scatter", input, dim, index, src)
    if index.size == 0:
        return input.copy()
    return reduce_at(np.add, input, dim, index, src).reshape(shape)


@scatter_add.derivative("input")
def _(grad):
    return grad


@scatter_add.derivative("src")
def _(grad, dim, index, src_shape):
    return _cut(grad.gather(dim, index), src_shape)


# -- scatter_reduce ------------------------------------------------------------------

REDUCTIONS = {"sum": np.add, "prod": np.multiply, "mean": np.add, "amax": np.maximum,
              "amin": np.minimum}


def identity_of(reduce: str, dtype: Any) -> Any:
    """The value that changes nothing under a reduction."""
    if reduce in ("sum", "mean"):
        return dtype.type(0)
    if reduce == "prod":
        return dtype.type(1)
    sign = -1 if reduce == "amax" else 1
    if dtype.kind == "b":
        return np.bool_(reduce == "amin")
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return dtype.type(limits.min if sign < 0 else limits.max)
    return dtype.type(sign * np.inf)


def reduced_into(input: Any, positions: Any, src: Any, reduce: str, include_self: bool) -> Any:
    """A copy of `input` with `src` reduced into the flat positions."""
    result = input.copy(order="C")
    flat = result.reshape(-1)
    positions = positions.ravel()
    if not include_self:
        flat[positions] = identity_of(reduce, input.dtype)
    REDUCTIONS[reduce].at(flat, positions, src.ravel())
    if reduce == "mean":
        count = np.ones_like(flat, dtype=np.int64)
        if not include_self:
            count[positions] = 0
        np.add.at(count, positions, 1)
        count = np.maximum(count, 1)
        if flat.dtype.kind in "iu":
            flat[...] = flat // count
        else:
            flat /= count.astype(flat.dtype)
    return result


@operator(method=True, inplace=True, out=True, upcast=True, unpromoted=("index",))
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """Reduces `src` into the elements at `index` along `dim`.

    Args:   reduce (str): "sum", "prod", "mean", "amax" or "amin"
            include_self (bool): whether the elements of `input` take part. Default True
    Example:
        >>> import taper as torch
        >>> x, i = torch.tensor([1., 5.]), torch.tensor([0, 0, 1])
        >>> x.scatter_reduce(0, i, torch.tensor([2., 3., 4.]), "amax")
        tensor([3., 5.])
    """
    if reduce not in REDUCTIONS:
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}"
        )
    shape = input.shape
    input, index, src, dim = _prepared("scatter", input, dim, index, src)
    if index.size == 0:
        return input.copy()
    positions = flat_positions(input.shape, dim, index)
    return reduced_into(input, positions, src, reduce, include_self).reshape(shape)


@scatter_reduce.derivative("input", "src")
def _(grad, input, dim, index, src, reduce, include_self, result, needs):
    return reduce_gradient(
        grad, input, src, reduce, include_self, result,
        lambda x: x.gather(dim, index),
        lambda x, values: x.scatter_add(dim, index, values),
        lambda x: x.scatter(dim, index, 0),
        lambda x, values: x.scatter_reduce(dim, index, values, reduce, include_self=include_self),
    )


def reduce_gradient(
    grad: Any, input: Any, src: Any, reduce: str, include_self: bool, result: Any,
    pick: Any, add: Any, clear: Any, again: Any,
) -> tuple[Any, Any]:
    """The gradients of `input` and `src` of scatter_reduce and index_reduce, which differ in how
    elements are picked, added, cleared and reduced again."""
    if reduce == "sum":
        of_input, of_src = grad, pick(grad)
    elif reduce == "mean":
        count = grad.new_ones(grad.shape)
        if not include_self:
            count = clear(count)
        count = add(count, src.new_ones(src.shape))
        share = grad / count.masked_fill(count == 0, 1)
        of_input, of_src = share, pick(share)
    elif reduce == "prod":
        # Dividing the product by a factor gives the product of the others, unless it is zero.
        nonzero = input.masked_fill(input == 0, 1)
        of_input = grad * (again(nonzero, src) / nonzero).conj()
        zero = src == 0
        zeros = pick(add(input.new_zeros(input.shape), zero.to(input.dtype)))
        only_zero = zero & (zeros == 1)
        without = again(input, src.masked_fill(only_zero, 1))
        others = pick(without).where(only_zero, pick(result) / src.masked_fill(zero, 1))
        of_src = pick(grad) * others.conj()
    else:
        attains = src == pick(result)
        own = input == result
        share = grad / add(own.to(grad.dtype), attains.to(grad.dtype))
        of_input = own * share
        of_src = attains * pick(share)
    return (of_input if include_self else clear(of_input)), of_src


# -- put ------------------------------------------------------------------


@operator(method=True, inplace=True)
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """Places `source` at positions of the flattened tensor; with `accumulate`, adds it.

    Example:
        >>> import taper as torch
        >>> torch.zeros(2, 2).put(torch.tensor([1, -1]), torch.tensor([5., 6.]))
        tensor([[0., 5.],
                [0., 6.]])
    """
    long_index("put_", index)
    if input.dtype != source.dtype:
        raise RuntimeError(
            "put_(): self and source expected to have the same dtype, but got self.dtype = "
            f"{scalar_type_name(from_numpy_dtype(input.dtype))} and source.dtype = "
            f"{scalar_type_name(from_numpy_dtype(source.dtype))}"
        )
    if source.size != index.size:
        raise IndexError(
            "put_(): Expected source and index to have the same number of elements, but got "
            f"source.numel() = {source.size}, index.numel() = {index.size}"
        )
    positions = wrapped_positions(index, input.size).ravel()
    changed = input.copy(order="C")
    flat = changed.reshape(-1)
    if accumulate:
        np.add.at(flat, positions, source.ravel())
    else:
        flat[positions] = source.ravel()
    return as_laid_out(changed, input)


@put.derivative("input")
def _(grad, index, accumulate):
    return grad if accumulate else grad.put(index, grad.new_zeros(index.shape), False)


@put.derivative("source")
def _(grad, index, source_shape):
    return grad.take(index).reshape(source_shape)
