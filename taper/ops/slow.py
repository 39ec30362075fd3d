"""The one crossroads for everything unusual: readable, and only as quick as it can be so.

Calls arrive here from the generated functions (ops/wrap.py) when an operand is a subclass, a
Python number where a tensor is expected, or of another dtype; when `out=` is given; when a mode
is active; or when the short path failed and the error must be told in PyTorch's words.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.autograd.node import NodeOutput, rename_in_place, save_result
from taper.autograd.saved_tensors import hooks
from taper.autograd.tangents import carried_by, take_tangents
from taper.autograd.views import check_inplace, rebase_history, register_view
from taper.core import overrides
from taper.core.errors import argument_error
from taper.core.promotion import can_cast, python_number, scalar_type_name
from taper.core.state import active, around_forwards, autocasting, is_inference, is_recording
from taper.core.storage import (
    new_storage,
    refuse_repeated_memory,
    repeats_memory,
)
from taper.core.tensor import LEAF, Tensor, wrap
from taper.ops.argument_checks import (
    NUMBERS,
    check_devices,
    check_kind,
    check_types,
    explain_failure,
    tensors_of,
    translate,
)
from taper.ops.autocast import POLICIES, run_autocast
from taper.ops.declare import Operator
from taper.ops.forward_mode import (
    check_forward_mode,
    keep_tangents,
    pass_tangents,
    rewrite_tangents,
)
from taper.ops.inference_call import MISSED, inferred, mark
from taper.ops.native_forward import computed_into, quickly_into
from taper.ops.offered_calls import offer_composite, offer_operator
from taper.ops.operand_dtypes import as_arrays, cast, compute_dtype, downcast, upcast
from taper.ops.promoted_call import promoted_call
from taper.ops.recorded_call import record
from taper.ops.signature import NUMBER, TENSOR, Signature, signature_of
from taper.ops.target_checks import check_fit, refuse_before_kernel, refuse_early

__all__ = [
    "call", "call_by_signature", "call_composite", "call_dunder", "call_inplace",
    "collect_variadic", "offer_composite", "renamed_arguments",
]

ndarray = np.ndarray
_PLAIN = frozenset([ndarray])
_new = object.__new__


def renamed_arguments(op: Operator, aliases: dict[str, Any], bound: dict[str, Any]) -> Any:
    """Argument values with NumPy's spellings `axis=`, `keepdims=` put in their places."""
    for theirs, value in aliases.items():
        ours = {"axis": "dim", "keepdims": "keepdim", "x": "input"}.get(theirs)
        if ours is None or ours not in bound:
            raise TypeError(f"{op.name}() got an unexpected keyword argument '{theirs}'")
        bound[ours] = value
    return tuple(bound.values())


def collect_variadic(op: Operator, args: tuple[Any, ...], keyword: Any) -> Any:
    """Sizes or dims given one by one, as one sequence, or by keyword: always one sequence."""
    if not args:
        return keyword if keyword is not None else ()
    if len(args) == 1 and (isinstance(args[0], (tuple, list, range)) or args[0] is None):
        return args[0]
    return args


# -- calls ----------------------------------------------------------------------------------------


def call_composite(op: Operator, args: tuple[Any, ...]) -> Any:
    """Calls a composite that autocast lists, while it is on."""
    return run_autocast(
        op.path, args, lambda cast: call_by_signature(op.forward, signature_of(op), cast)
    )


def call(op: Operator, args: tuple[Any, ...], out: Any = None) -> Any:
    """Calls an operator in full: overrides, checks, promotion, errors, `out=`, recording."""
    signature = signature_of(op)
    if out is None:
        if active.modes and active.modes == active.inference:
            quick = inferred(op, signature, args)
            if quick is not MISSED:
                return quick
        quick = promoted_call(op, signature, args)
        if quick is not None:
            return quick
    elif quickly_into(op, signature, args, out):
        _bump(out, op.name)
        return out
    return _call_in_full(op, signature, args, out, sys._getframe(1))


def _call_in_full(
    op: Operator, signature: Signature, args: tuple[Any, ...], out: Any, frame: Any
) -> Any:
    intercepted = offer_operator(op, op.function, args, out, frame)
    if intercepted is not overrides.NOT_INTERCEPTED:
        return intercepted
    caller = frame.f_back
    where = (caller.f_code, caller.f_lasti)
    if out is None and op.path in POLICIES and autocasting.get() is not None:
        return run_autocast(
            op.path, args, lambda cast: _carry_out(op, signature, cast, None, where)
        )
    return _carry_out(op, signature, args, out, where)


