"""Comparing elements, and tests of single elements such as `isnan`."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.promotion import scalar_type_name
from taper.core.tensor import Tensor
from taper.ops.declare import composite, operator
from taper.ops.signature import Number


@operator(
    method=True, inplace=True, out=True, promote="result_type", ufunc=np.equal,
    differentiable=False, dunders=("__eq__",),
)
def eq(input: Tensor, other: Tensor | Number) -> Tensor:
    """Tests whether elements are equal; also ``input == other``.

    Shape: broadcast together.    Dtype: bool.
    Example:
        >>> import taper as torch
        >>> torch.eq(torch.tensor([1, 2]), 2)
        tensor([False,  True])
    """
    return np.equal(input, other)


@operator(
    method=True, inplace=True, out=True, promote="result_type", ufunc=np.not_equal,
    differentiable=False, dunders=("__ne__",), aliases=("not_equal",),
)
def ne(input: Tensor, other: Tensor | Number) -> Tensor:
    """Tests whether elements differ; also ``input != other``.

    Shape: broadcast together.    Dtype: bool.
    Example:
        >>> import taper as torch
        >>> torch.ne(torch.tensor([1, 2]), 2)
        tensor([ True, False])
    """
    return np.not_equal(input, other)


@operator(
    method=True, inplace=True, out=True, promote="result_type", ufunc=np.less, kinds="bif",
    kernel="lt_cpu", differentiable=False, dunders=("__lt__",), aliases=("less",),
)
def lt(input: Tensor, other: Tensor | Number) -> Tensor:
    """Tests whether elements are less than those of `other`; also ``input < other``.

    Shape: broadcast together.    Dtype: bool.
    Example:
        >>> import taper as torch
        >>> torch.lt(torch.tensor([1, 2, 3]), 2)
        tensor([ True, False, False])
    """
    return np.less(input, other)


@operator(
    method=True, inplace=True, out=True, promote="result_type", ufunc=np.less_equal, kinds="bif",
    kernel="le_cpu", differentiable=False, dunders=("__le__",), aliases=("less_equal",),
)
def le(input: Tensor, other: Tensor | Number) -> Tensor:
    """Tests whether elements are at most those of `other`; also ``input <= other``.

    Shape: broadcast together.    Dtype: bool.
    Example:
        >>> import taper as torch
        >>> torch.le(torch.tensor([1, 2, 3]), 2)
        tensor([ True,  True, False])
    """
    return np.less_equal(input, other)


@operator(
    method=True, inplace=True, out=True, promote="result_type", ufunc=np.greater, kinds="bif",
    kernel="gt_cpu", differentiable=False, dunders=("__gt__",), aliases=("greater",),
)
def gt(input: Tensor, other: Tensor | Number) -> Tensor:
    """Tests whether elements are greater than those of `other`; also ``input > other``.

    Shape: broadcast together.    Dtype: bool.
    Example:
        >>> import taper as torch
        >>> torch.gt(torch.tensor([1, 2, 3]), 2)
        tensor([False, False,  True])
    """
    return np.greater(input, other)


@operator(
    method=True, inplace=True, out=True, promote="result_type", ufunc=np.greater_equal,
    kinds="bif", kernel="ge_cpu", differentiable=False, dunders=("__ge__",),
    aliases=("greater_equal",),
)
def ge(input: Tensor, other: Tensor | Number) -> Tensor:
    """Tests whether elements are at least those of `other`; also ``input >= other``.

    Shape: broadcast together.    Dtype: bool.
    Example:
        >>> import taper as torch
        >>> torch.ge(torch.tensor([1, 2, 3]), 2)
        tensor([False,  True,  True])
    """
    return np.greater_equal(input, other)


@composite(method=True)
def equal(input: Tensor, other: Tensor) -> bool:
    """Returns whether two tensors have the same shape and the same elements.

    Example:
        >>> import taper as torch
        >>> torch.equal(torch.tensor([1, 2]), torch.tensor([1, 2]))
        True
    """
    if not isinstance(other, Tensor):
        raise TypeError(
            f"equal(): argument 'other' (position 2) must be Tensor, not {type(other).__name__}"
        )
    if input._array.shape != other._array.shape:
        return False
    return bool(np.equal(input._array, other._array).all())


def _check_isclose(bound: dict[str, Any]) -> None:
    first, second = bound["input"], bound["other"]
    if first.dtype is not second.dtype:
        raise RuntimeError(
            f"{scalar_type_name(first.dtype)} did not match {scalar_type_name(second.dtype)}"
        )


@operator(method=True, differentiable=False, check=_check_isclose, promote="result_type")
def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Tensor:
    r"""Tests closeness: :math:`|x_i - z_i| \le \mathrm{atol} + \mathrm{rtol}\,|z_i|`.

    Infinities are close to themselves only; NaN to NaN if `equal_nan`.

    Raises: RuntimeError: if the dtypes differ or a tolerance is negative.
    Example:
        >>> import taper as torch
        >>> torch.isclose(torch.tensor([1., 2.]), torch.tensor([1.0000001, 2.1]))
        tensor([ True, False])
    """
    if rtol < 0:
        raise RuntimeError(f"rtol must be greater than or equal to zero, but got {rtol:g}")
    if atol < 0:
        raise RuntimeError(f"atol must be greater than or equal to zero, but got {atol:g}")
    close = np.equal(input, other)
    kind = input.dtype.kind
    if kind == "b" or (rtol == 0 and atol == 0 and not equal_nan):
        return close
    if kind in "iu":
        input, other = input.astype(np.float64), other.astype(np.float64)
    elif equal_nan:
        close = np.logical_or(close, np.logical_and(np.isnan(input), np.isnan(other)))
    error = np.absolute(np.subtract(input, other))
    allowed = np.add(atol, np.absolute(np.multiply(rtol, other)))
    near = np.logical_and(np.less_equal(error, allowed), np.isfinite(error))
    return np.logical_or(close, near)


@composite(method=True)
def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Returns whether all elements are close, see `isclose`.

    Example:
        >>> import taper as torch
        >>> torch.allclose(torch.tensor([1.]), torch.tensor([1.0000001]))
        True
    """
    return bool(isclose.function(input, other, rtol, atol, equal_nan)._array.all())


