"""Writes the short path: for each operator, the source of its public function and its node class.

The generated function is one Python frame between the caller and NumPy. It checks that nothing is
unusual (plain tensors, equal dtypes, no active modes), computes, fills a Tensor and, if a gradient
is wanted, a node. Whatever is unusual leaves through `ops/slow.py`. Every line written here is paid
on every call; benchmarks/ watches them. Read one with ``taper info add``.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable
from math import copysign
from typing import Any

import numpy as np

from taper.autograd.node import (
    Node,
    NodeOutput,
    check_version,
    freed_error,
    next_sequence,
    restore_result,
    save_result,
)
from taper.autograd.views import register_view
from taper.core.state import active, is_recording
from taper.core.storage import new_storage
from taper.core.tensor import LEAF, Parameter, Tensor, wrap
from taper.ops.declare import Operator
from taper.ops.signature import LIST, NUMBER, OPTIONAL, REQUIRED, TENSOR, VALUE, Signature

__all__ = ["make_dunder", "make_function", "make_inplace", "node_class"]

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


def edges_of(tensors: Any) -> list[Any]:
    """The edges of a list of tensors, as `autograd.node.edge_of` has them."""
    return [t if t._edge is LEAF else t._edge for t in tensors]


class Source:
    """Lines of generated source and the objects that they name."""

    def __init__(self, op: Operator, name: str) -> None:
        self.op = op
        self.name = name
        self.lines: list[str] = []
        self.scope: dict[str, Any] = {
            "__name__": f"taper.ops.generated.{op.path}",
            "Tensor": Tensor, "Parameter": Parameter, "active": active, "new": object.__new__,
            "ndarray": np.ndarray, "as_array": as_array, "is_recording": is_recording,
            "LEAF": LEAF, "next_sequence": next_sequence, "getframe": sys._getframe,
            "new_storage": new_storage, "save_result": save_result, "op": op, "F32": F32,
            "F64": F64, "I64": I64, "BOOL": BOOL, "numbers32": numbers32, "numbers64": numbers64,
            "number_array": number_array, "register_view": register_view, "wrap": wrap,
            "all_plain": all_plain, "edges_of": edges_of, "NodeOutput": NodeOutput,
            "forward": op.forward, "freed_error": freed_error, "check_version": check_version,
            "restore_result": restore_result,
        }

    def add(self, indent: int, *lines: str) -> None:
        self.lines.extend("    " * indent + line for line in lines)

    def function(self, **scope: Any) -> Callable[..., Any]:
        """Compiles the source; tracebacks and debuggers can show it."""
        from taper.ops import slow

        self.scope["slow"] = slow.call
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


def _default_text(source: Source, name: str, value: Any) -> str:
    if value is None or type(value) in (bool, int, str):
        return repr(value)
    source.scope[f"default_{name}"] = value
    return f"default_{name}"


def _signature_text(
    source: Source, signature: Signature, has_out: bool, aliases: bool, inplace_flag: bool = False
) -> str:
    parts: list[str] = []
    starred = False
    variadic = signature.variadic
    for p in signature.parameters:
        if p.name == variadic:
            parts.append("*args")
            starred = True
            parts.append(f"{p.name}=None")
            continue
        if p.keyword_only and not starred:
            parts.append("*")
            starred = True
        text = p.name
        if p.default is not REQUIRED:
            text += "=" + _default_text(source, p.name, p.default)
        parts.append(text)
    if inplace_flag:
        parts.append("inplace=False")
    if has_out:
        if not starred:
            parts.append("*")
        parts.append("out=None")
    if aliases:
        parts.append("**aliases")
    return ", ".join(parts)


# -- the function ------------------------------------------------------------------------------


def make_function(op: Operator) -> Callable[..., Any]:
    """The public function of an operator."""
    if op.is_composite and not op.has_out:
        function = op.forward
        function.__module__ = "torch"
        return function
    return _make(op, op.name, has_out=op.has_out, slow="slow")


def make_dunder(op: Operator, name: str) -> Callable[..., Any]:
    """The function for one of Python's operators; unknown operands give NotImplemented."""
    if name.startswith("__i") and name not in ("__invert__", "__index__", "__int__"):
        return op.inplace
    if op.is_composite:
        return op.forward
    return _make(op, name, has_out=False, slow="slow_dunder")


