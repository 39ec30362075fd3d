"""Moving and converting modules: `to`, `float`, `cpu` and all that goes through `_apply`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import taper
from taper import Tensor
from taper.nn.parameter import Parameter

__all__ = ["Conversion"]

T = TypeVar("T", bound="Conversion")

_NO_DATA = "Cannot copy out of meta tensor; no data!"
_COMPLEX_MODULES = (
    "Complex modules are a new feature under active development whose design may change, and some "
    "modules might not work as expected when using complex tensors as parameters or buffers. "
    "Please file an issue at https://github.com/pytorch/pytorch/issues/new?template=bug-report.yml "
    "if a complex module does not work as expected."
)


class Conversion:
    """The part of `Module` that moves and converts its members."""

    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    children: Callable[[], Iterator[Any]]

    def _apply(self: T, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> T:
        """Replaces the data of every parameter, gradient and buffer by `fn` of it, in place."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        for name, parameter in self._parameters.items():
            if parameter is None:
                continue
            with taper.no_grad():
                applied = fn(parameter)
            # Between meta and real memory the object can't stay the same one.
            in_place = parameter.is_meta == applied.is_meta
            grad = parameter.grad
            if in_place:
                parameter.data = applied
            else:
                self._parameters[name] = Parameter(applied, parameter.requires_grad)
            if grad is not None:
                with taper.no_grad():
                    applied = fn(grad)
                if in_place:
                    grad.data = applied
                else:
                    moved = applied.requires_grad_(grad.requires_grad)
                    self._parameters[name].grad = moved
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def to(self: T, *args: Any, **kwargs: Any) -> T:
        """Moves and converts parameters and buffers in place; returns this module.

        ``to(device=None, dtype=None, non_blocking=False)``, ``to(dtype)``, ``to(tensor)`` or
        ``to(memory_format=…)``. Only floating point and complex members change their dtype.
        """
        device, dtype, non_blocking, memory_format = _parse_to(*args, **kwargs)
        if dtype is not None:
            if not (dtype.is_floating_point or dtype.is_complex):
                raise TypeError(
                    "nn.Module.to only accepts floating point or complex dtypes, but got desired "
                    f"dtype={dtype}"
                )
            if dtype.is_complex:
                warnings.warn(_COMPLEX_MODULES, stacklevel=2)

        def convert(tensor: Tensor) -> Tensor:
            options: dict[str, Any] = {"non_blocking": non_blocking}
            if device is not None:
                options["device"] = device
            if dtype is not None and (tensor.is_floating_point() or tensor.is_complex()):
                options["dtype"] = dtype
            if memory_format is not None and tensor.dim() in (4, 5):
                options["memory_format"] = memory_format
            try:
                return tensor.to(**options)
            except NotImplementedError as error:
                if str(error).startswith(_NO_DATA):
                    raise NotImplementedError(
                        f"{_NO_DATA} Please use torch.nn.Module.to_empty() instead of "
                        "torch.nn.Module.to() when moving module from meta to a different device."
                    ) from None
                raise

        return self._apply(convert)

    def to_empty(self: T, *, device: Any, recurse: bool = True) -> T:
        """Moves parameters and buffers to `device` without copying their values."""
        return self._apply(lambda t: taper.empty_like(t, device=device), recurse=recurse)

    def type(self: T, dst_type: Any) -> T:
        """Converts all parameters and buffers to `dst_type`."""
        return self._apply(lambda t: t.type(dst_type))

    def float(self: T) -> T:
        """Converts floating point parameters and buffers to float32."""
        return self._apply(lambda t: t.float() if t.is_floating_point() else t)

    def double(self: T) -> T:
        """Converts floating point parameters and buffers to float64."""
        return self._apply(lambda t: t.double() if t.is_floating_point() else t)

    def half(self: T) -> T:
        """Converts floating point parameters and buffers to float16."""
        return self._apply(lambda t: t.half() if t.is_floating_point() else t)

    def bfloat16(self: T) -> T:
        """Converts floating point parameters and buffers to bfloat16."""
        return self._apply(lambda t: t.bfloat16() if t.is_floating_point() else t)

    def cpu(self: T) -> T:
        """Moves all parameters and buffers to the CPU."""
        return self._apply(lambda t: t.cpu())

    def cuda(self: T, device: Any = None) -> T:
        """Moves all parameters and buffers to a GPU."""
        return self._apply(lambda t: t.cuda(device))

    def share_memory(self: T) -> T:
        """Moves all parameters and buffers to shared memory."""
        return self._apply(lambda t: t.share_memory_())


def _parse_to(*args: Any, **kwargs: Any) -> tuple[Any, Any, bool, Any]:
    """(device, dtype, non_blocking, memory_format) from the arguments of `to`."""
    device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
    other = kwargs.pop("tensor", None)
    non_blocking, memory_format = kwargs.pop("non_blocking", False), kwargs.pop(
        "memory_format", None)
    kwargs.pop("copy", None)
    if kwargs:
        raise TypeError(f"to() got an unexpected keyword argument '{next(iter(kwargs))}'")
    positional = list(args)
    if positional and isinstance(positional[0], Tensor):
        other = positional.pop(0)
    elif positional and isinstance(positional[0], taper.dtype):
        dtype = positional.pop(0)
    elif positional:
        device = positional.pop(0)
        if positional and not isinstance(positional[0], bool):
            dtype = positional.pop(0)
    if positional:
        non_blocking = positional.pop(0)
    if other is not None:
        device, dtype = other.device, other.dtype
    if device is not None:
        device = taper.device(device)
    return device, dtype, non_blocking, memory_format
