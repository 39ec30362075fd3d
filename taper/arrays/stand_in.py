"""Recording arrays in the place of those of tensors that other threads may be using.

While a step is recorded, the tensors that it can reach hold recording arrays. Another thread that
comes upon one means the numbers that were there, and gets them: recording changes no numbers.
"""

from __future__ import annotations

import functools
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from taper.arrays.node_arguments import mapped

if TYPE_CHECKING:
    from taper.arrays.traced import Recording, TracedArray

__all__ = ["is_apart", "of_the_step", "recording_here", "refusal", "running_recording"]

E = TypeVar("E", bound=BaseException)

recording_here: ContextVar[Recording | None] = ContextVar("recording", default=None)
running_recording = recording_here.get


def is_apart(array: TracedArray) -> bool:
    """Whether an array stands in for another one, and not for who asks."""
    if array.actual is None:
        return False
    recording = running_recording()
    return recording is None or recording.graph is not array.graph


def refusal(error: E) -> E:
    """Notes an error that is raised only because a step is recorded, and gives it back.

    Code that catches it goes another way than it would otherwise, so the recording is of no use:
    `Recording.refusal` has the first such error, whatever becomes of it.
    """
    recording = running_recording()
    if recording is not None and recording.refusal is None:
        recording.refusal = error
    return error


def of_the_step(method: Any) -> Any:
    """Makes a method of recording arrays one of what they stand in for, for all but their step."""
    name = method.__name__

    @functools.wraps(method)
    def wrapper(self: TracedArray, *args: Any, **kwargs: Any) -> Any:
        if self.actual is None or not is_apart(self):
            return method(self, *args, **kwargs)
        args, kwargs = mapped(_actual, args), mapped(_actual, kwargs)
        if name == "__array_ufunc__":
            ufunc, how, *inputs = args
            return getattr(ufunc, how)(*inputs, **kwargs)
        if name == "__array_function__":
            function, _, given, options = args
            return function(*given, **options)
        return getattr(self.actual, name)(*args, **kwargs)

    return wrapper


def _actual(value: Any) -> Any:
    found = getattr(value, "actual", None)
    return value if found is None else found
