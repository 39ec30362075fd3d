"""`torch.profiler`: how long each operator takes, from where it is called, with which shapes.

`recorder.py` sees what runs, `events.py` and `table.py` show it, `profiler.py` chooses the steps.
"""

from taper.autograd.engine_settings import kineto_available
from taper.profiler.profiler import (
    ProfilerAction,
    ProfilerActivity,
    profile,
    schedule,
    supported_activities,
    tensorboard_trace_handler,
)
from taper.profiler.session import record_function

__all__ = [
    "ProfilerAction", "ProfilerActivity", "kineto_available", "profile", "record_function",
    "schedule", "supported_activities", "tensorboard_trace_handler",
]
