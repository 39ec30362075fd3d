"""What operators demand of the tensors given as `out=`, and what follows from them."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.dtype import INTEGER
from taper.core.promotion import cpp_type_name, scalar_type_name
from taper.core.tensor import Tensor

__all__ = ["dtype_of_inexact_out", "dtype_of_out", "matching_dtype", "same_dtype",
           "same_dtype_apart", "set_apart"]


def dtype_of_out(bound: dict[str, Any], out: Any) -> None:
    """Computes in the dtype of `out`, unless another is given."""
    if bound["dtype"] is None and isinstance(out, Tensor):
        bound["dtype"] = out.dtype


def dtype_of_inexact_out(bound: dict[str, Any], out: Any) -> None:
    """As `dtype_of_out`; the kernel exists for floating point results only."""
    dtype_of_out(bound, out)
    if isinstance(out, Tensor) and out.dtype.category <= INTEGER < bound["input"].dtype.category:
        raise NotImplementedError(
            f"\"nansum_cpu\" not implemented for '{scalar_type_name(out.dtype)}'"
        )


def matching_dtype(bound: dict[str, Any], out: Any) -> None:
    """Demands the dtype of the input, in the words of amax and amin."""
    wanted, found = bound["input"].dtype, out.dtype
    if wanted is not found:
        raise RuntimeError(
            "Expected the dtype for input and out to match, but got "
            f"{scalar_type_name(wanted)} for input's dtype and {scalar_type_name(found)} for "
            "out's dtype."
        )


def same_dtype(bound: dict[str, Any], out: Any) -> None:
    """Demands the dtype of the input of every `out`."""
    wanted = bound["input"].dtype
    for t in out if isinstance(out, (tuple, list)) else (out,):
        if isinstance(t, Tensor) and t.dtype is not wanted:
            raise RuntimeError(
                f"Expected out tensor to have dtype {cpp_type_name(wanted)}, but "
                f"got {cpp_type_name(t.dtype)} instead"
            )


def set_apart(bound: dict[str, Any], out: Any) -> None:
    """Demands that `out` shares no memory with the operands."""
    for target in out if isinstance(out, (tuple, list)) else (out,):
        for value in bound.values():
            if isinstance(value, Tensor) and isinstance(target, Tensor) and (
                type(target._array) is np.ndarray is type(value._array)
            ) and np.may_share_memory(target._array, value._array):
                raise RuntimeError(
                    "unsupported operation: some elements of the input tensor and the written-to "
                    "tensor refer to a single memory location. Please clone() the tensor before "
                    "performing the operation."
                )


def same_dtype_apart(bound: dict[str, Any], out: Any) -> None:
    """Both `same_dtype` and `set_apart`."""
    same_dtype(bound, out)
    set_apart(bound, out)
