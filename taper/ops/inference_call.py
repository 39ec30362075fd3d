"""Operators in inference mode: their short paths, with results that are marked.

Inference mode is among the modes that operators' short paths give way to (core/state.py), for its
results are tensors of another kind. Where it is the only one, nobody else wants to see the call.
"""

from __future__ import annotations

from typing import Any

from taper.core.state import is_inference
from taper.core.storage import inference_storage
from taper.core.tensor import Tensor
from taper.ops.declare import Operator
from taper.ops.signature import Signature

__all__ = ["MISSED", "inferred", "mark"]

MISSED = object()  # the arguments aren't for the short path


def inferred(op: Operator, signature: Signature, args: tuple[Any, ...]) -> Any:
    """What an operator gives in inference mode, by its short path; else MISSED.

    To be called while no other modes are on anywhere.
    """
    if op.is_composite or not is_inference():
        return MISSED
    result = op.modeless(*args)
    if result is MISSED:
        return MISSED
    if op.view:
        base = args[signature.names.index(signature.tensors[0].name)]
        if not base._inference:  # so its views are no inference tensors either
            if base._edge is not None and base._created_as is None:
                for view in (result,) if isinstance(result, Tensor) else result:
                    view._created_as = view._created_as and "inference"
            return result
    if isinstance(result, Tensor):
        mark(result)
    else:
        for tensor in result:
            mark(tensor)
    return result


def mark(tensor: Tensor) -> None:
    """Makes a new tensor one of inference mode."""
    tensor._inference = True
    if tensor._storage is None:
        tensor._storage = inference_storage(tensor._array)
