"""Operations on bits and on truth values, and on whole numbers: gcd, lcm."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.tensor import Tensor
from taper.ops.declare import operator
from taper.ops.signature import Number


@operator(
    method=True, inplace=True, out=True, promote="result_type", ufunc=np.bitwise_and, kinds="bi",
    kernel="bitwise_and_cpu", differentiable=False, dunders=("__and__", "__rand__", "__iand__"),
)
def bitwise_and(input: Tensor | Number, other: Tensor | Number) -> Tensor:
    """Bitwise AND of integers, logical AND of bools; also ``input & other``.

    Example:
        >>> import taper as torch
        >>> torch.bitwise_and(torch.tensor([3, 4]), 6)
        tensor([2, 4])
    """
    return np.bitwise_and(input, other)


@operator(
    method=True, inplace=True, out=True, promote="result_type", ufunc=np.bitwise_or, kinds="bi",
    kernel="bitwise_or_cpu", differentiable=False, dunders=("__or__", "__ror__", "__ior__"),
)
def bitwise_or(input: Tensor | Number, other: Tensor | Number) -> Tensor:
    """Bitwise OR of integers, logical OR of bools; also ``input | other``.

    Example:
        >>> import taper as torch
        >>> torch.bitwise_or(torch.tensor([1, 4]), 2)
        tensor([3, 6])
    """
    return np.bitwise_or(input, other)


@operator(
    method=True, inplace=True, out=True, promote="result_type", ufunc=np.bitwise_xor, kinds="bi",
    kernel="bitwise_xor_cpu", differentiable=False, dunders=("__xor__", "__rxor__", "__ixor__"),
)
def bitwise_xor(input: Tensor | Number, other: Tensor | Number) -> Tensor:
    """Bitwise exclusive OR of integers, logical of bools; also ``input ^ other``.

    Example:
        >>> import taper as torch
        >>> torch.bitwise_xor(torch.tensor([3, 4]), 1)
        tensor([2, 5])
    """
    return np.bitwise_xor(input, other)


@operator(
    method=True, inplace=True, out=True, ufunc=np.invert, kinds="bi", kernel="bitwise_not_cpu",
    differentiable=False, dunders=("__invert__",),
)
def bitwise_not(input: Tensor) -> Tensor:
    """Flips all bits of integers, the truth of bools; also ``~input``.

    Example:
        >>> import taper as torch
        >>> torch.bitwise_not(torch.tensor([0, 5]))
        tensor([-1, -6])
    """
    return np.invert(input)


@operator(
    method=True, inplace=True, out=True, promote="result_type", kinds="i", kernel="lshift_cpu",
    differentiable=False, dunders=("__lshift__", "__ilshift__"),
)
def bitwise_left_shift(input: Tensor | Number, other: Tensor | Number) -> Tensor:
    """Shifts bits to the left; also ``input << other``. Shifting all bits out gives 0.

    Example:
        >>> import taper as torch
        >>> torch.bitwise_left_shift(torch.tensor([1, 3]), 2)
        tensor([ 4, 12])
    """
    _refuse_floats(input, "lshift_cpu")
    bits = 8 * input.dtype.itemsize
    outside = np.logical_or(np.less(other, 0), np.greater_equal(other, bits))
    zero = input.dtype.type(0)
    shifted = np.left_shift(input, np.where(outside, zero, other))
    return np.where(outside, zero, shifted)


@operator(
    method=True, inplace=True, out=True, promote="result_type", kinds="i", kernel="rshift_cpu",
    differentiable=False, dunders=("__rshift__", "__irshift__"),
)
def bitwise_right_shift(input: Tensor | Number, other: Tensor | Number) -> Tensor:
    """Shifts bits to the right, keeping the sign; also ``input >> other``.

    Example:
        >>> import taper as torch
        >>> torch.bitwise_right_shift(torch.tensor([8, -8]), 2)
        tensor([ 2, -2])
    """
    _refuse_floats(input, "rshift_cpu")
    last = input.dtype.type(8 * input.dtype.itemsize - 1)
    outside = np.logical_or(np.less(other, 0), np.greater(other, last))
    if input.dtype.kind == "u":
        return np.where(outside, input.dtype.type(0),
                        np.right_shift(input, np.where(outside, input.dtype.type(0), other)))
    return np.right_shift(input, np.where(outside, last, other))


def _refuse_floats(array: Any, kernel: str) -> None:
    if array.dtype.kind not in "iu":
        raise TypeError("ufunc 'shift' not supported for the input types")


@operator(hidden=True, dunders=("__rlshift__",), promote="result_type", kinds="i",
          kernel="lshift_cpu", differentiable=False)
def left_shift_of(input: Tensor, other: Tensor | Number) -> Tensor:
    """``other << input``."""
    other = np.broadcast_to(other, input.shape).astype(input.dtype)
    return bitwise_left_shift.forward(other, input)


@operator(hidden=True, dunders=("__rrshift__",), promote="result_type", kinds="i",
          kernel="rshift_cpu", differentiable=False)
def right_shift_of(input: Tensor, other: Tensor | Number) -> Tensor:
    """``other >> input``."""
    other = np.broadcast_to(other, input.shape).astype(input.dtype)
    return bitwise_right_shift.forward(other, input)


# -- truth values ----------------------------------------------------------------------------------


@operator(method=True, inplace=True, out=True, promote="result_type", ufunc=np.logical_and,
          differentiable=False)
def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """Tests whether both elements are true (not zero).

    Example:
        >>> import taper as torch
        >>> torch.logical_and(torch.tensor([0, 1]), torch.tensor([2, 3]))
        tensor([False,  True])
    """
    return np.logical_and(input, other)


@operator(method=True, inplace=True, out=True, promote="result_type", ufunc=np.logical_or,
          differentiable=False)
def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """Tests whether one of two elements is true (not zero).

    Example:
        >>> import taper as torch
        >>> torch.logical_or(torch.tensor([0, 1]), torch.tensor([0, 0]))
        tensor([False,  True])
    """
    return np.logical_or(input, other)


@operator(method=True, inplace=True, out=True, promote="result_type", ufunc=np.logical_xor,
          differentiable=False)
def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """Tests whether just one of two elements is true (not zero).

    Example:
        >>> import taper as torch
        >>> torch.logical_xor(torch.tensor([0, 1]), torch.tensor([2, 3]))
        tensor([ True, False])
    """
    return np.logical_xor(input, other)


@operator(method=True, inplace=True, out=True, ufunc=np.logical_not, differentiable=False)
def logical_not(input: Tensor) -> Tensor:
    """Tests whether elements are false (zero).

    Example:
        >>> import taper as torch
        >>> torch.logical_not(torch.tensor([0, 2]))
        tensor([ True, False])
    """
    return np.logical_not(input)


# -- whole numbers ---------------------------------------------------------------------------------


@operator(method=True, inplace=True, out=True, promote="result_type", ufunc=np.gcd, kinds="i",
          kernel="gcd_cpu", differentiable=False)
def gcd(input: Tensor, other: Tensor) -> Tensor:
    """The greatest common divisor of integers; never negative.

    Example:
        >>> import taper as torch
        >>> torch.gcd(torch.tensor([12, -9]), torch.tensor([18, 6]))
        tensor([6, 3])
    """
    return np.gcd(input, other)


@operator(method=True, inplace=True, out=True, promote="result_type", kinds="i",
          ufunc=np.lcm, kernel="lcm_cpu", differentiable=False)
def lcm(input: Tensor, other: Tensor) -> Tensor:
    """The least common multiple of integers; never negative.

    Example:
        >>> import taper as torch
        >>> torch.lcm(torch.tensor([4, -6]), torch.tensor([6, 9]))
        tensor([12, 18])
    """
    return np.lcm(input, other)
