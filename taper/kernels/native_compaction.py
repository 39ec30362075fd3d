"""Native compaction: the places where a mask is True, and the elements there."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.compiler.compaction_kernels import BLOCK, counter, packer
from taper.core.storage import address_of
from taper.kernels.native import GRAIN, Kernel
from taper.kernels.native_twin import are_ready
from taper.runtime.large_arrays import new_array

__all__ = ["elements_where", "places_where"]

ndarray = np.ndarray
_I64 = np.dtype(np.int64)
_BLOCKS = max(1, GRAIN // BLOCK)  # of one thread
_KINDS: dict[int, Any] = {4: "i32", 8: "i64"}

_counter = Kernel.of(counter, 3, name="count", exact=True)
_packers: dict[Any, Kernel] = {
    kind: Kernel.of(packer, 5, kind, name="pack", exact=True) for kind in (None, "i32", "i64")
}


def _packed(kind: Any, mask: Any, elements: Any, dtype: Any) -> Any:
    kernel = _packers[kind]
    if not are_ready(_counter, kernel):
        return None
    blocks = -(-mask.size // BLOCK)
    counts = np.empty(blocks, _I64)
    _counter.run(_counter.address() or 0, [address_of(mask), address_of(counts), mask.size], blocks,
                 4 * _BLOCKS)
    ends = np.add.accumulate(counts)
    total = int(ends[-1])
    starts = ends - counts
    result = new_array((total,), dtype, total)
    words = [address_of(mask), 0 if elements is None else address_of(elements), address_of(result),
             address_of(starts), mask.size]
    kernel.run(kernel.address() or 0, words, blocks, _BLOCKS)
    return result


def _is_mask(mask: Any) -> bool:
    return type(mask) is ndarray and mask.dtype.kind == "b" and mask.size > 0 and (
        mask.flags.c_contiguous
    )


def places_where(mask: Any) -> Any:
    return _packed(None, mask, None, _I64) if _is_mask(mask) else None


def elements_where(array: Any, mask: Any) -> Any:
    if type(array) is not ndarray or not _is_mask(mask) or array.shape != mask.shape or (
        array.itemsize not in _KINDS or not array.flags.c_contiguous or array.dtype.hasobject
    ):
        return None
    return _packed(_KINDS[array.itemsize], mask, array, array.dtype)
