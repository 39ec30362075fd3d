"""`torch.cuda.amp`'s blocks and decorators: deprecated names of what is in `torch.amp`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taper import amp
from taper.amp.deprecated import warn_of_old_name
from taper.core.dtype import dtype, float16

__all__ = ["autocast", "custom_bwd", "custom_fwd"]


class autocast(amp.autocast):
    """``torch.autocast("cuda", …)`` under its old name: without a GPU, it changes nothing."""

    def __init__(
        self, enabled: bool = True, dtype: dtype = float16, cache_enabled: bool = True
    ) -> None:
        warn_of_old_name("cuda", "autocast")
        super().__init__("cuda", enabled=enabled, dtype=dtype, cache_enabled=cache_enabled)


def custom_fwd(fwd: Callable[..., Any] | None = None, *, cast_inputs: Any = None) -> Any:
    """``torch.amp.custom_fwd(…, device_type="cuda")`` under its old name."""
    warn_of_old_name("cuda", "custom_fwd")
    return amp.custom_fwd(fwd, device_type="cuda", cast_inputs=cast_inputs)


def custom_bwd(bwd: Callable[..., Any]) -> Any:
    """``torch.amp.custom_bwd(…, device_type="cuda")`` under its old name."""
    warn_of_old_name("cuda", "custom_bwd")
    return amp.custom_bwd(bwd, device_type="cuda")
