"""Products of matrices and vectors: matmul and its special cases, addmm, linear, outer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.autograd.views import check_inplace
from taper.core.errors import broadcast_error, expand_error
from taper.core.state import active, is_recording
from taper.core.tensor import Parameter, Tensor, wrap
from taper.ops.arithmetic import conj
from taper.ops.declare import composite, method, operator
from taper.ops.product_checks import (
    same_dtypes_in_addmm,
    same_dtypes_in_addmv,
    same_dtypes_in_baddbmm,
    same_dtypes_in_matmul,
    same_dtypes_in_mv,
    same_dtypes_of_factors,
    same_dtypes_of_vectors,
    same_scalar_types,
)
from taper.ops.reduction import sum_to

Number = Any
ndarray = np.ndarray
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


def _shapes_error(first: Any, second: Any) -> RuntimeError:
    return RuntimeError(
        "mat1 and mat2 shapes cannot be multiplied "
        f"({first.shape[0]}x{first.shape[1]} and {second.shape[0]}x{second.shape[1]})"
    )


def _refuse_bool(array: Any, kernel: str) -> None:
    if array.dtype.kind == "b":
        raise NotImplementedError(f'"{kernel}" not implemented for \'Bool\'')


@operator(
    method="mm", out=True, upcast=True, check=same_dtypes_of_factors("input", "mat2"),
    aliases=("spmm", "dsmm", "hsmm"),
)
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    r"""Multiplies two matrices: :math:`Y = A B`. No broadcasting.

    Shape: (n, k), (k, m) → (n, m)
    Raises: RuntimeError: if the inner sizes or the dtypes differ
    Example:
        >>> import taper as torch
        >>> torch.mm(torch.tensor([[1., 2.]]), torch.tensor([[3.], [4.]]))
        tensor([[11.]])
    """
    if input.ndim != 2 or mat2.ndim != 2:
        raise RuntimeError(f"{'self' if input.ndim != 2 else 'mat2'} must be a matrix")
    if input.shape[1] != mat2.shape[0]:
        raise _shapes_error(input, mat2)
    _refuse_bool(input, "addmm_impl_cpu_")
    # ndarray.dot is quicker than matmul, but asks no other array class on its right.
    return input.dot(mat2) if type(mat2) is ndarray else np.matmul(input, mat2)


@mm.derivative("input")
def _(grad, mat2):
    return grad.mm(conj(mat2).t())


@mm.derivative("mat2")
def _(grad, input):
    return conj(input).t().mm(grad)


@operator(method=True, out=True, upcast=True, check=same_dtypes_in_mv)
def mv(input: Tensor, vec: Tensor) -> Tensor:
    r"""Multiplies a matrix with a vector: :math:`y = A x`.

    Shape: (n, m), (m) → (n)
    Example:
        >>> import taper as torch
        >>> torch.mv(torch.tensor([[1., 2.], [3., 4.]]), torch.tensor([1., 1.]))
        tensor([3., 7.])
    """
    if input.ndim != 2 or vec.ndim != 1:
        raise RuntimeError(
            f"vector + matrix @ vector expected, got 1, {input.ndim}, {vec.ndim}"
        )
    if input.shape[1] != vec.shape[0]:
        raise RuntimeError(
            f"size mismatch, got input ({input.shape[0]}), mat ({input.shape[0]}x"
            f"{input.shape[1]}), vec ({vec.shape[0]})"
        )
    return input.dot(vec) if type(vec) is ndarray else np.matmul(input, vec)


@mv.derivative("input")
def _(grad, vec):
    return grad.outer(conj(vec))


@mv.derivative("vec")
def _(grad, input):
    return conj(input).t().mv(grad)


@operator(method=True, out=True, upcast=True, check=same_dtypes_of_vectors("input", "tensor"))
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    r"""Sums the products of two vectors: :math:`y = \sum_i x_i z_i`.

    Shape: (n), (n) → ()
    Example:
        >>> import taper as torch
        >>> torch.dot(torch.tensor([2, 3]), torch.tensor([2, 1]))
        tensor(7)
    """
    _check_vectors("dot", input, tensor)
    return input.dot(tensor)


def _check_vectors(name: str, first: Any, second: Any) -> None:
    if first.ndim != 1 or second.ndim != 1:
        raise RuntimeError(
            f"1D tensors expected, but got {first.ndim}D and {second.ndim}D tensors"
        )
    if first.shape != second.shape:
        n, m = first.shape[0], second.shape[0]
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{n}] and src [{m}] to have the same "
            f"number of elements, but got {n} and {m} elements respectively"
        )
    _refuse_bool(first, name)


@dot.derivative("input")
def _(grad, tensor):
    return grad * conj(tensor)


@dot.derivative("tensor")
def _(grad, input):
    return grad * conj(input)


@operator(method=True, out=True, upcast=True, check=same_dtypes_of_vectors("input", "other"))
def vdot(input: Tensor, other: Tensor) -> Tensor:
    r"""Sums the products of two vectors, the first conjugated: :math:`y = \sum_i \bar x_i z_i`.

    Shape: (n), (n) → ()
    Example:
        >>> import taper as torch
        >>> torch.vdot(torch.tensor([1j]), torch.tensor([1j]))
        tensor(1.+0.j)
    """
    _check_vectors("vdot", input, other)
    return input.conj().dot(other)


@vdot.derivative("input")
def _(grad, other):
    return conj(grad) * other


@vdot.derivative("other")
def _(grad, input):
    return grad * input


@operator(method=True, out=True, upcast=True, check=same_scalar_types("input", "mat2"))
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Multiplies two batches of matrices, pair by pair. No broadcasting.

    Shape: (b, n, k), (b, k, m) → (b, n, m)
    Example:
        >>> import taper as torch
        >>> torch.bmm(torch.ones(4, 2, 3), torch.ones(4, 3, 5)).shape
        torch.Size([4, 2, 5])
    """
    _check_batches(input, mat2)
    return np.matmul(input, mat2)


