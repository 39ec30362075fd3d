"""Largest and smallest elements and where they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.dtype import BOOL, COMPLEX
from taper.core.errors import normalize_dim
from taper.core.tensor import Tensor
from taper.kernels.lanes import pick_one
from taper.kernels.memory_order import in_rows
from taper.ops.declare import OPERATORS, Operator, composite, operator
from taper.ops.out_argument import matching_dtype, same_dtype
from taper.ops.reduction import axes_of, unsqueeze_reduced


def _require_elements(input: Any, dim: Any, name: str) -> None:
    """There is no largest element of none: raises if a reduced dimension is empty."""
    if dim is None:
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
            "Specify the reduction dim with the 'dim' argument."
        )
    for d in (dim,) if isinstance(dim, int) else dim:
        if input.shape[normalize_dim(d, input.ndim)] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")


def _largest_over(ufunc: Any, name: str, input: Any, dim: Any, keepdim: bool) -> Any:
    """`amax` and `amin`: the largest by `ufunc`, over an axis, several, or all."""
    if input.size == 0:
        _require_elements(input, dim or None if isinstance(dim, (tuple, list)) else dim, name)
    axis = axes_of(dim, input.ndim)
    if input.ndim == 0:
        return input.copy()
    if axis == input.ndim - 1 > 0 and input.shape[axis] > 16 and type(input) is np.ndarray:
        # NumPy's reduction along short rows is slower than finding the position in each.
        position = input.argmax(axis) if ufunc is np.maximum else input.argmin(axis)
        result = pick_one(input, axis, position)
        return in_rows(result[..., None] if keepdim else result)
    return in_rows(ufunc.reduce(input, axis, None, None, keepdim))


def _shared_among_equals(
    grad: Tensor, input: Tensor, result: Tensor, dim: Any, keepdim: bool
) -> Tensor:
    """The gradient of an extremum, in equal parts to all elements that attain it."""
    result = unsqueeze_reduced(result, input.shape, dim, keepdim)
    grad = unsqueeze_reduced(grad, input.shape, dim, keepdim)
    mask = input == result
    axes = axes_of(dim, input.dim())
    return mask * (grad / mask.sum(axes, axes is not None))


# -- amax, amin, aminmax ------------------------------------------------------------------


@operator(
    method=True, out=True, kinds="bif", kernel="max_values_cpu", with_out=matching_dtype,
    native="native_reductions.amax",
)
def amax(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The largest element, of all or along `dim`; NaN counts as the largest.

    Elements that tie share the gradient evenly.
    Example:
        >>> import taper as torch
        >>> torch.amax(torch.tensor([[1, 5], [3, 2]]), dim=1)
        tensor([5, 3])
    """
    return _largest_over(np.maximum, "amax", input, dim, keepdim)


@amax.derivative("input")
def _(grad, input, result, dim, keepdim):
    return _shared_among_equals(grad, input, result, dim, keepdim)


