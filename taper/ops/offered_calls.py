"""Calls of operators as `__torch_function__` is told of them: of what, and how it was written."""

from __future__ import annotations

import sys
from functools import wraps
from types import FrameType
from typing import Any

from taper.core import overrides
from taper.core.state import active
from taper.core.tensor import Parameter, Tensor
from taper.core.written_calls import arguments_as_written
from taper.ops.declare import Operator
from taper.ops.public_functions import function_of, method_behind, written_in_python
from taper.ops.signature import signature_of

__all__ = ["offer_composite", "offer_operator", "offering"]

Written = tuple[tuple[Any, ...], dict[str, Any]]  # what by position, and what by name


def offer_operator(
    op: Operator, function: Any, args: tuple[Any, ...], out: Any, frame: FrameType
) -> Any:
    """Offers the call that runs in `frame`; NOT_INTERCEPTED if nobody takes it.

    `function` is what was called, if the frame isn't that of a public function.
    """
    found = overrides.asked(args if out is None else (*args, out))
    if found is None:
        return overrides.NOT_INTERCEPTED
    frame = _public_frame(op, frame)
    code = frame.f_code
    called = function_of(code)
    if called is None and (code.co_name.startswith("__") or not op.is_hidden):
        called = method_behind(code.co_name)
    function = called or function
    as_told = _told(function, frame) or _in_order(op, args, out)
    return overrides.ask(function, *found, *as_told)


def _public_frame(op: Operator, frame: FrameType) -> FrameType:
    """The frame of the public function that has called an operator in `frame`, if that isn't its
    own: an overload of `max` is hidden, and a short path may be left from another function."""
    around: FrameType | None = frame
    name = op.name.strip("_")
    while around is not None and around.f_globals.get("__name__", "").startswith("taper.ops."):
        function = function_of(around.f_code)
        if function is not None and (around is frame or function.__name__ == name):
            return around if around is frame or not op.is_hidden or name in _OVERLOADED else frame
        around = around.f_back
    return frame


# Functions that return what a hidden operator returns.
_OVERLOADED = ("expand", "max", "min", "sort", "view")


_USUAL = frozenset([Tensor, Parameter, str, int])  # types of operands that override nothing


def offering(op: Operator) -> Any:
    """A composite that tells its arguments apart by itself, behind an offer of its calls."""
    forward = op.forward

    @wraps(forward)
    def function(*args: Any, **kwargs: Any) -> Any:
        operands = (*args[:-1], *args[-1]) if args and type(args[-1]) in (list, tuple) else args
        if active.modes or not _USUAL.issuperset(map(type, operands)):
            answer = _offer_open_ended(forward, sys._getframe(0), operands, args, kwargs)
            if answer is not overrides.NOT_INTERCEPTED:
                return answer
        return forward(*args, **kwargs)

    function.__code__ = function.__code__.replace(co_name=op.name)  # its own, to be known by
    return function


def _offer_open_ended(
    forward: Any, frame: FrameType, operands: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    found = _asked_of_composite(operands)
    if found is None:
        return overrides.NOT_INTERCEPTED
    function = function_of(frame.f_code)
    if written_in_python(function):  # these unpack a list of tensors, and tell options by name
        args = operands
        kwargs = {"indexing": None, **kwargs} if forward.__name__ == "meshgrid" else kwargs
    return overrides.ask(function, *found, args, kwargs)


def offer_composite(op: Operator, args: tuple[Any, ...], out: Any, frame: FrameType) -> Any:
    """`offer_operator` for an operator made of others: who only watches is asked by those."""
    if _asked_of_composite(args) is None:
        return overrides.NOT_INTERCEPTED
    return offer_operator(op, op.function, args, out, frame)


def _asked_of_composite(operands: tuple[Any, ...]) -> Any:
    overriding = overrides.overriding_in(operands)
    return overrides.asked(operands) if overrides.has_torch_function(overriding) else None


def _told(function: Any, frame: FrameType) -> Written | None:
    if function.__code__ is not frame.f_code:
        return None
    if not written_in_python(function):
        return arguments_as_written(frame, function)
    code, values = frame.f_code, frame.f_locals
    parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    required = max(code.co_argcount - len(function.__defaults__ or ()),
                   _REQUIRED.get(function.__name__, 0))
    args = tuple([values[name] for name in parameters[:required]])
    named = {name: values[name] for name in parameters[required:]}
    if function.__qualname__ not in _WITH_OUT:
        named.pop("out", None)
    return args, named


_REQUIRED = {"split": 2}  # by PyTorch
_WITH_OUT = ("lu", "norm", "normalize", "tensordot")  # PyTorch's own in Python


def _in_order(op: Operator, args: tuple[Any, ...], out: Any) -> Written:
    """All arguments by position but those that can't be; where nobody knows how it was written."""
    parameters = signature_of(op).parameters
    given = list(zip(parameters, args, strict=True))
    named = {p.name: v for p, v in given if p.keyword_only and v is not p.default}
    if out is not None:
        named["out"] = out
    given = [(p, v) for p, v in given if not p.keyword_only]
    while len(given) > 1 and given[-1][1] is given[-1][0].default:
        given.pop()
    return tuple([value for _, value in given]), named
