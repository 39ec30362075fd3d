"""`torch.linalg`: the operators declared with this prefix in `taper/ops`."""

import taper.ops  # noqa: F401 - declares them
from taper.core.errors import LinAlgError as LinAlgError
from taper.ops.namespace import functions_below

__getattr__, __dir__ = functions_below(__name__, "linalg")
