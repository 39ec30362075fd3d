"""Limiting elements: clamping, the larger or smaller of two, replacing NaN and infinities."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.dtype import COMPLEX, INTEGER, REDUCED_FLOATS
from taper.core.promotion import dtype_of_number, fitting_number, result_dtype
from taper.core.tensor import Tensor
from taper.ops.conditional import where
from taper.ops.constants import constant
from taper.ops.declare import composite, operator
from taper.ops.signature import Number


def _refuse_complex(name: str) -> Any:
    def check(bound: dict[str, Any]) -> None:
        for value in bound.values():
            if isinstance(value, Tensor) and value.is_complex():
                raise RuntimeError(f"{name} not implemented for complex tensors.")

    return check


def larger_share(grad: Tensor, input: Tensor, other: Tensor) -> Tensor:
    """The gradient of the larger operand: all, nothing, or half of it at ties."""
    return where.forward(
        input == other, grad / 2, where.forward(input < other, 0, grad)
    )


@operator(
    method=True, out=True, promote="result_type", ufunc=np.maximum, kinds="bif",
    check=_refuse_complex("maximum"),
)
def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two elements; NaN if one is. At ties the gradient is shared.

    Shape: broadcast together.    Dtype: promoted together.
    Example:
        >>> import taper as torch
        >>> torch.maximum(torch.tensor([1, 5]), torch.tensor([3, 2]))
        tensor([3, 5])
    """
    return np.maximum(input, other)


@operator(
    method=True, out=True, promote="result_type", ufunc=np.minimum, kinds="bif",
    check=_refuse_complex("minimum"),
)
def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two elements; NaN if one is. At ties the gradient is shared.

    Shape: broadcast together.    Dtype: promoted together.
    Example:
        >>> import taper as torch
        >>> torch.minimum(torch.tensor([1, 5]), torch.tensor([3, 2]))
        tensor([1, 2])
    """
    return np.minimum(input, other)


@maximum.derivative("input")
def _(grad, input, other):
    return larger_share(grad, input, other)


@maximum.derivative("other")
def _(grad, input, other):
    return larger_share(grad, other, input)


@minimum.derivative("input")
def _(grad, input, other):
    return larger_share(grad, other, input)


@minimum.derivative("other")
def _(grad, input, other):
    return larger_share(grad, input, other)


@operator(
    method=True, out=True, promote="result_type", ufunc=np.fmax, kinds="bif",
    check=_refuse_complex("fmax"),
)
def fmax(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two elements, of a number and a NaN the number.

    Shape: broadcast together.    Dtype: promoted together.
    Example:
        >>> import taper as torch
        >>> torch.fmax(torch.tensor([1., float("nan")]), torch.tensor([0., 2.]))
        tensor([1., 2.])
    """
    return np.fmax(input, other)


