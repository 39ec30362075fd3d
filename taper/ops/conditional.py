"""Choosing elements by a condition."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.dtype import INTEGER
from taper.core.promotion import fitting_number, scalar_type_name
from taper.core.state import active
from taper.core.tensor import Tensor, wrap
from taper.kernels.small_calls import stand_in
from taper.ops.declare import composite, operator
from taper.ops.native_forward import LARGE
from taper.ops.signature import Number

BOOL = np.dtype(bool)
np_where = np.where
stand_in(np_where, globals(), "np_where")


def _check_numbers(bound: dict[str, Any]) -> None:
    """Numbers must fit the integers beside them."""
    for value, beside in ((bound["input"], bound["other"]), (bound["other"], bound["input"])):
        beside_integers = isinstance(beside, Tensor) and beside.dtype.category == INTEGER
        if isinstance(value, int) and beside_integers:
            fitting_number(value, beside.dtype)


@operator(
    "where", hidden=True, out=True, promote="result_type", unpromoted=("condition",),
    check=_check_numbers,
    elementwise=True,
)
def select(condition: Tensor, input: Tensor | Number, other: Tensor | Number) -> Tensor:
    """`where` with all three arguments."""
    if condition.dtype.kind != "b":
        if condition.dtype != np.uint8:
            raise RuntimeError(
                "where expected condition to be a boolean tensor, but got a tensor with dtype "
                f"{scalar_type_name(wrap(condition).dtype)}"
            )
        condition = condition.astype(np.bool_)
    return np.where(condition, input, other)


@select.derivative("input")
def _(grad, condition):
    return select.function(condition, grad, 0)


@select.derivative("other")
def _(grad, condition):
    return select.function(condition, 0, grad)


@composite()
def where(
    condition: Tensor, input: Tensor | Number = None, other: Tensor | Number = None, *,
    out: Tensor | None = None,
) -> Tensor:
    """Takes elements from `input` where `condition` holds and from `other` elsewhere.

    With `condition` alone: the indices where it holds, as ``nonzero(as_tuple=True)``.

    Shape: broadcast together.    Dtype: that of `input` and `other` promoted together.
    Example:
        >>> import taper as torch
        >>> torch.where(torch.tensor([True, False]), torch.tensor([1, 2]), 0)
        tensor([1, 0])
    """
    if out is None and type(input) is Tensor and type(other) is Tensor:
        a, b = input._array, other._array
        if (
            type(condition) is Tensor and input._edge is None and other._edge is None
            and a.dtype is b.dtype and condition._array.dtype is BOOL and not active.modes
            and a.size <= LARGE
        ):
            try:
                found = np_where(condition._array, a, b)
            except ValueError:  # shapes that don't fit: told below
                found = None
            if found is not None:
                return wrap(found)
    if other is None and input is None:
        return condition.nonzero(as_tuple=True)
    return select.function(condition, input, other) if out is None else (
        select.function(condition, input, other, out=out))


def _where_method(
    self: Tensor, condition: Tensor, other: Tensor | Number = None, *,
    y: Tensor | Number = None,
) -> Tensor:
    """Takes this tensor's elements where `condition` holds and those of `other` elsewhere."""
    if other is None:
        other = where.given("other", y)
    return select.function(condition, self, other)


_where_method.__name__ = _where_method.__qualname__ = "where"
Tensor.where = _where_method
