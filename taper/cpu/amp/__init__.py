"""`torch.cpu.amp`: deprecated names; use `torch.amp` and say "cpu"."""

from taper.cpu.amp.autocast_mode import autocast
from taper.cpu.amp.grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast"]
