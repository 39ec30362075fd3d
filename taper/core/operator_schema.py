"""Schemas of custom operators: ``foo(Tensor x, float a=2., *, int? n=None) -> Tensor``."""

from __future__ import annotations

import ast
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from taper.core.device import device
from taper.core.dtype import dtype
from taper.core.tensor import Tensor

__all__ = ["Argument", "Schema", "infer_schema", "parse_schema"]

REQUIRED = object()

_NAMES: dict[Any, str] = {
    Tensor: "Tensor", int: "SymInt", float: "float", bool: "bool", str: "str",
    complex: "Scalar", dtype: "ScalarType", device: "Device",
}


class Argument:
    """One argument of a schema."""

    __slots__ = ("default", "keyword_only", "mutated", "name", "type")

    def __init__(
        self, name: str, type: str, default: Any, keyword_only: bool, mutated: bool
    ) -> None:
        self.name = name
        self.type = type
        self.default = default
        self.keyword_only = keyword_only
        self.mutated = mutated


class Schema:
    """What an operator takes and returns, and the text that says so."""

    def __init__(self, name: str, text: str, arguments: list[Argument], returns: str) -> None:
        self.name = name
        self.text = text
        self.arguments = arguments
        self.returns = returns

    def __str__(self) -> str:
        return f"{self.name}{self.text}"

    __repr__ = __str__

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The value of every argument, by name; RuntimeError if the call doesn't fit."""
        positional = [a for a in self.arguments if not a.keyword_only]
        if len(args) > len(positional):
            raise RuntimeError(
                f"{self.name}() expected at most {len(positional)} argument(s) but received "
                f"{len(args)} argument(s). Declaration: {self}"
            )
        given = {**dict(zip((a.name for a in positional), args, strict=False)), **kwargs}
        bound = {}
        for number, argument in enumerate(self.arguments):
            value = given.pop(argument.name, argument.default)
            if value is REQUIRED:
                raise RuntimeError(
                    f"{self.name}() is missing value for argument '{argument.name}'. Declaration: "
                    f"{self}"
                )
            if argument.type == "Tensor" and not isinstance(value, Tensor):
                raise RuntimeError(
                    f"{self.name}() Expected a value of type 'Tensor' for argument "
                    f"'{argument.name}' but instead found type '{type(value).__name__}'.\n"
                    f"Position: {number}\nValue: {value}\nDeclaration: {self}"
                )
            bound[argument.name] = value
        if given:
            raise RuntimeError(
                f"{self.name}() expected at most {len(self.arguments)} argument(s) but received "
                f"{len(args) + len(kwargs)} argument(s). Declaration: {self}"
            )
        return bound


# -- from annotations ------------------------------------------------------------------------------


def infer_schema(
    prototype_function: Callable[..., Any], /, *, mutates_args: str | Iterable[str],
    op_name: str | None = None,
) -> str:
    """Returns the schema of a function, read off its annotations: ``(Tensor x) -> Tensor``.

    Args:     mutates_args: the names of the arguments that it changes in place, or "unknown".
    Raises:   ValueError: if an annotation is missing or can't be in a schema
    """
    signature = inspect.signature(prototype_function)
    hints = typing.get_type_hints(prototype_function)

    def fail(what: str) -> typing.NoReturn:
        raise ValueError(f"infer_schema(func): {what} Got func with signature {signature})")

    parts = []
    starred = False
    for number, (name, parameter) in enumerate(signature.parameters.items()):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            fail("We do not support positional-only args, varargs, or varkwargs.")
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        if name not in hints:
            fail(f"Parameter {name} must have a type annotation.")
        written = _type_name(hints[name])
        if written is None:
            fail(f"Parameter {name} has unsupported type {hints[name]}.")
        if mutates_args == "unknown" or name in mutates_args:
            if not written.startswith("Tensor"):
                fail(f"Parameter {name} is in mutable_args but only Tensors or collections of "
                     "Tensors can be mutated")
            written = written.replace("Tensor", f"Tensor(a{number}!)", 1)
        text = f"{written} {name}"
        if parameter.default is not parameter.empty:
            text += f"={_default_text(parameter.default, name, fail)}"
        parts.append(text)
    unknown = [] if mutates_args == "unknown" else set(mutates_args) - set(signature.parameters)
    if unknown:
        fail(f"{sorted(unknown)} in mutates_args were not found in the custom op's signature.")
    if "return" not in hints:
        fail("No return type annotation was provided. Please add one.")
    returns = _return_text(hints["return"])
    if returns is None:
        fail(f"Return has unsupported type {hints['return']}.")
    return f"{op_name or ''}({', '.join(parts)}) -> {returns}"


def _type_name(hint: Any) -> str | None:
    if hint in _NAMES:
        return _NAMES[hint]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if set(inner) == {int, float, bool}:
            return "Scalar"
        chosen = [a for a in inner if a is not type(None)]
        name = _type_name(chosen[0]) if len(chosen) == 1 and len(inner) == 2 else None
        return None if name is None else f"{name}?"
    if origin in (list, Sequence) and len(inner) == 1:
        name = _type_name(inner[0])
        return None if name is None else f"{name}[]"
    return None


def _default_text(value: Any, name: str, fail: Callable[[str], Any]) -> str:
    if value is None or isinstance(value, (bool, int)):
        return str(value)
    if isinstance(value, float):
        return f"{value:g}." if value == int(value) else repr(value)
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, dtype):
        return str(value).removeprefix("torch.")
    fail(f"Parameter {name} has an unsupported default value type {type(value)}.")
    return ""


def _return_text(hint: Any) -> str | None:
    if hint is type(None) or hint is None:
        return "()"
    if typing.get_origin(hint) is tuple:
        names = [_type_name(a) for a in typing.get_args(hint)]
        return None if None in names else f"({', '.join(n or '' for n in names)})"
    return _type_name(hint)


# -- from text -------------------------------------------------------------------------------------


def parse_schema(text: str, namespace: str = "") -> Schema:
    """Reads ``name(Tensor x, int k=2) -> Tensor``."""
    found = re.fullmatch(r"\s*([\w.:]*)\s*(\((.*)\)\s*->\s*(.+?))\s*", text, re.DOTALL)
    if found is None:
        raise RuntimeError(f"can't parse the schema {text!r}: expected 'name(...) -> ...'")
    name, rest, inner, returns = found.groups()
    arguments: list[Argument] = []
    keyword_only = False
    for part in _split_at_commas(inner):
        if part == "*":
            keyword_only = True
            continue
        declared, has_default, default = part.partition("=")
        kind, _, argument = declared.strip().rpartition(" ")
        mutated = "!" in kind
        kind = re.sub(r"\([^)]*\)", "", kind)
        value = _default_value(default.strip()) if has_default else REQUIRED
        arguments.append(Argument(argument, kind, value, keyword_only, mutated))
    qualified = f"{namespace}::{name}" if namespace and "::" not in name else name
    return Schema(qualified, rest, arguments, returns)


def _split_at_commas(text: str) -> list[str]:
    """The parts between commas that stand in no brackets."""
    parts, depth, start = [], 0, 0
    for i, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    return [p for p in (*parts, text[start:].strip()) if p]


def _default_value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text  # the name of a dtype or a memory format
