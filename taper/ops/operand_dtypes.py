"""The dtype that an operator computes in, and its operands as arrays of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.dtype import REDUCED_FLOATS, dtype, float32
from taper.core.promotion import dtype_of_number, number_as, result_dtype, to_inexact
from taper.core.tensor import Tensor
from taper.kernels.memory_order import cast_in_order
from taper.ops.declare import Operator
from taper.ops.signature import LIST, Signature

__all__ = ["as_arrays", "cast", "compute_dtype", "downcast", "upcast"]

_WIDE = float32.numpy_dtype
_REDUCED = frozenset(d.numpy_dtype for d in REDUCED_FLOATS)


def compute_dtype(op: Operator, signature: Signature, bound: dict[str, Any]) -> dtype | None:
    """The dtype that all operands are brought to before computing; None leaves them alone."""
    if op.promote is None:
        return None
    if callable(op.promote):
        return op.promote(bound)
    common = common_dtype(signature, bound, op.unpromoted)
    return to_inexact(common) if op.promote == "float" else common


def common_dtype(
    signature: Signature, bound: dict[str, Any], unpromoted: tuple[str, ...] = ()
) -> dtype:
    """PyTorch's `result_type` of the tensor and number arguments."""
    with_dims: list[dtype] = []
    without_dims: list[dtype] = []
    numbers: list[dtype] = []
    for p in signature.tensors:
        value = bound[p.name]
        if value is None or p.name in unpromoted:
            continue
        for item in value if p.role is LIST else (value,):
            if isinstance(item, Tensor):
                (with_dims if item._array.ndim else without_dims).append(item.dtype)
            else:
                numbers.append(dtype_of_number(item))
    return result_dtype(with_dims, without_dims, numbers)


def cast(array: Any, target: dtype) -> Any:
    """An array in another dtype; itself if it has that already."""
    numpy_dtype = target.numpy_dtype
    if array.dtype == numpy_dtype:
        return array
    if array.dtype.kind == "c" and numpy_dtype.kind != "c":
        array = array.real
    return cast_in_order(array, numpy_dtype)


def as_arrays(p: Any, value: Any, target: dtype | None, widens: bool) -> Any:
    """An argument as an array, or a list of them, of the dtype that is computed in."""
    if value is None:
        return None
    if p.role is LIST:
        return [t._array if target is None else cast(t._array, target) for t in value]
    if isinstance(value, Tensor):
        return value._array if target is None else cast(value._array, target)
    if target is None:
        return np.asarray(value, dtype_of_number(value).numpy_dtype)
    # A number keeps its precision where the computation has it.
    return number_as(value, float32 if widens and target in REDUCED_FLOATS else target)


def upcast(signature: Signature, arrays: dict[str, Any]) -> Any:
    """Widens float16 and bfloat16 operands to float32; the dtype to return to, or None."""
    back = None
    for p in signature.tensors:
        value = arrays[p.name]
        if value is None:
            continue
        if p.role is LIST:
            if any(a.dtype in _REDUCED for a in value):
                back = next(a.dtype for a in value if a.dtype in _REDUCED)
                arrays[p.name] = [a.astype(_WIDE) if a.dtype in _REDUCED else a for a in value]
        elif value.dtype in _REDUCED:
            back = value.dtype
            arrays[p.name] = cast_in_order(value, _WIDE)
    return back


def downcast(result: Any, back: Any) -> Any:
    """A result that `upcast` has widened, in the dtype to return to."""
    return result.astype(back) if result is not None and result.dtype == _WIDE else result
