"""PyTorch's type promotion: by category first, then by dimensionality.

Tensors with dimensions outrank 0-d tensors, which outrank Python numbers: an operand of lower rank
widens the result only if its category (bool < integer < floating < complex) is higher.
Source: PyTorch documentation, "Tensor Attributes", type promotion.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from taper.core.dtype import (
    BOOL,
    COMPLEX,
    FLOATING,
    INTEGER,
    bfloat16,
    bool_,
    complex64,
    complex128,
    dtype,
    float16,
    float32,
    float64,
    get_default_dtype,
    int16,
    int64,
    scalar_type_name,
    uint8,
)
from taper.core.numeric_limits import finfo
from taper.core.symbolic import SymFloat, SymInt

__all__ = [
    "can_cast", "dtype_of_number", "promote_types", "python_number", "result_dtype",
    "scalar_type_name", "to_inexact",
]

_PRECISION = {float16: 1, bfloat16: 1, float32: 2, float64: 3, complex64: 2, complex128: 3}


def promote_types(first: dtype, second: dtype) -> dtype:
    """The smallest dtype that holds both, within PyTorch's table.

    Raises: RuntimeError: for pairs PyTorch leaves undefined (float8, wide unsigned integers).
    """
    if first is second:
        return first
    if first.category != second.category:
        low, high = (first, second) if first.category < second.category else (second, first)
        if high.category == COMPLEX and low.category == FLOATING and low is float64:
            return complex128
        if high.category == FLOATING and high.itemsize == 1 and low.category != BOOL:
            raise _undefined(first, second)
        return high
    if first.category == INTEGER:
        return _promote_integers(first, second)
    if first.itemsize == 1 or second.itemsize == 1:
        raise _undefined(first, second)
    rank_first, rank_second = _PRECISION[first], _PRECISION[second]
    if rank_first == rank_second:
        return float32  # float16 with bfloat16
    return first if rank_first > rank_second else second


def _promote_integers(first: dtype, second: dtype) -> dtype:
    if first.is_signed == second.is_signed:
        if not first.is_signed and first is not second and uint8 not in (first, second):
            raise _undefined(first, second)
        if not first.is_signed:
            raise _undefined(first, second)
        return first if first.itemsize > second.itemsize else second
    signed, unsigned = (first, second) if first.is_signed else (second, first)
    if unsigned is not uint8:
        raise _undefined(first, second)
    return signed if signed.itemsize > 1 else int16


def _undefined(first: dtype, second: dtype) -> RuntimeError:
    if any(kind.itemsize == 1 and kind.is_floating_point for kind in (first, second)):
        return RuntimeError(
            f"Promotion for Float8 Types is not supported, attempted to promote "
            f"{scalar_type_name(first)} and {scalar_type_name(second)}"
        )
    return RuntimeError(
        f"Promotion for uint16, uint32, uint64 types is not supported, attempted to promote "
        f"{scalar_type_name(first)} and {scalar_type_name(second)}"
    )


_CPP_NAMES = {
    "uint8": "unsigned char", "int8": "signed char", "int16": "short int", "int32": "int",
    "int64": "long int", "uint16": "short unsigned int", "uint32": "unsigned int",
    "uint64": "long unsigned int", "float32": "float", "float64": "double",
    "complex64": "c10::complex<float>", "complex128": "c10::complex<double>",
}


def cpp_type_name(d: dtype) -> str:
    """The C++ type of a dtype's elements, as other messages have it: ``float``, ``long int`` …"""
    return _CPP_NAMES.get(d.name) or (
        d.name if d.name == "bool" else f"c10::{scalar_type_name(d)}"
    )


def dtype_of_number(number: Any) -> dtype:
    """The dtype that a number stands for: int64, or the defaults of its category.

    NumPy's scalars count as Python's numbers, its bools, as PyTorch has it, as floats.
    """
    if isinstance(number, bool):
        return bool_
    if isinstance(number, (int, np.integer, SymInt)):
        return int64
    if isinstance(number, (float, np.floating, np.bool_, SymFloat)):
        return get_default_dtype()
    return get_default_dtype().to_complex() if get_default_dtype() in (float32, float64) else (
        complex64
    )


