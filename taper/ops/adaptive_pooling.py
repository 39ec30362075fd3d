"""Pooling to a given size: adaptive_avg_pool1d … 3d and adaptive_max_pool1d … 3d."""

from __future__ import annotations

import operator as operators
from typing import Any

from taper.core.tensor import Tensor
from taper.kernels import pooling as kernel
from taper.ops.declare import composite, operator
from taper.ops.pooling import scatter_planes
from taper.ops.signature import Truth

Ints = tuple[int, ...]


def _read(function: str, count: int, input: Tensor, output_size: Any) -> Ints:
    """The sizes of the result; None keeps a dimension as it is."""
    name = f"{function}{count}d"
    given = output_size
    if not isinstance(given, (tuple, list)):
        if given is None and count > 1:
            raise TypeError("object of type 'NoneType' has no len()")
        given = (given,) if count == 1 else (given,) * count
        scalar = True
    else:
        scalar = False
    if count == 1 and len(given) != 1:
        raise RuntimeError(
            f"{name}() argument 'output_size' should contain one int (got {len(given)})"
        )
    shape = input._array.shape
    if count > 1 and len(shape) <= len(given) and not scalar:
        raise ValueError(f"Input dimension should be at least {len(given) + 1}")
    if len(given) != count:
        if function == "adaptive_max_pool":
            raise RuntimeError(
                f"adaptive_max_pool{count}d(): internal error: output_size.size() must be {count}"
            )
        raise RuntimeError(f"{name}: output_size must be {count}")
    result = []
    for position, item in enumerate(given):
        if item is None and count > 1:
            result.append(shape[len(shape) - count + position])
            continue
        try:
            result.append(operators.index(item))
        except TypeError:
            kind = type(item).__name__
            end = f"not {kind}" if scalar and count == 1 else (
                f"but found element of type {kind} at pos {position}")
            raise TypeError(
                f"{name}(): argument 'output_size' (position 2) must be tuple of ints, {end}"
            ) from None
    _check(function, count, shape, tuple(result))
    return tuple(result)


def _check(function: str, count: int, shape: Ints, out: Ints) -> None:
    name = f"{function}{count}d"
    ndim = len(shape)
    is_mean = function == "adaptive_avg_pool"
    if ndim not in (count + 1, count + 2):
        if count == 1:
            raise RuntimeError(
                f"Expected 2 to 3 dimensions, but got {ndim}-dimensional tensor for argument #1 "
                f"'self' (while checking arguments for {name})"
            )
        colon = "" if is_mean else ":"
        raise RuntimeError(
            f"{name}(): Expected {count + 1}D or {count + 2}D tensor, but got{colon} {list(shape)}"
        )
    shown = name
    sizes = list(shape)
    if is_mean and count == 1:
        shown, sizes = "adaptive_avg_pool2d", [*shape[:-1], 1, shape[-1]]
    begin = 2 if is_mean and count < 3 else 1
    checked = len(sizes) - begin if begin == 1 else max(count, 2)
    for dim in range(len(sizes) - checked, len(sizes)):
        if ndim == count + 1 and dim == 0 and not is_mean:
            continue
        if sizes[dim] == 0:
            raise RuntimeError(
                f"{shown}(): Expected input to have non-zero size for non-batch dimensions, but "
                f"input has sizes {sizes} with dimension {dim} being empty"
            )
    if min(out) < 0:
        if not is_mean:
            lead = [*shape[: ndim - count], *([1] if count == 1 else [])]
            raise RuntimeError(
                f"Trying to create tensor with negative dimension {min(out)}: {[*lead, *out]}"
            )
        full = (1, *out) if count == 1 else out
        shown = f"adaptive_avg_pool{max(count, 2)}d"
        listed = f"{full[0]}, {full[1]}" + "".join(f",{n}" for n in full[2:])
        raise RuntimeError(
            f"{shown}: elements of output_size must be greater than or equal to 0 but received "
            f"{{{listed}}}"
        )


def _mean(input: Tensor, out: Any) -> Tensor:
    return kernel.adaptive_mean(input, out)


def _declare_mean(count: int) -> Any:
    name = "adaptive_avg_pool2d" if count == 2 else "adaptive_avg_pool3d_cpu"
    pool = operator(
        f"_adaptive_avg_pool{count}d", hidden=True, upcast=True, kinds="f", kernel=name,
        node=f"AdaptiveAvgPool{count}DBackward0",
    )(_mean)

    @operator(
        f"_adaptive_avg_pool{count}d_backward", hidden=True, upcast=True,
        node=f"AdaptiveAvgPool{count}DBackwardBackward0",
    )
    def gradient(output_grad: Tensor, size: Any) -> Tensor:
        return kernel.adaptive_mean_gradient(output_grad, size)

    @gradient.derivative("output_grad")
    def _(grad, output_grad_shape):
        return pool(grad, tuple(output_grad_shape[len(output_grad_shape) - count :]))

    @pool.derivative("input")
    def _(grad, input_shape):
        return gradient(grad, tuple(input_shape[len(input_shape) - count :]))

    return pool


def _maximum(input: Tensor, out: Any) -> Any:
    return kernel.adaptive_max(input, out)


def _declare_maximum(count: int) -> Any:
    name = "adaptive_max_pool2d" if count == 2 else "adaptive_max_pool3d_cpu"
    pool = operator(
        f"_adaptive_max_pool{count}d", hidden=True, upcast=True, kinds="f", kernel=name, outputs=2,
        node=f"AdaptiveMaxPool{count}DBackward0",
    )(_maximum)

    @pool.derivative("input")
    def _(grad, result1, input_shape):
        return scatter_planes(grad, result1, tuple(input_shape[len(input_shape) - count :]))

    return pool