# Variables of the generated functions; a parameter of the same name would be overwritten.
_LOCAL_NAMES = frozenset("r d result results node frame storage".split())


def _make(op: Operator, name: str, *, has_out: bool, slow: str) -> Callable[..., Any]:
    source = Source(op, "_" if not name.isidentifier() else name)
    signature = Signature(op.forward, op.variadic)
    taken = _LOCAL_NAMES.intersection(signature.names)
    if taken and not op.is_composite:
        raise TypeError(f"operator {op.path}: parameters can't be called {sorted(taken)}")
    is_dunder = slow == "slow_dunder"
    inplace_flag = op.inplace_flag and not is_dunder
    if is_dunder:
        required = [p for p in signature.parameters if p.default is REQUIRED]
        head = ", ".join(p.name for p in required) + ", *ignored"
        preset = [p for p in signature.parameters if p.default is not REQUIRED]
    else:
        aliases = "dim" in signature.names
        head = _signature_text(source, signature, has_out, aliases, inplace_flag)
        preset = []
    source.add(0, f"def {source.name}({head}):")
    for p in preset:
        source.add(1, f"{p.name} = {_default_text(source, p.name, p.default)}")
    if not is_dunder and "dim" in signature.names:
        # NumPy's spellings, which PyTorch takes as well: axis=, keepdims=.
        arguments = ", ".join(f"{n}={n}" for n in signature.names)
        source.add(1, "if aliases:")
        names = ", ".join(signature.names)
        source.add(2, f"{names}{',' if len(signature.names) == 1 else ''} = renamed(op, aliases, "
                      f"dict({arguments}))")
    if signature.variadic and not is_dunder:
        source.add(1, f"{signature.variadic} = collect(op, args, {signature.variadic})")
    arguments = ", ".join(signature.names) + ("," if len(signature.names) == 1 else "")
    leave = f"return {slow}(op, ({arguments}), {'out' if has_out else 'None'})"
    if inplace_flag:
        source.add(1, f"if inplace: return op.inplace({', '.join(signature.names)})")
    if op.is_composite:
        # What overrides and modes want to see, they see when the parts are called.
        call = ", ".join(f"{p.name}={p.name}" if p.keyword_only else p.name
                         for p in signature.parameters)
        source.add(1, "if out is None and not active.modes:", f"    return forward({call})")
        source.add(1, leave)
    else:
        _write_short_path(source, op, signature, leave, has_out)
    function = source.function()
    function.__name__ = function.__qualname__ = op.name
    function.__module__ = "torch"
    function.__doc__ = op.doc
    function.__annotations__ = dict(op.forward.__annotations__)
    return function


def _is_plain(name: str) -> str:
    return f"(type({name}) is Tensor or type({name}) is Parameter)"


