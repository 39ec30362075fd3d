"""Large arrays of one value, written on all cores into memory that is used again."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.compiler.join_kernels import PIECE, filler
from taper.core.storage import address_of
from taper.kernels.native import GRAIN, Kernel

__all__ = ["fill"]

_LONGEST_VECTOR = 64  # bytes
_kernel = Kernel.of(filler, 3, name="fill", exact=True)


def fill(array: Any, value: Any) -> None:
    """``array.fill(value)``."""
    address = _kernel.address() if array.flags.c_contiguous and (
        array.itemsize <= _LONGEST_VECTOR and not array.dtype.hasobject) else None
    if address is None or _LONGEST_VECTOR % array.itemsize:
        array.fill(value)
        return
    pattern = np.full(_LONGEST_VECTOR // array.itemsize, value, array.dtype)
    words = [address_of(pattern), address_of(array), array.nbytes]
    _kernel.run(address, words, -(-array.nbytes // PIECE), max(1, 4 * GRAIN // PIECE))
