"""What programs say to and ask of `torch.compile`, under PyTorch's names in `torch.compiler`.

Compiled functions (taper/compilation) tell here that they record; what they have captured is
forgotten through `reset`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

__all__ = [
    "BACKENDS", "allow_in_graph", "assume_constant_result", "cudagraph_mark_step_begin", "disable",
    "is_compiling", "is_dynamo_compiling", "is_exporting", "list_backends", "reset", "set_stance",
]

_STANCES = ("default", "eager_on_recompile", "fail_on_recompile", "force_eager",
            "eager_then_compile", "aot_eager_then_compile")
BACKENDS = ("aot_eager", "eager", "inductor")


_is_recording: ContextVar[bool] = ContextVar("is_recording_for_compile", default=False)
_is_exporting: ContextVar[bool] = ContextVar("is_exporting", default=False)
forgetful: WeakSet[Any] = WeakSet()
"""What has a `reset()` that `reset` calls."""


@contextmanager
def compiling() -> Iterator[None]:
    """Within: code is being captured."""
    token = _is_recording.set(True)
    try:
        yield
    finally:
        _is_recording.reset(token)


@contextmanager
def exporting() -> Iterator[None]:
    """Within: code is being captured for a file."""
    token = _is_exporting.set(True)
    try:
        with compiling():
            yield
    finally:
        _is_exporting.reset(token)


def is_compiling() -> bool:
    """Whether the code that asks is being captured for a compiled function."""
    return _is_recording.get()


is_dynamo_compiling = is_compiling


def is_exporting() -> bool:
    """Whether the code that asks is being captured by `torch.export` or `torch.onnx.export`."""
    return _is_exporting.get()


def list_backends(exclude_tags: Any = ("debug", "experimental")) -> list[str]:
    """The names that `compile(backend=…)` takes; all mean the same here."""
    return list(BACKENDS)


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Marks a function that must not be compiled; returns it, or a decorator."""
    return _itself if fn is None else fn


def allow_in_graph(fn: Any) -> Any:
    """Marks a function whose inside is of no interest to a compiler; returns it."""
    return fn


def assume_constant_result(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a function whose result is always the same; returns it."""
    return fn


def reset() -> None:
    """Forgets what compiled functions have captured."""
    for each in list(forgetful):
        each.reset()


def cudagraph_mark_step_begin() -> None:
    """Tells where an iteration begins: of no use without CUDA graphs."""


class Stance:
    """How compiled functions behave: whether they run as they are."""

    __slots__ = ("is_eager",)

    def __init__(self) -> None:
        self.is_eager = False


stance_now = Stance()


class set_stance:  # PyTorch's name
    """Says how compiled functions behave from now on; as a block, for its duration.

    "force_eager" runs them as they are; the others that PyTorch has are like "default".

    Raises: RuntimeError: for a stance that PyTorch doesn't have.
    """

    def __init__(
        self, stance: str = "default", *, skip_guard_eval_unsafe: bool = False,
        force_backend: Any = None,
    ) -> None:
        if stance not in _STANCES:
            raise RuntimeError(f"invalid torch.compile stance '{stance}'")
        self.before = stance_now.is_eager
        stance_now.is_eager = stance == "force_eager"

    def __enter__(self) -> None:
        """The stance holds since the call."""

    def __exit__(self, *exception: Any) -> None:
        stance_now.is_eager = self.before


def _itself(fn: Any) -> Any:
    return fn
