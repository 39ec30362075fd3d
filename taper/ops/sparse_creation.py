"""Sparse tensors made of their parts, and the checks of what the parts must satisfy."""

from __future__ import annotations

from contextlib import ContextDecorator
from typing import Any

import numpy as np

from taper.arrays.sparse import CompressedArray, CoordinateArray
from taper.arrays.sparse_rules import empty_sparse
from taper.core import device as devices
from taper.core import dtype as dtypes
from taper.core.device import as_device
from taper.core.dtype import as_dtype, get_default_dtype
from taper.core.tensor import LEAF, Tensor
from taper.ops.declare import composite, operator
from taper.ops.sparse_layout import sparse_mask, stored_values, values_at, warn_about_beta
from taper.ops.tensor_data import array_of


class check_sparse_tensor_invariants(ContextDecorator):
    """Switches the checks of sparse tensors' parts on or off: a context, decorator, or by calls.

    Until somebody switches, taper checks.
    """

    _enabled: bool | None = None

    def __init__(self, enable: bool = True) -> None:
        self.state = enable
        self.before: bool | None = None

    @staticmethod
    def is_enabled() -> bool:
        """Returns whether the checks were switched on."""
        return bool(check_sparse_tensor_invariants._enabled)

    @staticmethod
    def enable() -> None:
        """Switches the checks on."""
        check_sparse_tensor_invariants._enabled = True

    @staticmethod
    def disable() -> None:
        """Switches the checks off."""
        check_sparse_tensor_invariants._enabled = False

    def __enter__(self) -> None:
        self.before = check_sparse_tensor_invariants._enabled
        check_sparse_tensor_invariants._enabled = self.state

    def __exit__(self, *error: Any) -> None:
        check_sparse_tensor_invariants._enabled = self.before


def _wants_check(given: bool | None) -> bool:
    if given is not None:
        return given
    return check_sparse_tensor_invariants._enabled is not False


# -- COO -------------------------------------------------------------------------------------------


@operator("_sparse_coo_tensor", hidden=True, unpromoted=("indices",),
          node="SparseCooTensorWithDimsAndTensorsBackward0")
def coordinate_tensor(
    indices: Tensor, values: Tensor, size: Any, is_coalesced: bool
) -> Tensor:
    return CoordinateArray(indices, values, size, is_coalesced)


@coordinate_tensor.derivative("values")
def _(grad, result):
    return values_at(grad, result.detach())


@composite()
def sparse_coo_tensor(
    indices: Any = None, values: Any = None, size: Any = None, *, dtype: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
    check_invariants: bool | None = None, is_coalesced: bool | None = None,
) -> Tensor:
    """Makes a sparse tensor in the COO layout from the places of its elements and their values.

    Args:     indices: one column for each element;  values: the elements, or dense slices
        size: the shape; default: just large enough.  Alone it gives a tensor of zeros.
    Raises:   RuntimeError: if the parts do not fit together
    Example:
        >>> import taper as torch
        >>> torch.sparse_coo_tensor([[0, 1], [1, 0]], [3., 4.], (2, 2)).to_dense()
        tensor([[0., 3.],
                [4., 0.]])
    """
    dtype = as_dtype(dtype, "sparse_coo_tensor")
    as_device(device)
    if values is None:
        if size is None:
            size = indices
        k = len(size)
        made = CoordinateArray(
            np.zeros((k, 0), np.int64), array_of([], dtype), tuple(size), True
        )
        return _finish(made, requires_grad)
    places = _index_array(indices)
    if places.ndim != 2:
        raise RuntimeError(f"indices must be sparse_dim x nnz, but got: {list(places.shape)}")
    elements = _value_tensor(values, dtype)
    shape = _coordinate_size(places, elements._array, size)
    if _wants_check(check_invariants):
        _check_coordinates(places, shape)
    if requires_grad:
        elements = elements.detach()
    result = coordinate_tensor(_wrapped(places), elements, shape, bool(is_coalesced))
    return _require(result, requires_grad)


