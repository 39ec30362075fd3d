"""What is wrong with a call: checks of its arguments, and NumPy's errors in PyTorch's words.

Nothing here is paid by calls that succeed on the short path. Operators come here from ops/slow.py
before they compute; composites only when their body has failed (`explain_failure`).
"""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from taper.core.dtype import dtype
from taper.core.errors import argument_error, broadcast_error, device_error, normalize_dims
from taper.core.promotion import scalar_type_name
from taper.core.state import is_recording
from taper.core.symbolic import SymFloat, SymInt, value_at_hint
from taper.core.tensor import Tensor, wrap
from taper.ops.declare import Operator
from taper.ops.signature import (
    LIST,
    NUMBER,
    OPTIONAL,
    TENSOR,
    VALUE,
    OperatorParameter,
    Signature,
    signature_of,
)

__all__ = [
    "NUMBERS", "check_constant", "check_devices", "check_kind", "check_types", "check_values",
    "explain_failure", "tensors_of", "translate",
]

ndarray = np.ndarray
NUMBERS = (int, float, complex, bool, np.number, np.bool_, SymInt, SymFloat)
# What PyTorch takes for values of these kinds; tensors of one element stand for their number.
_TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool, np.bool_), "str": (str, bytes), "Number": (*NUMBERS, Tensor),
    "float": (int, float, np.integer, np.floating, np.bool_, Tensor),
}
_NEVER_NONE = frozenset(["int", *_TYPES])


def check_constant(function: str, name: str, tensor: Tensor | None) -> None:
    """Raises if an argument requires grad that the function has no derivative for."""
    if tensor is not None and tensor._edge is not None and is_recording():
        raise RuntimeError(
            f"The function '{function}' is not differentiable with respect to argument '{name}'. "
            "This input cannot have requires_grad True."
        )


# -- types ----------------------------------------------------------------------------------------


def check_types(op: Operator, signature: Signature, bound: dict[str, Any]) -> None:
    """Raises TypeError unless tensors stand where tensors must, and integers where they must."""
    for p in signature.parameters:
        value = bound[p.name]
        if p.role is VALUE:
            _check_value(op, p, value)
        elif not _is_valid(op, p.role, value):
            if p.role is not NUMBER or type(value) is not ndarray:
                raise argument_error(op.name, p.name, p.position, p.role, value)
            bound[p.name] = wrap(value)
    if not op.takes_numbers and signature.tensors and all(
        p.role is NUMBER for p in signature.tensors
    ):
        given = [bound[p.name] for p in signature.tensors]
        if not any(isinstance(v, Tensor) for v in given):
            kinds = ", ".join(type(v).__name__ for v in given)
            raise TypeError(
                f"{op.name}() received an invalid combination of arguments - got ({kinds}), but "
                "at least one of them must be a Tensor"
            )


def check_values(op: Operator, args: tuple[Any, ...]) -> None:
    """The part of `check_types` about arguments that are no tensors, before a composite's body
    runs: its tensors check themselves."""
    for p in signature_of(op).values:
        _check_value(op, p, args[p.position - 1])


def _is_valid(op: Operator, role: str, value: Any) -> bool:
    if isinstance(value, Tensor):
        return role is not LIST
    if role is OPTIONAL:
        return value is None
    if role is LIST:
        return isinstance(value, (list, tuple)) and all(isinstance(v, Tensor) for v in value)
    return (role is NUMBER or op.takes_numbers) and isinstance(value, NUMBERS)


def _check_value(op: Operator, p: OperatorParameter, value: Any) -> None:
    kind = p.kind
    if kind is None or (value is None and kind not in _NEVER_NONE):
        return
    kind = kind.removeprefix("optional ")
    wanted = _TYPES.get(kind)
    if wanted is not None:
        if not isinstance(value, wanted):
            raise TypeError(
                f"{op.name}(): argument '{p.name}' (position {p.position}) must be {kind}, not "
                f"{type(value).__name__}"
            )
        return
    if kind == "flag or dims":
        if type(value) is bool:
            return
        kind = "dims"
    if kind != "dims" and kind != "sizes":
        _check_integer(op, p, value, "int")
    elif isinstance(value, (tuple, list)):
        for i, item in enumerate(value, 1):
            if not isinstance(item, (tuple, list)):  # tensordot takes pairs of lists
                _check_item(op, p, item, i)
    elif kind == "dims":
        _check_integer(op, p, value, "tuple of ints")


def _check_integer(op: Operator, p: OperatorParameter, value: Any, wanted: str) -> None:
    number = _integer(value)
    if number is None:
        raise TypeError(
            f"{op.name}(): argument '{p.name}' (position {p.position}) must be {wanted}, not "
            f"{type(value).__name__}"
        )
    if not -(2**63) <= number < 2**63:
        raise ValueError("Overflow when unpacking long long")