# -- tests of single elements ----------------------------------------------------------------------


@operator(method=True, differentiable=False, ufunc=np.isnan)
def isnan(input: Tensor) -> Tensor:
    """Tests whether elements are NaN (of complex ones: whether a part is).

    Example:
        >>> import taper as torch
        >>> torch.isnan(torch.tensor([1., float("nan")]))
        tensor([False,  True])
    """
    return np.isnan(input)


@operator(method=True, differentiable=False, ufunc=np.isinf)
def isinf(input: Tensor) -> Tensor:
    """Tests whether elements are infinite (of complex ones: whether a part is).

    Example:
        >>> import taper as torch
        >>> torch.isinf(torch.tensor([1., float("-inf")]))
        tensor([False,  True])
    """
    return np.isinf(input)


@operator(method=True, differentiable=False, ufunc=np.isfinite)
def isfinite(input: Tensor) -> Tensor:
    """Tests whether elements are neither infinite nor NaN.

    Example:
        >>> import taper as torch
        >>> torch.isfinite(torch.tensor([1., float("inf"), float("nan")]))
        tensor([ True, False, False])
    """
    return np.isfinite(input)


def _check_real(name: str) -> Any:
    def check(bound: dict[str, Any]) -> None:
        if bound["input"]._array.dtype.kind == "c":
            raise RuntimeError(f"{name} does not support complex inputs.")

    return check


@operator(method=True, out=True, differentiable=False, kinds="bif",
          check=_check_real("isposinf"))
def isposinf(input: Tensor) -> Tensor:
    """Tests whether elements are positive infinity.

    Example:
        >>> import taper as torch
        >>> torch.isposinf(torch.tensor([float("-inf"), float("inf")]))
        tensor([False,  True])
    """
    if input.dtype.kind in "biu":
        return np.zeros_like(input, np.bool_)
    return np.equal(input, np.inf)


@operator(method=True, out=True, differentiable=False, kinds="bif",
          check=_check_real("isneginf"))
def isneginf(input: Tensor) -> Tensor:
    """Tests whether elements are negative infinity.

    Example:
        >>> import taper as torch
        >>> torch.isneginf(torch.tensor([float("-inf"), float("inf")]))
        tensor([ True, False])
    """
    if input.dtype.kind in "biu":
        return np.zeros_like(input, np.bool_)
    return np.equal(input, -np.inf)


@operator(method=True, differentiable=False)
def isreal(input: Tensor) -> Tensor:
    """Tests whether elements have no imaginary part.

    Example:
        >>> import taper as torch
        >>> torch.isreal(torch.tensor([1, 1j]))
        tensor([ True, False])
    """
    if input.dtype.kind == "c":
        return np.equal(input.imag, 0)
    return np.ones_like(input, np.bool_)
