"""The warning of `torch.cpu.amp` and `torch.cuda.amp`, whose names live on in `torch.amp`."""

from __future__ import annotations

import warnings

__all__ = ["warn_of_old_name"]


def warn_of_old_name(device: str, name: str) -> None:
    """Warns the caller's caller that a name has moved."""
    new = (
        f"torch.amp.{name}(args..., device_type='{device}')" if name.startswith("custom")
        else f"torch.amp.{name}('{device}', args...)"
    )
    warnings.warn(
        f"`torch.{device}.amp.{name}(args...)` is deprecated. Please use `{new}` instead.",
        FutureWarning, stacklevel=3,
    )
