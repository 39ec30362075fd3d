"""Reductions of neighbouring elements: segment_reduce; and the hash of a tensor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.core.errors import normalize_dim
from taper.core.promotion import scalar_type_name
from taper.core.tensor import Tensor, wrap
from taper.kernels.memory_order import in_rows
from taper.ops.argument_checks import values_known
from taper.ops.declare import composite, operator
from taper.ops.reduction import axes_of

_STARTS = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "max": -math.inf, "min": math.inf}


def _segments(data: Tensor, lengths: Any, offsets: Any, axis: int, unsafe: bool) -> tuple[Any, Any]:
    """The number of each element's segment, lane by lane, and how long the segments are."""
    if lengths is None and offsets is None:
        raise RuntimeError("segment_reduce(): Either lengths or offsets must be defined.")
    given = lengths if lengths is not None else offsets
    if given.dim() != axis + 1:
        raise RuntimeError(
            "segment_reduce(): Expected axis to be the last dimension of "
            f"{'lengths' if lengths is not None else 'offsets'} but got {axis}."
        )
    array = given._array
    sizes = array if lengths is not None else array[..., 1:] - array[..., :-1]
    n = data.shape[axis]
    if not values_known(given):
        return _segments_by_comparing(sizes, n), sizes
    if not unsafe and lengths is not None:
        if sizes.size and sizes.min() < 0:
            raise RuntimeError("lengths contains negative value!")
        if (sizes.sum(-1) != n).any():
            raise RuntimeError(
                "segment_reduce(): Expected all rows of lengths along axis to sum to "
                "data.size(lengths.dim()-1) when !unsafe."
            )
    rows = sizes.reshape(-1, sizes.shape[-1])
    ids = np.stack([np.repeat(np.arange(len(row)), row) for row in rows]) if len(rows) else (
        np.zeros((0, n), np.int64))
    return ids.reshape((*sizes.shape[:-1], -1)), sizes


def _segments_by_comparing(sizes: Any, n: int) -> Any:
    """The numbers of the segments of `n` elements, by operations that keep their shape.

    Elements behind the last segment get one number more.
    """
    ends = np.add.accumulate(sizes, -1)
    places = np.add.accumulate(np.ones_like(sizes, shape=(n, 1)), 0) - 1
    return np.add.reduce((places >= ends[..., None, :]).astype(np.int64), -1)


@composite(aliases=("_segment_reduce",))
def segment_reduce(
    data: Tensor, reduce: str, *, lengths: Tensor | None = None, indices: Tensor | None = None,
    offsets: Tensor | None = None, axis: int = 0, unsafe: bool = False, initial: Any = None,
) -> Tensor:
    """Reduces runs of neighbours along `axis`, given by their `lengths` or `offsets`.

    Args:   reduce (str): "sum", "mean", "prod", "max" or "min"
            initial (number): what each reduction starts from
    Example:
        >>> import taper as torch
        >>> torch.segment_reduce(torch.tensor([1., 2., 3.]), "max", lengths=torch.tensor([2, 1]))
        tensor([2., 3.])
    """
    if reduce not in _STARTS:
        raise RuntimeError(
            f"segment_reduce(): unsupported reduction {reduce}; it must be one of "
            f"{', '.join(_STARTS)}"
        )
    if not data.is_floating_point():
        raise NotImplementedError(
            f"\"_segment_reduce_cpu\" not implemented for '{scalar_type_name(data.dtype)}'"
        )
    axis = normalize_dim(axis, data.dim())
    ids, sizes = _segments(data, lengths, offsets, axis, unsafe)
    trailing = data.shape[axis + 1:]
    count = sizes.shape[-1]
    extra = 0 if values_known(lengths if lengths is not None else offsets) else 1
    shape = (*sizes.shape[:-1], count + extra, *trailing)

    def spread(values: Any) -> Tensor:
        return wrap(values.reshape(values.shape + (1,) * len(trailing)))

    covered = ids.shape[-1]
    if covered < data.shape[axis]:
        data = data.narrow(axis, 0, covered)
    index = spread(ids).expand(ids.shape + tuple(trailing))
    start = _STARTS[reduce] if initial is None else initial
    result = data.new_full(shape, start)
    if reduce in ("sum", "mean"):
        result = result.scatter_add(axis, index, data)
        if extra:
            result = result.narrow(axis, 0, count)
        if reduce == "mean":
            result = result / spread(np.maximum(sizes, 1))
            if initial is None:
                result = result.masked_fill(spread(sizes == 0), math.nan)
        return result
    how = {"prod": "prod", "max": "amax", "min": "amin"}[reduce]
    result = result.scatter_reduce(axis, index, data, how)
    return result.narrow(axis, 0, count) if extra else result


@operator(method=True, out=True, differentiable=False)
def hash_tensor(
    input: Tensor, dim: Any = (), *, keepdim: bool = False, mode: int = 0
) -> Tensor:
    """The exclusive or of all elements' 64-bit patterns, of all or along `dim`, as uint64.

    Example:
        >>> import taper as torch
        >>> torch.hash_tensor(torch.tensor([1, 3]))
        tensor(2, dtype=torch.uint64)
    """
    if mode != 0:
        raise RuntimeError(f"hash_tensor: Unknown mode {mode}")
    if input.dtype.kind == "c":
        raise NotImplementedError("\"xor_sum_cpu\" not implemented for 'ComplexFloat'")
    wide = np.int64 if input.dtype.kind in "biu" else np.float64
    bits = input.astype(wide).view(np.uint64)
    if input.ndim == 0:
        axes_of(dim, 0)
        return bits
    return in_rows(np.bitwise_xor.reduce(bits, axes_of(dim, input.ndim), None, None, keepdim))
