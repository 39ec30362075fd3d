"""Operators on tensors without data (device="meta") whose NumPy functions have no rule for shapes.

The rules of taper/arrays/shape_rules.py come first. A forward that looks at values has a rule of
its own, declared below it (`@mode.shapes`). What has neither, such as an operator that a user
declared, is computed once on an example of the same shapes, and only the shapes, strides and dtypes
of its results are kept. Operators whose results' shapes depend on values are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper.arrays.shape import DataNeeded, NoData, ShapeArray, arrays_of, forwards
from taper.ops.declare import Operator

__all__ = ["UNSUITED", "forward_without_data"]

UNSUITED = (NotImplementedError, AttributeError, TypeError, ValueError, RuntimeError, IndexError)
"""What forwards raise on arrays that they were not written for."""

LARGEST_EXAMPLE = 2**28
"""In bytes, of all arguments together; the example has to be computed."""

SHAPED_BY_VALUES = frozenset([
    "nonzero", "argwhere", "unique", "unique2", "unique_consecutive", "unique_dim",
    "unique_dim_consecutive", "masked_select", "bincount", "repeat_interleave", "combinations",
    "one_hot",
])


def forward_without_data(op: Operator, call: Callable[[Any], Any], values: tuple[Any, ...]) -> Any:
    """What ``call(values)`` returns, its arrays without data."""
    nested, forwards.running = forwards.running, True
    try:
        return _without(call(values))
    except UNSUITED as failure:
        if op.name in SHAPED_BY_VALUES and not isinstance(failure, (ValueError, IndexError)):
            raise DataNeeded(
                f"{op.name}(): the shape of the result depends on values, which meta tensors, and "
                "tensors of a step that is recorded, don't have"
            ) from failure
        if op.shape_rule is not None and (
            isinstance(failure, (NoData, NotImplementedError, AttributeError, TypeError))
        ):
            return _by_rule(op.shape_rule, op, values)
        if op.view or _size(values) > LARGEST_EXAMPLE:
            raise
    finally:
        forwards.running = nested
    with np.errstate(all="ignore"):
        try:
            return _without(call(tuple([_example(v, 0) for v in values])))
        except (RuntimeError, IndexError):  # pivots and targets count from 1
            return _without(call(tuple([_example(v, 1) for v in values])))


def _by_rule(rule: Callable[..., Any], op: Operator, values: tuple[Any, ...]) -> Any:
    code = op.forward.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    given = dict(zip(names, values, strict=True))
    wanted = rule.__code__.co_varnames[: rule.__code__.co_argcount]
    return arrays_of(rule(*[given[name] for name in wanted]))


def _size(value: Any) -> int:
    if type(value) in (list, tuple):
        return sum(_size(v) for v in value)
    return value.size * value.itemsize if type(value) is ShapeArray else 0


def _example(value: Any, integer: int) -> Any:
    """An array that functions take: matrices are the identity, other floats 1."""
    if type(value) in (list, tuple):
        return type(value)([_example(v, integer) for v in value])
    if type(value) is not ShapeArray:
        return value
    if value.dtype.kind in "biu":
        return np.full(value.shape, integer, value.dtype)
    if value.ndim < 2 or value.shape[-1] != value.shape[-2]:
        return np.ones(value.shape, value.dtype)
    example = np.zeros(value.shape, value.dtype)
    example[...] = np.eye(value.shape[-1])
    return example


def _without(result: Any) -> Any:
    if type(result) in (list, tuple):
        return type(result)([_without(r) for r in result])
    if isinstance(result, np.generic):
        return ShapeArray((), result.dtype)
    if isinstance(result, np.ndarray):
        return ShapeArray(result.shape, result.dtype, result.strides)
    return result