def _write_short_path(
    source: Source, op: Operator, signature: Signature, leave: str, has_out: bool
) -> None:
    tensors = signature.tensors
    conditions = ["not active.modes"]
    if has_out:
        conditions.append("out is None")
    if op.promote is not None and "dtype" in signature.names:
        conditions.append("dtype is None")
    for p in tensors:
        if p.role is TENSOR:
            conditions.append(_is_plain(p.name))
        elif p.role is OPTIONAL:
            conditions.append(f"({p.name} is None or {_is_plain(p.name)})")
        elif p.role is LIST:
            conditions.append(f"all_plain({p.name})")
    # Of several operands that may be numbers, the short path lets the last one be one.
    numbers = [p for p in tensors if p.role is NUMBER][-1:]
    leading = [p for p in tensors if p not in numbers]
    conditions += [_is_plain(p.name) for p in leading if p.role is NUMBER]
    source.add(1, f"if {' and '.join(conditions)}:")
    for p in leading:
        source.add(2, _array_line(p))
    if not numbers:
        _write_branch(source, op, signature, 2, leave, set())
    elif leading:
        number = numbers[0]
        source.add(2, f"if {_is_plain(number.name)}:", f"    a_{number.name} = {number.name}._array")
        _write_branch(source, op, signature, 3, leave, set())
        base = next(p for p in leading if p.name not in op.unpromoted)
        # Python numbers take the tensor's dtype unless their category is higher.
        if op.promote in ("result_type", "float") and base.role in (TENSOR, NUMBER):
            source.add(
                2,
                f"elif type({number.name}) is float or type({number.name}) is int:",
                f"    d = a_{base.name}.dtype",
                f"    a_{number.name} = None",
                "    if d is F32:",
                f"        a_{number.name} = numbers32.get({number.name})",
                f"        if a_{number.name} is None:",
                f"            a_{number.name} = number_array({number.name}, F32)",
                "    elif d is F64:",
                f"        a_{number.name} = numbers64.get({number.name})",
                f"        if a_{number.name} is None:",
                f"            a_{number.name} = number_array({number.name}, F64)",
            )
            if op.promote == "result_type":
                source.add(3, f"elif d is I64 and type({number.name}) is int:",
                           f"    a_{number.name} = {number.name}")
            source.add(3, f"if a_{number.name} is not None:")
            others = [p for p in leading if p.name not in op.unpromoted]
            _write_branch(source, op, signature, 4, leave, {number.name}, guard=len(others) > 1)
    source.add(1, leave)


def _array_line(p: Any) -> str:
    if p.role is OPTIONAL:
        return f"a_{p.name} = None if {p.name} is None else {p.name}._array"
    if p.role is LIST:
        return f"a_{p.name} = [t._array for t in {p.name}]"
    return f"a_{p.name} = {p.name}._array"


def _dtype_guard(op: Operator, signature: Signature, numbers: set[str]) -> str | None:
    present = [p for p in signature.tensors if p.name not in numbers
               and p.name not in op.unpromoted]
    refused = _refused_kinds(op)
    if op.promote is None and not op.upcast:
        found = f"(d := a_{present[0].name}.dtype)"
        return _kind_test(found, refused) if refused else None
    parts = []
    first: str | None = None
    kept = ""
    if op.promote == "result_type":
        kept = (" or d is I64" if "i" in op.kinds else "") + (
            " or d is BOOL" if "b" in op.kinds else "")
    elif op.takes_integers:
        kept = " or d is I64 or d is BOOL"
    needs_inexact = op.upcast or op.promote == "float" or callable(op.promote)
    for p in present:
        array = f"a_{p.name}" + ("[0]" if p.role is LIST else "")
        if first is None:
            first = array
            if needs_inexact:
                parts.append(f"((d := {array}.dtype) is F32 or d is F64{kept})")
            elif len(present) > 1:
                parts.append(f"(d := {array}.dtype) is d")
        elif p.role is OPTIONAL:
            parts.append(f"({array} is None or {array}.dtype is d)")
        else:
            parts.append(f"{array}.dtype is d")
    if not needs_inexact and refused:
        found = "d" if len(present) > 1 else f"(d := {first}.dtype)"
        parts.append(_kind_test(found, refused))
    elif not needs_inexact and len(present) == 2 and present[1].role is not OPTIONAL:
        other = f"a_{present[1].name}" + ("[0]" if present[1].role is LIST else "")
        return f"{first}.dtype is {other}.dtype"
    return " and ".join(parts) or None


def _refused_kinds(op: Operator) -> str:
    """NumPy's letters of the kinds that a forward would compute although PyTorch refuses them.

    Ufuncs that refuse floats do so in NumPy as well.
    """
    if "f" not in op.kinds and op.ufunc is not None:
        return ""
    return "".join(numpy for kind, numpy in zip("bifc", ("b", "iu", "fV", "c"), strict=True)
                   if kind not in op.kinds)


def _kind_test(found: str, refused: str) -> str:
    """The condition that a dtype, assigned to `d` on the way, is not of the refused kinds."""
    if "f" in refused:
        return f"{found}.kind not in '{refused}'"
    return f"({found} is F32 or d.kind not in '{refused}')"


