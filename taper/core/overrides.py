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
    "NOT_INTERCEPTED", "DisableTorchFunction", "DisableTorchFunctionSubclass", "ask", "asked",
    "has_override", "has_torch_function", "intercept", "mode_stack", "offer", "overriding_in",
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


def overriding_in(args: Iterable[Any]) -> list[Any]:
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


def asked(operands: Iterable[Any]) -> tuple[tuple[Any, ...], list[Any]] | None:
    """The modes and the overriding operands that a call is offered to; None if there are none."""
    overriding = [] if _disabled.get() else overriding_in(operands)
    stack = mode_stack.get() if active.modes else ()
    return (stack, overriding) if overriding or stack else None


def ask(
    function: Any, stack: tuple[Any, ...], overriding: list[Any], args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """What modes and overriding types make of a call; NOT_INTERCEPTED if only modes were asked,
    and none took it."""
    types = tuple(type(o) for o in overriding)
    result = offer(function, stack, overriding, types, args, kwargs)
    if result is not NotImplemented:
        return result
    if not overriding:
        return NOT_INTERCEPTED
    raise TypeError(
        f"no implementation found for 'torch.{function.__name__}' on types that implement "
        f"__torch_function__: {[t for t in types]}"
    )


def intercept(
    function: Any, operands: Iterable[Any], args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
) -> Any:
    """Offers a call to modes and overriding operands; NOT_INTERCEPTED if nobody takes it."""
    found = asked(operands)
    return NOT_INTERCEPTED if found is None else ask(function, *found, args, kwargs or {})


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
    if issubclass(cls, _PLAIN[1:]) or cls is Tensor:  # what is computed of parameters is none
        return result
    if isinstance(result, Tensor) and not isinstance(result, cls):
        return as_subclass(result, cls)
    if isinstance(result, (tuple, list)):  # also those with names
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
