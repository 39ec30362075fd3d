"""Rounding to whole numbers or to decimals, and the parts of floating point numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.promotion import scalar_type_name
from taper.core.tensor import Tensor, wrap
from taper.ops.conditional import where
from taper.ops.declare import operator
from taper.ops.division import zero_gradient


def _check_complex(name: str) -> Any:
    def check(bound: dict[str, Any]) -> None:
        if bound["input"]._array.dtype.kind == "c":
            raise NotImplementedError(f"{name} is not supported for complex inputs")

    return check


@operator(
    method=True, inplace=True, out=True, kinds="if", kernel="floor_vml_cpu", ufunc=np.floor,
    check=_check_complex("floor"),
)
def floor(input: Tensor) -> Tensor:
    r"""Rounds down: the largest whole number :math:`\le x_i`.

    Example:
        >>> import taper as torch
        >>> torch.floor(torch.tensor([-1.5, 1.5]))
        tensor([-2.,  1.])
    """
    return np.floor(input) if input.dtype.kind not in "iu" else np.positive(input)


@operator(
    method=True, inplace=True, out=True, kinds="if", kernel="ceil_vml_cpu", ufunc=np.ceil,
    check=_check_complex("ceil"),
)
def ceil(input: Tensor) -> Tensor:
    r"""Rounds up: the smallest whole number :math:`\ge x_i`.

    Example:
        >>> import taper as torch
        >>> torch.ceil(torch.tensor([-1.5, 1.5]))
        tensor([-1.,  2.])
    """
    return np.ceil(input) if input.dtype.kind not in "iu" else np.positive(input)


@operator(
    method=True, inplace=True, out=True, kinds="if", kernel="trunc_vml_cpu", ufunc=np.trunc,
    check=_check_complex("trunc"), aliases=("fix",),
)
def trunc(input: Tensor) -> Tensor:
    """Rounds towards zero: drops what follows the decimal point.

    Example:
        >>> import taper as torch
        >>> torch.trunc(torch.tensor([-1.5, 1.5]))
        tensor([-1.,  1.])
    """
    return np.trunc(input) if input.dtype.kind not in "iu" else np.positive(input)


@operator(
    method=True, inplace=True, out=True, kinds="if", kernel="round_vml_cpu", upcast=True,
    aliases=("special.round",), variant=("decimals != 0", "RoundBackward1"), takes_integers=True,
)
def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """Rounds to the nearest number with so many decimals; halves to even ones.

    Args:     decimals: may be negative: -1 rounds to tens
    Example:
        >>> import taper as torch
        >>> torch.round(torch.tensor([0.5, 1.5, 2.567]), decimals=1)
        tensor([0.5000, 1.5000, 2.6000])
    """
    if input.dtype.kind in "biu":
        if input.dtype.kind == "b":
            raise NotImplementedError("\"round_vml_cpu\" not implemented for 'Bool'")
        if decimals != 0:
            raise NotImplementedError(
                f'"round_cpu" not implemented for \'{scalar_type_name(wrap(input).dtype)}\''
            )
        return np.positive(input)
    if decimals == 0:
        return np.rint(input)
    scale = input.dtype.type(10.0 ** (decimals if decimals > 0 else -decimals))
    if decimals > 0:
        return np.true_divide(np.rint(np.multiply(input, scale)), scale)
    return np.multiply(np.rint(np.true_divide(input, scale)), scale)


for _step in (floor, ceil, trunc, round):
    @_step.derivative("input")
    def _(grad):
        return zero_gradient.function(grad)


@operator(method=True, inplace=True, out=True, kinds="f", kernel="frac_cpu")
def frac(input: Tensor) -> Tensor:
    """What `trunc` drops; it has the sign of the element.

    Example:
        >>> import taper as torch
        >>> torch.frac(torch.tensor([-1.5, 1.25]))
        tensor([-0.5000,  0.2500])
    """
    return np.subtract(input, np.trunc(input))


@frac.derivative("input")
def _(grad):
    return grad


# -- parts of floating point numbers ---------------------------------------------------------------


def _check_frexp(bound: dict[str, Any]) -> None:
    if not bound["input"].dtype.is_floating_point:
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")


@operator(method=True, out=True, outputs=("mantissa", "exponent"), check=_check_frexp, kinds="f")
def frexp(input: Tensor) -> tuple[Tensor, Tensor]:
    r"""Splits into mantissas in (-1, -0.5] or [0.5, 1) and powers of 2: :math:`x_i = m_i 2^{e_i}`.

    Example:
        >>> import taper as torch
        >>> torch.frexp(torch.tensor([8., 3.])).exponent
        tensor([4, 2], dtype=torch.int32)
    """
    if input.dtype.kind == "f":
        return np.frexp(input)
    mantissa, exponent = np.frexp(input.astype(np.float32))
    return mantissa.astype(input.dtype), exponent


@frexp.derivative("input")
def _(grad, result1):
    return grad / 2 ** result1.to(grad.dtype)


@operator(
    method=True, inplace=True, out=True, promote="float", kinds="fc",
)
def ldexp(input: Tensor, other: Tensor) -> Tensor:
    r"""Multiplies by powers of two: :math:`y_i = x_i 2^{z_i}`.

    Dtype: float and complex kept; integers become the default float.
    Example:
        >>> import taper as torch
        >>> torch.ldexp(torch.tensor([1., 3.]), torch.tensor([2, 3]))
        tensor([ 4., 24.])
    """
    return np.multiply(input, np.exp2(other) if other.dtype.kind != "c" else np.power(2, other))


@ldexp.derivative("input")
def _(grad, other):
    return grad * (2.0 ** other).conj()


@ldexp.derivative("other")
def _(grad, result):
    return grad * (result * 0.6931471805599453).conj()


@operator(
    method=True, inplace=True, out=True, promote="result_type", kinds="f", ufunc=np.nextafter,
    kernel="nextafter_cpu",
)
def nextafter(input: Tensor, other: Tensor) -> Tensor:
    """The next representable number from `input` towards `other`.

    Example:
        >>> import taper as torch
        >>> torch.nextafter(torch.tensor([1.]), torch.tensor([2.])) - 1
        tensor([1.1921e-07])
    """
    return np.nextafter(input, other)


@nextafter.derivative("input")
def _(grad, input, other):
    return where.forward(input == other, 0, grad)


@nextafter.derivative("other")
def _(grad):
    return zero_gradient.function(grad)

