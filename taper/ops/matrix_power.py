"""Powers and exponentials of matrices, and chains of products."""

from __future__ import annotations

from typing import Any

import numpy as np

import taper
from taper.core.dtype import FLOATING, from_numpy_dtype
from taper.core.promotion import cpp_type_name, scalar_type_name
from taper.core.tensor import Tensor
from taper.core.user_warning import warn_once
from taper.kernels.scipy_threads import threads_for
from taper.ops.declare import composite, operator
from taper.ops.matrix_checks import check_matrix, check_square_sizes
from taper.ops.solve import adjoint


@composite("linalg.matrix_power", aliases=("matrix_power",), method=True, out=True,
           also={"input": "A"})
def matrix_power(A: Tensor, n: int) -> Tensor:
    """Multiplies a square matrix with itself, `n` factors; of the inverse if `n` is negative.

    Shape:    (*, n, n) → the same
    Example:
        >>> import taper as torch
        >>> torch.linalg.matrix_power(torch.tensor([[1., 1.], [0., 1.]]), 3)
        tensor([[1., 3.],
                [0., 1.]])
    """
    if not isinstance(n, (int, np.integer)):
        raise TypeError(
            f"linalg_matrix_power(): argument 'n' (position 2) must be int, not {type(n).__name__}"
        )
    name = "linalg.matrix_power"
    if A.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor A must have at least 2 dimensions.")
    check_square_sizes(A._array, name)
    if n == 0:
        identity = taper.eye(A.shape[-1], dtype=A.dtype, device=A.device)
        return A.clone().copy_(identity)
    if n < 0:
        A = taper.linalg.inv(A)
        n = -n
    result = None
    square = A
    while True:
        if n & 1:
            result = square if result is None else result @ square
        n >>= 1
        if not n:
            break
        square = square @ square
    return result.clone() if result is A else result


@operator("linalg.matrix_exp", aliases=("matrix_exp",), method=True, upcast=True,
          node="LinalgMatrixExpBackward0")
def matrix_exp(A: Tensor) -> Tensor:
    r"""The exponential of square matrices: :math:`\sum_k A^k / k!`.

    Source: Al-Mohy and Higham, A new scaling and squaring algorithm (2009), in SciPy.
    Shape:    (*, n, n) → the same
    Example:
        >>> import taper as torch
        >>> torch.linalg.matrix_exp(torch.zeros(2, 2))
        tensor([[1., 0.],
                [0., 1.]])
    """
    name = "linalg.matrix_exp"
    if A.ndim >= 2:
        kind = from_numpy_dtype(A.dtype)
        if kind.category < FLOATING:
            raise RuntimeError(
                f"{name}: Expected a floating point or complex tensor as input. Got "
                f"{scalar_type_name(kind)}"
            )
        check_square_sizes(A, name)
    else:
        check_matrix(A, name)
    if not A.size:
        return A.copy()
    from scipy.linalg import expm

    with threads_for(A):
        return expm(A).astype(A.dtype, copy=False)


@matrix_exp.shapes
def _(A):
    return A.shape, A.dtype


@matrix_exp.derivative("A")
def _(grad, A):
    # The upper right block of exp([[A^H, G], [0, A^H]]) is the derivative at A^H in direction G
    # (Najfeld and Havel, Derivatives of the matrix exponential, 1995).
    # It is linear in G: a large one would only cost more squarings, and their digits.
    n = A.shape[-1]
    h = adjoint(A)
    size = grad.detach().abs().amax((-2, -1), True) if n else grad
    size = size.masked_fill(size == 0, 1)
    upper = taper.cat([h, grad / size], -1)
    lower = taper.cat([taper.zeros_like(h), h], -1)
    return matrix_exp(taper.cat([upper, lower], -2))[..., :n, n:] * size


# -- chains --------------------------------------------------------------------------------------


