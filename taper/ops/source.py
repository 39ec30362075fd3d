"""Source text that becomes functions: its lines, the objects they name, and their common pieces."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterable
from math import copysign
from typing import Any

import numpy as np

from taper.autograd.node import (
    NodeOutput,
    check_version,
    freed_error,
    next_sequence,
    restore_result,
    save_result,
)
from taper.autograd.views import register_view
from taper.core.overrides import NOT_INTERCEPTED
from taper.core.state import active, autocasting, is_recording
from taper.core.storage import new_storage
from taper.core.tensor import LEAF, Parameter, Tensor, wrap
from taper.ops.declare import Operator
from taper.ops.older_signatures import call_older
from taper.ops.signature import LIST, OPTIONAL, REQUIRED, TENSOR, Signature

__all__ = ["Source", "default_text", "is_plain", "older_call", "other_names", "signature_text"]

F32, F64, I64 = np.dtype("float32"), np.dtype("float64"), np.dtype("int64")
BOOL = np.dtype("bool")
ZERO32, ZERO64 = np.array(0, F32), np.array(0, F64)
_NUMBERS_KEPT = 4096

numbers32: dict[float, Any] = {}
numbers64: dict[float, Any] = {}


def number_array(number: float, dtype: Any) -> Any:
    """A 0-d array of a Python number, kept for the next call: ufuncs take arrays 2x quicker."""
    if number == 0 and copysign(1, number) == 1:
        return ZERO32 if dtype is F32 else ZERO64
    array = np.array(number, dtype)
    if number != 0:  # 0.0 == -0.0, but they are different constants
        kept = numbers32 if dtype is F32 else numbers64
        if len(kept) >= _NUMBERS_KEPT:
            kept.clear()
        kept[number] = array
    return array


def as_array(result: Any) -> Any:
    """NumPy returns scalars where PyTorch has 0-d tensors; other array classes pass."""
    return np.asarray(result) if isinstance(result, np.generic) else result


def all_plain(tensors: Any) -> bool:
    """Whether a list holds only plain tensors of one dtype."""
    kind = type(tensors)
    if (kind is not list and kind is not tuple) or not tensors:
        return False
    dtype = None
    for tensor in tensors:
        if type(tensor) is not Tensor and type(tensor) is not Parameter:
            return False
        if dtype is None:
            dtype = tensor._array.dtype
        elif tensor._array.dtype is not dtype:
            return False
    return True


def first_is_plain(tensors: Any) -> bool:
    """Whether a list begins with a plain tensor, or is none."""
    kind = type(tensors)
    if (kind is not list and kind is not tuple) or not tensors:
        return False
    kind = type(tensors[0])
    return kind is Tensor or kind is Parameter


def edges_of(tensors: Any) -> list[Any]:
    """The edges of a list of tensors, as `autograd.node.edge_of` has them."""
    return [t if t._edge is LEAF else t._edge for t in tensors]


class Source:
    """Lines of generated source and the objects that they name."""

    def __init__(self, op: Operator, name: str) -> None:
        self.op = op
        self.name = name
        self.lines: list[str] = []
        self.preset: set[str] = set()  # parameters that are known to have their default
        self.scope: dict[str, Any] = {
            "__name__": f"taper.ops.generated.{op.path}",
            "Tensor": Tensor, "Parameter": Parameter, "active": active, "new": object.__new__,
            "ndarray": np.ndarray, "generic": np.generic, "asarray": np.asarray,
            "as_array": as_array, "is_recording": is_recording,
            "LEAF": LEAF, "next_sequence": next_sequence, "getframe": sys._getframe,
            "new_storage": new_storage, "save_result": save_result, "op": op, "F32": F32,
            "F64": F64, "I64": I64, "BOOL": BOOL, "numbers32": numbers32, "numbers64": numbers64,
            "number_array": number_array, "register_view": register_view, "wrap": wrap,
            "autocasting": autocasting.get, "all_plain": all_plain, "edges_of": edges_of,
            "NodeOutput": NodeOutput, "first_is_plain": first_is_plain,
            "NOT_INTERCEPTED": NOT_INTERCEPTED,
            "forward": op.forward, "freed_error": freed_error, "check_version": check_version,
            "restore_result": restore_result,
        }

    def add(self, indent: int, *lines: str) -> None:
        self.lines.extend("    " * indent + line for line in lines)

    def function(self, **scope: Any) -> Callable[..., Any]:
        """Compiles the source; tracebacks and debuggers can show it."""
        from taper.ops import argument_checks, slow

        self.scope["slow"] = slow.call
        self.scope["offer"] = slow.offer_composite
        self.scope["call_composite"] = slow.call_composite
        self.scope["recover"] = slow.recover
        self.scope["check_values"] = argument_checks.check_values
        self.scope["slow_inplace"] = slow.call_inplace
        self.scope["slow_dunder"] = slow.call_dunder
        self.scope["renamed"] = slow.renamed_arguments
        self.scope["collect"] = slow.collect_variadic
        self.scope.update(scope)
        text = "\n".join(self.lines) + "\n"
        file = f"<taper operator {self.op.path}: {self.name}>"
        exec(compile(text, file, "exec"), self.scope)
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        function: Callable[..., Any] = self.scope[self.name]
        return function


def default_text(source: Source, name: str, value: Any) -> str:
    if value is None or type(value) in (bool, int, str):
        return repr(value)
    source.scope[f"default_{name}"] = value
    return f"default_{name}"


def signature_text(
    source: Source, signature: Signature, has_out: bool, aliases: bool, inplace_flag: bool = False,
    keywords: Iterable[str] = (),
) -> str:
    parts: list[str] = []
    starred = False
    variadic = signature.variadic
    renamed = renamed_parameters(source.op, signature)
    for p in signature.parameters:
        if p.name == variadic:
            parts.append("*args")
            starred = True
            parts.append(f"{p.name}=None")
            continue
        if p.keyword_only and not starred:
            # Python calls functions without keyword-only parameters quicker: that pays for a test.
            parts += [f"{name}=..." for name in older_parameters(source.op)] or ["*"]
            starred = True
        text = p.name
        if p.default is not REQUIRED:
            text += "=" + default_text(source, p.name, p.default)
        elif p.name in renamed:
            text += "=None"
        parts.append(text)
    if inplace_flag:
        parts.append("inplace=False")
    more = [*source.op.also, *keywords]
    if (has_out or more) and not starred:
        parts.append("*")
    if has_out:
        parts.append("out=None")
    parts += [f"{name}=None" for name in more]
    if aliases:
        parts.append("**aliases")
    return ", ".join(parts)


def older_parameters(op: Operator) -> list[str]:
    """Where arguments go that are too many today, and were not in PyTorch's first releases."""
    return [f"_older{i or ''}" for i in range(len(op.older))]


