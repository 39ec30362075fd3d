"""What follows from the shape and the dtype of an array that isn't NumPy's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["ShapedArray"]


class ShapedArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array of which classes say the shape and the dtype; Python's operators are NumPy's."""

    __slots__ = ()

    shape: tuple[int, ...]
    dtype: Any

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return self.shape[0]
