"""Vector norms, distances, and rescaling to a largest norm. Matrix norms are in linear algebra."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.core.dtype import BOOL, FLOATING, as_dtype, complex128, float64, from_numpy_dtype
from taper.core.errors import normalize_dim
from taper.core.promotion import promote_types, scalar_type_name
from taper.core.tensor import Tensor
from taper.kernels.memory_order import in_rows
from taper.kernels.summation import sum_of_squares, sum_over
from taper.ops.declare import OPERATORS, composite, operator
from taper.ops.recomputation import gradients_by_running
from taper.ops.reduction import axes_of, unsqueeze_reduced


def norm_over(x: Any, order: Any, axis: Any, keepdim: bool) -> Any:
    r""":math:`(\sum_i |x_i|^p)^{1/p}` of an array over `axis` (None, int or tuple), with its
    limits: p = 0 counts what is not zero, ±inf takes the largest or smallest magnitude."""
    if x.dtype.kind == "c" and order != 0:
        x = np.absolute(x)
    if order == 2:
        return np.sqrt(sum_of_squares(x, axis, keepdim))
    if order == 0:
        real = np.zeros_like(x, shape=()).real.dtype
        return sum_over((x != 0).astype(real), axis, keepdim)
    x = np.absolute(x)
    if order == 1:
        return sum_over(x, axis, keepdim)
    if math.isinf(order):
        ufunc = np.maximum if order > 0 else np.minimum
        return ufunc.reduce(x, axis, None, None, keepdim)
    p = np.asarray(order).astype(x.dtype)
    inverse = np.asarray(1 / order).astype(x.dtype)
    return np.power(sum_over(np.power(x, p), axis, keepdim), inverse)


def norm_gradient(grad: Any, x: Tensor, order: Any, norm: Tensor, dim: Any, keepdim: bool) -> Any:
    """The gradient of `norm_over`: 0 where the norm is 0, shared by ties where it is infinite."""
    norm = unsqueeze_reduced(norm, x.shape, dim, keepdim)
    grad = unsqueeze_reduced(grad, x.shape, dim, keepdim)
    if order == 0:
        return None
    if order == 1:
        return x.sgn() * grad
    if order == 2:
        return x * _unless_zero(grad, norm, 1)
    if math.isinf(order):
        attained = (x.abs() == norm)
        axes = axes_of(dim, x.dim())
        count = attained.sum(axes, axes is not None)
        return x.sgn() * (attained * (grad / count))
    if order < 1:
        part = x.sgn() * x.abs().pow(order - 1).masked_fill(x == 0, 0)
        return part * grad * norm.pow(1 - order)
    if order < 2:
        return x.sgn() * x.abs().pow(order - 1) * _unless_zero(grad, norm, order - 1)
    return x * x.abs().pow(order - 2) * _unless_zero(grad, norm, order - 1)


def _unless_zero(grad: Tensor, norm: Tensor, power: float) -> Tensor:
    """The gradient over a power of the norm; 0, also for further derivatives, where that is 0."""
    is_zero = norm == 0
    norm = norm.masked_fill(is_zero, 1)
    return (grad / (norm if power == 1 else norm.pow(power))).masked_fill(is_zero, 0)


def _vector_norm_dtype(bound: dict[str, Any]) -> Any:
    d = bound["x"].dtype
    wanted = as_dtype(bound["dtype"])
    if d.category < FLOATING:
        raise RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
            f"{scalar_type_name(d)}"
        )
    if wanted is None or wanted is d:
        return d
    if wanted.category < FLOATING:
        raise RuntimeError(
            "linalg.vector_norm: dtype should be floating point or complex, but got "
            f"{scalar_type_name(wanted)}"
        )
    if wanted.is_complex != d.is_complex:
        kind = "complex" if d.is_complex else "real"
        raise RuntimeError(
            f"linalg.vector_norm: dtype should be {kind} for {kind} inputs, but got "
            f"{scalar_type_name(wanted)}"
        )
    if promote_types(d, wanted) is not wanted:
        raise RuntimeError(
            f"linalg.vector_norm: the dtype of the input ({scalar_type_name(d)}) should be "
            f"convertible without narrowing to the specified dtype ({scalar_type_name(wanted)})"
        )
    return wanted


def _require_identity(x: Any, order: Any, axis: Any) -> None:
    """Norms of order below 0 and of order inf do not exist for no elements."""
    if x.size or not (order < 0 or order == math.inf):
        return
    words = f"linalg.vector_norm cannot compute the {_order_text(order)} norm on "
    if axis is None or x.ndim <= 1:
        raise RuntimeError(
            f"{words}an empty tensor because the operation does not have an identity"
        )
    for d in (axis,) if type(axis) is int else axis:
        if x.shape[d] == 0:
            raise RuntimeError(
                f"{words}the dimension {d}because this dimension is empty and the operation does "
                "not have an identity"
            )


def _order_text(order: Any) -> str:
    return str(int(order)) if not math.isinf(order) and order == int(order) else str(order)


@operator("linalg.vector_norm", out=True, promote=_vector_norm_dtype, upcast=True,
          node="LinalgVectorNormBackward0")
def vector_norm(
    x: Tensor, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    r"""A vector norm of all elements, or along `dim`: :math:`(\sum_i |x_i|^p)^{1/p}`, p = `ord`.

    ``ord=0`` counts what is not zero; ``inf`` and ``-inf`` take the largest and the smallest
    magnitude. The gradient is 0 where the norm is.
    Example:
        >>> import taper as torch
        >>> torch.linalg.vector_norm(torch.tensor([3., 4.]))
        tensor(5.)
    """
    if dim is None and ord == 2 and not keepdim and x.dtype.kind == "f":
        flat = x.ravel()
        if flat.size <= 1024:
            return np.sqrt(flat.dot(flat))
    axis = axes_of(dim, x.ndim)
    if x.size == 0:
        _require_identity(x, ord, axis)
    if x.ndim == 0:
        return norm_over(x.reshape(1), ord, None, False)
    return in_rows(norm_over(x, ord, axis, keepdim))


@vector_norm.derivative("x")
def _(grad, x, ord, result, dim, keepdim):
    return norm_gradient(grad, x, ord, result, dim, keepdim)


@composite(method=True)
def norm(
    input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, out: Any = None,
    dtype: Any = None,
) -> Tensor:
    """The vector norm of order `p` of all elements or along `dim`; ``"nuc"``, of matrices.

    Example:
        >>> import taper as torch
        >>> torch.norm(torch.tensor([3., -4.])), torch.norm(torch.tensor([3., -4.]), p=1)
        (tensor(5.), tensor(7.))
    """
    if p == "fro" or p is None:
        p = 2.0
        if isinstance(dim, (tuple, list)) and len(dim) > 2:
            raise RuntimeError(
                f"linalg.matrix_norm: dim must be a 2-tuple. Got {' '.join(map(str, dim))}"
            )
    elif isinstance(p, str):
        if dim is None:
            dim = tuple(range(input.dim()))
        elif isinstance(dim, int):
            dim = (dim,)
        if p != "nuc":
            raise RuntimeError(f"linalg.matrix_norm: Order {p} not supported.")
        if len(dim) != 2:
            raise RuntimeError(
                f"linalg.matrix_norm: dim must be a 2-tuple. Got {' '.join(map(str, dim))}"
            )
        return OPERATORS["linalg.matrix_norm"].function(
            input, "nuc", dim, keepdim, dtype=dtype, out=out
        )
    return vector_norm.function(input, p, dim, keepdim, dtype=dtype, out=out)


def _check_difference(d: Any) -> None:
    if d.category == BOOL:
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or "
            "`logical_xor()` operator instead."
        )
    if d.category < FLOATING:
        raise RuntimeError(
            "norm(): input dtype should be either floating point or complex. Got "
            f"{scalar_type_name(d)} instead."
        )


@operator(method=True, promote="result_type", upcast=True)
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    r"""The norm of order `p` of the difference: :math:`\lVert x - y \rVert_p`.

    Example:
        >>> import taper as torch
        >>> torch.dist(torch.tensor([1., 2.]), torch.tensor([4., 6.]))
        tensor(5.)
    """
    if input.dtype.kind in "biu":
        _check_difference(from_numpy_dtype(input.dtype))
    difference = np.subtract(input, other)
    if np.size(difference) == 0:
        _require_identity(difference, p, None)
    flat = difference if np.ndim(difference) else difference[..., None]
    return norm_over(flat, p, None, False)


@dist.derivative("input")
def _(grad, input, other, p, result):
    return norm_gradient(grad, input - other, p, result, None, False)


@dist.derivative("other")
def _(grad, input, other, p, result):
    gradient = norm_gradient(grad, input - other, p, result, None, False)
    return None if gradient is None else -gradient


@operator(method=True, inplace=True, out=True, upcast=True)
def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """Scales down the slices along `dim` whose norm of order `p` exceeds `maxnorm`.

    Example:
        >>> import taper as torch
        >>> torch.renorm(torch.tensor([[3., 4.], [0., 1.]]), 2, 0, 1.)
        tensor([[0.6000, 0.8000],
                [0.0000, 1.0000]])
    """
    if p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm:g}")
    if input.ndim < 2:
        raise RuntimeError(
            f"renorm: input needs at least 2 dimensions, got {input.ndim} dimensions"
        )
    if input.dtype.kind in "biu":
        raise RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
            f"{scalar_type_name(from_numpy_dtype(input.dtype))}"
        )
    others = _other_dims(input.ndim, dim)
    norms = norm_over(input, p, others, True)
    scale = np.where(norms <= maxnorm, 1, maxnorm / (norms + 1e-7))
    return in_rows(input * scale.astype(input.dtype))


def _other_dims(ndim: int, dim: int) -> tuple[int, ...]:
    dim = normalize_dim(dim, ndim)
    return tuple([d for d in range(ndim) if d != dim])


@renorm.derivative("input")
def _(grad, input, p, dim, maxnorm):
    return gradients_by_running(
        lambda x: _renormed(x, p, dim, maxnorm), (input,), grad, (True,)
    )[0]


def _renormed(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """`renorm` on Tensors, in double precision: its gradient is a difference of large numbers."""
    wide = input.to(complex128 if input.is_complex() else float64)
    norms = vector_norm(wide, p, _other_dims(input.dim(), dim), True)
    scale = (maxnorm / (norms + 1e-7)).masked_fill(norms <= maxnorm, 1)
    return (wide * scale).to(input.dtype)


@composite()
def norm_except_dim(v: Tensor, pow: int = 2, dim: int = 0) -> Tensor:
    """The norms of the slices along `dim`, with all dimensions kept; of everything for -1.

    Example:
        >>> import taper as torch
        >>> torch.norm_except_dim(torch.tensor([[3., 4.], [6., 8.]]))
        tensor([[ 5.],
                [10.]])
    """
    if dim == -1:
        return v.norm(pow)
    n = v.shape[dim]
    sizes = v.transpose(0, dim).reshape(n, -1).norm(pow, 1)
    return sizes.reshape([n if d == dim % v.ndim else 1 for d in range(v.ndim)])
