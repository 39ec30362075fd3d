"""Grad modes: `no_grad`, `enable_grad`, `set_grad_enabled`, `inference_mode`.

Each is a context manager and a decorator (of functions, generator functions and classes).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from taper.core.state import active, grad_mode, inference, is_inference, is_recording

__all__ = [
    "enable_grad", "inference_mode", "is_grad_enabled", "is_inference_mode_enabled", "no_grad",
    "set_grad_enabled",
]


def is_grad_enabled() -> bool:
    """Returns whether operations are being recorded in this thread."""
    return is_recording()


def is_inference_mode_enabled() -> bool:
    """Returns whether inference mode is on in this thread."""
    return is_inference()


class GradMode:
    """A block, or every call of a decorated function, with recording on or off."""

    mode = False
    prev: Any
    __module__ = "torch.autograd.grad_mode"

    def __enter__(self) -> None:
        self.prev = is_recording()
        grad_mode.set(self.mode)

    def __exit__(self, *exception: Any) -> None:
        grad_mode.set(self.prev)

    def clone(self) -> GradMode:
        """Returns another block of the same kind."""
        return type(self)()

    def __call__(self, function: Callable[..., Any]) -> Any:
        return decorate(self.clone, function)


def decorate(make_block: Callable[[], Any], function: Any) -> Any:
    """Wraps a function, a generator function or a class's constructor in fresh blocks."""
    if inspect.isclass(function):
        function.__init__ = decorate(make_block, function.__init__)  # type: ignore[method-assign]
        return function
    if inspect.isgeneratorfunction(function):
        return _decorate_generator(make_block, function)

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with make_block():
            return function(*args, **kwargs)

    return wrapped


def _decorate_generator(make_block: Callable[[], Any], function: Any) -> Any:
    """The body of the generator runs inside the block; its consumer does not."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        generator = function(*args, **kwargs)
        step: Callable[[], Any] = lambda: next(generator)  # noqa: E731
        while True:
            try:
                with make_block():
                    value = step()
            except StopIteration as stop:
                return stop.value
            try:
                sent = yield value
                step = lambda sent=sent: generator.send(sent)  # type: ignore[misc] # noqa: E731
            except GeneratorExit:
                with make_block():
                    generator.close()
                raise
            except BaseException as error:
                step = lambda error=error: generator.throw(error)  # type: ignore[misc] # noqa: E731

    return wrapped


class no_grad(GradMode):  # PyTorch's name
    """Stops recording: results inside don't require grad. Also a decorator.

    Example:
        >>> import taper as torch
        >>> x = torch.ones(2, requires_grad=True)
        >>> with torch.no_grad():
        ...     print((x * 2).requires_grad)
        False
    """

    mode = False

    def __new__(cls, orig_func: Any = None) -> Any:
        self = object.__new__(cls)
        return self if orig_func is None else self(orig_func)


class enable_grad(GradMode):
    """Records again inside a `no_grad` block. Also a decorator."""

    mode = True

    def __new__(cls, orig_func: Any = None) -> Any:
        self = object.__new__(cls)
        return self if orig_func is None else self(orig_func)


class set_grad_enabled(GradMode):
    """Turns recording on or off, at once; as a block it restores what was before."""

    def __init__(self, mode: bool) -> None:
        if not isinstance(mode, bool):
            raise TypeError(f"enabled must be a bool (got {type(mode).__name__})")
        self.prev = is_recording()
        self.mode = mode
        grad_mode.set(mode)

    def __enter__(self) -> None:
        grad_mode.set(self.mode)

    def clone(self) -> set_grad_enabled:
        return set_grad_enabled(self.mode)

    def __call__(self, function: Callable[..., Any]) -> Any:
        grad_mode.set(self.prev)
        return decorate(self.clone, function)

    def __repr__(self) -> str:
        return f"{type(self).__module__}.{type(self).__name__}(mode={self.mode})"


class inference_mode(GradMode):
    """Like `no_grad`, and results are marked: they can never take part in autograd."""

    def __new__(cls, mode: Any = True) -> Any:
        self = object.__new__(cls)
        if isinstance(mode, bool):
            self.mode = mode
            return self
        self.mode = True
        return self(mode)

    def __init__(self, mode: Any = True) -> None:
        pass

    def __enter__(self) -> None:
        self.prev = (is_recording(), is_inference())
        if self.mode:
            active.modes += 1
            active.inference += 1
            grad_mode.set(False)
        else:
            grad_mode.set(True)
        inference.set(self.mode)

    def __exit__(self, *exception: Any) -> None:
        recording, inferring = self.prev
        if self.mode:
            active.modes -= 1
            active.inference -= 1
        grad_mode.set(recording)
        inference.set(inferring)

    def clone(self) -> inference_mode:
        return inference_mode(self.mode)
