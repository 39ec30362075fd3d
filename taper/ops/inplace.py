"""Writes the in-place form of operators: `name_`, which computes into its first argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper.kernels.small_calls import stand_in
from taper.ops.declare import Operator
from taper.ops.native_forward import LARGE, FirstNative
from taper.ops.older_signatures import hide_older
from taper.ops.signature import NUMBER, TENSOR, Signature
from taper.ops.source import Source, default_text, is_plain, older_call, other_names, signature_text
from taper.ops.wrap import array_line, dtype_guard, forward_call

__all__ = ["make_inplace"]


def make_inplace(op: Operator) -> Callable[..., Any]:
    """The function `name_`: computes into its first argument's memory and returns it."""
    name = op.name + "_"
    source = Source(op, name)
    signature = Signature(op.forward, op.variadic)
    source.add(0, f"def {name}({signature_text(source, signature, False, False)}):")
    arguments = ", ".join(signature.names) + ("," if len(signature.names) == 1 else "")
    source.add(1, *older_call(source, "op.inplace", signature))
    if signature.variadic:
        source.add(1, f"{signature.variadic} = collect(op, args, {signature.variadic})")
    if op.ufunc is not None and not op.is_composite:
        _write_inplace_short_path(source, op, signature)
    elif not op.is_composite and not op.view and not op.aux and op.outputs is None and all(
        p.role in (TENSOR, NUMBER) for p in signature.tensors
    ):
        _write_inplace_forward_path(source, op, signature)
    source.add(1, *other_names(op, signature), f"return slow_inplace(op, ({arguments}))")
    function = source.function()
    function.__doc__ = f"The in-place form of `{op.path}`."
    if op.older:
        hide_older(function)
    return function


def _write_inplace_short_path(source: Source, op: Operator, signature: Signature) -> None:
    tensors = signature.tensors
    first = tensors[0].name
    stand_in(op.ufunc, source.scope, "ufunc", inplace=True)
    source.scope["change"] = op.name + "_"
    certain = [p for p in tensors if p.role is TENSOR or p.name == first]
    conditions = ["not active.modes", *(is_plain(p.name) for p in certain)]
    conditions += [
        f"{p.name} == {default_text(source, p.name, p.default)}" if p.default is not None
        else f"{p.name} is None"
        for p in signature.values
    ]
    add = source.add
    edges = " and ".join(f"{p.name}._edge is None" for p in certain)
    conditions.append(f"({edges} or not is_recording())")
    # An array that owns its memory has no element twice.
    conditions.append(f"({first}._array.base is None or 0 not in {first}._array.strides)")
    add(1, f"if {' and '.join(conditions)}:", f"    a = {first}._array", "    b = None")
    floats_only = op.promote == "float" or op.upcast
    if len(tensors) == 2:
        other = tensors[1].name
        plain = f"if {is_plain(other)} and ({other}._edge is None or not is_recording()):"
        add(2, plain, f"    b = {other}._array",
            "    if b.dtype is not a.dtype or b.ndim > a.ndim: b = None")
        if tensors[1].role is NUMBER:
            add(2, f"elif type({other}) is float or type({other}) is int:",
                "    d = a.dtype",
                "    if d is F32:",
                f"        b = numbers32.get({other})",
                f"        if b is None: b = number_array({other}, F32)",
                "    elif d is F64:",
                f"        b = numbers64.get({other})",
                f"        if b is None: b = number_array({other}, F64)")
            if op.promote == "result_type":
                add(3, f"elif d is I64 and type({other}) is int: b = {other}")
        kept = " or a.dtype is I64" if op.promote == "result_type" else ""
        add(2, "if b is not None" + (f" and (a.dtype is F32 or a.dtype is F64{kept})"
                                     if floats_only else "") + ":")
        # By position is faster, but NumPy 2.4 warns of it where a third operand could be meant.
        out = "out=a" if op.ufunc in (np.maximum, np.minimum) else "a"
        call = f"ufunc(a, b, {out})"
    else:
        add(2, "if a.dtype is F32 or a.dtype is F64:")
        # NumPy 2.4's negative reads the wrong elements where both strides are 16 or 64 bytes.
        call = "a[...] = ufunc(a)" if op.ufunc is np.negative else "ufunc(a, a)"
    if op.has_native:
        source.scope["native"] = FirstNative(source)
        operands = "a, b" if len(tensors) == 2 else "a"
        call = f"if a.size <= {LARGE} or not native.into(a, {operands}): {call}"
    add(3, f"storage = {first}._storage", "if storage is None:",
        f"    storage = {first}._storage = new_storage(a)",
        "try:", "    version = storage.version + 1", f"    {call}", "except Exception:",
        f"    return slow_inplace(op, ({', '.join(signature.names)},))",
        "storage.version = version", "frame = getframe(1)",
        "storage.changed_at = (change, frame.f_code, frame.f_lasti)",
        f"return {first}")


def _write_inplace_forward_path(source: Source, op: Operator, signature: Signature) -> None:
    """For operators that are no ufunc: computes, then copies, if nothing has to be recorded."""
    tensors = signature.tensors
    first = tensors[0].name
    source.scope["change"] = op.name + "_"
    numbers = [p for p in tensors[1:] if p.role is NUMBER][-1:]
    certain = [p for p in tensors if p not in numbers]
    add = source.add
    edges = " and ".join(f"{p.name}._edge is None" for p in certain)
    conditions = [
        "not active.modes", *(is_plain(p.name) for p in certain),
        f"({edges} or not is_recording())", f"0 not in {first}._array.strides",
    ]
    add(1, f"if {' and '.join(conditions)}:")
    add(2, *(array_line(p) for p in certain))
    guard = []
    for p in numbers:
        name = p.name
        add(2, f"a_{name} = None",
            f"if {is_plain(name)}:",
            f"    if {name}._edge is None or not is_recording(): a_{name} = {name}._array")
        if op.promote in ("result_type", "float"):
            add(2, f"elif type({name}) is float or type({name}) is int:",
                f"    d = a_{first}.dtype",
                "    if d is F32:",
                f"        a_{name} = numbers32.get({name})",
                f"        if a_{name} is None: a_{name} = number_array({name}, F32)",
                "    elif d is F64:",
                f"        a_{name} = numbers64.get({name})",
                f"        if a_{name} is None: a_{name} = number_array({name}, F64)")
        guard.append(f"a_{name} is not None")
    if text := dtype_guard(op, signature, set()):
        guard.append(text)
    leave = f"return slow_inplace(op, ({', '.join(signature.names)},))"
    add(2, f"if {' and '.join(guard) or 'True'}:",
        f"    storage = {first}._storage", "    if storage is None:",
        f"        storage = {first}._storage = new_storage(a_{first})",
        "    try:", "        version = storage.version + 1",
        f"        r = {forward_call(signature)}", "    except Exception:", f"        {leave}",
        "    if type(r) is not ndarray: r = as_array(r)",
        f"    if r.shape == a_{first}.shape and r.dtype is a_{first}.dtype:",
        f"        a_{first}[...] = r",
        "        storage.version = version", "        frame = getframe(1)",
        "        storage.changed_at = (change, frame.f_code, frame.f_lasti)",
        f"        return {first}")
