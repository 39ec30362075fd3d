"""Maxima and means of windows: max_pool1d … avg_pool3d, lp_pool1d … lp_pool3d.

Windows that adapt to the size of the result are in adaptive_pooling.py, those of random size and
the way back from maxima in unpooling.py. The arithmetic is in kernels/pooling.py.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from taper.core.errors import dim_error
from taper.core.tensor import Tensor
from taper.kernels import pooling as kernel
from taper.kernels.memory_order import as_images_lie
from taper.kernels.pooling import Windows
from taper.ops.convolution import spread
from taper.ops.declare import composite, operator
from taper.ops.namespace import find
from taper.ops.signature import Truth

Ints = tuple[int, ...]
_NUMBER_WORDS = {1: "one int", 2: "two ints", 3: "three ints"}
_AXES = ("T", "H", "W")


def read_sizes(
    function: str, count: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any
) -> tuple[Ints, Ints, Ints, Ints]:
    """The window arguments of a pooling function as tuples of `count` ints."""
    sizes = (
        spread(function, "kernel_size", kernel_size, count),
        spread(function, "stride", kernel_size if _is_omitted(stride) else stride, count),
        spread(function, "padding", padding, count),
        spread(function, "dilation", dilation, count),
    )
    for name, value in zip(("kernel_size", "stride", "padding", "dilation"), sizes, strict=True):
        if len(value) != count:
            raise _count_error(function, count, name, len(value))
    return sizes


def _is_omitted(stride: Any) -> bool:
    return stride is None or (type(stride) in (list, tuple) and not stride)


def _count_error(function: str, count: int, name: str, found: int) -> RuntimeError:
    if function == "avg_pool1d":
        return RuntimeError(f"avg_pool1d() argument '{name}' should contain one int (got {found})")
    if count == 1:
        either = "None, an int, list of ints, or" if name == "stride" else "an int, list of ints or"
        return RuntimeError(
            f"{function}() {name} must be {either} tuple of ints of size 1 but got size {found}"
        )
    words = _NUMBER_WORDS[count]
    if name == "stride":
        either = "omitted, a single int, or" if function == "avg_pool3d" else (
            "either be omitted, a single int, or")
    elif name == "dilation":
        either = "either a single int, or"
        return RuntimeError(f"{function}: {name} must be {either} a tuple of {words}")
    else:
        either = "a single int, or" if function == "avg_pool3d" else "either be a single int, or"
    verb = "be " if function == "avg_pool3d" else ""
    return RuntimeError(f"{function}: {name} must {verb}{either} a tuple of {words}")


def plan(
    function: str, size: Ints, kernel_size: Ints, stride: Ints, padding: Ints, dilation: Ints,
    ceil_mode: bool,
) -> tuple[Windows, Ints]:
    """The windows, checked, and the sizes of the result."""
    if function == "max_pool1d":
        _check_max_pool1d(kernel_size[0], stride[0], padding[0], dilation[0])
    if 0 in stride or 0 in kernel_size:
        raise RuntimeError("stride should not be zero")
    if min(kernel_size) < 0:
        raise RuntimeError(
            f"kernel size should be greater than zero, but got kernel_size: {list(kernel_size)}"
        )
    if min(dilation) <= 0:
        parts = [f"dilation{a}: {d}" for a, d in zip(_AXES[-len(size) :], dilation, strict=True)]
        raise RuntimeError(f"dilation should be greater than zero, but got {' '.join(parts)}")
    for k, p, d in zip(kernel_size, padding, dilation, strict=True):
        if p < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {p}")
        if p > ((k - 1) * d + 1) // 2:
            raise RuntimeError(
                "pad should be at most half of effective kernel size, but got "
                f"pad={p}, kernel_size={k} and dilation={d}"
            )
    windows = Windows(kernel_size, stride, padding, dilation, bool(ceil_mode))
    out = kernel.pooled_size(size, windows)
    is_tiled = kernel_size == stride and not any(padding) and max(dilation) == 1 and all(
        k * m == n for k, m, n in zip(kernel_size, out, size, strict=True)
    )
    return windows._replace(is_tiled=is_tiled), out


def _check_max_pool1d(kernel_size: int, stride: int, padding: int, dilation: int) -> None:
    for name, value in (("kernel_size", kernel_size), ("stride", stride)):
        if value <= 0:
            raise RuntimeError(f"max_pool1d() {name} must be greater than zero, but got {value}")
    if padding < 0:
        raise RuntimeError(f"max_pool1d() padding must be non-negative, but got {padding}")
    if padding > ((kernel_size - 1) * dilation + 1) // 2:
        raise RuntimeError(
            "max_pool1d() padding should be at most half of effective kernel size, but got "
            f"padding={padding}, kernel_size={kernel_size} and dilation={dilation}"
            if dilation > 1 else
            "max_pool1d() padding should be at most half of kernel size, but got "
            f"padding={padding} and kernel_size={kernel_size}"
        )
    if dilation <= 0:
        raise RuntimeError(f"max_pool1d() dilation must be greater than zero, but got {dilation}")


def check_input(function: str, shape: Ints, count: int) -> None:
    """Raises unless a shape is (C, *space) or (N, C, *space), with no empty dimension but N."""
    ndim = len(shape)
    if ndim in (count + 1, count + 2) and 0 not in shape[ndim - count - 1 :]:
        return
    forms = f"{count + 1}D or {count + 2}D"
    if count == 1:
        raise RuntimeError(
            f"{function}: Expected 2D or 3D (batch mode) tensor with optional 0 dim batch size for "
            f"input, but got:{list(shape)}"
        )
    if ndim not in (count + 1, count + 2) and not function.startswith("avg_pool2d"):
        raise RuntimeError(f"non-empty {forms} (batch mode) tensor expected for input")
    if count == 3:
        empty = shape[1:].index(0) if ndim == count + 2 else shape.index(0)
        name = function if function == "avg_pool3d" else "max_pool3d_with_indices_out_cpu_template"
        raise RuntimeError(
            f"{name}(): Expected input's non-batch dimensions to have positive length, but "
            f"input has a shape of {list(shape)} and non-batch dimension {empty} has length zero!"
        )
    raise RuntimeError(
        f"Expected {forms} (batch mode) tensor with optional 0 dim batch size for input, but "
        f"got:{list(shape)}"
    )


def _check_output(function: str, shape: Ints, windows: Windows, out: Ints) -> None:
    count = len(out)
    if function == "max_pool1d":
        raise RuntimeError(f"max_pool1d() Invalid computed output size: {out[0]}")
    if function == "avg_pool3d":
        found = " ".join(f"{a}: {n}" for a, n in zip(_AXES, shape[-3:], strict=True))
        wanted = " ".join(f"k{a}: {n}" for a, n in zip(_AXES, windows.kernel, strict=True))
        raise RuntimeError(f"input image ({found}) smaller than kernel size ({wanted})")
    channels = shape[-count - 1]
    given = "x".join(map(str, (channels, *shape[len(shape) - count :])))
    calculated = "x".join(map(str, (channels, *[max(n, 0) for n in out])))
    raise RuntimeError(
        f"Given input size: ({given}). Calculated output size: ({calculated}). Output size is too "
        "small"
    )


def windows_of(
    function: str, count: int, input: Tensor, kernel_size: Any, stride: Any, padding: Any,
    dilation: Any, ceil_mode: bool, words: str | None = None,
) -> tuple[Windows, Ints]:
    """The checked windows of a call, and the sizes of its result; errors are told as `words`
    (default `function`) tells them."""
    shape = input._array.shape
    try:
        return _kept_windows(
            function, count, shape, kernel_size, stride, padding, dilation, ceil_mode, words
        )
    except TypeError:  # lists are not hashable
        return _windows(
            function, count, shape, kernel_size, stride, padding, dilation, ceil_mode, words
        )


def _windows(
    function: str, count: int, shape: Ints, kernel_size: Any, stride: Any, padding: Any,
    dilation: Any, ceil_mode: bool, words: str | None,
) -> tuple[Windows, Ints]:
    sizes = read_sizes(function, count, kernel_size, stride, padding, dilation)
    if function == "avg_pool2d" and len(shape) == 1:
        raise dim_error(-3, 1)
    windows, out = plan(words or function, (0, 0, 0, *shape)[-count:], *sizes, ceil_mode)
    check_input(function, shape, count)
    if min(out) < 1:
        _check_output(function, shape, windows, out)
    return windows, out


_kept_windows = lru_cache(maxsize=256, typed=True)(_windows)


# -- maxima ----------------------------------------------------------------------------------------


def _max_pool(input: Tensor, windows: Any, out: Any) -> Tensor:
    return as_images_lie(kernel.max_pool(input, windows, out), input)


def _max_pool_with_indices(input: Tensor, windows: Any, out: Any) -> Tensor:
    values, places = kernel.max_pool_with_indices(input, windows, out)
    return as_images_lie(values, input), as_images_lie(places, input)


@operator(hidden=True, upcast=True, node="MaxPoolBackwardBackward0")
def max_pool_gradient(output_grad: Tensor, input: Tensor, windows: Any, out: Any) -> Tensor:
    return kernel.max_pool_gradient(output_grad, input, windows, out)


@max_pool_gradient.derivative("output_grad")
def _(grad, input, windows, out):
    return max_pool_selected(grad, input, windows, out)


@operator(hidden=True, upcast=True, node="MaxPoolBackwardBackwardBackward0")
def max_pool_selected(values: Tensor, input: Tensor, windows: Any, out: Any) -> Tensor:
    """The values that stand where `input` has its maxima."""
    index = kernel.max_pool_with_indices(input, windows, out)[1]
    return kernel.gather_planes(values, index, len(out))


@max_pool_selected.derivative("values")
def _(grad, input, windows, out):
    return max_pool_gradient(grad, input, windows, out)


@operator(hidden=True, upcast=True, unpromoted=("index",), node="ScatterPlanesBackward0")
def scatter_planes(input: Tensor, index: Tensor, size: Any) -> Tensor:
    """Adds elements at the places in planes that an index names."""
    return kernel.scatter_planes(input, index, size)


@scatter_planes.derivative("input")
def _(grad, index, size):
    return gather_planes(grad, index, len(size))


@operator(hidden=True, upcast=True, unpromoted=("index",), node="GatherPlanesBackward0")
def gather_planes(input: Tensor, index: Tensor, count: int) -> Tensor:
    """Picks elements of planes by an index."""
    return kernel.gather_planes(input, index, count)


@gather_planes.derivative("input")
def _(grad, index, input_shape, count):
    return scatter_planes(grad, index, tuple(input_shape[len(input_shape) - count :]))


def _declare_max_pool(count: int) -> tuple[Any, Any]:
    options = {
        "hidden": True, "upcast": True, "kinds": "if", "kernel": f"max_pool{count}d",
        "node": f"MaxPool{count}DWithIndicesBackward0",
    }
    plain = operator(f"_max_pool{count}d", **options)(_max_pool)
    indexed = operator(f"_max_pool{count}d_with_indices", outputs=2, **options)(
        _max_pool_with_indices
    )

    @plain.derivative("input")
    def _(grad, input, windows, out):
        return max_pool_gradient(grad, input, windows, out)

    @indexed.derivative("input")
    def _(grad, result1, input_shape, out):
        return scatter_planes(grad, result1, tuple(input_shape[len(input_shape) - len(out) :]))

    return plain, indexed


_MAX_POOL = {2: _declare_max_pool(2), 3: _declare_max_pool(3)}


def _max_pooled(
    count: int, input: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
    ceil_mode: bool, return_indices: bool,
) -> Any:
    windows, out = windows_of(
        f"max_pool{count}d", count, input, kernel_size, stride, padding, dilation, ceil_mode,
        "max_pool2d" if count == 1 and return_indices else None,
    )
    if count > 1:
        return _MAX_POOL[count][bool(return_indices)](input, windows, out)
    if input._array.dtype.kind in "biuc" :
        from taper.core.promotion import scalar_type_name

        raise NotImplementedError(
            f"\"max_pool1d_impl\" not implemented for '{scalar_type_name(input.dtype)}'"
        )
    flat = Windows(*[(n, *v) for n, v in zip((1, 1, 0, 1), windows[:4], strict=True)], ceil_mode)
    found = _MAX_POOL[2][bool(return_indices)](input.unsqueeze(-2), flat, (1, *out))
    return (found[0].squeeze(-2), found[1].squeeze(-2)) if return_indices else found.squeeze(-2)


@composite("nn.functional.max_pool1d", aliases=("max_pool1d",))
def max_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: Truth = False,
) -> Any:
    """The maximum of each window of sequences; `max_pool2d` explains the arguments.

    Shape:    (N, C, L) or (C, L) → (N, C, L')
    Example:
        >>> import taper as torch
        >>> torch.max_pool1d(torch.tensor([[1., 3., 2., 0.]]), 2)
        tensor([[3., 2.]])
    """
    return _max_pooled(
        1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


@composite("nn.functional.max_pool2d", aliases=("max_pool2d",))
def max_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: Truth = False,
) -> Any:
    """The maximum of each window of images.

    Args:     stride: the distance of windows, default `kernel_size`;  padding: minus infinity at
        both ends;  dilation: the distance of a window's elements;  ceil_mode: also windows that
        reach beyond the end;  return_indices: also return where in its plane each maximum stands
    Shape:    (N, C, H, W) or (C, H, W) → (N, C, H', W') with
        :math:`H' = \\lfloor (H + 2 p - d (k - 1) - 1) / s \\rfloor + 1`
    Example:
        >>> import taper as torch
        >>> torch.max_pool2d(torch.arange(16.).view(1, 4, 4), 2)
        tensor([[[ 5.,  7.],
                 [13., 15.]]])
    """
    return _max_pooled(
        2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


@composite("nn.functional.max_pool3d", aliases=("max_pool3d",))
def max_pool3d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: Truth = False,
) -> Any:
    """The maximum of each window of volumes; `max_pool2d` explains the arguments.

    Shape:    (N, C, D, H, W) or (C, D, H, W) → (N, C, D', H', W')
    Example:
        >>> import taper as torch
        >>> torch.max_pool3d(torch.arange(8.).view(1, 2, 2, 2), 2).item()
        7.0
    """
    return _max_pooled(
        3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


@composite("nn.functional.max_pool1d_with_indices", aliases=("max_pool1d_with_indices",))
def max_pool1d_with_indices(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: Truth = False,
) -> Any:
    """`max_pool1d` with `return_indices`.

    Example:
        >>> import taper as torch
        >>> torch.nn.functional.max_pool1d_with_indices(torch.tensor([[1., 3., 2., 0.]]), 2)
        (tensor([[3., 2.]]), tensor([[1, 2]]))
    """
    return _max_pooled(1, input, kernel_size, stride, padding, dilation, ceil_mode, True)


@composite("nn.functional.max_pool2d_with_indices")
def max_pool2d_with_indices(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: Truth = False,
) -> Any:
    """`max_pool2d` with `return_indices`.

    Example:
        >>> import taper as torch
        >>> x = torch.arange(16.).view(1, 4, 4)
        >>> torch.nn.functional.max_pool2d_with_indices(x, 2)[1]
        tensor([[[ 5,  7],
                 [13, 15]]])
    """
    return _max_pooled(2, input, kernel_size, stride, padding, dilation, ceil_mode, True)


@composite("nn.functional.max_pool3d_with_indices")
def max_pool3d_with_indices(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: Truth = False,
) -> Any:
    """`max_pool3d` with `return_indices`.

    Example:
        >>> import taper as torch
        >>> x = torch.arange(8.).view(1, 2, 2, 2)
        >>> torch.nn.functional.max_pool3d_with_indices(x, 2)[1].item()
        7
    """
    return _max_pooled(3, input, kernel_size, stride, padding, dilation, ceil_mode, True)


# -- means -----------------------------------------------------------------------------------------


def _mean_pool(input: Tensor, windows: Any, out: Any, divisor: Any) -> Tensor:
    return as_images_lie(kernel.mean_pool(input, windows, out, divisor), input)


def _declare_mean_pool(count: int) -> Any:
    name = "avg_pool2d" if count == 2 else "avg_pool3d_out_frame"
    pool = operator(
        f"_avg_pool{count}d", hidden=True, upcast=True, kinds="if",
        kernel=name, node=f"AvgPool{count}DBackward0",
    )(_mean_pool)

    @operator(
        f"_avg_pool{count}d_backward", hidden=True, upcast=True,
        node=f"AvgPool{count}DBackwardBackward0",
    )
    def gradient(output_grad: Tensor, size: Any, windows: Any, out: Any, divisor: Any) -> Tensor:
        return kernel.mean_pool_gradient(output_grad, size, windows, out, divisor)

    @gradient.derivative("output_grad")
    def _(grad, windows, out, divisor):
        return pool(grad, windows, out, divisor)

    @pool.derivative("input")
    def _(grad, input_shape, windows, out, divisor):
        return gradient(
            grad, tuple(input_shape[len(input_shape) - len(out) :]), windows, out, divisor
        )

    return pool


_MEAN_POOL = {2: _declare_mean_pool(2), 3: _declare_mean_pool(3)}


def _mean_pooled(
    function: str, input: Tensor, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool,
    count_include_pad: bool, divisor: Any,
) -> Tensor:
    count = 3 if function == "avg_pool3d" else 2
    if divisor == 0:
        raise RuntimeError("divisor must be not zero")
    windows, out = windows_of(
        function, count, input, kernel_size, stride, padding, 1, ceil_mode
    )
    if divisor is None:
        shape = input._array.shape
        divisor = kernel.counts(shape[len(shape) - count :], windows, out, count_include_pad)
    return _MEAN_POOL[count](input, windows, out, divisor)


@composite("nn.functional.avg_pool1d", aliases=("avg_pool1d",))
def avg_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window of sequences; `avg_pool2d` explains the arguments.

    Shape:    (N, C, L) or (C, L) → (N, C, L')
    Example:
        >>> import taper as torch
        >>> torch.avg_pool1d(torch.tensor([[1., 3., 2., 0.]]), 2)
        tensor([[2., 1.]])
    """
    if input._array.ndim not in (2, 3):
        raise RuntimeError(
            f"Expected 2 to 3 dimensions, but got {input._array.ndim}-dimensional tensor for "
            "argument #1 'self' (while checking arguments for avg_pool1d)"
        )
    kernel_size, stride, padding, _ = read_sizes("avg_pool1d", 1, kernel_size, stride, padding, 1)
    return _mean_pooled(
        "avg_pool2d", input.unsqueeze(-2), (1, *kernel_size), (1, *stride), (0, *padding),
        ceil_mode, count_include_pad, None,
    ).squeeze(-2)


@composite("nn.functional.avg_pool2d", out=True)
def avg_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: Any = None,
) -> Tensor:
    """The mean of each window of images.

    Args:     stride: the distance of windows, default `kernel_size`;  padding: zeros at both ends;
        ceil_mode: also windows that reach beyond the end;  count_include_pad: the zeros count as
        elements of the window;  divisor_override: divide sums by this
    Shape:    (N, C, H, W) or (C, H, W) → (N, C, H', W')
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.avg_pool2d(torch.arange(16.).view(1, 4, 4), 2)
        tensor([[[ 2.5000,  4.5000],
                 [10.5000, 12.5000]]])
    """
    return _mean_pooled(
        "avg_pool2d", input, kernel_size, stride, padding, ceil_mode, count_include_pad,
        divisor_override,
    )


@composite("nn.functional.avg_pool3d", out=True)
def avg_pool3d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: Any = None,
) -> Tensor:
    """The mean of each window of volumes; `avg_pool2d` explains the arguments.

    Shape:    (N, C, D, H, W) or (C, D, H, W) → (N, C, D', H', W')
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.avg_pool3d(torch.arange(8.).view(1, 2, 2, 2), 2).item()
        3.5
    """
    return _mean_pooled(
        "avg_pool3d", input, kernel_size, stride, padding, ceil_mode, count_include_pad,
        divisor_override,
    )


