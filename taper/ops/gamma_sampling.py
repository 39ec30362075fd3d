"""Gamma and Dirichlet variates, and their derivatives with respect to the shapes.

Their names begin with an underscore in PyTorch too: programs draw through `torch.distributions`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.generator import default_generator
from taper.core.tensor import Tensor
from taper.kernels import rejection
from taper.kernels.gamma_derivatives import beta_derivative, gamma_derivative
from taper.ops.declare import composite, operator
from taper.ops.random import check_float


@operator("_gamma_variate", node="StandardGammaBackward0", hidden=True)
def gamma_variate(input: Tensor, generator: Any) -> Tensor:
    return rejection.gamma(generator, input)


@gamma_variate.derivative("input")
def _(grad, input, result):
    return grad * standard_gamma_grad.function(input, result)


@composite("_standard_gamma")
def standard_gamma(input: Tensor, generator: Any = None) -> Tensor:
    """Draws gamma variates of rate 1 whose shapes the tensor holds; differentiable.

    Example:
        >>> import taper as torch
        >>> _ = torch.manual_seed(0)
        >>> torch._standard_gamma(torch.tensor([2., 10.]))
        tensor([4.5526, 8.7828])
    """
    check_float("gamma_cpu", input.dtype)
    return gamma_variate.function(input, generator or default_generator)


@operator(
    "_standard_gamma_grad", node="StandardGammaGradBackward0", differentiable=False, kinds="f"
)
def standard_gamma_grad(input: Tensor, output: Tensor) -> Tensor:
    """How far `output`, drawn by `_standard_gamma(input)`, moves with `input`.

    Example:
        >>> import taper as torch
        >>> torch._standard_gamma_grad(torch.ones(1), torch.tensor([0.5]))
        tensor([0.8070])
    """
    values = gamma_derivative(input, output)
    return values.astype(input.dtype).reshape(np.broadcast_shapes(input.shape, output.shape))


@standard_gamma_grad.shapes
def _(input, output):
    return np.broadcast_shapes(input.shape, output.shape), input.dtype


@operator("_dirichlet_variate", node="SampleDirichletBackward0", hidden=True)
def dirichlet_variate(input: Tensor, generator: Any) -> Tensor:
    return rejection.dirichlet(generator, input)


@dirichlet_variate.derivative("input")
def _(grad, input, result):
    # Moving concentration j moves x_j as a beta variate and scales the others to a sum of one.
    slope = dirichlet_grad.function(result, input, input.sum(-1, True).expand_as(input))
    return slope * (grad - (result * grad).sum(-1, True))


@composite("_sample_dirichlet")
def sample_dirichlet(input: Tensor, generator: Any = None) -> Tensor:
    """Draws points of the simplex from the concentrations along the last dimension.

    Example:
        >>> import taper as torch
        >>> _ = torch.manual_seed(0)
        >>> torch._sample_dirichlet(torch.ones(2))
        tensor([0.8638, 0.1362])
    """
    check_float("dirichlet", input.dtype)
    return dirichlet_variate.function(input, generator or default_generator)


@operator("_dirichlet_grad", node="DirichletGradBackward0", differentiable=False, kinds="f")
def dirichlet_grad(x: Tensor, alpha: Tensor, total: Tensor) -> Tensor:
    """dx_j/dα_j / (1 - x_j) of Dirichlet variates x, whose concentrations sum to `total`.

    Example:
        >>> import taper as torch
        >>> torch._dirichlet_grad(torch.full((1,), 0.5), torch.ones(1), torch.full((1,), 2.0))
        tensor([0.6931])
    """
    slope = beta_derivative(alpha, total - alpha, x).astype(x.dtype).reshape(x.shape)
    return slope / (1 - x)


@dirichlet_grad.shapes
def _(x):
    return x.shape, x.dtype
