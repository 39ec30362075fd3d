"""Differences and integrals of sampled functions: diff, gradient, trapezoid."""

from __future__ import annotations

from typing import Any

from taper.core.dtype import BOOL, uint8
from taper.core.errors import normalize_dim, normalize_dims
from taper.core.tensor import Tensor
from taper.ops.declare import OPERATORS, composite


@composite(method=True, out=True)
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:
    """The differences of neighbours along `dim`, `n` times; of bools, whether they differ.

    Example:
        >>> import taper as torch
        >>> torch.diff(torch.tensor([1, 4, 9]))
        tensor([3, 5])
    """
    if input.dim() == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if not 0 <= n < 2**63 or n is True or n is False:
        raise RuntimeError(f"order must be non-negative but got {n}")
    dim = normalize_dim(dim, input.dim())
    parts = [t for t in (prepend, input, append) if t is not None]
    for extra in (prepend, append):
        if extra is not None and extra.dim() != input.dim():
            raise RuntimeError(
                "diff expects prepend or append to be the same dimension as input"
            )
    if n == 0:
        return input.clone()
    if len(parts) > 1:
        input = OPERATORS["cat"].function(parts, dim)
    for _ in range(min(n, input.shape[dim])):
        size = input.shape[dim]
        later, earlier = input.narrow(dim, 1, size - 1), input.narrow(dim, 0, size - 1)
        input = later.logical_xor(earlier) if input.dtype.category == BOOL else later - earlier
    return input


# -- gradient --------------------------------------------------------------------------------------


def _coordinates(spacing: Any, dims: tuple[int, ...], given: bool) -> list[Any]:
    """One spacing per dimension: a number, or a tensor of coordinates."""
    if spacing is None:
        spacing = 1
    if isinstance(spacing, Tensor):
        spacing = [spacing]
    if not isinstance(spacing, (list, tuple)):
        return [spacing] * len(dims)
    if len(spacing) != len(dims):
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar or a list of length equal "
            f"to 'self.dim() = {len(dims)}', since dim argument "
            f"{'was' if given else 'was not'} given, but got a list of length {len(spacing)}"
        )
    return list(spacing)


def _along(input: Tensor, dim: int, spacing: Any, edge_order: int) -> Tensor:
    """The derivative along one dimension, by central differences of second order."""
    n = input.shape[dim]

    def part(start: int, size: int) -> Tensor:
        return input.narrow(dim, start, size)

    if isinstance(spacing, Tensor):
        shape = [1] * input.dim()
        shape[dim] = n - 1
        steps = spacing.diff().reshape(shape)
        left, right = steps.narrow(dim, 0, n - 2), steps.narrow(dim, 1, n - 2)
        middle = (
            part(0, n - 2) * (-right / (left * (left + right)))
            + part(1, n - 2) * ((right - left) / (left * right))
            + part(2, n - 2) * (left / (right * (left + right)))
        )
        first, last = steps.narrow(dim, 0, 1), steps.narrow(dim, n - 2, 1)
        if edge_order == 1:
            head = (part(1, 1) - part(0, 1)) / first
            tail = (part(n - 1, 1) - part(n - 2, 1)) / last
        else:
            second, before = steps.narrow(dim, 1, 1), steps.narrow(dim, n - 3, 1)
            head = (
                part(0, 1) * (-(2 * first + second) / (first * (first + second)))
                + part(1, 1) * ((first + second) / (first * second))
                + part(2, 1) * (-first / (second * (first + second)))
            )
            tail = (
                part(n - 3, 1) * (last / (before * (before + last)))
                + part(n - 2, 1) * (-(before + last) / (before * last))
                + part(n - 1, 1) * ((2 * last + before) / (last * (before + last)))
            )
    else:
        middle = (part(2, n - 2) - part(0, n - 2)) / (2 * spacing)
        if edge_order == 1:
            head = (part(1, 1) - part(0, 1)) / spacing
            tail = (part(n - 1, 1) - part(n - 2, 1)) / spacing
        else:
            head = (-3 * part(0, 1) + 4 * part(1, 1) - part(2, 1)) / (2 * spacing)
            tail = (3 * part(n - 1, 1) - 4 * part(n - 2, 1) + part(n - 3, 1)) / (2 * spacing)
    return OPERATORS["cat"].function([head, middle, tail], dim)


