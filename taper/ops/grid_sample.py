"""Sampling at given places: grid_sample, and affine_grid, which makes the places."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np

from taper.autograd.modes import no_grad
from taper.core.dtype import from_numpy_dtype
from taper.core.promotion import scalar_type_name
from taper.core.tensor import Tensor, wrap
from taper.kernels.resampling import cubic_weights
from taper.ops.declare import composite, operator
from taper.ops.recomputation import gradients_by_running

MODES = {"bilinear": 0, "nearest": 1, "bicubic": 2}
PADDINGS = {"zeros": 0, "border": 1, "reflection": 2}
_BILINEAR, _NEAREST, _BICUBIC = 0, 1, 2
_ZEROS, _BORDER, _REFLECTION = 0, 1, 2


def _unnormalized(x: Tensor, size: int, align_corners: bool) -> Tensor:
    """Coordinates in [-1, 1] as places of pixels."""
    if align_corners:
        return (x + 1) * ((size - 1) / 2)
    return ((x + 1) * size - 1) * 0.5


def _reflected(x: Tensor, low: int, high: int) -> Tensor:
    """Places mirrored at low / 2 and high / 2 until they lie between them."""
    if low == high:
        return x * 0
    least, span = low / 2, (high - low) / 2
    x = (x - least).abs()
    with np.errstate(invalid="ignore"):
        turns = np.floor(x._array / np.asarray(span, x._array.dtype))
    rest = x - wrap(turns * np.asarray(span, x._array.dtype))
    even = wrap(turns % 2 == 0)
    return (rest + least).where(even, span - rest + least)


def _bounded(x: Tensor, size: int, padding: int, align_corners: bool) -> Tensor:
    """Places moved into the image as the padding asks for."""
    if padding == _REFLECTION:
        bounds = (0, 2 * (size - 1)) if align_corners else (-1, 2 * size - 1)
        x = _reflected(x, *bounds)
    if padding != _ZEROS:
        within = (x > 0) & (x < size - 1)  # as in PyTorch, at the border the gradient is 0
        x = x.where(within, x.detach().clamp(0, size - 1))
    return x


def _picked(input: Tensor, places: list[Any]) -> Tensor:
    """The pixels (N, C, points) at whole places (N, points); zeros outside of the image."""
    size = input._array.shape[2:]
    inside: Any = True
    flat: Any = 0
    for place, n in zip(places, size, strict=True):
        inside = inside & (place >= 0) & (place < n)
        flat = flat * n + np.clip(place, 0, n - 1)
    batch, channels = input._array.shape[:2]
    index = np.broadcast_to(flat[:, None], (batch, channels, flat.shape[1]))
    values = input.flatten(2).gather(2, wrap(index.copy()))
    if type(inside) is np.ndarray and inside.all():
        return values
    return values.masked_fill(wrap(~inside[:, None]), 0)


def _whole(x: Tensor) -> Any:
    with np.errstate(invalid="ignore"):
        # Far beyond any image, but still exact as an int64.
        return np.floor(np.clip(np.nan_to_num(x._array, nan=-1e9), -1e9, 1e9)).astype(np.int64)


def _sampled(
    input: Tensor, grid: Tensor, mode: int, padding: int, align_corners: bool
) -> Tensor:
    """grid_sample, as operations on Tensors."""
    size = input._array.shape[2:]
    batch, channels = input._array.shape[:2]
    out = grid._array.shape[1:-1]
    flat = grid.reshape(batch, -1, len(size))
    # The grid names the last dimension first.
    places = [
        _unnormalized(flat[..., len(size) - 1 - d], n, align_corners) for d, n in enumerate(size)
    ]
    if mode == _BICUBIC:
        sampled = _sampled_bicubic(input, places, padding, align_corners)
        return sampled.reshape(batch, channels, *out)
    places = [
        _bounded(x, n, padding, align_corners) for x, n in zip(places, size, strict=True)
    ]
    if mode == _NEAREST:
        whole = [_whole(wrap(np.rint(x._array))) for x in places]
        return _picked(input, whole).reshape(batch, channels, *out)
    lefts = [_whole(x) for x in places]
    shares = [
        x - wrap(left.astype(x._array.dtype)) for x, left in zip(places, lefts, strict=True)
    ]
    result: Any = None
    for corner in itertools.product((0, 1), repeat=len(size)):
        values = _picked(input, [left + c for left, c in zip(lefts, corner, strict=True)])
        weight: Any = None
        for share, c in zip(shares, corner, strict=True):
            part = share if c else 1 - share
            weight = part if weight is None else weight * part
        term = values * weight.unsqueeze(1)
        result = term if result is None else result + term
    return result.reshape(batch, channels, *out)


def _sampled_bicubic(
    input: Tensor, places: list[Tensor], padding: int, align_corners: bool
) -> Tensor:
    size = input._array.shape[2:]
    lefts = [_whole(x) for x in places]
    weights = [
        cubic_weights(x - wrap(left.astype(x._array.dtype)), -0.75)
        for x, left in zip(places, lefts, strict=True)
    ]
    around = []
    for left, n in zip(lefts, size, strict=True):
        taps = []
        for tap in range(-1, 3):
            place = wrap((left + tap).astype(np.float64))
            taps.append(_whole(_bounded(place, n, padding, align_corners)))
        around.append(taps)
    result: Any = None
    for i, j in itertools.product(range(4), repeat=2):
        values = _picked(input, [around[0][i], around[1][j]])
        term = values * (weights[0][i] * weights[1][j]).unsqueeze(1)
        result = term if result is None else result + term
    return result


def _check(input: Any, grid: Any) -> None:
    if input.shape[0] != grid.shape[0]:
        raise RuntimeError(
            "grid_sampler(): expected grid and input to have same batch size, but got input with "
            f"sizes {list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    if grid.shape[-1] != input.ndim - 2:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {input.ndim - 2} in last dimension, but "
            f"got grid with sizes {list(grid.shape)}"
        )
    for dim, n in enumerate(input.shape[2:], 2):
        if n == 0:
            raise RuntimeError(
                "grid_sampler(): expected input to have non-empty spatial dimensions, but input "
                f"has sizes {list(input.shape)} with dimension {dim} being empty"
            )


def _check_dtypes(bound: dict[str, Any]) -> None:
    first, second = (bound[n]._array.dtype for n in ("input", "grid"))
    if first != second:
        names = [scalar_type_name(from_numpy_dtype(d)) for d in (first, second)]
        raise RuntimeError(f"expected scalar type {names[0]} but found {names[1]}")


def _forward(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    _check(input, grid)
    with no_grad():
        return _sampled(
            wrap(input), wrap(grid), interpolation_mode, padding_mode, align_corners
        )._array


def _declare(count: int) -> Any:
    name = f"grid_sampler_{count}d"
    op = operator(
        name, upcast=True, kinds="f", kernel=f"grid_sampler_{count}d_cpu", check=_check_dtypes,
        node=f"GridSampler{count}DBackward0",
    )(_named(_forward, name, count))

    @op.derivative("input", "grid")
    def _(grad, input, grid, needs, interpolation_mode, padding_mode, align_corners):
        return gradients_by_running(
            lambda *inputs: _sampled(*inputs, interpolation_mode, padding_mode, align_corners),
            (input, grid), grad, needs,
        )

    return op


def _named(function: Any, name: str, count: int) -> Any:
    """A copy of a function under another name."""
    import types

    made = types.FunctionType(function.__code__, function.__globals__, name)
    made.__annotations__ = function.__annotations__
    made.__doc__ = f"""`nn.functional.grid_sample` in {count} dimensions, with modes as numbers.

    Example:
        >>> import taper as torch
        >>> x = torch.arange({2**count}.).view(1, 1, {", ".join("2" * count)})
        >>> middle = torch.zeros({"1, " * (count + 1)}{count})
        >>> torch.grid_sampler_{count}d(x, middle, 0, 0, True).item()
        {(2**count - 1) / 2}
    """
    return made


_SAMPLERS = {2: _declare(2), 3: _declare(3)}


@composite()
def grid_sampler(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """`nn.functional.grid_sample` with modes as numbers.

    Example:
        >>> import taper as torch
        >>> grid = torch.zeros(1, 1, 1, 2)
        >>> torch.grid_sampler(torch.arange(4.).view(1, 1, 2, 2), grid, 0, 0, True).item()
        1.5
    """
    ndim = input._array.ndim
    if ndim == 5 and interpolation_mode == _BICUBIC:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    if ndim not in (4, 5) or grid._array.ndim != ndim:
        _check(input._array, grid._array)
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but "
            f"got input with sizes {list(input._array.shape)} and grid with sizes "
            f"{list(grid._array.shape)}"
        )
    return _SAMPLERS[ndim - 2](
        input, grid, interpolation_mode, padding_mode, bool(align_corners)
    )


def _warn_of_default(function: str) -> None:
    warnings.warn(
        "Default grid_sample and affine_grid behavior has changed to align_corners=False since "
        "1.3.0. Please specify align_corners=True if the old behavior is desired. See the "
        f"documentation of {function} for details.", UserWarning, stacklevel=4,
    )


@composite("nn.functional.grid_sample")
def grid_sample(
    input: Tensor, grid: Tensor, mode: Any = "bilinear", padding_mode: Any = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Samples images at the places that a grid names.

    Args:     grid: places (x, y) or (x, y, z) from -1 (left, top) to 1;  mode: "bilinear",
        "nearest" or "bicubic";  padding_mode: what lies outside: "zeros", the "border", or the
        "reflection";  align_corners: -1 and 1 are the corner pixels' centers, not their edges
    Shape:    input (N, C, H, W), grid (N, H', W', 2) → (N, C, H', W'); volumes likewise
    Example:
        >>> import taper as torch
        >>> x, grid = torch.tensor([[[[1., 3.]]]]), torch.zeros(1, 1, 1, 2)
        >>> torch.nn.functional.grid_sample(x, grid, align_corners=False)
        tensor([[[[2.]]]])
    """
    if mode not in MODES:
        raise ValueError(
            "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', "
            f"but got: '{mode}'"
        )
    if padding_mode not in PADDINGS:
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or "
            f"'reflection', but got: '{padding_mode}'"
        )
    if align_corners is None:
        _warn_of_default("grid_sample")
    return grid_sampler(
        input, grid, MODES[mode], PADDINGS[padding_mode], bool(align_corners)
    )


