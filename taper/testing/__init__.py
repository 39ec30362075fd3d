"""`torch.testing`: comparing tensors, and making them."""

from taper.testing.comparison import assert_close
from taper.testing.creation import make_tensor

__all__ = ["assert_close", "make_tensor"]
