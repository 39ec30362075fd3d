"""Options of `linear_cross_entropy`: how the work is divided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["LinearCrossEntropyOptions"]


@dataclass(frozen=True)
class LinearCrossEntropyOptions:
    """How `linear_cross_entropy` trades memory for time.

    Args:
        allow_retain_graph: whether the graph may be used for several backward passes.
        batch_chunk_size: how many samples to take at a time, default: chosen.
        chunking_method: how to divide the batch, None for not at all.
        acc_policy: ``"accurate"``, ``"balanced"``, ``"compact"`` or ``"auto"``.
        acc_dtype: the dtype to accumulate in, default: by the policy.
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: Any = None
