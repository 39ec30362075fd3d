"""`torch.distributed.nn`: collectives that gradients pass through."""

from taper.distributed.nn import functional
from taper.distributed.nn.functional import (
    all_gather,
    all_reduce,
    all_to_all,
    broadcast,
    gather,
    reduce,
    reduce_scatter,
    scatter,
)

__all__ = [
    "all_gather", "all_reduce", "all_to_all", "broadcast", "functional", "gather", "reduce",
    "reduce_scatter", "scatter",
]
