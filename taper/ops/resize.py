"""Images in other sizes: interpolate, upsample and their relatives. Sampling at given places is in
grid_sample.py."""

from __future__ import annotations

import operator as operators
import warnings
from typing import Any

import numpy as np

from taper.core.promotion import scalar_type_name
from taper.core.tensor import Tensor
from taper.kernels import resampling as kernel
from taper.ops.declare import composite, operator
from taper.ops.namespace import find
from taper.ops.signature import Truth

_MODES = {
    "nearest": "Nearest", "nearest-exact": "NearestExact", "linear": "Linear",
    "bilinear": "Bilinear", "trilinear": "Trilinear", "bicubic": "Bicubic", "lanczos": "Lanczos",
}
_LIST = "nearest | linear | bilinear | bicubic | trilinear | lanczos | area | nearest-exact"
_LINEAR_NDIM = {"linear": 3, "bilinear": 4, "trilinear": 5}
_declared: dict[str, Any] = {}


def _resample_op(node: str) -> Any:
    """The operator whose nodes are called `node`, made when first needed."""
    found = _declared.get(node)
    if found is None:
        found = _declared[node] = _declare(node)
    return found


def _declare(node: str) -> Any:
    @operator(f"_{node}", hidden=True, upcast=True, node=f"{node}Backward0")
    def resample(input: Tensor, plans: Any) -> Tensor:
        if input.dtype.kind in "iu" and any(weight is not None for _, weight in plans):
            wide = kernel.resample(input.astype(np.float32), plans)
            most = np.iinfo(input.dtype)
            return np.rint(wide).clip(most.min, most.max).astype(input.dtype)
        result = kernel.resample(input, plans)
        return result.copy() if result is input else result

    @operator(f"_{node}_backward", hidden=True, upcast=True, node=f"{node}BackwardBackward0")
    def adjoint(output_grad: Tensor, plans: Any, size: Any) -> Tensor:
        return kernel.resample_adjoint(output_grad, plans, size)

    @resample.derivative("input")
    def _(grad, plans, input_shape):
        return adjoint(grad, plans, tuple(input_shape[len(input_shape) - len(plans) :]))

    @adjoint.derivative("output_grad")
    def _(grad, plans):
        return resample(grad, plans)

    return resample


def _read_sizes(input: Tensor, size: Any, scale_factor: Any, recompute: Any) -> tuple[Any, Any]:
    """The sizes of the result, and the factors that coordinates are computed with, or None."""
    space = input._array.shape[2:]
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    if size is not None:
        if recompute:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        given = tuple(size) if isinstance(size, (list, tuple)) else (size,) * len(space)
        if len(given) != len(space):
            raise ValueError(
                "Input and output must have the same number of spatial dimensions, but got input "
                f"with spatial dimensions of {list(space)} and output size of {size}. Please "
                "provide input tensor in (N, C, d1, d2, ...,dK) format and output size in (o1, o2, "
                "...,oK) format."
            )
        try:
            return tuple([operators.index(n) for n in given]), None
        except TypeError:
            raise TypeError(
                f"interpolate(): argument 'size' must be ints, but got {size!r}"
            ) from None
    factors = tuple(scale_factor) if isinstance(scale_factor, (list, tuple)) else (
        (scale_factor,) * len(space))
    if len(factors) != len(space):
        raise ValueError(
            "Input and scale_factor must have the same number of spatial dimensions, but got input "
            f"with spatial dimensions of {list(space)} and scale_factor of shape {scale_factor}. "
            "Please provide input tensor in (N, C, d1, d2, ...,dK) format and scale_factor in (s1, "
            "s2, ...,sK) format."
        )
    try:
        factors = tuple([float(f) for f in factors])
    except (TypeError, ValueError):
        raise TypeError(
            f"interpolate(): argument 'scale_factor' must be numbers, but got {scale_factor!r}"
        ) from None
    out = tuple([kernel.floor_size(n, f) for n, f in zip(space, factors, strict=True)])
    return out, None if recompute else factors


def _check_sizes(space: Any, out: Any) -> None:
    if all(n > 0 for n in (*space, *out)):
        return
    axes = ("D", "H", "W")[-len(out) :]
    given, wanted = (
        ", ".join(f"{a}: {n}" for a, n in zip(axes, sizes, strict=True)) for sizes in (space, out)
    )
    raise RuntimeError(
        f"Input and output sizes should be greater than 0, but got input ({given}) output "
        f"({wanted})"
    )


