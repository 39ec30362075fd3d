"""Normalizations that don't look across samples: layer, RMS, group and local response norm."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import taper
import taper.nn.functional as F
from taper import Tensor
from taper.nn import init
from taper.nn.modules.module import Module
from taper.nn.parameter import Parameter

__all__ = ["CrossMapLRN2d", "GroupNorm", "LayerNorm", "LocalResponseNorm", "RMSNorm"]


def _as_shape(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(normalized_shape, numbers.Integral):
        return (normalized_shape,)  # type: ignore[return-value]
    return tuple(normalized_shape)  # type: ignore[arg-type]


def _make_affine(
    module: Module, size: int | tuple[int, ...], affine: bool, bias: bool, device: Any, dtype: Any
) -> None:
    """Registers a scale and a shift of the given size, or None for what isn't wanted."""
    for name, wanted in (("weight", affine), ("bias", affine and bias)):
        value = Parameter(taper.empty(size, device=device, dtype=dtype)) if wanted else None
        module.register_parameter(name, value)


def _reset_affine(module: Module) -> None:
    if module.weight is not None:
        init.ones_(module.weight)
    if module.bias is not None:
        init.zeros_(module.bias)


class LocalResponseNorm(Module):
    r"""Divides each channel by :math:`(k + \frac{\alpha}{n} \sum x^2)^\beta` of its n neighbours.

    (Krizhevsky et al., 2012.) Shape: (N, C, *), kept.
    """

    __constants__ = ["size", "alpha", "beta", "k"]

    def __init__(
        self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
    ) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class CrossMapLRN2d(Module):
    """Local response normalization of (N, C, H, W) with the window that Lua Torch used.

    The gradient is that of the formula; PyTorch's own fails its gradcheck.
    """

    size: int
    alpha: float
    beta: float
    k: float

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() != 4:
            raise ValueError(f"CrossMapLRN2d: Expected input to be 4D, got {input.dim()}D instead.")
        # As many neighbours on both sides: the window is the largest odd number up to `size`.
        before = int((self.size - 1) / 2)
        square = F.pad(input.pow(2).unsqueeze(1), (0, 0, 0, 0, before, before))
        total = square.unfold(2, 2 * before + 1, 1).sum(-1).squeeze(1)
        # As in PyTorch, which never takes it out of its running sum, channel 0 counts for all.
        beyond = taper.arange(input.size(1)) > before
        total = total + input[:, :1].pow(2) * beyond.to(input.dtype).view(1, -1, 1, 1)
        return input * (self.k + total * (self.alpha / self.size)).pow(-self.beta)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class LayerNorm(Module):
    r"""Normalizes over the last dimensions: :math:`(x - E[x]) / \sqrt{Var[x] + \epsilon}`.

    The result is scaled by `weight` and shifted by `bias`, of shape `normalized_shape`
    (Ba et al., 2016).

    Args:
        normalized_shape (int or sequence of int): the sizes of the last dimensions.
        elementwise_affine (bool): whether to learn scale and shift; `bias=False` leaves out
            the shift.

    Shape: (*, normalized_shape), kept.

    Example:
        >>> import taper as torch
        >>> torch.nn.LayerNorm(4)(torch.tensor([0.0, 1.0, 2.0, 3.0])).detach()
        tensor([-1.3416, -0.4472,  0.4472,  1.3416])
    """

    __constants__ = ["normalized_shape", "eps", "elementwise_affine"]
    normalized_shape: tuple[int, ...]
    eps: float
    elementwise_affine: bool

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5,
        elementwise_affine: bool = True, bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _as_shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        _make_affine(self, self.normalized_shape, elementwise_affine, bias, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets scales to 1 and shifts to 0."""
        _reset_affine(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class GroupNorm(Module):
    """Normalizes over groups of channels and all positions of each sample (Wu & He, 2018).

    Args:
        num_groups (int): number of groups the channels are divided into.
        num_channels (int): number of channels C.
        affine (bool): whether to learn scale and shift per channel; `bias=False` leaves out
            the shift.

    Shape: (N, C, *), kept.
    """

    __constants__ = ["num_groups", "num_channels", "eps", "affine"]
    num_groups: int
    num_channels: int
    eps: float
    affine: bool

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True,
        device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups != 0:
            raise ValueError(
                f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        _make_affine(self, num_channels, affine, bias, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets scales to 1 and shifts to 0."""
        _reset_affine(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    r"""Divides by the root of the mean square over the last dimensions, plus epsilon.

    The result is scaled by `weight` (Zhang & Sennrich, 2019).

    Args:
        normalized_shape (int or sequence of int): the sizes of the last dimensions.
        eps (float or None): None is the smallest step of the computation's dtype.

    Shape: (*, normalized_shape), kept.
    """

    __constants__ = ["normalized_shape", "eps", "elementwise_affine"]
    normalized_shape: tuple[int, ...]
    eps: float | None
    elementwise_affine: bool

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None,
        elementwise_affine: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _as_shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        weight = None
        if elementwise_affine:
            weight = Parameter(taper.empty(self.normalized_shape, device=device, dtype=dtype))
        self.register_parameter("weight", weight)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets scales to 1."""
        if self.elementwise_affine:
            init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}"
        )