def _write_branch(
    source: Source, op: Operator, signature: Signature, indent: int, leave: str,
    numbers: set[str], guard: bool = True,
) -> None:
    """The computation, once every operand is known to be an array; ends with `return`."""
    conditions = []
    if guard:
        text = _dtype_guard(op, signature, numbers)
        if text:
            conditions.append(text)
    call_ufunc = op.ufunc is not None and all(p.default is not REQUIRED for p in signature.values)
    if conditions:
        source.add(indent, f"if {' and '.join(conditions)}:")
        indent += 1
    call = _forward_call(signature)
    if call_ufunc:
        source.scope["ufunc"] = op.ufunc
        plain = " and ".join(
            f"{p.name} == {_default_text(source, p.name, p.default)}" if p.default is not None
            else f"{p.name} is None"
            for p in signature.values
            if p.name != "dtype"
        )
        short = "ufunc(" + ", ".join(f"a_{p.name}" for p in signature.tensors) + ")"
        call = f"{short} if {plain} else {call}" if plain else short
    source.add(indent, "try:", f"    r = {call}", "except Exception:", f"    {leave}")
    _write_result(source, op, signature, indent, numbers)


def _forward_call(signature: Signature) -> str:
    return "forward(" + ", ".join(
        (f"{p.name}=" if p.keyword_only else "")
        + (f"a_{p.name}" if p.role is not VALUE else p.name)
        for p in signature.parameters
    ) + ")"


_FILL = (
    "{t} = new(Tensor)",
    "{t}._array = {r}",
    "{t}._edge = None",
    "{t}._storage = None",
    "{t}._base = None",
    "{t}._grad = None",
)


def _write_result(
    source: Source, op: Operator, signature: Signature, indent: int, numbers: set[str]
) -> None:
    add = source.add
    if op.outputs is None:
        if op.aux:
            add(indent, "r, " + ", ".join(f"aux_{n}" for n in op.aux) + " = r")
        add(indent, "if type(r) is not ndarray:", "    r = as_array(r)")
        add(indent, *(line.format(t="result", r="r") for line in _FILL))
        returned = "result"
    else:
        count = len(op.outputs) if isinstance(op.outputs, tuple) else op.outputs
        if op.aux:
            add(indent, f"*r, {', '.join(f'aux_{n}' for n in op.aux)} = r")
        add(indent, "results = [wrap(x if type(x) is ndarray else as_array(x)) for x in r]")
        if isinstance(op.outputs, tuple):
            source.scope["Results"] = result_type(op)
            returned = "Results(results)"
        else:
            returned = "tuple(results)" if count != "list" else "type(r)(results)"
    if op.view:
        base = signature.tensors[0].name
        many = op.outputs is not None
        add(indent, f"storage = {base}._storage", "if storage is None:",
            f"    storage = {base}._storage = new_storage(a_{base})")
        if many:
            add(indent, "for result in results:")
        inner = indent + many
        add(inner, "result._storage = storage", f"b = {base}._base", f"result._base = {base} if b is None else b")
        if many:
            add(inner, "result._created_as = 'multiple'")
    if op.differentiable:
        _write_recording(source, op, signature, indent, numbers)
    if op.view and op.differentiable:
        # Views of bases without history register too: an in-place change may give them one. A view
        # made without recording requires grad as a leaf of its own, as in PyTorch.
        base = signature.tensors[0].name
        if op.outputs is None:
            add(indent, "if is_recording():", "    register_view(storage, result)",
                f"elif {base}._edge is not None:", "    result._edge = LEAF")
        else:
            add(indent, f"if {base}._edge is not None and not is_recording():",
                "    for result in results:", "        result._edge = LEAF")
    add(indent, f"return {returned}")


def result_type(op: Operator) -> type:
    """The named tuple that an operator with several outputs returns, as `torch.return_types`."""
    from taper.ops.return_types import named

    return named(op.path.replace(".", "_"), op.outputs)


# -- recording -----------------------------------------------------------------------------------


def _recorded_tensors(signature: Signature, numbers: set[str]) -> list[Any]:
    return [p for p in signature.tensors if p.name not in numbers]


