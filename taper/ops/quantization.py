"""Quantization: its rounding, with gradients; and what to use instead of quantized tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.tensor import Tensor
from taper.ops.declare import composite, operator


@operator(hidden=True, upcast=True, kinds="f", aux=("inside",),
          node="FakeQuantizePerTensorAffineCachemaskBackward0")
def rounded_to_grid(
    input: Tensor, scale: Tensor, zero_point: Tensor, quant_min: int, quant_max: int
) -> Tensor:
    """The nearest of the numbers ``(q - zero_point) * scale`` with whole q between the limits."""
    q = np.rint(input * (1 / scale)) + zero_point
    inside = (q >= quant_min) & (q <= quant_max)
    kept = np.minimum(np.maximum(q, quant_min), quant_max)
    return ((kept - zero_point) * scale).astype(input.dtype, copy=False), inside


@rounded_to_grid.derivative("input")
def _(grad, inside):
    return grad * inside


def _as_tensor(value: Any, input: Tensor) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().to(input.dtype)
    return input.new_full((), value)


def _check(quant_min: int, quant_max: int) -> None:
    if quant_min > quant_max:
        raise RuntimeError(
            "`quant_min` should be less than or               equal to `quant_max`."
        )


@composite()
def fake_quantize_per_tensor_affine(
    input: Tensor, scale: Any, zero_point: Any, quant_min: int, quant_max: int
) -> Tensor:
    """Rounds to the numbers that a quantized tensor could hold, for quantization-aware training.

    Gradients pass where the value lies between the limits.
    Example:
        >>> import taper as torch
        >>> torch.fake_quantize_per_tensor_affine(torch.tensor([0.26, 9.]), 0.1, 0, 0, 15)
        tensor([0.3000, 1.5000])
    """
    _check(quant_min, quant_max)
    return rounded_to_grid(
        input, _as_tensor(scale, input), _as_tensor(zero_point, input), quant_min, quant_max
    )


@composite()
def fake_quantize_per_channel_affine(
    input: Tensor, scale: Tensor, zero_point: Tensor, axis: int, quant_min: int, quant_max: int
) -> Tensor:
    """`fake_quantize_per_tensor_affine` with a scale and a zero point for each index of `axis`.

    Example:
        >>> import taper as torch
        >>> scale, zero = torch.tensor([0.1, 1.]), torch.tensor([0, 0])
        >>> torch.fake_quantize_per_channel_affine(torch.full((2, 1), 0.26), scale, zero, 0, 0, 15)
        tensor([[0.3000],
                [0.0000]])
    """
    _check(quant_min, quant_max)
    shape = [-1 if d == axis % input.ndim else 1 for d in range(input.ndim)]
    scale, zero_point = (_as_tensor(t, input).reshape(shape) for t in (scale, zero_point))
    return rounded_to_grid(input, scale, zero_point, quant_min, quant_max)


def _unsupported(name: str) -> NotImplementedError:
    return NotImplementedError(
        f"{name}(): quantized tensors are not supported. Keep whole numbers and the scale apart, "
        "q = (x / scale + zero_point).round().clamp(-128, 127).to(torch.int8), or round in place "
        "with fake_quantize_per_tensor_affine()"
    )


@composite()
def quantize_per_tensor(input: Any, scale: Any, zero_point: Any, dtype: Any) -> Any:
    """Raises NotImplementedError: there are no quantized tensors.

    Example: whole numbers and the scale apart.
        >>> import taper as torch
        >>> scale = 0.1
        >>> q = (torch.tensor([0.26, 9.]) / scale).round().clamp(-128, 127).to(torch.int8)
        >>> q * scale
        tensor([0.3000, 9.0000])
    """
    raise _unsupported("quantize_per_tensor")


@composite()
def quantize_per_channel(
    input: Tensor, scales: Tensor, zero_points: Tensor, axis: int, dtype: Any
) -> Any:
    """Raises NotImplementedError: there are no quantized tensors; see `quantize_per_tensor`.

    Example: whole numbers and the scales apart.
        >>> import taper as torch
        >>> scales = torch.tensor([[0.1], [1.]])
        >>> (torch.full((2, 1), 0.26) / scales).round().to(torch.int8)
        tensor([[3],
                [0]], dtype=torch.int8)
    """
    raise _unsupported("quantize_per_channel")


@composite()
def quantize_per_tensor_dynamic(input: Tensor, dtype: Any, reduce_range: bool) -> Any:
    """Raises NotImplementedError: there are no quantized tensors; see `quantize_per_tensor`.

    Example: a scale from the data.
        >>> import taper as torch
        >>> x = torch.tensor([-1., 0.5])
        >>> (x / (x.abs().max() / 127)).round().to(torch.int8)
        tensor([-127,   64], dtype=torch.int8)
    """
    raise _unsupported("quantize_per_tensor_dynamic")


@composite(method=True)
def dequantize(input: Tensor) -> Tensor:
    """The numbers of a tensor as float32: no tensor is quantized.

    Example:
        >>> import taper as torch
        >>> torch.dequantize(torch.tensor([1, 2]))
        tensor([1., 2.])
    """
    return input.float()