# -- power means -----------------------------------------------------------------------------------


def _power_pool(powers: Tensor, means: Any, norm_type: float, elements: int) -> Tensor:
    mean = means(powers)
    signed = mean.sign() * find("nn.functional.relu")(mean.abs())
    return (signed * elements).pow(1.0 / norm_type)


@composite("nn.functional.lp_pool1d")
def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    r"""The p-norm of each window of sequences: :math:`(\sum x^p)^{1/p}`.

    Shape:    (N, C, L) or (C, L) → (N, C, L')
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.lp_pool1d(torch.tensor([[3., 4., 6., 8.]]), 2, 2)
        tensor([[ 5., 10.]])
    """
    (k,), stride, _, _ = read_sizes("lp_pool1d", 1, kernel_size, stride, 0, 1)
    return _power_pool(
        input.pow(norm_type), lambda x: avg_pool1d(x, (k,), stride, 0, ceil_mode), norm_type, k
    )


@composite("nn.functional.lp_pool2d")
def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    r"""The p-norm of each window of images: :math:`(\sum x^p)^{1/p}`.

    Shape:    (N, C, H, W) or (C, H, W) → (N, C, H', W')
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.lp_pool2d(torch.ones(1, 2, 4), 1, 2)
        tensor([[[4., 4.]]])
    """
    size = spread("lp_pool2d", "kernel_size", kernel_size, 2)
    return _power_pool(
        input.pow(norm_type), lambda x: avg_pool2d(x, size, stride, 0, ceil_mode), norm_type,
        size[0] * size[1],
    )


@composite("nn.functional.lp_pool3d")
def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    r"""The p-norm of each window of volumes: :math:`(\sum x^p)^{1/p}`.

    Shape:    (N, C, D, H, W) or (C, D, H, W) → (N, C, D', H', W')
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.lp_pool3d(torch.ones(1, 2, 2, 2), 1, 2).item()
        8.0
    """
    size = spread("lp_pool3d", "kernel_size", kernel_size, 3)
    return _power_pool(
        input.pow(norm_type), lambda x: avg_pool3d(x, size, stride, 0, ceil_mode), norm_type,
        size[0] * size[1] * size[2],
    )
