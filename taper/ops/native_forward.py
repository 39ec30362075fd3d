"""Where operators meet native kernels: the size from which they are asked, and how.

Short paths compare one size with `LARGE` and then call `native` in place of the forward, with the
same arguments; it answers with the same result, computed by a kernel or, where there is none (yet),
by the forward itself. What kernels are is the business of kernels/native.py, which is loaded when
the first large array comes.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from numpy import dtype as numpy_dtype
from numpy import ndarray

from taper.core.state import active
from taper.core.tensor import Tensor
from taper.ops.declare import LARGE, Operator
from taper.ops.signature import LIST, VALUE, Signature

__all__ = ["LARGE", "FirstNative", "computed_into", "make_native", "quickly_into"]

F32, F64 = numpy_dtype("float32"), numpy_dtype("float64")

class FirstNative:
    """Stands for an operator's native form until its first use in a generated function."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def __call__(self, *args: Any, **named: Any) -> Any:
        from taper.runtime.planned_calls import planned

        native = self.source.op.native
        if isinstance(native, Twin):  # it may look at values; what doesn't is in plans itself
            self.source.scope["native"] = native
        elif (in_plans := planned(native)) is not None:
            self.source.scope["native"] = in_plans
        return native(*args, **named)

    def into(self, *arrays: Any) -> bool:
        native = self.source.scope["native"] = self.source.op.native
        return native.into(*arrays)


def computed_into(op: Operator, signature: Signature, values: Any, out: Any) -> bool:
    """Computes an elementwise operator straight into the memory of a large `out=`, if it can."""
    if type(out) is not ndarray or out.size <= LARGE:
        return False
    count = signature.positional_count
    named = dict(zip(signature.names[count:], values[count:], strict=True))
    return op.native.into(out, *values[:count], **named)


def quickly_into(op: Operator, signature: Signature, args: Any, out: Any) -> bool:
    """Computes a ufunc of large plain tensors of one dtype into `out=`, if nothing about the call
    is unusual: `computed_into` without the way there."""
    if op.ufunc is None or not op.elementwise or op.check is not None or active.modes or (
        op.with_out is not None or type(out) is not Tensor or out._edge is not None
    ):
        return False
    into = out._array
    dtype = into.dtype
    if type(into) is not ndarray or into.size <= LARGE or (dtype is not F32 and dtype is not F64):
        return False
    arrays = []
    for p, value in zip(signature.parameters, args, strict=True):
        if p.role is VALUE:
            if value is not p.default:
                return False
        elif type(value) is Tensor and value._edge is None and value._array.dtype is dtype:
            arrays.append(value._array)
        else:
            return False
    return bool(op.native.into(into, *arrays))


class Twin:
    """A native function of a forward's arguments, which returns None where it has no kernel."""

    def __init__(self, op: Operator, path: str) -> None:
        self.forward = op.forward
        module, _, name = path.rpartition(".")
        self.function = getattr(import_module(f"taper.kernels.{module}"), name)

    def __call__(self, *args: Any, **named: Any) -> Any:
        result = self.function(*args, **named)
        return self.forward(*args, **named) if result is None else result

    def compute(self, args: Any, named: Any) -> Any:
        return self.function(*args, **named)


def make_native(op: Operator) -> Any:
    """The forward of an operator by native kernels, as its declaration allows."""
    signature = Signature(op.forward, op.variadic)
    if op.native_path is not None:
        return Twin(op, op.native_path)
    positions = [i for i, p in enumerate(signature.parameters) if p.role is not VALUE]
    if any(p.role is LIST for p in signature.tensors):
        raise TypeError(f"operator {op.path}: lists have no elementwise form")
    if op.rowwise is not None:
        from taper.kernels.native_rows import Rowwise

        return Rowwise(op.forward, positions, signature.names.index(op.rowwise), op.upcast)
    from taper.kernels.native import Elementwise

    return Elementwise(op.forward, positions, op.upcast)
