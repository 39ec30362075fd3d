"""`torch.masked`: MaskedTensor, and the operators declared with this prefix in `taper/ops`."""

import taper.ops  # noqa: F401 - declares them
from taper.masked.masked_tensor import (
    MaskedTensor,
    as_masked_tensor,
    is_masked_tensor,
    masked_tensor,
)
from taper.ops.namespace import functions_below

__all__ = ["MaskedTensor", "as_masked_tensor", "is_masked_tensor", "masked_tensor"]

__getattr__, __dir__ = functions_below(__name__, "masked")