def _carry_out(
    op: Operator, signature: Signature, args: tuple[Any, ...], out: Any, where: Any
) -> Any:
    """Runs an operator, which may be composite, on arguments that nobody overrides."""
    for i, p in enumerate(signature.parameters):
        if p.role is NUMBER and isinstance(args[i], np.generic):
            args = (*args[:i], python_number(args[i]), *args[i + 1:])
    if op.is_composite:
        result = call_by_signature(op.forward, signature, args)
        return result if out is None else write_out(op, result, out)
    return execute(op, signature, args, out, where)


def call_dunder(op: Operator, args: tuple[Any, ...], out: Any = None) -> Any:
    """`call` for Python's operators: operands of unknown types give NotImplemented."""
    if not isinstance(args[0], Tensor):
        raise TypeError(
            f"descriptor '{op.name}' for 'torch._C.TensorBase' objects doesn't apply to a "
            f"'{type(args[0]).__name__}' object"
        )
    signature = signature_of(op)
    if active.modes and active.modes == active.inference:
        quick = inferred(op, signature, args)
        if quick is not MISSED:
            return quick
    quick = promoted_call(op, signature, args)
    if quick is not None:
        return quick
    for p, value in zip(signature.parameters, args, strict=True):
        if p.role is NUMBER and not isinstance(value, (Tensor, *NUMBERS, ndarray)):
            if not overrides.has_override(value):
                return NotImplemented
        elif p.role is NUMBER and type(value) is ndarray:
            args = tuple(wrap(a) if a is value else a for a in args)
    return _call_in_full(op, signature, args, out, sys._getframe(1))


def call_by_signature(function: Callable[..., Any], signature: Signature, args: Any) -> Any:
    positional = [v for p, v in zip(signature.parameters, args, strict=True) if not p.keyword_only]
    keywords = {
        p.name: v for p, v in zip(signature.parameters, args, strict=True) if p.keyword_only
    }
    return function(*positional, **keywords)


def execute(
    op: Operator, signature: Signature, args: tuple[Any, ...], out: Any, where: Any
) -> Any:
    """Runs an operator on arguments that nobody overrides."""
    bound = dict(zip(signature.names, args, strict=True))
    check_types(op, signature, bound)
    tensors = tensors_of(signature, bound)
    check_devices(op, tensors)
    dual = carried_by(tensors)
    if out is not None and is_recording() and (
        any(t._edge is not None for t in tensors)
        or (isinstance(out, Tensor) and out._edge is not None)
    ):
        raise RuntimeError(
            f"{op.name}(): functions with out=... arguments don't support automatic "
            "differentiation, but one of the arguments requires grad."
        )
    if op.with_out is not None and out is not None:
        op.with_out(bound, out)
    arrays = dict(bound)
    if op.check is not None:
        op.check(bound)
    computed = compute_dtype(op, signature, bound)
    check_kind(op, computed or (tensors[0].dtype if tensors else None), bound, tensors)
    back = None
    for p in signature.tensors:
        target = None if p.name in op.unpromoted else computed
        arrays[p.name] = as_arrays(p, bound[p.name], target, op.upcast)
    if op.upcast:
        back = upcast(signature, arrays)
    if op.promote is not None and "dtype" in bound and not callable(op.promote):
        arrays["dtype"] = bound["dtype"]
    values = tuple(arrays[n] for n in signature.names)
    if type(out) is Tensor and op.elementwise and back is None and not dual and (
        computed_into(op, signature, values, out._array)
    ):
        _bump(out, op.name)
        return out
    try:
        around = around_forwards.get()
        raw = _run(op, signature, tensors, values) if around is None else around(
            op, bound, lambda: _run(op, signature, tensors, values))
    except (ValueError, np.exceptions.AxisError, TypeError, OverflowError, MemoryError) as error:
        raise translate(op, signature, bound, arrays, error) from _cause(error)
    if dual:
        check_forward_mode(op, out)
    results, aux = split_results(op, raw)
    if back is not None:
        results = [downcast(r, back) for r in results]
    wrapped = [wrap(as_array(r)) for r in results]
    if op.view:
        _connect_views(op, bound[signature.tensors[0].name], wrapped)
    if op.differentiable and is_recording() and any(t._edge is not None for t in tensors):
        record(op, signature, bound, wrapped, aux, where)
    if op.view and op.differentiable and tensors[0]._edge is not None:
        for t in wrapped:
            if not is_recording():  # as in PyTorch, a leaf of its own if the base requires grad
                t._edge = None if t._base._edge is None else LEAF
                t._created_as = t._created_as or ("inference" if is_inference() else "no_grad")
            elif t._created_as is None and tensors[0]._created_as is not None:
                t._created_as = tensors[0]._created_as
            register_view(t._storage, t)
    if dual:
        pass_tangents(op, signature, bound, wrapped, aux)
    if is_inference() and not (op.view and not tensors[0]._inference):
        for t in wrapped:
            t._edge = None
            mark(t)
    result = pack_results(op, wrapped, raw)
    return result if out is None else write_out(op, result, out)


