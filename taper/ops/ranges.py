"""Evenly spaced values: arange, range, linspace, logspace."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from taper.arrays.symbolic_shape import array_of, is_symbolic
from taper.core.dtype import bool_, dtype, get_default_dtype, int64
from taper.core.promotion import dtype_of_number, scalar_type_name
from taper.core.state import active
from taper.core.symbolic import SymFloat
from taper.core.tensor import Tensor, wrap
from taper.ops.declare import composite
from taper.ops.options import (
    check_out_dtype,
    finish,
    read_options,
    uninitialized,
    write_out,
)
from taper.ops.signature import Number

_arange = np.arange
_INT64 = np.dtype(np.int64)


def finish_array(
    function: str, array: Any, out: Any, dtype: Any, device: Any, requires_grad: bool
) -> Tensor:
    """An array as the tensor that a creation function returns, or in its `out=`."""
    if out is not None:
        return write_out(out, array)
    if device is not None or active.modes:
        where = read_options(function, None, device)[1]
        if where.type != "cpu":
            array = uninitialized(array.shape, dtype, where)
    return finish(array, requires_grad)


def as_number(function: str, argument: str, position: int, value: Any) -> Any:
    """A Python number from a number or a tensor of one element."""
    if isinstance(value, Tensor):
        return value.item()
    if isinstance(value, (int, float, complex, np.number, np.bool_)):
        return value.item() if isinstance(value, (np.number, np.bool_)) else value
    if is_symbolic(value):
        return value
    raise TypeError(
        f"{function}(): argument '{argument}' (position {position}) must be Number, not "
        f"{type(value).__name__}"
    )


def _range_dtype(numbers: tuple[Any, ...]) -> dtype:
    kinds = {type(n) for n in numbers}
    return get_default_dtype() if kinds & {float, SymFloat} else int64


@composite()
def arange(
    *bounds: Any, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False, **named: Any,
) -> Tensor:
    """Makes a vector of the values from `start` up to, but not including, `end`.

    Call it as ``arange(end)``, ``arange(start, end)`` or ``arange(start, end, step)``.

    Dtype: int64 if all arguments are ints, else the default dtype.
    Example:
        >>> import taper as torch
        >>> torch.arange(1, 10, 4)
        tensor([1, 5, 9])
    """
    if (
        len(bounds) == 1 and type(bounds[0]) is int and dtype is None and out is None
        and device is None and layout is None and not active.modes and not named
        and not requires_grad and bounds[0] >= 0
    ):
        return wrap(_arange(bounds[0]))
    start, end, step = _bounds("arange", bounds, named)
    wanted, _ = read_options("arange", dtype, None, layout, pin_memory)
    if out is not None:
        check_out_dtype(out, wanted)
        wanted = out.dtype
    wanted = wanted or _range_dtype((start, end, step))
    array = array_of(_arange_array, start, end, step, wanted)
    return finish_array("arange", array, out, wanted, device, requires_grad)


def _bounds(function: str, bounds: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any, Any]:
    if len(bounds) == 1 and "end" not in named:
        bounds = (0, bounds[0])
    names = ("start", "end", "step")
    values = dict(zip(names, bounds, strict=False))
    for name, value in named.items():
        if name not in names:
            raise TypeError(f"{function}() got an unexpected keyword argument '{name}'")
        values[name] = value
    if len(bounds) > 3 or "end" not in values:
        raise TypeError(
            f"{function}() received an invalid combination of arguments - got "
            f"({', '.join(type(b).__name__ for b in bounds)}), but expected one of:\n"
            " * (Number end, *, Tensor out = None, torch.dtype dtype = None, ...)\n"
            " * (Number start, Number end, Number step = 1, *, Tensor out = None, ...)\n"
        )
    start = as_number(function, "start", 1, values.get("start", 0))
    end = as_number(function, "end", 1 if "start" not in named and len(bounds) < 2 else 2,
                    values["end"])
    step = as_number(function, "step", 3, values.get("step", 1))
    for number in (start, end, step):
        if isinstance(number, complex):
            raise RuntimeError("value cannot be converted to type double without overflow")
    return start, end, step


def _check_range(start: Any, end: Any, step: Any) -> None:
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start:g} -> {end:g}")
    if (step > 0 and end < start) or (step < 0 and end > start):
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")


def _arange_array(start: Any, end: Any, step: Any, wanted: dtype) -> Any:
    is_float8 = wanted.itemsize == 1 and wanted.is_floating_point
    if wanted is bool_ or wanted.is_complex or is_float8:
        name = scalar_type_name(wanted)
        raise NotImplementedError(f'"arange_cpu" not implemented for \'{name}\'')
    if not wanted.is_floating_point:
        if not (isinstance(start, int) and isinstance(end, int) and isinstance(step, int)):
            _check_range(start, end, step)
            if wanted is int64:
                if int(step) == 0:
                    raise ValueError("step must be nonzero")
                count = math.ceil((int(end) - int(start)) / int(step))
            else:
                count = math.ceil((end - start) / step)
            return (int(start) + int(step) * _arange(count)).astype(wanted.numpy_dtype)
        _check_range(start, end, step)
        return _arange(int(start), int(end), int(step), dtype=_INT64).astype(wanted.numpy_dtype)
    _check_range(start, end, step)
    count = math.ceil((end - start) / step)
    return (start + step * _arange(count, dtype=np.float64)).astype(wanted.numpy_dtype)


@composite()
def range(
    *bounds: Any, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False, **named: Any,
) -> Tensor:
    """Makes a vector from `start` to `end`, both included. Deprecated: use arange.

    Example:
        >>> import taper as torch
        >>> torch.range(1, 2, 0.5)
        tensor([1.0000, 1.5000, 2.0000])
    """
    warnings.warn(
        "torch.range is deprecated and will be removed in a future release because its behavior "
        "is inconsistent with Python's range builtin. Instead, use torch.arange, which produces "
        "values in [start, end).",
        UserWarning, stacklevel=2,
    )
    start, end, step = _bounds("range", bounds, named)
    wanted = read_options("range", dtype, None)[0] or get_default_dtype()
    _check_range(start, end, step)
    count = math.floor((end - start) / step) + 1
    array = (start + step * _arange(count)).astype(wanted.numpy_dtype)
    return finish_array("range", array, out, wanted, device, requires_grad)


def _space_dtype(start: Any, end: Any, dtype: Any, out: Any, function: str) -> dtype:
    wanted = read_options(function, dtype, None)[0]
    if out is not None:
        check_out_dtype(out, wanted)
        return out.dtype
    is_complex = isinstance(start, complex) or isinstance(end, complex)
    if wanted is None:
        return dtype_of_number(1j) if is_complex else get_default_dtype()
    if is_complex and not wanted.is_complex:
        raise RuntimeError(
            f"torch.{function}(): inferred dtype {dtype_of_number(1j)!r} can't be safely cast to "
            f"passed dtype {wanted!r}"
        )
    return wanted


def _spaced(start: Any, end: Any, steps: int, wanted: dtype, integer_step: Any) -> Any:
    """`steps` evenly spaced values, computed from both ends towards the middle.

    Integers step by a float of type `integer_step`; other dtypes compute in their own.
    """
    if wanted.category == 1:
        start, end = int(start), int(end)
        work = np.dtype(integer_step)
    else:
        work = wanted.numpy_dtype if wanted.itemsize >= 4 else np.dtype(np.float32)
        start, end = work.type(start), work.type(end)
    if steps == 1:
        return np.full(1, start)
    step = work.type(end - start) / work.type(steps - 1)
    count = np.arange(steps)
    half = steps // 2
    # PyTorch's kernels multiply and add with one rounding; a wider type does the same.
    wide = np.dtype(np.float64) if work == np.float32 else np.dtype(np.longdouble)
    if work.kind == "c":
        wide = np.dtype(np.clongdouble)
    first = wide.type(start) + wide.type(step) * count[:half]
    second = wide.type(end) - wide.type(step) * (steps - 1 - count[half:])
    return np.concatenate([first, second]).astype(work)


def _check_steps(steps: Any, function: str) -> int:
    if isinstance(steps, Tensor):
        steps = steps.item()
    if not isinstance(steps, (int, np.integer)) or isinstance(steps, bool):
        raise TypeError(
            f"{function}() received an invalid combination of arguments - got (int, int, "
            f"{type(steps).__name__}), but expected one of:\n * (Number start, Number end, int "
            "steps, ...)\n"
        )
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    return int(steps)


def _endpoint(function: str, argument: str, position: int, value: Any) -> Any:
    if isinstance(value, Tensor) and value._array.ndim:
        raise RuntimeError(
            f"{function} only supports 0-dimensional start and end tensors, but got {argument} "
            f"with {value._array.ndim} dimension(s)."
        )
    return as_number(function, argument, position, value)


@composite()
def linspace(
    start: Number, end: Number, steps: Any, *, out: Any = None, dtype: Any = None,
    layout: Any = None, device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:
    """Makes a vector of `steps` evenly spaced values from `start` to `end`, both included.

    Example:
        >>> import taper as torch
        >>> torch.linspace(0, 1, 5)
        tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """
    start, end = _endpoint("linspace", "start", 1, start), _endpoint("linspace", "end", 2, end)
    steps = _check_steps(steps, "linspace")
    wanted = _space_dtype(start, end, dtype, out, "linspace")
    array = _spaced(start, end, steps, wanted, np.float64).astype(wanted.numpy_dtype)
    return finish_array("linspace", array, out, wanted, device, requires_grad)


@composite()
def logspace(
    start: Number, end: Number, steps: Any, base: float = 10.0, *, out: Any = None,
    dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    r"""Makes a vector of `steps` values whose logarithms are evenly spaced.

    They go from :math:`base^{start}` to :math:`base^{end}`, both included.

    Example:
        >>> import taper as torch
        >>> torch.logspace(0, 4, 5, base=2)
        tensor([ 1.,  2.,  4.,  8., 16.])
    """
    start, end = _endpoint("logspace", "start", 1, start), _endpoint("logspace", "end", 2, end)
    steps = _check_steps(steps, "logspace")
    wanted = _space_dtype(start, end, dtype, out, "logspace")
    exponents = _spaced(start, end, steps, wanted, np.float32)
    if wanted.is_complex or isinstance(base, complex):
        exponents = exponents.astype(np.complex128)
    elif wanted.is_floating_point and wanted.itemsize < 4:
        exponents = exponents.astype(np.float32)
    if wanted.category == 1:
        exponents = exponents.astype(np.float64)
    array = np.power(base, exponents).astype(wanted.numpy_dtype)
    return finish_array("logspace", array, out, wanted, device, requires_grad)
