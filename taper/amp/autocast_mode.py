"""The block in which operators choose their precision, and decorators for own functions."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from taper.amp import state
from taper.amp.state import is_autocast_available
from taper.core.dtype import bfloat16, dtype, float16, float64
from taper.core.tensor import Tensor

__all__ = ["autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]


class autocast:
    """Runs products in bfloat16 or float16, and what loses too much there in float32.

    A ``with`` block, which may be nested and switched off inside, or a decorator. Leave it before
    `backward`: gradients run in the precision of the forward by themselves.

    Args:
        device_type: "cpu"; others are accepted and change nothing here.
        dtype: the lower precision; default: bfloat16 on the CPU.
        enabled: False makes a block that computes as if there was none around it.
        cache_enabled: keep the weights that were cast until the outermost block ends.

    Example:
        >>> import taper as torch
        >>> with torch.autocast("cpu"):
        ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        torch.bfloat16
    """

    def __init__(
        self, device_type: str, dtype: dtype | None = None, enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        if not isinstance(device_type, str):
            raise ValueError(
                f"Expected `device_type` of type `str`, got: `{type(device_type)}`"
            )
        self.device = device_type
        self.fast_dtype = state.get_autocast_dtype(device_type) if dtype is None else dtype
        self._cache_enabled = (
            state.is_autocast_cache_enabled() if cache_enabled is None else cache_enabled
        )
        if enabled and device_type == "cuda":
            warnings.warn(
                "CUDA is not available or torch_xla is imported. Disabling autocast.",
                stacklevel=2,
            )
            enabled = False
        if enabled and device_type == "cpu" and self.fast_dtype not in (bfloat16, float16):
            warnings.warn(
                "In CPU autocast, but the target dtype is not supported. Disabling autocast.\n"
                "CPU Autocast only supports dtypes of torch.bfloat16, torch.float16 currently.",
                stacklevel=2,
            )
            enabled = False
        self._enabled = enabled

    def __enter__(self) -> autocast:
        self._before = (
            state.is_autocast_enabled(self.device), state.get_autocast_dtype(self.device),
            state.is_autocast_cache_enabled(),
        )
        state.set_autocast_dtype(self.device, self.fast_dtype)
        state.set_autocast_cache_enabled(self._cache_enabled)
        state.set_autocast_enabled(self.device, self._enabled)
        state.autocast_increment_nesting()
        return self

    def __exit__(self, *exception: Any) -> None:
        if state.autocast_decrement_nesting() == 0:
            state.clear_autocast_cache()
        enabled, lower, keeps_casts = self._before
        state.set_autocast_enabled(self.device, enabled)
        state.set_autocast_dtype(self.device, lower)
        state.set_autocast_cache_enabled(keeps_casts)

    def __call__(self, func: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(func)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with autocast(self.device, self.fast_dtype, self._enabled, self._cache_enabled):
                return func(*args, **kwargs)

        return inside


def _cast(value: Any, device_type: str, dtype: dtype) -> Any:
    """Floating point tensors in another dtype, also those inside collections."""
    if isinstance(value, Tensor):
        if (
            value.is_floating_point() and value.device.type == device_type
            and value.dtype is not float64
        ):
            return value.to(dtype)
        return value
    if isinstance(value, (str, np.ndarray)):
        return value
    if isinstance(value, Mapping):
        return {
            _cast(k, device_type, dtype): _cast(v, device_type, dtype) for k, v in value.items()
        }
    if isinstance(value, Iterable):
        cast = [_cast(item, device_type, dtype) for item in value]
        return type(value)(cast) if isinstance(value, (list, tuple)) else cast
    return value


def _check_device_type(device_type: Any) -> None:
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")


def custom_fwd(
    fwd: Callable[..., Any] | None = None, *, device_type: str, cast_inputs: dtype | None = None
) -> Callable[..., Any]:
    """Decorates the `forward` of an `autograd.Function`, for use under autocast.

    Args:
        device_type: as autocast has it.
        cast_inputs: cast the inputs to this dtype and run with autocast off; default: run in the
            precision around. Outside of autocast nothing happens.
    """
    _check_device_type(device_type)
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def forward(*args: Any, **kwargs: Any) -> Any:
        context = args[0]
        context._dtype = state.get_autocast_dtype(device_type)
        is_on = state.is_autocast_enabled(device_type)
        context._fwd_used_autocast = is_on and cast_inputs is None
        if cast_inputs is None or not is_on:
            return fwd(*args, **kwargs)
        with autocast(device_type, enabled=False):
            return fwd(
                *_cast(args, device_type, cast_inputs), **_cast(kwargs, device_type, cast_inputs)
            )

    return forward


def custom_bwd(
    bwd: Callable[..., Any] | None = None, *, device_type: str
) -> Callable[..., Any]:
    """Decorates the `backward` of an `autograd.Function`: it runs with the forward's autocast."""
    _check_device_type(device_type)
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def backward(*args: Any, **kwargs: Any) -> Any:
        context = args[0]
        with autocast(device_type, context._dtype, context._fwd_used_autocast):
            return bwd(*args, **kwargs)

    return backward
