"""What programs say to and ask of `torch.compile`, under PyTorch's names in `torch.compiler`.

Nothing is captured while a program runs here, so these have little to do: they keep programs
running that mark functions for PyTorch's compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

__all__ = [
    "BACKENDS", "allow_in_graph", "assume_constant_result", "cudagraph_mark_step_begin", "disable",
    "is_compiling", "is_dynamo_compiling", "is_exporting", "list_backends", "reset", "set_stance",
]

BACKENDS = ("aot_eager", "eager", "inductor")


def is_compiling() -> bool:
    """Whether the code that asks is being captured: never."""
    return False


is_dynamo_compiling = is_exporting = is_compiling


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
    """Forgets what was compiled: nothing was."""


def cudagraph_mark_step_begin() -> None:
    """Tells where an iteration begins: of no use without CUDA graphs."""


def set_stance(
    stance: str = "default", *, skip_guard_eval_unsafe: bool = False, force_backend: Any = None
) -> AbstractContextManager[None]:
    """Says how compiled functions behave; as a block, for its duration. All behave alike here.

    Raises: RuntimeError: for a stance that PyTorch doesn't have.
    """
    known = ("default", "eager_on_recompile", "fail_on_recompile", "force_eager",
             "eager_then_compile", "aot_eager_then_compile")
    if stance not in known:
        raise RuntimeError(f"invalid torch.compile stance '{stance}'")
    return nullcontext()


def _itself(fn: Any) -> Any:
    return fn
