"""Special functions: of errors, of the gamma family, of information theory.

Bessel functions are in bessel.py, orthogonal polynomials in polynomial.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.core.dtype import BOOL
from taper.core.tensor import Tensor
from taper.kernels.memory_order import in_rows
from taper.ops.conditional import where
from taper.ops.declare import composite, operator
from taper.ops.scipy_functions import LARGE_FOR_ERF, scipy_special

Number = Any

SQRT_HALF = math.sqrt(0.5)
TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)

# -- error functions -------------------------------------------------------------------------------


@operator(
    method=True, inplace=True, out=True, promote="float", kinds="f", kernel="erf_vml_cpu",
    aliases=("special.erf",), elementwise=True, large=LARGE_FOR_ERF,
)
def erf(input: Tensor) -> Tensor:
    r"""The error function: :math:`y_i = \frac{2}{\sqrt\pi} \int_0^{x_i} e^{-t^2} dt`.

    Example:
        >>> import taper as torch
        >>> torch.erf(torch.tensor([0., 1.]))
        tensor([0.0000, 0.8427])
    """
    return scipy_special("erf")(input)


@erf.derivative("input")
def _(grad, input):
    return grad * ((input * -input).exp() * TWO_OVER_SQRT_PI)


@operator(
    method=True, inplace=True, out=True, promote="float", kinds="f", kernel="erfc_vml_cpu",
    aliases=("special.erfc",), elementwise=True, large=LARGE_FOR_ERF,
)
def erfc(input: Tensor) -> Tensor:
    r"""The complement of the error function: :math:`y_i = 1 - \mathrm{erf}(x_i)`.

    Example:
        >>> import taper as torch
        >>> torch.erfc(torch.tensor([0., 1.]))
        tensor([1.0000, 0.1573])
    """
    return scipy_special("erfc")(input)


@erfc.derivative("input")
def _(grad, input):
    return grad * ((input * -input).exp() * -TWO_OVER_SQRT_PI)


@operator(
    method=True, inplace=True, out=True, promote="float", kinds="f", kernel="erfinv_vml_cpu",
    aliases=("special.erfinv",),
)
def erfinv(input: Tensor) -> Tensor:
    """The inverse of the error function, from (-1, 1) to the real numbers.

    Example:
        >>> import taper as torch
        >>> torch.erfinv(torch.tensor([0., 0.8427]))
        tensor([0.0000, 1.0000])
    """
    return scipy_special("erfinv")(input)


@erfinv.derivative("input")
def _(grad, input):
    result = erfinv.function(input)  # so that what was given away may be changed in place
    return grad * ((result * result).exp() * (math.sqrt(math.pi) / 2))


@operator(
    "special.erfcx", out=True, promote="float", kinds="f", kernel="erfcx_cpu",
    node="SpecialErfcxBackward0",
)
def erfcx(input: Tensor) -> Tensor:
    r"""The scaled complement of the error function: :math:`e^{x_i^2} \mathrm{erfc}(x_i)`.

    Example:
        >>> import taper as torch
        >>> torch.special.erfcx(torch.tensor([0., 10.]))
        tensor([1.0000, 0.0561])
    """
    return scipy_special("erfcx")(input)


@erfcx.derivative("input")
def _(grad, input, result):
    return grad * (input * result * 2 - TWO_OVER_SQRT_PI)


@composite("special.ndtr", out=True)
def ndtr(input: Tensor) -> Tensor:
    r"""The area under the standard normal density up to :math:`x_i`.

    Example:
        >>> import taper as torch
        >>> torch.special.ndtr(torch.tensor([0., 2.]))
        tensor([0.5000, 0.9772])
    """
    return (erf.function(input * SQRT_HALF) + 1) * 0.5


@operator(
    "special.ndtri", out=True, promote="float", kinds="f", kernel="ndtri_cpu",
    node="SpecialNdtriBackward0",
)
def ndtri(input: Tensor) -> Tensor:
    """The inverse of `ndtr`: quantiles of the standard normal distribution.

    Example:
        >>> import taper as torch
        >>> torch.special.ndtri(torch.tensor([0.5, 0.9772]))
        tensor([0.0000, 1.9991])
    """
    return scipy_special("ndtri")(input)


@ndtri.derivative("input")
def _(grad, result):
    return grad * ((result * result / 2).exp() * math.sqrt(2 * math.pi))


@operator(
    "special.log_ndtr", out=True, promote="float", kinds="f", kernel="log_ndtr_cpu",
    node="SpecialLogNdtrBackward0",
)
def log_ndtr(input: Tensor) -> Tensor:
    """Logarithms of `ndtr`, precise far below 0 too.

    Example:
        >>> import taper as torch
        >>> torch.special.log_ndtr(torch.tensor([0., -20.]))
        tensor([  -0.6931, -203.9172])
    """
    return scipy_special("log_ndtr")(input)


@log_ndtr.derivative("input")
def _(grad, input):
    return grad / erfcx.function(input * -SQRT_HALF) * math.sqrt(2 / math.pi)


# -- the gamma family ------------------------------------------------------------------------------


@operator(
    method=True, inplace=True, out=True, promote="float", kinds="f", kernel="lgamma_vml_cpu",
    aliases=("special.gammaln",),
)
def lgamma(input: Tensor) -> Tensor:
    r"""Logarithms of the gamma function's size: :math:`y_i = \ln|\Gamma(x_i)|`.

    Example:
        >>> import taper as torch
        >>> torch.lgamma(torch.tensor([1., 5.]))
        tensor([0.0000, 3.1781])
    """
    result = scipy_special("gammaln")(input)
    return np.where(np.isinf(input), np.absolute(input), result)


@lgamma.derivative("input")
def _(grad, input):
    return grad * digamma.function(input)


@operator(
    method=True, inplace=True, out=True, promote="float", kinds="f",
    aliases=("special.digamma", "special.psi"),
)
def digamma(input: Tensor) -> Tensor:
    r"""The derivative of `lgamma`: :math:`y_i = \Gamma'(x_i) / \Gamma(x_i)`; infinite at 0.

    Example:
        >>> import taper as torch
        >>> torch.digamma(torch.tensor([1., 0.5]))
        tensor([-0.5772, -1.9635])
    """
    at_zero = np.copysign(input.dtype.type(np.inf), np.negative(input))
    return np.where(np.equal(input, 0), at_zero, scipy_special("psi")(input))


@digamma.derivative("input")
def _(grad, input):
    return grad * polygamma_of.function(input, 1)


@operator(
    "polygamma", hidden=True, inplace=True, out=True, promote="float", kinds="f",
)
def polygamma_of(input: Tensor, n: int) -> Tensor:
    """`polygamma` with the input first."""
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    if n == 0:
        return digamma.forward(input)
    number = input.dtype.type
    sign = 1 if n % 2 else -1
    sums = scipy_special("zeta")(number(n + 1), input)
    return np.multiply(sums, number(sign * math.factorial(n)))


@polygamma_of.derivative("input")
def _(grad, input, n):
    return grad * polygamma_of.function(input, n + 1)


@composite(out=True, aliases=("special.polygamma",))
def polygamma(n: int, input: Tensor) -> Tensor:
    r"""The n-th derivative of `digamma`: :math:`\psi^{(n)}(x_i)`.

    Raises: RuntimeError: if `n` is negative.
    Example:
        >>> import taper as torch
        >>> torch.polygamma(1, torch.tensor([1.]))
        tensor([1.6449])
    """
    return polygamma_of.function(input, n)


def _polygamma_method(self: Tensor, n: int) -> Tensor:
    """The n-th derivative of `digamma`."""
    return polygamma_of.function(self, n)


def _polygamma_inplace(self: Tensor, n: int) -> Tensor:
    """The n-th derivative of `digamma`, in place."""
    return polygamma_of.inplace(self, n)


for _name, _function in (("polygamma", _polygamma_method), ("polygamma_", _polygamma_inplace)):
    _function.__name__ = _function.__qualname__ = _name
    setattr(Tensor, _name, _function)


def _check_mvlgamma(bound: dict[str, Any]) -> None:
    if bound["input"].dtype.category == BOOL:
        raise RuntimeError("The input tensor may not be a boolean tensor.")
    if bound["p"] < 1:
        raise RuntimeError("p has to be greater than or equal to 1")


@operator(
    method=True, inplace=True, out=True, promote="float", kinds="f", check=_check_mvlgamma,
    aliases=("special.multigammaln",),
)
def mvlgamma(input: Tensor, p: int) -> Tensor:
    r"""Logarithms of the multivariate gamma function in `p` dimensions.

    :math:`y_i = \frac{p(p-1)}{4}\ln\pi + \sum_{j=0}^{p-1} \ln\Gamma(x_i - j/2)`

    Example:
        >>> import taper as torch
        >>> torch.mvlgamma(torch.tensor([2.]), 2)
        tensor([0.4516])
    """
    shifts = np.arange(0, p, dtype=input.dtype) * input.dtype.type(-0.5)
    terms = np.stack([scipy_special("gammaln")(np.add(input, shift)) for shift in shifts], -1)
    constant = input.dtype.type(p * (p - 1) * math.log(math.pi) / 4)
    return np.add(in_rows(np.add.reduce(terms, -1)), constant)


@mvlgamma.derivative("input")
def _(grad, input, p):
    slopes = digamma.function(input)
    for j in range(1, p):
        slopes = slopes + digamma.function(input - j / 2)
    return grad * slopes


@operator(
    method=True, inplace=True, out=True, promote="result_type", upcast=True, kinds="f",
    kernel="igamma_cpu", aliases=("special.gammainc",),
)
def igamma(input: Tensor, other: Tensor) -> Tensor:
    r"""The regularised lower incomplete gamma function of order `input`.

    :math:`y_i = \frac{1}{\Gamma(a_i)}\int_0^{x_i} t^{a_i-1}e^{-t}dt`, with a the input, x `other`.

    Example:
        >>> import taper as torch
        >>> torch.igamma(torch.tensor([1.]), torch.tensor([1.]))
        tensor([0.6321])
    """
    return scipy_special("gammainc")(input, other)


@operator(
    method=True, inplace=True, out=True, promote="result_type", upcast=True, kinds="f",
    kernel="igammac_cpu", aliases=("special.gammaincc",),
)
def igammac(input: Tensor, other: Tensor) -> Tensor:
    r"""The regularised upper incomplete gamma function: 1 - `igamma`.

    Example:
        >>> import taper as torch
        >>> torch.igammac(torch.tensor([1.]), torch.tensor([1.]))
        tensor([0.3679])
    """
    return scipy_special("gammaincc")(input, other)


def _no_order_gradient(name: str) -> Any:
    def refuse(grad):
        raise NotImplementedError(
            f"the derivative for '{name}' is not implemented; detach() that argument"
        )

    return refuse


igamma.derivative("input")(_no_order_gradient("igamma: input"))
igammac.derivative("input")(_no_order_gradient("igammac: input"))


def _gamma_density(input: Any, other: Any) -> Any:
    return (other.log() * (input - 1) - other - lgamma.function(input)).exp()


@igamma.derivative("other")
def _(grad, input, other):
    return grad * _gamma_density(input, other)


@igammac.derivative("other")
def _(grad, input, other):
    return -grad * _gamma_density(input, other)


@operator(
    "special.zeta", out=True, promote="float", kinds="f", kernel="zeta_cpu",
    node="SpecialZetaBackward0",
    variant=("isinstance(other, (int, float))", "SpecialZetaBackward2"),
)
def zeta(input: Tensor | Number, other: Tensor | Number) -> Tensor:
    r"""The Hurwitz zeta function :math:`\sum_{k=0}^\infty (k + z_i)^{-x_i}`.

    Example:
        >>> import taper as torch
        >>> torch.special.zeta(torch.tensor([2.]), 1)
        tensor([1.6449])
    """
    return scipy_special("zeta")(input, other)


zeta.derivative("input")(_no_order_gradient("zeta"))


@zeta.derivative("other")
def _(grad, input, other):
    return grad * -input * zeta.function(input + 1, other)


# -- information theory ----------------------------------------------------------------------------


@operator(
    method=True, inplace=True, out=True, promote="float", kinds="f", kernel="xlogy_cpu",
    aliases=("special.xlogy",),
    variant=("isinstance(other, (int, float))", "XlogyBackward2"),
)
def xlogy(input: Tensor | Number, other: Tensor | Number) -> Tensor:
    r""":math:`y_i = x_i \ln z_i`, and 0 where :math:`x_i = 0`.

    Example:
        >>> import taper as torch
        >>> torch.xlogy(torch.tensor([0., 2.]), torch.tensor([0., 2.7182817]))
        tensor([0., 2.])
    """
    product = np.multiply(input, np.log(other))
    zero = np.where(np.equal(input, 0), input.dtype.type(0), product)
    return np.where(np.isnan(other), other, zero)


@xlogy.derivative("input")
def _(grad, input, other):
    return where.forward((input == 0) & _at_most(other, 0), 0, xlogy.function(grad, other))


def _at_most(value: Any, limit: float) -> Any:
    return value <= limit


@xlogy.derivative("other")
def _(grad, input, other):
    return grad * input / other


@operator(
    "special.xlog1py", out=True, promote="float", kinds="f", kernel="xlog1py_cpu",
    node="SpecialXlog1PyBackward0",
    variant=("isinstance(other, (int, float))", "SpecialXlog1PyBackward2"),
)
def xlog1py(input: Tensor | Number, other: Tensor | Number) -> Tensor:
    r""":math:`y_i = x_i \ln(1 + z_i)`, and 0 where :math:`x_i = 0`.

    Example:
        >>> import taper as torch
        >>> torch.special.xlog1py(torch.tensor([0., 2.]), torch.tensor([-1., 1.7182817]))
        tensor([0., 2.])
    """
    product = np.multiply(input, np.log1p(other))
    zero = np.where(np.equal(input, 0), input.dtype.type(0), product)
    return np.where(np.isnan(other), other, zero)


@xlog1py.derivative("input")
def _(grad, input, other):
    return where.forward((input == 0) & _at_most(other, -1), 0, xlog1py.function(grad, other))


@xlog1py.derivative("other")
def _(grad, input, other):
    return grad * input / (other + 1)


@operator(
    "special.entr", out=True, promote="float", kinds="f", kernel="entr_cpu",
    node="SpecialEntrBackward0",
)
def entr(input: Tensor) -> Tensor:
    r"""Entropy: :math:`y_i = -x_i \ln x_i`, 0 for 0, -inf for negative elements.

    Example:
        >>> import taper as torch
        >>> torch.special.entr(torch.tensor([0., 0.5]))
        tensor([0.0000, 0.3466])
    """
    return scipy_special("entr")(input)


@entr.derivative("input")
def _(grad, input):
    return grad * (-input.log() - 1)