def _check_batches(first: Any, second: Any) -> None:
    if first.ndim != 3 or second.ndim != 3:
        which = 1 if first.ndim != 3 else 2
        raise RuntimeError(f"batch{which} must be a 3D tensor")
    if first.shape[0] != second.shape[0] or first.shape[2] != second.shape[1]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: "
            f"[{first.shape[0]}, {first.shape[2]}] but got: "
            f"[{second.shape[0]}, {second.shape[1]}]."
        )
    _refuse_bool(first, "bmm")


@bmm.derivative("input")
def _(grad, mat2):
    return grad.bmm(conj(mat2).transpose(1, 2))


@bmm.derivative("mat2")
def _(grad, input):
    return conj(input).transpose(1, 2).bmm(grad)


# PyTorch folds batches into views of one product, whose last node is an UnsafeViewBackward0.
@operator(hidden=True, upcast=True, check=same_dtypes_in_matmul, node="UnsafeViewBackward0")
def matmul_batched(input: Tensor, other: Tensor) -> Tensor:
    """Matrix products over broadcast batch dimensions."""
    batches = input.shape[:-2], other.shape[:-2]
    if batches[0] != batches[1]:
        problem = broadcast_error(batches)
        if problem is not None:
            raise problem
    if input.shape[-1] != other.shape[-2]:
        if other.ndim == 2:
            rows = math.prod(input.shape[:-1])
            raise RuntimeError(
                f"mat1 and mat2 shapes cannot be multiplied ({rows}x{input.shape[-1]} and "
                f"{other.shape[0]}x{other.shape[1]})"
            )
        batch = math.prod(np.broadcast_shapes(input.shape[:-2], other.shape[:-2]))
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: "
            f"[{batch}, {input.shape[-1]}] but got: [{batch}, {other.shape[-2]}]."
        )
    _refuse_bool(input, "bmm")
    if other.ndim == 2 and input.ndim > 2:  # one large product is quicker than many small ones
        flat = input.reshape(math.prod(input.shape[:-1]), input.shape[-1]).dot(other)
        return flat.reshape(*input.shape[:-1], other.shape[1])
    return np.matmul(input, other)


@matmul_batched.derivative("input")
def _(grad, other, input_shape):
    return sum_to(matmul(grad, conj(other).transpose(-1, -2)), input_shape)


