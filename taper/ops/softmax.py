"""Softmax and its relatives, and scaling to unit length."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from taper.core.dtype import as_dtype
from taper.core.errors import normalize_dim
from taper.core.tensor import Tensor
from taper.kernels import row_sums
from taper.kernels.memory_order import in_rows
from taper.ops.declare import composite, operator


def _dtype(bound: dict[str, Any]) -> Any:
    return as_dtype(bound.get("dtype"), "softmax") or bound["input"].dtype


def _axis(dim: int, ndim: int) -> Any:
    """What NumPy's reductions take; they check its range, and 0-d arrays have none."""
    if type(dim) is not int or not ndim:
        dim = normalize_dim(dim, ndim)
    return dim if ndim else None


def _contiguous(array: Any) -> Any:
    """The results are contiguous whatever the input's layout."""
    if type(array) is np.ndarray and array.ndim < 2 and not array.flags.c_contiguous:
        return array.copy()
    return in_rows(array)


@operator(
    method=True, promote=_dtype, upcast=True, kinds="f", kernel="softmax_lastdim_kernel_impl",
    aliases=("special.softmax",), out=True, rowwise="dim",
)
def softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    r"""Positive numbers that sum to 1 along `dim`: :math:`y_i = e^{x_i} / \sum_j e^{x_j}`.

    Args:     dtype: the input is cast to it first
    Example:
        >>> import taper as torch
        >>> torch.softmax(torch.tensor([0., 0.]), 0)
        tensor([0.5000, 0.5000])
    """
    axis = _axis(dim, input.ndim)
    input = _contiguous(input)
    if axis == 1 and input.ndim == 2:
        small = row_sums.softmax_of_rows(input)
        if small is not None:
            return small
    if not input.size:
        normalize_dim(dim, input.ndim)
        return input.copy()
    result = np.subtract(input, np.maximum.reduce(input, axis, None, None, True))
    result = np.exp(result)
    return np.true_divide(result, np.add.reduce(result, axis, None, None, True))


@softmax.derivative("input")
def _(grad, result, dim):
    return softmax_backward.function(grad, result, dim)


@operator(
    hidden=True, promote="result_type", upcast=True, node="SoftmaxBackwardDataBackward0",
    rowwise="dim",
)
def softmax_backward(grad_output: Tensor, output: Tensor, dim: int) -> Tensor:
    """The gradient of `softmax`, from its result."""
    weighted = np.multiply(grad_output, output)
    total = np.add.reduce(weighted, _axis(dim, output.ndim), None, None, True)
    return np.multiply(np.subtract(grad_output, total), output)


@softmax_backward.derivative("grad_output")
def _(grad, output, dim):
    return softmax_backward.function(grad, output, dim)


@softmax_backward.derivative("output")
def _(grad, grad_output, output, dim):
    along = (grad_output * output).sum(dim, True)
    return grad * (grad_output - along) - grad_output * (grad * output).sum(dim, True)


@operator(
    method=True, promote=_dtype, upcast=True, kinds="f",
    kernel="log_softmax_lastdim_kernel_impl", aliases=("special.log_softmax",), out=True,
    rowwise="dim",
)
def log_softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    r"""Logarithms of `softmax`, without its loss of precision: :math:`x_i - \ln\sum_j e^{x_j}`.

    Args:     dtype: the input is cast to it first
    Example:
        >>> import taper as torch
        >>> torch.log_softmax(torch.tensor([0., 0.]), 0)
        tensor([-0.6931, -0.6931])
    """
    axis = _axis(dim, input.ndim)
    input = _contiguous(input)
    if axis == 1 and input.ndim == 2:
        small = row_sums.log_softmax_of_rows(input)
        if small is not None:
            return small
    if not input.size:
        normalize_dim(dim, input.ndim)
        return input.copy()
    shifted = np.subtract(input, np.maximum.reduce(input, axis, None, None, True))
    total = np.add.reduce(np.exp(shifted), axis, None, None, True)
    return np.subtract(shifted, np.log(total))


