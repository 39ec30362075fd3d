"""`torch.cuda.amp`'s scaler: a deprecated name of what is in `torch.amp`."""

from __future__ import annotations

from typing import Any

from taper import amp
from taper.amp.deprecated import warn_of_old_name
from taper.amp.grad_scaler import OptState

__all__ = ["GradScaler", "OptState"]


class GradScaler(amp.GradScaler):
    """``torch.amp.GradScaler("cuda", …)`` under its old name: without a GPU, it is off."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warn_of_old_name("cuda", "GradScaler")
        super().__init__("cuda", *args, **kwargs)
