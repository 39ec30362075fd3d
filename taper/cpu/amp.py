"""`torch.cpu.amp`: deprecated names; use `torch.amp` and say "cpu"."""

from __future__ import annotations

from typing import Any

from taper import amp
from taper.amp.deprecated import warn_of_old_name
from taper.core.dtype import bfloat16, dtype

__all__ = ["GradScaler", "autocast"]


class autocast(amp.autocast):
    """``torch.autocast("cpu", …)`` under its old name."""

    def __init__(
        self, enabled: bool = True, dtype: dtype = bfloat16, cache_enabled: bool = True
    ) -> None:
        warn_of_old_name("cpu", "autocast")
        super().__init__("cpu", enabled=enabled, dtype=dtype, cache_enabled=cache_enabled)


class GradScaler(amp.GradScaler):
    """``torch.amp.GradScaler("cpu", …)`` under its old name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warn_of_old_name("cpu", "GradScaler")
        super().__init__("cpu", *args, **kwargs)
