"""Looking values up: searchsorted, bucketize, isin, unique, unique_consecutive, unravel_index."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.errors import normalize_dim
from taper.core.promotion import dtype_of_number
from taper.core.tensor import Tensor, wrap
from taper.kernels.memory_order import in_rows
from taper.ops.declare import composite, operator
from taper.ops.join import stack
from taper.ops.sort import stable_order


def _as_tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    return wrap(np.asarray(value, dtype_of_number(value).numpy_dtype))


# -- searchsorted ------------------------------------------------------------------


def _positions(edges: Any, values: Any, right: bool, out_int32: bool) -> Any:
    side = "right" if right else "left"
    dtype = np.int32 if out_int32 else np.int64
    if edges.ndim <= 1:
        return edges.reshape(-1).searchsorted(values, side).astype(dtype)
    if values.size == 0:
        return np.zeros_like(values, dtype)
    rows = edges.reshape(-1, edges.shape[-1])
    wanted = values.reshape(len(rows), -1)
    found = [row.searchsorted(v, side) for row, v in zip(rows, wanted, strict=True)]
    return np.asarray(found, dtype).reshape(values.shape)


@operator("searchsorted", hidden=True, out=True, differentiable=False, promote="result_type",
          unpromoted=("sorter",), kinds="if", kernel="searchsorted_out_cpu")
def search(
    sorted_sequence: Tensor, input: Tensor, right: bool, out_int32: bool,
    sorter: Tensor | None = None,
) -> Tensor:
    """`searchsorted` of tensors."""
    if sorter is not None:
        sorted_sequence = np.take_along_axis(sorted_sequence, sorter, -1)
    return _positions(sorted_sequence, input, right, out_int32)


def _check_search(edges: Tensor, values: Any, right: bool, side: str | None, sorter: Any) -> None:
    name = "torch.searchsorted()"
    if side is not None and side not in ("left", "right"):
        raise RuntimeError(f"{name}: side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError(
            f"{name}: side and right can't be set to opposites, got side of left while right was "
            "True"
        )
    if edges.dim() == 0:
        raise RuntimeError(
            f"{name}: input value can be a scalar only when boundaries tensor dimension is 1, but "
            f"we got boundaries tensor dim(0) and input value's dim({values.dim()}) "
            f"numel({values.numel()})" if values.dim() == 0 else
            f"{name}: boundaries tensor should have positive dimension, but got 0 dimension"
        )
    if values.dim() == 0 and edges.dim() != 1:
        raise RuntimeError(
            f"{name}: input value can be a scalar only when boundaries tensor dimension is 1, but "
            f"we got boundaries tensor dim({edges.dim()}) and input value's dim(0) numel(1)"
        )
    if edges.dim() != 1 and (
        edges.dim() != values.dim() or edges.shape[:-1] != values.shape[:-1]
    ):
        raise RuntimeError(
            f"{name}: boundaries tensor should be 1 dimension or the first N-1 dimensions of "
            "boundaries tensor and input value tensor must match, but we got boundaries tensor "
            f"{list(edges.shape)} and input value tensor {list(values.shape)}"
        )
    if sorter is not None:
        if sorter.shape != edges.shape:
            raise RuntimeError(
                f"{name}: boundary and sorter must have the same size, but got boundary tensor "
                f"{list(edges.shape)}and got sorter tensor {list(sorter.shape)}"
            )
        if sorter.dtype.name != "int64":
            raise RuntimeError(
                f"{name}: sorter must be a tensor of long dtype but got dtype "
                f"{sorter.dtype.name.capitalize()}"
            )


@composite(out=True, also={"values": "input"})
def searchsorted(
    sorted_sequence: Tensor, input: Any, *, out_int32: bool = False, right: bool = False,
    side: str | None = None, sorter: Tensor | None = None,
) -> Tensor:
    """Where in the sorted innermost dimension the values of `input` would be inserted.

    Args:   right (bool), side ("left" or "right"): before or behind equal elements
            sorter (Tensor): the indices that sort `sorted_sequence`, if it is not sorted
    Shape:    sorted_sequence (*, n), input (*, m) → (*, m); or sorted_sequence (n), input (*) → (*)
    Example:
        >>> import taper as torch
        >>> torch.searchsorted(torch.tensor([1, 3, 5]), torch.tensor([3, 4]))
        tensor([1, 2])
    """
    values = _as_tensor(input)
    _check_search(sorted_sequence, values, right, side, sorter)
    return search.function(
        sorted_sequence, values, right or side == "right", out_int32, sorter
    )


@composite(out=True)
def bucketize(
    input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    """The number of the interval between the sorted `boundaries` that each element lies in.

    Shape:    boundaries (n), input (*) → (*)
    Example:
        >>> import taper as torch
        >>> torch.bucketize(torch.tensor([0., 2., 9.]), torch.tensor([1., 3.]))
        tensor([0, 1, 2])
    """
    if boundaries.dim() != 1:
        raise RuntimeError(
            "bucketize(): boundaries tensor must be 1 dimension, but got dim("
            f"{boundaries.dim()})"
        )
    return search.function(boundaries, _as_tensor(input), right, out_int32)


# -- isin --------------------------------------------------------------------------


@operator("isin", hidden=True, out=True, differentiable=False, promote="result_type",
          kinds="bif", kernel="isin")
def is_in(elements: Tensor, test_elements: Tensor, invert: bool) -> Tensor:
    """`isin` of tensors."""
    known = np.sort(test_elements, None)
    if known.size == 0:
        return np.full_like(elements, invert, np.bool_)
    found = known.take(np.minimum(known.searchsorted(elements), known.size - 1))
    return found != elements if invert else found == elements


@composite(out=True)
def isin(
    elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """Tells of each of `elements` whether it is among `test_elements`.

    Example:
        >>> import taper as torch
        >>> torch.isin(torch.tensor([1, 2, 3]), torch.tensor([3, 1]))
        tensor([ True, False,  True])
    """
    if not isinstance(elements, Tensor) and not isinstance(test_elements, Tensor):
        raise TypeError(
            "isin() received an invalid combination of arguments - got "
            f"({type(elements).__name__}, {type(test_elements).__name__})"
        )
    return is_in.function(_as_tensor(elements), _as_tensor(test_elements), invert)


# -- unique ------------------------------------------------------------------------


def _runs(starts: Any, order: Any, n: int) -> tuple[Any, Any, Any]:
    """(first places, group of each element, sizes) of runs of equal elements, in `order`."""
    first = np.nonzero(starts)[0]
    group = np.cumsum(starts) - 1
    if order is not None:
        inverse = np.empty_like(group)
        inverse[order] = group
        group = inverse
    counts = np.diff(np.append(first, n))
    return first, group, counts


def _distinct(flat: Any, is_sorted: bool) -> tuple[Any, Any, Any]:
    """Distinct elements of a vector, the group of each element, the sizes of the groups."""
    order = stable_order(flat, 0) if is_sorted else None
    ordered = flat if order is None else flat[order]
    starts = np.ones(ordered.shape, np.bool_)
    starts[1:] = ordered[1:] != ordered[:-1]
    first, group, counts = _runs(starts, order, flat.size)
    return ordered[first], group, counts


def _distinct_slices(input: Any, axis: int, is_sorted: bool) -> tuple[Any, Any, Any]:
    """The same of the slices along an axis, sorted lexicographically if `is_sorted`."""
    n = input.shape[axis]
    rows = np.moveaxis(input, axis, 0)
    flat = rows.reshape(n, -1) if n and input.size else np.zeros((n, 0))
    order = np.lexsort(flat.T[::-1]) if is_sorted and flat.shape[1] else np.arange(n)
    ordered = flat[order]
    starts = np.ones(n, np.bool_)
    starts[1:] = (ordered[1:] != ordered[:-1]).any(1)
    first, group, counts = _runs(starts, order, n)
    return np.moveaxis(in_rows(rows[order[first]]), 0, axis), group, counts


def _require_slices(input: Any, axis: int) -> None:
    if input.size == 0 and any(s == 0 for d, s in enumerate(input.shape) if d != axis) and (
        input.shape[axis] != 0
    ):
        raise RuntimeError(
            "There are 0 sized dimensions, and they aren't selected, so unique cannot be applied"
        )


@operator("unique2", hidden=True, outputs=3, node="Unique2Backward0", kinds="bif", kernel="unique")
def unique_elements(input: Tensor) -> Tensor:
    """The sorted distinct elements, the place of each element among them, and their counts."""
    values, group, counts = _distinct(input.ravel(), True)
    return values, group.reshape(input.shape), counts


@operator("unique2", hidden=True, node="Unique2Backward0", kinds="bif", kernel="unique")
def unique_values(input: Tensor) -> Tensor:
    """The sorted distinct elements."""
    flat = input.flatten()
    if flat.dtype.kind == "V":
        return _distinct(flat, True)[0]
    flat.sort()
    if flat.size < 2:
        return flat
    first = np.empty(flat.shape, np.bool_)
    first[0] = True
    np.not_equal(flat[1:], flat[:-1], first[1:])
    return flat[first]


@operator("unique_dim", hidden=True, outputs=3, node="UniqueDimBackward0", kinds="bif")
def unique_slices(input: Tensor, dim: int) -> Tensor:
    """The same of the slices along a dimension."""
    axis = normalize_dim(dim, input.ndim)
    _require_slices(input, axis)
    if input.ndim == 0:
        values, group, counts = _distinct(input.reshape(1), True)
        return values, group, counts
    return _distinct_slices(input, axis, True)


@operator("unique_consecutive", hidden=True, outputs=3, kinds="bif",
          node="UniqueConsecutiveBackward0")
def consecutive_elements(input: Tensor) -> Tensor:
    """One of each run of equal neighbours, of the flattened tensor."""
    values, group, counts = _distinct(input.ravel(), False)
    return values, group.reshape(input.shape), counts


@operator("unique_dim_consecutive", hidden=True, outputs=3, kinds="bif",
          node="UniqueConsecutiveBackward0")
def consecutive_slices(input: Tensor, dim: int) -> Tensor:
    """One of each run of equal neighbouring slices."""
    axis = normalize_dim(dim, input.ndim)
    _require_slices(input, axis)
    if input.ndim == 0:
        return _distinct(input.reshape(1), False)
    return _distinct_slices(input, axis, False)


def _refuses_gradient(name: str) -> Any:
    def refuse():
        raise NotImplementedError(f"the derivative for '{name}' is not implemented.")

    return refuse


for _op, _name in (
    (unique_elements, "_unique2"), (unique_values, "_unique2"), (unique_slices, "unique_dim"),
    (consecutive_elements, "unique_consecutive"), (consecutive_slices, "unique_consecutive"),
):
    _op.derivative("input")(_refuses_gradient(_name))


def _wanted(results: Any, return_inverse: bool, return_counts: bool) -> Any:
    values, inverse, counts = results
    if return_inverse and return_counts:
        return values, inverse, counts
    if return_inverse:
        return values, inverse
    return (values, counts) if return_counts else values


@composite(method=True)
def unique(
    input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The distinct elements, or slices along `dim`, sorted; each NaN is distinct.

    Args:   return_inverse (bool): also return where each element went
            return_counts (bool): also return how often each occurs
    Example:
        >>> import taper as torch
        >>> torch.unique(torch.tensor([3, 1, 3]), return_counts=True)
        (tensor([1, 3]), tensor([1, 2]))
    """
    if dim is None and not return_inverse and not return_counts:
        return unique_values.function(input)
    results = unique_elements.function(input) if dim is None else unique_slices.function(input, dim)
    return _wanted(results, return_inverse, return_counts)


