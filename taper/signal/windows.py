"""`torch.signal.windows`: the operators declared with this prefix in `taper/ops`."""

import taper.ops  # noqa: F401 - declares them
from taper.ops.namespace import functions_below

__getattr__, __dir__ = functions_below(__name__, "signal.windows")
