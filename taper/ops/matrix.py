"""Products of matrices and vectors: matmul and its special cases, outer.

Products added to something (addmm and its like) are in added_product.py, linear in linear.py.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

from taper.arrays.symbolic_shape import broadcast_shapes
from taper.core.errors import broadcast_error
from taper.core.overrides import NOT_INTERCEPTED, has_override
from taper.core.state import active, autocasting, is_recording
from taper.core.tensor import Parameter, Tensor, wrap
from taper.kernels import small_products
from taper.kernels.matrix_product import multiply_batches
from taper.ops.arithmetic import conj
from taper.ops.autocast import run_autocast
from taper.ops.declare import composite, operator
from taper.ops.offered_calls import offer_composite
from taper.ops.product_checks import (
    product_in_dtype,
    same_dtypes_in_batch_mv,
    same_dtypes_in_matmul,
    same_dtypes_in_mv,
    same_dtypes_of_batches,
    same_dtypes_of_factors,
    same_dtypes_of_vectors,
)
from taper.ops.reduction import sum_to

ndarray = np.ndarray
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


def shapes_error(first: Any, second: Any) -> RuntimeError:
    return RuntimeError(
        "mat1 and mat2 shapes cannot be multiplied "
        f"({first.shape[0]}x{first.shape[1]} and {second.shape[0]}x{second.shape[1]})"
    )


def refuse_bool(array: Any, kernel: str) -> None:
    if array.dtype.kind == "b":
        raise NotImplementedError(f'"{kernel}" not implemented for \'Bool\'')


@operator(
    method="mm", out=True, upcast=True, check=same_dtypes_of_factors("input", "mat2"),
    aliases=("spmm", "dsmm"), keywords={"out_dtype": product_in_dtype},
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
        raise shapes_error(input, mat2)
    refuse_bool(input, "addmm_impl_cpu_")
    if type(input) is ndarray and type(mat2) is ndarray:
        return small_products.product(input, mat2)
    return np.matmul(input, mat2)


@mm.derivative("input")
def _(grad, mat2):
    return grad.mm(conj(mat2).t())


@mm.derivative("mat2")
def _(grad, input, mat2_strides):
    return gradient_of_second(grad, input, mat2_strides)


def gradient_of_second(grad: Tensor, first: Tensor, strides: tuple[int, ...] | None) -> Tensor:
    """The gradient of a product's second factor, laid out in memory as the factor is: of a layer's
    transposed weight, it is the transpose of what the weight can keep."""
    if strides is not None and strides[0] < strides[1]:
        return grad.t().mm(conj(first)).t()
    return conj(first).t().mm(grad)


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
    refuse_bool(input, "addmv_impl_cpu")
    return input.dot(vec) if type(vec) is ndarray else np.matmul(input, vec)


@mv.derivative("input")
def _(grad, vec):
    return grad.outer(conj(vec))


@mv.derivative("vec")
def _(grad, input):
    return conj(input).t().mv(grad)


@operator(method=True, out=True, upcast=True, check=same_dtypes_of_vectors("input", "tensor"),
          also={"other": "tensor"})
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
    refuse_bool(first, name)


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


@operator(method=True, out=True, upcast=True, check=same_dtypes_of_batches("input", "mat2"),
          also={"batch2": "mat2"}, keywords={"out_dtype": product_in_dtype})
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Multiplies two batches of matrices, pair by pair. No broadcasting.

    Shape: (b, n, k), (b, k, m) → (b, n, m)
    Example:
        >>> import taper as torch
        >>> torch.bmm(torch.ones(4, 2, 3), torch.ones(4, 3, 5)).shape
        torch.Size([4, 2, 5])
    """
    check_batches(input, mat2)
    return multiply_batches(input, mat2)


