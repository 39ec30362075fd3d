"""Writes the short path: for each operator, the source of its public function.

The generated function is one Python frame between the caller and NumPy. It checks that nothing is
unusual (plain tensors, equal dtypes, no active modes), computes, fills a Tensor and, if a gradient
is wanted, a node (ops/recording.py). Whatever is unusual leaves through `ops/slow.py`. Every line
written here is paid on every call; `taper bench` watches them. Read one with ``taper info add``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taper.core.state import Active
from taper.kernels.small_calls import stand_in
from taper.ops.autocast import POLICIES
from taper.ops.declare import Operator
from taper.ops.inference_call import MISSED
from taper.ops.native_forward import FirstNative
from taper.ops.offered_calls import offering
from taper.ops.older_signatures import hide_older
from taper.ops.public_functions import known_as
from taper.ops.recording import write_recording
from taper.ops.signature import (
    LIST,
    NUMBER,
    OPTIONAL,
    REQUIRED,
    TENSOR,
    VALUE,
    OperatorParameter,
    Signature,
)
from taper.ops.source import (
    Source,
    default_text,
    is_plain,
    offer_lines,
    older_call,
    other_names,
    signature_text,
)

__all__ = [
    "array_line", "dtype_guard", "forward_call", "make_dunder", "make_function", "result_type",
]


def make_function(op: Operator) -> Callable[..., Any]:
    """The public function of an operator."""
    if op.is_composite and not op.has_out:
        function = op.forward
        open_ended = function.__code__.co_flags & _OPEN_ENDED
        if open_ended or all(p.role is VALUE and p.kind in _UNCHECKED_ALONE
                             for p in Signature(function).parameters):
            # It has to tell its arguments apart by itself.
            return offering(op) if op.offers else function
    return _make(op, op.name, has_out=op.has_out, slow="slow")


def make_dunder(op: Operator, name: str) -> Callable[..., Any]:
    """The function for one of Python's operators; unknown operands give NotImplemented."""
    if name.startswith("__i") and name not in ("__invert__", "__index__", "__int__"):
        return op.inplace
    if op.is_composite:
        return known_as(op.forward, f"Tensor.{name}")
    return _make(op, name, has_out=False, slow="slow_dunder")


def make_modeless(op: Operator) -> Callable[..., Any]:
    """A function that computes what an operator's short path does, whatever modes there are, of all
    arguments by position; it returns MISSED where they aren't for the short path."""
    source = Source(op, "_" if not op.name.isidentifier() else op.name)
    signature = Signature(op.forward, op.variadic)
    source.scope["active"], source.scope["MISSED"] = Active(), MISSED
    source.add(0, f"def {source.name}({', '.join(signature.names)}):")
    _write_short_path(source, op, signature, "return MISSED", False)
    source.add(1, "return MISSED")
    return source.function()


_UNCHECKED_ALONE = (None, "bool", "optional bool", "str", "optional str")
_OPEN_ENDED = 4 | 8  # flags of code objects that take *args or **kwargs

# Variables of the generated functions; a parameter of the same name would be overwritten.
_LOCAL_NAMES = frozenset(["r", "d", "result", "results", "node", "frame", "storage",
                          "recording"])


