"""`torch.cpu.amp`'s scaler: a deprecated name of what is in `torch.amp`."""

from __future__ import annotations

from typing import Any

from taper import amp
from taper.amp.deprecated import warn_of_old_name

__all__ = ["GradScaler"]


class GradScaler(amp.GradScaler):
    """``torch.amp.GradScaler("cpu", …)`` under its old name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warn_of_old_name("cpu", "GradScaler")
        super().__init__("cpu", *args, **kwargs)
