"""The way back from maxima, max_unpool1d … 3d, and maxima of windows of random size."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.core.generator import default_generator
from taper.core.promotion import scalar_type_name
from taper.core.tensor import Tensor, wrap
from taper.kernels import pooling as kernel
from taper.kernels.random import uniform
from taper.ops.argument_checks import values_known
from taper.ops.convolution import spread
from taper.ops.declare import composite, operator
from taper.ops.pooling import gather_planes, scatter_planes
from taper.ops.signature import Truth

Ints = tuple[int, ...]


def _unpooled(input: Tensor, indices: Tensor, size: Any) -> Tensor:
    count = len(size)
    lead = input.shape[: input.ndim - count]
    each = math.prod(input.shape[len(lead) :])
    result = np.zeros_like(input, shape=(*lead, math.prod(size)), order="C")
    np.put_along_axis(result, indices.reshape(*lead, each), input.reshape(*lead, each), -1)
    return result.reshape(*lead, *size)


def _declare(count: int) -> Any:
    unpool = operator(
        f"_max_unpool{count}d", hidden=True, kinds="f", kernel=f"max_unpool{count}d",
        node=f"MaxUnpool{count}DBackward0",
    )(_unpooled)

    @unpool.derivative("input")
    def _(grad, indices, size):
        return gather_planes(grad, indices, len(size))

    return unpool


_UNPOOL = {2: _declare(2), 3: _declare(3)}


def _check(count: int, input: Tensor, indices: Tensor, stride: Ints, size: Ints) -> None:
    shape = input._array.shape
    if str(indices._array.dtype) != "int64":
        raise RuntimeError(
            "elements in indices should be type int64 but got: "
            f"{scalar_type_name(indices.dtype)}"
        )
    if len(size) != count:
        raise RuntimeError(
            f"There should be exactly {('two', 'three')[count - 2]} elements "
            f"({'height, width' if count == 2 else 'depth, height, width'}) in output_size, but "
            f"got {len(size)} elements."
        )
    if len(shape) not in (count + 1, count + 2):
        raise RuntimeError(
            f"Input to max_unpooling{count}d should be a {count + 1}d or {count + 2}d Tensor, but "
            f"got a tensor with {len(shape)} dimensions."
        )
    if shape != indices._array.shape:
        raise RuntimeError(
            "Expected shape of indices to be same as that of the input tensor "
            f"({list(shape)}) but got indices tensor with shape: {list(indices._array.shape)}"
        )
    if min(stride) <= 0:
        raise RuntimeError(f"strides should be greater than zero, but got stride: {list(stride)}")
    for dim, n in enumerate(shape):
        if n == 0 and (dim > 0 or len(shape) == count + 1):
            raise RuntimeError(
                f"max_unpooling{count}d_forward_out_cpu(): Expected input to have non-zero size "
                f"for non-batch dimensions, but got {list(shape)} with dimension {dim} being empty."
            )
    flat = indices._array
    if not flat.size or not values_known(indices):
        return
    if int(flat.min()) < 0 or int(flat.max()) >= math.prod(size):
        wrong = flat[(flat < 0) | (flat >= math.prod(size))].reshape(-1)[0]
        raise RuntimeError(
            f"Found an invalid max index: {int(wrong)} (output volumes are of size "
            f"{'x'.join(map(str, size))})"
        )


def _size(
    shape: Ints, count: int, kernel_size: Ints, stride: Ints, padding: Ints, output_size: Any
) -> Ints:
    """The sizes of the result, which may differ by less than a stride from the default ones."""
    default = tuple([
        (n - 1) * s + k - 2 * p
        for n, k, s, p in zip(shape[-count:], kernel_size, stride, padding, strict=True)
    ])
    if output_size is None:
        return default
    given = tuple(output_size)
    if len(given) == count + 2:
        given = given[2:]
    if len(given) != count:
        raise ValueError(
            f"output_size should be a sequence containing {count} or {count + 2} elements, but it "
            f"has a length of '{len(given)}'"
        )
    for d, (wanted, usual, s) in enumerate(zip(given, default, stride, strict=True)):
        if not usual - s < wanted < usual + s:
            raise ValueError(
                f'invalid output_size "{given}" (dim {d} must be between {usual - s} and '
                f"{usual + s})"
            )
    return given


def _unpool(
    count: int, input: Tensor, indices: Tensor, kernel_size: Any, stride: Any, padding: Any,
    output_size: Any,
) -> Tensor:
    name = f"max_unpool{count}d"
    sizes = spread(name, "kernel_size", kernel_size, count)
    steps = sizes if stride is None else spread(name, "stride", stride, count)
    around = spread(name, "padding", padding, count)
    size = _size(input._array.shape, count, sizes, steps, around, output_size)
    if count > 1:
        _check(count, input, indices, steps, size)
        return _UNPOOL[count](input, indices, size)
    input, indices = input.unsqueeze(-2), indices.unsqueeze(-2)
    _check(2, input, indices, (1, *steps), (1, *size))
    return _UNPOOL[2](input, indices, (1, *size)).squeeze(-2)


@composite("nn.functional.max_unpool1d")
def max_unpool1d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Puts maxima back to where `max_pool1d` found them, among zeros.

    Shape:    (N, C, L) or (C, L) → (N, C, L')
    Example:
        >>> import taper as torch
        >>> values, indices = torch.max_pool1d(torch.tensor([[1., 3., 4., 0.]]), 2,
        ...                                    return_indices=True)
        >>> torch.nn.functional.max_unpool1d(values, indices, 2)
        tensor([[0., 3., 4., 0.]])
    """
    return _unpool(1, input, indices, kernel_size, stride, padding, output_size)


