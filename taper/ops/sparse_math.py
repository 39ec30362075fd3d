"""`torch.sparse`: products, sums and softmax of sparse tensors.

What keeps the places of the elements has a gradient at those places only, as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import taper
from taper.arrays import sparse_rules
from taper.arrays.sparse import CoordinateArray, SparseArray
from taper.core import device as devices
from taper.core.device import layout_title
from taper.core.dtype import as_dtype
from taper.core.errors import normalize_dim
from taper.core.tensor import Tensor
from taper.ops.added_product import add_scaled
from taper.ops.arithmetic import conj
from taper.ops.declare import composite, operator
from taper.ops.reduction import sum_to
from taper.ops.signature import Number
from taper.ops.solve import adjoint
from taper.ops.sparse_creation import sparse_coo_tensor
from taper.ops.sparse_layout import sparse_mask, stored_values, to_sparse, with_values


def _unsupported(name: str, input: Tensor) -> NotImplementedError:
    return NotImplementedError(
        f"Could not run 'aten::{name}' with arguments of the layout {layout_title(input.layout)}: "
        "convert the tensor with to_sparse() or to_sparse_csr() first."
    )


def _masked_like(grad: Tensor, input: Tensor) -> Tensor:
    """A gradient at the places that a sparse tensor stores; all of it for a strided one."""
    if isinstance(input._array, SparseArray):
        return sparse_mask(grad, input)
    return grad


# -- products ------------------------------------------------------------------------------------


@operator("_sparse_addmm", hidden=True, node="SparseAddmmBackward0")
def sparse_addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, beta: Number, alpha: Number
) -> Tensor:
    return add_scaled(input, np.matmul(mat1, mat2), beta, alpha)


@sparse_addmm.derivative("input")
def _(grad, beta, input_shape):
    return sum_to(grad * conj(beta), input_shape)


@sparse_addmm.derivative("mat1")
def _(grad, mat1, mat2, alpha):
    return _masked_like((grad @ adjoint(mat2)) * conj(alpha), mat1)


@sparse_addmm.derivative("mat2")
def _(grad, mat1, mat2, alpha):
    return _masked_like((adjoint(mat1) @ grad) * conj(alpha), mat2)


@operator("_sparse_sparse_matmul", hidden=True, node="SparseSparseMatmulBackward0")
def sparse_product(mat1: Tensor, mat2: Tensor) -> Tensor:
    return np.matmul(mat1, mat2)


@sparse_product.derivative("mat1")
def _(grad, mat1, mat2):
    return sparse_mask(sparse_product(grad, adjoint(mat2)), mat1)


@sparse_product.derivative("mat2")
def _(grad, mat1, mat2):
    return sparse_mask(sparse_product(adjoint(mat1), grad), mat2)


@composite("sparse.mm")
def mm(mat1: Tensor, mat2: Tensor, reduce: str | None = None) -> Tensor:
    """Multiplies matrices of which at least one is sparse; two sparse ones give a sparse one.

    Args: reduce: combine the products of a row by "sum", "mean", "amax", "amin" (CSR @ dense)
    Example:
        >>> import taper as torch
        >>> torch.sparse.mm(torch.eye(2).to_sparse(), torch.ones(2, 1))
        tensor([[1.],
                [1.]])
    """
    if mat1.shape[-1] != mat2.shape[-2]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({mat1.shape[0]}x{mat1.shape[1]} and "
            f"{mat2.shape[0]}x{mat2.shape[1]})"
        )
    if reduce is not None:
        return _reduced_product(mat1, mat2, reduce)
    if isinstance(mat1._array, SparseArray) and isinstance(mat2._array, SparseArray):
        return sparse_product(mat1, mat2)
    start = taper.zeros(mat1.shape[0], mat2.shape[1], dtype=mat2.dtype)
    return sparse_addmm(start, mat1, mat2, 1, 1)


_REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


def _reduced_product(mat1: Tensor, mat2: Tensor, reduce: str) -> Tensor:
    if reduce not in _REDUCTIONS:
        raise RuntimeError(
            "reduce argument must be either sum, prod, mean, amax or amin, got " + reduce
        )
    if mat1.layout is not devices.sparse_csr or mat2.layout is not devices.strided:
        raise _unsupported("_sparse_mm_reduce_impl", mat1)
    return product_by_rows(mat1, mat2, reduce)


@operator("_sparse_mm_reduce_impl", hidden=True, node="SparseMmReduceImplBackward0",
          aux=("weights",))
def product_by_rows(mat1: Tensor, mat2: Tensor, reduce: str) -> Tensor:
    """The products of each row's elements, combined; rows without elements give 0."""
    products = mat1.values[:, None] * mat2[mat1.plain]
    counts = np.diff(mat1.compressed)
    kept = counts > 0
    starts = mat1.compressed[:-1][kept]
    result = np.zeros((mat1.shape[0], mat2.shape[1]), products.dtype)
    weights = np.ones((products.shape[0], 1), products.dtype)
    if not starts.size:
        return result, weights
    if reduce == "prod":
        result[kept] = np.multiply.reduceat(products, starts, 0)
        return result, np.full_like(weights, np.nan)
    if reduce in ("sum", "mean"):
        result[kept] = np.add.reduceat(products, starts, 0)
        if reduce == "mean":
            share = counts.astype(products.dtype)
            result[kept] /= share[kept, None]
            weights = 1 / np.repeat(share[kept], counts[kept])[:, None]
        return result, weights
    extremum = np.maximum if reduce == "amax" else np.minimum
    result[kept] = extremum.reduceat(products, starts, 0)
    attained = products == np.repeat(result, counts, 0)
    earlier = np.cumsum(attained, 0)  # of a row's equal products the first one gets the gradient
    before = np.concatenate([np.zeros_like(earlier[:1]), earlier])[starts]
    first = attained & (earlier - np.repeat(before, counts[kept], 0) == 1)
    return result, first.astype(products.dtype)