def _write_recording(
    source: Source, op: Operator, signature: Signature, indent: int, numbers: set[str]
) -> None:
    add = source.add
    present = _recorded_tensors(signature, numbers)
    if not present:
        return
    edge_tests = []
    for p in present:
        if p.role is LIST:
            edge_tests.append(f"any([t._edge is not None for t in {p.name}])")
        elif p.role is OPTIONAL:
            edge_tests.append(f"({p.name} is not None and {p.name}._edge is not None)")
        else:
            edge_tests.append(f"{p.name}._edge is not None")
    test = " or ".join(edge_tests)
    if len(edge_tests) > 1:
        test = f"({test})"
    source.scope["NodeClass"] = node_class(op)
    add(indent, f"if {test} and is_recording():")
    indent += 1
    for p in present:
        if p.role is LIST:
            add(indent, f"e_{p.name} = edges_of({p.name})")
        elif p.role is OPTIONAL:
            add(indent, f"e_{p.name} = None if {p.name} is None else "
                        f"{p.name} if {p.name}._edge is LEAF else {p.name}._edge")
        else:
            add(indent, f"e_{p.name} = {p.name}._edge",
                f"if e_{p.name} is LEAF: e_{p.name} = {p.name}")
    if op.variant is None:
        add(indent, "node = new(NodeClass)")
    else:
        source.scope["NodeVariant"] = node_variant(op)
        add(indent, f"node = new(NodeVariant if {op.variant[0]} else NodeClass)")
    edges = []
    for p in signature.tensors:
        if p.name in numbers:
            edges.append("None")
        else:
            edges.append(f"*e_{p.name}" if p.role is LIST else f"e_{p.name}")
    add(indent, f"node.edges = ({', '.join(edges)},)")
    for item in saved_items(op, signature):
        for line in item.before(numbers):
            add(indent, line)
    saved = [item.text(numbers) for item in saved_items(op, signature)]
    add(indent, f"node.saved = ({', '.join(saved)}{',' if saved else ''})")
    add(indent, "node.sequence = next_sequence()", "frame = getframe(1)",
        "node.where = (frame.f_code, frame.f_lasti)", "node.extras = None")
    arrays = [p for p in present if p.role is not LIST]
    broadcasts = op.promote is not None and len(arrays) > 1 and arrays[0].role is not OPTIONAL
    if broadcasts:
        first = f"a_{arrays[0].name}.shape"
        tests = " or ".join(
            f"(a_{p.name} is not None and {first} != a_{p.name}.shape)" if p.role is OPTIONAL
            else f"{first} != a_{p.name}.shape" for p in arrays[1:]
        )
        parts = []
        for p in signature.tensors:
            if p.name in numbers or p.role is LIST:
                parts.append("None")
            elif p.role is OPTIONAL:
                parts.append(f"None if a_{p.name} is None else (a_{p.name}.shape, None)")
            else:
                parts.append(f"(a_{p.name}.shape, None)")
        add(indent, f"node.adjust = ({', '.join(parts)},) if {tests} else None")
    else:
        # A Python number may broadcast nothing, so the other operand's shape is the result's.
        add(indent, "node.adjust = None")
    if op.outputs is None:
        add(indent, "result._edge = node")
    else:
        add(indent, "node.outputs = len(results)",
            "for index, result in enumerate(results):",
            "    if result._array.dtype.kind not in 'biu':",
            "        result._edge = NodeOutput(node, index)")