@composite("nn.functional.max_unpool2d")
def max_unpool2d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Puts maxima back to where `max_pool2d` found them.  Shape: (N, C, H, W) or (C, H, W).

    Example:
        >>> import taper as torch
        >>> torch.nn.functional.max_unpool2d(torch.tensor([[[5.]]]), torch.tensor([[[3]]]), 2)
        tensor([[[0., 0.],
                 [0., 5.]]])
    """
    return _unpool(2, input, indices, kernel_size, stride, padding, output_size)


@composite("nn.functional.max_unpool3d")
def max_unpool3d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Puts maxima back to where `max_pool3d` found them.  Shape: (N, C, D, H, W), or without N.

    Example:
        >>> import taper as torch
        >>> y = torch.tensor([5.]).view(1, 1, 1, 1)
        >>> torch.nn.functional.max_unpool3d(y, torch.tensor(6).view(1, 1, 1, 1), 2).flatten()
        tensor([0., 0., 0., 0., 0., 0., 5., 0.])
    """
    return _unpool(3, input, indices, kernel_size, stride, padding, output_size)


# -- windows of random size ----------------------------------------------------------------------


def _fractional(input: Tensor, samples: Any, kernel_size: Any, out: Any) -> Any:
    count = len(kernel_size)
    planes = samples.reshape(-1, count)
    # Of images the first sample is for the width, of volumes for the depth.
    order = (1, 0) if count == 2 else (0, 1, 2)
    size = input.shape[input.ndim - count :]
    starts = [
        kernel.fractional_starts(planes[:, order[d]], size[d], out[d], kernel_size[d])
        for d in range(count)
    ]
    return kernel.fractional_max(input, starts, kernel_size)


def _declare_fractional(count: int) -> Any:
    pool = operator(
        f"_fractional_max_pool{count}d", hidden=True, upcast=True, outputs=2, kinds="f",
        kernel="check_uniform_bounds", node=f"FractionalMaxPool{count}DBackward0",
    )(_fractional)

    @pool.derivative("input")
    def _(grad, result1, input_shape):
        return scatter_planes(grad, result1, tuple(input_shape[len(input_shape) - count :]))

    return pool


_FRACTIONAL = {2: _declare_fractional(2), 3: _declare_fractional(3)}


