"""`torch.cuda.amp`: deprecated names; use `torch.amp` and say "cuda", or rather "cpu"."""

from taper.cuda.amp.autocast_mode import autocast, custom_bwd, custom_fwd
from taper.cuda.amp.grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]
