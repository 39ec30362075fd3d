"""`torch.autograd.profiler`: the older form of `torch.profiler`, for one recording."""

from typing import Any

from taper.profiler.events import EventList, FunctionEvent, FunctionEventAvg
from taper.profiler.profiler import ProfilerActivity
from taper.profiler.session import profile, record_function

__all__ = [
    "EventList", "FunctionEvent", "FunctionEventAvg", "ProfilerActivity", "emit_nvtx",
    "profile", "record_function",
]


class emit_nvtx:
    """Would mark operators for a GPU's profiler.

    Raises: NotImplementedError: use `torch.profiler.profile`.
    """

    __module__ = "torch.autograd.profiler"

    def __init__(self, *args: Any, **options: Any) -> None:
        raise NotImplementedError(
            "emit_nvtx marks work for NVIDIA's profilers, of which a CPU has none: use "
            "torch.profiler.profile"
        )