@composite("linalg.multi_dot", offers=True)
def multi_dot(tensors: Any, *, out: Any = None) -> Tensor:
    """Multiplies several matrices in the order that takes the fewest operations.

    The first and the last may be vectors: a row and a column.

    Source: Cormen et al., Introduction to Algorithms, section 15.2.
    Shape:    matrices (a, b), (b, c), … (y, z) → (a, z); the first and the last may be vectors
    Example:
        >>> import taper as torch
        >>> torch.linalg.multi_dot([torch.ones(2), torch.eye(2), torch.ones(2)])
        tensor(2.)
    """
    return _chain(list(tensors), out)


def _chain(tensors: list[Any], out: Any) -> Tensor:
    count = len(tensors)
    if count < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {count}")
    _check_chain(tensors)
    first, last = tensors[0], tensors[-1]
    shape = []
    if first.ndim == 1:
        tensors[0] = first.unsqueeze(0)
    else:
        shape.append(first.shape[0])
    if last.ndim == 1:
        tensors[-1] = last.unsqueeze(-1)
    else:
        shape.append(last.shape[1])
    for i in range(count - 1):
        a, b = tensors[i], tensors[i + 1]
        if a.shape[1] != b.shape[0]:
            raise RuntimeError(
                f"multi_dot(): tensors {i} and {i + 1} with shapes {list(a.shape)} and "
                f"{list(b.shape)} cannot be multiplied"
            )
    if out is not None and out.dtype is not first.dtype:
        raise RuntimeError(
            f"multi_dot(): expected out tensor to have dtype {cpp_type_name(first.dtype)} but got "
            f"{cpp_type_name(out.dtype)}"
        )
    sizes = [t.shape[0] for t in tensors] + [tensors[-1].shape[1]]
    split = _cheapest_splits(sizes)

    def product(i: int, j: int) -> Any:
        if i == j:
            return tensors[i]
        k = split[i][j]
        return product(i, k).mm(product(k + 1, j))

    result = product(0, count - 1).view(shape)
    if out is None:
        return result
    out.resize_(result.shape)
    return out.copy_(result)


def _check_chain(tensors: list[Any]) -> None:
    for i, t in enumerate(tensors):
        if i in (0, len(tensors) - 1):
            if t.ndim not in (1, 2):
                which = "first" if i == 0 else "last"
                raise RuntimeError(
                    f"multi_dot(): the {which} tensor must be 1D or 2D but got {t.ndim}D"
                )
        elif t.ndim != 2:
            raise RuntimeError(f"multi_dot(): tensor {i} must be 2D but got {t.ndim}D")
        if t.dtype is not tensors[0].dtype:
            raise RuntimeError(
                "multi_dot(): all tensors must have be the same dtype but tensor 0 is "
                f"{cpp_type_name(tensors[0].dtype)} and tensor {i} {cpp_type_name(t.dtype)}"
            )


def _cheapest_splits(sizes: list[int]) -> list[list[int]]:
    """Where to part the product of factors i … j, of sizes[i] x sizes[i + 1] each."""
    n = len(sizes) - 1
    cost = [[0] * n for _ in range(n)]
    split = [[0] * n for _ in range(n)]
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            found = [
                (cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            ]
            cost[i][j], split[i][j] = min(found)
    return split


@composite(offers=True)
def chain_matmul(*matrices: Any, out: Any = None) -> Tensor:
    """Multiplies several matrices. Deprecated: use `linalg.multi_dot`.

    Shape:    (a, b), (b, c), … (y, z) → (a, z)
    Example:
        >>> import taper as torch
        >>> torch.chain_matmul(torch.eye(1), torch.ones(1, 2))
        tensor([[1., 1.]])
    """
    warn_once(
        "chain_matmul",
        "torch.chain_matmul is deprecated and will be removed in a future PyTorch release. Use "
        "torch.linalg.multi_dot instead, which accepts a list of two or more tensors rather than "
        "multiple parameters.",
    )
    if not matrices:
        raise RuntimeError("chain_matmul(): Expected one or more matrices")
    if len(matrices) == 1:
        return matrices[0].clone()
    return _chain(list(matrices), out)
