"""Bilinear maps: a matrix for each feature, between two vectors of each row."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.kernels.matrix_product import NARROWEST, multiply
from taper.kernels.native_twin import with_native

__all__ = ["bilinear"]

Array = np.ndarray[Any, Any]

_WORTH_A_KERNEL = 1 << 18  # multiplications
_DEEPEST = 512  # numbers of a row of the first factor, so that a tile's stay in the first cache


def _is_large(first: Array, matrices: Array, second: Array) -> bool:
    return (
        min(len(first), *matrices.shape[1:]) >= NARROWEST and first.shape[1] <= _DEEPEST
        and matrices.size * len(first) >= _WORTH_A_KERNEL
    )


@with_native("taper.kernels.native_bilinear", _is_large)
def bilinear(first: Array, matrices: Array, second: Array) -> Array:
    """The sums over k and n of `first[m, k] * matrices[f, k, n] * second[m, n]`, as (m, f)."""
    features, depth, columns = matrices.shape
    half = multiply(first, matrices.transpose(1, 0, 2).reshape(depth, features * columns))
    found: Array = np.matmul(half.reshape(len(first), features, columns), second[:, :, None])
    return found[:, :, 0]