@composite()
def gradient(
    input: Tensor, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1
) -> tuple[Tensor, ...]:
    """Estimates the derivative of a sampled function along each dimension.

    Args:   spacing (number, list of numbers or of coordinate tensors): distance of the samples
            edge_order (1 or 2): the order of the one-sided differences at the ends
    Example:
        >>> import taper as torch
        >>> torch.gradient(torch.tensor([1., 4., 9., 16.]))[0]
        tensor([3., 4., 6., 7.])
    """
    ndim = input.dim()
    if dim is None:
        dims = tuple(range(ndim))
    elif isinstance(dim, int):
        dims = (normalize_dim(dim, ndim),)
    else:
        dims = normalize_dims(dim, ndim)
    spaces = _coordinates(spacing, dims, dim is not None)
    if input.dtype is uint8:
        raise RuntimeError("torch.gradient does not support uint8 input.")
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    for d, space in zip(dims, spaces, strict=True):
        if isinstance(space, Tensor) and space.device != input.device:
            raise RuntimeError(
                "torch.gradient expected each tensor to be on the same device, but got devices "
                f"{space.device} and {input.device}!"
            )
        if input.shape[d] < edge_order + 1:
            raise RuntimeError(
                "torch.gradient expected each dimension size to be at least edge_order+1"
            )
    if not (input.is_floating_point() or input.is_complex()):
        input = input.to(OPERATORS["true_divide"].function(input, 1).dtype)
    return tuple([_along(input, d, s, edge_order) for d, s in zip(dims, spaces, strict=True)])


# -- integrals -------------------------------------------------------------------------------------


def _sample_widths(y: Tensor, x: Tensor, dim: int, name: str) -> Tensor:
    """The distances of neighbouring sample points, shaped to multiply with y."""
    n = y.shape[dim]
    if x.dim() == 1:
        if x.shape[0] != n:
            raise RuntimeError(f"{name}: There must be one `x` value for each sample point")
        return x.diff().reshape([n - 1 if d == dim else 1 for d in range(y.dim())])
    if x.dim() < y.dim():
        x = x.reshape([1] * (y.dim() - x.dim()) + list(x.shape))
    return x.diff(dim=dim - y.dim())


def _panels(y: Tensor, x: Any, dx: Any, dim: int, name: str) -> Any:
    """Twice the area of each trapezoid between neighbours."""
    if y.dim() == 0:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    axis = normalize_dim(dim, y.dim())
    if y.dtype.category == BOOL:
        raise RuntimeError(f"{name}: received a bool input for `y`, but bool is not supported")
    if isinstance(x, Tensor) and x.dtype.category == BOOL:
        raise RuntimeError(f"{name}: received a bool input for `x`, but bool is not supported")
    n = y.shape[axis]
    heights = y.narrow(axis, 1, n - 1) + y.narrow(axis, 0, n - 1) if n else y
    if isinstance(x, Tensor):
        return heights * _sample_widths(y, x, axis, name), axis, 1
    if isinstance(x, (int, float)) and dx is None:
        dx = x
    return heights, axis, 1 if dx is None else dx


@composite(aliases=("trapz",))
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """Integrates samples `y` along `dim` by the trapezoidal rule, at points `x` or `dx` apart.

    Example:
        >>> import taper as torch
        >>> torch.trapezoid(torch.tensor([1., 5., 10.]))
        tensor(10.5000)
    """
    if y.dim() and y.shape[normalize_dim(dim, y.dim())] == 0:
        return y.sum(dim)
    areas, axis, step = _panels(y, x, dx, dim, "trapezoid")
    return areas.sum(axis) * (step / 2.0)


@composite()
def cumulative_trapezoid(
    y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1
) -> Tensor:
    """Running integrals of samples `y` along `dim` by the trapezoidal rule.

    Example:
        >>> import taper as torch
        >>> torch.cumulative_trapezoid(torch.tensor([1., 5., 10.]))
        tensor([ 3.0000, 10.5000])
    """
    areas, axis, step = _panels(y, x, dx, dim, "cumulative_trapezoid")
    return (areas * (step / 2.0)).cumsum(axis)
