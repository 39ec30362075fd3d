"""`torch.futures`: a value that somebody will set, on some thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

__all__ = ["Future", "collect_all", "wait_all"]

T = TypeVar("T")


class Future(Generic[T]):
    """Holds a value, or an error, once it is set; callbacks run on the thread that sets it.

    Example:
        >>> import taper as torch
        >>> future = torch.futures.Future()
        >>> doubled = future.then(lambda f: 2 * f.value())
        >>> future.set_result(3)
        >>> doubled.wait()
        6
    """

    __module__ = "torch.futures"

    def __init__(self, *, devices: Any = None) -> None:
        self._condition = threading.Condition()
        self._done = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Future[T]], Any]] = []

    def done(self) -> bool:
        """Whether the value, or an error, is there."""
        return self._done

    def wait(self) -> T:
        """Waits for the value; raises the error if there is one."""
        with self._condition:
            self._condition.wait_for(self.done)
        return self.value()

    def value(self) -> T:
        """The value, which must be there; raises the error if there is one."""
        if not self._done:
            raise RuntimeError(
                "completed() INTERNAL ASSERT FAILED: this Future has no value yet; call wait()"
            )
        if self._error is not None:
            raise self._error
        result: T = self._value
        return result

    def set_result(self, result: T) -> None:
        """Sets the value, once."""
        self._complete(result, None)

    def set_exception(self, result: BaseException) -> None:
        """Sets the error that `wait` and `value` will raise."""
        if not isinstance(result, Exception):
            raise AssertionError(f"{result} is of type {type(result)}, not an Exception.")
        self._complete(None, result)

    def _complete(self, value: Any, error: BaseException | None) -> None:
        with self._condition:
            if self._done:
                raise RuntimeError(
                    "Attempting to mark a completed Future as complete again. Note that a Future "
                    "can only be marked completed once."
                )
            self._value, self._error, self._done = value, error, True
            callbacks, self._callbacks = self._callbacks, []
            self._condition.notify_all()
        for callback in callbacks:
            callback(self)

    def add_done_callback(self, callback: Callable[[Future[T]], Any]) -> None:
        """Calls ``callback(self)`` when the value is there, at once if it is already."""
        with self._condition:
            if not self._done:
                self._callbacks.append(callback)
                return
        callback(self)

    def then(self, callback: Callable[[Future[T]], Any]) -> Future[Any]:
        """A future for what ``callback(self)`` returns."""
        result: Future[Any] = Future()

        def run(future: Future[T]) -> None:
            try:
                value = callback(future)
            except Exception as error:  # it is raised where the result is asked for
                result.set_exception(error)
            else:
                result.set_result(value)

        self.add_done_callback(run)
        return result


def collect_all(futures: Sequence[Future[Any]]) -> Future[list[Future[Any]]]:
    """A future for the list of futures, which is there when all of them are done."""
    result: Future[list[Future[Any]]] = Future()
    waiting = len(futures)
    lock = threading.Lock()

    def count(_: Future[Any]) -> None:
        nonlocal waiting
        with lock:
            waiting -= 1
            is_last = waiting == 0
        if is_last:
            result.set_result(list(futures))

    if not futures:
        result.set_result([])
    for future in futures:
        future.add_done_callback(count)
    return result


def wait_all(futures: Sequence[Future[Any]]) -> list[Any]:
    """The values of all futures; raises the first error."""
    return [future.wait() for future in collect_all(futures).wait()]
