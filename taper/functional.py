"""`torch.functional`: another place where PyTorch keeps some of its functions."""

from __future__ import annotations

from typing import Any

import taper

_NAMES = frozenset("""
    align_tensors atleast_1d atleast_2d atleast_3d block_diag broadcast_shapes broadcast_tensors
    cartesian_prod cdist chain_matmul einsum istft lu meshgrid norm pca_lowrank split stft
    svd_lowrank tensordot unique unique_consecutive unravel_index
    """.split())


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(taper, name)
    raise AttributeError(f"module 'torch.functional' has no attribute {name!r}")