def _run(
    op: Operator, signature: Signature, tensors: list[Tensor], values: tuple[Any, ...]
) -> Any:
    """What the forward returns for these arrays and values."""
    others = {type(t._array) for t in tensors} - _PLAIN
    if not others:
        is_large = op.has_native and any(t._array.size > op.large for t in tensors)
        return call_by_signature(op.native if is_large else op.forward, signature, values)
    from taper.ops.other_arrays import run_forward

    return run_forward(op, others, lambda v: call_by_signature(op.forward, signature, v), values)


def as_array(result: Any) -> Any:
    return np.asarray(result) if isinstance(result, (np.generic, float, int, complex)) else result


def split_results(op: Operator, raw: Any) -> tuple[list[Any], tuple[Any, ...]]:
    """The visible outputs of a forward, and the hidden ones that its derivative needs."""
    if op.outputs is None:
        return ([raw[0]], tuple(raw[1:])) if op.aux else ([raw], ())
    count = len(raw) - len(op.aux)
    return list(raw[:count]), tuple(raw[count:])


def pack_results(op: Operator, wrapped: list[Tensor], raw: Any) -> Any:
    """The outputs in the form the operator returns them: one, a named tuple, a tuple, a list."""
    if op.outputs is None:
        return wrapped[0]
    if isinstance(op.outputs, tuple):
        from taper.ops.wrap import result_type

        return result_type(op)(wrapped)
    return type(raw)(wrapped) if op.outputs == "list" else tuple(wrapped)


# -- views -----------------------------------------------------------------------------------------


def _connect_views(op: Operator, source: Tensor, views: list[Tensor]) -> None:
    storage = source._storage
    if storage is None:
        storage = source._storage = new_storage(source._array)
    base = source if source._base is None else source._base
    for view in views:
        view._storage = storage
        view._base = base
        if op.outputs is not None:
            view._created_as = "multiple"


# -- out= ------------------------------------------------------------------------------------------


def write_out(op: Operator, result: Any, out: Any) -> Any:
    """Writes results into the tensors given as `out=`, resizing and casting as PyTorch does."""
    if isinstance(result, tuple) and not isinstance(result, Tensor):
        if not isinstance(out, (tuple, list)) or len(out) != len(result):
            raise TypeError(
                f"{op.name}(): argument 'out' must be tuple of Tensors, not {type(out).__name__}"
            )
        for target, value in zip(out, result, strict=True):
            _write_one(op, value, target)
        return type(result)(out)
    if isinstance(out, (tuple, list)) and len(out) == 1:
        (out,) = out
    _write_one(op, result, out)
    return out


def _write_one(op: Operator, value: Tensor, target: Any) -> None:
    if not isinstance(target, Tensor):
        raise TypeError(
            f"{op.name}(): argument 'out' must be Tensor, not {type(target).__name__}"
        )
    source, goal = value.dtype, target.dtype
    if op.exact_out and source is not goal:
        raise RuntimeError(
            f"Expected object of scalar type {scalar_type_name(source)} but got scalar type "
            f"{scalar_type_name(goal)} for argument 'out'"
        )
    if not can_cast(source, goal):
        raise RuntimeError(
            f"result type {scalar_type_name(source)} can't be cast to the desired output type "
            f"{scalar_type_name(goal)}"
        )
    if value.device != target.device:
        raise RuntimeError(
            f"Expected out tensor to have device {value.device}, but got {target.device} instead"
        )
    if type(target._array) is ndarray:
        refuse_repeated_memory(target._array)
    if target._array.shape != value._array.shape:
        resize_out(target, value._array.shape)
    if type(target._array) is ndarray or target.device.type != "meta":
        target._array[...] = cast(value._array, goal)
    _bump(target, op.name)


def resize_out(target: Tensor, shape: tuple[int, ...]) -> None:
    """Resizes an `out=` tensor, with PyTorch's warning if it held something."""
    import warnings

    if target._array.size != 0:
        warnings.warn(
            f"An output with one or more elements was resized since it had shape "
            f"{list(target._array.shape)}, which does not match the required output shape "
            f"{list(shape)}. This behavior is deprecated, and in a future PyTorch release outputs "
            "will not be resized unless they have zero elements. You can explicitly reuse an out "
            "tensor t by resizing it, inplace, to zero elements with t.resize_(0).",
            UserWarning, stacklevel=4,
        )
    target.resize_(shape)


# -- in place --------------------------------------------------------------------------------------