def check_batches(first: Any, second: Any) -> None:
    if first.ndim != 3 or second.ndim != 3:
        which = 1 if first.ndim != 3 else 2
        raise RuntimeError(f"batch{which} must be a 3D tensor")
    if first.shape[0] != second.shape[0] or first.shape[2] != second.shape[1]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: "
            f"[{first.shape[0]}, {first.shape[2]}] but got: "
            f"[{second.shape[0]}, {second.shape[1]}]."
        )
    refuse_bool(first, "bmm")


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
    if batches[1] and batches[0] != batches[1]:
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
        batch = math.prod(broadcast_shapes(input.shape[:-2], other.shape[:-2]))
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: "
            f"[{batch}, {input.shape[-1]}] but got: [{batch}, {other.shape[-2]}]."
        )
    refuse_bool(input, "bmm")
    if other.ndim == 2 and input.ndim > 2:  # one large product is quicker than many small ones
        flat = input.reshape(math.prod(input.shape[:-1]), input.shape[-1])
        is_plain = type(flat) is ndarray and type(other) is ndarray
        flat = small_products.product(flat, other) if is_plain else flat.dot(other)
        return flat.reshape(*input.shape[:-1], other.shape[1])
    return multiply_batches(input, other)


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


@operator(hidden=True, upcast=True, check=same_dtypes_in_batch_mv, node="UnsafeViewBackward0")
def matmul_vector(input: Tensor, vec: Tensor) -> Tensor:
    """Products of a batch of matrices with one vector: a single, tall product."""
    rows = input.reshape(math.prod(input.shape[:-1]), input.shape[-1])
    return mv.forward(rows, vec).reshape(input.shape[:-1])


@matmul_vector.derivative("input")
def _(grad, vec):
    return grad.unsqueeze(-1) * conj(vec)


@matmul_vector.derivative("vec")
def _(grad, input):
    return conj(input).reshape(grad.numel(), input.shape[-1]).t().mv(grad.reshape(-1))


@composite(
    method=True, out=True, aliases=("linalg.matmul",), dunders=("__matmul__",),
    also={"tensor2": "other"},
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
            return wrap(small_products.product(a, b) if m == 2 else a.dot(b))
        except ValueError:  # shapes that don't fit: told below
            pass
    if active.modes or not (
        (type(input) is Tensor or type(input) is Parameter)
        and (type(other) is Tensor or type(other) is Parameter)
    ):
        answer = offer_composite(matmul, (input, other), None, sys._getframe(0))
        if answer is not NOT_INTERCEPTED:
            return answer
    if n == 2 and m == 2:
        return mm_function(input, other)
    if active.modes and autocasting.get() is not None:  # dot() and mv() by themselves aren't cast
        return run_autocast("matmul", (input, other), lambda cast: matmul(*cast))
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
        return matmul_vector(input, other)
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


def may_compute_at_once(first: Tensor, *others: Tensor) -> bool:
    """The same for some tensors, if nothing of what they are used for is to be recorded."""
    a = first._array
    return all([are_plain(first, other, a, other._array) for other in others]) and (
        not is_recording() or all([t._edge is None for t in (first, *others)]))


def _matmul_operand(input: Any, other: Any) -> Any:
    frame = sys._getframe(1)
    answer = offer_composite(matmul, (input, other), None, frame)
    if answer is not NOT_INTERCEPTED:
        return answer
    if frame.f_code.co_name == "__matmul__":  # the other operand may know how
        return NotImplemented
    wrong = 1 if not isinstance(input, Tensor) else 2
    name, value = ("input", input) if wrong == 1 else ("other", other)
    raise TypeError(
        f"matmul(): argument '{name}' (position {wrong}) must be Tensor, not "
        f"{type(value).__name__}"
    )


@composite(hidden=True, dunders=("__rmatmul__",))
def reflected_matmul(input: Tensor, other: Tensor) -> Tensor:
    """`other @ input`."""
    if not isinstance(other, Tensor) and not has_override(other):
        return NotImplemented
    return matmul(other, input)


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
