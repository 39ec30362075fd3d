"""Automatic mixed precision: products in bfloat16 or float16, what is delicate in float32.

    with torch.autocast("cpu"):
        loss = model(x)

`autocast_mode.py` has the block and the decorators, `grad_scaler.py` the scaling of losses that
float16 needs, `state.py` the functions that ask and set. Which operator runs in which precision is
in `ops/autocast.py`.
"""

from taper.amp.autocast_mode import autocast, custom_bwd, custom_fwd, is_autocast_available
from taper.amp.grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]