_MEAN = {2: _declare_mean(2), 3: _declare_mean(3)}
_MAXIMUM = {2: _declare_maximum(2), 3: _declare_maximum(3)}


@composite("nn.functional.adaptive_avg_pool1d", aliases=("adaptive_avg_pool1d",))
def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Means of windows that divide sequences into `output_size` parts.

    Shape:    (N, C, L) or (C, L) → (N, C, output_size)
    Example:
        >>> import taper as torch
        >>> torch.adaptive_avg_pool1d(torch.tensor([[1., 3., 5., 9.]]), 2)
        tensor([[2., 7.]])
    """
    out = _read("adaptive_avg_pool", 1, input, output_size)
    return _MEAN[2](input.unsqueeze(-2), (1, *out)).squeeze(-2)


@composite("nn.functional.adaptive_avg_pool2d", out=True)
def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Means of windows that divide images into `output_size` (an int or two) parts.

    Part i of n elements in m parts reaches from ⌊i n / m⌋ to ⌈(i + 1) n / m⌉.
    Shape:    (N, C, H, W) or (C, H, W) → (N, C, *output_size); None keeps a dimension
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.adaptive_avg_pool2d(torch.arange(16.).view(1, 4, 4), 2)
        tensor([[[ 2.5000,  4.5000],
                 [10.5000, 12.5000]]])
    """
    out = _read("adaptive_avg_pool", 2, input, output_size)
    if out == (1, 1) and input._array.dtype.kind != "i":
        return input.mean((-1, -2), True)
    return _MEAN[2](input, out)


@composite("nn.functional.adaptive_avg_pool3d", out=True)
def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Means of windows that divide volumes into `output_size` (an int or three) parts.

    Shape:    (N, C, D, H, W) or (C, D, H, W) → (N, C, *output_size); None keeps a dimension
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.adaptive_avg_pool3d(torch.arange(8.).view(1, 2, 2, 2), 1).item()
        3.5
    """
    out = _read("adaptive_avg_pool", 3, input, output_size)
    if out == (1, 1, 1) and input._array.dtype.kind != "i":
        return input.mean((-1, -2, -3), True)
    return _MEAN[3](input, out)


def _maxima(count: int, input: Tensor, output_size: Any) -> Any:
    out = _read("adaptive_max_pool", count, input, output_size)
    if count > 1:
        return _MAXIMUM[count](input, out)
    values, indices = _MAXIMUM[2](input.unsqueeze(-2), (1, *out))
    return values.squeeze(-2), indices.squeeze(-2)


@composite("nn.functional.adaptive_max_pool1d")
def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: Truth = False) -> Any:
    """Maxima of windows that divide sequences into `output_size` parts.

    Shape:    (N, C, L) or (C, L) → (N, C, output_size)
    Args:     return_indices: also return where each maximum stands
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.adaptive_max_pool1d(torch.tensor([[1., 3., 2., 0.]]), 2)
        tensor([[3., 2.]])
    """
    values, indices = _maxima(1, input, output_size)
    return (values, indices) if return_indices else values


@composite("adaptive_max_pool1d")
def torch_adaptive_max_pool1d(input: Tensor, output_size: Any) -> tuple[Tensor, Tensor]:
    """`nn.functional.adaptive_max_pool1d` with `return_indices`.

    Example:
        >>> import taper as torch
        >>> torch.adaptive_max_pool1d(torch.tensor([[1., 3., 2., 0.]]), 2)
        (tensor([[3., 2.]]), tensor([[1, 2]]))
    """
    return _maxima(1, input, output_size)


@composite("nn.functional.adaptive_max_pool2d")
def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: Truth = False) -> Any:
    """Maxima of windows that divide images into `output_size` (an int or two) parts.

    Shape:    (N, C, H, W) or (C, H, W) → (N, C, *output_size); None keeps a dimension
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.adaptive_max_pool2d(torch.arange(16.).view(1, 4, 4), 2)
        tensor([[[ 5.,  7.],
                 [13., 15.]]])
    """
    values, indices = _maxima(2, input, output_size)
    return (values, indices) if return_indices else values


@composite("nn.functional.adaptive_max_pool3d")
def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: Truth = False) -> Any:
    """Maxima of windows that divide volumes into `output_size` (an int or three) parts.

    Shape:    (N, C, D, H, W) or (C, D, H, W) → (N, C, *output_size); None keeps a dimension
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.adaptive_max_pool3d(torch.arange(8.).view(1, 2, 2, 2), 1).item()
        7.0
    """
    values, indices = _maxima(3, input, output_size)
    return (values, indices) if return_indices else values


def _declare_with_indices(count: int) -> None:
    def with_indices(input: Tensor, output_size: Any, return_indices: Truth = False) -> Any:
        return _maxima(count, input, output_size)

    with_indices.__name__ = f"adaptive_max_pool{count}d_with_indices"
    with_indices.__doc__ = f"""`adaptive_max_pool{count}d` with `return_indices`.

    Example:
        >>> import taper as torch
        >>> x = torch.arange({2**count}.).view(1, {", ".join("2" * count)})
        >>> y, at = torch.nn.functional.adaptive_max_pool{count}d_with_indices(x, 1)
        >>> y.item(), at.item()
        ({2**count - 1}.0, {2**count - 1})
    """
    composite(f"nn.functional.adaptive_max_pool{count}d_with_indices")(with_indices)


for _count in (1, 2, 3):
    _declare_with_indices(_count)