class SavedItem:
    """One thing that a node keeps for its rules: how to save it and how to get it back."""

    def __init__(self, op: Operator, signature: Signature, name: str, users: set[str]) -> None:
        self.name = name
        self.kind, self.parameter, self.what = _classify(op, signature, name)
        self.users = users
        self.only_input = len(signature.tensors) == 1
        self.signature = signature

    def before(self, numbers: set[str]) -> list[str]:
        return []

    def _wanted(self, numbers: set[str]) -> str:
        """The condition under which some rule will need this tensor; "" for always."""
        if self.only_input:
            return ""
        users = [u for u in self.users if u not in numbers]
        tests = []
        for user in users:
            p = next(p for p in self.signature.tensors if p.name == user)
            if p.role is LIST:
                return ""
            tests.append(f"e_{user} is not None")
        return " or ".join(tests) or "False"

    def text(self, numbers: set[str]) -> str:
        name = self.name
        if self.kind == "tensor":
            p = self.parameter
            if p.name in numbers:
                return f"{name}, -1"
            wanted = self._wanted(numbers)
            version = f"(0 if (s := {name}._storage) is None else s.version)"
            if p.role is OPTIONAL:
                wanted = f"{name} is not None" + (f" and ({wanted})" if wanted else "")
            if wanted:
                return f"{name} if {wanted} else None, {version} if {wanted} else -1"
            return f"{name}, {version}"
        if self.kind == "list":
            return (f"tuple({name}), "
                    f"[0 if (s := t._storage) is None else s.version for t in {name}]")
        if self.kind == "result":
            return "save_result(result)" if self.what is None else (
                f"save_result(results[{self.what}])")
        if self.kind == "aux":
            return f"aux_{name}"
        if self.kind in ("shape", "dtype"):
            p = self.parameter
            if p.name in numbers:
                return "()" if self.kind == "shape" else "None"
            if p.role is LIST:
                return f"[a.{self.kind} for a in a_{p.name}]" if self.kind == "shape" else (
                    f"[t.dtype for t in {p.name}]")
            if p.role is OPTIONAL:
                return f"None if {p.name} is None else " + (
                    f"a_{p.name}.shape" if self.kind == "shape" else f"{p.name}.dtype")
            return f"a_{p.name}.shape" if self.kind == "shape" else f"{p.name}.dtype"
        return name

    def unpack(self) -> list[str]:
        """The targets of tuple unpacking in the generated `backward`."""
        if self.kind in ("tensor", "list"):
            return [self.name, f"v_{self.name}"]
        return [self.name]

    def restore(self) -> list[str]:
        """Lines that check and restore what was unpacked."""
        name = self.name
        if self.kind == "tensor":
            return [f"if v_{name} >= 0: check_version(node, {name}, v_{name})"]
        if self.kind == "list":
            return [f"for t, v in zip({name}, v_{name}): check_version(node, t, v)"]
        if self.kind == "result":
            index = "" if self.what is None else f", {self.what}"
            return [f"{name} = restore_result(node, {name}{index})"]
        if self.kind == "aux":
            return [f"{name} = wrap({name}) if {name} is not None else None"]
        return []


def _classify(op: Operator, signature: Signature, name: str) -> tuple[str, Any, Any]:
    if name == "result":
        return ("result", None, None if op.outputs is None else 0)
    if name.startswith("result") and name[6:].isdigit():
        return ("result", None, int(name[6:]))
    if name in op.aux:
        return ("aux", None, None)
    for p in signature.parameters:
        if p.name == name:
            if p.role is VALUE:
                return ("value", p, None)
            return ("list" if p.role is LIST else "tensor", p, None)
    for kind in ("shape", "dtype"):
        if name.endswith("_" + kind):
            for p in signature.tensors:
                if p.name == name[: -len(kind) - 1]:
                    return (kind, p, None)
    raise TypeError(f"operator {op.path}: its derivative asks for an unknown {name!r}")


_NOT_SAVED = {"grad", "grads", "needs"}


def saved_items(op: Operator, signature: Signature) -> list[SavedItem]:
    """What the rules of an operator need, each thing once, in the order they name it."""
    users: dict[str, set[str]] = {}
    for rule in op.derivatives:
        for name in rule.names:
            if name not in _NOT_SAVED:
                users.setdefault(name, set()).update(rule.inputs)
    return [SavedItem(op, signature, name, who) for name, who in users.items()]


def node_class(op: Operator) -> type[Node]:
    """The class of an operator's nodes, with its generated `backward`."""
    found = op.__dict__.get("_node_class")
    if found is None:
        found = op._node_class = _make_node_class(op)  # type: ignore[attr-defined]
    return found  # type: ignore[no-any-return]


def node_variant(op: Operator) -> type[Node]:
    """The class of the nodes for which the operator's `variant` condition holds."""
    found = op.__dict__.get("_node_variant")
    if found is None:
        base = node_class(op)
        members = {"__slots__": (), "__module__": "builtins", "__doc__": None}
        found = op._node_variant = type(op.variant[1], (base,), members)  # type: ignore[attr-defined,index]
    return found  # type: ignore[no-any-return]