@operator(
    method=True, out=True, kinds="bif", kernel="min_values_cpu", with_out=matching_dtype,
    native="native_reductions.amin",
)
def amin(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The smallest element, of all or along `dim`; NaN counts as the smallest.

    Elements that tie share the gradient evenly.
    Example:
        >>> import taper as torch
        >>> torch.amin(torch.tensor([[1, 5], [3, 2]]), dim=1)
        tensor([1, 2])
    """
    return _largest_over(np.minimum, "amin", input, dim, keepdim)


@amin.derivative("input")
def _(grad, input, result, dim, keepdim):
    return _shared_among_equals(grad, input, result, dim, keepdim)


@operator(method=True, out=True, outputs=("min", "max"), kinds="bif", kernel="aminmax_cpu",
          with_out=same_dtype)
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The smallest and the largest element, of all or along `dim`.

    Example:
        >>> import taper as torch
        >>> torch.aminmax(torch.tensor([1., 3., 2.]))
        torch.return_types.aminmax(
        min=tensor(1.),
        max=tensor(3.))
    """
    if input.ndim == 0:
        axes_of(dim, 0)
        return input.copy(), input.copy()
    if input.size == 0:
        if dim is None:
            raise RuntimeError(
                "aminmax(): cannot compute aminmax over an empty dimension as the operation has "
                "no identity."
            )
        _require_elements(input, dim, "aminmax")
    axis = None if dim is None else normalize_dim(dim, input.ndim)
    return (in_rows(np.minimum.reduce(input, axis, None, None, keepdim)),
            in_rows(np.maximum.reduce(input, axis, None, None, keepdim)))


@aminmax.derivative("input")
def _(grads, input, result0, result1, dim, keepdim):
    total = None
    for grad, result in zip(grads, (result0, result1), strict=True):
        if grad is not None:
            part = _shared_among_equals(grad, input, result, dim, keepdim)
            total = part if total is None else total + part
    return total


# -- argmax, argmin ------------------------------------------------------------------


def _position(method: str, name: str, input: Any, dim: Any, keepdim: bool) -> Any:
    if dim is None:
        if input.size == 0:
            _require_elements(input, None, name)
        return getattr(input, method)(None, keepdims=keepdim)
    if input.ndim == 0:
        normalize_dim(dim, 0)
        return np.zeros_like(input, dtype=np.int64)
    axis = normalize_dim(dim, input.ndim)
    if input.shape[axis] == 0:
        _require_elements(input, axis, name)
    return getattr(input, method)(axis, keepdims=keepdim)


def _check_position(bound: dict[str, Any], name: str) -> None:
    if bound["input"].dtype.category == BOOL:
        raise RuntimeError(f"{name}(): does not support bool input")
    if bound["input"].dtype.category == COMPLEX:
        raise RuntimeError(f"{name}(): does not support complex input")
    if bound["dim"] is None and bound["input"].numel() == 0:
        raise IndexError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0."
        )


@operator(
    method=True, out=True, differentiable=False, kinds="if", kernel="argmax_cpu",
    check=lambda bound: _check_position(bound, "argmax"), native="native_reductions.argmax",
)
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the (first) largest element, of all flattened or along `dim`.

    Example:
        >>> import taper as torch
        >>> torch.argmax(torch.tensor([[1, 5], [3, 2]]), dim=1)
        tensor([1, 0])
    """
    return _position("argmax", "argmax", input, dim, keepdim)


@operator(
    method=True, out=True, differentiable=False, kinds="if", kernel="argmin_cpu",
    check=lambda bound: _check_position(bound, "argmin"), native="native_reductions.argmin",
)
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the (first) smallest element, of all flattened or along `dim`.

    Example:
        >>> import taper as torch
        >>> torch.argmin(torch.tensor([[1, 5], [3, 2]]), dim=1)
        tensor([0, 1])
    """
    return _position("argmin", "argmin", input, dim, keepdim)


# -- max, min ------------------------------------------------------------------


def scatter_grad(grad: Any, indices: Tensor, shape: Any, dim: int, keepdim: bool) -> Any:
    """The gradient of elements picked along `dim`, back at the places they were picked from."""
    if not shape:
        return grad
    if not keepdim:
        grad = grad.unsqueeze(dim)
        indices = indices.unsqueeze(dim)
    return grad.new_zeros(shape).scatter(dim, indices, grad)


def _extremum_along(method: str, name: str, input: Any, dim: int, keepdim: bool) -> Any:
    """Values and indices of the largest or smallest elements along `dim`."""
    if input.ndim == 0:
        normalize_dim(dim, 0)
        return input.copy(), np.zeros_like(input, dtype=np.int64)
    axis = normalize_dim(dim, input.ndim)
    if input.shape[axis] == 0:
        _require_elements(input, axis, name)
    indices = getattr(input, method)(axis)
    if input.ndim == 1:
        values = input[indices]
    else:
        values = pick_one(input, axis, indices)
    if keepdim:
        shape = (*input.shape[:axis], 1, *input.shape[axis + 1:])
        return values.reshape(shape), indices.reshape(shape)
    return values, indices