@matmul_batched.derivative("other")
def _(grad, input, other_shape):
    if len(other_shape) == 2:
        count = math.prod(input.shape[:-1])
        rows = conj(input).reshape(count, input.shape[-1])
        return rows.t().mm(grad.reshape(count, grad.shape[-1]))
    return sum_to(matmul(conj(input).transpose(-1, -2), grad), other_shape)


@composite(
    method=True, out=True, aliases=("linalg.matmul",), dunders=("__matmul__",)
)
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Multiplies matrices, vectors, or broadcast batches of matrices.

    Shape: (..., n, k), (..., k, m) → (..., n, m); a 1-d first factor counts as a row, a 1-d second
        as a column, and that dimension is missing from the result.
    Example:
        >>> import taper as torch
        >>> (torch.ones(5, 2, 3) @ torch.ones(3)).shape
        torch.Size([5, 2])
    """
    try:
        a, b = input._array, other._array
        n, m = a.ndim, b.ndim
    except AttributeError:
        return _matmul_operand(input, other)
    if (
        n == 2 and 1 <= m <= 2 and input._edge is None and other._edge is None
        and are_plain(input, other, a, b)
    ):
        try:
            return wrap(a.dot(b))
        except ValueError:  # shapes that don't fit: told below
            pass
    if n == 2 and m == 2:
        return mm_function(input, other)
    if n == 1 and m == 1:
        return dot(input, other)
    if n == 2 and m == 1:
        return mv(input, other)
    if n == 0 or m == 0:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {n}D and {m}D"
        )
    if n == 1:
        if m == 2:
            return mm(input.unsqueeze(0), other).squeeze_(0)
        return matmul_batched(input.unsqueeze(0), other).squeeze(-2)
    if m == 1:
        return matmul_batched(input, other.unsqueeze(-1)).squeeze(-1)
    return matmul_batched(input, other)


mm_function = mm.function


def are_plain(first: Tensor, second: Tensor, a: Any, b: Any) -> bool:
    """Whether two tensors are ordinary ones of one floating point dtype and nobody listens, so
    that a product of which nothing is recorded may be computed at once."""
    return (
        (type(first) is Tensor or type(first) is Parameter)
        and (type(second) is Tensor or type(second) is Parameter)
        and (a.dtype is F32 or a.dtype is F64) and b.dtype is a.dtype
        and type(a) is ndarray and type(b) is ndarray and not active.modes
    )


def _matmul_operand(input: Any, other: Any) -> Any:
    from taper.core.overrides import NOT_INTERCEPTED, intercept

    found = intercept(matmul.function, ["input", "other"], (input, other), None)
    if found is not NOT_INTERCEPTED:
        return found
    wrong = 1 if not isinstance(input, Tensor) else 2
    name, value = ("input", input) if wrong == 1 else ("other", other)
    raise TypeError(
        f"matmul(): argument '{name}' (position {wrong}) must be Tensor, not "
        f"{type(value).__name__}"
    )


@composite(hidden=True, dunders=("__rmatmul__",))
def reflected_matmul(input: Tensor, other: Tensor) -> Tensor:
    """`other @ input`."""
    return matmul(other, input)


@operator(
    method="addmm", inplace=True, out=True, upcast=True,
    check=same_dtypes_in_addmm("mat1", "mat2"), aliases=("saddmm",),
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
        raise _shapes_error(mat1, mat2)
    _refuse_bool(mat1, "addmm_impl_cpu_")
    product = mat1.dot(mat2) if type(mat2) is ndarray else np.matmul(mat1, mat2)
    return add_scaled(input, product, beta, alpha)


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


@addmm.derivative("input")
def _(grad, beta, input_shape):
    return sum_to(grad if beta == 1 else grad * conj(beta), input_shape)


@addmm.derivative("mat1")
def _(grad, mat2, alpha):
    found = grad.mm(conj(mat2).t())
    return found if alpha == 1 else found * conj(alpha)


@addmm.derivative("mat2")
def _(grad, mat1, alpha):
    found = conj(mat1).t().mm(grad)
    return found if alpha == 1 else found * conj(alpha)


@operator(method=True, inplace=True, out=True, upcast=True, check=same_dtypes_in_addmv)
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
    return sum_to(grad if beta == 1 else grad * conj(beta), input_shape)


@addmv.derivative("mat")
def _(grad, vec, alpha):
    found = grad.outer(conj(vec))
    return found if alpha == 1 else found * conj(alpha)


@addmv.derivative("vec")
def _(grad, mat, alpha):
    found = conj(mat).t().mv(grad)
    return found if alpha == 1 else found * conj(alpha)


@operator(method=True, inplace=True, out=True, promote="result_type")
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
    return sum_to(grad if beta == 1 else grad * conj(beta), input_shape)


@addr.derivative("vec1")
def _(grad, vec2, alpha):
    return grad.mv(conj(vec2)) * conj(alpha)


@addr.derivative("vec2")
def _(grad, vec1, alpha):
    return grad.t().mv(conj(vec1)) * conj(alpha)


@operator(method=True, inplace=True, out=True, upcast=True, check=same_dtypes_in_baddbmm)
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
    _check_batches(batch1, batch2)
    return add_scaled(input, np.matmul(batch1, batch2), beta, alpha)


@baddbmm.derivative("input")
def _(grad, beta, input_shape):
    return sum_to(grad if beta == 1 else grad * conj(beta), input_shape)


@baddbmm.derivative("batch1")
def _(grad, batch2, alpha):
    found = grad.bmm(conj(batch2).transpose(1, 2))
    return found if alpha == 1 else found * conj(alpha)


@baddbmm.derivative("batch2")
def _(grad, batch1, alpha):
    found = conj(batch1).transpose(1, 2).bmm(grad)
    return found if alpha == 1 else found * conj(alpha)


@operator(
    method=True, inplace=True, out=True, upcast=True,
    check=same_dtypes_in_addmm("batch1", "batch2"),
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
    _check_batches(batch1, batch2)
    return add_scaled(input, np.add.reduce(np.matmul(batch1, batch2), 0), beta, alpha)


@addbmm.derivative("input")
def _(grad, beta, input_shape):
    return sum_to(grad if beta == 1 else grad * conj(beta), input_shape)


@addbmm.derivative("batch1")
def _(grad, batch2, alpha):
    return matmul(grad, conj(batch2).transpose(1, 2)) * conj(alpha)


@addbmm.derivative("batch2")
def _(grad, batch1, alpha):
    return matmul(conj(batch1).transpose(1, 2), grad) * conj(alpha)


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


@composite(method=True, out=True, aliases=("ger",))
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """Multiplies every element of one vector with every element of another.

    Shape: (n), (m) → (n, m)
    Example:
        >>> import taper as torch
        >>> torch.outer(torch.tensor([1, 2]), torch.tensor([3, 4]))
        tensor([[3, 4],
                [6, 8]])
    """
    for name, value in (("self", input), ("vec2", vec2)):
        if value.ndim != 1:
            raise RuntimeError(
                f"outer: Expected 1-D argument {name}, but got {value.ndim}-D"
            )
    return input.reshape(-1, 1) * vec2


@composite("nn.functional.linear", out=True)
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Applies a linear map: :math:`y = x W^T + b`.

    Shape: input (*, in), weight (out, in) or (in), bias (out) or () → (*, out) or (*)
    Raises: RuntimeError: if the sizes do not match
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.linear(torch.ones(2, 3), torch.ones(4, 3)).shape
        torch.Size([2, 4])
    """
    a, w = input._array, weight._array
    ndim = a.ndim
    if ndim == 2 and w.ndim == 2:
        if (
            bias is not None and (not is_recording() or (
                input._edge is None and weight._edge is None and bias._edge is None
            )) and are_plain(input, weight, a, w)
        ):
            b = bias._array
            if b.shape == w.shape[:1] and b.dtype is a.dtype and a.shape[1] == w.shape[1]:
                product = a.dot(w.transpose())
                return wrap(np.add(product, b, product))
        if bias is None:
            return mm_function(input, weight.t())
        return addmm_function(bias, input, weight.t())
    if weight._array.ndim < 2 or ndim < 2:
        result = matmul(input, weight.t())
        return result if bias is None else result + bias
    flat = input.reshape(-1, input.shape[-1])
    shape = (*input._array.shape[:-1], weight._array.shape[0])
    if bias is None:
        return matmul_batched(input, weight.t())
    return addmm_function(bias, flat, weight.t()).view(shape)


addmm_function = addmm.function
