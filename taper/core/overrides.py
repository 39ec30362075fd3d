"""`__torch_function__`: lets subclasses, foreign types and modes see operator calls.

Source: PyTorch documentation, "Extending PyTorch", and NumPy's NEP 18 on which it rests.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

from taper.core.state import active
from taper.core.tensor import Buffer, Parameter, StaleView, Tensor

__all__ = [
    "NOT_INTERCEPTED", "DisableTorchFunction", "DisableTorchFunctionSubclass", "has_override",
    "has_torch_function", "intercept", "mode_stack", "offer",
]

NOT_INTERCEPTED = object()
_PLAIN = (Tensor, Parameter, Buffer, StaleView)

mode_stack: ContextVar[tuple[Any, ...]] = ContextVar("mode_stack", default=())
_disabled: ContextVar[bool] = ContextVar("torch_function_disabled", default=False)


class DisableTorchFunctionSubclass:
    """A block in which subclasses don't see operator calls; modes do."""

    __module__ = "torch._C"

    def __enter__(self) -> None:
        self._token = _disabled.set(True)

    def __exit__(self, *exception: Any) -> None:
        _disabled.reset(self._token)


class DisableTorchFunction(DisableTorchFunctionSubclass):
    """A block in which neither subclasses nor modes see operator calls."""

    __module__ = "torch._C"

    def __enter__(self) -> None:
        super().__enter__()
        self._modes = mode_stack.set(())

    def __exit__(self, *exception: Any) -> None:
        mode_stack.reset(self._modes)
        super().__exit__(*exception)


def has_override(value: Any) -> bool:
    """Whether the type of `value` wants to see operator calls."""
    kind = type(value)
    if kind in _PLAIN:
        return False
    handler = getattr(kind, "__torch_function__", None)
    return handler is not None and handler is not _disabled_handler


def has_torch_function(relevant_args: Iterable[Any]) -> bool:
    """Returns whether one of the arguments, or a mode, wants to see operator calls."""
    modes = any(not getattr(mode, "only_watches", False) for mode in mode_stack.get())
    return modes or any(has_override(a) for a in relevant_args)


def _disabled_handler(cls: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    return NotImplemented


def overriding_in(args: Any) -> list[Any]:
    """The arguments that override, subclasses before their parents, each type once."""
    found: list[Any] = []
    for value in args:
        for item in value if type(value) in (list, tuple) else (value,):
            if has_override(item) and all(type(item) is not type(f) for f in found):
                position = len(found)
                for i, earlier in enumerate(found):
                    if issubclass(type(item), type(earlier)):
                        position = i
                        break
                found.insert(position, item)
    return found


def offer(
    function: Any, stack: tuple[Any, ...], overriding: list[Any], types: tuple[type, ...],
    args: tuple[Any, ...], kwargs: dict[str, Any],
) -> Any:
    """What the innermost mode, or else the first overriding type that takes a call, answers."""
    if stack:
        token = mode_stack.set(stack[:-1])
        try:
            result = stack[-1].__torch_function__(function, types, args, kwargs)
        finally:
            mode_stack.reset(token)
        if result is not NotImplemented:
            return result
    for item in overriding:
        result = type(item).__torch_function__(function, types, args, kwargs)
        if result is not NotImplemented:
            return result
    return NotImplemented


def intercept(
    function: Any, names: list[str], args: tuple[Any, ...], out: Any, **keywords: Any
) -> Any:
    """Offers a call to modes and overriding types; NOT_INTERCEPTED if nobody takes it."""
    overriding = [] if _disabled.get() else overriding_in((*args, out))
    stack = mode_stack.get() if active.modes else ()
    if not overriding and not stack:
        return NOT_INTERCEPTED
    args, named = _split_keyword_only(function, names, args)
    kwargs = {**named, **keywords} if out is None else {**named, **keywords, "out": out}
    types = tuple(type(o) for o in overriding)
    given = _without_trailing_defaults(function, args)
    result = offer(function, stack, overriding, types, given, kwargs)
    if result is not NotImplemented:
        return result
    if not overriding:
        return NOT_INTERCEPTED
    raise TypeError(
        f"no implementation found for 'torch.{function.__name__}' on types that implement "
        f"__torch_function__: {[t for t in types]}"
    )


def _split_keyword_only(
    function: Any, names: list[str], args: tuple[Any, ...]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Takes the arguments that `function` only knows by keyword out of the positional ones."""
    code = getattr(function, "__code__", None)
    if code is None or code.co_flags & _VARIADIC:
        return args, {}
    first = code.co_argcount
    by_keyword = code.co_varnames[first : first + code.co_kwonlyargcount]
    defaults = function.__kwdefaults__ or {}
    if _OLDER in code.co_varnames[:first]:  # what follows is called by keyword alone
        with_default = code.co_varnames[first - len(function.__defaults__) : first]
        defaults = dict(zip(with_default, function.__defaults__, strict=True))
        by_keyword = with_default[with_default.index(_OLDER) :]
    if not by_keyword:
        return args, {}
    positional = []
    named = {}
    for name, value in zip(names, args, strict=False):
        if name not in by_keyword:
            positional.append(value)
        elif value is not defaults.get(name):
            named[name] = value
    return (*positional, *args[len(names) :]), named


_OLDER = "_older"  # of operators that could be called otherwise once, ops/older_signatures.py
_VARIADIC = 4  # the flag of code with *args


def _without_trailing_defaults(function: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    code = getattr(function, "__code__", None)
    required = 1 if code is None else code.co_argcount - len(function.__defaults__ or ())
    end = len(args)
    while end > max(required, 1) and (args[end - 1] is None or args[end - 1] is False):
        end -= 1
    return args[:end]


def default_torch_function(
    cls: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None
) -> Any:
    """What Tensor subclasses inherit: compute as usual, results become `cls`."""
    if not all(issubclass(cls, t) for t in types):
        return NotImplemented
    with DisableTorchFunction():
        result = func(*args, **(kwargs or {}))
    return _convert(result, cls)


def _convert(result: Any, cls: Any) -> Any:
    if cls in _PLAIN:
        return result
    if isinstance(result, Tensor) and not isinstance(result, cls):
        return as_subclass(result, cls)
    if type(result) in (tuple, list):
        return type(result)([_convert(r, cls) for r in result])
    return result


def as_subclass(tensor: Tensor, cls: Any) -> Any:
    """The same data and history as an instance of `cls`."""
    converted = object.__new__(cls)
    for slot in ("_array", "_edge", "_storage", "_base", "_grad"):
        setattr(converted, slot, getattr(tensor, slot))
    if tensor._tangents:
        converted._tangents = tensor._tangents
    return converted


Tensor.__torch_function__ = classmethod(default_torch_function)  # type: ignore[attr-defined]
