"""Sums, differences and products of pairs of tensors or numbers, and their fused forms.

Quotients and remainders are in division.py, powers and roots in power.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.autograd import engine
from taper.core.dtype import FLOATING
from taper.core.promotion import cpp_type_name, scalar_type_name
from taper.core.tensor import Tensor
from taper.ops.constants import constant
from taper.ops.declare import composite, operator
from taper.ops.signature import Number


def conj(value: Any) -> Any:
    """The conjugate of a tensor or number; real ones as they are."""
    if isinstance(value, Tensor):
        return value if value._array.dtype.kind != "c" else value.conj()
    return value.conjugate() if isinstance(value, complex) else value


def scaled(array: Any, factor: Any) -> Any:
    """An array times a Python number, which must not widen its dtype."""
    if isinstance(factor, Tensor):
        factor = factor.item()
    kind = array.dtype.kind
    if isinstance(factor, bool) and kind != "b":
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    if isinstance(factor, float) and kind in "biu":
        raise RuntimeError(
            "For integral input tensors, argument alpha must not be a floating point number."
        )
    if isinstance(factor, complex) and kind != "c":
        raise RuntimeError(
            "For non-complex input tensors, argument alpha must not be a complex number."
        )
    if kind == "b":
        return np.logical_and(array, bool(factor))
    return np.multiply(array, constant(factor, array.dtype))


@operator(
    method=True, inplace=True, out=True, promote="result_type", upcast=True, ufunc=np.add,
    takes_numbers=True, older=("alpha",),
    dunders=("__add__", "__radd__", "__iadd__"),
)
def add(input: Tensor, other: Tensor | Number, *, alpha: Number = 1) -> Tensor:
    r"""Adds `other`, scaled by `alpha`, to `input`: :math:`y_i = x_i + \alpha z_i`.

    Shape: broadcast together.    Dtype: promoted together.
    Example:
        >>> import taper as torch
        >>> torch.add(torch.tensor([1, 2]), torch.tensor([10, 20]), alpha=2)
        tensor([21, 42])
    """
    return np.add(input, other if alpha == 1 else scaled(other, alpha))


@add.derivative("input")
def _(grad):
    return grad


@add.derivative("other")
def _(grad, alpha):
    return grad if alpha == 1 else grad * conj(alpha)


def _check_sub(bound: dict[str, Any]) -> None:
    bools = [
        v._array.dtype.kind == "b" if isinstance(v, Tensor) else isinstance(v, bool)
        for v in (bound["input"], bound["other"])
    ]
    if all(bools):
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or "
            "`logical_xor()` operator instead."
        )
    if any(bools):
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying "
            "to invert a mask, use the `~` or `logical_not()` operator instead."
        )


@operator(
    method=True, inplace=True, out=True, promote="result_type", upcast=True, ufunc=np.subtract,
    aliases=("subtract",), dunders=("__sub__", "__isub__"), check=_check_sub, takes_numbers=True,
    older=("alpha",),
)
def sub(input: Tensor, other: Tensor | Number, *, alpha: Number = 1) -> Tensor:
    r"""Subtracts `other`, scaled by `alpha`, from `input`: :math:`y_i = x_i - \alpha z_i`.

    Shape: broadcast together.    Dtype: promoted together.
    Raises: RuntimeError: for bool operands; use ``^`` or ``~``.
    Example:
        >>> import taper as torch
        >>> torch.sub(torch.tensor([5, 6]), torch.tensor([1, 2]), alpha=2)
        tensor([3, 2])
    """
    return np.subtract(input, other if alpha == 1 else scaled(other, alpha))


@sub.derivative("input")
def _(grad):
    return grad


@sub.derivative("other")
def _(grad, alpha):
    return -grad if alpha == 1 else grad * -conj(alpha)


@operator(
    method=True, out=False, promote="result_type", upcast=True, dunders=("__rsub__",),
    check=_check_sub, kinds="ifc",
    variant=("isinstance(other, (int, float, complex))", "RsubBackward1"),
)
def rsub(input: Tensor, other: Tensor | Number, *, alpha: Number = 1) -> Tensor:
    r"""Subtracts `input`, scaled by `alpha`, from `other`: :math:`y_i = z_i - \alpha x_i`.

    Example:
        >>> import taper as torch
        >>> torch.rsub(torch.tensor([1, 2]), 10)
        tensor([9, 8])
    """
    return np.subtract(other, input if alpha == 1 else scaled(input, alpha))


@rsub.derivative("input")
def _(grad, alpha):
    return -grad if alpha == 1 else grad * -conj(alpha)


@rsub.derivative("other")
def _(grad):
    return grad


@operator(
    method=True, inplace=True, out=True, promote="result_type", upcast=True, ufunc=np.multiply,
    aliases=("multiply",), takes_numbers=True, dunders=("__mul__", "__rmul__", "__imul__"),
    also={"value": "other"},
)
def mul(input: Tensor, other: Tensor | Number) -> Tensor:
    r"""Multiplies elementwise: :math:`y_i = x_i z_i`.

    Shape: broadcast together.    Dtype: promoted together.
    Example:
        >>> import taper as torch
        >>> torch.mul(torch.tensor([1., 2.]), 3)
        tensor([3., 6.])
    """
    return np.multiply(input, other)


@mul.derivative("input")
def _(grad, other):
    return grad * conj(other)


@mul.derivative("other")
def _(grad, input):
    return grad * conj(input)


def _check_neg(bound: dict[str, Any]) -> None:
    if bound["input"]._array.dtype.kind == "b":
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to "
            "invert a mask, use the `~` or `logical_not()` operator instead."
        )


@operator(
    method=True, inplace=True, out=True, ufunc=np.negative, aliases=("negative",),
    dunders=("__neg__",), check=_check_neg,
)
def neg(input: Tensor) -> Tensor:
    r"""Negates each element: :math:`y_i = -x_i`.

    Example:
        >>> import taper as torch
        >>> torch.neg(torch.tensor([1, -2]))
        tensor([-1,  2])
    """
    return np.negative(input)


@neg.derivative("input")
def _(grad):
    return -grad


@composite(method=True, dunders=("__pos__",))
def positive(input: Tensor) -> Tensor:
    """Returns `input` itself; what Python's unary ``+`` means.

    Raises: RuntimeError: for bool tensors.
    Example:
        >>> import taper as torch
        >>> torch.positive(torch.tensor([1, -2]))
        tensor([ 1, -2])
    """
    if input._array.dtype.kind == "b":
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


# -- fused forms -----------------------------------------------------------------------------------


@operator(
    method=True, inplace=True, out=True, promote="result_type", upcast=True, kinds="ifc",
    kernel="addcmul_cpu_out", older=("value",),
)
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    r"""Adds a product: :math:`y_i = x_i + v\, a_i b_i`.

    Shape: broadcast together.    Dtype: promoted together.
    Example:
        >>> import taper as torch
        >>> torch.addcmul(torch.ones(2), torch.tensor([1., 2.]), torch.tensor([3., 4.]), value=2)
        tensor([ 7., 17.])
    """
    product = np.multiply(tensor1, tensor2)
    if product.dtype.kind in "iu":
        value = int(value)  # as PyTorch casts it, here and nowhere else
    return np.add(input, product if value == 1 else scaled(product, value))


@addcmul.derivative("input")
def _(grad):
    return grad


@addcmul.derivative("tensor1")
def _(grad, tensor2, value):
    return grad * (conj(tensor2) if value == 1 else conj(tensor2 * value))


@addcmul.derivative("tensor2")
def _(grad, tensor1, value):
    return grad * (conj(tensor1) if value == 1 else conj(tensor1 * value))


def _check_addcdiv(bound: dict[str, Any]) -> None:
    if all(bound[n]._array.dtype.kind in "biu" for n in ("tensor1", "tensor2")):
        raise RuntimeError(
            "Integer division with addcdiv is no longer supported, and in a future  release "
            "addcdiv will perform a true division of tensor1 and tensor2. Use "
            "(input + value * tensor1 / tensor2) for a true division, or "
            "(input + value * torch.trunc(tensor1 / tensor2)).to(input.dtype) for the old result."
        )


@operator(
    method=True, inplace=True, out=True, promote="result_type", upcast=True, kinds="fc",
    check=_check_addcdiv, kernel="addcdiv_cpu_out", older=("value",),
)
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    r"""Adds a quotient: :math:`y_i = x_i + v\, a_i / b_i`.

    Shape: broadcast together.    Dtype: promoted together.
    Raises: RuntimeError: if both `tensor1` and `tensor2` are integers.
    Example:
        >>> import taper as torch
        >>> torch.addcdiv(torch.ones(2), torch.tensor([1., 2.]), torch.tensor([4., 4.]))
        tensor([1.2500, 1.5000])
    """
    quotient = np.true_divide(tensor1 if value == 1 else scaled(tensor1, value), tensor2)
    return np.add(input, quotient)


@addcdiv.derivative("input")
def _(grad):
    return grad


@addcdiv.derivative("tensor1")
def _(grad, tensor2, value):
    return grad * conj(value / tensor2)


@addcdiv.derivative("tensor2")
def _(grad, tensor1, tensor2, value):
    return grad * -conj(tensor1 * value / (tensor2 * tensor2))


def _check_lerp(bound: dict[str, Any]) -> None:
    wanted = bound["input"].dtype
    for name in ("end", "weight"):
        given = bound[name]
        if isinstance(given, Tensor) and given.dtype is not wanted:
            if name == "weight" and not given._array.ndim:
                continue
            raise RuntimeError(
                f"expected dtype {cpp_type_name(wanted)} for `{name}` but got dtype "
                f"{cpp_type_name(given.dtype)}"
            )
    if wanted.category < FLOATING:
        form = "tensor" if isinstance(bound["weight"], Tensor) else "scalar"
        raise NotImplementedError(
            f'"lerp_kernel_{form}" not implemented for \'{scalar_type_name(wanted)}\''
        )


@operator(
    method=True, inplace=True, out=True, promote="result_type", upcast=True, kinds="fc",
    check=_check_lerp, kernel="lerp_kernel_scalar", node="LerpBackward1",
    variant=("isinstance(weight, (int, float, complex))", "LerpBackward0"),
)
def lerp(input: Tensor, end: Tensor, weight: Tensor | Number) -> Tensor:
    r"""Goes the fraction `weight` of the way from `input` to `end`: :math:`x_i + w_i(e_i - x_i)`.

    The nearer end is the one computed from, so that weights 0 and 1 give the ends exactly.

    Raises: RuntimeError: if the dtypes differ.
    Example:
        >>> import taper as torch
        >>> torch.lerp(torch.tensor([0., 10.]), torch.tensor([10., 20.]), 0.25)
        tensor([ 2.5000, 12.5000])
    """
    way = np.subtract(end, input)
    if type(weight) is np.ndarray and not weight.ndim:
        if abs(weight.item()) < 0.5:
            return np.add(input, np.multiply(way, weight))
        return np.subtract(end, np.multiply(way, np.subtract(1, weight, dtype=way.dtype)))
    near_start = np.absolute(weight) < 0.5
    from_start = np.add(input, np.multiply(way, weight))
    from_end = np.subtract(end, np.multiply(way, np.subtract(1, weight, dtype=way.dtype)))
    return np.where(near_start, from_start, from_end)


@lerp.derivative("input")
def _(grad, weight):
    return grad * conj(1 - weight)


@lerp.derivative("end")
def _(grad, weight):
    return grad * conj(weight)


@lerp.derivative("weight")
def _(grad, input, end):
    return grad * conj(end - input)


engine.add = add.function