def node_class_for(op: Operator, bound: dict[str, Any]) -> type[Node]:
    """The class of the node for a call with these arguments."""
    if op.variant is not None and eval(op.variant[0], {}, bound):
        return node_variant(op)
    return node_class(op)


def _make_node_class(op: Operator) -> type[Node]:
    signature = Signature(op.forward, op.variadic)
    source = Source(op, "backward")
    items = saved_items(op, signature)
    source.add(0, "def backward(node, grad):")
    several = op.outputs is not None
    if several:
        source.add(1, "grads = grad if node.outputs != 1 else (grad,)", "grad = grads[0]")
    source.add(1, "saved = node.saved", "if saved is None:", "    raise freed_error(node)")
    targets = [t for item in items for t in item.unpack()]
    if targets:
        source.add(1, f"{', '.join(targets)}, = saved")
    for item in items:
        source.add(1, *item.restore())
    _write_gradients(source, op, signature)
    backward = source.function()
    members: dict[str, Any] = {
        "__slots__": ("outputs",) if several else (),
        "__module__": "builtins",
        "backward": backward,
        "operator": op,
        "saves": any(item.kind in ("tensor", "list", "result", "aux") for item in items),
        "__doc__": None,
    }
    members.update(_saved_properties(items))
    return type(op.node, (Node,), members)


def _write_gradients(source: Source, op: Operator, signature: Signature) -> None:
    tensors = signature.tensors
    if not op.derivatives:
        source.add(
            1, "raise NotImplementedError('the derivative of " + op.path + "() is not implemented')"
        )
        return
    lists = [p for p in tensors if p.role is LIST]
    source.add(1, "edges = node.edges")
    if lists and len(tensors) > 1:
        position = tensors.index(lists[0])
        after = len(tensors) - position - 1
        source.add(1, f"count = len(edges) - {len(tensors) - 1}")
        parts = [f"edges[{i}]" for i in range(position)]
        parts.append(f"edges[{position}:{position} + count]")
        parts += [f"edges[{i - after}]" for i in range(after)]
    elif lists:
        parts = ["edges"]
    else:
        parts = [f"edges[{i}]" for i in range(len(tensors))]
    edge = dict(zip((p.name for p in tensors), parts, strict=True))
    wanted = {
        p.name: (f"any([e is not None for e in {edge[p.name]}])" if p.role is LIST
                 else f"{edge[p.name]} is not None")
        for p in tensors
    }
    returned: dict[str, str] = {}
    for number, rule in enumerate(op.derivatives):
        source.scope[f"rule{number}"] = rule.function
        if len(rule.inputs) == 1:
            if "needs" in rule.names:
                source.add(1, f"needs = [e is not None for e in {edge[rule.inputs[0]]}]")
            call = f"rule{number}({', '.join(rule.names)})"
            name = rule.inputs[0]
            source.add(1, f"g_{name} = {call} if {wanted[name]} else None")
            returned[name] = f"g_{name}"
        else:
            needs = ", ".join(wanted[n] for n in rule.inputs)
            source.add(1, f"needs = ({needs},)")
            call = f"rule{number}({', '.join(rule.names)})"
            names = ", ".join(f"g_{n}" for n in rule.inputs)
            source.add(1, f"{names} = {call} if any(needs) else {(None,) * len(rule.inputs)!r}")
            returned.update({n: f"g_{n}" for n in rule.inputs})
    results = []
    for p in tensors:
        text = returned.get(p.name, "None")
        if p.role is LIST:
            if text == "None":
                results.append(f"*[None for e in {edge[p.name]}]")
            else:
                results.append(f"*({text} or [None for e in {edge[p.name]}])")
        else:
            results.append(text)
    source.add(1, f"return ({', '.join(results)},)")


_PYTORCH_SAVED_NAMES = {"input": "self"}


