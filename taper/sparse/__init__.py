"""`torch.sparse`: the operators declared with this prefix in `taper/ops`, and invariant checks."""

import taper.ops  # noqa: F401 - declares them
from taper.ops.namespace import functions_below
from taper.ops.sparse_creation import TYPED_CLASSES as _TYPED_CLASSES
from taper.ops.sparse_creation import (
    check_sparse_tensor_invariants as check_sparse_tensor_invariants,
)

globals().update(_TYPED_CLASSES)

__getattr__, __dir__ = functions_below(__name__, "sparse")
