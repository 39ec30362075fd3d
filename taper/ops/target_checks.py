"""Whether a tensor may be written to, in the order in which PyTorch finds out.

It looks at types and at what the operator asks of its arguments, then at memory that is expanded,
then whether shapes can be broadcast, whether the result fits, and last for a kernel.
"""

from __future__ import annotations

from typing import Any

from taper.arrays.symbolic_shape import broadcast_shapes
from taper.core.dtype import dtype
from taper.core.promotion import can_cast, scalar_type_name
from taper.core.storage import refuse_repeated_memory
from taper.core.tensor import Tensor
from taper.ops.argument_checks import check_types, tensors_of
from taper.ops.declare import Operator
from taper.ops.operand_dtypes import compute_dtype
from taper.ops.signature import Signature

__all__ = ["check_fit", "refuse_before_kernel", "refuse_early"]

_SHAPES_FIRST = frozenset({"dim", "index", "beta"})  # parameters that tell


def refuse_early(op: Operator, signature: Signature, args: tuple[Any, ...]) -> None:
    """Refuses to write into expanded memory before shapes are broadcast and dtypes looked at.

    So does PyTorch; what an operator asks of its arguments comes earlier, and one that works along
    dims or adds a product of matrices looks at shapes first: `overwrite` refuses it.
    """
    bound = dict(zip(signature.names, args, strict=True))
    check_types(op, signature, bound)
    if op.name == "zero" or not _SHAPES_FIRST.isdisjoint(bound):
        return
    if op.check is not None:
        op.check(bound)
    refuse_repeated_memory(args[0]._array)


def refuse_before_kernel(
    op: Operator, signature: Signature, target: Tensor, args: tuple[Any, ...]
) -> None:
    """Raises if a result would not fit into `target`: PyTorch looks for the kernel after that."""
    if op.promote is None:
        return
    bound = dict(zip(signature.names, args, strict=True))
    shape = broadcast_shapes(*[t._array.shape for t in tensors_of(signature, bound)])
    gives_bools = op.ufunc is not None and "dd->?" in op.ufunc.types
    computed = None if gives_bools else compute_dtype(op, signature, bound)
    check_fit(target, shape, computed or target.dtype)


def check_fit(target: Tensor, shape: tuple[int, ...], result: dtype) -> None:
    """Raises if a result of this shape and dtype can't be written into `target`."""
    if shape != target._array.shape:
        raise RuntimeError(
            f"output with shape {list(target._array.shape)} doesn't match the broadcast shape "
            f"{list(shape)}"
        )
    if not can_cast(result, target.dtype):
        raise RuntimeError(
            f"result type {scalar_type_name(result)} can't be cast to the desired output "
            f"type {scalar_type_name(target.dtype)}"
        )
