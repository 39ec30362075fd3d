"""Reads an operator's parameters and their roles off its declaration."""

from __future__ import annotations

from typing import Any

__all__ = [
    "LIST", "NUMBER", "OPTIONAL", "TENSOR", "VALUE", "Number", "OperatorParameter", "Signature",
    "Truth", "signature_of",
]

TENSOR, OPTIONAL, NUMBER, LIST, VALUE = "tensor", "optional", "number", "list", "value"

_ROLES = {
    "Tensor": TENSOR,
    "Tensor | None": OPTIONAL,
    "Tensor | Number": NUMBER,
    "Sequence[Tensor]": LIST,
}
_KINDS = {
    "int": "int", "int | None": "optional int", "bool | Any": "flag or dims", "bool": "bool",
    "float": "float", "float | None": "optional float", "Number": "Number",
    "Number | None": "optional Number", "bool | None": "optional bool", "str": "str",
    "str | None": "optional str",
}
_LISTS_OF_INTEGERS = {"dim": "dims", "dims": "dims", "size": "sizes", "shape": "sizes"}
_CHECKED_BY_THE_BODY = frozenset(["reduction", "compute_mode"])  # ValueError, whatever is given
REQUIRED = object()

Number = Any  # a Python number or what stands for one: calls with anything else are refused
Truth = Any  # a flag of a function that PyTorch wrote in Python, where any object's truth counts


class OperatorParameter:
    """One parameter: its name, role and default (REQUIRED if it has none).

    `kind` is what a bad call is told about values: "int", "float", "Number", "bool", "str", the
    same with "optional " before them where None is allowed, "dims" (integers or one of them), "flag
    or dims" (`unbiased` in the place of `dim`), "sizes", or None for all others.
    """

    __slots__ = ("default", "keyword_only", "kind", "name", "position", "role")

    def __init__(
        self, name: str, annotation: str, default: Any, keyword_only: bool, position: int
    ) -> None:
        role = _ROLES.get(annotation, VALUE)
        self.kind = None if name in _CHECKED_BY_THE_BODY else _KINDS.get(annotation)
        if annotation == "Any":
            self.kind = _LISTS_OF_INTEGERS.get(name)
        self.name = name
        self.role = role
        self.position = position  # counted from 1, as errors do
        self.default = default
        self.keyword_only = keyword_only


class Signature:
    """The parameters of a function, in order, with those that hold tensors apart."""

    def __init__(self, function: Any, variadic: str | None = None) -> None:
        code = function.__code__
        names = code.co_varnames
        annotations = function.__annotations__
        positional = names[: code.co_argcount]
        keyword_only = names[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        defaults = function.__defaults__ or ()
        first_default = len(positional) - len(defaults)
        self.parameters: list[OperatorParameter] = []
        named = function.__kwdefaults__ or {}
        for i, name in enumerate((*positional, *keyword_only)):
            if i >= len(positional):
                default = named.get(name, REQUIRED)
            else:
                default = defaults[i - first_default] if i >= first_default else REQUIRED
            self.parameters.append(OperatorParameter(
                name, annotations.get(name, ""), default, i >= len(positional), i + 1))
        self.variadic = variadic
        self.positional_count = len(positional)
        roles = [p.role for p in self.parameters]
        self.operand_positions: tuple[int, ...] = () if OPTIONAL in roles or LIST in roles else (
            tuple([i for i, role in enumerate(roles) if role in (TENSOR, NUMBER)])
        )
        self.names = [p.name for p in self.parameters]
        self.tensors = [p for p in self.parameters if p.role is not VALUE]
        self.values = [p for p in self.parameters if p.role is VALUE]


def signature_of(op: Any) -> Signature:
    """The signature of an operator, read once."""
    found: Signature | None = op.__dict__.get("_signature")
    if found is None:
        found = op._signature = Signature(op.forward, op.variadic)
    return found
