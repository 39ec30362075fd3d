"""Names of `torch._dynamo` that programs use beside `torch.compile`."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from taper._dynamo import eval_frame
from taper.compilation import InvalidBackend, OptimizedModule
from taper.compilation.explanations import Explanation, Unsupported
from taper.compiler.directives import (
    allow_in_graph,
    assume_constant_result,
    disable,
    is_compiling,
    list_backends,
    reset,
)

__all__ = [
    "OptimizedModule", "allow_in_graph", "assume_constant_result", "config", "disable",
    "disallow_in_graph", "eval_frame", "exc", "explain", "graph_break", "is_compiling",
    "list_backends", "mark_dynamic", "mark_static", "mark_static_address", "maybe_mark_dynamic",
    "reset",
]

exc = SimpleNamespace(InvalidBackend=InvalidBackend, Unsupported=Unsupported)
config = SimpleNamespace(
    cache_size_limit=16, recompile_limit=16, suppress_errors=False, verbose=False,
    capture_scalar_outputs=False, capture_dynamic_output_shape_ops=False, dynamic_shapes=True,
)
"""Settings that programs assign; they have no effect."""


def explain(function: Callable[..., Any], *extra: Any, **more: Any) -> Callable[..., Explanation]:
    """``explain(function)(*args)`` calls a function as compiled, and tells what became of it.

    The function is called three times: as it is, recorded, and as a program.

    Example:
        >>> import taper as torch
        >>> found = torch._dynamo.explain(lambda x: x.exp())(torch.ones(2))
        >>> found.graph_count, found.graph_break_count
        (1, 0)
    """
    from taper.compilation import compile

    compiled: Any = function if hasattr(function, "explain") else compile(function)

    def explained(*args: Any, **kwargs: Any) -> Explanation:
        for _ in range(3):
            compiled(*args, **kwargs)
        found: Explanation = compiled.explain()
        return found

    return explained


def graph_break(msg: str = "") -> None:
    """Would end a graph; nothing is cut here."""


def disallow_in_graph(fn: Any) -> Any:
    """Marks a function that PyTorch's compiler must leave alone; returns it."""
    return fn


def mark_dynamic(t: Any, index: Any, *, hint_override: Any = None, **limits: Any) -> None:
    """Says that a size will change: programs are made for each size anyway."""


def mark_static(t: Any, index: Any = None) -> None:
    """Says that a size won't change: programs are made for each size anyway."""


def mark_static_address(t: Any, guard: bool = False) -> None:
    """Says that a tensor stays where it is: programs find out by themselves."""


maybe_mark_dynamic = mark_dynamic
