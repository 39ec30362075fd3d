"""The middle path: operands of different dtypes are cast, then take the operator's short path.

Most calls that leave the short path do so for one reason: a Python float meets integers, a mask
meets floats, or the operands are of half precision. What such a call has to cast is remembered
per operator and kinds of operands. Calls that record the history of an operand to be cast, and all
others, go the full way through ops/slow.py.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from taper.core.dtype import REDUCED_FLOATS, from_numpy_dtype, get_default_dtype
from taper.core.promotion import dtype_of_number, number_as, result_dtype, to_inexact
from taper.core.state import active
from taper.core.tensor import Parameter, Tensor, wrap
from taper.kernels.memory_order import cast_in_order
from taper.ops.declare import Operator
from taper.ops.native_forward import LARGE
from taper.ops.signature import TENSOR, Signature

__all__ = ["promoted_call"]

F32, F64, I64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)
ndarray = np.ndarray
_getframe = sys._getframe


def promoted_call(op: Operator, signature: Signature, args: tuple[Any, ...]) -> Tensor | None:
    """The result of a call whose operands only need casting; None if it is not such a call.

    To be called by what the operator's public function called, so that the user is three frames up.
    """
    promotions = op.promotions
    if promotions is None or active.modes or not signature.operand_positions:
        return None
    key: list[Any] = [get_default_dtype()]
    for position in signature.operand_positions:
        value = args[position]
        kind = type(value)
        if kind is Tensor or kind is Parameter:
            array = value._array
            if type(array) is not ndarray:
                return None
            key.append(array.dtype)
            key.append(array.ndim == 0)
        elif kind is float or kind is int:
            key.append(kind)
        else:
            return None
    plan = promotions.get(tuple(key))
    if plan is None:
        plan = promotions[tuple(key)] = _plan(op, signature, args)
    target, back, keeps_numbers = plan
    if target is None:
        return None
    if back is not None and op.has_native:
        found = _in_reduced_floats(op, signature, args)
        if found is not None:
            return found
    cast = list(args)
    history = False
    for position in signature.operand_positions:
        value = args[position]
        if type(value) is float or type(value) is int:
            if not keeps_numbers:
                cast[position] = wrap(number_as(value, from_numpy_dtype(target)))
        elif value._edge is not None:
            history = True
            if value._array.dtype is not target:
                return None
        elif value._array.dtype is not target:
            cast[position] = wrap(cast_in_order(value._array, target))
    if history:
        if back is not None or not keeps_numbers:
            return None
        for position in signature.operand_positions:
            if cast[position] is not args[position]:
                # Saved in place of the operand, it must notice when that is changed in place.
                cast[position]._storage = args[position]._shared_storage()
    if op.check is not None:
        op.check(dict(zip(signature.names, args, strict=True)))
    count = signature.positional_count
    keywords = dict(zip(signature.names[count:], cast[count:], strict=True))
    result = op.function(*cast[:count], **keywords)
    if back is not None and result._array.dtype is F32:
        return wrap(result._array.astype(back))
    if history and result._edge is not None:
        frame = _getframe(3)
        result._edge.where = (frame.f_code, frame.f_lasti)
    return result


def _in_reduced_floats(op: Operator, signature: Signature, args: tuple[Any, ...]) -> Any:
    """Half precision by a native kernel, which widens and rounds as it goes; None for few elements,
    other dtypes beside it, and where something is to be recorded."""
    values = list(args)
    dtype = None
    for position in signature.operand_positions:
        value = args[position]
        if not isinstance(value, Tensor) or value._edge is not None:
            return None
        array = values[position] = value._array
        if dtype is None:
            dtype = array.dtype
            if array.size <= LARGE:
                return None
        elif array.dtype is not dtype:
            return None
    count = signature.positional_count
    keywords = dict(zip(signature.names[count:], values[count:], strict=True))
    result = op.native.compute(values[:count], keywords)
    return None if result is None else wrap(result)


def _plan(op: Operator, signature: Signature, args: tuple[Any, ...]) -> tuple[Any, Any, bool]:
    """The dtype to compute in, the one to return to, and whether numbers stay as they are."""
    full_way = (None, None, False)
    with_dims: list[Any] = []
    without_dims: list[Any] = []
    numbers, found = [], []
    for position in signature.operand_positions:
        value = args[position]
        role = signature.parameters[position].role
        if role is TENSOR and not op.takes_numbers and not isinstance(value, Tensor):
            return full_way
        if isinstance(value, Tensor):
            (with_dims if value._array.ndim else without_dims).append(value.dtype)
            found.append(value._array.dtype)
        else:
            numbers.append(value)
    if not found:
        return full_way
    common = result_dtype(with_dims, without_dims, [dtype_of_number(n) for n in numbers])
    if op.promote == "float":
        common = to_inexact(common)
    if "bifc"[common.category] not in op.kinds:
        return full_way
    target, back = common.numpy_dtype, None
    if op.upcast and common in REDUCED_FLOATS:
        target, back = F32, target
    if op.promote == "float" and target is not F32 and target is not F64:
        return full_way
    keeps_numbers = target is F32 or target is F64 or (
        target is I64 and op.promote == "result_type" and all(type(n) is int for n in numbers)
    )
    changes = any(d is not target for d in found) or (bool(numbers) and not keeps_numbers)
    return (target, back, keeps_numbers) if changes else full_way