def _extremum_of_all(ufunc: Any, name: str, input: Any) -> Any:
    if input.size == 0:
        _require_elements(input, None, name)
    if type(input) is np.ndarray and (input.size <= 4096 or input.flags.c_contiguous):
        # Quicker than the reduction: finding the position of the extremum is a plain C loop.
        flat = input.ravel()
        return flat[flat.argmax() if ufunc is np.maximum else flat.argmin()]
    return ufunc.reduce(input, None) if input.ndim else input.copy()


def _declare_extremum(name: str, ufunc: Any, position: str) -> tuple[Operator, Operator]:
    """The overloads of `max` or `min` that reduce: all elements, and along a dimension."""

    @operator(
        name, hidden=True, out=True, kinds="bif", kernel=f"{name}_all",
        node=f"{name.capitalize()}Backward1", native=f"native_reductions.{name}_of_all",
    )
    def of_all(input: Tensor) -> Tensor:
        return _extremum_of_all(ufunc, name, input)

    @of_all.derivative("input")
    def _(grad, input, result):
        return _shared_among_equals(grad, input, result, None, False)

    @operator(
        name, hidden=True, out=True, outputs=("values", "indices"), kinds="bif",
        kernel=f"{name}_cpu", native=f"native_reductions.{name}_along",
    )
    def along(input: Tensor, dim: int, keepdim: bool = False) -> Tensor:
        return _extremum_along(position, name, input, dim, keepdim)

    @along.derivative("input")
    def _(grad, input_shape, result1, dim, keepdim):
        return scatter_grad(grad, result1, input_shape, dim, keepdim)

    return of_all, along


max_of_all, max_along = _declare_extremum("max", np.maximum, "argmax")
min_of_all, min_along = _declare_extremum("min", np.minimum, "argmin")


def _which(name: str, of_all: Any, along: Any, input: Any, dim: Any, keepdim: Any, out: Any,
           named: dict[str, Any]) -> Any:
    """Tells the overloads of `max` and `min` apart."""
    other = named.pop("other", None)
    if "axis" in named:
        dim = named.pop("axis")
    if "keepdims" in named:
        keepdim = named.pop("keepdims")
    if "self" in named:
        input = named.pop("self")
    if named:
        raise TypeError(f"{name}() got an unexpected keyword argument '{next(iter(named))}'")
    if isinstance(dim, Tensor):
        other, dim = dim, None
    if other is not None:
        return OPERATORS[name + "imum"].function(input, other, out=out)
    if dim is None:
        return of_all.function(input, out=out)
    return along.function(input, dim, keepdim, out=out)


@composite(method=True)
def max(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, out: Any = None, **named: Any
) -> Any:
    """The largest element: of all, along `dim` with its index, or elementwise of two tensors.

    Without `dim`, elements that tie share the gradient; with it, the one whose index is returned
    gets all of it.
    Example:
        >>> import taper as torch
        >>> torch.max(torch.tensor([[1, 5], [3, 2]]), 1).indices
        tensor([1, 0])
    """
    if out is None and not named:
        if dim is None:
            return max_of_all.function(input)
        if type(dim) is int:
            return max_along.function(input, dim, keepdim)
    return _which("max", max_of_all, max_along, input, dim, keepdim, out, named)


@composite(method=True)
def min(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, out: Any = None, **named: Any
) -> Any:
    """The smallest element: of all, along `dim` with its index, or elementwise of two tensors.

    Without `dim`, elements that tie share the gradient; with it, the one whose index is returned
    gets all of it.
    Example:
        >>> import taper as torch
        >>> torch.min(torch.tensor([[1, 5], [3, 2]]), 1).indices
        tensor([0, 1])
    """
    if out is None and not named:
        if dim is None:
            return min_of_all.function(input)
        if type(dim) is int:
            return min_along.function(input, dim, keepdim)
    return _which("min", min_of_all, min_along, input, dim, keepdim, out, named)
