"""`torch.signal`: windows for signal processing."""

from taper.signal import windows

__all__ = ["windows"]
