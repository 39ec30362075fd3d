"""Products of batched arrays and their linear algebra."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.arrays.batched import BatchedArray
from taper.arrays.batched_arguments import (
    RULES,
    dimensions,
    each_sample,
    given_out,
    is_at,
    rule,
    together,
)
from taper.arrays.batched_ufuncs import outer_products
from taper.arrays.levels import Level

__all__: list[str] = []


@rule(np.matmul)
def _matmul(level: Level, a: Any, b: Any, **options: Any) -> Any:
    m, n = dimensions(a), dimensions(b)
    if is_at(a, level) and not is_at(b, level) and n == 2 and m >= 1:
        return BatchedArray(_rows_times(a.inner, b, **options), level)
    if is_at(b, level) and not is_at(a, level) and m == 2 and n == 1:
        return BatchedArray(_rows_times(b.inner, a.swapaxes(0, 1), **options), level)
    if m == n == 1 and not options:
        return BatchedArray(_dot_products(a, b, level), level)
    vector_first, vector_second = m == 1, n == 1
    first = a[None, :] if vector_first else a
    second = b[:, None] if vector_second else b
    first, second = together((first, second), level)
    if first.shape[-1] != second.shape[-2]:
        raise ValueError(
            "matmul: Input operand 1 has a mismatch in its core dimension 0, with gufunc signature "
            f"(n?,k),(k,m?)->(n?,m?) (size {second.shape[-2]} is different from {first.shape[-1]})"
        )
    if first.shape[-1] == 1 and not options:
        result = first * second if first.ndim != 3 else outer_products(first, second)
    else:
        result = np.matmul(first, second, **options)
    if vector_first:
        result = result[..., 0, :]
    if vector_second:
        result = result[..., 0]
    return BatchedArray(result, level)


def _dot_products(a: Any, b: Any, level: Level) -> Any:
    """The product of two vectors, for each sample."""
    if a.shape != b.shape:
        raise ValueError(f"matmul: vectors of {a.shape[0]} and {b.shape[0]} elements")
    first = a.inner if is_at(a, level) else a
    second = b.inner if is_at(b, level) else b
    if first.dtype.kind == "c":
        return np.add.reduce(first * second, -1)
    return np.vecdot(first, second)


def _rows_times(rows: Any, matrix: Any, **options: Any) -> Any:
    """``rows @ matrix`` with all rows of all samples in one product."""
    if rows.ndim == 2:
        return np.matmul(rows, matrix, **options)
    if rows.shape[-1] != matrix.shape[0] or not math.prod(rows.shape):
        return np.matmul(rows, matrix, **options)
    flat = np.matmul(rows.reshape((-1, rows.shape[-1])), matrix, **options)
    return flat.reshape((*rows.shape[:-1], matrix.shape[1]))


@rule(np.dot)
def _dot(level: Level, a: Any, b: Any, out: Any = None) -> Any:
    m, n = dimensions(a), dimensions(b)
    if not m or not n:
        return given_out(np.multiply(a, b), out)
    if n <= 2:
        return given_out(np.matmul(a, b), out)
    return given_out(each_sample(np.dot, level, (a, b), {}), out)


@rule(np.outer)
def _outer_product(level: Level, a: Any, b: Any, out: Any = None) -> Any:
    return np.multiply(a.reshape((-1, 1)), b.reshape((1, -1)))


@rule(np.einsum)
def _einsum(level: Level, subscripts: Any, *operands: Any, **options: Any) -> Any:
    if not isinstance(subscripts, str) or "->" not in subscripts:
        return each_sample(np.einsum, level, (subscripts, *operands), options)
    left, right = subscripts.replace(" ", "").split("->")
    letters = set(left + right)
    name = next(c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                if c not in letters)
    terms = [name + term if is_at(o, level) else term
             for term, o in zip(left.split(","), operands, strict=True)]
    inner = [o.inner if is_at(o, level) else o for o in operands]
    return BatchedArray(np.einsum(f"{','.join(terms)}->{name}{right}", *inner, **options), level)


# -- linear algebra: NumPy takes stacks of matrices ------------------------------------------------


def _of_matrices(*functions: Any) -> None:
    for function in functions:
        def call(level: Level, a: Any, *args: Any, function: Any = function, **options: Any) -> Any:
            result = function(a.inner, *args, **options)
            if isinstance(result, tuple):
                return type(result)(*[BatchedArray(r, level) for r in result])
            return BatchedArray(result, level)

        RULES[function] = call


_of_matrices(
    np.linalg.inv, np.linalg.cholesky, np.linalg.det, np.linalg.slogdet, np.linalg.eigh,
    np.linalg.eigvalsh, np.linalg.eig, np.linalg.eigvals, np.linalg.svd, np.linalg.qr,
    np.linalg.svdvals, np.linalg.matrix_power,
)


@rule(np.linalg.solve)
def _solve(level: Level, a: Any, b: Any) -> Any:
    vector = b.ndim == 1
    lifted = together((a, b[:, None] if vector else b), level)
    result = np.linalg.solve(*lifted)
    return BatchedArray(result[..., 0] if vector else result, level)
