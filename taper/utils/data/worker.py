"""What a worker of a data loader does, in a process or in a thread: it answers tasks.

Note [tasks and answers]. A task is ``(number, indices)``. Its answer is ``(number, kind, value)``:
the batch (READY), the `Failure` to load it (FAILED), or None because the worker's part of an
iterable data set is at its end (ENDED). Each task has one answer, unless `NEW_EPOCH` follows it,
which has none: what waits then is not wanted any more. So a worker that can't even begin says
so for each task, and no answer is ever waited for in vain while the worker lives.
"""

from __future__ import annotations

import contextlib
import pickle
import queue
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from taper.utils.data.fetch import Fetch, fetcher

__all__ = [
    "ENDED", "FAILED", "NEW_EPOCH", "READY", "Answer", "Assignment", "Failure", "Task",
    "put_in_place_of_all", "work",
]

READY, FAILED, ENDED = "ready", "failed", "ended"
NEW_EPOCH = -1  # in the place of a task's number

Task = tuple[int, Any]
Answer = tuple[int, str, Any]


class Failure:
    """An exception in a worker, on its way to the loader."""

    def __init__(self, error: BaseException, where: str) -> None:
        self.type: type[BaseException] = type(error)
        text = "".join(traceback.format_exception(error))
        self.message = f"Caught {self.type.__name__} {where}.\nOriginal {text}"

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: a message is not lost for having a type that only the worker knows."""
        state = dict(self.__dict__)
        try:
            pickle.dumps(self.type)
        except Exception:
            state["type"] = RuntimeError
        return state

    def reraise(self) -> NoReturn:
        """Raises the same kind of exception, with the worker's traceback in its message."""
        raise self._as_error()  # a name for it here would be a cycle

    def _as_error(self) -> BaseException:
        if self.type is KeyError:
            return KeyError(_Verbatim(self.message))
        try:
            return self.type(self.message)
        except Exception:  # a type whose constructor wants something else
            return RuntimeError(self.message)


class _Verbatim(str):
    """A message that a KeyError shows with its line breaks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Assignment(NamedTuple):
    """What a worker is given at its start."""

    dataset: Any
    worker_id: int
    num_workers: int
    base_seed: int
    init_fn: Callable[[int], Any] | None
    fetcher_arguments: tuple[Any, ...]

    @property
    def seed(self) -> int:
        """The worker's own seed."""
        return self.base_seed + self.worker_id

    def begin(self, where: str) -> Failure | None:
        """Calls the function that the user gave for the start of a worker."""
        if self.init_fn is None:
            return None
        try:
            self.init_fn(self.worker_id)
        except Exception as error:
            return Failure(error, where)
        return None

    def new_fetch(self, where: str) -> Fetch:
        """What loads the batches of an epoch; if it can't be had, it fails for each of them."""
        try:
            return fetcher(self.dataset, *self.fetcher_arguments)
        except Exception as error:
            failure = Failure(error, where)
            return lambda indices: failure


def work(
    assignment: Assignment, next_task: Callable[[], Task | None], answer: Callable[..., Any],
    where: str,
) -> None:
    """Answers tasks until there is None instead of one."""
    is_iterable = assignment.fetcher_arguments[0]
    failed_begin = assignment.begin(where)
    fetch: Fetch | None = None
    while (task := next_task()) is not None:
        number, indices = task
        if number == NEW_EPOCH:
            fetch = None
            continue
        if failed_begin is not None:
            answer(number, FAILED, failed_begin)
            continue
        fetch = fetch or assignment.new_fetch(where)
        try:
            value = fetch(indices)
            kind = FAILED if isinstance(value, Failure) else READY
        except Exception as error:
            if is_iterable and isinstance(error, StopIteration):
                kind, value = ENDED, None
            else:
                kind, value = FAILED, Failure(error, where)
        answer(number, kind, value)
        del value  # or it would stay in memory until the next is there


def put_in_place_of_all(tasks: queue.SimpleQueue[Any], task: Task | None) -> None:
    """Puts a task, or None for the end, in the place of all that wait."""
    with contextlib.suppress(queue.Empty):
        while True:
            tasks.get_nowait()
    tasks.put(task)
