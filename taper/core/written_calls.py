"""Reads off the code of a caller how it wrote a call: what by position, and what by name.

Functions that are written out with their parameters are quick, but they don't see this. Those who
watch calls want to know, and only they pay: the caller's frame stands at the instruction of the
call, which has the number of arguments and the names of the last ones.
"""

from __future__ import annotations

import dis
from bisect import bisect_right
from functools import lru_cache
from inspect import CO_VARARGS, CO_VARKEYWORDS
from types import CodeType, FrameType
from typing import Any

__all__ = ["arguments_as_written"]

Call = tuple[int, tuple[str, ...]]  # the number of arguments, and the names of the last ones

_CALL_AFTER = {"KW_NAMES": "CALL", "LOAD_CONST": "CALL_KW"}  # until Python 3.12, and since
_UNKNOWN = object()


def arguments_as_written(
    frame: FrameType, function: Any
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The arguments that `function`, which runs in `frame`, was called with, by position and by
    name; None where that can't be told: for ``f(*args)``, and calls from C.
    """
    caller = frame.f_back
    written = None if caller is None else _call_at(caller.f_code, caller.f_lasti)
    if written is None:
        return None
    count, names = written
    by_position = count - len(names)
    values = frame.f_locals
    # What precedes the dot of a method isn't counted among the arguments.
    for first in (by_position, by_position + 1):
        found = _divided(frame.f_code, function, values, first, names)
        if found is not None:
            return found
    return None


def _call_at(code: CodeType, offset: int) -> Call | None:
    """The call at an offset, which may be that of a cache behind the instruction."""
    offsets, calls = _calls(code)
    place = bisect_right(offsets, offset) - 1
    return calls[place] if place >= 0 else None


@lru_cache(256)
def _calls(code: CodeType) -> tuple[list[int], list[Call | None]]:
    """The offsets of all instructions, and of each the call that it is."""
    offsets: list[int] = []
    calls: list[Call | None] = []
    before: Any = None
    for instruction in dis.get_instructions(code):
        kind = instruction.opname
        call: Call | None = None
        if kind in ("CALL", "CALL_KW"):
            names: tuple[str, ...] = ()
            if before is not None and kind == _CALL_AFTER.get(before.opname):
                names = code.co_consts[before.arg]
            call = instruction.arg or 0, names
        offsets.append(instruction.offset)
        calls.append(call)
        if kind != "PRECALL":  # of Python 3.11, between the names and the call
            before = instruction
    return offsets, calls


def _divided(
    code: CodeType, function: Any, values: dict[str, Any], count: int, names: tuple[str, ...]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """`count` values by position and those of `names`, if all others are defaults."""
    total = code.co_argcount + code.co_kwonlyargcount
    parameters = code.co_varnames[: code.co_argcount]
    more: tuple[Any, ...] = ()
    if code.co_flags & CO_VARARGS:
        more = values[code.co_varnames[total]]
    others: dict[str, Any] = {}
    if code.co_flags & CO_VARKEYWORDS:
        others = values[code.co_varnames[total + bool(code.co_flags & CO_VARARGS)]]
    if count != min(count, len(parameters)) + len(more):
        return None
    given = parameters[:count]
    defaults = _defaults(function, parameters)
    # Sizes one by one and `axis=` have been put into the variables that they are other forms of.
    moved = (more, *more[:1], *others.values())
    for name in code.co_varnames[:total]:
        if name not in given and name not in names:
            value, default = values[name], defaults.get(name, _UNKNOWN)
            is_left_out = value is default or _equal(value, default)
            if not is_left_out and all(value is not other for other in moved):
                return None
    named = {name: others[name] if name in others else values.get(name) for name in names}
    return (*[values[name] for name in given], *more), named


def _defaults(function: Any, parameters: tuple[str, ...]) -> dict[str, Any]:
    defaults = function.__defaults__ or ()
    last = parameters[len(parameters) - len(defaults):]
    return {**dict(zip(last, defaults, strict=True)), **(function.__kwdefaults__ or {})}


def _equal(value: Any, default: Any) -> bool:
    return type(value) is type(default) and isinstance(value, (int, float, str)) and (
        value == default
    )
