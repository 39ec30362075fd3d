"""Bessel functions, and Airy's."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.tensor import Tensor
from taper.ops.conditional import where
from taper.ops.declare import operator
from taper.ops.scipy_functions import scipy_special
from taper.ops.sign import sgn

# -- modified, of the first kind -------------------------------------------------------------------


@operator(
    method=True, inplace=True, out=True, promote="float", kinds="f", kernel="i0_vml_cpu",
    aliases=("special.i0",),
)
def i0(input: Tensor) -> Tensor:
    r"""The modified Bessel function of the first kind and order 0: :math:`I_0(x_i)`.

    Example:
        >>> import taper as torch
        >>> torch.i0(torch.tensor([0., 1.]))
        tensor([1.0000, 1.2661])
    """
    return scipy_special("i0")(input)


@i0.derivative("input")
def _(grad, input):
    return grad * i1.function(input)


@operator(
    "special.i0e", out=True, promote="float", kinds="f", kernel="i0e_cpu",
    node="SpecialI0EBackward0",
)
def i0e(input: Tensor) -> Tensor:
    r""":math:`e^{-|x_i|} I_0(x_i)`.

    Example:
        >>> import taper as torch
        >>> torch.special.i0e(torch.tensor([0., 1.]))
        tensor([1.0000, 0.4658])
    """
    return scipy_special("i0e")(input)


@i0e.derivative("input")
def _(grad, input, result):
    return grad * (i1e.function(input) - sgn.function(input) * result)


@operator(
    "special.i1", out=True, promote="float", kinds="f", kernel="i1_cpu",
    node="SpecialI1Backward0",
)
def i1(input: Tensor) -> Tensor:
    r"""The modified Bessel function of the first kind and order 1: :math:`I_1(x_i)`.

    Example:
        >>> import taper as torch
        >>> torch.special.i1(torch.tensor([0., 1.]))
        tensor([0.0000, 0.5652])
    """
    return scipy_special("i1")(input)


@i1.derivative("input")
def _(grad, input, result):
    tiny = input.abs() < _epsilon(input)
    safe = where.forward(tiny, _epsilon(input), input)
    return grad * where.forward(tiny, 0.5, i0.function(safe) - result / safe)


@operator(
    "special.i1e", out=True, promote="float", kinds="f", kernel="i1e_cpu",
    node="SpecialI1EBackward0",
)
def i1e(input: Tensor) -> Tensor:
    r""":math:`e^{-|x_i|} I_1(x_i)`.

    Example:
        >>> import taper as torch
        >>> torch.special.i1e(torch.tensor([0., 1.]))
        tensor([0.0000, 0.2079])
    """
    return scipy_special("i1e")(input)


@i1e.derivative("input")
def _(grad, input, result):
    tiny = input.abs() < _epsilon(input)
    safe = where.forward(tiny, _epsilon(input), input)
    slope = i0e.function(safe) - result * (sgn.function(safe) + 1 / safe)
    return grad * where.forward(tiny, 0.5, slope)


def _epsilon(tensor: Any) -> float:
    return float(np.finfo(np.float64 if tensor.dtype.itemsize == 8 else np.float32).eps)


# -- without a derivative in PyTorch ---------------------------------------------------------------


def _declare(name: str, scipy_name: str, kernel: str, what: str, at_one: str) -> None:
    """Declares a function of one argument that scipy.special computes."""

    def forward(input):
        return scipy_special(scipy_name)(input)

    forward.__annotations__ = {"input": "Tensor", "return": "Tensor"}
    forward.__name__ = forward.__qualname__ = name
    forward.__doc__ = f"""{what}. It has no derivative here, as in PyTorch.

    Example:
        >>> import taper as torch
        >>> torch.special.{name}(torch.tensor([1.]))
        tensor([{at_one}])
    """
    operator(
        f"special.{name}", out=True, promote="float", kinds="f", kernel=kernel,
        differentiable=False,
    )(forward)


for _arguments in (
    ("bessel_j0", "j0", "The Bessel function of the first kind and order 0", "0.7652"),
    ("bessel_j1", "j1", "The Bessel function of the first kind and order 1", "0.4401"),
    ("bessel_y0", "y0", "The Bessel function of the second kind and order 0", "0.0883"),
    ("bessel_y1", "y1", "The Bessel function of the second kind and order 1", "-0.7812"),
    ("modified_bessel_i0", "i0", "The modified Bessel function of the first kind and order 0",
     "1.2661"),
    ("modified_bessel_i1", "i1", "The modified Bessel function of the first kind and order 1",
     "0.5652"),
    ("modified_bessel_k0", "k0", "The modified Bessel function of the second kind and order 0",
     "0.4210"),
    ("modified_bessel_k1", "k1", "The modified Bessel function of the second kind and order 1",
     "0.6019"),
    ("scaled_modified_bessel_k0", "k0e", "`modified_bessel_k0` times the exponential of its "
     "argument", "1.1445"),
    ("scaled_modified_bessel_k1", "k1e", "`modified_bessel_k1` times the exponential of its "
     "argument", "1.6362"),
):
    _declare(_arguments[0], _arguments[1], f"{_arguments[0]}_cpu", _arguments[2], _arguments[3])


@operator("special.airy_ai", out=True, promote="float", kinds="f", kernel="airy_ai_cpu",
          differentiable=False)
def airy_ai(input: Tensor) -> Tensor:
    """The Airy function Ai. It has no derivative here, as in PyTorch.

    Example:
        >>> import taper as torch
        >>> torch.special.airy_ai(torch.tensor([0.]))
        tensor([0.3550])
    """
    return scipy_special("airy")(input)[0]


@operator("special.spherical_bessel_j0", out=True, promote="float", kinds="f",
          kernel="spherical_bessel_j0_cpu", differentiable=False)
def spherical_bessel_j0(input: Tensor) -> Tensor:
    r"""The spherical Bessel function of order 0: :math:`\sin(x_i) / x_i`, 1 at 0.

    It has no derivative here, as in PyTorch.

    Example:
        >>> import taper as torch
        >>> torch.special.spherical_bessel_j0(torch.tensor([0., 1.]))
        tensor([1.0000, 0.8415])
    """
    number = input.dtype.type
    square = np.multiply(input, input)
    # The Taylor series, where the quotient loses precision.
    small = np.subtract(number(1), np.multiply(square, np.subtract(
        number(1 / 6), np.multiply(square, number(1 / 120)))))
    found = np.where(np.less(np.absolute(input), 0.01), small, np.true_divide(np.sin(input), input))
    return np.where(np.isinf(input), number(0), found)