@product_by_rows.derivative("mat1", "mat2")
def _(grad, mat1, mat2, weights, reduce, needs):
    if reduce == "prod":
        raise NotImplementedError("the derivative of sparse.mm with reduce='prod'")
    counts = np.diff(mat1._array.compressed)
    rows = taper.from_numpy(np.repeat(np.arange(counts.size), counts))
    columns = taper.from_numpy(mat1._array.plain)
    spread = grad[rows] * weights
    first = second = None
    if needs[0]:
        first = with_values(mat1.detach(), (spread * conj(mat2)[columns]).sum(1))
    if needs[1]:
        scaled = spread * conj(stored_values(mat1)).unsqueeze(1)
        second = taper.zeros(mat2.shape, dtype=scaled.dtype).index_add(0, columns, scaled)
    return first, second


@composite("sparse.addmm")
def addmm(
    mat: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    r"""Adds a product with a sparse matrix to a dense one: :math:`\beta M + \alpha A B`.

    Example:
        >>> import taper as torch
        >>> torch.sparse.addmm(torch.ones(1, 1), torch.ones(1, 1).to_sparse(), torch.ones(1, 1))
        tensor([[2.]])
    """
    if isinstance(mat._array, SparseArray):
        raise RuntimeError("expand is unsupported for Sparse tensors")
    return sparse_addmm(mat, mat1, mat2, beta, alpha)


@operator("_sparse_sampled_addmm", hidden=True, node="SparseSampledAddmmBackward0")
def sampled_product(
    input: Tensor, mat1: Tensor, mat2: Tensor, beta: Number, alpha: Number
) -> Tensor:
    sampled = sparse_mask.forward(np.matmul(mat1, mat2), input)
    scaled = sampled.values * np.asarray(alpha).astype(sampled.dtype)
    if beta != 0:
        scaled = scaled + input.values * np.asarray(beta).astype(sampled.dtype)
    return input.with_values(scaled)


@sampled_product.derivative("input")
def _(grad, beta):
    return grad * conj(beta)


@sampled_product.derivative("mat1", "mat2")
def _(grad, input, mat1, mat2, alpha, needs):
    dense = sparse_mask(grad, input).to_dense(masked_grad=False)
    first = (dense @ adjoint(mat2)) * conj(alpha) if needs[0] else None
    return first, (adjoint(mat1) @ dense) * conj(alpha) if needs[1] else None


@composite("sparse.sampled_addmm", out=True)
def sampled_addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    r"""Adds a dense product at the places that `input` stores: :math:`\beta S + \alpha (A B)_S`.

    Example:
        >>> import taper as torch
        >>> S = torch.eye(2).to_sparse_csr()
        >>> torch.sparse.sampled_addmm(S, torch.ones(2, 3), torch.ones(3, 2)).values()
        tensor([4., 4.])
    """
    if input.layout is not devices.sparse_csr:
        raise _unsupported("sparse_sampled_addmm", input)
    if mat1.shape[-1] != mat2.shape[-2]:
        raise RuntimeError(
            f"sampled_addmm: mat1 and mat2 shapes cannot be multiplied ({mat1.shape[-2]}x"
            f"{mat1.shape[-1]} and {mat2.shape[-2]}x{mat2.shape[-1]})"
        )
    return sampled_product(input, mat1, mat2, beta, alpha)


@composite(method=True)
def smm(input: Tensor, mat: Tensor) -> Tensor:
    """Multiplies a sparse with a dense matrix; the result is sparse.

    Example:
        >>> import taper as torch
        >>> torch.smm(torch.eye(1).to_sparse(), torch.ones(1, 1)).to_dense()
        tensor([[1.]])
    """
    return to_sparse.function(mm.function(input, mat))


@composite(aliases=("hsmm",))
def hspmm(mat1: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Multiplies a sparse COO with a dense matrix; the result has sparse rows.

    Example:
        >>> import taper as torch
        >>> torch.hspmm(torch.eye(1).to_sparse(), torch.ones(1, 1)).to_dense()
        tensor([[1.]])
    """
    if mat1.layout is not devices.sparse_coo:
        raise _unsupported("hspmm", mat1)
    return _put_into(out, to_sparse.function(mm.function(mat1, mat2), 1))


def _put_into(out: Tensor | None, result: Tensor) -> Tensor:
    """A sparse result as the new content of `out=`."""
    if out is None:
        return result
    if out.layout is not result.layout or out.dtype is not result.dtype:
        raise RuntimeError(
            f"out= must be a {result.layout} tensor of {result.dtype}, but it is a {out.layout} "
            f"tensor of {out.dtype}"
        )
    out._array = result._array
    out._bump_version()
    return out


@composite(method=True)
def sspaddmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Number = 1, alpha: Number = 1,
    out: Tensor | None = None,
) -> Tensor:
    r"""Adds a product to a sparse matrix, sparsely: :math:`\beta S + \alpha A B`.

    Example:
        >>> import taper as torch
        >>> S = torch.eye(1).to_sparse()
        >>> torch.sspaddmm(S, S, torch.ones(1, 1)).to_dense()
        tensor([[2.]])
    """
    return _put_into(out, input * beta + smm.function(mat1, mat2) * alpha)


@operator("_spsolve", hidden=True, node="SpsolveBackward0")
def sparse_solve(A: Tensor, B: Tensor) -> Tensor:
    from scipy.sparse.linalg import spsolve as solve

    return solve(sparse_rules.to_scipy(A).tocsc(), B).astype(B.dtype, copy=False)


@sparse_solve.derivative("A", "B")
def _(grad, A, result, needs):
    inner = sparse_solve(to_sparse.function(adjoint(A), layout=A.layout), grad)
    outer = taper.outer(inner, conj(result)) if grad.ndim == 1 else inner @ adjoint(result)
    return sparse_mask(-outer, A) if needs[0] else None, inner if needs[1] else None


@composite("sparse.spsolve")
def spsolve(input: Tensor, other: Tensor, *, left: bool = True) -> Tensor:
    """Solves A x = other for a sparse `input` A in the CSR layout, by SuperLU.

    Example:
        >>> import taper as torch
        >>> torch.sparse.spsolve((2 * torch.eye(2)).to_sparse_csr(), torch.ones(2))
        tensor([0.5000, 0.5000])
    """
    if input.layout is not devices.sparse_csr or not left:
        raise _unsupported("_spsolve", input)
    return sparse_solve(input, other)


# -- sums ----------------------------------------------------------------------------------------


@operator("_sparse_sum", hidden=True, node="SparseSumBackward0")
def sum_along(input: Tensor, dims: Any) -> Tensor:
    return np.add.reduce(input, dims)


@sum_along.derivative("input")
def _(grad, input, dims):
    grad = grad.to_dense()
    for d in sorted(dims):
        grad = grad.unsqueeze(d)
    return sparse_mask(grad.expand(input.shape), input)


@composite("sparse.sum")
def sum(input: Tensor, dim: Any = None, dtype: Any = None) -> Tensor:
    """Adds up a COO tensor: all of it, or along `dim`, which gives a sparse tensor again.

    Example:
        >>> import taper as torch
        >>> torch.sparse.sum(torch.eye(2).to_sparse(), 0).to_dense()
        tensor([1., 1.])
    """
    if input.layout is not devices.sparse_coo:
        if dim is not None:
            raise _unsupported("_indices", input)
        raise RuntimeError(
            "coalesce expected sparse coordinate tensor layout but got "
            f"{layout_title(input.layout)}"
        )
    wanted = as_dtype(dtype)
    if wanted is not None:
        input = input.to(wanted)
    if dim is None:
        return input.coalesce().values().sum() if wanted is None else input.sum()
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    return sum_along(input, tuple([normalize_dim(d, input.ndim) for d in dims]))


# -- softmax -------------------------------------------------------------------------------------


def _groups(array: CoordinateArray, dim: int) -> Any:
    """For each stored element, the number of the line along `dim` that it lies in."""
    rest = [d for d in range(array.sparse_dim) if d != dim]
    if not rest:
        return np.zeros(array.nnz, np.int64)
    places = np.ravel_multi_index(
        tuple(array.indices[rest]), tuple([array.shape[d] for d in rest])
    )
    return np.unique(places, return_inverse=True)[1].reshape(-1)


def _softmax(array: Any, dim: int, in_logs: bool) -> tuple[Any, Any]:
    """Softmax over the stored elements only: what is not stored counts as minus infinity."""
    array = array.coalesce()
    values = array.values
    if dim >= array.sparse_dim:
        axis = dim - array.sparse_dim + 1
        shifted = values - np.maximum.reduce(values, axis, None, None, True)
        total = np.add.reduce(np.exp(shifted), axis, None, None, True)
        groups = np.zeros(0, np.int64)
    else:
        groups = _groups(array, dim)
        lines = int(groups.max()) + 1 if groups.size else 0
        largest = np.full((lines, *values.shape[1:]), -np.inf, values.dtype)
        np.maximum.at(largest, groups, values)
        shifted = values - largest[groups]
        sums = np.zeros_like(largest)
        np.add.at(sums, groups, np.exp(shifted))
        total = sums[groups]
    found = shifted - np.log(total) if in_logs else np.exp(shifted) / total
    return array.with_values(found), groups


def _line_sums(values: Tensor, groups: Tensor, dim: int, sparse_dim: int) -> Tensor:
    """The sum of each element's line along `dim`, for every element."""
    if dim >= sparse_dim:
        return values.sum(dim - sparse_dim + 1, keepdim=True)
    lines = int(groups.max()) + 1 if groups.numel() else 0
    sums = taper.zeros(lines, *values.shape[1:], dtype=values.dtype)
    return sums.index_add(0, groups, values)[groups]


@operator("_sparse_softmax", hidden=True, node="SparseSoftmaxBackward0", aux=("groups",))
def sparse_softmax(input: Tensor, dim: int) -> Tensor:
    return _softmax(input, dim, False)


@sparse_softmax.derivative("input")
def _(grad, result, groups, dim):
    y = stored_values(result)
    g = stored_values(sparse_mask(grad, result))
    found = y * (g - _line_sums(y * g, groups, dim, result.sparse_dim()))
    return with_values(result.detach(), found)


@operator("_sparse_log_softmax", hidden=True, node="SparseLogSoftmaxBackward0", aux=("groups",))
def sparse_log_softmax(input: Tensor, dim: int) -> Tensor:
    return _softmax(input, dim, True)


@sparse_log_softmax.derivative("input")
def _(grad, result, groups, dim):
    g = stored_values(sparse_mask(grad, result))
    found = g - stored_values(result).exp() * _line_sums(g, groups, dim, result.sparse_dim())
    return with_values(result.detach(), found)


def _prepared(input: Tensor, dim: int, dtype: Any, name: str) -> tuple[Tensor, int]:
    if input.layout is not devices.sparse_coo:
        raise _unsupported(name, input)
    if dtype is not None:
        input = input.to(as_dtype(dtype))
    return input, normalize_dim(dim, input.ndim)


@composite("sparse.softmax")
def softmax(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Softmax of a COO tensor along `dim`; what is not stored counts as minus infinity.

    Example:
        >>> import taper as torch
        >>> torch.sparse.softmax(torch.eye(2).to_sparse(), 0).values()
        tensor([1., 1.])
    """
    return sparse_softmax(*_prepared(input, dim, dtype, "_sparse_softmax"))


@composite("sparse.log_softmax")
def log_softmax(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The logarithm of `sparse.softmax`.

    Example:
        >>> import taper as torch
        >>> torch.sparse.log_softmax(torch.eye(2).to_sparse(), 0).values()
        tensor([0., 0.])
    """
    return sparse_log_softmax(*_prepared(input, dim, dtype, "_sparse_log_softmax"))


# -- making and checking -------------------------------------------------------------------------


@composite("sparse.spdiags")
def spdiags(diagonals: Tensor, offsets: Tensor, shape: Any, layout: Any = None) -> Tensor:
    """Makes a sparse matrix of diagonals: row i of `diagonals`, `offsets[i]` above the main one.

    Element j of a row goes to column j.

    Example:
        >>> import taper as torch
        >>> torch.sparse.spdiags(torch.ones(1, 2), torch.tensor([1]), (2, 2)).to_dense()
        tensor([[0., 1.],
                [0., 0.]])
    """
    if diagonals.ndim < 2:
        diagonals = diagonals.unsqueeze(0)
    steps = [int(o) for o in offsets._array.reshape(-1)]
    if len(shape) != 2:
        raise RuntimeError("Output shape must be 2d")
    if len(steps) != diagonals.shape[0]:
        raise RuntimeError(
            f"Number of diagonals ({diagonals.shape[0]}) does not match the number of offsets "
            f"({len(steps)})"
        )
    if len(set(steps)) != len(steps):
        raise RuntimeError("Offset tensor contains duplicate values")
    n, m = shape
    rows, columns, parts = [], [], []
    for i, step in enumerate(steps):
        found = np.arange(max(step, 0), max(min(m, n + step, diagonals.shape[1]), 0))
        rows.append(found - step)
        columns.append(found)
        parts.append(diagonals[i][max(step, 0) : max(step, 0) + found.size])
    indices = taper.from_numpy(np.stack([np.concatenate(rows), np.concatenate(columns)]))
    result = sparse_coo_tensor.function(indices, taper.cat(parts), (n, m))
    if layout is None or layout is devices.sparse_coo:
        return result
    return to_sparse.function(result, layout=layout)


@composite("sparse.as_sparse_gradcheck")
def as_sparse_gradcheck(gradcheck: Callable[..., bool]) -> Callable[..., bool]:
    """Lets a `gradcheck` take functions of sparse tensors: it varies their stored elements.

    With ``masked=False`` it varies all elements.
    Example:
        >>> import taper as torch
        >>> check = torch.sparse.as_sparse_gradcheck(torch.autograd.gradcheck)
        >>> x = torch.eye(2, dtype=torch.float64).to_sparse().requires_grad_()
        >>> check(lambda t: (t * 3).to_dense(), (x,))
        True
    """

    def check(func: Callable[..., Any], inputs: Any, **options: Any) -> bool:
        masked = options.pop("masked", False)
        given = inputs if isinstance(inputs, (list, tuple)) else (inputs,)
        is_sparse = [isinstance(t, Tensor) and isinstance(t._array, SparseArray) for t in given]

        def varied(t: Tensor) -> Tensor:
            start = t.detach().values() if masked else t.detach().to_dense()
            return start.clone().requires_grad_(t.requires_grad)

        def rebuilt(t: Tensor, values: Tensor) -> Tensor:
            if masked:
                return with_values(t.detach(), values)
            options = {"blocksize": tuple(t.values().shape[-2:])} if (
                t.layout in (devices.sparse_bsr, devices.sparse_bsc)) else {}
            # All elements are stored, zeros too: each must have a place for its gradient.
            numbered = values.new_ones(values.numel()).cumsum(0).reshape(values.shape)
            places = to_sparse.function(numbered, layout=t.layout, **options)
            return with_values(places, values.reshape(-1)[places.values().real.long() - 1])

        def dense(value: Any) -> Any:
            if isinstance(value, Tensor) and isinstance(value._array, SparseArray):
                return value.to_dense(masked_grad=masked)
            return value

        def function(*values: Any) -> Any:
            arguments = [
                rebuilt(t, v) if sparse else v
                for t, v, sparse in zip(given, values, is_sparse, strict=True)
            ]
            result = func(*arguments)
            if isinstance(result, (list, tuple)):
                return tuple(dense(r) for r in result)
            return dense(result)

        start = tuple(varied(t) if s else t for t, s in zip(given, is_sparse, strict=True))
        return gradcheck(function, start, **options)

    return check


@composite("sparse.to_sparse_semi_structured")
def to_sparse_semi_structured(original_tensor: Tensor, transposed: bool = False) -> Tensor:
    """Raises NotImplementedError: two of four zero is a format of graphics processors.

    Example: a format that is there.
        >>> import taper as torch
        >>> torch.eye(4).to_sparse_csr() @ torch.ones(4)
        tensor([1., 1., 1., 1.])
    """
    raise NotImplementedError(
        "to_sparse_semi_structured(): the layout with two of four elements zero needs a graphics "
        "processor. Use to_sparse_csr(), or keep the zeros in a strided tensor"
    )
