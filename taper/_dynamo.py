"""Names of `torch._dynamo` that programs use beside `torch.compile`."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from taper.compilation import InvalidBackend
from taper.compilation.explanations import Explanation, Unsupported
from taper.compiler.directives import disable, is_compiling, list_backends, reset

__all__ = ["config", "disable", "exc", "explain", "is_compiling", "list_backends", "reset"]

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