def _make(op: Operator, name: str, *, has_out: bool, slow: str) -> Callable[..., Any]:
    source = Source(op, "_" if not name.isidentifier() else name)
    signature = Signature(op.forward, op.variadic)
    taken = _LOCAL_NAMES.intersection(signature.names)
    if (taken and not op.is_composite) or "failure" in signature.names:
        raise TypeError(f"operator {op.path}: parameters can't be called {sorted(taken)}")
    is_dunder = slow == "slow_dunder"
    inplace_flag = op.inplace_flag and not is_dunder
    if is_dunder:
        required = [p for p in signature.parameters if p.default is REQUIRED]
        head = ", ".join(p.name for p in required)
        if name in ("__pow__", "__rpow__"):
            head += ", *modulo"  # pow() may pass a third argument
        preset = [p for p in signature.parameters if p.default is not REQUIRED]
    else:
        aliases = "dim" in signature.names and (has_out or not op.is_composite)
        head = signature_text(source, signature, has_out, aliases, inplace_flag, op.keywords)
        preset = []
    source.add(0, f"def {source.name}({head}):")
    source.preset = {p.name for p in preset}
    for p in preset:
        source.add(1, f"{p.name} = {default_text(source, p.name, p.default)}")
    if not is_dunder:
        source.add(1, *older_call(source, "op.function", signature, has_out))
        if op.is_composite and not op.is_hidden:
            source.add(1, *offer_lines(source, signature, has_out))
    if not is_dunder and aliases:
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
    for keyword, handler in op.keywords.items() if not is_dunder else ():
        source.scope[f"with_{keyword}"] = handler
        source.add(1, f"if {keyword} is not None: return with_{keyword}(op, ({arguments}), "
                      f"{keyword})")
    if inplace_flag:
        source.add(1, "if inplace:")
        if not op.is_composite:
            source.add(2, *offer_lines(source, signature, False))
        source.add(2, f"return op.inplace({', '.join(signature.names)})")
    if op.is_composite:
        _write_composite(source, op, signature, leave, has_out)
    else:
        _write_short_path(source, op, signature, leave, has_out)
        if not is_dunder:
            source.add(1, *other_names(op, signature))
        source.add(1, leave)
    function = source.function()
    function.__doc__ = op.doc
    function.__annotations__ = dict(op.forward.__annotations__)
    if op.older and not is_dunder:
        hide_older(function)
    return function


def _write_composite(
    source: Source, op: Operator, signature: Signature, leave: str, has_out: bool
) -> None:
    """The call of a body made of operators. Who only watches, sees those."""
    arguments = ", ".join(signature.names) + ("," if len(signature.names) == 1 else "")
    call = ", ".join(f"{p.name}={p.name}" if p.keyword_only else p.name
                     for p in signature.parameters)
    indent = 1
    source.add(1, *other_names(op, signature))
    doubts = [test for p in signature.values if (test := plain_value(p)) is not None]
    if doubts:
        source.add(1, f"if not ({' and '.join(doubts)}): check_values(op, ({arguments}))")
    if has_out:
        source.add(1, "if out is None and not active.modes:")
        indent = 2
    elif op.path in POLICIES:
        source.add(1, "if active.modes and autocasting() is not None:",
                   f"    return call_composite(op, ({arguments}))")
    source.add(indent, "try:", f"    return forward({call})", "except Exception as failure:",
               f"    recovered = recover(op, ({arguments}), failure)",
               "    if recovered is failure:", "        raise", "    return recovered")
    if has_out:
        source.add(1, leave)


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
            conditions.append(is_plain(p.name))
        elif p.role is OPTIONAL:
            conditions.append(f"({p.name} is None or {is_plain(p.name)})")
        elif p.role is LIST:
            conditions.append(f"all_plain({p.name})")
    # Any object has a truth value, and NumPy makes numbers of None and of text.
    checked = ("bool", "Number") if op.ufunc is None else ("bool",)
    conditions += [
        plain_value(p) or "" for p in signature.values
        if (p.kind or "").removeprefix("optional ") in checked and p.name not in source.preset
    ]
    # Of several operands that may be numbers, the short path lets the last one be one.
    numbers = [p for p in tensors if p.role is NUMBER][-1:]
    leading = [p for p in tensors if p not in numbers]
    conditions += [is_plain(p.name) for p in leading if p.role is NUMBER]
    source.add(1, f"if {' and '.join(conditions)}:")
    for p in leading:
        source.add(2, array_line(p))
    if not numbers:
        _write_branch(source, op, signature, 2, leave, set())
    elif leading:
        number = numbers[0]
        source.add(2, f"if {is_plain(number.name)}:", f"    a_{number.name} = {number.name}._array")
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