def _fractional_pool(
    count: int, input: Tensor, kernel_size: Any, output_size: Any, output_ratio: Any,
    samples: Tensor | None,
) -> Any:
    name = f"fractional_max_pool{count}d"
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    shape = input._array.shape
    size = shape[len(shape) - count :]
    if output_size is None:
        ratios = output_ratio if isinstance(output_ratio, (tuple, list)) else (
            (output_ratio,) * count)
        if len(ratios) > count or len(shape) <= len(ratios):
            raise ValueError("output_ratio must have one number per dimension of space")
        output_size = [int(n * r) for n, r in zip(size, ratios, strict=True)]
    out = spread(name, "output_size", output_size, count)
    sizes = spread(name, "kernel_size", kernel_size, count)
    if len(out) != count:
        raise RuntimeError(
            f"{name}: output_size must either be a single Int or tuple of Ints"
        )
    if len(sizes) != count:
        raise RuntimeError(f"{name}: kernel_size must either be a single Int or tuple of Ints")
    if len(shape) not in (count + 1, count + 2) or 0 in shape[-count - 1 :]:
        raise RuntimeError(
            f"{name}(): Expected {count + 1}D or {count + 2}D tensor, but got: {list(shape)}"
        )
    batch = shape[0] if len(shape) == count + 2 else 1
    channels = shape[-count - 1]
    if samples is None:
        kind = input._array.dtype
        if kind.kind not in "fV":
            raise NotImplementedError(
                f"\"check_uniform_bounds\" not implemented for '{scalar_type_name(input.dtype)}'"
            )
        samples = wrap(uniform(default_generator, (batch, channels, count), kind))
    array = samples._array
    if array.ndim != 3:
        raise RuntimeError(f"Expect _random_samples to have 3 dimensions, got {array.ndim}")
    for dim, (n, least) in enumerate(zip(array.shape, (batch, channels), strict=False)):
        if n < least:
            raise RuntimeError(
                f"Expect _random_samples.size({dim}) no less then input "
                f"{('batch size', 'channel size')[dim]}."
            )
    if array.shape[2] != count:
        raise RuntimeError(
            f"Expect _random_samples.size(2) equals to {count}; got {array.shape[2]}."
        )
    axes = ("time", "height", "width")[-count:]
    shown = name + ("_out" if count == 3 else "")
    for axis, n, k, m in zip(axes, size, sizes, out, strict=True):
        if m + k - 1 > n:
            raise RuntimeError(
                f"{shown}(): pool {axis} {k} too large relative to input {axis} {n}"
            )
    used = np.ascontiguousarray(array[:batch, :channels])
    return _FRACTIONAL[count](input, used, sizes, out)


@composite("nn.functional.fractional_max_pool2d")
def fractional_max_pool2d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: Truth = False, _random_samples: Tensor | None = None,
) -> Any:
    """Maxima of windows at random distances, so that the result has any size.

    Args:     output_size, or output_ratio of the input's size
    Shape:    (N, C, H, W) or (C, H, W) → (N, C, *output_size)
    Source:   Graham, Fractional Max-Pooling, 2014
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.fractional_max_pool2d(torch.ones(1, 5, 5), 2, output_size=3).shape
        torch.Size([1, 3, 3])
    """
    values, indices = _fractional_pool(
        2, input, kernel_size, output_size, output_ratio, _random_samples
    )
    return (values, indices) if return_indices else values


@composite("nn.functional.fractional_max_pool3d")
def fractional_max_pool3d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
    return_indices: Truth = False, _random_samples: Tensor | None = None,
) -> Any:
    """`fractional_max_pool2d` of volumes.  Shape: (N, C, D, H, W) or (C, D, H, W).

    Example:
        >>> import taper as torch
        >>> x = torch.ones(1, 5, 5, 5)
        >>> torch.nn.functional.fractional_max_pool3d(x, 2, output_size=3).shape
        torch.Size([1, 3, 3, 3])
    """
    values, indices = _fractional_pool(
        3, input, kernel_size, output_size, output_ratio, _random_samples
    )
    return (values, indices) if return_indices else values


def _declare_with_indices(count: int) -> None:
    def with_indices(
        input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
        return_indices: Truth = False, _random_samples: Tensor | None = None,
    ) -> Any:
        return _fractional_pool(
            count, input, kernel_size, output_size, output_ratio, _random_samples
        )

    with_indices.__name__ = f"fractional_max_pool{count}d_with_indices"
    with_indices.__doc__ = f"""`fractional_max_pool{count}d` with `return_indices`.

    Example:
        >>> import taper as torch
        >>> x = torch.ones(1, {", ".join("5" * count)})
        >>> pool = torch.nn.functional.fractional_max_pool{count}d_with_indices
        >>> [found.shape for found in pool(x, 2, output_size=1)]
        [torch.Size([1, {", ".join("1" * count)}]), torch.Size([1, {", ".join("1" * count)}])]
    """
    composite(f"nn.functional.fractional_max_pool{count}d_with_indices")(with_indices)


_declare_with_indices(2)
_declare_with_indices(3)
