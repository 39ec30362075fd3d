"""`torch.cpu`: the questions that `torch.cuda` answers, asked of the CPU."""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from taper.types import Device

__all__ = [
    "Event", "Stream", "current_device", "current_stream", "device_count", "is_available",
    "is_initialized", "set_device", "stream", "synchronize",
]


def __getattr__(name: str) -> Any:
    if name == "amp":
        return importlib.import_module("taper.cpu.amp")
    raise AttributeError(f"module 'torch.cpu' has no attribute {name!r}")


def is_available() -> bool:
    """Returns True."""
    return True


def is_initialized() -> bool:
    """Returns True."""
    return True


def device_count() -> int:
    """Returns 1: all cores are one device."""
    return 1


def current_device() -> str:
    """Returns "cpu"."""
    return "cpu"


def set_device(device: Device) -> None:
    """Does nothing: there is one device."""


def synchronize(device: Device = None) -> None:
    """Does nothing: operators have finished when they return."""


class Stream:
    """Stands where other devices have a queue of work."""

    def __init__(self, priority: int = -1) -> None:
        pass

    def wait_stream(self, stream: Any) -> None:
        """Does nothing."""

    def record_event(self) -> None:
        """Does nothing."""

    def wait_event(self, event: Any) -> None:
        """Does nothing."""


class Event:
    """Stands where other devices mark a place in their queue."""

    def query(self) -> bool:
        """Returns True: everything has been done."""
        return True

    def record(self, stream: Any = None) -> None:
        """Does nothing."""

    def synchronize(self) -> None:
        """Does nothing."""

    def wait(self, stream: Any = None) -> None:
        """Does nothing."""


_only_stream = Stream()


def current_stream(device: Device = None) -> Stream:
    """Returns the only stream."""
    return _only_stream


def stream(stream: Stream) -> AbstractContextManager[None]:
    """Returns a block in which nothing is different."""
    return nullcontext()