def _resized(
    input: Tensor, out: Any, factors: Any, mode: str, align_corners: bool, antialias: bool
) -> Tensor:
    space = input._array.shape[2:]
    count = len(space)
    _check_sizes(space, out)
    dtype = input._array.dtype
    if dtype.kind in "bic" or (dtype.kind == "u" and dtype.itemsize > 1):
        raise NotImplementedError(
            f'"upsample_{mode.replace("-exact", "")}{count}d_channels_last" not implemented for '
            f"'{scalar_type_name(input.dtype)}'"
        )
    kind = np.float64 if str(dtype) == "float64" else np.float32
    plans = []
    for n, m, factor in zip(space, out, factors or (None,) * count, strict=True):
        if antialias:
            plans.append(kernel.antialiased(n, m, factor, align_corners, mode, kind))
        elif mode == "nearest" or mode == "nearest-exact":
            plans.append(kernel.nearest(n, m, factor, mode == "nearest-exact"))
        elif mode == "bicubic":
            plans.append(kernel.cubic(n, m, factor, align_corners, kind))
        else:
            plans.append(kernel.linear(n, m, factor, align_corners, kind))
    node = f"Upsample{_MODES[mode]}{count}D" + ("Aa" if antialias else "")
    return _resample_op(node)(input, tuple(plans))


@composite("nn.functional.interpolate")
def interpolate(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: Any = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: Truth = None,
    antialias: Truth = False,
) -> Tensor:
    """Samples images down or up.

    Args:     size, or scale_factor: one number, or one per dimension of space;  mode: "nearest",
        "nearest-exact", "linear" (sequences), "bilinear" (images), "trilinear" (volumes),
        "bicubic" (images) or "area";  align_corners: the centers of the corner elements fall
        together, not their outer edges;  antialias: widen the filter where images get smaller
    Shape:    (N, C, *) with 1 to 3 dimensions of space
    Example:
        >>> import taper as torch
        >>> x = torch.tensor([[[0., 3.]]])
        >>> torch.nn.functional.interpolate(x, scale_factor=2, mode="linear")
        tensor([[[0.0000, 0.7500, 2.2500, 3.0000]]])
    """
    if mode in ("nearest", "area", "nearest-exact"):
        if align_corners is not None:
            raise ValueError(
                "align_corners option can only be set with the interpolating modes: linear | "
                "bilinear | bicubic | trilinear"
            )
    elif align_corners is None:
        align_corners = False
    ndim = input._array.ndim
    out, factors = _read_sizes(input, size, scale_factor, recompute_scale_factor)
    if antialias and not (mode in ("bilinear", "bicubic", "lanczos") and ndim == 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires "
            "a 4-D tensor as input"
        )
    if mode in _LINEAR_NDIM and 3 <= ndim <= 5 and ndim != _LINEAR_NDIM[mode]:
        raise NotImplementedError(
            f"Got {ndim}D input, but {mode} mode needs {_LINEAR_NDIM[mode]}D input"
        )
    if mode == "area" and 3 <= ndim <= 5:
        return find(f"nn.functional.adaptive_avg_pool{ndim - 2}d")(input, out)
    known = mode in _MODES and not (mode == "bicubic" and ndim != 4) and not (
        mode == "lanczos" and not antialias)
    if not known or not 3 <= ndim <= 5:
        raise NotImplementedError(
            f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {ndim}D) for the modes: "
            f"{_LIST} (got {mode})"
        )
    return _resized(input, out, factors, mode, bool(align_corners), antialias)


@composite("nn.functional.upsample")
def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: Any = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """`interpolate` under its old name.

    Example:
        >>> import taper as torch
        >>> torch.nn.functional.upsample(torch.tensor([[[1., 2.]]]), scale_factor=2)
        tensor([[[1., 1., 2., 2.]]])
    """
    warnings.warn(
        "`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` instead.",
        UserWarning, stacklevel=3,
    )
    return interpolate(input, size, scale_factor, mode, align_corners)


@composite("nn.functional.upsample_nearest")
def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode "nearest".

    Example:
        >>> import taper as torch
        >>> torch.nn.functional.upsample_nearest(torch.tensor([[[1., 2.]]]), 4)
        tensor([[[1., 1., 2., 2.]]])
    """
    warnings.warn(
        "`nn.functional.upsample_nearest` is deprecated. Use `nn.functional.interpolate` instead.",
        UserWarning, stacklevel=3,
    )
    return interpolate(input, size, scale_factor, "nearest")


@composite("nn.functional.upsample_bilinear")
def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode "bilinear" and aligned corners.

    Example:
        >>> import taper as torch
        >>> torch.nn.functional.upsample_bilinear(torch.tensor([[[[0., 2.]]]]), (1, 3))
        tensor([[[[0., 1., 2.]]]])
    """
    warnings.warn(
        "`nn.functional.upsample_bilinear` is deprecated. Use `nn.functional.interpolate` instead.",
        UserWarning, stacklevel=3,
    )
    return interpolate(input, size, scale_factor, "bilinear", True)