def _wrapped(array: Any) -> Tensor:
    from taper.core.tensor import wrap

    return wrap(array)


def _index_array(data: Any) -> Any:
    array = data._array if isinstance(data, Tensor) else array_of(data)
    return array if array.dtype in (np.int64, np.int32) else array.astype(np.int64)


def _value_tensor(data: Any, dtype: Any) -> Tensor:
    tensor = data if isinstance(data, Tensor) else _wrapped(array_of(data, dtype))
    return tensor if dtype is None else tensor.to(dtype)


def _coordinate_size(indices: Any, values: Any, size: Any) -> tuple[int, ...]:
    k, nnz = indices.shape
    if size is None:
        if nnz == 0 and k:
            lengths: list[int] = [0] * k
        else:
            least = indices.min(1) if nnz else []
            for d, n in enumerate(least):
                if n < 0:
                    raise RuntimeError(f"found negative index {n} for dim {d}")
            lengths = [int(n) + 1 for n in indices.max(1)] if nnz else []
        size = (*lengths, *values.shape[1:])
    size = tuple([int(n) for n in size])
    dense = values.ndim - 1
    if len(size) != k + dense:
        raise RuntimeError(
            f"'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(size)}, "
            f"sparse_dim = {k}, dense_dim = {dense}"
        )
    if values.shape[0] != nnz:
        raise RuntimeError(
            f"indices and values must have same nnz, but got nnz from indices: {nnz}, nnz from "
            f"values: {values.shape[0]}"
        )
    if tuple(values.shape[1:]) != size[k:]:
        raise RuntimeError(
            f"values has incorrect size, expected {[nnz, *size[k:]]}, got {list(values.shape)}"
        )
    return size


def _check_coordinates(indices: Any, size: tuple[int, ...]) -> None:
    if not indices.shape[1]:
        return
    least, most = indices.min(1), indices.max(1)
    for d in range(indices.shape[0]):
        if least[d] < 0:
            raise RuntimeError(f"found negative index {least[d]} for dim {d}")
        if most[d] >= size[d]:
            raise RuntimeError(
                f"size is inconsistent with indices: for dim {d}, size is {size[d]} but found "
                f"index {most[d]}"
            )


def empty_tensor(
    size: tuple[int, ...], dtype: Any, layout: Any, device: Any, requires_grad: bool
) -> Tensor:
    """A sparse tensor without stored elements, for ``torch.zeros(…, layout=…)``."""
    as_device(device)
    kind = as_dtype(dtype) or get_default_dtype()
    return _finish(empty_sparse(size, kind.numpy_dtype, layout), requires_grad)


def _finish(array: Any, requires_grad: bool) -> Tensor:
    return _require(_wrapped(array), requires_grad)


def _require(tensor: Tensor, requires_grad: bool) -> Tensor:
    if requires_grad:
        if tensor._array.dtype.kind in "biu":
            raise RuntimeError(
                "Only Tensors of floating point and complex dtype can require gradients"
            )
        tensor._edge = LEAF
    return tensor


# -- compressed ------------------------------------------------------------------------------------


@operator("_sparse_compressed_tensor", hidden=True, unpromoted=("compressed", "plain"),
          node="SparseCompressedTensorBackward0")
def compressed_tensor(
    compressed: Tensor, plain: Tensor, values: Tensor, size: Any, layout: Any
) -> Tensor:
    return CompressedArray(layout, compressed, plain, values, size)


@compressed_tensor.derivative("values")
def _(grad, result):
    return stored_values(sparse_mask(grad, result.detach()))


