"""Settings of PyTorch's engine that taper's has no use for: it runs backward on one thread, and
stores gradients as they come. They are remembered, so that programs can set and ask.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from taper.core.overrides import mode_stack

__all__ = [
    "enforce_grad_layout_policy", "is_multithreading_enabled", "is_view_replay_enabled",
    "kineto_available", "set_multithreading_enabled", "variable",
]

_multithreading: ContextVar[bool] = ContextVar("multithreading", default=True)
_enforces_layout: ContextVar[bool] = ContextVar("enforces_layout", default=True)


class _Setting:
    """Sets a variable at once; as a block, until its end."""

    __module__ = "torch.autograd.grad_mode"
    variable: ContextVar[bool]

    def __init__(self, value: bool) -> None:
        self.prev = self.variable.get()
        self.variable.set(value)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: Any) -> None:
        self.variable.set(self.prev)


class set_multithreading_enabled(_Setting):  # PyTorch's name
    """Whether backward may use several threads. It uses one; NumPy's products use all cores."""

    variable = _multithreading

    def __init__(self, mode: bool) -> None:
        super().__init__(mode)


class enforce_grad_layout_policy(_Setting):
    """Whether gradients must lie in memory as their parameters do. They may lie otherwise here."""

    variable = _enforces_layout

    def __init__(self, enable: bool = True) -> None:
        super().__init__(enable)


def is_multithreading_enabled() -> bool:
    """Returns what `set_multithreading_enabled` set; True at first."""
    return _multithreading.get()


def is_view_replay_enabled() -> bool:
    """Returns False: gradients of views that were changed are not found by replaying the views."""
    return False


def _profiler_enabled() -> bool:
    """Returns whether a profile is being recorded."""
    return any([getattr(mode, "only_watches", False) for mode in mode_stack.get()])


def kineto_available() -> bool:
    """Returns False: there is no Kineto, PyTorch's library for profiles."""
    return False


def variable(*args: Any, **kwargs: Any) -> Any:
    """Raises: deprecated, as in PyTorch; use `torch.tensor`."""
    raise RuntimeError("torch.autograd.variable(...) is deprecated, use torch.tensor(...) instead")