def call_inplace(op: Operator, args: tuple[Any, ...]) -> Any:
    """Computes out of place, then writes the result into the first argument's memory.

    The operator sees an alias of the tensor as it was; if its derivative keeps that alias, the
    old values are copied before they are overwritten.
    """
    signature = signature_of(op)
    intercepted = offer_operator(op, op.inplace, args, None, sys._getframe(1))
    if intercepted is not overrides.NOT_INTERCEPTED:
        return intercepted
    target = args[0]
    if not isinstance(target, Tensor):
        raise argument_error(op.name + "_", signature.names[0], 1, TENSOR, target)
    check_inplace(target, args)
    if repeats_memory(target._array):
        refuse_early(op, signature, args)
    frame = sys._getframe(2)
    where = (frame.f_code, frame.f_lasti)
    original = alias_with_history(target)
    args = (original, *args[1:])
    if op.is_composite:
        result = call_by_signature(op.forward, signature, args)
    else:
        try:
            result = execute(op, signature, args, None, where)
        except NotImplementedError as error:
            if " not implemented for " in str(error):
                refuse_before_kernel(op, signature, target, args)
            raise
        rename_in_place(result._edge)
    overwrite(target, original, result, op.name + "_", where)
    return target


def alias_with_history(target: Tensor, *, overwritten: bool = True) -> Tensor:
    """A second tensor with the same memory and history, for an operator to save.

    If the memory will be `overwritten`, saved-tensor hooks get a copy of it.
    """
    original = wrap(target._array)
    original._edge = target._edge if target._edge is not LEAF else LEAF
    original._storage = target._storage
    original._base = target._base
    if target._tangents:
        take_tangents(original, target)
    if overwritten and hooks() is not None:
        original._array = target._array.copy()
        original._storage = None
    return original


def overwrite(
    target: Tensor, original: Tensor, result: Tensor, change: str, where: Any
) -> None:
    """Writes `result` over `target` and hands its history on."""
    if change != "zero_":
        refuse_repeated_memory(target._array)
    check_fit(target, result._array.shape, result.dtype)
    array = target._array
    edge = result._edge
    node = edge.node if type(edge) is NodeOutput else edge
    if node is not None and node is not LEAF:
        _keep_what_is_overwritten(node, original)
    if result._tangents:
        rewrite_tangents(target, result)
    original._storage = None  # it was only seen by the operator: no view to give a new history
    if type(array) is ndarray:
        if not array.flags.writeable:
            _make_writeable(target)
            array = target._array
        values = cast(result._array, target.dtype)
        if type(values) is not ndarray:
            from taper.ops.other_arrays import prepare_write

            prepare_write(target, values)
            array = target._array
        if values is not array:
            array[...] = values
    elif target.device.type != "meta":  # sparse, or being recorded
        array[...] = cast(result._array, target.dtype)
    _bump(target, change, where)
    if is_recording() and (edge is not None or target._edge is not None):
        rebase_history(target, None if edge is LEAF else edge)
        if edge is not None and edge is not LEAF:
            _point_saved_result_at(edge, target, result)


def _keep_what_is_overwritten(node: Any, original: Tensor) -> None:
    for item in node.saved or ():
        if item is original:
            original._array = original._array.copy()
            original._storage = None
            keep_tangents(original)
            node.saved = tuple(
                0 if node.saved[i - 1] is original and i else v for i, v in enumerate(node.saved)
            )
            return


def _point_saved_result_at(edge: Any, target: Tensor, result: Tensor) -> None:
    """A result saved by the node now lives in `target`: later changes there must be noticed."""
    node = edge.node if type(edge) is NodeOutput else edge
    if node.saved:
        node.saved = tuple(
            save_result(target)
            if type(item) is tuple and len(item) == 3 and item[0] is result._array else item
            for item in node.saved
        )


def _make_writeable(target: Tensor) -> None:
    try:
        target._array.flags.writeable = True
    except ValueError:
        raise RuntimeError(
            "this tensor's memory is read-only (it came from a read-only NumPy array); clone() it "
            "before changing it in place"
        ) from None


def _bump(target: Tensor, change: str, where: Any = None) -> None:
    target._bump_version((change, *where) if where is not None else None)


# -- errors ---------------------------------------------------------------------------------------


def recover(op: Operator, args: tuple[Any, ...], error: Exception) -> Any:
    """What becomes of a composite whose body failed: PyTorch's error, if it has another.

    Objects that are no tensors may stand in for them, and answer for the whole call: tracers' do.
    `error` itself is returned where it says all.
    """
    signature = signature_of(op)
    if any(not isinstance(a, Tensor) for a in overrides.overriding_in(args)):
        intercepted = offer_operator(op, op.function, args, None, sys._getframe(1))
        if intercepted is not overrides.NOT_INTERCEPTED:
            return intercepted
    explain_failure(op, signature, args, error)
    return error


def _cause(error: Exception) -> Exception | None:
    """Hides NumPy's traceback where the new message says it all; keeps it elsewhere."""
    return None if isinstance(error, (ValueError, np.exceptions.AxisError)) else error
