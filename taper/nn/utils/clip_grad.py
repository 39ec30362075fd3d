"""Clipping gradients by their norm or by value."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import taper
from taper import Tensor

__all__ = [
    "clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_",
    "get_total_norm",
]

TensorOrTensors: TypeAlias = "Tensor | Iterable[Tensor]"


def _no_grad(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, recording no gradients."""
    return taper.no_grad()(function)


def _on(device: Any, tensor: Tensor) -> Tensor:
    here = tensor.device
    return tensor if here is device or here == device else tensor.to(device)


def _as_list(tensors: TensorOrTensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _get_total_norm(
    tensors: TensorOrTensors, norm_type: float, error_if_nonfinite: bool
) -> Tensor:
    norm_type = float(norm_type)
    tensors = _as_list(tensors)
    if not tensors:
        return taper.tensor(0.0)
    device = tensors[0].device
    vector_norm = taper.linalg.vector_norm
    norms = [vector_norm(tensor, norm_type) for tensor in tensors]
    if any(tensor.device is not device for tensor in tensors):
        norms = [_on(device, norm) for norm in norms]
    total = taper.linalg.vector_norm(taper.stack(norms), norm_type)
    if error_if_nonfinite and taper.logical_or(total.isnan(), total.isinf()):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, "
            "so it cannot be clipped. To disable this error and scale the gradients by the "
            "non-finite norm anyway, set `error_if_nonfinite=False`"
        )
    return total


@_no_grad
def get_total_norm(
    tensors: TensorOrTensors, norm_type: float = 2.0, error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Returns the norm of all tensors' elements together, as if they were one vector.

    Args:
        norm_type: the degree of the norm; may be inf.
        error_if_nonfinite: whether to raise an error if the norm is nan or inf.
        foreach: accepted for PyTorch's sake; there is one way to compute it.
    """
    return _get_total_norm(tensors, norm_type, error_if_nonfinite)


def _scale(grads: list[Tensor], max_norm: float, total_norm: Tensor) -> None:
    # Without a branch on the value: where the norm is small enough the factor is 1.
    factor = taper.clamp(float(max_norm) / (total_norm + 1e-6), max=1.0)
    for grad in grads:
        grad.mul_(factor if grad.device is factor.device else _on(grad.device, factor))


@_no_grad
def clip_grads_with_norm_(
    parameters: TensorOrTensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Multiplies all gradients by max_norm / total_norm, in place, if that is less than 1."""
    grads = [p.grad for p in _as_list(parameters) if p.grad is not None]
    _scale(grads, max_norm, total_norm)


@_no_grad
def clip_grad_norm_(
    parameters: TensorOrTensors, max_norm: float, norm_type: float = 2.0,
    error_if_nonfinite: bool = False, foreach: bool | None = None,
) -> Tensor:
    """Scales all gradients together so that their norm is at most `max_norm`; returns the norm.

    Args:
        parameters: a tensor or tensors whose gradients to scale, in place.
        norm_type, error_if_nonfinite, foreach: as `get_total_norm`.

    Example:
        >>> import taper as torch
        >>> w = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> (w * w).sum().backward()
        >>> torch.nn.utils.clip_grad_norm_([w], 1.0), w.grad
        (tensor(10.), tensor([0.6000, 0.8000]))
    """
    if isinstance(parameters, Tensor):
        parameters = [parameters]
    else:
        is_generator = isinstance(parameters, types.GeneratorType)
        parameters = list(parameters)
        if is_generator and not parameters:
            warnings.warn(
                "`parameters` is an empty generator, no gradient clipping will occur.",
                stacklevel=3,
            )
    grads = [p.grad for p in parameters if p.grad is not None]
    total_norm = _get_total_norm(grads, norm_type, error_if_nonfinite)
    _scale(grads, max_norm, total_norm)
    return total_norm


def clip_grad_norm(
    parameters: TensorOrTensors, max_norm: float, norm_type: float = 2.0,
    error_if_nonfinite: bool = False, foreach: bool | None = None,
) -> Tensor:
    """Deprecated: use `clip_grad_norm_`."""
    warnings.warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of "
        "`torch.nn.utils.clip_grad_norm_`.",
        FutureWarning, stacklevel=2,
    )
    return clip_grad_norm_(
        parameters, max_norm, norm_type, error_if_nonfinite, foreach
    )


@_no_grad
def clip_grad_value_(
    parameters: TensorOrTensors, clip_value: float, foreach: bool | None = None
) -> None:
    """Clips every element of the gradients to [-clip_value, clip_value], in place."""
    clip_value = float(clip_value)
    for parameter in _as_list(parameters):
        if parameter.grad is not None:
            parameter.grad.clamp_(min=-clip_value, max=clip_value)