def older_call(
    source: Source, function: str, signature: Signature, has_out: bool = False
) -> list[str]:
    """Lines that leave where there are more positional arguments than parameters."""
    if not source.op.older:
        return []
    names = [p.name for p in signature.parameters if not p.keyword_only]
    source.scope["call_older"] = call_older
    source.scope["positional"] = names
    keywords = [
        f"**({{}} if type({p.name}) is int and {p.name} == {p.default} "
        f"else {{'{p.name}': {p.name}}})"
        for p in signature.parameters if p.keyword_only
    ]
    if has_out:
        keywords.append("**({} if out is None else {'out': out})")
    more = older_parameters(source.op)
    return [f"if {more[0]} is not ...: return call_older({function}, op, positional, "
            f"({', '.join(names + more)}), {{{', '.join(keywords)}}})"]


def offer_lines(source: Source, signature: Signature, has_out: bool) -> list[str]:
    """Lines of a composite that leave if somebody else wants to answer the call."""
    conditions = ["active.modes"]
    if source.op.offers:
        conditions.append(f"not first_is_plain({signature.names[0]})")
    for p in signature.tensors:
        if p.role is TENSOR:
            conditions.append(f"not {is_plain(p.name)}")
        elif p.role is OPTIONAL:
            conditions.append(f"({p.name} is not None and not {is_plain(p.name)})")
        elif p.role is LIST:
            conditions.append(f"not first_is_plain({p.name})")
    arguments = ", ".join(signature.names)
    return [f"if {' or '.join(conditions)}:",
            f"    answer = offer(op, ({arguments},), {'out' if has_out else 'None'}, getframe(0))",
            "    if answer is not NOT_INTERCEPTED: return answer"]


def renamed_parameters(op: Operator, signature: Signature) -> list[str]:
    """The required parameters from the first on that has other names."""
    required = [p.name for p in signature.parameters if p.default is REQUIRED]
    first = min([required.index(name) for name in op.also.values()], default=len(required))
    return required[first:]


def other_names(op: Operator, signature: Signature) -> list[str]:
    """Lines that look for missing arguments under their other names."""
    lines = []
    for parameter in renamed_parameters(op, signature):
        names = [name for name, p in op.also.items() if p == parameter]
        given = ", ".join([f"'{parameter}'", *names])
        lines.append(f"if {parameter} is None: {parameter} = op.given({given})")
    return lines


def is_plain(name: str) -> str:
    return f"(type({name}) is Tensor or type({name}) is Parameter)"
