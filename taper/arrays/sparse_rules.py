"""What NumPy's functions do on sparse arrays, and conversions between the layouts.

Functions that keep zeros work on the stored values; sums and products of two arrays match their
places; matrix products go to SciPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.arrays.sparse import (
    FUNCTION_RULES,
    UFUNC_RULES,
    CompressedArray,
    CoordinateArray,
    SparseArray,
    coordinates_of,
)
from taper.core import device as devices
from taper.core.device import layout_title

__all__ = ["compress", "dense_to_coordinates", "empty_sparse", "matrix_product",
           "to_layout", "to_scipy"]

ndarray = np.ndarray

_LINEAR = (np.negative, np.positive, np.conjugate)
_KEEP_ZERO = (
    np.absolute, np.sqrt, np.sin, np.tan, np.sinh, np.tanh, np.arcsin, np.arctan, np.arcsinh,
    np.arctanh, np.expm1, np.log1p, np.floor, np.ceil, np.trunc, np.rint, np.sign, np.square,
    np.deg2rad, np.rad2deg, np.isnan, np.isinf, np.signbit,
)


# -- conversions -----------------------------------------------------------------------------------


def dense_to_coordinates(array: Any, sparse_dim: int | None = None) -> CoordinateArray:
    """The elements (or slices, if `sparse_dim` is less than all dimensions) that are not zero."""
    k = array.ndim if sparse_dim is None else sparse_dim
    found = array != 0
    if k < array.ndim:
        found = found.any(tuple(range(k, array.ndim)))
    if not k:
        count = int(bool(found))
        return CoordinateArray(
            np.zeros((0, count), np.int64), array[None][:count].copy(), array.shape, True
        )
    places = np.nonzero(found)
    return CoordinateArray(np.stack(places).astype(np.int64), array[places], array.shape, True)


def compress(array: CoordinateArray, layout: Any, blocksize: Any = None) -> CompressedArray:
    """Coordinates of a matrix (with dense dimensions, if it has) in a compressed layout."""
    array = array.coalesce()
    rows, columns = array.indices
    values = array.values
    n, m = array.shape[:2]
    if blocksize is not None:
        height, width = blocksize
        rows, columns, values = _into_blocks(rows, columns, values, height, width, m // width)
        n, m = n // height, m // width
    by_rows = layout is devices.sparse_csr or layout is devices.sparse_bsr
    lines, plain = (rows, columns) if by_rows else (columns, rows)
    if not by_rows:
        order = np.lexsort((rows, columns))
        lines, plain, values = lines[order], plain[order], values[order]
    counts = np.bincount(lines, minlength=n if by_rows else m)
    compressed = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return CompressedArray(layout, compressed, plain.astype(np.int64), values, array.shape)


def _into_blocks(
    rows: Any, columns: Any, values: Any, height: int, width: int, blocks_per_row: int
) -> Any:
    """Elements gathered into the blocks that they fall in, sorted by rows."""
    place = (rows // height) * blocks_per_row + columns // width
    found, position = np.unique(place, return_inverse=True)
    blocks = np.zeros((found.size, height, width, *values.shape[1:]), values.dtype)
    blocks[position.reshape(-1), rows % height, columns % width] = values
    return found // blocks_per_row, found % blocks_per_row, blocks


def to_layout(array: Any, layout: Any, blocksize: Any = None, dense_dim: int = 0) -> Any:
    """Any array in any layout; batches of strided matrices become batches of compressed ones."""
    if layout is devices.strided:
        return array.to_dense() if isinstance(array, SparseArray) else array
    if layout is devices.sparse_coo:
        return dense_to_coordinates(array) if type(array) is ndarray else coordinates_of(array)
    if type(array) is ndarray:
        batch = array.ndim - 2 - dense_dim
        if batch:
            return _compress_batch(array, batch, layout, blocksize)
        array = dense_to_coordinates(array, 2)
    return compress(coordinates_of(array), layout, blocksize)


def _compress_batch(array: Any, batch: int, layout: Any, blocksize: Any) -> CompressedArray:
    parts = [
        compress(dense_to_coordinates(array[at], 2), layout, blocksize)
        for at in np.ndindex(*array.shape[:batch])
    ]
    if len({p.nnz for p in parts}) > 1:
        raise RuntimeError(
            "Expect the same number of specified elements per batch."
        )
    lead = array.shape[:batch]

    def joined(name: str) -> Any:
        stack = np.stack([getattr(p, name) for p in parts])
        return stack.reshape(*lead, *stack.shape[1:])

    return CompressedArray(
        layout, joined("compressed"), joined("plain"), joined("values"), array.shape
    )


def empty_sparse(shape: tuple[int, ...], dtype: Any, layout: Any) -> Any:
    """A sparse array without stored elements."""
    if layout is devices.sparse_coo:
        return CoordinateArray(
            np.zeros((len(shape), 0), np.int64), np.zeros(0, dtype), shape, True
        )
    if len(shape) < 2 or layout.name[7] == "b":
        raise RuntimeError(
            "torch.empty: Only batched sparse compressed (non-block) tensors are supported, but "
            f"got size {list(shape)}"
        )
    batch = shape[:-2]
    lines = shape[-2] if layout is devices.sparse_csr else shape[-1]
    return CompressedArray(
        layout, np.zeros((*batch, lines + 1), np.int64), np.zeros((*batch, 0), np.int64),
        np.zeros((*batch, 0), dtype), shape,
    )


# -- one array -------------------------------------------------------------------------------------


def _on_values(ufunc: Any, inputs: Any, **kwargs: Any) -> Any:
    (array,) = inputs
    return array.with_values(ufunc(array.values, **kwargs))


def _on_coalesced_values(ufunc: Any, inputs: Any, **kwargs: Any) -> Any:
    (array,) = inputs
    if isinstance(array, CoordinateArray):
        array = array.coalesce()
    return array.with_values(ufunc(array.values, **kwargs))


UFUNC_RULES.update(dict.fromkeys(_LINEAR, _on_values))
UFUNC_RULES.update(dict.fromkeys(_KEEP_ZERO, _on_coalesced_values))


_REDUCE_DEFAULTS: tuple[Any, ...] = (None, None, None, False)


def _sum(
    ufunc: Any, inputs: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False,
    **ignored: Any,
) -> Any:
    array, positional = inputs[0], tuple(inputs[1:])
    if positional:  # as `reduce` takes them: axis, dtype, out, keepdims
        axis, dtype, _, keepdims = (*positional, *_REDUCE_DEFAULTS[len(positional) :])
    if axis is None:
        return np.add.reduce(array.values, None, dtype)
    axes = {a % array.ndim for a in ((axis,) if isinstance(axis, int) else axis)}
    if isinstance(array, CompressedArray):
        return _sum_compressed(array, axes, dtype, keepdims)
    return _sum_coordinates(array, axes, dtype, keepdims)


UFUNC_RULES[np.add, "reduce"] = _sum


def _sum_compressed(array: Any, axes: set[int], dtype: Any, keepdims: bool) -> Any:
    if not keepdims:
        raise RuntimeError(
            "reduction operations on CSR tensors with keepdim=False is unsupported"
        )
    summed = _sum_coordinates(coordinates_of(array), axes, dtype, True)
    return compress(summed, array.layout)


def _sum_coordinates(array: Any, axes: set[int], dtype: Any, keepdims: bool) -> Any:
    k = array.sparse_dim
    dense = tuple([a - k + 1 for a in axes if a >= k])
    values = np.add.reduce(array.values, dense, dtype, None, keepdims) if dense else (  # type: ignore[call-overload]
        array.values if dtype is None else array.values.astype(dtype)
    )
    kept = [d for d in range(k) if d not in axes]
    if not kept and not keepdims:
        return np.add.reduce(values, 0)
    rows = array.indices[kept]
    shape = [array.shape[d] for d in kept]
    if keepdims:
        rows = array.indices * np.array([[d not in axes] for d in range(k)])
        shape = [1 if d in axes else array.shape[d] for d in range(k)]
    return CoordinateArray(rows, values, (*shape, *values.shape[1:])).coalesce()


# -- two arrays ------------------------------------------------------------------------------------


def _add(ufunc: Any, inputs: Any, **ignored: Any) -> Any:
    a, b = inputs
    if not isinstance(a, SparseArray) or not isinstance(b, SparseArray):
        if np.shape(a) != np.shape(b):
            raise RuntimeError(
                "add(sparse, dense) is not supported. Use add(dense, sparse) instead."
            )
        dense = [x.to_dense() if isinstance(x, SparseArray) else x for x in (a, b)]
        return ufunc(*dense)
    if a.shape != b.shape:
        raise RuntimeError(
            f"add: expected sizes of 'self' and 'other' to match, but {list(a.shape)} != "
            f"{list(b.shape)}"
        )
    if ufunc is np.subtract:
        b = b.with_values(np.negative(b.values))
    first, second = coordinates_of(a), coordinates_of(b)
    if first.sparse_dim != second.sparse_dim:
        raise RuntimeError(
            "add: expected 'self' and 'other' to have same number of sparse dimensions"
        )
    joined = CoordinateArray(
        np.concatenate([first.indices, second.indices], 1),
        np.concatenate([first.values, second.values]), a.shape,
    ).coalesce()
    if isinstance(a, CompressedArray):
        return compress(joined, a.layout)
    return joined


UFUNC_RULES[np.add] = UFUNC_RULES[np.subtract] = _add


def _multiply(ufunc: Any, inputs: Any, **ignored: Any) -> Any:
    a, b = inputs
    if not isinstance(a, SparseArray):
        a, b = b, a
    if not np.ndim(b):
        number = b.to_dense() if isinstance(b, SparseArray) else b
        return a.with_values(np.multiply(a.values, number))
    if isinstance(a, SparseArray) and isinstance(b, SparseArray):
        return _multiply_sparse(a, b)
    places = coordinates_of(a)
    if places.sparse_dim != places.ndim:
        dense = np.broadcast_to(b, a.shape)[tuple(places.indices)]
    else:
        dense = np.broadcast_to(b, a.shape)[tuple(places.indices)]
    product = places.with_values(np.multiply(places.values, dense))
    return compress(product, a.layout) if isinstance(a, CompressedArray) else product


UFUNC_RULES[np.multiply] = _multiply


def _multiply_sparse(a: Any, b: Any) -> Any:
    if a.shape != b.shape:
        raise RuntimeError(
            f"mul: expected sizes of 'self' and 'other' to match, but {list(a.shape)} != "
            f"{list(b.shape)}"
        )
    first, second = coordinates_of(a).coalesce(), coordinates_of(b).coalesce()
    _, i, j = np.intersect1d(
        first.places(), second.places(), assume_unique=True, return_indices=True
    )
    product = CoordinateArray(
        first.indices[:, i], np.multiply(first.values[i], second.values[j]), a.shape, True
    )
    return compress(product, a.layout) if isinstance(a, CompressedArray) else product


def _divide(ufunc: Any, inputs: Any, **ignored: Any) -> Any:
    a, b = inputs
    if isinstance(b, SparseArray) or np.ndim(b):
        raise RuntimeError(
            "Sparse division requires a scalar or zero-dim dense tensor divisor (got shape "
            f"{list(np.shape(b))} for divisor)"
        )
    if isinstance(a, CoordinateArray) and ufunc is not np.true_divide:
        a = a.coalesce()
    return a.with_values(ufunc(a.values, b))


UFUNC_RULES[np.true_divide] = UFUNC_RULES[np.floor_divide] = _divide


def _power(ufunc: Any, inputs: Any, **ignored: Any) -> Any:
    a, b = inputs
    if isinstance(b, SparseArray) or np.ndim(b) or b <= 0:
        raise RuntimeError("a sparse tensor is raised to positive numbers only")
    if isinstance(a, CoordinateArray):
        a = a.coalesce()
    return a.with_values(ufunc(a.values, b))


UFUNC_RULES[np.power] = _power


def _maximum(ufunc: Any, inputs: Any, **ignored: Any) -> Any:
    """With zero only: what relu asks for."""
    a, b = inputs
    if not isinstance(a, SparseArray):
        a, b = b, a
    if isinstance(b, SparseArray) or np.ndim(b) or b != 0:
        raise RuntimeError("maximum() of a sparse tensor is implemented with zero only")
    if isinstance(a, CoordinateArray):
        a = a.coalesce()
    return a.with_values(ufunc(a.values, b))


UFUNC_RULES[np.maximum] = UFUNC_RULES[np.minimum] = _maximum


# -- matrix products -------------------------------------------------------------------------------


def to_scipy(array: Any) -> Any:
    """A matrix as SciPy has it, in compressed rows or columns; places listed twice add up."""
    import scipy.sparse

    if isinstance(array, CompressedArray) and array.layout in (
        devices.sparse_csr, devices.sparse_csc
    ) and not array.batch_ndim and not array.dense_ndim:
        kind = scipy.sparse.csr_array if array.by_rows else scipy.sparse.csc_array
        return kind((array.values, array.plain, array.compressed), shape=array.shape)
    places = coordinates_of(array)
    return scipy.sparse.csr_array(
        (places.values, (places.indices[0], places.indices[1])), shape=array.shape
    )


def _matmul(ufunc: Any, inputs: Any, **ignored: Any) -> Any:
    a, b = inputs
    if a.ndim == 3 and b.ndim == 3:
        return np.stack([_product(x, y) for x, y in zip(a, b, strict=True)])
    return _product(a, b)


def _product(a: Any, b: Any) -> Any:
    if a.ndim == 1 and b.ndim == 1:
        return _sum(np.add, (_multiply(np.multiply, (a, b)),))
    if not isinstance(a, SparseArray):
        return (to_scipy(b.T) @ a.T).T if b.ndim == 2 else a @ b.to_dense()
    if not isinstance(b, SparseArray):
        return (to_scipy(a) @ b).astype(a.dtype, copy=False)
    return matrix_product(a, b)


UFUNC_RULES[np.matmul] = _matmul


def matrix_product(a: Any, b: Any) -> Any:
    """The product of two sparse matrices, in the layout of the first."""
    if isinstance(a, CoordinateArray) != isinstance(b, CoordinateArray):
        raise RuntimeError(
            "addmm: computation on CPU is not implemented for "
            f"{layout_title(a.layout)} @ {layout_title(b.layout)}: bring both into one layout"
        )
    product = (to_scipy(a) @ to_scipy(b)).tocsr()
    product.sort_indices()
    result = CompressedArray(
        devices.sparse_csr, product.indptr.astype(np.int64), product.indices.astype(np.int64),
        product.data, (a.shape[0], b.shape[1]),
    )
    if a.layout is devices.sparse_csr:
        return result
    return to_layout(result, a.layout)


FUNCTION_RULES[np.dot] = _product


# -- making and joining ----------------------------------------------------------------------------


def _zeros_like(array: Any, dtype: Any = None, shape: Any = None, **ignored: Any) -> Any:
    return empty_sparse(
        array.shape if shape is None else tuple(shape), dtype or array.dtype, array.layout
    )


FUNCTION_RULES[np.zeros_like] = FUNCTION_RULES[np.empty_like] = _zeros_like


def _concatenate(arrays: Any, axis: int = 0, **ignored: Any) -> Any:
    parts = [coordinates_of(a) for a in arrays]
    k = parts[0].sparse_dim
    axis %= parts[0].ndim
    total = sum(p.shape[axis] for p in parts)
    shape = (*parts[0].shape[:axis], total, *parts[0].shape[axis + 1 :])
    if axis >= k:
        raise NotImplementedError("joining sparse tensors along a dense dimension")
    indices, offset = [], 0
    for p in parts:
        moved = p.indices.copy()
        moved[axis] += offset
        offset += p.shape[axis]
        indices.append(moved)
    return CoordinateArray(
        np.concatenate(indices, 1), np.concatenate([p.values for p in parts]), shape
    )


FUNCTION_RULES[np.concatenate] = _concatenate


def _stack(arrays: Any, axis: int = 0, **ignored: Any) -> Any:
    parts = []
    for a in arrays:
        shape = list(a.shape)
        shape.insert(axis % (len(shape) + 1), 1)
        parts.append(a.reshape(tuple(shape)))
    return _concatenate(parts, axis % parts[0].ndim)


FUNCTION_RULES[np.stack] = _stack


def _full_like(array: Any, fill_value: Any, dtype: Any = None, **options: Any) -> Any:
    if np.any(fill_value):
        raise NotImplementedError(
            f"Could not run 'aten::fill_.Scalar' on a tensor with the layout "
            f"{layout_title(array.layout)}: only zeros can be filled in"
        )
    return _zeros_like(array, dtype, **options)


def _broadcast_to(array: Any, shape: Any, **ignored: Any) -> Any:
    """Repeats slices along the sparse dimensions of size 1."""
    result = coordinates_of(array)
    lead = len(shape) - array.ndim
    if lead:
        result = result.reshape((1,) * lead + array.shape)
    for d, n in enumerate(shape):
        if result.shape[d] == 1 and n != 1:
            result = result.take(np.zeros(n, np.int64), d)
    return result


FUNCTION_RULES[np.full_like] = _full_like
FUNCTION_RULES[np.broadcast_to] = _broadcast_to
FUNCTION_RULES[np.shape] = lambda a: a.shape
FUNCTION_RULES[np.ndim] = lambda a: a.ndim
FUNCTION_RULES[np.size] = lambda a: a.size
FUNCTION_RULES[np.transpose] = lambda a, axes=None: a.transpose(axes)
FUNCTION_RULES[np.swapaxes] = lambda a, first, second: a.swapaxes(first, second)
FUNCTION_RULES[np.array_equal] = lambda a, b: bool(
    a.shape == b.shape and np.array_equal(a.to_dense(), b.to_dense())
)


def _any(ufunc: Any, inputs: Any, axis: Any = None, **ignored: Any) -> Any:
    if axis is not None:
        raise NotImplementedError("any() of a sparse tensor along a dimension")
    return np.logical_or.reduce(inputs[0].values, None)


UFUNC_RULES[np.logical_or, "reduce"] = _any
