"""`torch.cuda` on a machine where taper has no GPU: absent, with PyTorch's answers and errors.

What programs call unconditionally (`is_available`, `manual_seed_all`, `empty_cache` …) works; what
needs a device raises PyTorch's error.
"""

import importlib
import sys
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from taper.types import Device

__all__ = [
    "current_device", "device_count", "empty_cache", "get_device_name", "is_available",
    "manual_seed", "manual_seed_all", "max_memory_allocated", "memory_allocated", "set_device",
    "synchronize",
]

has_half = False


def is_available() -> bool:
    """Returns False: taper computes on the CPU."""
    return False


def is_initialized() -> bool:
    """Returns False."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Returns False."""
    return False


def device_count() -> int:
    """Returns 0."""
    return 0


def _absent() -> AssertionError:
    return AssertionError("Torch not compiled with CUDA enabled")


def init() -> None:
    """Raises: there is nothing to initialise."""
    raise _absent()


def set_device(device: Device) -> None:
    """Raises: there is no device to choose."""
    raise AttributeError("module 'torch._C' has no attribute '_cuda_setDevice'")


def synchronize(device: Device = None) -> None:
    """Raises: there is nothing to wait for."""
    raise _absent()


def current_device() -> int:
    """Raises: there is no device."""
    raise _absent()


def get_device_name(device: Device = None) -> str:
    """Raises: there is no device."""
    raise _absent()


def get_device_capability(device: Device = None) -> tuple[int, int]:
    """Raises: there is no device."""
    raise _absent()


def get_device_properties(device: Device = None) -> Any:
    """Raises: there is no device."""
    raise _absent()


def mem_get_info(device: Device = None) -> tuple[int, int]:
    """Raises: there is no device."""
    raise _absent()


def empty_cache() -> None:
    """Does nothing: no memory is cached."""


def ipc_collect() -> None:
    """Does nothing."""


def memory_allocated(device: Device = None) -> int:
    """Returns 0."""
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated
memory_cached = max_memory_cached = memory_allocated


def memory_stats(device: Device = None) -> OrderedDict[str, Any]:
    """Returns nothing: no memory is counted."""
    return OrderedDict()


host_memory_stats = memory_stats


def get_arch_list() -> list[str]:
    """Returns no GPU's architecture."""
    return []


def get_rng_state_all() -> list[Any]:
    """Returns no state: there is no GPU generator."""
    return []


def set_rng_state_all(new_states: Iterable[Any]) -> None:
    """Does nothing, as `get_rng_state_all` returns nothing.

    Raises: AssertionError: for states of GPUs.
    """
    if list(new_states):
        raise _absent()


def get_rng_state(device: Device = "cuda") -> Any:
    """Raises: there is no generator."""
    raise _absent()


def set_rng_state(new_state: Any, device: Device = "cuda") -> None:
    """Does nothing before a GPU is used, and none ever is."""


def reset_peak_memory_stats(device: Device = None) -> None:
    """Raises: there is no device."""
    raise _absent()


reset_max_memory_allocated = reset_max_memory_cached = reset_peak_memory_stats
reset_accumulated_memory_stats = reset_peak_memory_stats


def manual_seed(seed: int) -> None:
    """Does nothing: there is no GPU generator."""


manual_seed_all = manual_seed


def seed_all() -> None:
    """Does nothing."""


class _Dummy:
    """What belongs to a GPU and can't be made without one; programs name it in annotations."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(f"Tried to instantiate dummy base class {type(self).__name__}")


class Event(_Dummy):
    """A mark in a GPU's work queue."""


class Stream(_Dummy):
    """A GPU's work queue."""


class CUDAGraph(_Dummy):
    """A recorded queue of work."""


class StreamContext(_Dummy):
    """A block within which a queue is the current one."""


class device:
    """A block within which a GPU is the current one; without GPUs it changes nothing."""

    def __init__(self, device: Any) -> None:
        self.idx = device

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: Any) -> None:
        pass


def stream(stream: Stream | None) -> AbstractContextManager[None]:
    """Returns a block in which nothing is different: there are no queues."""
    return nullcontext()


def is_current_stream_capturing() -> bool:
    """Returns False."""
    return False


def current_stream(device: Device = None) -> Any:
    """Raises: there is no device."""
    raise _absent()


default_stream = graph = current_stream
default_generators: tuple[Any, ...] = ()


def __getattr__(name: str) -> Any:
    if name == "amp":
        return importlib.import_module("taper.cuda.amp")
    if name in ("memory", "random", "streams"):  # PyTorch's files, whose names are all here
        return sys.modules[__name__]
    if name.endswith("Tensor"):  # torch.cuda.FloatTensor, for isinstance
        return type(name, (_Dummy,), {"__module__": "torch.cuda"})
    raise AttributeError(f"module 'torch.cuda' has no attribute {name!r}")


# Shown to users as PyTorch's, like everything else here.
for _function in list(globals().values()):
    if getattr(_function, "__module__", None) == __name__:
        _function.__module__ = "torch.cuda"