def python_number(scalar: np.generic) -> Any:
    """A NumPy scalar as the Python number that PyTorch takes it for."""
    if isinstance(scalar, np.integer):
        return int(scalar)
    return complex(scalar) if isinstance(scalar, np.complexfloating) else float(scalar)


def to_inexact(d: dtype) -> dtype:
    """The dtype of functions that leave the integers: integers become the default float."""
    return d if d.category >= FLOATING else get_default_dtype()


def result_dtype(
    with_dims: Iterable[dtype], without_dims: Iterable[dtype], numbers: Iterable[dtype]
) -> dtype:
    """The common dtype of tensors with dimensions, 0-d tensors and Python numbers."""
    result: dtype | None = None
    for group in (with_dims, without_dims, numbers):
        joined: dtype | None = None
        for d in group:
            joined = d if joined is None else promote_types(joined, d)
        if joined is None:
            continue
        if result is None:
            result = joined
        elif joined.category > result.category:
            result = _widen(result, joined)
    if result is None:
        raise RuntimeError("result_type(): at least one tensor or number is needed")
    return result


def _widen(result: dtype, higher: dtype) -> dtype:
    """`result` moved to the higher category: float64 with a complex number is complex128."""
    if higher.category == COMPLEX and result.category == FLOATING:
        return complex128 if result is float64 else complex64
    return higher


def number_as(value: Any, target: dtype) -> Any:
    """A 0-d array of a Python number in `target`; integers wrap around as in C."""
    recorded = getattr(value, "recorded_as", None)
    if recorded is not None:  # arrays/recorded_number.py
        return recorded(target.numpy_dtype)
    if isinstance(value, complex) and target.category != COMPLEX:
        value = bool(value) if target is bool_ else value.real
    if target.category == INTEGER and isinstance(value, (int, np.integer)):
        bits = 8 * target.itemsize
        value = int(value) & ((1 << bits) - 1)
        if target.is_signed and value >> (bits - 1):
            value -= 1 << bits
    return np.asarray(value).astype(target.numpy_dtype)


def fitting_number(value: Any, target: dtype) -> Any:
    """A Python number as one that `target` can hold; PyTorch's error if it can't.

    Negative integers wrap around in unsigned dtypes; infinities and NaN fit floating point ones.
    """
    if type(value) is int and 0 <= value <= 127:  # most of what is written
        return value
    if isinstance(value, complex) and target.category != COMPLEX:
        if target is bool_:
            return bool(value)
        if value.imag:
            raise _overflow(target)
        value = value.real
    if isinstance(value, (int, np.integer)) and not -(2**63) <= value < 2**64:
        raise OverflowError("int too big to convert")
    if target.category == INTEGER:
        low, high = _limits(target)
        if not target.is_signed:
            low = -high if isinstance(value, (int, np.integer)) else 0
        if value != value or not low <= value <= high:
            raise _overflow(target)
        return int(value)
    if target.category == FLOATING and abs(value) > _limits(target)[1] and math.isfinite(value):
        raise _overflow(target)
    return value


@functools.cache
def _limits(target: dtype) -> tuple[Any, Any]:
    """The least and the largest finite number of a dtype."""
    found = np.iinfo(target.numpy_dtype) if target.category == INTEGER else finfo(target)
    return found.min, found.max


def _overflow(target: dtype) -> RuntimeError:
    name = cpp_type_name(target) if target.category != INTEGER or target.name == "int32" else (
        f"{target.name}_t"
    )
    return RuntimeError(f"value cannot be converted to type {name} without overflow")


def can_cast(source: dtype, target: dtype) -> bool:
    """Returns whether PyTorch's rules let `source` be stored as `target` (category only falls
    by an explicit cast).

    Example:
        >>> import taper as torch
        >>> torch.can_cast(torch.float64, torch.float32), torch.can_cast(torch.float32, torch.int64)
        (True, False)
    """
    if source.category > target.category:
        return False
    return not (source.category == INTEGER and target is bool_)


