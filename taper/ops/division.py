"""Quotients, remainders and reciprocals."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.tensor import Tensor
from taper.ops.arithmetic import conj
from taper.ops.declare import composite, operator
from taper.ops.signature import Number


@operator(
    method=True, inplace=True, out=True, promote="float", ufunc=np.true_divide,
    node="DivBackward0", takes_numbers=True,
    also={"dividend": "input", "divisor": "other", "value": "other"},
    dunders=("__truediv__", "__itruediv__", "__div__", "__idiv__"),
)
def true_divide(input: Tensor, other: Tensor | Number) -> Tensor:
    r"""Divides elementwise, never rounding to integers: :math:`y_i = x_i / z_i`.

    Shape: broadcast together.    Dtype: promoted together; integers give the default float.
    Example:
        >>> import taper as torch
        >>> torch.true_divide(torch.tensor([1, 2]), 4)
        tensor([0.2500, 0.5000])
    """
    return np.true_divide(input, other)


@true_divide.derivative("input")
def _(grad, other):
    return grad / conj(other)


@true_divide.derivative("other")
def _(grad, input, other):
    return -grad * conj(input / other / other)


@composite(method=True, inplace=True, out=True, aliases=("divide",), takes_numbers=True,
           also={"value": "other"})
def div(input: Tensor, other: Tensor | Number, *, rounding_mode: str | None = None) -> Tensor:
    r"""Divides elementwise; rounds the quotient if asked to.

    Args:     rounding_mode: None (true division), "trunc" (towards zero), or "floor"
    Dtype:    promoted together; without rounding integers give the default float
    Example:
        >>> import taper as torch
        >>> torch.div(torch.tensor([-7, 7]), 2, rounding_mode="trunc")
        tensor([-3,  3])
    """
    if rounding_mode is None:
        return true_divide.function(input, other)
    if rounding_mode == "floor":
        return divide_floor.function(input, other)
    if rounding_mode == "trunc":
        return divide_trunc.function(input, other)
    raise RuntimeError(
        "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found "
        f"'{rounding_mode}'"
    )


def div_(
    self: Tensor, other: Any = None, *, rounding_mode: str | None = None, value: Any = None
) -> Tensor:
    """The in-place form of `div`."""
    if other is None:
        other = div.given("other", value)
    if rounding_mode is None:
        return true_divide.inplace(self, other)
    if rounding_mode == "floor":
        return divide_floor.inplace(self, other)
    if rounding_mode == "trunc":
        return divide_trunc.inplace(self, other)
    return div.forward(self, other, rounding_mode=rounding_mode)


div_.__module__ = "torch"
div.__dict__["inplace"] = div_


def refuse_zero(divisor: Any) -> None:
    """Raises PyTorch's error if integers would be divided by zero.

    The short path hands Python integers on as they are.
    """
    if divisor == 0 if type(divisor) is int else (
        divisor.dtype.kind in "iu" and not divisor.all()
    ):
        raise RuntimeError("ZeroDivisionError")


def _trunc_quotient(input: Any, other: Any) -> Any:
    refuse_zero(other)
    if input.dtype.kind in "iu":
        return np.floor_divide(np.subtract(input, np.fmod(input, other)), other)
    return np.trunc(np.true_divide(input, other))


@operator(hidden=True, promote="result_type", upcast=True, kinds="if", kernel="div_floor_cpu",
          node="DivBackward2", takes_numbers=True)
def divide_floor(input: Tensor, other: Tensor | Number) -> Tensor:
    """`div` with rounding_mode="floor"."""
    refuse_zero(other)
    return np.floor_divide(input, other)


@operator(hidden=True, promote="result_type", upcast=True, kinds="if", kernel="div_trunc_cpu",
          node="DivBackward2", takes_numbers=True)
def divide_trunc(input: Tensor, other: Tensor | Number) -> Tensor:
    """`div` with rounding_mode="trunc"."""
    return _trunc_quotient(input, other)


@operator(hidden=True, differentiable=False)
def zero_gradient(grad: Tensor) -> Tensor:
    """The gradient of functions that are constant almost everywhere. It has no history itself."""
    return np.zeros_like(grad)


for _rounded in (divide_floor, divide_trunc):
    @_rounded.derivative("input")
    def _(grad):
        return zero_gradient.function(grad)

    @_rounded.derivative("other")
    def _(grad):
        return zero_gradient.function(grad)


@operator(
    method=True, inplace=True, out=True, promote="result_type", upcast=True, kinds="if",
    kernel="div_floor_cpu", node="NotImplemented", takes_numbers=True, also={"value": "other"},
    dunders=("__floordiv__", "__ifloordiv__"), native="native_selection.floor_divide",
)
def floor_divide(input: Tensor | Number, other: Tensor | Number) -> Tensor:
    """Divides and rounds down; like ``div(rounding_mode="floor")`` but without a derivative.

    Raises: RuntimeError: "ZeroDivisionError" for integers divided by zero.
    Example:
        >>> import taper as torch
        >>> torch.floor_divide(torch.tensor([-7, 7]), 2)
        tensor([-4,  3])
    """
    refuse_zero(other)
    return np.floor_divide(input, other)


@operator(
    method=True, inplace=True, out=True, promote="result_type", upcast=True, kinds="if",
    kernel="remainder_cpu", node="RemainderBackward1", dunders=("__mod__", "__imod__"),
    also={"divisor": "other"},
    variant=("isinstance(other, (int, float))", "RemainderBackward0"),
    native="native_selection.remainder",
)
def remainder(input: Tensor | Number, other: Tensor | Number) -> Tensor:
    r"""What is left of a floor division; has the divisor's sign: :math:`x - z\lfloor x/z\rfloor`.

    Raises: RuntimeError: "ZeroDivisionError" for integers divided by zero.
    Example:
        >>> import taper as torch
        >>> torch.remainder(torch.tensor([-3, 3]), 2)
        tensor([1, 1])
    """
    refuse_zero(other)
    return np.remainder(input, other)


@remainder.derivative("input")
def _(grad):
    return grad


@remainder.derivative("other")
def _(grad, input, other):
    return -grad * div.forward(input, other, rounding_mode="floor")


@operator(
    method=True, inplace=True, out=True, promote="result_type", upcast=True, kinds="if",
    kernel="fmod_cpu", node="FmodBackward1", also={"divisor": "other"},
    variant=("isinstance(other, (int, float))", "FmodBackward0"),
)
def fmod(input: Tensor, other: Tensor | Number) -> Tensor:
    """What is left of a truncating division; has the dividend's sign, as C's ``fmod``.

    Raises: RuntimeError: "ZeroDivisionError" for integers divided by zero.
    Example:
        >>> import taper as torch
        >>> torch.fmod(torch.tensor([-3., 3.]), 2)
        tensor([-1.,  1.])
    """
    refuse_zero(other)
    return np.fmod(input, other)


@fmod.derivative("input")
def _(grad):
    return grad


@fmod.derivative("other")
def _(grad, input, other):
    return -grad * div.forward(input, other, rounding_mode="trunc")


@operator(method=True, inplace=True, out=True, promote="float", ufunc=np.reciprocal)
def reciprocal(input: Tensor) -> Tensor:
    r"""Divides 1 by each element: :math:`y_i = 1 / x_i`.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.reciprocal(torch.tensor([2., 4.]))
        tensor([0.5000, 0.2500])
    """
    return np.reciprocal(input)


@reciprocal.derivative("input")
def _(grad, result):
    return -grad * conj(result * result)


# -- numbers on the left of an operator ------------------------------------------------------------


@operator(hidden=True, promote="float", node="MulBackward0", dunders=("__rtruediv__",))
def divide_into(input: Tensor, other: Tensor | Number) -> Tensor:
    """``other / input``, rounded as PyTorch does: the reciprocal times the number."""
    return np.multiply(np.reciprocal(input), other)


@divide_into.derivative("input")
def _(grad, input, other):
    return -grad * conj(other / input / input)


@divide_into.derivative("other")
def _(grad, input):
    return grad / conj(input)


@composite(hidden=True, dunders=("__rfloordiv__",))
def floor_divide_into(input: Tensor, other: Any) -> Any:
    """``other // input``."""
    if not isinstance(other, (int, float, complex)):
        return NotImplemented
    return floor_divide.function(other, input)


@composite(hidden=True, dunders=("__rmod__",))
def remainder_of(input: Tensor, other: Any) -> Any:
    """``other % input``."""
    if not isinstance(other, (int, float, complex, Tensor)):
        return NotImplemented
    return remainder.function(other, input)


def _rdiv(self: Tensor, other: Any) -> Tensor:
    """``other / self``: Python 2's name of the reflected division."""
    return self.reciprocal() * other


_rdiv.__name__ = "__rdiv__"
Tensor.__rdiv__ = _rdiv
