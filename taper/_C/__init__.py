"""Names of PyTorch's C++ module that packages ask for, though they are private there."""

from __future__ import annotations

from enum import Enum
from importlib import import_module
from typing import Any

import taper
from taper.core.device import get_default_device as _get_default_device
from taper.core.errors import LinAlgError as _LinAlgError

__all__ = [
    "DispatchKey", "DispatchKeySet", "_LinAlgError", "_are_functorch_transforms_active",
    "_disabled_torch_function_impl", "_get_accelerator", "_get_default_device",
    "_get_tracing_state", "_log_api_usage_once",
]


def _log_api_usage_once(event: str) -> None:
    """Would count a use; nobody counts."""


def _are_functorch_transforms_active() -> bool:
    """Returns whether a `vmap` runs; the other transforms change no tensor."""
    from taper.arrays.levels import running_levels

    return bool(running_levels())


def _get_tracing_state() -> None:
    """Returns None: nothing is traced by TorchScript."""


def _get_accelerator(check: bool | None = None) -> Any:
    """Returns the CPU: there is no other device."""
    return taper.device("cpu")


def _disabled_torch_function_impl(
    function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
) -> Any:
    """A `__torch_function__` that overrides nothing: results are plain tensors."""
    with taper.DisableTorchFunctionSubclass():
        return function(*args, **(kwargs or {}))


DispatchKey = Enum(  # type: ignore[misc]  # mypy wants the names in a literal
    "DispatchKey",
    [kind + device for kind in ("", "Autograd", "Autocast") for device in ("CPU", "CUDA", "XPU")]
    + ["Autograd", "CompositeExplicitAutograd", "CompositeImplicitAutograd", "Meta"],
)
DispatchKey.__doc__ = "What PyTorch's dispatcher tells calls apart by: kinds of tensors and modes."


class DispatchKeySet:
    """A set of what PyTorch's dispatcher tells calls apart by; taper has no dispatcher."""

    def __init__(self, *keys: Any) -> None:
        self._keys = frozenset(keys)

    def __or__(self, other: DispatchKeySet) -> DispatchKeySet:
        return DispatchKeySet(*self._keys, *other._keys)

    def has(self, key: Any) -> bool:
        """Whether the set has this key."""
        return key in self._keys


_PUBLIC = frozenset("""DisableTorchFunctionSubclass Generator Size device dtype layout
    memory_format""".split())


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(taper, name)
    if name in ("_fft", "_linalg", "_nn", "_special"):
        return import_module(f"taper._C.{name}")
    if name == "_TensorMeta":
        return type(taper.Tensor)
    if name in ("Graph", "Value", "Function", "ScriptModule"):  # TorchScript's, for isinstance
        return type(name, (), {"__module__": "torch._C"})
    raise AttributeError(f"module 'torch._C' has no attribute {name!r}")