# -- affine grids --------------------------------------------------------------------------------


def _base(size: Any, align_corners: bool, dtype: Any) -> Any:
    """Homogeneous coordinates of all pixels, (points, dimensions + 1), the last one first."""
    axes = []
    for n in size:
        ends = 1.0 if align_corners and n > 1 else 0.0 if n <= 1 else (n - 1) / n
        axes.append(np.linspace(-ends, ends, n).astype(dtype))
    grids = np.meshgrid(*axes, indexing="ij")
    return np.stack([*[g.reshape(-1) for g in grids[::-1]], np.ones(grids[0].size, dtype)], -1)


@operator(upcast=True)
def affine_grid_generator(theta: Tensor, size: Any, align_corners: bool) -> Tensor:
    """`nn.functional.affine_grid` without checks.

    Example:
        >>> import taper as torch
        >>> torch.affine_grid_generator(torch.eye(2, 3)[None], (1, 1, 1, 2), True)[0, 0]
        tensor([[-1.,  0.],
                [ 1.,  0.]])
    """
    base = _base(tuple(size)[2:], align_corners, theta.dtype)
    result = np.matmul(base, theta.swapaxes(1, 2))
    return result.reshape(theta.shape[0], *tuple(size)[2:], theta.shape[1])


@affine_grid_generator.derivative("theta")
def _(grad, theta_shape, size, align_corners):
    base = wrap(_base(tuple(size)[2:], align_corners, grad._array.dtype))
    return grad.reshape(theta_shape[0], -1, theta_shape[1]).transpose(1, 2) @ base


