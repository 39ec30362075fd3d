"""`torch.cpu.amp`'s block: a deprecated name of what is in `torch.amp`."""

from __future__ import annotations

from taper import amp
from taper.amp.deprecated import warn_of_old_name
from taper.core.dtype import bfloat16, dtype

__all__ = ["autocast"]


class autocast(amp.autocast):
    """``torch.autocast("cpu", …)`` under its old name."""

    def __init__(
        self, enabled: bool = True, dtype: dtype = bfloat16, cache_enabled: bool = True
    ) -> None:
        warn_of_old_name("cpu", "autocast")
        super().__init__("cpu", enabled=enabled, dtype=dtype, cache_enabled=cache_enabled)