@operator(
    method=True, out=True, promote="result_type", ufunc=np.fmin, kinds="bif",
    check=_refuse_complex("fmin"),
)
def fmin(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two elements, of a number and a NaN the number.

    Shape: broadcast together.    Dtype: promoted together.
    Example:
        >>> import taper as torch
        >>> torch.fmin(torch.tensor([1., float("nan")]), torch.tensor([0., 2.]))
        tensor([0., 2.])
    """
    return np.fmin(input, other)


@fmax.derivative("input")
def _(grad, input, other):
    return where.forward((input >= other) | other.isnan(), grad, 0)


@fmax.derivative("other")
def _(grad, input, other):
    return where.forward((input >= other) | other.isnan(), 0, grad)


@fmin.derivative("input")
def _(grad, input, other):
    return where.forward((input <= other) | other.isnan(), grad, 0)


@fmin.derivative("other")
def _(grad, input, other):
    return where.forward((input <= other) | other.isnan(), 0, grad)


# -- clamping --------------------------------------------------------------------------------------


def _clamp_dtype(bound: dict[str, Any]) -> Any:
    """The input's dtype, unless a number is of a higher category."""
    source = bound["input"]
    dims, none = ([source.dtype], []) if source._array.ndim else ([], [source.dtype])
    return result_dtype(
        dims, none, [dtype_of_number(bound[n]) for n in ("min", "max") if bound[n] is not None]
    )


def _check_clamp(bound: dict[str, Any]) -> None:
    found = bound["input"].dtype
    if found.category == INTEGER or found in REDUCED_FLOATS:
        for limit in (bound.get("min"), bound.get("max")):
            if isinstance(limit, int):
                fitting_number(limit, found)
    if bound["input"].dtype.category == COMPLEX or any(
        isinstance(bound.get(n), complex) for n in ("min", "max")
    ):
        raise NotImplementedError("clamp is not supported for complex types")


@operator(
    hidden=True, out=True, inplace=True, promote=_clamp_dtype, node="ClampBackward1",
    check=_check_clamp, elementwise=True,
)
def clamp_between(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """`clamp` between Python numbers."""
    if min is not None:
        input = np.maximum(input, _limit(min, input.dtype))
    return input if max is None else np.minimum(input, _limit(max, input.dtype))


def _limit(number: Any, dtype: Any) -> Any:
    """A limit as a 0-d array."""
    if type(number) is float or not hasattr(number, "recorded_as"):
        return constant(number, dtype)
    return number.recorded_as(dtype)  # arrays/recorded_number.py


@clamp_between.derivative("input")
def _(grad, input, min, max):
    return where.forward(_inside(input, min, max), grad, 0)


@operator(
    hidden=True, out=True, inplace=True, promote="result_type", kinds="bif",
    node="ClampBackward0", check=_check_clamp, kernel="clamp", elementwise=True,
)
def clamp_tensors(input: Tensor, min: Tensor | None = None, max: Tensor | None = None) -> Tensor:
    """`clamp` between tensors."""
    if min is not None:
        input = np.maximum(input, min)
    return input if max is None else np.minimum(input, max)


def _inside(input: Tensor, min: Any, max: Any) -> Any:
    if max is None:
        return input >= min
    if min is None:
        return input <= max
    return (input >= min) & (input <= max)


@clamp_tensors.derivative("input")
def _(grad, input, min, max):
    return where.forward(_inside(input, min, max), grad, 0)


@clamp_tensors.derivative("min")
def _(grad, input, min, max):
    below = input < min
    return where.forward(below if max is None else below & (min < max), grad, 0)


@clamp_tensors.derivative("max")
def _(grad, input, min, max):
    above = input > max
    return where.forward(above if min is None else above | (max < min), grad, 0)


@composite(method=True, inplace=True, out=True, aliases=("clip",))
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Limits elements to the range from `min` to `max`, numbers or tensors, either may be None.

    Where `min` exceeds `max` the result is `max`.

    Raises: RuntimeError: if both are None.
    Example:
        >>> import taper as torch
        >>> torch.clamp(torch.tensor([-2., 0.5, 3.]), -1, 1)
        tensor([-1.0000,  0.5000,  1.0000])
    """
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        return clamp_tensors.function(input, _as_tensor(min, input), _as_tensor(max, input))
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    return clamp_between.function(input, min, max)


def _as_tensor(limit: Any, like: Tensor) -> Any:
    if limit is None or isinstance(limit, Tensor):
        return limit
    return like.new_tensor(limit)


def clamp_(self: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """The in-place form of `clamp`."""
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        return clamp_tensors.inplace(self, _as_tensor(min, self), _as_tensor(max, self))
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    return clamp_between.inplace(self, min, max)


clamp_.__module__ = "torch"
clamp.__dict__["inplace"] = clamp_


@operator(
    method=True, inplace=True, out=True, promote="result_type", ufunc=np.maximum, kinds="bif",
    kernel="maximum_cpu", node="ClampMinBackward1", check=_check_clamp,
    variant=("isinstance(min, (int, float))", "ClampMinBackward0"),
)
def clamp_min(input: Tensor, min: Tensor | Number) -> Tensor:
    """Replaces elements below `min` by `min`.

    Example:
        >>> import taper as torch
        >>> torch.clamp_min(torch.tensor([-2, 3]), 0)
        tensor([0, 3])
    """
    return np.maximum(input, min)


@clamp_min.derivative("input")
def _(grad, input, min):
    return where.forward(input >= min, grad, 0)


@clamp_min.derivative("min")
def _(grad, input, min):
    return where.forward(input < min, grad, 0)


@operator(
    method=True, inplace=True, out=True, promote="result_type", ufunc=np.minimum, kinds="bif",
    kernel="minimum_cpu", node="ClampMaxBackward1", check=_check_clamp,
    variant=("isinstance(max, (int, float))", "ClampMaxBackward0"),
)
def clamp_max(input: Tensor, max: Tensor | Number) -> Tensor:
    """Replaces elements above `max` by `max`.

    Example:
        >>> import taper as torch
        >>> torch.clamp_max(torch.tensor([-2, 3]), 0)
        tensor([-2,  0])
    """
    return np.minimum(input, max)


@clamp_max.derivative("input")
def _(grad, input, max):
    return where.forward(input <= max, grad, 0)


@clamp_max.derivative("max")
def _(grad, input, max):
    return where.forward(input > max, grad, 0)


# -- replacing -------------------------------------------------------------------------------------


@operator(method=True, inplace=True, out=True, elementwise=True)
def nan_to_num(
    input: Tensor, nan: float | None = None, posinf: float | None = None,
    neginf: float | None = None,
) -> Tensor:
    """Replaces NaN (by 0) and infinities (by the largest finite numbers), or as the arguments say.

    Example:
        >>> import taper as torch
        >>> torch.nan_to_num(torch.tensor([1., float("nan"), float("inf")]), posinf=9)
        tensor([1., 0., 9.])
    """
    kind = input.dtype.kind
    if kind in "biu":
        return input.copy()
    if kind == "c":
        parts = [nan_to_num.forward(p, nan, posinf, neginf) for p in (input.real, input.imag)]
        return np.add(parts[0], np.multiply(parts[1], 1j)).astype(input.dtype)
    number = input.dtype.type
    largest = _largest(input.dtype)
    result = np.where(np.isnan(input), number(0 if nan is None else nan), input)
    result = np.where(np.equal(input, number(np.inf)),
                      largest if posinf is None else number(posinf), result)
    return np.where(np.equal(input, number(-np.inf)),
                    -largest if neginf is None else number(neginf), result)


def _largest(dtype: Any) -> Any:
    if dtype.kind == "f":
        return np.finfo(dtype).max
    import ml_dtypes

    return ml_dtypes.finfo(dtype).max


@nan_to_num.derivative("input")
def _(grad, input):
    finite = input.isfinite()
    if not input.is_complex():
        return where.forward(finite, grad, 0)
    return grad * finite


def _check_heaviside(bound: dict[str, Any]) -> None:
    first, second = bound["input"], bound["values"]
    if first.is_complex() or second.is_complex():
        raise RuntimeError("heaviside is not yet implemented for complex tensors.")
    if first.dtype is not second.dtype:
        raise RuntimeError(
            "heaviside is not yet implemented for tensors with different dtypes."
        )


@operator(
    method=True, inplace=True, out=True, promote="result_type", node="NotImplemented",
    check=_check_heaviside, kinds="bif", elementwise=True,
)
def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """The step function: 0 below zero, 1 above, and `values` at zero.

    Raises: RuntimeError: if the dtypes differ.
    Example:
        >>> import taper as torch
        >>> torch.heaviside(torch.tensor([-1., 0., 2.]), torch.tensor([0.5]))
        tensor([0.0000, 0.5000, 1.0000])
    """
    step = np.greater(input, 0).astype(input.dtype)
    return np.where(np.equal(input, 0), values, step)