@composite(method=True)
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """One of each run of equal neighbours.

    Example:
        >>> import taper as torch
        >>> torch.unique_consecutive(torch.tensor([1, 1, 2, 1]))
        tensor([1, 2, 1])
    """
    results = consecutive_elements.function(input) if dim is None else (
        consecutive_slices.function(input, dim))
    return _wanted(results, return_inverse, return_counts)


# -- unravel_index -----------------------------------------------------------------


@composite()
def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """The coordinates, in a tensor of this shape, of positions in the flattened tensor.

    Example:
        >>> import taper as torch
        >>> torch.unravel_index(torch.tensor(5), (2, 3))
        (tensor(1), tensor(2))
    """
    if isinstance(indices, Tensor) and indices.dtype.category != 1:
        raise ValueError(
            f"expected 'indices' to be integer dtype, but got {indices.dtype!r}"
        )
    if isinstance(shape, Tensor):
        shape = shape.tolist()
    if not isinstance(shape, (tuple, list)):
        shape = (shape,)
    sizes = [int(n) for n in shape]
    if any(n < 0 for n in sizes):
        raise ValueError(f"'shape' cannot have negative values, but got {tuple(sizes)}")
    results: list[Tensor] = []
    rest = indices.long()
    for size in reversed(sizes):
        results.insert(0, rest % size)
        rest = rest // size
    return stack(results, -1).unbind(-1) if results else ()
