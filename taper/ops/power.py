"""Powers, roots and lengths."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.dtype import bool_, complex128, float64, int64
from taper.core.promotion import scalar_type_name
from taper.core.tensor import Tensor
from taper.kernels.powers import SIMPLE_POWERS
from taper.ops.arithmetic import conj
from taper.ops.conditional import where
from taper.ops.declare import composite, operator
from taper.ops.division import zero_gradient
from taper.ops.signature import Number


def _power(base: Any, exponent: Any) -> Any:
    """A power; the usual constant exponents take cheaper ways, as they do in PyTorch."""
    if isinstance(exponent, int):
        exponent = np.array(exponent, base.dtype)
    if base.dtype.kind in "iu":
        return _integer_power(base, exponent)
    if type(exponent) is np.ndarray and not exponent.ndim:
        simple = SIMPLE_POWERS.get(exponent.item())
        if simple is not None:
            return simple(base)
    return np.power(base, exponent)


def _integer_power(base: Any, exponent: Any) -> Any:
    """Powers of integers; of the negative ones only those of 1 and -1 are not zero."""
    if exponent.dtype.kind == "u" or not np.any(exponent < 0):
        return np.power(base, exponent)
    power = np.power(base, np.maximum(exponent, 0))
    sign = np.where(exponent % 2 == 0, 1, base).astype(base.dtype)
    inverse = np.where(np.absolute(base) == 1, sign, 0).astype(base.dtype)
    return np.where(exponent < 0, inverse, power)


def _check_pow(bound: dict[str, Any]) -> None:
    base, exponent = bound["input"], bound["exponent"]
    if isinstance(exponent, int) and exponent < 0 and isinstance(base, Tensor) and (
        base._array.dtype.kind in "biu"
    ):
        raise RuntimeError("Integers to negative integer powers are not allowed.")


@operator(
    method=True, inplace=True, out=True, promote="result_type", upcast=True, kinds="ifc",
    check=_check_pow, dunders=("__pow__", "__ipow__"), node="PowBackward1",
    variant=("isinstance(exponent, (int, float, complex))", "PowBackward0"),
    native="native_powers.power",
)
def pow(input: Tensor | Number, exponent: Tensor | Number) -> Tensor:
    r"""Raises to a power, elementwise: :math:`y_i = x_i^{p_i}`.

    Shape: broadcast together.    Dtype: promoted together.
    Raises: RuntimeError: for integers raised to a negative number.
    Example:
        >>> import taper as torch
        >>> torch.pow(torch.tensor([1., 2., 3.]), 2)
        tensor([1., 4., 9.])
    """
    if type(exponent) is int and exponent < 0:
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    return _power(input, exponent)


@pow.derivative("input")
def _(grad, input, exponent):
    if not isinstance(exponent, Tensor):
        if exponent == 2:
            return grad * conj(input * 2)
        if exponent == 0:
            return zero_gradient.function(grad)
        return grad * conj(pow.function(input, exponent - 1) * exponent)
    slope = exponent * pow.function(input, exponent - 1)
    return where.forward(exponent == 0, 0, grad * conj(slope))


@pow.derivative("exponent")
def _(grad, input, exponent, result):
    log = input.log() if isinstance(input, Tensor) else _log_of_number(input)
    return _exponent_gradient(grad, input, exponent, result, log)


def _exponent_gradient(grad: Any, base: Any, exponent: Any, result: Any, log: Any) -> Any:
    """The gradient by the exponent; 0 to a positive power stays 0 when the power changes."""
    slope = grad * conj(result * log)
    if not isinstance(base, Tensor) and base != 0:
        return slope
    limit = (exponent >= 0) if not exponent.is_complex() else (
        (exponent.imag == 0) & (exponent.real >= 0))
    return where.forward(limit & (base == 0), 0, slope)


def _log_of_number(base: Any) -> Any:
    with np.errstate(all="ignore"):
        return np.log(np.asarray(base) * 1.0).item()


@operator(
    hidden=True, promote="result_type", upcast=True, node="PowBackward2", dunders=("__rpow__",),
    kinds="ifc", kernel="pow",
    variant=("isinstance(other, (int, float, complex))", "PowBackward2"),
    native="native_powers.power_of",
)
def power_of(input: Tensor, other: Tensor | Number) -> Tensor:
    """``other ** input``."""
    if isinstance(other, int):
        other = np.array(other, input.dtype)
    if type(input) is np.ndarray and not input.flags.c_contiguous:
        input = input.copy()  # the number counts as the first operand, and has no layout
    return _integer_power(other, input) if input.dtype.kind in "iu" else np.power(other, input)


@power_of.derivative("input")
def _(grad, input, other, result):
    if isinstance(other, Tensor):
        return _exponent_gradient(grad, other, input, result, other.log())
    return _exponent_gradient(grad, other, input, result, _log_of_number(other))


@power_of.derivative("other")
def _(grad, input, other):
    return where.forward(input == 0, 0, grad * conj(input * pow.function(other, input - 1)))


@composite(method=True, out=True)
def float_power(input: Tensor | Number, exponent: Tensor | Number) -> Tensor:
    """Raises to a power in float64 or complex128, whatever the operands are.

    Example:
        >>> import taper as torch
        >>> torch.float_power(torch.tensor([2, 3]), -1)
        tensor([0.5000, 0.3333], dtype=torch.float64)
    """
    target = _double_dtype(input, exponent)
    base = input.to(target) if isinstance(input, Tensor) else _as_double(input, target)
    power = exponent.to(target) if isinstance(exponent, Tensor) else _as_double(exponent, target)
    return pow.function(base, power)


def _double_dtype(*operands: Any) -> Any:
    for operand in operands:
        if operand.is_complex() if isinstance(operand, Tensor) else isinstance(operand, complex):
            return complex128
    return float64


def _as_double(number: Any, target: Any) -> Any:
    return complex(number) if target is complex128 else float(number)


def float_power_(self: Tensor, exponent: Any) -> Tensor:
    """The in-place form of `float_power`: only for float64 and complex128."""
    target = _double_dtype(self, exponent)
    if self.dtype is not target:
        raise RuntimeError(
            f"the base given to float_power_ has dtype {scalar_type_name(self.dtype)} but the "
            f"operation's result requires dtype {scalar_type_name(target)}"
        )
    power = exponent.to(target) if isinstance(exponent, Tensor) else _as_double(exponent, target)
    return pow.inplace(self, power)


Tensor.float_power_ = float_power_


def _square_dtype(bound: dict[str, Any]) -> Any:
    d = bound["input"].dtype
    return int64 if d is bool_ else d


@operator(
    method=True, inplace=True, out=True, promote=_square_dtype, upcast=True, ufunc=np.square,
    node="PowBackward0",
)
def square(input: Tensor) -> Tensor:
    r"""Multiplies each element by itself: :math:`y_i = x_i^2`.

    Example:
        >>> import taper as torch
        >>> torch.square(torch.tensor([-1., 3.]))
        tensor([1., 9.])
    """
    return np.square(input)


@square.derivative("input")
def _(grad, input):
    return grad * conj(input * 2)


@operator(method=True, inplace=True, out=True, promote="float", ufunc=np.sqrt)
def sqrt(input: Tensor) -> Tensor:
    r"""Takes square roots: :math:`y_i = \sqrt{x_i}`; NaN for negative numbers.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.sqrt(torch.tensor([4., 9.]))
        tensor([2., 3.])
    """
    return np.sqrt(input)


@sqrt.derivative("input")
def _(grad, result):
    return grad / (conj(result) * 2)


@operator(method=True, inplace=True, out=True, promote="float", elementwise=True)
def rsqrt(input: Tensor) -> Tensor:
    r"""Takes reciprocals of square roots: :math:`y_i = 1 / \sqrt{x_i}`.

    Dtype: float and complex kept; bool and int become the default float.
    Example:
        >>> import taper as torch
        >>> torch.rsqrt(torch.tensor([4., 16.]))
        tensor([0.5000, 0.2500])
    """
    return np.reciprocal(np.sqrt(input))


@rsqrt.derivative("input")
def _(grad, result):
    return grad * conj(result * result * result) * -0.5


@operator(
    method=True, inplace=True, out=True, promote="result_type", upcast=True, kinds="f",
    kernel="hypot_cpu", ufunc=np.hypot,
)
def hypot(input: Tensor, other: Tensor) -> Tensor:
    r"""The hypotenuse of right triangles: :math:`y_i = \sqrt{x_i^2 + z_i^2}`, without overflow.

    Example:
        >>> import taper as torch
        >>> torch.hypot(torch.tensor([3.]), torch.tensor([4.]))
        tensor([5.])
    """
    return np.hypot(input, other)


@hypot.derivative("input")
def _(grad, input, result):
    return grad * (input / result)


@hypot.derivative("other")
def _(grad, other, result):
    return grad * (other / result)
