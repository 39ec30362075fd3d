"""Whether autocast is on, in which precision, and how deep: ``torch.is_autocast_enabled`` …

All of it is each thread's own. Only the CPU's setting changes what is computed.
"""

from __future__ import annotations

import warnings
from contextvars import ContextVar
from typing import Any, NamedTuple

from taper.core.device import device
from taper.core.dtype import bfloat16, dtype, float16
from taper.core.state import active, autocasting
from taper.ops.autocast import Autocast

__all__ = [
    "autocast_decrement_nesting", "autocast_increment_nesting", "clear_autocast_cache",
    "get_autocast_cpu_dtype", "get_autocast_dtype", "get_autocast_gpu_dtype",
    "is_autocast_available", "is_autocast_cache_enabled", "is_autocast_cpu_enabled",
    "is_autocast_enabled", "set_autocast_cache_enabled", "set_autocast_cpu_dtype",
    "set_autocast_cpu_enabled", "set_autocast_dtype", "set_autocast_enabled",
    "set_autocast_gpu_dtype",
]

# The device types that PyTorch has autocast for, with the precision they start with.
_LOWER = {
    "cpu": bfloat16, "cuda": float16, "hip": float16, "hpu": bfloat16, "ipu": float16,
    "maia": bfloat16, "mps": float16, "mtia": float16, "privateuseone": float16, "xla": bfloat16,
    "xpu": float16,
}


class Settings(NamedTuple):
    """What a thread has set."""

    enabled: frozenset[str] = frozenset()
    lower: tuple[tuple[str, dtype], ...] = ()  # where it isn't what the device starts with
    keeps_casts: bool = True
    nesting: int = 0


_AT_FIRST = Settings()
_settings: ContextVar[Settings] = ContextVar("autocast settings", default=_AT_FIRST)


def _change(**changes: Any) -> None:
    """Changes settings, and what operators see of them."""
    settings = _settings.get()._replace(**changes)
    _settings.set(settings)
    on = autocasting.get()
    if "cpu" not in settings.enabled:
        if on is not None:
            autocasting.set(None)
            active.modes -= 1
        return
    lower = dict(settings.lower).get("cpu", bfloat16)
    if on is None:
        active.modes += 1
    if on is None or on.lower is not lower or (on.casts is None) is settings.keeps_casts:
        autocasting.set(Autocast(lower, _casts() if settings.keeps_casts else None))


# One store for all blocks of a thread: what an outer block cast serves inner ones.
_stored: ContextVar[dict[int, Any] | None] = ContextVar("autocast casts", default=None)


def _casts() -> dict[int, Any]:
    found = _stored.get()
    if found is None:
        found = {}
        _stored.set(found)
    return found


def device_kind(device_type: Any) -> str:
    """The device type, checked.

    Raises: RuntimeError: if there is no such device, or PyTorch has no autocast for it.
    """
    kind = device(device_type).type
    if kind not in _LOWER:
        raise RuntimeError(f"unknown device type for autocast in get_autocast_dispatch_key_from_device_type: {kind}")  # noqa: E501
    return kind


def is_autocast_available(device_type: str) -> bool:
    """Returns whether there is an autocast for a device type."""
    return device(device_type).type in _LOWER


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """Returns whether autocast is on for a device type; without one, for "cuda"."""
    kind = "cuda" if device_type is None else device_kind(device_type)
    if kind == "cpu":  # off inside an operator that has been cast
        return autocasting.get() is not None
    return kind in _settings.get().enabled


def set_autocast_enabled(device_type: Any, enabled: bool | None = None) -> None:
    """Switches autocast on or off: ``set_autocast_enabled("cpu", True)``."""
    if enabled is None:
        device_type, enabled = "cuda", device_type
    kind = device_kind(device_type)
    others = _settings.get().enabled - {kind}
    _change(enabled=others | {kind} if enabled else others)


def get_autocast_dtype(device_type: str) -> dtype:
    """Returns the lower precision of a device type."""
    kind = device_kind(device_type)
    return dict(_settings.get().lower).get(kind, _LOWER[kind])


def set_autocast_dtype(device_type: str, dtype: dtype) -> None:
    """Sets the lower precision of a device type."""
    lower = dict(_settings.get().lower)
    lower[device_kind(device_type)] = dtype
    _change(lower=tuple(lower.items()))


def is_autocast_cache_enabled() -> bool:
    """Returns whether weights that were cast are kept until the outermost block ends."""
    return _settings.get().keeps_casts


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Says whether weights that were cast are kept until the outermost block ends."""
    _change(keeps_casts=bool(enabled))


def clear_autocast_cache() -> None:
    """Forgets the weights that were cast."""
    _casts().clear()


def autocast_increment_nesting() -> int:
    """Counts that a block was entered; returns how many are open."""
    nesting = _settings.get().nesting + 1
    _change(nesting=nesting)
    return nesting


def autocast_decrement_nesting() -> int:
    """Counts that a block was left; returns how many are open."""
    nesting = _settings.get().nesting - 1
    _change(nesting=nesting)
    return nesting


# Deprecated spellings ---------------------------------------------------------------------


def _deprecated(old: str, new: str) -> None:
    warnings.warn(
        f"torch.{old} is deprecated. Please use torch.{new} instead.", DeprecationWarning,
        stacklevel=3,
    )


def is_autocast_cpu_enabled() -> bool:
    """Returns whether autocast is on for the CPU; deprecated."""
    _deprecated("is_autocast_cpu_enabled()", "is_autocast_enabled('cpu')")
    return is_autocast_enabled("cpu")


def set_autocast_cpu_enabled(enabled: bool) -> None:
    """Switches the CPU's autocast on or off; deprecated."""
    _deprecated("set_autocast_cpu_enabled(enabled)", "set_autocast_enabled('cpu', enabled)")
    set_autocast_enabled("cpu", enabled)


def get_autocast_cpu_dtype() -> dtype:
    """Returns the CPU's lower precision; deprecated."""
    _deprecated("get_autocast_cpu_dtype()", "get_autocast_dtype('cpu')")
    return get_autocast_dtype("cpu")


def set_autocast_cpu_dtype(dtype: dtype) -> None:
    """Sets the CPU's lower precision; deprecated."""
    _deprecated("set_autocast_cpu_dtype(dtype)", "set_autocast_dtype('cpu', dtype)")
    set_autocast_dtype("cpu", dtype)


def get_autocast_gpu_dtype() -> dtype:
    """Returns CUDA's lower precision; deprecated."""
    _deprecated("get_autocast_gpu_dtype()", "get_autocast_dtype('cuda')")
    return get_autocast_dtype("cuda")


def set_autocast_gpu_dtype(dtype: dtype) -> None:
    """Sets CUDA's lower precision; deprecated."""
    _deprecated("set_autocast_gpu_dtype(dtype)", "set_autocast_dtype('cuda', dtype)")
    set_autocast_dtype("cuda", dtype)
