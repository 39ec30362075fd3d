"""Padding: F.pad with constants, reflections, the edge's values, or the other end."""

from __future__ import annotations

import operator as operators
from typing import Any

import numpy as np

from taper.core.tensor import Tensor
from taper.kernels.memory_order import is_channels_last
from taper.ops.declare import composite, operator

Pairs = tuple[tuple[int, int], ...]  # before and after, for the last dimensions, in their order


def _read_pad(pad: Any) -> list[int]:
    if not isinstance(pad, (tuple, list)):
        raise TypeError(
            f"pad(): argument 'pad' (position 2) must be tuple of ints, not {type(pad).__name__}"
        )
    result = []
    for position, item in enumerate(pad):
        try:
            result.append(operators.index(item))
        except TypeError:
            raise TypeError(
                "pad(): argument 'pad' (position 2) must be tuple of ints, but found element of "
                f"type {type(item).__name__} at pos {position}"
            ) from None
    return result


@operator("constant_pad_nd")
def constant_pad_nd(input: Tensor, pad: Any, value: Any = 0) -> Tensor:
    """Puts `value` around a tensor; negative amounts cut off.

    Args: pad: amounts before and after, for the last dimension first
    Example:
        >>> import taper as torch
        >>> torch.constant_pad_nd(torch.tensor([1, 2]), (1, 2))
        tensor([0, 1, 2, 0, 0])
    """
    pad = _read_pad(pad)
    ndim = input.ndim
    if len(pad) % 2:
        raise RuntimeError(f"Length of pad must be even but instead it equals {len(pad)}")
    if len(pad) > 2 * ndim:
        raise RuntimeError(
            "Length of pad should be no more than twice the number of dimensions of the input. Pad "
            f"length is {len(pad)}while the input has {ndim}dimensions."
        )
    shape = list(input.shape)
    source: list[Any] = [slice(None)] * ndim
    target: list[Any] = [slice(None)] * ndim
    for i in range(len(pad) // 2):
        before, after = pad[2 * i], pad[2 * i + 1]
        dim = ndim - 1 - i
        n = shape[dim]
        shape[dim] = n + before + after
        if shape[dim] < 0:
            raise RuntimeError(
                f"The input size {n}, plus negative padding {before} and {after} resulted in a "
                f"negative output size, which is invalid. Check dimension {dim} of your input."
            )
        start, stop = max(-before, 0), n - max(-after, 0)
        source[dim] = slice(start, max(stop, start))
        target[dim] = slice(max(before, 0), max(before, 0) + max(stop - start, 0))
    result = np.zeros_like(input, shape=tuple(shape), order="C")
    if is_channels_last(input):
        result = np.moveaxis(np.moveaxis(result, 1, -1).copy(), -1, 1)
    if value:
        result.fill(np.asarray(value).astype(input.dtype))
    result[tuple(target)] = input[tuple(source)]
    return result


@constant_pad_nd.derivative("input")
def _(grad, pad):
    return constant_pad_nd(grad, [-n for n in _read_pad(pad)])


# -- padding with the tensor's own elements ------------------------------------------------------


def _places(size: int, before: int, after: int, mode: str) -> Any:
    """For each place of a padded dimension, the element that stands there."""
    place = np.arange(-before, size + after)
    if mode == "replicate":
        return place.clip(0, size - 1)
    if mode == "circular":
        # What negative amounts cut off is not there to be repeated.
        start = max(-before, 0)
        kept = size - start - max(-after, 0)
        return start + (place - start) % kept if kept > 0 else place
    place = np.abs(place)
    return np.where(place >= size, 2 * (size - 1) - place, place)


def _padded(input: Tensor, pairs: Any, mode: str) -> Tensor:
    result = input
    for dim, (before, after) in enumerate(pairs, input.ndim - len(pairs)):
        if before or after:
            places = _places(input.shape[dim], before, after, mode)
            result = result.take(places, dim)
    return input.copy() if result is input else result


def _folded(output_grad: Tensor, pairs: Any, mode: str, size: Any) -> Tensor:
    """The adjoint of `_padded`: adds what was copied back to where it came from."""
    result = output_grad
    for dim, (before, after) in enumerate(pairs, result.ndim - len(pairs)):
        if not before and not after:
            continue
        n = size[dim - result.ndim]
        places = _places(n, before, after, mode)
        axis = (slice(None),) * dim
        shape = (*result.shape[:dim], n, *result.shape[dim + 1 :])
        inner = np.zeros_like(result, shape=shape)
        start, stop = max(-before, 0), n - max(-after, 0)
        if stop > start:
            inner[(*axis, slice(start, stop))] = result[
                (*axis, slice(start + before, stop + before))
            ]
        outside = [*range(before), *range(n + before, n + before + after)]
        for place in outside:
            inner[(*axis, places[place])] += result[(*axis, place)]
        result = inner
    return output_grad.copy() if result is output_grad else result


def _declare(mode: str, name: str, count: int, kinds: str) -> Any:
    pad_op = operator(
        f"_{mode}_pad{count}d", hidden=True, upcast=True, kinds=kinds,
        kernel=f"{name}_pad{count}d", node=f"{name.capitalize()}Pad{count}DBackward0",
    )(_padded)
    fold_op = operator(
        f"_{mode}_pad{count}d_backward", hidden=True, upcast=True,
        node=f"{name.capitalize()}Pad{count}DBackwardBackward0",
    )(_folded)

    @pad_op.derivative("input")
    def _(grad, pairs, mode, input_shape):
        return fold_op(grad, pairs, mode, tuple(input_shape[len(input_shape) - count :]))

    @fold_op.derivative("output_grad")
    def _(grad, pairs, mode):
        return pad_op(grad, pairs, mode)

    return pad_op


_OPERATORS = {
    (mode, count): _declare(mode, name, count, "bifc")
    for mode, name in (
        ("reflect", "reflection"), ("replicate", "replication"), ("circular", "circular")
    )
    for count in (1, 2, 3)
}


def _check_own_elements(shape: tuple[int, ...], pairs: Pairs, mode: str) -> None:
    count = len(pairs)
    ndim = len(shape)
    if ndim not in (count + 1, count + 2) or count > 3:
        raise NotImplementedError(
            f"Padding size {2 * count} is not supported for {ndim}D input tensor.\n"
            "Supported combinations for non-constant padding:\n"
            "  - 2D or 3D input: padding size = 2 (pads last dimension)\n"
            "  - 3D or 4D input: padding size = 4 (pads last 2 dimensions)\n"
            "  - 4D or 5D input: padding size = 6 (pads last 3 dimensions)"
        )
    if mode != "circular" and 0 in shape[ndim - count - 1 :]:
        raise RuntimeError(
            f"Expected {count + 1}D or {count + 2}D (batch mode) tensor with possibly 0 batch size "
            f"and other non-zero dimensions for input, but got: {list(shape)}"
        )
    for dim, (before, after) in enumerate(pairs, ndim - count):
        n = shape[dim]
        if mode == "reflect" and max(before, after) >= n:
            raise RuntimeError(
                f"Argument #{2 * (ndim - dim) + 2}: Padding size should be less than the "
                f"corresponding input dimension, but got: padding ({before}, {after}) at dimension "
                f"{dim} of input {list(shape)}"
            )
        if mode == "circular" and max(before, after) > n:
            raise RuntimeError("Padding value causes wrapping around more than once.")
        if mode == "circular" and n + before + after < 0:
            raise RuntimeError(
                "Negative padding value is resulting in an empty dimension"
            )
        if mode != "circular" and n + before + after < 1:
            axis = ("D", "H", "W")[dim - ndim]
            raise RuntimeError(
                f"input ({axis}: {n}) is too small. Calculated output {axis}: {n + before + after}"
            )


@composite("nn.functional.pad")
def pad(input: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Tensor:
    """Makes dimensions longer at both ends.

    Args:     pad: amounts before and after for the last dimension, then for the one before it …;
        negative amounts cut off;  mode: "constant" (with `value`, default 0), "reflect" (the
        mirror image, without the edge), "replicate" (the edge) or "circular" (the other end)
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.pad(torch.tensor([[1, 2, 3]]), (2, 1), mode="reflect")
        tensor([[3, 2, 1, 2, 3, 2]])
    """
    amounts = _read_pad(pad)
    ndim = input._array.ndim
    if len(amounts) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(amounts) > 2 * ndim:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got "
            f"padding length {len(amounts)} and input of dimension {ndim}"
        )
    if mode == "constant":
        return constant_pad_nd(input, amounts, 0 if value is None else value)
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    pairs = tuple(
        [(amounts[i], amounts[i + 1]) for i in range(len(amounts) - 2, -1, -2)]
    )
    _check_own_elements(input._array.shape, pairs, mode)
    return _OPERATORS[mode, len(pairs)](input, pairs, mode)