@composite("nn.functional.affine_grid")
def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """The places at which `grid_sample` finds an affinely moved image.

    Shape:    theta (N, 2, 3), size (N, C, H, W) → (N, H, W, 2); volumes likewise
    Example:
        >>> import taper as torch
        >>> turn = torch.tensor([[[0., -1., 0.], [1., 0., 0.]]])
        >>> torch.nn.functional.affine_grid(turn, (1, 1, 2, 2), align_corners=True)[0, 0]
        tensor([[ 1., -1.],
                [ 1.,  1.]])
    """
    if align_corners is None:
        _warn_of_default("grid_sample")
        align_corners = False
    if theta._array.dtype.kind not in "fV":
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    sizes = tuple(size)
    if len(sizes) not in (4, 5):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, "
            f"respectively. Got size {size}."
        )
    count = len(sizes) - 2
    if theta._array.ndim != 3 or theta._array.shape[1:] != (count, count + 1):
        raise ValueError(
            f"Expected a batch of {count}D affine matrices of shape Nx{count}x{count + 1} for size "
            f"{size}. Got {theta.shape}."
        )
    if min(sizes) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    if align_corners and min(sizes[2:]) == 1:
        warnings.warn(
            "Since version 1.3.0, affine_grid behavior has changed for unit-size grids when "
            "align_corners=True. This is not an intended use case of affine_grid. See the "
            "documentation of affine_grid for details.", UserWarning, stacklevel=3,
        )
    return affine_grid_generator(theta, sizes, align_corners)
