"""`torch.autograd.profiler`: the older form of `torch.profiler`, for one recording."""

from taper.profiler.events import EventList, FunctionEvent, FunctionEventAvg
from taper.profiler.profiler import ProfilerActivity
from taper.profiler.session import profile, record_function

__all__ = [
    "EventList", "FunctionEvent", "FunctionEventAvg", "ProfilerActivity", "profile",
    "record_function",
]