@log_softmax.derivative("input")
def _(grad, result, dim):
    return log_softmax_backward.function(grad, result, dim)


@operator(
    hidden=True, promote="result_type", upcast=True, node="LogSoftmaxBackwardDataBackward0",
    rowwise="dim",
)
def log_softmax_backward(grad_output: Tensor, output: Tensor, dim: int) -> Tensor:
    """The gradient of `log_softmax`, from its result."""
    total = np.add.reduce(grad_output, _axis(dim, output.ndim), None, None, True)
    return np.subtract(grad_output, np.multiply(np.exp(output), total))


@log_softmax_backward.derivative("grad_output")
def _(grad, output, dim):
    return grad - (grad * output.exp()).sum(dim, True)


@log_softmax_backward.derivative("output")
def _(grad, grad_output, output, dim):
    return -(grad * output.exp() * grad_output.sum(dim, True))


# -- the forms of nn.functional --------------------------------------------------------------------


def _implicit_dim(name: str, ndim: int, stacklevel: int) -> int:
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include "
        "dim=X as an argument.",
        stacklevel=stacklevel + 1,
    )
    return 0 if ndim in (0, 1, 3) else 1


@composite("nn.functional.softmax")
def functional_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: Any = 3, dtype: Any = None
) -> Tensor:
    """`torch.softmax`, for layers.

    Example:
        >>> import taper as torch
        >>> torch.nn.functional.softmax(torch.tensor([0., 0.]), dim=0)
        tensor([0.5000, 0.5000])
    """
    if dim is None:
        dim = _implicit_dim("softmax", input._array.ndim, _stacklevel)
    return softmax.function(input, dim, dtype)


@composite("nn.functional.softmin")
def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: Any = 3, dtype: Any = None
) -> Tensor:
    """`softmax` of the negated input.

    Example:
        >>> import taper as torch
        >>> torch.nn.functional.softmin(torch.tensor([0., 0.]), dim=0)
        tensor([0.5000, 0.5000])
    """
    if dim is None:
        dim = _implicit_dim("softmin", input._array.ndim, _stacklevel)
    return softmax.function(-input, dim, dtype)


@composite("nn.functional.log_softmax")
def functional_log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: Any = 3, dtype: Any = None
) -> Tensor:
    """`torch.log_softmax`, for layers.

    Example:
        >>> import taper as torch
        >>> torch.nn.functional.log_softmax(torch.tensor([0., 0.]), dim=0)
        tensor([-0.6931, -0.6931])
    """
    if dim is None:
        dim = _implicit_dim("log_softmax", input._array.ndim, _stacklevel)
    return log_softmax.function(input, dim, dtype)


@composite("nn.functional.gumbel_softmax")
def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """Draws from a categorical distribution in a way that can be differentiated.

    Args:     tau: temperature.     hard: return one-hot vectors, with the soft ones' gradient
    Source: Jang, Gu and Poole, Categorical Reparameterization with Gumbel-Softmax.
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.gumbel_softmax(torch.zeros(3), hard=True).sum()
        tensor(1.)
    """
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=3)
    noise: Any = logits.new_empty(logits.shape).exponential_()
    soft = softmax.function((logits - noise.log()) / tau, dim)
    if not hard:
        return soft
    index = soft.max(dim, keepdim=True)[1]
    one_hot = soft.new_zeros(soft.shape).scatter_(dim, index, 1.0)
    return one_hot - soft.detach() + soft


@composite("nn.functional.normalize", out=True)
def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    r"""Divides by the p-norm along `dim`: :math:`x / \max(\lVert x\rVert_p, \varepsilon)`.

    Example:
        >>> import taper as torch
        >>> torch.nn.functional.normalize(torch.tensor([[3., 4.]]))
        tensor([[0.6000, 0.8000]])
    """
    length: Any = input.norm(p, dim, keepdim=True).clamp_min(eps)
    return input / length.expand_as(input)