def plain_value(p: OperatorParameter) -> str | None:
    """The condition that a value is of the very type that its parameter asks for."""
    if p.kind is None:
        return None
    kind = p.kind.removeprefix("optional ")
    if kind == "bool":
        first, other = (True, False) if p.default is True else (False, True)
        optional = f" or {p.name} is None" if p.kind != kind else ""
        return f"({p.name} is {first} or {p.name} is {other}{optional})"
    if kind not in ("int", "float", "Number"):
        return None
    parts = [f"type({p.name}) is {'int' if kind == 'int' else 'float'}"]
    if p.kind != kind:
        parts.insert(0, f"{p.name} is None")
    if kind != "int":
        parts.append(f"type({p.name}) is int")
    return f"({' or '.join(parts)})" if len(parts) > 1 else parts[0]


def array_line(p: Any) -> str:
    if p.role is OPTIONAL:
        return f"a_{p.name} = None if {p.name} is None else {p.name}._array"
    if p.role is LIST:
        return f"a_{p.name} = [t._array for t in {p.name}]"
    return f"a_{p.name} = {p.name}._array"


def dtype_guard(op: Operator, signature: Signature, numbers: set[str]) -> str | None:
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
        letters = {"b": "b", "i": "iu", "c": "c"}
        others = "".join(letters[kind] for kind in "bic" if kind in op.kinds)
        kept = f" or d.kind in '{others}'" if others else ""
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
        text = dtype_guard(op, signature, numbers)
        if text:
            conditions.append(text)
    call_ufunc = op.ufunc is not None and all(p.default is not REQUIRED for p in signature.values)
    if conditions:
        source.add(indent, f"if {' and '.join(conditions)}:")
        indent += 1
    call = forward_call(signature)
    native = f"native({forward_arguments(signature)})"
    if call_ufunc:
        stand_in(op.ufunc, source.scope, "ufunc")
        plain = " and ".join(
            f"{p.name} == {default_text(source, p.name, p.default)}" if p.default is not None
            else f"{p.name} is None"
            for p in signature.values
            if p.name != "dtype" and p.name not in source.preset
        )
        operands = ", ".join(f"a_{p.name}" for p in signature.tensors)
        call = f"ufunc({operands}) if {plain} else {call}" if plain else f"ufunc({operands})"
        native = f"native({operands})" + (f" if {plain} else {native}" if plain else "")
    if op.has_native:
        source.scope["native"] = FirstNative(source)
        large = f"a_{signature.tensors[0].name}.size > {op.large}"
        call = f"({native}) if {large} else {call}"
    source.add(indent, "try:", f"    r = {call}", "except Exception:", f"    {leave}")
    _write_result(source, op, signature, indent, numbers)


def forward_call(signature: Signature) -> str:
    return f"forward({forward_arguments(signature)})"


def forward_arguments(signature: Signature) -> str:
    return ", ".join(
        (f"{p.name}=" if p.keyword_only else "")
        + (f"a_{p.name}" if p.role is not VALUE else p.name)
        for p in signature.parameters
    )


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
        add(indent, "if type(r) is not ndarray:",
            "    r = asarray(r) if isinstance(r, generic) else as_array(r)")
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
        add(inner, "result._storage = storage", f"b = {base}._base",
            f"result._base = {base} if b is None else b")
        if many:
            add(inner, "result._created_as = 'multiple'")
    if op.differentiable:
        write_recording(source, op, signature, indent, numbers)
    if op.view and op.differentiable:
        # Views of bases without history register too: an in-place change may give them one. A view
        # made without recording requires grad as a leaf of its own if its base does, as in PyTorch.
        base = signature.tensors[0].name
        if op.outputs is None:
            add(indent, "if is_recording():", "    register_view(storage, result)",
                f"    if {base}._created_as is not None: result._created_as = {base}._created_as",
                f"elif {base}._edge is not None:",
                "    result._edge = None if result._base._edge is None else LEAF",
                "    result._created_as = 'no_grad'", "    register_view(storage, result)")
        else:
            add(indent, f"if {base}._edge is not None:", "    recording = is_recording()",
                "    for result in results:", "        register_view(storage, result)",
                "        if not recording:",
                "            result._edge = None if result._base._edge is None else LEAF")
    add(indent, f"return {returned}")


def result_type(op: Operator) -> type:
    """The named tuple that an operator with several outputs returns, as `torch.return_types`."""
    from taper.ops.return_types import named

    return named(op.path.replace(".", "_"), op.outputs)
