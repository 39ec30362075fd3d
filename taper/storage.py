"""`torch.storage`: tensors' memory, as bytes and as elements."""

from taper.core.storage import UntypedStorage
from taper.core.typed_storage import TypedStorage

__all__ = ["TypedStorage", "UntypedStorage"]
