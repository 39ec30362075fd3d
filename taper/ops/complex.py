"""Complex numbers: their parts, conjugates and angles, and making them from real ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.arrays.symbolic_shape import broadcast_shapes
from taper.core.dtype import complex32
from taper.core.promotion import scalar_type_name
from taper.core.tensor import Tensor
from taper.kernels.memory_order import in_rows
from taper.ops.conditional import where
from taper.ops.declare import composite, operator
from taper.ops.division import zero_gradient
from taper.ops.sign import sgn

# -- parts -----------------------------------------------------------------------------------------


@composite()
def real(input: Tensor) -> Tensor:
    """The real parts of complex numbers, as a view; real tensors themselves.

    Example:
        >>> import taper as torch
        >>> torch.real(torch.tensor([1 + 2j]))
        tensor([1.])
    """
    return view_as_real.function(input).select(-1, 0) if input._array.dtype.kind == "c" else input


@composite()
def imag(input: Tensor) -> Tensor:
    """The imaginary parts of complex numbers, as a view.

    Raises: RuntimeError: for real tensors.
    Example:
        >>> import taper as torch
        >>> torch.imag(torch.tensor([1 + 2j]))
        tensor([2.])
    """
    if input._array.dtype.kind != "c":
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return view_as_real.function(input).select(-1, 1)


def _set_real(self: Tensor, value: Any) -> None:
    real.forward(self).copy_(_as_tensor(self, value))


def _set_imag(self: Tensor, value: Any) -> None:
    imag.forward(self).copy_(_as_tensor(self, value))


def _as_tensor(like: Tensor, value: Any) -> Any:
    return value if isinstance(value, Tensor) else like.new_tensor(value)


Tensor.real = property(
    real.forward, _set_real, doc="The real parts, as a view."
)
Tensor.imag = property(
    imag.forward, _set_imag, doc="The imaginary parts, as a view."
)


def _check_view_as_real(bound: dict[str, Any]) -> None:
    if not bound["input"].is_complex():
        raise RuntimeError("view_as_real is only supported for complex tensors")


@operator(view=True, check=_check_view_as_real, kinds="c")
def view_as_real(input: Tensor) -> Tensor:
    """Shows complex numbers as pairs of real ones in a new last dimension of size 2.

    Example:
        >>> import taper as torch
        >>> torch.view_as_real(torch.tensor([1 + 2j]))
        tensor([[1., 2.]])
    """
    return input[..., None].view(input.real.dtype)


@view_as_real.derivative("input")
def _(grad):
    return view_as_complex.function(grad.contiguous())


_COMPLEX_OF = {
    np.dtype(np.float32): np.dtype(np.complex64), np.dtype(np.float64): np.dtype(np.complex128),
}


@operator(view=True)
def view_as_complex(input: Tensor) -> Tensor:
    """Shows pairs of real numbers in the last dimension as complex numbers.

    Raises: RuntimeError: if that dimension has not size 2 and stride 1.
    Example:
        >>> import taper as torch
        >>> torch.view_as_complex(torch.tensor([[1., 2.]]))
        tensor([1.+2.j])
    """
    wanted = _COMPLEX_OF.get(input.dtype)
    if wanted is None and input.dtype == np.float16:
        raise complex32.error()
    if wanted is None:
        raise RuntimeError(
            "view_as_complex is only supported for half, float and double tensors, but got a "
            f"tensor of scalar type: {scalar_type_name(_dtype_of(input))}"
        )
    if input.ndim == 0:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if input.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    item = input.dtype.itemsize
    if input.strides[-1] != item and input.size:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(s % (2 * item) for s in input.strides[:-1]):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
    return input.view(wanted)[..., 0]


@view_as_complex.derivative("input")
def _(grad):
    return view_as_real.function(grad)


def _dtype_of(array: Any) -> Any:
    from taper.core.dtype import from_numpy_dtype

    return from_numpy_dtype(array.dtype)


# -- conjugates and angles -------------------------------------------------------------------------


@operator(hidden=True, node="ConjBackward0", ufunc=np.conjugate)
def conjugate(input: Tensor) -> Tensor:
    """The conjugates of complex numbers, computed at once."""
    return np.conjugate(input)


@conjugate.derivative("input")
def _(grad):
    return conj.forward(grad)


@composite(method=True)
def conj(input: Tensor) -> Tensor:
    """The conjugates of complex numbers; real tensors themselves.

    They are computed at once: taper has no lazily conjugated tensors.

    Example:
        >>> import taper as torch
        >>> torch.conj(torch.tensor([1 + 2j]))
        tensor([1.-2.j])
    """
    return conjugate.function(input) if input._array.dtype.kind == "c" else input


@operator(hidden=True, node="ConjPhysicalBackward0", out=True)
def conjugate_physical(input: Tensor) -> Tensor:
    """`conj_physical` of complex tensors."""
    return np.conjugate(input)


@conjugate_physical.derivative("input")
def _(grad):
    return conj.forward(grad)


@composite(method=True, inplace=True, out=True)
def conj_physical(input: Tensor) -> Tensor:
    """The conjugates of complex numbers; real tensors themselves.

    Example:
        >>> import taper as torch
        >>> torch.conj_physical(torch.tensor([1 + 2j]))
        tensor([1.-2.j])
    """
    return conjugate_physical.function(input) if input._array.dtype.kind == "c" else input


@operator(method=True, out=True, promote="float")
def angle(input: Tensor) -> Tensor:
    r"""Angles of complex numbers in radians; of real ones 0, or :math:`\pi` if negative.

    Example:
        >>> import taper as torch
        >>> torch.angle(torch.tensor([1j, -1]))
        tensor([1.5708, 3.1416])
    """
    if input.dtype.kind == "c":
        return in_rows(np.arctan2(input.imag, input.real))
    number = input.dtype.type
    found = np.where(np.less(input, 0), number(np.pi), number(0))
    return np.where(np.isnan(input), input, found)


@angle.derivative("input")
def _(grad, input):
    if not input.is_complex():
        return zero_gradient.function(grad)
    length = input.abs()
    return where.forward(input == 0, 0, grad * input / (length * length) * 1j)


# -- from real ones --------------------------------------------------------------------------------


def _check_parts(first: str, second: str) -> Any:
    def check(bound: dict[str, Any]) -> None:
        one, two = bound[first].dtype, bound[second].dtype
        if one.name not in _PARTS or two.name not in _PARTS:
            raise RuntimeError(
                "Expected both inputs to be Half, Float or Double tensors but got "
                f"{scalar_type_name(one)} and {scalar_type_name(two)}"
            )
        if one is not two:
            raise RuntimeError(
                f"Expected object of scalar type {scalar_type_name(one)} but got scalar type "
                f"{scalar_type_name(two)} for second argument"
            )
        if one.name == "float16":
            raise complex32.error()

    return check


_PARTS = ("float16", "float32", "float64")


@operator(
    out=True, promote="result_type", upcast=True, kinds="f", check=_check_parts("real", "imag"),
    exact_out=True,
)
def complex(real: Tensor, imag: Tensor) -> Tensor:
    """Makes complex numbers of real and imaginary parts.

    Raises: RuntimeError: if the parts are not floating or their dtypes differ.
    Example:
        >>> import taper as torch
        >>> torch.complex(torch.tensor([1.]), torch.tensor([2.]))
        tensor([1.+2.j])
    """
    shape = broadcast_shapes(real.shape, imag.shape)
    result = np.empty_like(real, _COMPLEX_OF[real.dtype], shape=shape)
    result.real = real
    result.imag = imag
    return result


@complex.derivative("real")
def _(grad):
    return real.forward(grad)


@complex.derivative("imag")
def _(grad):
    return imag.forward(grad)


@operator(
    out=True, promote="result_type", upcast=True, kinds="f", check=_check_parts("abs", "angle"),
    exact_out=True,
)
def polar(abs: Tensor, angle: Tensor) -> Tensor:
    r"""Makes complex numbers of lengths and angles: :math:`y_i = r_i e^{j\varphi_i}`.

    Raises: RuntimeError: if the dtypes are not floating or differ.
    Example:
        >>> import taper as torch
        >>> torch.polar(torch.tensor([2.]), torch.tensor([0.]))
        tensor([2.+0.j])
    """
    return complex.forward(np.multiply(abs, np.cos(angle)), np.multiply(abs, np.sin(angle)))


@polar.derivative("abs")
def _(grad, result):
    return (grad.conj() * sgn.function(result)).real


@polar.derivative("angle")
def _(grad, result):
    return (grad.conj() * (result * 1j)).real