def _check_item(op: Operator, p: OperatorParameter, item: Any, place: int) -> None:
    number = _integer(item)
    if number is None:
        raise TypeError(
            f"{op.name}(): argument '{p.name}' (position {p.position}) must be tuple of ints, but "
            f"found element of type {type(item).__name__} at pos {place}"
        )
    if not -(2**63) <= number < 2**63:
        raise TypeError(
            f"{op.name}(): argument '{p.name}' failed to unpack the object at pos {place} with "
            'error "Overflow when unpacking long long"'
        )


def _integer(value: Any) -> int | None:
    """The integer that an argument stands for; truth values and all others are none."""
    if type(value) is bool:
        return None
    try:
        return index(value_at_hint(value))
    except (TypeError, RuntimeError):
        return None


# -- tensors --------------------------------------------------------------------------------------


def tensors_of(signature: Signature, bound: dict[str, Any]) -> list[Tensor]:
    """All tensors among the arguments, in order, lists flattened."""
    found: list[Tensor] = []
    for p in signature.tensors:
        value = bound[p.name]
        if p.role is LIST:
            found.extend(value)
        elif isinstance(value, Tensor):
            found.append(value)
    return found


def values_known(*tensors: Tensor) -> bool:
    """Whether values may be looked at: not of meta tensors, nor of a step that is recorded."""
    return all([type(t._array) is np.ndarray for t in tensors])


def check_devices(op: Operator, tensors: list[Tensor]) -> None:
    """Raises unless all tensors live on one device; 0-d CPU tensors go anywhere."""
    kinds = {t.device for t in tensors if t._array.ndim or type(t._array) is not ndarray}
    if len(kinds) > 1:
        raise device_error(op.name, tensors)


def check_kind(
    op: Operator, used: dtype | None, bound: dict[str, Any], tensors: list[Tensor]
) -> None:
    """Raises NotImplementedError if the operator does not take this category of dtypes.

    PyTorch chooses the kernel last: shapes and dims that are wrong as well are told first.
    """
    if used is None or "bifc"[used.category] in op.kinds:
        return
    check_shapes(op, bound, tensors)
    raise NotImplementedError(f'"{op.kernel}" not implemented for \'{scalar_type_name(used)}\'')


def check_shapes(op: Operator, bound: dict[str, Any], tensors: list[Tensor]) -> None:
    """Raises for operands that can't be broadcast together, and for dims that aren't there."""
    if op.promote is not None and len(tensors) > 1:
        error = broadcast_error([t._array.shape for t in tensors])
        if error is not None:
            raise error
    dim = bound.get("dim")
    if dim is not None and tensors:
        dims = dim if isinstance(dim, (tuple, list)) else (dim,)
        normalize_dims(dims, tensors[0]._array.ndim)


# -- composites -----------------------------------------------------------------------------------


def explain_failure(
    op: Operator, signature: Signature, args: tuple[Any, ...], error: Exception
) -> None:
    """Raises what PyTorch says of a call that failed in a composite's body, if that is different.

    Arguments of the wrong type are found here, after the fact, so that good calls pay no check.
    """
    bound = dict(zip(signature.names, args, strict=True))
    if not isinstance(error, NotImplementedError):
        try:
            check_types(op, signature, bound)
        except (TypeError, ValueError) as better:
            raise better from None
    if isinstance(error, np.exceptions.AxisError):
        raise _axis_error(error) from None


# -- NumPy's errors -------------------------------------------------------------------------------


def translate(
    op: Operator, signature: Signature, bound: dict[str, Any], arrays: dict[str, Any],
    error: Exception,
) -> Exception:
    """NumPy's error in PyTorch's type and words."""
    text = str(error)
    if isinstance(error, MemoryError):
        return RuntimeError(f"{op.name}(): not enough memory: {text}")
    if isinstance(error, np.exceptions.AxisError):
        return _axis_error(error)
    if isinstance(error, ValueError) and "broadcast" in text:
        shapes = [
            arrays[p.name].shape for p in signature.tensors
            if p.role in (TENSOR, NUMBER, OPTIONAL) and arrays[p.name] is not None
        ]
        found = broadcast_error(shapes)
        if found is not None:
            return found
    if isinstance(error, TypeError) and _is_about_ufunc_types(text):
        tensors = tensors_of(signature, bound)
        try:
            check_shapes(op, bound, tensors)
        except (RuntimeError, IndexError) as earlier:
            return earlier
        names = {t.dtype for t in tensors}
        kinds = " and ".join(f"'{scalar_type_name(d)}'" for d in names)
        return NotImplementedError(f'"{op.kernel}" not implemented for {kinds}')
    if isinstance(error, TypeError):
        return error
    return RuntimeError(f"{op.name}(): {text}")


def _axis_error(error: Any) -> IndexError:
    ndim = error.ndim if error.ndim is not None else 0
    low, high = (-ndim, ndim - 1) if ndim else (-1, 0)
    return IndexError(
        f"Dimension out of range (expected to be in range of [{low}, {high}], but got {error.axis})"
    )


def _is_about_ufunc_types(text: str) -> bool:
    return "not supported for the input types" in text or "did not contain a loop" in text