@composite()
def sparse_compressed_tensor(
    compressed_indices: Any, plain_indices: Any, values: Any, size: Any = None, *,
    dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
    requires_grad: bool = False, check_invariants: bool | None = None,
) -> Tensor:
    """Makes a sparse tensor in a compressed layout from its parts.

    Args:     compressed_indices: where each row (or column) begins, and the end
        plain_indices: the column (or row) of each element;  values: the elements, or blocks
        size: the shape; default: just large enough
    Raises:   RuntimeError: if the parts do not fit together
    Example:
        >>> import taper as torch
        >>> torch.sparse_compressed_tensor([0, 1, 1], [1], [5.], layout=torch.sparse_csr).to_dense()
        tensor([[0., 5.],
                [0., 0.]])
    """
    if layout is None:
        raise RuntimeError("sparse_compressed_tensor expected sparse compressed tensor layout but "
                           "got Strided")
    warn_about_beta(layout)
    dtype = as_dtype(dtype, "sparse_compressed_tensor")
    as_device(device)
    compressed, plain = _index_array(compressed_indices), _index_array(plain_indices)
    elements = _value_tensor(values, dtype)
    probe = CompressedArray(layout, compressed, plain, elements._array, ())
    if size is None:
        size = _compressed_size(probe)
    probe.shape = tuple([int(n) for n in size])
    if _wants_check(check_invariants):
        _check_compressed(probe)
    if requires_grad:
        elements = elements.detach()
    result = compressed_tensor(
        _wrapped(compressed), _wrapped(plain), elements, probe.shape, layout
    )
    return _require(result, requires_grad)


def _compressed_size(parts: CompressedArray) -> tuple[int, ...]:
    lines = parts.compressed.shape[-1] - 1
    across = int(parts.plain.max()) + 1 if parts.plain.size else 0
    b = parts.batch_ndim
    dense = parts.values.shape[b + 1 :]
    if parts.has_blocks:
        height, width = dense[:2]
        dense = dense[2:]
    else:
        height = width = 1
    rows, columns = (lines, across) if parts.by_rows else (across, lines)
    return (*parts.plain.shape[:-1], rows * height, columns * width, *dense)


def _check_compressed(parts: CompressedArray) -> None:
    """Raises RuntimeError, naming the invariant that the parts violate."""
    rows = parts.by_rows
    c, p = ("crow_indices", "col_indices") if rows else ("ccol_indices", "row_indices")
    lines_word = "row" if rows else "column"
    compressed, plain = parts.compressed, parts.plain
    b = parts.batch_ndim
    height, width = parts.values.shape[b + 1 : b + 3] if parts.has_blocks else (1, 1)
    n, m = parts.shape[b] // height, parts.shape[b + 1] // width
    lines, across = (n, m) if rows else (m, n)
    if compressed.shape[-1] != lines + 1:
        raise RuntimeError(
            f"{c}.shape[-1] must be equal to the number of {lines_word}s + 1 (={lines + 1}), but "
            f"got {compressed.shape[-1]}"
        )
    if parts.values.shape[b] != parts.nnz:
        raise RuntimeError(
            f"number of elements in {p} must match the number of elements in values "
            f"(={parts.values.shape[b]}), but got {parts.nnz}"
        )
    of = "nrows" if rows else "ncols"
    if (plain < 0).any() or (plain >= across).any():
        raise RuntimeError(
            f"`0 <= {p} < {'ncols' if rows else 'nrows'}` is not satisfied."
        )
    if (compressed[..., 0] != 0).any():
        raise RuntimeError(f"`{c}[..., 0] == 0` is not satisfied.")
    if (compressed[..., -1] != parts.nnz).any():
        raise RuntimeError(f"`{c}[..., -1] == nnz` is not satisfied.")
    counts = np.diff(compressed)
    if (counts < 0).any() or (counts > across).any():
        raise RuntimeError(
            f"`0 <= {c}[..., 1:] - {c}[..., :-1] <= {'ncols' if rows else 'nrows'}` is not "
            "satisfied."
        )
    for at in np.ndindex(*parts.shape[:b]):
        line = np.repeat(np.arange(lines), counts[at])
        same = line[1:] == line[:-1]
        if (np.diff(plain[at])[same] <= 0).any():
            raise RuntimeError(
                f"`{p}[..., {c}[..., i - 1]:{c}[..., i]] for all i = 1, ..., {of} are sorted and "
                "distinct along the last dimension values` is not satisfied."
            )


