"""Norms of matrices, condition numbers and ranks. Norms of vectors are in norm.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import taper
from taper.core.dtype import FLOATING, REDUCED_FLOATS, as_dtype
from taper.core.errors import normalize_dim
from taper.core.promotion import promote_types, scalar_type_name
from taper.core.tensor import Tensor
from taper.core.user_warning import warn_once
from taper.kernels import linear_algebra
from taper.ops.declare import composite, operator
from taper.ops.least_squares import numbers_of, tolerance
from taper.ops.matrix_checks import check_has_tolerance, check_matrix, check_square
from taper.ops.norm import vector_norm
from taper.ops.spectral import svdvals

_NUMBERS = (int, float)


def _cast(A: Tensor, dtype: Any, name: str) -> Tensor:
    """The tensor in the dtype asked for, which must not narrow it."""
    wanted = as_dtype(dtype)
    given = A.dtype
    if wanted is None:
        return A
    if wanted.category < FLOATING:
        raise RuntimeError(
            f"{name}: dtype should be floating point or complex, but got {scalar_type_name(wanted)}"
        )
    if wanted.is_complex != given.is_complex:
        kind = "complex" if given.is_complex else "real"
        raise RuntimeError(
            f"{name}: dtype should be {kind} for {kind} inputs, but got {scalar_type_name(wanted)}"
        )
    if promote_types(given, wanted) is not wanted:
        raise RuntimeError(
            f"{name}: the dtype of the input ({scalar_type_name(given)}) should be convertible "
            f"without narrowing to the specified dtype ({scalar_type_name(wanted)})"
        )
    return A.to(wanted)


def _two_dims(dim: Any, ndim: int) -> tuple[int, int]:
    name = "linalg.matrix_norm"
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    if len(dims) != 2:
        raise RuntimeError(f"{name}: dim must be a 2-tuple. Got {' '.join(map(str, dims))}")
    first, second = (normalize_dim(d, ndim) for d in dims)
    if first == second:
        raise RuntimeError(f"{name}: dims must be different. Got ({dims[0]}, {dims[1]})")
    return first, second


@composite("linalg.matrix_norm", out=True)
def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *,
    dtype: Any = None,
) -> Tensor:
    r"""A norm of matrices: "fro", "nuc" (the sum of singular values), inf, -inf, 1, -1, 2 or -2.

    Args: ord: 1 is the largest column sum of magnitudes, inf the largest row sum, 2 the largest
        singular value; their negatives take the smallest.
    Shape:    (*, m, n) → (*)
    Example:
        >>> import taper as torch
        >>> A = torch.tensor([[3., 0.], [0., 4.]])
        >>> torch.linalg.matrix_norm(A), torch.linalg.matrix_norm(A, ord="nuc")
        (tensor(5.), tensor(7.))
    """
    name = "linalg.matrix_norm"
    if A.ndim < 2 or A.dtype.category < FLOATING:
        check_matrix(A._array, name)
    if isinstance(ord, str):
        if ord not in ("fro", "nuc"):
            raise RuntimeError(f"{name}: Order {ord} not supported.")
        dims = _two_dims(dim, A.ndim)
        if ord == "fro":
            return vector_norm(A, 2, dims, keepdim, dtype=dtype)
        return _of_singular_values(_cast(A, dtype, name), dims, keepdim, _sum)
    magnitude = abs(ord)
    if magnitude not in (1, 2, math.inf):
        raise RuntimeError(f"{name}: Order {_order_text(ord)} not supported.")
    if A.dtype in REDUCED_FLOATS and magnitude == 2:
        check_matrix(A._array, name)
    rows, columns = _two_dims(dim, A.ndim)
    extremum = _largest if ord > 0 else _smallest
    if magnitude == 2:
        return _of_singular_values(_cast(A, dtype, name), (rows, columns), keepdim, extremum)
    summed, kept = (rows, columns) if magnitude == 1 else (columns, rows)
    if not keepdim and summed < kept:
        kept -= 1
    return extremum(vector_norm(A, 1, summed, keepdim, dtype=dtype), kept, keepdim)


def _order_text(order: Any) -> str:
    return str(int(order)) if math.isfinite(order) and order == int(order) else str(order)


def _sum(x: Tensor, dim: int, keepdim: bool) -> Tensor:
    return x.sum(dim, keepdim)


def _largest(x: Tensor, dim: int, keepdim: bool) -> Tensor:
    """The maximum; of nothing 0, as a norm is."""
    if x.shape[dim] == 0:
        return x.sum(dim, keepdim)
    return x.amax(dim, keepdim)


def _smallest(x: Tensor, dim: int, keepdim: bool) -> Tensor:
    return x.amin(dim, keepdim)


def _of_singular_values(A: Tensor, dims: tuple[int, int], keepdim: bool, reduce: Any) -> Tensor:
    result = reduce(svdvals(A.movedim(dims, (-2, -1))), -1, False)
    if keepdim:
        for d in sorted(dims):
            result = result.unsqueeze(d)
    return result


@composite("linalg.norm", out=True)
def norm(
    A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *,
    dtype: Any = None,
) -> Tensor:
    """A norm of vectors or matrices: of matrices if `dim` has two dimensions, or A and no `dim`.

    Args: ord: an order of `linalg.vector_norm` or of `linalg.matrix_norm`; default: the root of
        the sum of squares, of any number of dimensions.
    Example:
        >>> import taper as torch
        >>> torch.linalg.norm(torch.tensor([[3., 0.], [0., 4.]]), 2)
        tensor(4.)
    """
    dims = None if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    if ord is not None:
        if dims is not None and len(dims) not in (1, 2) and not isinstance(ord, str):
            raise RuntimeError(
                "linalg.norm: If dim is specified, it must be of length 1 or 2. Got "
                f"{list(dims)}"
            )
        if dims is None and A.ndim not in (1, 2) and not isinstance(ord, str):
            raise RuntimeError(
                "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
                f"{A.ndim}D."
            )
    elif dims is not None and len(dims) not in (1, 2):
        raise RuntimeError(
            f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dims)}"
        )
    if isinstance(ord, str):
        if dims is None and A.ndim != 2:
            raise RuntimeError(
                f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
                f"{A.ndim}D."
            ) if A.ndim not in (1, 2) else RuntimeError(
                "linalg.matrix_norm: The input tensor A must have at least 2 dimensions."
            )
        return matrix_norm.function(
            A, ord, (-2, -1) if dims is None else dims, keepdim, dtype=dtype
        )
    if ord is not None and (len(dims) == 2 if dims is not None else A.ndim == 2):
        return matrix_norm.function(
            A, ord, (0, 1) if dims is None else dims, keepdim, dtype=dtype
        )
    return vector_norm(A, 2 if ord is None else ord, dims, keepdim, dtype=dtype)


@composite("linalg.cond", out=True)
def cond(A: Tensor, p: Any = None) -> Tensor:
    """The condition number: the norm of A times that of its inverse; default: of order 2.

    It is infinite where A is singular.

    Shape:    (*, m, n) → (*)
    Example:
        >>> import taper as torch
        >>> torch.linalg.cond(torch.tensor([[2., 0.], [0., 1.]]))
        tensor(2.)
    """
    check_matrix(A._array, "linalg.svd" if p in (None, 2, -2) else "linalg.cond")
    if (not isinstance(p, str) and p is not None and abs(p) not in (1, 2, math.inf)) or (
        isinstance(p, str) and p not in ("fro", "nuc")
    ):
        raise RuntimeError(f"linalg.cond got an invalid norm type: {p}")
    if p is None or p in (2, -2):
        if not A.numel():
            return A.new_zeros(A.shape[:-2]).real
        values = svdvals(A)
        first, last = values[..., 0], values[..., -1]
        return first / last if p != -2 else last / first
    check_square(A._array, f"linalg.cond(ord={p})")
    if not A.numel():
        return A.new_zeros(A.shape[:-2]).real
    if p == "nuc":
        values = svdvals(A)
        return values.sum(-1) * (1 / values).sum(-1)
    inverse, info = taper.linalg.inv_ex(A)
    inverse = inverse.masked_fill((info != 0)[..., None, None], math.inf)
    product = matrix_norm.function(A, p) * matrix_norm.function(inverse, p)
    return taper.nan_to_num(product, nan=math.inf, posinf=math.inf, neginf=-math.inf)


@operator(hidden=True, differentiable=False)
def rank_of(A: Tensor, atol: Any, rtol: Any, hermitian: bool) -> Tensor:
    """How many singular values (or magnitudes of eigenvalues) exceed the tolerance."""
    *lead, m, n = A.shape
    if hermitian:
        check_square(A, "linalg.eigh")
    if not A.size:
        return np.zeros_like(A, shape=tuple(lead), dtype=np.int64)
    if hermitian:
        values = np.absolute(linear_algebra.eigenvalues_of_symmetric(A))
    else:
        values = linear_algebra.singular_values(A, compute_uv=False)
    return np.add.reduce(values > tolerance(values, m, n, atol, rtol), -1, np.int64)


@composite("linalg.matrix_rank", out=True)
def matrix_rank(
    A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None,
    rtol: Any = None,
) -> Tensor:
    """The rank: how many singular values exceed max(atol, rtol * the largest).

    Args:     rtol: default eps * max(m, n), or 0 if `atol` is given
        hermitian: A is Hermitian: use eigenvalues;  tol: an old name of `atol`
    Shape:    (*, m, n) → (*), int64
    Example:
        >>> import taper as torch
        >>> torch.linalg.matrix_rank(torch.ones(2, 2))
        tensor(1)
    """
    if A.dim() >= 2:
        check_has_tolerance(A._array)
    check_matrix(A._array, "torch.linalg.matrix_rank", "input")
    if tol is not None:
        atol, rtol = tol, 0.0
    for name, value in (("atol", atol), ("rtol", rtol)):
        if isinstance(value, Tensor) and value.is_complex():
            raise RuntimeError(
                f"torch.linalg.matrix_rank: {name} tensor of complex type is not supported."
            )
    return rank_of(A, *numbers_of(atol, rtol), hermitian)


def _warn_about_old_norm(name: str, cure: str) -> None:
    warn_once(
        name,
        f"at::{name} is deprecated and it is just left for JIT compatibility. It will be removed "
        f"in a future PyTorch release. Please use `{cure}` instead",
    )


@composite(out=True)
def frobenius_norm(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The root of the sum of squares, of all elements or along `dim`. Deprecated.

    Example:
        >>> import taper as torch
        >>> torch.frobenius_norm(torch.tensor([[3., 4.]]))
        tensor(5.)
    """
    _warn_about_old_norm("frobenius_norm", "linalg.vector_norm(A, 2., dim, keepdim)")
    return vector_norm(input, 2, dim, keepdim)


@composite(out=True)
def nuclear_norm(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The sum of the singular values of matrices. Deprecated: use `linalg.matrix_norm`.

    Example:
        >>> import taper as torch
        >>> torch.nuclear_norm(torch.eye(3))
        tensor(3.)
    """
    _warn_about_old_norm("nuclear_norm", "linalg.matrix_norm(A, 'nuc', dim, keepdim)")
    return matrix_norm.function(input, "nuc", (-2, -1) if dim is None else dim, keepdim)