def _saved_properties(items: list[SavedItem]) -> dict[str, property]:
    """`_saved_self`, `_saved_result` …: what a node keeps, as PyTorch names it."""
    properties = {}
    position = 0
    for item in items:
        def get(node: Any, item: SavedItem = item, position: int = position) -> Any:
            saved = node.saved
            if saved is None:
                raise freed_error(node)
            value = saved[position]
            if item.kind == "tensor" and saved[position + 1] >= 0:
                check_version(node, value, saved[position + 1])
            elif item.kind == "result":
                value = restore_result(node, value, item.what)
            elif item.kind == "aux":
                value = wrap(value)
            return value

        name = _PYTORCH_SAVED_NAMES.get(item.name, item.name)
        properties[f"_saved_{name}"] = property(get)
        position += len(item.unpack())
    return properties


# -- the in-place form -----------------------------------------------------------------------------


def make_inplace(op: Operator) -> Callable[..., Any]:
    """The function `name_`: computes into its first argument's memory and returns it."""
    name = op.name + "_"
    source = Source(op, name)
    signature = Signature(op.forward, op.variadic)
    source.add(0, f"def {name}({_signature_text(source, signature, False, False)}):")
    arguments = ", ".join(signature.names) + ("," if len(signature.names) == 1 else "")
    if signature.variadic:
        source.add(1, f"{signature.variadic} = collect(op, args, {signature.variadic})")
    if op.ufunc is not None and not op.is_composite:
        _write_inplace_short_path(source, op, signature)
    elif not op.is_composite and not op.view and not op.aux and op.outputs is None and all(
        p.role in (TENSOR, NUMBER) for p in signature.tensors
    ):
        _write_inplace_forward_path(source, op, signature)
    source.add(1, f"return slow_inplace(op, ({arguments}))")
    function = source.function()
    function.__qualname__ = name
    function.__module__ = "torch"
    function.__doc__ = f"The in-place form of `{op.path}`."
    return function


def _write_inplace_short_path(source: Source, op: Operator, signature: Signature) -> None:
    tensors = signature.tensors
    first = tensors[0].name
    source.scope["ufunc"] = op.ufunc
    source.scope["change"] = op.name + "_"
    certain = [p for p in tensors if p.role is TENSOR or p.name == first]
    conditions = ["not active.modes", *(_is_plain(p.name) for p in certain)]
    conditions += [
        f"{p.name} == {_default_text(source, p.name, p.default)}" if p.default is not None
        else f"{p.name} is None"
        for p in signature.values
    ]
    add = source.add
    edges = " and ".join(f"{p.name}._edge is None" for p in certain)
    conditions.append(f"({edges} or not is_recording())")
    conditions.append(f"0 not in {first}._array.strides")
    add(1, f"if {' and '.join(conditions)}:", f"    a = {first}._array", "    b = None")
    floats_only = op.promote == "float" or op.upcast
    if len(tensors) == 2:
        other = tensors[1].name
        plain = f"if {_is_plain(other)} and ({other}._edge is None or not is_recording()):"
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
        call = "ufunc(a, b, a)"
    else:
        add(2, "if a.dtype is F32 or a.dtype is F64:")
        call = "ufunc(a, a)"
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
        "not active.modes", *(_is_plain(p.name) for p in certain),
        f"({edges} or not is_recording())", f"0 not in {first}._array.strides",
    ]
    add(1, f"if {' and '.join(conditions)}:")
    add(2, *(_array_line(p) for p in certain))
    guard = []
    for p in numbers:
        name = p.name
        add(2, f"a_{name} = None",
            f"if {_is_plain(name)}:",
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
    if text := _dtype_guard(op, signature, set()):
        guard.append(text)
    leave = f"return slow_inplace(op, ({', '.join(signature.names)},))"
    add(2, f"if {' and '.join(guard) or 'True'}:",
        f"    storage = {first}._storage", "    if storage is None:",
        f"        storage = {first}._storage = new_storage(a_{first})",
        "    try:", "        version = storage.version + 1",
        f"        r = {_forward_call(signature)}", "    except Exception:", f"        {leave}",
        "    if type(r) is not ndarray: r = as_array(r)",
        f"    if r.shape == a_{first}.shape and r.dtype is a_{first}.dtype:",
        f"        a_{first}[...] = r",
        "        storage.version = version", "        frame = getframe(1)",
        "        storage.changed_at = (change, frame.f_code, frame.f_lasti)",
        f"        return {first}")