@composite()
def sparse_csr_tensor(
    crow_indices: Any, col_indices: Any, values: Any, size: Any = None, *, dtype: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
    check_invariants: bool | None = None,
) -> Tensor:
    """Makes a sparse matrix with compressed rows; see `sparse_compressed_tensor`.

    Example:
        >>> import taper as torch
        >>> torch.sparse_csr_tensor([0, 1, 2], [1, 0], [3., 4.]).to_dense()
        tensor([[0., 3.],
                [4., 0.]])
    """
    return sparse_compressed_tensor(
        crow_indices, col_indices, values, size, dtype=dtype, layout=devices.sparse_csr,
        device=device, requires_grad=requires_grad, check_invariants=check_invariants,
    )


@composite()
def sparse_csc_tensor(
    ccol_indices: Any, row_indices: Any, values: Any, size: Any = None, *, dtype: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
    check_invariants: bool | None = None,
) -> Tensor:
    """Makes a sparse matrix with compressed columns; see `sparse_compressed_tensor`.

    Example:
        >>> import taper as torch
        >>> torch.sparse_csc_tensor([0, 1, 2], [1, 0], [3., 4.]).to_dense()
        tensor([[0., 4.],
                [3., 0.]])
    """
    return sparse_compressed_tensor(
        ccol_indices, row_indices, values, size, dtype=dtype, layout=devices.sparse_csc,
        device=device, requires_grad=requires_grad, check_invariants=check_invariants,
    )


@composite()
def sparse_bsr_tensor(
    crow_indices: Any, col_indices: Any, values: Any, size: Any = None, *, dtype: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
    check_invariants: bool | None = None,
) -> Tensor:
    """Makes a sparse matrix with compressed rows of blocks; see `sparse_compressed_tensor`.

    Shape: values (blocks, block rows, block columns)
    Example:
        >>> import taper as torch
        >>> torch.sparse_bsr_tensor([0, 1], [1], torch.ones(1, 1, 2), (1, 4)).to_dense()
        tensor([[0., 0., 1., 1.]])
    """
    return sparse_compressed_tensor(
        crow_indices, col_indices, values, size, dtype=dtype, layout=devices.sparse_bsr,
        device=device, requires_grad=requires_grad, check_invariants=check_invariants,
    )


@composite()
def sparse_bsc_tensor(
    ccol_indices: Any, row_indices: Any, values: Any, size: Any = None, *, dtype: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
    check_invariants: bool | None = None,
) -> Tensor:
    """Makes a sparse matrix with compressed columns of blocks; see `sparse_compressed_tensor`.

    Shape: values (blocks, block rows, block columns)
    Example:
        >>> import taper as torch
        >>> torch.sparse_bsc_tensor([0, 0, 1], [0], torch.ones(1, 1, 2), (1, 4)).to_dense()
        tensor([[0., 0., 1., 1.]])
    """
    return sparse_compressed_tensor(
        ccol_indices, row_indices, values, size, dtype=dtype, layout=devices.sparse_bsc,
        device=device, requires_grad=requires_grad, check_invariants=check_invariants,
    )


# -- typed classes -------------------------------------------------------------------------------


class SparseTensorType(type):
    """The type of ``torch.sparse.FloatTensor`` and its siblings, PyTorch's older way."""

    __module__ = "torch"
    dtype: Any = None
    layout = devices.sparse_coo
    is_cuda = False
    is_sparse = True

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is cls.dtype and (
            instance.layout is devices.sparse_coo
        )

    def __call__(cls, *args: Any) -> Tensor:
        if args and isinstance(args[0], Tensor):
            return sparse_coo_tensor.function(*args, dtype=cls.dtype)
        sizes = args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
        return empty_tensor(tuple(sizes), cls.dtype, devices.sparse_coo, None, False)


SparseTensorType.__name__ = SparseTensorType.__qualname__ = "tensortype"

TYPED_CLASSES: dict[str, type] = {
    f"{name}Tensor": SparseTensorType(
        f"{name}Tensor", (), {"dtype": d, "__module__": "torch.sparse"}
    )
    for name, d in dtypes.LEGACY_DTYPES.items() if 0 < d.category < 3
}
