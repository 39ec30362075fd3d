"""Products of matrices and vectors added to something: addmm, addmv, addr, baddbmm, addbmm."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.autograd.views import check_inplace
from taper.core.errors import expand_error
from taper.core.tensor import Tensor
from taper.kernels import small_products
from taper.ops.arithmetic import conj
from taper.ops.declare import method, operator
from taper.ops.matrix import (
    check_batches,
    gradient_of_second,
    matmul,
    refuse_bool,
    shapes_error,
)
from taper.ops.product_checks import (
    product_in_dtype,
    same_dtypes_in_addmm,
    same_dtypes_in_addmv,
    same_dtypes_in_baddbmm,
)
from taper.ops.reduction import sum_to
from taper.ops.signature import Number

__all__ = ["add_scaled", "addbmm", "addmm", "addmv", "addr", "baddbmm"]

ndarray = np.ndarray


def times_conj(grad: Tensor, factor: Number) -> Tensor:
    """The gradient of what was multiplied by `factor`, from that of the product."""
    return grad if factor == 1 else grad * conj(factor)


def add_scaled(input: Any, product: Any, beta: Number, alpha: Number) -> Any:
    """`beta * input + alpha * product`, into the memory of `product` where that is possible."""
    if beta == 1 and alpha == 1 and type(product) is ndarray and input.dtype is product.dtype:
        try:
            return np.add(product, input, product)
        except ValueError:  # shapes that don't fit: told below
            pass
    if input.ndim > product.ndim or any(
        n not in (1, m)
        for n, m in zip(reversed(input.shape), reversed(product.shape), strict=False)
    ):
        raise expand_error(product.shape, input.shape)
    if alpha != 1:
        product = product * np.asarray(alpha).astype(product.dtype)
    if beta == 0:
        return product
    if beta != 1:
        input = input * np.asarray(beta).astype(input.dtype)
    return product + input


@operator(
    method="addmm", inplace=True, out=True, upcast=True,
    check=same_dtypes_in_addmm("mat1", "mat2"), aliases=("saddmm",), older=("beta", "alpha"),
    keywords={"out_dtype": product_in_dtype},
)
def addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    r"""Adds a product of matrices: :math:`Y = \beta X + \alpha A B`.

    Shape: input broadcastable to (n, m); (n, k), (k, m) → (n, m)
    Example:
        >>> import taper as torch
        >>> torch.addmm(torch.ones(2), torch.eye(2), torch.eye(2))
        tensor([[2., 1.],
                [1., 2.]])
    """
    if mat1.ndim != 2 or mat2.ndim != 2:
        name, value = ("mat1", mat1) if mat1.ndim != 2 else ("mat2", mat2)
        raise RuntimeError(f"{name} must be a matrix, got {value.ndim}-D tensor")
    if mat1.shape[1] != mat2.shape[0]:
        raise shapes_error(mat1, mat2)
    refuse_bool(mat1, "addmm_impl_cpu_")
    if type(mat1) is ndarray and type(mat2) is ndarray:
        if beta == 1 and alpha == 1 and type(input) is ndarray and input.dtype is mat1.dtype:
            try:
                return small_products.affine(mat1, mat2, input)
            except ValueError:  # shapes that don't fit: told below
                pass
        product = small_products.product(mat1, mat2)
    else:
        product = np.matmul(mat1, mat2)
    return add_scaled(input, product, beta, alpha)


@addmm.derivative("input")
def _(grad, beta, input_shape):
    return sum_to(times_conj(grad, beta), input_shape)


@addmm.derivative("mat1")
def _(grad, mat2, alpha):
    return times_conj(grad.mm(conj(mat2).t()), alpha)


@addmm.derivative("mat2")
def _(grad, mat1, mat2_strides, alpha):
    return times_conj(gradient_of_second(grad, mat1, mat2_strides), alpha)


@operator(
    method=True, inplace=True, out=True, upcast=True, check=same_dtypes_in_addmv, kinds="ifc",
    kernel="addmv_impl_cpu", older=("beta", "alpha"),
)
def addmv(
    input: Tensor, mat: Tensor, vec: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    r"""Adds a matrix-vector product: :math:`y = \beta x + \alpha A v`.

    Shape: input broadcastable to (n); (n, m), (m) → (n)
    Example:
        >>> import taper as torch
        >>> torch.addmv(torch.ones(2), torch.eye(2), torch.tensor([1., 2.]))
        tensor([2., 3.])
    """
    if mat.ndim != 2 or vec.ndim != 1:
        raise RuntimeError(
            f"vector + matrix @ vector expected, got {input.ndim}, {mat.ndim}, {vec.ndim}"
        )
    if mat.shape[1] != vec.shape[0]:
        raise RuntimeError(
            f"size mismatch, got input ({mat.shape[0]}), mat ({mat.shape[0]}x{mat.shape[1]}), "
            f"vec ({vec.shape[0]})"
        )
    product = mat.dot(vec) if type(vec) is ndarray else np.matmul(mat, vec)
    return add_scaled(input, product, beta, alpha)


@addmv.derivative("input")
def _(grad, beta, input_shape):
    return sum_to(times_conj(grad, beta), input_shape)


@addmv.derivative("mat")
def _(grad, vec, alpha):
    return times_conj(grad.outer(conj(vec)), alpha)


@addmv.derivative("vec")
def _(grad, mat, alpha):
    return times_conj(conj(mat).t().mv(grad), alpha)


@operator(
    method=True, inplace=True, out=True, promote="result_type", older=("beta", "alpha"),
)
def addr(
    input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    r"""Adds an outer product: :math:`Y = \beta X + \alpha\, u v^T`.

    Shape: input broadcastable to (n, m); (n), (m) → (n, m)
    Example:
        >>> import taper as torch
        >>> torch.addr(torch.zeros(1, 1), torch.tensor([1., 2.]), torch.tensor([3., 4.]))
        tensor([[3., 4.],
                [6., 8.]])
    """
    if vec1.ndim != 1 or vec2.ndim != 1:
        raise RuntimeError(
            f"addr: Expected 1-D argument vec{1 if vec1.ndim != 1 else 2}, but got "
            f"{(vec1 if vec1.ndim != 1 else vec2).ndim}-D"
        )
    return add_scaled(input, vec1.reshape(-1, 1) * vec2, beta, alpha)


@addr.derivative("input")
def _(grad, beta, input_shape):
    return sum_to(times_conj(grad, beta), input_shape)


@addr.derivative("vec1")
def _(grad, vec2, alpha):
    return times_conj(grad.mv(conj(vec2)), alpha)


@addr.derivative("vec2")
def _(grad, vec1, alpha):
    return times_conj(grad.t().mv(conj(vec1)), alpha)


@operator(method=True, inplace=True, out=True, upcast=True, check=same_dtypes_in_baddbmm,
          keywords={"out_dtype": product_in_dtype}, older=("beta", "alpha"))
def baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    r"""Adds products of batches of matrices: :math:`Y_i = \beta X_i + \alpha A_i B_i`.

    Shape: input broadcastable to (b, n, m); (b, n, k), (b, k, m) → (b, n, m)
    Example:
        >>> import taper as torch
        >>> torch.baddbmm(torch.ones(1), torch.ones(1, 1, 2), torch.ones(1, 2, 1))
        tensor([[[3.]]])
    """
    check_batches(batch1, batch2)
    return add_scaled(input, np.matmul(batch1, batch2), beta, alpha)


@baddbmm.derivative("input")
def _(grad, beta, input_shape):
    return sum_to(times_conj(grad, beta), input_shape)


@baddbmm.derivative("batch1")
def _(grad, batch2, alpha):
    return times_conj(grad.bmm(conj(batch2).transpose(1, 2)), alpha)


@baddbmm.derivative("batch2")
def _(grad, batch1, alpha):
    return times_conj(conj(batch1).transpose(1, 2).bmm(grad), alpha)


@operator(
    method=True, inplace=True, out=True, upcast=True,
    check=same_dtypes_in_addmm("batch1", "batch2"), older=("beta", "alpha"),
)
def addbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    r"""Adds the sum of products of matrices: :math:`Y = \beta X + \alpha \sum_i A_i B_i`.

    Shape: input broadcastable to (n, m); (b, n, k), (b, k, m) → (n, m)
    Example:
        >>> import taper as torch
        >>> torch.addbmm(torch.zeros(1, 1), torch.ones(2, 1, 1), torch.ones(2, 1, 1))
        tensor([[2.]])
    """
    check_batches(batch1, batch2)
    return add_scaled(input, np.add.reduce(np.matmul(batch1, batch2), 0), beta, alpha)


@addbmm.derivative("input")
def _(grad, beta, input_shape):
    return sum_to(times_conj(grad, beta), input_shape)


@addbmm.derivative("batch1")
def _(grad, batch2, alpha):
    return times_conj(matmul(grad, conj(batch2).transpose(1, 2)), alpha)


@addbmm.derivative("batch2")
def _(grad, batch1, alpha):
    return times_conj(matmul(conj(batch1).transpose(1, 2), grad), alpha)


@method()
def addbmm_(
    self: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    """`addbmm` in place. Unlike its relatives it makes room where the result is larger."""
    if tuple(self.shape) == (batch1.shape[-2], batch2.shape[-1]):
        return addbmm.inplace(self, batch1, batch2, beta=beta, alpha=alpha)
    check_inplace(self)
    result = addbmm(self, batch1, batch2, beta=beta, alpha=alpha)
    self._array, self._edge = result._array, result._edge
    self._bump_version()
    return self
