"""`torch.jit` in a world without TorchScript: Python runs as it is.

Scripting and tracing return what they were given, which computes the same. What would hand a
compiled program to somebody else, `save` and `load`, says that there is none. `taper.compile` is
what makes programs faster.
"""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, NoReturn, TypeVar

from taper.nn import Module

__all__ = [
    "Attribute", "Error", "Final", "Future", "ScriptFunction", "ScriptModule", "TracerWarning",
    "annotate", "export", "fork", "freeze", "ignore", "interface", "is_scripting", "is_tracing",
    "isinstance", "load", "optimize_for_inference", "optimized_execution", "save", "script",
    "script_if_tracing", "script_method", "trace", "trace_module", "unused", "wait",
]

T = TypeVar("T")
Function = Callable[..., Any]


class Error(RuntimeError):
    """What running TorchScript may raise; never raised here."""


class TracerWarning(Warning):
    """What tracing may warn of; never here."""


class ScriptModule(Module):
    """A module whose methods may be marked with `script_method`; an ordinary one."""


class ScriptFunction:
    """A compiled function; there are none, so nothing is an instance."""

    def __init__(self) -> None:
        raise NotImplementedError("torch.jit.ScriptFunction: taper has no TorchScript")


class Attribute(NamedTuple):
    """A value with a type for TorchScript."""

    value: Any
    type: Any


def script(obj: T, optimize: Any = None, _frames_up: int = 0, _rcb: Any = None,
           example_inputs: Any = None) -> T:
    """Returns a function, class or module as it is."""
    return obj


def trace(func: T, example_inputs: Any = None, *args: Any, **options: Any) -> T:
    """Returns a function or module as it is; unlike a trace, it branches on values."""
    return func


def trace_module(mod: T, inputs: Any, *args: Any, **options: Any) -> T:
    """Returns a module as it is."""
    return mod


def script_if_tracing(fn: T) -> T:
    """Returns the function as it is."""
    return fn


_script_if_tracing = script_if_tracing  # what torchvision calls it


def script_method(fn: T) -> T:
    """Returns the method as it is."""
    return fn


def export(fn: T) -> T:
    """Returns the method as it is."""
    return fn


def interface(obj: T) -> T:
    """Returns the class as it is."""
    return obj


def unused(fn: T) -> T:
    """Returns the function as it is; it runs when it is called, for nothing is compiled."""
    return fn


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """Returns the function as it is; also as ``@ignore()`` and ``@ignore(drop=True)``."""
    if callable(drop):
        return drop
    return unused


def is_scripting() -> bool:
    """Returns False."""
    return False


def is_tracing() -> bool:
    """Returns False."""
    return False


def annotate(the_type: Any, the_value: T) -> T:
    """Returns the value."""
    return the_value


def isinstance(obj: Any, target_type: Any) -> bool:
    """Returns whether `obj` is of the type; of ``List[int]`` and its like only the class counts."""
    types = target_type if builtins.isinstance(target_type, tuple) else (target_type,)
    classes: Any = tuple(getattr(t, "__origin__", t) for t in types)
    return builtins.isinstance(obj, classes)


def freeze(mod: T, preserved_attrs: Any = None, optimize_numerics: bool = True) -> T:
    """Returns the module as it is."""
    return mod


def optimize_for_inference(mod: T, other_methods: Any = None) -> T:
    """Returns the module as it is."""
    return mod


@contextlib.contextmanager
def optimized_execution(should_optimize: bool) -> Iterator[None]:
    """A block that changes nothing."""
    yield


class Future:
    """The result of a `fork`, which is there already."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def wait(self) -> Any:
        """Returns the result."""
        return self._result

    value = wait

    def done(self) -> bool:
        """Returns True."""
        return True


def fork(func: Function, *args: Any, **kwargs: Any) -> Future:
    """Calls the function at once, as PyTorch does outside of TorchScript."""
    return Future(func(*args, **kwargs))


def wait(future: Future) -> Any:
    """Returns the result of a `fork`."""
    return future.wait()


def _overload(func: Function) -> Function:
    """Marks one of several signatures of a function, for TorchScript; returns it."""
    return func


_overload_method = _overload


def save(m: Any, f: Any, _extra_files: Any = None) -> NoReturn:
    """Raises: there is no TorchScript to save."""
    raise NotImplementedError(
        "torch.jit.save(): taper has no TorchScript, so there is no program to save; "
        "torch.save(model.state_dict(), file) keeps the parameters"
    )


def load(f: Any, map_location: Any = None, _extra_files: Any = None,
         _restore_shapes: bool = False) -> NoReturn:
    """Raises: there is no TorchScript to run."""
    raise NotImplementedError(
        "torch.jit.load(): taper has no TorchScript. Save the parameters with torch.save("
        "model.state_dict(), file) where the model was made, and load them with "
        "model.load_state_dict(torch.load(file))"
    )
