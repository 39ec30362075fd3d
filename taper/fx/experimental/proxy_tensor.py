"""Tracing below functions, which `torch.fx` of taper doesn't do."""

from __future__ import annotations

from typing import Any

__all__ = ["get_proxy_mode", "make_fx"]


def get_proxy_mode() -> None:
    """Returns None: nothing is traced this way."""


def make_fx(f: Any, *args: Any, **options: Any) -> Any:
    """Raises: use `torch.fx.symbolic_trace`, or `torch.compile` and its `explain`."""
    raise NotImplementedError(
        "make_fx is not here: torch.fx.symbolic_trace records functions and modules, "
        "torch.compile(f).explain() shows what arrays compute"
    )
